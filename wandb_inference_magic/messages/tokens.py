"""Estimates token counts. Only the model's own tokenizer gives exact counts, and it is not available here."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CHARACTERS_PER_TOKEN: Final = 4
# The model wraps each message in a few tokens.
PER_MESSAGE: Final = 4
# Models count between about 85 and 1,500 tokens for an image.
PER_IMAGE: Final = 1000
# A chat template can add text at the start, such as the date and how to reason.
PER_REQUEST: Final = 100
# A word with the space before it: the space is not a token by itself.
_WORDS: Final = re.compile(r"(?: |(?<![A-Za-z0-9]))[A-Z]?[a-z]{1,12}(?![A-Za-z0-9])")


def estimate(text: str) -> int:
    """Return an estimate of the tokens in a text: one for four ASCII characters, one for any other character."""
    ascii_only = len(text.encode("ascii", "ignore"))
    return -(-ascii_only // CHARACTERS_PER_TOKEN) + len(text) - ascii_only


def most(text: str) -> int:
    """Return about the largest token count that any tokenizer gives a text: one for each byte of its UTF-8 form.

    Ordinary words count half: digits, keys and rare characters can need one token for each byte, but words do not.
    """
    return len(text.encode("utf-8", "replace")) - sum(len(word) // 2 for word in _WORDS.findall(text))


def estimate_content(content: str | Iterable[Mapping[str, Any]]) -> int:
    """Return an estimate of the tokens in a message's content: a text, or a list of text and image parts."""
    if isinstance(content, str):
        return estimate(content)
    return sum(estimate(part["text"]) if part.get("type") == "text" else PER_IMAGE for part in content)


def estimate_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return an estimate of the tokens in all the messages."""
    return sum(PER_MESSAGE + estimate_content(message.get("content") or "") for message in messages)


def most_of_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return a token count above what the service counts for these messages. Images can exceed it."""
    return PER_REQUEST + sum(2 * PER_MESSAGE + _most_of_message(message) for message in messages)


def _most_of_message(message: Mapping[str, Any]) -> int:
    content = message.get("content") or ""
    calls = message.get("tool_calls")
    return _most_of_content(content) + (most(json.dumps(calls, ensure_ascii=False)) if calls else 0)


def _most_of_content(content: str | Iterable[Mapping[str, Any]]) -> int:
    if isinstance(content, str):
        return most(content)
    return sum(most(part["text"]) if part.get("type") == "text" else 2 * PER_IMAGE for part in content)
