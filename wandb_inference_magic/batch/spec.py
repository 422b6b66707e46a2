"""What to request for every row, an estimate of what that takes, and the `Permits` protocol."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..catalog import describe_cost
from ..client import practice_server as local
from ..config import CONCURRENCY
from ..errors import InferenceError, shortened
from ..frames import index_of
from ..prompts import Template, is_template, refuse_empty
from ..text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..config import Endpoint
    from ..engine import ChatSpec
    from ..frames import Row
    from ..messages import Content
    from .cache import RunPart


MAX_AT_ONCE: Final = 1000


def check_count(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise if a parameter is neither None nor a whole number in a range.

    Raises
    ------
    InferenceError
    """
    if value is None:
        return
    # A truth value is a number in Python.
    number = int(value) if isinstance(value, Integral) and str(value) not in ("True", "False") else least - 1
    if least <= number <= (most or number):
        return
    words = f"from {least} to {most:,}" if most else f"from {least} on"
    raise InferenceError(
        f"{name} is {shortened(repr(value))}: it must be a whole number {words}. Nothing was sent.",
        remedy="Give such a number, or leave it out.",
        cause="option",
    )


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """What to request for every row.

    Attributes
    ----------
    text : str
        The template of the prompt. Names are looked up in the row's columns first, then in `names`. The whole row is
        available as `row`.
    chat : ChatSpec
        How to send the request. Its prompt is not used.
    names : mapping
        The notebook's names.
    value_tokens : int or None
        The approximate number of tokens to which a value in the prompt is truncated; None if it is not set.
    raw : bool
        Whether the text is used as it is, not as a template.
    concurrency : int or None
        The maximum number of requests in flight. With None, the default that `at_once` returns.
    retry_failed : bool
        Whether to retry rows that failed permanently before.
    distinct : bool
        Whether rows with the same prompt share one answer.
    part : RunPart, optional
        The part of a larger run that this is.

    Raises
    ------
    InferenceError
        If the concurrency is not a whole number in its range.
    """

    text: str
    chat: ChatSpec
    names: Mapping[str, Any]
    value_tokens: int | None
    raw: bool = False
    concurrency: int | None = None
    retry_failed: bool = False
    distinct: bool = False
    part: RunPart | None = None

    def __post_init__(self) -> None:
        check_count("concurrency", self.concurrency, 1, MAX_AT_ONCE)

    def prompts(self) -> Callable[[Row], Content]:
        """Return a function that makes the prompt of a row. It raises InferenceError if that is empty."""
        render = self.renderer()

        def prompt(row: Row) -> Content:
            content = render(row)
            refuse_empty(content)
            return content

        return prompt

    def renderer(self) -> Callable[[Row], Content]:
        """Return a function that renders the template for a row, also to an empty text."""
        if self.raw or not is_template(self.text):
            return lambda _: self.text
        template = Template(self.text, tokens=self.value_tokens)
        names = dict(self.names)
        return lambda row: template.render(ChainMap({"row": row}, dict(row), dict(index_of(row)), names))

    def at_once(self, endpoint: Endpoint) -> int:
        """Return the maximum number of requests in flight.

        The practice model has a default of its own, because requests that it does not answer at once would only wait.
        """
        return self.concurrency or (local.CONCURRENCY if endpoint.is_local else CONCURRENCY)

    def column_names(self) -> set[str]:
        """Return the names that the template uses: columns and names of the notebook."""
        if self.raw or not is_template(self.text):
            return set()
        return Template(self.text, tokens=self.value_tokens).names


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of what a run takes.

    `rows` is None if the number is known only after iteration, `cost` if it is not known. The tokens are per row.
    """

    rows: int | None
    prompt_tokens: float
    reply_tokens: float
    cost: float | None

    def __str__(self) -> str:
        rows = "rows of unknown number" if self.rows is None else counted(self.rows, "row")
        each = f"about {self.prompt_tokens:,.0f} + {self.reply_tokens:,.0f} tokens each"
        cost = describe_cost(self.cost)
        return f"{rows}, {each}, {cost if cost in ('free', 'cost unknown') else f'about {cost}'}"


class Permits(Protocol):
    """A limit shared with others: one permit per request in flight. Both calls may block."""

    def acquire(self) -> object: ...

    def release(self) -> object: ...
