"""What to request for every row."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence, Set as AnySet
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..client import practice_server
from ..config import CONCURRENCY
from ..errors import InferenceError
from ..frames import Origin, private_columns, state_of, with_index, without_columns
from ..prompts import THE_PROMPT, Template, is_template, whole_prompt
from ..text import python_name, same_name

if TYPE_CHECKING:
    from ..config import Endpoint, Resolved
    from ..engine import ChatSpec
    from ..frames import Row
    from ..messages import Content


# The name of the whole row in a template. It comes before a column.
ROW: Final = "row"


class Permits(Protocol):
    """A limit shared with others: one permit per request in flight. Both calls may block."""

    def acquire(self) -> object: ...

    def release(self) -> object: ...


@dataclass(frozen=True, slots=True)
class RunPart:
    """A part of a run whose other parts may run at the same time, in other processes: a partition of Dask.

    `run` is the name of the whole run. All its parts share the permits.
    """

    run: str
    number: int
    permits: Permits


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """What to request for every row.

    Attributes
    ----------
    text : str
        The template of the prompt. The whole row is available as `row`, with the levels of its index that have names.
        Other names are looked up in the row's columns first, then in its index, then in `names`.
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
    use_cache : bool
        Whether to use answers kept on disk, and to keep the new ones there.
    retry_failed : bool
        Whether to retry rows that failed permanently before.
    distinct : bool
        Whether rows with the same prompt share one answer.
    part : RunPart, optional
        The part of a larger run that this is.
    what : str
        A name for the template in messages.
    hidden : set of str
        The columns that the answers replace, or the right answers. A row has only those that the template names.
    notices : tuple of str
        What the user should know about it.
    """

    text: str
    chat: ChatSpec
    names: Mapping[str, Any]
    value_tokens: int | None
    raw: bool = False
    concurrency: int | None = None
    use_cache: bool = True
    retry_failed: bool = False
    distinct: bool = False
    part: RunPart | None = None
    what: str = THE_PROMPT
    hidden: AnySet[str] = frozenset()
    notices: tuple[str, ...] = ()

    def renderer(self, columns: Sequence[str]) -> Callable[[Row], Content]:
        """Return a function that renders the template for a row, also to an empty text.

        Parameters
        ----------
        columns : sequence of str
            All columns of the rows: a row that lacks one, as a dict may, has no value there.

        Raises
        ------
        InferenceError
            If the first row would use up an iterator of the notebook, or a constant of Jinja2 has the name of a column.
        """
        if self._is_sent_as_it_is:
            return lambda _: self.text
        # Of its own: a template renders for one thread at a time.
        template = Template(self.text, tokens=self.value_tokens, what=self.what, has_row=True)
        names, found = dict(self.names), template.names_among(columns)
        mentioned = {same_name(one, columns, python_name) or one for one in template.mentioned}
        for name in sorted(template.used_whole.difference(columns)):
            if isinstance(names.get(name), Iterator):
                raise InferenceError(
                    f"{name} is an iterator: the first row would use it up, and the others would find nothing in it. "
                    "Nothing was sent.",
                    remedy=f"Make it a list in a cell before: {name} = list({name}).",
                )
        for name in sorted(template.constants.intersection(columns)):
            raise InferenceError(
                f"{{{{ {name} }}}} is a constant of Jinja2, and not the column {name}. Nothing was sent.",
                remedy=f'Write {{{{ row["{name}"] }}}}.',
            )
        absent: dict[str, Any] = dict.fromkeys((*columns, *found))

        def rendered(row: Row) -> Content:
            hidden = (self.hidden | private_columns(row)) - mentioned
            whole = with_index(without_columns(row, hidden))
            used = {name: whole[column] for name, column in found.items() if column in whole}
            return template.render(ChainMap({ROW: whole}, used, dict(whole), absent, names))

        return rendered

    def at_once(self, endpoint: Endpoint) -> int:
        """Return the maximum number of requests in flight.

        The practice model has a default of its own, because requests that it does not answer at once would only wait.
        """
        return self.concurrency or (practice_server.CONCURRENCY if endpoint.is_local else CONCURRENCY)

    def origin(self, columns: Sequence[str], models: Sequence[str], settings: Resolved) -> Origin:
        """Return what a map asks of whom: the same when its cell is run again with the same values of the notebook."""
        chat = self.chat
        names = {one for one in self.template.names if one in self.names} - {*columns, ROW}
        values = {name: state_of(_with_text(self.names[name])) for name in sorted(names)}
        if unknown := tuple(name for name, state in values.items() if state is None):
            return Origin(unknown=unknown)
        schema = None if chat.schema is None else chat.schema.json_schema
        system, whom = chat.system or settings.system, [*models] or settings.model
        return Origin(state_of([self.text, values, system, [*chat.parameters, chat.think], schema, whom]) or "")

    @property
    def template(self) -> Template:
        """The template of the prompt, to be read and not rendered. It is empty if the text is used as it is."""
        return _parsed("" if self._is_sent_as_it_is else self.text, self.what)

    @property
    def _is_sent_as_it_is(self) -> bool:
        return self.raw or not is_template(self.text)


def _with_text(value: Any) -> Any:
    """Return a value with what a prompt reads elsewhere: the text of a file."""
    with suppress(InferenceError):
        return [value, whole_prompt(value)] if isinstance(value, Path) else value
    return value


@lru_cache(maxsize=8)
def _parsed(text: str, what: str) -> Template:
    return Template(text, what=what, has_row=True)
