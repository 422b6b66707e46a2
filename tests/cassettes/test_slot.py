"""Which cassette is in use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from kernels import Kernel
from recordings import LOAD, lines, record
from service import Service, Streamed

from wandb_inference_magic.cassettes.cassette import Cassette
from wandb_inference_magic.errors import InferenceError


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


def test_the_source_of_the_endpoint_is_shown(kernel: Kernel, offline: Callable[..., Kernel]) -> None:
    record(kernel, "%wbchat --once hi")
    second = offline()
    second.run(LOAD)
    for line in ("%wbconfig --cassette class.jsonl --mode replay", "%wbconfig"):
        assert "default: auto, where the cassette was recorded" in second.run(line).text
    assert "default: auto, depending on whether a key is found" in second.run("%wbconfig --mode off").text


def test_naming_the_cassette_again_rewinds_it(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["one"]), Streamed(["two"]))
    record(kernel, "%wbchat --once Count", "%wbchat --once Count")
    texts = []
    for _ in range(2):
        kernel.run("%wbconfig --cassette class.jsonl --mode replay")
        kernel.run("%wbchat --once Count")
        texts.append(kernel.value("_wbreply.text"))
    assert texts == ["one", "one"]


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


def test_an_invalid_name_keeps_the_cassette_of_the_environment(kernel: Kernel, offline: Callable[..., Kernel]) -> None:
    record(kernel, "%wbchat --once hi")
    variables = {"WANDB_INFERENCE_CASSETTE": "class.jsonl", "WANDB_INFERENCE_CASSETTE_MODE": "replay"}
    second = offline(WANDB_INFERENCE_MODEL="test/model-a", **variables)
    second.run(LOAD)
    assert not second.run("%wbconfig --cassette nope.jsonl --timeout 5").ok
    assert "class.jsonl, 1 exchange" in second.run("%wbconfig").text
    assert second.run("import os; os.mkdir('deep'); os.chdir('deep')").ok
    assert second.run("%wbchat --once hi").ok


def test_the_variable_that_names_a_missing_cassette_is_named(start_api: Callable[..., ModuleType]) -> None:
    api = start_api(WANDB_INFERENCE_CASSETTE="/nowhere/a.jsonl", WANDB_INFERENCE_CASSETTE_MODE="replay")
    with pytest.raises(InferenceError, match="name of the file comes from WANDB_INFERENCE_CASSETTE"):
        api.chat("hi")


def test_a_folder_is_not_suggested_as_a_cassette(tmp_path: Path) -> None:
    (tmp_path / "class.jsonl").mkdir()
    with pytest.raises(InferenceError) as failed:
        Cassette(tmp_path / "clas.jsonl", "replay", "at-once")
    assert "Did you mean" not in str(failed.value)


def test_many_threads_open_one_cassette(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    kernel.run("%config WandbInference.cassette = 'class.jsonl'\n%config WandbInference.cassette_mode = 'record'")
    run = kernel.run(
        "from concurrent.futures import ThreadPoolExecutor\nfrom wandb_inference_magic import chat\n"
        "with ThreadPoolExecutor(8) as pool:\n    said = list(pool.map(chat, map(str, range(16))))"
    )
    assert run.ok, run.error
    assert len(lines(tmp_path / "class.jsonl")) == 17
