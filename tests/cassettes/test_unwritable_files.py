"""Cassettes that cannot be written: no reply is lost, and nothing is sent that could not be recorded."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from kernels import Kernel
from recordings import record, take
from service import Answer, Service, completion

from wandb_inference_magic.cassettes.cassette import Cassette
from wandb_inference_magic.cassettes.file import Exchange, read_cassette
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session


def test_a_cassette_that_cannot_be_written_loses_no_reply(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    record(kernel, "import shutil; shutil.rmtree('shelf')", file="shelf/class.jsonl")
    assert kernel.run("%wbchat --once one").ok
    assert "The cassette" in kernel.run("%wbchat --once two").error
    kernel.run("%wbconfig --mode off")
    assert kernel.run("%wbchat --once two").ok


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


def test_what_was_recorded_without_the_id_of_a_cell_is_not_that_of_this_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassette = Cassette(tmp_path / "a.jsonl", "auto", "at-once")
    cassette.add(Exchange("wandb", "/chat/completions", {"q": "one"}, 0.1, {"a": "one"}))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InferenceError) as raised:
        cassette.find("wandb", "/chat/completions", {"q": "two"})
    assert raised.value.why.startswith("The next recorded request differs in q.")


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


def test_a_new_take_replaces_the_earlier_one_with_its_first_exchange(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    take(path, "one", "two")
    cassette = Cassette(path, "record", "at-once")
    assert len(read_cassette(path).exchanges) == 2
    for text in ("new", "newer"):
        cassette.add(Exchange("wandb", "/chat/completions", {"q": text}, 0.1, {"a": text}))
    assert [one.request["q"] for one in read_cassette(path).exchanges] == ["new", "newer"]


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
    with pytest.raises(InferenceError, match=r"No space left.*Free some space on its disk, then name the file again"):
        cassette.find("wandb", "/chat/completions", {"q": "next"})


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
