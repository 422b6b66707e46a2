"""`--dry-run`: show exactly what would be sent, with an estimate of its tokens and, if known, its cost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..catalog import usd
from ..client import STREAMED, secret_refusal
from ..config import secrets_in
from ..errors import InferenceError
from ..markup import Untrusted, fenced, safe_document, safe_inline
from ..messages import part_text, parts_of
from ..rendering import MARKDOWN, PLAIN, line_bundle
from ..text import json_bytes, known_keys, redacted_value, safe_plain

if TYPE_CHECKING:
    from ..batch import BatchRun, Estimate
    from ..markup import DocumentPart
    from ..messages import Message, PreparedRequest

REPLY: int = 1000
# How many rows of a map are shown.
MAX_PROMPTS_SHOWN: int = 3


def preview_bundle(requests: Sequence[PreparedRequest], *, stream: bool) -> dict[str, Any]:
    """Return what requests would send as a MIME bundle: each message unchanged, then the parameters."""
    return _bundle([_preview(request, stream=stream) for request in requests])


def _bundle(previews: Sequence[tuple[list[DocumentPart], str]]) -> dict[str, Any]:
    bundle = {
        MARKDOWN: safe_document([part for parts, _ in previews for part in parts]).strip("\n"),
        PLAIN: "\n\n".join(plain for _, plain in previews),
    }
    return redacted_value(bundle, (*known_keys(), *secrets_in(os.environ)))  # type: ignore[no-any-return]


def rows_preview_bundle(previewed: Sequence[tuple[BatchRun, Estimate]], samples: int = 1) -> dict[str, Any]:
    """Return what runs over rows would send as a MIME bundle: the first prompts, the parameters, the estimates.

    The runs have each row as often as there are samples.
    """
    if not previewed:
        return line_bundle("There are no rows.")
    runs = [run for run, _ in previewed]
    first = runs[0]
    summaries = [f"Nothing was sent. To {run.model} at {_where(run.first)}: {expected}." for run, expected in previewed]
    blocks = [(str(message["role"]), _format_content(message)) for message in first.first.messages[:-1]]
    blocks += [(f"row {number}", text) for number, text in enumerate(_first_prompts(first, samples), 1)]
    blocks.append(("parameters", _format_parameters(first.first, stream=False)))
    notices = list(dict.fromkeys(notice for run in runs for notice in run.all_notices))
    return _bundle([_document(summaries, blocks, notices)])


def _first_prompts(run: BatchRun, samples: int) -> Iterator[str]:
    for number, row in islice(enumerate(run.rows), 0, MAX_PROMPTS_SHOWN * samples, samples):
        try:
            request = run.requests.request(run.prompts.of(number, row))
            if (refusal := _refusal(request)) is not None:
                raise refusal
            yield _format_content(request.messages[-1])
        except InferenceError as error:
            yield f"[not sent: {error}]"


def _preview(request: PreparedRequest, *, stream: bool) -> tuple[list[DocumentPart], str]:
    """Return what a request would send, as parts of a Markdown document and as plain text."""
    blocks = [(str(message["role"]), _format_content(message)) for message in request.messages]
    blocks.append(("parameters", _format_parameters(request, stream=stream)))
    tokens = request.prompt_tokens
    cost = _cost(request, tokens)
    summary = f"Nothing was sent. To {request.model} at {_where(request)}: about {tokens:,} tokens, {cost}."
    refusal = _refusal(request)
    refused = [] if refusal is None else [f"This request would not be sent. {refusal.why} {refusal.remedy}"]
    return _document([summary, *refused], blocks, request.notices)


def _refusal(request: PreparedRequest) -> InferenceError | None:
    key = request.endpoint.key
    return secret_refusal(json_bytes(request.flat_body), None if key is None else key.reveal())


def _document(
    summaries: Sequence[str], blocks: Sequence[tuple[str, str]], below: Sequence[str]
) -> tuple[list[DocumentPart], str]:
    parts: list[DocumentPart] = ["\n\n".join(f"**{safe_inline(one)}**" for one in summaries)]
    for title, text in blocks:
        parts += [f"\n\n**{safe_inline(title)}**\n\n", Untrusted(fenced(text, "text"))]
    parts += [f"\n\n<small>{safe_inline(one)}</small>" for one in below]
    plain = [*summaries, *(f"--- {title}\n{text}" for title, text in blocks)]
    return [*parts, "\n\n"], safe_plain("\n\n".join([*plain, *below]))


def _where(request: PreparedRequest) -> str:
    return "the practice model" if request.endpoint.is_local else request.endpoint.url


def _cost(request: PreparedRequest, tokens: int) -> str:
    price = request.price
    if price is None:
        return "cost unknown"
    if request.endpoint.is_local:
        return "free"
    if most := request.reply_limit:
        return f"at most about {usd(price.cost(tokens, most))}"
    return f"about {usd(price.cost(tokens, 0))} and {usd(price.cost(0, REPLY))} for each {REPLY:,} tokens of the reply"


def _format_parameters(request: PreparedRequest, *, stream: bool) -> str:
    parameters = request.flat_body | (STREAMED if stream else {})
    del parameters["messages"]
    return json.dumps(parameters, indent=2, ensure_ascii=False)


def _format_content(message: Message) -> str:
    return "\n".join(map(_describe_part, parts_of(message.get("content") or "")))


def _describe_part(part: Mapping[str, Any]) -> str:
    if part["type"] != "image_url":
        return part_text(part)
    url = str(part["image_url"]["url"])
    kind, comma, data = url.partition(",")
    return f"[image: {kind},... {len(data) * 3 // 4 // 1024:,} kB]" if comma else f"[image: {url}]"
