"""Markdown as rich renders it in a terminal: nothing hidden, nothing active, code as it can be copied."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from markdown_it import MarkdownIt
from rich.markdown import CodeBlock, Markdown
from rich.syntax import Syntax

from ..text import safe_plain

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

# The terminal's own colours: they can be read on its background, whatever it is.
THEME = "ansi_dark"


class _Code(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Without rich's padding, which would be copied along.
        yield Syntax(str(self.text).rstrip(), self.lexer_name, theme=self.theme, word_wrap=True)


class SafeMarkdown(Markdown):
    """A reply's Markdown, which is untrusted: HTML is text, an address is shown and not hidden behind words."""

    elements: ClassVar[dict[str, Any]] = {**Markdown.elements, "fence": _Code, "code_block": _Code}

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False, code_theme=THEME)
        self.parsed = _parser().parse(safe_plain(text))


@cache
def _parser() -> MarkdownIt:
    # rich's own would leave HTML out.
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
