"""The list of models as a widget: its state, and its code and style for the front end.

Separate from `picker`, because it cannot be defined without anywidget, which takes long to import.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from anywidget import AnyWidget
from traitlets import Bool, Dict, List, Unicode


class ModelList(AnyWidget):
    """A dropdown of models that opens as a list.

    `models` are the rows, `start` is what the search begins with. `command` is the line that chooses the model again.
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
    alive = Bool(True).tag(sync=True)
