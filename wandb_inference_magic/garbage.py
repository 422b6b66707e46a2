"""When Python's garbage collector runs, and which objects it looks at."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# From version 3.12 on, Python sets some hundred objects apart itself: those that live for ever.
MAX_FROZEN_BY_PYTHON: Final = 10_000
# As many objects as Python would let be made before it looks at them: most are gone with their request by then.
TIMES_AS_MANY: Final = 10


@contextmanager
def without_collections() -> Iterator[None]:
    """Pause Python's garbage collector, in all threads, while much is imported.

    A collection in the middle of it takes as long as 40 ms and finds nothing: what is imported stays. A process must
    not be forked meanwhile: it would have no collector.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        # All objects so far count as old: the next collection, which is of young ones, would look at each.
        if not _has_frozen():
            gc.freeze()
            gc.unfreeze()
        gc.enable()


@contextmanager
def only_new_objects() -> Iterator[None]:
    """Let the garbage collector look only at objects that are made inside the `with` block, and less often.

    For all threads. Many requests in flight bring about a full collection for about every 500 rows. It would look at
    all objects of the notebook, which takes 80 ms with pandas alone. What becomes garbage of those meanwhile is
    collected afterwards.
    """
    if _has_frozen():
        yield
        return
    young, *older = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(TIMES_AS_MANY * young, *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)
        gc.unfreeze()


def _has_frozen() -> bool:
    """Return whether the user's code has set objects apart, or this is inside `only_new_objects`."""
    return gc.get_freeze_count() > MAX_FROZEN_BY_PYTHON
