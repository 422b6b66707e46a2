"""The notebook's last exception as text for a prompt: the failing cell and its traceback."""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final

from ..errors import InferenceError, Interrupted
from ..markup import fenced
from ..prompts import cut
from ..text import portable_trace, redacted, redacted_value, safe_plain

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


MAX_TOKENS: Final = 4000
# The number of a cell in its name, `Cell In[3]`.
_NUMBER: Final = re.compile(r"In ?\[(\d+)\]")


class LastError:
    """Keeps the last exception that this package did not raise. IPython stores exceptions in `sys.last_value`.

    Parameters
    ----------
    shell : InteractiveShell
    secrets : callable
        Returns the known keys, also those of endpoints that are not in use.
    """

    def __init__(self, shell: InteractiveShell, secrets: Callable[[], Collection[str]]) -> None:
        self._shell = shell
        self._secrets = secrets
        self._before_ours: BaseException | None = None

    def failing(self) -> None:
        """Remember the last exception before one of this package's exceptions replaces it."""
        last = getattr(sys, "last_value", None)
        if isinstance(last, BaseException) and not isinstance(last, InferenceError | Interrupted):
            self._before_ours = last

    def describe(self, *, tokens: int | None) -> str:
        """Return the failing cell and its traceback as Markdown, each cut to about `tokens` tokens (4,000 for None).

        Raises
        ------
        InferenceError
            When no cell has failed yet, or only those of this package.
        """
        self.failing()
        tokens = tokens or MAX_TOKENS
        error = self._before_ours
        if error is None:
            is_ours = isinstance(getattr(sys, "last_value", None), InferenceError)
            raise InferenceError(
                "No cell of this notebook has failed so far, except those whose message says what to do."
                if is_ours
                else "No cell of this notebook has failed so far.",
                remedy="Run %wbchat --error after a cell that failed.",
            )
        trace = self._in_cells(error)
        lines = _format_trace(error, trace)
        text = safe_plain(portable_trace(lines, lambda name: self._cell_name(name) is not None)).strip()
        # Hidden before they are cut: part of a key is not found.
        text, source = map(redacted, redacted_value([text, self._source(error, trace)], self._secrets()))
        parts = [f"The error:\n\n{fenced(cut(text, tokens), 'text')}"]
        if source:
            parts.insert(0, f"The cell:\n\n{fenced(cut(source, tokens), 'python')}")
        return "\n\n".join(parts)

    def _in_cells(self, error: BaseException) -> TracebackType | None:
        """Return the traceback from the first frame in a cell on, without IPython's frames before it."""
        found = error.__traceback__
        while found is not None and self._cell_name(found.tb_frame.f_code.co_filename) is None:
            found = found.tb_next
        # A cell that cannot be compiled has no frame.
        is_of_cell = isinstance(error, SyntaxError) and self._cell_name(str(error.filename)) is not None
        return None if is_of_cell and found is None else found or error.__traceback__

    def _cell_name(self, filename: str) -> str | None:
        named = self._shell.compile.format_code_name(filename)
        return " ".join(named) if named else None

    def _source(self, error: BaseException, trace: TracebackType | None) -> str:
        filename = error.filename if isinstance(error, SyntaxError) else None
        if trace is not None and self._cell_name(trace.tb_frame.f_code.co_filename) is not None:
            filename = trace.tb_frame.f_code.co_filename
        if not filename:
            return ""
        # As it was typed: the compiled code has calls in place of magics.
        number = _NUMBER.search(self._cell_name(filename) or "")
        typed = getattr(self._shell.history_manager, "input_hist_raw", [])
        if number and 0 < int(number[1]) < len(typed) and typed[int(number[1])]:
            return str(typed[int(number[1])]).strip("\n")
        return "".join(linecache.getlines(filename)).strip("\n")


def _format_trace(error: BaseException, trace: TracebackType | None) -> str:
    """Return a traceback as Python writes it, as far as the classes of its exceptions let Python do so."""
    for chain in (True, False):
        # Whatever the code of such a class raises.
        with suppress(Exception):
            return "".join(traceback.TracebackException(type(error), error, trace).format(chain=chain))
    name, text = type.__getattribute__(type(error), "__name__"), "(its text cannot be read)"
    with suppress(Exception):
        text = str(error)
    return "".join((*traceback.format_tb(trace), f"{name}: {text}"))
