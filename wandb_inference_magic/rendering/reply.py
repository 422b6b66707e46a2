"""Render a Reply: its Markdown, plain text, HTML and footer. Does not depend on a front end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING, Any, Final

from ..catalog import describe_cost
from ..errors import it_said, shortened
from ..markup import Untrusted, directed, fenced, is_ordinary, linked, page_parser, safe_document, safe_inline
from ..messages import BUDGET_REMEDY, estimate, pretty_json
from ..text import counted, duration, grapheme_start, json_or_none, read_json_text, safe_plain

if TYPE_CHECKING:
    from markdown_it.token import Token

    from ..markup import DocumentPart
    from ..messages import Reply, ToolCall, ToolStep

MARKDOWN: Final = "text/markdown"
PLAIN: Final = "text/plain"
HTML: Final = "text/html"

# Some front ends reject an empty Markdown output.
BLANK: Final = " "
# The most characters shown of a tool call, and of its result.
MAX_TOOL_CALL_CHARS: Final = 200


# The last characters of the reasoning that are shown while a model thinks, and how: two lines, the last ones.
MAX_REASONING_CHARS: Final = 400
MAX_WORD_CHARS: Final = 20
LAST_LINES: Final = (
    "display: flex; flex-direction: column-reverse; overflow: hidden; height: 2.5em; line-height: 1.25; "
    "font-size: 80%; border-left: 3px solid; padding-left: 0.8em"
)

# So many characters of a source's address are shown as the text of its link.
MAX_SOURCE_CHARS: Final = 100

# The blocks of a page that have a direction.
DIRECTED: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "table", "ul"})

# The finish reasons that the footer reports.
ENDINGS: Final = {"length": "cut at the token limit", "content_filter": "cut by the service's content filter"}


def name_of_model(model: str, endpoint: str) -> str:
    """Return the name of a model in what users read. `endpoint` is the name of the endpoint that answers."""
    return f"practice model {model} on this machine" if endpoint == "local" else model


def footer(reply: Reply) -> str:
    """Return the footer of a reply as plain text: model, tokens, seconds, cost, turn."""
    about = "about " if reply.usage_is_estimate else ""
    cost = f"{about if reply.cost else ''}{describe_cost(reply.cost)}"
    turn = "" if reply.turn is None else f"turn {reply.turn}"
    earlier = reply.earlier_messages
    parts = [
        f"{about}{reply.usage.prompt_tokens:,} + {reply.usage.completion_tokens:,} tokens" if reply.usage else "",
        duration(reply.seconds),
        "free" if reply.endpoint == "local" else cost,
        "replayed" if reply.replayed else "",
        counted(reply.calls, "call") if reply.calls > 1 else "",
        f"{turn} of {reply.thread}" if turn and reply.thread not in (None, "main") else turn,
        counted(earlier, "earlier message") if turn and earlier else "",
        "" if reply.budget_limit is None else f"at most {reply.budget_limit:,} tokens by the budget",
        "the model refused" if reply.refusal else "",
        ENDINGS.get(reply.finish_reason or "", ""),
        f"incomplete: {reply.incomplete}" if reply.incomplete else "",
    ]
    model = name_of_model(reply.model, reply.endpoint)
    return safe_plain(" · ".join([model, *filter(None, parts)])).replace("\n", " ")


def reply_bundle(reply: Reply, format: str = "markdown", allow_images_from: Collection[str] = ()) -> dict[str, Any]:
    """Return the final output of a reply as a MIME bundle, made safe.

    Parameters
    ----------
    reply : Reply
        The reply to show.
    format : str
        `markdown`, `text`, `json` or `html`.
    allow_images_from : collection of str
        Hosts whose images may be loaded.

    Returns
    -------
    dict
        Always contains `text/plain`. For the other formats it also contains the richer form. For `json`, a reply
        that is not JSON is shown as plain text.
    """
    plain = {PLAIN: reply_plain(reply)}
    if format == "text":
        return plain
    if format == "json":
        pretty = pretty_json(reply.text)
        if pretty is None:
            return plain
        parts = [*_steps(reply), Untrusted(fenced(pretty, "json")), *_footer(reply)]
        return {MARKDOWN: safe_document(parts), **plain}
    markdown = safe_document(reply_parts(reply), allow_images_from)
    if format == "html":
        return {HTML: markdown_to_html(markdown), **plain}
    return {MARKDOWN: markdown, **plain}


def reply_parts(reply: Reply, text: str = "") -> list[DocumentPart]:
    """Return a reply with its reasoning, its steps and its footer as parts for `safe_document`.

    `text` is shown instead of the reply's own, if it is given.
    """
    parts: list[DocumentPart] = []
    if reasoning := reply.reasoning.strip():
        counted_tokens = reply.usage.reasoning_tokens if reply.usage and not reply.usage_is_estimate else 0
        parts += thought_parts(thought(reasoning, reply.seconds_thinking, counted_tokens), directed(reasoning))
    text = text or reply.text.strip("\n")
    parts += [*_steps(reply), *(directed(text) if text.strip() else [f"*{safe_inline(why_empty(reply))}*"])]
    return [*parts, *_footer(reply)]


def thought(reasoning: str, seconds: float | None, tokens: int = 0) -> str:
    """Return the summary of a model's reasoning: `Thought for 3 s · 412 tokens`. Without `tokens`, an estimate."""
    time = "Thought" if seconds is None else f"Thought for {duration(seconds if seconds < 1 else round(seconds))}"
    return f"{time} · {'' if tokens else 'about '}{counted(tokens or estimate(reasoning), 'token')}"


def thought_parts(summary: str, content: Sequence[DocumentPart]) -> list[DocumentPart]:
    """Return reasoning folded under its summary, and set apart from the answer when it is opened."""
    # The blank lines end the HTML, so that front ends read the content as Markdown.
    opening = f"<details><summary>{safe_inline(summary)}</summary>\n\n<blockquote>\n\n"
    return [opening, *content, "\n\n</blockquote>\n\n</details>\n\n"]


def _steps(reply: Reply) -> list[DocumentPart]:
    """Return the tool calls, which are shown above the text that the model wrote after them."""
    steps = "".join(_format_step(step) for step in reply.steps).strip()
    return [Untrusted(steps), "\n\n"] if steps else []


def _format_step(step: ToolStep) -> str:
    said = step.said.strip()
    return f"\n\n{said}\n\n{step_markdown(step)}\n" if said else f"{step_markdown(step)}\n"


def format_tool_call(call: ToolCall) -> str:
    """Return a tool call in Python syntax, shortened if it is long."""
    shown = call.arguments
    with suppress(ValueError):
        arguments = read_json_text(call.arguments or "{}")
        if isinstance(arguments, dict):
            shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return shortened(f"{call.name}({shown})", MAX_TOOL_CALL_CHARS)


def step_markdown(step: ToolStep) -> str:
    """Return a tool call and its result as a line of Markdown, not yet made safe."""
    arrow = "→" if step.ok else "✗"
    return f"- {_code(format_tool_call(step.call))} {arrow} {_code(shortened(step.result, MAX_TOOL_CALL_CHARS))}"


def _code(text: str) -> str:
    line = " ".join(safe_plain(text).split()).replace("`", "'")
    return f"`{line or ' '}`"


def why_empty(reply: Reply) -> str:
    """Return the message shown in place of an empty reply."""
    if reply.tool_calls:
        names = ", ".join(safe_plain(call.name) for call in reply.tool_calls)
        return f"The model requested a call of: {names}"
    if reply.finish_reason == "length":
        used = "by the reasoning " if reply.reasoning else ""
        limit = "budget's limit on the reply" if reply.is_cut_by_budget else "token limit"
        return f"No answer: the {limit} was used up {used}before it. {_limit_remedy(reply)}"
    if reply.finish_reason == "content_filter":
        return "No answer: the service's content filter withheld it."
    return "The reply has no text."


def why_flawed(reply: Reply) -> str:
    """Return why a reply that has text is not a good answer; empty if it is one."""
    if reply.refusal:
        return f"The model refused to answer. {it_said(reply.refusal)}"
    if reply.finish_reason == "length" and not _ends_in_blanks(reply.text):
        limit = "budget" if reply.is_cut_by_budget else "token"
        return f"The answer was cut at the {limit} limit. {_limit_remedy(reply)}"
    if reply.finish_reason == "content_filter":
        return "The answer was cut by the service's content filter."
    return ""


def _ends_in_blanks(text: str) -> bool:
    """Return whether a text is a whole object or list in JSON, and blanks: some models write these up to the limit."""
    return text != text.rstrip() and isinstance(json_or_none(text), dict | list)


def _limit_remedy(reply: Reply) -> str:
    return BUDGET_REMEDY if reply.is_cut_by_budget else "Raise --max-tokens."


def _footer(reply: Reply) -> list[DocumentPart]:
    lines = [safe_inline(notice) for notice in reply.notices]
    if reply.sources:
        links = [linked(safe_inline(shortened(text, MAX_SOURCE_CHARS)), address) for text, address in _sources(reply)]
        lines.append(f"Sources: {' '.join(links)}")
    trace = f" · {linked('trace', reply.trace)}" if reply.trace else ""
    lines.append(safe_inline(footer(reply)) + trace)
    return [f"\n\n<small>{line}</small>" for line in lines]


def reply_plain(reply: Reply) -> str:
    """Return a reply with its footer as plain text."""
    return "\n\n".join((reply_text(reply), "\n".join(lines_below(reply))))


def reply_text(reply: Reply) -> str:
    """Return a reply with its steps as plain text, without its footer."""
    steps = safe_plain("".join(_format_step(step) for step in reply.steps)).strip()
    text = safe_plain(reply.text).strip("\n") if reply.text.strip() else why_empty(reply)
    return f"{steps}\n\n{text}" if steps else text


def _sources(reply: Reply) -> list[tuple[str, str]]:
    """Return how the sources of a reply are shown, each with its address."""
    return [(f"[{number}] {address}", address) for number, address in enumerate(reply.sources, 1)]


def lines_below(reply: Reply) -> list[str]:
    """Return the lines of plain text under a reply: its notices, then the footer."""
    sources = [f"Sources: {' '.join(text for text, _ in _sources(reply))}"] if reply.sources else []
    link = f" · trace: {reply.trace}" if reply.trace else ""
    return [f"[{safe_plain(line)}]" for line in (*reply.notices, *sources, footer(reply) + link)]


def status_markdown(text: str) -> str:
    """Return the line shown until the first text of the answer is received."""
    return f"<small>⏳ {safe_inline(text)}</small>"


def thinking_markdown(text: str, reasoning: str) -> str:
    """Return the status line of a model that thinks, with the last lines of its reasoning below.

    The whole has a fixed height, which is not more than that of the shortest reply, so that nothing below moves.
    """
    if not reasoning.strip():
        return status_markdown(text)
    return f'{status_markdown(text)}<span style="{LAST_LINES}"><span>{safe_inline(ending(reasoning))}</span></span>'


def ending(reasoning: str) -> str:
    """Return the last words of reasoning on one line: as many as two lines of a wide window hold."""
    text = " ".join(safe_plain(reasoning[-2 * MAX_REASONING_CHARS :]).split())
    cut = len(text) - MAX_REASONING_CHARS
    if cut <= 0:
        return text
    # At a word, where the language has spaces between them.
    space = text.find(" ", cut, cut + MAX_WORD_CHARS)
    return f"… {text[grapheme_start(text, cut) if space < 0 else space + 1 :]}"


def markdown_to_html(markdown: str, *, is_page: bool = False) -> str:
    """Render Markdown made by `safe_document` as static HTML, with maths as LaTeX.

    JupyterLab also renders maths in HTML, so the maths is checked here too. In a page of its own, maths is MathML, and
    each block has the direction of its text.
    """
    parser = page_parser()
    tokens = parser.parse(markdown)
    if not is_ordinary(tokens):
        return f"<pre>{escape(markdown)}</pre>"
    if is_page:
        _direct(tokens)
    return str(parser.renderer.render(tokens, parser.options, {"mathml": is_page}))


def _direct(tokens: Sequence[Token]) -> None:
    """Let a browser find the direction of each outermost block. It would not look into inner ones that find theirs.

    The blocks in an element that has a direction keep it.
    """
    depth = 0
    for token in tokens:
        if token.type == "html_block":
            depth += token.content.count("<div dir=") - token.content.count("</div>")
        if token.tag in DIRECTED:
            if token.nesting > 0 and not depth:
                token.attrSet("dir", "auto")
            depth += token.nesting
