"""`--dry-run`: show exactly what would be sent, with an estimate of its tokens and, if known, its cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..catalog import usd
from ..client import STREAMED
from ..markup import Untrusted, fenced, safe_document, safe_inline
from ..rendering import MARKDOWN, PLAIN
from ..text import safe_plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..markup import Part
    from ..messages import Content, Message, PreparedRequest

REPLY: int = 1000


def preview_bundle(requests: Sequence[PreparedRequest], *, stream: bool) -> dict[str, Any]:
    """Return what requests would send as a MIME bundle: each message unchanged, then the parameters."""
    previews = [_preview(request, stream=stream) for request in requests]
    return {
        MARKDOWN: safe_document([part for parts, _ in previews for part in parts]).strip("\n"),
        PLAIN: "\n\n".join(plain for _, plain in previews),
    }


def _preview(request: PreparedRequest, *, stream: bool) -> tuple[list[Part], str]:
    """Return what a request would send, as parts of a Markdown document and as plain text."""
    parameters = json.dumps(_parameters(request.body, stream=stream), indent=2, ensure_ascii=False)
    blocks = [(_title(message), _format_content(message)) for message in request.messages]
    blocks.append(("parameters", parameters))
    summary = _summary(request)
    below = [*request.notices]
    parts: list[Part] = [f"**{safe_inline(summary)}**"]
    for title, text in blocks:
        parts += [f"\n\n**{safe_inline(title)}**\n\n", Untrusted(fenced(text, "text"))]
    parts += [f"\n\n<small>{safe_inline(one)}</small>" for one in below]
    plain = [summary, *(f"--- {title}\n{text}" for title, text in blocks)]
    return [*parts, "\n\n"], safe_plain("\n\n".join([*plain, *below]))


def _summary(request: PreparedRequest) -> str:
    tokens = request.prompt_tokens
    where = "the practice model" if request.endpoint.is_local else request.endpoint.url
    return f"Nothing was sent. To {request.model} at {where}: about {tokens:,} tokens, {_cost(request, tokens)}."


def _cost(request: PreparedRequest, tokens: int) -> str:
    price = request.price
    if price is None:
        return "cost unknown"
    if request.endpoint.is_free:
        return "free"
    if most := request.reply_limit:
        return f"at most about {usd(price.cost(tokens, most))}"
    return f"about {usd(price.cost(tokens, 0))} and {usd(price.cost(0, REPLY))} for each {REPLY:,} tokens of the reply"


def _parameters(body: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
    sent = {name: value for name, value in body.items() if name not in ("messages", "extra_body")}
    sent |= body.get("extra_body") or {}
    return sent | (STREAMED if stream else {})


def _title(message: Message) -> str:
    return str(message["role"])


def _format_content(message: Message) -> str:
    content: Content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if part["type"] == "text" else _describe_image(part) for part in content)


def _describe_image(part: Mapping[str, Any]) -> str:
    url = str(part["image_url"]["url"])
    kind, comma, data = url.partition(",")
    return f"[image: {kind},... {len(data) * 3 // 4 // 1024:,} kB]" if comma else f"[image: {url}]"
