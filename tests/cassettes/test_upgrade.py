"""Cassettes of version 1: they are read, and rewritten when something is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recordings import GOOD, changed_line

from wandb_inference_magic.cassettes.cassette import Cassette
from wandb_inference_magic.cassettes.file import HEADER, Exchange, line_of, read_cassette
from wandb_inference_magic.cassettes.upgrade import rewrite
from wandb_inference_magic.errors import InferenceError

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


def lines_except(path: Path, damaged: int) -> list[Any]:
    """Return the documents in the lines of a file, except blank lines and the line with this number."""
    found = enumerate(path.read_text().split("\n"))
    return [json.loads(line) for number, line in found if line and number != damaged]


def plain() -> list[Any]:
    return [[at, chunk] for at, chunk in PLAIN_EVENTS]


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


FIXTURES = Path(__file__).parent.parent / "compatibility" / "0.1.0"


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
