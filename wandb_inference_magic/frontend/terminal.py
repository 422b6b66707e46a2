"""Draw in a terminal: Markdown with colours while the reply streams, or plain text where that is not possible."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.markdown import CodeBlock, Markdown, TableElement
from rich.segment import Segment
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from ..concurrency import deferred_interrupts
from ..markup import page_parser, sanitize_markdown
from ..maths import to_text
from ..messages import pretty_json
from ..rendering import PLAIN, ending, lines_below, why_empty
from ..text import is_terminal, printable, safe_plain
from .canvas import BlockCanvas, Canvas

if TYPE_CHECKING:
    from markdown_it.token import Token
    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from ..messages import Reply
    from ..rendering import Column


# Use the terminal's own colours, because they are readable on any background it has.
THEME = "ansi_dark"


def terminal_canvas(format: str, *, has_no_colours: bool) -> Canvas:
    """Return the canvas for this terminal. It draws plain text if stdout is not a terminal or is a dumb one."""
    if not is_terminal(sys.stdout) or is_dumb(os.environ.get("TERM", ""), os.name):
        return PlainCanvas()
    return RichCanvas(format, has_no_colours=has_no_colours)


def is_dumb(kind: str, system: str) -> bool:
    """Return whether a terminal supports neither cursor movement nor colours, from TERM and `os.name`.

    A missing TERM means a dumb terminal, except on Windows, whose console does not set it.
    """
    return kind in ("dumb", "unknown") or (not kind and system != "nt")


class _Printing(Canvas):
    """Behaviour shared by the terminal canvases: printed text stays, and other output is printed below it."""

    def show(self, data: dict[str, Any], columns: Sequence[Column] = (), facts: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        self.discard()
        print(printable(data[PLAIN]))

    def append_below(self, data: dict[str, Any]) -> None:
        if data:
            print(printable(f"\n{data[PLAIN]}"))


class _Stdout:
    """Stdout for rich, which prints all characters or none."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._stream.write(printable(text, self._stream))

    @property
    def _stream(self) -> TextIO:
        # While rich redraws a line, stdout is an object of its own that prints above that line.
        return getattr(sys.stdout, "rich_proxied_file", sys.stdout)


class RichCanvas(BlockCanvas, _Printing):
    """Draws a reply as Markdown with colours: finished blocks are printed, the last block is redrawn while it grows.

    Parameters
    ----------
    format : str
        How the reply is shown: `markdown` and `json` are rendered; any other format is shown as plain text.
    has_no_colours : bool
        Whether the user has switched colours off. Bold and italics stay.
    """

    def __init__(self, format: str = "markdown", *, has_no_colours: bool = False) -> None:
        # JSON is printed only when it is complete. In other formats finished blocks can be printed.
        super().__init__(prints_finished_blocks=format != "json")
        self._format = format
        # In a terminal on a machine of Databricks or Colab, rich would draw as in a notebook, without an end.
        self._console = Console(
            file=cast("TextIO", _Stdout()),
            force_jupyter=False,
            highlight=False,
            markup=False,
            emoji=False,
            no_color=has_no_colours or None,
        )
        self._live: Live | None = None

    def status(self, text: str) -> None:
        line = Text(safe_plain(text), style="dim")
        self._redraw(Group(self._rendered(self._open), line) if self._open.strip() else line)

    def doing(self, text: str) -> None:
        if self._open.strip() and self._prints_finished_blocks:
            self._leave(self._open)
            self._open, self._drawn = "", 0
        self.discard()
        self._console.print(safe_plain(text), style="dim")

    def user_code(self) -> AbstractContextManager[None]:
        # It may read a line, or move the cursor: what is redrawn would be in another place.
        self.discard()
        return super().user_code()

    def thinking(self, text: str, reasoning: str) -> None:
        lines = Text(ending(reasoning)).wrap(self._console, max(self._console.width - 2, 10))[-2:]
        self._redraw(Text("\n".join((safe_plain(text), *(f"│ {line.plain.rstrip()}" for line in lines))), style="dim"))

    def thought(self, summary: str) -> None:
        self.discard()
        self._console.print(f"[{summary}: _wbreply.reasoning]\n", style="dim")

    def _draw_open(self, text: str) -> None:
        self._redraw(self._rendered(text))

    def _leave(self, text: str) -> None:
        self.discard()
        self._print(self._rendered(text))
        self._console.print()

    def _print(self, what: RenderableType) -> None:
        self._console.print(_Unpadded(what))

    def finish(self, reply: Reply, rest: str) -> None:
        self.discard()
        rest = self._open + (rest if self._has_text or rest else reply.text)
        if self._format == "json":
            self._print_json(reply)
        elif rest.strip() or not reply.text:
            self._print(self._rendered(rest if reply.text.strip() else why_empty(reply)))
        for line in lines_below(reply):
            self._console.print(line, style="dim")

    def show(self, data: dict[str, Any], columns: Sequence[Column] = (), facts: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        if not columns:
            super().show(data)
        self.discard()
        for number, column in enumerate(columns):
            if number:
                self._console.print()
            self._console.print(Text(safe_plain(column.heading), style="bold underline"))
            if column.plain:
                self._print(self._rendered(column.plain))
            for line in column.below:
                self._console.print(line, style="dim")

    def _print_json(self, reply: Reply) -> None:
        pretty = pretty_json(reply.text)
        self._print(safe_plain(reply.text) if pretty is None else SafeMarkdown(f"```json\n{pretty}\n```"))

    def _rendered(self, text: str) -> RenderableType:
        return SafeMarkdown(text) if self._format == "markdown" else Text(safe_plain(text).strip("\n"))

    def _redraw(self, what: RenderableType) -> None:
        # Rich, interrupted while it draws, leaves stdout redirected and the cursor hidden.
        with deferred_interrupts():
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(_Unpadded(what, is_redrawn=True), refresh=True)

    def discard(self) -> None:
        """Remove the growing block. Text printed afterwards stays."""
        with deferred_interrupts():
            live, self._live = self._live, None
            if live is not None:
                live.stop()


class _Unpadded:
    """Draws without the spaces with which rich pads its lines, and without blank lines at the end.

    They would be copied with the text. What the terminal shows of a key, such as `^C`, stands behind the last line, and
    would be on a line of its own.

    Parameters
    ----------
    what : RenderableType
    is_redrawn : bool
        Whether it is drawn again. Then only its last lines are drawn, those that the screen has room for: what has left
        the screen cannot be erased.
    """

    def __init__(self, what: RenderableType, *, is_redrawn: bool = False) -> None:
        self._what = what
        self._is_redrawn = is_redrawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._what, options, pad=False)
        for line in lines:
            while line and not line[-1].text.strip(" "):
                line.pop()
        while lines and not lines[-1]:
            lines.pop()
        if self._is_redrawn:
            lines = lines[-max(options.size.height - 1, 1) :]
        for line in lines:
            if line:
                yield from (*line[:-1], line[-1]._replace(text=line[-1].text.rstrip(" ")))
            yield Segment.line()


class PlainCanvas(_Printing):
    """Prints a reply as plain text while it arrives, then the footer, for pipes, files and dumb terminals.

    It shows no status: one that is printed could not be removed.
    """

    def __init__(self) -> None:
        self._ends_line = True
        self._has_text = False

    def append(self, text: str) -> None:
        self._has_text = True
        self._print(safe_plain(text))

    def step(self, markdown: str) -> None:
        self._has_text = False
        self.discard()
        self._print(f"{safe_plain(markdown)}\n")

    def finish(self, reply: Reply, rest: str) -> None:
        has_text = self._has_text or bool(rest)
        self._print(safe_plain(rest if has_text else reply.text) if reply.text.strip() else why_empty(reply))
        self.discard()
        for line in lines_below(reply):
            self._print(f"{line}\n")

    def discard(self) -> None:
        """End the line."""
        if not self._ends_line:
            self._print("\n")

    def _print(self, text: str) -> None:
        if text:
            print(printable(text), end="", flush=True)
            self._ends_line = text.endswith("\n")


class _Code(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # No rich padding, because it would be copied with the code.
        yield Syntax(str(self.text).rstrip(), self.lexer_name, theme=self.theme, word_wrap=True)


class _Table(TableElement):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                # rich would cut a word that is wider than its column.
                for column in table.columns:
                    column.overflow = "fold"
            yield table


class SafeMarkdown(Markdown):
    """Renders untrusted Markdown, read as for a notebook: HTML is text, addresses are visible, and maths is text."""

    elements: ClassVar[dict[str, Any]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "table_open": _Table,
    }

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False, code_theme=THEME)
        self.parsed = [
            shown for token in page_parser().parse(sanitize_markdown(text)) for shown in _terminal_tokens(token)
        ]


def _terminal_tokens(token: Token) -> Iterator[Token]:
    """Yield a token as rich can show it."""
    if token.type == "maths_block":
        line = replace(token, type="inline", children=[*_maths_tokens(token)])
        yield from (
            replace(token, type="paragraph_open", nesting=1),
            line,
            replace(token, type="paragraph_close", nesting=-1),
        )
    elif token.type == "maths":
        yield from _maths_tokens(token)
    elif token.type == "image":
        yield replace(token, type="text", tag="", content=f"[image: {token.content}]", children=None)
    elif token.type != "html_inline":
        # A character that was written as an entity is decoded only here.
        token = replace(token, content=safe_plain(token.content))
        children = token.children and [shown for child in token.children for shown in _terminal_tokens(child)]
        yield replace(token, children=children)


def _maths_tokens(token: Token) -> Iterator[Token]:
    """Yield maths as text with the characters that Unicode has or, if that is not possible, as code."""
    text = to_text(token.content)
    if text is None:
        yield replace(token, type="code_inline", tag="code", block=False)
        return
    for number, line in enumerate(text.split("\n")):
        if number:
            yield replace(token, type="hardbreak", tag="br", content="", block=False)
        yield replace(token, type="text", content=line, block=False)
