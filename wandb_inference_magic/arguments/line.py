"""Parse the line of a magic: its options, declared as the fields of a dataclass, and the text after them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, fields
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from ..errors import InferenceError, did_you_mean, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
TextForm = Literal["none", "rest", "words"]
Completes = Literal["", "model", "thread", "choice", "variable", "value", "callable", "type", "file"]

# `-5 degrees` and `- a point` are text; `--` alone ends the options.
_OPTION = re.compile(r"--?[A-Za-z]|--(?=\s|$)")
# An option's name and `=` may come before a template, and more text after it: `--system={{ who }}-{{ place }}`.
_TEMPLATE_WORD = re.compile(r"""[^\s'"{}]*\{\{.*?\}\}(?:\{\{.*?\}\}|\S)*""")


@dataclass(frozen=True, slots=True)
class Value:
    """The value of an option: its name in the help, its description, and the function that parses its text.

    `read` raises ValueError for an invalid text, or InferenceError with its own message.
    `completes` says what Tab completion may offer; for `choice` that is one of `words`.
    """

    name: str
    says: str
    read: Callable[[str], Any]
    completes: Completes = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a magic.

    `value` is None for a switch. With `repeats`, values are collected in a tuple. `alone` is the value used if the
    option is given without one.
    """

    flags: tuple[str, ...]
    help: str
    value: Value | None = None
    repeats: bool = False
    alone: str | None = None

    @property
    def name(self) -> str:
        return self.flags[-1]

    @property
    def usage(self) -> str:
        flags = ", ".join(self.flags)
        if self.value is None:
            return flags
        return f"{flags} {self.value.name}" if self.alone is None else f"{flags} [{self.value.name}]"


def option(*flags: str, help: str, value: Value | None = None, repeats: bool = False, alone: str | None = None) -> Any:
    """Declare a field of an options class. Its default is None, False (a switch) or () (repeats)."""
    default: object = () if repeats else False if value is None else None
    return field(default=default, metadata={"option": Option(flags, help, value, repeats, alone)})


def _by_flag(declared: Any) -> dict[str, tuple[str, Option]]:
    """Return a mapping from each flag of an options class to the field's name and its option."""
    return {
        flag: (entry.name, entry.metadata["option"])
        for entry in fields(declared)
        for flag in entry.metadata["option"].flags
    }


def read_line(
    declared: type[T],
    magic: str,
    line: str,
    *,
    text: TextForm = "none",
    render: Callable[[str, str], str] | None = None,
) -> tuple[T, str]:
    """Parse a magic's line.

    Parameters
    ----------
    declared : type
        A dataclass whose fields are made by `option`.
    magic : str
        The magic as the user typed it (`%%wbchat`), for messages.
    line : str
        The text after the magic's name.
    text : str
        `none`: no text is allowed on the line. `rest`: the text starts at the first word that is not an option,
        or after `--`, and goes to the end of the line unchanged; quotes and dashes in it have no special meaning.
        `words`: words may come before, between and after the options.
    render : callable, optional
        Called with each value and its option's name before the value is parsed. Returns the rendered value.

    Returns
    -------
    tuple
        The options, and the text (empty for `none`).

    Raises
    ------
    InferenceError
        For an unknown or repeated option, a missing or invalid value, or text where none is allowed.
    """
    known = _by_flag(declared)
    reading = _Reading(magic, known, {}, is_text_free=text == "none", render=render)
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
        rest = reading.read_option(word, after)
    if rest and text == "none":
        raise _stray(magic, rest, known)
    return declared(**reading.values), " ".join([*words, rest]).strip() if words else rest


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The unfinished end of a line that is being typed.

    `word` is the typed part of the last word, as written. It may begin with a quotation mark that is not closed
    yet. It is the value of the option `value_of`. If `value_of` is None, it is one of the remaining options `left`,
    or a word of the text after `words` others.
    """

    word: str
    value_of: Option | None = None
    left: tuple[Option, ...] = ()
    words: int = 0


def read_unfinished(declared: type, line: str, *, text: TextForm = "none") -> Unfinished | None:
    """Parse a partly typed line by the rules of `read_line`, without raising errors.

    Parameters
    ----------
    declared, text
        As in `read_line`.
    line : str
        The text between the magic's name and the cursor.

    Returns
    -------
    Unfinished or None
        None within the text that goes to the end of the line, and where nothing valid can follow.
    """
    known = _by_flag(declared)
    left = dict(known.values())
    waiting: Option | None = None
    words = 0
    rest = line.lstrip()
    while (split := _finished_word(rest)) is not None:
        is_option = _OPTION.match(rest) is not None
        word, rest = split
        if word == "--" and is_option:
            return None
        if is_option:
            waiting = _begun(known, left, word)
        elif waiting is not None:
            waiting = None
        elif text == "words":
            words += 1
        else:
            return None
    if waiting is not None:
        return Unfinished(rest, waiting)
    flag, equals, value = rest.partition("=")
    if equals and flag in known:
        return Unfinished(value, known[flag][1])
    return Unfinished(rest, None, tuple(left.values()), words)


def _finished_word(text: str) -> tuple[str, str] | None:
    """Split off the first word. Return None if the word may be unfinished."""
    try:
        word, rest = _next_word(text)
    except InferenceError:
        return None
    return (word, rest) if rest or text[-1:].isspace() else None


def _begun(known: dict[str, tuple[str, Option]], left: dict[str, Option], word: str) -> Option | None:
    """Remove a given option from `left`, and return it if its value comes next."""
    flag, equals, _ = word.partition("=")
    if flag not in known:
        return None
    name, one = known[flag]
    if not one.repeats:
        left.pop(name, None)
    return None if one.value is None or one.alone is not None or equals else one


@dataclass
class _Reading:
    """A line being parsed: the known options and the values so far."""

    magic: str
    known: dict[str, tuple[str, Option]]
    values: dict[str, Any]
    is_text_free: bool
    render: Callable[[str, str], str] | None

    def read_option(self, word: str, rest: str) -> str:
        """Parse one option into `values` and return the rest of the line."""
        flag, equals, attached = word.partition("=")
        if flag not in self.known:
            raise _unknown(self.magic, flag, self.known)
        name, one = self.known[flag]
        if one.value is None:
            if equals:
                raise _refused(f"The option {flag} takes no value.", f"Write {flag} alone.")
            self._put(name, one, value=True)
            return rest
        given = attached
        if not equals:
            given, rest = self._value_word(one, rest)
        self._put(name, one, value=_read_value(one, self._rendered(one, given)))
        return rest

    def _value_word(self, one: Option, rest: str) -> tuple[str, str]:
        assert one.value is not None
        if one.alone is not None:
            word, after = _next_word(rest) if rest and self.is_text_free else ("", rest)
            # On a line with text, the next word may be the first of the text.
            return (word, after) if word in one.value.words else (one.alone, rest)
        if not rest or _OPTION.match(rest):
            raise _refused(f"The option {one.name} lacks its value.", f"It takes {one.value.says}.")
        return _next_word(rest)

    def _rendered(self, one: Option, given: str) -> str:
        return self.render(given, one.name) if self.render else given

    def _put(self, name: str, one: Option, *, value: Any) -> None:
        if one.repeats:
            self.values[name] = (*self.values.get(name, ()), value)
            return
        if name in self.values:
            raise _refused(f"The option {one.name} is given twice.", "Give it once.")
        self.values[name] = value


def _next_word(text: str) -> tuple[str, str]:
    """Split off the first word. Quotes and template braces may contain spaces; a backslash is an ordinary character."""
    if template := _TEMPLATE_WORD.match(text):
        return template[0], text[template.end() :].lstrip()
    stream = StringIO(text)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        word = lexer.get_token() or ""
    except ValueError:
        raise _refused(f"A quotation mark is not closed: {shortened(text)}", "Close it, or leave it out.") from None
    return word, text[stream.tell() :].lstrip()


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


def _unknown(magic: str, flag: str, known: dict[str, Any]) -> InferenceError:
    near = did_you_mean(flag, known)
    return _refused(f"{magic} has no option {shortened(flag)}.", near or f"`{magic}?` lists its options.")


def _stray(magic: str, rest: str, known: dict[str, Any]) -> InferenceError:
    if "--key" in known:
        # Never quoted in the message: the text may be a key.
        return _refused(
            f"{magic} takes options only, and no key is accepted in a cell: cells are saved and shared.",
            f"Run {magic} --key alone: it asks for the key without showing it. If you typed a real key, delete it "
            "from the cell and make a new one.",
        )
    if magic.startswith("%%"):
        return _refused(
            f"The {magic} line takes options only; found {shortened(rest)!r}.",
            f"Put the prompt on the lines below, or use {magic[1:]} for a prompt on one line.",
        )
    return _refused(f"{magic} does not take {shortened(rest)!r}.", f"`{magic}?` lists its options.")


def _refused(what: str, remedy: str) -> InferenceError:
    return InferenceError(what, remedy=remedy, cause="option")


def declared_options(declared: type) -> list[Option]:
    """Return the options of an options class, in declaration order."""
    return [cast("Option", entry.metadata["option"]) for entry in fields(declared)]
