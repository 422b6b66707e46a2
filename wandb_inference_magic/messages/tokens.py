"""Token counts: those that an endpoint reports, and estimates.

Only the model's own tokenizer gives exact counts, and it is not available here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from math import ceil
from operator import add, attrgetter
from string import digits, punctuation
from typing import TYPE_CHECKING, Any, Final

from ..errors import quoted
from .content import parts_of

if TYPE_CHECKING:
    from ..catalog import Price

# A larger number is not a valid token count for one call.
MAX_TOKENS: Final = 10**9

# The names of the counts of prompt and reply, also as `promptTokens`. The first that is there counts.
COUNTS: Final = (
    ("prompt_tokens", "input_tokens", "prompt_token_count", "input_token_count", "prompt_eval_count", "prompt_n"),
    ("completion_tokens", "output_tokens", "candidates_token_count", "output_token_count", "eval_count", "predicted_n"),
)
CACHED_COUNTS: Final = (
    *("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens", "prompt_cache_hit_tokens"),
    *("cached_tokens", "num_cached_tokens", "cache_read_input_tokens"),
)
REASONING_COUNTS: Final = (
    *("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens"),
    *("reasoning_tokens", "thoughts_token_count"),
)
TOTALS: Final = ("total_tokens", "total_token_count")
# Parts of the prompt that Anthropic's API, and Bedrock's, do not count in `input_tokens`.
APART: Final = (("cache_read_input_tokens",), ("cache_creation_input_tokens", "cache_write_input_tokens"))

# Of the letters and blanks of English. Some tokenizers make one token of each digit, others of up to three of them.
LETTERS_PER_TOKEN: Final = 4
MARKS_PER_TOKEN: Final = 2
DIGITS_PER_TOKEN: Final = 1.5
_MARKS: Final = punctuation.encode()
_DIGITS: Final = digits.encode()
# The model wraps each message in a few tokens.
PER_MESSAGE: Final = 4
# Models count between about 85 and 1,500 tokens for an image.
PER_IMAGE: Final = 1000
# A chat template can add text at the start, such as the date and how to reason.
PER_REQUEST: Final = 100
# A word with the space before it: the space is not a token by itself. Compiled on first use, not at `%load_ext`.
_WORDS: Final = r"(?: |(?<![A-Za-z0-9]))[A-Z]?[a-z]{1,12}(?![A-Za-z0-9])"


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call, as counted by the endpoint.

    `prompt_tokens` includes the cached tokens, `completion_tokens` those of the reasoning (0 if they were not counted).
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def cost(self, price: Price) -> float:
        """Return what these tokens cost, in USD."""
        return price.cost(self.prompt_tokens, self.completion_tokens, self.cached_tokens)

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(add, _counts(self), _counts(other)))

    def over(self, earlier: Usage | None) -> Usage:
        """Return these counts, with those of an earlier chunk of the same reply where they are 0."""
        if earlier is None:
            return self
        return Usage(*(count or before for count, before in zip(_counts(self), _counts(earlier), strict=True)))

    @classmethod
    def read(cls, chunk: object) -> Usage | None:
        """Read the `usage` object of a response. Return None if it is missing or has no counts.

        Raises
        ------
        ValueError
            If a value is not valid, or there is only a total; the message quotes it. `usage` must be an object, and a
            count must be a whole number from 0 to `MAX_TOKENS`. A count of cached tokens that is not valid is 0: these
            only make a prompt cheaper.
        """
        if chunk is None:
            return None
        if not isinstance(chunk, Mapping):
            raise ValueError(_shown(chunk))
        given = {_plain(name): value for name, value in chunk.items()}
        prompt, completion = (None if one is None else _count(one) for one in (_first(given, one) for one in COUNTS))
        total = _first(given, TOTALS)
        if prompt is None and completion is None and total is not None:
            raise ValueError(f"only a total of {_shown(total)}")
        if completion is None and prompt is not None and total is not None:
            completion = max(_count(total) - prompt, 0)
        if prompt is None or completion is None:
            return None
        if "prompt_tokens" not in chunk:
            prompt += sum(_count(_first(given, names) or 0) for names in APART)
        reasoning = _count_or_0(_first(given, REASONING_COUNTS))
        if _count_or_0(total) > prompt + completion:
            # Google's and xAI's APIs count the reasoning apart, or only in the total. It is paid for too.
            completion = _count_or_0(total) - prompt
        cached = _count_or_0(_first(given, CACHED_COUNTS))
        return cls(prompt, completion, cached if cached <= prompt else 0, min(reasoning, completion))


# The library's `astuple` copies each value deeply: 2% of the time of a map.
_counts: Final[Callable[[Usage], tuple[int, ...]]] = attrgetter(*(field.name for field in fields(Usage)))


def _plain(name: str) -> str:
    """Return the name of a count as services do not write it differently: `promptTokens` is `prompt_tokens`."""
    return name.replace("_", "").lower()


def _first(given: Mapping[str, Any], names: Iterable[str]) -> object:
    """Return the value of the first name that is there, one that is not 0 if there is one.

    A name with a dot is that of a field within a field. `given` has the values by their plain names.
    """
    zero = None
    for name in names:
        outer, _, inner = name.partition(".")
        value = given.get(_plain(outer))
        if inner:
            value = value.get(inner) if isinstance(value, Mapping) else None
        if value is not None and value != 0:
            return value
        zero = value if zero is None else zero
    return zero


def _count(value: object) -> int:
    """Return a token count as an int. Some services send it as a float or as a text."""
    if isinstance(value, str) and re.fullmatch(r"[0-9,]{1,15}(\.0+)?", value):
        value = float(value.replace(",", "") or -1)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS or value % 1:
        raise ValueError(_shown(value))
    return int(value)


def _count_or_0(value: object) -> int:
    """Return a token count as an int, or 0 if it is missing or not valid."""
    with suppress(ValueError):
        return _count(value or 0)
    return 0


def _shown(value: object) -> str:
    """Return a value as text for a message. Python refuses to convert an integer with very many digits."""
    if isinstance(value, int) and abs(value) > 10**18:
        return "more than 10**18" if value > 0 else "less than -10**18"
    try:
        return quoted(json.dumps(value, default=repr))
    except (ValueError, RecursionError):
        return "not readable"


def writing_seconds(seconds: float, to_first: float | None) -> float:
    """Return the seconds from the first piece to the end, or all the seconds if the reply came in one piece."""
    after = seconds - (to_first or 0.0)
    return after if after > seconds / 100 else seconds


def estimate(text: str) -> int:
    """Return an estimate of the tokens in a text. Tables and code have more tokens than prose of the same length."""
    ascii_only = text.encode("ascii", "ignore")
    marks = len(ascii_only) - len(ascii_only.translate(None, _MARKS))
    numerals = len(ascii_only) - len(ascii_only.translate(None, _DIGITS))
    letters = len(ascii_only) - marks - numerals
    tokens = letters / LETTERS_PER_TOKEN + marks / MARKS_PER_TOKEN + numerals / DIGITS_PER_TOKEN
    # Each of the others counts as one.
    return ceil(tokens) + len(text) - len(ascii_only)


def most(text: str) -> int:
    """Return about the largest token count that any tokenizer gives a text: one for each byte of its UTF-8 form.

    Ordinary words count half: digits, keys and rare characters can need one token for each byte, but words do not.
    """
    return len(text.encode("utf-8", "replace")) - sum(len(word) // 2 for word in re.findall(_WORDS, text))


def estimate_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return an estimate of the tokens in all the messages."""
    return sum(
        PER_MESSAGE + _count_content(message, estimate, PER_IMAGE) + _count_calls(message, estimate)
        for message in messages
    )


def most_of_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return a token count above what the service counts for these messages. Images can exceed it."""
    return PER_REQUEST + sum(
        2 * PER_MESSAGE + _count_content(message, most, 2 * PER_IMAGE) + _count_calls(message, most)
        for message in messages
    )


def _count_content(message: Mapping[str, Any], count: Callable[[str], int], per_image: int) -> int:
    """Return the tokens in a message's content: a text, or a list of parts. All but text counts as images do."""
    parts = parts_of(message.get("content") or "")
    return sum(count(part["text"]) if part.get("type") == "text" else per_image for part in parts)


def _count_calls(message: Mapping[str, Any], count: Callable[[str], int]) -> int:
    calls = message.get("tool_calls")
    return count(json.dumps(calls, ensure_ascii=False)) if calls else 0
