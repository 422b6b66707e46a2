"""The options of every magic, each declared once. The help and the README's reference are generated from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..catalog import THINK
from ..config import MODES, PACES, TEMPERATURES
from .line import option
from .option_values import (
    ENDPOINT,
    FILE,
    MODEL,
    PROJECT,
    THREAD,
    TIMEOUT,
    TRACE,
    USD,
    choice,
    integer,
    number,
    parameter,
    text,
    variable,
)


@dataclass(frozen=True, slots=True)
class AskOptions:
    """Options that %%wbchat and %%wbmap share."""

    model: tuple[str, ...] = option(
        "-m",
        "--model",
        value=MODEL,
        repeats=True,
        help="The model to ask, for this cell. Several: their answers side by side; a chat's stay outside the thread.",
    )
    system: str | None = option(
        "-s",
        "--system",
        value=text("TEXT", "a text in quotes"),
        help="The system prompt: who the model should be.",
    )
    temperature: float | None = option(
        "-t", "--temperature", value=number(*TEMPERATURES), help="0 for the likeliest words, higher for more variety."
    )
    max_tokens: int | None = option(
        "--max-tokens", value=integer(1, "a whole number above 0"), help="The most tokens the reply may have."
    )
    top_p: float | None = option("--top-p", value=number(0, 1), help="Sample from the likeliest words only.")
    seed: int | None = option(
        "--seed",
        value=integer(-(2**63), "a whole number"),
        help="Ask for the same reply each time, as far as the model can.",
    )
    stop: tuple[str, ...] = option(
        "--stop",
        value=text("TEXT", "a text in quotes"),
        repeats=True,
        help="End the reply before this text. May repeat.",
    )
    param: tuple[tuple[str, Any], ...] = option(
        "--param", value=parameter(), repeats=True, help="Any other parameter of the service. May repeat."
    )
    think: str | None = option(
        "--think",
        value=choice(*THINK),
        help="Whether, or how hard, the model thinks before it answers; refused where it is known not to.",
    )
    schema: str | None = option(
        "--schema",
        value=text("NAME", 'a type of the notebook, or fields such as "name, age int, tags list"', completes="type"),
        help="What the answer must look like: a pydantic model, a dataclass, a TypedDict, a JSON schema, list[...] of "
        'these, or fields such as "name, age int, tags list". The object is in `.parsed` of the Reply; '
        "over rows, each field becomes a column.",
    )
    no_repair: bool = option("--no-repair", help="Do not ask once more for an answer that does not fit the schema.")
    raw: bool = option("--raw", help="Send the prompt as typed: `{{ }}` means nothing.")


@dataclass(frozen=True, slots=True)
class ChatOptions(AskOptions):
    """Options of %%wbchat and %wbchat."""

    models_like: str | None = option(
        "--models-like",
        value=text("TEXT", "a text that the models' names and facts hold"),
        help="Ask all models that %wbmodels TEXT lists, side by side.",
    )
    thread: str | None = option(
        "--thread", value=THREAD, help="The thread to continue; the current one (`main`, or as %wbthread says) if none."
    )
    new: bool = option("--new", help="Clear the thread first.")
    fork: str | None = option("--fork", value=THREAD, help="Start the thread as a copy of this one.")
    once: bool = option("--once", help="No history: neither read nor written.")
    image: tuple[str, ...] = option(
        "--image",
        value=text("EXPR", "a figure or image of the notebook, or an image file's path", completes="value"),
        repeats=True,
        help="Send this image along: a matplotlib figure, a PIL image, a path or an address. May repeat.",
    )
    dry_run: bool = option("--dry-run", help="Show exactly what would be sent, with tokens and cost; send nothing.")
    error: bool = option("--error", help="Send the notebook's last error along: the failing cell and its traceback.")
    tools: str | None = option(
        "--tools",
        value=text("A,B", "names of functions, with commas between", completes="callable"),
        help="Functions of the notebook that the model may call; no others are ever run.",
    )
    code: str | None = option(
        "--code",
        value=choice("first", "all"),
        alone="first",
        help="Put the reply's first code block into the next cell, or all of them, a cell each. Never run.",
    )
    output: str | None = option("-o", "--output", value=variable(), help="Put the Reply into this variable.")
    no_stream: bool = option("--no-stream", help="Wait for the whole reply instead of showing it as it comes.")
    format: str | None = option(
        "--format",
        value=choice("markdown", "text", "json", "html"),
        help="How the reply is shown: rendered Markdown (the default), the text as it came, "
        "pretty-printed JSON (read into `.parsed`), or static HTML.",
    )
    quiet: bool = option("--quiet", help="Show nothing; the Reply is in _wbreply, or where -o puts it.")


@dataclass(frozen=True, slots=True)
class ThreadOptions:
    """Options of %wbthread."""

    show: bool = option("--show", help="Show the whole conversation, rendered.")
    undo: bool = option("--undo", help="Take the last turn back.")
    clear: bool = option("--clear", help="Take all turns away; the name stays.")
    delete: bool = option("--delete", help="Delete the thread.")
    export: str | None = option(
        "--export",
        value=FILE,
        help="Write it to a file: .md or .html to read and share, .json in the form of OpenAI messages.",
    )
    import_: str | None = option("--import", value=FILE, help="Read it from a .json file of OpenAI messages.")


@dataclass(frozen=True, slots=True)
class ModelsOptions:
    """Options of %wbmodels."""

    table: bool = option("--table", help="A static table instead of the picker.")
    refresh: bool = option("--refresh", help="Ask the service again instead of using the list already fetched.")
    use: str | None = option("--use", value=MODEL, help="Choose this model, by its id or its number in the table.")
    output: str | None = option(
        "-o", "--output", value=variable(), help="Put the list into this variable, as a DataFrame."
    )


@dataclass(frozen=True, slots=True)
class MapOptions(AskOptions):
    """Options of %%wbmap."""

    output: str | None = option(
        "-o", "--output", value=variable(), help="Put the frame with the answers into this variable (`_wbmap` if none)."
    )
    into: str | None = option(
        "--into",
        value=text("COLUMN", "a column's name"),
        help="The column of the answers (`reply` if none); why a row has none is in COLUMN_error.",
    )
    concurrency: int | None = option(
        "--concurrency",
        value=integer(1, "a whole number from 1 to 1000", 1000),
        help="How many requests may be in flight at once (16 if none, 2 on the practice model); fewer when the service "
        "says it is too many.",
    )
    limit: int | None = option(
        "--limit", value=integer(1, "a whole number above 0"), help="The first N rows alone, to try the prompt."
    )
    retry_failed: bool = option("--retry-failed", help="Ask again for rows that failed for good before.")
    no_cache: bool = option("--no-cache", help="Neither use answers that were kept on disk nor keep these.")


@dataclass(frozen=True, slots=True)
class UsageOptions:
    """Options of %wbusage."""

    output: str | None = option(
        "-o", "--output", value=variable(), help="Put the figures into this variable, as a DataFrame; show nothing."
    )
    reset: bool = option("--reset", help="Start counting again from zero, after showing the count so far.")


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """Options of %wbconfig."""

    key: bool = option("--key", help="Ask for the key, without showing it. Kept for this session only.")
    project: str | None = option("--project", value=PROJECT, help="The W&B project that the usage is counted for.")
    model: str | None = option("-m", "--model", value=MODEL, help="The model for the next chats.")
    endpoint: str | None = option(
        "--endpoint",
        value=ENDPOINT,
        help="The service spoken to.",
    )
    timeout: float | None = option(
        "--timeout", value=TIMEOUT, help="How long to wait for the service to say something."
    )
    budget: float | None = option(
        "--budget",
        value=USD,
        help="Send nothing that could make all calls together cost more than this.",
    )
    budget_file: str | None = option(
        "--budget-file", value=FILE, help="Share the budget with all kernels of this machine that name the same file."
    )
    cassette: str | None = option(
        "--cassette", value=FILE, help="Record exchanges in this file, or replay them from it."
    )
    cassette_mode: str | None = option(
        "--mode",
        value=choice(*MODES),
        help="What the cassette is for: record begins it anew, replay answers from it alone, without network or key; "
        "auto (if none is said) answers from it what it holds and records the rest.",
    )
    cassette_pace: str | None = option(
        "--pace", value=choice(*PACES), help="Replay replies as fast as they once came (recorded), or at-once."
    )
    trace: str | None = option(
        "--trace",
        value=TRACE,
        help="Trace each call in this W&B Weave project (needs the extra `weave`), or off.",
    )
    check: bool = option("--check", help="Call the service and say what works: key, project, models, a tiny reply.")
    reset: bool = option("--reset", help="Forget what was set in this session, the key included.")
