"""Evaluations in Weave: what the real client posts to a test server in place of W&B's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import date
from types import SimpleNamespace
from typing import Any

import PIL.Image
import pytest
from kernels import Kernel
from service import Answer, Service, completion, usage
from trace_server import TraceServer

from wandb_inference_magic.evaluation.publish import Publication

KEY = "endpoint-secret-0123"
FRAME = (
    "import pandas as pd\n"
    f"df = pd.DataFrame({{'n': range(4), 'label': ['yes', 'no', 'yes', None], 'note': 'my key is {KEY}'}})"
)
CELL = "%%wbeval df --truth label -m test/x -m test/y -t 0 -o found"
PROMPT = "Is it even: {{ n }} ({{ note }})"


@pytest.fixture
def evaluator(tracing_kernel: Kernel, service: Service) -> Kernel:
    def answer(one: Answer) -> None:
        number = int(one.received.body["messages"][-1]["content"].split()[3])
        right = "no" if number % 2 else "yes"
        completion(right if one.received.body["model"] == "test/x" else "yes", counted=usage(10, 5))(one)

    service.always = answer
    assert tracing_kernel.run(FRAME).ok
    return tracing_kernel


def created(traces: TraceServer, kind: str) -> list[dict[str, Any]]:
    """Return the objects of a class that were created."""
    bodies = [one.body for one in traces.received if one.path.endswith("/obj/create")]
    return [body["obj"]["val"] for body in bodies if body["obj"]["val"].get("_class_name") == kind]


def test_candidates_are_evaluations_over_one_dataset_in_a_leaderboard(evaluator: Kernel, traces: TraceServer) -> None:
    run = evaluator.run(f"{CELL} --publish team/lesson\n{PROMPT}")
    assert run.ok, run.error
    assert "/team/lesson/weave/leaderboards/wbeval-label" in run.text
    assert len(run.outputs) == 1, "Weave prints nothing"
    # The dataset, once.
    (rows,) = [one.body["table"]["rows"] for one in traces.received if one.path.endswith("/table/create")]
    assert [one["label"] for one in rows] == ["yes", "no", "yes"]
    # One evaluation for each candidate, of the same Evaluation object.
    starts = [one.body["start"] for one in traces.received if one.path.endswith("/call/start")]
    evaluations = [one for one in starts if "Evaluation.evaluate" in one["op_name"]]
    assert [one["display_name"] for one in evaluations] == ["test/x", "test/y"]
    assert len({one["inputs"]["self"] for one in evaluations}) == 1
    models = created(traces, "test_x") + created(traces, "test_y")
    assert [(one["model"], one["prompt"], one["parameters"]) for one in models] == [
        ("test/x", PROMPT, {"temperature": 0}),
        ("test/y", PROMPT, {"temperature": 0}),
    ]
    # The predictions with their scores.
    predictions = traces.named("Evaluation.predict_and_score")
    found = [(one["output"]["output"]["answer"], one["output"]["scores"]) for one in predictions]
    assert found == [
        ("yes", {"right": True}), ("no", {"right": True}), ("yes", {"right": True}),
        ("yes", {"right": True}), ("yes", {"right": False}), ("yes", {"right": True}),
    ]  # fmt: skip
    assert len(traces.named("right")) == 6, "each score is a call of a scorer"
    # The summary: share, interval, cost, tokens, and what the rows tell.
    ends = [one.body["end"] for one in traces.received if one.path.endswith("/call/end")]
    summaries = [one["output"] for one in ends]
    assert [one["right"]["true_count"] for one in summaries] == [3, 2]
    assert [round(one["output"]["share"], 2) for one in summaries] == [1.0, 0.67]
    assert [one["output"]["tokens"] for one in summaries] == [45, 45]
    assert "cost_usd" in summaries[0]["output"]
    assert summaries[0]["output"]["comparisons"][0]["verdict"] == "not clear"
    assert "These 3 rows show no clear difference between test/x and test/y" in summaries[0]["output"]["says"]
    (board,) = created(traces, "Leaderboard")
    assert [(one["scorer_name"], one["summary_metric_path"]) for one in board["columns"]] == [
        ("output", "share"),
        ("output", "cost_usd"),
        ("output", "seconds"),
    ]
    assert {one["evaluation_object_ref"] for one in board["columns"]} == {evaluations[0]["inputs"]["self"]}
    # No key, neither of the endpoint nor of W&B, is anywhere.
    sent = json.dumps([one.body if not isinstance(one.body, bytes) else repr(one.body) for one in traces.received])
    assert "(hidden)" in sent
    assert KEY not in sent
    assert traces.environment["WANDB_API_KEY"] not in sent
    # Publishing is not tracing: a chat after it is not traced.
    before = len(traces.received)
    assert evaluator.run("%wbchat hi 1 2 3").ok
    assert len(traces.received) == before


def test_to_weave_publishes_samples_and_scores_where_chats_are_traced(
    evaluator: Kernel, service: Service, traces: TraceServer
) -> None:
    assert evaluator.run("%wbconfig --trace team/lesson").ok
    service.always = completion("a, b")
    code = (
        "from wandb_inference_magic import evaluate\n"
        "found = evaluate(df.assign(label='b, c').head(2), '{{ n }}', truth='label', models=['test/x'], samples=2,"
        " scorer='f1')\nlink = found.to_weave('team/lesson')\nlink"
    )
    run = evaluator.run(code)
    assert run.ok, run.error
    assert run.text.strip("'\n").endswith("/team/lesson/weave/leaderboards/wbeval-label")
    predictions = traces.named("Evaluation.predict_and_score")
    assert [one["output"]["scores"] for one in predictions] == [{"right": False, "f1": 0.5}] * 4
    (board,) = created(traces, "Leaderboard")
    assert [one["summary_metric_path"] for one in board["columns"]] == ["share", "score", "cost_usd", "seconds"]
    # The chat after it is traced as before.
    assert evaluator.run("%wbchat hi\nimport weave\nweave.get_client().flush()").ok
    assert len(traces.named("wbchat")) == 1


def echo() -> None: ...


@dataclass
class Login:
    user: str
    password: str = field(repr=False)


def test_the_rows_are_published_without_what_values_hide_and_alike_in_each_process() -> None:
    def rows(shade: int) -> Any:
        values = {
            "q": "at 0x1234567890",
            "when": date(2026, 1, 2),
            "fn": echo,
            "photo": PIL.Image.new("L", (2, 2), shade),
        }
        logins = {"login": Login("ann", "hunter2"), "logins": [Login("ann", "hunter2")]}
        tracer: Any = SimpleNamespace(redacted=lambda found: found)
        scorer: Any = None
        return Publication(tracer, [{**values, **logins}], "q", scorer, {})._rows

    (row,) = rows(1)
    photo = row.pop("photo")
    assert row.pop("fn").startswith("def echo(")
    assert row == {
        "q": "at 0x1234567890",
        "when": "2026-01-02",
        "login": {"user": "ann"},
        "logins": [{"user": "ann"}],
    }
    assert re.fullmatch(r"\[image \w{12}\]", photo)
    assert rows(1)[0]["photo"] == photo != rows(2)[0]["photo"]


def test_half_of_a_character_in_a_row_is_replaced(evaluator: Kernel, service: Service, traces: TraceServer) -> None:
    service.always = completion("yes")
    evaluator.run(
        "rows = [{'q': 'a', 'y': '\\ud83d', 'more': ['\\ud83d', {'\\ud83d': 1}]}, {'q': 'b', 'y': 'yes', 'more': []}]"
    )
    run = evaluator.run("%%wbeval rows --truth y -m test/x -o found --publish team/lesson\n{{ q }}")
    assert run.ok, run.error
    assert "Not published" not in run.text
    (sent,) = [one.body["table"]["rows"] for one in traces.received if one.path.endswith("/table/create")]
    assert sent[0] == {"q": "a", "y": "\ufffd", "more": ["\ufffd", {"\ufffd": 1}]}
    assert len(traces.named("Evaluation.predict_and_score")) == 2


def test_a_failure_of_weave_loses_nothing(evaluator: Kernel, service: Service, traces: TraceServer) -> None:
    traces.fails = True
    run = evaluator.run(f"{CELL} --publish team/lesson\n{PROMPT}")
    assert run.ok, run.error
    assert "These 3 rows show no clear difference between test/x and test/y" in run.text
    assert "Not published: Connecting to Weave for team/lesson failed: nothing is published. " in run.text
    assert "To try again: found.to_weave('team/lesson')." in run.text
    assert evaluator.value("found.summary.right.tolist()") == [3, 2]
    assert "nothing is published" in evaluator.run("found.to_weave('team/lesson')").error
    assert "Write it as team/project" in evaluator.run("found.to_weave('lesson')").error
    traces.fails = False
    again = evaluator.run("found.to_weave('team/lesson')")
    assert again.ok, again.error
    # The user's own connection, to a server that fails later.
    assert evaluator.run("import weave\n_ = weave.init('team/lesson')").ok
    traces.fails = True
    run = evaluator.run(f"{CELL} --publish team/lesson\n{PROMPT}")
    assert "Not published: The evaluation was not fully published" in run.text
    assert len(service.chats) == 6
