"""Rewrite a reply, block by block, so that no Markdown parser finds anything active in it.

A reply is shown by parsers that differ (marked, markdown-it, mistune, cmark) and that may not sanitise. So Markdown is
rewritten, not filtered: outside code there is no `<`, except around a dollar, images are links, links go only to the
web, and nothing refers to another place in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from ..maths import rules as maths
from ..text import safe_plain
from .cells import ROW_OF_DASHES, keep_cells
from .front_end_parsers import maths_in_code
from .layout import in_common_layout, set_apart
from .links import host_of, is_link, linked, may_load, quoted_url, unlinked
from .literal import (
    dollars_apart,
    fence_around,
    fence_info,
    literal,
    literal_line,
    maths_as_code,
    safe_inline,
    tex_marks,
    without_shortcodes,
)
from .parser import block_parser, expanded, lines_of_blocks, parse_blocks

if TYPE_CHECKING:
    from markdown_it.token import Token

    from .parser import Span

# What could be active outside code: HTML, a link, maths.
_COULD_ACT: Final = re.compile(r"[<\]]|\$[^$]*\\|\\(?:[(\[]|begin|ref|eqref)")
_BARE_ITEM: Final = re.compile(r"[\s>]*(?:(?:[-+*]|\d+[.)])\s*)+")
# Languages of fences that front ends draw as pictures, maps or formulas, and the language used instead.
_DRAWN: Final = {"math": "latex", "geojson": "json", "topojson": "json", "stl": "text", "plantuml": "text"}
_ROW_WITHOUT_TEXT: Final = re.compile(r"[-:\s]*\|[-:|\s]*")
_LINK_BEFORE: Final = re.compile(r"\]\([^ \t\n]*\Z")
# The mark of an item in a list that Pandoc knows. Some of these are text to other parsers.
_LIST: Final = r"\(?(?:\d{1,9}|[A-Za-z]|[ivxlcdmIVXLCDM]+|#|@[\w-]*)[.)]"
# The start of a definition, a caption, a line block, and a line above the rows of a table. nbconvert would add the text
# around a definition to its list. Pandoc cuts code at the columns of a table.
_BLOCK_MARK: Final = re.compile(
    rf"(\n *(?:{_LIST} +)*(?:[Tt]able)?)(:(?=\s|$|::)|\|(?= |\n|\Z)|\+(?=[-=:])|-(?=[- ]*(?:\n|\Z)))"
)
# A line that begins with this is part of the one above. No text from outside has it.
_JOINT: Final = "\0"
_LINE_END: Final = re.compile(r"(?<!\s)\s*\n\s*")
# Stands for code that could be active, among the marks of `_dangers_in`.
_ACTIVE: Final = "active"
# Marks that have no meaning in a row's cells beyond the columns of its table, which only some parsers read as text.
_EMPHASIS: Final = "`~*_"
# What follows a formula: its line's end, and letters that VS Code would not let follow a dollar.
_BLANKS: Final = re.compile(r" *(?=\n|\Z)")
_PUNCTUATION: Final = re.compile(r"[.,;](?=\s|\Z)")
_LETTERS: Final = re.compile(r"[A-Za-z]+")
_BLANK_LINE: Final = re.compile(r"^[ \t]+$", re.MULTILINE)


class CannotRewriteError(ValueError):
    """The text cannot be rewritten with certainty.

    `str.index` and `zip` raise its base class: then a piece was not found again in its source.
    """


class Rewriting:
    """Rewrites the lines of one text, block by block."""

    def __init__(self, text: str, allowed: frozenset[str], *, in_line: bool = False) -> None:
        self._in_line = in_line
        self._received = text.split("\n")
        # marked 4 takes a line of blanks for one of the text above it.
        text = keep_cells(in_common_layout(_BLANK_LINE.sub("", text)))
        self._source = text.split("\n")
        self._lines = expanded(text).split("\n")
        self._allowed = allowed
        self._env: dict[str, Any] = {}
        self._tokens = parse_blocks(text + "\n", self._env)
        # How far each line has been rewritten. The cells of a table row share one line.
        self._cursors = [0] * len(self._lines)
        # The numbers of lines that are part of the line above.
        self._joined: set[int] = set()
        self._quotations = 0
        self._enter_table(slice(0))

    def blocks(self) -> tuple[tuple[str, str], ...]:
        """Rewrite the lines. Return each top-level block as received and rewritten, with the ends of all lines."""
        self._refuse_confusing_fences()
        for token in self._tokens:
            if token.tag == "blockquote":
                self._quotations += token.nesting
            elif token.tag == "table":
                self._enter_table(slice(*token.map) if token.map else slice(0))
            elif token.map is not None:
                self._rewrite(token, *token.map)
        # Another parser may show text that belongs to no token, such as a row's cells beyond the table's columns.
        tables = [token.map for token in self._tokens if token.type == "table_open" and token.map]
        rows = {number for start, end in tables for number in range(start, end)}
        for number, (line, cursor) in enumerate(zip(self._lines, self._cursors, strict=True)):
            rest = literal_line(line[cursor:])
            self._lines[number] = line[:cursor] + (_without(_EMPHASIS, rest) if number in rows else rest)
        set_apart(self._lines, self._tokens)
        return tuple(
            ("\n".join(self._source[start:end]).strip("\n"), self._written(range(start, end)))
            for start, end in lines_of_blocks(self._tokens, len(self._lines))
        )

    def _written(self, numbers: range) -> str:
        return "".join(f"{self._lines[number]}\n" for number in numbers if number not in self._joined)

    def _enter_table(self, lines: slice) -> None:
        """Note the lines of the table that is being rewritten. Another parser may read them as a paragraph."""
        self._table = table = "\n".join(self._source[lines])
        # marked ends a cell after an even number of backslashes.
        self._has_unlike_cells = r"\\|" in "\n".join(self._received[lines])
        texts = (table, *table.split("\n"))
        self._table_dangers = _dangers_in([found[0] for text in texts for found in maths.CODE.finditer(text)])
        self._may_be_maths = "\\" in table and table.count("$") > 1

    def _refuse_confusing_fences(self) -> None:
        """Raise an error for fences that parsers may read differently: code after them would be text.

        Only fences for which that matters are refused.
        """
        codes = [one for one in self._tokens if one.type == "fence" or (one.type == "inline" and "`" in one.content)]
        could_act = any(_COULD_ACT.search(token.content) for token in codes)
        if not could_act and not any("\\" in token.content for token in codes):
            return
        in_quotation = False
        items: list[str] = []
        for token in self._tokens:
            in_quotation = token.type == "blockquote_open" or (in_quotation and token.level > 0)
            if token.type == "list_item_open":
                items.append(self._lines[token.map[0]] if token.map else "")
            elif token.type == "list_item_close":
                items.pop()
            elif token.type == "fence" and token.level:
                # Some parsers see no item in a line of marks. Then the fence is not indented as its text is.
                is_confusing = any(map(_BARE_ITEM.fullmatch, items))
                if is_confusing or (could_act and self._is_confusing(token, in_quotation=in_quotation)):
                    raise CannotRewriteError

    def _is_confusing(self, fence: Token, *, in_quotation: bool) -> bool:
        start, end = fence.map or (0, 0)
        before = self._lines[start - 1] if start else ""
        if in_quotation:
            return fence.level > 1 or bool(before.strip(" >"))
        margin = len(self._lines[start].partition(fence.markup)[0])
        body = self._lines[start + 1 : end]
        if body and not body[0].strip(" -") and "-" in body[0]:
            # To Pandoc, a fence that begins a list item and a line of dashes are the head of a table.
            return True
        return any(line[:margin].strip() for line in body if line.strip())

    def _rewrite(self, token: Token, start: int, end: int) -> None:
        if token.type == "inline":
            pairs = zip(token.content.split("\n"), self._inline(token.content).split("\n"), strict=True)
            lines: list[tuple[int, str, list[str]]] = []
            for number, (before, after) in enumerate(pairs, start):
                if after.startswith(_JOINT):
                    lines[-1][2].append(after.removeprefix(_JOINT))
                    self._joined.add(number)
                else:
                    lines.append((number, before, [after]))
            for number, before, parts in lines:
                after = "".join(parts)
                # nbconvert would read the line above as the cells of a table, and cut code in it.
                is_row = not self._table and _ROW_WITHOUT_TEXT.fullmatch(after)
                self._replace(number, before, after.replace("|", r"\|") if is_row else after)
            return
        if token.type == "fence":
            self._rewrite_fence(token, start, end)
        elif token.type == "code_block":
            self._rewrite_indented_code(token, start, end)
        elif token.type == maths.BLOCK:
            self._rewrite_maths(token, start, end)
        elif token.type == "definition":
            self._lines[start:end] = [""] * (end - start)
        elif token.type == "hr" and not token.level:
            # Between two lines of dashes, Pandoc reads settings of the document.
            self._lines[start] = "***"
        else:
            return
        self._cursors[start:end] = map(len, self._lines[start:end])

    def _replace(self, number: int, before: str, after: str) -> None:
        line, cursor = self._lines[number], self._cursors[number]
        if self._table:
            # The parser has removed the backslash before an escaped pipe.
            before, after = before.replace("|", "\\|"), after.replace("|", "\\|")
        position = line.index(before, cursor)
        self._lines[number] = line[:position] + after + line[position + len(before) :]
        self._cursors[number] = position + len(after)

    def _rewrite_fence(self, token: Token, start: int, end: int) -> None:
        prefix = self._lines[start].partition(token.markup)[0]
        if not token.level:
            # Other parsers may read an indented block as part of a list item. nbconvert may read a block that has
            # definitions, and the lines above it, as a definition list. A block that is not indented keeps its tabs.
            lines = self._lines if prefix else self._source
            self._lines[start:end] = [re.sub(rf"^ {{0,{len(prefix)}}}", "", line) for line in lines[start:end]]
            prefix = ""
        # To Pandoc, tildes below a line of text are text, and so is what is between them.
        fence = fence_around(token.content)
        closing = re.sub(r"[^>]", " ", prefix) + fence
        is_closed = end - start - 1 > token.content.count("\n")
        language = _language(token.info)
        is_cut, is_open = maths_in_code("\n".join([f"{prefix}{fence}", *self._lines[start + 1 : end]]), language)
        self._lines[start] = f"{prefix}{fence}{fence_info('' if is_cut else language, token.content)}"
        self._lines[end - 1] = closing if is_closed else f"{self._lines[end - 1]}\n{closing}"
        if is_open:
            after = "\n".join(takewhile(str.strip, self._source[end:]))
            # Maths ends with its paragraph.
            self._lines[end - 1] += "\n" if "$" in after or "\\" in after else ""

    def _rewrite_maths(self, token: Token, start: int, end: int) -> None:
        """Keep display maths. If it is not ordinary maths, show it as code, as received."""
        contents = token.content.split("\n")
        prefixes = [self._lines[start + n].rstrip().removesuffix(content) for n, content in enumerate(contents)]
        if self._quotations:
            # JupyterLab would take the marks of a quotation between its lines for a part of the formula.
            self._lines[start:end] = [prefixes[0] + " ".join(contents), *(prefix.rstrip() for prefix in prefixes[1:])]
        lines = maths.block_lines(self._lines[start:end], token.markup)
        if lines is not None:
            self._lines[start:end] = lines
        elif token.level or any(prefixes):
            # On one line and without delimiters: front ends look for maths across quotation markers and in code.
            code = maths_as_code(" ".join(contents))
            self._lines[start:end] = [prefixes[0] + code, *(prefix.rstrip() for prefix in prefixes[1:])]
        else:
            self._lines[start:end] = self._source[start:end]
            self._fence_off(start, end, "latex")

    def _fence_off(self, start: int, end: int, language: str = "") -> None:
        """Put a fence around lines."""
        code = "\n".join(self._lines[start:end])
        fence = fence_around(code)
        is_cut, _ = maths_in_code(code, language)
        self._lines[start] = f"{fence}{fence_info('' if is_cut else language, code)}\n{self._lines[start]}"
        self._lines[end - 1] += f"\n{fence}"

    def _rewrite_indented_code(self, token: Token, start: int, end: int) -> None:
        """Rewrite indented code, on which parsers differ: a top-level block as a fence, a nested one as plain text."""
        if token.level:
            self._lines[start:end] = [literal_line(line) for line in self._lines[start:end]]
            return
        self._lines[start:end] = [line[4:] for line in self._lines[start:end]]
        self._fence_off(start, end)

    def _inline(self, content: str) -> str:
        parser = block_parser()
        from markdown_it.rules_inline import StateInline

        spans: list[Span] = []
        self._env["spans"] = spans
        state = self._env["state"] = StateInline(content, parser, self._env, [])
        parser.inline.tokenize(state)
        links = [span for span in spans if span.kind == "link"]
        # No label is within another.
        labels = {position for link in links for position in range(link.start + 1, link.label_end + 1)}
        dangers = self._table_dangers | _dangers_in([span.source for span in spans if span.is_code])
        # The marks that must mean nothing outside code, if the code could be active.
        crossing = "".join(["`", *dangers - {_ACTIVE, "|"}]) if _ACTIVE in dangers else ""
        if crossing:
            if any(map(_is_uncertain, spans)):
                raise CannotRewriteError
            # A parser may end a cell within code, so that the rest of it is not code. marked accepts tables of one
            # column without a separator.
            has_cells = self._has_unlike_cells if self._table else ROW_OF_DASHES.search(content)
            is_cut = "|" in dangers and has_cells
            spans = [
                replace(span, kind="no_code")
                if span.kind == "backticks" and (is_cut or (span.start in labels and "](" in span.source))
                else span
                for span in spans
            ]
        apart = self._may_be_maths or _dollars_shown(content, spans) > 1
        parts = [""]
        position = 0
        edits = sorted(edit for span in spans for edit in self._edits(span, content, labels))
        for start, end, replacement in sorted([*edits, *tex_marks(content, edits)]):
            if start < position:
                raise CannotRewriteError
            text = literal(content[position:start], apart=apart)
            text = _without_blocks(text, begins_line=position == 0 or content[position - 1] == "\n")
            text = _without(crossing, text)
            if start < len(content) or (crossing and self._table):
                text = _apart(text, replacement, has_active_code=bool(crossing))
            text = text.rstrip(" ") if replacement.startswith("\n") else text
            # Two adjacent pieces of code would become one. Another parser could read code as part of a link's address.
            joins = (text or parts[-1]).endswith("`") or (crossing and _LINK_BEFORE.search(parts[-1] + text))
            parts += [f"{text} " if joins and replacement.startswith("`") else text, replacement]
            position = end
        return "".join(parts)

    def _edits(self, span: Span, content: str, labels: Set[int]) -> Iterator[tuple[int, int, str]]:
        if span.kind == "link":
            href = str(span.token.attrs["href"])
            if "\n" in content[span.label_end : span.end]:
                raise CannotRewriteError
            yield span.start, span.start + 1, "[" if is_link(href) else ""
            yield span.label_end, span.end, _destination(href)
        elif span.kind in ("maths", "no_maths"):
            yield self._maths_edit(span, content)
        else:
            yield span.start, span.end, self._shown(span, in_link=span.start in labels)

    def _maths_edit(self, span: Span, content: str) -> tuple[int, int, str]:
        """Return what replaces a formula, and with it letters or blanks that follow it."""
        from ..maths.portable import in_cell, in_line, with_letters

        shown, end = in_line(span.token.content) if self._in_line else span.token.content, span.end
        if self._quotations and "\n" in shown:
            shown = "\n" * shown.count("\n") + shown.replace("\n", " ")
        if shown.endswith("$$"):
            # VS Code reads it at the start of a line as a block, which ends with a line that ends with it.
            begins_line = not self._table and not content[: span.start].rpartition("\n")[2].strip(" ")
            if mark := _PUNCTUATION.match(content, end):
                # It would be on a line of its own.
                shown, end = f"{shown[:-2]}{mark[0]}$$", mark.end()
            if blanks := _BLANKS.match(content, end):
                end = blanks.end()
            elif begins_line:
                shown = f"<span></span>{shown}"
        elif shown.endswith("$") and (letters := _LETTERS.match(content, end)):
            shown, end = with_letters(shown, letters[0]), letters.end()
        return span.start, end, in_cell(shown) if self._table else shown

    def _shown(self, span: Span, *, in_link: bool) -> str:
        """Return what replaces an element other than a link with a label."""
        if span.kind == "backticks":
            # To parsers that see a block in one of its lines, code over several lines ends there.
            return _LINE_END.sub(f"\n{_JOINT} ", without_shortcodes(span.source))
        if span.kind == "no_code":
            # In a table `_replace` adds a backslash to each pipe. After two of them, marked would end the cell.
            return dollars_apart(safe_inline(span.source)).replace(r"\|", "&#124;" if self._table else r"\|")
        if span.kind == "image":
            return self._image(span, in_link=in_link)
        href = str(span.token.attrs["href"])
        words = _without("`[]", literal(span.source[1:-1]))
        return f"[{words}]({quoted_url(href)})" if is_link(href) else literal(span.source)

    def _image(self, span: Span, *, in_link: bool) -> str:
        url = str(span.token.attrs["src"])
        if "\n" in span.source:
            raise CannotRewriteError
        # marked puts an image's alternative text into an attribute without escaping quotes.
        alt = safe_inline(span.token.content).replace('"', "&quot;")
        if may_load(url, self._allowed):
            return f"![{alt}]({quoted_url(url)})"
        host = safe_inline(host_of(url) or "not shown")
        words = f"image: {alt} ({host})" if alt else f"image ({host})"
        return words if in_link else linked(words, url)


def _language(info: str) -> str:
    """Return the name of a fence's language, or another name if front ends would draw it.

    nbconvert draws everything that begins with "mermaid".
    """
    word = re.split(r"[^A-Za-z0-9_+#.-]", info.strip(), maxsplit=1)[0]
    return "text" if word.lower().startswith("mermaid") else _DRAWN.get(word.lower(), word)


def _destination(href: str) -> str:
    """Return what follows a link's label: its destination or, for a dead link, the original destination as code."""
    if is_link(href):
        return f"]({quoted_url(href)})"
    shown = re.sub(r"[`|\s]", " ", safe_plain(href)).strip() or "nowhere"
    return f" ({without_shortcodes(f'`{shown}`')})"


def _is_uncertain(span: Span) -> bool:
    """Whether parsers may count backticks differently: blocks may begin within a formula's lines, and links in it."""
    return span.kind == "maths" and bool(re.search("[`\n]", span.source) or unlinked(span.source) != span.source)


def _dangers_in(codes: Sequence[str]) -> frozenset[str]:
    """Return what makes pieces of code dangerous: something active, a cell separator, marks that may pair with others.

    A parser may pair a mark in code with one outside, so that the code is not read as code.
    marked and mistune ignore code when they look for the end of strikethrough. marked also ignores it for other
    emphasis if there is code with backticks in it. Older versions of both ignore it for a link's label. Older versions
    of mistune ignore backslashes when they look for code.
    """
    found = {
        _ACTIVE: any(map(_COULD_ACT.search, codes)),
        "|": any("|" in code for code in codes),
        "~": any("~" in code for code in codes),
        "[": any("](" in code for code in codes),
        "*_": any(code.count("`") != 2 for code in codes),
    }
    return frozenset(danger for danger, is_found in found.items() if is_found)


def _without_blocks(text: str, *, begins_line: bool) -> str:
    """Return text in which no line starts a block that only Pandoc or nbconvert know (see `_BLOCK_MARK`)."""
    before = "\n" if begins_line else ""
    found = _BLOCK_MARK.sub(lambda mark: f"{mark[1]}&#{ord(mark[2])};", before + text)
    return found.removeprefix(before)


def _without(marks: str, text: str) -> str:
    """Return text in which the given marks mean nothing. A task's checkbox is kept."""
    if not marks:
        return text
    escaped = {mark: f"&#{ord(mark)};" for mark in marks}
    if "`" in marks:
        escaped[r"\`"] = escaped["`"]
    form = rf"\\.|^\[[ xX]\](?=\s)|[{re.escape(marks)}]"
    return re.sub(form, lambda found: escaped.get(found[0], found[0]), text, flags=re.DOTALL)


def _dollars_shown(content: str, spans: list[Span]) -> int:
    """Count the dollars that JupyterLab's search for maths will see in an inline text."""
    in_code = sum(span.source.count("$") for span in spans if span.is_code)
    return content.count("$") - in_code + 2 * any(span.kind == "maths" for span in spans)


def _apart(text: str, replacement: str, *, has_active_code: bool) -> str:
    """Return text that does not join with what follows it: an image mark, a bare link, a code mark."""
    if replacement.startswith("[") and text.endswith("!"):
        text = f"{text[:-1]}&#33;"
    if has_active_code and replacement.startswith("`") and text.endswith("~"):
        text = _without("~", text)
    last_word = max(text.rfind(blank) for blank in " \t\n") + 1
    return text[:last_word] + unlinked(text[last_word:])
