"""What is asked of every row, what that will take, and the limit that others share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..catalog import usd
from ..client import practice_server as local
from ..config import CONCURRENCY
from ..prompts import Template, is_template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..config import Endpoint
    from ..engine import ChatSpec
    from ..messages import Content
    from .rows import Row


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """What is asked of every row.

    Attributes
    ----------
    text : str
        The template of the prompt; it sees the row's columns first, then `names`, and the whole row as `row`.
    ask : ChatSpec
        How to send it; its prompt is not used.
    names : mapping
        The notebook's names.
    value_tokens : int
        To about how many tokens a value in the prompt is cut.
    raw : bool
        Whether the text is no template.
    concurrency : int or None
        How many requests may be in flight at once, at most; None: as `at_once` says.
    retry_failed : bool
        Whether rows that failed for good before are asked again.
    """

    text: str
    ask: ChatSpec
    names: Mapping[str, Any]
    value_tokens: int
    raw: bool = False
    concurrency: int | None = None
    retry_failed: bool = False

    def prompts(self) -> Callable[[Row], Content]:
        """Return what makes the prompt of a row."""
        if self.raw or not is_template(self.text):
            return lambda _: self.text
        template = Template(self.text, tokens=self.value_tokens)
        names = dict(self.names)
        return lambda row: template.render({**names, **row, "row": row})

    def at_once(self, endpoint: Endpoint) -> int:
        """How many requests may be in flight at once; what the practice model does not answer would only wait."""
        return self.concurrency or (local.AT_ONCE if endpoint.kind == "local" else CONCURRENCY)

    def column_names(self) -> set[str]:
        """The names that the template takes: columns, and names of the notebook."""
        if self.raw or not is_template(self.text):
            return set()
        return Template(self.text, tokens=self.value_tokens).names


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take, about: `rows` is None where only drawing them tells, `cost` where that is not known."""

    rows: int | None
    prompt_tokens: float
    reply_tokens: float
    cost: float | None

    def __str__(self) -> str:
        rows = "rows of unknown number" if self.rows is None else f"{self.rows:,} row{'s' * (self.rows != 1)}"
        each = f"about {self.prompt_tokens:,.0f} + {self.reply_tokens:,.0f} tokens each"
        cost = "cost unknown" if self.cost is None else usd(self.cost)
        return f"{rows}, {each}, {cost if cost in ('free', 'cost unknown') else f'about {cost}'}"


class Permits(Protocol):
    """A limit that others share: one permit a request in flight. Both calls may block."""

    def acquire(self) -> object: ...

    def release(self) -> object: ...
