"""The options of every magic, each declared once. The help and the reference of the site are generated from them."""

from __future__ import annotations

from typing import Any

from ..catalog import SORTS, THINK
from ..config import MODES, PACES, TEMPERATURES
from .line import Options, option
from .option_values import (
    COUNT,
    ENDPOINT,
    FILE,
    FRAME,
    JOB,
    MODEL,
    PARAMETER,
    PROJECT,
    STOP,
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


class PromptOptions(Options):
    """Options that %%wbchat, %%wbmap and %%wbeval share."""

    model: tuple[str, ...] = option(
        "The model for this cell. May repeat: the models' answers are then shown side by side, and a chat is not added "
        "to the thread.",
        MODEL,
        short="-m",
        repeats=True,
    )
    system: str | None = option("The system prompt: what role the model should take.", TEXT, short="-s")
    temperature: float | None = option(
        "How random the reply is: 0 for the likeliest words, higher for more variety.",
        number(*TEMPERATURES),
        short="-t",
    )
    max_tokens: int | None = option("The maximum number of tokens of the reply.", COUNT)
    top_p: float | None = option("Sample only from the likeliest tokens, up to this total probability.", number(0, 1))
    seed: int | None = option(
        "Ask for the same reply each time. Not every model supports it.",
        integer(-(2**63), "a whole number that fits in 64 bits"),
    )
    stop: tuple[str, ...] = option(
        r"End the reply before this text; `\n` is a line end. May repeat.", STOP, repeats=True
    )
    param: tuple[tuple[str, Any], ...] = option(
        "Any other parameter of the service. May repeat.", PARAMETER, repeats=True
    )
    think: str | None = option(
        "Whether, or how much, the model thinks before it answers. Refused if the model is known not to support it.",
        choice(*THINK),
    )
    schema: str | None = option(
        "What the answer must look like: a pydantic model, a dataclass, a TypedDict, a JSON schema, list[...] of "
        'these, or fields such as "name, age int, tags list". The parsed answer is in the Reply\'s `.parsed`; '
        "in a map, each field becomes a column.",
        text("NAME", 'a type of the notebook, or fields such as "name, age int, tags list"', completes="type"),
    )
    no_repair: bool = option("Do not ask again if an answer does not fit the schema.")
    raw: bool = option("Send the prompt as typed: `{{ }}` is not replaced.")


class ChatOptions(PromptOptions):
    """Send a prompt to a model and show its reply as it is written.

    The conversation continues from cell to cell; a cell that is run again replaces its own turn. The last Reply is
    always in _wbreply, and `reply = %wbchat ...` assigns it. The %%wbchat line takes options only; in %wbchat options
    come first, then the text to the end of the line. The prompt and the values of options are Jinja2 templates over the
    notebook's names: {{ df }} becomes a compact table, {{ figure }} an image. Single braces, $ and LaTeX are sent as
    typed. To send doubled braces as typed, use --raw.

    Examples
    --------
    In [1]: %%wbchat -t 0.2
       ...: Explain what a p-value is, in two sentences.

    In [2]: %wbchat And what is it not?

    In [3]: answer = %wbchat --once -m openai/gpt-oss-20b Name three colours.

    In [4]: %%wbchat
       ...: What stands out in this data? {{ df.describe() }}

    In [5]: %wbchat --error

    In [6]: %%wbchat --code
       ...: Write a function that finds leap years.

    In [7]: %%wbchat --schema "list of city, population int" -o cities
       ...: The three largest cities of Europe.

    In [8]: %%wbchat --tools weather
       ...: Do I need an umbrella in Paris?

    In [9]: %%wbchat -m openai/gpt-oss-20b -m openai/gpt-oss-120b
       ...: Write a haiku about residuals.
    """

    usage = (("%%wbchat [options]  + the prompt on the lines below", "none"), ("%wbchat [options] text", "rest"))

    models_like: str | None = option(
        "Ask all models that %wbmodels TEXT lists, side by side.",
        text("TEXT", "words that are in the models' names or facts", completes=""),
    )
    thread: str | None = option("The thread to continue (default: the current one, which %wbthread shows).", THREAD)
    new: bool = option("Clear the thread first.")
    fork: str | None = option("Start the thread of --thread as a copy of this one.", THREAD)
    once: bool = option("Neither send the conversation nor add to it.")
    image: tuple[str, ...] = option(
        "Also send this image: a matplotlib figure, a PIL image, a path or a URL. May repeat.",
        text("EXPR", "a figure or image of the notebook, or an image file's path", completes="value"),
        repeats=True,
    )
    dry_run: bool = option("Show exactly what would be sent, with tokens and cost; send nothing.")
    error: bool = option("Also send the notebook's last error: the failing cell and its traceback.")
    tools: str | None = option(
        "Functions of the notebook that the model may call. No others are ever run.",
        text("A,B", "names of functions, with commas between", completes="callable", free=False),
    )
    code: str | None = option(
        "Put the reply's first code block into the next cell; with `all`, each block into a cell of its own. Code is "
        "never run.",
        choice("first", "all"),
        alone="first",
    )
    output: str | None = option("Put the Reply into this variable.", VARIABLE, short="-o")
    no_stream: bool = option("Wait for the whole reply instead of showing it as it comes.")
    format: str | None = option(
        "How the reply is shown: rendered Markdown (the default), plain text, "
        "JSON (the model is asked for it, and `.parsed` is its value), or static HTML.",
        choice("markdown", "text", "json", "html"),
    )
    bg: bool = option("Run in the background, without history: the variable of -o is a Job, and %wbjobs shows it.")
    quiet: bool = option("Show nothing. The Reply is in _wbreply, or in the variable of -o.")


class ThreadOptions(Options):
    """List, switch, show, edit, export and import conversations.

    Without a name or option, it lists the threads. With only a name, it makes that thread the current one: the next
    %%wbchat continues it. An option applies to the named thread, or to the current one.

    Examples
    --------
    In [1]: %wbthread

    In [2]: %wbthread second-try

    In [3]: %wbthread --undo

    In [4]: %wbthread main --export talk.md
    """

    usage = (("%wbthread [name] [options]", "words"),)
    first = THREAD

    show: bool = option("Show the whole conversation, rendered.")
    undo: bool = option("Take the last turn back.")
    edit: int | None = option(
        "Put the prompt of turn N into a new cell. The next chat in a new cell replaces that turn.",
        integer(1, "the number of a turn"),
    )
    clear: bool = option("Remove all turns, but keep the thread.")
    delete: bool = option("Delete the thread.")
    export: str | None = option(
        "Write the thread to a file: .md or .html to read and share, .json in the form of OpenAI messages.", FILE
    )
    import_: str | None = option("Read the thread from a .json file of OpenAI messages.", FILE, long="--import")


class ModelsOptions(Options):
    """See the models and pick one.

    Shows a dropdown that opens as a list with a search box. Choosing sets the model for the next %%wbchat at once. With
    text, it lists only the models that match all words: parts of names and facts, `images`, `tools`, `reasoning`, or
    `128k+` for at least that context. If the front end shows no widgets, it is a table.

    Examples
    --------
    In [1]: %wbmodels

    In [2]: %wbmodels images --sort price --min-context 128k

    In [3]: %wbmodels qwen --table

    In [4]: %wbmodels --use zai-org/GLM-5.3-Flash
    """

    usage = (("%wbmodels [text] [options]", "words"),)

    table: bool = option("A static table instead of the picker.")
    refresh: bool = option("Ask the service again instead of using the list already fetched.")
    sort: str | None = option(
        "The order: by price (input plus output, cheapest first), largest context, name, or newest. Default: price in "
        "the picker, name in the table and the DataFrame.",
        choice(*SORTS),
    )
    min_context: int | None = option("Only models with at least this context size.", TOKENS)
    use: str | None = option("Choose this model, by its id or its number in the table.", MODEL)
    output: str | None = option("Put the list into this variable, as a DataFrame.", VARIABLE, short="-o")


class RowsOptions(PromptOptions):
    """Options that %%wbmap and %%wbeval share."""

    concurrency: int | None = option(
        "How many requests to send at once to each model (default 16, 2 on the practice model); fewer if the service "
        "says that it is too many.",
        integer(1, "a whole number from 1 to 1000", 1000),
    )
    dry_run: bool = option("Show the first prompts, the number of rows, tokens and cost; send nothing.")
    limit: int | None = option("Only the first N rows, to try the prompt.", COUNT)
    no_cache: bool = option("Neither use answers kept on disk nor keep new ones.")
    retry_failed: bool = option("Ask again for rows that failed for good in an earlier run.")
    bg: bool = option("Run in the background: the variable is a Job, and %wbjobs shows it.")


class MapOptions(RowsOptions):
    """Send a prompt for each row of a DataFrame, many at once; the answers become a column.

    FRAME is a DataFrame or Series (pandas, polars, pyarrow, Dask), or a list of texts or of dicts. The prompt is a
    template. Its names are looked up in the row's columns first ({{ text }}), then in its index, then in the notebook;
    `row` is the whole row. Answers are kept on disk as they come: you can interrupt at any time, and run the cell again
    to continue.

    Examples
    --------
    In [1]: %%wbmap reviews -o labelled --schema "label good|bad, why text" --limit 20
       ...: Does this review like the film?
       ...:
       ...: {{ review }}
    """

    usage = (("%%wbmap FRAME [options]  + the prompt on the lines below", "expression"),)
    first = FRAME

    output: str | None = option(
        "Put the frame with the answers into this variable (default `_wbmap`).", VARIABLE, short="-o"
    )
    into: str | None = option(
        "The column for the answers (default `reply`). COLUMN_error says why a row has none.",
        text("COLUMN", "a column's name", completes=""),
    )
    distinct: bool = option("Ask each different prompt once; equal rows share the answer.")


class EvalOptions(RowsOptions):
    """Test models and prompts on rows with known answers, and say whether their difference is real.

    FRAME and the prompt are as for %%wbmap, and so are cost, cache and interrupts. The candidates are all models (-m)
    with all prompts (the cell's and -p). The result has `summary`, `comparisons`, `rows` and `disagreements`. Rows that
    failed count as not right.

    Examples
    --------
    In [1]: %%wbeval reviews --truth label -m openai/gpt-oss-20b -m openai/gpt-oss-120b --schema "label good|bad" -o found
       ...: Does this review like the film?
       ...:
       ...: {{ review }}

    In [2]: %%wbeval reviews --truth label -p short.txt -p long.txt --stop-when-clear
    """  # noqa: E501 - an example

    usage = (("%%wbeval FRAME --truth COLUMN [options]  + the prompt on the lines below", "expression"),)
    first = FRAME

    truth: str | None = option(
        "The column with the right answers. Rows without one are left out, unless there is a --judge.",
        text("COLUMN", "a column's name", completes="column"),
    )
    prompt: tuple[str, ...] = option(
        "A text file with a template: another prompt to compare. May repeat.", FILE, short="-p", repeats=True
    )
    field: str | None = option(
        "The field of the schema to compare (default: the one with the name of the truth, or all).",
        text("FIELD", "a field's name", completes=""),
    )
    samples: int | None = option("Ask each row N times (default 1). A row still counts as one observation.", COUNT)
    scorer: str | None = option(
        "How to compare an answer with the truth: equal (by meaning; the default), exact (case and spaces count), "
        "precision, recall or f1 of lists, error of numbers, or a function of the notebook that takes both and returns "
        "0 to 1.",
        text("SCORER", "a scorer's name or a function of the notebook", completes="callable", free=False),
    )
    judge: str | None = option(
        "A model that says which answer is better. It sees each pair in both orders; its contradictions and its "
        "agreement with the truth are reported.",
        MODEL,
    )
    stop_when_clear: bool = option(
        "Ask the rows in random order and stop when the comparison is decided. The error level stays valid."
    )
    publish: str | None = option(
        "Publish the evaluation in this W&B Weave project: a dataset, an evaluation for each candidate, and a "
        "leaderboard of them (needs the extra `weave`).",
        PROJECT,
    )
    output: str | None = option("Put the Evaluation into this variable (default `_wbeval`).", VARIABLE, short="-o")


class JobsOptions(Options):
    """See what runs in the background; follow it, end it, get its result.

    %%wbmap, %%wbeval and %%wbchat start a job with --bg: the cell ends when its prompts are made, and you can run other
    cells. Without a number, %wbjobs lists the jobs, and those that a killed kernel left unfinished. With the number of
    a job, it follows that job's progress; an interrupt stops following, not the job.

    Examples
    --------
    In [1]: %%wbmap reviews --bg -o labelled --schema "mood good|bad"
       ...: {{ review }}

    In [2]: %wbjobs

    In [3]: %wbjobs 1

    In [4]: labelled.frame()

    In [5]: %wbjobs 1 --cancel
    """

    usage = (("%wbjobs [job] [options]", "words"),)
    first = JOB

    cancel: bool = option("End the job. What was answered is kept.")
    pause: bool = option("Send no more requests until --resume.")
    resume: bool = option("Go on after --pause.")
    result: str | None = option("Put the result into this variable; while the job runs, the frame so far.", VARIABLE)


class UsageOptions(Options):
    """Show tokens, seconds and cost of the calls so far, by model.

    Every call counts: chats, comparisons, rounds with tools, repairs, failed tries and interrupted replies. If the
    endpoint reports no token counts, they are estimates, and marked as such. An unknown price is shown as unknown,
    never as 0.

    Examples
    --------
    In [1]: %wbusage

    In [2]: %wbusage -o used --reset
    """

    usage = (("%wbusage [options]", "none"),)

    output: str | None = option(
        "Put the figures into this variable, as a DataFrame; show nothing.", VARIABLE, short="-o"
    )
    reset: bool = option("Start counting again from zero, after showing the count so far.")


class ConfigOptions(Options):
    """Show the settings and where each comes from, change them, and check the key.

    Without options, it shows the settings. A key is never accepted in a cell: --key asks for it without showing it.

    Examples
    --------
    In [1]: %wbconfig --key

    In [2]: %wbconfig --project my-team/my-project --model openai/gpt-oss-120b

    In [3]: %wbconfig --check
    """

    usage = (("%wbconfig [options]", "none"),)

    key: bool = option(
        "Ask for the key without showing it, check it as --check does, and keep it for this session only."
    )
    project: str | None = option("The W&B project that usage is counted for.", PROJECT)
    model: str | None = option("The model for the next chats.", MODEL, short="-m")
    endpoint: str | None = option(
        "The service to use: wandb, local (the practice model on this machine), or the URL of another server.", ENDPOINT
    )
    timeout: float | None = option("Wait this many seconds for the service to send something.", TIMEOUT)
    budget: float | None = option(
        "The limit for the cost of all calls together. A call that could exceed it is not sent.", USD
    )
    budget_file: str | None = option("Share the budget with all kernels of this machine that name the same file.", FILE)
    cassette: str | None = option("Record exchanges in this file, or replay them from it.", FILE)
    cassette_mode: str | None = option(
        "What to do with the cassette: record starts it afresh; replay answers only from it, without network or key; "
        "auto (the default) replays what it holds and records the rest; off does not use it.",
        choice(*MODES),
        long="--mode",
    )
    cassette_pace: str | None = option(
        "Replay at the speed of the recording (recorded), or at-once.", choice(*PACES), long="--pace"
    )
    trace: str | None = option(
        "Trace each call in this W&B Weave project (needs the extra `weave`); off stops it.", TRACE
    )
    cache: str | None = option(
        "Show the answers of %%wbmap that are kept on disk, or clear them.", choice("show", "clear"), alone="show"
    )
    check: bool = option("Call the service and report what works: key, project, models, a tiny reply.")
    reset: bool = option("Forget what was set in this session, the key included.")
