"""Write blocks in places where all parsers read them alike. CommonMark allows more indentation than Pandoc does.

To Pandoc, a fence that is indented further than the text of its list item is text, and dashes below an indented line
make a table, whose columns cut code. Then code of a reply would be TeX or HTML in a PDF file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from .parser import parse_blocks

if TYPE_CHECKING:
    from markdown_it.token import Token

# What a line begins with that is in a list or a quotation, or is indented.
_BEFORE: Final = " \t>-+*.)0123456789"
_MARKER: Final = re.compile(r"[ >]*(?:[-+*]|\d{1,9}[.)])( *)")
_DASHES: Final = re.compile(r"-[- ]*\Z")


def in_common_layout(text: str) -> str:
    """Return Markdown that has the same blocks, with nested fences, rules and underlines where any parser sees them."""
    lines = text.split("\n")
    if not any(map(_may_be_unlike, lines)):
        return text
    items: list[tuple[int, int]] = []
    quotations = 0
    after = ""
    for token, following in pairwise(parse_blocks(text + "\n")):
        if token.tag == "blockquote":
            quotations += token.nesting
        elif token.type == "list_item_close":
            items.pop()
        elif token.type == "table_close":
            after = "\n"
        elif token.map is None:
            continue
        elif token.type == "list_item_open":
            items.append((token.map[0], _column(lines, token.map[0], items)))
        else:
            first, column = items[-1] if items else (-1, 0)
            if token.type == "fence" and items and not quotations and token.map[0] > first:
                _indent(lines, range(*token.map), column)
                # To Pandoc, a table without a line below its heading is text, and so is what follows at once.
                lines[token.map[0]] = after + lines[token.map[0]]
            elif token.type == "hr" and token.level:
                # As part of a list of asterisks, these would begin a rule of their own.
                lines[token.map[0]] = _DASHES.sub("___", lines[token.map[0]].rstrip())
            elif token.type == "heading_open" and token.markup in ("-", "="):
                if token.level:
                    _put_marks(lines, range(*token.map), token, following.content)
                else:
                    lines[token.map[1] - 1] = lines[token.map[1] - 1].strip(" \t")
            after = ""
    return "\n".join(lines)


def _may_be_unlike(line: str) -> bool:
    """Return whether a line may be a nested or an indented fence, rule or underline."""
    rest = line.lstrip(_BEFORE)
    if rest.startswith(("```", "~~~", "=")):
        return rest != line
    return not rest and "-" in line and not line.startswith("--")


def _column(lines: Sequence[str], number: int, items: Sequence[tuple[int, int]]) -> int:
    """Return the column at which the text of a list item begins. Several items may begin in one line."""
    first, column = items[-1] if items else (-1, 0)
    line = lines[number].expandtabs(4)
    found = _MARKER.match(line, column if first == number else 0)
    if found is None:
        return 0
    is_code_or_empty = len(found[1]) > 4 or found.end() == len(line)
    return found.start(1) + 1 if is_code_or_empty else found.end()


def _indent(lines: list[str], numbers: range, column: int) -> None:
    """Indent a fence and what is in it as far as the text of its item."""
    line = lines[numbers.start].expandtabs(4)
    extra = len(line) - len(line.lstrip(" ")) - column
    if extra <= 0:
        return
    for number in numbers:
        end = len(lines[number]) - len(lines[number].lstrip(" \t"))
        width = len(lines[number][:end].expandtabs(4))
        lines[number] = " " * (width - min(extra, max(width - column, 0))) + lines[number][end:]


def _put_marks(lines: list[str], numbers: range, heading: Token, content: str) -> None:
    """Mark a heading before its text, in one line, and not by the line below it, which could be one of a table."""
    texts = [line.strip(" ") for line in content.split("\n")]
    begin = lines[numbers.start].find(texts[0])
    # Neither a break within a heading is kept, nor are its last marks those of its end.
    text = re.sub(r"\\(?= |\Z)|(?=#+\Z)", lambda found: "" if found[0] else "\\", " ".join(texts))
    lines[numbers.start] = f"{lines[numbers.start][:begin]}{'#' * int(heading.tag[1:])} {text}"
    in_quotation = lines[numbers[-1]][: -len(lines[numbers[-1]].lstrip(" \t>"))].rstrip()
    lines[numbers.start + 1 : numbers.stop] = [in_quotation] * (len(numbers) - 1)
