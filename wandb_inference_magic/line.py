"""The line of a magic: its options, declared as the fields of a data class, and the text behind them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .errors import InferenceError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Value:
    """What an option takes: its name in the help, what it says it takes, and how its text is read.

    `read` raises ValueError for a text that is not one, or InferenceError with words of its own.
    """

    name: str
    says: str
    read: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a magic. `value` is None for a switch; `repeats` gathers a tuple."""

    flags: tuple[str, ...]
    help: str
    value: Value | None = None
    repeats: bool = False

    @property
    def name(self) -> str:
        return self.flags[-1]

    @property
    def usage(self) -> str:
        flags = ", ".join(self.flags)
        return f"{flags} {self.value.name}" if self.value else flags


def option(*flags: str, help: str, value: Value | None = None, repeats: bool = False) -> Any:
    """Declare a field of an options class; absent it is None, False (a switch) or () (repeats)."""
    default: object = () if repeats else False if value is None else None
    return field(default=default, metadata={"option": Option(flags, help, value, repeats)})


@cache
def options_of(declared: type) -> dict[str, tuple[str, Option]]:
    """Return, for each flag of an options class, the field's name and its option."""
    return {
        flag: (entry.name, entry.metadata["option"])
        for entry in fields(declared)
        for flag in entry.metadata["option"].flags
    }


def read_line(declared: type[T], magic: str, line: str, *, takes_text: bool = False) -> tuple[T, str]:
    """Read a magic's line.

    Parameters
    ----------
    declared : type
        A data class whose fields are made by `option`.
    magic : str
        The magic as the user typed it (`%%wbchat`), for messages.
    line : str
        What follows the magic's name.
    takes_text : bool
        Whether free text may follow the options. The text starts at the first word that is not an
        option, or after `--`, and is taken as it stands: quotes and dashes in it mean nothing.

    Returns
    -------
    tuple
        The options, and the text (empty without `takes_text`).

    Raises
    ------
    InferenceError
        For an unknown or repeated option, a missing or wrong value, or text where none belongs.
    """
    known = options_of(declared)
    values: dict[str, Any] = {}
    rest = line.strip()
    while rest:
        word, after = _next_word(magic, rest) if rest.startswith("-") else ("", rest)
        if word == "--" and takes_text:
            return declared(**values), after
        if not re.match(r"--?[A-Za-z]", word):
            break
        flag, equals, attached = word.partition("=")
        if flag not in known:
            raise _unknown(magic, flag, known)
        name, one = known[flag]
        rest = after
        if one.value is None:
            if equals:
                raise _refused(magic, f"The option {flag} takes no value.", f"Write {flag} alone.")
            values[name] = _once(magic, values, name, one, value=True)
            continue
        text = attached
        if not equals:
            text, rest = _value_word(magic, one, rest)
        values[name] = _once(magic, values, name, one, value=_read_value(magic, one, text))
    if rest and not takes_text:
        raise _stray(magic, rest, known)
    return declared(**values), rest


def _next_word(magic: str, text: str) -> tuple[str, str]:
    """Split off the first word; quotes hold a word together, a backslash is an ordinary character."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        word = lexer.get_token() or ""
    except ValueError:
        raise _refused(magic, f"A quotation mark is not closed: {shortened(text)}", "Close it, or leave it out.") from None
    return word, text[lexer.instream.tell() :].lstrip()


def _value_word(magic: str, one: Option, rest: str) -> tuple[str, str]:
    assert one.value is not None
    looks_like_option = re.match(r"--?[A-Za-z]", rest)
    if not rest or looks_like_option:
        raise _refused(magic, f"The option {one.name} lacks its value.", f"It takes {one.value.says}.")
    return _next_word(magic, rest)


def _read_value(magic: str, one: Option, text: str) -> Any:
    assert one.value is not None
    try:
        return one.value.read(text)
    except InferenceError as error:
        raise _refused(magic, f"{one.name}: {error.what}", " ".join((error.why, error.remedy)).strip()) from None
    except ValueError:
        raise _refused(
            magic, f"The option {one.name} does not take {shortened(text)!r}.", f"It takes {one.value.says}."
        ) from None


def _once(magic: str, values: dict[str, Any], name: str, one: Option, *, value: Any) -> Any:
    if one.repeats:
        return (*values.get(name, ()), value)
    if name in values:
        raise _refused(magic, f"The option {one.name} is given twice.", "Give it once.")
    return value


def _unknown(magic: str, flag: str, known: dict[str, Any]) -> InferenceError:
    near = did_you_mean(flag, known)
    return _refused(magic, f"{magic} has no option {shortened(flag)}.", near or f"`{magic}?` lists its options.")


def _stray(magic: str, rest: str, known: dict[str, Any]) -> InferenceError:
    if "--key" in known:
        # Never quoted back: what stands there may be a key.
        return _refused(
            magic,
            f"{magic} takes options only, and no key is accepted in a cell: cells are saved and shared.",
            f"Run {magic} --key alone: it asks for the key without showing it. If you typed a real key, delete it "
            "from the cell and make a new one.",
        )
    if magic.startswith("%%"):
        return _refused(
            magic,
            f"On the line of {magic} stand options only, not {shortened(rest)!r}.",
            f"Put the prompt on the lines below, or use {magic[1:]} for a prompt on one line.",
        )
    return _refused(magic, f"{magic} does not take {shortened(rest)!r}.", f"`{magic}?` lists its options.")


def _refused(magic: str, what: str, remedy: str) -> InferenceError:
    return InferenceError(what, remedy=remedy, cause="option")


def shortened(text: str) -> str:
    """Return `text` as a message quotes it: at most 40 characters."""
    return text if len(text) <= 40 else f"{text[:37]}..."


def declared_options(declared: type) -> list[Option]:
    """Return the options of an options class, in the order they are declared."""
    return [cast("Option", entry.metadata["option"]) for entry in fields(declared)]
