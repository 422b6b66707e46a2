"""Change a request after a model refused its response format, or after an answer that does not fit its schema."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError, it_said, quoted
from ..messages import BUDGET_REMEDY, JSON_MODE, JSON_ONLY
from ..rendering import why_empty, why_flawed

if TYPE_CHECKING:
    from ..messages import Message, PreparedRequest, Reply
    from ..schemas import Mismatch, Schema


ASKED_AGAIN: Final = "The service could not read a call of a tool by the model: the model was asked once more."
# What the model gets about such a call, and what stands for the call if the service does not quote it.
NOT_READ: Final = (
    "This call of a tool was not valid, and no tool ran. Call one of the tools again, with arguments in JSON that fit "
    "its schema, or answer without a tool. The reason:"
)
NO_CALL: Final = "(a call of a tool)"
OTHER_PROMPT: Final = "Change the prompt, or ask another model."
# How services say that they do not have a response format at all.
_NO_FORMAT: Final = re.compile(
    r"(response[_ ]format|structured output).*(support|(?<!un)available)"
    r"|support.*(response[_ ]format|structured output)",
    re.IGNORECASE | re.DOTALL,
)
# Words about the schema that was sent, also those of the format that it was sent as.
_OF_SCHEMA: Final = re.compile(
    r"\b(invalid|illegal|malformed|unsupported|unrecogni[sz]ed)[ _](json[ _])?schema|\bin context\b", re.IGNORECASE
)


def relax_response_format(
    sent: PreparedRequest, schema: Schema | None, error: InferenceError, *, has_taken: bool = False
) -> PreparedRequest | None:
    """Return the request with a relaxed response format, or None if the format did not cause the error.

    If the model has taken the format before (`has_taken`), only an error that says that there is none is of the format:
    one provider behind a gateway may have it, and the next may not.
    A schema is replaced by JSON mode with instructions for the schema in the system prompt. If the model refuses JSON
    mode, with a schema or without one, only the instructions are sent.
    """
    form = sent.body.get("response_format")
    if form is None or not error.refuses_format or (has_taken and not _NO_FORMAT.search(error.why)):
        return None
    with_tools = " together with tools" if "tools" in sent.body else ""
    if schema is None:
        notice = f"{sent.model} does not support response formats{with_tools}: the prompt asked for JSON instead."
        easier = sent.with_body(response_format=None).instructed(JSON_ONLY)
    elif form["type"] == "json_schema":
        has_none = _NO_FORMAT.search(error.why) and not _OF_SCHEMA.search(error.why)
        what = "does not support schemas" if has_none else "did not accept this schema"
        notice = f"{sent.model} {what}{with_tools}: it was asked for JSON instead."
        easier = sent.with_body(response_format=JSON_MODE).instructed(schema.instructions)
    else:
        notice = f"{sent.model} does not support response formats{with_tools} either: only the prompt asked for JSON."
        easier = sent.with_body(response_format=None)
    return easier.noticed(notice)


def refused_answer(error: InferenceError) -> dict[str, Any] | None:
    """Return what the model wrote as a completion, if the service refused that as JSON and says it; else None."""
    if not error.generated:
        return None
    is_cut = "max completion tokens reached" in error.generated
    message = {"role": "assistant", "content": "" if is_cut else error.generated}
    return {"choices": [{"message": message, "finish_reason": "length" if is_cut else "stop"}]}


def refuses_call(error: InferenceError) -> bool:
    """Return whether the service could not read the model's call of a tool. The request itself was not refused."""
    return error.generated is not None and error.cause == "reply"


def call_again_request(sent: PreparedRequest, error: InferenceError, *, is_recorded: bool) -> PreparedRequest:
    """Return the request that is sent after one for which the service could not read the model's call of a tool.

    The model gets its call and the reason, as after a call that this package cannot read. A cassette has no refusals
    that came in a stream: if one is in use (`is_recorded`), the same request is sent, so that its answer is found. So
    it is without tools, where the model has nothing to correct.
    """
    if is_recorded or "tools" not in sent.body:
        return sent.noticed(ASKED_AGAIN)
    written = {"role": "assistant", "content": error.generated or NO_CALL}
    return sent.followed_by(written, {"role": "user", "content": f"{NOT_READ} {error.why}"}).noticed(ASKED_AGAIN)


def repair_request(sent: PreparedRequest, schema: Schema, answer: Message, mismatch: Mismatch) -> PreparedRequest:
    """Return the request that asks again after an answer that does not fit its schema, the message `answer`."""
    correction = f"This does not fit: {mismatch}\nAnswer again, with JSON only. {schema.instructions}"
    again = sent.followed_by(answer, {"role": "user", "content": correction})
    return again.noticed(f"The first answer did not fit ({quoted(str(mismatch))}): it was asked for again.")


def refused(message: str) -> InferenceError:
    """Return the error for a model that refused to answer."""
    return InferenceError(
        "The model refused to answer.",
        why=it_said(message),
        remedy=OTHER_PROMPT,
        cause="answer",
        affects_all=False,
    )


def does_not_fit(mismatch: Mismatch, reply: Reply, *, remedy: str) -> InferenceError:
    """Return the error for an answer that does not fit its schema."""
    cut = "It was cut at the token limit: raise --max-tokens. " if reply.finish_reason == "length" else ""
    if reply.is_cut_by_budget:
        cut = f"It was cut at the budget's limit. {BUDGET_REMEDY} "
    # A mismatch begins with the name of a field, or with "the answer".
    why = re.sub("^the answer", "The answer", f"{mismatch}.")
    if not reply.text and not reply.reasoning:
        why, remedy = "It is empty.", "Run it again, or ask another model."
    is_filtered = reply.finish_reason == "content_filter"
    if is_filtered:
        why, remedy = f"{why_flawed(reply)} {why}" if reply.text else why_empty(reply), OTHER_PROMPT
    return InferenceError(
        "The answer does not fit the schema.",
        why=why,
        remedy=f"{cut}{remedy}".strip(),
        cause="answer",
        affects_all=False if is_filtered else None,
    )
