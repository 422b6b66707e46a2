"""The widgets: their state, and their code and style for the front end.

Separate from the modules that show them, because they cannot be defined without anywidget, which takes long to import.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from anywidget import AnyWidget
from traitlets import Bool, Dict, List, Unicode

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class ModelList(AnyWidget):
    """A dropdown of models that opens as a list.

    `models` are the rows, `start` is what the search begins with. `command` is the line that chooses the model again.
    `left` says why it has no effect any more; it is empty until then.
    It sends `ready` once its code runs, and `choose` with an id. The kernel's `answer` is an error, or empty.
    """

    _esm = (files(__package__) / "picker.js").read_text(encoding="utf-8")
    _css = (files(__package__) / "picker.css").read_text(encoding="utf-8")

    models: Any = List().tag(sync=True)
    start: Any = Dict().tag(sync=True)
    source = Unicode().tag(sync=True)
    chosen = Unicode().tag(sync=True)
    command = Unicode().tag(sync=True)
    note = Unicode().tag(sync=True)
    left = Unicode().tag(sync=True)


class ReviewCards(AnyWidget):
    """One row at a time, with its answers side by side.

    `cards` are the rows, `truth` is the name of the column, `choices` holds what is decided, by row. It sends `ready`
    once its code runs, and `decide` with a row and a choice, which the kernel answers with an error or an empty text.
    """

    _esm = (files(__package__) / "review.js").read_text(encoding="utf-8")
    _css = (files(__package__) / "review.css").read_text(encoding="utf-8")

    cards: Any = List().tag(sync=True)
    truth = Unicode().tag(sync=True)
    choices: Any = Dict().tag(sync=True)


# The comm by which a click reaches a kernel that is occupied, as in `stop_button.js`.
TARGET: Final = "wandb-inference-stop"

_shown: dict[str, StopWidget] = {}
_lock = Lock()


class StopWidget(AnyWidget):
    """A button that is pressed once. `line` is what a page shows beside it that was loaded after the first line.

    Parameters
    ----------
    shell : InteractiveShell
    stop : callable
        Called when it is pressed, in whatever thread the message comes in.
    name : str
        What it stops.
    """

    _esm = (files(__package__) / "stop_button.js").read_text(encoding="utf-8")
    _css = (files(__package__) / "stop_button.css").read_text(encoding="utf-8")

    key = Unicode().tag(sync=True)
    alive = Bool(True).tag(sync=True)
    line = Unicode().tag(sync=True)
    name = Unicode().tag(sync=True)

    def __init__(self, shell: InteractiveShell, stop: Callable[[], object], name: str) -> None:
        super().__init__(key=uuid4().hex, name=name)
        self.press = stop
        self._manager = getattr(getattr(shell, "kernel", None), "comm_manager", None)
        self.on_msg(lambda *_: stop())
        with _lock:
            _shown[self.key] = self
            if self._manager is not None and TARGET not in self._manager.targets:
                self._manager.register_target(TARGET, _opened)

    def end(self, line: str) -> None:
        """Remove the button, and leave the last line for a page that is reloaded."""
        self._forget()
        self.line, self.alive = line, False

    def close(self) -> None:
        """Remove it."""
        self._forget()
        super().close()

    def _forget(self) -> None:
        """Take no more clicks. Nothing is left in the kernel after the last button."""
        with _lock:
            _shown.pop(self.key, None)
            if not _shown and self._manager is not None and TARGET in self._manager.targets:
                self._manager.unregister_target(TARGET, _opened)


def _opened(comm: Any, message: dict[str, Any]) -> None:
    """Press the button that a front end names."""
    data = message.get("content", {}).get("data")
    button = _shown.get(str(data.get("button"))) if isinstance(data, dict) else None
    comm.close()
    if button is not None:
        button.press()
