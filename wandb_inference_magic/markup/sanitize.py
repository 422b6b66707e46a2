"""The one place that makes untrusted text safe to show as Markdown: for one line, and for a whole reply.

A reply is shown by parsers that differ (marked, markdown-it, mistune, cmark) and that may not sanitise. So
Markdown is not filtered but rewritten until nothing active is left for any of them: outside code no `<`
stands, images are links, links go to the web only, and nothing refers to anything elsewhere in the text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, replace
from html import unescape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ..text import safe_plain
from . import maths
from .check import host_of, is_link, is_safe, may_load, tags_in
from .parser import block_parser, expanded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from markdown_it.token import Token

    from .parser import Span

# What Markdown, HTML or maths could take for more than a character, within a line and at its beginning.
_ACTIVE: Final = re.compile(r"[`*_$|~]")
# marked takes the backslashes from brackets in a link's label, and JupyterLab finds maths behind two of them.
_ENTITIES: Final = str.maketrans({one: f"&#{ord(one)};" for one in "\\[]@"} | {"&": "&amp;", "<": "&lt;"})
_LINE_START: Final = re.compile(r"^(\s*)([#+>=-]|\d+(?=[.)](?:\s|$)))")
# What GitHub's Markdown makes a link of without being asked. It goes on to the next blank, over whatever comes.
_BARE_LINK: Final = re.compile(r"(?P<scheme>https?|ftp|www)(?P<mark>:(?=//)|\.)", re.IGNORECASE)
# What would be more than words outside code: HTML, a link, maths.
_COULD_ACT: Final = re.compile(r"[<\]]|\$[^$]*\\|\\(?:[(\[]|begin|ref|eqref)")
# What MathJax takes for the beginning or end of maths, or for a reference, when it comes to it in a text.
_TEX_MARK: Final = re.compile(
    r"\\?(?P<word>\\(?:begin|end|ref|eqref))(?![A-Za-z])|\\\\\\?(?P<bracket>[(\[])|\\.", re.DOTALL
)
_REFERENCE: Final = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);?")
_TYPESET_MARK: Final = re.compile(r"\\(?:[(\[]|(?:begin|ref|eqref)(?![A-Za-z]))")
# Behind the box of a task, some parsers begin a block.
_TASK_BOX: Final = re.compile(r"^\[(?=[ xX]\]\s+(?:[>#+=|-]|\d+[.)]|\*\s|~~~|```))", re.MULTILINE)
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
# JupyterLab takes the backslash from a dollar before it looks for maths between two. It does not look across an
# element's bounds, and an empty link is the one element that shows nothing.
_DOLLAR: Final = r"\$"
_DOLLAR_APART: Final = r"\$[](#)"


@dataclass(frozen=True, slots=True)
class Untrusted:
    """Markdown from outside, such as a model's reply, as received."""

    text: str


# What is shown together: Markdown of this package's own, around texts that `safe_inline` has made literal, and what is
# untrusted.
Part = str | Untrusted


def safe_inline(text: str) -> str:
    """Return a short text as one line of Markdown that shows it literally, in a table cell too.

    A page may hold several: `safe_document` sees to it that their dollars make no maths.
    """
    line = " ".join(safe_plain(text).split())
    pieces, position = [], 0
    for found in _TYPESET_MARK.finditer(line):
        # MathJax sees the page, not the Markdown: in code alone such a mark means nothing.
        pieces += [_escaped(line[position : found.start()]), f"`{found[0]}`"]
        position = found.end()
    line = "".join([*pieces, _escaped(line[position:])])
    return _LINE_START.sub(lambda found: f"{found[1]}&#{ord(found[2][0])};{found[2][1:]}", line)


def quotation(text: str) -> str:
    """Return a text as a Markdown quotation that shows it literally, line for line."""
    return "\n".join(f"> {safe_inline(line)}\\" if line.strip() else "> \\" for line in text.splitlines()).rstrip("\\")


def _escaped(text: str) -> str:
    return _unlinked(_ACTIVE.sub(r"\\\g<0>", text.translate(_ENTITIES)))


def sanitize_markdown(text: str, allow_images_from: Collection[str] = ()) -> str:
    """Return untrusted Markdown with the same look and nothing active in it; see `safe_document`."""
    return safe_document([Untrusted(text)], allow_images_from)


def safe_document(parts: Sequence[Part], allow_images_from: Collection[str] = ()) -> str:
    """Return all that is shown together as Markdown with nothing active in it: every output passes here.

    Parts that are harmless alone may not be so together: a mark of maths in the one pairs with one in the other.

    Parameters
    ----------
    parts : sequence of str and Untrusted
        In their order. A `str` is taken as it is.
    allow_images_from : collection of str
        Hosts whose images may load. Other images become links, but for small `data:` pictures.

    Returns
    -------
    str
        Markdown in which what was untrusted has no HTML, remote images, links other than to the web, reference
        definitions and unclosed code. Maths has the marks that Jupyter renders, where it is ordinary maths (`tex`); any
        other is code. What cannot be rewritten with certainty is shown as it came: in a block of code, or where even
        that is not certain, line by line.
    """
    allowed = frozenset(host.lower() for host in allow_images_from)
    parts = [_with_dollars_apart(part) if isinstance(part, str) else part for part in parts]
    tags = tags_in("".join(part for part in parts if isinstance(part, str)))
    candidate = ""
    for rewrite in (_rewritten, _rewritten_in_line, _safe_alone, _as_code, _line_by_line):
        if rewrite is _safe_alone and len(parts) == 1:
            continue
        try:
            candidate = "".join(part if isinstance(part, str) else rewrite(part.text, allowed) for part in parts)
        except _CannotRewriteError:
            continue
        if is_safe(candidate, allowed, tags):
            break
    return candidate


def _with_dollars_apart(markdown: str) -> str:
    """Return literal text with no maths between the dollars of a paragraph."""
    if markdown.count(_DOLLAR) < 2:
        return markdown
    paragraphs = markdown.split("\n\n")
    return "\n\n".join(one.replace(_DOLLAR, _DOLLAR_APART) if one.count(_DOLLAR) > 1 else one for one in paragraphs)


def _rewritten(text: str, allowed: frozenset[str]) -> str:
    return _Rewriting(safe_plain(text), allowed).result()


def _rewritten_in_line(text: str, allowed: frozenset[str]) -> str:
    """Rewrite a text with display maths that stands within a paragraph as maths in the line: see `inert`."""
    return _Rewriting(safe_plain(text), allowed, in_line=True).result()


def _safe_alone(text: str, allowed: frozenset[str]) -> str:
    return safe_document([Untrusted(text)], allowed)


def fenced(text: str, language: str = "") -> str:
    """Return a text as a block of code that nothing in it can close."""
    fence = _fence_around(text)
    return f"{fence}{language}\n{text}\n{fence}"


def _as_code(text: str, _allowed: frozenset[str] = frozenset()) -> str:
    return fenced(safe_plain(text), "text")


def _line_by_line(text: str, _allowed: frozenset[str] = frozenset()) -> str:
    return _with_dollars_apart("  \n".join(map(safe_inline, safe_plain(text).split("\n"))))


class _CannotRewriteError(Exception):
    """A piece of the text was not found again in its source."""


# Rewriting ----------------------------------------------------------------------------------------------


class _Rewriting:
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
            self._lines[number] = line[:cursor] + _literal_line(line[cursor:])
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
                raise _CannotRewriteError

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
            raise _CannotRewriteError
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
            raise _CannotRewriteError
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
        fence = _fence_around(token.content, token.markup)
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
        fence = _fence_around("\n".join(self._lines[start:end]))
        self._lines[start] = f"{fence}{language}\n{self._lines[start]}"
        self._lines[end - 1] += f"\n{fence}"

    def _rewrite_indented_code(self, token: Token, start: int, end: int) -> None:
        """Parsers differ on indented code: a block of its own becomes a fence, one within another plain text."""
        if token.level:
            self._lines[start:end] = [_literal_line(line) for line in self._lines[start:end]]
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
            raise _CannotRewriteError
        if has_active_code:
            is_cut = (in_code.has_bar or self._in_table.has_bar) and _has_unlike_cells(content, self._table)
            spans = [_unless_cut(span, content, is_cut=is_cut, in_label=span.start in labels) for span in spans]
        crossing = in_code.marks + self._in_table.marks if has_active_code else ""
        dollar = _DOLLAR_APART if self._is_suspicious or _dollars_shown(content, spans) > 1 else _DOLLAR
        parts: list[str] = []
        position = 0
        edits = sorted(edit for span in spans for edit in self._edits(span, content, labels))
        for start, end, replacement in sorted([*edits, *_tex_marks(content, edits)]):
            if start < position:
                raise _CannotRewriteError
            text = _literal(content[position:start], _DOLLAR if start in labels else dollar)
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
        rest = _without(crossing, _undefining(_literal(content[position:], dollar), content[:position]))
        parts.append(_apart(rest, "", has_active_code=True) if self._table and has_active_code else rest)
        return "".join(parts)

    def _edits(self, span: Span, content: str, labels: _Labels) -> Iterator[tuple[int, int, str]]:
        source = content[span.start : span.end]
        if span.kind == "backticks":
            yield span.start, span.end, source
        elif span.kind == "no_code":
            yield span.start, span.end, _with_dollars_apart(safe_inline(source))
        elif span.kind == "maths":
            yield span.start, span.end, maths.in_line(span.token.content) if self._in_line else span.token.content
        elif span.kind == "autolink":
            href = str(span.token.attrs["href"])
            words = _without("`[]", _literal(source[1:-1]))
            yield span.start, span.end, f"[{words}]({_quoted(href)})" if is_link(href) else _literal(source)
        elif span.kind == "image":
            yield span.start, span.end, self._image(span, source, in_link=span.start in labels)
        else:
            href = str(span.token.attrs["href"])
            if "\n" in content[span.label_end : span.end]:
                raise _CannotRewriteError
            yield span.start, span.start + 1, "[" if is_link(href) else ""
            yield span.label_end, span.end, _destination(href)

    def _image(self, span: Span, source: str, *, in_link: bool) -> str:
        url = str(span.token.attrs["src"])
        if "\n" in source:
            raise _CannotRewriteError
        # marked puts an image's words into an attribute without escaping quotes.
        alt = safe_inline(span.token.content).replace('"', "&quot;")
        if may_load(url, self._allowed):
            return f"![{alt}]({_quoted(url)})"
        host = safe_inline(host_of(url) or "not shown")
        words = f"image: {alt} ({host})" if alt else f"image ({host})"
        if in_link or not is_link(url):
            return words
        return f"[{words}]({_quoted(url)})"


def _fence_around(code: str, fence: str = "```") -> str:
    """Return a fence that nothing in the code closes, wherever in a line it stands."""
    runs = [len(run) for run in re.findall(f"{fence[0]}+", code)]
    return fence if max(runs, default=0) < len(fence) else fence[0] * (max(runs) + 1)


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
        return f"]({_quoted(href)})"
    shown = re.sub(r"[`|\s]", " ", safe_plain(href)).strip() or "nowhere"
    return f" (`{shown}`)"


def _is_code(span: Span) -> bool:
    """Whether a span is shown as code."""
    return span.kind == "backticks" or span.token.type == "no_maths"


def _is_uncertain(span: Span, content: str) -> bool:
    """Whether parsers may count backticks otherwise: blocks may begin within a span's lines, links within maths."""
    source = content[span.start : span.end]
    if span.kind == "maths":
        return span.token.type == "maths" and ("`" in source or "\n" in source or bool(_BARE_LINK.search(source)))
    return span.kind == "backticks" and "\n" in source


def _tex_marks(content: str, edits: Sequence[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Yield the edits that make code of each mark of TeX in an inline text that stands outside of the other edits."""
    position = 0
    for start, end, _ in [*edits, (len(content), len(content), "")]:
        for found in _TEX_MARK.finditer(content, position, max(start, position)):
            if word := found["word"]:
                yield found.start(), found.end(), f"`{word}`"
            elif bracket := found["bracket"]:
                yield found.start(), found.end(), f"`\\{bracket}`"
        position = end


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


def _literal(text: str, dollar: str = _DOLLAR) -> str:
    """Return inline text, its emphasis as it is, with nothing in it that any parser could take for more."""
    text = _REFERENCE.sub(_harmless_reference, text).replace("<", "&lt;")
    text = re.sub(r"!(?=\[)", "&#33;", text)
    text = text.replace("](", "]&#40;").replace("][", "]&#91;")
    # A definition may begin behind more than a line's start: behind the box of a task, for one.
    text = text.replace("]:", "]&#58;")
    text = _TASK_BOX.sub("&#91;", text)
    # nbconvert takes it for a heading, with no blank behind.
    text = re.sub(r"^( *)#(?=#*[^#\s])", r"\1\\#", text, flags=re.MULTILINE)
    # A backtick that begins no code here could begin some elsewhere, and turn other code inside out.
    escaped = {"$": dollar, r"\$": dollar, "`": r"\`"}
    return re.sub(r"\\.|[$`]", lambda found: escaped.get(found[0], found[0]), text, flags=re.DOTALL)


def _literal_line(line: str) -> str:
    """Return text that belongs to nothing in Markdown, as some parsers have it, with nothing in it for any other."""
    parts, position = [], 0
    for start, end, code in _tex_marks(line, []):
        parts += [_literal(line[position:start], _DOLLAR_APART), code]
        position = end
    return "".join([*parts, _literal(line[position:], _DOLLAR_APART)])


def _harmless_reference(found: re.Match[str]) -> str:
    """Return a character reference as it is, or as text where it stands for a letter or a mark of Markdown or TeX."""
    meant = unescape(found[0])
    is_harmless = meant == found[0] or all(not one.isascii() or one in "<>&\"'" for one in meant)
    return found[0] if is_harmless else f"&amp;{found[0][1:]}"


def _apart(text: str, replacement: str, *, has_active_code: bool) -> str:
    """Return text that does not join with what comes behind it: an image's mark, a bare link, a mark of code."""
    if replacement.startswith("[") and text.endswith("!"):
        text = f"{text[:-1]}&#33;"
    if has_active_code and replacement.startswith("`") and text.endswith("~"):
        text = _without("~", text)
    head, last_word = re.fullmatch(r"(.*?)([^ \t\n]*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return head + _unlinked(last_word)


def _unlinked(text: str) -> str:
    return _BARE_LINK.sub(lambda found: f"{found['scheme']}&#{ord(found['mark'])};", text)


def _quoted(url: str) -> str:
    """Return a URL in which nothing ends a link's destination or begins maths, code or a table's cell."""
    bare = "".join(one for one in url if unicodedata.category(one) not in ("Cc", "Cs"))
    return quote(bare, safe="/:?#@!&'+,;=%-._~*")
