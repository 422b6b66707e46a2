"""The rows of a review as a widget: its state, and its code and style for the front end.

Separate from `review`, because it cannot be defined without anywidget, which takes long to import.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from anywidget import AnyWidget
from traitlets import Dict, List, Unicode


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
