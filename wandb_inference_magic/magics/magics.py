"""The magics. Each one parses its options and calls its module.

What a call needs is imported on the first call, or in advance by a thread of the extension, so that loading is fast.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property, partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from IPython.core.magic import (
    MagicAlias,
    Magics,
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from ..errors import HelpRequested, InferenceError, Interrupted
from ..libraries import unexpected_failure
from ..messages import display
from ..text import is_blank

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..frontend import LastError, MagicContext, UserOutput
    from ..jobs import Job
    from ..messages import Origin, Reply
    from ..session import JobEntry, Session

Method = TypeVar("Method", bound="Callable[..., Any]")


def _help(name: str) -> str:
    from ..arguments import OPTIONS, help_text

    return help_text(OPTIONS[name])


def _reported(method: Method) -> Method:
    """Make a magic report its errors as `debug` says, and show its whole help for `?`."""

    @wraps(method)
    def run(self: InferenceMagics, line: str, cell: str | None = None) -> Any:
        try:
            self.session.await_imports()
            return method(self, line) if cell is None else method(self, line, cell)
        except HelpRequested:
            print(_help(method.__name__))
            return None
        except KeyboardInterrupt as error:
            self.last_error.failing()
            if not isinstance(error, Interrupted):
                error = Interrupted()
            error.is_plain = self._has_no_colours()
            raise error.with_traceback(None) from None
        except InferenceError as error:
            raise self._for_display(error) from error.__cause__
        except Exception as failure:
            if (described := unexpected_failure(failure)) is None:
                raise
            described.__cause__ = failure
            raise self._for_display(described) from described.__cause__

    # `?` shows what `getdoc` returns. The help is generated from the options, which loading does not import.
    vars(run)["getdoc"] = partial(_help, method.__name__)
    return cast("Method", run)


def _magic(kind: Callable[[Any], Any]) -> Callable[[Method], Method]:
    """Make a method a magic of this kind, whose line is not changed by IPython and whose errors are reported."""

    def decorated(method: Method) -> Method:
        return cast("Method", no_var_expand(kind(_reported(method))))

    return decorated


@magics_class
class InferenceMagics(Magics):
    """`%%wbchat` and the other magics, which share one session."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session
        self._own_cell_id: str | None = None
        self._last_execution: tuple[str | None, int] | None = None
        # What the shell had under the names of these magics, by their kinds.
        self.replaced: dict[str, dict[str, Any]] = {}

    @cached_property
    def last_error(self) -> LastError:
        from ..frontend import LastError

        return LastError(self.shell, self.session.keys.secrets)

    def _for_display(self, error: InferenceError) -> InferenceError:
        """Return an error as a magic raises it."""
        self.last_error.failing()
        error.show_traceback = self.session.settings.debug
        error.is_plain = self._has_no_colours()
        # IPython prints Python's traceback if a context has an exception group: the context becomes the cause.
        if not error.__suppress_context__:
            error.__cause__ = error.__context__
        error.__context__ = None
        if not error.show_traceback:
            # Extensions such as rich show the frames and the causes of any exception.
            error.__cause__, error.__traceback__ = None, None
        return error

    def _has_no_colours(self) -> bool:
        # Imported when something has failed.
        from ..frontend import has_no_colours

        return has_no_colours(self.shell)

    @_magic(line_cell_magic)
    def wbchat(self, line: str, cell: str | None = None) -> Reply | list[Reply] | Job | None:
        """Send a prompt to a model and show its reply as it is written.

        `%%wbchat?` lists the options.
        """
        from ..commands.chat import chat
        from ..frontend import is_shown_by_ipython

        magic = "%wbchat" if cell is None else "%%wbchat"
        context, options, text = self._begin(magic, line)
        prompt = text if cell is None else _body(cell)
        if is_blank(prompt) and not options.error:
            raise _no_prompt(magic)
        answer = chat(context, options, prompt, is_line=cell is None)
        is_shown = not (options.quiet or options.bg or context.cell.is_callback)
        if is_shown and answer is not None and not isinstance(answer, list):
            # The value of the cell is then not shown again.
            display.on_screen.add(answer)
        if cell is not None or is_shown_by_ipython("wbchat", line):
            return None
        return answer

    @_magic(line_magic)
    def wbmodels(self, line: str) -> None:
        """See the models and pick one.

        `%wbmodels?` lists the options.
        """
        from ..widgets import show_models

        show_models(*self._begin("%wbmodels", line))

    @_magic(line_magic)
    def wbthread(self, line: str) -> None:
        """List, switch, show, edit, export and import conversations.

        `%wbthread?` lists the options.
        """
        from ..commands.threads import manage

        manage(*self._begin("%wbthread", line))

    @_magic(cell_magic)
    def wbmap(self, line: str, cell: str) -> None:
        """Send a prompt for each row of a DataFrame, many at once; the answers become a column.

        `%%wbmap?` lists the options.
        """
        from ..commands.map import run_map_magic

        run_map_magic(*self._begin("%%wbmap", line), _body(cell))

    @_magic(cell_magic)
    def wbeval(self, line: str, cell: str) -> None:
        """Test models and prompts on rows with known answers, and say whether their difference is real.

        `%%wbeval?` lists the options.
        """
        from ..commands.evaluate import run_evaluation_magic

        run_evaluation_magic(*self._begin("%%wbeval", line), _body(cell))

    @_magic(line_magic)
    def wbjobs(self, line: str) -> None:
        """See what runs in the background; follow it, end it, get its result.

        `%wbjobs?` lists the options.
        """
        from ..commands.jobs import manage

        manage(*self._begin("%wbjobs", line))

    @_magic(line_magic)
    def wbusage(self, line: str) -> None:
        """Show tokens, seconds and cost of the calls so far, by model.

        `%wbusage?` lists the options.
        """
        from ..commands.usage import show_usage

        show_usage(*self._begin("%wbusage", line))

    @_magic(line_magic)
    def wbconfig(self, line: str) -> None:
        """Show the settings and where each comes from, change them, and check the key.

        `%wbconfig?` lists the options.
        """
        from ..commands.config import configure

        context, options, _ = self._begin("%wbconfig", line)
        configure(self.session, options, context.canvas())

    def _begin(self, magic: str, line: str) -> tuple[MagicContext, Any, str]:
        """Parse the line of a magic. Return what is around the magic, its options, and the text on the line.

        Values of options, and words of the text, may use the syntax of the prompt.
        """
        from ..arguments import MAGICS, read_line
        from ..frontend import ExecutionInfo, MagicContext, UserOutput

        shown = UserOutput(self.shell)
        render = partial(self._render, shown)
        declared, form = MAGICS[magic]
        running = ExecutionInfo.running(self.shell, self._own_cell_id)
        if magic.endswith("wbchat"):
            # A cell that fails keeps its place too.
            threads = self.session.threads
            threads.parts(threads.current).note(running.origin.cell)
        options, text = read_line(declared, magic, line, text=form, render=render)
        execution = (running.execution, self.shell.execution_count)
        is_first = execution != self._last_execution
        self._last_execution = execution
        owns_cell = is_first and running.starts_with(magic.lstrip("%"))
        context = MagicContext(self.shell, self.session, running, owns_cell, shown, self.last_error, self._stop_button)
        return context, options, text

    def _render(self, shown: UserOutput, value: str, what: str) -> str:
        """Render a part of a line, with the same names as the prompt. `shown` notes what its template shows."""
        if value.startswith("$") and value[1:] in self.shell.user_ns:
            raise InferenceError(
                f"{value} in {what} is not replaced by the variable.",
                remedy=f"Write {{{{ {value[1:]} }}}}, as in a prompt.",
            )
        if "{" not in value:
            return value
        from ..frontend import names_in_scope
        from ..prompts import render_text

        tokens = self.session.settings.value_tokens
        with shown.watched():
            return render_text(value, names_in_scope(self.shell), tokens=tokens, what=what)

    def _stop_button(self, job: JobEntry) -> AbstractContextManager[None]:
        # Imported when a button is shown: most commands have none.
        from ..widgets import stop_button

        return stop_button(self.shell, job)

    def origin(self) -> Origin:
        """Return the running cell, for the turn of a chat from Python."""
        from ..frontend import ExecutionInfo

        return ExecutionInfo.running(self.shell, self._own_cell_id).origin

    def before_cell(self, info: Any = None) -> None:
        """Record the id that IPython received for the cell it is about to run, and the error before it."""
        self._own_cell_id = getattr(info, "cell_id", None)
        self._keep_lines_of_aliases()
        # An error of this package that the cell raises, as Python code, would take its place.
        if getattr(sys, "last_value", None) is not None:
            self.last_error.failing()

    def _keep_lines_of_aliases(self) -> None:
        """Have IPython leave the lines of aliases of these magics (`%alias_magic`) as they are, too."""
        for kind, named in self.shell.magics_manager.magics.items():
            for magic in named.values():
                if isinstance(magic, MagicAlias) and magic.magic_name in self.magics[kind]:
                    no_var_expand(magic)  # type: ignore[arg-type,unused-ignore]

    def after_cell(self, _result: object = None) -> None:
        """Allow the replies of the finished cell to be displayed again, because their output belongs to that cell."""
        display.on_screen.clear()


def _body(cell: str) -> str:
    """Return the body of a cell, whose lines may end as on Windows, as the prompt that it is anywhere."""
    return cell.replace("\r\n", "\n").strip("\n")


def _no_prompt(magic: str) -> InferenceError:
    where = "on the lines below it" if magic == "%%wbchat" else "after it, on the same line"
    return InferenceError("There is no prompt: nothing was sent.", remedy=f"Write the prompt of {magic} {where}.")
