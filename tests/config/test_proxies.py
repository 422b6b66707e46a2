"""Which proxy an address has, by every form in which the environment names proxies and excludes hosts."""

from __future__ import annotations

import os

import pytest

from wandb_inference_magic.config.proxies import Proxy, find_proxy, names_proxies


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("https://a.example/v1", "HTTPS_PROXY"),
        ("http://a.example/v1", "http_proxy"),
        ("ftp://a.example/v1", "ALL_PROXY"),
    ],
)
def test_the_variable_of_the_scheme_counts_before_all_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, variable: str
) -> None:
    assert not names_proxies()
    for name in ("HTTPS_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{name.replace('_', '-')}:1")
    assert names_proxies()
    assert find_proxy(url) == Proxy(variable, f"http://{variable.replace('_', '-')}:1")


EXCLUDED = [
    ("*", "https://a.example/v1"),
    ("a.example", "https://a.example/v1"),
    ("A.Example", "https://a.EXAMPLE/v1"),
    ("example", "https://a.example/v1"),
    (".example", "https://a.example/v1"),
    ("*.example", "https://a.example/v1"),
    ("a.example.", "https://a.example/v1"),
    ("b.example, a.example", "https://a.example/v1"),
    (" a.example ,b.example", "https://a.example/v1"),
    ("b.example a.example", "https://a.example/v1"),
    ("a.example:443", "https://a.example/v1"),
    ("a.example:8443", "https://a.example:8443/v1"),
    ("https://a.example", "https://a.example/v1"),
    ("all://a.example", "https://a.example/v1"),
    ("10.1.2.3", "http://10.1.2.3:8000/v1"),
    ("10.1.2.3:8000", "http://10.1.2.3:8000/v1"),
    ("10.0.0.0/8", "http://10.1.2.3:8000/v1"),
    ("10.1.2.3/8", "http://10.1.2.3:8000/v1"),
    ("::1", "http://[::1]:8000/v1"),
    ("[::1]", "http://[::1]:8000/v1"),
    ("[::1]:8000", "http://[::1]:8000/v1"),
    ("fd00::/8", "http://[fd00::5]/v1"),
    ("localhost", "http://localhost:8000/v1"),
    ("localhost", "http://127.0.0.1:8000/v1"),
    ("127.0.0.1", "http://localhost:8000/v1"),
    ("127.0.0.0/8", "http://localhost:8000/v1"),
]


@pytest.mark.parametrize(("excluded", "url"), EXCLUDED)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_a_host_that_no_proxy_excludes_has_no_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str, excluded: str, url: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://h:1080")
    assert find_proxy(url) is not None
    monkeypatch.setenv(name, excluded)
    assert find_proxy(url) is None


@pytest.mark.parametrize(
    ("excluded", "url"),
    [
        ("", "https://a.example/v1"),
        (",", "https://a.example/v1"),
        (".", "https://a.example/v1"),
        ("b.example", "https://a.example/v1"),
        ("a.example", "https://aa.example/v1"),
        ("a.example", "https://a.example.evil/v1"),
        ("a.example:80", "https://a.example/v1"),
        ("http://a.example", "https://a.example/v1"),
        ("10.1.2.3/99", "http://10.1.2.3/v1"),
        ("10.1.0.0/16", "http://10.2.0.1/v1"),
        ("10.1.2.3:x", "http://10.1.2.3/v1"),
        ("::1", "http://10.1.2.3/v1"),
    ],
)
def test_another_entry_of_no_proxy_excludes_no_host(monkeypatch: pytest.MonkeyPatch, excluded: str, url: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://h:1080")
    monkeypatch.setenv("NO_PROXY", excluded)
    assert find_proxy(url) is not None


@pytest.mark.parametrize(
    "address", ["http://h:3128", "h:3128", "http://user:pa55@h:3128/", "socks5://user:pa55@h:3128", "HTTPS://h:3128"]
)
def test_a_usable_proxy_is_shown_by_its_host_and_port(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("https_proxy", address)
    proxy = find_proxy("https://a.example/v1")
    assert proxy is not None
    assert (proxy.fault, proxy.label) == ("", "proxy h:3128 in https_proxy")
    assert "pa55" not in repr(proxy)


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("ftp://h:3128", "begins with none of http, https, socks5, socks5h"),
        ("socks://h:1080", "begins with none of"),
        ("http://user:pa55#word@h:3128", "must be percent-encoded"),
        ("http://", "not an address with a host and a port"),
        ("//h:3128", "not an address with a host and a port"),
        ("http:/h:3128", "not an address with a host and a port"),
        ("http;//h:3128", "not an address with a host and a port"),
        ("http://h:port", "not an address with a host and a port"),
        ("http://h:3128 ", "a blank or a line break"),
        ('"http://h:3128"', "quotation marks around it"),
        ("'http://h:3128'", "quotation marks around it"),
    ],
)
def test_a_proxy_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch, address: str, fault: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    proxy = find_proxy("https://a.example/v1")
    assert proxy is not None
    assert fault in proxy.fault
    assert "pa55" not in proxy.fault
