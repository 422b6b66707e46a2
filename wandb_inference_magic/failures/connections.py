"""Describe failures of the connection to the endpoint: the network, a proxy, a certificate, a wrong address."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from socket import EAI_AGAIN, gaierror
from typing import TYPE_CHECKING, Any, Final, Literal

from ..config import find_proxy, named_certificates
from ..errors import InferenceError, beyond_limits, quoted
from ..libraries import missing_library, unusable_library
from ..text import library_message
from .retries import IMMEDIATELY

if TYPE_CHECKING:
    from ..config import Endpoint, Proxy

# What has become of a request. `lost`: it has failed after it was sent, so that the service may have answered.
CallOutcome = Literal["answered", "failed", "lost", "interrupted"]

# The message of a connection that broke after the service had begun to answer.
BROKE_OFF: Final = "The connection broke during the answer."
# A gateway has waited for the service for as long as it waits: the service may go on.
GATEWAY_TIMEOUTS: Final = (504, 524, 598)
# The reasons that OpenSSL gives where the server does not speak TLS.
NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
# What servers answer to plain HTTP at a port for TLS.
WANTS_TLS: Final = r"(?i)plain HTTP request was sent to HTTPS|HTTP request to an HTTPS|HTTP to an SSL-enabled"
# Reasons of OpenSSL for refusing a certificate that more certificates do not change, and what to do.
REFUSED: Final = {
    10: "Its certificate has expired: ask the people who run it for a new one, or correct this machine's clock.",
    9: "Its certificate is not valid yet: check the clock of this machine.",
    62: "Its certificate is for another host name: check the address.",
    64: "Its certificate is not for this IP address: use the host name that it is for.",
    # Extensions that are missing or wrong.
    **dict.fromkeys(
        range(79, 95),
        "Its certificate, or its authority's, has a form that Python refuses from version 3.13 on: ask the people who "
        "run it for a new one, or use Python 3.12.",
    ),
}
# What OpenSSL says where only this connection broke: it was cut, or bytes were changed on their way.
_TRANSIENT_TLS: Final = r"UNEXPECTED_EOF|EOF occurred|\(EOF\)|ALERT_INTERNAL_ERROR|BAD_RECORD_MAC"
# The rules of HTTP that a server breaks by closing the connection.
_CLOSED: Final = "peer closed connection|disconnected without sending"
# What the HTTP library raises beneath its own errors where the other side has ended a connection that was made.
_ENDED: Final = ("BrokenResourceError", "EndOfStream")
# A request of more bytes may be too large for a server. Some close the connection before they have read all of it.
LARGE: Final = 1_000_000
_CUT_WHILE_SENDING: Final = ("WriteError", "BrokenPipeError", "ConnectionResetError")
# What a proxy answers about an address that it cannot reach, or does not let through.
_OF_PROXIES: Final = (403, 404, 502, 503, 504)
NO_PROXY_REMEDY: Final = "Or name the hosts that need no proxy in NO_PROXY. Then restart the kernel."
_NETWORK_REMEDY: Final = (
    "Check the network of the machine the kernel runs on, then run the cell again. "
    "%wbconfig --endpoint local chats with the practice model, without a network."
)


class _NetworkErrors:
    """The network errors beneath a failure.

    Attributes
    ----------
    errors : list of BaseException
    kinds : set of str
        The names of their classes, and of the classes that those are derived from.
    message : str
        Their messages.
    is_connecting : bool
        Whether the connection was not made yet, its encryption included.
    speaks_no_tls : bool
        Whether the other side does not speak TLS.
    """

    def __init__(self, failure: BaseException) -> None:
        self.errors = list(_beneath(failure))
        self.kinds = {kind.__name__ for error in self.errors for kind in type(error).__mro__}
        # Each library repeats the message of the one beneath.
        self.message = " ".join(dict.fromkeys(map(str, self.errors))).strip()
        self.is_connecting = not self.kinds.isdisjoint(("ConnectError", "ConnectTimeout"))
        self.speaks_no_tls = any(isinstance(error, ssl.SSLError) and error.reason in NOT_TLS for error in self.errors)


def _beneath(failure: BaseException) -> Iterator[BaseException]:
    """Yield the network errors beneath a failure. The libraries raise each while they handle another."""
    error = failure.__cause__ or failure.__context__
    # If the call was made while an earlier failure was being handled, the rest belongs to that failure.
    while error is not None and not isinstance(error, InferenceError):
        yield error
        # One for each address of the host, if it has several.
        yield from getattr(error, "exceptions", ())
        error = error.__cause__ or error.__context__


def may_have_run(failure: Exception) -> bool:
    """Return whether a failure came after the request was sent: the service may have answered it, and will bill it.

    If the server has closed the connection without a word, it was one that was kept too long, or has crashed.
    """
    if getattr(failure, "status_code", None) in GATEWAY_TIMEOUTS:
        return True
    network = _NetworkErrors(failure)
    kinds = network.kinds | {kind.__name__ for kind in type(failure).__mro__}
    is_cut = "RemoteProtocolError" in kinds and "without sending" not in f"{network.message} {failure}"
    return is_cut or "ReadTimeout" in kinds


def outcome_of(failure: BaseException) -> CallOutcome:
    """Return what has become of a request that ended with a failure or an interrupt."""
    if not isinstance(failure, Exception):
        return "interrupted"
    return "lost" if may_have_run(failure) else "failed"


def describe_connection_failure(failure: Exception, endpoint: Endpoint) -> InferenceError | None:
    """Return the error for a failure of the way to the endpoint, or None for one of the endpoint itself."""
    if isinstance(failure, ImportError):
        return unusable_library(failure) or missing_library(failure)
    # Imported here: the SDK takes long, and may be what cannot be imported.
    import openai

    proxy = None if endpoint.is_local else find_proxy(endpoint.url)
    if isinstance(failure, openai.APIStatusError):
        return _of_status(failure, endpoint, proxy)
    if not isinstance(failure, openai.APIConnectionError):
        return None
    network = _NetworkErrors(failure)
    if (error := next(filter(None, map(beyond_limits, network.errors)), None)) is not None:
        return error
    if proxy is not None and (error := _of_proxy(proxy, network, endpoint)) is not None:
        return error
    if isinstance(failure, openai.APITimeoutError):
        if "ConnectTimeout" in network.kinds:
            what, why, remedy = "could not be reached in time", "No connection could be made", _NETWORK_REMEDY
        else:
            what, why = "sent nothing in time", "The waiting time is the `timeout` setting"
            remedy = "Run the cell again, or wait longer: %wbconfig --timeout 300."
        error = _error(f"{endpoint.label} {what}.", f"{why}.{_via_proxy(proxy)}", remedy)
        error.affects_all = False
        return error
    has_begun = failure.message == BROKE_OFF
    size = len(failure.request.content)
    if size > LARGE and not has_begun and not network.kinds.isdisjoint(_CUT_WHILE_SENDING):
        return _too_large(endpoint, proxy, size)
    # The server closed a connection that was kept for the next request, at the moment in which that was sent.
    is_stale = not has_begun and "disconnected without sending" in network.message
    what = f"{endpoint.label} could not be reached or the connection broke."
    why, remedy, is_transient = _describe_network_failure(network, endpoint, proxy, has_begun=has_begun)
    if endpoint.is_local:
        what, remedy, is_transient = (
            "The practice model on this machine did not answer.",
            "Restart the kernel.",
            is_stale,
        )
    error = _error(what, why, remedy, is_transient=is_transient)
    error.waits = IMMEDIATELY if is_stale else None
    return error


def _too_large(endpoint: Endpoint, proxy: Proxy | None, size: int) -> InferenceError:
    # Its answer, which probably says so, is lost: the connection cannot be read once writing to it has failed.
    what = f"{endpoint.label} closed the connection while the request of {size / 1e6:.0f} MB was being sent."
    why = f"It probably accepts smaller requests only.{_via_proxy(proxy)}"
    error = _error(what, why, "Shorten the prompt or the thread, or make its images smaller.")
    error.affects_all, error.depends_on_prompt = False, True
    return error


def describe_proxy(endpoint: Endpoint, status: int | None) -> str:
    """Return a sentence about the proxy that may have answered with a status in place of the endpoint; else empty."""
    if status not in _OF_PROXIES or not endpoint.url.startswith("http:") or endpoint.is_local:
        return ""
    return _via_proxy(find_proxy(endpoint.url))


def _error(what: str, why: str, remedy: str, *, is_transient: bool = False) -> InferenceError:
    error = InferenceError(what, why=why, remedy=remedy, cause="network", retryable=is_transient)
    # Otherwise no request can reach the endpoint.
    error.affects_all = not is_transient
    return error


def _of_status(failure: Any, endpoint: Endpoint, proxy: Proxy | None) -> InferenceError | None:
    """Return the error for a status that comes from the proxy, or from a port for TLS; None for any other."""
    if failure.status_code == 407 and proxy is not None:
        return _proxy_refused(proxy, "407 Proxy Authentication Required", endpoint)
    if failure.status_code == 400 and endpoint.url.startswith("http:") and re.search(WANTS_TLS, str(failure.body)):
        return _error(f"{endpoint.label} speaks TLS at this port.", "", _set_address(endpoint, "https"))
    return None


def _of_proxy(proxy: Proxy, network: _NetworkErrors, endpoint: Endpoint) -> InferenceError | None:
    """Return the error for a failure before the proxy had connected to the endpoint, or None for a later one."""
    if "ProxyError" in network.kinds:
        return _proxy_refused(proxy, network.message, endpoint)
    if not network.is_connecting:
        return None
    if network.speaks_no_tls and proxy.address.lower().startswith("https:"):
        why, is_transient = "It does not speak TLS at this port: its address probably begins with http://.", False
    elif not network.kinds.isdisjoint(("SSLError", *_ENDED)):
        # Mostly the encryption of the endpoint, which begins once the proxy is connected to it.
        return None
    else:
        why, is_transient = _describe_unreachable(network)
    what = f"The {proxy.label} could not be reached; nothing was sent."
    return _error(what, why, f"Check {proxy.variable}. {NO_PROXY_REMEDY}", is_transient=is_transient)


def _proxy_refused(proxy: Proxy, message: str, endpoint: Endpoint) -> InferenceError:
    remedy = f"Ask the people who run the proxy, or check {proxy.variable}. {NO_PROXY_REMEDY}"
    if message.startswith("407"):
        remedy = (
            f"Write its user name and password into {proxy.variable}, as `user:password@` before the host, with "
            "special characters percent-encoded. Then restart the kernel."
        )
    what = f"{endpoint.label} could not be reached through the {proxy.label}."
    why = f'The proxy answered "{quoted(library_message(message))}".'
    return _error(what, why, remedy, is_transient=message.startswith(("502", "503", "504")))


def _describe_network_failure(
    network: _NetworkErrors, endpoint: Endpoint, proxy: Proxy | None, *, has_begun: bool
) -> tuple[str, str, bool]:
    """Return why, the remedy, and whether it may pass, for a failure beneath the SDK's own."""
    message = network.message
    if "illegal status line" in message and r"\x15\x03" in message:
        return "The server speaks TLS at this port.", _set_address(endpoint, "https"), False
    if "SSLError" in network.kinds or "CERTIFICATE_VERIFY_FAILED" in message:
        if network.is_connecting and network.speaks_no_tls:
            if not endpoint.is_wandb:
                remedy = f"{_set_address(endpoint, 'http')}{_via_proxy(proxy)}"
                return "The server does not speak TLS at this port.", remedy, False
            remedy = f"{_middlebox(proxy)}, a firewall or a sign-in page did so: ask the people who run the network."
            return "Something else answered in its place, without TLS.", remedy, False
        return _of_tls(network, proxy, endpoint.described_origin, has_begun=has_begun)
    if "NotImplementedError" in network.kinds:
        why = "This Python runs in a browser, and its HTTP library opens sockets, which a browser does not have."
        remedy = (
            "Install the httpx of Pyodide's own distribution, which uses the browser's fetch, and restart the kernel. "
            "Or replay a cassette: %wbconfig --cassette FILE --mode replay."
        )
        return why, remedy, False
    if "RemoteProtocolError" in network.kinds and not re.search(_CLOSED, message):
        why = f"Its answer is not valid HTTP: {quoted(library_message(message))}.{_via_proxy(proxy)}"
        remedy = "Run the cell again. If it fails again, check the address, or ask the people who run the server."
        return why, f"{remedy} {endpoint.described_origin}", True
    why, is_transient = _describe_unreachable(network)
    remedy = _NETWORK_REMEDY
    if proxy is not None:
        why += _via_proxy(proxy)
    elif not endpoint.is_wandb and not network.kinds.isdisjoint(("ConnectionRefusedError", "gaierror")):
        remedy = f"Check its address, and that it is running. {endpoint.described_origin}"
    elif endpoint.url.startswith("http:") and not has_begun:
        remedy = f"{remedy} If the server expects TLS, its address is {_other_address(endpoint, 'https')}."
    return why, remedy, is_transient or endpoint.is_wandb


def _of_tls(network: _NetworkErrors, proxy: Proxy | None, origin: str, *, has_begun: bool) -> tuple[str, str, bool]:
    between = _middlebox(proxy)
    message = f"The encrypted connection failed: {quoted(library_message(network.message))}"
    codes = [error.verify_code for error in network.errors if isinstance(error, ssl.SSLCertVerificationError)]
    if remedy := next((REFUSED[code] for code in codes if code in REFUSED), ""):
        return f"{message}.{_via_proxy(proxy)}", f"{remedy} {origin}", False
    if not codes and "CERTIFICATE_VERIFY_FAILED" not in message:
        # The certificate is not at fault: the other side ended it.
        is_alert = "_ALERT_" in message or network.is_connecting
        is_transient = has_begun or not is_alert or bool(re.search(_TRANSIENT_TLS, message))
        again = "Run the cell again. If it fails again, ask" if is_transient else "Ask"
        remedy = f"{between} or the server ended it. {again} the people who run them what they expect. {origin}"
        return message, remedy, is_transient
    named = named_certificates()
    remedy = (
        f"{between} or a virus scanner may be in between, or the server uses a self-signed certificate: ask your "
        f"administrator for its certificate and name it in the environment variable SSL_CERT_FILE. {origin}"
    )
    return message + (f". The known certificates are those of {named}." if named else ""), remedy, False


def _middlebox(proxy: Proxy | None) -> str:
    return f"The {proxy.label}" if proxy is not None else "A proxy"


def _via_proxy(proxy: Proxy | None) -> str:
    if proxy is None:
        return ""
    return f" The connection goes through the {proxy.label}."


def _other_address(endpoint: Endpoint, scheme: str) -> str:
    return quoted(f"{scheme}:{endpoint.url.partition(':')[2]}")


def _set_address(endpoint: Endpoint, scheme: str) -> str:
    address = _other_address(endpoint, scheme)
    return f"Its address is probably {address}: set it with %wbconfig --endpoint. {endpoint.described_origin}"


def _describe_unreachable(network: _NetworkErrors) -> tuple[str, bool]:
    """Return why a connection could not be made or broke, and whether that may pass."""
    if "ConnectionRefusedError" in network.kinds:
        return "Nothing answers at that address.", False
    if unknown := next((error for error in network.errors if isinstance(error, gaierror)), None):
        return "Its name could not be looked up.", unknown.errno == EAI_AGAIN
    if "ConnectTimeout" in network.kinds:
        return "It sent nothing in time.", True
    if "peer closed connection" in network.message:
        return "The connection was closed before the whole answer had arrived.", True
    return f"{quoted(library_message(network.message)).rstrip('.') or 'The other side closed the connection'}.", True
