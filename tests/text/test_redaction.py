"""No shown text contains a key or a password: not verbatim, not encoded, not in fragments that a library quotes."""

from __future__ import annotations

import json
import os
import sys
import traceback
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import openai
import pytest
from hypothesis import example, given, strategies as st

from wandb_inference_magic.catalog.feeds import snapshot
from wandb_inference_magic.catalog.models import join
from wandb_inference_magic.client import http_library
from wandb_inference_magic.client.http import ClientOptions, build_own_client, build_users_client
from wandb_inference_magic.config.endpoint import Endpoint
from wandb_inference_magic.config.key import Key, check_key
from wandb_inference_magic.config.settings import WANDB_URL
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.failures.convert import FailureContext, to_inference_error
from wandb_inference_magic.text.redaction import passwords_in, redacted, redacted_value

KEY = "wandb_v1_S3CRET/s3cret+S3CRET=="
MARK = "Zq7xK"
# What an environment variable can contain.
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
# Characters at which a library splits an address that it cannot parse.
CUTS = st.text("#?/@%:\\ []'\"$&\n\t", max_size=3)
AROUND = CUTS | ANY
FORMS = st.sampled_from(["http://user:{}@127.0.0.1:9", "user:{}@127.0.0.1:9", "http://{}@h:x"])
NAMES = st.sampled_from(["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY"])
CONTEXT = FailureContext(Endpoint("wandb", WANDB_URL), "m", join(None, None, snapshot()))
OPTIONS = ClientOptions(Endpoint("wandb", "http://127.0.0.1:9/v1"), timeout=5)
ENCRYPTED = ClientOptions(Endpoint("custom", "https://127.0.0.1:9/v1"), timeout=5)


def no_meter(_path: str, _body: object) -> Any:
    """Count nothing."""


def users_client(options: ClientOptions = OPTIONS) -> openai.OpenAI:
    return build_users_client(options, no_meter)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def test_pieces_of_each_of_many_secrets_are_hidden() -> None:
    secrets = tuple(
        f"{number:02d}{letter * 5}-Secret/{number * 7919:06d}" for number, letter in enumerate("abcdefghij" * 4)
    )
    for secret in secrets:
        assert redacted_value({"text": f"see {secret[3:18]}."}, secrets) == {"text": "see (hidden)."}
    assert redacted_value("an internationalization of words", secrets) == "an internationalization of words"


@pytest.mark.parametrize("words", ["proxy:proxy", "the:host", "user:pass", "user:2026"])
def test_a_password_that_is_an_ordinary_word_is_hidden_only_in_an_address(words: str) -> None:
    environ = {"HTTPS_PROXY": f"http://{words}@h:3128"}
    said = "The proxy h:3128 in HTTPS_PROXY asks in 2026 for the password of the host, and the user has a passport."
    assert redacted(said, environ) == said
    for address in (f"http://{words}@h:3128", f"{words}@h", f"{words.partition(':')[2]}@h"):
        shown = redacted(f"at {address} now", environ)
        assert words.partition(":")[2] not in shown, shown


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        quote(KEY, safe=""),
        json.dumps({"key": KEY}),
        repr(KEY.encode()),
        b64encode(KEY.encode()).decode(),
        KEY.upper(),
        f"Bearer {KEY}",
        f"{{'Authorization': b'Bearer {KEY}'}}",
    ],
)
def test_an_error_contains_no_key_in_any_encoding(written: str) -> None:
    Key(KEY, "typed in")
    error = InferenceError(f"A {written}.", why=f"x{written}x", remedy=written, cause="key", request_id=written)
    error.show_traceback = True
    error.__cause__ = ValueError(written)
    shown = "\n".join((str(error), repr(error), str(error.args), str(error.request_id), *error._render_traceback_()))
    assert "3cret" not in shown.lower()
    assert "(hidden)" in shown
    assert written not in str(redacted_value({"a": [written]}, (KEY,)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see http://user:pa55@h:3128/x now", "see http://(hidden)@h:3128/x now"),
        ("https://u:p@ss/w#rd@h/v1", "https://(hidden)@h/v1"),
        ("GET /v1/models?api_key=abc&x=1", "GET /v1/models?api_key=(hidden)&x=1"),
        ("https://h/v1?access_token=abc#x", "https://h/v1?access_token=(hidden)#x"),
        ("Authorization: Bearer abcdefghij", "Authorization: (hidden)"),
        ("got b'Bearer abcdefgh12'", "got b'Bearer (hidden)'"),
        ("Proxy-Authorization: Basic dXNlcjpwYTU1", "Proxy-Authorization: (hidden)"),
        ("[(b'authorization', b'Basic abcdefghij')]", "[(b'authorization', b'(hidden)')]"),
        ("Authorization: 0123456789abcdef", "Authorization: (hidden)"),
        ("http://user@h/x and https://u:80pa/ss@h", "http://(hidden)@h/x and https://(hidden)@h"),
        ("'Basic dXNlcjpwYTU1'", "'Basic (hidden)'"),
        (
            "https://user:2024/Secret@host and https://ghp_abc/def@github.com",
            "https://(hidden)@host and https://(hidden)@github.com",
        ),
    ],
)
def test_text_that_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redacted(text, {}) == shown


@pytest.mark.parametrize(
    "text",
    [
        "write to https://h/help or me@h.example",
        'headers = {"Authorization": f"Bearer {TOKEN}"}',
        'headers = {"Authorization": "Bearer %s" % token2}',
        "authorization = get_authorization(user1)",
        "s.authorization = Settings.authorization2[0]",
        "def send(authorization: str, proxy_authorization=None): ...",
        "No authorization, ask them",
        "Bearer authentication is required",
        "Basic statistics101 and basic python3",
        "pip install git+https://github.com/org/repo@main",
        "https://unpkg.com:443/react@18, https://medium.com/@someone",
        'f"https://h/v1?token={token}&x=1" or $HOST/?api_key=$API_KEY',
    ],
)
def test_code_and_addresses_without_a_secret_stay(text: str) -> None:
    assert redacted(text, {}) == text


def test_a_long_text_of_addresses_is_processed() -> None:
    assert len(redacted("a://" * 50_000, {})) == 200_000


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("abc\rdef", "a line break"),
        ("abc\ndef", "a line break"),
        ("abc\u2028def", "a line break"),
        ("abc\0def", "a null character"),
        ("\u201cabcdef\u201d", "typographic quotes"),
        ("'abcdef'", "quotes around"),
        ('"abcdef"', "quotes around"),
        ("Bearer abcdef", "Bearer"),
        ("authorization: bearer abcdef", "Bearer"),
        ("abc def", "a space"),
        ("abc\tdef", "a space"),
        ("abcdéf", "a character that cannot"),
        ("abc\u200bdef", "a character that cannot"),
        ("abc\ud800def", "a character that cannot"),
        ("abcdef" * 2000, "longer than"),
        ("  \n", "is empty"),
    ],
)
def test_an_invalid_key_is_refused_without_being_shown(bad: str, reason: str) -> None:
    with pytest.raises(InferenceError, match=reason) as caught:
        check_key(bad)
    assert "abc" not in str(caught.value)
    assert "def" not in str(caught.value)


@given(st.text())
def test_an_accepted_key_is_a_valid_header_value(text: str) -> None:
    try:
        key = check_key(f" {text}\n")
    except InferenceError:
        return
    assert key == text.strip()
    assert http_library().Headers({"authorization": f"Bearer {key}"}).raw[0][1] == f"Bearer {key}".encode("ascii")
    assert not set(key) & set(" \r\n\0")


@given(NAMES, AROUND, AROUND, FORMS)
@example("HTTPS_PROXY", "", "#x", "http://user:{}@h:3128")
@example("HTTPS_PROXY", "1234#", "", "http://user:{}@h:3128")
@example("NO_PROXY", "", "#x", "http://user:{}@[::1")
def test_no_part_of_a_proxys_password_is_shown(name: str, before: str, after: str, form: str) -> None:
    os.environ[name] = form.format(f"{before}{MARK}{after}")
    try:
        with pytest.raises((InferenceError, openai.APIConnectionError)) as caught, users_client() as client:
            client.models.list()
        error = to_inference_error(caught.value, CONTEXT)
        error.show_traceback = True
        shown = "".join((str(error), *error._render_traceback_(), *traceback.format_exception(caught.value)))
    finally:
        del os.environ[name]
    if form != "{}":
        assert MARK.lower() not in shown.lower()


@given(CUTS, CUTS)
def test_an_error_that_quotes_a_fragment_of_a_password_is_redacted(before: str, after: str) -> None:
    os.environ["HTTPS_PROXY"] = f"http://user:{before}{MARK}{after}@h:3128"
    try:
        error = to_inference_error(ValueError(f"Invalid port: '{MARK.lower()}'"), CONTEXT)
        assert MARK.lower() not in str(error).lower()
        other = InferenceError(f"Something with '{MARK}' in it.", cause="network")
        assert MARK not in str(other)
    finally:
        del os.environ["HTTPS_PROXY"]


LONG_SECRET = "wandb_v1_Ab3dEf6hIj9lMn2pQr5tUv8x"


@pytest.mark.parametrize(
    "written",
    [
        LONG_SECRET[:20],
        LONG_SECRET[-16:],
        LONG_SECRET[10:26].lower(),
        LONG_SECRET[::-1],
        LONG_SECRET.encode().hex(),
        *(b64encode(before + LONG_SECRET.encode()).decode() for before in (b":", b"me:", b"Bearer ", b"user:")),
        f"{LONG_SECRET[:16]} {LONG_SECRET[16:]}",
        f"{LONG_SECRET[:14]}\u200b{LONG_SECRET[14:]}",
    ],
)
def test_long_fragments_of_a_key_are_hidden_in_any_encoding(written: str) -> None:
    shown = redacted(f"Wrong key: {written}!", {"WANDB_API_KEY": f"{LONG_SECRET}\n"})
    assert "(hidden)" in shown
    # In lower case, this letter is two characters.
    assert redacted(f"İ Wrong key: {written}!", {"WANDB_API_KEY": LONG_SECRET}) == f"İ {shown}"
    # base64 mixes the prefix into the first characters: those few are not part of the secret.
    for found in (shown, str(redacted_value(f"Wrong key: {written}!", (LONG_SECRET,)))):
        kept = found.replace("(hidden)", "|").removeprefix("Wrong key: ").removesuffix("!")
        assert "|" in kept
        assert all(len(one) < 16 for one in kept.split("|"))


@pytest.mark.parametrize(
    "key", ["anything", "lm-studio", "sk-no-key-required", "token-abc123", "workshop", "Password", "CHANGE_ME"]
)
def test_a_key_that_servers_take_in_place_of_one_changes_no_reply(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_INFERENCE_API_KEY", key)
    text = f"You can ask me {key}."
    assert redacted_value(text, (key,)) == text == redacted(text)


@pytest.mark.parametrize("key", ["workshop1", "w0rkshop", "aBcDefgH", "correct-horse-battery-staple"])
def test_a_key_that_is_no_ordinary_word_is_hidden(key: str) -> None:
    assert redacted_value(f"It is {key}.", (key,)) == "It is (hidden)."


def test_a_proxys_password_of_words_is_taken_out_of_its_address_only() -> None:
    secrets = passwords_in({"HTTPS_PROXY": "http://bob:Sommerregen@h:3128", "NO_PROXY": "h"})
    text = "http://bob:Sommerregen@h:3128 brings Sommerregen"
    assert redacted_value(text, secrets) == "http://(hidden)@h:3128 brings Sommerregen"


def test_a_number_in_a_password_is_hidden_only_with_the_rest_of_it() -> None:
    environ = {"HTTPS_PROXY": "http://bob:Spring-2026.k7x@h:3128"}
    assert redacted("KeyError: 2026", environ) == "KeyError: 2026"
    assert redacted("port 'Spring-2026.k7x' or 'k7x'", environ) == "port '(hidden)' or '(hidden)'"


def test_a_short_prefix_and_suffix_of_a_key_are_shown() -> None:
    environ = {"WANDB_API_KEY": LONG_SECRET, "WANDB_INFERENCE_API_KEY": "ollama"}
    for text in (f"Wrong key: {LONG_SECRET[:9]}...{LONG_SECRET[-4:]}", "See https://api.wandb.ai/ and ollama", "İİİ"):
        assert redacted(text, environ) == text


@pytest.mark.parametrize(
    "before", ["WANDB_API_KEY=", "export WANDB_API_KEY=", "api_key: ", "Bearer:", "x-api-key:", "<"]
)
@pytest.mark.parametrize("after", ["", "\n"])
def test_text_copied_together_with_a_key_is_refused(before: str, after: str) -> None:
    with pytest.raises(InferenceError, match="This is not a key: it ") as caught:
        check_key(f"{before}{LONG_SECRET}{after}")
    assert "Ab3d" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ['{"api_key":"a1b2c3d4"}', "a1b2c3d4,", "a1b2c3d4;", "https://forge.coreweave.com/settings", "****"]
)
def test_a_placeholder_or_an_address_is_not_a_key(text: str) -> None:
    with pytest.raises(InferenceError, match="This is not a key: it "):
        check_key(text)


@pytest.mark.parametrize("key", ["x", "none", "EMPTY", "sk-no-key-required", "a=b:c", "keyed=", "token", "a" * 8000])
def test_keys_that_common_servers_accept_are_valid(key: str) -> None:
    assert check_key(f" {key}\r\n") == key


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (f"http://user:{MARK}@h:3128\n", "It has a blank or a line break before or after it"),
        (f" http://user:{MARK}@h:3128", "It has a blank or a line break before or after it"),
        (f"1http://user:{MARK}@h:3128", "The HTTP library does not accept it"),
        (f"socks5://user:{MARK}#x@h:3128", ".*must be percent-encoded.* Percent-encode special characters"),
        (f"socks://user:{MARK}@h:3128", ".*Write it as socks5://host:port, .* Run: pip install socksio."),
    ],
)
def test_the_error_for_a_proxy_names_its_variable_and_shows_nothing_of_its_value(
    monkeypatch: pytest.MonkeyPatch, address: str, reason: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(
        InferenceError, match=f"The proxy in HTTPS_PROXY cannot be used; nothing was sent. {reason}"
    ) as caught:
        users_client(ENCRYPTED)
    assert MARK not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS5"])
@pytest.mark.parametrize("build", [lambda options: build_users_client(options, no_meter), build_own_client])
def test_a_socks_proxy_without_its_package_is_an_error_that_names_the_package(
    monkeypatch: pytest.MonkeyPatch, scheme: str, build: Any
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:{MARK}@h:1080")
    with pytest.raises(
        InferenceError, match=r"The proxy in ALL_PROXY cannot be used; .* pip install socksio"
    ) as caught:
        build(OPTIONS)
    assert MARK not in "".join(traceback.format_exception(caught.value))
