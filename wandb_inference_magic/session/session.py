"""The state of one loaded extension: settings, client, catalog, threads and the last Reply."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Final

from ..client import AsyncClient, SharedClient, practice_server as local
from ..config import (
    FILE,
    PROJECT_VARIABLE,
    SESSION,
    WANDB_URL,
    Endpoint,
    Key,
    check_key,
    expanded,
    ignored_among,
    ignored_key_error,
    ignored_keys,
    is_wandb,
    no_key_error,
    resolve_key,
    resolve_server_key,
    secrets_in,
)
from ..errors import InferenceError, did_you_mean, quoted
from ..messages import DEFAULT_THREAD, Thread
from ..text import passwords_in
from .models import Models
from .usage import UsageTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openai import OpenAI

    from ..cassettes import Cassette
    from ..client import Client, Recorder
    from ..config import Resolved, WandbInference
    from ..messages import Reply
    from .shared_spending import SharedSpending
    from .tracing import Tracer

# The practice model's address while its replies come from a cassette; a reserved name (RFC 2606, section 2).
RECORDED_URL: Final = "http://practice-model.invalid/v1"


class Session:
    """One configured client and the state that belongs to it.

    Parameters
    ----------
    settings : WandbInference
        The settings. They are resolved again for each call.
    ask_secret : callable, optional
        Takes the question, asks the user for a secret without showing it, and returns the secret, or None if the user
        gives none. None when not interactive.
    """

    def __init__(self, settings: WandbInference, ask_secret: Callable[[str], str | None] | None = None) -> None:
        self.settings = settings
        self.ask_secret = ask_secret
        self.threads: dict[str, Thread] = {}
        self.current_thread = DEFAULT_THREAD
        self.last_reply: Reply | None = None
        self.last_comparison: list[Reply] = []
        self.listed_models: list[str] = []
        self.usage = UsageTracker(on_cost=self.share_cost)
        self._spending: tuple[str, SharedSpending] | None = None
        self._cassette: tuple[tuple[str, ...], Cassette] | None = None
        self._is_aside = False
        # Held while a cassette is opened or Weave is connected: several threads may need them at once.
        self._opening = RLock()
        # Relative paths of cassettes and budget files start here, even if the notebook changes its folder later.
        self._folder = _folder()
        self._tracer: Tracer | None = None
        # Held while a turn is recorded in a thread.
        self.recording = Lock()
        self._shared_client = SharedClient()
        self._typed_keys: dict[str, Key] = {}
        # Keys found in the secrets of Colab or Kaggle, by source.
        self._store_keys: dict[str, Key] = {}
        self.models = Models(self)
        self._at_close: list[Callable[[], None]] = []

    # Endpoint and client

    def resolve(self) -> Resolved:
        """Return the current settings."""
        return self.settings.resolve()

    def resolve_key(self, url: str, notes: list[str] | None = None) -> Key | None:
        """Find the key for an endpoint: the one typed in this session, else one in the environment or in a file."""
        typed = self._typed_keys.get(url)
        return typed or resolve_key(os.environ, for_wandb=is_wandb(url), notes=notes, kept=self._store_keys)

    def ignored_keys(self, url: str) -> tuple[str, ...]:
        """Return the places that have an unusable key for an endpoint, each with the reason."""
        return ignored_keys(os.environ, for_wandb=is_wandb(url))

    def endpoint(self, *, ask: bool = True, start: bool = True) -> Endpoint:
        """Return the current endpoint.

        Parameters
        ----------
        ask : bool
            Whether the user may be asked for W&B's key when none is found.
        start : bool
            Whether the practice model may be started when it is the endpoint.

        Raises
        ------
        InferenceError
            When there is no key for W&B, or no practice model, unless `start` is false.
        """
        settings = self.resolve()
        cassette = self.cassette()
        if cassette is not None and (cassette.endpoint is not None or not cassette.records):
            return self._recorded_endpoint(cassette, settings, start=start)
        return self._live_endpoint(self._endpoint_name(settings), settings, ask=ask, start=start)

    def _live_endpoint(self, name: str, settings: Resolved, *, ask: bool, start: bool) -> Endpoint:
        if name == "local":
            return self._practice_endpoint(settings, start=start)
        if name != "wandb":
            kind: Any = "wandb" if is_wandb(name) else "custom"
            project = settings.project if kind == "wandb" or _is_set_for_us(settings) else ""
            key = self.resolve_key(name)
            if key is None and start and (ignored := self.ignored_keys(name)):
                raise ignored_key_error(ignored)
            return Endpoint(kind, name, key, project)
        notes: list[str] = []
        key = self.resolve_key(WANDB_URL, notes) or (self.prompt_for_key(WANDB_URL) if ask else None)
        if key is None and start:
            raise no_key_error(notes)
        return Endpoint("wandb", WANDB_URL, key, settings.project)

    def _recorded_endpoint(self, cassette: Cassette, settings: Resolved, *, start: bool) -> Endpoint:
        """Return the endpoint that a cassette was recorded from. Neither a key nor the practice model is needed."""
        recorded = cassette.endpoint if settings.endpoint == "auto" else None
        name = recorded or self._endpoint_name(settings)
        name = "wandb" if is_wandb(name) else name
        unreachable = None
        if recorded is not None and name not in ("wandb", "local"):
            # The file may come from someone else, so no prompt and no key is sent to the endpoint it names.
            unreachable = _only_recorded(cassette, name)
        elif cassette.records:
            try:
                return self._live_endpoint(name, settings, ask=False, start=start)
            except InferenceError as error:
                unreachable = error
        if name == "local":
            model = cassette.model or local.model_id(_path(settings.weights))
            return Endpoint("local", RECORDED_URL, model=model, out_of_reach=unreachable)
        kind: Any = "wandb" if name == "wandb" else "custom"
        return Endpoint(kind, WANDB_URL if kind == "wandb" else name, out_of_reach=unreachable)

    def cassette(self) -> Cassette | None:
        """Return the cassette in use. It is opened on first use, and again when its settings have changed.

        Raises
        ------
        InferenceError
            When it cannot be used.
        """
        if self._is_aside:
            return None
        settings = self.resolve()
        with self._opening:
            if not settings.cassette or settings.cassette_mode == "off":
                self._cassette = None
                return None
            wanted = (settings.cassette, settings.cassette_mode)
            if self._cassette is None or self._cassette[0] != wanted:
                from ..cassettes import Cassette

                path = self._folder / expanded(settings.cassette)
                opened = Cassette(path, settings.cassette_mode, settings.cassette_pace, self.secrets)
                self._cassette = wanted, opened
            self._cassette[1].pace = settings.cassette_pace
            return self._cassette[1]

    @contextmanager
    def reopening(self) -> Iterator[None]:
        """Open the cassette again inside the `with` block: it replays from its beginning, and records a new take.

        If the block raises, the cassette that was open before stays in use, and its take is not lost.
        """
        before, self._cassette = self._cassette, None
        try:
            yield
        except BaseException:
            self._cassette = before
            raise

    @contextmanager
    def without_cassette(self) -> Iterator[None]:
        """Ignore the cassette inside the `with` block: requests go to the endpoint."""
        self._is_aside = True
        try:
            yield
        finally:
            self._is_aside = False

    def secrets(self) -> tuple[str, ...]:
        """Return the known keys and proxy passwords. No part of them may be written or traced."""
        # Called for each recorded exchange and each traced value, so no secret store is queried.
        in_files = (resolve_key(os.environ, for_wandb=True, secrets=()), resolve_server_key(os.environ, secrets=()))
        found = (*self._typed_keys.values(), *self._store_keys.values(), *in_files)
        keys = (*(key.reveal() for key in found if key is not None), *secrets_in(os.environ), *passwords_in(os.environ))
        return tuple(dict.fromkeys(keys))

    def _endpoint_name(self, settings: Resolved) -> str:
        if settings.endpoint != "auto":
            return settings.endpoint
        notes: list[str] = []
        if self.resolve_key(WANDB_URL, notes) is not None or ignored_among(notes):
            # An unusable key is reported, not hidden by the practice model.
            return "wandb"
        return "local" if local.installed(_path(settings.weights)) else "wandb"

    def _practice_endpoint(self, settings: Resolved, *, start: bool) -> Endpoint:
        weights = _path(settings.weights)
        if not start:
            return Endpoint("local", "", model=local.model_id(weights))
        practice = local.start(weights)
        return Endpoint("local", practice.base_url, Key(practice.key, "made for this session"), model=practice.model)

    def prompt_for_key(self, url: str | None = None) -> Key | None:
        """Ask the user for the key of an endpoint (by default the current one), and keep it for this session.

        Raises
        ------
        InferenceError
            When the typed text cannot be a key.
        """
        if self.ask_secret is None:
            return None
        url = url or self._url_in_force()
        whose = "W&B (made at forge.coreweave.com/settings)" if is_wandb(url) else url
        ignored = "".join(f"{note}. " for note in self.ignored_keys(url))
        typed = self.ask_secret(f"{ignored}Key for {whose}: ") or ""
        if not typed.strip():
            return None
        self._typed_keys[url] = Key(check_key(typed), "typed in")
        return self._typed_keys[url]

    def set_key(self, url: str, key: Key) -> None:
        """Use a key for an endpoint in this session.

        Raises
        ------
        InferenceError
            When it cannot be a key.
        """
        self._typed_keys[url] = Key(check_key(key.reveal()), key.source)

    def _url_in_force(self) -> str:
        name = self.resolve().endpoint
        return WANDB_URL if name in ("auto", "wandb", "local") else name

    def client(self) -> OpenAI:
        """Return the client as the SDK's object. Built on first use, and again when a setting it needs has changed."""
        # Its calls are made outside a magic, so tracing that has been switched off must end here.
        self.tracer()
        return self.connection(self.endpoint()).sdk

    def recorder(self) -> Recorder | None:
        """Return the recorder that the clients record with or replay from; None without a cassette."""
        cassette = self.cassette()
        if cassette is None:
            return None
        # Imported when a cassette is in use.
        from ..cassettes import CassetteRecorder

        return CassetteRecorder(cassette)

    def connection(self, endpoint: Endpoint) -> Client:
        """Return the configured client."""
        settings = self.resolve()
        return self._shared_client.get(
            endpoint,
            timeout=settings.timeout,
            max_retries=settings.max_retries,
            cassette=self.recorder(),
        )

    def async_client(self, endpoint: Endpoint) -> AsyncClient:
        """Return an async client with the same settings, for many requests at once. It belongs to one event loop."""
        return AsyncClient(endpoint, timeout=self.resolve().timeout, cassette=self.recorder())

    def shared_spending(self) -> SharedSpending | None:
        """Return the spending of all kernels that share this session's budget, or None if it is not shared."""
        name = self.settings.budget_file
        if not name:
            return None
        from .shared_spending import SharedSpending

        if self._spending is None or self._spending[0] != name:
            self._spending = name, SharedSpending(self._folder / expanded(name))
        return self._spending[1]

    def share_cost(self, usd: float) -> None:
        """Add the cost of a call to the shared budget file, if there is one."""
        # A reply already received is not lost when the file cannot be used. The next call is refused instead.
        with suppress(InferenceError):
            if usd and (shared := self.shared_spending()) is not None:
                shared.add(usd)

    def tracer(self) -> Tracer | None:
        """Return the tracer for Weave, or None if tracing is off or all replies come from a cassette."""
        project = self.settings.trace
        with self._opening:
            if self._tracer is not None and self._tracer.project != project:
                self._end_tracer()
            cassette = self.cassette()
            if cassette is not None and not cassette.records:
                # If it stayed connected, Weave would continue to trace the SDK's own calls.
                self._end_tracer()
                return None
            if not project:
                return None
            key = resolve_server_key(os.environ, self._typed_keys.get(WANDB_URL), kept=self._store_keys)
            if self._tracer is not None and self._tracer.key != key:
                # A tracer with no key or a wrong key has given up, so start a new one.
                self._end_tracer()
            if self._tracer is None:
                from .tracing import Tracer

                self._tracer = Tracer(project, key, self.secrets)
            return self._tracer

    def _end_tracer(self) -> None:
        ended, self._tracer = self._tracer, None
        if ended is not None:
            ended.close()

    def forget(self) -> None:
        """Reset what was set in this session: settings, typed keys, fetched lists."""
        self.settings.reset()
        self._typed_keys.clear()
        self._store_keys.clear()
        self.models.forget()
        self.tracer()
        self._shared_client.close()

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the session is closed."""
        self._at_close.append(callback)

    def close(self) -> None:
        """Call the `on_close` callbacks, close the tracer and the client, and stop the practice model."""
        while self._at_close:
            self._at_close.pop()()
        if self._tracer is not None:
            self._tracer.close()
        self._shared_client.close()
        local.stop()

    # Threads

    def thread(self, name: str) -> Thread:
        """Return the thread with this name, or an empty one if there is none yet."""
        return self.threads.get(name) or Thread(name)

    def existing_thread(self, name: str) -> Thread:
        """Return the thread with this name.

        Raises
        ------
        InferenceError
            When there is none.
        """
        if name in self.threads:
            return self.threads[name]
        near = did_you_mean(name, self.threads)
        raise InferenceError(
            f"There is no thread {quoted(name)!r}.", remedy=near or "%wbthread lists the threads.", cause="option"
        )


def _only_recorded(cassette: Cassette, url: str) -> InferenceError:
    return InferenceError(
        f"The cassette {cassette.path.name} does not hold this request, and it was recorded at {quoted(url)}. "
        "Nothing was sent.",
        remedy=f"If you mean to ask there: %wbconfig --endpoint {quoted(url)}",
        cause="missing",
    )


def _folder() -> Path:
    try:
        return Path.cwd()
    except OSError:
        # The folder has been deleted. A notebook that uses no files still works.
        return Path()


def _is_set_for_us(settings: Resolved) -> bool:
    """Whether the project was set for this extension. A project from W&B's own settings is sent to W&B only."""
    return settings.sources["project"] in (SESSION, FILE, PROJECT_VARIABLE)


def _path(weights: str) -> Path | None:
    return expanded(weights) if weights else None
