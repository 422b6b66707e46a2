"""Functions of the notebook as tools. The model can call only the functions that the user named."""

from __future__ import annotations

import functools
import inspect
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import coroutines
from ..errors import InferenceError, describe_exception, did_you_mean, quoted, users_failures
from ..messages import ToolStep
from ..text import counted, json_or_none, python_name, read_json_text, with_texts, without_surrogates
from .schema import Mismatch
from .tool_schema import Tool, describe, name_of

if TYPE_CHECKING:
    from ..messages import ToolCall

MAX_RESULT_CHARS: Final = 20_000
MAX_NAME_CHARS: Final = 64
_WHOSE: Final = "The result of the tool {}"
_REMEDY: Final = "Let the tool return a text, numbers, a list or a dict."
MAX_FRAMES: Final = 3


@dataclass(frozen=True, slots=True)
class ResultText:
    """The text of a tool's result. `images` is how many images in it the text does not show, `is_cut` if it is cut."""

    text: str
    images: int = 0
    is_cut: bool = False


# How models begin the call of a tool, in the forms of Hermes and Qwen, Llama, Mistral, DeepSeek, Kimi, gpt-oss, Cohere
# and others.
_CALL: Final = re.compile(
    r"<[|｜]?(?:start_|longcat_)?(?:tool|function)s?[_▁ ]?call|<function=|<[|｜]python_tag|\[TOOL_CALLS\]|<tool_use>|"
    r"<invoke name=|```tool_c|functools\[|<｜DSML｜(?:function|tool)_calls|<\|channel\|>commentary to=|"
    r"<\|open\|>tools?_?call|<\|START_ACTION|\A\s*\[[\w.]+\([\s\S]*\)\]\s*\Z",
    re.IGNORECASE,
)
_ARGUMENTS: Final = {"arguments", "parameters"}
# What models write between a namespace, the name of a tool, and what follows it.
_PARTS_OF_NAME: Final = re.compile(r"[.:/<|>\s]+")


class Toolbox:
    """The tools of one request.

    Attributes
    ----------
    definitions : list of dict
        Their definitions for the request's `tools`.
    names : tuple of str
        Their names, in the order they were given.
    """

    def __init__(self, tools: Iterable[Tool], show: Callable[[object], str | ResultText] = str) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self._tools:
                raise InferenceError(
                    f"Two tools are called {tool.name}.",
                    why="The model knows a tool only by its name.",
                    remedy="Leave one out, or give it another name.",
                )
            self._tools[tool.name] = tool
        self._show = show
        self.names: tuple[str, ...] = tuple(self._tools)
        self.definitions: list[dict[str, Any]] = [tool.definition for tool in self._tools.values()]

    def run(self, call: ToolCall) -> ToolStep:
        """Run the tool that the model requested.

        Parameters
        ----------
        call : ToolCall
            The tool's name and its arguments.

        Returns
        -------
        ToolStep
            The text for the model: the result, or an error in the call or in the tool.
            Only an interrupt is raised.
        """
        started = perf_counter()
        name = self.name_of(call)
        text, notices, ok = self._answer(call, name)
        seconds = perf_counter() - started
        if len(text) > MAX_RESULT_CHARS:
            kept = f"the first {MAX_RESULT_CHARS:,} of {len(text):,} characters"
            notices.append(f"{_WHOSE.format(name)} was cut: the model got {kept}.")
            text = f"{text[:MAX_RESULT_CHARS]}\n… (cut: {kept})"
        # A lone surrogate cannot be sent.
        return ToolStep(call, without_surrogates(text), ok, seconds, notices=tuple(notices))

    def name_of(self, call: ToolCall) -> str:
        """Return the name of the tool that a model means: some write `functions.weather:0`, or marks after the name.

        If there is none, it is one that services take: they refuse a request with any other.
        """
        name = call.name
        if name in self._tools:
            return name
        named = {part for part in (*_PARTS_OF_NAME.split(name), name.replace(".", "_")) if part in self._tools}
        return named.pop() if len(named) == 1 else re.sub(r"[^A-Za-z0-9_-]", "_", name)[:MAX_NAME_CHARS] or "_"

    def is_called_in(self, text: str) -> bool:
        """Return whether a text is, or has marks of, a call of one of the tools, as models are trained to write it."""
        names = "|".join(map(re.escape, self.names))
        if (mark := _CALL.search(text)) is not None:
            return re.search(rf"\b(?:{names})\b", text[mark.start() :]) is not None
        written = json_or_none(text.strip())
        return isinstance(written, dict) and written.get("name") in self._tools and not _ARGUMENTS.isdisjoint(written)

    def _answer(self, call: ToolCall, name: str) -> tuple[str, list[str], bool]:
        """Run the tool. Return a text for the model, notices for the user, and whether the tool ended without an error.

        Without a result, the text says why.
        """
        tool = self._tools.get(name)
        if tool is None:
            known = f"There are: {', '.join(self.names)}." if self.names else "There are none."
            return f"There is no tool {quoted(call.name)}. {known}", [], False
        try:
            given = with_texts(read_json_text(call.arguments.strip() or "{}"), without_surrogates)
        except ValueError as error:
            return f"The arguments are not JSON: {error}.", [], False
        try:
            try:
                positional, named = tool.read(given)
            except Mismatch as error:
                return _problems(given, error), [], False
            result = tool.function(*positional, **named)
            if inspect.iscoroutine(result):
                result = coroutines.run(result)
        except users_failures() as error:
            return _failure(error), [], False
        return *self._text_of(result, name), True

    def _text_of(self, result: object, name: str) -> tuple[str, list[str]]:
        """Return the text of a tool's result for the model, and notices for the user about what is not in it."""
        try:
            shown = result if isinstance(result, str) else self._show(result)
            found = shown if isinstance(shown, ResultText) else ResultText(shown)
            # A subclass of str can override methods; send its plain text.
            text = str.__str__(found.text)
        except users_failures() as error:
            kind = quoted(type(result).__name__)
            why = error.what if isinstance(error, InferenceError) else describe_exception(error)
            notice = f"{_WHOSE.format(name)} was not sent to the model: {quoted(why)} {_REMEDY}"
            return f"The tool {name} ran, and its result, of type {kind}, has no text form.", [notice]
        if not found.images:
            # A text that is too long is cut further, and then that is reported.
            is_cut = found.is_cut and len(text) <= MAX_RESULT_CHARS
            return text, [f"{_WHOSE.format(name)} was cut: the model got a part of its items."] if is_cut else []
        images = counted(found.images, "image")
        notice = f"{_WHOSE.format(name)} has {images}. A tool's result is sent as text, without images. {_REMEDY}"
        message = f"The tool {name} ran. Its result has {images}, which cannot be sent to you."
        return f"{text}\n\n({message})" if text else message, [notice]


def read_tools(words: str, namespace: Mapping[str, Any], show: Callable[[object], str | ResultText] = str) -> Toolbox:
    """Return the functions that `--tools` names as a Toolbox.

    Parameters
    ----------
    words : str
        Names separated by commas. `name.attribute` is looked up; nothing else is evaluated.
    namespace : Mapping
        The notebook's variables.
    show : callable
        Converts a result that is not a string to the text sent to the model.

    Returns
    -------
    Toolbox
        The tools, under their names in the notebook (`name_attribute` for `name.attribute`).

    Raises
    ------
    InferenceError
        If a name is missing, not in the notebook or given twice, or if its value cannot be a tool.
    """
    names = [word.strip() for word in words.split(",")]
    if not all(names):
        raise InferenceError(
            "A tool's name is missing." if any(names) else "No tool is named.",
            remedy="Name functions of this notebook, with commas between them: --tools f,g",
        )
    return Toolbox([describe(_look_up(name, namespace), python_name(name.replace(".", "_"))) for name in names], show)


def toolbox_of(functions: Iterable[Callable[..., Any]], show: Callable[[object], str | ResultText] = str) -> Toolbox:
    """Return functions as the Toolbox of a request.

    Parameters
    ----------
    functions : iterable of callable
        The functions. Each is given to the model under its `__name__`.
    show : callable
        Converts a result that is not a string to the text sent to the model.

    Returns
    -------
    Toolbox
        The tools.

    Raises
    ------
    InferenceError
        If one of them cannot be a tool, or if two have the same name.
    """
    return Toolbox([describe(function, name_of(function)) for function in functions], show)


def _look_up(words: str, namespace: Mapping[str, Any]) -> object:
    first, *attributes = map(python_name, words.split("."))
    if not all(part.isidentifier() for part in (first, *attributes)):
        raise InferenceError(
            f"{quoted(words)} is not the name of a tool.",
            why="A tool is a name such as f or table.search; expressions are not evaluated.",
            remedy="Give the function a name in the notebook and use that.",
        )
    if first not in namespace:
        callables = [name for name, value in namespace.items() if callable(value) and not name.startswith("_")]
        raise _unknown(words, f"This notebook has nothing called {quoted(first)}.", did_you_mean(first, callables))
    found: object = namespace[first]
    for attribute in attributes:
        try:
            found = getattr(found, attribute)
        except AttributeError:
            near = did_you_mean(attribute, [name for name in dir(found) if not name.startswith("_")])
            raise _unknown(words, f"There is no {quoted(attribute)} in it.", near) from None
        except users_failures() as error:
            raise _unknown(words, f"Looking it up failed: {quoted(repr(error))}", "") from error
    return found


def _unknown(words: str, why: str, near: str) -> InferenceError:
    remedy = near or "Run the cell that defines it, or check the name."
    return InferenceError(f"There is no tool {quoted(words)}.", why=why, remedy=remedy)


def _problems(given: Any, error: Mismatch) -> str:
    """Return a text for the model about what is wrong with the arguments it wrote."""
    if not isinstance(given, dict):
        return "The arguments are not a JSON object."
    return "\n".join(["The arguments are not as they should be:", *(f"- {quoted(line)}" for line in error.problems)])


def _failure(error: BaseException) -> str:
    """Return a text for the model about the exception that a tool raised, and where in the user's own code.

    Files are not named, because the service does not need to know where users keep their work.
    """
    message = "".join(traceback.format_exception_only(type(error), error)).strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    lines = [f"  in {frame.name}, line {frame.lineno}: {quoted(frame.line or '')}" for frame in frames[-MAX_FRAMES:]]
    return "\n".join([message, *lines])


@functools.cache
def _folders_of_others() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return (Path(__file__).resolve().parent.parent, *(Path(paths[name]).resolve() for name in names))


def _is_users(filename: str) -> bool:
    if filename.startswith("<frozen "):
        return False
    path = Path(filename).resolve()
    return not any(path.is_relative_to(folder) for folder in _folders_of_others())
