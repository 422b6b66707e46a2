"""Extracts code blocks, JSON and tables from an answer."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import InferenceError
from ..text import json_or_none, json_values, plain_number, read_json_text, read_loose_json, with_backslashes
from .fields import FieldFailure, fields_of

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token


# Leading zeros carry meaning, as do the plus of a phone number and the E of a name. Python would ignore underscores,
# and read names such as Nan.
_NO_NUMBER: Final = re.compile(r"[+\u2010\u2011\u2212-]?0\d|.*_|\+\d{7}|\d+[eE]\d|[+-]?[a-zA-Z]")
_DECIMAL_COMMA: Final = re.compile(r"[+\u2010-\u2013\u2212-]?(?:0,\d+|\d+,(?:\d{1,2}|\d{4,})|\d+(?:[.\s]\d{3})+,\d+)")
# The language of a code block that is JSON.
_JSON: Final = re.compile("json", re.IGNORECASE)
# The words of a name, and names of the length of a list: by themselves, and beside the name of the list.
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[^\W_]+")
_LENGTHS: Final = ({"count"}, {"total", "count"}, {"length"}, {"len"}, {"n"})
_OF_LENGTHS: Final = frozenset(("count", "length", "len", "n", "num", "number", "of", "total"))
# How a table's cell says, in a column of numbers, that there is none.
_NO_VALUE: Final = frozenset(("", "-", "\N{EN DASH}", "\N{EM DASH}", "n/a", "na", "nan", "none", "null"))


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A block of code in an answer; `language` is empty if the block names none."""

    language: str
    text: str

    def __str__(self) -> str:
        return self.text


def code_blocks(markdown: str) -> tuple[CodeBlock, ...]:
    """Return the fenced and indented code blocks of a Markdown text, in order, without their final newline."""
    return tuple(
        CodeBlock(next(iter(token.info.split()), ""), token.content.removesuffix("\n"))
        for token in _parser().parse(_shown(markdown))
        if token.type in ("fence", "code_block")
    )


def _shown(markdown: str) -> str:
    """Return Markdown without the marks of byte order, which front ends do not show: one may be before a block."""
    return markdown.replace("\ufeff", "")


def json_in(text: str) -> Any:
    """Return the JSON value in a text: the whole text, the last code block, or the part between the outermost brackets.

    If none of these is JSON, one in Python's or JavaScript's form of it is read (with single quotes, or a comma after
    the last value); else the last complete object or list. A list without objects, such as the number of a source, is
    read only if nothing else is there.

    Raises
    ------
    ValueError
        If there is none. The message says why the whole text is not JSON.
    """
    found = text.strip().removeprefix("\ufeff")
    text = with_backslashes(found)
    problems: list[ValueError] = []
    parts = _with_json(text)
    for candidates, as_written in zip(parts, parts if found == text else _with_json(found), strict=True):
        for candidate in candidates:
            try:
                return read_json_text(candidate)
            except ValueError as error:
                problems.append(error)
        for candidate in as_written:
            with suppress(ValueError):
                return read_loose_json(candidate.strip())
    for value in deque(filter(_has_object, json_values(text)), maxlen=1) or deque(json_values(text), maxlen=1):
        return value
    # That of the whole text.
    raise problems[0]


def _with_json(text: str) -> tuple[list[str], list[str]]:
    """Return the parts of a text that may be JSON, and those that are read only if none of these is."""
    spans = sorted((text.find(opening), text.rfind(closing) + 1) for opening, closing in ("{}", "[]"))
    outermost = [text[start:end] for start, end in spans if 0 <= start < end]
    # Beside an object, brackets are the number of a source, a check box or a word.
    first = [one for one in outermost if "{" in one] or outermost
    blocks = code_blocks(text)[::-1]
    of_json = [one.text for one in blocks if _JSON.match(one.language)]
    unnamed = [one.text for one in blocks if not one.language]
    others = [one.text for one in blocks if one.language and not _JSON.match(one.language)]
    return [text, *of_json, *unnamed, *first, *others], [one for one in outermost if one not in first]


def _has_object(value: Any) -> bool:
    return isinstance(value, dict) or any(isinstance(one, dict) for one in value)


def inner_json(value: Any) -> dict[str, Any] | list[Any] | None:
    """Return the object or list that a model has written as a text in JSON; None if a value is no such text."""
    inner = json_or_none(with_backslashes(value)) if isinstance(value, str) else None
    return inner if isinstance(inner, dict | list) else None


def read_json(text: str) -> Any:
    """Return the JSON value in the text of a reply.

    Raises
    ------
    InferenceError
        If there is none.
    """
    try:
        value = json_in(text)
    except ValueError:
        raise InferenceError(
            "The reply is not JSON.",
            why="Its text is in _wbreply, or from Python in `partial` of the error."
            if text.strip()
            else "It is empty.",
            remedy="Ask for JSON in the prompt, or use --schema.",
            cause="answer",
        ) from None
    inner = inner_json(value)
    return value if inner is None else inner


def pretty_json(text: str) -> str | None:
    """Return the JSON in a reply, indented, or None if there is none."""
    try:
        return json.dumps(json_in(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


class Records(NamedTuple):
    """The rows of an answer.

    Attributes
    ----------
    rows : list of dict
    columns : list of str or None
        The headings of a table, which may have no rows; None for other rows.
    left_out : tuple of str
        The fields beside the list of records that the rows are.
    failed : tuple of str
        Which computed fields have no value in a row, where they raised what.
    """

    rows: list[dict[str, Any]]
    columns: list[str] | None = None
    left_out: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def to_records(text: str, parsed: Any = None) -> Records | None:
    """Return the rows of an answer: its list of records or its first Markdown table. Return None if it has neither.

    Parameters
    ----------
    text : str
        The answer.
    parsed : object
        The object parsed from the answer, if a schema was given. Its records are used first.
    """
    failed: dict[str, None] = {}
    if (records := _records(parsed, failed)) is not None:
        return records._replace(failed=tuple(failed))
    if isinstance(_root_of(parsed), list):
        # The model may have written it as `{"items": [1, 2]}`, which is no record.
        return None
    sources = _sources(text)
    from ..markup import keep_cells

    # The table comes before JSON: bracketed text beside the table would be read as JSON.
    for source in sources:
        if (table := next(_tables(_parser().parse(keep_cells(_shown(source)))), None)) is not None:
            return table
    if lines := json_lines(text):
        return Records(lines)
    try:
        value = json_in(text)
    except (ValueError, RecursionError):
        return None
    # `[ ]` among words is a check box.
    is_list = value != [] or any("".join(source.split()) == "[]" for source in sources)
    return _records(value, failed) if is_list else None


def _sources(text: str) -> tuple[str, ...]:
    """Return the texts that may be an answer: all of it, and each of its code blocks."""
    return (text, *(block.text for block in code_blocks(text)))


def json_lines(text: str) -> list[dict[str, Any]]:
    """Return the objects of an answer that has one on each line, or of such a code block; empty for any other."""
    for source in _sources(text):
        lines = [line for line in source.splitlines() if line.strip()]
        with suppress(ValueError, RecursionError):
            values = [read_json_text(with_backslashes(line)) for line in lines]
            if len(values) > 1 and all(isinstance(one, dict) for one in values):
                return values
    return []


def _records(value: Any, failed: dict[str, None]) -> Records | None:
    """Return the records in a value: a list of records, the only list of records in an object, or the object itself.

    An empty list has no records. In an object it is a field like any other: it can be a list of texts. What says
    nothing else is not left out: null, and the length of the list under a name for it.
    """
    value = _root_of(value)
    if isinstance(value, list):
        records = [_record(one, failed) for one in value]
        return None if None in records else Records([record for record in records if record is not None])
    record = _record(value, failed)
    if record is None:
        return None
    found = ((name, _records(one, failed)) for name, one in record.items() if isinstance(one, list))
    lists = {name: records.rows for name, records in found if records is not None and records.rows}
    if len(lists) != 1:
        return Records([record])
    ((held, rows),) = lists.items()
    numbers = (name for name, one in record.items() if type(one) is int and one == len(rows) and name not in rows[0])
    lengths = {name for name in numbers if _says_length(name, held)}
    beside = (name for name, one in record.items() if one is not None and name not in (held, *lengths))
    return Records(rows, left_out=tuple(beside))


def _says_length(name: str, held: str) -> bool:
    """Return whether the name of a number says that it is the length of a list: `count`, `num_items`, `itemCount`."""
    words, of = ({one.lower().removesuffix("s") for one in _WORDS.findall(text)} for text in (name, held))
    return words in _LENGTHS or (bool(words & _OF_LENGTHS) and words - _OF_LENGTHS == of)


def _root_of(value: Any) -> Any:
    """Return the value of a pydantic `RootModel`, and any other value as it is."""
    return value.root if getattr(type(value), "__pydantic_root_model__", False) else value


def _record(value: Any, failed: dict[str, None]) -> dict[str, Any] | None:
    """Return the fields of a value, or None if it has none. Add to `failed` which computed fields have no value.

    They are the fields that a map has columns of, with those that are kept out of what pydantic writes.
    """
    value = _root_of(value)
    fields = value if isinstance(value, dict) else fields_of(value)
    return None if fields is None else {str(name): _with_records(one, failed) for name, one in fields.items()}


def _with_records(value: Any, failed: dict[str, None]) -> Any:
    """Return a value with the fields of each record in it in place of the record."""
    if isinstance(value, FieldFailure):
        failed[f"{value.field} raised {value[1:-1]}"] = None
        return None
    value = _root_of(value)
    if (record := _record(value, failed)) is not None:
        return record
    return [_with_records(one, failed) for one in value] if isinstance(value, list | tuple) else value


def _tables(tokens: Sequence[Token]) -> Iterator[Records]:
    """Yield each Markdown table as records. If all cells of a column are numbers or missing, they are converted."""
    rows: list[list[str]] = []
    for token, following in zip(tokens, (*tokens[1:], None), strict=False):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(_cell_text(following) if following else "")
        elif token.type == "table_close":
            heads, *body = rows
            names = _distinct(heads)
            # Then 1,234 in the same table is not a thousand.
            has_decimal_commas = any(_DECIMAL_COMMA.fullmatch(cell.strip()) for row in body for cell in row)
            cells_of = [[row[number] for row in body] for number in range(len(heads))]
            columns = [
                cells if has_decimal_commas and any("," in cell for cell in cells) else _typed(cells)
                for cells in cells_of
            ]
            yield Records([dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)], names)


def _distinct(heads: Sequence[str]) -> list[str]:
    """Return the headings of a table with a number after each that is repeated, as pandas does: `2023`, `2023.1`."""
    taken = set(heads)
    numbers = {head: count(1) for head in heads}
    names: dict[str, None] = {}
    for head in heads:
        name = head
        while name in names or (name != head and name in taken):
            name = f"{head}.{next(numbers[head])}"
        names[name] = None
    return list(names)


def _cell_text(inline: Token) -> str:
    children: list[Token] = []
    _parser().inline.parse(inline.content, _parser(), {}, children)
    return "".join(child.content for child in children if child.content)


def _typed(cells: list[str]) -> list[Any]:
    """Return a column's cells as numbers, None for a missing one, if all others are written as numbers.

    A postcode or phone number does not count.
    """
    given = [cell for cell in cells if cell.strip().lower() not in _NO_VALUE]
    if not given or any(_NO_NUMBER.match(cell) for cell in given) or _are_versions(given):
        return cells
    plain = [plain_number(cell) if cell.strip().lower() not in _NO_VALUE else None for cell in cells]
    for kind in (int, float):
        with suppress(ValueError):
            return [None if cell is None else kind(cell) for cell in plain]
    return cells


def _are_versions(cells: Sequence[str]) -> bool:
    """Return whether 3.10 is another one than 3.1: as numbers of versions or sections, beside 3.9."""
    decimals = [found for cell in cells if (found := cell.partition(".")[2])]
    return len(set(map(len, decimals))) > 1 and any(one.endswith("0") for one in decimals)


@cache
def _parser() -> MarkdownIt:
    """Return a parser that finds blocks only: to parse what they contain is slow for unusual texts.

    The content of a table cell is parsed later, by `_cell_text`.
    """
    from ..markup import commonmark_parser, maths_as_written

    # Definitions of links are no blocks, and looking for them takes quadratic time for many brackets.
    parser = commonmark_parser().enable("table").disable("reference")
    parser.core.ruler.enableOnly(["normalize", "block"])
    parser.inline.ruler.before("escape", "maths", maths_as_written)
    return parser
