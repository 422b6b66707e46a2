"""What the finish reasons of services mean."""

from __future__ import annotations

import pytest

from wandb_inference_magic.replies.endings import ENDS, finish_meaning, is_broken

pytestmark = pytest.mark.short

MEANINGS = {
    "stop": "stop STOP eos_token end_turn stop_sequence COMPLETE FinishReason.STOP REASON_EOS done",
    "length": "length MAX_TOKENS maximum_tokens max_output_tokens max_new_tokens max_output model_length context"
    " model_context_window_exceeded token_limit repetition repetition_truncation truncated REASON_MAX_LEN incomplete",
    "tool_calls": "tool_calls tool_use TOOL_CALL function_call",
    "content_filter": "content_filter content_filter:SAFETY BLOCKLIST blacklist IMAGE_RECITATION refusal sensitive"
    " guardrail_intervened ERROR_TOXIC MODEL_ARMOR SPII LANGUAGE",
}
CASES = [(reason, meaning) for meaning, reasons in MEANINGS.items() for reason in reasons.split()]
BROKEN = "error engine-error MALFORMED_FUNCTION_CALL content_filter_error context_error abort user_cancel time_limit"
UNKNOWN = "weird OTHER not_finished in_progress rate 完"


@pytest.mark.parametrize(("reason", "meaning"), CASES)
def test_a_reason_has_the_meaning_of_the_openai_api(reason: str, meaning: str) -> None:
    assert (finish_meaning(reason), finish_meaning({"type": reason})) == (meaning, meaning)
    assert not is_broken(reason)


@pytest.mark.parametrize("reason", BROKEN.split())
def test_a_reason_that_names_a_failure_is_no_end(reason: str) -> None:
    assert is_broken(reason)
    assert finish_meaning(reason) == reason
    assert reason not in ENDS


@pytest.mark.parametrize("reason", UNKNOWN.split())
def test_a_reason_of_unknown_meaning_is_as_received(reason: str) -> None:
    assert finish_meaning(reason) == reason
    assert not is_broken(reason)


@pytest.mark.parametrize("reason", [None, "", " ", "null", "None", {}, False, 3])
def test_no_reason(reason: object) -> None:
    assert finish_meaning(reason) is None
    assert not is_broken(reason)
