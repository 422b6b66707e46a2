"""`--think`: which parameters are sent, depending on what is known about the model."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from kernels import Kernel
from known_models import known_model_environment
from service import Service, Wandb

from wandb_inference_magic.catalog.models import Model
from wandb_inference_magic.catalog.thinking import LEVELS, THINK, thinking_parameters
from wandb_inference_magic.errors import InferenceError

ON = {"chat_template_kwargs": {"enable_thinking": True}}
OFF = {"chat_template_kwargs": {"enable_thinking": False}}


def effort(level: str) -> dict[str, Any]:
    return {"reasoning_effort": level}


CASES: list[tuple[str, tuple[str, ...], dict[str, dict[str, Any] | str]]] = [
    ("toggle-on", (), {"on": ON, "off": OFF, "low": "It can be switched with --think on and --think off."}),
    ("toggle-off", ("low", "high"), {"on": ON, "off": OFF, "low": effort("low"), "max": "Its levels are: low, high."}),
    ("always", ("low", "high"), {"on": {}, "off": "Its levels are: low, high.", "high": effort("high")}),
    ("always", (), {"on": {}, "off": "It always thinks. --think low", "medium": effort("medium")}),
    ("always", ("none", "high"), {"off": effort("none"), "low": "Its levels are: high."}),
    ("none", (), {"on": "It does not think.", "off": {}, "high": "It does not think."}),
    ("adaptive", (), {"on": "the model decides", "off": "the model decides", "high": effort("high")}),
    ("unknown", (), {"on": ON, "off": OFF, "max": effort("max")}),
]


@pytest.mark.parametrize(("reasoning", "efforts", "expected"), CASES)
def test_parameters_depend_on_how_the_model_reasons(
    reasoning: str, efforts: tuple[str, ...], expected: dict[str, Any]
) -> None:
    model = Model("m", reasoning=reasoning, reasoning_efforts=efforts)
    for think, sent in expected.items():
        if isinstance(sent, dict):
            assert thinking_parameters(think, "m", model) == sent, think
            continue
        with pytest.raises(InferenceError) as refused:
            thinking_parameters(think, "m", model)
        assert refused.value.what == f"m does not take --think {think}. Nothing was sent."
        assert sent in refused.value.remedy


@pytest.mark.parametrize("think", THINK)
def test_an_unknown_model_is_sent_the_requested_parameters(think: str) -> None:
    sent = thinking_parameters(think, "m", None)
    assert sent == (effort(think) if think in LEVELS else ON if think == "on" else OFF)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(InferenceError, match="not one of on, off, minimal"):
        thinking_parameters("hard", "m", None)


def test_the_option_is_part_of_the_request(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat --think off --param 'chat_template_kwargs={\"more\": 1}' hi")
    assert service.last.body["chat_template_kwargs"] == {"more": 1, "enable_thinking": False}
    kernel.run("%wbchat --think high hi")
    assert service.last.body["reasoning_effort"] == "high"
    assert "one of on, off, minimal" in kernel.run("%wbchat --think hard hi").error


def test_the_feed_decides_what_a_model_accepts(start_api: Callable[..., ModuleType], wandb: Wandb) -> None:
    api = start_api(**known_model_environment(wandb))
    api.models()
    api.chat("hi", model="test/eyes", think="off")
    assert wandb.api.last.body["chat_template_kwargs"] == {"enable_thinking": False}
    api.chat("hi", model="test/thinker", think="low")
    assert wandb.api.last.body["reasoning_effort"] == "low"
    sent_before = len(wandb.api.chats)
    with pytest.raises(InferenceError, match=r"Its levels are: low, high\."):
        api.chat("hi", model="test/thinker", think="max")
    with pytest.raises(InferenceError, match=r"It does not think\."):
        api.chat("hi", model="test/small", think="on")
    assert len(wandb.api.chats) == sent_before
