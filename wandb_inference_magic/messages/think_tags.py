"""Separates the reasoning that a model writes into its text, between tags such as `<think>` and `</think>`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    # A `restart` says that all text so far was reasoning.
    Part = tuple[Literal["text", "reasoning", "restart"], str]

# The opening tag of each form, and its closing tag.
TAGS: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "[think]": "[/think]",
    "<seed:think>": "</seed:think>",
    "◁think▷": "◁/think▷",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
}
# A template may open the block itself: then only the closing tag is received.
_ALONE: Final = ("</think>", "</thinking>", "[/think]", "</seed:think>", "◁/think▷")
_ANY: Final = re.compile("|".join(map(re.escape, (*TAGS, *_ALONE))), re.IGNORECASE)
_OPENING: Final = re.compile("|".join(map(re.escape, TAGS)), re.IGNORECASE)
_FIRST: Final = "<[◁"
_LONGEST: Final = max(map(len, (*TAGS, *TAGS.values())))
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})", re.MULTILINE)
# A text that names the tags more often than this is about them.
MOST_TAGS: Final = 50


class ThinkTags:
    """Takes a text in pieces, cut anywhere, and yields its parts.

    An opening tag counts at the start of a line, a closing tag without an opening one anywhere. Tags in code are text.

    Parameters
    ----------
    written : sequence of str
        The pieces of text yielded so far. The caller appends to it.
    """

    def __init__(self, written: Sequence[str] = ()) -> None:
        self.written = written
        # What may be the beginning of a tag, or blank characters beside one.
        self._rest = ""
        # The closing tag that is waited for.
        self._closing = ""
        self._seen = 0
        self._follows_tag = False
        self.has_found = False

    @property
    def held(self) -> Part:
        """What has been taken and not yielded: a text that may be the beginning of a tag."""
        return ("reasoning" if self._closing else "text"), self._rest

    def feed(self, text: str) -> Iterator[Part]:
        """Take a piece, and yield the parts that it completes."""
        if not self._rest and not self._closing and not self._follows_tag and not any(one in text for one in _FIRST):
            yield "text", text
            return
        self._rest += text
        while self._rest and (parts := self._within() if self._closing else self._outside()) is not None:
            yield from parts

    def _within(self) -> list[Part] | None:
        """Return the next parts inside a block, or None if more text is needed."""
        at = self._rest.lower().find(self._closing)
        if at < 0:
            return self._take("reasoning", len(self._rest) - _beginning(self._rest, (self._closing,))) or None
        reasoning = self._take("reasoning", at)
        self._close()
        return reasoning

    def _outside(self) -> list[Part] | None:
        """Return the next parts outside of a block, or None if more text is needed."""
        if self._follows_tag:
            self._rest = self._rest.lstrip()
            self._follows_tag = not self._rest
        found = None if self._seen >= MOST_TAGS else _ANY.search(self._rest)
        if found is None:
            begun = 0 if self._seen >= MOST_TAGS else _beginning(self._rest, (*TAGS, *_ALONE))
            return self._take("text", len(self._rest) - begun) or None
        self._seen += 1
        tag, before = found[0].lower(), "".join((*self.written, self._rest[: found.start()]))
        if tag in TAGS and _starts_line(before):
            text = self._take("text", found.start())
            self._rest, self._closing, self.has_found = self._rest[len(tag) :], TAGS[tag], True
            return text
        if tag in TAGS or self.has_found or _OPENING.search(before) or _is_code(before):
            return self._take("text", found.end())
        text = self._take("text", found.start())
        self._closing = tag
        self._close()
        return [*text, ("restart", "")]

    def _take(self, kind: Literal["text", "reasoning"], size: int) -> list[Part]:
        taken, self._rest = self._rest[:size], self._rest[size:]
        return [(kind, taken)] if taken else []

    def _close(self) -> None:
        self._rest, self._closing = self._rest[len(self._closing) :], ""
        self._follows_tag = self.has_found = True


def _beginning(text: str, tags: Sequence[str]) -> int:
    """Return the length of the end of a text that may be the beginning of a tag."""
    end = text[-_LONGEST:].lower()
    for at, character in enumerate(end):
        if character in _FIRST and any(tag.startswith(end[at:]) for tag in tags):
            return len(end) - at
    return 0


def _starts_line(before: str) -> bool:
    """Return whether a tag after this text is at the start of a line, outside of a fenced block."""
    return not before.rpartition("\n")[2].strip() and not _is_fenced(before)


def _is_code(before: str) -> bool:
    """Return whether a tag after this text is in a code span or a fenced block."""
    return before.rpartition("\n")[2].count("`") % 2 == 1 or _is_fenced(before)


def _is_fenced(before: str) -> bool:
    marker = ""
    for found in _FENCE.finditer(before):
        if not marker:
            marker = found[1]
        elif found[1].startswith(marker):
            marker = ""
    return bool(marker)
