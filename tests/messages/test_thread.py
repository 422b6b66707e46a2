"""Turns of a thread, and the messages that they become."""

import pytest

from wandb_inference_magic.messages.thread import Origin, Thread, Turn
from wandb_inference_magic.messages.tokens import estimate_messages


def say(thread: Thread, prompt: str, cell: str | None = None, execution: str | None = None) -> list[str]:
    """Record a turn and return the contents of the messages sent with it."""
    place = thread.place(cell, execution)
    messages = thread.conversation(place, prompt, None).messages
    thread.record(place, Turn(prompt, f"re {prompt}", cell, execution))
    return [message["content"] for message in messages]


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


def test_a_system_prompt_that_is_given_again_is_sent_from_its_first_turn_on() -> None:
    turns = [Turn("a", "b", system="S1"), Turn("c", "d", system="S1"), Turn("e", "f", system="S2"), Turn("g", "h")]
    assert Thread("main", turns).systems_sent() == ["S1", "", "S2", ""]
    assert Thread("main", turns, system="S1").systems_sent() == ["", "", "S2", ""]


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
