"""Cells that are run again while a cassette records, and cells that are edited before a replay."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest
from clocks import FastClock
from kernels import Kernel
from recordings import record
from service import Answer, Script, Service, Streamed, chunk, refused

from wandb_inference_magic.cassettes.cassette import Cassette
from wandb_inference_magic.cassettes.file import Exchange, read_cassette
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages import CURRENT_CALL, Origin
from wandb_inference_magic.session import current_session

CHAT = "/chat/completions"
NOTICE = "run the cells below again too"
# A cell, the number of its run, its prompt and the reply; "" if none could be recorded.
Asked = tuple[str, int, str, str]


def body(prompt: str, model: str = "m", *earlier: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": one} for one in (*earlier, prompt)]}


class AskingCommand:
    """A command, as far as a cassette looks at it."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin


@contextmanager
def asked_by(cell: str | None, run: int = 1, row: int | None = None) -> Iterator[None]:
    token = CURRENT_CALL.set((AskingCommand(Origin(cell, f"{cell} {run}")), row))
    try:
        yield
    finally:
        CURRENT_CALL.reset(token)


def record_asked(path: Path, *steps: Asked) -> Cassette:
    cassette = Cassette(path, "record", "at-once")
    for cell, run, prompt, reply in steps:
        requested = ("wandb", CHAT, body(prompt))
        with asked_by(cell, run):
            place = cassette.place_of(*requested)
            if reply:
                cassette.add(Exchange(*requested, 0.1, reply, place=place))
            else:
                cassette.release(*requested, place)
    return cassette


def replayed(path: Path, *asked: tuple[str, str]) -> list[str]:
    """Return the replies to prompts of cells, in another kernel: its front end sends other ids of cells, or none."""
    cassette = Cassette(path, "replay", "at-once")
    found = []
    for _, prompt in asked:
        with asked_by(None):
            found.append(cassette.find("wandb", CHAT, body(prompt)))
    return [one.document for one in found if one is not None]


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        # The first try of the second run fails, or all do, or the tries of the first run.
        ("a1q=1 a2q= a2q=2", "aq=2"),
        ("a1q=1 a2q= a2q= a2q= a3q=2", "aq=2"),
        ("a1q= a1q=1 a2q=2", "aq=2"),
        ("a1q=1 b1q=2 a2q= a2q=3", "aq=3 bq=2"),
        # A loop that was stopped, goes on after a failure, has more rounds, or fewer.
        ("a1q=1 a1q=2 a1q=3 a2q=4 a3q=5 a3q=6 a3q=7", "aq=5 aq=6 aq=7"),
        ("a1q=1 a1q=2 a2q=3 a3q= a4q=4 a4q=5", "aq=4 aq=5"),
        ("a1q=1 a1q=2 a2q= a2q=3 a2q=4", "aq=3 aq=4"),
        ("a1q=1 b1q=2 a2q=3 a2q=4", "aq=3 aq=4 bq=2"),
        ("a1q=1 a1q=2 b1q=3 a2q=4", "aq=4 bq=3"),
        ("a1q=1 a1q=2 a1r=3 a2q=4", "aq=4 aq=2 ar=3"),
        # The cell is edited: another cell asks what it asked before, before or after that, or the cell asks it again.
        ("a1q=1 a2r=2 b1q=3", "ar=2 bq=3"),
        ("a1q=1 b1q=2 a2r=3", "ar=3 bq=2"),
        ("a1q=1 a2r=2 a3q=3", "aq=3"),
        ("a1q=1 a2r=2 b1q=3 b2r=4 c1q=5", "ar=2 br=4 cq=5"),
        ("a1q=1 a2r=2 b1q=3 a3q=4", "aq=4 bq=3"),
    ],
)
def test_a_replay_gives_the_last_replies_of_each_cell(tmp_path: Path, steps: str, last: str) -> None:
    """`a2q=3`: the second run of cell a asks q, and the reply is 3."""
    path = tmp_path / "a.jsonl"
    parts = [(one[0], int(one[1]), one[2], one[4:]) for one in steps.split()]
    record_asked(path, *parts)
    expected = [(one[0], one[1], one[3:]) for one in last.split()]
    assert replayed(path, *((cell, prompt) for cell, prompt, _ in expected)) == [reply for *_, reply in expected]


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        # A cell of a chat that asks what a map asks is edited.
        ("a1q=1 m1q=2 a2r=3", "a0r=3 m0q=2"),
        ("a1q=1 a1q=2 m1q=3 m1q=4 a2r=5", "a0r=5 m0q=3 m0q=4"),
        ("a1q=1 b1q=2 m1q=3 a2r=4", "a0r=4 b0q=2 m0q=3"),
        ("a1q=1 m1q= m1q=3 a2r=4", "a0r=4 m0q=3 m0q=3"),
        # It has failed, and is run again below the map.
        ("a1q= m1q=2 m1q=3 a2q=4", "a0q=4 m0q=2 m0q=3"),
        ("a1q= b1q= m1q=1 b2q=2 a2q=3", "a0q=3 b0q=2 m0q=1"),
        # The map has failed, and is run again.
        ("m1q= m1q= m2q=1 m2q=2", "m0q=1 m0q=2"),
        ("m1q= m1q=1 m1q=2", "m0q=1 m0q=1 m0q=2"),
    ],
)
def test_a_replay_gives_the_replies_of_rows_that_a_chat_has_asked_too(tmp_path: Path, steps: str, last: str) -> None:
    """The cell m has a map, whose rows are equal; `m1q=2` is the next row of its first run."""
    path = tmp_path / "a.jsonl"

    def asked(cassette: Cassette, steps: str) -> list[object]:
        """Ask each step, as a row of its run's command or as a chat, and return what was found."""
        maps = {one[:2]: AskingCommand(Origin("m", one[:2])) for one in steps.split()}
        rows, found = Counter[str](), []
        for one in steps.split():
            is_row, requested = one.startswith("m"), ("wandb", CHAT, body(one[2]))
            command = maps[one[:2]] if is_row else AskingCommand(Origin(one[0], one[:2]))
            token = CURRENT_CALL.set((command, rows[one[:2]] if is_row else None))
            rows[one[:2]] += 1
            if (held := cassette.find(*requested)) is not None:
                found.append(held.document)
            elif one[4:]:
                cassette.add(Exchange(*requested, 0.1, one[4:], place=cassette.place_of(*requested)))
            else:
                cassette.release(*requested, cassette.place_of(*requested))
            CURRENT_CALL.reset(token)
        return found

    assert asked(Cassette(path, "record", "at-once"), steps) == []
    replies = [one[4:] for one in last.split()]
    assert asked(Cassette(path, "replay", "at-once"), last) == replies


def test_a_request_of_an_edited_cell_can_still_be_replayed(tmp_path: Path) -> None:
    """It may be that of a cell whose last run was interrupted."""
    record_asked(tmp_path / "a.jsonl", ("a", 1, "q", "1"), ("a", 2, "r", "2"))
    assert replayed(tmp_path / "a.jsonl", ("a", "q"), ("a", "r"), ("b", "q")) == ["1", "2", "1"]


def test_the_rows_of_a_map_that_is_run_again_keep_their_places(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    cassette = Cassette(path, "record", "at-once")
    replies = count()
    for cell, run in (("a", 1), ("b", 1), ("a", 2)):
        with asked_by(cell, run, 0):
            place = cassette.place_of("wandb", CHAT, body("q"))
            cassette.add(Exchange("wandb", CHAT, body("q"), 0.1, next(replies), place=place))
    cassette = Cassette(path, "replay", "at-once")
    found = []
    for cell in ("a", "b"):
        with asked_by(cell, 1, 0):
            found.append(cassette.find("wandb", CHAT, body("q")))
    assert [one.document for one in found if one is not None] == [0, 1]


def test_an_id_with_a_path_of_this_machine_is_not_in_the_file(tmp_path: Path) -> None:
    """VS Code sends such ids."""
    path, cell = tmp_path / "a.jsonl", "vscode-notebook-cell:/home/ada/lesson.ipynb#W0sZmlsZQ%3D%3D"
    record_asked(path, (cell, 1, "q", "1"), ("3f2a-b_9", 1, "r", "2"), (cell, 2, "s", "3"))
    assert "ada" not in path.read_text()
    first, second, third = read_cassette(path).exchanges
    assert first.cell == third.cell != second.cell == "3f2a-b_9"
    assert [one.run for one in (first, second, third)] == [1, 1, 2]


@pytest.mark.parametrize("members", [{"cell": 1}, {"cell": ["a"]}, {"run": "1"}, {"run": -1}, {"run": 1e400}])
def test_a_line_whose_cell_cannot_be_read_is_named(tmp_path: Path, members: dict[str, object]) -> None:
    path = tmp_path / "a.jsonl"
    record_asked(path, ("a", 1, "q", "1"))
    header, line = path.read_text().splitlines()
    path.write_text(f"{header}\n{line}\n{json.dumps(json.loads(line) | members)}\n")
    assert read_cassette(path).damaged == (3,)


# Over a real socket -----------------------------------------------------------------------------------------------


def cut(answer: Answer) -> None:
    """A script: the connection closes within the reply."""
    answer.start()
    answer.event(chunk({"content": "Half"}))
    answer.cut()


def empty(answer: Answer) -> None:
    """A script: the connection closes before the response."""
    answer.cut()


@pytest.mark.parametrize(
    "failing",
    [refused(503, "overloaded"), refused(429, "slow down"), refused(500, "oops"), cut, empty, refused(401, "no")],
)
def test_a_replay_gives_the_last_reply_if_a_request_failed_before_it(
    api: ModuleType, service: Service, failing: Script
) -> None:
    service.always = lambda answer: Streamed([f"take {len(service.chats)}"])(answer)
    session = current_session()
    session.clock = FastClock()

    def run(number: int, mode: str) -> str:
        session.settings.set(cassette="a.jsonl", cassette_mode=mode)
        session.origin = lambda: Origin("a", f"{number}")
        try:
            return str(api.chat("Tell a joke").text)
        except InferenceError:
            return str(api.chat("Tell a joke").text)

    run(1, "record")
    service.then(failing)
    last = run(2, "record")
    assert last == f"take {len(service.chats)}"
    assert run(3, "replay") == last


# What a miss is compared with -------------------------------------------------------------------------------------

LESSON = {
    "a": "%wbchat What is a mean?",
    "b": "%wbchat --once -s 'Be a pirate.' Hello",
    "c": "%%wbmap ['x', 'y'] --schema 'mood good|bad'\nMood of {{ text }}?",
    "d": "%wbchat And a mode?",
    "e": "%wbchat -m test/model-b -m test/model-c --once Bye",
    "f": "from wandb_inference_magic import chat\nfor one in ('one', 'two'):\n    chat(one)",
}
EDITS = [
    ("a", "mean", "median", "messages[0].content", '"What is a mean?"'),
    ("b", "Hello", "Hallo", "messages[1].content", '"Hello"'),
    ("b", "pirate", "poet", "messages[0].content", '"Be a pirate."'),
    ("b", "--once", "--once -t 0.5", "temperature", "nothing"),
    ("c", "Mood", "The mood", "messages[0].content", '"Mood of '),
    ("d", "mode", "quantile", "messages[2].content", '"And a mode?"'),
    ("e", "Bye", "Adieu", "messages[0].content", '"Bye"'),
    ("f", "two", "three", "messages[0].content", '"two"'),
]


def of_lesson(answer: Answer) -> None:
    """A script: rows have an answer that fits."""
    is_row = "response_format" in answer.received.body
    Streamed(['{"mood": "good"}'] if is_row else ["re ", answer.received.body["messages"][-1]["content"]])(answer)


@pytest.mark.parametrize("sends_ids", [True, False])
def test_an_edited_cell_names_what_differs_from_its_own_recording(
    kernel: Kernel, service: Service, *, sends_ids: bool
) -> None:
    service.always = of_lesson

    def run(cell: str, text: str) -> str:
        return kernel.run(text, cell_id=cell if sends_ids else None).text

    start = "%wbconfig --cassette class.jsonl --pace at-once --mode "
    for mode in ("record", "replay"):
        assert kernel.run(f"{start}{mode}\n%wbthread --clear").ok
        for cell, text in LESSON.items():
            assert kernel.run(text, cell_id=cell if sends_ids else None).ok
    sent = len(service.chats)
    for cell, old, new, field, recorded in EDITS:
        if not sends_ids and (field, cell) in {("temperature", "b"), ("messages[0].content", "b"), *UNKNOWN}:
            continue
        text = run(cell, LESSON[cell].replace(old, new))
        assert f"differs in {field}. Recorded: {recorded}" in text, (cell, new)
        assert ("request of this cell" in text) == sends_ids
        # As it was recorded.
        kernel.run(LESSON[cell], cell_id=cell if sends_ids else None)
    assert len(service.chats) == sent


# Without ids of cells, a chat that was edited has a further turn, and of equal settings the last one is compared.
UNKNOWN = {("messages[2].content", "d"), ("messages[0].content", "a"), ("messages[0].content", "f")}


def test_a_cell_below_an_edited_one_names_the_turn_that_differs(kernel: Kernel, service: Service) -> None:
    service.always = of_lesson
    record(kernel)
    for cell in "ad":
        kernel.run(LESSON[cell], cell_id=cell)
    assert NOTICE in kernel.run("%wbchat What is a median?", cell_id="a").text
    assert kernel.run("%wbconfig --mode replay --pace at-once\n%wbthread --clear").ok
    assert kernel.run("%wbchat What is a median?", cell_id="a").ok
    error = kernel.run(LESSON["d"], cell_id="d").error
    assert 'The recorded request of this cell differs in messages[0].content. Recorded: "What is a mean?".' in error


# The cells below --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edited",
    [
        "%wbchat 1",
        "%wbchat other",
        "%wbchat --new 1",
        "%wbchat --once 1",
        "%wbchat --thread other 1",
        "%wbchat -m test/model-a -m test/model-b 1",
        "for k in range(2):\n    %wbchat 1",
    ],
)
def test_a_recorded_cell_that_changes_says_that_the_cells_below_need_it_too(
    kernel: Kernel, service: Service, edited: str
) -> None:
    service.always = lambda answer: Streamed([f"take {len(service.chats)}"])(answer)
    record(kernel)
    for number in range(3):
        assert NOTICE not in kernel.run(f"%wbchat {number}", cell_id=f"c{number}").text
    assert NOTICE in kernel.run(edited, cell_id="c1").text
    assert NOTICE not in kernel.run("%wbchat 2", cell_id="c2").text


def test_a_cell_below_that_compared_models_needs_it_too(kernel: Kernel) -> None:
    record(kernel)
    kernel.run("%wbchat 0", cell_id="c0")
    kernel.run("%wbchat -m test/model-a -m test/model-b 1", cell_id="c1")
    assert NOTICE in kernel.run("%wbchat zero", cell_id="c0").text


def test_a_cell_that_failed_while_those_below_were_recorded_says_so(kernel: Kernel, service: Service) -> None:
    record(kernel)
    service.then(Streamed(["Zero."]), refused(401, "no"))
    cells = [kernel.run(f"%wbchat {number}", cell_id=f"c{number}").ok for number in range(3)]
    assert cells == [True, False, True]
    assert NOTICE in kernel.run("%wbchat 1", cell_id="c1").text


@pytest.mark.parametrize("mode", ["replay", "auto", "record", "off"])
def test_cells_below_that_are_not_in_this_recording_are_not_named(
    kernel: Kernel, start_kernel: Callable[..., Kernel], service: Service, mode: str
) -> None:
    service.always = lambda answer: Streamed([f"take {len(service.chats)}"])(answer)
    cells = {f"c{number}": f"%wbchat {number}" for number in range(3)}
    record(kernel)
    for cell in ("c0", "c0", "c1", "c2"):
        kernel.run(cells[cell], cell_id=cell)
    kernel.run(f"%wbconfig --cassette class.jsonl --mode {mode}")
    assert not [cell for cell, text in cells.items() if NOTICE in kernel.run(text, cell_id=cell).text]
    text = kernel.run(cells["c0"], cell_id="c0").text
    assert (NOTICE in text) == (mode == "record")
    assert re.findall(r"take \d", text)


def test_a_turn_that_another_cell_edits_leaves_the_cells_below_as_they_are(kernel: Kernel) -> None:
    """A replay in the same order finds them: they were asked before the edit."""
    record(kernel)
    for number in range(3):
        kernel.run(f"%wbchat {number}", cell_id=f"c{number}")
    assert kernel.run("%wbthread --edit 1", cell_id="e").ok
    for _ in range(2):
        assert NOTICE not in kernel.run("%wbchat zero", cell_id="f").text
