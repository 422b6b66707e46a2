"""Find the key that `wandb login` saved or the environment contains. wandb does not need to be imported.

The places of keys, and the host that a key belongs to, are those of wandb as of 2026-10-07.
"""

from __future__ import annotations

import os
import re
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, NamedTuple, NoReturn
from urllib.parse import urlsplit

from ..errors import InferenceError
from ..text import KEY_VARIABLES, secrets_of
from .files import expanded, read_file
from .key import Key, key_fault

OWN_VARIABLE, *WANDB_VARIABLES = KEY_VARIABLES
# In bytes. A netrc or settings file is at most a page of text.
MAX_FILE_BYTES: Final = 1_000_000
# wandb 0.31 and newer write the second host to netrc, older versions the first.
WANDB_HOSTS: Final = ("api.wandb.ai", "api.forge.coreweave.com")
_NETRC_FIELDS: Final = ("machine", "login", "user", "account", "password", "macdef")
# In quotes, or not. A backslash is before a character that would end it.
_NETRC_WORD: Final = re.compile(r'"((?:\\.|[^"\\])*)"|((?:\\.|[^ \t\\])+)')


@dataclass(frozen=True, slots=True)
class KeySource:
    """A place where a key may be: its name for users, a function that reads it (None if absent), and the part of it."""

    name: str
    read: Callable[[], object]
    part: str = ""


# A key that is unusable, a file or store that cannot be read, keys of another W&B server or its file, no key at all.
Kind = Literal["ignored", "not read", "of another server", "other", "empty"]


class Note(NamedTuple):
    """What the search for a key found that is no usable key."""

    kind: Kind
    text: str


class KeySearch(NamedTuple):
    """What a search for a key found: the key, and why places before it have no usable one.

    If no key was found, a note says which places are empty.
    """

    key: Key | None
    notes: tuple[Note, ...] = ()

    def texts(self, kind: Kind) -> tuple[str, ...]:
        """Return the texts of the notes of one kind."""
        return tuple(note.text for note in self.notes if note.kind == kind)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the places that are not empty have no usable key."""
        return tuple(note.text for note in self.notes if note.kind != "empty")

    @property
    def variable_to_set(self) -> str:
        """The variable that gives a key for W&B's endpoint."""
        return OWN_VARIABLE if self.texts("of another server") else "WANDB_API_KEY"

    def no_key_error(self, to_practise: str) -> InferenceError:
        """Return the error for a call that needs W&B's key, if the search found none.

        `to_practise` says how to use the practice model.
        """
        return InferenceError(
            "No W&B key was found; nothing was sent.",
            why=f"Looked in: {'; '.join(note.text for note in self.notes)}." if self.notes else "",
            remedy="Make a key at forge.coreweave.com/settings, then run %wbconfig --key "
            f"(or set {self.variable_to_set}). "
            f"To try it without a key, {to_practise}",
            cause="key",
        )


class _UnusableError(Exception):
    """A place holds something unusable. The text continues a sentence that begins with the place's name."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def resolve_key(
    environ: Mapping[str, str],
    *,
    for_wandb: bool,
    secrets: Sequence[KeySource] | None = None,
    cached: dict[str, Key] | None = None,
) -> KeySearch:
    """Find the key for an endpoint.

    Parameters
    ----------
    environ : mapping
        The environment.
    for_wandb : bool
        Whether the endpoint is W&B's own. A key found for W&B is used for no other endpoint. Other endpoints use
        `WANDB_INFERENCE_API_KEY` only.
    secrets : sequence of KeySource, optional
        The stores to search last. Default: those of the notebook service that this runs in.
    cached : dict, optional
        The keys that the stores have returned, by source. Such a store is not read again, because it may ask the
        user each time. A key that a store returns now is added.

    Returns
    -------
    KeySearch
        With the key from the first place with a usable one, in the order of `_key_sources`.
    """
    cached = {} if cached is None else cached
    stores = notebook_secrets(environ) if secrets is None else secrets
    found = _search(_key_sources(environ, for_wandb, stores, cached))
    if found.key is not None and found.key.source in [store.name for store in stores]:
        cached[found.key.source] = found.key
    return found


def resolve_server_key(
    environ: Mapping[str, str],
    typed: Key | None = None,
    *,
    secrets: Sequence[KeySource] | None = None,
    cached: dict[str, Key] | None = None,
) -> KeySearch:
    """Find the key for the W&B server that stores projects and traces: W&B's own, or the one in WANDB_BASE_URL.

    Each server has its own key. A key for one is not sent to the other. `typed` is the key that was typed in for
    W&B's own server. `secrets` and `cached` are as for `resolve_key`.
    """
    environ = {name: value for name, value in environ.items() if name != OWN_VARIABLE}
    other = other_host(environ.get("WANDB_BASE_URL", ""))
    if other:
        return _search([_variable(environ, "WANDB_API_KEY"), _netrc(environ, home_folder(environ), other)])
    return KeySearch(typed) if typed else resolve_key(environ, for_wandb=True, secrets=secrets, cached=cached)


def secrets_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys in the environment, for any service, and its other long secrets."""
    keys = (environ.get(name, "").strip() for name in KEY_VARIABLES)
    return tuple(filter(None, (*keys, *(secret for _, secret in secrets_of(environ)))))


def _search(sources: Iterable[KeySource]) -> KeySearch:
    """Look for the first place with a usable key, and note why the others have none."""
    # A netrc file is searched for two machines: each note and each name counts once.
    notes: dict[Note, None] = {}
    empty: dict[str, None] = {}
    for source in sources:
        try:
            found = source.read()
            # A line break around a key comes from a file or a paste that was not meant: it is reported, not removed.
            value = found.strip(" \t") if isinstance(found, str) and found.strip() else ""
            if fault := key_fault(value):
                raise _UnusableError("ignored", f"is ignored: it {fault}")
        except (FileNotFoundError, NotADirectoryError):
            value = ""
        except Exception as error:  # noqa: BLE001 - a source that cannot be read is reported and skipped
            if not isinstance(error, _UnusableError):
                error = _not_read(error)
            notes[Note(error.kind, f"{source.name} {error}")] = None
            continue
        if value:
            return KeySearch(Key(value, f"{source.name}{source.part}"), tuple(notes))
        empty[source.name] = None
    if empty:
        notes[Note("empty", f"nothing in {', '.join(empty)}")] = None
    return KeySearch(None, tuple(notes))


def _not_read(error: Exception) -> _UnusableError:
    """Return the error for a place that cannot be read: with the line that a parser does not understand, else the type.

    The parser's message is not in it: it may quote the line with the key.
    """
    lines = getattr(error, "errors", None)
    line = getattr(error, "lineno", lines[0][0] if isinstance(lines, list) and lines else None)
    return _line_not_read(line) if line else _UnusableError("not read", f"could not be read ({type(error).__name__})")


def _line_not_read(line: int) -> _UnusableError:
    return _UnusableError("not read", f"could not be read (line {line} is not understood: correct it)")


def _key_sources(
    environ: Mapping[str, str], for_wandb: bool, stores: Sequence[KeySource], cached: Mapping[str, Key]
) -> Iterator[KeySource]:
    yield _variable(environ, OWN_VARIABLE)
    if not for_wandb:
        return
    if other := other_host(environ.get("WANDB_BASE_URL", "")):
        yield KeySource("WANDB_BASE_URL", partial(_of_another_host, other))
        return
    for name in WANDB_VARIABLES:
        yield _variable(environ, name)
    home = home_folder(environ)
    for machine in WANDB_HOSTS:
        yield _netrc(environ, home, machine)
    for path in settings_files(environ, home):
        yield KeySource(shown_path(path, home), partial(_from_settings, path))
    for store in stores:
        given = cached.get(store.name)
        yield KeySource(store.name, given.reveal) if given else store


def _variable(environ: Mapping[str, str], name: str) -> KeySource:
    return KeySource(name, partial(environ.get, name))


def _netrc(environ: Mapping[str, str], home: Path, machine: str) -> KeySource:
    """Return the place in the netrc file that wandb reads too."""
    path, windows = home / ".netrc", home / "_netrc"
    if named := environ.get("NETRC"):
        path = _expanded(named, home)
    # Unlike `Path.exists`, `os.path.exists` does not raise for a folder that cannot be read.
    elif os.path.exists(windows) and not os.path.exists(path):  # noqa: PTH110
        path = windows
    return KeySource(shown_path(path, home), partial(_from_netrc, path, machine), f" ({machine})")


def _of_another_host(host: str) -> NoReturn:
    raise _UnusableError(
        "of another server",
        f"names {host}: WANDB_API_KEY and the keys of wandb login belong to that server, and are not used for W&B "
        f"Inference; {OWN_VARIABLE} gives a key for it",
    )


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
    """Return the user's home folder, or `~` for a container's user without one. Never raise."""
    named = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(named) if named else expanded("~")


def _expanded(text: str, home: Path) -> Path:
    """Return a path with `~/` replaced. Never raise, unlike `Path.expanduser`."""
    return home / text[2:] if text.startswith("~/") else Path(text)


def shown_path(path: Path, home: Path) -> str:
    """Return a path as users write it, without the user name."""
    if path.is_relative_to(home):
        return f"~/{path.relative_to(home).as_posix()}"
    return str(path) if path.is_absolute() else f"./{path.as_posix()}"


def _text_in(path: Path) -> str:
    """Return the text of a small file. Notepad and PowerShell write a byte order mark, the latter also UTF-16."""
    data = read_file(path, MAX_FILE_BYTES)
    encoding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    # A comment may be in another encoding. A key with a replaced character is refused.
    return data.decode(encoding, "replace")


def _from_netrc(path: Path, machine: str) -> str:
    """Return the password of a machine in a netrc file, or an empty string. Other entries may have words of their own.

    Not by Python's module, which refuses the whole file for such a word: Heroku's `method`, GitHub's `protocol`.
    """
    host: str | None = None
    found = word_before = ""
    bad_line, line_before, in_macro = 0, 0, False
    for number, line in enumerate(re.split(r"\r\n?|\n", _text_in(path)), 1):
        in_macro = in_macro and bool(line.strip())
        for quoted, plain in () if in_macro else re.findall(_NETRC_WORD, line):
            word = re.sub(r"\\(.)", r"\1", quoted or plain)
            if word_before == "machine" and word in _NETRC_FIELDS:
                # wandb has written entries without the name of the machine.
                word_before, host, bad_line = "", None, bad_line or line_before
            if word_before == "macdef":
                in_macro, word_before = True, ""
                break
            if word_before:
                host = word if word_before == "machine" else host
                found = word if word_before == "password" and host == machine else found
                word_before = ""
            elif word.startswith("#"):
                break
            elif word in _NETRC_FIELDS:
                word_before, line_before = word, number
            elif word == "default":
                # A key for some other host.
                host = word
            elif host in (None, machine, *WANDB_HOSTS):
                bad_line = bad_line or number
    if bad_line and not found:
        raise _line_not_read(bad_line)
    return found


def settings_files(environ: Mapping[str, str], home: Path) -> tuple[Path, Path]:
    """Return the settings files of the wandb SDK: the one of the working directory, then the one of the user."""
    named = environ.get("WANDB_CONFIG_DIR")
    own = _expanded(named, home) if named else home / ".config" / "wandb"
    return Path("wandb", "settings"), own / "settings"


def read_settings(path: Path) -> Mapping[str, str]:
    """Return the settings in a settings file of the wandb SDK.

    Raises
    ------
    OSError, ValueError, configparser.Error
        When the file does not exist or cannot be read.
    """
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(_text_in(path))
    return parser["default"] if parser.has_section("default") else {}


def _from_settings(path: Path) -> str | None:
    settings = read_settings(path)
    key = settings.get("api_key")
    if key and (other := other_host(settings.get("base_url", ""))):
        raise _UnusableError("other", f"has a key that belongs to {other}")
    return key


# Secrets of notebook services --------------------------------------------------------------------------


def notebook_secrets(environ: Mapping[str, str]) -> tuple[KeySource, ...]:
    """Return the secret stores of the notebook service that this runs in, or none. Import nothing."""
    stores = []
    if "google.colab" in sys.modules:
        stores.append(KeySource("Colab secrets", _from_colab))
    # A module in `sys.modules` may have no spec, for which `find_spec` raises.
    if "KAGGLE_KERNEL_RUN_TYPE" in environ and ("kaggle_secrets" in sys.modules or find_spec("kaggle_secrets")):
        stores.append(KeySource("Kaggle secrets", _from_kaggle))
    return tuple(stores)


def _from_colab() -> object:
    from google.colab import userdata

    return userdata.get("WANDB_API_KEY")


def _from_kaggle() -> object:
    from kaggle_secrets import UserSecretsClient

    return UserSecretsClient().get_secret("WANDB_API_KEY")
