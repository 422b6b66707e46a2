"""How many tokens a text has, about: only the model's own tokenizer knows, and it is not here."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CHARACTERS_PER_TOKEN: Final = 4
# Each message is wrapped in a few tokens of the model's own.
PER_MESSAGE: Final = 4
# Models count between about 85 and 1,500 for a picture.
PER_IMAGE: Final = 1000
# A template can begin with words of its own, such as the date and how to reason.
PER_REQUEST: Final = 100
# A word with the blank before it, which makes no token of its own.
_WORDS: Final = re.compile(r"(?: |(?<![A-Za-z0-9]))[A-Z]?[a-z]{1,12}(?![A-Za-z0-9])")


def estimate(text: str) -> int:
    """Return about how many tokens a text has: four ASCII characters make one, any other character is one."""
    ascii_only = len(text.encode("ascii", "ignore"))
    return -(-ascii_only // CHARACTERS_PER_TOKEN) + len(text) - ascii_only


def most(text: str) -> int:
    """Return how many tokens any tokenizer makes of a text at most, about: one for each byte of its UTF-8 form.

    Ordinary words count half: models write digits, keys and rare characters in as many tokens as bytes, but not words.
    """
    return len(text.encode("utf-8", "replace")) - sum(len(word) // 2 for word in _WORDS.findall(text))


def estimate_content(content: str | Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens a message's content has: a text, or parts of text and images."""
    if isinstance(content, str):
        return estimate(content)
    return sum(estimate(part["text"]) if part.get("type") == "text" else PER_IMAGE for part in content)


def estimate_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens messages have together."""
    return sum(PER_MESSAGE + estimate_content(message.get("content") or "") for message in messages)


def most_of_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return more tokens than a request with these messages is counted as; pictures may be larger."""
    return PER_REQUEST + sum(2 * PER_MESSAGE + _most_of_message(message) for message in messages)


def _most_of_message(message: Mapping[str, Any]) -> int:
    content = message.get("content") or ""
    calls = message.get("tool_calls")
    return _most_of_content(content) + (most(json.dumps(calls, ensure_ascii=False)) if calls else 0)


def _most_of_content(content: str | Iterable[Mapping[str, Any]]) -> int:
    if isinstance(content, str):
        return most(content)
    return sum(most(part["text"]) if part.get("type") == "text" else 2 * PER_IMAGE for part in content)
