"""What is kept of a row that fails, and what the next run makes of it."""

import json
from pathlib import Path

import pytest

from wandb_inference_magic.batch.cache import Answer, AnswerCache
from wandb_inference_magic.batch.kept import Asked, Ended, Kept, Paid, kept_of

ANSWER, UNREPAIRED, UNFIT, FAILED, EMPTY = Kept


@pytest.mark.short
@pytest.mark.parametrize(
    ("ended", "first", "again", "repair", "repair_of_kept"),
    [
        (Ended.UNREAD, ANSWER, ANSWER, ANSWER, ANSWER),
        (Ended.UNFIT, UNREPAIRED, UNREPAIRED, UNFIT, UNFIT),
        (Ended.EMPTY, EMPTY, FAILED, UNREPAIRED, UNFIT),
        (Ended.CUT, FAILED, FAILED, FAILED, FAILED),
        (Ended.CUT_BY_BUDGET, None, None, None, None),
        (Ended.REFUSED, FAILED, FAILED, UNREPAIRED, FAILED),
        (Ended.PASSING, None, None, UNREPAIRED, None),
    ],
)
def test_what_is_kept_of_a_row_that_fails(
    ended: Ended, first: Kept | None, again: Kept | None, repair: Kept | None, repair_of_kept: Kept | None
) -> None:
    assert [kept_of(ended, asked) for asked in Asked] == [first, again, repair, repair_of_kept]


def test_each_failure_is_in_the_table() -> None:
    for ended in Ended:
        for asked in Asked:
            assert kept_of(ended, asked) in (*Kept, None)


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        ({"text": "good", "seconds": 1.5, "reports": ["odd"]}, ANSWER),
        ({"text": "unfit", "error": "why"}, UNFIT),
        ({"text": "unfit", "error": "why", "is_repairable": True}, UNREPAIRED),
        ({"text": "un", "error": "why", "is_cut": True}, FAILED),
        ({"text": "un", "error": "why", "is_cut": True, "is_repairable": True}, FAILED),
        ({"error": "why"}, FAILED),
        ({"error": "why", "is_repairable": True}, EMPTY),
    ],
)
def test_what_is_on_disk_is_read_as_what_was_kept(tmp_path: Path, stored: dict[str, object], kept: Kept) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    cache._do(lambda file: file.execute("insert into answers values ('k', ?, 0.0)", (json.dumps(stored),)))
    assert cache.find(["k"])["k"].kept is kept
    cache.close()


@pytest.mark.parametrize(
    ("kept", "text", "is_read_as"),
    [
        (UNREPAIRED, "unfit", UNREPAIRED),
        (UNFIT, "unfit", UNFIT),
        (FAILED, "un", FAILED),
        # Without a text there is nothing to read.
        (UNREPAIRED, "", FAILED),
        (UNFIT, "", FAILED),
        (FAILED, "", FAILED),
        (EMPTY, "", EMPTY),
    ],
)
def test_a_failure_is_read_as_it_was_kept(kept: Kept, text: str, is_read_as: Kept) -> None:
    failure = Answer.failure(kept, text, "why", Paid())
    assert (failure.kept, failure.text, failure.error) == (is_read_as, text, "why")


@pytest.mark.parametrize(
    ("kept", "usually", "without_repair", "retrying"),
    [
        (ANSWER, False, False, False),
        (UNREPAIRED, True, False, True),
        (UNFIT, False, False, True),
        (FAILED, False, False, True),
        (EMPTY, True, True, True),
    ],
)
def test_what_the_next_run_sends(kept: Kept, usually: bool, without_repair: bool, retrying: bool) -> None:
    assert kept.may_be_sent(repair=True, retry_failed=False) is usually
    assert kept.may_be_sent(repair=False, retry_failed=False) is without_repair
    for repair in (True, False):
        assert kept.may_be_sent(repair=repair, retry_failed=True) is retrying
        assert not kept.is_repaired(repair=repair, retry_failed=True)
    assert kept.is_repaired(repair=True, retry_failed=False) is (kept is UNREPAIRED)
