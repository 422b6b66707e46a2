"""Write blocks in places where all parsers read them alike. CommonMark allows more indentation than Pandoc does.

To Pandoc, a fence that is indented further than the text of its list item is text, and dashes below an indented line
make a table, whose columns cut code. Then code of a reply would be TeX or HTML in a PDF file. To front ends, a
quotation's mark behind four blanks is text, which ends the quotation and a fence in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from .literal import fence_around
from .parser import neighbours, parse_blocks

if TYPE_CHECKING:
    from markdown_it.token import Token

# What a line begins with that is in a list or a quotation, or is indented.
_BEFORE: Final = " \t>-+*.)0123456789"
_MARKER: Final = re.compile(r"[ >]*(?:[-+*]|\d{1,9}[.)])( *)")
_ITEMS_OF_DASHES: Final = re.compile(r"([ \t>]*-)((?:[ \t]+-)+[ \t]*)\Z")
_DASHES: Final = re.compile(r"-[- \t]*\Z")
_DEEP_MARK: Final = re.compile(r"[ >]*(?: {4}| *\t)[ \t]*>")
# A backslash at the end of a line that no other one escapes.
_BREAK: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\\Z")

_WITHOUT_END: Final = ("table_open", "bullet_list_open", "ordered_list_open", "blockquote_open")
_BEGUN_APART: Final = ("code_block", "heading_open", "hr", *_WITHOUT_END)
_LISTS: Final = ("bullet_list_open", "ordered_list_open")
# Below a line of text, marked 9 and older take it for the underline of a heading, also in code.
_UNDERLINE: Final = re.compile(r"^ *(-+|=+) *$", re.MULTILINE)


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
            if token.map is not None:
                _align_marks(lines, range(*token.map), quotations)
            quotations += token.nesting
        elif token.type == "list_item_close":
            items.pop()
        elif token.type == "table_close":
            after = "\n"
        elif token.map is None:
            continue
        elif token.type == "list_item_open":
            items.append((token.map[0], _column(lines, token.map[0], items)))
            if found := _ITEMS_OF_DASHES.match(lines[token.map[0]]):
                # To Pandoc, these below a line of text are the head of a table, whose columns cut that text too.
                lines[token.map[0]] = found[1] + found[2].replace("-", "+")
        else:
            first, column = items[-1] if items else (-1, 0)
            if token.type == "fence" and items and not quotations and token.map[0] > first:
                _indent(lines, range(*token.map), column)
                _lengthen(lines, token)
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


def set_apart(lines: list[str], tokens: Sequence[Token]) -> None:
    """Put a blank line between blocks of which one has no clear end: parsers differ on it.

    To Pandoc, which makes PDF files, a list, a quotation or a heading after a line of text is part of that text.

    Parameters
    ----------
    lines : list of str
        Rewritten lines. Blank lines are added to those that they come before, with the marks of a quotation.
    tokens : sequence of Token
        The blocks that the lines had before.
    """
    for before, block in neighbours(tokens):
        start = block.map[0] if block.map else 0
        line = lines[start]
        marks = line[: len(line) - len(line.lstrip(" >"))] if block.level else ""
        above = lines[start - 1].rpartition("\n")[2]
        if above.strip(" >" if ">" in marks else " ") and not line.startswith("\n") and _is_apart(before, block, marks):
            lines[start] = f"{marks.rstrip()}\n{line}"


def _is_apart(before: Token, block: Token, marks: str) -> bool:
    """Whether a block must be apart from the one before it in the same block. `marks` are those of its quotations."""
    if not block.level:
        return before.type in _WITHOUT_END or block.type in (*_BEGUN_APART, "fence")
    in_quotation = ">" in marks
    if block.type == "fence":
        return in_quotation or _UNDERLINE.search(block.content) is not None
    follows_open = before.type in _WITHOUT_END and (in_quotation or before.type == "blockquote_open")
    return follows_open and block.type not in _LISTS


def _may_be_unlike(line: str) -> bool:
    """Return whether a line may be a nested or an indented fence, rule or underline, or a quotation behind blanks."""
    if _DEEP_MARK.match(line):
        return True
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


def _lengthen(lines: list[str], fence: Token) -> None:
    """Write the marks of a fence so that no line in it is one of them: it has fewer blanks before it now."""
    first, end = fence.map or (0, 0)
    is_closed = end - first - 1 > fence.content.count("\n")
    for number in (first, end - 1) if is_closed else (first,):
        lines[number] = lines[number].replace(fence.markup, fence_around(fence.content, fence.markup), 1)


def _align_marks(lines: list[str], numbers: range, depth: int) -> None:
    """Move the marks of a quotation, which is in `depth` others, that are four blanks or more to the right."""

    def blanks(line: str, before: str) -> tuple[int, int]:
        """Return where the blanks before the mark begin and end. They end at -1 if the line has no such mark."""
        begun = line[: len(line) - len(line.lstrip(before))]
        marks = [-1, *(number for number, mark in enumerate(begun) if mark == ">")]
        return (marks[depth] + 1, marks[depth + 1]) if len(marks) > depth + 1 else (0, -1)

    start, end = blanks(lines[numbers.start].expandtabs(4), _BEFORE)
    for number in numbers[1:]:
        line = lines[number].expandtabs(4)
        first, mark = blanks(line, " >")
        if mark - first >= 4 and mark - first > end - start:
            lines[number] = line[:first] + " " * (end - start) + line[mark:]


def _put_marks(lines: list[str], numbers: range, heading: Token, content: str) -> None:
    """Mark a heading before its text, in one line, and not by the line below it, which could be one of a table."""
    *texts, last = (line.strip(" ") for line in content.split("\n"))
    line = lines[numbers.start].expandtabs(4).rstrip()
    begin = len(line) - len([*texts, last][0])
    # A break within a heading is not kept, and marks at its end are no part of its form.
    text = re.sub(r"(?<!#)(?=#+\Z)", r"\\", " ".join([*(_BREAK.sub(r"\1", text) for text in texts), last]))
    lines[numbers.start] = f"{line[:begin]}{'#' * int(heading.tag[1:])} {text}"
    in_quotation = lines[numbers[-1]][: -len(lines[numbers[-1]].lstrip(" \t>"))].rstrip()
    lines[numbers.start + 1 : numbers.stop] = [in_quotation] * (len(numbers) - 1)
