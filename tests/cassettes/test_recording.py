"""What is recorded, and what is kept out of a cassette."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from kernels import Kernel
from recordings import LOAD, lines, record, shown
from service import Answer, Service, Streamed, Wandb, calling, chunk, completion, refused

from wandb_inference_magic.cassettes.file import read_cassette


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


def test_two_kernels_create_one_file(kernel: Kernel, service: Service, start_kernel: Callable[..., Kernel]) -> None:
    other = start_kernel(**service.environment)
    other.run(LOAD)
    for one in (kernel, other):
        assert "class.jsonl, 0 exchanges" in one.run("%wbconfig --cassette class.jsonl").text
    for word in ("one", "two", "three"):
        assert kernel.run(f"%wbchat --once {word}").ok
    assert other.run("%wbchat --once four").ok
    assert "4 exchanges" in kernel.run("%wbconfig --cassette class.jsonl --mode replay").text


def test_two_kernels_add_to_one_file(kernel: Kernel, service: Service, start_kernel: Callable[..., Kernel]) -> None:
    record(kernel, "%wbchat --once zero")
    others = [start_kernel(**service.environment) for _ in range(2)]
    for other in others:
        other.run(f"{LOAD}\n%wbconfig --cassette class.jsonl")
    for word in ("one", "two"):
        for number, other in enumerate(others):
            assert other.run(f"%wbchat --once {word} {number}").ok
    assert "5 exchanges" in kernel.run("%wbconfig --mode replay").text


@pytest.mark.parametrize("mode", ["record", "auto"])
def test_a_file_that_is_deleted_meanwhile_is_begun_again(kernel: Kernel, tmp_path: Path, mode: str) -> None:
    record(kernel, "%wbchat --once first", mode=mode)
    (tmp_path / "class.jsonl").unlink()
    assert kernel.run("%wbchat --once second").ok
    assert read_cassette(tmp_path / "class.jsonl").version == 2
    record(kernel, mode="replay")
    assert "replayed" in kernel.run("%wbchat --once second").text


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


KEPT = """from wandb_inference_magic import client
kept = client()
def ask(prompt, by=kept, **how):
    return by.chat.completions.create(model="test/model-a", messages=[{"role": "user", "content": prompt}], **how)
def said(prompt, by=kept):
    return ask(prompt, by).choices[0].message.content
"""


def numbered(service: Service) -> None:
    """Answer each chat with its number."""
    service.always = lambda answer: Streamed([f"take {len(service.chats)}"])(answer)


@pytest.mark.parametrize(
    "cells",
    [
        ["%wbchat one", "%wbchat two", "%wbchat three"],
        ["%wbchat --once one", "%wbchat --once two", "%wbchat --once one"],
        ["%wbchat one", "for k in range(2):\n    %wbchat --once two", "%wbchat --once two"],
        ["%wbchat one", "%wbchat -m test/model-a -m test/model-b two", "%wbchat three"],
    ],
)
def test_a_replay_gives_the_last_reply_of_a_cell_that_was_run_again(
    kernel: Kernel, service: Service, tmp_path: Path, cells: list[str]
) -> None:
    numbered(service)
    start = "%wbconfig --cassette class.jsonl --pace at-once --mode "
    kernel.run(f"{start}record")
    last: dict[int, list[str]] = {}
    for cell in (0, 1, 1, 0, 1, 2):
        run = kernel.run(cells[cell], cell_id=f"c{cell}")
        assert run.ok
        last[cell] = re.findall(r"take \d+", run.text)
    sent = len(service.chats)
    for _ in range(2):
        kernel.run(f"{start}replay")
        for cell, expected in last.items():
            run = kernel.run(cells[cell], cell_id=f"c{cell}")
            assert run.ok
            assert re.findall(r"take \d+", run.text) == expected
    # The same in another kernel would read the same file: each line that replaces another one says so.
    replacing = [json.loads(line).get("replaces") for line in (tmp_path / "class.jsonl").read_text().splitlines()]
    assert True in replacing
    assert len(service.chats) == sent


def test_a_cell_that_is_recorded_again_says_that_the_cells_below_need_it_too(kernel: Kernel, service: Service) -> None:
    numbered(service)
    notice = "run the cells below again too"
    record(kernel)
    cells = {f"c{number}": f"%wbchat {number}" for number in range(3)}
    assert all(notice not in kernel.run(text, cell_id=cell).text for cell, text in cells.items())
    assert notice in kernel.run(cells["c1"], cell_id="c1").text
    assert notice not in kernel.run(cells["c2"], cell_id="c2").text
    # A new take begins with all cells.
    record(kernel)
    assert all(notice not in kernel.run(text, cell_id=cell).text for cell, text in cells.items())


def test_equal_requests_of_several_cells_are_all_kept(kernel: Kernel, service: Service) -> None:
    numbered(service)
    start = "%wbconfig --cassette class.jsonl --pace at-once --mode "
    for mode in ("record", "replay"):
        kernel.run(f"{start}{mode}")
        for cell in range(3):
            text = kernel.run("%wbchat --once one", cell_id=f"{mode} {cell}").text
            assert f"take {cell + 1}" in text
    assert len(service.chats) == 3


@pytest.mark.parametrize("mode", ["record", "auto"])
def test_a_client_that_the_user_keeps_uses_the_cassette_of_the_moment_of_each_call(
    kernel: Kernel, service: Service, tmp_path: Path, mode: str
) -> None:
    service.always = lambda answer: completion(answer.received.body["messages"][-1]["content"].upper())(answer)
    assert kernel.run(KEPT).ok
    assert kernel.value("said('before')") == "BEFORE"
    kernel.run(f"%wbconfig --cassette a.jsonl --mode {mode}")
    assert kernel.value("said('one')") == "ONE"
    assert kernel.value("said('two', kept.with_options(timeout=5))") == "TWO"
    assert kernel.value("[one.id for one in kept.models.list()]")
    kernel.run("%wbconfig --cassette b.jsonl")
    assert kernel.value("said('other')") == "OTHER"
    requests = len(service.received)
    kernel.run("%wbconfig --cassette a.jsonl --mode replay")
    assert kernel.value("said('one')") == "ONE"
    assert kernel.value("said('two', kept.with_options(timeout=5))") == "TWO"
    assert kernel.value("[one.id for one in kept.models.list()]")
    for never in ("said('other')", "said('before')", "ask('other', stream=True)"):
        assert "a.jsonl does not hold this request" in kernel.run(never).error
    kernel.run("%wbconfig --cassette b.jsonl")
    assert kernel.value("said('other')") == "OTHER"
    assert len(service.received) == requests
    kernel.run("%wbconfig --mode off")
    assert kernel.value("said('one')") == "ONE"
    assert len(service.received) == requests + 1
    held = {name: [one.path for one in read_cassette(tmp_path / name).exchanges] for name in ("a.jsonl", "b.jsonl")}
    assert held == {"a.jsonl": ["/chat/completions"] * 2 + ["/models"], "b.jsonl": ["/chat/completions"]}


def test_a_client_that_was_got_in_a_replay_sends_nothing_later(kernel: Kernel, service: Service) -> None:
    service.always = completion("Hello you.")
    kernel.run(f"%wbconfig --cassette a.jsonl --mode record\n{KEPT}\nsaid('hi')")
    kernel.run(f"%wbconfig --mode replay\n{KEPT}")
    assert kernel.value("said('hi')") == "Hello you."
    assert "does not hold this request" in kernel.run("said('ho')").error
    for mode in ("off", "auto", "record"):
        kernel.run(f"%wbconfig --mode {mode}")
        for call in ("said('hi')", "kept.models.list()"):
            error = kernel.run(call).error
            assert "This client is from a replay" in error
            assert "client()" in error
    assert len(service.received) == 1
    assert kernel.run(f"{KEPT}\nsaid('hi')").ok


def test_a_client_that_was_got_without_a_key_sends_nothing_later(
    start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    wandb.api.always = completion("Hello you.")
    first = start_kernel(WANDB_API_KEY="a-key", **wandb.environment)
    assert first.run(f"{LOAD}\n%wbconfig --cassette a.jsonl --mode record\n{KEPT}\nsaid('hi')").ok
    second = start_kernel(**wandb.environment)
    second.run(f"{LOAD}\n%wbconfig --cassette a.jsonl --mode auto\n{KEPT}")
    assert second.value("said('hi')") == "Hello you."
    assert "No W&B key was found" in second.run("%wbconfig --mode off\nsaid('hi')").error
    assert len(wandb.api.chats) == 1


def test_wbconfig_check_calls_the_service_and_is_not_recorded(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    record(kernel, mode="auto")
    for _ in range(2):
        assert "answered" in kernel.run("%wbconfig --check").text
    assert [one.path for one in service.received] == ["/v1/models", "/v1/chat/completions"] * 2
    assert not (tmp_path / "class.jsonl").exists()


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


def test_an_image_is_recorded_as_its_digest(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    picture = "from PIL import Image\nsquare = Image.effect_noise((64, 64), 50)"
    record(kernel, picture, "%wbchat --once --image square What is it?")
    assert (tmp_path / "class.jsonl").stat().st_size < 3000
    assert kernel.run("%wbconfig --mode replay").ok
    assert kernel.run("%wbchat --once --image square What is it?").ok
    kernel.run(picture.replace("50", "51"))
    error = kernel.run("%wbchat --once --image square What is it?").error
    assert (
        "A recorded request with equal settings and earlier messages differs in messages[0].content[1].image_url.url."
        in error
    )


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
