"""The cache from Python: answers and failures that are kept on disk, and what is asked again."""

from __future__ import annotations

import re
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from answered_rows import Numbered, answers, numbers
from kernels import Kernel
from service import Answer, Script, Service, completion, refused

from wandb_inference_magic import InferenceError, InferenceWarning
from wandb_inference_magic.session import current_session


def test_a_damaged_cache_is_a_warning_and_is_begun_anew(
    api: ModuleType, service: Service, environment: dict[str, str]
) -> None:
    service.always = Numbered()
    api.map_prompts(["a"], "{{ text }}")
    (file,) = Path(environment["HOME"]).rglob("answers.sqlite")
    file.write_bytes(b"This is no database, and long enough to be seen as none." * 100)
    with pytest.warns(InferenceWarning, match="was damaged") as warned:
        api.map_prompts(["a"], "{{ text }}")
    assert warned[0].filename == __file__
    api.map_prompts(["a"], "{{ text }}")
    assert len(service.chats) == 2


def test_a_failure_of_an_earlier_run_is_said_to_be_one(api: ModuleType, service: Service) -> None:
    """Nothing was sent for the row, and the service may work by now."""
    service.then(completion("Yes."), refused(400, "bad row"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        api.map_prompts(["a", "b"], "{{ text }}", concurrency=1)
    service.always = completion("Yes.")
    with pytest.warns(InferenceWarning, match=r"1 row was not asked again.*retry_failed=True"):
        again = api.map_prompts(["a", "b"], "{{ text }}", concurrency=1)
    assert list(again.reply.isna()) == [False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        api.map_prompts(["a", "b"], "{{ text }}", concurrency=1, retry_failed=True)


def test_a_map_that_sends_nothing_costs_nothing_also_at_an_unknown_price(mapper: Kernel, service: Service) -> None:
    cell = "%%wbmap df -o out\nIs {{ text }} x?"
    assert "cost unknown" in mapper.run(cell).text
    kept = mapper.run(cell).text
    assert "4 kept from before" in kept
    # They were paid for.
    assert not re.search("cost unknown|free|tokens", kept)
    mapper.run("import os\nos.environ['HF_TOKEN'] = 'hf_abcdefghijklmnopqrstuv'")
    assert "cost unknown" not in mapper.run("%%wbmap df -o out\n{{ text }}{{ os.environ['HF_TOKEN'] }}").text
    assert len(service.chats) == 4
    # What was sent may be billed although nothing came.
    service.always = refused(400, "too odd")
    assert "cost unknown" in mapper.run("%%wbmap df -o out\n{{ text }}").text


def test_a_failure_of_every_row_is_not_kept(api: ModuleType, service: Service) -> None:
    service.always = refused(400, "This service has no such option")
    rows = ["a", "b"]
    assert answers(api.map_prompts(rows, "{{ text }}")) == [None, None]
    service.always = completion("yes")
    assert answers(api.map_prompts(rows, "{{ text }}")) == ["yes", "yes"]
    service.then(refused(400, "This row has no answer"))
    api.map_prompts(["c", "d"], "{{ text }}", concurrency=1)
    sent = len(service.chats)
    with pytest.warns(InferenceWarning, match="1 row was not asked again"):
        api.map_prompts(["c", "d"], "{{ text }}")
    assert len(service.chats) == sent


def test_an_address_that_was_not_found_is_asked_again(api: ModuleType, service: Service) -> None:
    service.then(*[completion("yes")] * 4)
    service.always = refused(404, "gone for a while")
    texts = list("abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(InferenceError):
        api.map_prompts(texts, "{{ text }}", concurrency=1)
    service.always = completion("yes")
    assert answers(api.map_prompts(texts, "{{ text }}")) == ["yes"] * 26


@pytest.mark.parametrize(
    ("message", "finish_reason", "reported"),
    [
        ({"content": "Four."}, "weird", "ended the reply with 'weird'"),
        ({"content": [{"type": "text", "text": "Four."}, {"type": "chart"}]}, "stop", "unknown form"),
    ],
    ids=["end", "part"],
)
def test_what_may_be_missing_of_an_answer_is_reported_when_it_comes_from_disk(
    api: ModuleType, service: Service, message: dict[str, Any], finish_reason: str, reported: str
) -> None:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    service.always = lambda answer: answer.json({"object": "chat.completion", "choices": [choice]})
    for _ in range(2):
        with pytest.warns(InferenceWarning, match=reported):
            assert answers(api.map_prompts(["2 + 2?"], "{{ text }}")) == ["Four."]
    assert len(service.chats) == 1


def test_an_answer_that_was_cut_is_marked_and_asked_for_again(api: ModuleType, service: Service) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": "half an"}
        one.json({"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "length"}]})

    service.always = cut
    for times in (1, 2):
        frame = api.map_prompts(["a"], "{{ text }}")
        assert answers(frame) == ["half an"]
        assert "cut" in frame["reply_error"][0]
        assert len(service.chats) == times


@pytest.mark.parametrize(
    ("text", "is_whole"),
    [
        ('{"n": 5}' + "\n" * 50, True),
        ('{"n": 5}' + " \t" * 50, True),
        ('[{"n": 5}]\n\n', True),
        ('{"n": 5', False),
        ('{"n": 5}\n\nBecause it', False),
        # More digits may follow.
        ("5\n", False),
    ],
)
def test_an_answer_in_json_that_was_cut_among_blanks_is_whole(
    api: ModuleType, service: Service, text: str, is_whole: bool
) -> None:
    """In JSON mode some models write blanks after their answer, up to the limit."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
    service.always = lambda answer: answer.json({"object": "chat.completion", "choices": [choice]})
    for _ in range(1 + is_whole):
        frame = api.map_prompts(["a"], "{{ text }}", schema="n int", repair=False)
        assert ("reply_error" not in frame.columns) == is_whole
    assert len(service.chats) == 1


def test_the_text_of_a_cut_answer_is_in_the_frame_and_is_not_read_again(api: ModuleType, service: Service) -> None:
    def cut(one: Answer) -> None:
        message = {"role": "assistant", "content": '{"n": 5} is the answer. It'}
        one.json({"choices": [{"index": 0, "message": message, "finish_reason": "length"}]})

    def large(value: int) -> int:
        if value < 1000:
            raise ValueError("too small")
        return value

    service.always = cut
    for check in (large, lambda value: value):
        with pytest.warns(InferenceWarning, match="not asked again") if service.chats else nullcontext():
            out = api.map_prompts(["a", "a"], "{{ text }}", schema=numbers(check), distinct=True)
        assert out["reply_text"].tolist() == ['{"n": 5} is the answer. It'] * 2
        assert "too small, not 5" in out["reply_error"][0]
    assert len(service.chats) == 1
    found = api.evaluate([{"q": "b", "n": 7}], "{{ q }}", truth="n", schema="n 7|8")
    assert (found.rows["answer"].isna()[0], found.rows["text"][0]) == (True, '{"n": 5} is the answer. It')


@pytest.mark.parametrize(
    ("schema", "blank"),
    [
        (None, completion("")),
        (None, completion(None)),
        (None, completion(None, reasoning_content="Hm.")),
        ("n int", completion("")),
        ("n int", completion(None)),
    ],
)
def test_an_empty_reply_is_asked_for_again_by_the_next_run(
    api: ModuleType, service: Service, blank: Script, schema: str | None
) -> None:
    service.then(blank)
    service.always = completion('{"n": 1}')
    first = api.map_prompts(["a"], "{{ text }}", schema=schema, repair=False)
    assert first.iloc[:, 1].isna().all()
    second = api.map_prompts(["a"], "{{ text }}", schema=schema, repair=False)
    assert second.iloc[:, 1].notna().all()
    assert len(service.chats) == 2


def test_rows_whose_replies_stay_empty_are_asked_twice_and_do_not_end_a_map(api: ModuleType, service: Service) -> None:
    """Nothing may be the right answer: `List the complaints`."""

    def mostly_nothing(one: Answer) -> None:
        number = int(one.received.body["messages"][-1]["content"])
        completion("A word." if number in (0, 79) else "")(one)

    service.always = mostly_nothing
    for times in (80, 158):
        frame = api.map_prompts(range(80), "{{ text }}")
        assert frame.reply.notna().sum() == 2
        assert frame.reply_error[5].startswith("The reply has no text")
        assert len(service.chats) == times
    with pytest.warns(InferenceWarning, match="78 rows were not asked again"):
        api.map_prompts(range(80), "{{ text }}")
    assert len(service.chats) == 158


@pytest.mark.parametrize(
    ("failure", "times"), [(completion(""), 2), (refused(400, "Your prompt was flagged by moderation."), 1)]
)
def test_answers_of_an_earlier_run_show_that_a_failure_is_that_of_a_row(
    api: ModuleType, service: Service, failure: Script, times: int
) -> None:
    service.always = completion("Yes.")
    api.map_prompts(["a", "b"], "{{ text }}")
    service.always = failure
    for _ in range(times):
        assert api.map_prompts(["a", "b", "c"], "{{ text }}").reply.notna().tolist() == [True, True, False]
    with pytest.warns(InferenceWarning, match="1 row was not asked again"):
        api.map_prompts(["a", "b", "c"], "{{ text }}")
    assert len(service.chats) == 2 + times


def test_a_map_whose_replies_are_all_empty_ends(api: ModuleType, service: Service) -> None:
    service.always = completion("")
    with pytest.raises(InferenceError, match="16 consecutive rows failed"):
        api.map_prompts(range(100), "{{ text }}")
    assert len(service.chats) < 50


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "This model is gated. Ask its owner."),
        (403, "Your account has been suspended for violating our usage policies."),
        (403, "Access to it was flagged by moderation"),
        (400, "Input flagged by moderation"),
    ],
)
def test_a_refusal_that_may_be_the_accounts_is_asked_again(
    api: ModuleType, service: Service, status: int, said: str
) -> None:
    service.always = refused(status, said)
    with suppress(InferenceError):
        api.map_prompts(["a", "b"], "{{ text }}")
    service.always = completion("Good.")
    assert answers(api.map_prompts(["a", "b"], "{{ text }}")) == ["Good."] * 2


@pytest.mark.parametrize(
    "said", ["Guardrail service timed out, please try again later", "Moderation failed", "Error in the content filter"]
)
def test_a_row_whose_filter_failed_is_asked_again(api: ModuleType, service: Service, said: str) -> None:
    current_session().settings.set(max_retries=0)
    service.then(completion("Good."), refused(500, said), completion("Good."))
    api.map_prompts(["a", "b", "c"], "{{ text }}", concurrency=1)
    service.always = completion("Good.")
    assert answers(api.map_prompts(["a", "b", "c"], "{{ text }}")) == ["Good."] * 3


@pytest.mark.parametrize(
    "said", ["Your account has been suspended for violating our usage policies.", "API key disabled: policy_violation"]
)
def test_rows_after_the_account_is_blocked_are_asked_again(api: ModuleType, service: Service, said: str) -> None:
    service.then(completion("Good."))
    service.always = refused(403, said)
    with suppress(InferenceError):
        api.map_prompts(["a", "b", "c"], "{{ text }}", concurrency=1)
    service.always = completion("Good.")
    assert answers(api.map_prompts(["a", "b", "c"], "{{ text }}")) == ["Good."] * 3


@pytest.mark.parametrize(
    ("repair", "asked"),
    [
        *((refused(status, "not now"), 4) for status in (401, 402, 500)),
        *((repair, 3) for repair in (refused(400, "no"), completion(""), completion("\n "))),
    ],
)
def test_an_answer_whose_repair_fails_is_not_asked_for_again(
    api: ModuleType, service: Service, repair: Script, asked: int
) -> None:
    """Its repair is, once more if it was refused or empty."""
    current_session().settings.set(max_retries=0)
    service.then(completion('{"zz": 1}'), repair, repair)
    service.always = completion('{"n": 1}')
    for _ in range(2):
        try:
            found = api.map_prompts(["a"], "{{ text }}", schema="n int")
        except InferenceError as stopped:
            found = stopped.partial
        assert found.reply_text.tolist() == ['{"zz": 1}']
    with pytest.warns(InferenceWarning, match="not asked again") if asked == 3 else nullcontext():
        found = api.map_prompts(["a"], "{{ text }}", schema="n int")
    assert found.reply_text.tolist() == ['{"zz": 1}'] if asked == 3 else found.n.tolist() == [1]
    assert len(service.chats) == asked
    assert service.last.body["messages"][-2]["content"] == '{"zz": 1}'
