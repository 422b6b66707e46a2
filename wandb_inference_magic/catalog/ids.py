"""What users type about models: ids, sizes of contexts, the names of orders.

Separate from `models`, so that checking an option does not import the catalog.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import InferenceError

LORA: Final = "wandb-artifact:"
# The orders in which models are listed.
SORTS: Final = ("price", "context", "name", "newest")

_TOKENS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([km]?)", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1000, "m": 1_000_000}


def check_model_id(text: str) -> str:
    """Return a model's id.

    Raises
    ------
    InferenceError
        If the id is blank, contains whitespace other than spaces or control characters, or is a malformed LoRA address.
    """
    text = text.strip()
    if not is_model_id(text):
        raise InferenceError(
            f"{text[:60]!r} is not a model id.",
            remedy="A model id looks like openai/gpt-oss-20b. %wbmodels shows them.",
        )
    if text.startswith(LORA) and not re.fullmatch(r"wandb-artifact:///[^/:]+/[^/:]+/[^/:]+(:[^/:]+)?", text):
        raise InferenceError(
            f"{text[:80]!r} is not the address of a LoRA.",
            remedy="An address looks like wandb-artifact:///team/project/name:latest, with three slashes.",
        )
    return text


def is_model_id(text: str) -> bool:
    """Whether a text can be a model's id: not blank, and of characters that are seen.

    A local server may name a model by its file, and that may hold spaces, but not at its ends.
    """
    # A space is the only whitespace that is printable.
    return 0 < len(text) <= 500 and text == text.strip(" ") and text.isprintable()


def names_several(text: str) -> bool:
    """Whether a text names several ids: with a comma, or with blanks between parts that have a slash."""
    parts = text.split()
    return "," in text or (len(parts) > 1 and all("/" in part for part in parts))


def is_lora(id: str) -> bool:
    """Whether an id is the address of a LoRA. No list contains those."""
    return id.startswith(LORA)


def read_tokens(text: str) -> int:
    """Return a number of tokens written as `128k`, `1M` or `131072`.

    Raises
    ------
    ValueError
        If the text is not such a number.
    """
    found = _TOKENS.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    return round(float(found[1]) * _UNITS[found[2].lower()])


def least_context(word: str) -> int | None:
    """Return the tokens of a search word such as `128k+`, or None if the word is not of that form."""
    try:
        return read_tokens(word[:-1]) if word.endswith("+") else None
    except ValueError:
        return None
