"""What belongs to one process, and is left to it when it forks."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forgets(Protocol):
    """Holds something that belongs to this process, such as a thread or connections."""

    def forget(self) -> None:
        """Leave it to the parent process. Called in a child process that was made by `fork`."""


_holders: WeakSet[Forgets] = WeakSet()


def forget_in_children(holder: Forgets) -> None:
    """Call `holder.forget` in every child process that this one makes by `fork`."""
    _holders.add(holder)


def _forget_all() -> None:
    for holder in list(_holders):
        holder.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
