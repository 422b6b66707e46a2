"""Drawing inside an ipywidgets Output widget, where front ends heed no update of what was shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

WIDGET: Final = "application/vnd.jupyter.widget-view+json"


def widget_view(model_id: str) -> dict[str, Any]:
    """Return what shows a widget in an output, for the widget MIME type."""
    return {"version_major": 2, "version_minor": 0, "model_id": model_id}


def takes_output(shell: InteractiveShell) -> bool:
    """Whether an Output widget takes what is shown now, as in `with output:` and in `@output.capture()`."""
    # Without ipywidgets imported there is no such widget.
    module: Any = sys.modules.get("ipywidgets.widgets.widget_output")
    request = (getattr(shell.display_pub, "parent_header", None) or {}).get("msg_id")
    if module is None or not request:
        return False
    return any(isinstance(one, module.Output) and one.msg_id == request for one in _widgets())


def _widgets() -> list[Any]:
    """Return all widgets there are."""
    module: Any = sys.modules["ipywidgets.widgets.widget"]
    # ipywidgets keeps them in the module; until 8.0.2 in the class.
    kept = getattr(module, "_instances", None)
    return list((module.Widget._active_widgets if kept is None else kept).values())


class Redrawn:
    """An output inside an Output widget that can be drawn again: an Output widget of its own, told what it holds.

    What it holds is synced as it is, so that what other threads show at the same time stays out of it.
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
