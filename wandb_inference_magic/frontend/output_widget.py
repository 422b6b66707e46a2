"""Draw inside an ipywidgets Output widget, where front ends ignore updates of a displayed output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

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
    # ipywidgets keeps the widgets in the module; until 8.0.2 it kept them in the class.
    kept = getattr(module, "_instances", None)
    return list((module.Widget._active_widgets if kept is None else kept).values())


class Redrawn:
    """A redrawable output inside an Output widget. It is a second Output widget whose `outputs` are set directly.

    The `outputs` are synced as they are, so the output of other threads at the same time does not get into them.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._own: Any = None

    def draw(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        import ipywidgets

        outputs = ({"output_type": "display_data", "data": data, "metadata": metadata},)
        if self._own is None:
            self._own = ipywidgets.Output(outputs=outputs)
            self._shell.display_pub.publish({WIDGET: widget_view(self._own.model_id)})
        else:
            self._own.outputs = outputs

    def clear(self) -> None:
        """Draw nothing. It takes no space then."""
        if self._own is not None:
            self._own.outputs = ()
