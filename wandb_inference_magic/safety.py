"""The one place that makes untrusted text safe to show as Markdown: for one line, and for a whole reply.

A reply is shown by parsers that differ (marked, markdown-it, mistune, cmark) and that may not sanitise. So
Markdown is not filtered but rewritten until nothing active is left for any of them: outside code no `<`
stands, images are links, links go to the web only, and nothing refers to anything elsewhere in the text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from . import maths
from .plain_text import safe_plain
from .readings import readings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

LARGEST_DATA_IMAGE: Final = 2_000_000
_DATA_IMAGE: Final = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+", re.IGNORECASE)
_LINK: Final = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)
# What Markdown, HTML or maths could take for more than a character, within a line and at its beginning.
_ACTIVE: Final = re.compile(r"[`*_$|~]")
# marked takes the backslashes from brackets in a link's label, and JupyterLab finds maths behind two of them.
_ENTITIES: Final = str.maketrans({one: f"&#{ord(one)};" for one in "\\[]@"} | {"&": "&amp;", "<": "&lt;"})
_LINE_START: Final = re.compile(r"^(\s*)([#+>=-]|\d+(?=[.)](?:\s|$)))")
# What GitHub's Markdown makes a link of without being asked. It goes on to the next blank, over whatever comes.
_BARE_LINK: Final = re.compile(r"(?P<scheme>https?|ftp|www)(?P<mark>:(?=//)|\.)", re.IGNORECASE)
# What would be more than words outside code.
_COULD_ACT: Final = re.compile(r"[<\]]")
# Behind the box of a task, some parsers begin a block.
_TASK_BOX: Final = re.compile(r"^\[(?=[ xX]\]\s+(?:[>#+=|-]|\d+[.)]|\*\s|~~~|```))", re.MULTILINE)
_BARE_MARKER: Final = re.compile(r"\s*([-+*]|\d+[.)])\s*")
_CONTAINERS: Final = ("bullet_list_open", "ordered_list_open", "blockquote_open")
# JupyterLab takes the backslash from a dollar before it looks for maths between two. It does not look across an
# element's bounds, and an empty link is the one element that shows nothing.
_DOLLAR: Final = r"\$"
_DOLLAR_APART: Final = r"\$[](#)"


def safe_inline(text: str) -> str:
    """Return a short text as one line of Markdown that shows it literally, in a table cell too."""
    line = " ".join(safe_plain(text).split())
    line = _unlinked(_ACTIVE.sub(r"\\\g<0>", line.translate(_ENTITIES)))
    return _LINE_START.sub(lambda found: f"{found[1]}&#{ord(found[2][0])};{found[2][1:]}", line)


def with_dollars_apart(markdown: str) -> str:
    """Return Markdown that is made of `safe_inline` texts with no maths between their dollars."""
    return markdown.replace(_DOLLAR, _DOLLAR_APART) if markdown.count(_DOLLAR) > 1 else markdown


def safe_markdown(text: str, allow_images_from: Collection[str] = ()) -> str:
    """Return untrusted Markdown with the same look and nothing active in it.

    Parameters
    ----------
    text : str
        A model's reply, as received.
    allow_images_from : collection of str
        Hosts whose images may load. Other images become links, but for small `data:` pictures.

    Returns
    -------
    str
        Markdown without HTML, remote images, links other than to the web, reference definitions and
        unclosed code, its maths in the marks that Jupyter renders. Text that cannot be rewritten with
        certainty is shown as it came: in a block of code, or where even that is not certain, line by line.
    """
    text = safe_plain(text)
    allowed = frozenset(host.lower() for host in allow_images_from)
    for rewrite in (_rewritten, _as_code):
        try:
            candidate = rewrite(text, allowed)
        except _CannotRewriteError:
            continue
        if _is_inert(candidate, allowed):
            return candidate
    return "  \n".join(map(safe_inline, text.split("\n")))


def _rewritten(text: str, allowed: frozenset[str]) -> str:
    return _Rewriting(text, allowed).result()


def fenced(text: str, language: str = "") -> str:
    """Return a text as a block of code that nothing in it can close."""
    fence = _fence_around(text)
    return f"{fence}{language}\n{text}\n{fence}"


def _as_code(text: str, _allowed: frozenset[str] = frozenset()) -> str:
    return fenced(text, "text")


class _CannotRewriteError(Exception):
    """A piece of the text was not found again in its source."""


def expanded(text: str) -> str:
    """Return text with its tabs as the blanks that Markdown counts them for."""
    return text.expandtabs(4)


# Parsing, with the places of what was found -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Span:
    """Something found in an inline text, from `start` to `end`; `label_end` is where a link's label ends."""

    kind: str
    start: int
    end: int
    token: Token
    label_end: int = -1


def _accept_any(url: str) -> bool:  # noqa: ARG001
    """Let the parser see every link as one: what it would leave as text, another parser may take for a link."""
    return True


@cache
def block_parser() -> MarkdownIt:
    """Return the parser that replies are read with: CommonMark with tables and maths; HTML is only text."""
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import reference
    from markdown_it.rules_inline import autolink, backtick, image, link

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 60}).enable(["table", "strikethrough"])
    parser.validateLink = _accept_any  # type: ignore[method-assign]
    parser.core.ruler.enableOnly(["normalize", "block"])
    maths.install(parser)
    for name, rule in (("autolink", autolink), ("backticks", backtick), ("image", image), ("link", link)):
        parser.inline.ruler.at(name, _recorded(name, rule))
    parser.inline.ruler.before("escape", "maths", _recorded("maths", _inline_maths))
    parser.block.ruler.at("reference", _recorded_reference(reference), {"alt": []})
    return parser


def _recorded(kind: str, rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """Wrap an inline rule so that what it finds is told to `env["spans"]` with its place."""

    def run(state: StateInline, silent: bool) -> bool:
        start, mark = state.pos, len(state.tokens)
        if not rule(state, silent):
            return False
        # An image's alternative text is parsed by a state of its own, whose places are others.
        if not silent and state is state.env["state"]:
            token = next((one for one in state.tokens[mark:] if one.type != "text"), None)
            if token is not None:
                label_end = state.md.helpers.parseLinkLabel(state, start, True) if kind == "link" else -1
                state.env["spans"].append(_Span(kind, start, state.pos, token, label_end))
        return True

    return run


def _inline_maths(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "\\$":
        return False
    found = maths.match_inline(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.push("maths", "", 0).content = maths.inline_text(found)
    state.pos = found.end()
    return True


def _recorded_reference(rule: Any) -> Any:
    def run(state: Any, start: int, end: int, silent: bool) -> bool:
        if not rule(state, start, end, silent):
            return False
        if not silent:
            state.env.setdefault("definitions", []).append((start, state.line))
        return True

    return run


# Rewriting ----------------------------------------------------------------------------------------------


class _Rewriting:
    """Rewrites the lines of one text, block by block."""

    def __init__(self, text: str, allowed: frozenset[str]) -> None:
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
            if token.map is not None:
                self._rewrite(token, *token.map)
        for start, end in self._env["definitions"]:
            self._lines[start:end] = [""] * (end - start)
            self._finish(start, end)
        # What belongs to no token, such as a row's cells beyond its table's columns, another parser may show.
        for number, (line, cursor) in enumerate(zip(self._lines, self._cursors, strict=True)):
            self._lines[number] = line[:cursor] + _literal(line[cursor:])
        self._set_apart()
        return "\n".join(self._lines)

    def _set_apart(self) -> None:
        """Put a blank line behind lists and quotations: parsers differ on what ends them without one."""
        blocks = [token for token in self._tokens if token.level == 0 and token.nesting >= 0 and token.map]
        for before, block in pairwise(blocks):
            start = block.map[0] if block.map else 0
            if before.type in _CONTAINERS and self._source[start - 1].strip():
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
            self._lines[start:end] = maths.block_lines(self._lines[start:end])
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

    def _outdent(self, start: int, end: int, width: int) -> None:
        """Begin an indented block of code where lines begin, apart: else another parser may take it for an item's."""
        text = "\n".join(self._lines[start:end])
        text = re.sub(rf"^ {{1,{width}}}", "", text, flags=re.MULTILINE)
        self._lines[start:end] = text.split("\n", end - start - 1)
        if start and self._lines[start - 1].strip():
            self._lines[start] = f"\n{self._lines[start]}"

    def _rewrite_indented_code(self, token: Token, start: int, end: int) -> None:
        """Parsers differ on indented code: a block of its own becomes a fence, one within another plain text."""
        if token.level:
            self._lines[start:end] = [_literal(line) for line in self._lines[start:end]]
            return
        self._lines[start:end] = [line[4:] for line in self._lines[start:end]]
        fence = _fence_around("\n".join(self._lines[start:end]))
        self._lines[start] = f"{fence}\n{self._lines[start]}"
        self._lines[end - 1] += f"\n{fence}"

    def _inline(self, content: str) -> str:
        from markdown_it.rules_inline import StateInline

        parser = block_parser()
        spans: list[_Span] = []
        self._env["spans"] = spans
        state = self._env["state"] = StateInline(content, parser, self._env, [])
        parser.inline.tokenize(state)
        labels = _Labels(spans)
        codes = [content[span.start : span.end] for span in spans if span.kind == "backticks"]
        has_active_code = any(map(_COULD_ACT.search, codes))
        if has_active_code and any(_is_uncertain(span, content) for span in spans):
            raise _CannotRewriteError
        dollar = _DOLLAR_APART if _dollars_shown(content, spans) > 1 else _DOLLAR
        parts, position = [], 0
        for start, end, replacement in sorted(edit for span in spans for edit in self._edits(span, content, labels)):
            if start < position:
                raise _CannotRewriteError
            text = _literal(content[position:start], _DOLLAR if start in labels else dollar)
            parts += [_apart(text, replacement, has_active_code=has_active_code), replacement]
            position = end
        parts.append(_literal(content[position:], dollar))
        return "".join(parts)

    def _edits(self, span: _Span, content: str, labels: _Labels) -> Iterator[tuple[int, int, str]]:
        source = content[span.start : span.end]
        if span.kind == "backticks":
            yield span.start, span.end, source
        elif span.kind == "maths":
            yield span.start, span.end, span.token.content
        elif span.kind == "autolink":
            href = str(span.token.attrs["href"])
            words = _literal(source[1:-1]).replace("[", "&#91;").replace("]", "&#93;")
            yield span.start, span.end, f"[{words}]({_quoted(href)})" if _is_link(href) else _literal(source)
        elif span.kind == "image":
            yield span.start, span.end, self._image(span, source, in_link=span.start in labels)
        else:
            href = str(span.token.attrs["href"])
            if "\n" in content[span.label_end : span.end]:
                raise _CannotRewriteError
            yield span.start, span.start + 1, "[" if _is_link(href) else ""
            yield span.label_end, span.end, _destination(href)

    def _image(self, span: _Span, source: str, *, in_link: bool) -> str:
        url = str(span.token.attrs["src"])
        if "\n" in source:
            raise _CannotRewriteError
        # marked puts an image's words into an attribute without escaping quotes.
        alt = safe_inline(span.token.content).replace('"', "&quot;")
        if _may_load(url, self._allowed):
            return f"![{alt}]({_quoted(url)})"
        host = safe_inline(_host(url) or "not shown")
        words = f"image: {alt} ({host})" if alt else f"image ({host})"
        if in_link or not _is_link(url):
            return words
        return f"[{words}]({_quoted(url)})"


def _fence_around(code: str, fence: str = "```") -> str:
    """Return a fence that nothing in the code closes, wherever in a line it stands."""
    runs = [len(run) for run in re.findall(f"{fence[0]}+", code)]
    return fence if max(runs, default=0) < len(fence) else fence[0] * (max(runs) + 1)


def _language(info: str) -> str:
    """Return the word that names a fence's language; JupyterLab would draw mermaid as a picture."""
    found = re.match(r"[A-Za-z0-9_+#.-]*", info.strip())
    word = found[0] if found else ""
    return "text" if word.lower() == "mermaid" else word


def _destination(href: str) -> str:
    """Return what follows a link's label: where it goes, or, for a dead link, where it would have gone."""
    if _is_link(href):
        return f"]({_quoted(href)})"
    shown = re.sub(r"[`|\s]", " ", safe_plain(href)).strip() or "nowhere"
    return f" (`{shown}`)"


def _is_uncertain(span: _Span, content: str) -> bool:
    """Whether parsers may count backticks otherwise: blocks may begin within a span's lines, links within maths."""
    source = content[span.start : span.end]
    if span.kind == "maths":
        return "`" in source or "\n" in source or bool(_BARE_LINK.search(source))
    return span.kind == "backticks" and "\n" in source


class _Labels:
    """The labels of an inline text's links, none of which is within another."""

    def __init__(self, spans: list[_Span]) -> None:
        bounds = sorted((span.start, span.label_end) for span in spans if span.kind == "link")
        self._starts = [start for start, _ in bounds]
        self._ends = [end for _, end in bounds]

    def __contains__(self, position: int) -> bool:
        nearest = bisect_right(self._starts, position - 1) - 1
        return nearest >= 0 and position <= self._ends[nearest]


def _dollars_shown(content: str, spans: list[_Span]) -> int:
    """Count the dollars that JupyterLab's maths will see in an inline text."""
    in_code = sum(content.count("$", span.start, span.end) for span in spans if span.kind == "backticks")
    return content.count("$") - in_code + 2 * any(span.kind == "maths" for span in spans)


def _literal(text: str, dollar: str = _DOLLAR) -> str:
    """Return inline text, its emphasis as it is, with nothing in it that any parser could take for more."""
    text = text.replace("<", "&lt;")
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


def _apart(text: str, replacement: str, *, has_active_code: bool) -> str:
    """Return text that does not join with what comes behind it: an image's mark, a bare link, a mark of code."""
    if replacement.startswith("[") and text.endswith("!"):
        text = f"{text[:-1]}&#33;"
    if has_active_code and replacement.startswith("`") and text.endswith("~"):
        bare = text.rstrip("~")
        text = bare + r"\~" * (len(text) - len(bare))
    head, last_word = re.fullmatch(r"(.*?)(\S*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return head + _unlinked(last_word)


def _unlinked(text: str) -> str:
    return _BARE_LINK.sub(lambda found: f"{found['scheme']}&#{ord(found['mark'])};", text)


def _is_link(href: str) -> bool:
    """Whether a link leads to the web, to mail or within the page, whatever blanks a browser would ignore."""
    return bool(_LINK.match(re.sub(r"[\s\x00-\x20]", "", href)))


def _quoted(url: str) -> str:
    """Return a URL in which nothing ends a link's destination or begins maths, code or a table's cell."""
    bare = "".join(one for one in url if unicodedata.category(one) not in ("Cc", "Cs"))
    return quote(bare, safe="/:?#@!&'+,;=%-._~*")


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _may_load(url: str, allowed: frozenset[str]) -> bool:
    if _DATA_IMAGE.fullmatch(url):
        return len(url) <= LARGEST_DATA_IMAGE
    return bool(allowed) and url.lower().startswith(("http://", "https://")) and _host(url) in allowed


# Making sure ----------------------------------------------------------------------------------------------


@cache
def _checking_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True, "maxNesting": 60}).enable(["table", "strikethrough"])
    parser.validateLink = _accept_any  # type: ignore[method-assign]
    return parser


def _is_inert(markdown: str, allowed: frozenset[str]) -> bool:
    """Read the result as the front ends would, HTML enabled, and see that nothing active is left."""
    parser = _checking_parser()
    return all(reading is not None and _are_harmless(parser.parse(reading), allowed) for reading in readings(markdown))


def _are_harmless(tokens: list[Token], allowed: frozenset[str]) -> bool:
    return all(_is_harmless(token, allowed) for token in _all_tokens(tokens))


def _all_tokens(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all_tokens(token.children or [])


def _is_harmless(token: Token, allowed: frozenset[str]) -> bool:
    if token.type in ("html_block", "html_inline"):
        return False
    if token.type == "image":
        return _may_load(str(token.attrs["src"]), allowed)
    return token.type != "link_open" or _is_link(str(token.attrs["href"]))
