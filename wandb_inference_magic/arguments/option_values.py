"""The values that options take: how each is parsed, described in the help, and completed with Tab."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Callable
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Final

from ..catalog import check_model_id, check_parameter, names_several, read_tokens
from ..config import BUDGETS, SECONDS, check_endpoint, check_project, check_trace, one_of
from ..errors import InferenceError, shortened
from ..text import bare, composed, python_name, read_json_text, visible_only
from .line import Value

if TYPE_CHECKING:
    from .line import Completes

# A line end or a tab, but no command of LaTeX such as `\newpage`.
_ESCAPED: Final = re.compile(r"(?<!\\)\\([nt])(?![A-Za-z])")
# JSON by its first character. A value that begins so must be JSON.
_EXAMPLES: Final = {"{": '{"key": "value"}', "[": '["value"]', '"': '"value"'}


def number(low: float, high: float) -> Value:
    """Return the Value for a number from `low` to `high`."""
    return Value("NUMBER", f"a number from {low:g} to {high:g}", _in_range(float, low, high))


def integer(low: int, says: str, high: int = 2**63 - 1) -> Value:
    return Value("N", says, _in_range(int, low, high))


def _in_range(kind: Callable[[str], Any], low: float, high: float) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return read


def text(name: str, says: str, completes: Completes = "text", *, free: bool = True) -> Value:
    """Return the Value for any text that is not blank."""
    return Value(name, says, _read_text, completes, free=free)


def _read_text(given: str) -> str:
    if not given.strip():
        raise ValueError(given)
    return given


def _read_stop(given: str) -> str:
    r"""Return a text in which `\n` and `\t` are a line end and a tab: a line of a magic cannot hold them."""
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else "\t", _read_text(given))


def choice(*names: str) -> Value:
    """Return the Value for one of the given names."""
    return Value("|".join(names), f"one of {', '.join(names)}", one_of(*names), choices=names)


# Variables that IPython itself needs.
_OF_SHELL: Final = ("get_ipython", "In", "Out")


def _read_variable(given: str) -> str:
    # As Python reads it in the cells that use it.
    name = python_name(given)
    if not name.isidentifier() or iskeyword(name) or name in _OF_SHELL:
        raise ValueError(given)
    return name


def _read_model(given: str) -> str:
    id = check_model_id(given)
    if names_several(id):
        raise InferenceError(
            f"{shortened(id)!r} is not a model id.",
            remedy="To compare several models, give the option again for each: -m A -m B.",
        )
    return id


def _read_parameter(given: str) -> tuple[str, Any]:
    """Parse `NAME=VALUE`. The value is parsed as JSON if it is valid JSON; otherwise it is text.

    Raises
    ------
    InferenceError
        If the value is not JSON but looks like it, for example because the line has removed its quotation marks.
    """
    name, equals, value = given.partition("=")
    name, value = visible_only(name), bare(value)
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(given)
    check_parameter(name)
    try:
        found = read_json_text(value)
    except ValueError:
        if value.lstrip()[:1] in _EXAMPLES or value.strip() in ("True", "False", "None"):
            raise _not_json(name, value) from None
        return name, value
    try:
        json.dumps(found, allow_nan=False)
    except ValueError:
        raise InferenceError(
            f"the value of {name} is {shortened(value)}, which is not a JSON number.",
            remedy="Give another number, or null.",
        ) from None
    return name, found


def _not_json(name: str, value: str) -> InferenceError:
    """Return the error for a value that looks like JSON and is not. For a Python literal, it shows the JSON."""
    try:
        json_text = json.dumps(literal_eval(value.strip()), allow_nan=False)
        why, text = "It is written as in Python.", ""
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        json_text = _EXAMPLES[value.lstrip()[:1]]
        why = "Without quotes around it, a space ends it, and its own quotation marks are removed."
        text = f"""A text that begins like this must be a JSON string: --param '{name}="..."'."""
    # A quotation mark of the line cannot stand within it.
    json_text = json_text.replace("'", "\\u0027")
    return InferenceError(
        f"the value of {name} looks like JSON, but is not: {shortened(value)!r}.",
        why=why,
        remedy=f"Put single quotes around name and value: --param '{name}={json_text}'. {text}".strip(),
    )


TEXT = text("TEXT", "a text in quotes")
STOP = Value("TEXT", "a text in quotes", _read_stop, "text", free=True)
VARIABLE = Value("NAME", "a variable's name, such as answer", _read_variable, "variable")
COUNT = integer(1, "a whole number above 0")
PARAMETER = Value(
    "NAME=VALUE",
    "a name and a value, such as top_k=20 (in quotes if the value contains spaces)",
    _read_parameter,
    free=True,
)
MODEL = Value("ID", "a model id, such as openai/gpt-oss-20b", _read_model, completes="model")
TOKENS = Value("TOKENS", "a number of tokens, such as 128k or 1M", read_tokens)
ENDPOINT = Value(
    "wandb|local|URL",
    "wandb, local (the practice model on this machine), auto, or a URL",
    check_endpoint,
    choices=("wandb", "local", "auto"),
)
TIMEOUT = Value(
    "SECONDS", f"a number of seconds above 0, at most {SECONDS[1]:,}, such as 120", _in_range(float, *SECONDS)
)
USD = Value(
    "USD",
    "a number of US dollars, such as 0.50 (to remove the budget: %config WandbInference.budget = None)",
    _in_range(float, *BUDGETS),
)
TRACE = Value("TEAM/PROJECT|off", "a team and a project with a slash between them, or off", check_trace)
# The same letters are the same thread, in any form of Unicode.
THREAD = Value("NAME", "a thread's name", lambda given: composed(_read_text(given)), completes="thread", free=True)
FILE = text("FILE", "a file's name", completes="file")
PROJECT = Value("TEAM/PROJECT", "a team and a project with a slash between them", check_project)
FRAME = Value("FRAME", "a DataFrame", str, "value", free=True)
JOB = Value("JOB", "the number of a job", str, "job")
