"""The line of a magic: its options, declared as the fields of a data class, and the text behind them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, fields
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from .errors import InferenceError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
TextForm = Literal["none", "rest", "words"]

# `-5 degrees` and `- a point` are text; `--` alone ends the options.
_OPTION = re.compile(r"--?[A-Za-z]|--(?=\s|$)")


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


def _by_flag(declared: Any) -> dict[str, tuple[str, Option]]:
    """Return, for each flag of an options class, the field's name and its option."""
    return {
        flag: (entry.name, entry.metadata["option"])
        for entry in fields(declared)
        for flag in entry.metadata["option"].flags
    }


def read_line(declared: type[T], magic: str, line: str, *, text: TextForm = "none") -> tuple[T, str]:
    """Read a magic's line.

    Parameters
    ----------
    declared : type
        A data class whose fields are made by `option`.
    magic : str
        The magic as the user typed it (`%%wbchat`), for messages.
    line : str
        What follows the magic's name.
    text : str
        `none`: no text belongs on the line. `rest`: the text starts at the first word that is not an option,
        or after `--`, and goes to the end of the line as it stands: quotes and dashes in it mean nothing.
        `words`: words may stand before, between and after the options.

    Returns
    -------
    tuple
        The options, and the text (empty for `none`).

    Raises
    ------
    InferenceError
        For an unknown or repeated option, a missing or wrong value, or text where none belongs.
    """
    known = _by_flag(declared)
    values: dict[str, Any] = {}
    words: list[str] = []
    rest = line.strip()
    while rest:
        if not _OPTION.match(rest):
            if text != "words":
                break
            word, rest = _next_word(rest)
            words.append(word)
            continue
        word, after = _next_word(rest)
        if word == "--":
            rest = after
            break
        rest = _read_option(magic, known, values, word, after)
    if rest and text == "none":
        raise _stray(magic, rest, known)
    return declared(**values), " ".join([*words, rest]).strip() if words else rest


def _read_option(magic: str, known: dict[str, Any], values: dict[str, Any], word: str, rest: str) -> str:
    """Read one option into `values` and return what follows it."""
    flag, equals, attached = word.partition("=")
    if flag not in known:
        raise _unknown(magic, flag, known)
    name, one = known[flag]
    if one.value is None:
        if equals:
            raise _refused(f"The option {flag} takes no value.", f"Write {flag} alone.")
        values[name] = _once(values, name, one, value=True)
        return rest
    given = attached
    if not equals:
        given, rest = _value_word(one, rest)
    values[name] = _once(values, name, one, value=_read_value(one, given))
    return rest


def _next_word(text: str) -> tuple[str, str]:
    """Split off the first word; quotes hold a word together, a backslash is an ordinary character."""
    stream = StringIO(text)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        word = lexer.get_token() or ""
    except ValueError:
        raise _refused(f"A quotation mark is not closed: {shortened(text)}", "Close it, or leave it out.") from None
    return word, text[stream.tell() :].lstrip()


def _value_word(one: Option, rest: str) -> tuple[str, str]:
    assert one.value is not None
    if not rest or _OPTION.match(rest):
        raise _refused(f"The option {one.name} lacks its value.", f"It takes {one.value.says}.")
    return _next_word(rest)


def _read_value(one: Option, text: str) -> Any:
    assert one.value is not None
    try:
        return one.value.read(text)
    except InferenceError as error:
        raise _refused(f"{one.name}: {error.what}", " ".join((error.why, error.remedy)).strip()) from None
    except ValueError:
        raise _refused(
            f"The option {one.name} does not take {shortened(text)!r}.", f"It takes {one.value.says}."
        ) from None


def _once(values: dict[str, Any], name: str, one: Option, *, value: Any) -> Any:
    if one.repeats:
        return (*values.get(name, ()), value)
    if name in values:
        raise _refused(f"The option {one.name} is given twice.", "Give it once.")
    return value


def _unknown(magic: str, flag: str, known: dict[str, Any]) -> InferenceError:
    near = did_you_mean(flag, known)
    return _refused(f"{magic} has no option {shortened(flag)}.", near or f"`{magic}?` lists its options.")


def _stray(magic: str, rest: str, known: dict[str, Any]) -> InferenceError:
    if "--key" in known:
        # Never quoted back: what stands there may be a key.
        return _refused(
            f"{magic} takes options only, and no key is accepted in a cell: cells are saved and shared.",
            f"Run {magic} --key alone: it asks for the key without showing it. If you typed a real key, delete it "
            "from the cell and make a new one.",
        )
    if magic.startswith("%%"):
        return _refused(
            f"On the line of {magic} stand options only, not {shortened(rest)!r}.",
            f"Put the prompt on the lines below, or use {magic[1:]} for a prompt on one line.",
        )
    return _refused(f"{magic} does not take {shortened(rest)!r}.", f"`{magic}?` lists its options.")


def _refused(what: str, remedy: str) -> InferenceError:
    return InferenceError(what, remedy=remedy, cause="option")


def shortened(text: str) -> str:
    """Return `text` as a message quotes it: at most 40 characters."""
    return text if len(text) <= 40 else f"{text[:37]}..."


def declared_options(declared: type) -> list[Option]:
    """Return the options of an options class, in the order they are declared."""
    return [cast("Option", entry.metadata["option"]) for entry in fields(declared)]
