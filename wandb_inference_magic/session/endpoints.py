"""Find the endpoint that the settings name, and its key."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..client import practice_server
from ..config import (
    FILE,
    PROJECT_VARIABLE,
    SESSION,
    TYPED,
    WANDB_URL,
    Endpoint,
    Key,
    KeySearch,
    check_key,
    expanded,
    is_wandb,
    origin_of,
    resolve_key,
    resolve_server_key,
    secrets_in,
)
from ..errors import InferenceError, quoted
from ..text import passwords_in

if TYPE_CHECKING:
    from ..cassettes import Cassette
    from ..config import Resolved

# Available on the service on 2026-10-07, and among its cheapest.
DEFAULT_MODEL: Final = "openai/gpt-oss-20b"
# The practice model's address while its replies come from a cassette; a reserved name (RFC 2606, section 2).
RECORDED_URL: Final = "http://practice-model.invalid/v1"


class Keys:
    """The keys of a session: those typed in it, and those in the environment, in files and in secret stores.

    Places are searched once a command: `refresh` begins a new search.

    Parameters
    ----------
    ask_secret : callable, optional
        Takes the question, asks the user for a secret without showing it, and returns the secret, or None if the user
        gives none. None when not interactive.
    """

    def __init__(self, ask_secret: Callable[[str], str | None] | None = None) -> None:
        self.ask_secret = ask_secret
        self.clear()

    def clear(self) -> None:
        """Discard the keys that were typed or came from secret stores."""
        self._typed: dict[str, Key] = {}
        # Keys found in the secrets of Colab or Kaggle, by source. A store may ask the user each time it is read.
        self._from_stores: dict[str, Key] = {}
        self.refresh()

    def refresh(self) -> None:
        """Search all places again the next time."""
        # By whether the endpoint is W&B's.
        self._found: dict[bool, KeySearch] = {}
        self._secrets: tuple[str, ...] | None = None

    def find(self, url: str) -> Key | None:
        """Return the key for an endpoint: the one typed in this session, else the first one found."""
        return self._typed.get(origin_of(url)) or self.search(url).key

    def search(self, url: str) -> KeySearch:
        """Search all places but those of typed keys for an endpoint's key."""
        # The command of another thread may begin meanwhile: what was found before it is not kept for it.
        for_wandb, found = is_wandb(url), self._found
        if for_wandb not in found:
            found[for_wandb] = resolve_key(os.environ, for_wandb=for_wandb, cached=self._from_stores)
            # A secret store may have given another one.
            self._secrets = None
        return found[for_wandb]

    def for_server(self) -> Key | None:
        """Return the key for the W&B server that stores traces."""
        return resolve_server_key(os.environ, self._typed.get(origin_of(WANDB_URL)), cached=self._from_stores).key

    def ignored(self, url: str) -> tuple[str, ...]:
        """Return the places with an unusable key, and why: `WANDB_API_KEY is ignored: it holds a space`."""
        return self._searched(url).texts("ignored")

    def origins(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return where an endpoint's key is from, and which keys are ignored. Without a key: why none was found."""
        source = () if endpoint.key is None else (endpoint.key.source,)
        if source and not endpoint.is_local:
            return (*source, *self.ignored(endpoint.url))
        # The practice model answers where there is no key of W&B.
        return (*source, *self._searched(WANDB_URL if endpoint.is_local else endpoint.url).reasons)

    def _searched(self, url: str) -> KeySearch:
        """Return what the command's search for an endpoint's key found. If it made none, no secret store is queried."""
        for_wandb = is_wandb(url)
        return self._found.get(for_wandb) or resolve_key(os.environ, for_wandb=for_wandb, secrets=())

    def set(self, url: str, key: Key) -> Key:
        """Use a key for an endpoint in this session.

        Raises
        ------
        InferenceError
            When it cannot be a key.
        """
        checked = self._typed[origin_of(url)] = Key(check_key(key.reveal()), key.source)
        self._secrets = None
        return checked

    def prompt_for(self, url: str) -> Key | None:
        """Ask the user for the key of an endpoint, and keep it for this session. None if the user gives none.

        Raises
        ------
        InferenceError
            When the typed text cannot be a key.
        """
        if self.ask_secret is None:
            return None
        whose = "W&B (made at forge.coreweave.com/settings)" if is_wandb(url) else url
        ignored = "".join(f"{note}. " for note in self.ignored(url))
        typed = self.ask_secret(f"{ignored}Key for {whose}: ") or ""
        return self.set(url, Key(typed, TYPED)) if typed.strip() else None

    def secrets(self) -> tuple[str, ...]:
        """Return the known keys and proxy passwords. No part of them may be written or traced."""
        if self._secrets is None:
            # No secret store is queried: it may ask the user.
            in_files = (
                resolve_key(os.environ, for_wandb=True, secrets=()).key,
                resolve_server_key(os.environ, secrets=()).key,
            )
            found = (*self._typed.values(), *self._from_stores.values(), *in_files)
            keys = (key.reveal() for key in found if key is not None)
            self._secrets = tuple(dict.fromkeys((*keys, *secrets_in(os.environ), *passwords_in(os.environ))))
        return self._secrets


@dataclass(frozen=True)
class EndpointResolver:
    """Finds the endpoint that the settings name, with its key.

    Parameters
    ----------
    settings, keys
    cassette : Cassette or None
        If it was recorded, its endpoint is used unless the settings name another.
    dry : bool
        Whether nothing will be sent. Then no key is asked for, and the practice model is not started.
    start : callable
        Starts the practice model.
    """

    settings: Resolved
    keys: Keys
    cassette: Cassette | None
    dry: bool
    start: Callable[[Path | None], practice_server.PracticeModel]

    def resolve(self) -> Endpoint:
        """Return the endpoint.

        Raises
        ------
        InferenceError
            When there is no key for W&B, or no practice model, unless `dry` is true.
        """
        cassette = self.cassette
        if cassette is None or (cassette.endpoint is None and cassette.records):
            return self._live(self._name(), asks=not self.dry)
        found = self._recorded(cassette)
        if not found.default_model and cassette.endpoint == found.name:
            return replace(found, default_model=cassette.model or "")
        return found

    def _name(self) -> str:
        if self.settings.endpoint != "auto":
            return self.settings.endpoint
        if self.keys.find(WANDB_URL) is not None or self.keys.search(WANDB_URL).texts("ignored"):
            # An unusable key is reported, not hidden by the practice model.
            return "wandb"
        # If named weights cannot be used, the error says so, not that there is no key.
        return "local" if self.settings.weights or practice_server.installed() else "wandb"

    @property
    def _weights(self) -> Path | None:
        return expanded(self.settings.weights) if self.settings.weights else None

    def _live(self, name: str, *, asks: bool) -> Endpoint:
        if name == "local":
            return self._practice()
        if name != "wandb":
            return self._custom(name)
        key = self.keys.find(WANDB_URL) or (self.keys.prompt_for(WANDB_URL) if asks else None)
        if key is None and not self.dry:
            raise self.keys.search(WANDB_URL).no_key_error(practice_server.how_to_use())
        return Endpoint("wandb", WANDB_URL, key, self.settings.project, default_model=DEFAULT_MODEL)

    def _custom(self, url: str) -> Endpoint:
        key = self.keys.find(url)
        if key is None and not self.dry and (ignored := self.keys.ignored(url)):
            raise InferenceError(
                "The key for the endpoint cannot be used; nothing was sent.",
                why=f"{'; '.join(ignored)}.",
                remedy="Set the variable to the key alone, or give the key with %wbconfig --key.",
                cause="key",
            )
        project, sources = self.settings.project, self.settings.sources
        source = sources["endpoint"]
        origin = "the setting `endpoint` of this session" if source == SESSION else source
        if is_wandb(url):
            return Endpoint("wandb", url, key, project, default_model=DEFAULT_MODEL, origin=origin)
        # A project from W&B's own settings is sent to W&B only.
        is_for_us = sources["project"] in (SESSION, FILE, PROJECT_VARIABLE)
        return Endpoint("custom", url, key, project if is_for_us else "", origin=origin)

    def _practice(self) -> Endpoint:
        is_chosen = self.settings.endpoint != "auto" or bool(self.settings.weights)
        is_fallback = not is_chosen and self._name() == "local"
        if self.dry:
            model = practice_server.model_id(self._weights)
            return Endpoint("local", "", default_model=model, is_fallback=is_fallback)
        practice = self.start(self._weights)
        key = Key(practice.key, "made for this session")
        return Endpoint("local", practice.base_url, key, default_model=practice.model, is_fallback=is_fallback)

    def _recorded(self, cassette: Cassette) -> Endpoint:
        """Return the endpoint that a cassette was recorded from. Neither a key nor the practice model is needed."""
        recorded = cassette.endpoint if self.settings.endpoint == "auto" else None
        name = recorded or self._name()
        name = "wandb" if is_wandb(name) else name
        unreachable = None
        if recorded is not None and name not in ("wandb", "local"):
            # The file may come from someone else, so no prompt and no key is sent to the endpoint it names.
            unreachable = _only_recorded(cassette, name)
        elif cassette.records:
            try:
                return self._live(name, asks=False)
            except InferenceError as error:
                unreachable = error
        if name == "local":
            model = cassette.model or practice_server.model_id(self._weights)
            return Endpoint("local", RECORDED_URL, default_model=model, out_of_reach=unreachable)
        if name == "wandb":
            return Endpoint("wandb", WANDB_URL, default_model=DEFAULT_MODEL, out_of_reach=unreachable)
        return Endpoint("custom", name, out_of_reach=unreachable)


def _only_recorded(cassette: Cassette, url: str) -> InferenceError:
    return InferenceError(
        f"The cassette {cassette.path.name} does not hold this request, and it was recorded at {quoted(url)}. "
        "Nothing was sent.",
        remedy=f"To send requests there: %wbconfig --endpoint {quoted(url)}",
        cause="missing",
    )
