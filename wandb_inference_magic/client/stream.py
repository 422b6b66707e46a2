"""Send our own requests through the SDK's `post` and `get`. Only this module does so.

The SDK's method for chats transforms every message of the thread and builds an object for every token. Its `post` does
neither: it takes a stream class, and ours yields each chunk as the JSON object it is.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import urlencode

from ..config import FEED_URL
from ..errors import InferenceError, quoted
from ..failures import BROKE_OFF, ServiceError
from ..replies import error_in
from ..text import read_json_text, with_texts, without_surrogates
from .chunks import ChunkReader, describe_sent
from .learned import RequestForm
from .sse import ASKED, EXTENSION

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
                    heard_at, longest = monotonic(), self._longest_silence()
                    while (piece := await _next_piece(data, until)) is not None:
                        for chunk in reader.feed(piece):
                            yield chunk
                            heard_at = monotonic()
                        if until is None and monotonic() - heard_at > longest:
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
    client: openai.AsyncOpenAI,
    body: Mapping[str, Any],
    *,
    stream: bool,
    builder: ReplyBuilder,
    limit: int | None,
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

    form = RequestForm(client, body, stream=stream)
    while True:
        sent = form.body
        builder.is_requested_streamed = bool(sent.get("stream"))
        with_limit = sent if limit is None else {**sent, "max_tokens": limit}
        try:
            async with aclosing(_exchange(client, with_limit, builder, form.asked)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (openai.OpenAIError, ServiceError, InferenceError) as error:
            if builder.has_begun or not form.change_after(error):
                raise
        else:
            if builder.has_begun:
                form.was_answered()
            return


async def _exchange(
    client: openai.AsyncOpenAI, body: dict[str, Any], builder: ReplyBuilder, asked: dict[str, Any]
) -> AsyncGenerator[Chunk, None]:
    """Send a request in one form, and yield the chunks of the reply. `asked` is what a cassette has of it."""
    import openai

    before = ASKED.set(asked)
    try:
        chunks = await _post(client, body)
    except openai.APIStatusError as error:
        # It may have what the model wrote.
        builder.timing = error.response.extensions.get(EXTENSION)
        raise
    finally:
        ASKED.reset(before)
    response = chunks.response
    try:
        builder.request_id = _request_id(response.headers.get("x-request-id"))
        builder.timing = response.extensions.get(EXTENSION)
        async for chunk in chunks:
            yield chunk
    finally:
        await response.aclose()


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
