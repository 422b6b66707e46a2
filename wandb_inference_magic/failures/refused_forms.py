"""What services say of the form of a request that they refuse: how its messages, tools and stream are written."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

# A result, and its place in the request.
_RESULT: Final = (
    r"(\b(tool|function) (role )?(message|result|response)s?\b|\brole\W{1,4}(tool|function)\b|\bfunction_?response\b"
    r"|\bmessages?\W{1,2}\d+\W{1,2}(tool\W)?(?=name\b))"
)
# Two fields that a message must not have together. That it must have one of them is another matter.
_NOT_BOTH: Final = (
    r"((\b(not|cannot|never)|n't)\b.{0,30}\b(both|together|at the same time|simultaneous\w*)\b"
    r"|\bmutually exclusive\b|\b(only|exactly) one of\b)"
)
_NOT_NONE: Final = r"(?!.*\b(not|be|is|are) (both )?(empty|none|null|missing)\b)"
_TEXT: Final = r"\b(content|text)\b"
_CALL: Final = r"\b(tool|function)[ _-]?(use|call(ing)?)s?\b"
# `parallel_tool_calls` is a parameter.
_SEVERAL: Final = r"\b(parallel|multiple|several|more than one|two)"
_ID: Final = r"(tool|function)[ _]?(call|use)s?(\W\d+\W?)?[ _.]?ids?\b"
# Other words with `system` are about the machine.
_SYSTEM: Final = (
    r"(\b(system|developer)[ _-]?(role|message|prompt|instruction)s?\b|['\"`](system|developer)['\"`]"
    r"|\broles?\W{1,3}(system|developer)\b)"
)
_UNKNOWN: Final = (
    r"(\b(not|cannot|can't|\w+n't)\b.{0,20}\b(support|allow|enabl|permit|accept|recogni|valid|one of|have)"
    r"|\b(unsupported|unexpected|unknown|unrecogni|disabled|invalid(?= (role|value))))"
)
# What it says, or how much, is another matter.
_TOO_MUCH: Final = r"\b(more than|at most|exceed\w*|too (long|large)|longer|characters|tokens)\b"
_NEEDED: Final = (
    r"((un)?support(s|ed)?|require[sd]?|recommended|must|mandatory|only|true|false|(en|dis)abled?|allowed|available"
    r"|(cannot|please) use)"
)
_STREAM: Final = r"(non-?)?stream(ed|ing)?"
# What comes before the name of a field that is also a word: "400 tokens for reasoning".
_BEFORE_NAME: Final = r"""(["'`.:\]] ?|\b(field|argument|property|key) )"""
# The text of a reply: a gateway got none.
_OF_REPLY: Final = (
    r"(?<!not )\b(return|produc|generat)\w* (with )?((an?|only|no) )?((empty|blank) )?(content|text)\b"
    r"|(?<!tool )(?<!function )\b(respon[sd]\w*|repl(y|ies)|completion|output|upstream)('s)? (content|text)\b"
    r"|\b(empty|blank) (content|text) (in|from|by|of) ((the|its) )?(\w+ )?"
    r"(response|reply|completion|output|upstream|provider|model)\b"
)
# The schema of the answer, and arguments that the model has written.
_OF_ANSWER: Final = r"\bresponse_?(format|schema)\b|\btool call validation failed\b|\b(did|do|does) ?n[o']t match\b"


class RefusedForm(Enum):
    """What of a request is refused. The value is the pattern of the words, where case does not count."""

    # A message that has only calls of tools, or a result without a text.
    EMPTY_TEXT = (
        rf"^(?!.*({_OF_REPLY})).*("
        rf"{_TEXT}[^;]{{0,80}}(\b(is|was|are|be) (empty|blank|whitespace)\b|\bnon-?empty\b|\bnon-whitespace\b)"
        r"|\bnon-?empty (content|text)\b|\b(empty|blank) (content|text)\b|\bmessage .{0,60}\bmust not be empty\b)"
    )
    # A result without the name of its tool. The last words are all that Google's service says of it.
    RESULT_WITHOUT_NAME = (
        rf"{_RESULT}.{{0,60}}\bname\b|\bname\b.{{0,60}}{_RESULT}|{_RESULT}name\b"
        r"|\brequest contains an invalid argument\b"
    )
    TEXT_BESIDE_CALLS = rf"^{_NOT_NONE}(?=.*{_TEXT})(?=.*{_CALL}).*{_NOT_BOTH}"
    TEXT_BESIDE_REASONING = rf"^{_NOT_NONE}(?=.*{_TEXT})(?=.*\b(thinking|reasoning(_content)?)\b).*{_NOT_BOTH}"
    # Several calls in one message.
    SEVERAL_CALLS = (
        rf"\b(single|one|1) {_CALL}|{_SEVERAL} {_CALL}.{{0,60}}\b(not|cannot|unsupported)\b"
        rf"|(\b(not|cannot|no)|n't)\b.{{0,60}}{_SEVERAL} {_CALL}"
    )
    CALL_ID = (
        rf"\b{_ID}.{{0,120}}\b(must|should|invalid|length|too long|pattern|alphanumeric|empty)\b"
        rf"|\binvalid\b.{{0,60}}{_ID}"
    )
    # Keywords in the schema of a tool.
    TOOL_SCHEMA = (
        rf"^(?!.*({_OF_ANSWER})).*("
        r"\bfunction_?declarations?\b.{0,60}\b(parameters|schema)\b|\bflavou?red json schema\b|\binput_?schema\b"
        r"|\b(tool|function)s?\b.{0,20}\bparameters\b|\bparameters\b.{0,20}\b(tool|function)s?\b"
        # The name of the tool may be between.
        r"|\b(tool|function)s?\b.{0,90}\bschema\b|\bschema\b.{0,20}\b(tool|function)s?\b)"
    )
    EMPTY_PROPERTIES = r"\bproperties\b.{0,80}(\bnon-?empty\b|\b(cannot|not) be empty\b)"
    # The grammar of what the model may write, which a service makes of the schemas of tools too.
    GRAMMAR = (
        r"\bschema conversion failed\b|\bunrecogni[sz]ed schema\b"
        r"|\b(pars|compil|convert|build|initiali|unsupported|not support|invalid)\w*\b.{0,30}grammar\b"
        r"|grammar\b.{0,20}\b(error|failed|invalid|unsupported|unimplemented)\b"
    )
    # Services and chat templates say it.
    SYSTEM_ROLE = (
        rf"^(?!.*{_TOO_MUCH})(.*({_SYSTEM}.{{0,40}}{_UNKNOWN}|{_UNKNOWN}.{{0,40}}{_SYSTEM}"
        r"|\broles must alternate|\bfirst message must .{0,20}\buser\b"
        r"|\b(only|(should|must) be)\b\W{0,4}(the )?\W?user\b.{0,12}\bassistant\b))"
    )
    # A stream that they do not send, or a reply that they only stream.
    STREAM = rf"\b{_NEEDED}\b[^.;]{{0,60}}\b{_STREAM}\b|\b{_STREAM}\b[^.;]{{0,60}}\b{_NEEDED}\b|流式"
    NO_REASONING = (
        r"\breasoning(_content)?\W.{0,80}\bpassed back|\breasoning_content\W.{0,20}\b(missing|required)"
        r"|\b(missing|must (include|have|contain)|requires?)\W.{0,20}\breasoning_content"
    )
    # Reasoning that a gateway has changed on its way.
    BROKEN_REASONING = (
        r"\b(invalid|corrupted)\b.{0,20}\bsignature|\bsignature\b.{0,20}\b(not valid|invalid)"
        r"|\bencrypted content\b.{0,80}\bcould not be"
    )

    def is_in(self, message: str) -> bool:
        """Return whether a service's message says this."""
        return re.search(self.value, message, re.IGNORECASE) is not None


# What is demanded of a request, not of a machine or of a model's reply.
_DEMANDED: Final = (
    r"\b(must|should|cannot|only|requires?|required|needs? to|ha(s|ve) to|expected|not (allowed|permitted|supported))\b"
)
# The forms of messages of which a demand is a refusal, whatever the status.
_DEMANDS: Final = "|".join(
    form.value
    for form in (
        RefusedForm.EMPTY_TEXT,
        RefusedForm.RESULT_WITHOUT_NAME,
        RefusedForm.TEXT_BESIDE_CALLS,
        RefusedForm.TEXT_BESIDE_REASONING,
        RefusedForm.SEVERAL_CALLS,
        RefusedForm.CALL_ID,
        RefusedForm.SYSTEM_ROLE,
    )
)
# A gateway says of an error that it was returned.
_OF_MODEL: Final = r"\b(return|produc|generat)(ed|s) (?!((an?|the|the following) )?errors?\b)"
DEMANDED_FORM: Final = rf"(?!.*{_OF_MODEL})(?=.*{_DEMANDED}).*({_DEMANDS})"


def names_field(message: str, name: str) -> bool:
    """Return whether a service's message names a field of a message, and not the word for what it has."""
    return re.search(rf"\b{name}\b" if "_" in name else rf"{_BEFORE_NAME}{name}\b", message) is not None
