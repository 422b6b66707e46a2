"""The cache of answers as one run uses it: the keys of its rows, and their answers."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..rendering import why_flawed
from ..text import digest_of, with_whole_numbers
from .cache import Answer, not_kept
from .kept import Asked, Ended, Kept, Paid, kept_of

if TYPE_CHECKING:
    from ..errors import InferenceError
    from ..messages import Message, PreparedRequest, Reply
    from .cache import AnswerCache
    from .row_call import RowCall
    from .spec import RunPart


class CachedAnswers:
    """The cache as one run uses it: the keys of its rows, and their answers on disk.

    Equal rows are asked one by one, so a key also holds which of the equal rows it is. The first one has the key of the
    request alone, as version 0.1.0 wrote it.

    Parameters
    ----------
    cache : AnswerCache or None
    first : PreparedRequest
        The request for the first row, in its original form, even if the response format is relaxed later.
    seen : Counter
        How often each question was asked, also by other runs of the same command.
    part : RunPart, optional
        The part of a run that uses it: equal rows of different parts have different keys too.
    """

    def __init__(
        self, cache: AnswerCache | None, first: PreparedRequest, seen: Counter[str], part: RunPart | None = None
    ) -> None:
        self.cache = cache
        self._part = part
        # Why answers are no longer kept, although there was a cache.
        self.failure = ""
        self._first = first
        self._seen = seen
        # A magic's options give 0.0 where Python code says 0: one question. Answers are also found under the key with
        # the numbers as they are, as older versions wrote it.
        self._body = with_whole_numbers(first.body)
        self._has_older = json.dumps(self._body, default=repr) != json.dumps(first.body, default=repr)
        self._older: dict[str, str] = {}
        self._new: dict[str, Answer] = {}
        # Failures that may be those of every row, as long as none is answered, now or by an earlier run.
        self._unsure: dict[str, Answer] = {}
        # Whether the service has answered, now or in an earlier run.
        self.is_served = False

    def key(self, message: Message) -> str:
        """Return the key of the request with this message."""
        key = self._key_of(self._body, message)
        if self._has_older:
            self._older[key] = self._key_of(self._first.body, message)
        return key

    def _key_of(self, body: Mapping[str, Any], message: Message) -> str:
        """Return the digest of everything that shapes the answer. It does not contain the request."""
        # The endpoint's name: the practice model has another address in every kernel.
        shaping = [self._first.endpoint.name, {**body, "messages": [*self._first.messages[:-1], message]}]
        # A value that is not JSON is refused when the request is sent, and reported there.
        return digest_of(json.dumps(shaping, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=repr))

    def next_key(self, message: Message) -> str:
        """Return the key of a row, whose prompt is this message. Call it once for each row, in their order."""
        if self.cache is None:
            return ""
        key = self.key(message)
        while True:
            before = self._seen[key]
            self._seen[key] += 1
            own = _numbered(key, before)
            if key in self._older:
                self._older[own] = _numbered(self._older[key], before)
            if self._is_ours(own):
                return own

    def count(self, message: Message) -> int:
        """Count a row, whose prompt is this message. Return how many equal ones are above it, also in other runs."""
        key = self.key(message)
        self._seen[key] += 1
        return self._seen[key] - 1

    def _is_ours(self, key: str) -> bool:
        if self._part is not None and self.cache is not None:
            with self._giving_up():
                return self.cache.claim(key, self._part)
        return True

    def find(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers on disk, by their keys."""
        if self.cache is None or not keys:
            return {}
        older = [self._older[key] for key in keys if key in self._older]
        found: dict[str, Answer] = {}
        with self._giving_up():
            found = self.cache.find([*keys, *older])
        self.is_served = self.is_served or any(one.text for one in found.values())
        return {key: answer for key in keys if (answer := found.get(key) or found.get(self._older.get(key, "")))}

    def keep_failure(self, row: RowCall, error: InferenceError, ended: Ended, *, ends_run: bool) -> None:
        """Keep what `kept` says of a row that has failed.

        A failure that ends the run is not that of a row: it is not kept, unless it is an answer with a text.
        """
        kept = kept_of(ended, row.asked)
        if kept is Kept.ANSWER:
            self.keep(row, row.reply())
        elif kept is Kept.UNREPAIRED and row.asked is Asked.REPAIR:
            self.keep_unrepaired(row)
        elif kept is not None and row.key and not (ends_run and (kept is Kept.EMPTY or not ended.is_answer)):
            # The text may fit once the schema is corrected.
            text = row.kept_text if ended is Ended.EMPTY else row.failed_text
            # A refusal of all prompts may be that of an account. An empty reply says little about the prompt.
            is_refusal_of_row = error.depends_on_prompt and not error.is_of_prompt
            is_unsure = kept is Kept.EMPTY or (ended is Ended.REFUSED and not is_refusal_of_row)
            (self._unsure if is_unsure else self._new)[row.key] = Answer.failure(kept, text, str(error), row.paid)

    def keep_unrepaired(self, row: RowCall) -> None:
        """Keep the answer that does not fit its schema, if its repair is not answered: it is asked for later."""
        if row.key and (reply := row.unrepaired) is not None and not why_flawed(reply):
            unfit = "The answer does not fit the schema."
            text = reply.text or reply.reasoning
            self._new[row.key] = Answer.failure(Kept.UNREPAIRED, text, unfit, Paid.of([reply]))

    def keep(self, row: RowCall, reply: Reply) -> None:
        """Keep the text of the reply to a row, and what is reported of it, unless it was cut or refused."""
        self.is_served = True
        if row.key and not why_flawed(reply):
            self._new[row.key] = Answer(
                reply.text or reply.reasoning,
                seconds=round(reply.seconds, 3),
                reports=row.builder.reports,
                tokens=row.paid.tokens,
                cost=row.paid.cost,
            )

    def write(self) -> None:
        """Write the answers that were added to disk, if that is possible."""
        if self.is_served:
            self._new |= self._unsure
            self._unsure.clear()
        if self.cache is not None and self._new:
            with self._giving_up():
                self.cache.put(self._new)
        # If this is interrupted, the next call writes them again.
        self._new.clear()

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Use the cache no more if it fails inside the `with` block. Say so, and go on after the block."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self.cache, self.failure = None, not_kept(error, more="no longer")


def _numbered(key: str, before: int) -> str:
    """Return the key of a row whose question was asked so often before."""
    return key if not before else digest_of(f"{key} {before}")
