"""A thread: a named list of turns, and the messages built from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from .content import content_text
from .tokens import estimate_messages

if TYPE_CHECKING:
    from .content import Content, Message
    from .reply import Reply

DEFAULT_THREAD = "main"


class Origin(NamedTuple):
    """Where a prompt comes from: the id of its notebook cell and the id of that cell's run, each None if unknown."""

    cell: str | None = None
    execution: str | None = None


class Turn(NamedTuple):
    """One prompt and its reply.

    `cell` is the id of the notebook cell it came from, and `execution` is the id of that cell's run. A cell that is run
    again replaces its own turns. A cell that chats several times in one run has several turns. `system` is the
    system prompt of the thread from this turn on, or None if the turn did not change it. `default_system` is that of
    the settings, if it was sent because the thread had none: the next turn gets that of its time. `answer` is what is
    known about the reply, None for an imported one.
    """

    prompt: Content
    reply: str
    cell: str | None = None
    execution: str | None = None
    system: str | None = None
    answer: Reply | None = None
    default_system: str | None = None

    @property
    def messages(self) -> list[Message]:
        # Reasoning is never sent back: a turn keeps only the text of the reply.
        return [{"role": "user", "content": self.prompt}, {"role": "assistant", "content": self.reply}]

    @property
    def prompt_text(self) -> str:
        """The prompt as text, with `[image]` for each image, and the kind of any other part."""
        return content_text(self.prompt)


class Place(NamedTuple):
    """Where a new turn goes: after `before` earlier turns.

    `is_rerun` says that it replaces the turns of earlier runs of its cell, `is_edit` that it replaces the turn that
    `%wbthread --edit` chose, which is of another cell.
    """

    before: int
    is_rerun: bool = False
    is_edit: bool = False


class Conversation(NamedTuple):
    """The messages to send, how many of them come from earlier turns, and how many turns were left out."""

    messages: list[Message]
    earlier: int
    left_out: int


@dataclass
class Thread:
    """A named list of turns.

    Attributes
    ----------
    name : str
    turns : list of Turn
    system : str or None
        The initial system prompt. An imported thread can have one.
    edited : Turn or None
        The turn that the next chat of a new cell replaces. It is the turn itself and no number: turns before it can
        come and go. If it is no longer in the thread, because its own cell was run again, nothing is replaced.
    cells : list of str
        The cells that have used the thread, in the order of their turns. Some have no turn: they compared models,
        copied the thread, failed, or showed what would be sent.
    begun : Origin
        The run of a cell that began it.
    """

    name: str
    turns: list[Turn] = field(default_factory=list)
    system: str | None = None
    edited: Turn | None = None
    cells: list[str] = field(default_factory=list, compare=False)
    begun: Origin = field(default=Origin(), compare=False)

    def until(self, cells: list[str]) -> Thread:
        """Return a copy with only these cells, and without the turns of others."""
        turns = [turn for turn in self.turns if turn.cell is None or turn.cell in cells]
        return replace(self, turns=turns, edited=None, cells=cells)

    def put_after(self, before: Thread) -> None:
        """Add the turns and cells of another thread before those of this one, which goes on with its system prompt."""
        self.turns, self.cells = [*before.turns, *self.turns], [*before.cells, *self.cells]
        self.system, self.begun, self.edited = before.system, before.begun, self.edited or before.edited

    def note(self, cell: str | None) -> None:
        """Note that a cell uses the thread. A new one is the last one, and keeps this place when it is run again."""
        if cell is not None and cell not in self.cells:
            self.cells.append(cell)

    @property
    def edited_place(self) -> int | None:
        """The place of the turn that the next chat of a new cell replaces, or None."""
        return next((index for index, turn in enumerate(self.turns) if turn is self.edited), None)

    def place(self, cell: str | None, execution: str | None) -> Place:
        """Return the place of a new turn of this run of this cell. Without a cell id it is the end.

        It is the end also for a new cell, which is noted.

        Parameters
        ----------
        cell, execution : str or None
            The running cell's id and the id of this run of it.

        Returns
        -------
        Place
            Where the turn goes. The prompt continues only the turns before it.
        """
        self.note(cell)
        mine = [index for index, turn in enumerate(self.turns) if cell is not None and turn.cell == cell]
        if not mine:
            edited = self.edited_place
            return Place(self._turns_before(cell)) if edited is None else Place(edited, is_edit=True)
        of_this_run = [index for index in mine if self.turns[index].execution == execution]
        if of_this_run:
            return Place(of_this_run[-1] + 1)
        return Place(mine[0], is_rerun=True)

    def _turns_before(self, cell: str | None) -> int:
        """Return how many turns there are before a cell that has none."""
        later = () if cell is None else self.cells[self.cells.index(cell) + 1 :]
        return next((index for index, turn in enumerate(self.turns) if turn.cell in later), len(self.turns))

    def system_at(self, place: Place) -> str | None:
        """Return the system prompt that applies at a place: the last one set before it, or the initial one."""
        # An edited turn keeps its own.
        end = place.before + place.is_edit
        given = [turn.system for turn in self.turns[:end] if turn.system is not None]
        return given[-1] if given else self.system

    def systems_sent(self) -> list[str]:
        """Return, for each turn, the system prompt that was sent from there on; an empty text if it did not change."""
        found, own, before = [], self.system, self.system
        for turn in self.turns:
            own = turn.system or own
            sent = own or turn.default_system
            found.append("" if sent == before else sent or "")
            before = sent or before
        return found

    def conversation(
        self, place: Place, prompt: Content, system: str | None, *, room: int | None = None, with_images: bool = True
    ) -> Conversation:
        """Return the messages to send: the system prompt, the turns before `place`, and the prompt.

        Parameters
        ----------
        place : Place
            The place of the prompt in this thread.
        prompt : Content
            The prompt.
        system : str or None
            The system prompt to send.
        room : int, optional
            How many tokens the messages may have. The oldest turns are left out until the rest fits.
        with_images : bool
            Whether to send the images and other parts of earlier turns. If not, `[image]` is sent instead of each.
        """
        first = system_messages(system)
        last: Message = {"role": "user", "content": prompt}
        turns = self.turns[: place.before]
        if not with_images:
            turns = [turn._replace(prompt=turn.prompt_text) for turn in turns]
        kept = turns if room is None else _latest(turns, room - estimate_messages([*first, last]))
        earlier = [message for turn in kept for message in turn.messages]
        return Conversation([*first, *earlier, last], len(earlier), len(turns) - len(kept))

    def record(self, place: Place, turn: Turn) -> int:
        """Insert a finished turn at its place and return its number, counted from 1."""
        if place.is_edit:
            old = self.turns.pop(place.before)
            turn = turn if turn.system is not None else turn._replace(system=old.system)
            self.edited = None
            self._replace_cell(old.cell, turn.cell)
        elif place.is_rerun:
            self.turns = [kept for kept in self.turns if kept.cell != turn.cell]
        self.turns.insert(place.before, turn)
        return place.before + 1

    def _replace_cell(self, old: str | None, new: str | None) -> None:
        if new is None:
            return
        self.cells = [cell for cell in self.cells if cell != new]
        # A turn of no cell was imported or copied: it is before those of cells.
        self.cells.insert(self.cells.index(old) + 1 if old in self.cells else 0, new)

    def take_back(self, *, before: str | None = None) -> Turn | None:
        """Remove the last turn, or the last one before a cell, and return it, or None if there is none."""
        end = len(self.turns) if before is None else self._turns_before(before)
        if not end:
            return None
        turn = self.turns.pop(end - 1)
        self.edited = None if self.edited is turn else self.edited
        return turn

    def copy(self, name: str, origin: Origin) -> Thread:
        """Return a thread with another name and the turns before a cell. These turns no longer belong to a cell."""
        place = self.place(*origin)
        turns = self.turns if place.is_edit else self.turns[: place.before]
        return Thread(name, [turn._replace(cell=None, execution=None) for turn in turns], self.system)


def system_messages(prompt: str | None) -> list[Message]:
    """Return the message with a system prompt; no message without one."""
    return [{"role": "system", "content": prompt}] if prompt else []


def _latest(turns: Sequence[Turn], room: int) -> list[Turn]:
    """Return the latest turns that together fit into this many tokens."""
    kept: list[Turn] = []
    for turn in reversed(turns):
        room -= estimate_messages(turn.messages)
        if room < 0:
            break
        kept.insert(0, turn)
    return kept
