"""A ChatSpec, and how to build one from a magic's options and text, with the notebook's values, schemas and tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ..catalog import SAMPLING, check_parameter
from ..errors import InferenceError
from ..prompts import (
    CutText,
    Image,
    TextOfImages,
    cut_values,
    read_image,
    refuse_empty,
    render,
    to_prompt,
    with_images,
    with_text_after,
)
from ..schemas import ResultText, read_schema, read_tools, schema_of
from ..text import is_blank
from .python_arguments import json_values

if TYPE_CHECKING:
    from ..arguments import ChatOptions, PromptOptions
    from ..messages import Content
    from ..schemas import Schema, Toolbox

QUESTION: Final = "Explain this error, and how to fix it."
CUT_IN_SYSTEM: Final = "A value in -s was cut. To send all of it: {{ name | whole }}."


@dataclass(frozen=True, slots=True)
class ChatSpec:
    """One prompt and how to send it.

    Attributes
    ----------
    prompt : Content
    model, system : str or None
        None to use the value of the thread or the settings.
    parameters : tuple of (name, value)
        Parameters of the service.
    think : str or None
        Whether, or how much, the model thinks: `on`, `off`, or a level such as `low`.
    thread : str or None
        The thread to continue. None for no history: none is read or written.
    new : bool
        Whether to clear the thread first.
    fork : str or None
        The thread to copy at the start.
    stream : bool
        Whether to stream the reply.
    schema : Schema or None
        What the answer must look like.
    repair : bool
        Whether to ask once more if the answer does not fit the schema.
    json : bool
        Whether the answer must be JSON. It is requested in JSON mode.
    tools : Toolbox or None
        The functions the model may call.
    notices : tuple of str
        What the user should know about the prompt.
    """

    prompt: Content
    model: str | None = None
    system: str | None = None
    parameters: tuple[tuple[str, Any], ...] = ()
    think: str | None = None
    thread: str | None = None
    new: bool = False
    fork: str | None = None
    stream: bool = True
    schema: Schema | None = None
    repair: bool = True
    json: bool = False
    tools: Toolbox | None = None
    notices: tuple[str, ...] = ()

    @property
    def adds_json_mode(self) -> bool:
        """Whether the request is sent in JSON mode. A schema, or a response format of the user's, takes its place."""
        return self.json and self.schema is None and "response_format" not in dict(self.parameters)


def build_spec(
    options: ChatOptions,
    text: str,
    names: Mapping[str, Any],
    *,
    thread: str | None,
    value_tokens: int | None,
    described_error: str = "",
) -> ChatSpec:
    """Return the ChatSpec for a magic's options and text.

    Parameters
    ----------
    options, text : ChatOptions, str
        As written in the cell.
    names : mapping
        The notebook's names.
    thread : str or None
        The thread to continue if the options do not name one. None for no history.
    value_tokens : int or None
        The approximate number of tokens to which a value in the prompt is cut; None if it is not set.
    described_error : str
        The notebook's last error, for `--error`.

    Raises
    ------
    InferenceError
        When the text or a name in the options cannot be used. Nothing has been sent.
    """
    _check_together(options)
    content: Content = text if options.raw else render(text, names, tokens=value_tokens)
    if described_error:
        content = _about_error(content, described_error)
    elif not options.image:
        refuse_empty(content)
    return replace(
        spec_from_options(options, names),
        prompt=with_images(content, [read_image(one, names) for one in options.image]),
        model=options.model[0] if options.model else None,
        thread=None if options.once else options.thread or thread,
        new=options.new,
        fork=options.fork,
        stream=not options.no_stream,
        json=options.format == "json",
        tools=read_tools(options.tools, names, show=format_result) if options.tools else None,
    )


def spec_from_options(options: PromptOptions, names: Mapping[str, Any]) -> ChatSpec:
    """Return a ChatSpec from the options that `%%wbchat`, `%%wbmap` and `%%wbeval` share: no prompt, model or thread.

    Raises
    ------
    InferenceError
        When the schema cannot be used.
    """
    parameters = [name for name, _ in options.param]
    if (twice := next((name for name in parameters if parameters.count(name) > 1), None)) is not None:
        raise InferenceError(f"--param {twice} is given twice. Nothing was sent.", remedy="Give it once.")
    # The service takes a list where an option may repeat. One that was not given is None, or an empty tuple.
    values = ((name, getattr(options, name)) for name in SAMPLING)
    given = ((name, list(value) if isinstance(value, tuple) else value) for name, value in values)
    return ChatSpec(
        prompt="",
        system=options.system,
        parameters=(*((name, value) for name, value in given if value not in (None, [])), *options.param),
        think=options.think,
        schema=read_schema(options.schema, names) if options.schema else None,
        repair=not options.no_repair,
        notices=(CUT_IN_SYSTEM,) if options.system and cut_values(options.system) else (),
    )


def format_result(value: object) -> ResultText:
    """Return a tool's result as text for the model. The message of a tool has no images."""
    shown = to_prompt(value)
    if isinstance(shown, Image):
        return ResultText("", images=1)
    images = len(shown.images) if isinstance(shown, TextOfImages) else 0
    return ResultText(shown, images=images, is_cut=isinstance(shown, CutText))


def _about_error(question: Content, described_error: str) -> Content:
    is_empty = isinstance(question, str) and is_blank(question)
    return with_text_after(QUESTION if is_empty else question, f"\n\n{described_error}")


def _check_together(options: ChatOptions) -> None:
    """Raise InferenceError for options that exclude each other."""
    if options.once and (options.thread or options.new or options.fork):
        raise cannot_combine("--once", "--thread, --new and --fork", "it neither sends nor keeps a history.")
    if options.fork and options.new:
        raise cannot_combine("--fork", "--new", "--fork already starts the thread afresh, as a copy.")


def cannot_combine(one: str, others: str, why: str) -> InferenceError:
    """Return the error for options that exclude each other."""
    return InferenceError(f"{one} cannot be combined with {others}: {why}", remedy="Leave one of them out.")


def spec_from_python(prompt: Content, *, parameters: Mapping[str, Any], schema: Any, **how: Any) -> ChatSpec:
    """Return a ChatSpec from the arguments of a function of the Python API.

    Parameters
    ----------
    prompt : Content
    parameters : mapping
        The parameters of the service. One that is None is as if it were not given.
    schema : object
        What the answer must look like, in any form; None for any answer.
    **how
        The other fields of the ChatSpec.

    Raises
    ------
    InferenceError
        For a parameter that has an argument of its own or is no JSON, and a schema that cannot be used.
    """
    for name in parameters:
        check_parameter(name, in_python=True)
    return ChatSpec(
        prompt=prompt,
        parameters=tuple(json_values({name: one for name, one in parameters.items() if one is not None}).items()),
        schema=None if schema is None else schema_of(schema),
        **how,
    )
