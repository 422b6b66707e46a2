"""The options of every magic, each declared once. The help and the README's reference are generated from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..catalog import SORTS, THINK
from ..config import MODES, PACES, TEMPERATURES
from .line import option
from .option_values import (
    COUNT,
    ENDPOINT,
    FILE,
    MODEL,
    PARAMETER,
    PROJECT,
    TEXT,
    THREAD,
    TIMEOUT,
    TOKENS,
    TRACE,
    USD,
    VARIABLE,
    choice,
    integer,
    number,
    text,
)


@dataclass(frozen=True, slots=True)
class AskOptions:
    """Options that %%wbchat and %%wbmap share."""

    model: tuple[str, ...] = option(
        "The model to ask, for this cell. Several: their answers side by side; a chat's stay outside the thread. "
        "May repeat.",
        MODEL,
        short="-m",
        repeats=True,
    )
    system: str | None = option("The system prompt: who the model should be.", TEXT, short="-s")
    temperature: float | None = option(
        "0 for the likeliest words, higher for more variety.", number(*TEMPERATURES), short="-t"
    )
    max_tokens: int | None = option("The most tokens the reply may have.", COUNT)
    top_p: float | None = option("Sample from the likeliest words only.", number(0, 1))
    seed: int | None = option(
        "Ask for the same reply each time, as far as the model can.", integer(-(2**63), "a whole number")
    )
    stop: tuple[str, ...] = option("End the reply before this text. May repeat.", TEXT, repeats=True)
    param: tuple[tuple[str, Any], ...] = option(
        "Any other parameter of the service. May repeat.", PARAMETER, repeats=True
    )
    think: str | None = option(
        "Whether, or how hard, the model thinks before it answers; refused where it is known not to.", choice(*THINK)
    )
    schema: str | None = option(
        "What the answer must look like: a pydantic model, a dataclass, a TypedDict, a JSON schema, list[...] of "
        'these, or fields such as "name, age int, tags list". The object is in `.parsed` of the Reply; '
        "over rows, each field becomes a column.",
        text("NAME", 'a type of the notebook, or fields such as "name, age int, tags list"', completes="type"),
    )
    no_repair: bool = option("Do not ask once more for an answer that does not fit the schema.")
    raw: bool = option("Send the prompt as typed: `{{ }}` means nothing.")


@dataclass(frozen=True, slots=True)
class ChatOptions(AskOptions):
    """Options of %%wbchat and %wbchat."""

    models_like: str | None = option(
        "Ask all models that %wbmodels TEXT lists, side by side.",
        text("TEXT", "a text that the models' names and facts hold"),
    )
    thread: str | None = option(
        "The thread to continue; the current one (`main`, or as %wbthread says) if none.", THREAD
    )
    new: bool = option("Clear the thread first.")
    fork: str | None = option("Start the thread as a copy of this one.", THREAD)
    once: bool = option("No history: neither read nor written.")
    image: tuple[str, ...] = option(
        "Send this image along: a matplotlib figure, a PIL image, a path or an address. May repeat.",
        text("EXPR", "a figure or image of the notebook, or an image file's path", completes="value"),
        repeats=True,
    )
    dry_run: bool = option("Show exactly what would be sent, with tokens and cost; send nothing.")
    error: bool = option("Send the notebook's last error along: the failing cell and its traceback.")
    tools: str | None = option(
        "Functions of the notebook that the model may call; no others are ever run.",
        text("A,B", "names of functions, with commas between", completes="callable"),
    )
    code: str | None = option(
        "Put the reply's first code block into the next cell, or all of them, a cell each. Never run.",
        choice("first", "all"),
        alone="first",
    )
    output: str | None = option("Put the Reply into this variable.", VARIABLE, short="-o")
    no_stream: bool = option("Wait for the whole reply instead of showing it as it comes.")
    format: str | None = option(
        "How the reply is shown: rendered Markdown (the default), the text as it came, "
        "pretty-printed JSON (asked for as such, read into `.parsed`), or static HTML.",
        choice("markdown", "text", "json", "html"),
    )
    quiet: bool = option("Show nothing; the Reply is in _wbreply, or where -o puts it.")


@dataclass(frozen=True, slots=True)
class ThreadOptions:
    """Options of %wbthread."""

    show: bool = option("Show the whole conversation, rendered.")
    undo: bool = option("Take the last turn back.")
    edit: int | None = option(
        "Put the prompt of turn N into a new cell; the next chat of a new cell replaces that turn.",
        integer(1, "the number of a turn"),
    )
    clear: bool = option("Take all turns away; the name stays.")
    delete: bool = option("Delete the thread.")
    export: str | None = option(
        "Write it to a file: .md or .html to read and share, .json in the form of OpenAI messages.", FILE
    )
    import_: str | None = option("Read it from a .json file of OpenAI messages.", FILE, long="--import")


@dataclass(frozen=True, slots=True)
class ModelsOptions:
    """Options of %wbmodels."""

    table: bool = option("A static table instead of the picker.")
    refresh: bool = option("Ask the service again instead of using the list already fetched.")
    sort: str | None = option(
        "The order: the cheapest first (input and output added), the largest context, the name, or the newest; if "
        "none, by price in the picker, and by name in the table and the DataFrame.",
        choice(*SORTS),
    )
    min_context: int | None = option("Only models with at least so much context.", TOKENS)
    use: str | None = option("Choose this model, by its id or its number in the table.", MODEL)
    output: str | None = option("Put the list into this variable, as a DataFrame.", VARIABLE, short="-o")


@dataclass(frozen=True, slots=True)
class MapOptions(AskOptions):
    """Options of %%wbmap."""

    output: str | None = option(
        "Put the frame with the answers into this variable (`_wbmap` if none).", VARIABLE, short="-o"
    )
    into: str | None = option(
        "The column of the answers (`reply` if none); why a row has none is in COLUMN_error.",
        text("COLUMN", "a column's name"),
    )
    concurrency: int | None = option(
        "How many requests may be in flight at once (16 if none, 2 on the practice model); fewer when the service "
        "says it is too many.",
        integer(1, "a whole number from 1 to 1000", 1000),
    )
    dry_run: bool = option("Show the first prompts, the number of rows, tokens and cost; send nothing.")
    limit: int | None = option("The first N rows alone, to try the prompt.", COUNT)
    distinct: bool = option("Ask each different prompt once; equal rows share the answer.")
    retry_failed: bool = option("Ask again for rows that failed for good before.")
    no_cache: bool = option("Neither use answers that were kept on disk nor keep these.")


@dataclass(frozen=True, slots=True)
class UsageOptions:
    """Options of %wbusage."""

    output: str | None = option(
        "Put the figures into this variable, as a DataFrame; show nothing.", VARIABLE, short="-o"
    )
    reset: bool = option("Start counting again from zero, after showing the count so far.")


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """Options of %wbconfig."""

    key: bool = option("Ask for the key, without showing it, and check it as --check does. Kept for this session only.")
    project: str | None = option("The W&B project that the usage is counted for.", PROJECT)
    model: str | None = option("The model for the next chats.", MODEL, short="-m")
    endpoint: str | None = option("The service spoken to.", ENDPOINT)
    timeout: float | None = option("How long to wait for the service to say something.", TIMEOUT)
    budget: float | None = option("Send nothing that could make all calls together cost more than this.", USD)
    budget_file: str | None = option("Share the budget with all kernels of this machine that name the same file.", FILE)
    cassette: str | None = option("Record exchanges in this file, or replay them from it.", FILE)
    cassette_mode: str | None = option(
        "What the cassette is for: record begins it anew, replay answers from it alone, without network or key; "
        "auto (if none is said) answers from it what it holds and records the rest.",
        choice(*MODES),
        long="--mode",
    )
    cassette_pace: str | None = option(
        "Replay replies as fast as they once came (recorded), or at-once.", choice(*PACES), long="--pace"
    )
    trace: str | None = option("Trace each call in this W&B Weave project (needs the extra `weave`), or off.", TRACE)
    cache: str | None = option(
        "Show the answers of %%wbmap that are kept on disk, or clear them.", choice("show", "clear"), alone="show"
    )
    check: bool = option("Call the service and say what works: key, project, models, a tiny reply.")
    reset: bool = option("Forget what was set in this session, the key included.")
