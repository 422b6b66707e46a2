"""In which form a request is sent: what the service of a client has refused, and what it has answered, before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from ..failures import NOT_OF_REQUEST, ServiceError, status_and_words
from .changes import STREAMED, Change, change_for, may_pass_streamed, send_streamed, with_change

if TYPE_CHECKING:
    from collections.abc import Mapping

    import openai

# What a refusal may be about: the model, the other fields, and whether there are pictures. A gateway has several
# services, and some models stream everything except calls of tools.
Kind = tuple[str, frozenset[str], bool]


@dataclass
class _Learned:
    """What the service of a client has shown about one kind of request."""

    # The changes with which it has answered.
    changes: tuple[Change, ...] = ()
    # Those with which it has answered once after a failure that may have passed by itself.
    doubtful: frozenset[Change] = frozenset()
    # Whether a request that was not streamed was waited for too long: the next ones are streamed, until one is answered
    # (then it is among the changes), or until one is refused.
    is_suspected: bool = False
    is_refuted: bool = False


# From this status on, the service says that it has failed, and not that it refuses the request. With these words it may
# soon work again as it was asked to.
_FAILED: Final = 500
_AT_PRESENT: Final = re.compile(
    r"right now|at (the|this) moment|at present|for now|currently|today|maintenance|during|\bis down\b|\bbe back\b"
    r"|please wait|\buntil\b",
    re.IGNORECASE,
)

_learned: Final[WeakKeyDictionary[openai.AsyncOpenAI, dict[Kind, _Learned]]] = WeakKeyDictionary()


class RequestForm:
    """The form in which a request is sent next: with the changes that have helped before, and those that it needs.

    Parameters
    ----------
    client : AsyncOpenAI
    body : mapping
        The request as it is meant.
    stream : bool
        Whether a stream is requested.
    """

    def __init__(self, client: openai.AsyncOpenAI, body: Mapping[str, Any], *, stream: bool) -> None:
        self.asked: Final[dict[str, Any]] = {**body, **(STREAMED if stream else {})}
        self._known = _learned.setdefault(client, {}).setdefault(_kind_of(body), _Learned())
        # Whether it is streamed only to see whether that helps.
        self._is_trial = self._known.is_suspected and not stream
        # Changes after a failure that may have passed by itself.
        self._doubtful: set[Change] = set()
        # Those that have helped before this request was sent: if it needs one again, the change is what helps.
        self._confirmed = self._known.doubtful
        self._tried: list[Change] = [send_streamed] if self._is_trial else []
        self._changes = reduce(with_change, self._tried, self._known.changes)

    @property
    def body(self) -> dict[str, Any]:
        """The request to send."""
        return reduce(lambda changed, change: change(changed), self._changes, self.asked)

    def change_after(self, error: Exception) -> bool:
        """Change the form as a failure calls for, and return whether it is to be sent again at once.

        Parameters
        ----------
        error : Exception
            A failure before anything of the reply was received.
        """
        import openai

        known, sent = self._known, self.body
        status, said = status_and_words(error)
        if self._is_trial and status not in NOT_OF_REQUEST:
            # Streams do not work either. The request is sent whole, at once if that costs no time.
            self._is_trial, known.is_suspected, known.is_refuted = False, False, True
            if not may_pass_streamed(error):
                self._changes = known.changes
                return True
        known.is_suspected |= not known.is_refuted and "stream" not in sent and may_pass_streamed(error)
        change = change_for(error, sent) if isinstance(error, openai.APIStatusError | ServiceError) else None
        if change is None or change in self._tried or change(sent) == sent:
            return False
        self._tried.append(change)
        has_failed = (status or _FAILED) >= _FAILED
        if has_failed and _AT_PRESENT.search(said) and change not in self._confirmed:
            self._doubtful.add(change)
        self._changes = with_change(self._changes, change)
        return True

    def was_answered(self) -> None:
        """Note that the service answers requests of this form: only now a change is known to help.

        After a failure that may have passed by itself, it is known once a later request needs the same change. Other
        requests may have learned something else meanwhile.
        """
        self._known.doubtful |= self._doubtful
        certain = [change for change in self._changes if change not in self._doubtful]
        self._known.changes = reduce(with_change, certain, self._known.changes)
        self._known.is_suspected &= "stream" not in self.body


def _kind_of(body: Mapping[str, Any]) -> Kind:
    has_pictures = any(isinstance(one.get("content"), list) for one in body["messages"])
    return body["model"], frozenset(body), has_pictures
