"""Texts in which the places of values and images are known, and shortening the values until a prompt fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from ..errors import InferenceError
from ..messages import estimate, estimate_messages, texts_of

if TYPE_CHECKING:
    from ..messages import Content

LEFT_OUT: Final = "[... {} left out ...]"
# The start of a cut value is more informative than its end.
HEAD_SHARE: Final = 2 / 3
# The tokens of the note in a cut value.
_NOTE_TOKENS: Final = 12
# The place of an image in a text, with its number. The outer characters are in no text: they are no characters.
_PLACE: Final = f"\ufdd1{uuid4().hex}{{}}\ufdd2"
_IMAGE_PLACE: Final = re.compile(_PLACE.format(r"(\d+)"))
_OF_PLACES: Final = re.compile("[\ufdd1\ufdd2]")
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


@dataclass(frozen=True, slots=True)
class Whole:
    """A value that must not be cut: what the filter `whole` returns."""

    value: Any


class MarkedText(str):
    """A rendered template. `spans` has the start and end of each value; `cut_values` counts those already cut."""

    spans: tuple[tuple[int, int], ...]
    cut_values: int

    def __new__(cls, text: str = "", spans: Iterable[tuple[int, int]] = (), cut_values: int = 0) -> MarkedText:
        marked = super().__new__(cls, text)
        marked.spans = tuple(spans)
        marked.cut_values = cut_values
        return marked

    def __str__(self) -> str:
        return self

    @classmethod
    def joined(cls, pieces: Iterable[str]) -> MarkedText:
        """Join the pieces of a rendered template: values are a ValueText, and blocks that it keeps a MarkedText."""
        texts, spans, end = [], list[tuple[int, int]](), 0
        for one in pieces:
            own = one.spans if isinstance(one, MarkedText) else [(0, len(one))] * isinstance(one, ValueText)
            spans += [(end + start, end + stop) for start, stop in own]
            texts.append(one)
            end += len(one)
        return cls("".join(texts), spans)

    def pieces(self) -> Iterator[str]:
        """Yield the text around the values as str, and the values as ValueText."""
        end = 0
        for start, stop in self.spans:
            yield self[end:start]
            yield ValueText(self[start:stop])
            end = stop
        yield self[end:]


def image_place(number: int) -> str:
    """Return what stands for an image in a text until the text is complete."""
    return _PLACE.format(number)


def check_images(before: str, after: str) -> None:
    """Raise if a text was changed so that an image in it is lost.

    Raises
    ------
    InferenceError
    """
    found, left = _IMAGE_PLACE.findall(before), _IMAGE_PLACE.findall(after)
    if found != left or _OF_PLACES.search(_IMAGE_PLACE.sub("", after)):
        raise InferenceError(
            "An image is in a text that a filter or a function changes, and would be lost.",
            remedy="Put it outside of that text: {{ figure }}.",
        )


def joined_with_images(pieces: Sequence[str], images: Sequence[dict[str, Any]]) -> Content:
    """Join the pieces of a rendered template, with parts of a message at the places of images.

    Raises
    ------
    InferenceError
        If a part of such a place is missing.
    """
    if not images:
        return MarkedText.joined(pieces)
    whole = "".join(pieces)
    check_images(whole, whole)
    parts: list[dict[str, Any]] = []
    texts: list[str] = []
    for piece in pieces:
        # What Jinja2 has kept for later, such as `{% set %}...{% endset %}`, can hold several images.
        text, *rest = _IMAGE_PLACE.split(piece)
        texts.append(text if rest else piece)
        for number, following in zip(rest[::2], rest[1::2], strict=True):
            parts += [{"type": "text", "text": MarkedText.joined(texts)}, images[int(number)]]
            texts = [following]
    parts.append({"type": "text", "text": MarkedText.joined(texts)})
    return [part for part in parts if part.get("text") != ""]


def with_text_after(content: Content, text: str) -> Content:
    """Return a message's content, stripped if it is a text, with a text added. The places of its values stay known."""
    if not isinstance(content, str):
        return [*content, {"type": "text", "text": text}]
    stripped, lead = content.strip(), len(content) - len(content.lstrip())
    if not isinstance(content, MarkedText):
        return f"{stripped}{text}"
    # A value at an end may be blank, or end with blanks.
    ends = [[min(max(at - lead, 0), len(stripped)) for at in span] for span in content.spans]
    spans = [(start, end) for start, end in ends if start < end]
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
    fitted, counted = _shortened(content, limit)
    while room is not None and limit is not None and (excess := _tokens(fitted) - room) > 0:
        # The estimate for the whole is not the sum of those for its pieces. Each cut value becomes shorter.
        limit -= max(excess // max(counted, 1), 1)
        limit = limit if limit >= _LEAST_TOKENS else None
        fitted, counted = _shortened(content, limit)
    return fitted, counted


def _shortened(content: Content, limit: int | None) -> tuple[Content, int]:
    """Return a content as plain texts and parts, its values cut to `limit` tokens, and how many were cut."""
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


def _tokens(content: Content) -> int:
    return estimate_messages([{"role": "user", "content": content}])


def _limit(content: Content, room: int) -> int | None:
    """Return to how many tokens each value must be cut; None if the message fits, or cannot be made to fit."""
    total = _tokens(content)
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
