"""`python -m wandb_inference_magic`: the diagnosis for a bug report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from python_processes import run_diagnosis
from service import Wandb, refused

from wandb_inference_magic import __version__


def diagnosis(environment: dict[str, str], folder: Path) -> dict[str, str]:
    done = run_diagnosis(environment, folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return {line[:18].strip(): line[18:].strip() for line in done.stdout.splitlines()}


def test_the_diagnosis_shows_versions_and_the_source_of_the_key(
    environment: dict[str, str], wandb: Wandb, tmp_path: Path
) -> None:
    found = diagnosis(environment | wandb.environment | {"WANDB_API_KEY": "secret-key-0123456789"}, tmp_path)
    assert found["this package"] == __version__
    assert found["openai"][0].isdigit()
    assert found["key"] == "from WANDB_API_KEY"
    assert found["endpoint"].startswith("wandb, https://")
    assert found["endpoint answers"] == "yes"
    assert "secret-key" not in str(found)
    assert [one.path for one in wandb.api.received] == ["/v1/models"]


def test_the_diagnosis_says_why_there_is_no_key(environment: dict[str, str], tmp_path: Path) -> None:
    (Path(environment["HOME"]) / ".netrc").write_text("machin api.wandb.ai\n")
    assert diagnosis(environment, tmp_path)["key"].startswith("~/.netrc could not be read (line 1 is not understood")


def test_the_diagnosis_takes_no_arguments(environment: dict[str, str], wandb: Wandb, tmp_path: Path) -> None:
    for argument, code in (("--help", 0), ("hello", 2)):
        done = run_diagnosis(environment | wandb.environment, tmp_path, argument)
        assert "takes no arguments" in done.stdout
        assert done.returncode == code
    assert wandb.api.received == []


def test_the_diagnosis_shows_why_the_endpoint_does_not_answer(
    environment: dict[str, str], wandb: Wandb, tmp_path: Path
) -> None:
    wandb.api.listing_script = refused(401, "your key secret-key-0123456789 is wrong")
    found = diagnosis(environment | wandb.environment | {"WANDB_API_KEY": "secret-key-0123456789"}, tmp_path)
    assert found["endpoint answers"].startswith("no: W&B Inference did not accept the key. The key came from: WANDB")
    assert found["endpoint answers"].endswith('It said: "your key (hidden) is wrong".')
    found = diagnosis(environment | {"WANDB_INFERENCE_BASE_URL": "nonsense"}, tmp_path)
    assert found["endpoint"].startswith("not usable: The environment variable WANDB_INFERENCE_BASE_URL")


def test_the_diagnosis_ends_without_a_word_if_its_output_is_no_longer_read(
    environment: dict[str, str], wandb: Wandb, tmp_path: Path
) -> None:
    """As with `| head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wandb_inference_magic"],
            env=environment | wandb.environment,
            cwd=tmp_path,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=120,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
