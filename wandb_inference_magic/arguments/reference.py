"""The documentation of each magic. `%%wbchat?` and the reference of the site are both generated here."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING

from ..text import wrapped
from .line import HELP, Value
from .option_values import THREAD as THREAD_NAME
from .options import (
    ChatOptions,
    ConfigOptions,
    EvalOptions,
    JobsOptions,
    MapOptions,
    ModelsOptions,
    ThreadOptions,
    UsageOptions,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .line import Options, TextForm


@dataclass(frozen=True, slots=True)
class Page:
    """The help of one magic, and how its line is parsed.

    Attributes
    ----------
    usage : mapping
        Each form in which the magic is typed, mapped to the text allowed on its line, as for `read_line`.
    first : Value or None
        What the first word of that text is, for Tab completion.
    """

    purpose: str
    usage: Mapping[str, TextForm]
    options: type[Options]
    notes: str
    examples: str
    first: Value | None = None


CHAT = Page(
    purpose="Send a prompt to a model and show its reply as it is written.",
    usage={"%%wbchat [options]  + the prompt on the lines below": "none", "%wbchat [options] text": "rest"},
    options=ChatOptions,
    notes="The conversation continues from cell to cell; a cell that is run again replaces its own turn. "
    "The last Reply is always in _wbreply, and `reply = %wbchat ...` assigns it. The %%wbchat line takes "
    "options only; in %wbchat options come first, then the text to the end of the line. The prompt and the values of "
    "options are Jinja2 templates over the notebook's names: {{ df }} becomes a compact table, {{ figure }} "
    "an image. Single braces, $ and LaTeX have no special meaning; doubled braces are always a template (--raw sends "
    "them as typed).",
    examples="""\
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
   ...: Write a haiku about residuals.""",
)

THREAD = Page(
    purpose="List, switch, show, edit, export and import conversations.",
    usage={"%wbthread [name] [options]": "words"},
    options=ThreadOptions,
    notes="Without a name or option, it lists the threads. With only a name, it makes that thread the current "
    "one: the next %%wbchat continues it. An option applies to the named thread, or to the current one.",
    examples="""\
In [1]: %wbthread

In [2]: %wbthread second-try

In [3]: %wbthread --undo

In [4]: %wbthread main --export talk.md""",
    first=THREAD_NAME,
)

MODELS = Page(
    purpose="See the models and pick one.",
    usage={"%wbmodels [text] [options]": "words"},
    options=ModelsOptions,
    notes="Shows a dropdown that opens as a list with a search box. Choosing sets the model for the next %%wbchat at "
    "once. With text, it lists only the models that match all words: parts of names and facts, `images`, `tools`, "
    "`reasoning`, or `128k+` for at least that context. If the front end shows no widgets, it is a table.",
    examples="""\
In [1]: %wbmodels

In [2]: %wbmodels images --sort price --min-context 128k

In [3]: %wbmodels qwen --table

In [4]: %wbmodels --use zai-org/GLM-5.3-Flash""",
)

MAP = Page(
    purpose="Send a prompt for each row of a DataFrame, many at once; the answers become a column.",
    usage={"%%wbmap FRAME [options]  + the prompt on the lines below": "expression"},
    options=MapOptions,
    notes="FRAME is a DataFrame or Series (pandas, polars, pyarrow, Dask), or a list of texts or of dicts. The "
    "prompt is a template. Its names are looked up in the row's columns first ({{ text }}), then in its index, then in "
    "the notebook; `row` is the whole row. "
    "Answers are kept on disk as they come: you can interrupt at any time, and run the cell again to continue.",
    examples="""\
In [1]: %%wbmap reviews -o labelled --schema "label good|bad, why text" --limit 20
   ...: Does this review like the film?
   ...:
   ...: {{ review }}""",
    first=Value("FRAME", "a DataFrame", str, "value"),
)

EVAL = Page(
    purpose="Test models and prompts on rows with known answers, and say whether their difference is real.",
    usage={"%%wbeval FRAME --truth COLUMN [options]  + the prompt on the lines below": "expression"},
    options=EvalOptions,
    notes="FRAME and the prompt are written as for %%wbmap; cost, cache and interrupts work as there. The candidates "
    "are all models (-m) with all prompts (the cell's and -p). The result has `summary`, `comparisons`, `rows` and "
    "`disagreements`. Rows that failed count as not right.",
    examples="""\
In [1]: %%wbeval reviews --truth label -m openai/gpt-oss-20b -m openai/gpt-oss-120b --schema "label good|bad" -o found
   ...: Does this review like the film?
   ...:
   ...: {{ review }}

In [2]: %%wbeval reviews --truth label -p short.txt -p long.txt --stop-when-clear""",
    first=Value("FRAME", "a DataFrame", str, "value"),
)

JOBS = Page(
    purpose="See what runs in the background; follow it, end it, get its result.",
    usage={"%wbjobs [job] [options]": "words"},
    options=JobsOptions,
    notes="%%wbmap, %%wbeval and %%wbchat start a job with --bg: the cell returns when its prompts are rendered, and "
    "other cells run meanwhile. Without a number it lists the jobs, and those that a killed kernel left unfinished. "
    "With the number of a job it follows that job; interrupting ends the following, not the job.",
    examples="""\
In [1]: %%wbmap reviews --bg -o labelled --schema "mood good|bad"
   ...: {{ review }}

In [2]: %wbjobs

In [3]: %wbjobs 1

In [4]: labelled.frame()

In [5]: %wbjobs 1 --cancel""",
)

USAGE = Page(
    purpose="Show tokens, seconds and cost of the calls so far, by model.",
    usage={"%wbusage [options]": "none"},
    options=UsageOptions,
    notes="Every call counts: chats, comparisons, rounds with tools, repairs, failed tries and interrupted replies. "
    "If the endpoint reports no token counts, they are estimates, and marked as such. An unknown price is shown as "
    "unknown, never as 0.",
    examples="""\
In [1]: %wbusage

In [2]: %wbusage -o used --reset""",
)

CONFIG = Page(
    purpose="Show the settings and where each comes from, change them, and check the key.",
    usage={"%wbconfig [options]": "none"},
    options=ConfigOptions,
    notes="Without options, it shows the settings. A key is never accepted in a cell: --key asks for it without "
    "showing it.",
    examples="""\
In [1]: %wbconfig --key

In [2]: %wbconfig --project my-team/my-project --model openai/gpt-oss-120b

In [3]: %wbconfig --check""",
)

PAGES = {
    "wbchat": CHAT,
    "wbthread": THREAD,
    "wbmodels": MODELS,
    "wbmap": MAP,
    "wbeval": EVAL,
    "wbjobs": JOBS,
    "wbusage": USAGE,
    "wbconfig": CONFIG,
}
# Each form of each magic, as typed, with its page and the text allowed on its line.
MAGICS: Mapping[str, tuple[Page, TextForm]] = {
    usage.split()[0]: (page, text) for page in PAGES.values() for usage, text in page.usage.items()
}


def help_text(page: Page) -> str:
    """Return a magic's docstring: purpose, usage, options, notes, examples."""
    rows = [(one.usage, wrapped(one.help)) for one in (*page.options.declared, HELP)]
    options = "\n".join(f"  {usage}\n{indent(words, ' ' * 6)}" for usage, words in rows)
    usage = "\n".join(f"  {line}" for line in page.usage)
    examples = "\n".join(f"  {line}".rstrip() for line in page.examples.splitlines())
    parts = (wrapped(page.purpose), usage, wrapped(page.notes), f"Options:\n{options}", f"Examples:\n{examples}")
    return "\n\n".join(parts) + "\n"
