"""Convert failures of the service or the network into errors for users. Only this module does so."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ..config import WANDB_URL
from ..errors import InferenceError, beyond_limits, describe_exception, inference_error_in, it_said, quoted
from ..libraries import outdated_library
from ..text import duration, library_message, redacted_value
from .bodies import ErrorBody, read_error
from .causes import CAUSES, ErrorForm
from .connections import NO_PROXY_REMEDY, describe_connection_failure, describe_proxy
from .refusals import may_pass, refuses_form, refuses_format
from .retries import LONGEST_DELAY, requested_delay
from .service_error import ServiceError

if TYPE_CHECKING:
    from openai import APIStatusError

    from ..catalog import Catalog
    from ..config import Endpoint

# The tools among the parts of a request.
TOOLS: Final = "the tools"
REPLAYED: Final = "This error was replayed from the cassette. The mode auto asks again, if the endpoint can be reached."
BILLING_URL: Final = "forge.coreweave.com/subscriptions"
# A name that is no word of a language: `request_timeout`, `maxTokens`, `org/model`.
_COINED: Final = re.compile(r"\S[_./-]\S|[a-z][A-Z]")
_BEFORE_NAME: Final = (
    r"\b(?:(?:supplied|argument|parameter|field|property|option)s?(?:: ?| ?= ?| )|validation errors? for \w+ )"
)
# What the model or the service has room for, which may be the same number.
_ROOM: Final = r"(?i)\b(context|maximum|at most|less than|limit)\b\D{0,30}(\d+)"
_LIMIT_IS_WRONG: Final = r"\bmax_\w{0,20}tokens\b\W{0,3}(must be|value)"
# The place in the request, before what is wrong with it: `tools.0.name: ...`, `body/top_k must ...`.
_PLACE: Final = re.compile(r"(?:^|(?<=[;:,.] )|(?<=[=(]))[\w./\[\]-]+(?=: | must )")


@dataclass(frozen=True, slots=True)
class FailureContext:
    """The context of a failed call: its endpoint and model (empty for a request for the list of models).

    `names` are those in its request that the user has chosen: of tools, fields and parameters. `large_reply_limit` is
    the limit on the reply that the user set, in tokens, if it is more than the prompt has. `has_earlier` says that the
    request has earlier turns, which can be left out. `parts` are the parts of the request besides its messages, as a
    user calls them.
    """

    endpoint: Endpoint
    model: str
    catalog: Catalog
    names: frozenset[str] = frozenset()
    large_reply_limit: int | None = None
    has_earlier: bool = False
    parts: tuple[str, ...] = ()


def to_inference_error(failure: Exception, context: FailureContext) -> InferenceError:
    """Return the error that reports `failure` to the user.

    Parameters
    ----------
    failure : Exception
        The exception that the SDK raised.
    context : FailureContext
        The call that failed.

    Returns
    -------
    InferenceError
        If `failure` is an InferenceError or was caused by one, that error.
    """
    # The SDK reports any exception of its HTTP client as a connection error.
    if (error := inference_error_in(failure) or beyond_limits(failure)) is not None:
        return error
    if (described := describe_connection_failure(failure, context.endpoint)) is not None:
        return described
    # Imported here: the module is imported before the first call, and the SDK takes long.
    import openai

    if isinstance(failure, ServiceError):
        return _of_reply(failure, context)
    if isinstance(failure, openai.APIStatusError):
        return _of_status(failure, context)
    return outdated_library() or InferenceError(
        "The request could not be made, or its reply could not be shown.",
        why=quoted(library_message(describe_exception(failure))),
        remedy="Check the options of the cell and the settings (%wbconfig). "
        "%config WandbInference.debug = True shows the full traceback next time.",
        cause="reply",
    )


def _of_status(failure: APIStatusError, context: FailureContext) -> InferenceError:
    headers = failure.response.headers
    status, body = _answered(failure)
    error = _error(status, body, requested_delay(headers), context)
    if failure.response.has_redirect_location:
        # It may be no address.
        with suppress(Exception):
            named = failure.response.url.join(headers["location"]).copy_with(query=None, userinfo=b"", fragment=None)
            error.why = f"It named {quoted(str(named))}. {error.why}"
    error.request_id = quoted(headers.get("x-request-id") or "") or None
    if sentence := describe_proxy(context.endpoint, status):
        error.why, error.remedy = f"{error.why}{sentence}".strip(), f"{error.remedy} {NO_PROXY_REMEDY}"
    if any(getattr(one, "replayed", False) for one in failure.response.extensions.values()):
        error.is_replayed = True
        # A note, not a part of its text: in the rows of a map, that is the text of the recording.
        vars(error)["__notes__"] = [REPLAYED]
    if headers.get("x-should-retry") == "false":
        # The SDK obeys it as well.
        error.retryable = False
    return error


def _answered(failure: APIStatusError | ServiceError) -> tuple[int | None, ErrorBody]:
    """Return the status and the body of what a service answered."""
    if isinstance(failure, ServiceError):
        body = read_error(failure.body)
        return body.status, body
    # The SDK keeps only a part of the body.
    body = read_error(failure.response.text or failure.body)
    return _status_behind(failure.status_code, body), body


def status_and_words(failure: Exception) -> tuple[int | None, str]:
    """Return the status that a service answered with, or that it names in its answer, and what it said.

    The status is None if it did not answer or names none.
    """
    import openai

    if not isinstance(failure, openai.APIStatusError | ServiceError):
        return None, ""
    status, body = _answered(failure)
    return status, body.message


def _status_behind(status: int, body: ErrorBody) -> int:
    """Return the status of the service behind a gateway, if that of the gateway says less."""
    is_behind = status >= 500 and body.code is not None and body.code < 500
    if body.code is not None and (is_behind or (status == 400 and body.code in (429, 503))):
        return body.code
    return status


def refused_request(failure: APIStatusError | ServiceError, names: Collection[str]) -> str:
    """Return the words of a service that refused a request for its form.

    They are empty if it refused what the prompt says, how long it is, or what the model has written; if another request
    would have failed as well; and if the words are of a failure that passes: what is waited for is not changed. `names`
    are those of `FailureContext`.
    """
    status, body = _answered(failure)
    form = _form_that_refused(status, body, names)
    said = _without_names(body.message, names)
    is_refusal = (form.cause == "request" or not may_pass(said)) and not form.is_too_long and body.generated is None
    is_of_form = is_refusal and refuses_form(form.cause, status, said)
    return body.message if is_of_form else ""


def would_refuse_again(status: int, data: bytes, names: Collection[str]) -> bool:
    """Return whether a service that answered a chat with this status and body would refuse the same request again.

    So it may where it could not read what the model wrote. Not where it was busy or starting, and not where it refused
    the key, the account or the address. `names` are those of `FailureContext`.
    """
    body = read_error(data.decode("utf-8", "replace"))
    form = _form_that_refused(_status_behind(status, body), body, names)
    is_of_request = form.cause in ("request", "model") and form.affects_all is not True
    return form.waits is None and (is_of_request or form.is_of_prompt or body.is_of_call)


def is_too_long(status: int, document: object) -> bool:
    """Return whether a service that answered a chat with this status and body says that the chat is too long."""
    body = read_error(document)
    return _form_that_refused(_status_behind(status, body), body).is_too_long


def _form_that_refused(status: int | None, body: ErrorBody, names: Collection[str] = ()) -> ErrorForm:
    places = {"": True, "page": body.is_page, "call": body.is_of_call}
    return _form_of(status, body, _without_names(body.said, names), places)


def _of_reply(failure: ServiceError, context: FailureContext) -> InferenceError:
    """Return the error for one that the service sent in a response whose status was 200."""
    status, body = _answered(failure)
    error = _error(status, body, None, context)
    if failure.has_begun and not body.is_of_call:
        error.what = "The service stopped the reply with an error."
    return error


def _error(status: int | None, body: ErrorBody, wait: float | None, context: FailureContext) -> InferenceError:
    wait = body.wait if wait is None else wait
    key = context.endpoint.key
    # An error may be shown and saved with the notebook. Remove the key, in case the service repeats it.
    message = redacted_value(body.message, (key.reveal(),) if key else ())
    is_wandb = context.endpoint.is_wandb
    places = {
        "": True,
        "wandb": is_wandb,
        "other-path": is_wandb and urlsplit(context.endpoint.url).path != urlsplit(WANDB_URL).path,
        "list": not context.model,
        "page": body.is_page,
        "limit": _names_limit(message, context),
        "parts": bool(context.parts),
        "call": body.is_of_call,
        "called": body.is_of_call and TOOLS in context.parts,
    }
    said = replace(body, message=message).said
    said = _without_names(_without_names(said, {context.model}, "ID"), context.names)
    form = _form_of(status, body, said, places, asks_to_wait=wait is not None and wait <= LONGEST_DELAY)
    fields = _fields(form, status, context)
    why = [form.why.format_map(fields), it_said(message) if message else ""]
    remedy, affects_all = form.remedy.format_map(fields), form.affects_all
    if wait is not None and wait > LONGEST_DELAY and form.waits:
        why.append(f"It asks to wait {duration(wait)} before the next try, which is longer than this package waits.")
        # Any other request would be refused too.
        remedy, affects_all = f"Run it again in {duration(wait)}, or choose another model with %wbmodels.", True
    error = InferenceError(
        form.what.format_map(fields),
        why=" ".join(filter(None, why)),
        remedy=remedy,
        cause=form.cause,
        status=status,
        retryable=form.waits is not None,
        retry_after=wait,
        waits=form.waits,
        affects_all=affects_all,
    )
    error.generated, error.is_of_prompt = body.generated, form.is_of_prompt
    error.is_too_long, error.is_too_many = form.is_too_long, form.is_too_many
    if context.model and body.generated is None:
        bare = re.sub(rf"(?<!\w){re.escape(context.model)}(?!\w)", "", said)
        error.refuses_format = refuses_format(form.cause, status, bare)
    return error


def _names_limit(message: str, context: FailureContext) -> bool:
    """Return whether a message is about the limit on the reply that the user set, and to shorten cannot help."""
    limit = context.large_reply_limit
    if limit is None or (context.has_earlier and any(int(one[2]) > limit for one in re.finditer(_ROOM, message))):
        return False
    asked_for = rf"(?<![\d.,]){limit}(?![\d.,]?\d)|{_LIMIT_IS_WRONG}"
    return re.search(asked_for, re.sub(_ROOM, "", message)) is not None


def _without_names(message: str, names: Collection[str], other: str = "NAME") -> str:
    """Return a message with another word for the user's names of parts of the request: these can have any words.

    A name that is a word of the language too, such as `moderation`, is left out only where it must be a name.
    """
    names = sorted(filter(None, names), key=len, reverse=True)
    if coined := "|".join(re.escape(one) for one in names if _COINED.search(one)):
        message = re.sub(rf"(?<!\w)({coined})(?!\w)", other, message)
    chosen = "|".join(map(re.escape, names))
    if not chosen:
        return message
    message = re.sub(rf"(?<=['\"`])({chosen})(?=['\"`])", other, message)
    message = re.sub(rf"(?i)({_BEFORE_NAME})({chosen})(?!\w)", rf"\1{other}", message)
    # A schema can have a field `model`; at this place it is the model of the request.
    own = rf"(?<!\w)(?!model\b)({chosen})(?!\w)"
    return _PLACE.sub(lambda place: re.sub(own, other, place[0]), message)


def _form_of(
    status: int | None, body: ErrorBody, message: str, places: Mapping[str, bool], *, asks_to_wait: bool = False
) -> ErrorForm:
    searched = f"{message} {body.types}".strip()
    return next(one for one in CAUSES if one.fits(status, searched, places, asks_to_wait=asks_to_wait))


def _fields(form: ErrorForm, status: int | None, context: FailureContext) -> dict[str, object]:
    """Return the fields of a message."""
    endpoint = context.endpoint
    fields: dict[str, object] = {
        "service": endpoint.label,
        "model": context.model,
        "status": status,
        "who": _who(context),
        "parts": ", without ".join(context.parts),
        "origin": endpoint.described_origin,
        "key_answer": "did not accept the key" if endpoint.key else "asks for a key",
        "key_remedy": _key_remedy(context),
        "quota_remedy": f"See {BILLING_URL}." if endpoint.is_wandb else "Ask the people who run the endpoint.",
    }
    if "{model_remedy}" in form.remedy:
        # It takes long: the name is compared with those of all models.
        unknown = context.catalog.describe_unknown(context.model)
        fields |= {"model_why": unknown.why, "model_remedy": unknown.remedy}
    return fields


def _who(context: FailureContext) -> str:
    """Describe the key and the project that were sent. From W&B, status 401 can mean that either is wrong."""
    endpoint = context.endpoint
    key = f"The key came from: {endpoint.key.source}." if endpoint.key else "No key was sent."
    if not endpoint.is_wandb:
        return key
    project = f"The project was {endpoint.project}." if endpoint.project else "No project was named."
    return f"{key} {project} W&B answers the same for a wrong key and for a wrong project."


def _key_remedy(context: FailureContext) -> str:
    if not context.endpoint.is_wandb:
        return "Set the endpoint's own key: %wbconfig --key, or WANDB_INFERENCE_API_KEY."
    return (
        "Check both: a key is made at forge.coreweave.com/settings and set with %wbconfig --key; "
        "a project is set with %wbconfig --project team/project."
    )
