"""Conversations: named lists of turns, and the messages they become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .reply import Message

DEFAULT_THREAD = "main"


@dataclass(frozen=True, slots=True)
class Turn:
    """One prompt and its reply.

    `cell` is the id of the notebook cell it came from and `execution` that cell's run: a cell run again
    replaces its own turns, and a cell that chats several times in one run has several.
    """

    prompt: str
    reply: str
    cell: str | None = None
    execution: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new turn goes: after `before` earlier turns, taking the place of `replaced` turns."""

    before: int
    replaced: int = 0


@dataclass
class Thread:
    """A named list of turns."""

    name: str
    turns: list[Turn] = field(default_factory=list)

    def place(self, cell: str | None, execution: str | None) -> Place:
        """Find where a turn of this run of this cell goes; without a cell id, at the end.

        Parameters
        ----------
        cell, execution : str or None
            The running cell's id and the id of this run of it.

        Returns
        -------
        Place
            Only the turns before it belong to the conversation that the prompt continues.
        """
        if cell is None:
            return Place(len(self.turns))
        mine = [index for index, turn in enumerate(self.turns) if turn.cell == cell]
        if not mine:
            return Place(len(self.turns))
        of_this_run = [index for index in mine if self.turns[index].execution == execution]
        if of_this_run:
            return Place(of_this_run[-1] + 1)
        return Place(mine[0], len(mine))

    def messages(self, place: Place, prompt: str, system: str | None) -> list[Message]:
        """Return the messages to send: system, the turns before `place`, the prompt.

        Reasoning is never sent back (service.md): a turn keeps the reply's text alone.
        """
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        for turn in self.turns[: place.before]:
            messages.append({"role": "user", "content": turn.prompt})
            messages.append({"role": "assistant", "content": turn.reply})
        messages.append({"role": "user", "content": prompt})
        return messages

    def record(self, place: Place, turn: Turn) -> int:
        """Put a finished turn at its place and return its number, counted from 1."""
        if place.replaced:
            self.turns = [
                kept for index, kept in enumerate(self.turns) if index < place.before or kept.cell != turn.cell
            ]
        self.turns.insert(place.before, turn)
        return place.before + 1
