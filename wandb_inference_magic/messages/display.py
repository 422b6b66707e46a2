"""The function that shows a Reply as the value of a cell. `%load_ext` sets it without importing what a Reply needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def _as_text(reply: Any) -> dict[str, Any]:
    return {"text/plain": reply.text}


# Returns the MIME bundle of a Reply. The package sets it when it is imported, because rendering belongs to a layer
# above this one.
renderer: Callable[[Any], dict[str, Any]] = _as_text
