"""The Python API, for use without a magic: `chat`, `map_prompts`, `evaluate`, `models`, `client`.

Importing `wandb_inference_magic` imports this module, so other packages are imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from threading import main_thread
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from .config import INTO
from .errors import InferenceError, Interrupted
from .imports import LazyModule
from .libraries import unexpected_failure
from .session import current_session

if TYPE_CHECKING:
    import openai

    from .batch import BatchSpec

    # The modules themselves: of a package, a strict type checker takes only what it defines.
    from .catalog import models as catalog
    from .evaluation import result as evaluation
    from .jobs import job as jobs
    from .messages import reply as messages
    from .session import Command
else:
    # In the annotations of the public functions, which other libraries evaluate.
    openai = LazyModule("openai")
    catalog, evaluation, jobs, messages = (
        LazyModule(f"{__package__}.{name}") for name in ("catalog", "evaluation", "jobs", "messages")
    )

P = ParamSpec("P")
T = TypeVar("T")


def _command() -> Command:
    from .session import Command

    return Command(current_session())


def _entry(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function begin as each command does, and show an interrupt as a magic does, without a traceback."""

    @wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            current_session().await_imports()
            return function(*arguments, **options)
        except InferenceError:
            raise
        except KeyboardInterrupt as interrupt:
            if not main_thread().is_alive():
                # The end of the program has ended this, in a daemon thread. A traceback that is being written while the
                # interpreter ends can abort the process; for this exception, threads write none.
                raise SystemExit from None
            if isinstance(interrupt, Interrupted):
                raise
            raise Interrupted from None
        except Exception as failure:
            if (described := unexpected_failure(failure)) is None:
                raise
            raise described from failure

    return run


@_entry
def client() -> openai.OpenAI:
    """Return the configured `openai.OpenAI` client that the magics use too.

    Returns
    -------
    openai.OpenAI
        Built on first use, and rebuilt after a setting it depends on has changed. One that you keep goes on with its
        endpoint and key; the budget and the cassette are those of the moment of each call.

    Raises
    ------
    InferenceError
        When there is no key and no practice model, or a setting is not usable.
    """
    return _command().users_client()


@_entry
def models(*, refresh: bool = False) -> catalog.Catalog:
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


@_entry
def chat(
    prompt: str,
    *,
    model: str | None = None,
    system: str | None = None,
    thread: str | None = None,
    stream: bool = True,
    think: str | None = None,
    images: Sequence[Any] | None = None,
    schema: Any = None,
    repair: bool = True,
    json: bool = False,
    tools: Iterable[Callable[..., Any]] | Callable[..., Any] | None = None,
    **parameters: Any,
) -> messages.Reply:
    """Send a prompt and return the Reply. Nothing is displayed.

    Parameters
    ----------
    prompt : str
        The prompt. It is sent as it is: it is not a template.
    model, system : str, optional
        The model's id and the system prompt, which is sent as it is. Default to the settings.
    thread : str, optional
        The thread to continue; a cell that is run again replaces its turns. Without one, no history is read or written.
    stream : bool
        Whether to receive the reply while it is written. Without streaming, reasoning models can time out.
    think : str, optional
        Whether, or how much, the model should think: `on`, `off`, or a level such as `low`.
    images : sequence, optional
        Images to send with the prompt: figures, PIL images, paths, URLs.
    schema : object, optional
        What the answer must look like: a pydantic model, a dataclass, a TypedDict, `list[...]` of these, a JSON
        schema, or fields such as `"name, age int"`. The parsed object is in the Reply's `parsed`.
    repair : bool
        Whether to request the answer once more when it does not fit the schema.
    json : bool
        Whether the answer must be JSON, of any form. Its value is in the Reply's `parsed`.
    tools : iterable of callable, or one callable, optional
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
    given = dict(locals())
    from .engine import ONE_MODEL, check_arguments, format_result, run_chat, spec_from_python
    from .prompts import prompt_with
    from .schemas import toolbox_of
    from .text import composed

    check_arguments(given, model=ONE_MODEL)
    functions = [tools] if callable(tools) else list(() if tools is None else tools)
    spec = spec_from_python(
        prompt_with(prompt, () if images is None else images),
        model=model,
        system=system,
        parameters=parameters,
        think=think,
        thread=thread and composed(thread),
        stream=stream,
        schema=schema,
        repair=repair,
        json=json,
        tools=toolbox_of(functions, show=format_result) if functions else None,
    )
    return run_chat(command := _command(), spec, origin=command.session.origin())


@overload
def map_prompts(frame: Any, prompt: str, *, background: Literal[True], **options: Any) -> jobs.Job: ...
@overload
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
    background: bool = False,
    names: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Any: ...
@_entry
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
    background: bool = False,
    names: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Any:
    """Send one prompt per row of a frame, many at once, and return the frame with the answers.

    Parameters
    ----------
    frame : object
        A DataFrame or Series of pandas, polars, pyarrow or anything narwhals reads; a Dask DataFrame, which stays lazy;
        or an iterable of texts (available as `text`), of dicts or of records: dataclasses, models, named tuples, rows
        of a database cursor. The items of other tuples are `row[0]`, `row[1]`.
    prompt : str
        A Jinja2 template. Names are looked up in the row's columns, then in `names`; `row` is the whole row.
    model : str or sequence of str, optional
        The model or models. With several, the answers of each model are in separate columns.
    system : str, optional
        The system prompt. It is not a template: it is sent as it is, the same for all rows.
    into : str
        The column for the answers. `<into>_error` says why a row has none, and `<into>_text` has what the model wrote
        in place of one; each exists only if there is such a row.
    schema : object, optional
        What each answer must look like, as for `chat`; each field becomes a column.
    repair : bool
        Whether to request an answer once more when it does not fit the schema.
    think : str, optional
        Whether, or how much, the model should think.
    concurrency : int, optional
        The maximum number of requests in flight to each model, lowered when the service reports too many. Defaults to
        16; for the practice model, to the number of requests that it answers at once.
    limit : int, optional
        Use only this many rows, from the first.
    cache : bool
        Whether to use answers kept on disk, and to keep the new ones there.
    retry_failed : bool
        Whether to send the prompts again for rows that failed permanently before.
    distinct : bool
        Whether to send each different prompt once, and share the answer among equal rows. Otherwise each row is asked
        by itself.
    background : bool
        Whether to return a Job at once, which runs in the background. In a script, and wherever no interactive front
        end is attached, it has ended when it is returned.
    names : mapping, optional
        Further names for the template, besides the row's columns.
    **parameters
        Parameters of the service, such as `temperature=0` or `max_tokens=500`.

    Returns
    -------
    object
        The same kind of frame. For an iterable, a pandas DataFrame, or a list of dicts without pandas. With
        `background`, a Job.

    Raises
    ------
    InferenceError
        When no request can be made, or when the run stops early: the error of one row applies to all rows, or too many
        consecutive rows fail. Then its `partial` is the frame with the answers so far.
    KeyboardInterrupt
        When it is interrupted; it has a `partial` too. With `cache`, the answers received are kept on disk, unless a
        cassette is in use.

    Warns
    -----
    InferenceWarning
        About what is unusual in the result, for example that answers could not be kept on disk.
    """
    given = dict(locals())
    from .batch import PreparedMap
    from .engine import check_arguments, model_list
    from .frames import read_rows
    from .jobs import begun, check_rows, dask_job, is_dask, map_lazily, run_or_start

    check_arguments(given)
    command = _command()
    spec = _batch_spec(command, prompt, given)
    models = model_list("model", model)
    if is_dask(frame):
        lazy = map_lazily(command, frame, spec, models=models, into=into, limit=limit)
        return begun(command, dask_job(command, "map_prompts", lazy)) if background else lazy
    rows = read_rows(frame, limit, copy=background)
    if background:
        check_rows(rows)
    prepared = PreparedMap(command, rows, spec, models=models, into=into)
    return run_or_start(command, "map_prompts", prepared, background=background)


@overload
def evaluate(frame: Any, prompt: str | None, *, background: Literal[True], truth: str, **options: Any) -> jobs.Job: ...
@overload
def evaluate(
    frame: Any,
    prompt: str | None,
    *,
    truth: str,
    models: str | Sequence[str] | None = None,
    prompts: Mapping[str, str] | Sequence[str] | str | None = None,
    schema: Any = None,
    field: str | None = None,
    samples: int = 1,
    scorer: str | Callable[[Any, Any], Any] | None = None,
    judge: str | None = None,
    stop_when_clear: bool = False,
    repair: bool = True,
    system: str | None = None,
    think: str | None = None,
    concurrency: int | None = None,
    limit: int | None = None,
    cache: bool = True,
    retry_failed: bool = False,
    background: Literal[False] = False,
    names: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> evaluation.Evaluation: ...
@overload
def evaluate(
    frame: Any, prompt: str | None, *, background: bool, truth: str, **options: Any
) -> evaluation.Evaluation | jobs.Job: ...
@_entry
def evaluate(
    frame: Any,
    prompt: str | None,
    *,
    truth: str,
    models: str | Sequence[str] | None = None,
    prompts: Mapping[str, str] | Sequence[str] | str | None = None,
    schema: Any = None,
    field: str | None = None,
    samples: int = 1,
    scorer: str | Callable[[Any, Any], Any] | None = None,
    judge: str | None = None,
    stop_when_clear: bool = False,
    repair: bool = True,
    system: str | None = None,
    think: str | None = None,
    concurrency: int | None = None,
    limit: int | None = None,
    cache: bool = True,
    retry_failed: bool = False,
    background: bool = False,
    names: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> evaluation.Evaluation | jobs.Job:
    """Test models and prompts on rows with known answers, and say whether their difference is real.

    The candidates are all models with all prompts.

    Parameters
    ----------
    frame, schema, repair, system, think, concurrency, limit, cache, retry_failed, background, names, **parameters
        As for `map_prompts`.
    prompt : str or None
        A Jinja2 template, as for `map_prompts`. With None, only the `prompts` are compared.
    truth : str
        The column with the right answers. Rows without one are left out, unless there is a `judge`.
    models : str or sequence of str, optional
    prompts : mapping of str, or sequence of str, optional
        Further templates, by name or in order.
    field : str, optional
        The field of the schema to compare. Defaults to the field with the same name as `truth`, else to all fields.
    samples : int
        How often each row is asked. A row stays one observation.
    scorer : str or callable, optional
        `equal` (the default: by meaning), `exact` (case and spaces count), `precision`, `recall` or `f1` of
        lists and sets, `error` of numbers, or a function of an answer and the truth that returns a number from 0 to 1.
    judge : str, optional
        A model that says which answer is better, asked in both orders; the comparisons are based on it. Rows without
        truth are asked too; on those with one, its agreement with the truth is reported.
    stop_when_clear : bool
        Whether to ask the rows in random order, and to stop when the comparison is decided.

    Returns
    -------
    Evaluation or Job
        With `summary`, `comparisons`, `rows` and `disagreements`; it shows itself. `review()` corrects the truth by
        hand, `reviewed()` scores with it, `to_weave()` publishes it. With `background`, a Job.

    Raises
    ------
    InferenceError
        As for `map_prompts`, with the Evaluation so far as its `partial`; and for a column or field that does not
        exist.

    Warns
    -----
    InferenceWarning
        As for `map_prompts`, and for example that the judge or a scorer failed.
    """
    given = dict(locals())
    from .engine import MAYBE_PROMPT, check_arguments, model_list
    from .evaluation import EvaluationSpec, PreparedEvaluation, named_prompts, scorer_of
    from .frames import read_rows
    from .jobs import run_or_start

    check_arguments(given, prompt=MAYBE_PROMPT)
    command, texts = _command(), named_prompts(prompt, () if prompts is None else prompts)
    spec = EvaluationSpec(
        {name: _batch_spec(command, text, given) for name, text in texts.items()},
        command.model_ids(model_list("models", models)),
        truth,
        field,
        int(samples),
        scorer_of(scorer),
        stop_when_clear,
        judge,
    )
    prepared = PreparedEvaluation(command, read_rows(frame, limit, copy=background), spec)
    return run_or_start(command, "evaluate", prepared, background=background)


def _batch_spec(command: Command, prompt: str, given: Mapping[str, Any]) -> BatchSpec:
    """Return what is asked about every row. `given` has the arguments of `map_prompts` or `evaluate`, by name."""
    from .batch import BatchSpec
    from .engine import spec_from_python

    how = {name: given[name] for name in ("system", "think", "parameters", "schema", "repair")}
    return BatchSpec(
        text=prompt,
        chat=spec_from_python("", stream=False, **how),
        names=given["names"] or {},
        value_tokens=command.settings.value_tokens,
        concurrency=given["concurrency"],
        use_cache=given["cache"],
        retry_failed=given["retry_failed"],
        distinct=given.get("distinct", False),
    )
