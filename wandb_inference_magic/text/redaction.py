"""The one place that removes secrets from text: keys, and the user names and passwords in addresses.

Errors pass through `redacted` when they are created and when they are shown. Recorded or traced data passes through
`redacted_value`, which removes known secrets from a JSON value.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final
from urllib.parse import quote, unquote

from .json_text import changed_object

HIDDEN: Final = "(hidden)"
MIN_SECRET_CHARS: Final = 8
# What people write in place of a key if a server of theirs needs none, or any: `lm-studio`, `Workshop`, `not_needed`.
_WORDS: Final = r"(?:[A-Z]?[a-z]+|[A-Z]+)(?:[-_](?:[A-Z]?[a-z]+|[A-Z]+))*"
# vLLM's documentation has this one.
_PLACEHOLDER: Final = "token-abc123"
# A shorter piece of a password is an ordinary word.
MIN_PIECE_CHARS: Final = 3
# For a key of at least LONG_KEY characters, its pieces of KEY_PIECE characters are secret too.
LONG_KEY: Final = 20
KEY_PIECE: Final = 12
_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)
_URL_SAFE: Final = str.maketrans("+/", "-_")
KEY_VARIABLES: Final = ("WANDB_INFERENCE_API_KEY", "WANDB_API_KEY", "COREWEAVE_API_KEY")
# The ends of names of variables with a secret. Other names that end in KEY are often of public keys or files.
_SECRET_NAMES: Final = (
    *("API_KEY", "APIKEY", "ACCESS_KEY", "ACCOUNT_KEY", "AUTH_KEY", "OPENAI_KEY", "PRIVATE_KEY", "SECRET_KEY"),
    *("TOKEN", "SECRET", "PASSWORD", "PASSWD"),
)
# The variables that hold an address, other than those for proxies.
ADDRESS_VARIABLES: Final = ("WANDB_BASE_URL", "WANDB_INFERENCE_BASE_URL", "WF_TRACE_SERVER_URL")

# Patterns as text: `re` compiles each on its first use, which `%load_ext` does not wait for.
# What JSON writes as it is.
_PLAIN_IN_JSON: Final = rf"[^\s\"\\\x7f-\U0010ffff]{{{LONG_KEY},}}"
# A path, an address and a placeholder.
_NO_SECRET: Final = r"(?i)^[~.]?/[\w.-]+/|://|your|example|placeholder|change.?me|replace|insert|xxxx|todo"
# Up to the last `@` of a word: a password may hold any other character, including `@`. A host with a dot and a path has
# none before it: `https://unpkg.com/react@18`.
_USER_IN_ADDRESS: Final = (
    r"(?i)\b([a-z][a-z0-9+.-]{0,20}:/{2,3})(?![^\s'\"<>/@:]+\.[a-z]+(?::\d{1,5})?/)[^\s'\"<>]{0,2000}@"
)
_SCHEME: Final = r"(?i)^(?:[a-z][a-z0-9+.-]*:)?/+"
# Names in code are no secrets: `?token={token}`, `?token=$TOKEN`.
_SECRET_IN_QUERY: Final = (
    r"(?i)([?&;](?:[\w-]*(?:api[_-]?key|token|secret|password|signature)|key|auth|sig|pwd)=)"
    r"(?!\{|\$\{?[a-z_])[^&;#\s'\"<>]+"
)
# In a header, an option, a member of a dict or a pair in a list. Without a scheme, code names a value in the same way:
# `authorization = get_token(user)`, `authorization: str`.
_AUTHORIZATION: Final = (
    r"(?i)((?:proxy-)?authorization(?:\\?['\"]\s*[:=,]|\s*[:=])\s*(?:b(?=['\"]))?\\?['\"]?)"
    r"(?:(?:bearer|basic)\s+(?![{%])|(?=[a-z._~+/=-]*\d)(?=[^\s'\",;\\]{8})(?![\w.]*[(\[{]))[^\s'\",;\\]+"
)
# A token has a digit: `Bearer authentication` is ordinary text. In base64 it also has capital letters.
_TOKEN: Final = (
    r"\b((?i:bearer)(?=\s+[A-Za-z._~+/=-]*\d)|(?i:basic)(?=\s+[A-Za-z+/]*\d)(?=\s+[a-z0-9+/]*[A-Z]))"
    r"\s+[A-Za-z0-9._~+/=-]{8,}"
)

# The keys of this process. They are in closures so that a search of modules for strings does not find them.
_remembered: Final[dict[int, Callable[[], str]]] = {}


def remember(secret: str) -> None:
    """Redact a key from now on."""
    if is_secret(secret):
        _remembered.setdefault(hash(secret), lambda: secret)


def is_secret(key: str) -> bool:
    """Return whether a key is one. One of ordinary words is not: texts have these words for other reasons."""
    if len(key) < MIN_SECRET_CHARS or key.lower() == _PLACEHOLDER:
        return False
    return len(key) >= LONG_KEY or re.fullmatch(_WORDS, key) is None


def redacted(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return a text without known keys, without the part before the `@` of an address, and without other tokens.

    Parameters
    ----------
    text : str
        The text to be shown.
    environ : mapping, optional
        Where proxies and keys are looked up. The default is the process environment.
    """
    if not text:
        return text
    environ = os.environ if environ is None else environ
    keys = known_keys(environ)
    text = _pattern_of(keys, tuple(address for _, address in addresses(environ))).sub(HIDDEN, text)
    text = _without_pieces(text, keys)
    text = without_query_secrets(re.sub(_USER_IN_ADDRESS, rf"\1{HIDDEN}@", text))
    text = re.sub(_AUTHORIZATION, rf"\1{HIDDEN}", text)
    return re.sub(_TOKEN, rf"\1 {HIDDEN}", text)


def secrets_of(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each variable whose name says that it holds a secret, with each long part of its value.

    A path, an address and a placeholder, such as `your_openai_api_key_here`, are none.
    """
    for name in environ:
        # OPENAI_API_KEY_2 is one too.
        if name.upper().rstrip("_0123456789").endswith(_SECRET_NAMES):
            parts = re.findall(_PLAIN_IN_JSON, environ.get(name, "").strip())
            yield from ((name, one) for one in parts if not re.search(_NO_SECRET, one))


def secret_in(data: bytes, own_key: str | None) -> str:
    """Return which long secret is in data (JSON), as part of a sentence: `the value of HF_TOKEN`; empty if none is.

    These are the keys of this process, and the values of variables whose names say that they are secrets, for whatever
    service. `own_key` is none of them.
    """
    for name, secret in secrets_of(os.environ):
        if secret != own_key and secret.encode() in data:
            return f"the value of {name}"
    known = (key for key in known_keys() if key != own_key and len(key) >= LONG_KEY)
    return "a key that this session knows" if any(key.encode() in data for key in known) else ""


def without_query_secrets(text: str) -> str:
    """Return an address without the values of parameters such as `api_key`, whatever they are."""
    return re.sub(_SECRET_IN_QUERY, rf"\1{HIDDEN}", text)


def library_message(text: str) -> str:
    """Return a library's message; if it may quote a proxy's password, return only the name of that variable.

    A library that cannot parse an address quotes pieces of it, cut at unpredictable places.
    """
    lower = text.lower()
    for name, address in addresses(os.environ):
        if any(piece.lower() in lower for piece in _password_pieces(address)):
            return f"The library's own message is not shown: it may quote {name}."
    return redacted(text)


def redacted_value(value: Any, secrets: Collection[str]) -> Any:
    """Return a JSON value whose strings have no secrets and no longer pieces of a key; see `is_secret`."""

    return with_texts(value, lambda text: _without_pieces(_without_forms(text, secrets), tuple(secrets)))


def _without_forms(text: str, secrets: Collection[str]) -> str:
    for form in _forms_of(tuple(secrets)):
        text = text.replace(form, HIDDEN)
    return text


def without_keys(value: Any) -> Any:
    """Return a JSON value without the keys of this process: a prompt that has one is shown and saved without it."""
    return redacted_value(value, known_keys())


def without_secrets(text: str, secrets: Collection[str]) -> tuple[str, str]:
    """Return the beginning of a text that grows, without secrets, and its end if a secret may begin there.

    Pieces and other forms of a key are found when the text is complete.
    """
    text = _without_forms(text, secrets)
    begins = len(text)
    for form in _forms_of(tuple(secrets)):
        starts = range(max(len(text) - len(form) + 1, 0), begins)
        begins = next((start for start in starts if form.startswith(text[start:])), begins)
    return text[:begins], text[begins:]


def known_keys(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the keys of this process and of the environment, without those short enough to be ordinary words."""
    environ = os.environ if environ is None else environ
    known = [*(reveal() for reveal in list(_remembered.values())), *(environ.get(one, "") for one in KEY_VARIABLES)]
    return tuple(sorted({key for key in map(str.strip, known) if is_secret(key)}))


@lru_cache(maxsize=8)
def _forms_of(secrets: tuple[str, ...]) -> tuple[str, ...]:
    # The longest first: one may be a prefix of another, and the rest of the longer one would be left.
    forms = {form for one in secrets if is_secret(one) for form in _forms(one)}
    return tuple(sorted(forms, key=len, reverse=True))


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with each of its strings changed, the names of members too."""
    if isinstance(value, dict):
        return changed_object(value, lambda *pair: (with_texts(pair[0], change), with_texts(pair[1], change)))
    if isinstance(value, list | tuple):
        return [with_texts(one, change) for one in value]
    return change(value) if isinstance(value, str) else value


def addresses(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each variable that holds an address, such as HTTPS_PROXY, with each address in it."""
    for name in environ:
        if name.lower() == "no_proxy":
            yield from ((name, one) for one in environ[name].split(","))
        elif name.lower().endswith("_proxy") or name in ADDRESS_VARIABLES:
            yield name, environ[name]


def passwords_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the passwords in the addresses of the environment, each with its user name if it alone is no secret."""
    found = (user_and_password(address) for _, address in addresses(environ))
    # A word, or a short one, is hidden in an address only.
    return tuple(
        password if is_secret(password) or not user else f"{user}:{password}" for user, password in found if password
    )


def user_and_password(address: str) -> tuple[str, str]:
    """Return the user name and password before the last `@` of an address.

    They may hold any characters. A user name alone is a secret: it is returned as the password.
    """
    before = re.sub(_SCHEME, "", address.strip().rpartition("@")[0])
    user, colon, password = before.partition(":")
    return (user, password) if colon else ("", before)


def _without_pieces(text: str, secrets: tuple[str, ...]) -> str:
    """Return a text without the longer pieces of long secrets: a service may quote part of a key, or encode it.

    A few characters are left: `abcd...wxyz` tells the owner which key it was.
    """
    known, runs = _pieces_of(secrets)
    if not known or len(text) < KEY_PIECE:
        return text
    # The letters of keys only: some others are longer in lower case.
    found = text.translate(_LOWER)
    places = (
        at
        for run in runs.finditer(found)
        for at in range(run.start(), run.end() - KEY_PIECE + 1)
        if hash(found[at : at + KEY_PIECE]) in known
    )
    kept: list[str] = []
    end = 0
    for at in places:
        # Overlapping or adjacent pieces are one longer piece.
        if at > end or not kept:
            kept += [text[end:at], HIDDEN]
        end = at + KEY_PIECE
    return "".join((*kept, text[end:]))


@lru_cache(maxsize=8)
def _pieces_of(secrets: tuple[str, ...]) -> tuple[frozenset[int], re.Pattern[str]]:
    """Return the hashes of the pieces of the long secrets in their forms, and the pattern of what can hold a piece.

    Ordinary text has few words that are so long.
    """
    long = [one for one in secrets if len(one) >= LONG_KEY]
    forms = [form for one in long for form in _coded_forms(one)]
    pieces = frozenset(hash(one[at : at + KEY_PIECE]) for one in forms for at in range(len(one) - KEY_PIECE + 1))
    others = "".join(map(re.escape, sorted(set("".join(long).translate(_LOWER)))))
    return pieces, re.compile(rf"[0-9a-z+/_={others}-]{{{KEY_PIECE},}}")


def _coded_forms(key: str) -> tuple[str, ...]:
    """Return a key in lower case: as it is, backwards, in base64 beside other text, and in hexadecimal."""
    data = key.encode("utf-8", "replace")
    coded = (b64encode(b" " * before + data).decode() for before in range(3))
    texts = [key, key[::-1], data.hex()]
    for one in coded:
        texts += [one[4:], one[4:].translate(_URL_SAFE)]
    return tuple(one.translate(_LOWER) for one in texts)


@lru_cache(maxsize=8)
def _pattern_of(keys: tuple[str, ...], proxies: tuple[str, ...]) -> re.Pattern[str]:
    """Return the regular expression for all secrets. Making it takes a quarter of a millisecond."""
    return re.compile("|".join(_patterns(keys, proxies)) or r"(?!)", re.IGNORECASE)


def _patterns(keys: tuple[str, ...], proxies: tuple[str, ...]) -> Iterator[str]:
    """Yield regular expressions for all secrets, longer ones first."""
    whole = {form for key in keys for form in _forms(key)}
    pieces: set[str] = set()
    for address in proxies:
        user, password = user_and_password(address)
        if len(password) >= MIN_PIECE_CHARS:
            whole.update(_forms(password))
        if user:
            whole.update(_forms(f"{user}:{password}"))
        pieces.update(_password_pieces(address))
    secrets = sorted(whole, key=len, reverse=True)
    yield from (re.escape(one) for one in secrets if not _is_word(one))
    # A piece counts only as a separate word, because it may be short.
    for one in sorted(pieces - whole, key=len, reverse=True):
        if not _is_word(one):
            yield rf"(?<![^\W_]){re.escape(one)}(?![^\W_])"
    # To hide such a word in other text would say which one it is.
    yield from (rf"(?<![^\W_]){re.escape(one)}(?=@)" for one in {*whole, *pieces} if _is_word(one))


def _is_word(secret: str) -> bool:
    """Return whether a secret is an ordinary word or number, such as `proxy` or `2026`. Texts have those anyway."""
    return len(secret) < MIN_SECRET_CHARS and (secret.isalpha() or secret.isdecimal())


def _password_pieces(address: str) -> set[str]:
    password = user_and_password(address)[1]
    cut = (re.split(separators, form) for form in (password, unquote(password)) for separators in _SEPARATORS)
    return {piece for pieces in cut for piece in pieces if len(piece) >= MIN_PIECE_CHARS}


_SEPARATORS: Final = (r"[#?/@%:\\\s\[\]]+", r"[\W_]+")


@lru_cache(maxsize=64)
def _forms(secret: str) -> frozenset[str]:
    """Return the forms in which a secret may be written: as it is, in an address, in a header, in JSON, as a repr."""
    plain = unquote(secret)
    written = {secret, plain}
    # A lone surrogate has no UTF-8 form, so such a secret was never in a header or an address.
    for one in (secret, plain):
        data = one.encode("utf-8", "replace")
        written |= {quote(data, safe=""), quote(data), b64encode(data).decode(), json.dumps(one)[1:-1], repr(one)[1:-1]}
        written |= {repr(data)[2:-1], json.dumps(one, ensure_ascii=False)[1:-1]}
    return frozenset(one for one in written if len(one) >= MIN_PIECE_CHARS)
