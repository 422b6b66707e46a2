"""llmock, a third-party server, breaks every call in its own ways and grades the client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from kernels import Kernel
from mock_server import Llmock

pytestmark = pytest.mark.sdk

Behaviour = dict[str, Any]

# A fault, its queued behaviour, and whether the magic recovers on its own. If not, the user runs the cell again.
FAULTS: list[tuple[str, list[Behaviour], bool]] = [
    ("rate limit", [{"type": "fail", "status": 429, "retry_after": 1, "times": 2}], True),
    ("500", [{"type": "fail", "status": 500, "retry_after": 1, "times": 1}], True),
    ("503", [{"type": "fail", "status": 503, "times": 1}], True),
    ("400", [{"type": "fail", "status": 400}], False),
    ("401", [{"type": "fail", "status": 401}], False),
    ("403", [{"type": "fail", "status": 403}], False),
    ("404", [{"type": "fail", "status": 404}], False),
    ("422", [{"type": "fail", "status": 422}], False),
    ("slow response", [{"type": "delay", "seconds": 1}], True),
    ("slow first token", [{"type": "slow_first_token", "seconds": 1}], True),
    ("disconnect", [{"type": "stream_fault", "kind": "disconnect", "after_chunks": 3}], False),
    ("truncate", [{"type": "stream_fault", "kind": "truncate", "after_chunks": 3}], False),
    ("malformed", [{"type": "stream_fault", "kind": "malformed", "after_chunks": 3}], False),
    ("stall", [{"type": "stream_fault", "kind": "stall", "after_chunks": 3, "stall_seconds": 6}], False),
    ("truncate at once", [{"type": "stream_fault", "kind": "truncate", "after_chunks": 0}], True),
    ("disconnect at once", [{"type": "stream_fault", "kind": "disconnect", "after_chunks": 0}], True),
]
# These fail again when run again unchanged: the user fixes what the error names instead.
FIXED_BY_USER = {"400", "401", "403", "404", "422"}


def test_llmock_has_no_findings_after_all_faults(start_kernel: Callable[..., Kernel], mock: Llmock) -> None:
    """Trigger each fault in turn and do what its error says: in the end the server has no findings."""
    kernel = start_kernel(
        WANDB_INFERENCE_BASE_URL=f"{mock.url}/v1", WANDB_INFERENCE_MODEL="gpt-4o", WANDB_INFERENCE_API_KEY="mock"
    )
    kernel.run("%load_ext wandb_inference_magic\n%wbconfig --timeout 4")
    for name, behaviours, recovers in FAULTS:
        mock.call("scenario", {"behaviors": behaviours})
        run = kernel.run(f"%wbchat --once Tell me about {name}, in several words please.")
        assert run.ok is recovers, (name, run.text)
        if not recovers:
            assert "What to do:" in run.error, name
            assert "Traceback" not in run.error, name
        if not recovers and name not in FIXED_BY_USER:
            assert "incomplete: the reply broke off" in run.text, name
            mock.wait_for_end("stream:")
            assert kernel.run(f"%wbchat --once Tell me about {name}, in several words please.").ok, name
    verdict = mock.call("verdict")
    assert verdict["findings"] == [], json.dumps(verdict, indent=1)


TOOL = "def temperature(city: str) -> float:\n    'The temperature in a city.'\n    return 21.5\n"


def test_tools_are_called_and_their_errors_sent_to_the_model(start_kernel: Callable[..., Kernel], mock: Llmock) -> None:
    kernel = start_kernel(
        WANDB_INFERENCE_BASE_URL=f"{mock.url}/v1", WANDB_INFERENCE_MODEL="gpt-4o", WANDB_INFERENCE_API_KEY="mock"
    )
    kernel.run("%load_ext wandb_inference_magic\n" + TOOL)
    scenarios: list[list[Behaviour]] = [
        [],
        [{"type": "tool_fault", "kind": "malformed_arguments"}],
        [{"type": "tool_fault", "kind": "unknown_tool"}],
    ]
    ok = []
    for behaviours in scenarios:
        if behaviours:
            mock.call("scenario", {"behaviors": behaviours})
        run = kernel.run("%wbchat --once --tools temperature How warm is Paris?")
        assert run.ok, run.text
        ok.append(kernel.value("[step.ok for step in _wbreply.steps]"))
    assert ok[0] == [True]
    assert not ok[1][0]
    assert not ok[2][0]
    verdict = mock.call("verdict")
    assert verdict["findings"] == [], json.dumps(verdict, indent=1)
