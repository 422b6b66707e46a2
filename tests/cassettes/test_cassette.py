"""Recorded exchanges are replayed without network and key. In real kernels, over real sockets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from kernels import Kernel
from recordings import LOAD, lines, record, shown, take, take_requests
from service import Answer, Script, Service, Streamed, Wandb, calling, completion, refused, usage

from wandb_inference_magic.cassettes.cassette import Cassette
from wandb_inference_magic.cassettes.file import HEADER, Exchange, line_of, read_cassette
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.failures.convert import REPLAYED
from wandb_inference_magic.session import current_session
from wandb_inference_magic.text import without_version

# Every kind of call: streamed and in one piece, with a tool and its result, several models, rows, the list of models.
EVERYTHING = (
    "%%wbchat -s 'Be kind.'\nhi",
    "%wbchat --no-stream and now",
    "def weather(city: str):\n    'The weather.'\n    return 'sun'",
    "%wbchat --tools weather --once How is Oslo?",
    "%%wbchat -m test/model-a -m test/model-b --once\nWho are you?",
    "cities = ['Rome', 'Oslo', 'Rome']",
    "%%wbmap cities\nWhere is {{ text }}?",
    "print(_wbmap)",
    "%wbmodels --table",
    "%wbchat --thread other -m test/nothing hi",
    "%wbchat Once more",
)


def answer_everything(answer: Answer) -> None:
    body = answer.received.body
    prompt = body["messages"][-1]["content"]
    if body["model"] == "test/nothing":
        refused(404, "no such model")(answer)
    elif body.get("tools") and body["messages"][-1]["role"] == "user":
        calling(("weather", '{"city": "Oslo"}'))(answer)
    elif body.get("stream"):
        Streamed([f"{body['model']} ", "says: ", prompt, " é\u2028 \N{PARTY POPPER}"], reasoning=["Hm", "."])(answer)
    else:
        completion(f"Whole: {prompt}")(answer)


def without_replay_marks(value: Any) -> Any:
    """Return outputs without the marks of a replay."""
    text = re.sub(r"This error was replayed .*?reached\.", "", json.dumps(value, ensure_ascii=False))
    text = re.sub(r" · (\d+ )?replayed", "", text).replace(r"\n\n", r"\n")
    return json.loads(text.replace('"replayed": true', '"replayed": false'))


def test_every_kind_of_call_is_replayed_without_network_and_key(
    kernel: Kernel, service: Service, offline: Callable[..., Kernel], tmp_path: Path
) -> None:
    service.always = answer_everything
    recorded = record(kernel, *EVERYTHING)
    requests_before = len(service.received)
    assert [cell for cell, (_, error) in zip(EVERYTHING, recorded, strict=True) if error] == [EVERYTHING[-2]]
    second = offline(WANDB_INFERENCE_MODEL="test/model-a")
    assert "no network" in second.run("import socket; socket.create_connection(('127.0.0.1', 1))").error
    assert second.run(f"{LOAD}\n%wbconfig --cassette class.jsonl --mode replay").ok
    replayed = shown(second, *EVERYTHING)
    again = offline(WANDB_INFERENCE_MODEL="test/model-a")
    assert again.run(f"{LOAD}\n%wbconfig --cassette class.jsonl --mode replay --pace at-once").ok
    for at_once, after, cell in zip(shown(again, *EVERYTHING), replayed, EVERYTHING, strict=True):
        assert at_once == after, cell
    for before, after, cell in zip(recorded, replayed, EVERYTHING, strict=True):
        assert without_replay_marks(after) == without_replay_marks(before), cell
    assert len(service.received) == requests_before


def test_replayed_calls_are_not_said_to_be_of_a_free_model(
    kernel: Kernel, wandb: Wandb, offline: Callable[..., Kernel]
) -> None:
    cells = ("%wbchat Hi", "%wbchat --once Hi")
    record(kernel, *cells)
    second = offline()
    second.run(f"{LOAD}\n%wbconfig --cassette class.jsonl --mode replay --pace at-once")
    shown(second, *cells)
    usage = second.run("%wbusage").text
    assert re.search(r"  nothing$", usage, re.MULTILINE), usage
    assert "free" not in usage


def test_a_repeated_request_is_answered_in_the_recorded_order(kernel: Kernel, service: Service) -> None:
    service.then(*(Streamed([word]) for word in ("one", "two", "three")))
    cell = "%wbchat --once Count"
    record(kernel, cell, cell, cell)
    kernel.run("%wbconfig --mode replay --pace at-once")
    texts = []
    for _ in range(4):
        kernel.run(cell)
        texts.append(kernel.value("_wbreply.text"))
    assert texts == ["one", "two", "three", "one"]


def test_equal_rows_have_an_answer_each_and_keep_it(
    start_api: Callable[..., ModuleType], service: Service, tmp_path: Path
) -> None:
    """Recordings are written as replies end, and the first ones asked end last here. Some requests are tried again."""
    path = tmp_path / "a.jsonl"
    asked, ended = count(), [Event() for _ in range(40)]

    def answer(one: Answer) -> None:
        number = next(asked)
        # The first three rows are in flight together.
        if number in (1, 2):
            assert ended[number + 1].wait(60)
        if number in (2, 5):
            refused(503, "again", retry_after="0")(one)
        else:
            completion(f"Answer {number}.")(one)
        ended[number].set()

    service.always = answer

    def answers(mode: str, rows: int, times: int = 1) -> list[list[str]]:
        api = start_api(**service.environment, WANDB_INFERENCE_CASSETTE=str(path), WANDB_INFERENCE_CASSETTE_MODE=mode)
        # The SDK may send the first requests of a new client in any order.
        api.chat("Hi")
        frame = pd.DataFrame({"a": ["joke"] * rows})
        return [list(api.map_prompts(frame, "A {{ a }}", concurrency=3)["reply"]) for _ in range(times)]

    first, again = answers("auto", 6, times=2)
    assert len(service.chats) == 9, "a second map has the recorded answers"
    assert len(set(first)) == 6
    assert again == first
    assert answers("replay", 6) == [again]
    (more,) = answers("auto", 8)
    assert more[:6] == again
    assert len(set(more)) == 8
    assert answers("replay", 8) == [more]


def test_of_equal_rows_the_one_without_a_recording_is_asked_again_and_the_others_keep_theirs(
    start_api: Callable[..., ModuleType], service: Service, tmp_path: Path
) -> None:
    variables = {"WANDB_INFERENCE_CASSETTE": str(tmp_path / "a.jsonl"), "WANDB_INFERENCE_CASSETTE_MODE": "auto"}
    asked = count()

    def answer(one: Answer) -> None:
        number = next(asked)
        (refused(403, "no") if number == 3 else completion(f"Answer {number}."))(one)

    service.always = answer

    def answers() -> list[Any]:
        api = start_api(**service.environment, **variables)
        return list(api.map_prompts(["joke"] * 6, "A {{ text }}", concurrency=1)["reply"])

    first = answers()
    assert [number for number, text in enumerate(first) if pd.isna(text)] == [3]
    again = answers()
    assert again == [*first[:3], "Answer 6.", *first[4:]]
    assert answers() == again
    assert len(service.chats) == 7


def test_an_unrecorded_request_is_an_error_that_names_the_first_difference(kernel: Kernel, service: Service) -> None:
    record(kernel, "%wbchat --once -t 0.5 What is the capital of France?", "%wbchat --once Tell me a joke.")
    assert kernel.run("%wbconfig --mode replay").ok
    run = kernel.run("%wbchat --once -t 0.5 What is the capital of Italy?")
    assert not run.ok
    assert "The cassette class.jsonl does not hold this request. Nothing was sent." in run.error
    assert "A recorded request with equal settings and earlier messages differs in messages[0].content." in run.error
    assert 'Recorded: "...the capital of France?". Asked: "...the capital of Italy?".' in run.error
    assert "%wbconfig --mode auto" in run.error
    assert kernel.run("%wbchat --once -t 0.5 What is the capital of France?").ok
    other = kernel.run("%wbchat --once -t 1 -m test/model-b Tell me a joke.").error
    assert 'The next recorded request differs in model. Recorded: "test/model-a". Asked: "test/model-b".' in other
    assert "temperature" not in other, "the first difference is enough"
    assert kernel.run("%wbchat --once Tell me a joke.").ok
    last = kernel.run("%wbchat --once -t 1 Tell me a joke.").error
    assert "The last recorded request differs in temperature. Recorded: nothing. Asked: 1.0." in last
    assert len(service.chats) == 2


def test_the_request_after_the_one_just_replayed_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    take(path, "one", "two", "three")
    cassette = Cassette(path, "replay", "at-once")
    assert cassette.find("wandb", "/chat/completions", {"q": "two"})
    with pytest.raises(InferenceError, match='Recorded: "three"'):
        cassette.find("wandb", "/chat/completions", {"q": "another"})


TRACEBACK = """The error:

```text
Traceback (most recent call last):
  File "The cell", line 2, in <module>
    shout({"a": 1}){marks}
  File "The cell", line 1, in shout
    return text.uper(){marks}
  [Previous line repeated {times} more times]
{error}
```"""
FORMS_OF_TRACEBACK = [
    ("", 992, "AttributeError: 'str' object has no attribute 'uper'"),
    ("\n    ~~~~~^^^^", 974, "AttributeError: 'str' object has no attribute 'uper'. Did you mean: 'upper'?"),
    ("\n    ^^^^^", 974, "ImportError: cannot import name 'uper' from 'own' (/home/a/own.py)"),
    ("", 10, "ImportError: cannot import name 'uper' from 'own' (own/__init__.py). Did you mean: 'upper'?"),
    ("\n    ^", 3, "NameError: name 'json' is not defined. Did you forget to import 'json'?"),
    ("", 3, "NameError: name 'json' is not defined"),
]


@pytest.mark.parametrize(
    ("recorded", "asked", "is_found"), [(0, 1, True), (1, 0, True), (2, 3, True), (4, 5, True), (0, 2, False)]
)
def test_a_traceback_is_found_as_other_versions_of_python_write_it(
    tmp_path: Path, recorded: int, asked: int, *, is_found: bool
) -> None:
    def request(form: int) -> dict[str, Any]:
        marks, times, error = FORMS_OF_TRACEBACK[form]
        text = TRACEBACK.replace("{marks}", marks).replace("{times}", str(times)).replace("{error}", error)
        return {"messages": [{"role": "user", "content": text}, {"role": "user", "content": "Why?"}]}

    path = tmp_path / "a.jsonl"
    take_requests(path, request(recorded))
    cassette = Cassette(path, "replay", "at-once")
    if is_found:
        assert cassette.find("wandb", "/chat/completions", request(asked))
        other = [*request(asked)["messages"][:1], {"role": "user", "content": "What now?"}]
        with pytest.raises(InferenceError, match=r'messages\[1\].content. Recorded: "Why\?"'):
            cassette.find("wandb", "/chat/completions", {"messages": other})
    else:
        with pytest.raises(InferenceError, match=r"differs in messages\[0\].content"):
            cassette.find("wandb", "/chat/completions", request(asked))


def test_a_mark_that_is_no_part_of_a_traceback_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    take_requests(path, {"messages": [{"role": "user", "content": "a\n    ^^^\nb"}]})
    with pytest.raises(InferenceError, match="differs in"):
        Cassette(path, "replay", "at-once").find(
            "wandb", "/chat/completions", {"messages": [{"role": "user", "content": "a\nb"}]}
        )


@pytest.mark.parametrize("piece", ["^", "~ ", " (", " (a.py", "\n    ", "\n    ^", "'", " Did you mean: '"])
def test_a_traceback_is_compared_in_linear_time(piece: str) -> None:
    """With quadratic time this test would take minutes."""
    text = "Traceback (most recent call last)\n    " + piece * (400_000 // len(piece)) + "x"
    assert without_version(text).startswith("Traceback")


def test_another_picture_is_named(tmp_path: Path) -> None:
    def request(digest: str) -> dict[str, Any]:
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;sha256,{digest * 64}"}}
        return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]}

    path = tmp_path / "a.jsonl"
    take_requests(path, request("a"))
    with pytest.raises(InferenceError, match="picture is another one: drawn from other data, or by another"):
        Cassette(path, "replay", "at-once").find("wandb", "/chat/completions", request("b"))


def test_a_refusal_of_the_request_is_replayed(kernel: Kernel, service: Service) -> None:
    service.then(refused(400, "max_tokens is too large"))
    before = record(kernel, "%wbchat --once --max-tokens 9 hi")[0][1]
    kernel.run("%wbconfig --mode replay")
    run = kernel.run("%wbchat --once --max-tokens 9 hi")
    assert run.error.replace(f"{REPLAYED}\n", "") == before
    assert "max_tokens is too large" in run.error
    assert REPLAYED in run.error


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, 'model "m" not found, try pulling it first'),
        (400, '"auto" tool choice requires --enable-auto-tool-choice'),
        (400, "prompt is too long"),
        (413, "too large"),
    ],
)
def test_what_was_refused_is_asked_again_in_the_mode_auto(
    api: ModuleType, service: Service, tmp_path: Path, status: int, said: str
) -> None:
    service.then(refused(status, said), refused(status, said), refused(status, said))
    service.always = completion("Good.")
    settings = current_session().settings
    settings.set(cassette="class.jsonl", cassette_mode="auto", cassette_pace="at-once")
    for _ in range(2):
        with pytest.raises(InferenceError, match=said):
            api.chat("hi")
    current_session().close()
    # As after a restart of the kernel.
    with pytest.raises(InferenceError, match=said):
        api.chat("hi")
    assert len(lines(tmp_path / "class.jsonl")) == 2
    assert [api.chat("hi").text for _ in range(2)] == ["Good."] * 2
    current_session().close()
    settings.set(cassette_mode="replay")
    assert api.chat("hi").text == "Good."
    assert len(service.chats) == 4


def test_rows_that_were_refused_are_asked_again_in_the_mode_auto(api: ModuleType, service: Service) -> None:
    service.always = refused(404, 'model "m" not found, try pulling it first')
    current_session().settings.set(cassette="class.jsonl", cassette_mode="auto", cassette_pace="at-once")
    with pytest.raises(InferenceError, match="pulling"):
        api.map_prompts(["a", "a", "b"], "{{ text }}")
    service.always = lambda answer: completion(answer.received.body["messages"][-1]["content"].upper())(answer)
    assert api.map_prompts(["a", "a", "b"], "{{ text }}").reply.tolist() == ["A", "A", "B"]
    sent = len(service.chats)
    for mode in ("auto", "replay"):
        current_session().close()
        current_session().settings.set(cassette_mode=mode)
        assert api.map_prompts(["a", "a", "b"], "{{ text }}").reply.tolist() == ["A", "A", "B"]
    assert len(service.chats) == sent


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "API key not valid. Please pass a valid API key."),
        (400, "Your credit balance is too low"),
        (404, "No models loaded"),
    ],
)
def test_what_is_wrong_with_the_key_the_account_or_the_server_is_not_recorded(
    api: ModuleType, service: Service, status: int, said: str
) -> None:
    service.then(refused(status, said), completion("Good."))
    current_session().settings.set(cassette="class.jsonl", cassette_mode="auto")
    with pytest.raises(InferenceError, match=said):
        api.chat("hi")
    assert api.chat("hi").text == "Good."


@pytest.mark.parametrize("mode", ["replay", "auto"])
@pytest.mark.parametrize(
    ("refusal", "options"),
    [
        (refused(400, "response_format: the property 'rate_limit' is not supported"), {"schema": "rate_limit int"}),
        (refused(400, "response_format is not supported"), {"json": True, "system": "Be kind."}),
        (refused(500, "response_format: json_schema is not supported"), {"schema": "rate_limit int"}),
        (refused(501, "response_format is not implemented"), {"json": True}),
        (refused(500, "Unknown field stream_options"), {}),
        (refused(400, "Unknown field stream_options"), {}),
        (lambda one: one.json({"error": {"message": "stream_options is not supported", "code": 400}}, 200), {}),
        (refused(400, "Streaming is not supported"), {}),
        (refused(400, "This model only supports streaming"), {"stream": False}),
        (refused(400, "System role not supported"), {"system": "Be kind."}),
    ],
)
def test_a_request_that_was_changed_after_a_refusal_is_replayed(
    api: ModuleType, service: Service, refusal: Any, options: dict[str, Any], mode: str
) -> None:
    service.then(refusal, completion('{"rate_limit": 1}'))
    current_session().settings.set(cassette="class.jsonl", cassette_mode="record", cassette_pace="at-once")
    recorded = api.chat("hi", **options).text
    current_session().close()
    current_session().settings.set(cassette_mode=mode)
    assert api.chat("hi", **options).text == recorded
    assert len(service.chats) == 2


@pytest.mark.parametrize("mode", ["replay", "auto"])
def test_which_of_the_requests_was_refused_first_does_not_matter_for_a_replay(
    api: ModuleType, service: Service, mode: str
) -> None:
    """Rows of a map are sent side by side, and cells are run in another order."""
    service.then(refused(400, "System role not supported"), completion("One."), completion("Two."))
    current_session().settings.set(cassette="class.jsonl", cassette_mode="record", cassette_pace="at-once")
    assert [api.chat(prompt, system="Be kind.").text for prompt in ("one", "two")] == ["One.", "Two."]
    current_session().close()
    current_session().settings.set(cassette_mode=mode)
    assert [api.chat(prompt, system="Be kind.").text for prompt in ("two", "one")] == ["Two.", "One."]
    assert len(service.chats) == 3


@pytest.mark.parametrize("mode", ["replay", "auto"])
def test_a_request_that_was_recorded_as_it_was_sent_is_replayed(api: ModuleType, service: Service, mode: str) -> None:
    """Cassettes of earlier versions have the refusal of a request, and then the request in its changed form."""
    service.then(refused(400, "System role not supported"), completion("One."), completion("Two."))
    current_session().settings.set(cassette="new.jsonl", cassette_mode="record", cassette_pace="at-once")
    for prompt in ("one", "two"):
        api.chat(prompt, system="Be kind.")
    current_session().close()
    refusal, *new = read_cassette(Path("new.jsonl")).exchanges
    sent = [replace(one, request=asked.body) for one, asked in zip(new, service.chats[1:], strict=False)]
    Path("class.jsonl").write_bytes(HEADER + b"".join(map(line_of, (refusal, *sent))))
    current_session().settings.set(cassette="class.jsonl", cassette_mode=mode)
    service.always = refused(400, "System role not supported")
    assert [api.chat(prompt, system="Be kind.").text for prompt in ("one", "two")] == ["One.", "Two."]
    # In the mode auto, the refusal is asked for again, which costs nothing.
    assert len(service.chats) == 3 + (mode == "auto")


@pytest.mark.parametrize("stream", [False, True])
def test_the_users_own_calls_get_a_recorded_reply_in_the_form_that_they_ask_for(
    api: ModuleType, service: Service, stream: bool
) -> None:
    """A chat is recorded as it was asked, and may have been answered in the other form."""
    said = "Streaming is not supported" if stream else "This model only supports streaming"
    service.then(refused(400, said), completion("Fine.") if stream else Streamed(["Fi", "ne."]))
    current_session().settings.set(cassette="class.jsonl", cassette_mode="record", cassette_pace="at-once")
    api.chat("hi", stream=stream)
    current_session().close()
    current_session().settings.set(cassette_mode="replay")
    asked = {name: value for name, value in service.chats[0].body.items() if name != "stream_options"}
    found = api.client().chat.completions.create(**asked)
    if stream:
        assert "".join(one.choices[0].delta.content or "" for one in found if one.choices) == "Fine."
    else:
        assert found.choices[0].message.content == "Fine."
        assert found.usage.total_tokens > 0


TOO_LONG = "This model's maximum context length is 4096 tokens. Please reduce the length of the messages."


def has_little_room(one: Answer, status: int = 400, said: str = TOO_LONG) -> None:
    """Answer short threads, in any format but a schema."""
    body = one.received.body
    if len(body["messages"]) > 3:
        refused(status, said)(one)
    elif body.get("response_format", {}).get("type") == "json_schema":
        refused(400, "response_format: json_schema is not supported")(one)
    else:
        completion(json.dumps({"messages": len(body["messages"])}))(one)


def replays(mode: str, **settings: Any) -> None:
    """Use the cassette from its beginning, as after a restart of the kernel."""
    current_session().close()
    current_session().settings.set(cassette="class.jsonl", cassette_mode=mode, cassette_pace="at-once", **settings)


@pytest.mark.parametrize("mode", ["replay", "auto"])
@pytest.mark.parametrize(
    ("script", "options"),
    [
        (has_little_room, {}),
        (has_little_room, {"schema": "messages int"}),
        (has_little_room, {"system": "Be kind."}),
        (partial(has_little_room, status=500), {}),
        (partial(has_little_room, status=429, said="Request too large for this model"), {}),
    ],
)
def test_a_thread_that_was_cut_after_a_refusal_is_replayed(
    api: ModuleType, service: Service, script: Script, options: dict[str, Any], mode: str
) -> None:
    service.always = script

    def talk(thread: str) -> list[str]:
        api.chat("one", thread=thread)
        api.chat("two", thread=thread)
        return [api.chat(one, thread=thread, **options).text for one in ("three", "four")]

    replays("auto")
    recorded = talk("recorded")
    sent = len(service.chats)
    assert sent >= 6
    replays(mode)
    assert talk("replayed") == recorded
    assert len(service.chats) == sent


def test_a_thread_that_was_refused_for_another_reason_is_asked_again(api: ModuleType, service: Service) -> None:
    replays("auto")
    service.then(completion("One."), refused(404, 'model "m" not found, try pulling it first'), completion("Alone."))
    api.chat("one", thread="talk")
    with pytest.raises(InferenceError, match="pulling"):
        api.chat("two", thread="talk")
    # The end of the thread that was refused.
    assert api.chat("two").text == "Alone."
    replays("auto")
    service.always = completion("Two.")
    api.chat("one", thread="again")
    assert api.chat("two", thread="again").text == "Two."


def test_a_refusal_between_answers_is_asked_again_and_the_answers_keep_their_cells(
    api: ModuleType, service: Service
) -> None:
    no = refused(400, "invalid option xyz")

    def cells() -> list[str]:
        texts = []
        for _ in range(5):
            try:
                texts.append(api.chat("hi").text)
            except InferenceError as error:
                texts.append("refused" if "xyz" in error.why else str(error))
        return texts

    replays("record")
    service.then(completion("A"), no, no, completion("B"), completion("C"))
    assert cells() == ["A", "refused", "refused", "B", "C"]
    replays("auto")
    service.then(no, completion("new"))
    assert cells() == ["A", "refused", "new", "B", "C"]
    assert len(service.chats) == 7
    replays("auto")
    service.then(completion("newer"))
    assert cells() == ["A", "newer", "new", "B", "C"]
    for mode in ("auto", "replay"):
        replays(mode)
        assert cells() == ["A", "newer", "new", "B", "C"]
    assert len(service.chats) == 8


def refused_as_json(one: Answer) -> None:
    """A script: Groq refuses what its model wrote, and sends it."""
    said = {"message": "Failed to generate JSON.", "code": "json_validate_failed", "failed_generation": '{"n": 1}'}
    one.json({"error": {**said, "type": "invalid_request_error"}}, 400)


@pytest.mark.parametrize("mode", ["replay", "auto"])
@pytest.mark.parametrize("options", [{"schema": "n int"}, {"json": True}])
def test_an_answer_that_the_service_refused_as_json_is_replayed(
    api: ModuleType, service: Service, options: dict[str, Any], mode: str
) -> None:
    service.then(refused_as_json)
    replays("auto")
    recorded = api.chat("hi", **options).parsed
    replays(mode)
    assert api.chat("hi", **options).parsed == recorded
    assert len(service.chats) == 1


def test_a_call_of_a_tool_that_the_service_refused_is_asked_again(api: ModuleType, service: Service) -> None:
    def look(n: int) -> str:
        """Look."""
        return str(n)

    service.then(refused_as_json, completion('{"n": 2}'))
    replays("auto")
    with pytest.raises(InferenceError, match="Failed to generate JSON"):
        api.chat("hi", schema="n int", tools=[look])
    replays("auto")
    assert api.chat("hi", schema="n int", tools=[look]).text == '{"n": 2}'


def test_a_refusal_is_replayed_where_it_cannot_be_asked_again(
    start_api: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Service().running() as service:
        api = start_api(**service.environment)
        service.then(completion("One."), refused(400, "invalid option xyz"))
        replays("auto")
        assert api.chat("one").text == "One."
        with pytest.raises(InferenceError, match="xyz"):
            api.chat("two")
        with monkeypatch.context() as patched:
            # The file is read-only. The superuser may write every file.
            patched.setattr("os.access", lambda *_: False)
            replays("auto")
            with pytest.raises(InferenceError, match="xyz"):
                api.chat("two")
        assert len(service.chats) == 2
    # The server is down.
    replays("auto", max_retries=0)
    assert api.chat("one").text == "One."
    with pytest.raises(InferenceError, match="xyz"):
        api.chat("two")
    with pytest.raises(InferenceError, match="could not be reached"):
        api.chat("three")


def test_a_row_that_was_answered_after_a_refusal_of_its_rate_is_replayed_as_answered(
    api: ModuleType, service: Service
) -> None:
    service.then(refused(400, "Rate limit reached, please try again in 0.1 seconds"))
    service.always = completion("Good.")
    current_session().settings.set(cassette="class.jsonl", cassette_mode="record", cassette_pace="at-once")
    recorded = api.map_prompts(["a", "b"], "{{ text }}")
    assert recorded.reply.tolist() == ["Good."] * 2
    sent = len(service.chats)
    current_session().close()
    current_session().settings.set(cassette_mode="replay")
    assert api.map_prompts(["a", "b"], "{{ text }}").equals(recorded)
    assert len(service.chats) == sent


def test_what_an_option_of_a_magic_recorded_is_replayed_for_python(kernel: Kernel, service: Service) -> None:
    """`-t 0` sends 0.0, and `temperature=0` sends 0."""
    service.always = completion("Yes.")
    kernel.run("%wbconfig --cassette both.jsonl --mode record")
    assert kernel.run("%wbchat --once -t 0 --no-stream Is it?").ok
    kernel.run("%wbconfig --cassette both.jsonl --mode replay")
    said = "from wandb_inference_magic import chat\nchat('Is it?', temperature=0, stream=False).text"
    run = kernel.run(said)
    assert run.ok, run.error
    assert len(service.chats) == 1


TIMES = "(_wbreply.seconds, _wbreply.seconds_to_first)"


def slow_down(file: Path) -> None:
    """Change the only exchange of a cassette so that it ends after 1000 seconds, from its fourth event on."""
    header, exchange = lines(file)
    exchange["reply"]["seconds"] = 1000
    for event in exchange["reply"]["events"][3:]:
        event[0] = 1000
    file.write_text(f"{json.dumps(header)}\n{json.dumps(exchange)}\n")


def test_a_replay_has_the_recorded_pace_or_none(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    service.then(Streamed(list("abcde"), per_second=5))
    cell = "%wbchat --once slowly"
    record(kernel, cell)
    recorded = kernel.value(TIMES)
    assert recorded[0] >= 0.8
    kernel.run("%wbconfig --mode replay")
    started = time.perf_counter()
    run = kernel.run(cell)
    assert time.perf_counter() - started >= recorded[0] - 0.01
    # The growing reply was drawn more than once.
    assert len(run.of("display_data", "update_display_data")) > 3
    # At once: a reply that took longer than any test may take.
    slow_down(tmp_path / "class.jsonl")
    kernel.run("%wbconfig --cassette class.jsonl --mode replay --pace at-once")
    assert kernel.run(cell).ok
    assert kernel.value(TIMES) == pytest.approx((1000, recorded[1]))


def test_a_replay_can_be_interrupted(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once hi")
    slow_down(tmp_path / "class.jsonl")
    kernel.run("%wbconfig --cassette class.jsonl --mode replay")
    run = kernel.interrupt_at("%wbchat --once hi", "Hello")
    assert "Interrupted" in run.error
    assert kernel.value("_wbreply.text").startswith("Hello")


def test_a_replay_costs_nothing(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    wandb.api.always = Streamed(counted=usage(99_998, 4))
    record(kernel_with_catalog, "%wbchat --once --max-tokens 5 hi")
    assert kernel_with_catalog.value("_wbreply.cost") == 0.1
    kernel_with_catalog.run("%wbconfig --mode replay --budget 0")
    kernel_with_catalog.run("%wbusage --reset")
    assert kernel_with_catalog.run("%wbchat --once --max-tokens 5 hi").ok
    assert kernel_with_catalog.value("_wbreply.cost") == 0.1, "the cost at the time of recording"
    kernel_with_catalog.run("%wbusage -o used")
    assert kernel_with_catalog.value("used[['calls', 'prompt_tokens', 'cost_usd']].values.tolist()") == [
        [1, 99_998, 0.0]
    ]


def test_a_replay_at_another_endpoint_names_what_to_set(api: ModuleType, tmp_path: Path) -> None:
    settings = current_session().settings
    settings.set(cassette=str(tmp_path / "here.jsonl"), cassette_mode="record")
    api.chat("hi")
    settings.set(cassette_mode="replay", endpoint="http://127.0.0.1:9/v1")
    with pytest.raises(InferenceError, match="differs in endpoint") as failed:
        api.chat("hi")
    assert "%wbconfig --endpoint auto" in str(failed.value)
    assert "WANDB_INFERENCE_BASE_URL" in str(failed.value)
    assert "Restore the cell" not in str(failed.value)


def test_a_model_that_is_set_beside_a_replay_is_not_looked_for_on_this_machine(
    start_kernel: Callable[..., Kernel], service: Service, tmp_path: Path
) -> None:
    """A lesson that was recorded with the practice model, run by a student who has chosen a model before."""
    kernel = start_kernel(**service.environment)
    kernel.run("%load_ext wandb_inference_magic")
    record(kernel, "%wbchat --once hi")
    path = tmp_path / "class.jsonl"
    recorded = path.read_text().replace(json.dumps(service.environment["WANDB_INFERENCE_BASE_URL"]), '"local"')
    path.write_text(recorded)
    kernel = start_kernel()
    kernel.run("%load_ext wandb_inference_magic\n%wbconfig --model other/model")
    kernel.run(f"%wbconfig --cassette {path} --mode replay")
    error = kernel.run("%wbchat --once hi").error
    assert "differs in model" in error
    assert "other/model" in error
    assert "and the settings (%wbconfig shows them)" in error


def test_a_map_uses_the_cassette_and_not_the_answer_cache(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    service.always = completion("Yes.")
    cells = ("rows = ['a', 'b']", "%%wbmap rows\nIs it {{ text }}?")
    shown(kernel, *cells)
    record(kernel, *cells)
    assert len(service.chats) == 4
    kernel.run("%wbconfig --mode replay")
    assert kernel.run(cells[1]).ok
    assert kernel.value("list(_wbmap['reply'])") == ["Yes.", "Yes."]
    assert len(service.chats) == 4


def test_a_row_that_the_cassette_does_not_hold_is_the_only_one_without_an_answer(
    kernel: Kernel, service: Service
) -> None:
    service.always = answer_everything
    record(kernel, "%%wbmap list('abc')\nIs it {{ text }}?")
    kernel.run("%wbconfig --mode replay")
    run = kernel.run("%%wbmap list('aXc')\nIs it {{ text }}?")
    assert run.ok
    assert "Row 2: The cassette class.jsonl does not hold this request. Nothing was sent." in run.text
    assert kernel.value("_wbmap.reply.isna().tolist()") == [False, True, False]
    # Its message names the response format: that is no refusal of the model.
    with_schema = kernel.run("%%wbmap list('abc') --schema 'mood good|bad'\nIs it {{ text }}?")
    assert not with_schema.ok, "a test that replays the notebook must see that no row is recorded"
    assert "differs in response_format." in with_schema.error
    assert "does not support" not in with_schema.error
    assert "Run it again" not in with_schema.error
    chat = kernel.run("%wbchat --once --schema 'mood good|bad' Is it a?").error
    assert "differs in response_format." in chat
    assert len(service.chats) == 3


def test_a_dask_frame_is_replayed_and_not_recorded(kernel: Kernel, service: Service) -> None:
    service.always = completion("Yes.")
    make = "import pandas as pd, dask.dataframe as dd\nframe = pd.DataFrame({'a': ['x', 'y']})"
    record(kernel, make, "%%wbmap frame\nIs it {{ a }}?", "lazy = dd.from_pandas(frame, npartitions=2)")
    assert "cannot be recorded" in kernel.run("%%wbmap lazy\nIs it {{ a }}?").error
    kernel.run("%wbconfig --mode replay")
    assert kernel.run("%%wbmap lazy\nIs it {{ a }}?").ok
    assert kernel.value("list(_wbmap.compute(scheduler='threads')['reply'])") == ["Yes.", "Yes."]
    assert len(service.chats) == 2


def test_a_request_that_only_a_cassette_could_answer_is_a_new_error_each_time(
    start_api: Callable[..., ModuleType], tmp_path: Path
) -> None:
    """A run that ends early adds to its error: the next run must not find that."""
    path = tmp_path / "a.jsonl"
    exchange = Exchange("http://elsewhere.example/v1", "/chat/completions", {"model": "m", "messages": []}, 0.1, {})
    path.write_bytes(HEADER + line_of(exchange))
    api = start_api(WANDB_INFERENCE_CASSETTE=str(path), WANDB_INFERENCE_CASSETTE_MODE="auto")
    errors = []
    for size in (2, 3):
        with pytest.raises(InferenceError, match="was recorded at") as failed:
            api.map_prompts(pd.DataFrame({"a": range(size)}), "Is {{ a }} so?")
        errors.append(failed.value)
    assert [str(error).count("The run stopped") for error in errors] == [1, 1]
    assert [len(error.partial) for error in errors] == [2, 3]


class Unread(list[Any]):
    """A list that is not gone through."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("all exchanges are gone through")


class Unsearched(list[Any]):
    """A list in which nothing is searched for."""

    def index(self, *_: Any) -> int:
        raise AssertionError("an exchange is searched for")


@pytest.mark.parametrize("endpoint", ["wandb", "other"])
def test_a_request_that_is_missed_is_not_compared_with_all(tmp_path: Path, endpoint: str) -> None:
    """The rows of a map whose prompt has changed all miss: that would take quadratic time."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(HEADER + b"".join(line_of(Exchange("wandb", "/x", {"n": n}, 0.1, {})) for n in range(5)))
    cassette = Cassette(path, "replay", "at-once")
    cassette._exchanges._all = Unread(cassette._exchanges)
    assert cassette.find("wandb", "/x", {"n": 2}) is not None
    with pytest.raises(InferenceError, match=r"The next recorded request differs .*Recorded: .*Asked: "):
        cassette.find(endpoint, "/x", {"n": 9})
    assert cassette.find("wandb", "/x", {"n": 4}) is not None
    with pytest.raises(InferenceError, match="The last recorded request differs"):
        cassette.find(endpoint, "/x", {"n": 9})
    with pytest.raises(InferenceError, match="holds no request of this kind"):
        cassette.find(endpoint, "/y", {"n": 9})


def test_an_equal_request_is_not_searched_for_among_all(tmp_path: Path) -> None:
    """With thousands of them that would take quadratic time. The third was refused, and is recorded again."""
    path, asked, one = tmp_path / "a.jsonl", [], Exchange("wandb", "/x", {}, 0.1, {"error": "busy"})
    recorded = [line_of(replace(one, place=place, status=503 if place == 2 else 200)) for place in range(50)]
    path.write_bytes(HEADER + b"".join(recorded))
    with patch.object(Exchange, "is_refusal", property(lambda self: asked.append(self) or self.status == 503)):
        cassette = Cassette(path, "replay", "at-once")
        cassette.add(replace(one, place=2, document={"again": True}))
        assert len(asked) < 60
    cassette._exchanges.latest.clear()
    by_key = cassette._exchanges._by_key
    by_key.update((key, Unsearched(equal)) for key, equal in by_key.items())
    found = [cassette.find("wandb", "/x", {}) for _ in range(51)]
    assert [one.place for one in found if one is not None] == [*range(50), 0]
    assert [one.place for one in found if one is not None and one.document == {"again": True}] == [2]
