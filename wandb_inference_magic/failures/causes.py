"""What each error of a service means: a table from its status and its message to the cause, the message and the remedy.

The first row that fits counts. A new kind of error is a new row. Sources: the table "Errors" of the vendor's
documentation (2026-10-07), and what OpenAI-compatible servers send; `tests/client/conformance` has an example of each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from ..config import WANDB_URL
from .refusals import MAY_PASS, PASSES, PASSING, REFUSED_AS_FAILURE, UNABLE, VAGUE
from .refused_forms import DEMANDED_FORM, RefusedForm
from .retries import FAILING, OVERLOADED, SHORT

if TYPE_CHECKING:
    from ..errors import Cause
    from .retries import Waits

_SHORTEN: Final = "Shorten the prompt (in a chat: --once, --new), or choose a model with a larger context: %wbmodels."
_CHANGE: Final = (
    "Leave out or change the option it names; shorten the prompt if it is too long (in a chat: --once, --new)."
)
_CHECK_ADDRESS: Final = "Check the address: %wbconfig shows it, and it usually ends in /v1."
_ADDRESS: Final = _CHECK_ADDRESS + " {model_remedy}"
_UNKNOWN_ADDRESS: Final = (
    r"unexpected endpoint|unknown (endpoint|route)|no such (endpoint|route)|no route matched|default backend"
    r"|endpoint could not be found|the path \S+ (does not exist|was not found)|given endpoint does not exist"
)
_CHECK: Final = "Check the endpoint with %wbconfig --check."
_FEWER: Final = "Wait a moment and run the cell again; send fewer requests at once."
_REGION: Final = (
    "The service looks at the address of the machine that runs this kernel (for a hosted notebook, its host). "
    "Use it from a region it serves."
)
_BUSY: Final = "Run the cell again in a minute or two, or choose another model with %wbmodels."


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """One row: an error of these statuses whose text matches.

    Attributes
    ----------
    cause : Cause
    what, why, remedy : str
        The message. `convert.py` fills in the fields in braces: the service, the model, the status, who asked.
    statuses : collection of (int or None)
        Empty: any. None is an error in a stream that names no status.
    pattern : str
        A regular expression that is searched in the service's message and the names of the error, without case.
    at : str
        `wandb`: at W&B's endpoint only. `other-path`: only at an address of W&B's host that is not its endpoint.
        `list`: for the list of models only. `parts`: if the request has parts that can be left out. `page`: if a web
        page was sent. `call`: if the service could not read what the model wrote, in which it looked for a call of a
        tool. `called`: the same, and the request has tools. `limit`: if the message has the limit on the reply that
        the user set, and that is more than the prompt has.
    waits : Waits or None
        The times to wait before the next tries; None if trying again cannot help.
    affects_all : bool or None
        Whether every other request would be refused as well, and False if that depends on the prompt. None: as the
        cause says.
    unless_retry_after : bool
        Only if the service does not ask for a short wait before the next try.
    is_too_long : bool
        Whether the messages have more tokens than the model's context, or the service, has room for.
    is_too_many : bool
        Whether the service takes no further request for now, whatever is in it.
    is_of_prompt : bool
        Whether the service refuses this prompt for what it says, and would do so again.
    """

    cause: Cause
    what: str
    remedy: str
    statuses: Collection[int | None] = ()
    pattern: str = ""
    why: str = ""
    at: str = ""
    waits: Waits | None = None
    affects_all: bool | None = None
    unless_retry_after: bool = False
    is_too_long: bool = False
    is_too_many: bool = False
    is_of_prompt: bool = False

    def fits(self, status: int | None, text: str, places: Mapping[str, bool], *, asks_to_wait: bool) -> bool:
        """Return whether this row describes an error. `places` says which values of `at` apply."""
        return (
            (not self.statuses or status in self.statuses)
            and places.get(self.at, False)
            and not (self.unless_retry_after and asks_to_wait)
            and (not self.pattern or re.search(self.pattern, text, re.IGNORECASE) is not None)
        )


# What a filter refuses is the prompt, unless it has blocked an account, or fails itself.
_REFUSED_STATUSES: Final = (400, 403, 406, 422, 424, 446, 451, 498, None)
_OF_FILTER: Final = (
    r"moderation|flagged|content[_ ]?(policy|filter|management)|responsible ?ai|safety (system|policy|filter)"
    r"|inappropriate content|guardrail|data_inspection_failed|sensitive[ _]?(content|information)|new_sensitive"
    r"|prohibited[_ ](content|words)|content exists risk|censorship|prompt injection|pii detected|敏感内容"
    r"|(prompt|response) blocked due to|violat\w+ .{0,40}(guideline|us(e|age) polic|terms of)|policy_violation"
)
_BLOCKED: Final = (
    r"(?<![a-z])((account|organi[sz]ation|team|workspace)([_ ]\S{1,40})?|user|access|key)[_ ]"
    r"((has been|is|was) )?(\w{1,15}ly )?(suspended|disabled|deactivated|banned|terminated|revoked)\b"
    r"|\b(account|organi[sz]ation|team|access) (\S{1,40} )?has been (\w{1,15}ly )?(blocked|restricted|locked)\b"
    r"|not authori[sz]ed to perform"
)
_BLOCKED_ACCOUNT: Final = (
    r"\b(account|organi[sz]ation|workspace)\b.{0,30}"
    r"\b(suspended|disabled|deactivated|banned|terminated|restricted|blocked|locked)\b"
)
_FILTER_FAILS: Final = (
    r"(service|system|server|api|filter|guardrails?|moderation|check) (\w{1,15} ){0,3}(unavailable|not available)"
    r"|timed?[ -]?out|(failed|unable|not able) to (call|reach|connect|contact|invoke)"
    r"|could not (call|reach|connect|contact)"
)
# It does not fail if it has found something, or asks for another prompt.
_FOUND: Final = (
    r"\b((was|were|is|are|been|got) (\w{1,15} )?|request |prompt |input )(flagged|blocked|rejected|filtered)\b"
)
_ANOTHER_PROMPT: Final = (
    r"\b(different|another|new|chang|modif|revis|edit)\w* (your |the )?(prompt|input|message|content|request|text)"
    r"|rephras"
)
_QUOTA: Final = (
    r"insufficient[_ ]?(user[_ ])?(quota|balance|credit|funds)|exceeded[_ ](your[_ ])?current[_ ]quota|credit balance"
    r"|out of credit|(no|any) credits|billing[_ ](hard[_ ])?limit|spend(ing)?[_ ]limit|payment required"
    r"|add (more )?credits"
    r"|(monthly|weekly|daily) (\w+ )?(limit|quota|cap)|key limit exceeded|included credits|extra usage"
    # That of a short time passes.
    r"|^(?!.*(\b(per|this|each|every)[ -]?(second|minute|hour)|slow down|\bburst|token bucket)).*("
    r"usage limit|(spend\w*|usage|cost|budget)[_ ]cap\b|(credits?|balance|quota|funds)( \w+){0,3} depleted)"
    r"|续订|套餐.{0,6}到期|(package|plan|subscription|trial) (has |is |was )?(already )?(expired|ended|lapsed)"
    r"|used up your|arrear|overdue|account is not active|check your billing|account .{0,40}suspended|recharge"
    # A time beside it says more.
    r"|per-?day|(\b(tokens|requests) per day\b|\btpd\b)(?!.*try again in)"
    r"|not enough (balance|quota|credit)|(balance|quota) is (not enough|insufficient|exhausted)|call volume quota"
    r"|terminal_quota|token_quota_reached|(consumption|free tier|set inference)[_ ]limit|run out of credit"
    r"|(free tier|trial|credits?|allowance) (.{0,40} )?(exhausted|used up|expired)"
    r"|budget[_ ](has been |is |was )?exceeded|(exceed\w*|over|max) (\w+ )?budget"
    r"|余额不足|欠费|额度(不足|失败|已用尽)|使用上限"
)
_TOO_LONG: Final = (
    r"context[_ ](length|size|window)|exceed\w* (the )?(available |maximum |model'?s? )*context|too many tokens"
    r"|(prompt|input|message)s? (is |are )?too (long|large)|maximum (allowed )?(context|prompt|input)|reduce the length"
    r"|n_keep >= n_ctx|(request|body|entity|payload) too large|range of input length|context shift is disabled"
    r"|exceed\w* model token limit|(token count|number of tokens|tokens of image and text)\b.{0,30}\bexceed"
    r"|(input|prompt) length .{0,20}\bexceed|`inputs`.{0,30} must (be <=|have less than)|tokens in request more than"
    r"|reduce your (prompt|message|input)|prompt .{0,30}is longer than|max length reached|超长|过长"
)
_UNKNOWN_MODEL: Final = (
    r"\bmodel:? ?['\"`]?[\w./:@-]*['\"`]? ?(was |is |has been |currently )?(not[_ ](be )?(found|exist|served|deployed)"
    r"|unknown|no longer \w+|retired|deprecated|decommissioned|discontinued|not a valid)"
    r"|\bmodel .{0,80}(does(n't| not) exist|not found)"
    r"|(no such|unknown|could not find|not f(ind|ound)|does not have|does not know|invalid)( the)? (model|deployment)\b"
    r"(?! param)"
    r"|no endpoints found for (?!this)|model[_ ]?not[_ ]?(available|supported)\b|(unavailable|unsupported)[_ ]model\b"
    r"|^model: \S+ .{0,20}not_found|unable to access model|model identifier is invalid"
    r"|function .{0,60}not found for account|模型不存在"
    r"|(model|deployment)[_ ]?not[_ ]?found|deploymentnotfound|not a valid model|deployment .{0,60}does not exist"
)
# Nothing may be sent, however long one waits.
_NONE_ALLOWED: Final = r"^(?!.*\b(remaining|left)\b).*\blimits?:? ((of|is|set to|=) )*0\b(?!\.\d| ?/ ?\d| of \d)"
_NOT_LOADED: Final = (
    r"((could|can)( ?not|n't)|unable to|fail\w* to|error) load(ing)? (the |this )?model\b"
    r"(?!['’]s| (input|image|card|list|vocab|adapter))"
    r"|\bmodel (?!input|image|card|list|vocab|adapter)(\S{1,80} )?((could|can)( ?not|n't) be loaded|failed to load)"
)
# Failures on the service's side, sent with a status for those of a request.
_TIMED_OUT: Final = (
    r"model has crashed|model is unloaded|process has terminated|request_timeout|timed out|deadline exceeded"
    r"|(?<!invalid )(request|connection|gateway) time-?out\b(?! (value|must|should|parameter|option|setting))"
    r"|took too long|connection error|engine is dead|enginecore encountered"
    r"|upstream (request failed|connect error|error: 5\d\d)"
)
_NOT_FETCHED: Final = (
    r"time-?out (while|when|during) (downloading|fetching|loading|retrieving)"
    r"|\b(download|fetch|load|retrieve|retrieving)\w* .{0,40}"
    r"\b(image|picture|file|media|audio|video|url|https?:).{0,300}"
    # Other numbers are sizes and limits.
    r"(timed out|server disconnected|connection reset|reset by peer"
    r"|\b(status|code|http|http error)[ :=(]{1,2}(408|429|5\d\d)\b|https?:\S+: (408|429|5\d\d)\b(?! \w))"
    # As aiohttp writes it.
    r"|\b(image|file|media|audio|video): (408|429|5\d\d), message="
)
# Rows of the same kind.
_key = partial(ErrorForm, "key", "{service} {key_answer}.", "{key_remedy}", why="{who}")
_quota = partial(ErrorForm, "quota", "The account's credit or spending limit is used up.", "{quota_remedy}")
_refused = partial(ErrorForm, "refused", "{service} refused the request.")
_not_listed = partial(
    _refused, "Ask the people who run it whether this key may list its models. Chats may work: -m ID.", at="list"
)
_refused_prompt = partial(
    ErrorForm,
    "refused",
    "{service} refused this prompt.",
    "Change the prompt, or choose another model with %wbmodels.",
    affects_all=False,
)
_unknown_model = partial(
    ErrorForm, "model", "{service} does not know the model {model!r}.", "{model_remedy}", why="{model_why}"
)
_unknown_address = partial(ErrorForm, "network", "{service} does not know this address.")
_unknown_either = partial(
    ErrorForm, "network", "{service} does not know this address or the model {model!r}.", _ADDRESS, affects_all=True
)
_not_read = partial(ErrorForm, "reply", affects_all=False)
_not_accepted = partial(ErrorForm, "request", "{service} did not accept the request as it is.")
_too_many = partial(ErrorForm, "busy", "{service} is getting too many requests at once.", waits=SHORT, is_too_many=True)
_failing = partial(ErrorForm, "busy", "{service} is overloaded or failing at the moment.", _BUSY)
CAUSES: Final = (
    ErrorForm(
        "network",
        "{service} redirected the request to another address.",
        "Open a web browser on the machine that runs this kernel, sign in to its network if a page asks for it, and "
        "run the cell again.",
        range(300, 400),
        why="{service} does not do that: a sign-in page of the network, a proxy or a firewall has answered.",
        at="wandb",
        affects_all=True,
    ),
    ErrorForm(
        "network",
        "{service} redirected the request to another address.",
        "Set its real address: %wbconfig --endpoint URL.",
        range(300, 400),
        why="Redirects are not followed: the prompt and the key go to the endpoint you set and nowhere else.",
        affects_all=True,
    ),
    # Before all others: the model may have written any words.
    _not_read(
        "The model's call of a tool was not valid.",
        "Ask another model (%wbmodels), or give the tools fewer and simpler parameters. If the call may have been cut, "
        "raise --max-tokens.",
        (400, 422, 424, *range(500, 505), None),
        why="{service} could not read it.",
        at="called",
    ),
    _not_read(
        "{service} could not read what the model wrote.",
        "Run the cell again, or choose another model with %wbmodels.",
        # With the status of a failure, or none, it is tried again as one.
        (400, 422, 424),
        at="call",
    ),
    ErrorForm(
        "refused",
        "{service} does not serve this model to a personal account.",
        "Create a team at W&B and name one of its projects: %wbconfig --project team/project.",
        pattern=r"personal (account|entit)",
    ),
    _refused(
        "Ask the people who run the service about the account.",
        (*_REFUSED_STATUSES, 500),
        rf"^(?=.*({_OF_FILTER})).*({_BLOCKED})",
    ),
    _failing(
        (*_REFUSED_STATUSES, 500),
        rf"^(?=.*({_OF_FILTER}))(?!.*({_ANOTHER_PROMPT}|{_FOUND})).*({_FILTER_FAILS})",
        waits=FAILING,
    ),
    _refused_prompt(_REFUSED_STATUSES, _OF_FILTER, is_of_prompt=True),
    # This status is one of failures too, whose words may be unknown.
    _refused_prompt((500,), _OF_FILTER),
    ErrorForm(
        "refused",
        "{service} does not let this key use the model {model!r}.",
        "Choose a model that it may use, or ask who runs the service.",
        (400, 401, 403, 404, None),
        r"model_access_denied|not allowed to access (this )?model|can only access models|not activated the model",
    ),
    _not_listed((401,), r"\bscopes?\b|insufficient permission"),
    _quota((401,), r"usage limit|inactive subscription"),
    _key((401, 407)),
    _key(
        (400, 403, None),
        r"no connected db|login fail|unauthori[sz]ed|authentication|security token|expired ?token"
        r"|token (is |has )?expired|(api|access)[_ ]?key.{0,20}(not valid|invalid|incorrect|expired|missing)"
        r"|(invalid|incorrect).{0,10}api[_ ]?key",
    ),
    ErrorForm(
        "quota",
        "The account's credit does not cover the longest reply that this call allows.",
        "Lower --max-tokens, or add credit. {quota_remedy}",
        (402,),
        r"\bor fewer\b|can only afford",
    ),
    _quota((402,)),
    _refused("Ask the people who run the service about the account.", (403, 429), _NONE_ALLOWED),
    _quota((400, 403, 412, 429, 500, None), _QUOTA, unless_retry_after=True),
    _refused("Ask the people who run the service about the account.", (400, 403, None), _BLOCKED_ACCOUNT),
    # A prompt can have a token that is not allowed.
    _key(
        (403,),
        r"authorization failed|(invalid|expired) (access |api |auth\w* )?(token|credentials?)\b(?! (in|id|at|for)\b)"
        r"|(jwt|credentials?)( \w+)? (are |is )?(invalid|expired|malformed|missing)",
    ),
    _quota((429,), "quota", at="wandb", unless_retry_after=True),
    ErrorForm(
        "network",
        "{service} answered with a web page.",
        _CHECK_ADDRESS + " If it is right, ask who runs the network or the proxy.",
        # None: of a page that was sent with status 200.
        (400, 403, 404, 405, 406, 410, 418, 421, 426, 451, 511, None),
        why="A proxy, a firewall or a sign-in page answered, or the address is not that of an API.",
        at="page",
        affects_all=True,
    ),
    # Sent with a status that says otherwise.
    _too_many(_BUSY, (400, 403, 404, None), PASSING),
    _refused(_REGION, (403, 451, None), r"country|region|territory"),
    _refused(_REGION, (400, 403, 451, None), r"(country|region|location) .{0,20}not supported"),
    _refused(
        "Ask the people who run it to start it again.",
        (400, 403, 404, 409, 422, 503, None),
        r"(endpoint|deployment|model|space) is (paused|stopped)",
    ),
    _refused(
        "Ask an administrator of your W&B organization to enable the inference gateway.",
        (403,),
        r"gateway.{0,30}not enabled|not enabled.{0,30}organization",
    ),
    _not_listed((403,)),
    _refused(
        "Change the account's settings (privacy, allowed providers, terms), or choose another model with %wbmodels.",
        (400, 403, 404),
        r"data policy|privacy settings|no allowed providers|providers have been ignored|terms acceptance"
        r"|(must|need to|have to|has to|not) accept(ed)? (the|its|this|our) (\S{1,30} )?(terms|licen[cs]e|agreement)",
    ),
    _refused(
        "Ask an administrator of the account whether it may use this model.",
        (403,),
        r"^\W*$|forbidden|permission|access|authori[sz]ed|account|subscription|project|\bkey\b|attention required"
        r"|organi[sz]ation must be|verify your|credit card|payment|allow-?list|from (this|your) ip",
    ),
    _refused("Ask an administrator of the account whether it may use this model.", (404,), "must be verified"),
    # Cloudflare's, to what it takes for an unwanted program.
    _refused("Ask the people who run the service, or the network of this machine.", (403,), r"error code: 10\d\d\b"),
    # One prompt may be refused where others are not.
    _refused(
        "Change the prompt; if others are refused too, ask an administrator whether the account may use this model.",
        (403,),
        affects_all=False,
    ),
    _unknown_address(
        "Set it: %wbconfig --endpoint wandb. {origin}",
        (404, 405, 410),
        why=f"Its address is {WANDB_URL}.",
        at="other-path",
        affects_all=True,
    ),
    ErrorForm(
        "network",
        "{service} has no list of models.",
        "Check the address: %wbconfig shows it.",
        (404, 405, 410, 501),
        why="Its address may be wrong (it usually ends in /v1), or it does not list what it serves.",
        at="list",
    ),
    ErrorForm(
        "model",
        "{service} does not chat with the model {model!r}.",
        "Choose another one with %wbmodels.",
        (400, 404, None),
        r"not a chat model|only supported in v1/responses|does not support chat\b",
    ),
    # Another one, or later this one, may be loaded.
    _unknown_model((400, 404, None), r"no models? (is |are )?loaded", affects_all=True),
    _unknown_model((400, 404, 410, 422, 500, None), _UNKNOWN_MODEL + "|the requested resource was not found"),
    # Of gateways that have no service for it.
    _unknown_model((503,), r"model_not_found|no available channel for model|下.{0,4}模型.*无可用渠道"),
    _unknown_model((404, 410), at="wandb"),
    _unknown_either(
        (404, 405, 410),
        r"^\W*$|^\W*(error|not found|404|page not found|the requested url|requested (resource|entity)"
        r"|resource not found|no (static )?resource|cannot post|method not allowed|invalid url|route|path"
        r"|missing authentication token|nothing|file not found"
        r"|unknown (url|request url|path|endpoint)|unrecognized request url)\b",
    ),
    _unknown_address(_CHECK_ADDRESS, (200, 400, None), _UNKNOWN_ADDRESS, at="list"),
    _unknown_either((200, 400, 404, 405, 501, None), _UNKNOWN_ADDRESS),
    # To shorten the prompt would not help.
    _not_accepted("Lower --max-tokens, or leave it out.", (400, 413, 422), "token|context|completion", at="limit"),
    _not_accepted(_SHORTEN, (400, 413, 422, 500, None), _TOO_LONG, affects_all=False, is_too_long=True),
    _not_accepted(_SHORTEN, (429,), "request too large", affects_all=False, is_too_long=True),
    ErrorForm(
        "request",
        "{service} cannot load the model {model!r}: its machine has too little memory.",
        "Choose a smaller model with %wbmodels.",
        (400, 500, 503, None),
        r"(requires more|not enough|insufficient) (system |gpu )?memory|insufficient system resources",
        affects_all=True,
    ),
    ErrorForm(
        "busy",
        "{service} could not fetch a file that the prompt names by its address.",
        "Check the address and run the cell again, or send the image itself.",
        (400, 422, 500, None),
        _NOT_FETCHED,
        waits=SHORT,
        affects_all=False,
    ),
    ErrorForm(
        "model",
        "{service} could not load the model {model!r}.",
        "Choose another model with %wbmodels, or load it at the server.",
        (400, 404, 422, 424, *range(500, 504), None),
        rf"^(?!.*({PASSING}|{PASSES})).*({_NOT_LOADED})",
        affects_all=True,
    ),
    _not_accepted(
        "Run the cell with --once or --new, or switch its thinking off: --think off.",
        (400, 422, 500, None),
        RefusedForm.NO_REASONING.value,
        why="This model needs its reasoning back. That of earlier turns is not sent.",
        affects_all=False,
    ),
    _failing((400, 422, 500), _TIMED_OUT, waits=FAILING),
    _not_accepted(
        "It does not say what it refuses. Try it without {parts}, or with another model (%wbmodels); shorten the "
        "prompt if it is too long (in a chat: --once, --new).",
        (400, 422),
        VAGUE,
        at="parts",
    ),
    _not_accepted(
        "It does not say what it refuses. Shorten the prompt, or use another model: %wbmodels.", (400, 422), VAGUE
    ),
    _not_accepted(_CHANGE, (500, 501, 502, 503, None), rf"^(?!.*({PASSING})).*({UNABLE})"),
    _not_accepted(_CHANGE, (500, 502, None), rf"^(?!.*({MAY_PASS})){DEMANDED_FORM}"),
    _not_accepted(_CHANGE, (500, None), rf"^({REFUSED_AS_FAILURE})"),
    _not_accepted(_CHANGE, (400, 404, 405, 413, 415, 416, 422, 501)),
    _too_many(_FEWER, (429,), why="The limit counts requests in flight per project, user and model.", at="wandb"),
    _too_many(_FEWER, (429,)),
    _failing((503, 529), waits=OVERLOADED),
    ErrorForm("busy", "{service} did not answer in time.", _BUSY, (408, 409, 425), waits=SHORT),
    # Those from 520 are sent by gateways.
    _failing((423, 424, 498, 499, 500, 502, 504, 507, 509, *range(520, 531), 598, 599), waits=FAILING),
    _failing(range(500, 600)),
    ErrorForm("request", "{service} answered with status {status}.", _CHECK, range(400, 600)),
    # In a stream, without a status.
    ErrorForm("busy", "{service} answered with an error.", _BUSY, waits=SHORT),
)
