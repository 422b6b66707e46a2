"""Render Markdown in a terminal with rich: nothing hidden, nothing active, code that can be copied."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from markdown_it import MarkdownIt
from rich.markdown import CodeBlock, Markdown
from rich.syntax import Syntax

from ..text import safe_plain

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

# Use the terminal's own colours, because they are readable on any background it has.
THEME = "ansi_dark"


class _Code(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # No rich padding, because it would be copied with the code.
        yield Syntax(str(self.text).rstrip(), self.lexer_name, theme=self.theme, word_wrap=True)


class SafeMarkdown(Markdown):
    """Renders the untrusted Markdown of a reply. HTML is shown as text, and the address of a link is always visible."""

    elements: ClassVar[dict[str, Any]] = {**Markdown.elements, "fence": _Code, "code_block": _Code}

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False, code_theme=THEME)
        self.parsed = _parser().parse(safe_plain(text))


@cache
def _parser() -> MarkdownIt:
    # rich's own parser would drop HTML.
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
