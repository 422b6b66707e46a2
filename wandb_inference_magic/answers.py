"""What can be taken out of an answer: its code blocks, its JSON, its table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InferenceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A block of code in an answer; `language` is empty where it names none."""

    language: str
    text: str

    def __str__(self) -> str:
        return self.text


def code_blocks(markdown: str) -> tuple[CodeBlock, ...]:
    """Return the fenced and indented code blocks of a Markdown text, in its order, without their last line's end."""
    return tuple(
        CodeBlock(token.info.split()[0] if token.info.split() else "", token.content.removesuffix("\n"))
        for token in _parsed(markdown)
        if token.type in ("fence", "code_block")
    )


def read_json(text: str) -> Any:
    """Return the JSON value a reply holds: the whole of it, or its first code block that is JSON.

    Raises
    ------
    InferenceError
        When there is none.
    """
    for candidate in (text, *(block.text for block in code_blocks(text))):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    raise InferenceError(
        "The reply is not JSON.",
        why="The Reply with its text is in _wbreply.",
        remedy="Ask for JSON in the prompt, or say with --schema what is wanted.",
        cause="answer",
    )


def pretty_json(text: str) -> str | None:
    """Return the JSON a reply holds, indented; None where it holds none."""
    try:
        return json.dumps(read_json(text), indent=2, ensure_ascii=False)
    except InferenceError:
        return None


def to_records(text: str, parsed: Any = None) -> list[dict[str, Any]] | None:
    """Return the rows of an answer: a list of records, or its first Markdown table; None where it holds neither.

    Parameters
    ----------
    text : str
        The answer.
    parsed : object
        What the answer was read as, where a schema said so.
    """
    for value in (parsed, _json_or_none(text)):
        if (records := _records(value)) is not None:
            return records
    return next(_tables(_parsed(text)), None)


def _json_or_none(text: str) -> Any:
    try:
        return read_json(text)
    except InferenceError:
        return None


def _records(value: Any) -> list[dict[str, Any]] | None:
    """Return the records in a value: itself, or the one list of records that an object holds."""
    if isinstance(value, list) and value:
        records = [_record(one) for one in value]
        return None if None in records else [record for record in records if record is not None]
    record = _record(value)
    if record is None:
        return None
    lists = [found for one in record.values() if isinstance(one, list) and (found := _records(one)) is not None]
    return lists[0] if len(lists) == 1 else [record]


def _record(value: Any) -> dict[str, Any] | None:
    from dataclasses import asdict, is_dataclass

    if isinstance(value, dict):
        return {str(key): one for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dict(dump())
    as_dict = getattr(value, "_asdict", None)
    return dict(as_dict()) if as_dict is not None else None


def _tables(tokens: Sequence[Token]) -> Iterator[list[dict[str, Any]]]:
    """Yield each Markdown table as records; cells that are all numbers in a column become numbers."""
    rows: list[list[str]] = []
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(_words(following) if following else "")
        elif token.type == "table_close":
            heads, *body = rows
            columns = [_typed([row[number] for row in body]) for number in range(len(heads))]
            yield [dict(zip(heads, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _words(inline: Token) -> str:
    return "".join(child.content for child in inline.children or [] if child.content)


def _typed(cells: list[str]) -> list[Any]:
    for kind in (int, float):
        try:
            return [kind(cell.replace(",", "")) for cell in cells]
        except ValueError:
            continue
    return list(cells)


def _parsed(markdown: str) -> list[Token]:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").parse(markdown)
