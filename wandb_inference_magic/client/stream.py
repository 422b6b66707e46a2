"""Send our own requests through the SDK's `post` and `get`. Only this module does so.

The SDK's method for chats transforms every message of the thread and builds an object for every token. Its `post` does
neither: it takes a stream class, and ours yields each chunk as the JSON object it is.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from functools import cache, partial, reduce
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from ..config import FEED_URL
from ..errors import InferenceError, quoted
from ..failures import BROKE_OFF, REASONING_IS_MISSING, ServiceError, refused_request
from ..replies import ALL_REASONING, error_in, thoughts_in, without_reasoning
from ..text import read_json_text, with_texts, without_surrogates
from .chunks import ChunkReader, describe_sent
from .sse import ADDED_LIMIT, EXTENSION

if TYPE_CHECKING:
    import openai

    from ..replies import ReplyBuilder
    from .chunks import Chunk

T = TypeVar("T")

LISTING_SECONDS: Final = 30.0
# Of a list of models.
MAX_PAGES: Final = 50
# As many bytes of a document that is not JSON are quoted.
MAX_QUOTED_CHARS: Final = 2000
FEED_SECONDS: Final = 5.0
# A stream that only keeps the connection alive is waited for as long as so many time-outs.
TIMEOUTS_OF_SILENCE: Final = 10
# After the end of a reply the rest of the response is read for this long, so that the connection can be used again.
SECONDS_TO_DRAIN: Final = 0.1
# After a `finish_reason` the token counts and `[DONE]` are waited for this long.
SECONDS_AFTER_FINISH: Final = 10.0
# A change of what the user has not set in a request.
Change = Callable[[dict[str, Any]], dict[str, Any]]
# The changes with which the service of a client has accepted a request, by model: a gateway has several services.
_changes: Final[WeakKeyDictionary[openai.AsyncOpenAI, dict[str, tuple[Change, ...]]]] = WeakKeyDictionary()
# What Anthropic's and Amazon's models say of a message that has only calls of tools, or a result without a text.
_EMPTY_TEXT: Final = (
    r"content blocks? must (be non-?empty|contain non-whitespace)"
    r"|must have non-?empty content|text field .{0,80}is blank"
)
# In place of such a result.
_NO_RESULT: Final = "(no result)"
# What comes before the name of a field that is also a word: "400 tokens for reasoning".
_BEFORE_NAME: Final = r"""(["'`.:\]] ?|\b(field|argument|property|key) )"""
# What services say of reasoning that a gateway has changed on its way.
_BROKEN_REASONING: Final = (
    r"(?i)\b(invalid|corrupted)\b.{0,20}\bsignature|\bsignature\b.{0,20}\b(not valid|invalid)"
    r"|\bencrypted content\b.{0,80}\bcould not be"
)
STREAMED: Final[dict[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}


@cache
def _stream_class() -> Any:
    """Return the stream class of a chat. It is made on first use: importing the SDK takes long, and may fail."""
    import openai

    class Chunks(openai.AsyncStream[T], Generic[T]):
        """The chunks of a reply: those of a stream, or the one completion of an endpoint that does not stream."""

        def _longest_silence(self) -> float:
            """Return for how many seconds a stream may consist of comments, as of a service that has a queue."""
            read = self.response.request.extensions.get("timeout", {}).get("read")
            return math.inf if read is None else TIMEOUTS_OF_SILENCE * read

        async def __stream__(self) -> AsyncIterator[Any]:
            reader = ChunkReader(self.response.charset_encoding)
            # The bytes are closed before the response, which cannot be closed while they are read.
            async with aclosing(self.response.aiter_bytes()) as data:
                with _network_errors(self.response):
                    # Later pieces do not put it off: some services send comments for as long as the connection is open.
                    until: float | None = None
                    heard_at = monotonic()
                    while (piece := await _next_piece(data, until)) is not None:
                        for chunk in reader.feed(piece):
                            yield chunk
                            heard_at = monotonic()
                        if until is None and monotonic() - heard_at > self._longest_silence():
                            raise openai.APITimeoutError(request=self.response.request)
                        if reader.completeness.is_complete_if_cut:
                            seconds = SECONDS_TO_DRAIN if reader.is_done else SECONDS_AFTER_FINISH
                            until = min(until or math.inf, monotonic() + seconds)
                    for chunk in reader.close():
                        yield chunk

    # With a type of chunk, which the SDK looks up.
    return Chunks[dict[str, Any]]


async def _next_piece(data: AsyncIterator[bytes], until: float | None) -> bytes | None:
    """Return the next bytes of a reply, or None at its end. A reply that is complete is read on until `until`."""
    left = None if until is None else until - monotonic()
    try:
        return await asyncio.wait_for(anext(data), left)
    except StopAsyncIteration:
        return None
    except Exception:
        # The reply is complete. At most the token counts are missing, and how the connection ends does not matter.
        if until is not None:
            return None
        raise


@contextmanager
def _network_errors(response: Any) -> Iterator[None]:
    """Convert an error of the HTTP library while a body is read to the SDK's own. The SDK does so only before that."""
    import openai

    try:
        yield
    except (InferenceError, ServiceError, openai.OpenAIError, ValueError):
        raise
    except Exception as error:
        if type(error).__name__.endswith("Timeout"):
            raise openai.APITimeoutError(request=response.request) from error
        raise openai.APIConnectionError(message=BROKE_OFF, request=response.request) from error


async def stream_chat(
    client: openai.AsyncOpenAI, body: Mapping[str, Any], *, stream: bool, builder: ReplyBuilder, limit: int | None
) -> AsyncGenerator[Chunk, None]:
    """Send one chat request and yield the chunks of the reply.

    Parameters
    ----------
    client : AsyncOpenAI
        Our own client, built by `Clients`.
    body : mapping
        `model`, `messages` and the parameters.
    stream : bool
        Whether to request a stream.
    builder : ReplyBuilder
        Receives the request id of the response, and a cassette's clock.
    limit : int or None
        The limit on the reply that a budget adds, in tokens. It is not part of the request in a cassette.

    Yields
    ------
    mapping
        The chunks of a stream, or the one completion. Closing the generator closes the connection.

    Raises
    ------
    InferenceError
        When the response is not a reply, or only a part of one (cause `reply`).
    ServiceError
        When the service reports an error in a response whose status is 200.
    openai.OpenAIError
        For any failure of the service or the network.
    """
    import openai

    asked = {**body, **({} if limit is None else {"max_tokens": limit}), **(STREAMED if stream else {})}
    kept = _changes.setdefault(client, {})
    changes = kept.get(body["model"], ())
    tried: set[Change] = set()
    while True:
        sent = reduce(lambda changed, change: change(changed), changes, asked)
        try:
            async with aclosing(_exchange(client, sent, builder, adds_limit=limit is not None)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (openai.APIStatusError, ServiceError) as error:
            change = None if builder.has_begun else _change_for(error, sent)
            if change is None or change in tried or change(sent) == sent:
                raise
            tried.add(change)
            # Behind a gateway, the next service of a model may want what the one before refused.
            changes = (*(one for one in changes if one is not _OPPOSITE.get(change)), change)
        else:
            kept[body["model"]] = changes
            return


async def _exchange(
    client: openai.AsyncOpenAI, body: dict[str, Any], builder: ReplyBuilder, *, adds_limit: bool
) -> AsyncGenerator[Chunk, None]:
    """Send a request in one form, and yield the chunks of the reply."""
    import openai

    before = ADDED_LIMIT.set(adds_limit)
    try:
        chunks = await _post(client, body)
    except openai.APIStatusError as error:
        # It may have what the model wrote.
        builder.timing = error.response.extensions.get(EXTENSION)
        raise
    finally:
        ADDED_LIMIT.reset(before)
    response = chunks.response
    try:
        builder.request_id = _request_id(response.headers.get("x-request-id"))
        builder.timing = response.extensions.get(EXTENSION)
        async for chunk in chunks:
            yield chunk
    finally:
        await response.aclose()


def _change_for(error: openai.APIStatusError | ServiceError, sent: dict[str, Any]) -> Change | None:
    """Return the change that an error calls for: older services refuse `stream_options`, and some the reasoning."""
    # Only its own words: some services quote the request.
    message = refused_request(error)
    if "stream_options" in sent and "stream_options" in message:
        return _leave_out_usage
    if re.search(REASONING_IS_MISSING, message):
        return _add_reasoning
    if _refuses_reasoning(sent["messages"], message):
        return _leave_out_reasoning
    return _leave_out_empty_text if re.search(_EMPTY_TEXT, message) else None


def _leave_out_usage(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "stream_options"}


def _leave_out_reasoning(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "messages": [without_reasoning(message) for message in body["messages"]]}


def _add_reasoning(body: dict[str, Any]) -> dict[str, Any]:
    """Give each message with calls of tools a `reasoning_content`: its reasoning, else an empty text."""

    def changed(message: Mapping[str, Any]) -> Mapping[str, Any]:
        if not message.get("tool_calls"):
            return message
        texts = (message[name] for name in ALL_REASONING if isinstance(message.get(name), str))
        return {**message, "reasoning_content": message.get("reasoning_content") or next(texts, "")}

    return {**body, "messages": list(map(changed, body["messages"]))}


def _leave_out_empty_text(body: dict[str, Any]) -> dict[str, Any]:
    def changed(message: Mapping[str, Any]) -> Mapping[str, Any]:
        content = message.get("content")
        if not isinstance(content, str) or content.strip():
            return message
        if message.get("tool_calls"):
            return {**message, "content": None}
        return {**message, "content": _NO_RESULT} if message.get("role") == "tool" else message

    return {**body, "messages": list(map(changed, body["messages"]))}


_OPPOSITE: Final[Mapping[Change, Change]] = {_add_reasoning: _leave_out_reasoning, _leave_out_reasoning: _add_reasoning}


def _refuses_reasoning(messages: Sequence[Mapping[str, Any]], message: str) -> bool:
    """Return whether an error is about reasoning that was sent back. `reasoning_effort` is a parameter."""
    sent = {name for message in messages for name in ALL_REASONING if name in message}
    sent |= {"content" for message in messages if thoughts_in(message.get("content"))}
    patterns = (rf"\b{name}\b" if "_" in name else rf"{_BEFORE_NAME}{name}\b" for name in sent)
    return bool(sent) and any(re.search(one, message) for one in (_BROKEN_REASONING, *patterns))


async def _post(client: openai.AsyncOpenAI, body: dict[str, Any]) -> Any:
    # The SDK's `stream` says that it reads the response by `stream_cls`, whether or not the service streams. For each
    # request it would join a path to the address and parse that again, and make a deep copy of each option's default.
    post = partial(
        client.post,
        f"{str(client.base_url).rstrip('/')}/chat/completions",
        cast_to=object,
        options={"headers": {}, "params": {}, "max_retries": client.max_retries, "timeout": client.timeout},
        stream=True,
        stream_cls=_stream_class(),
    )
    try:
        return await post(body=body)
    except UnicodeEncodeError:
        # A lone surrogate, for example half of an emoji in a value of the notebook, has no UTF-8 form.
        return await post(body=with_texts(body, without_surrogates))


async def fetch_model_list(client: openai.AsyncOpenAI) -> object:
    """Return the endpoint's list of models (`GET /models`) as the parsed JSON document, with all of its pages.

    Raises
    ------
    InferenceError, openai.OpenAIError
    ServiceError
        When the document is the report of an error.
    ValueError
        When it is not JSON. The message says what was sent.
    """
    document = await _fetch(client, "/models", LISTING_SECONDS)
    if isinstance(document, dict) and not isinstance(document.get("data"), list) and error_in(document):
        raise ServiceError(document, has_begun=False)
    return await _with_all_pages(client, document) if isinstance(document, dict) else document


async def _with_all_pages(client: openai.AsyncOpenAI, document: dict[str, Any]) -> dict[str, Any]:
    """Return a list of models with the pages that follow it, if the service sends it in pages."""
    models, page = document.get("data"), document
    if not isinstance(models, list):
        return document
    for _ in range(MAX_PAGES):
        if page.get("has_more") is not True:
            break
        last = page.get("last_id") or _id_of(models[-1:])
        # The names that Anthropic's and OpenAI's lists have for it.
        found = await _fetch(client, f"/models?{urlencode({'after_id': last, 'after': last})}", LISTING_SECONDS)
        page = found if isinstance(found, dict) else {}
        if not (new := [one for one in page.get("data") or () if one not in models]):
            break
        models = [*models, *new]
    return {**document, "data": models}


def _id_of(models: list[Any]) -> str:
    return str(models[0].get("id")) if models and isinstance(models[0], dict) else ""


async def fetch_feed(client: openai.AsyncOpenAI) -> object:
    """Return W&B's public feed as the parsed JSON document. The key is not sent: the feed is on another host."""
    return await _fetch(client, FEED_URL, FEED_SECONDS)


async def _fetch(client: openai.AsyncOpenAI, address: str, seconds: float) -> object:
    import openai

    timeout = openai.Timeout(seconds, connect=min(seconds, 10.0))
    # Read here, because the SDK's own reading of JSON has no limit on depth.
    unread = openai.AsyncStream[dict[str, Any]]
    found = await client.get(address, cast_to=object, options={"timeout": timeout}, stream=True, stream_cls=unread)
    try:
        with _network_errors(found.response):
            data = await found.response.aread()
    finally:
        await found.response.aclose()
    try:
        return read_json_text(data)
    except ValueError:
        raise ValueError(describe_sent(data[:MAX_QUOTED_CHARS].decode("utf-8", "replace"))) from None


def _request_id(given: object) -> str | None:
    """Return a request's id, made safe: it is saved with the notebook, and a service may send any text as the id."""
    return quoted(given) if isinstance(given, str) and given else None
