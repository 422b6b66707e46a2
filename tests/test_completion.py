"""The Tab key, as a front end asks a real kernel: the text before the cursor and what it becomes."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from kernels import Kernel
from service import Answer, Service, Wandb, listing


def completed(kernel: Kernel, code: str, *, after: str = "") -> list[str]:
    """Return the line under the cursor as each completion would leave it."""
    content = kernel.client.complete(code + after, len(code), reply=True)["content"]
    start = code[: content["cursor_start"]]
    assert content["cursor_end"] == len(code) or not content["matches"]
    return [(start + match).rpartition("\n")[2] for match in content["matches"]]


CASES: list[tuple[str, list[str]]] = [
    ("%%wbchat --te", ["%%wbchat --temperature"]),
    ("%%wbchat --th", ["%%wbchat --think", "%%wbchat --thread"]),
    ("  %%wbchat --temperat", ["  %%wbchat --temperature"]),
    ("x = 1\n%wbchat --dry", ["%wbchat --dry-run"]),
    ("r = %wbchat --onc", ["r = %wbchat --once"]),
    ("%%wbchat -t 0 --te", []),
    ("%%wbchat --stop a --st", ["%%wbchat --stop a --stop"]),
    ("%%wbchat --think o", ["%%wbchat --think on", "%%wbchat --think off"]),
    ("%%wbchat --format=js", ["%%wbchat --format=json"]),
    ("%%wbchat -m test/mod", ["%%wbchat -m test/model-a", "%%wbchat -m test/model-b"]),
    ("%%wbchat -m MODEL-B", ["%%wbchat -m test/model-b"]),
    ("%%wbchat -m test/model-a -m model-b", ["%%wbchat -m test/model-a -m test/model-b"]),
    ("%wbmodels --use b", ["%wbmodels --use test/model-b"]),
    ("%wbconfig --model=test/model-b", ["%wbconfig --model=test/model-b"]),
    ("%wbconfig --endpoint l", ["%wbconfig --endpoint local"]),
    ("%%wbchat --thread s", ["%%wbchat --thread side"]),
    ("%%wbchat --fork ", ["%%wbchat --fork main", "%%wbchat --fork side"]),
    ("%wbthread s", ["%wbthread side"]),
    ("%wbthread side --un", ["%wbthread side --undo"]),
    ("%%wbchat -o answ", ["%%wbchat -o answer"]),
    ("%%wbchat --tools wea", ["%%wbchat --tools weather"]),
    ("%%wbchat --tools weather,nor", ["%%wbchat --tools weather,north"]),
    ("%%wbchat --schema Per", ["%%wbchat --schema Person"]),
    ("%%wbchat --image fig", ["%%wbchat --image figure"]),
    # The text of a chat is the user's own.
    ("%wbchat tell me --te", []),
    ("%%wbchat words --te", ["%%wbchat words --temperature"]),
]


@pytest.fixture
def busy(kernel: Kernel) -> Kernel:
    """A kernel with a model list, two threads and some names."""
    kernel.run("%wbmodels --table\n%wbchat one\n%wbchat --thread side two")
    kernel.run(
        "answer = 1; figure = object()\n"
        "def weather(city: str) -> str: ...\n"
        "def north(city: str) -> str: ...\n"
        "class Person: ..."
    )
    return kernel


def test_what_the_tab_key_makes_of_it(busy: Kernel) -> None:
    found = {code: completed(busy, code) for code, _ in CASES}
    assert found == {code: [line.rpartition("\n")[2] for line in expected] for code, expected in CASES}


def test_the_first_line_of_a_longer_cell_and_not_its_body(busy: Kernel) -> None:
    assert completed(busy, "%%wbchat --thi", after="\nSome text\nmore") == ["%%wbchat --think"]
    assert completed(busy, "%%wbchat\nSome %wbchat --thi") == []
    assert completed(busy, "%%wbchat\n%wbchat --thi") == []
    assert all(line.startswith("%%wbchat -") for line in completed(busy, "%%wbchat "))


def test_python_is_completed_as_ever(busy: Kernel) -> None:
    assert "answer" in completed(busy, "answ")
    assert "import json" in completed(busy, "import jso")


def test_a_cold_catalog_does_not_hold_the_tab_key(kernel: Kernel, service: Service) -> None:
    gate, asked = Event(), Event()

    def slow(answer: Answer) -> None:
        asked.set()
        assert gate.wait(60)
        answer.json(listing("test/model-a", "test/model-b"))

    service.listing_script = slow
    # The answer comes while the list is still being waited for.
    assert "%%wbchat -m test/model-a" not in completed(kernel, "%%wbchat -m test/mod")
    assert asked.wait(60)
    gate.set()
    kernel.run("import threading\nfor one in threading.enumerate():\n    one.name == 'wb-catalog' and one.join()")
    assert completed(kernel, "%%wbchat -m test/model-b") == ["%%wbchat -m test/model-b"]
    assert len([one for one in service.received if one.path.endswith("/models")]) == 1


def test_without_a_key_the_snapshot_is_offered_and_nobody_asked(
    start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    kernel = start_kernel(**wandb.environment)
    kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.endpoint = 'wandb'")
    assert completed(kernel, "%%wbchat -m openai/gpt-oss-2") == ["%%wbchat -m openai/gpt-oss-20b"]
    assert wandb.connected_to == []


def test_unloaded_it_is_gone(busy: Kernel) -> None:
    matchers = "len(get_ipython().Completer.custom_matchers)"
    before: Any = busy.value(matchers)
    busy.run("%unload_ext wandb_inference_magic")
    assert busy.value(matchers) == before - 1
    assert completed(busy, "%%wbchat --thi") == []
