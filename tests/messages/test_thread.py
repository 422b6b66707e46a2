"""Turns of a thread, and the messages that they become."""

import pytest

from wandb_inference_magic.messages.thread import Origin, Thread, Threads, Turn
from wandb_inference_magic.messages.tokens import estimate_messages


def say(thread: Thread, prompt: str, cell: str | None = None, execution: str | None = None) -> list[str]:
    """Record a turn and return the contents of the messages sent with it."""
    place = thread.place(cell, execution)
    messages = thread.conversation(place, prompt, None).messages
    thread.record(place, Turn(prompt, f"re {prompt}", cell, execution))
    return [message["content"] for message in messages]


def undone(thread: Thread, cell: str | None = None) -> str | None:
    """Take a turn back and return its prompt."""
    turn = thread.undo(cell)
    return None if turn is None else turn.prompt_text


def test_earlier_turns_are_sent_with_the_next_prompt() -> None:
    thread = Thread("main")
    assert say(thread, "a") == ["a"]
    assert say(thread, "b") == ["a", "re a", "b"]


def test_a_cell_run_again_replaces_its_turn_and_sees_only_the_turns_before_it() -> None:
    thread = Thread("main")
    for number, cell in enumerate(("one", "two", "three")):
        say(thread, cell, cell, f"run {number}")
    assert say(thread, "two again", "two", "run 9") == ["one", "re one", "two again"]
    assert [turn.prompt for turn in thread.turns] == ["one", "two again", "three"]


def test_a_cell_that_chats_twice_has_two_turns_and_both_are_replaced() -> None:
    thread = Thread("main")
    say(thread, "a1", "a", "run 1")
    assert say(thread, "a2", "a", "run 1") == ["a1", "re a1", "a2"]
    say(thread, "b", "b", "run 2")
    assert say(thread, "a1 again", "a", "run 3") == ["a1 again"]
    assert say(thread, "a2 again", "a", "run 3") == ["a1 again", "re a1 again", "a2 again"]
    assert [turn.prompt for turn in thread.turns] == ["a1 again", "a2 again", "b"]


def test_a_cell_without_a_turn_that_is_run_again_sees_only_the_turns_before_it() -> None:
    """It compared models, copied the thread, showed what would be sent, or failed."""
    thread = Thread("main")
    assert thread.place("top", "run 0").before == 0
    say(thread, "a", "a", "run 1")
    assert thread.place("compare", "run 2").before == 1
    say(thread, "b", "b", "run 3")
    say(thread, "a1 again", "a", "run 4")
    say(thread, "a2 again", "a", "run 4")
    assert thread.place("top", "run 5").before == 0
    assert thread.place("compare", "run 6").before == 2
    assert [turn.prompt for turn in thread.copy("other", Origin("compare", "run 7")).turns] == ["a1 again", "a2 again"]
    thread.edited = thread.turns[-1]
    say(thread, "b edited", "new", "run 8")
    assert thread.place("compare", "run 9").before == 2
    # With a turn, it has this place in the thread.
    assert say(thread, "c", "compare", "run 10")[-1] == "c"
    assert [turn.prompt for turn in thread.turns] == ["a1 again", "a2 again", "c", "b edited"]


def test_cells_whose_turns_were_taken_back_are_in_the_order_in_which_they_are_run_again() -> None:
    thread = Thread("main")
    for cell in "abc":
        say(thread, cell, cell, f"run {cell}")
    thread.place("compare", "run 1")
    assert [undone(thread), undone(thread)] == ["c", "b"]
    say(thread, "c", "c", "run 2")
    say(thread, "b", "b", "run 3")
    assert [turn.prompt for turn in thread.turns] == ["a", "c", "b"]
    assert thread.place("compare", "run 4").before == 3


def test_cells_that_are_run_again_with_an_undo_among_them_send_the_same_again() -> None:
    thread = Thread("main")
    for number in range(3):
        assert say(thread, "a", "a", f"run {number}") == ["a"]
        assert say(thread, "b", "b", f"run {number}") == ["a", "re a", "b"]
        assert undone(thread, "undo") == "b"
        assert say(thread, "c", "c", f"run {number}") == ["a", "re a", "c"]
    # Run alone, it takes the last one back.
    assert undone(thread, "undo") == "c"
    assert undone(thread, "undo") == "a"


@pytest.mark.parametrize("cells", [("u1", "u2", "u3"), ("u1", "u1", "u1"), ("u1", "u2", "u2")])
def test_undos_in_a_row_take_the_same_turns_back_again(cells: tuple[str, ...]) -> None:
    thread = Thread("main")
    for number in range(3):
        for cell in "abc":
            say(thread, cell, cell, f"run {number}")
        assert [undone(thread, cell) for cell in cells] == ["c", "b", "a"]
        assert say(thread, "d", "d", f"run {number}") == ["d"]
        assert say(thread, "e", "e", f"run {number}") == ["d", "re d", "e"]
    # The cells before it have no turn any more: those below stay.
    thread.note("c")
    assert undone(thread, "u1") is None
    assert [turn.prompt for turn in thread.turns] == ["d", "e"]


def talk(threads: Threads, prompt: str, run: int, *, new: bool = False, system: str | None = None) -> list[str]:
    """Chat in a cell that has the prompt as its id. Return the contents of the messages, the system prompt included."""
    origin = Origin(prompt, f"run {run}")
    whole = threads.get_or_new("main")
    if new:
        thread = Thread("main")
        threads.begin(thread, origin)
    else:
        whole.note(prompt)
        thread = whole.continued(origin)
        threads["main"] = whole
    place = thread.place(*origin)
    messages = thread.conversation(place, prompt, system or thread.system_at(place)).messages
    thread.record(place, Turn(prompt, f"re {prompt}", *origin, system=system))
    return [message["content"] for message in messages]


def test_cells_above_one_that_began_the_thread_afresh_do_not_see_what_is_below_it() -> None:
    threads = Threads()
    for run in range(3):
        assert talk(threads, "a", run) == ["a"]
        assert talk(threads, "b", run) == ["a", "re a", "b"]
        assert talk(threads, "c", run, new=True, system="French") == ["French", "c"]
        assert talk(threads, "d", run) == ["French", "c", "re c", "d"]
        assert talk(threads, "e", run, new=True) == ["e"]
        assert talk(threads, "f", run) == ["e", "re e", "f"]
    # One at a time, from the last one and from the first one.
    assert talk(threads, "b", 4) == ["a", "re a", "b"]
    assert talk(threads, "d", 5) == ["French", "c", "re c", "d"]
    assert talk(threads, "f", 6) == ["e", "re e", "f"]
    assert talk(threads, "new", 7) == ["e", "re e", "f", "re f", "new"]


def test_a_cell_that_no_longer_begins_the_thread_continues_the_turns_above_it() -> None:
    threads = Threads()
    talk(threads, "a", 1)
    talk(threads, "b", 1, new=True, system="French")
    talk(threads, "c", 1)
    assert talk(threads, "b", 2) == ["a", "re a", "b"]
    assert talk(threads, "c", 2) == ["a", "re a", "b", "re b", "c"]


def test_a_cell_that_begins_a_thread_twice_keeps_the_turns_of_the_cells_above() -> None:
    threads = Threads()
    for run in range(3):
        assert talk(threads, "a", run) == ["a"]
        # Its first chat continues, its second begins, its third continues that one.
        assert talk(threads, "b", run) == ["a", "re a", "b"]
        assert talk(threads, "b", run, new=True) == ["b"]
        assert talk(threads, "b", run) == ["b", "re b", "b"]
        assert len(threads["main"].parts) == 2


@pytest.mark.parametrize("end", ["empty", "delete"])
def test_cells_above_one_that_emptied_the_thread_do_not_see_what_is_below_it(end: str) -> None:
    threads = Threads()
    for run in range(3):
        assert talk(threads, "a", run, system="Latin" if run == 0 else None)[-1:] == ["a"]
        getattr(threads, end)("main", Origin("end", f"run {run}"))
        assert "main" not in threads or not threads["main"].turns
        assert talk(threads, "b", run, system="French") == ["French", "b"]
        assert talk(threads, "c", run) == ["French", "b", "re b", "c"]
    # The turn of the first cell was removed. It is not sent with the next cell above.
    threads.empty("main", Origin("end", "run 4"))
    assert talk(threads, "a", 5) == ["a"]
    # Nothing came after the end, so the conversation starts once more: a new cell goes on.
    assert talk(threads, "new", 6) == ["a", "re a", "new"]


def test_a_cell_that_moves_to_another_thread_leaves_the_part_that_it_was_in() -> None:
    threads = Threads()
    talk(threads, "a", 1)
    talk(threads, "b", 1)
    talk(threads, "c", 1, new=True)
    assert threads.leave(Origin("a", "run 2"), None) == ["main"]
    assert talk(threads, "b", 3) == ["b"]


def test_an_undo_among_cells_above_one_that_began_the_thread_afresh() -> None:
    threads = Threads()
    for run in range(3):
        assert talk(threads, "a", run) == ["a"]
        assert talk(threads, "b", run) == ["a", "re a", "b"]
        assert undone(threads["main"], "undo") == "b"
        assert talk(threads, "c", run) == ["a", "re a", "c"]
        assert [turn.prompt for turn in threads["main"].part_at("show").turns] == ["a", "c"]
        assert talk(threads, "d", run, new=True) == ["d"]
    # Run alone, it takes the last one back, and that of `%wbthread --show` shows the last part.
    assert [turn.prompt for turn in threads["main"].part_at("show").turns] == ["d"]
    assert undone(threads["main"], "undo") == "d"


def test_the_system_prompt_comes_first() -> None:
    thread = Thread("main")
    conversation = thread.conversation(thread.place(None, None), "hi", "Be brief.")
    assert conversation.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def test_turns_are_numbered_from_one() -> None:
    thread = Thread("main")
    assert thread.record(thread.place("a", "1"), Turn("a", "re a", "a", "1")) == 1
    assert thread.record(thread.place("b", "2"), Turn("b", "re b", "b", "2")) == 2
    assert thread.record(thread.place("a", "3"), Turn("a", "re a", "a", "3")) == 1


def test_the_oldest_turns_are_left_out_if_the_context_is_too_small() -> None:
    thread = Thread("main", [Turn("a" * 40, "b" * 40), Turn("c" * 40, "d" * 40), Turn("e" * 40, "f" * 40)])
    place = thread.place(None, None)
    whole = thread.conversation(place, "now", "Be brief.")
    assert (whole.earlier, whole.left_out) == (6, 0)
    room = estimate_messages(whole.messages)
    assert thread.conversation(place, "now", "Be brief.", room=room) == whole
    cut = thread.conversation(place, "now", "Be brief.", room=room - 1)
    assert (cut.earlier, cut.left_out) == (4, 1)
    assert [message["content"][0] for message in cut.messages] == ["B", "c", "d", "e", "f", "n"]
    assert thread.conversation(place, "now", None, room=-5).left_out == 3


def test_a_long_turn_that_is_left_out_takes_the_earlier_turns_with_it() -> None:
    thread = Thread("main", [Turn("a", "b"), Turn("c" * 4000, "d"), Turn("e", "f")])
    cut = thread.conversation(thread.place(None, None), "now", None, room=200)
    assert [message["content"] for message in cut.messages] == ["e", "f", "now"]


def test_a_system_prompt_applies_from_its_turn_on() -> None:
    thread = Thread(
        "main", [Turn("a", "b", "one", system="S1"), Turn("c", "d", "two"), Turn("e", "f", "3", system="S3")]
    )
    assert thread.system_at(thread.place("one", "again")) is None
    assert thread.system_at(thread.place("two", "again")) == "S1"
    assert thread.system_at(thread.place("3", "again")) == "S1"
    assert thread.system_at(thread.place("new", None)) == "S3"


def test_the_turns_of_a_copy_belong_to_no_cell() -> None:
    thread = Thread("main", [Turn("a", "b", "one", "run 1", system="S")])
    copy = thread.copy("other", Origin())
    assert copy.turns == [Turn("a", "b", system="S")]
    assert copy.place("one", "run 2").before == 1
    copy.turns.clear()
    assert len(thread.turns) == 1


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize("with_images", [True, False])
def test_images_of_earlier_turns_are_sent_unless_the_model_reads_text_only(with_images: bool) -> None:
    thread = Thread("main", [Turn([{"type": "text", "text": "See "}, IMAGE], "A dot.")])
    sent = thread.conversation(thread.place(None, None), "And?", None, with_images=with_images).messages
    assert sent[0]["content"] == ([{"type": "text", "text": "See "}, IMAGE] if with_images else "See [image]")


def test_the_own_cell_of_an_edited_turn_replaces_all_its_turns() -> None:
    thread = Thread("main")
    say(thread, "p1", "a", "run 1")
    say(thread, "p2", "b", "run 2")
    say(thread, "p3", "b", "run 2")
    thread.edited = thread.turns[1]
    assert say(thread, "new", "b", "run 3") == ["p1", "re p1", "new"]
    assert [turn.prompt for turn in thread.turns] == ["p1", "new"]
    # What was to be edited is gone: another cell goes on.
    assert say(thread, "next", "c", "run 4") == ["p1", "re p1", "new", "re new", "next"]


@pytest.mark.parametrize("again", [["a1"], ["a1", "a2", "a3"]])
def test_the_edited_turn_is_replaced_when_turns_before_it_came_or_went(again: list[str]) -> None:
    thread = Thread("main")
    for prompt, cell in (("a1", "a"), ("a2", "a"), ("b", "b"), ("c", "c")):
        say(thread, prompt, cell, f"run {cell}")
    thread.edited = thread.turns[2]
    for prompt in again:
        say(thread, prompt, "a", "run again")
    say(thread, "b edited", "d", "run d")
    assert [turn.prompt for turn in thread.turns] == [*again, "b edited", "c"]


def test_an_edited_turn_keeps_its_system_prompt_and_its_own_cell_does_not() -> None:
    thread = Thread("main", [Turn("a", "b", "one", system="S1"), Turn("c", "d", "two", system="S2")])
    thread.edited = thread.turns[1]
    assert thread.system_at(thread.place("new", "run")) == "S2"
    assert thread.system_at(thread.place("two", "run")) == "S1"
    thread.record(thread.place("new", "run"), Turn("e", "f", "new", "run"))
    assert thread.turns[1].system == "S2"
