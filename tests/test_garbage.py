"""When Python's garbage collector runs, and which objects it looks at."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from wandb_inference_magic.garbage import MAX_FROZEN_BY_PYTHON, only_new_objects, without_collections


@pytest.fixture
def collector() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.short
@pytest.mark.usefixtures("collector")
def test_the_collector_is_as_it_was_after_imports() -> None:
    with pytest.raises(ImportError), without_collections():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    with without_collections():
        pass
    assert not gc.isenabled()


@pytest.mark.short
@pytest.mark.usefixtures("collector")
def test_what_the_user_has_frozen_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with without_collections():
            pass
        assert 0 < gc.get_freeze_count() <= frozen
    finally:
        gc.unfreeze()


class Node:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.short
def test_only_new_objects_are_collected_and_the_others_afterwards() -> None:
    old, thresholds = weakref.ref(Node()), gc.get_threshold()
    with pytest.raises(KeyboardInterrupt), only_new_objects():
        new = weakref.ref(Node())
        gc.collect()
        assert (old() is None, new() is None) == (False, True)
        raise KeyboardInterrupt
    gc.collect()
    assert old() is None
    assert gc.get_threshold() == thresholds


@pytest.mark.short
def test_inside_such_a_block_another_one_ends_nothing() -> None:
    with only_new_objects():
        with only_new_objects():
            pass
        assert gc.get_freeze_count() > MAX_FROZEN_BY_PYTHON
    assert gc.get_freeze_count() < MAX_FROZEN_BY_PYTHON
