"""Convert failures of the service or the network into errors for users. Only this module does so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import Cause, InferenceError, quoted
from ..text import hidden, library_message
from .connection_failures import describe_connection_failure
from .retries import read_retry_after

if TYPE_CHECKING:
    from openai import APIStatusError

    from ..catalog import Catalog
    from ..config import Endpoint

BILLING_URL: Final = "forge.coreweave.com/subscriptions"


@dataclass(frozen=True, slots=True)
class FailureContext:
    """The context of a failed call: its endpoint and model (empty for a request for the list of models)."""

    endpoint: Endpoint
    model: str
    catalog: Catalog


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
    for error in _caused(failure):
        # The SDK reports any exception of its HTTP client as a connection error.
        if isinstance(error, InferenceError):
            return error
    if (described := describe_connection_failure(failure, context.endpoint)) is not None:
        return described
    # Imported here: the module is imported before the first call, and the SDK takes long.
    import openai

    if isinstance(failure, openai.APIStatusError):
        return _of_status(failure, context)
    return InferenceError(
        "The request could not be made, or its reply not be shown.",
        why=quoted(library_message(f"{type(failure).__name__}: {failure}")),
        remedy="Check the options of the cell and the settings (%wbconfig). "
        "%config WandbInference.debug = True shows the whole of it the next time.",
        cause="request",
    )


def _of_status(failure: APIStatusError, context: FailureContext) -> InferenceError:
    status, headers = failure.status_code, failure.response.headers
    key = context.endpoint.key
    # An error may be shown and saved with the notebook. Remove the key, in case the service repeats it.
    said = hidden(_message(failure), (key.reveal(),) if key else ())
    what, why, remedy, cause = _describe_status(status, said, context)
    if said and cause != "model":
        why = f'{why} It said: "{quoted(said)}"'.strip()
    return InferenceError(
        what,
        why=why,
        remedy=remedy,
        cause=cause,
        status=status,
        request_id=headers.get("x-request-id"),
        retryable=cause == "busy",
        retry_after=read_retry_after(headers.get("retry-after")),
    )


def _describe_status(status: int, said: str, context: FailureContext) -> tuple[str, str, str, Cause]:
    """Return what, why, remedy and cause for a status, as in the table in service.md (2026-10-07)."""
    service = context.endpoint.label
    quota = "quota" in said.lower()
    if 300 <= status < 400:
        return (
            f"{service} redirected the request to another address.",
            "Redirects are not followed: the prompt and the key go to the endpoint you set and nowhere else.",
            "Set the address it really has: %wbconfig --endpoint URL.",
            "network",
        )
    if status == 401:
        return f"{service} did not accept the key.", _who(context), _key_remedy(context), "key"
    if status == 402 or (status == 429 and quota):
        return (
            "The account's credit or spending limit is used up.",
            "",
            f"See {BILLING_URL}." if context.endpoint.is_wandb else "Ask the people who run the endpoint.",
            "quota",
        )
    if status == 403:
        return f"{service} refused the request.", "", _refusal_remedy(said), "refused"
    if status == 404 and not context.model:
        return (
            f"{service} has no list of models.",
            "Its address may be wrong (it usually ends in /v1), or it does not list what it serves.",
            "Check the address: %wbconfig shows it.",
            "network",
        )
    if status == 404:
        unknown = context.catalog.describe_unknown(context.model)
        return (
            f"{service} does not know the model {context.model!r}.",
            unknown.why,
            unknown.remedy,
            "model",
        )
    return _describe_library_error(status, service)


def _describe_library_error(status: int, service: str) -> tuple[str, str, str, Cause]:
    """Return the same as `_describe_status` for a status whose meaning depends on nothing else."""
    if status == 429:
        return (
            f"{service} is getting too many requests at once.",
            "The limit counts requests in flight per project, user and model.",
            "Wait a moment and run the cell again; run fewer at once.",
            "busy",
        )
    if status in (400, 413, 422):
        return (
            f"{service} did not accept the request as it is.",
            "",
            "Leave out or change the option it names; shorten the prompt if it is too long (--once, --new).",
            "request",
        )
    if status >= 500:
        return (
            f"{service} is overloaded or failing at the moment.",
            "",
            "Run the cell again in a minute or two, or choose another model with %wbmodels.",
            "busy",
        )
    return (
        f"{service} answered with status {status}.",
        "",
        "Check the endpoint with %wbconfig --check.",
        "request",
    )


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


def _refusal_remedy(said: str) -> str:
    if "country" in said.lower() or "region" in said.lower():
        return (
            "The service looks at the address of the machine that runs this kernel (for a hosted notebook, its host). "
            "Use it from a region it serves."
        )
    if "organization" in said.lower():
        return "Ask an administrator of your W&B organization to enable the inference gateway."
    return "Ask an administrator of the account whether it may use this model."


def _caused(failure: BaseException) -> Iterator[BaseException]:
    """Yield a failure and its explicit causes, not the exceptions that were being handled when it was raised."""
    error: BaseException | None = failure
    while error is not None:
        yield error
        error = error.__cause__


def _message(failure: APIStatusError) -> str:
    """Return the service's own message: `error.message`, `detail`, or an empty string for a web page."""
    body = failure.body
    if isinstance(body, Mapping):
        # The SDK unwraps `error` only if it is set.
        body = body.get("error") or body
    if isinstance(body, Mapping):
        said = body.get("message") or body.get("detail") or ""
        return said if isinstance(said, str) else str(said)
    return body if isinstance(body, str) and not body.lstrip().startswith("<") else ""
