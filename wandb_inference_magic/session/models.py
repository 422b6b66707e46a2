"""The models of the endpoints: the lists, each fetched once, the default model, and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from ..catalog import Catalog, join, read_listing, read_modelsdev, snapshot
from ..client import practice_server as local
from ..config import FEED_URL
from ..errors import InferenceError, quoted, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from openai import AsyncOpenAI

    from ..catalog import Price
    from ..concurrency import EventLoop
    from ..config import Endpoint, Resolved
    from ..messages import Waiting


# The statuses of an endpoint that has no list of models.
NO_LIST: Final = (404, 405, 501)
# So many ids are named in an error.
MOST_NAMED: Final = 12


class Context(Protocol):
    """The part of a command that this module uses."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def settings(self) -> Resolved: ...

    @property
    def dry(self) -> bool: ...

    @property
    def listener(self) -> Waiting: ...

    @property
    def loop(self) -> EventLoop: ...

    def client(self) -> AsyncOpenAI: ...


def has_no_list(failure: InferenceError) -> bool:
    """Return whether an endpoint that failed to list its models has no list. It may still answer chats."""
    return failure.status in NO_LIST or failure.cause == "reply"


class Models:
    """What is known about the models of each endpoint. A list is fetched once."""

    def __init__(self) -> None:
        self._catalogs: dict[str, Catalog] = {}
        # Why the last request for an endpoint's list failed.
        self._failures: dict[str, InferenceError] = {}

    def forget(self) -> None:
        """Discard the fetched lists."""
        self._catalogs.clear()
        self._failures.clear()

    def failure(self, endpoint: Endpoint) -> InferenceError | None:
        """Return why the endpoint's list could not be fetched, or None if it was."""
        return self._failures.get(endpoint.url)

    def known(self, endpoint: Endpoint) -> Catalog:
        """Return what is known of the endpoint's models without a request."""
        if endpoint.is_local:
            return Catalog(models=(local.facts(endpoint.default_model),), live=True)
        if endpoint.url in self._catalogs:
            return self._catalogs[endpoint.url]
        return join(None, None, snapshot()) if endpoint.is_wandb else join([], None, None)

    def catalog(self, command: Context, *, refresh: bool = False) -> Catalog:
        """Return the endpoint's models: its live list joined with W&B's public feed, fetched once.

        If the list cannot be fetched, the catalog has what is known without it, and its `note` says so.

        Raises
        ------
        InferenceError
            When no request can be made, or nothing is known without the list and it could not be fetched, other than
        from an endpoint that has none.

        Parameters
        ----------
        command : Command
        refresh : bool
            Whether to fetch the list again.
        """
        endpoint = command.endpoint
        if endpoint.is_local:
            return self.known(endpoint)
        if endpoint.url not in self._catalogs or refresh:
            with command.listener.waiting("asking the endpoint for its models") as redraw:
                self._catalogs[endpoint.url] = self._fetch(command, redraw)
        return self._catalogs[endpoint.url]

    def _fetch(self, command: Context, meanwhile: Callable[[], None]) -> Catalog:
        # Imported here, because completion uses this module too, and the SDK takes long to import.
        from ..client import fetch_feed, fetch_model_list

        endpoint, client = command.endpoint, command.client()

        def fetched(fetch: Callable[[AsyncOpenAI], Coroutine[Any, Any, object]], read: Callable[[Any], Any]) -> Any:
            return read(command.loop.run(fetch(client), meanwhile=meanwhile))

        listing, failure = self._try(lambda: fetched(fetch_model_list, read_listing), endpoint)
        self._failures.pop(endpoint.url, None)
        notes = []
        if failure is not None:
            self._failures[endpoint.url] = failure
            notes.append(f"{failure.what} {failure.why}".strip())
        if not endpoint.is_wandb:
            if failure is not None and not has_no_list(failure):
                raise failure
            return join(listing or [], None, None, notes=notes)
        feed = None
        if command.settings.catalog:
            feed, _ = self._try(lambda: fetched(lambda client: fetch_feed(client, FEED_URL), read_modelsdev), endpoint)
        return join(listing, feed, snapshot(), notes=notes)

    def _try(self, fetch: Callable[[], Any], endpoint: Endpoint) -> tuple[Any, InferenceError | None]:
        """Return what was fetched, or None and the error."""
        from ..client import FailureContext, to_inference_error

        try:
            return fetch(), None
        except ValueError as failure:
            what = f"The endpoint answered, but not with a list of models ({quoted(str(failure))})."
            return None, InferenceError(what, cause="reply")
        except Exception as failure:  # noqa: BLE001 - whatever went wrong, there is something to fall back on
            return None, to_inference_error(failure, FailureContext(endpoint, "", self.known(endpoint)))

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
                    f"The model {model!r} is not here: without a key, the practice model on this machine answers.",
                    remedy=f"Leave the model out, or set it to {endpoint.default_model}; with a key (%wbconfig --key) "
                    "the models of W&B Inference are there.",
                    cause="model",
                )
            return
        # Other endpoints take models that they do not list, such as aliases; their error names similar ids.
        known = self._catalogs.get(endpoint.url) if endpoint.is_wandb else None
        if known is None or not known.live or model.startswith("wandb-artifact:///"):
            return
        found = known.find(model)
        if found is None or found.available is False:
            raise known.describe_unknown(model)

    def full_id(self, name: str, command: Context) -> str:
        """Return the id at W&B's endpoint whose last part is `name`; `name` itself if it may be an id.

        Raises
        ------
        InferenceError
            If several ids end so, or none does and some hold the name.
        """
        if "/" in name:
            return name
        catalog = self.known(command.endpoint)
        # The snapshot may be older than the model.
        if len(catalog.named(name)) != 1 and not catalog.live and not command.dry:
            catalog = self.catalog(command)
        named = catalog.named(name)
        if len(named) == 1 or catalog.find(name):
            return name if catalog.find(name) else named[0]
        found = named or [model.id for model in catalog.models if name.casefold() in model.id.casefold()]
        if not found:
            return name
        several = f"{len(found)} ids hold it" if len(found) > 1 else "This id holds it"
        raise InferenceError(
            f"{shortened(name)!r} is not the name of one model. Nothing was sent.",
            why=f"{several}: {', '.join(found[:MOST_NAMED])}{', ...' if len(found) > MOST_NAMED else ''}.",
            remedy=f"Name one of them, such as -m {found[0]}; %wbmodels compares them.",
            cause="model",
        )

    def price(self, model: str, endpoint: Endpoint) -> Price | None:
        """Return the price of a model, or None if it is not known."""
        if endpoint.is_local:
            return local.FREE
        found = self.known(endpoint).find(model)
        return found.price if found else None
