"""The service's parameters that have their own option, and those that a prompt cannot set, on a line or from Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import InferenceError, did_you_mean

# Parameters that have their own option in the magics. All other parameters go unchanged into a request's body.
SAMPLING: Final = {
    "temperature": "-t",
    "max_tokens": "--max-tokens",
    "top_p": "--top-p",
    "seed": "--seed",
    "stop": "--stop",
}


# Where a parameter is set instead: on a magic's line, and in Python. Empty where it is an ordinary parameter.
_ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: (f"Use {flag}.", "") for name, flag in SAMPLING.items()},
    "model": ("Use -m.", "Give `models`, a list of ids."),
    "models": ("Use -m, twice or more.", "Give `model`; map_prompts takes a list of ids there."),
    "messages": (
        "They come from the prompt and the thread.",
        "They come from the prompt, `system` and, in a chat, the `thread`.",
    ),
    "stream": ("Use --no-stream to get the reply in one piece.", "Only a chat's reply is streamed."),
    "thread": ("Use --thread.", "Rows have no history: only a chat continues a thread."),
    "images": ("Use --image.", "Put them into the prompt, as values of its template."),
    "tools": ("", "Only a chat has tools."),
    "json": ("", "Only a chat takes it: give a `schema`, or response_format={'type': 'json_object'}."),
    "response_model": ("Use --schema.", "Give `schema`."),
    "publish": ("", "Call to_weave(...) of the Evaluation."),
    "output": ("", "The result is what the function returns."),
    "bg": ("", "Use background=True of map_prompts or evaluate."),
    "no_cache": ("", "Use cache=False of map_prompts or evaluate."),
    "no_repair": ("", "Use repair=False."),
    "no_stream": ("", "Use stream=False of chat."),
    "once": ("", "A chat without `thread` has no history."),
    "param": ("", "Give each parameter by its own name: top_k=20."),
    "image": ("", "Use `images` of chat; in a map, put them into the prompt, as values of its template."),
    "dry_run": ("", "%%wbmap and %%wbeval have it: --dry-run."),
    "models_like": ("", "Call the function for each id: models() has them."),
    "new": ("", "Give another `thread`, or clear it: %wbthread NAME --clear."),
    "fork": ("", "%%wbchat has it: --fork."),
    "error": ("", "Put the exception into the prompt."),
    "code": ("", "Take the `code_blocks` of the Reply."),
    "format": ("", "Take the `text` of the Reply; for JSON, give json=True or a `schema`."),
    "quiet": ("", "Nothing is shown: the result is what the function returns."),
    "raw": ("", "A chat's prompt is sent as typed. In a template, write {% raw %}...{% endraw %} around braces."),
    "stream_options": ("They are always sent with a streamed request.",) * 2,
    "n": ("One reply is shown; run the cell again for another.", "Call the function again for another reply."),
    **dict.fromkeys(
        ("extra_headers", "headers"),
        (
            "Headers belong to the client, not to a cell.",
            "Headers belong to the client: client().with_options(default_headers=...).",
        ),
    ),
    "extra_body": (
        "Give each field of the body as a --param of its own.",
        "Give each field of the body by its own name: top_k=20.",
    ),
    **dict.fromkeys(
        ("extra_query", "base_url", "api_base", "endpoint"),
        ("The endpoint's address is set with %wbconfig --endpoint.",) * 2,
    ),
    "timeout": ("Use %wbconfig --timeout.",) * 2,
    "budget": ("Use %wbconfig --budget.",) * 2,
    "project": ("Use %wbconfig --project.",) * 2,
    # Settings whose names no service has for a parameter.
    **{
        name: (f"It is a setting: %config WandbInference.{name} = ...",) * 2
        for name in (
            *("max_retries", "budget_file", "cassette", "cassette_mode", "cassette_pace", "trace", "allow_images_from"),
            *("value_tokens", "cache_mb", "cache_days", "weights"),
        )
    },
    **dict.fromkeys(
        ("api_key", "apikey", "key", "token", "access_token", "authorization", "password", "wandb_api_key"),
        (
            "No key is accepted in a cell: run %wbconfig --key, which asks for it without showing it.",
            "No key is accepted in a cell: run %wbconfig --key, which asks for it without showing it, or set the "
            "environment variable WANDB_INFERENCE_API_KEY.",
        ),
    ),
}


# Arguments that the service does not know, and the functions that have them. One that another function has, or that is
# misspelt, would be sent to the service.
_ALL: Final = ("chat", "map_prompts", "evaluate")
_OF_ROWS: Final = ("map_prompts", "evaluate")
ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("prompt", "system", "think", "schema", "repair"), _ALL),
    **dict.fromkeys(("frame", "concurrency", "limit", "cache", "background", "names", "retry_failed"), _OF_ROWS),
    **dict.fromkeys(("thread", "stream", "images", "json", "tools"), ("chat",)),
    **dict.fromkeys(("into", "distinct"), ("map_prompts",)),
    **dict.fromkeys(
        ("models", "prompts", "truth", "field", "samples", "scorer", "judge", "stop_when_clear"), ("evaluate",)
    ),
    "model": ("chat", "map_prompts"),
}
# Servers have parameters that are spelt nearly as some of these (`samplers`); `models` is near where `model` is.
_NOT_MISSPELT: Final = ("models", "samples", "stop_when_clear", *SAMPLING)


def check_parameter(name: str, *, in_python: bool = False) -> None:
    """Raise an error for a parameter that is set elsewhere, or is probably a misspelt argument.

    Raises
    ------
    InferenceError
        The error says where it is set, or what was probably meant.
    """
    on_line, in_code = _ELSEWHERE.get(name, ("", ""))
    if in_python and not in_code and name in ARGUMENTS:
        in_code = f"It is an argument of {' and '.join(ARGUMENTS[name])}."
    if remedy := in_code if in_python else on_line:
        where = "as a parameter of the service" if in_python else "with --param"
        raise InferenceError(f"{name} is not set {where}. Nothing was sent.", remedy=remedy)
    known = [one for one in ARGUMENTS if one not in _NOT_MISSPELT]
    if in_python and name not in SAMPLING and (near := did_you_mean(name, known, least=0.8)):
        raise InferenceError(f"There is no argument {name}. Nothing was sent.", remedy=near)
    # Services ignore what they do not know: the reply would be as without it.
    if name not in SAMPLING and (near := did_you_mean(name, SAMPLING, least=0.9)):
        raise InferenceError(f"There is no parameter {name}. Nothing was sent.", remedy=near)
