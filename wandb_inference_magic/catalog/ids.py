"""The ids of models: whether a text can be one, and whether it is the address of a LoRA.

Separate from `models`, so that checking an id does not import the catalog.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import InferenceError

LORA: Final = "wandb-artifact:"


def check_model_id(text: str) -> str:
    """Return a model's id.

    Raises
    ------
    InferenceError
        If the id is blank, contains whitespace or control characters, or is a malformed LoRA address.
    """
    text = text.strip()
    if not is_model_id(text):
        raise InferenceError(
            f"{text[:60]!r} is not a model id.",
            remedy="It looks like openai/gpt-oss-20b. %wbmodels shows them.",
            cause="option",
        )
    if text.startswith(LORA) and not re.fullmatch(r"wandb-artifact:///[^/:]+/[^/:]+/[^/:]+(:[^/:]+)?", text):
        raise InferenceError(
            f"{text[:80]!r} is not the address of a LoRA.",
            remedy="It looks like wandb-artifact:///team/project/name:latest, with three slashes.",
            cause="option",
        )
    return text


def is_model_id(text: str) -> bool:
    """Whether a text can be a model's id: not blank, and without whitespace and control characters."""
    return 0 < len(text) <= 500 and not any(one.isspace() or not one.isprintable() for one in text)


def is_lora(id: str) -> bool:
    """Whether an id is the address of a LoRA. No list contains those."""
    return id.startswith(LORA)
