"""Show a review of an evaluation as a widget, where a user may be present to use it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from ..errors import InferenceError
from ..frontend import WIDGET, ExecutionInfo, is_notebook, widget_view


def review_bundle(
    text: str,
    cards: list[dict[str, Any]],
    truth: str,
    choices: Mapping[int, str | int],
    decide: Callable[[int, str | int], object],
) -> dict[str, Any]:
    """Return a widget that shows a review, as a MIME bundle. It is empty where no widget can be shown.

    Parameters
    ----------
    text : str
        The review as text, which is shown until the front end has loaded the widget's code.
    cards : list of dict
        The rows.
    truth : str
        The name of the column with the truth.
    choices : mapping
        What is decided by now, by row. `decide` changes it.
    decide : callable
        Takes a row and a choice. Raises InferenceError if there is no such choice.
    """
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    shell = get_shell()
    if shell is None or not is_notebook(shell) or not ExecutionInfo.running(shell).is_interactive:
        return {}
    try:
        import ipywidgets as widgets

        from .anywidgets import ReviewCards

        box = widgets.VBox([widgets.HTML(f"<pre>{escape(text)}</pre>")])
        shown = ReviewCards(cards=cards, truth=truth, choices=_as_texts(choices))
    except Exception:  # noqa: BLE001 - anywidget is missing, too old or too new: the table remains
        return {}

    def received(_widget: Any, content: Any, _buffers: Any) -> None:
        if content.get("ready"):
            box.children = (shown,)
        elif isinstance(content.get("decide"), list) and len(content["decide"]) == 2:
            row, choice = content["decide"]
            refused = ""
            try:
                decide(row, choice)
            except InferenceError as error:
                refused = str(error)
            shown.choices = _as_texts(choices)
            shown.send({"answer": row, "error": refused})

    shown.on_msg(received)
    return {WIDGET: widget_view(box.model_id)}


def _as_texts(choices: Mapping[int, str | int]) -> dict[str, str]:
    return {str(row): str(choice) for row, choice in choices.items()}
