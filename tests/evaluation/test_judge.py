"""A judge: asked in both orders, reported where it contradicts itself or people."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pandas as pd
import PIL.Image
import pytest
from evaluations import evaluate
from kernels import Kernel
from known_models import known_model_environment
from service import Answer, Script, Service, Wandb, completion, refused

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.prompts import render
from wandb_inference_magic.session import current_session

FRAME = pd.DataFrame({"n": range(24), "label": ["long"] * 12 + [None] * 12})


def judged(
    api: ModuleType,
    service: Service,
    prefers: Callable[[int, str], str | Script],
    frame: pd.DataFrame = FRAME,
    **options: Any,
) -> Any:
    """Model x answers `long`, y `short`. `prefers` says what the judge takes, by the row and what is shown first,
    or how its request is answered.
    """

    def answer(one: Answer) -> None:
        prompt = one.received.body["messages"][-1]["content"]
        if one.received.body["model"] == "test/judge":
            row = int(re.findall(r"Row (\d+)", prompt)[0])
            first = re.findall(r"answer:\n(\w+)", prompt)[0]
            taken = prefers(row, first)
            if not isinstance(taken, str):
                taken(one)
                return
            completion(json.dumps({"better": "first" if taken == first else "second"}))(one)
        else:
            completion("long" if one.received.body["model"] == "test/x" else "short")(one)

    service.always = answer
    options = {"models": ["test/x", "test/y"], "truth": "label", "judge": "test/judge", "temperature": 0} | options
    return evaluate(api, frame, "Row {{ n }}", **options)


def test_the_comparison_follows_a_judge_who_agrees_with_itself(api: ModuleType, service: Service) -> None:
    found = judged(api, service, lambda row, first: "long")
    assert len(service.chats) == 48 + 48
    assert "temperature" not in service.last.body
    assert found.comparisons[["rows", "difference", "verdict"]].values.tolist() == [[24, 1.0, "a is better"]]
    said = str(found)
    assert said.startswith("test/x is better than test/y: its share of rows that the judge prefers is 100 points")
    assert "Judged by test/judge, in both orders: it contradicted itself on 0 of 24 pairs (0%)." in said
    assert str(pickle.loads(pickle.dumps(found))) == said
    # The shares are those of the 12 rows whose truth is known.
    assert found.summary[["rows", "right"]].values.tolist() == [[12, 12], [12, 0]]


def test_the_judge_is_asked_without_the_defaults_of_the_settings(api: ModuleType, service: Service) -> None:
    settings = current_session().settings
    settings.system, settings.temperature, settings.max_tokens = "Be a pirate.", 1.5, 5
    judged(api, service, lambda row, first: "long", FRAME.head(1))
    assert service.chats[0].body["max_tokens"] == 5
    assert [one["role"] for one in service.last.body["messages"]] == ["user"]
    assert not {"temperature", "max_tokens"} & service.last.body.keys()


def test_a_judgement_that_failed_is_asked_again_with_the_other_failures(api: ModuleType, service: Service) -> None:
    refusing = refused(400, "not this pair")
    judged(api, service, lambda row, first: refusing if row == 3 else "long")
    asked = len(service.chats)
    assert "2 rows were not asked again" in str(judged(api, service, lambda row, first: "long"))
    assert len(service.chats) == asked
    judged(api, service, lambda row, first: "long", retry_failed=True)
    assert len(service.chats) == asked + 2


def test_a_judge_that_prefers_what_comes_first_is_reported_as_biased(api: ModuleType, service: Service) -> None:
    found = judged(api, service, lambda row, first: first if row else "long")
    assert found.comparisons.verdict.tolist() == ["not clear"]
    said = str(found)
    assert "it contradicted itself on 23 of 24 pairs (96%)." in said
    assert "It is biased towards the answer shown first (p < 0.0001)." in said
    assert "Pairs on which it contradicted itself count for neither." in said


def test_a_judge_that_contradicts_itself_on_every_pair_decides_nothing(api: ModuleType, service: Service) -> None:
    found = judged(api, service, lambda row, first: first)
    assert found.comparisons[["rows", "verdict"]].values.tolist() == [[12, "a is better"]]
    assert "it contradicted itself on 24 of 24 pairs (100%)." in str(found)
    assert "The comparison is based on label instead." in str(found)


def test_a_judge_is_held_against_people(api: ModuleType, service: Service) -> None:
    frame = FRAME.assign(label=["long", "short", "long", "long"] * 3 + [None] * 12)
    # As the people say, but for row 0.
    found = judged(api, service, lambda row, first: "short" if row % 4 == 1 or row == 0 else "long", frame)
    assert found.judged.kappa[0] == pytest.approx(0.8)
    assert re.search(
        r"It agreed with label on 11 of 12 pairs: kappa 0\.80 \(0\.4\d to 1\.00; 1 is full agreement, 0 is chance\)\.",
        str(found),
    )


def test_the_same_answers_are_not_judged(api: ModuleType, service: Service) -> None:
    found = judged(api, service, lambda row, first: first, prompts=["{{ n }}, row"], models=["test/x"])
    assert len(service.chats) == 48
    assert "There were no different answers to judge." in str(found)
    with pytest.raises(InferenceError, match="A judge compares two or more candidates, with one answer for each row"):
        judged(api, service, lambda row, first: first, models=["test/x"])


def test_a_judge_that_does_not_exist_is_refused_before_anything_is_sent(
    kernel_with_catalog: Kernel, wandb: Wandb
) -> None:
    kernel_with_catalog.run("import pandas as pd\ndf = pd.DataFrame({'n': range(4), 'label': 'yes'})")
    run = kernel_with_catalog.run("%%wbeval df --truth label -m test/small -m test/eyes --judge test/smal\n{{ n }}")
    assert "There is no model 'test/smal' at this endpoint." in run.error
    assert wandb.api.chats == []


def test_a_judge_sees_the_pictures_of_the_question(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"n": [0], "label": ["long"], "pic": [PIL.Image.new("L", (2, 2))]})
    picture = render("{{ pic }}", {"pic": frame.pic[0]})[0]

    def answer(one: Answer) -> None:
        model = one.received.body["model"]
        completion({"test/x": "long", "test/y": "short"}.get(model, '{"better": "first"}'))(one)

    service.always = answer
    evaluate(api, frame, "Row {{ n }}: {{ pic }}", models=["test/x", "test/y"], truth="label", judge="test/judge")
    head, image, tail = service.last.body["messages"][-1]["content"]
    assert image == picture
    assert head["text"].endswith("\n\nThe question:\nRow 0: ")
    assert tail["text"].startswith("\n\nThe first answer:\n")


def test_a_judge_sees_the_question_of_each_answer_where_the_prompts_differ(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"q": ["Is the sky blue?"], "label": ["yes"]})
    prompts = {"In one word: {{ q }}": "yes", "Explain: {{ q }}": "It scatters light."}
    said = {text.replace("{{ q }}", frame.q[0]): answer for text, answer in prompts.items()}

    def answer(one: Answer) -> None:
        text = one.received.body["messages"][-1]["content"]
        completion(said.get(text, '{"better": "first"}'))(one)

    service.always = answer
    prompt, other = prompts
    evaluate(api, frame, prompt, prompts=[other], models=["test/x"], truth="label", judge="test/judge")
    judging = [one.body["messages"][-1]["content"] for one in service.chats if one.body["model"] == "test/judge"]
    assert len(judging) == 2
    for text in judging:
        assert text.startswith("Two answers to questions about the same thing follow.")
        asked = re.findall(r"The question of the (\w+) answer:\n(.+)", text)
        answered = re.findall(r"The (\w+) answer:\n(.+)", text)
        shown = {place: said[question] for place, question in asked}
        assert list(shown) == ["first", "second"]
        assert shown.items() <= set(answered)
    assert judging[0] != judging[1]


def test_a_judge_that_reads_text_only_is_refused_where_the_question_has_a_picture(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    api = start_api(**known_model_environment(wandb))
    # The catalog says what a model reads.
    api.models()
    # Any of the first rows may have it.
    rows = [{"pic": pic, "label": "yes"} for pic in ("no picture", PIL.Image.new("L", (2, 2)))]
    asked = {"models": ["test/eyes"], "prompts": ["Again: {{ pic }}"], "truth": "label"}
    with pytest.raises(InferenceError, match="test/small reads text only, and the prompt holds an image"):
        api.evaluate(rows, "{{ pic }}", **asked | {"models": ["test/eyes", "test/small"]})
    with pytest.raises(InferenceError, match="test/small reads text only, and the prompt holds an image"):
        api.evaluate(rows, "{{ pic }}", judge="test/small", **asked)
    assert wandb.api.chats == []


@pytest.mark.parametrize("has_truth", [True, False])
def test_a_judge_that_fails_is_quoted_and_leaves_the_comparison_to_the_truth(
    api: ModuleType, service: Service, has_truth: bool
) -> None:
    frame = FRAME.head(7).assign(label="long" if has_truth else ["long"] + [None] * 6)
    found = judged(api, service, lambda row, first: refused(400, "no judge today"), frame)
    said = str(found)
    assert "test/judge judged nothing. 7 pairs have no judgement; requests about 7 rows failed, the first" in said
    assert "no judge today" in said
    assert "The comparison is based on label instead." in said
    assert found.comparisons[["rows", "difference"]].values.tolist() == [[7 if has_truth else 1, 1.0]]
    assert ("test/x is better than test/y: its share of right answers" in said) == has_truth


def test_a_judge_whose_run_stops_leaves_the_comparison_to_the_truth(api: ModuleType, service: Service) -> None:
    with pytest.raises(InferenceError, match="16 consecutive rows failed") as caught:
        judged(api, service, lambda row, first: refused(400, "no judge today"))
    assert caught.value.partial.comparisons[["rows", "difference"]].values.tolist() == [[12, 1.0]]
    assert "The comparison is based on label instead." in str(caught.value.partial)


def test_a_judge_that_fails_on_some_pairs_says_why(api: ModuleType, service: Service) -> None:
    said = str(judged(api, service, lambda row, first: refused(400, "too long") if row in (3, 4) else "long"))
    assert "it contradicted itself on 0 of 22 pairs" in said
    assert "2 pairs have no judgement; requests about 2 rows failed, the first with: " in said
    assert "too long" in said
    assert "The comparison is by" not in said


def test_a_judge_is_priced_with_the_candidates_before_anything_is_sent(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    def answer(one: Answer) -> None:
        body = one.received.body
        completion('{"better": "first"}' if "response_format" in body else body["messages"][-1]["content"])(one)

    wandb.api.always = answer
    api = start_api(**known_model_environment(wandb))
    api.models()
    settings = current_session().settings
    asked = {"prompts": ["Again: {{ n }}"], "truth": "label"}
    settings.budget = 0.005
    with pytest.raises(InferenceError, match=r"This would cost about .* test/eyes: 40 rows") as refused:
        api.evaluate(FRAME[:20], "{{ n }}", judge="test/eyes", **asked)
    assert refused.value.cause == "budget"
    assert wandb.api.chats == []
    settings.budget = 1.0
    api.evaluate(FRAME[:20], "{{ n }}", judge="test/eyes", **asked)
    # The answers and what the judge said are on disk.
    settings.budget = current_session().usage.total().cost
    assert api.evaluate(FRAME[:20], "{{ n }}", judge="test/eyes", **asked).judged.judged == 20


def test_a_judge_that_cannot_start_loses_no_answer(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example because the candidates have used the budget up: what they tell is paid for."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise InferenceError("This could cost too much.", cause="budget")

    monkeypatch.setattr("wandb_inference_magic.evaluation.run.judge", refuse)
    found = judged(api, service, lambda row, first: "long")
    assert found.summary["right"].tolist() == [12, 0]
    assert "Not judged: This could cost too much." in str(found)
