"""Check that Markdown is harmless: as each front end reads it, it holds only text, links and ordinary maths."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from .. import maths
from .cells import ROW_OF_DASHES
from .front_end_parsers import readings
from .links import is_link, may_load
from .parser import accept_any, commonmark_parser, page_parser

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

# The rules of nbconvert's `MathInlineParser` (`markdown_mistune.py`), in the same order.
_NBCONVERT_MATHS: Final = re.compile(
    r"(?<!\\)\$\$.*?(?<!\\)\$\$"
    r"|(?<!\\)\\\\\[.*?(?<!\\)\\\\\]"
    r"|(?<![$\\])\$.+?(?<![$\\])\$"
    r"|(?<!\\)\\\\\(.*?(?<!\\)\\\\\)"
    r"|\\begin\{(?P<name>[a-z]*\*?)\}.*?\\end\{(?P=name)\}",
    re.DOTALL,
)
_DISPLAY_MARK: Final = re.compile(r"(?<!\\)\$\$|\\\\\[|\\begin\{")
# What could be active if it were not in code.
_COULD_ACT: Final = re.compile(r"[<\]]")
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>?")
# Parsed texts: those of a long reply, which is checked several times.
_KEPT: Final = 500
# The element around a dollar (`literal.DOLLAR_APART`). It has no attributes, so it is harmless wherever it is.
_BARE_SPAN: Final = ("<span>", "</span>")


def _checking_parser() -> MarkdownIt:
    parser = commonmark_parser(html=True, maxNesting=60).enable("strikethrough")
    parser.validateLink = accept_any  # type: ignore[method-assign]
    return parser


@cache
def _parser_of_blocks(*, with_tables: bool) -> MarkdownIt:
    parser = _checking_parser().enable(["table"] * with_tables)
    parser.core.ruler.at("inline", _parse_texts)
    parser.core.ruler.enableOnly(["normalize", "block", "inline"])
    return parser


@cache
def _parser_of_texts() -> MarkdownIt:
    parser = _checking_parser()
    parser.inline.ruler.before("escape", "maths", _kept_maths)
    return parser


def _parse_texts(state: StateCore) -> None:
    """Parse the texts in blocks. Several readings, and drawings, of a document have most of them in common."""
    for token in state.tokens:
        if token.type == "inline":
            text = token.content
            if state.env.get("references"):
                token.children = _tokens_of_text(text, state.env)
            else:
                token.children = _known_tokens(text, state.env["keeps_maths"] and _has_marks(text))


@lru_cache(maxsize=_KEPT)
def _known_tokens(text: str, keeps_maths: bool) -> list[Token]:
    """Return the tokens of a text in a document without definitions."""
    return _tokens_of_text(text, {"keeps_maths": keeps_maths})


def _tokens_of_text(text: str, env: MutableMapping[str, Any]) -> list[Token]:
    (whole,) = _parser_of_texts().parseInline(text, env)
    return whole.children or []


def _has_marks(markdown: str) -> bool:
    """Whether there may be maths in Markdown."""
    return "$" in markdown or "\\" in markdown


def _kept_maths(state: StateInline, silent: bool) -> bool:
    """Parse maths as nbconvert's inline parser does."""
    found = _NBCONVERT_MATHS.match(state.src, state.pos) if state.env.get("keeps_maths") else None
    if found is None:
        return False
    if not silent:
        state.push("maths", "", 0).content = found[0].replace(r"\\", "\\") if found[0].startswith(r"\\") else found[0]
    state.pos = found.end()
    return True


def tags_in(markup: str) -> list[str]:
    """Return the HTML tags in a text, in order, without bare spans."""
    return [tag for tag in _TAG.findall(markup) if tag not in _BARE_SPAN]


def is_safe(markdown: str, allowed: frozenset[str], own_tags: Sequence[str]) -> bool:
    """Whether Markdown has nothing active in it, as any front end reads it.

    Parameters
    ----------
    markdown : str
        Everything that is shown together: front ends look for maths and HTML across its parts.
    allowed : frozenset of str
        Hosts whose images may load.
    own_tags : sequence of str
        The HTML tags that this package has added, in order. Only these may be present.
    """
    # To the parser, readings of a text without maths are all the same.
    parsed: dict[tuple[str, bool, bool], list[Token]] = {}
    # Some parsers read the lines of some tables as a paragraph.
    readings_of_tables = (True, False) if ROW_OF_DASHES.search(markdown) else (True,)
    for reading in readings(markdown, *_found_by_parser(markdown)):
        if reading is None:
            return False
        keeps_maths = reading.keeps_dollars and _has_marks(reading.markdown)
        for with_tables in readings_of_tables:
            key = reading.markdown, keeps_maths, with_tables
            parser = _parser_of_blocks(with_tables=with_tables)
            tokens = parsed[key] = parsed.get(key) or parser.parse(key[0], {"keeps_maths": keeps_maths})
            if not _are_harmless(tokens, allowed, own_tags):
                return False
            if reading.maths is not None and not is_ordinary(tokens, reading.maths):
                return False
    return True


def _found_by_parser(markdown: str) -> tuple[list[int], list[range]]:
    """Return the positions of display maths delimiters that nbconvert's parser may skip, and of fenced blocks.

    Both are empty where they do not matter. The parser matches delimiters anywhere in a paragraph, also in code. Its
    versions differ on which they skip. If one is skipped, all code up to the next one becomes text. Delimiters at the
    start of a line are certain, and so are those in code blocks.
    """
    if _DISPLAY_MARK.search(markdown) is None:
        return [], []
    env: dict[str, Any] = {}
    tokens = page_parser(only_blocks=True).parse(markdown, env)
    if not any(map(_COULD_ACT.search, _pieces_of_code(tokens, env))):
        return [], []
    starts = [0, *(end.end() for end in re.finditer("\n", markdown)), len(markdown)]
    blocks = (token.map for token in tokens if token.type == "fence" and token.map)
    fences = [range(starts[first], starts[min(last, len(starts) - 1)]) for first, last in blocks]
    within = {number for token in tokens if token.type == "inline" and token.map for number in range(*token.map)}
    unsure: list[int] = []
    for number, line in enumerate(markdown.split("\n")):
        if number in within:
            marks = (mark.start() for mark in _DISPLAY_MARK.finditer(line))
            unsure += [starts[number] + mark for mark in marks if line[:mark].strip(" >")]
    return unsure, fences


def _pieces_of_code(blocks: Sequence[Token], env: dict[str, Any]) -> Iterator[str]:
    """Yield the code blocks, then the code in lines of text: only those lines are parsed that have a backtick."""
    yield from (token.content for token in blocks if token.tag == "code")
    parser = page_parser(only_blocks=True)
    for text in (token.content for token in blocks if token.type == "inline" and "`" in token.content):
        tokens: list[Token] = []
        parser.inline.parse(text, parser, env, tokens)
        yield from (token.content for token in _all_tokens(tokens) if token.tag == "code")


def is_ordinary(tokens: Sequence[Token], pieces: Sequence[str] = ()) -> bool:
    """Whether everything that MathJax finds in a page made from Markdown tokens is ordinary maths."""
    found = (formula for text in maths.page_strings(tokens, pieces) for formula in maths.formulas(text))
    # What knows TeX is imported with the first formula.
    return all(formula is not None and maths.is_ordinary_maths(formula) for formula in found)


def _are_harmless(tokens: list[Token], allowed: frozenset[str], own_tags: Sequence[str]) -> bool:
    flat = list(_all_tokens(tokens))
    html = [token.content for token in flat if token.type in ("html_block", "html_inline")]
    return (
        [tag for one in html for tag in tags_in(one)] == list(own_tags)
        and not any("<!" in one or "<?" in one for one in html)
        and all(_is_harmless(token, allowed) for token in flat)
    )


def _all_tokens(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all_tokens(token.children or [])


def _is_harmless(token: Token, allowed: frozenset[str]) -> bool:
    if token.type == "image":
        return may_load(str(token.attrs["src"]), allowed)
    return token.type != "link_open" or is_link(str(token.attrs["href"]))
