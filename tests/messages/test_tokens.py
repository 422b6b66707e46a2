"""The token counts that services report."""

from __future__ import annotations

from typing import Any

import pytest

from wandb_inference_magic.messages import Usage

pytestmark = pytest.mark.short


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        # Google's layer for OpenAI's SDK: what a model thinks is in the total only.
        ({"completion_tokens": 9, "prompt_tokens": 8, "total_tokens": 237}, Usage(8, 229)),
        (
            {
                "prompt_tokens": 8,
                "completion_tokens": 9,
                "total_tokens": 117,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
            Usage(8, 109, 0, 100),
        ),
        ({"input_tokens": 8, "output_tokens": 9, "cache_creation_input_tokens": 100}, Usage(108, 9)),
        (
            {"inputTokens": 8, "outputTokens": 9, "cacheReadInputTokens": 50, "cacheWriteInputTokens": 10},
            Usage(68, 9, 50),
        ),
        ({"prompt_tokens": "1,008.0", "completion_tokens": "9"}, Usage(1008, 9)),
        # A total that says less than its parts is none.
        ({"prompt_tokens": 8, "completion_tokens": 9, "total_tokens": 5}, Usage(8, 9)),
    ],
)
def test_counts_of_services_are_read(counts: dict[str, Any], usage: Usage) -> None:
    assert Usage.read(counts) == usage


@pytest.mark.parametrize("count", ["", ",", "-1", "1.5", "many", float("nan"), -9, 10**400, True])
def test_what_is_no_count_is_refused(count: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Usage.read({"prompt_tokens": count, "completion_tokens": 1})
