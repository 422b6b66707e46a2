"""What services say of a request that they refuse: of its response format, and with the status of a failure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..errors import Cause


def _outside_names(words: str) -> str:
    """Return a pattern that finds words, but not in the names of exceptions.

    A gateway puts such a name before what the service says, for example `litellm.APIConnectionError: ` before the
    message of any exception of Python.
    """
    return rf"(?<!\w\.)(?:{words})(?!\w*(?:error|exception|timeout)\b)"


# These are about the key, the account or the load of the service, whatever the words.
NOT_OF_REQUEST: Final = (401, 402, 403, 407, 408, 409, 425, 429)
# What passes by itself: a failure with these words is no refusal.
PASSES: Final = _outside_names(
    r"temporar|unavailable|\bretry|try again|capacity|time-?d?[ -]?out|deadline|connect|unreachable|overload|\bbusy\b"
)
# The same, in words that are certain: at a status of a refusal too.
PASSING: Final = (
    r"rate[_ ]?limit|throttl|too many requests|too busy|(due to|at) capacity|overloaded|temporarily|not loaded yet"
    r"|(is|are) (currently |still )?(loading|starting|being loaded|building|deploying|warming up)|\bstarting,"
    r"|(model|endpoint|deployment|server|service) is not ready|try again (later|in)"
    r"|(please retry|retry (later|after))(?! (after )?(check|verif|fix|correct|chang))"
    r"|(tokens|requests) per (second|minute|hour)|token_quota_exceeded"
    r"|(server|service|system|model) (is )?busy|no (healthy upstream|available (workers|accounts|capacity))"
    r"|loading in progress|model (is )?(not|getting) ready|shutting down|系统繁忙|稍后再试|速率限制"
)
# What a prompt says is another matter, and how busy the service is.
_NOT_OF_FORM: Final = (
    r"prompt was|polic(y|ies)\b|moderat|safety|unsafe|harmful|flagged|\bblocked\b"
    r"|overloaded|try again (later|in)|rate.?limit"
)
# The schema of a function is another matter too.
_FORMAT: Final = (
    r"^(?!.*(for function|input_schema))(.*("
    r"response[_ ]?(format|schema)|mime type|json[_ ](object|mode)|schema|structured|guided|grammar"
    r"|output_(format|config)|llguidance|parsertoocomplex|regex parse|handle the requested parameters"
    r"|required for format)"
    # Of Ollama, whose parameter has this name. Files have formats too.
    r"|(?!.*\b(image|picture|audio|video|file|png|jpe?g|webp|gif|mp3|wav|pdf)\b)"
    r"(.{0,60}(error|exception|code: \d{3})( -|:) )?['\"`]?format['\"`]?:)"
)
# What a service does with a schema before it answers.
_PREPARED: Final = r"(compil|conversion|convert|pars|build)\w*"
# At the statuses of failures of the service, only what says that it cannot be done.
_CANNOT: Final = (
    r"\b(not|no|n't|without) (\w+ )?support|unsupported|not implemented"
    r"|^(?!.*(upstream|provider)).*(toocomplex|too complex|required for format|regex parse"
    r"|\b(invalid|illegal|unrecogni[sz]ed|malformed) (\w+ )?(schema|grammar|regex)"
    r"|(schema|grammar|regex)\w* (\w+ )?(" + _PREPARED + r" )?(failed|error|(is|are) (invalid|not valid))"
    r"|(fail\w* to|(could|can)( ?not|n't)|unable to|error) " + _PREPARED + r" .{0,20}(schema|grammar|regex))"
)

# Parameters that are no words of a prompt. NAME stands for one that the user has chosen.
_PARAMETER: Final = (
    r"['\"`]?\b(NAME|temperature|top[_ ][kp]|min_p|(max|min)_(\w{1,15}_)?tokens|\w{1,15}_penalty|(top_)?logprobs"
    r"|logit_bias|(reasoning|thinking)[_ ](effort|level|budget|mode)|guided_\w{1,15}|tool_choice|chat_template_kwargs"
    r"|enable_thinking)\b['\"`]?"
)
# A value may be between the parameter and what is said of it: `temperature` (=-1.0), logprobs of 25.
_VALUE: Final = r"( (value|parameter))?( \(=?[^()]{1,40}\)|( of)? -?[\d.]{1,20}| ['\"`][\w.-]{1,20}['\"`])?:?"
_REFUSED_VALUE: Final = (
    rf"\b(invalid|unexpected|unsupported|unknown|unrecogni[sz]ed|illegal) ((value|option|parameter|argument) )?"
    rf"((for|of) )?{_PARAMETER}"
    rf"|{_PARAMETER}{_VALUE} ((must|should|has to|have to|needs to|can only) (be|have)\b"
    r"|(is|are) (not (a )?(valid|allowed|permitted)|invalid|(greater|larger|more|higher|less|lower|smaller) than)"
    r"|(is )?not (one of|in)\b|(is )?out of range|(is )?too (high|low|large|small|big)\b"
    r"|cannot be (negative|zero|null|set|used|combined|less|more|greater|larger|smaller))"
    rf"|\b(range|values?) (of|for) {_PARAMETER} (must|should|is|are)\b"
    r"|\bsupported (types|values|levels|efforts) are\b"
)
# What chat templates say of a request, with the status of a failure: the service has not expected them to refuse one.
_OF_TEMPLATE: Final = (
    r"\bjinja|\btemplate[_ ]?error\b|\bchat[ _]template\b|\brender\w* (the )?(prompt )?template\b"
    r"|\broles? (is|are) supported|\bonly supports? (a )?single\b"
    r"|\bcannot pass both\b|\bno user query found\b|\bunexpected (message role|(item|content|message|block) type in)\b"
    r"|\bonly \w+( and \w+)? (chunks|blocks) (is|are) supported\b|\bsystem message (must be at|cannot contain)\b"
    r"|\bexpected last role\b|\bhas tool role\b|\bcannot put tools\b|\bcan only get item pairs from a mapping\b"
    # Of its own objects, Python says it in other words: 'list' object has no attribute.
    r"|'([\w.]{1,40} object|None)' has no attribute|\b\w{1,40} object has no element\b"
)
# The place in a template, as the engines of llama.cpp, of Ollama and of servers in Rust name it. They quote the
# template, which can have any words.
_PLACE_IN_TEMPLATE: Final = (
    r"\bat row \d+, column \d+\b|\bwhile executing \w+ at line \d+, column \d+ in source\b"
    r"|\btemplate: \S{0,40}:\d+(:\d+)?: |\(in (<string>|[\w.-]{0,40}template):\d+\)"
)
# What is said of the machine, not of the request.
_OF_MACHINE: Final = (
    r"\b(cuda|gpus?|kv[ _-]?cache|workers?(?! ai)|memoryerror)\b|\bout of memory\b|\b(crash|restart)|\bis dead\b"
    r"|\b(load|fetch|download)\w* .{0,20}template|templatenotfound"
)
# What passes, or is of the machine: such a failure is waited for.
MAY_PASS: Final = f"{PASSES}|{_outside_names(PASSING)}|{_OF_MACHINE}"
# What is refused with the status of a failure, as no failure that passes.
REFUSED_AS_FAILURE: Final = rf".*({_PLACE_IN_TEMPLATE})|(?!.*({MAY_PASS})).*({_REFUSED_VALUE}|{_OF_TEMPLATE})"

# Whole messages that name no part of a request, and the names of such an error.
VAGUE: Final = (
    r"^\W{0,3}((litellm\.)?badrequesterror: (\w{1,30}exception - )?)?(error: |error code: \d{3}( - )?)?"
    r"((bad|invalid|malformed|illegal) (request|arguments?|parameters?|params?|input|payload)( error)?"
    r"|(the |your )?request (is|was) (invalid|malformed|rejected|not valid)|unprocessable (entity|content)"
    r"|(the )?request contains (an )?invalid arguments?|provider returned error|validation error|param incorrect"
    r"|(请求)?参数(错误|无效|不合法)|api 调用参数有误，请检查文档)?"
    r"((bad_?request|invalid_?(request|argument|parameter)|validation|unprocessable_?entity)(_?(error|exception))?|error"
    r"|(upstream|provider|api|client)_?error|object|4\d\d|\W)*$"
)
# What cannot be done, with the status of a failure.
UNABLE: Final = (
    r"(is|are) not supported|not supported by|unsupported|does(n't| not) support|not implemented"
    r"|failed to (parse|load|decode|process|initialize) (the )?(image|grammar|json|schema|samplers?|audio|prompt)"
    r"|failed to parse grammar|schema conversion failed|image input|cannot be used with|requires --jinja"
    r"|jinja exception|roles must alternate|system role|generate parser for this template|custom grammar"
    r"|json\.exception|invalid base64|invalid image type|(cannot|could not|unable to) identify image"
    r"|image (file )?(is|was) (truncated|corrupt)|(truncated|corrupt(ed)?) (image|jpe?g|png)"
    r"|litellm\.(badrequest|unsupportedparams|contentpolicyviolation|contextwindowexceeded|notfound)error"
)
# What services say of the text of a model in which they look for a call of a tool: Groq, Cerebras, Ollama, llama.cpp,
# Bedrock, Google, vLLM, and servers of models that write in the form of Harmony. It is not about the request: the words
# for a call in an earlier message, and for the schema of a tool, are others.
CALL_REFUSED: Final = (
    r"\btool_use_failed\b|\boutput_parse_failed\b|\btool[ _]call[ _]validation failed\b"
    r"|\bfailed to (call a function|generate (a )?tool[ _]calls?)\b|\bnot in request\.tools\b"
    r"|\bmodel (called|did not call) (a|any) (tool|function)\b|\bmodel tried to call (an )?\w+ tool\b"
    r"|\b(error|failed|failure|unable|could not|cannot)( in| to| while)? pars(e|ing) (the )?"
    r"(tool|function)[ _]call( arguments)?(?! (id|schema))s?\b"
    r"|\bfailed to parse input at pos \d|\bmodel generated output that could not be parsed\b"
    r"|\binvalid sequence as part of tooluse\b|\bvalidation errors? for list\[function-wrap\b"
    r"|\bmalformed[_ ]?(function|tool)[_ ]?(call|use)\b|\bunexpected[_ ]?tool[_ ]?call\b"
    r"|\bunexpected tokens remaining in message header\b|\bcould not decode header\b"
)


def refuses_call(message: str) -> bool:
    """Return whether a message says that a service could not read a call of a tool in what the model has written."""
    return re.search(CALL_REFUSED, message, re.IGNORECASE) is not None


def may_pass(message: str) -> bool:
    """Return whether a message says something that passes by itself, or something of the machine."""
    return re.search(MAY_PASS, message, re.IGNORECASE) is not None


def refuses_form(cause: Cause, status: int | None, message: str) -> bool:
    """Return whether an error of this cause may refuse the form of a request, and not what the prompt says."""
    may_be = cause in ("request", "busy") and status not in NOT_OF_REQUEST
    return may_be and re.search(_NOT_OF_FORM, message, re.IGNORECASE) is None


def refuses_format(cause: Cause, status: int | None, message: str) -> bool:
    """Return whether an error of this cause refuses the response format of a request, and nothing else of it."""
    if not refuses_form(cause, status, message) or not re.search(_FORMAT, message, re.IGNORECASE):
        return False
    # Services send 500 for a format that they refuse, in any words.
    known = status or 500
    is_refusal = known <= 501 or re.search(_CANNOT, message, re.IGNORECASE) is not None
    passes = (cause == "busy" or known >= 500) and re.search(PASSES, message, re.IGNORECASE) is not None
    return is_refusal and not passes
