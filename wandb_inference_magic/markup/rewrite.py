"""Rewrites a reply, block by block, until nothing active is left in it for any parser of Markdown.

A reply is shown by parsers that differ (marked, markdown-it, mistune, cmark) and that may not sanitise. So Markdown is
not filtered but rewritten: outside code there is no `<`, images are links, links go to the web only, and nothing refers
to anything elsewhere in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from ..text import safe_plain
from . import maths
from .check import host_of, is_link, may_load
from .literal import (
    BARE_LINK,
    DOLLAR,
    DOLLAR_APART,
    fence_around,
    literal,
    literal_line,
    quoted_url,
    safe_inline,
    tex_marks,
    unlinked,
    with_dollars_apart,
)
from .parser import block_parser, expanded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

    from .parser import Span

# What would be more than words outside code: HTML, a link, maths.
_COULD_ACT: Final = re.compile(r"[<\]]|\$[^$]*\\|\\(?:[(\[]|begin|ref|eqref)")
_BARE_MARKER: Final = re.compile(r"\s*([-+*]|\d+[.)])\s*")
# A piece of code, and the row of dashes that makes a table of the lines around it.
_CODE: Final = re.compile(r"(?<!`)(?P<ticks>`+)(?!`)(?P<inner>.+?)(?<!`)(?P=ticks)(?!`)", re.DOTALL)
_ROW_OF_DASHES: Final = re.compile(r"^(?=[^\n]*-)(?=[^\n]*[|:])[-|: \t>]+$", re.MULTILINE)
# Fences that front ends draw as pictures, maps or formulas, and the language that is named instead.
_DRAWN: Final = {"math": "latex", "geojson": "json", "topojson": "json", "stl": "text", "plantuml": "text"}
_LINK_BEFORE: Final = re.compile(r"\]\([^ \t\n]*\Z")
_DEFINITION_MARK: Final = re.compile(r"((?:^|(?<=\n)) *):(?=\s|$)")
_LATER_DEFINITION_MARK: Final = re.compile(r"((?<=\n) *):(?=\s|$)")
_DEFINITION: Final = re.compile(r"^ *:[ \t]", re.MULTILINE)
_CONTAINERS: Final = ("bullet_list_open", "ordered_list_open", "blockquote_open")


class CannotRewriteError(Exception):
    """A piece of the text was not found again in its source."""


class Rewriting:
    """Rewrites the lines of one text, block by block."""

    def __init__(self, text: str, allowed: frozenset[str], *, in_line: bool = False) -> None:
        self._in_line = in_line
        self._is_suspicious = False
        # Of the table that is being rewritten: its lines, and what is in its code.
        self._table = ""
        self._in_table = _InCode()
        self._source = text.split("\n")
        self._lines = expanded(text).split("\n")
        self._allowed = allowed
        self._env: dict[str, Any] = {"definitions": [], "spans": [], "state": None}
        self._tokens = block_parser().parse(expanded(text) + "\n", self._env)
        # In each line, how far it has been rewritten: the cells of a table share one.
        self._cursors = [0] * len(self._lines)

    def result(self) -> str:
        self._refuse_confusing_fences()
        for token in self._tokens:
            if token.type == "table_open" and token.map is not None:
                self._table = "\n".join(self._source[slice(*token.map)])
                # Another parser may see no table here, but a paragraph.
                self._in_table = _in_code([found[0] for found in _CODE.finditer(self._table)])
                self._is_suspicious = _may_be_maths(self._table)
            elif token.type == "table_close":
                self._table, self._in_table, self._is_suspicious = "", _InCode(), False
            elif token.map is not None:
                self._rewrite(token, *token.map)
        for start, end in self._env["definitions"]:
            self._lines[start:end] = [""] * (end - start)
            self._finish(start, end)
        # What belongs to no token, such as a row's cells beyond its table's columns, another parser may show.
        for number, (line, cursor) in enumerate(zip(self._lines, self._cursors, strict=True)):
            self._lines[number] = line[:cursor] + literal_line(line[cursor:])
        self._set_apart()
        return "\n".join(self._lines)

    def _set_apart(self) -> None:
        """Put a blank line behind lists and quotations: parsers differ on what ends them without one."""
        blocks = [token for token in self._tokens if token.level == 0 and token.nesting >= 0 and token.map]
        for before, block in pairwise(blocks):
            start = block.map[0] if block.map else 0
            if before.type in _CONTAINERS and self._source[start - 1].strip(" "):
                self._lines[start] = "\n" + self._lines[start]

    def _refuse_confusing_fences(self) -> None:
        """Refuse fences that parsers may not see alike, as code would be text behind them, where that matters."""
        code = [token for token in self._tokens if token.type == "fence"]
        if not any(token.level for token in code):
            return
        texts = [token.content for token in self._tokens if token.type == "inline" and "`" in token.content]
        if not any(map(_COULD_ACT.search, [*texts, *(token.content for token in code)])):
            return
        containers: set[str] = set()
        for token in self._tokens:
            if token.level == 0:
                containers = set()
            if token.nesting > 0:
                containers.add(token.type)
            if token.type == "fence" and token.level and self._is_confusing(token, containers):
                raise CannotRewriteError

    def _is_confusing(self, fence: Token, containers: set[str]) -> bool:
        start, end = fence.map or (0, 0)
        before = self._lines[start - 1] if start else ""
        if "blockquote_open" in containers:
            return fence.level > 1 or bool(before.strip(" >"))
        margin = len(self._lines[start].partition(fence.markup)[0])
        body = filter(str.strip, self._lines[start + 1 : end])
        return any(line[:margin].strip() for line in body) or bool(_BARE_MARKER.fullmatch(before))

    def _finish(self, start: int, end: int) -> None:
        """Mark lines as rewritten to their ends."""
        self._cursors[start:end] = [len(line) for line in self._lines[start:end]]

    def _rewrite(self, token: Token, start: int, end: int) -> None:
        if token.type == "inline":
            self._rewrite_inline(token.content, start)
            return
        if token.type == "fence":
            self._rewrite_fence(token, start, end)
        elif token.type == "code_block":
            self._rewrite_indented_code(token, start, end)
        elif token.type == maths.BLOCK:
            self._rewrite_maths(token, start, end)
        else:
            return
        self._finish(start, end)

    def _rewrite_inline(self, content: str, start: int) -> None:
        old = content.split("\n")
        new = self._inline(content).split("\n")
        if len(old) != len(new):
            raise CannotRewriteError
        for number, (before, after) in enumerate(zip(old, new, strict=True), start):
            self._replace(number, before, after)

    def _replace(self, number: int, before: str, after: str) -> None:
        line, cursor = self._lines[number], self._cursors[number]
        position = line.find(before, cursor)
        if position < 0:
            # In a table's cell the parser has taken the backslash from an escaped pipe.
            before, after = before.replace("|", "\\|"), after.replace("|", "\\|")
            position = line.find(before, cursor)
        if position < 0:
            raise CannotRewriteError
        self._lines[number] = line[:position] + after + line[position + len(before) :]
        self._cursors[number] = position + len(after)

    def _rewrite_fence(self, token: Token, start: int, end: int) -> None:
        opening = self._lines[start]
        prefix = opening[: opening.index(token.markup)]
        is_closed = end - start - 1 > token.content.count("\n")
        body = slice(start + 1, end - is_closed)
        if not prefix:
            # Nothing is taken from the lines of such a block, so that they keep their tabs.
            self._lines[body] = self._source[body]
        fence = fence_around(token.content, token.markup)
        self._lines[start] = f"{prefix}{fence}{_language(token.info)}"
        closing = re.sub(r"[^>]", " ", prefix) + fence
        if is_closed:
            self._lines[end - 1] = closing
        else:
            self._lines[end - 1] += f"\n{closing}"
        if prefix and not token.level:
            self._outdent(start, end, len(prefix))
        elif not token.level and start and self._source[start - 1].strip(" ") and _DEFINITION.search(token.content):
            # nbconvert takes the lines above for the terms of a list, and the fence's mark for one of them.
            self._lines[start] = f"\n{self._lines[start]}"

    def _outdent(self, start: int, end: int, width: int) -> None:
        """Begin an indented block of code where lines begin, apart: else another parser may take it for an item's."""
        text = "\n".join(self._lines[start:end])
        text = re.sub(rf"^ {{1,{width}}}", "", text, flags=re.MULTILINE)
        self._lines[start:end] = text.split("\n", end - start - 1)
        if start and self._lines[start - 1].strip(" "):
            self._lines[start] = f"\n{self._lines[start]}"

    def _rewrite_maths(self, token: Token, start: int, end: int) -> None:
        """Keep display maths; what is not ordinary maths becomes code, as received."""
        lines = maths.block_lines(self._lines[start:end], token.markup)
        if lines is not None:
            self._lines[start:end] = lines
        elif token.level or any(token.meta["columns"]):
            # On one line and without its marks: front ends look for maths across the marks of quotations and in code.
            columns = token.meta["columns"]
            code = maths.code_span(maths.unmarked(" ".join(token.content.split("\n"))))
            self._lines[start] = self._lines[start][: columns[0]] + code
            for number, column in enumerate(columns[1:], start + 1):
                self._lines[number] = self._lines[number][:column].rstrip()
        else:
            self._lines[start:end] = self._source[start:end]
            self._fence_off(start, end, "latex")

    def _fence_off(self, start: int, end: int, language: str = "") -> None:
        """Put a fence around lines."""
        fence = fence_around("\n".join(self._lines[start:end]))
        self._lines[start] = f"{fence}{language}\n{self._lines[start]}"
        self._lines[end - 1] += f"\n{fence}"

    def _rewrite_indented_code(self, token: Token, start: int, end: int) -> None:
        """Parsers differ on indented code: a block of its own becomes a fence, one within another plain text."""
        if token.level:
            self._lines[start:end] = [literal_line(line) for line in self._lines[start:end]]
            return
        self._lines[start:end] = [line[4:] for line in self._lines[start:end]]
        self._fence_off(start, end)

    def _inline(self, content: str) -> str:
        from markdown_it.rules_inline import StateInline

        parser = block_parser()
        spans: list[Span] = []
        self._env["spans"] = spans
        state = self._env["state"] = StateInline(content, parser, self._env, [])
        parser.inline.tokenize(state)
        labels = _Labels(spans)
        codes = [content[span.start : span.end] for span in spans if _is_code(span)]
        in_code = _in_code(codes)
        has_active_code = in_code.is_active or self._in_table.is_active
        if has_active_code and any(_is_uncertain(span, content) for span in spans):
            raise CannotRewriteError
        if has_active_code:
            is_cut = (in_code.has_bar or self._in_table.has_bar) and _has_unlike_cells(content, self._table)
            spans = [_unless_cut(span, content, is_cut=is_cut, in_label=span.start in labels) for span in spans]
        crossing = in_code.marks + self._in_table.marks if has_active_code else ""
        dollar = DOLLAR_APART if self._is_suspicious or _dollars_shown(content, spans) > 1 else DOLLAR
        parts: list[str] = []
        position = 0
        edits = sorted(edit for span in spans for edit in self._edits(span, content, labels))
        for start, end, replacement in sorted([*edits, *tex_marks(content, edits)]):
            if start < position:
                raise CannotRewriteError
            text = literal(content[position:start], DOLLAR if start in labels else dollar)
            text = _undefining(text, content[:position])
            text = _apart(_without(crossing, text), replacement, has_active_code=has_active_code)
            if has_active_code and replacement.startswith("`") and _LINK_BEFORE.search("".join(parts[-1:]) + text):
                # To a parser that sees no link, the code would be a part of its address.
                text += " "
            if replacement.startswith("`") and (text or "".join(parts[-1:])).endswith("`"):
                # Two pieces of code side by side would be one.
                text += " "
            parts += [text, replacement]
            position = end
        rest = _without(crossing, _undefining(literal(content[position:], dollar), content[:position]))
        parts.append(_apart(rest, "", has_active_code=True) if self._table and has_active_code else rest)
        return "".join(parts)

    def _edits(self, span: Span, content: str, labels: _Labels) -> Iterator[tuple[int, int, str]]:
        source = content[span.start : span.end]
        if span.kind == "backticks":
            yield span.start, span.end, source
        elif span.kind == "no_code":
            yield span.start, span.end, with_dollars_apart(safe_inline(source))
        elif span.kind == "maths":
            yield span.start, span.end, maths.in_line(span.token.content) if self._in_line else span.token.content
        elif span.kind == "autolink":
            href = str(span.token.attrs["href"])
            words = _without("`[]", literal(source[1:-1]))
            yield span.start, span.end, f"[{words}]({quoted_url(href)})" if is_link(href) else literal(source)
        elif span.kind == "image":
            yield span.start, span.end, self._image(span, source, in_link=span.start in labels)
        else:
            href = str(span.token.attrs["href"])
            if "\n" in content[span.label_end : span.end]:
                raise CannotRewriteError
            yield span.start, span.start + 1, "[" if is_link(href) else ""
            yield span.label_end, span.end, _destination(href)

    def _image(self, span: Span, source: str, *, in_link: bool) -> str:
        url = str(span.token.attrs["src"])
        if "\n" in source:
            raise CannotRewriteError
        # marked puts an image's words into an attribute without escaping quotes.
        alt = safe_inline(span.token.content).replace('"', "&quot;")
        if may_load(url, self._allowed):
            return f"![{alt}]({quoted_url(url)})"
        host = safe_inline(host_of(url) or "not shown")
        words = f"image: {alt} ({host})" if alt else f"image ({host})"
        if in_link or not is_link(url):
            return words
        return f"[{words}]({quoted_url(url)})"


def _language(info: str) -> str:
    """Return the word that names a fence's language; one that front ends would draw, by another name.

    nbconvert draws all that begins with "mermaid".
    """
    found = re.match(r"[A-Za-z0-9_+#.-]*", info.strip())
    word = found[0] if found else ""
    return "text" if word.lower().startswith("mermaid") else _DRAWN.get(word.lower(), word)


def _destination(href: str) -> str:
    """Return what follows a link's label: where it goes, or, for a dead link, where it would have gone."""
    if is_link(href):
        return f"]({quoted_url(href)})"
    shown = re.sub(r"[`|\s]", " ", safe_plain(href)).strip() or "nowhere"
    return f" (`{shown}`)"


def _is_code(span: Span) -> bool:
    """Whether a span is shown as code."""
    return span.kind == "backticks" or span.token.type == "no_maths"


def _is_uncertain(span: Span, content: str) -> bool:
    """Whether parsers may count backticks otherwise: blocks may begin within a span's lines, links within maths."""
    source = content[span.start : span.end]
    if span.kind == "maths":
        return span.token.type == "maths" and ("`" in source or "\n" in source or bool(BARE_LINK.search(source)))
    return span.kind == "backticks" and "\n" in source


def _may_be_maths(table: str) -> bool:
    """Whether a table's dollars could be marks of maths where another parser sees no table, but a paragraph."""
    return "\\" in table and table.count("$") > 1


@dataclass(frozen=True, slots=True)
class _InCode:
    """What pieces of code hold: anything active, a mark of a table's cells, marks that may cross their bounds."""

    is_active: bool = False
    has_bar: bool = False
    marks: str = ""


def _in_code(codes: Sequence[str]) -> _InCode:
    is_active = any(map(_COULD_ACT.search, codes))
    return _InCode(is_active, any("|" in code for code in codes), _crossing_marks(codes))


def _has_unlike_cells(content: str, table: str) -> bool:
    """Whether a parser may end a table's cell within code, so that the rest of it is no code.

    marked sees tables of one column without a mark, and a cell's end behind an even number of backslashes.
    """
    return r"\\|" in table if table else _ROW_OF_DASHES.search(content) is not None


def _unless_cut(span: Span, content: str, *, is_cut: bool, in_label: bool) -> Span:
    """Return a span, as no code where a parser may end what is around it within it."""
    ends = is_cut or (in_label and "](" in content[span.start : span.end])
    return replace(span, kind="no_code") if ends and span.kind == "backticks" else span


def _undefining(text: str, before: str) -> str:
    """Return text in which no line begins a definition, which would take what is around it into nbconvert's list."""
    form = _DEFINITION_MARK if before.endswith("\n") or not before else _LATER_DEFINITION_MARK
    return form.sub(r"\1&#58;", text)


def _is_simple(code: str) -> bool:
    """Whether code stands between single backticks."""
    return code.count("`") == 2


def _crossing_marks(codes: Sequence[str]) -> str:
    """Return the marks in code that a parser may pair with one outside, so that the code would be none.

    marked and mistune look for a strike's end without regard to code, and marked for the end of other emphasis where
    there is code with backticks in it. Older versions of both do so for a link's label, and mistune's look for code
    without regard to backslashes.
    """
    marks = "`~" if any("~" in code for code in codes) else "`"
    if any("](" in code for code in codes):
        marks += "["
    return marks if all(map(_is_simple, codes)) else f"{marks}*_"


def _without(marks: str, text: str) -> str:
    """Return text in which some marks mean nothing; the box of a task stays."""
    if not marks:
        return text
    escaped = {mark: f"&#{ord(mark)};" for mark in marks}
    if "`" in marks:
        escaped[r"\`"] = escaped["`"]
    form = rf"\\.|^\[[ xX]\](?=\s)|[{re.escape(marks)}]"
    return re.sub(form, lambda found: escaped.get(found[0], found[0]), text, flags=re.DOTALL)


class _Labels:
    """The labels of an inline text's links, none of which is within another."""

    def __init__(self, spans: list[Span]) -> None:
        bounds = sorted((span.start, span.label_end) for span in spans if span.kind == "link")
        self._starts = [start for start, _ in bounds]
        self._ends = [end for _, end in bounds]

    def __contains__(self, position: int) -> bool:
        nearest = bisect_right(self._starts, position - 1) - 1
        return nearest >= 0 and position <= self._ends[nearest]


def _dollars_shown(content: str, spans: list[Span]) -> int:
    """Count the dollars that JupyterLab's maths will see in an inline text."""
    in_code = sum(content.count("$", span.start, span.end) for span in spans if _is_code(span))
    return content.count("$") - in_code + 2 * any(span.token.type == "maths" for span in spans)


def _apart(text: str, replacement: str, *, has_active_code: bool) -> str:
    """Return text that does not join with what comes behind it: an image's mark, a bare link, a mark of code."""
    if replacement.startswith("[") and text.endswith("!"):
        text = f"{text[:-1]}&#33;"
    if has_active_code and replacement.startswith("`") and text.endswith("~"):
        text = _without("~", text)
    head, last_word = re.fullmatch(r"(.*?)([^ \t\n]*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return head + unlinked(last_word)
