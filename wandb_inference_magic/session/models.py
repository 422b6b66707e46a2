"""The models of a session's endpoint: the lists, each fetched once, the current model, and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from ..catalog import Catalog, join, read_listing, read_modelsdev, snapshot
from ..client import practice_server as local
from ..config import FEED_URL
from ..errors import InferenceError, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..cassettes import Cassette
    from ..catalog import Price
    from ..client import Client, Recorder
    from ..config import Endpoint, Resolved

# Available on the service on 2026-10-07, and among its cheapest.
DEFAULT_MODEL: Final = "openai/gpt-oss-20b"


class _Session(Protocol):
    """The part of a session that this module uses."""

    def resolve(self) -> Resolved: ...

    def endpoint(self) -> Endpoint: ...

    def cassette(self) -> Cassette | None: ...

    def recorder(self) -> Recorder | None: ...

    def connection(self, endpoint: Endpoint) -> Client: ...


class Models:
    """The models of a session's endpoint.

    Parameters
    ----------
    session : Session
        The session whose settings, cassette and client are used.
    """

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._catalogs: dict[str, Catalog] = {}

    def forget(self) -> None:
        """Discard the fetched lists."""
        self._catalogs.clear()

    def known(self, endpoint: Endpoint) -> Catalog:
        """Return what is known of the endpoint's models without a request."""
        if endpoint.is_local:
            return Catalog(models=(local.facts(endpoint.model),), live=True)
        if endpoint.url in self._catalogs:
            return self._catalogs[endpoint.url]
        return join(None, None, snapshot()) if endpoint.is_wandb else join([], None, None)

    def catalog(self, endpoint: Endpoint | None = None, *, refresh: bool = False) -> Catalog:
        """Return the endpoint's models: its live list joined with W&B's public feed, fetched once.

        If the list cannot be fetched, the catalog has what is known without it, and its `note` says so.
        """
        endpoint = endpoint or self._session.endpoint()
        if endpoint.url not in self._catalogs or refresh:
            self._catalogs[endpoint.url] = self._fetch_catalog(endpoint)
        return self._catalogs[endpoint.url]

    def _fetch_catalog(self, endpoint: Endpoint) -> Catalog:
        if endpoint.is_local:
            return self.known(endpoint)
        from ..client import fetch_feed, fetch_model_list

        notes: list[str] = []
        listing = self._try(lambda: read_listing(fetch_model_list(self._session.connection(endpoint))), endpoint, notes)
        if not endpoint.is_wandb:
            return join(listing or [], None, None, notes=notes)
        feed = None
        if self._session.resolve().catalog:
            feed = self._try(lambda: read_modelsdev(fetch_feed(FEED_URL, self._session.recorder())), endpoint, [])
        return join(listing, feed, snapshot(), notes=notes)

    def _try(self, fetch: Callable[[], Any], endpoint: Endpoint, notes: list[str]) -> Any:
        from ..client import FailureContext, to_inference_error

        try:
            return fetch()
        except ValueError as failure:
            notes.append(f"The endpoint answered, but not with a list of models ({quoted(str(failure))}).")
            return None
        except Exception as failure:  # noqa: BLE001 - whatever went wrong, there is something to fall back on
            error = to_inference_error(failure, FailureContext(endpoint, "", self.known(endpoint)))
            notes.append(f"{error.what} {error.why}".strip())
            return None

    def default(self, endpoint: Endpoint) -> str:
        """Return the model to use when none is set.

        Raises
        ------
        InferenceError
            When the endpoint does not have exactly one model, so that the user must choose one.
        """
        if endpoint.is_local:
            return endpoint.model
        if endpoint.is_wandb:
            return DEFAULT_MODEL
        cassette = self._session.cassette()
        if cassette is not None and cassette.endpoint == endpoint.name and cassette.model:
            return cassette.model
        ids = [model.id for model in self.catalog(endpoint).models]
        if len(ids) == 1:
            return ids[0]
        raise InferenceError(
            "No model is chosen.",
            why=f"The endpoint {endpoint.url} has {len(ids)} models." if ids else self.catalog(endpoint).note,
            remedy="Choose one with %wbmodels, or with -m.",
            cause="model",
        )

    def in_force(self, endpoint: Endpoint) -> str:
        """Return the model that the next chat would use."""
        return self._session.resolve().model or self.default(endpoint)

    def in_force_or_none(self, endpoint: Endpoint) -> str | None:
        """Return the model that the next chat would use, or None when one must be chosen first."""
        try:
            return self.in_force(endpoint)
        except InferenceError:
            return None

    def check(self, model: str, endpoint: Endpoint) -> None:
        """Raise an error for a model that the endpoint is known not to have, before anything is sent.

        Raises
        ------
        InferenceError
            With similar ids, or the replacement of a retired model.
        """
        if endpoint.is_local:
            if model != endpoint.model:
                raise InferenceError(
                    f"The model {model!r} is not here: without a key, the practice model on this machine answers.",
                    remedy=f"Leave the model out, or set it to {endpoint.model}; with a key (%wbconfig --key) "
                    "the models of W&B Inference are there.",
                    cause="model",
                )
            return
        known = self._catalogs.get(endpoint.url)
        if known is None or not known.live or model.startswith("wandb-artifact:///"):
            return
        found = known.find(model)
        if found is None or found.available is False:
            raise known.describe_unknown(model)

    def price(self, model: str, endpoint: Endpoint) -> Price | None:
        """Return the price of a model, or None if it is not known."""
        if endpoint.is_local:
            return local.FREE
        found = self.known(endpoint).find(model)
        return found.price if found else None
