"""Texts in which the places of the values are known, and shortening these values until a prompt fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from ..messages import estimate, estimate_messages, texts_of

if TYPE_CHECKING:
    from ..messages import Content

LEFT_OUT: Final = "[... {} left out ...]"
# The start of a cut value is more informative than its end.
HEAD_SHARE: Final = 2 / 3
# The tokens of the note in a cut value.
_NOTE_TOKENS: Final = 12
# A value that would have to be shorter than this is not cut: the prompt is refused.
_LEAST_TOKENS: Final = 10


class ValueText(str):
    """A value of a template as text. What it is rendered into can tell it from the text around it."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class CutText(ValueText):
    """A value that was cut when it was rendered."""

    __slots__ = ()


class MarkedText(str):
    """A rendered template. `spans` has the start and end of each value; `cut_values` counts those already cut."""

    spans: tuple[tuple[int, int], ...]
    cut_values: int

    def __new__(cls, text: str = "", spans: Iterable[tuple[int, int]] = (), cut_values: int = 0) -> MarkedText:
        marked = super().__new__(cls, text)
        marked.spans = tuple(spans)
        marked.cut_values = cut_values
        return marked

    @classmethod
    def joined(cls, pieces: Iterable[str]) -> MarkedText:
        """Join the pieces of a rendered template, of which the values are of the type ValueText."""
        texts = list(pieces)
        ends = accumulate(map(len, texts))
        spans = [(end - len(one), end) for one, end in zip(texts, ends, strict=True) if isinstance(one, ValueText)]
        return cls("".join(texts), spans, sum(isinstance(one, CutText) for one in texts))

    def pieces(self) -> Iterator[str]:
        """Yield the text around the values as str, and the values as ValueText."""
        end = 0
        for start, stop in self.spans:
            yield self[end:start]
            yield ValueText(self[start:stop])
            end = stop
        yield self[end:]


def with_text_after(content: Content, text: str) -> Content:
    """Return a message's content, stripped if it is a text, with a text added. The places of its values stay known."""
    if not isinstance(content, str):
        return [*content, {"type": "text", "text": text}]
    stripped, lead = content.strip(), len(content) - len(content.lstrip())
    if not isinstance(content, MarkedText):
        return f"{stripped}{text}"
    spans = [(max(start - lead, 0), min(end - lead, len(stripped))) for start, end in content.spans]
    return MarkedText(f"{stripped}{text}", spans, content.cut_values)


def cut(text: str, tokens: int) -> str:
    """Return a text cut in the middle to about `tokens` tokens. A note there says how much is left out."""
    whole = estimate(text)
    if whole <= tokens or len(text) <= len(LEFT_OUT):
        return text
    room = int(len(text) * tokens / whole)
    while True:
        head, tail = text[: int(room * HEAD_SHARE)], text[len(text) - room + int(room * HEAD_SHARE) :]
        # Cut between lines where one ends nearby.
        if (end := head.rfind("\n", len(head) * 4 // 5)) >= 0:
            head = head[:end]
        tail = tail[tail.find("\n", 0, len(tail) // 5) + 1 :]
        if estimate(head + tail) <= tokens or not room:
            break
        # The ends have more tokens per character than the rest.
        room = room * 3 // 4
    gap = LEFT_OUT.format(f"{len(text) - len(head) - len(tail):,} characters")
    return f"{head.rstrip()}\n{gap}\n{tail.lstrip()}"


def cut_values(content: Content) -> int:
    """Return how many values of a rendered content were cut when it was rendered (`value_tokens`)."""
    return sum(getattr(text, "cut_values", 0) for text in texts_of(content))


def fit_values(content: Content, room: int | None) -> tuple[Content, int]:
    """Shorten the longest values of a content, all to one length, until a message with it fits.

    Parameters
    ----------
    content : Content
        As `render` returns it. Only the values in it are shortened.
    room : int or None
        The tokens that the message may have; None if they are not known.

    Returns
    -------
    tuple of (Content, int)
        The content as plain texts and parts, and how many of its values were cut. If cutting them would not be
        enough, the content is returned whole.
    """
    limit = None if room is None else _limit(content, room)
    counted = 0

    def fitted(text: str) -> str:
        nonlocal counted
        if not isinstance(text, MarkedText) or limit is None:
            # Its own characters: a member of an Enum would give its name.
            return str.__str__(text)
        pieces = list(text.pieces())
        short = [cut(piece, limit) if isinstance(piece, ValueText) else piece for piece in pieces]
        counted += sum(one is not other for one, other in zip(pieces, short, strict=True))
        return "".join(short)

    if isinstance(content, str):
        return fitted(content), counted
    parts = [{**part, "text": fitted(part["text"])} if part.get("type") == "text" else part for part in content]
    return parts, counted


def _limit(content: Content, room: int) -> int | None:
    """Return to how many tokens each value must be cut; None if the message fits, or cannot be made to fit."""
    message: dict[str, Any] = {"role": "user", "content": content}
    total = estimate_messages([message])
    if total <= room:
        return None
    lengths = [
        estimate(piece)
        for text in texts_of(content)
        if isinstance(text, MarkedText)
        for piece in text.pieces()
        if isinstance(piece, ValueText)
    ]
    limit = _even_limit(lengths, room - max(total - sum(lengths), 0)) - _NOTE_TOKENS
    return limit if limit >= _LEAST_TOKENS else None


def _even_limit(lengths: Sequence[int], room: int) -> int:
    """Return the length to which the longest must be cut so that their sum is at most `room`."""
    for position, length in enumerate(sorted(lengths)):
        share = room // (len(lengths) - position)
        if length > share:
            return share
        room -= length
    return 0
