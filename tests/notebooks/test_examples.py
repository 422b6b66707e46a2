"""The examples, executed as `jupyter execute` does it: with the real practice model, or from their cassettes."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
import record_examples
import stand_in
from environments import NO_NETWORK, clean_environment, with_sitecustomize
from kernels import NotebookRun
from nbclient.exceptions import CellExecutionError
from service import Service, Streamed, Wandb

from wandb_inference_magic.cassettes.file import Exchange, read_cassette
from wandb_inference_magic.client import practice_server as local

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ALL = sorted(EXAMPLES.glob("*.ipynb"))
# An example with a cassette beside it says in a cell that it is answered from the cassette.
RECORDED = [path for path in ALL if path.with_suffix(".jsonl").exists()]
LIVE = [path for path in ALL if path not in RECORDED]
# A run of a live example records one.
CASSETTE = "class.jsonl"
RECORDING = {"WANDB_INFERENCE_CASSETTE": CASSETTE, "WANDB_INFERENCE_CASSETTE_PACE": "at-once"}

NO_KEY = "No key was found: the practice model on this machine answers. Do not trust its answers."

# One process for all of them, so that each example runs on the practice model once.
pytestmark = pytest.mark.xdist_group("examples")
practice = pytest.mark.practice


def executed(notebook: Any, environment: dict[str, str], folder: Path) -> Any:
    client = NotebookRun(notebook, timeout=180, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return notebook


@dataclass(frozen=True)
class LiveRun:
    """An example that has run on the practice model. Its replies are recorded to CASSETTE in `folder`."""

    notebook: Any
    folder: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], LiveRun]]:
    """Run an example on the practice model, once. W&B's hosts are available, and receive no request."""
    with Wandb(tmp_path_factory.mktemp("wandb")).running() as wandb:

        @cache
        def run(name: str) -> LiveRun:
            folder = shutil.copytree(EXAMPLES, tmp_path_factory.mktemp(name) / "examples")
            environment = clean_environment(folder) | wandb.environment
            recording = environment | RECORDING | {"WANDB_INFERENCE_CASSETTE_MODE": "record"}
            notebook = executed(nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4), recording, folder)
            assert wandb.connected_to == []
            return LiveRun(notebook, folder, environment)

        yield run


@practice
def test_the_quickstart_runs_without_a_key(live: Callable[[str], LiveRun]) -> None:
    notebook = live("quickstart").notebook
    chats = [cell for cell in notebook.cells if "wbchat" in cell.source and cell.cell_type == "code"]
    assert len(chats) == 4
    # The first thing seen is good, and said to be an example: in the reply, and as the model in its footer.
    example = chats.pop(0).outputs[0].data["text/plain"]
    assert example.startswith("*An example, written by hand.*\n\nA p-value says")
    assert re.search(r"\[example/written-by-hand · .* · replayed\]$", example)
    for cell in chats:
        output = cell.outputs[0]
        assert set(output.data) == {"text/markdown", "text/plain"}
        facts = output.metadata["wandb_inference"]
        assert facts["endpoint"] == "local"
        assert facts["model"] == local.PACKAGED_MODEL
        assert facts["cost_usd"] == 0.0
        assert facts["prompt_tokens"] > 0
        assert facts["completion_tokens"] > 0
        text, _, footer = output.data["text/plain"].rpartition("\n\n[")
        assert text.strip()
        assert footer.startswith(f"practice model {local.PACKAGED_MODEL} on this machine")
    models = next(cell for cell in notebook.cells if cell.source == "%wbmodels").outputs[0].data
    assert "This is the practice model" in models["text/plain"]


@practice
def test_the_conversations_run_without_a_key(live: Callable[[str], LiveRun]) -> None:
    notebook = live("conversations").notebook
    shown = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    text = {
        source: outputs[0].data["text/plain"] for source, outputs in shown.items() if outputs and "data" in outputs[0]
    }
    (dry,) = (output for source, output in text.items() if "--dry-run" in source)
    assert "DataFrame, 3 rows x 2 columns:" in dry
    (forked,) = (output for source, output in text.items() if "--fork" in source)
    assert "turn 2 of formal · 2 earlier messages" in forked
    assert "formal" in text["%wbthread"]
    parsed = ast.literal_eval(text["label.parsed"])
    assert set(parsed) == {"city", "mood"}
    assert parsed["mood"] in ("good", "bad")
    (explained,) = (output for source, output in text.items() if "--error" in source)
    assert "practice model" in explained


@practice
def test_the_labelling_runs_without_a_key(live: Callable[[str], LiveRun]) -> None:
    notebook = live("labelling").notebook
    (labelled,) = (cell.outputs[0].data["text/plain"] for cell in notebook.cells if cell.source == "labelled")
    assert "guess" in labelled
    warned, compared = next(cell.outputs for cell in notebook.cells if "evaluate(" in cell.source)
    assert NO_KEY in warned.text
    assert "is right on" in compared.data["text/plain"]


def test_the_second_labelling_keeps_the_answers_of_the_first(
    environment: dict[str, str], service: Service, tmp_path: Path
) -> None:
    # Not the recorded example: a recording does not use the answer cache.
    notebook = nbformat.read(EXAMPLES / "labelling.ipynb", as_version=4)
    (second_map,) = (
        number for number, cell in enumerate(notebook.cells) if re.match(r"%%wbmap(?!.*--limit)", cell.source)
    )
    del notebook.cells[second_map + 1 :]
    service.always = Streamed(['{"guess": "setosa"}'])
    executed(notebook, environment | service.environment, tmp_path)
    assert len(service.chats) == 6
    maps = [cell for cell in notebook.cells if cell.source.startswith("%%wbmap")]
    first, second = (cell.outputs[0].data["text/plain"] for cell in maps)
    assert "2 of 2 rows answered, in labelled" in first
    assert "6 of 6 rows answered, in labelled · 2 kept from before" in second


@practice
@pytest.mark.parametrize("path", LIVE, ids=lambda path: path.stem)
def test_an_example_replays_without_network(
    path: Path,
    live: Callable[[str], LiveRun],
    environment: dict[str, str],
    no_network: dict[str, str],
    tmp_path: Path,
) -> None:
    run = live(path.stem)
    folder = shutil.copytree(EXAMPLES, tmp_path / "examples")
    shutil.copy(run.folder / CASSETTE, folder)
    replay = {"WANDB_INFERENCE_CASSETTE_MODE": "replay", "WANDB_INFERENCE_CASSETTE_PACE": "at-once"}
    offline = environment | RECORDING | no_network | replay
    replayed = executed(nbformat.read(path, as_version=4), offline, folder)
    assert without_replay_marks(shown(replayed)) == without_replay_marks(shown(run.notebook))
    assert shown(replayed) != shown(run.notebook), "a replay is marked as such"
    assert (folder / CASSETTE).read_bytes() == (run.folder / CASSETTE).read_bytes(), "the cassette is only read"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """Run an example from its cassette, without key and network, once. Returns the notebook and its folder."""

    @cache
    def run(name: str) -> tuple[Any, Path]:
        home = tmp_path_factory.mktemp(name)
        folder = shutil.copytree(EXAMPLES, home / "examples")
        offline = clean_environment(home) | with_sitecustomize(NO_NETWORK, home)
        variables = offline | {"WANDB_INFERENCE_CASSETTE_PACE": "at-once"}
        return executed(nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4), variables, folder), folder

    return run


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_example_needs_neither_key_nor_network(
    path: Path, recorded: Callable[[str], tuple[Any, Path]]
) -> None:
    notebook, folder = recorded(path.stem)
    chats = [cell for cell in notebook.cells if re.match(r"%%?wbchat|%%wbmap|%%wbeval|forty = compare", cell.source)]
    chats = [cell for cell in chats if "--dry-run" not in cell.source]
    assert chats
    for cell in chats:
        assert "replayed" in cell.outputs[0].data["text/plain"], cell.source
    cassette = path.with_suffix(".jsonl")
    assert (folder / cassette.name).read_bytes() == cassette.read_bytes(), "the cassette is only read"


def test_the_exercise_about_differences_shows_what_its_text_says(
    recorded: Callable[[str], tuple[Any, Path]],
) -> None:
    notebook, _ = recorded("evaluating")
    ten, forty, four = (
        next(cell for cell in notebook.cells if cell.source.endswith(f"\n{name}")).outputs[-1].data["text/plain"]
        for name in ("ten", "forty", "four")
    )
    # Eight right against six show no difference; on forty rows the same prompts differ, but not as two of four.
    assert ten.startswith("These 10 rows show no clear difference between task and question")
    assert re.findall(r"(question|task) +(\d)", ten) == [("question", "6"), ("task", "8")]
    assert forty.startswith("task is better than question: its share of right answers is 23 points higher (4 to 40).")
    assert four.startswith("These 40 rows show no clear difference between task and plain")
    assert "There is no clear difference between task and question or like either." in four


def test_every_cassette_belongs_to_an_example_that_can_be_recorded() -> None:
    assert {path.stem for path in RECORDED} | set(record_examples.CASSETTES) == set(record_examples.RECORDED)


def test_the_cassettes_contain_the_replies_of_the_stand_ins() -> None:
    answers = set()
    for path in EXAMPLES.glob("*.jsonl"):
        for exchange in read_cassette(path).exchanges:
            if exchange.endpoint == record_examples.STAND_IN_URL:
                answers.add(answer_of(exchange))
    assert answers == {written.text for written in stand_in.WRITTEN}, "run: uv run python tests/record_examples.py"


def answer_of(exchange: Exchange) -> str:
    """Return the text of a recorded reply, streamed or not."""
    if exchange.document:
        return str(exchange.document["choices"][0]["message"]["content"])
    deltas = [choice["delta"] for _, event in exchange.events for choice in event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def shown(notebook: Any) -> list[str]:
    """Return all plain text of a notebook's outputs, without its run times."""
    texts = [
        str(output["data"].get("text/plain", ""))
        for cell in notebook.cells
        if cell.cell_type == "code" and "%wbconfig" not in cell.source
        for output in cell.outputs
        if "data" in output
    ]
    texts = [re.sub(r"^Since .*\n", "", text) for text in texts]
    return [re.sub(r"(rows answered.*) · [\d.]+ (?:s|min(?: \d+ s)?) · ", r"\1 · ", text) for text in texts]


def without_replay_marks(texts: list[str]) -> list[str]:
    """Return texts without what says that they are of a replay, or that the practice model was not chosen."""
    return [re.sub(r" · (\d+ )?replayed", "", text).replace(f" {NO_KEY}", "") for text in texts]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_an_example_is_saved_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")


@practice
def test_a_failing_cell_stops_the_run(environment: dict[str, str], tmp_path: Path) -> None:
    cells = ["%load_ext wandb_inference_magic", "%wbchat -m no/such-model hi", "ran = True"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    with pytest.raises(CellExecutionError, match=r"practice model[\s\S]{1,20}on this[\s\S]{1,20}machine"):
        executed(notebook, environment, tmp_path)
    assert notebook.cells[2].execution_count is None


@practice
def test_a_key_takes_precedence_over_the_practice_model(
    environment: dict[str, str], wandb: Wandb, tmp_path: Path
) -> None:
    cells = ["%load_ext wandb_inference_magic", "%wbchat hi"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    executed(notebook, environment | wandb.environment | {"WANDB_API_KEY": "a-key"}, tmp_path)
    assert notebook.cells[1].outputs[0].metadata["wandb_inference"]["endpoint"] == "wandb"
