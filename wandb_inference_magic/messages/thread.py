"""Conversations: named lists of turns, and the messages they become."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from .tokens import estimate_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .reply import Content, Message

DEFAULT_THREAD = "main"


class Origin(NamedTuple):
    """Where a prompt comes from: the id of its notebook cell, and that cell's run; None where there is none."""

    cell: str | None = None
    execution: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One prompt and its reply.

    `cell` is the id of the notebook cell it came from and `execution` that cell's run: a cell run again
    replaces its own turns, and a cell that chats several times in one run has several. `system` is the
    system prompt that the thread has from this turn on; None where the turn did not change it.
    """

    prompt: Content
    reply: str
    cell: str | None = None
    execution: str | None = None
    system: str | None = None

    @property
    def messages(self) -> list[Message]:
        # Reasoning is never sent back (service.md): a turn keeps the reply's text alone.
        return [{"role": "user", "content": self.prompt}, {"role": "assistant", "content": self.reply}]

    @property
    def words(self) -> str:
        """The prompt as text; an image in it is named, not shown."""
        return content_words(self.prompt)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new turn goes: after `before` earlier turns, taking the place of `replaced` turns."""

    before: int
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a prompt is sent with: the messages, how many of them are earlier ones, how many turns were left out."""

    messages: list[Message]
    earlier: int = 0
    left_out: int = 0


@dataclass
class Thread:
    """A named list of turns. `system` is the system prompt it began with, as an imported one can."""

    name: str
    turns: list[Turn] = field(default_factory=list)
    system: str | None = None

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

    def system_at(self, place: Place) -> str | None:
        """Return the system prompt in force at a place: the last one given before it."""
        given = [turn.system for turn in self.turns[: place.before] if turn.system is not None]
        return given[-1] if given else self.system

    def conversation(
        self, place: Place, prompt: Content, system: str | None, *, room: int | None = None, with_images: bool = True
    ) -> Conversation:
        """Return the messages to send: system, the turns before `place`, the prompt.

        Parameters
        ----------
        place : Place
            Where the prompt stands in this thread.
        prompt : Content
            The prompt itself.
        system : str or None
            The system prompt to send.
        room : int, optional
            For how many tokens there is room; from the oldest on, turns are left out that do not fit.
        with_images : bool
            Whether the images of earlier turns go along; otherwise their names do.
        """
        first: list[Message] = [{"role": "system", "content": system}] if system else []
        last: Message = {"role": "user", "content": prompt}
        turns = self.turns[: place.before]
        if not with_images:
            turns = [replace(turn, prompt=turn.words) for turn in turns]
        kept = turns if room is None else _latest(turns, room - estimate_messages([*first, last]))
        earlier = [message for turn in kept for message in turn.messages]
        return Conversation([*first, *earlier, last], len(earlier), len(turns) - len(kept))

    def record(self, place: Place, turn: Turn) -> int:
        """Put a finished turn at its place and return its number, counted from 1."""
        if place.replaced:
            self.turns = [
                kept for index, kept in enumerate(self.turns) if index < place.before or kept.cell != turn.cell
            ]
        self.turns.insert(place.before, turn)
        return place.before + 1

    def copy(self, name: str) -> Thread:
        """Return a thread of another name with the same turns; they are no cell's own any more."""
        return Thread(name, [replace(turn, cell=None, execution=None) for turn in self.turns], self.system)


def content_words(content: Content) -> str:
    """Return a message's content as text; an image in it is named, not shown."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] if part.get("type") == "text" else "[image]" for part in content)


def has_images(content: Content) -> bool:
    """Whether a message's content holds an image."""
    return not isinstance(content, str) and any(part.get("type") == "image_url" for part in content)


def _latest(turns: Sequence[Turn], room: int) -> list[Turn]:
    """Return the latest turns that fit into so many tokens together."""
    kept: list[Turn] = []
    for turn in reversed(turns):
        room -= estimate_messages(turn.messages)
        if room < 0:
            break
        kept.insert(0, turn)
    return kept
