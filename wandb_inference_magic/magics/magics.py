"""The magics. Each one parses its options and calls its module.

Those modules are imported on the first call, or in advance by a thread of the extension, so that loading is fast.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class, no_var_expand

from ..arguments import (
    CHAT,
    CONFIG,
    MAP,
    MODELS,
    THREAD,
    USAGE,
    ChatOptions,
    ConfigOptions,
    MapOptions,
    ModelsOptions,
    ThreadOptions,
    UsageOptions,
    help_text,
    read_line,
)
from ..errors import InferenceError, Interrupted
from ..frontend import ExecutionInfo, LastError
from ..messages import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ..arguments import Page
    from ..frontend import MagicContext
    from ..session import Session

Method = TypeVar("Method", bound="Callable[..., Any]")


def _documented(page: Page) -> Callable[[Method], Method]:
    """Set a magic's help as its docstring (shown by `%%wbchat?`), and apply `debug` to its errors."""

    def decorate(method: Method) -> Method:
        @wraps(method)
        def run(self: InferenceMagics, line: str, cell: str | None = None) -> Any:
            try:
                return method(self, line) if cell is None else method(self, line, cell)
            except InferenceError as error:
                self.last_error.failing()
                error.show_traceback = self.session.settings.debug
                _detach(error)
                raise
            except Interrupted:
                self.last_error.failing()
                raise
            except KeyboardInterrupt:
                self.last_error.failing()
                raise Interrupted("Run the cell again when you like.") from None

        run.__doc__ = help_text(page)
        return cast("Method", run)

    return decorate


def _detach(error: InferenceError) -> None:
    """Make the context of an error its cause. IPython prints Python's traceback if a context has an exception group."""
    if not error.__suppress_context__:
        error.__cause__ = error.__context__
    error.__context__ = None


@magics_class
class InferenceMagics(Magics):
    """`%%wbchat` and the other magics, which share one session."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session
        self.last_error = LastError(shell)
        self._fresh: list[Reply] = []
        self._own_cell_id: str | None = None
        self._last_execution: tuple[str | None, int] | None = None

    @no_var_expand
    @line_cell_magic
    @_documented(CHAT)
    def wbchat(self, line: str, cell: str | None = None) -> Reply | list[Reply] | None:
        from ..commands.chat import chat

        magic = "%wbchat" if cell is None else "%%wbchat"
        options, text = read_line(ChatOptions, magic, line, text=CHAT.lines[magic], render=self._render)
        prompt = text if cell is None else cell.strip("\n")
        if not prompt.strip() and not options.error:
            raise _no_prompt(magic)
        context = self._context("wbchat")
        answer = chat(context, options, prompt)
        if not options.quiet and not context.cell.is_callback:
            self._shown(answer)
        if cell is not None or context.cell.is_bare_expression("wbchat", line):
            return None
        return answer

    @no_var_expand
    @line_magic
    @_documented(MODELS)
    def wbmodels(self, line: str) -> None:
        from ..frontend import show_models

        options, text = read_line(ModelsOptions, "%wbmodels", line, text=MODELS.lines["%wbmodels"])
        context = self._context("wbmodels")
        show_models(context, options, text)

    @no_var_expand
    @line_magic
    @_documented(THREAD)
    def wbthread(self, line: str) -> None:
        from ..commands import manage

        form = THREAD.lines["%wbthread"]
        options, name = read_line(ThreadOptions, "%wbthread", line, text=form, render=self._render)
        manage(self.session, options, name, self._context("wbthread").canvas())

    @no_var_expand
    @cell_magic
    @_documented(MAP)
    def wbmap(self, line: str, cell: str) -> None:
        from ..commands import run_map_magic

        form = MAP.lines["%%wbmap"]
        options, frame = read_line(MapOptions, "%%wbmap", line, text=form, render=self._render)
        run_map_magic(self._context("wbmap"), options, frame, cell.strip("\n"))

    @no_var_expand
    @line_magic
    @_documented(USAGE)
    def wbusage(self, line: str) -> None:
        from ..commands import show_usage

        options, _ = read_line(UsageOptions, "%wbusage", line)
        show_usage(self._context("wbusage"), options)

    @no_var_expand
    @line_magic
    @_documented(CONFIG)
    def wbconfig(self, line: str) -> None:
        from ..commands import configure

        options, _ = read_line(ConfigOptions, "%wbconfig", line)
        configure(self.session, options, self._context("wbconfig").canvas())

    def _render(self, value: str, option: str) -> str:
        """Render an option's value, which may use the same template syntax as the prompt."""
        from ..prompts import render_text

        tokens = self.session.settings.value_tokens
        return render_text(value, self.shell.user_ns, tokens=tokens, what=f"the option {option}")

    def _context(self, magic: str) -> MagicContext:
        from ..frontend import MagicContext

        running = ExecutionInfo.running(self.shell, self._own_cell_id)
        execution = (running.execution, self.shell.execution_count)
        is_first = execution != self._last_execution
        self._last_execution = execution
        return MagicContext(self.shell, self.session, running, is_first and running.starts_with(magic), self.last_error)

    def _shown(self, answer: Reply | list[Reply] | None) -> None:
        """Record that the running cell already shows a reply."""
        if isinstance(answer, Reply):
            answer._on_screen = True
            self._fresh.append(answer)

    def before_cell(self, info: Any = None) -> None:
        """Record the id that IPython received for the cell it is about to run."""
        self._own_cell_id = getattr(info, "cell_id", None)

    def after_cell(self, _result: object = None) -> None:
        """Allow the replies of the finished cell to be displayed again, because their output belongs to that cell."""
        for reply in self._fresh:
            reply._on_screen = False
        self._fresh.clear()


def _no_prompt(magic: str) -> InferenceError:
    where = "on the lines below it" if magic == "%%wbchat" else "behind it, on the same line"
    return InferenceError(
        "There is no prompt: nothing was sent.",
        remedy=f"Write the prompt of {magic} {where}.",
        cause="option",
    )
