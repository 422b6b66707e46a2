"""Show a review of an evaluation as a widget, where a user may be present to use it."""

from __future__ import annotations

import sys
from html import escape
from typing import Any, Protocol

from ..errors import InferenceError
from ..frontend import WIDGET, ExecutionInfo, is_notebook, widget_view


class ReviewState(Protocol):
    """What a widget needs of a review."""

    choices: dict[int, str | int]

    @property
    def truth(self) -> str: ...

    def shown_cards(self) -> list[dict[str, Any]]: ...

    def decide(self, row: int, choice: str | int) -> None: ...

    def bundle(self) -> dict[str, Any]: ...


def review_bundle(review: ReviewState) -> dict[str, Any]:
    """Return a widget that shows a review, as a MIME bundle. It is empty where no widget can be shown."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    shell = get_shell()
    if shell is None or not is_notebook(shell) or not ExecutionInfo.running(shell).is_interactive:
        return {}
    try:
        return {WIDGET: widget_view(_widget(review).model_id)}
    except Exception:  # noqa: BLE001 - anywidget is missing, too old or too new: the table remains
        return {}


def _widget(review: ReviewState) -> Any:
    """Return a box with the review as text, and with the widget once the front end has loaded its code."""
    import ipywidgets as widgets

    from .anywidgets import ReviewCards

    text = escape(review.bundle()["text/plain"])
    box = widgets.VBox([widgets.HTML(f"<pre>{text}</pre>")])
    cards = ReviewCards(cards=review.shown_cards(), truth=review.truth, choices=_choices(review))

    def received(_widget: Any, content: Any, _buffers: Any) -> None:
        if content.get("ready"):
            box.children = (cards,)
        elif isinstance(content.get("decide"), list) and len(content["decide"]) == 2:
            row, choice = content["decide"]
            refused = ""
            try:
                review.decide(row, choice)
            except InferenceError as error:
                refused = str(error)
            cards.choices = _choices(review)
            cards.send({"answer": row, "error": refused})

    cards.on_msg(received)
    return box


def _choices(review: ReviewState) -> dict[str, str]:
    return {str(row): str(choice) for row, choice in review.choices.items()}
