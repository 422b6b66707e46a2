"""What of a request a service refuses: its response format, or nothing that the service names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..errors import Cause

# These are about the key, the account or the load of the service, whatever the words.
NOT_OF_REQUEST: Final = (401, 402, 403, 407, 408, 409, 425, 429)
# Those of a request that is not valid.
VAGUE_STATUSES: Final = (400, 422)
# What a prompt says is another matter, and how busy the service is.
_NOT_OF_FORM: Final = (
    r"prompt was|polic(y|ies)\b|moderat|safety|unsafe|harmful|flagged|\bblocked\b"
    r"|overloaded|try again (later|in)|rate.?limit"
)
# The schema of a function is another matter too.
_FORMAT: Final = (
    r"^(?!.*(for function|input_schema)).*("
    r"response[_ ]?(format|schema)|mime type|json[_ ](object|mode)|schema|structured|guided|grammar"
    r"|output_(format|config)|llguidance|parsertoocomplex|regex parse|handle the requested parameters"
    # Of Ollama, whose parameter has this name.
    r"|required for format|(^|[:;] )['\"`]?format['\"`]?:)"
)
# Words that name no part of a request.
_VAGUE: Final = (
    "a again an and any api are argument arguments available b bad be because body by cannot check client code"
    " contact contain contains could detail details doc docs documentation due entity errors execute failed failure"
    " fallbacks field fields following for format found from group has have http illegal in incorrect information"
    " input inputs invalid is it its litellm malformed message model more n no none not null object of one or our"
    " param parameter parameters params parse payload please problem process processed processing provided provider"
    " received refer rejected request requests response returned s see sent server service some something specified"
    " status submitted supported syntax that the there this to try type unable understand understood unexpected"
    " unknown unprocessable upstream valid validate validation value values was went were with wrong you your"
)
_VAGUE_CHINESE: Final = (
    "传入|参考|参数|不合法|不正确|错误|的|调用|非法|格式|后|或|检查|接口|您|请求|请|失败|文档"
    "|无效|异常|有误|查看|查阅|重试"
)


def refuses_form(cause: Cause, status: int | None, message: str) -> bool:
    """Return whether an error of this cause may refuse the form of a request, and not what the prompt says."""
    may_be = cause in ("request", "busy") and status not in NOT_OF_REQUEST
    return may_be and re.search(_NOT_OF_FORM, message, re.IGNORECASE) is None


def refuses_format(cause: Cause, status: int | None, message: str) -> bool:
    """Return whether an error of this cause refuses the response format of a request, and nothing else of it."""
    return refuses_form(cause, status, message) and re.search(_FORMAT, message, re.IGNORECASE) is not None


def names_nothing(status: int | None, message: str) -> bool:
    """Return whether a service refuses a request and does not say what of it."""
    words = re.findall(r"[^\W\d_]+", re.sub(_VAGUE_CHINESE, " ", message.lower()))
    others = (one for one in words if not one.endswith(("error", "exception")))
    return status in VAGUE_STATUSES and set(_VAGUE.split()).issuperset(others)
