"""Parse the line of a magic: its options, declared as the attributes of a class, and the text after them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

from ..config import setting_named
from ..errors import HelpRequested, InferenceError, did_you_mean, shortened, visible
from ..text import BARS, COLONS, COMMAS, IN_QUOTES, INVISIBLE, QUOTES, UNSEEN, bare, leading_name, visible_only
from .words import DOUBLE_QUOTES, next_part, next_word

T = TypeVar("T", bound="Options")
TextForm = Literal["none", "rest", "words", "expression"]
Completes = Literal["", "text", "model", "thread", "variable", "value", "callable", "type", "file", "column", "job"]

# `-5 degrees` and `- a point` are text; `--` alone ends the options.
_OPTION = re.compile(r"--?[A-Za-z]|--(?=\s|$)")
# What word processors and slides make of dashes.
_DASHED = re.compile(rf"-?[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]-?(?P<name>[A-Za-z][\w{INVISIBLE}-]*)(?=[\s=]|$)")
# A key is longer. What is shorter is an id, a comment or a part of an address.
_MAY_BE_KEY = re.compile(r"[\w-]{12,}")
# One of several alternatives, with the bar before or after it. Maths, code and an expression for rows have other bars.
_ALTERNATIVE = re.compile(rf"(?:{IN_QUOTES}|[^\s\[({{$\\`]*)\s*[{BARS}]")
_INDEXED = re.compile(r"[^\s\[(\"']+(?=[\[(])")


@dataclass(frozen=True, slots=True)
class Value:
    """The value of an option: its name in the help, its description, and the function that parses its text.

    `read` raises ValueError for an invalid text, or InferenceError with its own message.
    Tab completion offers `choices`, or what `completes` says: nothing if it is empty, what IPython has for `text`.
    In a text that is `free`, a character may count that is not seen; its edges have none.
    """

    name: str
    says: str
    read: Callable[[str], Any]
    completes: Completes = ""
    choices: tuple[str, ...] = ()
    free: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a magic.

    `field` is its attribute of the options class. `value` is None for a switch. With `repeats`, values are collected in
    a tuple. `alone` is the value used if the option is given without one.
    """

    field: str
    flags: tuple[str, ...]
    help: str
    value: Value | None
    repeats: bool
    alone: str | None

    @property
    def name(self) -> str:
        return self.flags[-1]

    @property
    def default(self) -> object:
        return () if self.repeats else False if self.value is None else None

    @property
    def needs_value(self) -> bool:
        return self.value is not None and self.alone is None

    @property
    def usage(self) -> str:
        flags = ", ".join(self.flags)
        if self.value is None:
            return flags
        return f"{flags} {self.value.name}" if self.alone is None else f"{flags} [{self.value.name}]"


# What every magic takes. It has no attribute: `read_line` raises HelpRequested.
HELP = Option("help", ("-h", "--help"), "Show this help; do nothing else.", None, repeats=False, alone=None)


def option(
    help: str,
    value: Value | None = None,
    *,
    short: str = "",
    long: str = "",
    repeats: bool = False,
    alone: str | None = None,
) -> Any:
    """Declare an attribute of an options class. Its default is None, False (a switch) or () (repeats).

    The option is called as its attribute, such as `--max-tokens` for `max_tokens`, unless `long` names it. `short` is
    another name.
    """

    def named(field: str) -> Option:
        full = long or f"--{field.replace('_', '-')}"
        return Option(field, (short, full) if short else (full,), help, value, repeats, alone)

    return named


class Options(SimpleNamespace):
    """The options that a magic was given. A subclass declares each as an attribute, by `option`.

    It is no dataclass: generating the code of those takes a seventh of the time of importing what a chat needs.
    The docstring of a magic's options is the help of that magic.

    Parameters
    ----------
    **given : object
        The values. The others have their defaults.
    """

    declared: tuple[Option, ...] = ()
    # Each form in which the magic is typed, with the text allowed on its line, as for `read_line`.
    usage: tuple[tuple[str, TextForm], ...] = ()
    # What the first word of that text is, for Tab completion.
    first: Value | None = None

    def __init_subclass__(cls) -> None:
        own = [vars(cls)[name](name) for name in cls.__annotations__]
        cls.declared = (*cls.declared, *own)

    def __init__(self, **given: Any) -> None:
        super().__init__(**({one.field: one.default for one in self.declared} | given))

    def given(self, *fields: str) -> list[str]:
        """Return the names, such as `--max-tokens`, of those options in `fields` that were given, in that order."""
        names = {one.field: one.name for one in self.declared}
        return [names[field] for field in fields if getattr(self, field)]


def _by_flag(declared: type[Options]) -> dict[str, Option]:
    return {flag: one for one in declared.declared for flag in one.flags}


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
        A subclass of `Options`.
    magic : str
        The magic as the user typed it (`%%wbchat`), for messages.
    line : str
        The text after the magic's name.
    text : str
        `none`: no text is allowed on the line. `rest`: the text starts at the first word that is not an option,
        or after `--`, and goes to the end of the line unchanged; quotes and dashes in it have no special meaning.
        `words`: words may come before, between and after the options. `expression`: as `words`, for the parts of a
        Python expression, which keep their quotes; within brackets and quotes there are no options.
    render : callable, optional
        Called with each value of an option, before it is parsed, and with each of the words; also with what it is.
        Returns it rendered.

    Returns
    -------
    tuple
        The options, and the text (empty for `none`).

    Raises
    ------
    InferenceError
        For an unknown or repeated option, a missing or invalid value, or text where none is allowed.
    HelpRequested
        For `--help` or `-h`, and for `?` alone.
    """
    known = _by_flag(declared)
    values: dict[str, Any] = {}
    words: list[str] = []
    rest = line.strip()
    # IPython takes `%wbchat?` for a request for help, and `%wbchat ?` for a line.
    if bare(rest) in ("?", "??"):
        raise HelpRequested
    while (rest := _with_plain_option(rest, known)) and (text in ("words", "expression") or _OPTION.match(rest)):
        if _OPTION.match(rest):
            word, after = next_word(rest)
            if word == "--":
                rest = after
                break
            one, value, rest = _read_option(known, magic, rest, render, is_text_free=text == "none")
            if one.field in values and not one.repeats:
                raise _refused(f"The option {one.name} is given twice.", "Give it once.")
            values[one.field] = (*values.get(one.field, ()), value) if one.repeats else value
        elif text == "expression":
            word, rest = next_part(rest)
            words.append(word)
        else:
            word, rest = next_word(rest)
            if word == "#":
                # A comment, as after a line of Python.
                rest = ""
                break
            words.append(render(word, f"the text of {magic}") if render else word)
    if rest and text == "none":
        raise _stray(magic, rest, known)
    return declared(**values), " ".join([*words, rest]).strip() if words else rest


def _read_option(
    known: dict[str, Option],
    magic: str,
    line: str,
    render: Callable[[str, str], str] | None,
    *,
    is_text_free: bool,
) -> tuple[Option, Any, str]:
    """Read the option that a line begins with. Return it with its value, and the rest of the line."""
    word, rest = next_word(line)
    typed, equals, given = word.partition("=")
    flag = visible_only(typed)
    if flag in HELP.flags and not equals:
        raise HelpRequested
    if flag not in known:
        raise _unknown(magic, flag, known)
    one = known[flag]
    if one.value is None:
        if equals:
            what = f"The option {flag} takes no value"
            raise _key_in_cell(what) if flag == "--key" else _refused(f"{what}.", f"Write {flag} alone.")
        return one, True, rest
    if not equals:
        given, rest = _value_word(one, one.value, rest, is_text_free=is_text_free)
    elif expression := _indexed(one.value, line[len(typed) + 1 :].lstrip(INVISIBLE)):
        given, rest = expression
    given = bare(given)
    given = render(given, f"the option {one.name}") if render else given
    value = _read_value(one, one.value, given)
    _check_end(one, one.value, given, line.removesuffix(rest).rstrip(UNSEEN), rest)
    return one, value, rest


def trailing_options(declared: type[Options], text: str) -> str:
    """Return the options that a text ends with, as they are written, or an empty string.

    They are text, since options come first, but may have been meant as options.
    """
    known = _by_flag(declared)
    words = list(re.finditer(r"\S+", text))
    for number, word in enumerate(words):
        if number and _OPTION.match(_with_plain_option(word[0], known)):
            with suppress(InferenceError, HelpRequested):
                behind = text[word.start() :]
                if read_line(declared, "", behind)[0] != declared():
                    return behind.strip()
    return ""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The unfinished end of a line that is being typed.

    `word` is the typed part of the last word, as written. It may begin with a quotation mark that is not closed
    yet. It is the value of the option `value_of`. If `value_of` is None, it is one of the remaining options `left`,
    or a word of the text. `words` are those of the text before it.
    """

    word: str
    value_of: Option | None = None
    left: tuple[Option, ...] = ()
    words: tuple[str, ...] = ()


def read_unfinished(declared: type[Options], line: str, *, text: TextForm = "none") -> Unfinished | None:
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
    left = [*declared.declared, HELP]
    waiting: Option | None = None
    words: list[str] = []
    rest = line.lstrip(UNSEEN)
    while (split := _finished_word(plain := _with_plain_option(rest, known))) is not None:
        is_option = _OPTION.match(plain) is not None
        word, rest = split
        rest = rest.lstrip(UNSEEN)
        if word == "--" and is_option:
            return None
        if is_option:
            flag, equals, _ = word.partition("=")
            one = known.get(visible_only(flag))
            left = [other for other in left if other != one or other.repeats]
            waiting = one if one is not None and one.needs_value and not equals else None
        elif waiting is not None:
            waiting = None
        elif text in ("words", "expression"):
            words.append(word)
        else:
            return None
    if waiting is not None:
        return Unfinished(rest, waiting, words=tuple(words))
    flag, equals, value = rest.partition("=")
    if equals and flag in known:
        return Unfinished(value, known[flag], words=tuple(words))
    return Unfinished(rest, None, tuple(left), tuple(words))


def _finished_word(text: str) -> tuple[str, str] | None:
    """Split off the first word. Return None if the word may be unfinished."""
    try:
        word, rest = next_word(text)
    except InferenceError:
        return None
    return (word, rest) if rest or text[-1:].isspace() else None


def _value_word(one: Option, value: Value, rest: str, *, is_text_free: bool) -> tuple[str, str]:
    """Split off the value of an option from the rest of the line."""
    # The text keeps what is not seen.
    rest = rest.lstrip(UNSEEN) if is_text_free or one.needs_value else rest
    if one.alone is not None:
        word, after = next_word(rest) if rest and is_text_free else ("", rest)
        # On a line with text, the next word may be the first of the text.
        is_value = word in value.choices or (word and not _OPTION.match(rest))
        return (word, after) if is_value else (one.alone, rest)
    if not rest or _OPTION.match(rest):
        raise _refused(f"The option {one.name} needs a value.", f"It takes {value.says}.")
    return _indexed(value, rest) or next_word(rest)


def _indexed(value: Value, text: str) -> tuple[str, str] | None:
    """Split off an expression such as `plots["a b"]`, which keeps its quotes; None if the text begins with none."""
    names = _INDEXED.match(text)
    if value.completes != "value" or not names or any(leading_name(one) != one for one in names[0].split(".")):
        return None
    part, rest = next_part(text)
    return (part, rest) if part.endswith(("]", ")")) else None


def _check_end(one: Option, value: Value, given: str, written: str, after: str) -> None:
    """Refuse a value without quotes that ends at a space within a list, fields or alternatives."""
    has_fields = value.completes == "type"
    is_quoted = written.endswith(tuple(closing for _, closing in QUOTES))
    is_part = has_fields and not is_quoted and not _OPTION.match(after) and _ALTERNATIVE.match(after)
    if after and (is_part or (given[1:] and written.endswith((*COMMAS, *(BARS + COLONS if has_fields else ""))))):
        raise _refused(
            f"Without quotes, {one.name} ends at the space after {shortened(given)!r}, but its value seems to go on.",
            f'Put the whole value in quotes: {one.name} "{shortened(given)} ...".',
        )


def _with_plain_option(text: str, known: dict[str, Option]) -> str:
    """Return a text that begins with an option as it is typed: with plain dashes, and nothing before it.

    Any other text is unchanged, but empty if nothing in it is seen.
    """
    begun = text.lstrip(UNSEEN)
    if _OPTION.match(begun) or not begun:
        return begun
    found = _DASHED.match(begun)
    flags = [f"{dashes}{visible_only(found['name'])}" for dashes in ("--", "-")] if found else []
    flag = next((flag for flag in flags if flag in known or flag in HELP.flags), None)
    return text if flag is None or found is None else flag + begun[found.end() :]


def _read_value(one: Option, value: Value, text: str) -> Any:
    try:
        return value.read(text if value.free else visible_only(text))
    except InferenceError as error:
        raise _refused(f"{one.name}: {error.what}", " ".join((error.why, error.remedy)).strip()) from None
    except ValueError:
        raise _refused(f"The option {one.name} does not take {shortened(text)!r}.", f"It takes {value.says}.") from None


def _unknown(magic: str, flag: str, known: dict[str, Any]) -> InferenceError:
    if flag == "--key":
        return _key_in_cell(f"{magic} has no option --key")
    # The dashes are alike in all of them.
    near = did_you_mean(flag, [*known, HELP.name], least=0.7)
    options = {one.field for one in known.values()}
    if magic == "%wbconfig" and (setting := setting_named(flag)) and setting not in options:
        near = f"Set it with %config WandbInference.{setting} = ..."
    return _refused(f"{magic} has no option {visible(shortened(flag))}.", near or f"`{magic}?` lists its options.")


def _key_in_cell(what: str) -> InferenceError:
    remedy = "Run %wbconfig --key alone: it hides what you type. If you typed a real key, delete it and make a new one."
    return _refused(f"{what}, and no key is accepted in a cell: cells are saved and shared.", remedy)


def _stray(magic: str, rest: str, known: dict[str, Any]) -> InferenceError:
    if "--key" in known and not _MAY_BE_KEY.search(rest):
        return _refused(
            f"{magic} takes options only: its line cannot have other text or a comment.",
            f"Write a value after its option, such as {magic} --model ID. `{magic}?` lists the options.",
        )
    if "--key" in known:
        # Never quoted in the message: the text may be a key.
        return _key_in_cell(f"{magic} takes options only")
    if magic.startswith("%%"):
        below = f"Put the prompt on the lines below, or use {magic[1:]} for a prompt on one line."
        remedy = DOUBLE_QUOTES if rest.count("'") % 2 else below
        return _refused(f"The {magic} line takes options only; found {shortened(rest)!r}.", remedy)
    return _refused(f"{magic} does not take {shortened(rest)!r}.", f"`{magic}?` lists its options.")


def _refused(what: str, remedy: str) -> InferenceError:
    return InferenceError(what, remedy=remedy)
