"""Threads for which a model has too little room, by an estimate or by what the service says."""

from __future__ import annotations

from types import ModuleType

import pytest
from service import Answer, Script, Service, Streamed, calling, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages import estimate_messages

TOO_LONG = refused(400, "This model's maximum context length is 2000 tokens. Please reduce the length of the messages.")
TURNS = 6


def with_room_for(messages: int, script: Script) -> Script:
    """A script: refuses requests with more messages than this."""

    def answer(one: Answer) -> None:
        (script if len(one.received.body["messages"]) <= messages else TOO_LONG)(one)

    return answer


@pytest.fixture
def long_thread(api: ModuleType, service: Service) -> ModuleType:
    for number in range(TURNS):
        service.then(Streamed([f"answer {number}"]))
        api.chat(f"prompt {number}", thread="talk", system="Be brief." if number == 0 else None)
    return api


def prompts_of(service: Service) -> list[str]:
    return [one["content"] for one in service.last.body["messages"] if one["role"] == "user"]


def test_turns_for_which_the_service_has_no_room_are_left_out(long_thread: ModuleType, service: Service) -> None:
    service.always = with_room_for(5, Streamed(["Yes."]))
    reply = long_thread.chat("And?", thread="talk")
    assert reply.text == "Yes."
    assert service.last.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert prompts_of(service) == ["prompt 5", "And?"]
    assert reply.notices == (
        f"The thread does not fit into the model's context: its {TURNS - 1} oldest turns were not sent.",
    )
    assert reply.earlier_messages == 2
    assert long_thread.chat("Which turn?", thread="talk").turn == TURNS + 2, "no turn is removed from the thread"


def test_a_prompt_that_is_too_long_by_itself_is_an_error(long_thread: ModuleType, service: Service) -> None:
    service.always = TOO_LONG
    with pytest.raises(InferenceError, match="maximum context length is 2000 tokens") as raised:
        long_thread.chat("And?", thread="talk")
    assert prompts_of(service) == ["And?"]
    assert "--once" in str(raised.value)


@pytest.mark.parametrize(
    "said",
    [
        "'max_tokens' is too large: 100000. This model's maximum context length is 4096 tokens.",
        "You requested 100012 tokens (12 in the messages, 100000 in the completion). Please reduce the length.",
        "inputs tokens + max_new_tokens must be <= 4096. Given: 12 inputs tokens and 100000 max_new_tokens",
        "`max_tokens` must be less than or equal to `8192`, the maximum value is less than the `context_window`",
    ],
)
def test_a_limit_on_the_reply_that_is_too_large_is_lowered_and_no_turn_left_out(
    long_thread: ModuleType, service: Service, said: str
) -> None:
    before = len(service.chats)
    service.always = refused(400, said)
    with pytest.raises(InferenceError, match="Lower --max-tokens, or leave it out"):
        long_thread.chat("And?", thread="talk", max_tokens=100_000)
    assert len(service.chats) == before + 1
    # Where the prompt is the larger part, to shorten it may help; also where the limit has the number of the context.
    service.always = with_room_for(5, Streamed(["Yes."]))
    assert long_thread.chat("And?", thread="talk", max_tokens=2000).text == "Yes."
    # With the limit, there is room for the last turns.
    too_long = refused(
        400, "maximum context length is 8192. You requested 8300 (3300 in the messages, 5000 in the completion)"
    )
    service.always = lambda one: (too_long if len(one.received.body["messages"]) > 5 else Streamed(["Yes."]))(one)
    assert long_thread.chat("And?", thread="talk", max_tokens=5000).text == "Yes."
    service.always = with_room_for(5, Streamed(["Yes."]))
    assert long_thread.chat("And?", thread="talk", max_tokens=20).text == "Yes."


def test_the_result_of_a_tool_takes_the_place_of_old_turns(long_thread: ModuleType, service: Service) -> None:
    def read(name: str) -> str:
        """Read a file."""
        return f"the text of {name}"

    service.then(calling(("read", '{"name": "a.txt"}')))
    service.always = with_room_for(10, Streamed(["Short."]))
    reply = long_thread.chat("Read it.", thread="talk", tools=[read])
    assert reply.text == "Short."
    asking, result = service.last.body["messages"][-2:]
    assert (asking["role"], result["content"]) == ("assistant", "the text of a.txt")
    assert prompts_of(service) == ["prompt 3", "prompt 4", "prompt 5", "Read it."]
    assert "its 3 oldest turns were not sent" in reply.notices[0]


@pytest.mark.short
def test_tables_and_calls_of_tools_have_more_tokens_than_prose_of_their_length() -> None:
    prose = "The quick brown fox jumps over the lazy dog, and then it rests for a while. " * 10
    table = "0.240494,0.118842,0.904417\n" * 28
    assert 0.9 < len(table) / len(prose) < 1.1
    tokens = [estimate_messages([{"role": "user", "content": text}]) for text in (prose, table)]
    assert tokens[0] < len(prose) / 3.5
    assert tokens[1] > len(table) / 2
    call = {"id": "a", "type": "function", "function": {"name": "read", "arguments": table}}
    assert estimate_messages([{"role": "assistant", "content": "", "tool_calls": [call]}]) > len(table) / 2
