"""What the arguments of the Python API may be. They are checked here before anything is sent, for all its functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from math import inf
from numbers import Integral, Real
from typing import Any, Final, NamedTuple

from ..catalog import THINK, names_several
from ..config import TEMPERATURES
from ..errors import InferenceError, describe_exception, quoted, shortened_repr, users_failures
from ..text import as_json


class Takes(NamedTuple):
    """What an argument takes: in words, as a check, and what to do about another value. Most take None as well."""

    says: str
    accepts: Callable[[Any], bool]
    remedy: str = ""
    or_none: bool = True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_series(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _is_list(value: Any) -> bool:
    # The items of a frame are the names of its columns.
    return _is_series(value) and not hasattr(value, "columns")


def _is_switch(value: Any) -> bool:
    # The truth values of NumPy are none of Python's.
    return (isinstance(value, int) and value in (0, 1)) or type(value).__name__ in ("bool", "bool_")


def _is_type(value: Any) -> bool:
    return isinstance(value, type) or hasattr(value, "__origin__")


def _number(kind: Any, low: float = -inf, high: float = inf) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high


_COLUMN: Final = Takes(
    "a column's name",
    lambda value: _is_text(value) and value != "",
    'Give it as a text, that of a column 0 as "0".',
    or_none=False,
)
_SWITCH: Final = Takes("True or False", _is_switch, or_none=False)
# Checked where it is used, with a message of its own.
_ANY: Final = Takes("anything", lambda _: True)
_MODEL: Final = Takes("the id of a model", lambda value: _is_text(value) and not names_several(value))
_MODELS: Final = Takes("the id of a model, or several", lambda value: _is_text(value) or _is_series(value))
PROMPT: Final = Takes(
    "a text",
    _is_text,
    "Write the value into a text; `as_prompt(value)` gives the text that {{ value }} has in a cell.",
    or_none=False,
)
# Where an argument of a function takes something else than that of the others.
ONE_MODEL: Final = Takes("the id of one model", _is_text, "map_prompts and evaluate take several.")
MAYBE_PROMPT: Final = PROMPT._replace(or_none=True)

TAKES: Final[Mapping[str, Takes]] = {
    **dict.fromkeys(("background", "cache", "distinct", "json", "repair"), _SWITCH),
    **dict.fromkeys(("retry_failed", "stop_when_clear", "stream"), _SWITCH),
    **dict.fromkeys(("into", "truth"), _COLUMN),
    **dict.fromkeys(("model", "models"), _MODELS),
    "concurrency": Takes("a whole number from 1 to 1,000", _number(Integral, 1, 1000)),
    "field": Takes("the name of a field", _is_text),
    "frame": _ANY,
    "images": Takes("a list of images", _is_list, "For one image: images=[image]."),
    "judge": _MODEL,
    "limit": Takes("a whole number from 0 on", _number(Integral, 0)),
    "names": Takes(
        "a dict of values by their names", lambda value: isinstance(value, Mapping) and all(map(_is_text, value))
    ),
    "prompt": PROMPT,
    "prompts": Takes(
        "a template, a list of them, or a dict of them by name",
        lambda value: isinstance(value, Mapping) or _is_text(value) or _is_series(value),
    ),
    "samples": Takes("a whole number from 1 on", _number(Integral, 1), or_none=False),
    "schema": _ANY,
    "scorer": Takes(
        "a scorer's name, or a function of an answer and the truth", lambda value: _is_text(value) or callable(value)
    ),
    "system": Takes("a text", _is_text),
    "think": Takes(f"one of {', '.join(map(repr, THINK))}", _is_text),
    "thread": Takes("a thread's name", lambda value: _is_text(value) and bool(value.strip())),
    "tools": Takes("a function, or a list of functions", lambda value: callable(value) or _is_series(value)),
}
_TOKENS: Final = Takes("a whole number above 0", _number(Integral, 1))
# Parameters of the service that options have too, with the same limits, and one that takes no type, as `schema` does.
PARAMETERS: Final[Mapping[str, Takes]] = {
    "temperature": Takes("a number from {} to {}".format(*TEMPERATURES), _number(Real, *TEMPERATURES)),
    "top_p": Takes("a number from 0 to 1", _number(Real, 0, 1)),
    "max_tokens": _TOKENS,
    "max_completion_tokens": _TOKENS,
    "response_format": Takes("a dict", lambda value: not _is_type(value), "For a type, give it as `schema`."),
    "seed": Takes("a whole number", _number(Integral)),
    "stop": Takes("a text, or a list of texts", lambda value: _is_text(value) or _is_series(value)),
}


def check_arguments(given: Mapping[str, Any], **others: Takes) -> None:
    """Raise if an argument of a function of the Python API has a value that it does not take.

    Parameters
    ----------
    given : mapping
        All of the function's arguments, by name. Its `parameters` are those of the service: `json_values` checks them.
    **others
        What an argument takes, where that differs from what it takes in the other functions.

    Raises
    ------
    InferenceError
        It names the argument, its value and what it takes.
    """
    for name, value in given.items():
        if name != "parameters":
            _check(name, value, others.get(name) or TAKES[name])


def model_list(name: str, models: str | Iterable[str] | None) -> list[str]:
    """Return the ids that an argument names.

    Raises
    ------
    InferenceError
        If one of them is no text, or several ids in one.
    """
    found = [models] if isinstance(models, str) else list(() if models is None else models)
    takes = _MODEL._replace(remedy="Give several as a list.", or_none=False)
    for one in found:
        _check(name, one, takes)
    return found


def json_values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of the service as JSON has them: numbers and arrays of NumPy, times, pydantic's models.

    Raises
    ------
    InferenceError
        If one of them is nothing that JSON has, or one that options have too and outside its limits. It names the
        parameter.
    """
    for name, value in parameters.items():
        if name in PARAMETERS:
            _check(name, value, PARAMETERS[name])
    return {name: _json_value(name, value) for name, value in parameters.items()}


def _json_value(name: str, value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=as_json))
    except users_failures() as error:
        raise InferenceError(
            f"{name} is {shortened_repr(value)}: a parameter of the service must be a value of JSON. Nothing was sent.",
            why=f"{quoted(describe_exception(error)).rstrip('.')}.",
            remedy="Give a text, a number, True, False, None, or a list or dict of these.",
        ) from None


def _check(name: str, value: Any, takes: Takes) -> None:
    if not takes.accepts(value) and not (takes.or_none and value is None):
        says = f"{takes.says}, or None" if takes.or_none else takes.says
        raise InferenceError(
            f"{name} is {shortened_repr(value)}: it must be {says}. Nothing was sent.", remedy=takes.remedy
        )
