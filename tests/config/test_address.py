"""What can be the URL of an endpoint, and which one is meant by other text."""

from __future__ import annotations

import pytest

from wandb_inference_magic.config.address import check_endpoint
from wandb_inference_magic.errors import InferenceError

SECRET = "wandb_v1_SECRETsecretSECRET42"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (" wandb ", "wandb"),
        ("http://127.0.0.1:8000/v1/\n", "http://127.0.0.1:8000/v1"),
        ("https://h.example/openai/deployments/x", "https://h.example/openai/deployments/x"),
        ("https://models.example", "https://models.example"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://[fe80::1%25eth0]:8000/v1", "http://[fe80::1%eth0]:8000/v1"),
        ("http://bücher.example/v1", "http://bücher.example/v1"),
    ],
)
def test_an_endpoint_is_a_name_or_a_url(text: str, url: str) -> None:
    assert check_endpoint(text) == url


# What was written, what the error says, and the URL that it names.
WRONG = [
    ("https://h.example/v1/chat/completions", "ends before /chat/completions", "https://h.example/v1"),
    ("https://h.example/v1/chat/completions/", "ends before /chat/completions", "https://h.example/v1"),
    ("http://h.example:80/v1/completions//", "ends before /completions", "http://h.example:80/v1"),
    ("https://h.example/v1/models", "ends before /models", "https://h.example/v1"),
    ("https://h.example/V1/Chat/Completions", "ends before /Chat/Completions", "https://h.example/V1"),
    ("https://h.example/v1/embeddings", "ends before /embeddings", "https://h.example/v1"),
    ("https://h.example/v1/chat/completions?x=1#y", "ends before any ? or #", "https://h.example/v1"),
    ("https://h.example/v1?api-version=2", "ends before any ? or #", "https://h.example/v1"),
    ("https://h.example/v1#top", "ends before any ? or #", "https://h.example/v1"),
    ("https://h.example/v1?", "ends before any ? or #", "https://h.example/v1"),
    ("localhost:8000/v1", "not an endpoint", "http://localhost:8000/v1"),
    ("127.0.0.1:8000/v1/chat/completions", "not an endpoint", "http://127.0.0.1:8000/v1"),
    ("h.example/v1", "not an endpoint", "https://h.example/v1"),
    ("//h.example/v1", "not an endpoint", "https://h.example/v1"),
    ("http:/h.example/v1", "not an endpoint", "http://h.example/v1"),
    ("ftp://h.example/v1", "not an endpoint", "https://h.example/v1"),
    ("ws://h.example/v1", "not an endpoint", "http://h.example/v1"),
    ("wss://h.example/v1", "not an endpoint", "https://h.example/v1"),
    ("http://h.example /v1", "not an endpoint", "http://h.example/v1"),
    ("http://h.exa\nmple/v1", "not an endpoint", "http://h.example/v1"),
    ('"http://h.example/v1"', "not an endpoint", "http://h.example/v1"),
    ("\u201chttp://h.example/v1\u201d", "not an endpoint", "http://h.example/v1"),
    ("http://h.example/v1\u200b", "not an endpoint", "http://h.example/v1"),
    (f"http://user:{SECRET}@h.example/v1", "must not contain a user name or password", "http://h.example/v1"),
    (f"https://12/{SECRET}@h.example/v1", "must not contain a user name or password", "https://h.example/v1"),
    (f"user:{SECRET}@h.example/v1", "not an endpoint", "https://h.example/v1"),
    (f"https://h.example/v1?api_key={SECRET}", "ends before any ? or #", "https://h.example/v1"),
]


@pytest.mark.parametrize(("text", "what", "meant"), WRONG)
def test_the_url_that_was_probably_meant_is_named(text: str, what: str, meant: str) -> None:
    with pytest.raises(InferenceError) as caught:
        check_endpoint(text)
    assert what in caught.value.what
    assert f"Did you mean {meant}?" in caught.value.remedy
    assert "SECRET" not in str(caught.value)
    assert check_endpoint(meant) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET,
        "eyJhbGci.eyJzdWIi.Zq7xK9",
        "http://h:99999/v1",
        "http://[::1/v1",
        f"http://u:p?{SECRET}@h",
        "file:///etc/x",
    ],
)
def test_no_url_is_named_for_a_text_that_may_be_anything(text: str) -> None:
    with pytest.raises(InferenceError, match="not an endpoint") as caught:
        check_endpoint(text)
    remedy, _, about_keys = caught.value.remedy.partition(" Set the key")
    assert remedy == "A URL looks like https://my-server.example/v1."
    assert bool(about_keys) == ("@" in text)
