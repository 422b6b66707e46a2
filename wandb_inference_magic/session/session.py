"""What one loaded extension shares: settings, client, catalog, threads and the last Reply."""

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

# What stands for the practice model's address while a cassette answers for it (RFC 2606, section 2).
RECORDED_URL: Final = "http://practice-model.invalid/v1"


class Session:
    """One configured client and what goes with it.

    Parameters
    ----------
    settings : WandbInference
        The settings, resolved anew for each call.
    ask_secret : callable, optional
        Asks the user for a secret, given the question, without showing it; None where nobody can be asked.
        Returns None when the user gives none.
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
        # Held while a cassette is opened, or Weave connected to: several threads may ask at once.
        self._opening = RLock()
        # The names of a cassette and a budget file are meant from here, wherever the notebook goes later.
        self._folder = _folder()
        self._tracer: Tracer | None = None
        # Held while a turn is put into a thread.
        self.recording = Lock()
        self._shared_client = SharedClient()
        self._typed_keys: dict[str, Key] = {}
        # What the secrets of Colab or Kaggle gave, by their names.
        self._store_keys: dict[str, Key] = {}
        self.models = Models(self)
        self._at_close: list[Callable[[], None]] = []

    # Endpoint and client

    def resolve(self) -> Resolved:
        """Return the settings in force."""
        return self.settings.resolve()

    def resolve_key(self, url: str, notes: list[str] | None = None) -> Key | None:
        """Find the key for an endpoint: typed in this session, else where the environment and the files have one."""
        typed = self._typed_keys.get(url)
        return typed or resolve_key(os.environ, for_wandb=is_wandb(url), notes=notes, kept=self._store_keys)

    def ignored_keys(self, url: str) -> tuple[str, ...]:
        """Return which places hold a key for an endpoint that cannot be used, and why."""
        return ignored_keys(os.environ, for_wandb=is_wandb(url))

    def endpoint(self, *, ask: bool = True, start: bool = True) -> Endpoint:
        """Return the endpoint in force.

        Parameters
        ----------
        ask : bool
            Whether the user may be asked for W&B's key when none is found.
        start : bool
            Whether the practice model may be started when it is the endpoint.

        Raises
        ------
        InferenceError
            Without a key for W&B or without the practice model, unless `start` is false.
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
        """Return the endpoint that a cassette answers for: neither a key nor the practice model is needed."""
        recorded = cassette.endpoint if settings.endpoint == "auto" else None
        name = recorded or self._endpoint_name(settings)
        name = "wandb" if is_wandb(name) else name
        unreachable = None
        if recorded is not None and name not in ("wandb", "local"):
            # The file may be somebody else's: what it names is sent no prompt and no key.
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
        """Return the cassette in use, opened on first use and again when a setting of it has changed.

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
        """Have the cassette opened anew within: it replays from its beginning, and records a new take.

        Where that fails, the one there was goes on as it was: its take is not lost.
        """
        before, self._cassette = self._cassette, None
        try:
            yield
        except BaseException:
            self._cassette = before
            raise

    @contextmanager
    def without_cassette(self) -> Iterator[None]:
        """Set the cassette aside for a moment: what is asked within goes to the endpoint."""
        self._is_aside = True
        try:
            yield
        finally:
            self._is_aside = False

    def secrets(self) -> tuple[str, ...]:
        """Return the keys and the proxies' passwords that are known here: nothing of them is written or traced."""
        # Asked for with each exchange that is recorded and each value that is traced: no store is asked for it.
        in_files = (resolve_key(os.environ, for_wandb=True, secrets=()), resolve_server_key(os.environ, secrets=()))
        found = (*self._typed_keys.values(), *self._store_keys.values(), *in_files)
        keys = (*(key.reveal() for key in found if key is not None), *secrets_in(os.environ), *passwords_in(os.environ))
        return tuple(dict.fromkeys(keys))

    def _endpoint_name(self, settings: Resolved) -> str:
        if settings.endpoint != "auto":
            return settings.endpoint
        notes: list[str] = []
        if self.resolve_key(WANDB_URL, notes) is not None or ignored_among(notes):
            # A key that cannot be used is reported: the practice model does not hide it.
            return "wandb"
        return "local" if local.installed(_path(settings.weights)) else "wandb"

    def _practice_endpoint(self, settings: Resolved, *, start: bool) -> Endpoint:
        weights = _path(settings.weights)
        if not start:
            return Endpoint("local", "", model=local.model_id(weights))
        practice = local.start(weights)
        return Endpoint("local", practice.base_url, Key(practice.key, "made for this session"), model=practice.model)

    def prompt_for_key(self, url: str | None = None) -> Key | None:
        """Ask the user for the key of an endpoint (by default the one in force) and keep it for this session.

        Raises
        ------
        InferenceError
            When what was typed cannot be a key.
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
        """Use this key for an endpoint, for this session.

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
        """Return the SDK's object of the one client: built on first use, anew when a setting it needs has changed."""
        # No magic is around its calls: what is not to be traced any more must be known here.
        self.tracer()
        return self.connection(self.endpoint()).sdk

    def recorder(self) -> Recorder | None:
        """Return what the clients record with, or replay from."""
        cassette = self.cassette()
        if cassette is None:
            return None
        # Imported when a cassette is in use.
        from ..cassettes import CassetteRecorder

        return CassetteRecorder(cassette)

    def connection(self, endpoint: Endpoint) -> Client:
        """Return the one configured client."""
        settings = self.resolve()
        return self._shared_client.get(
            endpoint,
            timeout=settings.timeout,
            max_retries=settings.max_retries,
            cassette=self.recorder(),
        )

    def async_client(self, endpoint: Endpoint) -> AsyncClient:
        """Return a client for many requests at once, made as the one client is; it belongs to one event loop."""
        return AsyncClient(endpoint, timeout=self.resolve().timeout, cassette=self.recorder())

    def shared_spending(self) -> SharedSpending | None:
        """Return what kernels that share this session's budget have spent; None where it shares none."""
        name = self.settings.budget_file
        if not name:
            return None
        from .shared_spending import SharedSpending

        if self._spending is None or self._spending[0] != name:
            self._spending = name, SharedSpending(self._folder / expanded(name))
        return self._spending[1]

    def share_cost(self, usd: float) -> None:
        """Add what a call has cost to the file that the budget is shared in, if there is one."""
        # A reply that has come is not lost to a file that cannot be used: the next call is refused for it.
        with suppress(InferenceError):
            if usd and (shared := self.shared_spending()) is not None:
                shared.add(usd)

    def tracer(self) -> Tracer | None:
        """Return what traces calls in Weave; None where tracing is off, and while a cassette alone answers."""
        project = self.settings.trace
        with self._opening:
            if self._tracer is not None and self._tracer.project != project:
                self._end_tracer()
            cassette = self.cassette()
            if cassette is not None and not cassette.records:
                # Weave, left connected, would go on tracing the SDK's own calls.
                self._end_tracer()
                return None
            if not project:
                return None
            key = resolve_server_key(os.environ, self._typed_keys.get(WANDB_URL), kept=self._store_keys)
            if self._tracer is not None and self._tracer.key != key:
                # One that found no key, or a wrong one, has given up.
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
        """Forget what was set in this session: settings, typed keys, fetched lists."""
        self.settings.reset()
        self._typed_keys.clear()
        self._store_keys.clear()
        self.models.forget()
        self.tracer()
        self._shared_client.close()

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when the session is closed."""
        self._at_close.append(callback)

    def close(self) -> None:
        """Close the client, stop the practice model and tell whoever asked to be told."""
        while self._at_close:
            self._at_close.pop()()
        if self._tracer is not None:
            self._tracer.close()
        self._shared_client.close()
        local.stop()

    # Threads

    def thread(self, name: str) -> Thread:
        """Return the thread of that name, an empty one if there is none yet."""
        return self.threads.get(name) or Thread(name)

    def existing_thread(self, name: str) -> Thread:
        """Return the thread of that name.

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
        # It has been deleted: a notebook without files still works.
        return Path()


def _is_set_for_us(settings: Resolved) -> bool:
    """Whether the project was set for this extension; one found where W&B keeps its own is for W&B alone."""
    return settings.sources["project"] in (SESSION, FILE, PROJECT_VARIABLE)


def _path(weights: str) -> Path | None:
    return expanded(weights) if weights else None
