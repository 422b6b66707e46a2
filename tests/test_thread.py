"""Turns and the messages they become."""

from wandb_inference_magic.thread import Thread, Turn


def say(thread: Thread, prompt: str, cell: str | None = None, execution: str | None = None) -> list[str]:
    """Record a turn and return the contents of the messages that went along with it."""
    place = thread.place(cell, execution)
    messages = thread.messages(place, prompt, None)
    thread.record(place, Turn(prompt, f"re {prompt}", cell, execution))
    return [message["content"] for message in messages]


def test_a_conversation_goes_on() -> None:
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


def test_the_system_prompt_comes_first() -> None:
    thread = Thread("main")
    messages = thread.messages(thread.place(None, None), "hi", "Be brief.")
    assert messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def test_turns_are_numbered_from_one() -> None:
    thread = Thread("main")
    assert thread.record(thread.place("a", "1"), Turn("a", "re a", "a", "1")) == 1
    assert thread.record(thread.place("b", "2"), Turn("b", "re b", "b", "2")) == 2
    assert thread.record(thread.place("a", "3"), Turn("a", "re a", "a", "3")) == 1
