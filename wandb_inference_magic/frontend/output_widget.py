"""Draw an output again in its place. In an Output widget of ipywidgets, front ends ignore updates by display id."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from ..rendering import BLANK, MARKDOWN, PLAIN

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

WIDGET: Final = "application/vnd.jupyter.widget-view+json"


def widget_view(model_id: str) -> dict[str, Any]:
    """Return the data of the widget MIME type that shows a widget in an output."""
    return {"version_major": 2, "version_minor": 0, "model_id": model_id}


def takes_output(shell: InteractiveShell) -> bool:
    """Return whether an Output widget captures the current output, as in `with output:` and `@output.capture()`."""
    # If ipywidgets is not imported, there is no Output widget.
    module: Any = sys.modules.get("ipywidgets.widgets.widget_output")
    request = (getattr(shell.display_pub, "parent_header", None) or {}).get("msg_id")
    if module is None or not request:
        return False
    return any(isinstance(one, module.Output) and one.msg_id == request for one in _widgets())


def _widgets() -> list[Any]:
    """Return all existing widgets."""
    module: Any = sys.modules["ipywidgets.widgets.widget"]
    # ipywidgets keeps the widgets in the module; until 8.0.2 it kept them in the class, and version 7 by another name.
    # A chat needs no widget, so it also works with one that is too old.
    kept = getattr(module, "_instances", None)
    return list((getattr(module.Widget, "_active_widgets", {}) if kept is None else kept).values())


class RedrawnOutput:
    """An output that is drawn again in its place.

    Parameters
    ----------
    shell : InteractiveShell
    in_widget : bool
        Whether an Output widget captures it. Then it is a second Output widget, whose `outputs` are set directly. They
        are synced as they are, so the output of other threads at the same time does not get into them.
    publisher : DisplayPublisher, optional
        What sends it. By default, the shell's display publisher at the time of a drawing.
    """

    def __init__(self, shell: InteractiveShell, *, in_widget: bool, publisher: Any = None) -> None:
        self._shell = shell
        self._is_in_widget = in_widget
        self._publisher = publisher
        self._own_widget: Any = None
        self._id = uuid4().hex
        self._is_drawn = False

    def draw(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Draw in place of the last drawing, or the first time in a new output."""
        publisher = self._publisher or self._shell.display_pub
        if not self._is_in_widget:
            publisher.publish(data, metadata or {}, transient={"display_id": self._id}, update=self._is_drawn)
        else:
            import ipywidgets

            outputs = ({"output_type": "display_data", "data": data, "metadata": metadata or {}},)
            if self._own_widget is None:
                self._own_widget = ipywidgets.Output(outputs=outputs)
                publisher.publish({WIDGET: widget_view(self._own_widget.model_id)})
            else:
                self._own_widget.outputs = outputs
        self._is_drawn = True

    def clear(self) -> None:
        """Draw nothing in place of the last drawing."""
        if self._own_widget is not None:
            # It takes no space then.
            self._own_widget.outputs = ()
        elif self._is_drawn:
            self.draw({MARKDOWN: BLANK, PLAIN: BLANK})
