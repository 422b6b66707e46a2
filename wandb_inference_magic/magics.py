"""The magics: each reads its options, names the parts, and calls the next room."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand

from .cell import Cell
from .display import NotebookCanvas, TerminalCanvas, is_notebook
from .errors import InferenceError, Interrupted
from .exchange import Ask, send
from .line import read_line
from .options import ChatOptions, ConfigOptions, ModelsOptions
from .reference import CHAT, CONFIG, MODELS, help_text
from .thread import DEFAULT_THREAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from .display import Canvas
    from .reference import Page
    from .reply import Reply
    from .session import Session

Method = TypeVar("Method", bound="Callable[..., Any]")


def _documented(page: Page) -> Callable[[Method], Method]:
    """Give a magic its help as docstring (what `%%wbchat?` shows), and let its errors obey `debug`."""

    def decorate(method: Method) -> Method:
        @wraps(method)
        def run(self: InferenceMagics, line: str, cell: str | None = None) -> Any:
            try:
                return method(self, line) if cell is None else method(self, line, cell)
            except InferenceError as error:
                error.show_traceback = self.session.settings.debug
                raise
            except Interrupted:
                raise
            except KeyboardInterrupt:
                raise Interrupted("Run the cell again when you like.") from None

        run.__doc__ = help_text(page)
        return cast("Method", run)

    return decorate


@magics_class
class InferenceMagics(Magics):
    """`%%wbchat`, `%wbmodels` and `%wbconfig`, over one session."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session
        self._fresh: list[Reply] = []
        self._last_execution: tuple[str | None, int] | None = None

    @no_var_expand
    @line_cell_magic
    @_documented(CHAT)
    def wbchat(self, line: str, cell: str | None = None) -> Reply | None:
        magic = "%wbchat" if cell is None else "%%wbchat"
        options, text = read_line(ChatOptions, magic, line, text="rest" if cell is None else "none")
        prompt = text if cell is None else cell.strip("\n")
        if not prompt.strip():
            raise _no_prompt(magic)
        running = Cell.running(self.shell)
        reply = self._chat(options, prompt, running)
        if cell is not None or running.echoes("wbchat", line):
            return None
        return reply

    def _chat(self, options: ChatOptions, prompt: str, running: Cell) -> Reply:
        session = self.session
        canvas = None if options.quiet else self._canvas("wbchat", running, options.format or "markdown")
        before = session.last_reply
        try:
            reply = send(session, _ask(options, prompt), cell=running, canvas=canvas)
        finally:
            # Also what had come before a failure or an interrupt.
            if session.last_reply is not before:
                self.shell.user_ns["_wbreply"] = session.last_reply
        if canvas is not None:
            reply.on_screen = True
            self._fresh.append(reply)
        if options.output:
            self.shell.user_ns[options.output] = reply
        return reply

    def _canvas(self, magic: str, running: Cell, format: str = "markdown") -> Canvas:
        if not is_notebook(self.shell):
            return TerminalCanvas()
        execution = (running.execution, self.shell.execution_count)
        is_first = execution != self._last_execution
        self._last_execution = execution
        return NotebookCanvas(
            self.shell,
            owns_cell=is_first and running.starts_with(magic),
            format=format,
            allow_images_from=self.session.resolve().allow_images_from,
        )

    @no_var_expand
    @line_magic
    @_documented(MODELS)
    def wbmodels(self, line: str) -> None:
        from .picker import show_models

        options, text = read_line(ModelsOptions, "%wbmodels", line, text="words")
        show_models(self.shell, self.session, options, text, self._canvas("wbmodels", Cell.running(self.shell)))

    @no_var_expand
    @line_magic
    @_documented(CONFIG)
    def wbconfig(self, line: str) -> None:
        from .configuring import configure

        options, _ = read_line(ConfigOptions, "%wbconfig", line)
        configure(self.session, options, self._canvas("wbconfig", Cell.running(self.shell)))

    def after_cell(self, _result: object = None) -> None:
        """Let the replies of the finished cell be shown again: their drawing belongs to that cell."""
        for reply in self._fresh:
            reply.on_screen = False
        self._fresh.clear()


def _ask(options: ChatOptions, prompt: str) -> Ask:
    given = (
        ("temperature", options.temperature),
        ("max_tokens", options.max_tokens),
        ("top_p", options.top_p),
        ("seed", options.seed),
        ("stop", list(options.stop) or None),
    )
    return Ask(
        prompt=prompt,
        model=options.model,
        system=options.system,
        parameters=tuple((name, value) for name, value in given if value is not None),
        extra=options.param,
        thread=None if options.once else options.thread or DEFAULT_THREAD,
        new=options.new,
        stream=not options.no_stream,
    )


def _no_prompt(magic: str) -> InferenceError:
    where = "on the lines below it" if magic == "%%wbchat" else "behind it, on the same line"
    return InferenceError(
        "There is no prompt: nothing was sent.",
        remedy=f"Write the prompt of {magic} {where}.",
        cause="option",
    )
