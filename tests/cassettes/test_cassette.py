"""Cassettes: recorded exchanges are replayed without network and key. In real kernels, over real sockets."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from environments import NO_NETWORK
from hypothesis import given, strategies as st
from kernel_forks import FRAMES
from kernels import Kernel
from service import Answer, Service, Streamed, Wandb, calling, chunk, completion, refused, usage

from wandb_inference_magic.cassettes.cassette import Cassette
from wandb_inference_magic.cassettes.file import HEADER, Exchange, line_of, read_cassette, without_secrets
from wandb_inference_magic.cassettes.upgrade import rewrite
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session

LOAD = "%load_ext wandb_inference_magic"
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


def shown(kernel: Kernel, *cells: str) -> list[Any]:
    """Return what a saved notebook would contain for each cell, including execution errors."""
    runs = [kernel.run(cell) for cell in cells]
    parts = ("data", "metadata", "text")
    outputs = [[{name: output.get(name) for name in parts} for output in run.outputs] for run in runs]
    # The line of a map shows how long the whole map took.
    text = json.dumps(outputs, ensure_ascii=False)
    timeless = json.loads(re.sub(r"(rows answered[^\n]*?) · \d+\.\d s · ", r"\1 · ", text))
    return list(zip(timeless, ["" if run.ok else run.error for run in runs], strict=True))


def without_replay_marks(value: Any) -> Any:
    """Return outputs without the marks of a replay."""
    text = re.sub(r" · (\d+ )?replayed", "", json.dumps(value, ensure_ascii=False))
    return json.loads(text.replace('"replayed": true', '"replayed": false'))


@pytest.fixture
def imported() -> tuple[str, ...]:
    """Most of the slower tests map rows."""
    return FRAMES


@pytest.fixture
def offline(start_kernel: Callable[..., Kernel]) -> Callable[..., Kernel]:
    """Start kernels that can open no connection. Their own messages do not go through Python's sockets."""

    def start(**variables: str) -> Kernel:
        kernel = start_kernel(**variables)
        assert kernel.run(NO_NETWORK).ok
        return kernel

    return start


def record(kernel: Kernel, *cells: str, file: str = "class.jsonl", mode: str = "record") -> list[Any]:
    assert kernel.run(f"%wbconfig --cassette {file} --mode {mode}").ok
    return shown(kernel, *cells)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


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


def test_the_file_is_readable_json_lines(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    service.then(Streamed(["Grüße ", "an ", "alle."]))
    record(kernel, "%wbchat Grüße")
    header, line = (tmp_path / "class.jsonl").read_text(encoding="utf-8").splitlines()
    assert header == '{"cassette": 2}'
    assert '"content": "Grüße"' in line
    events = json.loads(line)["reply"]["events"]
    assert all(isinstance(at, float) and "choices" in chunk for at, chunk in events), "each chunk as it was received"
    deltas = [choice["delta"] for _, chunk in events for choice in chunk["choices"]]
    assert [delta["content"] for delta in deltas if delta.get("content")] == ["Grüße ", "an ", "alle."]


def test_no_secret_is_recorded(start_kernel: Callable[..., Kernel], wandb: Wandb, tmp_path: Path) -> None:
    kernel = start_kernel(WANDB_API_KEY="wandb-secret-0123456789", **wandb.environment)
    wandb.api.always = Streamed(["You said wandb-secret-0123456789."])
    kernel.run(LOAD)
    record(kernel, "import os", "%wbchat My key is {{ os.environ['WANDB_API_KEY'] }}", "%wbmodels --table")
    text = (tmp_path / "class.jsonl").read_text()
    assert "wandb-secret" not in text
    assert "(hidden)" in text
    assert "uthorization" not in text
    assert wandb.api.last.headers["authorization"] == "Bearer wandb-secret-0123456789"
    assert {one.get("path") for one in lines(tmp_path / "class.jsonl")[1:]} == {
        "/chat/completions",
        "/models",
        "/inference/modelsdev/models",
    }


def test_no_secret_in_the_arguments_of_a_tool_is_recorded(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    kernel.run("import os; os.environ['WANDB_INFERENCE_API_KEY'] = 'wandb-secret-0123456789'")
    weather = "def weather(city: str):\n    'The weather.'\n    return 'sun'"
    tool_calls = calling(("weather", '{"city": "Oslo"}'), ("weather", '{"city": "wandb-secret-0123456789"}'), pieces=5)
    service.then(tool_calls, Streamed(["Sun."]))
    cell = "%wbchat --tools weather --once How is the weather?"
    assert [error for _, error in record(kernel, weather, cell)] == ["", ""]
    first, second = read_cassette(tmp_path / "class.jsonl").exchanges
    arguments: dict[int, str] = {0: "", 1: ""}
    for _, event in first.events:
        for choice in event["choices"]:
            for call in choice["delta"].get("tool_calls", ()):
                arguments[call["index"]] += call["function"]["arguments"]
    assert arguments == {0: '{"city": "Oslo"}', 1: '{"city": "(hidden)"}'}
    assert "wandb-secret" not in json.dumps(second.request), "the arguments of the model are sent back to it"
    kernel.run("%wbconfig --mode replay --pace at-once")
    assert kernel.run(cell).ok
    assert kernel.value("[step.call.arguments for step in _wbreply.steps]") == [
        '{"city": "Oslo"}',
        '{"city": "(hidden)"}',
    ]


def test_an_image_is_recorded_as_its_digest(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    picture = "from PIL import Image\nsquare = Image.effect_noise((64, 64), 50)"
    record(kernel, picture, "%wbchat --once --image square What is it?")
    assert (tmp_path / "class.jsonl").stat().st_size < 3000
    assert kernel.run("%wbconfig --mode replay").ok
    assert kernel.run("%wbchat --once --image square What is it?").ok
    kernel.run(picture.replace("50", "51"))
    error = kernel.run("%wbchat --once --image square What is it?").error
    assert "The last recorded request differs in messages[0].content[1].image_url.url." in error


def test_an_unrecorded_request_is_an_error_that_names_the_first_difference(kernel: Kernel, service: Service) -> None:
    record(kernel, "%wbchat --once -t 0.5 What is the capital of France?", "%wbchat --once Tell me a joke.")
    assert kernel.run("%wbconfig --mode replay").ok
    run = kernel.run("%wbchat --once -t 0.5 What is the capital of Italy?")
    assert not run.ok
    assert "The cassette class.jsonl does not hold this request. Nothing was sent." in run.error
    assert "The next recorded request differs in messages[0].content." in run.error
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


def test_the_request_after_the_one_just_replayed_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    take(path, "one", "two", "three")
    cassette = Cassette(path, "replay", "at-once")
    assert cassette.find("wandb", "/chat/completions", {"q": "two"})
    with pytest.raises(InferenceError, match='Recorded: "three"'):
        cassette.find("wandb", "/chat/completions", {"q": "another"})


def test_a_folder_is_not_suggested_as_a_cassette(tmp_path: Path) -> None:
    (tmp_path / "class.jsonl").mkdir()
    with pytest.raises(InferenceError) as failed:
        Cassette(tmp_path / "clas.jsonl", "replay", "at-once")
    assert "Did you mean" not in str(failed.value)


def test_auto_replays_recorded_requests_and_records_new_ones(
    kernel: Kernel, service: Service, start_kernel: Callable[..., Kernel], tmp_path: Path
) -> None:
    record(kernel, "%wbchat --once old", mode="auto")
    record(kernel, "%wbchat --once old", "%wbchat --once new", mode="auto")
    assert [one.body["messages"][-1]["content"] for one in service.chats] == ["old", "new"]
    assert len(lines(tmp_path / "class.jsonl")) == 3
    # The file may come from someone else: a request that it does not contain is not sent to the address in it.
    other = start_kernel(WANDB_INFERENCE_API_KEY="a-key-of-the-user")
    other.run(f"{LOAD}\n%wbconfig --cassette class.jsonl")
    assert other.run("%wbchat --once new").ok, "with the recorded model"
    refused = other.run("%wbchat --once unheard").error
    assert f"%wbconfig --endpoint {service.url}" in refused
    assert len(service.chats) == 2
    assert other.run(f"%wbconfig --endpoint {service.url}\n%wbchat --once -m test/model-a unheard").ok
    assert len(service.chats) == 3


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


def test_auto_without_a_key_replays_and_then_asks_for_one(
    start_kernel: Callable[..., Kernel], wandb: Wandb, tmp_path: Path
) -> None:
    first = start_kernel(WANDB_API_KEY="a-key", **wandb.environment)
    first.run(LOAD)
    record(first, "%wbchat --once hi")
    second = start_kernel(**wandb.environment)
    second.run(f"{LOAD}\n%wbconfig --cassette class.jsonl")
    assert second.run("%wbchat --once hi").ok
    assert "key" in second.run("%wbchat --once ho").error
    assert len(wandb.api.chats) == 1


def test_record_replaces_the_file_at_the_first_exchange(kernel: Kernel, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once first")
    kernel.run("%wbconfig --mode off")
    record(kernel)
    assert len(lines(tmp_path / "class.jsonl")) == 2, "setting it loses nothing"
    kernel.run("%wbchat --once second")
    assert [one["request"]["messages"][0]["content"] for one in lines(tmp_path / "class.jsonl")[1:]] == ["second"]


def test_two_kernels_add_to_one_file(kernel: Kernel, service: Service, start_kernel: Callable[..., Kernel]) -> None:
    record(kernel, "%wbchat --once zero")
    others = [start_kernel(**service.environment) for _ in range(2)]
    for other in others:
        other.run(f"{LOAD}\n%wbconfig --cassette class.jsonl")
    for word in ("one", "two"):
        for number, other in enumerate(others):
            assert other.run(f"%wbchat --once {word} {number}").ok
    assert "5 exchanges" in kernel.run("%wbconfig --mode replay").text


def test_two_kernels_create_one_file(kernel: Kernel, service: Service, start_kernel: Callable[..., Kernel]) -> None:
    other = start_kernel(**service.environment)
    other.run(LOAD)
    for one in (kernel, other):
        assert "class.jsonl, 0 exchanges" in one.run("%wbconfig --cassette class.jsonl").text
    for word in ("one", "two", "three"):
        assert kernel.run(f"%wbchat --once {word}").ok
    assert other.run("%wbchat --once four").ok
    assert "4 exchanges" in kernel.run("%wbconfig --cassette class.jsonl --mode replay").text


@pytest.mark.parametrize("mode", ["record", "auto"])
def test_a_file_that_is_deleted_meanwhile_is_begun_again(kernel: Kernel, tmp_path: Path, mode: str) -> None:
    record(kernel, "%wbchat --once first", mode=mode)
    (tmp_path / "class.jsonl").unlink()
    assert kernel.run("%wbchat --once second").ok
    assert read_cassette(tmp_path / "class.jsonl").version == 2
    record(kernel, mode="replay")
    assert "replayed" in kernel.run("%wbchat --once second").text


def test_other_settings_do_not_start_a_new_recording(kernel: Kernel, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once one")
    kernel.run("%wbconfig --pace at-once\n%wbchat --once two")
    kernel.run("%config WandbInference.timeout = 50\n%wbchat --once three")
    assert len(lines(tmp_path / "class.jsonl")) == 4
    # Setting it once more does.
    record(kernel, "%wbchat --once four")
    assert len(lines(tmp_path / "class.jsonl")) == 2


def test_an_invalid_name_does_not_end_the_recording(kernel: Kernel, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once one")
    assert not kernel.run("%wbconfig --cassette nope.jsonl --mode replay").ok
    kernel.run("%wbchat --once two")
    assert len(lines(tmp_path / "class.jsonl")) == 3


def test_naming_the_cassette_again_rewinds_it(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["one"]), Streamed(["two"]))
    record(kernel, "%wbchat --once Count", "%wbchat --once Count")
    texts = []
    for _ in range(2):
        kernel.run("%wbconfig --cassette class.jsonl --mode replay")
        kernel.run("%wbchat --once Count")
        texts.append(kernel.value("_wbreply.text"))
    assert texts == ["one", "one"]


def test_an_invalid_name_keeps_the_cassette_of_the_environment(kernel: Kernel, offline: Callable[..., Kernel]) -> None:
    record(kernel, "%wbchat --once hi")
    variables = {"WANDB_INFERENCE_CASSETTE": "class.jsonl", "WANDB_INFERENCE_CASSETTE_MODE": "replay"}
    second = offline(WANDB_INFERENCE_MODEL="test/model-a", **variables)
    second.run(LOAD)
    assert not second.run("%wbconfig --cassette nope.jsonl --timeout 5").ok
    assert "class.jsonl, 1 exchange" in second.run("%wbconfig").text
    assert second.run("import os; os.mkdir('deep'); os.chdir('deep')").ok
    assert second.run("%wbchat --once hi").ok


def test_many_threads_open_one_cassette(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    kernel.run("%config WandbInference.cassette = 'class.jsonl'\n%config WandbInference.cassette_mode = 'record'")
    run = kernel.run(
        "from concurrent.futures import ThreadPoolExecutor\nfrom wandb_inference_magic import chat\n"
        "with ThreadPoolExecutor(8) as pool:\n    said = list(pool.map(chat, map(str, range(16))))"
    )
    assert run.ok, run.error
    assert len(lines(tmp_path / "class.jsonl")) == 17


def test_wbconfig_check_calls_the_service_and_is_not_recorded(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    record(kernel, mode="auto")
    for _ in range(2):
        assert "answered" in kernel.run("%wbconfig --check").text
    assert [one.path for one in service.received] == ["/v1/models", "/v1/chat/completions"] * 2
    assert not (tmp_path / "class.jsonl").exists()


def test_the_source_of_the_endpoint_is_shown(kernel: Kernel, offline: Callable[..., Kernel]) -> None:
    record(kernel, "%wbchat --once hi")
    second = offline()
    second.run(LOAD)
    for line in ("%wbconfig --cassette class.jsonl --mode replay", "%wbconfig"):
        assert "default: auto, where the cassette was recorded" in second.run(line).text
    assert "default: auto, depending on whether a key is found" in second.run("%wbconfig --mode off").text


def test_incomplete_replies_and_temporary_errors_are_not_recorded(
    kernel: Kernel, service: Service, tmp_path: Path
) -> None:
    def cut(answer: Answer) -> None:
        answer.start()
        answer.event(chunk({"content": "Half"}))
        answer.cut()

    service.then(cut, refused(401, "no"), refused(429, "slow down", retry_after="0"), Streamed(["Good."]))
    gate = Event()
    outcomes = [run[1] == "" for run in record(kernel, "%wbchat --once a", "%wbchat --once b", "%wbchat --once c")]
    assert outcomes == [False, False, True]
    service.then(Streamed(gate=gate))
    try:
        assert "Interrupted" in kernel.interrupt_at("%wbchat --once d", "Hello").error
    finally:
        gate.set()
    assert [one["request"]["messages"][0]["content"] for one in lines(tmp_path / "class.jsonl")[1:]] == ["c"]


def test_a_refusal_of_the_request_is_replayed(kernel: Kernel, service: Service) -> None:
    service.then(refused(400, "max_tokens is too large"))
    before = record(kernel, "%wbchat --once --max-tokens 9 hi")[0][1]
    kernel.run("%wbconfig --mode replay")
    run = kernel.run("%wbchat --once --max-tokens 9 hi")
    assert run.error == before
    assert "max_tokens is too large" in run.error


def test_an_incomplete_last_line_is_tolerated(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once one", "%wbchat --once two")
    file = tmp_path / "class.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    kernel.run("%wbconfig --mode replay")
    assert kernel.run("%wbchat --once one").ok
    assert "does not hold this request" in kernel.run("%wbchat --once two").error
    record(kernel, "%wbchat --once two", mode="auto")
    assert [one["request"]["messages"][0]["content"] for one in lines(file)[1:]] == ["one", "two"]


def test_damaged_lines_are_reported_with_their_numbers(kernel: Kernel, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once one", "%wbchat --once two", "%wbchat --once three")
    file = tmp_path / "class.jsonl"
    header, one, two, three = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(header + one + two[:50] + b"\n" + b"[1]\n" + three)
    run = kernel.run("%wbconfig --cassette class.jsonl --mode replay")
    assert "class.jsonl, 2 exchanges; lines 3, 4 cannot be read" in run.text
    assert kernel.run("%wbchat --once three").ok
    assert "Lines 3, 4 cannot be read." in kernel.run("%wbchat --once two").error
    file.write_bytes(header + one + b"[1]\n" * 12)
    run = kernel.run("%wbconfig --cassette class.jsonl --mode replay")
    assert "lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, … cannot be read" in run.text


def test_a_file_that_is_not_a_cassette_is_refused_and_kept(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"a": 1}\n')
    for mode in ("record", "replay", "auto"):
        run = kernel.run(f"%wbconfig --cassette data.jsonl --mode {mode}")
        assert "is not a cassette" in run.error
    assert (tmp_path / "data.jsonl").read_text() == '{"a": 1}\n'
    assert kernel.run("%wbchat hi").ok, "no setting was changed"
    (tmp_path / "new.jsonl").write_text('{"cassette": 3}\n')
    assert "pip install --upgrade" in kernel.run("%wbconfig --cassette new.jsonl").error
    assert "There is no cassette" in kernel.run("%wbconfig --cassette none.jsonl --mode replay").error
    assert "There is no folder" in kernel.run("%wbconfig --cassette no/where.jsonl").error
    assert "Name its file" in kernel.run("%wbconfig --mode record").error


def test_a_question_asked_more_often_than_it_was_recorded_into_a_file_that_cannot_be_written(
    api: ModuleType, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = current_session().settings
    settings.set(cassette=str(tmp_path / "once.jsonl"), cassette_mode="record")
    api.map_prompts(["hi"], "{{ text }}", cache=False)
    settings.set(cassette=str(tmp_path / "once.jsonl"), cassette_mode="auto")
    # This process may be the superuser's, who can write any file.
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    _, error = api.map_prompts(["hi", "hi"], "{{ text }}", cache=False)["reply_error"]
    assert "asked more often than it was recorded" in error
    assert len(service.chats) == 1


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


TIMES = "(_wbreply.seconds, _wbreply.seconds_to_first)"


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


def slow_down(file: Path) -> None:
    """Change the only exchange of a cassette so that it ends after 1000 seconds, from its fourth event on."""
    header, exchange = lines(file)
    exchange["reply"]["seconds"] = 1000
    for event in exchange["reply"]["events"][3:]:
        event[0] = 1000
    file.write_text(f"{json.dumps(header)}\n{json.dumps(exchange)}\n")


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


def test_the_environment_names_a_cassette(kernel: Kernel, offline: Callable[..., Kernel]) -> None:
    record(kernel, "%wbchat --once hi")
    variables = {"WANDB_INFERENCE_CASSETTE": "class.jsonl", "WANDB_INFERENCE_CASSETTE_MODE": "replay"}
    second = offline(WANDB_INFERENCE_MODEL="test/model-a", WANDB_INFERENCE_CASSETTE_PACE="at-once", **variables)
    second.run(LOAD)
    assert second.run("%wbchat --once hi").ok
    assert "1 exchange" in second.run("%wbconfig").text
    assert "nothing is called" in second.run("%wbconfig --check").text
    third = offline(**{**variables, "WANDB_INFERENCE_CASSETTE_MODE": "reply"})
    third.run(LOAD)
    error = third.run("%wbchat --once hi").error
    assert "WANDB_INFERENCE_CASSETTE_MODE is not usable: 'reply' is not one of" in error
    assert "Did you mean replay?" in error


@pytest.mark.short
def test_the_users_own_calls_are_recorded(kernel: Kernel, service: Service) -> None:
    call = (
        "from wandb_inference_magic import client\n"
        "said = client().chat.completions.create(model='test/model-a', messages=[{'role': 'user', 'content': 'hi'}])\n"
        "said.choices[0].message.content, said.id, said._request_id"
    )
    service.always = completion("Hello you.")
    before = record(kernel, call)
    kernel.run("%wbconfig --mode replay")
    assert shown(kernel, call)[0][1] == ""
    assert kernel.value("(said.choices[0].message.content, said.id, said._request_id)") == (
        "Hello you.",
        "chatcmpl-1",
        "req-test-1",
    )
    assert before[0][1] == ""
    assert len(service.chats) == 1


def test_a_cassette_that_cannot_be_written_loses_no_reply(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    record(kernel, "import shutil; shutil.rmtree('shelf')", file="shelf/class.jsonl")
    assert kernel.run("%wbchat --once one").ok
    assert "The cassette" in kernel.run("%wbchat --once two").error
    kernel.run("%wbconfig --mode off")
    assert kernel.run("%wbchat --once two").ok


# The file ----------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
DELTAS = st.dictionaries(st.sampled_from(["content", "reasoning", "reasoning_content", "role", "tool_calls"]), JSON)
CHUNKS = st.dictionaries(st.sampled_from(["id", "model", "usage"]), JSON) | st.builds(
    lambda delta, index, more: {**more, "choices": [{"index": index, "delta": delta, "finish_reason": None}]},
    DELTAS,
    st.integers(0, 1),
    st.dictionaries(st.sampled_from(["id", "model", "usage"]), JSON),
)
EXCHANGES = st.builds(
    Exchange,
    endpoint=st.sampled_from(["wandb", "local", "http://127.0.0.1:8000/v1", "https://bücher.example"]),
    path=TEXT,
    request=JSON,
    seconds=st.integers(0, 10**6).map(lambda ms: ms / 1000),
    document=JSON,
    events=st.lists(st.tuples(st.just(0.5), CHUNKS), max_size=6).map(tuple),
    status=st.integers(200, 599),
    place=st.integers(0, 10**6),
    request_id=st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12),
)


@given(st.lists(EXCHANGES, max_size=4))
def test_written_exchanges_are_read_back(tmp_path_factory: pytest.TempPathFactory, exchanges: list[Exchange]) -> None:
    path = tmp_path_factory.mktemp("cassette") / "a.jsonl"
    path.write_bytes(HEADER + b"".join(line_of(one) for one in exchanges))
    found = read_cassette(path)
    assert found.damaged == ()
    whole = [(one.endpoint, one.path, one.request, one.seconds, one.events, one.status) for one in exchanges]
    assert [(one.endpoint, one.path, one.request, one.seconds, one.events, one.status) for one in found.exchanges] == (
        whole
    )
    for one, again in zip(exchanges, found.exchanges, strict=True):
        assert again.document == (None if one.events else one.document)
        assert (again.request_id or None) == one.request_id


def test_a_file_cut_at_any_byte_keeps_the_exchanges_before(tmp_path: Path) -> None:
    exchanges = [Exchange("wandb", "/x", {"n": number}, 0.1, {"é": number}) for number in range(3)]
    parts = [line_of(one) for one in exchanges]
    data = HEADER + b"".join(parts)
    path = tmp_path / "a.jsonl"
    for size in range(len(HEADER), len(data) + 1):
        path.write_bytes(data[:size])
        found = read_cassette(path)
        assert found.damaged == ()
        # A last line that is complete except for its line break is read.
        whole = [
            part for number, part in enumerate(parts) if size + 1 >= len(HEADER) + len(b"".join(parts[: number + 1]))
        ]
        assert len(found.exchanges) == len(whole)
        extra = Exchange("wandb", "/x", {"n": 9}, 0.1, {})
        Cassette(path, "auto", "recorded").add(extra)
        assert read_cassette(path).exchanges == (*exchanges[: len(whole)], extra)


def test_unknown_members_and_lines_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    one = json.loads(line_of(Exchange("wandb", "/models", None, 0.1, {"data": []})))
    one["mood"], one["reply"]["weather"] = "good", ["sun"]
    path.write_text(f'{{"cassette": 2, "by": "0.9"}}\n\n{{"note": "hi"}}\n{json.dumps(one)}\r\n')
    found = read_cassette(path)
    assert found.damaged == ()
    assert [one.document for one in found.exchanges] == [{"data": []}]


def test_a_secret_is_hidden_and_a_short_word_is_not_a_secret(tmp_path: Path) -> None:
    secret = 'a"key\\é and more'
    recorded = without_secrets(
        Exchange("wandb", "/x", {secret: [secret, f"x{secret}y", "none"]}, 0.1, {"said": secret}), (secret, "none")
    )
    assert "and more" not in line_of(recorded).decode()
    assert recorded.request["(hidden)"] == ["(hidden)", "x(hidden)y", "none"]


def test_the_longer_of_two_overlapping_secrets_is_hidden_as_a_whole() -> None:
    secrets = ("key-0123456789", "key-0123456789-and-more")
    cut = ["It is key-", "0123456789", "-and-more."]
    events = tuple((0.1, {"choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in cut)
    recorded = without_secrets(Exchange("wandb", "/x", {"said": secrets[1]}, 0.1, events=events), secrets)
    assert recorded.request == {"said": "(hidden)"}
    texts = [event["choices"][0]["delta"]["content"] for _, event in recorded.events]
    assert texts == ["It is (hidden).", "", ""]


@given(st.lists(st.text("abk", max_size=3), max_size=12), st.integers(0, 12))
def test_a_secret_that_spans_several_pieces_is_hidden(pieces: list[str], place: int) -> None:
    secret = "key-0123456789"
    whole = "".join(pieces)
    place = min(place, len(whole))
    text = f"{whole[:place]}{secret}{whole[place:]}"
    cut = [text[start : start + 3] for start in range(0, len(text), 3)]
    events = tuple((0.1, {"choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in cut)
    recorded = without_secrets(Exchange("wandb", "/x", {}, 0.1, events=events), (secret,))
    assert "".join(event["choices"][0]["delta"]["content"] for _, event in recorded.events) == text.replace(
        secret, "(hidden)"
    )


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="cannot be used"):
        Cassette(tmp_path, "auto", "recorded")


GOOD = json.loads(line_of(Exchange("http://127.0.0.1:9/v1", "/chat/completions", {"n": 1}, 0.1, {"data": []})))
TOO_LONG = "1" * 400


def changed_line(**members: Any) -> str:
    """Return the valid line with other members. `reply_NAME` is a member of its reply."""
    reply = {**GOOD["reply"], **{name[6:]: one for name, one in members.items() if name.startswith("reply_")}}
    return json.dumps({**GOOD, "reply": reply, **{name: one for name, one in members.items() if "reply_" not in name}})


HOSTILE = {
    "status Infinity": changed_line(reply_status=float("inf")),
    "status NaN": changed_line(reply_status=float("nan")),
    "status 99": changed_line(reply_status=99),
    "status 1000": changed_line(reply_status=1000),
    "status true": changed_line(reply_status=True),
    "status a text": changed_line(reply_status="200"),
    "status null": changed_line(reply_status=None),
    "time of 400 digits": changed_line(reply_seconds=int(TOO_LONG)),
    "time below zero": changed_line(reply_seconds=-1),
    "time NaN": changed_line(reply_seconds=float("nan")),
    "time 1e400": changed_line(reply_seconds=0.5).replace("0.5", "1e400"),
    "time of more than a day": changed_line(reply_seconds=86_401),
    "time a text": changed_line(reply_seconds="abc"),
    "time true": changed_line(reply_seconds=True),
    "no time": json.dumps({**GOOD, "reply": {"json": {}}}),
    "endpoint half an address": changed_line(endpoint="http://[::1"),
    "endpoint with a bad port": changed_line(endpoint="http://h:99999999/v1"),
    "endpoint with a password": changed_line(endpoint="http://user:pw@h/v1"),
    "endpoint a number": changed_line(endpoint=5),
    "endpoint a file": changed_line(endpoint="file:///etc/passwd"),
    "endpoint with a line break": changed_line(endpoint="http://h/v1\n"),
    "endpoint nothing": changed_line(endpoint=""),
    "endpoint endless": changed_line(endpoint="http://" + "h" * 100_000),
    "path a list": changed_line(path=[]),
    "reply a list": changed_line(reply=[]),
    "reply null": changed_line(reply=None),
    "request id a number": changed_line(reply_request_id=5),
    "request id of two lines": changed_line(reply_request_id="a\r\nset-cookie: b"),
    "request id with a surrogate": changed_line(reply_request_id="\ud800"),
    "events a number": changed_line(reply_events=5),
    "events an object": changed_line(reply_events={"a": 1}),
    "an event a number": changed_line(reply_events=[5]),
    "an event without a time": changed_line(reply_events=[[{}]]),
    "an event at infinity": changed_line(reply_events=[[float("inf"), {}]]),
    "an event at 400 digits": changed_line(reply_events=[[int(TOO_LONG), {}]]),
    "an event that is a list": changed_line(reply_events=[[0, []]]),
    "an event of words without a place": changed_line(reply_events=[[0, "word"]]),
    "an event that leaves out a list": changed_line(reply_events=[[0, {}, [[]]]]),
    "an event that leaves out a number": changed_line(reply_events=[[0, {}, 5]]),
    "events that grow": changed_line(
        reply_events=[
            [0, {str(n): n for n in range(3000)} | {"choices": [{"delta": {"content": ""}}]}],
            *[[0, ""]] * 9000,
        ]
    ),
    "nested": '{"request": ' + "[" * 200_000 + "]" * 200_000 + ', "reply": {}}',
    "nested, not much": '{"request": ' + "[" * 500 + "]" * 500 + ', "reply": {}}',
    "a number of 5,000 digits": '{"request": ' + "1" * 5000 + ', "reply": {}}',
    "no JSON": "{",
    "a number": "5",
    "a list": "[]",
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", HOSTILE)
def test_an_invalid_line_is_reported_and_skipped(tmp_path: Path, name: str, version: int) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps(GOOD)
    lines = (f'{{"cassette": {version}}}', good, HOSTILE[name], good, "")
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    found = read_cassette(path)
    assert found.damaged == (3,)
    assert len(found.exchanges) == 2
    assert "line 3 cannot be read" in str(Cassette(path, "replay", "at-once"))
    # The line keeps its place when an exchange is added, also when the file is rewritten.
    extra = Exchange("wandb", "/x", {"n": 9}, 0.1, {})
    Cassette(path, "auto", "at-once").add(extra)
    assert path.read_bytes().splitlines()[2] == HOSTILE[name].encode(errors="surrogatepass")
    assert read_cassette(path).damaged == (3,)
    assert read_cassette(path).exchanges == (*found.exchanges, extra)
    assert read_cassette(path).version == 2


# Version 1 ---------------------------------------------------------------------------------------------------------

FIXTURES = Path(__file__).parent.parent / "compatibility" / "0.1.0"
FIRST = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]}
# A file of version 1: differences to the event before, members that were removed, and members that readers ignore.
OLD_EVENTS = [[0.1, FIRST], [0.2, "b"], [0.3, {"choices": []}, ["id"]], [0.4, {"usage": None}]]
PLAIN_EVENTS: tuple[tuple[float, dict[str, Any]], ...] = (
    (0.1, FIRST),
    (0.2, {**FIRST, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "b"}}]}),
    (0.3, {"model": "m", "choices": []}),
    (0.4, {"model": "m", "choices": [], "usage": None}),
)
OLD_LINES = (
    json.dumps({"cassette": 1, "by": "0.9"}),
    json.dumps({**GOOD, "reply": {"seconds": 0.5, "events": OLD_EVENTS, "weather": "sun"}, "mood": "good"}),
    '{"note": "hi"}',
    "damaged",
    "",
    json.dumps(GOOD),
)
EXTRA = Exchange("wandb", "/x", {"n": 9}, 0.1, {})


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    path = tmp_path / "old.jsonl"
    path.write_text("\n".join((*OLD_LINES, "")))
    return path


def test_a_file_of_version_1_is_read_without_being_changed(old_file: Path) -> None:
    before = old_file.read_bytes()
    found = read_cassette(old_file)
    assert (found.version, found.damaged) == (1, (4,))
    assert [one.events for one in found.exchanges] == [PLAIN_EVENTS, ()]
    for mode in ("replay", "auto"):
        cassette = Cassette(old_file, mode, "at-once")
        assert cassette.find(GOOD["endpoint"], GOOD["path"], GOOD["request"]) == found.exchanges[0]
    assert old_file.read_bytes() == before


@pytest.mark.parametrize("end", ["", "\n", '\n{"endpoint": "wan'])
def test_recording_rewrites_a_file_of_version_1(old_file: Path, end: str) -> None:
    old_file.write_text("\n".join(OLD_LINES) + end)
    old_file.chmod(0o640)
    Cassette(old_file, "auto", "at-once").add(EXTRA)
    written = lines_except(old_file, 3)
    assert written[0] == {"cassette": 2, "by": "0.9"}
    assert written[1] == {**json.loads(OLD_LINES[1]), "reply": {**json.loads(OLD_LINES[1])["reply"], "events": plain()}}
    assert written[2] == {"note": "hi"}
    found = read_cassette(old_file)
    assert (found.version, found.damaged) == (2, (4,))
    assert [one.events for one in found.exchanges] == [PLAIN_EVENTS, (), ()]
    assert found.exchanges[-1] == EXTRA
    assert old_file.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in old_file.parent.iterdir()] == [old_file.name]


def lines_except(path: Path, damaged: int) -> list[Any]:
    """Return the documents in the lines of a file, except blank lines and the line with this number."""
    found = enumerate(path.read_text().split("\n"))
    return [json.loads(line) for number, line in found if line and number != damaged]


def plain() -> list[Any]:
    return [[at, chunk] for at, chunk in PLAIN_EVENTS]


@pytest.mark.parametrize("name", ["local", "record", "auto"])
def test_rewriting_version_1_as_version_2_keeps_all_exchanges(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((FIXTURES / f"{name}.jsonl").read_bytes())
    before = read_cassette(path)
    rewrite(path)
    after = read_cassette(path)
    assert (before.version, after.version) == (1, 2)
    assert after.exchanges == before.exchanges
    again = path.read_bytes()
    rewrite(path)
    assert path.read_bytes() == again
    assert len(list(tmp_path.iterdir())) == 1


def test_record_replaces_a_file_of_version_1(old_file: Path) -> None:
    Cassette(old_file, "record", "at-once").add(EXTRA)
    assert old_file.read_bytes() == HEADER + line_of(EXTRA)


def test_a_link_to_a_file_of_version_1_stays_a_link(old_file: Path) -> None:
    link = old_file.with_name("link.jsonl")
    link.symlink_to(old_file)
    Cassette(link, "auto", "at-once").add(EXTRA)
    assert link.is_symlink()
    assert read_cassette(old_file).exchanges[-1] == EXTRA


def test_exchanges_added_in_the_meantime_are_kept(old_file: Path) -> None:
    first, second = (Cassette(old_file, "auto", "at-once") for _ in range(2))
    # A kernel with an older version adds to the file before it is rewritten, and after.
    old_line = f"{OLD_LINES[1]}\n"
    with old_file.open("a") as file:
        file.write(old_line)
    first.add(EXTRA)
    second.add(EXTRA)
    with old_file.open("a") as file:
        file.write(old_line)
    first.add(EXTRA)
    found = read_cassette(old_file)
    assert [one.events for one in found.exchanges] == [PLAIN_EVENTS, (), PLAIN_EVENTS, (), (), PLAIN_EVENTS, ()]
    assert found.damaged == (4,)


ADD = """
import sys
from pathlib import Path
from wandb_inference_magic.cassettes.cassette import Cassette
from wandb_inference_magic.cassettes.file import Exchange

cassette = Cassette(Path(sys.argv[1]), "auto", "at-once")
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    cassette.add(Exchange("wandb", "/x", {"by": sys.argv[2], "n": number}, 0.1, {}))
cassette.find("wandb", "/x", None)
"""


def test_kernels_that_rewrite_one_file_at_once_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    header, rest = (FIXTURES / "record.jsonl").read_bytes().split(b"\n", 1)
    path.write_bytes(header + b"\n" + rest * 10)
    before = read_cassette(path).exchanges
    command = [sys.executable, "-c", ADD, str(path)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    kernels = [subprocess.Popen([*command, str(number)], **pipes) for number in range(4)]
    for kernel in kernels:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "ready\n"
    for kernel in kernels:
        assert kernel.stdin is not None
        kernel.stdin.write("\n")
        kernel.stdin.flush()
    assert [kernel.communicate()[0] is not None and kernel.returncode for kernel in kernels] == [0] * 4
    found = read_cassette(path)
    assert (found.version, found.damaged) == (2, ())
    assert found.exchanges[: len(before)] == before
    added = sorted((one.request["by"], one.request["n"]) for one in found.exchanges[len(before) :])
    assert added == sorted((str(by), number) for by in range(4) for number in range(20))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("limit", ["MAX_LINE_BYTES", "MAX_FILE_BYTES"])
def test_a_file_that_would_become_too_large_is_not_changed(
    old_file: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    # As differences each event has a few bytes. In version 2 each one contains the long text.
    events = [[0, {**FIRST, "long": "x" * 1000}], *[[0, "a"]] * 500]
    with old_file.open("a") as file:
        file.write(changed_line(reply_events=events) + "\n")
    before = old_file.read_bytes()
    monkeypatch.setattr(f"wandb_inference_magic.cassettes.upgrade.{limit}", 100_000)
    cassette = Cassette(old_file, "auto", "at-once")
    cassette.add(EXTRA)
    with pytest.raises(InferenceError, match="would be too large"):
        cassette.find("wandb", "/x", {})
    assert old_file.read_bytes() == before
    assert [one.name for one in old_file.parent.iterdir()] == [old_file.name]


def test_a_file_left_by_a_crash_is_reported(old_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leftover = old_file.with_name("old.jsonl.new")
    leftover.touch()
    monkeypatch.setattr("wandb_inference_magic.cassettes.upgrade.WAITS", 1)
    cassette = Cassette(old_file, "auto", "at-once")
    cassette.add(EXTRA)
    with pytest.raises(InferenceError, match=r"old\.jsonl\.new exists: delete it"):
        cassette.find("wandb", "/x", {})
    assert leftover.exists(), "it may belong to another kernel"
    leftover.unlink()
    cassette = Cassette(old_file, "auto", "at-once")
    cassette.add(EXTRA)
    assert read_cassette(old_file).exchanges[-1] == EXTRA


def test_lines_that_are_not_text_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps(GOOD).encode()
    lines = (b'{"cassette": 2}', good, b"\xff\xfe\x00", b"\x00" * 100, good[:40] + b"\xff" + good[40:], good, b"")
    path.write_bytes(b"\n".join(lines))
    assert read_cassette(path).damaged == (3, 4, 5)
    assert len(read_cassette(path).exchanges) == 2


def test_a_line_of_a_gigabyte_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps(GOOD).encode() + b"\n"
    with path.open("wb") as file:
        file.write(HEADER + good)
        # A hole in the file takes no space on the disk.
        file.seek(1_000_000_000, 1)
        file.write(b"\n" + good)
    found = read_cassette(path)
    assert (len(found.exchanges), found.damaged) == (2, (3,))
    assert found.whole == found.size == path.stat().st_size
    with path.open("ab") as file:
        file.truncate(2_100_000_000)
    with pytest.raises(InferenceError, match="cannot be used"):
        read_cassette(path)


@pytest.mark.parametrize(
    "header",
    [
        '{"cassette": true}',
        '{"cassette": 1e400}',
        '{"cassette": 0}',
        '{"cassette": NaN}',
        '{"cassette": "1"}',
        "[]",
        "[",
    ],
)
def test_an_invalid_header_is_reported(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{header}\n{json.dumps(GOOD)}\n")
    with pytest.raises(InferenceError, match="is not a cassette"):
        read_cassette(path)


@given(st.dictionaries(st.sampled_from([*GOOD, "json"]), JSON | st.floats()), st.dictionaries(TEXT, JSON) | JSON)
def test_any_line_is_read_or_reported_without_a_raw_error(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, Any], reply: Any
) -> None:
    path = tmp_path_factory.mktemp("cassette") / "a.jsonl"
    line = json.dumps({**GOOD, "reply": reply, **members})
    path.write_text(f'{{"cassette": 2}}\n{line}\n{json.dumps(GOOD)}\n')
    cassette = Cassette(path, "replay", "at-once")
    assert cassette.find(GOOD["endpoint"], GOOD["path"], GOOD["request"]) is not None
    with pytest.raises(InferenceError, match="does not hold this request"):
        cassette.find("wandb", "/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert isinstance(cassette.model, str | None)
    assert isinstance(str(cassette), str)


def test_a_cassette_with_invalid_lines_breaks_no_magic(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once hi")
    with (tmp_path / "class.jsonl").open("a", errors="surrogatepass") as file:
        file.writelines(f"{line}\n" for line in HOSTILE.values())
    kernel.run("%wbconfig --cassette class.jsonl --mode replay --pace at-once")
    assert kernel.run("%wbchat --once hi").ok
    assert "lines 3, 4, 5" in kernel.run("%wbconfig").text
    assert "does not hold this request" in kernel.run("%wbchat --once ho").error
    assert kernel.run("%wbusage").ok


def test_credentials_in_an_address_are_not_recorded(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    address = service.url.replace("http://", "http://user:pa55word@")
    call = f"client().with_options(base_url={address!r}).models.list()"
    query = "client().get('/engines?api_key=pa55word', cast_to=object)"
    record(kernel, "from wandb_inference_magic import client", call, query)
    assert len(service.received) == 2
    assert len(lines(tmp_path / "class.jsonl")) == 3
    assert "pa55word" not in (tmp_path / "class.jsonl").read_text()
    kernel.run("%wbconfig --mode replay")
    assert kernel.run(call).ok
    assert "NotFoundError" in kernel.run(query).error
    assert len(service.received) == 2


# Files that cannot be written ------------------------------------------------------------------------------------


def take(path: Path, *texts: str) -> None:
    lines = [line_of(Exchange("wandb", "/chat/completions", {"q": one}, 0.1, {"a": one})) for one in texts]
    path.write_bytes(HEADER + b"".join(lines))


def test_the_variable_that_names_a_missing_cassette_is_named(start_api: Callable[..., ModuleType]) -> None:
    api = start_api(WANDB_INFERENCE_CASSETTE="/nowhere/a.jsonl", WANDB_INFERENCE_CASSETTE_MODE="replay")
    with pytest.raises(InferenceError, match="name of the file comes from WANDB_INFERENCE_CASSETTE"):
        api.chat("hi")


def test_a_reply_that_could_not_be_recorded_says_so(
    start_api: Callable[..., ModuleType], service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "cassettes"
    folder.mkdir()
    api = start_api(
        **service.environment, WANDB_INFERENCE_CASSETTE=str(folder / "a.jsonl"), WANDB_INFERENCE_CASSETTE_MODE="record"
    )

    def answer(one: Answer) -> None:
        folder.rmdir()
        completion("Yes.")(one)

    service.then(answer)
    reply = api.chat("Is it so?")
    assert reply.text == "Yes."
    (notice,) = reply.notices
    assert notice.startswith(f"Not recorded: The cassette {folder / 'a.jsonl'} cannot be used. No such file")
    with pytest.raises(InferenceError, match="The run stopped"):
        api.map_prompts(pd.DataFrame({"a": range(20)}), "Is {{ a }} so?")
    assert len(service.chats) == 1


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


def test_a_read_only_cassette_replays_what_it_holds_and_the_rest_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    take(path, "one")
    # The superuser may write every file.
    monkeypatch.setattr("os.access", lambda *_: False)
    cassette = Cassette(path, "auto", "at-once")
    for _ in range(2):
        found = cassette.find("wandb", "/chat/completions", {"q": "one"})
        assert found is not None
        assert found.document == {"a": "one"}
        with pytest.raises(InferenceError, match=r"cannot be written to.*Nothing was sent"):
            cassette.find("wandb", "/chat/completions", {"q": "two"})


def test_a_cassette_that_could_not_be_written_goes_on_replaying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    take(path, "one")
    cassette = Cassette(path, "auto", "at-once")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        cassette.add(Exchange("wandb", "/chat/completions", {"q": "two"}, 0.1, {"a": "two"}))
    assert cassette.find("wandb", "/chat/completions", {"q": "one"}) is not None
    with pytest.raises(InferenceError, match="cannot be used"):
        cassette.find("wandb", "/chat/completions", {"q": "two"})


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_an_earlier_take_is_kept_if_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.jsonl"
    take(path, "one", "two")
    before = path.read_bytes()
    cassette = Cassette(path, "record", "at-once")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    cassette.add(Exchange("wandb", "/chat/completions", {"q": "new"}, 0.1, {"a": "new"}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InferenceError, match="No space left"):
        cassette.find("wandb", "/chat/completions", {"q": "next"})


def test_a_new_take_replaces_the_earlier_one_with_its_first_exchange(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    take(path, "one", "two")
    cassette = Cassette(path, "record", "at-once")
    assert len(read_cassette(path).exchanges) == 2
    for text in ("new", "newer"):
        cassette.add(Exchange("wandb", "/chat/completions", {"q": text}, 0.1, {"a": text}))
    assert [one.request["q"] for one in read_cassette(path).exchanges] == ["new", "newer"]


def test_a_line_that_a_full_disk_cuts_is_an_error_and_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    take(path, "one")
    cassette = Cassette(path, "auto", "at-once")
    kept = path.read_bytes()
    before, handled = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 20, before[1]))
        cassette.add(Exchange("wandb", "/chat/completions", {"q": "two"}, 0.1, {"a": "two"}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handled)
    assert path.read_bytes() == kept
    assert str(cassette) == "a.jsonl, 1 exchange; it is not recorded any more: No space left on device"
    with pytest.raises(InferenceError, match="No space left on device"):
        cassette.find("wandb", "/chat/completions", {"q": "two"})
