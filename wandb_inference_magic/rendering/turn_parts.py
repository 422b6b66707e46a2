"""A thread to read: the same document in a notebook, in a Markdown file and in a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ..markup import Untrusted, directed, end_of_fence, fenced, quotation
from ..messages import inner_json, part_text, parts_of, pretty_json
from .reply import reply_parts

if TYPE_CHECKING:
    from ..markup import DocumentPart
    from ..messages import Content, Thread, Turn

# Longer code and frames are folded.
MAX_LINES: Final = 25
# What a prompt holds besides text: the first line of fenced code; a frame, as `prompts` writes it; and a function or a
# class.
_BLOCK: Final = re.compile(
    r"^ {0,3}(?P<fence>`{3,}(?!.*`)|~{3,}).*"
    r"|^(?P<text>\w+, [\d,]+ rows?\b.*:\n(?:.+\n){0,25}\n.+(?:\n.+)*)"
    r"|^(?:@\w.*\n)*(?P<python>(?:async def|def|class) \w+\s*[(:\[].*(?:\n(?:[ \t]*\n)*(?:[ \t]+\S|[)\]]).*)+)"
    # Decorators of nothing are passed over at once.
    r"|^(?:@\w.*\n?)+",
    re.MULTILINE,
)


def thread_parts(thread: Thread) -> list[DocumentPart]:
    """Return the turns of a thread as parts for `safe_document`."""
    parts = _system(thread.system)
    for number, (turn, system) in enumerate(zip(thread.turns, thread.systems_sent(), strict=True), 1):
        parts += [f"## Turn {number}\n\n", *_system(system), "**Prompt**\n\n<blockquote>\n\n"]
        parts += [*_prompt(turn.prompt), "\n\n</blockquote>\n\n**Reply**\n\n", *_reply(turn), "\n\n"]
    return parts


def _system(text: str | None) -> list[DocumentPart]:
    return [f"{quotation(f'System: {text}')}\n\n"] if text else []


def _reply(turn: Turn) -> list[DocumentPart]:
    # JSON among other text stays as it is.
    pretty = None if inner_json(turn.reply) is None else pretty_json(turn.reply)
    text = turn.reply.strip("\n") if pretty is None else fenced(pretty, "json")
    return directed(text) if turn.answer is None else reply_parts(turn.answer, text)


def _prompt(prompt: Content) -> Iterator[DocumentPart]:
    """Yield a prompt: its text as Markdown whose lines end where they were written to end, and its images.

    An imported thread can have parts of other kinds. They are shown as their kind.
    """
    for piece in parts_of(prompt):
        if piece.get("type") == "text":
            yield from _text(piece["text"])
            continue
        image = piece.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        yield Untrusted(f"![image]({url})" if isinstance(url, str) else part_text(piece))
        yield "\n\n"


def _text(text: str) -> Iterator[DocumentPart]:
    """Yield the text of a prompt: fenced code as it is, Python code and frames fenced, and the rest as Markdown."""
    shown = position = 0
    unclosed: dict[str, int] = {}
    while found := _BLOCK.search(text, position):
        kind, position = found.lastgroup, found.end()
        if kind == "fence":
            position = _end_of_fence(found, unclosed)
        # A fence that nothing closes is text: the closing one of code in a list looks the same.
        if kind is not None and position:
            block = text[found.start() : position]
            yield from _lines(text[shown : found.start()])
            yield from _folded(block if kind == "fence" else fenced(block, kind))
            shown = position
        position = position or found.end()
    yield from _lines(text[shown:])


def _end_of_fence(opening: re.Match[str], unclosed: dict[str, int]) -> int:
    """Return the end of fenced code; 0 if nothing closes it.

    `unclosed` has the length of the shortest fence of each kind that is known to be without an end.
    """
    mark, length = opening["fence"][0], len(opening["fence"])
    if length >= unclosed.get(mark, length + 1):
        return 0
    end = end_of_fence(opening)
    if end is None:
        unclosed[mark] = length
    return end or 0


def _lines(text: str) -> list[DocumentPart]:
    return [*directed(re.sub(r"(?<=\S)[ \t]*\n(?=[ \t]*\S)", "  \n", text.strip("\n"))), "\n\n"] if text.strip() else []


def _folded(block: str) -> list[DocumentPart]:
    lines = block.count("\n") - 1
    if lines <= MAX_LINES:
        return [Untrusted(block), "\n\n"]
    return [f"<details><summary>{lines:,} lines</summary>\n\n", Untrusted(block), "\n\n</details>\n\n"]
