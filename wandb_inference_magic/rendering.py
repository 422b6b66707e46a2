"""How a Reply reads: its Markdown, plain text, HTML and footer. Pure: knows no front end."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from .catalog import usd
from .errors import InferenceError
from .safety import safe_inline, safe_markdown, safe_plain

if TYPE_CHECKING:
    from collections.abc import Collection

    from .reply import Reply

MARKDOWN: Final = "text/markdown"
PLAIN: Final = "text/plain"
HTML: Final = "text/html"

# Some front ends reject an empty Markdown output.
BLANK: Final = " "


# The ends of a reply that its reader should know of.
ENDINGS: Final = {"length": "cut at the token limit", "content_filter": "cut by the service's content filter"}


def footer(reply: Reply) -> str:
    """Return the line under a reply as plain text: model, tokens, seconds, cost, turn."""
    parts = [_who_answered(reply)]
    if reply.usage:
        parts.append(f"{reply.usage.prompt_tokens:,} + {reply.usage.completion_tokens:,} tokens")
    parts.append(f"{reply.seconds:.1f} s")
    parts.append("free" if reply.endpoint == "local" else _cost_words(reply.cost))
    if reply.turn is not None:
        where = "" if reply.thread in (None, "main") else f" of {reply.thread}"
        parts.append(f"turn {reply.turn}{where}")
    if reply.finish_reason in ENDINGS:
        parts.append(ENDINGS[reply.finish_reason])
    if reply.incomplete:
        parts.append(f"incomplete: {reply.incomplete}")
    return safe_plain(" · ".join(parts)).replace("\n", " ")


def _who_answered(reply: Reply) -> str:
    if reply.endpoint == "local":
        return f"practice model {reply.model} on this machine"
    return reply.model


def _cost_words(cost: float | None) -> str:
    return "cost unknown" if cost is None else usd(cost)


def reply_bundle(reply: Reply, format: str = "markdown", allow_images_from: Collection[str] = ()) -> dict[str, Any]:
    """Return a reply's one tidy output as a MIME bundle, made safe.

    Parameters
    ----------
    reply : Reply
        What came back.
    format : str
        `markdown`, `text`, `json` or `html`.
    allow_images_from : collection of str
        Hosts whose images may load.

    Returns
    -------
    dict
        Always with `text/plain`; the richer form beside it.

    Raises
    ------
    InferenceError
        For `json` when the reply holds none.
    """
    plain = {PLAIN: _plain(reply)}
    if format == "text":
        return plain
    if format == "json":
        value = read_json(reply.text)
        pretty = json.dumps(value, indent=2, ensure_ascii=False)
        return {MARKDOWN: _with_footer(safe_markdown(f"```json\n{pretty}\n```"), reply), **plain}
    markdown = _with_footer(_body(reply, allow_images_from), reply)
    if format == "html":
        return {HTML: markdown_to_html(markdown), **plain}
    return {MARKDOWN: markdown, **plain}


def _body(reply: Reply, allow_images_from: Collection[str]) -> str:
    parts = []
    if reply.reasoning.strip():
        parts.append(_folded("Reasoning", safe_markdown(reply.reasoning)))
    text = safe_markdown(reply.text, allow_images_from).strip("\n")
    parts.append(text or f"*{safe_inline(why_empty(reply))}*")
    return "\n\n".join(parts)


def _folded(title: str, markdown: str) -> str:
    # The blank lines make front ends read what is inside as Markdown, and end the HTML around it.
    return f"<details><summary>{title}</summary>\n\n{markdown.strip()}\n\n</details>"


def why_empty(reply: Reply) -> str:
    """Return what stands in the place of a text that did not come."""
    if reply.tool_calls:
        names = ", ".join(safe_plain(call.name) for call in reply.tool_calls)
        return f"The model asks to call: {names}"
    if reply.finish_reason == "length":
        used = "by the reasoning " if reply.reasoning else ""
        return f"No answer: the token limit was used up {used}before it. Raise --max-tokens."
    if reply.finish_reason == "content_filter":
        return "No answer: the service's content filter kept it back."
    return "No text came."


def _with_footer(markdown: str, reply: Reply) -> str:
    return f"{markdown}\n\n<small>{safe_inline(footer(reply))}</small>"


def _plain(reply: Reply) -> str:
    text = safe_plain(reply.text).strip("\n") or why_empty(reply)
    return f"{text}\n\n[{footer(reply)}]"


def status_markdown(words: str) -> str:
    """Return the line shown while nothing of the answer has come yet."""
    return f"<small>⏳ {safe_inline(words)}</small>"


def read_json(text: str) -> Any:
    """Return the JSON value a reply holds: the whole of it, or its first fenced block.

    Raises
    ------
    InferenceError
        When neither is JSON.
    """
    fenced = re.search(r"^```[\w+-]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for candidate in (text, fenced.group(1) if fenced else ""):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    raise InferenceError(
        "The reply is not JSON.",
        why="The Reply with its text is in _wbreply.",
        remedy='Ask for JSON in the prompt, and try --param \'response_format={"type": "json_object"}\'.',
        cause="reply",
    )


def markdown_to_html(markdown: str) -> str:
    """Render Markdown that this package has made safe (with its own few tags) as static HTML."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return str(parser.render(markdown))
