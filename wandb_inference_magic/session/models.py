"""The models of the endpoints: the lists, each fetched once, the default model, and prices."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from threading import Lock
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from ..catalog import Catalog, join, read_listing, read_modelsdev, snapshot
from ..client import practice_server
from ..config import is_wandb
from ..errors import InferenceError, quoted, shortened
from ..failures import retry_delay
from ..spending import unknown_price

if TYPE_CHECKING:
    import asyncio

    from openai import AsyncOpenAI

    from ..cassettes import Cassette
    from ..catalog import Model, Price
    from ..concurrency import Clock, EventLoop
    from ..config import Endpoint, Resolved
    from ..messages import PreparedRequest
    from ..replies import Listener


# The statuses of an endpoint that has no list of models.
NO_LIST: Final = (404, 405, 501)
EMPTY_LIST: Final = "The endpoint lists no models: none is loaded there now."
ASKING: Final = "asking the endpoint for its models"
# After it could not be had.
SECONDS_BETWEEN_FEEDS: Final = 60.0
Account = tuple[str, int, str]
T = TypeVar("T")
# So many ids are named in an error.
MAX_NAMED: Final = 12


class Context(Protocol):
    """The part of a command that this module uses."""

    settings: Resolved
    listener: Listener
    dry: bool

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def cassette(self) -> Cassette | None: ...

    @property
    def loop(self) -> EventLoop: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def costs_nothing(self) -> bool: ...

    def client(self) -> AsyncOpenAI: ...


def has_no_list(failure: InferenceError) -> bool:
    """Return whether an endpoint that failed to list its models has no list. It may still answer chats."""
    return failure.status in NO_LIST or failure.cause == "reply"


def _format_of(request: PreparedRequest) -> tuple[str, str, str, bool]:
    # Some services take a format and tools, but not both in one request.
    form = json.dumps(request.body.get("response_format"), default=repr)
    return request.endpoint.url, request.model, form, "tools" in request.body


async def _load_list(client: AsyncOpenAI) -> list[str]:
    # Imported here, because completion uses this module too, and the SDK takes long to import.
    from ..client import fetch_model_list

    return read_listing(await fetch_model_list(client))


class Models:
    """What is known about the models of each endpoint. A list is fetched once for each key and project.

    A list that is empty, or could not be fetched, is not kept: the next who needs it asks again. A local server may
    have loaded a model by then.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Discard the fetched lists."""
        # Another thread of the parent process may have held it.
        self._lock = Lock()
        self._catalogs: dict[Account, Catalog] = {}
        # The endpoints that no longer know a model of their list: it is fetched again when it is needed.
        self._outdated: set[Account] = set()
        # Why the last request for an endpoint's list failed.
        self._failures: dict[Account, InferenceError] = {}
        # What is known of W&B's models by W&B's public feed, without their list, once the feed was fetched.
        self._by_feed: Catalog | None = None
        self._asks_feed_at = 0.0
        # The first request for it, and the latest. Only the first is waited for: where it cannot be had, it may take
        # long.
        self._fetching: tuple[asyncio.Future[None], ...] = ()
        # The endpoints, models and response formats of answered requests, and whether these had tools.
        self._formats: set[tuple[str, str, str, bool]] = set()

    def failure(self, endpoint: Endpoint) -> InferenceError | None:
        """Return why the endpoint's list could not be fetched, or None if it was."""
        return self._failures.get(endpoint.account)

    def known(self, endpoint: Endpoint) -> Catalog:
        """Return what is known of the endpoint's models without a request."""
        if endpoint.is_local:
            return Catalog(models=(practice_server.facts(endpoint.default_model),), live=True)
        if endpoint.account in self._catalogs:
            return self._catalogs[endpoint.account]
        if not endpoint.is_wandb:
            return join([], None, None)
        return self._by_feed or join(None, None, snapshot())

    def catalog(self, command: Context, *, refresh: bool = False) -> Catalog:
        """Return the endpoint's models: its live list joined with W&B's public feed, fetched until there is one.

        If the list cannot be fetched, the catalog has what is known without it, and its `note` says so.

        Parameters
        ----------
        command : Command
        refresh : bool
            Whether to fetch the list again, once: what it says now is asked.

        Raises
        ------
        InferenceError
            When no request can be made, or nothing is known without the list and it could not be fetched, other than
            from an endpoint that has none.
        """
        endpoint = command.endpoint
        if endpoint.is_local:
            return self.known(endpoint)
        kept = self._catalogs.get(endpoint.account)
        if kept is not None and not refresh and endpoint.account not in self._outdated:
            return kept
        fetched = self._fetch(command, tries_once=refresh)
        with self._lock:
            self._outdated.discard(endpoint.account)
            self._catalogs.pop(endpoint.account, None)
            if fetched.live:
                self._catalogs[endpoint.account] = fetched
        return fetched

    def note_unknown_model(self, model: str, endpoint: Endpoint) -> None:
        """Note that an endpoint does not know a model. If its list has it, the list is out of date."""
        kept = self._catalogs.get(endpoint.account)
        if kept is not None and kept.find(model) is not None:
            self._outdated.add(endpoint.account)

    def note_answered(self, request: PreparedRequest) -> None:
        """Note that a request was answered: its model takes its response format, with tools if it had some."""
        if "response_format" in request.body:
            self._formats.add(_format_of(request))

    def takes_format(self, request: PreparedRequest) -> bool:
        """Return whether a model has answered a request with this response format, and with tools if this has some."""
        return _format_of(request) in self._formats

    def _fetch(self, command: Context, *, tries_once: bool) -> Catalog:
        endpoint, client = command.endpoint, command.client()
        listing, failure = self._fetch_list(command, client, tries_once=tries_once)
        self._failures.pop(endpoint.account, None)
        notes = []
        if failure is not None:
            self._failures[endpoint.account] = failure
            notes.append(failure.reason)
        elif not listing and not endpoint.is_wandb:
            notes.append(EMPTY_LIST)
        if not endpoint.is_wandb:
            if failure is not None and not has_no_list(failure):
                raise failure
            return join(listing or [], None, None, notes=notes)
        feed, _ = self._try(command, ASKING, self._load_feed(client)) if command.settings.catalog else (None, None)
        return join(listing, feed, snapshot(), notes=notes)

    def _fetch_list(
        self, command: Context, client: AsyncOpenAI, *, tries_once: bool
    ) -> tuple[list[str] | None, InferenceError | None]:
        """Return the endpoint's list, or None and the error. It is tried again as a chat is, if a prompt needs it.

        W&B's is not: its models are known without it.
        """
        tries_once = tries_once or command.dry or command.endpoint.is_wandb
        most = 0 if tries_once else command.settings.max_retries
        for tries in count(1):
            listing, failure = self._try(command, ASKING, _load_list(client))
            seconds = None if failure is None else retry_delay(failure, tries, most)
            if failure is None or seconds is None:
                break
            again = f"{failure.what} Trying again ({tries} of {most})"
            with command.listener.waiting(again, perf_counter() + seconds) as redraw:
                command.loop.run(command.clock.sleep(seconds), meanwhile=redraw)
        if failure is not None and tries > 1:
            failure.why = f"{failure.why} It was tried {tries} times.".strip()
        return listing, failure

    def fetch_prices(self, command: Context, client: AsyncOpenAI) -> None:
        """Fetch W&B's public feed in the background, until it was had once. Called on the event loop.

        Nothing is fetched for other endpoints, and where a cassette is in use: it records or replays what is sent.
        """
        import asyncio

        is_due = self._by_feed is None and monotonic() >= self._asks_feed_at
        if is_due and command.endpoint.is_wandb and command.cassette is None and command.settings.catalog:
            self._asks_feed_at = monotonic() + SECONDS_BETWEEN_FEEDS
            self._fetching = (*self._fetching[:1], asyncio.ensure_future(self._try_to_load_feed(client)))

    async def with_price(self, request: PreparedRequest, command: Context, client: AsyncOpenAI) -> PreparedRequest:
        """Return a request that is about to be sent with its price, if it is known then."""
        import asyncio

        if request.price is not None:
            return request
        self.fetch_prices(command, client)
        # Not for one of another event loop: that of the parent process, or one that was cancelled with its session.
        if self._fetching and self._fetching[0].get_loop() is asyncio.get_running_loop():
            await asyncio.shield(self._fetching[0])
        return replace(request, price=self.price(request.model, request.endpoint))

    async def _try_to_load_feed(self, client: AsyncOpenAI) -> None:
        # Without it, prices stay unknown.
        with suppress(Exception):
            await self._load_feed(client)

    async def _load_feed(self, client: AsyncOpenAI) -> Mapping[str, Model]:
        """Fetch W&B's public feed, and use its prices."""
        from ..client import fetch_feed

        feed = read_modelsdev(await fetch_feed(client))
        # The thread of a cell can store a list at the same moment.
        with self._lock:
            self._by_feed = join(None, feed, snapshot())
            for account, known in self._catalogs.items():
                if is_wandb(account[0]):
                    listing = [model.id for model in known.models]
                    self._catalogs[account] = replace(join(listing, feed, snapshot()), note=known.note)
        return feed

    def _try(
        self, command: Context, doing: str, fetching: Coroutine[Any, Any, T]
    ) -> tuple[T | None, InferenceError | None]:
        """Return what was fetched, or None and the error. `doing` is shown meanwhile."""
        # An error leaves what is shown: there is something to fall back on.
        with command.listener.waiting(doing) as redraw:
            try:
                return command.loop.run(fetching, meanwhile=redraw), None
            except ValueError as failure:
                from ..client import CHECK_ADDRESS

                what = "The endpoint answered, but not with a list of models."
                return None, InferenceError(what, why=quoted(str(failure)), remedy=CHECK_ADDRESS, cause="reply")
            except Exception as failure:  # noqa: BLE001 - whatever went wrong
                # Imported when something has failed, as in a model call.
                from ..failures import FailureContext, to_inference_error

                context = FailureContext(command.endpoint, "", self.known(command.endpoint))
                return None, to_inference_error(failure, context)

    def default(self, command: Context) -> str:
        """Return the model to use when none is set.

        Raises
        ------
        InferenceError
            When the endpoint does not have exactly one model, so that the user must choose one.
        """
        endpoint = command.endpoint
        if endpoint.default_model:
            return endpoint.default_model
        catalog = self.catalog(command)
        ids = [model.id for model in catalog.models]
        if len(ids) == 1:
            return ids[0]
        raise InferenceError(
            "No model is chosen.",
            why=f"The endpoint {endpoint.url} has {len(ids)} models." if ids else catalog.note,
            remedy="Choose one with %wbmodels, or with -m.",
            cause="model",
        )

    def check(self, model: str, endpoint: Endpoint) -> None:
        """Raise an error for a model that W&B or the practice model is known not to have, before anything is sent.

        Raises
        ------
        InferenceError
            With similar ids, or the replacement of a retired model.
        """
        if endpoint.is_local:
            if model != endpoint.default_model:
                raise InferenceError(
                    f"The model {model!r} is not available: the practice model on this machine answers.",
                    remedy=f"Leave the model out, or set it to {endpoint.default_model}. For W&B's models: "
                    "%wbconfig --endpoint wandb, and a key (%wbconfig --key).",
                    cause="model",
                )
            return
        # Other endpoints take models that they do not list, such as aliases; their error names similar ids.
        is_known = endpoint.is_wandb and endpoint.account not in self._outdated
        known = self._catalogs.get(endpoint.account) if is_known else None
        if known is None or model.startswith("wandb-artifact:///"):
            return
        if known.find(model) is None:
            raise known.describe_unknown(model)

    def full_id(self, name: str, command: Context) -> str:
        """Return the id at W&B's endpoint whose last part is `name`; `name` itself if it may be an id.

        Raises
        ------
        InferenceError
            If several ids end with the name, or none does and some contain it.
        """
        if "/" in name:
            return name
        catalog = self.known(command.endpoint)
        # The snapshot may be older than the model.
        if len(catalog.named(name)) != 1 and not catalog.live and not command.dry:
            catalog = self.catalog(command)
        if catalog.find(name):
            return name
        named = catalog.named(name)
        if len(named) == 1:
            return named[0]
        found = named or [model.id for model in catalog.models if name.casefold() in model.id.casefold()]
        if not found:
            return name
        several = f"{len(found)} ids contain it" if len(found) > 1 else "This id contains it"
        raise InferenceError(
            f"{shortened(name)!r} is not the name of one model. Nothing was sent.",
            why=f"{several}: {', '.join(found[:MAX_NAMED])}{', ...' if len(found) > MAX_NAMED else ''}.",
            remedy=f"Name one of them, such as -m {found[0]}; %wbmodels compares them.",
            cause="model",
        )

    def price(self, model: str, endpoint: Endpoint) -> Price | None:
        """Return the price of a model, or None if it is not known."""
        if endpoint.is_local:
            return practice_server.FREE
        found = self.known(endpoint).find(model)
        return found.price if found else None

    def needed_price(self, model: str, command: Context, limit: float | None) -> Price | None:
        """Return the price of a model, or None if it is not known. With a budget, W&B's public feed is asked for it.

        `limit` is the budget. A replay with a budget asks its cassette, as the recording asked W&B: what is known of a
        model also decides what is sent to it.

        Raises
        ------
        InferenceError
            With cause `budget` if a budget is set and the feed could not be asked.
        """
        endpoint = command.endpoint
        price = self.price(model, endpoint)
        replays = command.costs_nothing and command.settings.budget is not None
        is_needed = price is None and (limit is not None or replays)
        if not is_needed or command.dry or not endpoint.is_wandb or self._by_feed is not None:
            return price
        if not command.settings.catalog:
            if replays:
                return None
            raise unknown_price(model, "The setting catalog is off: W&B's public list of prices is not fetched.")
        doing = f"asking for the price of {model}"
        _, failure = self._try(command, doing, self._load_feed(command.client()))
        if failure is not None and not replays:
            raise unknown_price(model, f"W&B's public list of prices could not be fetched. {failure.what}")
        return self.price(model, endpoint)
