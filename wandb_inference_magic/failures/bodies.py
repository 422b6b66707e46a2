"""Read the body of an error, whatever service it comes from: its message, its status, and how long to wait."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..text import json_or_none
from .refusals import refuses_call
from .retries import UNITS, read_retry_after, read_span, requested_delay

# The fields that have the message, in this order.
MESSAGE_FIELDS: Final = (
    *("error", "message", "detail", "details", "errors", "msg", "error_message", "error_msg", "error_description"),
    *("description", "reason", "exception", "title"),
)
# The fields that say more than the message beside them: of Google, Azure, GitHub, .NET and gateways.
BESIDE: Final = (
    *("details", "detail", "errors", "fieldViolations", "violations", "innererror", "innerError", "inner_error"),
    *("upstream_details", "upstream_error", "provider_error", "cause", "previous_errors"),
)
# The fields that have the place in the request: a list of names, or the whole place as a text.
PLACES: Final = ("loc", "path", "location")
TEXT_PLACES: Final = ("param", "field", "target")
STATUSES: Final = (
    *("code", "status", "status_code", "statusCode", "http_code", "http_status", "http_status_code", "error_code"),
)
TYPES: Final = ("type", "code", "status", "error_type", "errorType", "object", "__type")
# The types of error that stand for a status. Only letters and digits count.
TYPES_OF_STATUS: Final = {
    400: "badrequest badrequesterror invalidrequest invalidrequesterror invalidargument exceedcontextsizeerror"
    " contextlengthexceeded validationexception invalidparameter datainspectionfailed",
    401: "authenticationerror unauthenticated invalidapikey unauthorized",
    402: "insufficientquota arrearage",
    403: "permissionerror permissiondenied accessdeniedexception",
    404: "notfounderror notfound modelnotfound",
    408: "timeout timeouterror deadlineexceeded",
    422: "validation validationerror unprocessableentityerror",
    429: "throttlingexception ratelimit ratelimiterror ratelimitexceeded resourceexhausted toomanyrequests",
    500: "internalserverexception internal internalerror internalservererror servererror apierror",
    503: "serviceunavailableexception modelnotreadyexception unavailable serviceunavailable"
    " serviceunavailableerror overloaded overloadederror",
}
_STATUS_OF_TYPE: Final = {name: status for status, names in TYPES_OF_STATUS.items() for name in names.split()}
# The type of an error about what the model has written.
JSON_REFUSED: Final = "json_validate_failed"
# Before what the model has written.
_WROTE: Final = "the model wrote "
# Blanks, and a byte order mark.
BEFORE_JSON: Final = " \t\r\n\ufeff"
MAX_MESSAGE_CHARS: Final = 2000
# The seconds, in these fields.
_WAITS: Final = {
    **dict.fromkeys(("retry_after", "retry_after_seconds", "estimated_time", "retryDelay"), 1.0),
    "retry_after_ms": 0.001,
}
_PAGE: Final = re.compile(
    r"[\s\ufeff]*((<!--.*?-->|<\?xml[^>]*>)\s*)*"
    r"<(!doctype html|html|head|body|title|center|h1|meta|script|style|link|form|frameset|div|p|table)\b",
    re.IGNORECASE | re.DOTALL,
)
# Its first line of data. There may be other fields before it.
_EVENT: Final = re.compile(r"(?:(?:event|id|retry):[^\n]*\n)*data:[ \t]*(.*)")
_WORD: Final = r"[^\W_]+"
_TITLE: Final = re.compile(r"<(title|h1)[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
# Pydantic's errors as Python writes them. They also quote the request: `'input': {...}`, `input_value={...}`.
_PYDANTIC: Final = re.compile(
    r"""\{'type': '[^']*', 'loc': \(([^)]*)\), 'msg': ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL
)
_INPUT: Final = re.compile(r" *\[type=\w+, input_value=.{0,2000}?, input_type=\w+\]", re.DOTALL)
_WAIT: Final = re.compile(
    # A connection can be reset after a time too.
    r"(?:try again|retry|wait|(?:will (?:be )?|(?:limit|quota|usage)s? )reset|resets)"
    rf"\D{{0,30}}?((?:\d+(?:\.\d+)?\s*{UNITS}\s*)+)",
    re.IGNORECASE,
)
_PLAIN_WAIT: Final = re.compile(r"retry[- ]after:? (\d{1,6})\b(?!\s*[a-z/%-])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What the body of an error says.

    `message` is the service's own. `generated` is what the model wrote that the service refused as JSON or as a call
    of a tool: empty if it does not quote that, None if it refused something else. `types` has the names of the error,
    in lower case. `code` is the HTTP status that it names, `status` the one that its code or its type stands for,
    `wait` the number of seconds that it asks to wait; each None if there is none. `is_page` tells whether the body is
    a web page.
    """

    message: str = ""
    types: str = ""
    code: int | None = None
    status: int | None = None
    wait: float | None = None
    is_page: bool = False
    generated: str | None = None

    @property
    def is_of_call(self) -> bool:
        """Whether the service could not read a call of a tool in what the model has written."""
        return self.generated is not None and JSON_REFUSED not in self.types

    @property
    def said(self) -> str:
        """The message without what the model has written, which can have any words."""
        return self.message.partition(_WROTE)[0] if self.generated else self.message


def read_error(body: object) -> ErrorBody:
    """Return what the body of an error says.

    Parameters
    ----------
    body : object
        The parsed JSON document, or the text of a body that is not JSON.
    """
    objects = list(_objects(_unpacked(body)))
    types = [str(one[name]) for one in objects for name in TYPES if isinstance(one.get(name), str)]
    code = _code(objects)
    message = " ".join(_message(body)[:MAX_MESSAGE_CHARS].split())
    is_page = isinstance(body, str) and _PAGE.match(body[:20_000]) is not None
    named, status = " ".join(types).lower(), code or _status(types)
    is_refused = JSON_REFUSED in named or refuses_call(f"{message.partition(_WROTE)[0]} {named}")
    generated = next(filter(None, map(_generated, objects)), "" if is_refused else None)
    return ErrorBody(message, named, code, status, _wait(objects, message), is_page, generated)


def _unpacked(value: object) -> object:
    """Return a text that is JSON, or a server-sent event with JSON, as the value that it stands for.

    Some services encode a message, or a whole body, as a text of JSON once more.
    """
    if not isinstance(value, str):
        return value
    text = value.lstrip(BEFORE_JSON)
    if event := _EVENT.match(text):
        text = event[1]
    if text.strip() == "null":
        return None
    if text[:1] not in ("{", "[", '"'):
        return value
    found = json_or_none(text)
    return value if found is None else _unpacked(found)


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a body, the outermost first."""
    if isinstance(value, Mapping):
        yield value
        for name in dict.fromkeys((*MESSAGE_FIELDS, "metadata", *BESIDE)):
            yield from _objects(_unpacked(value.get(name)))
    elif isinstance(value, list):
        for one in value[:3]:
            yield from _objects(one)


def _message(body: object) -> str:
    value = _unpacked(body)
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return "; ".join(dict.fromkeys(filter(None, map(_message, value[:3]))))
    if not isinstance(value, Mapping):
        return str(value)
    # Of a form that is not known: quoted as it is.
    return _all_said(value) or _of_fields(value) or (_as_json(value)[:MAX_MESSAGE_CHARS] if value else "")


def _all_said(value: Mapping[str, Any]) -> str:
    """Return the message of an object, with what the fields beside it say."""
    found = _message_of_object(value)
    for more in _said_beside(value):
        found = _with_more(found, more)
    if written := value.get("failed_generation"):
        # What the model wrote in place of a tool call or JSON.
        return _with_more(found, f"{_WROTE}{_as_json(written)}")
    # A gateway puts the message of the service behind it here.
    metadata = value.get("metadata")
    return _with_more(found, _message(metadata.get("raw"))) if isinstance(metadata, Mapping) else found


def _said_beside(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an object says beside its message. What has no message, such as a link or a time, is left out."""
    metadata = value.get("metadata")
    for one in (value, metadata if isinstance(metadata, Mapping) else {}):
        yield from filter(None, (_said_in(_unpacked(one.get(name))) for name in BESIDE))
    if isinstance(param := value.get("param"), Mapping):
        yield _said_in(param)


def _said_in(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return "; ".join(dict.fromkeys(filter(None, map(_said_in, value[:3]))))
    if not isinstance(value, Mapping):
        return ""
    fields = {} if "@type" in value else {name: one for name, one in value.items() if _is_sentence(one)}
    return _all_said(value) or _of_fields(fields)


def _is_sentence(value: object) -> bool:
    """Return whether the value of a field may say what is wrong with it: texts, but no id, no name and no number."""
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(one, str) and (value is texts or " " in one.strip()) for one in texts)


def _of_fields(value: Mapping[str, Any]) -> str:
    """Return what is wrong with each field of the request, if an object says only that."""
    if not all(isinstance(one, str | list) for one in value.values()):
        return ""
    return "; ".join(f"{name}: {message}" for name, one in value.items() if (message := _message(one)))


def _with_more(said: str, more: str) -> str:
    """Return what was said with more of it, and nothing twice: one that has all words of the other is enough."""
    before, after = _words(said), _words(more)
    if not more or after in before:
        return said
    return more if not said or before in after else f"{said.strip().removesuffix('.')}: {more}"


def _words(text: str) -> str:
    """Return the words of a text for a comparison."""
    return f" {' '.join(re.findall(_WORD, text.lower()))} "


def _generated(value: Mapping[str, Any]) -> str:
    written = value.get("failed_generation")
    return written if isinstance(written, str) else _as_json(written) if written else ""


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _message_of_object(value: Mapping[str, Any]) -> str:
    """Return the message of an object, with the place in the request that it is about."""
    place: list[object] = next(
        (value[name] for name in PLACES if isinstance(value.get(name), list) and value[name]), []
    )
    messages = list(filter(None, (_message(value.get(name)) for name in MESSAGE_FIELDS)))
    # A short name of the error, beside what it means.
    found = ": ".join(messages[:2]) if isinstance(value.get("error"), str) else next(iter(messages), "")
    named = next((one for name in TEXT_PLACES if isinstance(one := value.get(name), str) and one), "None")
    if named in ("None", "null") or named in found:
        return _with_place(map(str, place), found)
    # Mostly the name of the parameter; some services write a sentence there.
    return ": ".join(filter(None, (found, named))) if " " in named else _with_place([named], found)


def _with_place(place: Iterable[str], message: str) -> str:
    named = ".".join(one for one in place if one != "body")
    return f"{named}: {message}" if named and message else message


def _text(text: str) -> str:
    """Return a text without what it quotes of the request; of a document with tags, its title or its text."""
    start = text.find("[{'type': '")
    if errors := _PYDANTIC.findall(text[start : start + 20_000])[:3] if start >= 0 else ():
        places = [_with_place(re.findall(r"\w+", place), message[1:-1]) for place, message in errors]
        return text[:start] + "; ".join(places)
    text = _INPUT.sub("", text)
    if not text.lstrip().startswith("<"):
        return text
    title = _TITLE.search(text[:20_000])
    return re.sub(r"<[^>]*>", " ", title[2] if title else text[:20_000])


def _code(objects: list[Mapping[str, Any]]) -> int | None:
    given = (str(one.get(name)) for one in objects for name in STATUSES)
    return next((int(one) for one in given if re.fullmatch("[45][0-9]{2}", one)), None)


def _status(types: list[str]) -> int | None:
    # AWS puts a namespace before the name.
    known = (_STATUS_OF_TYPE.get(re.sub(r"[^a-z0-9]", "", one.rpartition("#")[2].lower())) for one in types)
    return next(filter(None, known), None)


def _wait(objects: list[Mapping[str, Any]], message: str) -> float | None:
    for one in objects:
        for name, unit in _WAITS.items():
            if (seconds := read_retry_after(str(one.get(name)), unit)) is not None:
                return seconds
        # A gateway quotes the headers of the service behind it.
        if isinstance(headers := one.get("headers"), Mapping):
            of_headers = requested_delay({str(name).lower(): str(value) for name, value in headers.items()})
            if of_headers is not None:
                return of_headers
    if found := _WAIT.search(message):
        return read_span(found[1])
    plain = _PLAIN_WAIT.search(message)
    return float(plain[1]) if plain else None
