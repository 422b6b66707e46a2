"""The Python API, for use without a magic: `chat`, `map_prompts`, `compare_frame`, `models`, `client`.

Importing `wandb_inference_magic` imports this module, so other packages are imported inside the functions.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .config import INTO
from .errors import InferenceError, InferenceWarning, shortened
from .session import current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openai import OpenAI

    from .batch import BatchSpec, Mapped
    from .catalog import Catalog
    from .engine import ChatSpec
    from .messages import Content, Reply
    from .prompts import Image
    from .session import Command


def _command() -> Command:
    from .session import Command

    return Command(current_session())


def client() -> OpenAI:
    """Return the configured `openai.OpenAI` client that the magics use too.

    Returns
    -------
    openai.OpenAI
        Built on first use, and rebuilt after a setting it depends on has changed. Do not keep it for long.

    Raises
    ------
    InferenceError
        When there is no key and no practice model, or a setting is not usable.
    """
    return _command().users_client()


def models(*, refresh: bool = False) -> Catalog:
    """Return the catalog of the endpoint's models: its live list joined with W&B's public feed.

    Parameters
    ----------
    refresh : bool
        Whether to fetch the list again instead of using the one already fetched.

    Raises
    ------
    InferenceError
        When there is no key and no practice model, or a setting is not usable.
    """
    return current_session().models.catalog(_command(), refresh=refresh)


def chat(
    prompt: str,
    *,
    model: str | None = None,
    system: str | None = None,
    thread: str | None = None,
    stream: bool = True,
    think: str | None = None,
    images: Sequence[Any] = (),
    schema: Any = None,
    repair: bool = True,
    json: bool = False,
    tools: Iterable[Callable[..., Any]] | Callable[..., Any] = (),
    **parameters: Any,
) -> Reply:
    """Send a prompt and return the Reply. Nothing is displayed.

    Parameters
    ----------
    prompt : str
        The prompt. It is sent as it is.
    model, system : str, optional
        The model's id and the system prompt. Default to the settings.
    thread : str, optional
        The thread to continue. Without one, no history is read or written.
    stream : bool
        Whether to receive the reply while it is written. Without streaming, reasoning models can time out.
    think : str, optional
        Whether, or how much, the model should think: `on`, `off`, or a level such as `low`.
    images : sequence
        Images to send with the prompt: figures, PIL images, paths, URLs.
    schema : object, optional
        What the answer must look like: a pydantic model, a dataclass, a TypedDict, `list[...]` of these, a JSON
        schema, or fields such as `"name, age int"`. The parsed object is in the Reply's `parsed`.
    repair : bool
        Whether to request the answer once more when it does not fit the schema.
    json : bool
        Whether the answer must be JSON, of any form. Its value is in the Reply's `parsed`.
    tools : iterable of callable, or one callable
        Functions that the model may call.
    **parameters
        Parameters of the service, such as `temperature=0.2`, `max_tokens=100` or `top_k=20`.

    Returns
    -------
    Reply

    Raises
    ------
    InferenceError
        For any failure, with its cause and what to do next.
    """
    from .engine import format_result, run_chat
    from .prompts import with_images
    from .schemas import toolbox_of

    functions = [tools] if callable(tools) else list(tools)
    spec = _chat_spec(
        with_images(prompt, [_image(one) for one in images]),
        model=model,
        system=system,
        parameters=parameters,
        think=think,
        thread=thread,
        stream=stream,
        schema=schema,
        repair=repair,
        json=json,
        tools=toolbox_of(functions, show=format_result) if functions else None,
    )
    return run_chat(_command(), spec)


def map_prompts(
    frame: Any,
    prompt: str,
    *,
    model: str | Sequence[str] | None = None,
    system: str | None = None,
    into: str = INTO,
    schema: Any = None,
    repair: bool = True,
    think: str | None = None,
    concurrency: int | None = None,
    limit: int | None = None,
    cache: bool = True,
    retry_failed: bool = False,
    distinct: bool = False,
    names: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Any:
    """Send one prompt per row of a frame, many at once, and return the frame with the answers.

    Parameters
    ----------
    frame : object
        A DataFrame or Series of pandas, polars, pyarrow or anything narwhals reads; a Dask DataFrame, which stays lazy;
        or an iterable of texts (available as `text`) or of dicts.
    prompt : str
        A Jinja2 template. Names are looked up in the row's columns, then in `names`; `row` is the whole row.
    model : str or sequence of str, optional
        The model or models. With several, the answers of each model are in separate columns.
    system : str, optional
        The system prompt.
    into : str
        The column for the answers. `<into>_error` says why a row has none; it exists only if a row failed.
    schema : object, optional
        What each answer must look like, as for `chat`; each field becomes a column.
    repair : bool
        Whether to request an answer once more when it does not fit the schema.
    think : str, optional
        Whether, or how much, the model should think.
    concurrency : int, optional
        The most requests in flight at once, lowered when the service reports too many. Defaults to 16; for the practice
        model, to the number of requests that it answers at once.
    limit : int, optional
        Use only this many rows, from the first.
    cache : bool
        Whether to use answers kept on disk, and to keep the new ones there.
    retry_failed : bool
        Whether to send the prompts again for rows that failed permanently before.
    distinct : bool
        Whether to send each different prompt once, and share the answer among equal rows. Otherwise each row is asked
        by itself.
    names : mapping, optional
        Further names for the template, besides the row's columns.
    **parameters
        Parameters of the service, such as `temperature=0` or `max_tokens=5`.

    Returns
    -------
    object
        The same kind of frame. For an iterable, a pandas DataFrame, or a list of dicts without pandas.

    Raises
    ------
    InferenceError
        When no request can be made, or when the run stops early: the error of one row applies to all rows, or too many
        rows in a row fail. Then its `partial` is the frame with the answers so far.
    KeyboardInterrupt
        When it is interrupted; it has a `partial` too. With `cache`, the answers received are kept on disk, unless a
        cassette is in use.

    Warns
    -----
    InferenceWarning
        About what is unusual in the result, for example that answers could not be kept on disk.
    """
    from .batch import check_count, is_dask, map_lazily, read_rows, run_map

    _check_type("into", into, str, "a column's name", lambda name: name != "")

    command = _command()
    spec = _batch_spec(
        command,
        prompt,
        names=names,
        concurrency=concurrency,
        retry_failed=retry_failed,
        distinct=distinct,
        system=system,
        think=think,
        parameters=parameters,
        schema=schema,
        repair=repair,
    )
    models = _models(model)
    check_count("limit", limit, 0)
    if is_dask(frame):
        return map_lazily(command, frame, spec, models=models, into=into, limit=limit, use_cache=cache)
    mapped = run_map(command, read_rows(frame, limit), spec, models=models, into=into, use_cache=cache, warn=_warn)
    return _whole(mapped).frame


def compare_frame(
    frame: Any,
    prompt: str,
    *,
    models: Sequence[str],
    truth: str | None = None,
    field: str | None = None,
    schema: Any = None,
    repair: bool = True,
    system: str | None = None,
    think: str | None = None,
    concurrency: int | None = None,
    limit: int | None = None,
    cache: bool = True,
    names: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Any:
    """Send the same prompts to several models and compare them, to choose one for a labelling job.

    Parameters
    ----------
    frame, prompt, schema, repair, system, think, concurrency, limit, cache, names, **parameters
        As for `map_prompts`.
    models : sequence of str
    truth : str, optional
        The column with the right answers. Without one, the models are compared with each other.
    field : str, optional
        The field of the schema to compare. Defaults to the field with the same name as `truth`, else to all fields.

    Returns
    -------
    pandas.DataFrame
        One row per model: `rows`, `failed`, `from_cache`, `seconds_median` and `seconds_p95` per row, tokens,
        `cost_usd` (without the answers kept from before) and the cost per 1,000 rows, and `agreement` from 0 to 1: the
        share of rows answered as in `truth`, or the mean share of rows answered as another model did. Rows without an
        answer (`failed`) or without a value in `truth` (`no_truth`) are left out of it; `compared` is the number of
        comparisons. Values are compared by what they mean: 1 and 1.0, dates and ISO texts, 0, 1, "yes" and "no" where
        the schema says bool, lists and objects part by part, texts without regard to case.

    Raises
    ------
    InferenceError
        As for `map_prompts`, and for a column or field that does not exist.
    """
    from .batch import check_count, evaluation, read_rows, run_map

    models = _models(models)
    check_count("limit", limit, 0)
    rows = read_rows(frame, limit)
    command = _command()
    spec = _batch_spec(
        command,
        prompt,
        names=names,
        concurrency=concurrency,
        system=system,
        think=think,
        parameters=parameters,
        schema=schema,
        repair=repair,
    )
    evaluation.check(rows, spec.chat.schema, truth=truth, field=field)
    mapped = _whole(run_map(command, rows, spec, models=models, use_cache=cache, warn=_warn, report_columns=False))
    return evaluation.evaluated(mapped, rows, spec.chat.schema, truth=truth, field=field)


def _batch_spec(
    command: Command,
    prompt: str,
    *,
    names: Mapping[str, Any] | None,
    concurrency: int | None,
    retry_failed: bool = False,
    distinct: bool = False,
    **how: Any,
) -> BatchSpec:
    from .batch import BatchSpec

    _check_type("prompt", prompt, str, "a text")
    if names is not None:
        _check_type("names", names, Mapping, "a dict of names")
    return BatchSpec(
        text=prompt,
        chat=_chat_spec("", stream=False, **how),
        names=names or {},
        value_tokens=command.settings.value_tokens,
        concurrency=concurrency,
        retry_failed=retry_failed,
        distinct=distinct,
    )


def _models(model: str | Iterable[str] | None) -> list[str]:
    models = [model] if isinstance(model, str) else model or ()
    _check_type("model", models, Iterable, "the id of a model, or several")
    for one in (models := list(models)):
        _check_type("model", one, str, "the id of a model, or several")
    return models


def _check_type(name: str, value: Any, kind: type, says: str, check: Callable[[Any], bool] = lambda _: True) -> None:
    if not isinstance(value, kind) or not check(value):
        raise InferenceError(
            f"{name} is {shortened(repr(value))}: it must be {says}. Nothing was sent.", cause="option"
        )


def _warn(notice: str) -> None:
    """Give a notice as a warning at the line of the user's code."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
        level, frame = level + 1, frame.f_back
    warnings.warn(notice, InferenceWarning, stacklevel=level)


def _whole(mapped: Mapped) -> Mapped:
    """Return a complete result, with its notices as warnings. Raise the error that ended an incomplete one."""
    for notice in mapped.notices:
        if notice not in mapped.notices_before:
            _warn(notice)
    mapped.raise_if_incomplete("`partial` of this error")
    return mapped


def _chat_spec(prompt: Content, *, parameters: Mapping[str, Any], schema: Any, **how: Any) -> ChatSpec:
    from .catalog import SAMPLING, check_parameter
    from .engine import ChatSpec
    from .schemas import schema_of

    for name in parameters:
        check_parameter(name, in_python=True)
    # NumPy numbers are not JSON.
    parameters = {name: one.tolist() if hasattr(one, "tolist") else one for name, one in parameters.items()}
    return ChatSpec(
        prompt=prompt,
        parameters=tuple((name, value) for name, value in parameters.items() if name in SAMPLING),
        extra=tuple((name, value) for name, value in parameters.items() if name not in SAMPLING),
        schema=None if schema is None else schema_of(schema),
        **{"thread": None, **how},
    )


def _image(value: Any) -> Image:
    from .prompts import image_of, no_image_file

    if (image := image_of(value)) is not None:
        return image
    if isinstance(value, str) and (problem := no_image_file(value)) is not None:
        raise problem
    raise InferenceError(
        f"A value of type {type(value).__name__} is not an image.",
        remedy="Give a figure, a PIL image, the path of an image file, or an address.",
        cause="option",
    )
