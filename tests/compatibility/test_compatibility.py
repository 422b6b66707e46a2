"""This version uses files written by an earlier one: cached answers, cassettes, budget files and threads.

Every session of `expected.json` runs again while the service refuses all requests. None may arrive.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compatibility.sessions import ANEW, EXPECTED, begin, run_steps
from kernels import Kernel
from service import Wandb, refused

CACHE = "str(__import__('platformdirs').user_cache_path('wandb_inference_magic', appauthor=False))"


# Messages that say the same in other words now.
REWORDED = {
    "takes no schema: it was asked for JSON instead": "does not support schemas: it was asked for JSON instead",
    "takes no response format either: it was asked in words alone": (
        "does not support response formats either: only the prompt asked for JSON"
    ),
    # Nothing was sent.
    "0 + 0 tokens · cost unknown · ": "",
    "Say in the prompt what is wanted,": "Say in the prompt what you want,",
    "Others share it by the budget file, and %wbusage --reset does not begin that anew": (
        "Other kernels share it by the budget file, which %wbusage --reset does not reset"
    ),
}


def replays() -> list[Any]:
    """Return each kernel of each version's fixtures, with its folder and the first cell of its notebook."""
    found = []
    for file in sorted(Path(__file__).parent.glob(f"*/{EXPECTED}")):
        written = json.loads(file.read_text("utf-8"))
        for one in written["kernels"]:
            name = f"{file.parent.name}-{'with' if one['key'] else 'without'}-key"
            found.append(pytest.param(file.parent, written["notebook"], one, id=name))
    assert found, "there are no fixtures"
    return found


def plain_objects(results: dict[str, Any]) -> dict[str, Any]:
    """Return results with the objects in the values of columns as dicts, which they are now."""
    values = json.dumps(results.get("values", {}), ensure_ascii=False)
    values = re.sub(r'"Review\(label=\'(\w+)\', score=(\d+)\)"', r'{"label": "\1", "score": \2}', values)
    return results | ({"values": json.loads(values)} if "values" in results else {})


def reworded(step: dict[str, Any]) -> dict[str, Any]:
    """Return what a step gave, with its messages as they are worded now."""
    text = json.dumps(step, ensure_ascii=False)
    for old, new in REWORDED.items():
        text = text.replace(old, new)
    return dict(json.loads(text))


def with_old_advice(step: dict[str, Any]) -> dict[str, Any]:
    """Return what a step gives with an advice in its old words: answers that are kept have those. It may be cut.

    A sentence that is new goes.
    """
    text = json.dumps(step, ensure_ascii=False).replace("(in a chat: --once, --new)", "(--once, --new)")
    spent = r"All kernels with this budget file have spent \$\S+ of \$[\d.]+\d\."
    text = re.sub(rf"\\n{spent}(?=\")|{spent} ", "", text)
    text = re.sub(r"\(in a c[^)]{,9}\.\.\.", "(--once, ...", text)
    return dict(json.loads(text))


@pytest.mark.parametrize(("fixtures", "notebook", "written"), replays())
def test_files_of_an_earlier_version_are_used_without_a_request(
    fixtures: Path,
    notebook: str,
    written: dict[str, Any],
    start_kernel: Callable[..., Kernel],
    wandb: Wandb,
    tmp_path: Path,
) -> None:
    for file in fixtures.iterdir():
        shutil.copy(file, tmp_path)
    wandb.api.always = refused(402, "Nothing is to be asked.")
    # For both kinds of address: the proxy notices every host that is requested.
    variables = {**wandb.environment, "HTTP_PROXY": wandb.environment["HTTPS_PROXY"]}
    if written["key"]:
        variables["WANDB_API_KEY"] = "a-key"
    kernel = start_kernel(WANDB_INFERENCE_MODEL="test/model-a", **variables)
    cache = Path(kernel.value(CACHE))
    cache.mkdir(parents=True)
    shutil.move(tmp_path / "answers.sqlite", cache)
    begin(kernel, notebook)
    for name, steps in written["sessions"].items():
        kernel.run(ANEW)
        for before, now in zip(steps, run_steps(kernel, steps), strict=True):
            before, now = reworded(before), with_old_advice(now)
            # An error may say more than it did.
            said = now.pop("error", "").splitlines()
            assert set(before.get("error", "").splitlines()) <= set(said), f"{name}: {before['cell']}"
            # The summary of a map now names the rows.
            if now.get("shown"):
                now["shown"] = [re.sub(r"\bRows? [\d, ]+: ", "Failed: ", one) for one in now["shown"]]
                # It also says which failures are those of an earlier run.
                now["shown"] = [re.sub(r" \d+ rows? w\w+ not asked again, .*", "", one) for one in now["shown"]]
                # The answers were below `answer`, now they are below the names of their columns.
                now["shown"] = [re.sub(r"^(row  (?:model +)?)\w+\n", r"\1answer\n", one) for one in now["shown"]]
            # Costs have one form now, and a map shows the schema's columns. Its frame is compared as a value.
            if before.get("shown"):
                before["shown"] = [re.sub(r"\b(\d+\.\d+) USD\b", r"$\1", one) for one in before["shown"]]
            if before["cell"].startswith("%wbusage"):
                # What is replayed is not said to be of a free model any more.
                now["shown"] = [re.sub(r" nothing$", " free", one, flags=re.M) for one in now["shown"]]
                now["shown"] = [re.sub(r"-{7}$", "----", one, flags=re.M) for one in now["shown"]]
            if "%%wbmap" in before["cell"] and "--schema" in before["cell"]:
                for one in (before, now):
                    one["shown"] = [re.sub(r"(?s)^row .*?\n(?=\d+ of )", "", text) for text in one["shown"] or []]
            assert now == plain_objects({part: before[part] for part in now}), f"{name}: {before['cell']}"
            assert wandb.connected_to == [], f"{name}: a request was sent"
    changed = [one.name for one in fixtures.glob("*.jsonl") if one.read_bytes() != (tmp_path / one.name).read_bytes()]
    assert changed == []


def test_an_evaluation_that_was_pickled_is_shown_reviewed_and_scored_again() -> None:
    """It was pickled before a result had what its answers cost, and a row without truth its scores."""
    found = pickle.loads((Path(__file__).parent / "0.1.0" / "evaluation.pickle").read_bytes())
    assert [line.split()[-1] for line in str(found).splitlines() if line.startswith("test/")][-2:] == ["unknown"] * 2
    assert "Cost in all: unknown." in str(found)
    assert found.summary["cost_usd"].isna().all()
    assert "4 rows with an answer that is not l." in str(found.review())
    found.by_hand[1] = "B"
    assert found.reviewed().summary["right"].tolist() == [1, 1]
    assert pickle.loads(pickle.dumps(found)).sentences == found.sentences
