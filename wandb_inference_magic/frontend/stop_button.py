"""The Stop button as a widget, and the way by which its clicks reach a kernel that is occupied.

Separate from `job_view`, because it cannot be defined without anywidget, which takes long to import.
"""

from __future__ import annotations

from importlib.resources import files
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from anywidget import AnyWidget
from traitlets import Bool, Unicode

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

# As in `stop_button.js`.
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
    """

    _esm = (files(__package__) / "stop_button.js").read_text(encoding="utf-8")
    _css = (files(__package__) / "stop_button.css").read_text(encoding="utf-8")

    key = Unicode().tag(sync=True)
    alive = Bool(True).tag(sync=True)
    line = Unicode().tag(sync=True)

    def __init__(self, shell: InteractiveShell, stop: Callable[[], object]) -> None:
        super().__init__(key=uuid4().hex)
        self._stop = stop
        self._manager = getattr(getattr(shell, "kernel", None), "comm_manager", None)
        self.on_msg(lambda *_: self.press())
        with _lock:
            _shown[self.key] = self
            if self._manager is not None and TARGET not in self._manager.targets:
                self._manager.register_target(TARGET, _opened)

    def press(self) -> None:
        """Do what the button is for."""
        self._stop()

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
