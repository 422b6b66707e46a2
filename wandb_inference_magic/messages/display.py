"""How a Reply and a Review show themselves as the value of a cell: functions of layers above, imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def _as_text(reply: Any) -> dict[str, Any]:
    return {"text/plain": reply.text}


def _without_widget(_review: Any) -> dict[str, Any]:
    return {}


# Returns the MIME bundle of a Reply. The package sets it when it is imported, because rendering belongs to a layer
# above this one.
renderer: Callable[[Any], dict[str, Any]] = _as_text

# Returns the widget that shows a Review, as a MIME bundle; an empty one where no widget can be shown.
reviewer: Callable[[Any], dict[str, Any]] = _without_widget
