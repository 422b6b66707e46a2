"""How many tokens a text has, about: only the model's own tokenizer knows, and it is not here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CHARACTERS_PER_TOKEN: Final = 4
# Each message is wrapped in a few tokens of the model's own.
PER_MESSAGE: Final = 4
# Models count between about 85 and 1,500 for a picture.
PER_IMAGE: Final = 1000


def estimate(text: str) -> int:
    """Return about how many tokens a text has: four ASCII characters make one, any other character is one."""
    ascii_only = len(text.encode("ascii", "ignore"))
    return -(-ascii_only // CHARACTERS_PER_TOKEN) + len(text) - ascii_only


def estimate_content(content: str | Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens a message's content has: a text, or parts of text and images."""
    if isinstance(content, str):
        return estimate(content)
    return sum(estimate(part["text"]) if part.get("type") == "text" else PER_IMAGE for part in content)


def estimate_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens messages have together."""
    return sum(PER_MESSAGE + estimate_content(message.get("content") or "") for message in messages)
