"""The Markdown parser for replies, which records the positions of what it finds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from ..imports import quiet
from ..maths import rules as maths
from .links import is_link
from .literal import maths_as_code

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

_LABEL: Final = re.compile(r"\[((?:\\.|[^\[\]\\])+)\]", re.DOTALL)
_DEFINITION: Final = re.compile(rf"{_LABEL.pattern}:\s*<?(\S+)", re.DOTALL)
_TWO_LABELS: Final = re.compile(rf"{_LABEL.pattern}{_LABEL.pattern}", re.DOTALL)

# Tokens that are no blocks of their own, or are not shown.
_PARTS: Final = ("list_item_open", "inline", "thead_open", "tbody_open", "tr_open", "th_open", "td_open", "definition")


def expanded(text: str) -> str:
    """Return text with its tabs expanded to the spaces that Markdown counts them as."""
    return text.expandtabs(4)


@dataclass(frozen=True, slots=True)
class Span:
    """An element found in an inline text, from `start` to `end`; `label_end` is where a link's label ends.

    `kind` is the name of the rule that found it, or `no_maths` for maths that is not ordinary.
    """

    kind: str
    start: int
    end: int
    source: str
    token: Token
    label_end: int = -1

    @property
    def is_code(self) -> bool:
        """Whether it is shown as code."""
        return self.kind in ("backticks", "no_maths")


def top_blocks(tokens: Sequence[Token]) -> list[tuple[str, int]]:
    """Return the type and the first line of each block that is in no other block and is shown."""
    shown = (token for token in tokens if token.level == 0 and token.nesting >= 0 and token.type != "definition")
    return [(token.type, token.map[0]) for token in shown if token.map]


def lines_of_blocks(tokens: Sequence[Token], count: int) -> Iterator[tuple[int, int]]:
    """Return the first line of each top block and the line after it. All lines of a text, `count`, are in one."""
    return pairwise([0, *(start for _, start in top_blocks(tokens)[1:]), count])


def neighbours(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token]]:
    """Yield each two blocks that are shown one below the other in the same block, or in none."""
    above: dict[int, Token] = {}
    for token in tokens:
        if token.map is None or token.nesting < 0 or token.type in _PARTS:
            # An item begins with a block that is below none.
            if token.type == "list_item_open":
                above.pop(token.level + 1, None)
            continue
        for level in [level for level in above if level > token.level]:
            del above[level]
        if token.level in above:
            yield above[token.level], token
        above[token.level] = token


def accept_any(url: str) -> bool:  # noqa: ARG001
    """Accept every link: another parser may read as a link what this parser would leave as text."""
    return True


def commonmark_parser(**options: Any) -> MarkdownIt:
    """Return a parser for CommonMark. Every parser of this package is made here: none logs what it does."""
    from markdown_it import MarkdownIt

    class QuietParser(MarkdownIt):
        def parse(self, src: str, env: Any = None) -> list[Token]:
            # It logs each rule that it tries, thousands for a reply.
            with quiet("markdown_it"):
                return super().parse(src, env)

    return QuietParser("commonmark", options)


@cache
def block_parser() -> MarkdownIt:
    """Return the parser for replies: CommonMark with tables and maths. HTML is only text."""
    # Before the import below: it waits while another thread imports the package, which is not whole until then.
    parser = commonmark_parser(html=False, maxNesting=60, inline_definitions=True).enable(["table", "strikethrough"])
    from markdown_it.rules_block import reference
    from markdown_it.rules_inline import autolink, backtick, image, link

    parser.block.ruler.at("reference", _of_used_labels(reference))
    parser.validateLink = accept_any  # type: ignore[method-assign]
    parser.core.ruler.enableOnly(["normalize", "block"])
    maths.install(parser)
    for name, rule in (("autolink", autolink), ("backticks", backtick), ("image", image), ("link", link)):
        parser.inline.ruler.at(name, _recorded(name, rule))
    parser.inline.ruler.before("escape", "maths", _recorded("maths", _inline_maths))
    return parser


def parse_blocks(text: str, env: dict[str, Any] | None = None) -> list[Token]:
    """Return the blocks of a reply as tokens, with the parser for replies. Tabs count as the spaces of `expanded`."""
    return block_parser().parse(expanded(text), env)


@cache
def page_parser(*, only_blocks: bool = False) -> MarkdownIt:
    """Return the parser that reads safe Markdown where this package renders it: as HTML, and in a terminal.

    This package's tags stay tags, and maths is a token. With `only_blocks`, the texts in blocks are not parsed.
    """
    parser = commonmark_parser(html=True).enable(["table", "strikethrough"])
    if only_blocks:
        parser.core.ruler.enableOnly(["normalize", "block"])
    maths.install(parser)
    parser.inline.ruler.before("escape", "maths", _marked_maths)
    for kind in (maths.BLOCK, "maths"):
        parser.add_render_rule(kind, _write_maths)
    return parser


def _marked_maths(state: StateInline, silent: bool) -> bool:
    """Parse maths in the delimiters that safe Markdown uses: dollars, or an environment."""
    return state.src.startswith(("$", r"\begin{"), state.pos) and maths_as_written(state, silent, is_checked=True)


def maths_as_written(state: StateInline, silent: bool, *, is_checked: bool = False) -> bool:
    """Parse maths as one piece of text."""
    found = maths.match_inline(state.src, state.pos, state.posMax)
    if found is None or (is_checked and maths.inline_text(found) is None):
        return False
    if not silent:
        state.push("maths", "", 0).content = found[0]
    state.pos = found.end()
    return True


def _write_maths(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, env: Any) -> str:
    """Write maths as LaTeX. Write it as MathML, or as code, if `env` says so: for pages without MathJax."""
    token = tokens[index]
    shown = escape(token.content)
    if env.get("mathml"):
        # Imported with the first formula, as all that knows TeX is.
        from ..maths import to_mathml

        shown = to_mathml(token.content) or f"<code>{shown}</code>"
    return f"<p>{shown}</p>\n" if token.block else shown


def _of_used_labels(rule: Callable[[StateBlock, int, int, bool], bool]) -> Callable[[StateBlock, int, int, bool], bool]:
    """Limit the rule of definitions to those that lose nothing, because parsers show nothing of a definition.

    Such a one leads somewhere, is the only one of its label, and has a use outside code. `[Answer]: 42` is text.
    """
    from markdown_it.common.utils import normalizeReference

    def run(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        found = _DEFINITION.match(state.src, state.bMarks[start] + state.tShift[start])
        # A later part of a growing text is parsed apart, and uses no label of this one.
        if found is None or state.env.get("may_grow") or not (is_link(found[2]) or found[2].startswith("data:")):
            return False
        if state.env.get("takes_all"):
            return rule(state, start, end, silent)
        if "kept" not in state.env:
            # Parsed once more, with every definition.
            tokens = state.md.parse(state.src, {"takes_all": True})
            texts = maths.CODE.sub("", "\n\n".join(token.content for token in tokens if token.type == "inline"))
            used = {normalizeReference(one[1]) for one in _LABEL.finditer(texts)}
            defined = [token.meta for token in tokens if token.type == "definition"]
            targets = Counter(label for label, *_ in {(one["id"], one["url"], one["title"]) for one in defined})
            state.env["kept"] = {label for label in used if targets[label] < 2}
        return normalizeReference(found[1]) in state.env["kept"] and rule(state, start, end, silent)

    return run


def _recorded(kind: str, rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """Wrap an inline rule so that what it finds is added to `env["spans"]` with its position."""

    def run(state: StateInline, silent: bool) -> bool:
        start, end, known = state.pos, state.posMax, len(state.tokens)
        if kind == "link":
            state.posMax = _end_of_first(state)
        is_found = rule(state, silent)
        state.posMax = end
        token = next((one for one in state.tokens[known:] if one.type != "text"), None)
        # An image's alternative text is parsed with its own state, which has other positions.
        if token is not None and state is state.env["state"]:
            label_end = state.md.helpers.parseLinkLabel(state, start, True) if kind == "link" else -1
            name = token.type if kind == "maths" else kind
            source = state.src[start : state.pos]
            state.env["spans"].append(Span(name, start, state.pos, source, token, label_end))
        return is_found

    return run


def _end_of_first(state: StateInline) -> int:
    """Return where the first of two labels ends, both of which are defined: `[1][2]` cites two sources."""
    from markdown_it.common.utils import normalizeReference

    both = _TWO_LABELS.match(state.src, state.pos, state.posMax)
    known = state.env.get("references", ())
    return both.end(1) + 1 if both and all(normalizeReference(one) in known for one in both.groups()) else state.posMax


def _inline_maths(state: StateInline, silent: bool) -> bool:
    found = maths.match_inline(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        text = maths.inline_text(found)
        token = state.push("maths" if text is not None else "no_maths", "", 0)
        token.content = maths_as_code(found[0]) if text is None else text
    state.pos = found.end()
    return True
