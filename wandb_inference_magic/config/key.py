"""The key, hidden however it is displayed, and the check of what can be a key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import Final, NoReturn

from ..errors import InferenceError
from ..text import remember

# The source of a key that was asked for.
TYPED: Final = "typed in"
# A JWT with many claims has a few thousand characters; servers take about 8,000 in a header.
MAX_KEY_CHARS: Final = 8000


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Key:
    """A key and its source. No way of displaying it shows the key. Only `reveal` returns it.

    Parameters
    ----------
    value : str
        The secret itself.
    source : str
        Where it was found, as text for users: `WANDB_API_KEY`, `~/.netrc (api.wandb.ai)`, TYPED.
    """

    value: InitVar[str]
    source: str
    _reveal: Callable[[], str] = field(init=False)

    def __post_init__(self, value: str) -> None:
        remember(value)
        # In a closure, because `asdict`, `__getstate__` and variable inspectors show every attribute.
        object.__setattr__(self, "_reveal", lambda: value)

    def reveal(self) -> str:
        """Return the key itself, for the code that puts it into a header."""
        return self._reveal()

    def __repr__(self) -> str:
        return f"<Key from {self.source}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and (self.reveal(), self.source) == (other.reveal(), other.source)

    def __hash__(self) -> int:
        return hash((self.reveal(), self.source))

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is not pickled: find it again where it is needed.")


def key_fault(key: str) -> str:
    """Return why a text cannot be a key, such as `contains a line break`, or an empty string if it can.

    The reason shows no part of the text. A key is sent in a header. Beyond that, no format is required.
    """
    return next((fault for pattern, fault in _FAULTS if re.search(pattern, key)), "")


def check_key(text: str) -> str:
    """Return a key without surrounding whitespace.

    Parameters
    ----------
    text : str
        The key as it was typed or passed.

    Raises
    ------
    InferenceError
        When the text cannot be a key. The message shows no part of it.
    """
    key = text.strip()
    if fault := key_fault(key) or ("" if key else "is empty"):
        raise InferenceError(
            f"This is not a key: it {fault}. It was not kept, and nothing was sent.",
            remedy="Copy the key alone, without quotes or `Bearer`, and give it again: %wbconfig --key.",
            cause="key",
        )
    return key


# Patterns as text: `re` compiles each on its first use, which `%load_ext` does not wait for.
_FAULTS: Final = (
    (r"[\r\n\x0b\x0c\x85\u2028\u2029]", "contains a line break"),
    (r"\x00", "contains a null character"),
    (
        r"(?i)^(?:(?:proxy-)?authorization\s*:|(?:x-)?(?:api-)?(?:key|token)\s*:|(?:bearer|basic)[\s:=])",
        "begins with `Bearer` or another part of a header",
    ),
    (r"(?i)^(?:export\s+|set\s+|%env\s+|\$env:)?[a-z_]*api_?key\s*[=:]", "begins with a variable's name"),
    ("[\u2018-\u201f\u2039\u203a\xab\xbb\u300c-\u300f\uff02\uff07]", "has typographic quotes in it"),
    ("^[\"'`]|[\"'`]$", "has quotes around it"),
    (r"\s", "holds a space"),
    (r"^[{(<\[]", "begins with a bracket"),
    (r"[,;]$", "ends with a comma or a semicolon"),
    (r"(?i)^https?://", "is an address"),
    (r"^\*+$", "is the placeholder that is shown instead of a key"),
    (r"[^\x21-\x7e]", "contains a character that cannot be part of a key"),
    (rf".{{{MAX_KEY_CHARS + 1}}}", f"is longer than {MAX_KEY_CHARS:,} characters"),
)
