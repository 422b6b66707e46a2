"""Threads by name, and the parts that cells begin."""

import pytest

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages.thread import Origin, Thread, Turn
from wandb_inference_magic.messages.threads import ThreadParts, Threads


def talk(parts: ThreadParts, prompt: str, run: int, *, new: bool = False, system: str | None = None) -> list[str]:
    """Chat in a cell that has the prompt as its id. Return the contents of the messages, the system prompt included."""
    origin = Origin(prompt, f"run {run}")
    if new:
        parts.begin(thread := Thread("main"), origin)
    else:
        thread, parts.exists = parts.continued(origin), True
    place = thread.place(*origin)
    messages = thread.conversation(place, prompt, system or thread.system_at(place)).messages
    thread.record(place, Turn(prompt, f"re {prompt}", *origin, system=system))
    return [message["content"] for message in messages]


def undone(parts: ThreadParts, cell: str | None = None) -> str | None:
    """Take a turn back and return its prompt."""
    turn = parts.undo(cell)
    return None if turn is None else turn.prompt_text


def prompts(thread: Thread) -> list[object]:
    return [turn.prompt for turn in thread.turns]


def test_cells_whose_turns_were_taken_back_keep_their_places() -> None:
    parts = ThreadParts("main")
    for cell in "abc":
        talk(parts, cell, 1)
    compare = Origin("compare", "run 1")
    assert parts.before_chat(compare).place(*compare).before == 3
    assert [undone(parts), undone(parts)] == ["c", "b"]
    assert talk(parts, "c", 2) == ["a", "re a", "c"]
    assert talk(parts, "b", 3) == ["a", "re a", "b"]
    assert prompts(parts.current) == ["a", "b", "c"]
    assert parts.before_chat(compare).place(*compare).before == 3


def test_a_cell_above_an_undo_that_is_run_alone_keeps_its_place() -> None:
    parts = ThreadParts("main")
    for run in range(3):
        assert talk(parts, "a", run) == ["a"]
        assert undone(parts, "u1") == "a"
        assert talk(parts, "b", run) == ["b"]
        assert undone(parts, "u2") == "b"
        assert talk(parts, "c", run) == ["c"]
        talk(parts, "b", 10 + run)


def test_cells_that_are_run_again_with_an_undo_among_them_send_the_same_again() -> None:
    parts = ThreadParts("main")
    for run in range(3):
        assert talk(parts, "a", run) == ["a"]
        assert talk(parts, "b", run) == ["a", "re a", "b"]
        assert undone(parts, "undo") == "b"
        assert talk(parts, "c", run) == ["a", "re a", "c"]
    # Run alone, it takes the last one back.
    assert undone(parts, "undo") == "c"
    assert undone(parts, "undo") == "a"


@pytest.mark.parametrize("cells", [("u1", "u2", "u3"), ("u1", "u1", "u1"), ("u1", "u2", "u2")])
def test_undos_in_a_row_take_the_same_turns_back_again(cells: tuple[str, ...]) -> None:
    parts = ThreadParts("main")
    for run in range(3):
        for cell in "abc":
            talk(parts, cell, run)
        assert [undone(parts, cell) for cell in cells] == ["c", "b", "a"]
        assert talk(parts, "d", run) == ["d"]
        assert talk(parts, "e", run) == ["d", "re d", "e"]
    # The cells before it have no turn any more: those below stay.
    parts.note("c")
    assert undone(parts, "u1") is None
    assert prompts(parts.current) == ["d", "e"]


def test_cells_above_one_that_began_the_thread_afresh_do_not_see_what_is_below_it() -> None:
    parts = ThreadParts("main")
    for run in range(3):
        assert talk(parts, "a", run) == ["a"]
        assert talk(parts, "b", run) == ["a", "re a", "b"]
        assert talk(parts, "c", run, new=True, system="French") == ["French", "c"]
        assert talk(parts, "d", run) == ["French", "c", "re c", "d"]
        assert talk(parts, "e", run, new=True) == ["e"]
        assert talk(parts, "f", run) == ["e", "re e", "f"]
    # One at a time, from the last one and from the first one.
    assert talk(parts, "b", 4) == ["a", "re a", "b"]
    assert talk(parts, "d", 5) == ["French", "c", "re c", "d"]
    assert talk(parts, "f", 6) == ["e", "re e", "f"]
    assert talk(parts, "new", 7) == ["e", "re e", "f", "re f", "new"]


def test_a_cell_that_no_longer_begins_the_thread_continues_the_turns_above_it() -> None:
    parts = ThreadParts("main")
    talk(parts, "a", 1)
    talk(parts, "b", 1, new=True, system="French")
    talk(parts, "c", 1)
    assert talk(parts, "b", 2) == ["a", "re a", "b"]
    assert talk(parts, "c", 2) == ["a", "re a", "b", "re b", "c"]


def test_a_chat_that_is_not_recorded_leaves_the_parts_as_they_are() -> None:
    parts = ThreadParts("main")
    talk(parts, "a", 1)
    talk(parts, "b", 1, new=True)
    talk(parts, "c", 1)
    # Its cell was changed: it no longer begins the thread. It failed, or only showed what would be sent.
    sent = parts.before_chat(Origin("b", "run 2"))
    assert prompts(sent) == ["a", "b", "c"]
    assert talk(parts, "c", 2) == ["b", "re b", "c"]
    assert talk(parts, "new", 2) == ["b", "re b", "c", "re c", "new"]
    assert talk(parts, "a", 2) == ["a"]


def test_a_cell_that_begins_a_thread_twice_keeps_the_turns_of_the_cells_above() -> None:
    parts = ThreadParts("main")
    for run in range(3):
        assert talk(parts, "a", run) == ["a"]
        # Its first chat continues, its second begins, its third continues that one.
        assert talk(parts, "b", run) == ["a", "re a", "b"]
        assert talk(parts, "b", run, new=True) == ["b"]
        assert talk(parts, "b", run) == ["b", "re b", "b"]


def test_cells_above_one_that_emptied_the_thread_do_not_see_what_is_below_it() -> None:
    parts = ThreadParts("main")
    for run in range(3):
        assert talk(parts, "a", run, system="Latin" if run == 0 else None)[-1:] == ["a"]
        parts.empty(Origin("end", f"run {run}"))
        assert not parts.current.turns
        assert talk(parts, "b", run, system="French") == ["French", "b"]
        assert talk(parts, "c", run) == ["French", "b", "re b", "c"]
    # The turn of the first cell was removed. It is not sent with the next cell above.
    parts.empty(Origin("end", "run 4"))
    assert talk(parts, "a", 5) == ["a"]
    # Nothing came after the end, so the conversation starts once more: a new cell goes on.
    assert talk(parts, "new", 6) == ["a", "re a", "new"]


def test_a_cell_that_begins_a_thread_leaves_the_parts_that_cells_below_it_have_begun() -> None:
    parts = ThreadParts("main")
    for run in range(2):
        assert talk(parts, "a", run, new=True) == ["a"]
        assert talk(parts, "b", run) == ["a", "re a", "b"]
        assert talk(parts, "c", run, new=True) == ["c"]
        assert talk(parts, "d", run) == ["c", "re c", "d"]
    assert talk(parts, "a", 2, new=True) == ["a"]
    # A new cell continues what was begun last.
    assert talk(parts, "new", 3) == ["a", "re a", "new"]
    # One below has its own conversation, which a new cell then continues.
    assert talk(parts, "d", 4) == ["c", "re c", "d"]
    assert talk(parts, "newer", 5) == ["c", "re c", "d", "re d", "newer"]
    assert talk(parts, "b", 6) == ["a", "re a", "b"]
    # If it begins no part any more, it continues the one above.
    assert talk(parts, "c", 7) == ["a", "re a", "b", "re b", "new", "re new", "c"]


def test_a_thread_that_is_emptied_has_one_part_from_there_on() -> None:
    parts = ThreadParts("main")
    talk(parts, "a", 1)
    parts.empty(Origin("end", "run 1"))
    talk(parts, "b", 1, new=True)
    talk(parts, "c", 1)
    parts.empty(Origin("end", "run 2"))
    assert talk(parts, "c", 2) == ["c"]
    assert talk(parts, "new", 2) == ["c", "re c", "new"]


def test_a_thread_exists_once_it_was_used() -> None:
    threads = Threads()
    parts = threads.parts("main")
    parts.note("a")
    assert "main" not in threads
    assert list(threads) == []
    talk(parts, "a", 1)
    assert threads["main"] is parts.current
    assert dict(threads) == {"main": parts.current}
    assert threads.existing("main") is parts
    with pytest.raises(InferenceError, match="no thread 'mani'"):
        threads.existing("mani")


def test_a_cell_that_moves_to_another_thread_leaves_the_part_that_it_was_in() -> None:
    threads = Threads()
    parts = threads.parts("main")
    talk(parts, "a", 1)
    talk(parts, "b", 1)
    talk(parts, "c", 1, new=True)
    assert threads.leave(Origin("a", "run 2"), None) == ["main"]
    assert talk(parts, "b", 3) == ["b"]


def test_an_undo_among_cells_above_one_that_began_the_thread_afresh() -> None:
    parts = ThreadParts("main")
    for run in range(3):
        assert talk(parts, "a", run) == ["a"]
        assert talk(parts, "b", run) == ["a", "re a", "b"]
        assert undone(parts, "undo") == "b"
        assert talk(parts, "c", run) == ["a", "re a", "c"]
        assert prompts(parts.shown_in("show")) == ["a", "c"]
        assert talk(parts, "d", run, new=True) == ["d"]
    # Run alone, it takes the last one back, and that of `%wbthread --show` shows the last part.
    assert prompts(parts.shown_in("show")) == ["d"]
    assert undone(parts, "undo") == "d"


@pytest.mark.parametrize("again", ["leaves", "fails and leaves", "leaves and continues"])
def test_a_cell_that_began_a_part_and_leaves_gives_its_cells_back_to_the_part_above(again: str) -> None:
    threads = Threads()
    parts = threads.parts("main")
    talk(parts, "a", 1)
    talk(parts, "b", 1, new=True)
    talk(parts, "c", 1)
    if again.startswith("fails"):
        parts.before_chat(Origin("b", "run 2"))
    assert threads.leave(Origin("b", "run 3"), "other") == ["main"]
    between = ["b", "re b"] if again.endswith("continues") else []
    if between:
        assert talk(parts, "b", 4) == ["a", "re a", "b"]
    assert talk(parts, "c", 5) == ["a", "re a", *between, "c"]
    assert talk(parts, "new", 6) == ["a", "re a", *between, "c", "re c", "new"]


def test_a_thread_whose_last_part_has_lost_its_cell_still_exists() -> None:
    threads = Threads()
    parts = threads.parts("main")
    talk(parts, "a", 1)
    talk(parts, "b", 1, new=True)
    threads.leave(Origin("b", "run 2"), None)
    assert prompts(threads["main"]) == ["a"]
    assert talk(parts, "c", 3) == ["a", "re a", "c"]
    # Without a turn it is none.
    threads.leave(Origin("a", "run 4"), None)
    threads.leave(Origin("c", "run 5"), None)
    assert "main" not in threads


def test_a_cell_that_emptied_the_thread_and_leaves_gives_its_cells_back_to_the_part_above() -> None:
    threads = Threads()
    parts = threads.parts("main")
    talk(parts, "a", 1)
    parts.empty(Origin("end", "run 1"))
    # It has no turn, and still exists.
    assert threads.leave(Origin("other", "run 1"), None) == []
    assert "main" in threads
    talk(parts, "b", 1)
    # The cell has no turn of its own.
    assert threads.leave(Origin("end", "run 2"), None) == []
    assert talk(parts, "a", 3) == ["a"]
    assert talk(parts, "b", 3) == ["a", "re a", "b"]


@pytest.mark.parametrize("ends", [("end",), ("end", "end 2"), ("begin", "end")])
def test_cells_below_one_that_empties_the_thread_again_do_not_see_what_is_above_it(ends: tuple[str, ...]) -> None:
    parts = ThreadParts("main")
    talk(parts, "a", 1)
    for run in range(3):
        for end in ends:
            if end == "begin":
                talk(parts, end, run, new=True)
            else:
                parts.empty(Origin(end, f"run {run}"))
        if run:
            assert talk(parts, "a", run) == ["a"]
            assert prompts(parts.current) == ["a"]
        assert talk(parts, "b", run) == ["b"]
        assert talk(parts, "c", run) == ["b", "re b", "c"]
    assert talk(parts, "a", 4) == ["a"]
    assert talk(parts, "new", 5) == ["b", "re b", "c", "re c", "new"]


def test_a_turn_that_is_edited_above_a_cell_that_began_a_part_is_replaced_by_a_new_cell() -> None:
    parts = ThreadParts("main")
    for run in range(2):
        talk(parts, "a", run)
        talk(parts, "b", run)
        edited = parts.shown_in("edit")
        assert prompts(edited) == ["a", "b"]
        # An edit that was not made is forgotten.
        parts.edit(edited, edited.turns[0])
        parts.edit(edited, edited.turns[1])
        talk(parts, "n", run, new=True)
    assert talk(parts, "new b", 2) == ["a", "re a", "new b"]
    assert prompts(edited) == ["a", "new b"]
    assert talk(parts, "new n", 3) == ["n", "re n", "new n"]
    parts.edit(parts.current, parts.current.turns[0])
    assert talk(parts, "new begin", 4, new=True) == ["new begin"]
    assert talk(parts, "newer", 5) == ["new begin", "re new begin", "newer"]
