"""A thread to read: the same document in a notebook, in a Markdown file and in a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..markup import Untrusted, fenced, quotation
from ..messages import part_text, parts_of, pretty_json
from .reply import reply_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..markup import DocumentPart
    from ..messages import Content, Thread, Turn

# Longer code and frames are folded.
MAX_LINES: Final = 25
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_DEFINITION: Final = re.compile(r"(?:async def|def|class) \w+\s*[(:\[].*")
# The heading of a frame, as `prompts` writes it.
_FRAME: Final = re.compile(r"\w+, [\d,]+ rows?\b.*:")


def thread_parts(thread: Thread) -> list[DocumentPart]:
    """Return the turns of a thread as parts for `safe_document`."""
    parts = _system(thread.system)
    for number, turn in enumerate(thread.turns, 1):
        parts += [f"## Turn {number}\n\n", *_system(turn.system), "**Prompt**\n\n<blockquote>\n\n"]
        parts += [*_prompt(turn.prompt), "\n\n</blockquote>\n\n**Reply**\n\n", *_reply(turn), "\n\n"]
    return parts


def _system(text: str | None) -> list[DocumentPart]:
    return [f"{quotation(f'System: {text}')}\n\n"] if text else []


def _reply(turn: Turn) -> list[DocumentPart]:
    # JSON among other text stays as it is.
    pretty = pretty_json(turn.reply) if turn.reply.strip()[:1] in ("{", "[") else None
    text = turn.reply.strip("\n") if pretty is None else fenced(pretty, "json")
    return [Untrusted(text)] if turn.answer is None else reply_parts(turn.answer, text)


def _prompt(prompt: Content) -> Iterator[DocumentPart]:
    """Yield a prompt: its text as Markdown whose lines end where they were written to end, and its images.

    An imported thread can have parts of other kinds. They are shown as their kind.
    """
    for piece in parts_of(prompt):
        if piece.get("type") == "text":
            yield from _text(piece["text"].strip("\n").split("\n"))
            continue
        image = piece.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        yield Untrusted(f"![image]({url})" if isinstance(url, str) else part_text(piece))
        yield "\n\n"


def _text(lines: list[str]) -> Iterator[DocumentPart]:
    """Yield the lines of a prompt: fenced code as it is, Python code and frames fenced, and the rest as Markdown."""
    plain: list[str] = []
    unclosed: dict[str, int] = {}
    at = 0
    while at < len(lines):
        language, end = _block(lines, at, unclosed)
        if language is None:
            plain += lines[at:end]
        else:
            yield from _lines("\n".join(plain))
            block = "\n".join(lines[at:end])
            yield from _folded(fenced(block, language) if language else block)
            plain = []
        at = end
    yield from _lines("\n".join(plain))


def _block(lines: list[str], at: int, unclosed: dict[str, int]) -> tuple[str | None, int]:
    """Return the language of the block that begins at a line, and the line after it.

    The language is empty for one that is fenced already, and None for lines that are no such block. `unclosed` has the
    length of the shortest fence of each kind that is known to be without an end.
    """
    if found := _FENCE.match(lines[at]):
        mark, length = found[1][0], len(found[1])
        if length < unclosed.get(mark, length + 1):
            closing = re.compile(rf" {{0,3}}{re.escape(mark)}{{{length},}}[ \t]*")
            for end in range(at + 1, len(lines)):
                if closing.fullmatch(lines[end]):
                    return "", end + 1
            unclosed[mark] = length
        return None, at + 1
    start = at
    while start < len(lines) and re.match(r"@\w", lines[start]):
        start += 1
    if start < len(lines) and _DEFINITION.fullmatch(lines[start]):
        end = _skip(lines, start + 1, lambda line: not line or line[0] in " \t)]")
        while not lines[end - 1].strip():
            end -= 1
        if end > start + 1:
            return "python", end
    if _FRAME.fullmatch(lines[at]):
        # A heading without values must not cost a look at all that follows, for each of many such lines.
        blank = _skip(lines, at + 1, bool, most=MAX_LINES)
        has_values = not any(lines[blank : blank + 1]) and any(lines[blank + 1 : blank + 2])
        if has_values:
            return "text", _skip(lines, blank + 1, bool)
    return None, max(start, at + 1)


def _skip(lines: list[str], at: int, belongs: Callable[[str], object], most: int | None = None) -> int:
    """Return the first line from `at` on that does not belong, after `most` lines at the latest."""
    end = len(lines) if most is None else min(at + most, len(lines))
    return next((number for number in range(at, end) if not belongs(lines[number])), end)


def _lines(text: str) -> list[DocumentPart]:
    return [Untrusted(re.sub(r"(?<=\S)[ \t]*\n(?=[ \t]*\S)", "  \n", text.strip("\n"))), "\n\n"] if text.strip() else []


def _folded(block: str) -> list[DocumentPart]:
    lines = block.count("\n") - 1
    if lines <= MAX_LINES:
        return [Untrusted(block), "\n\n"]
    return [f"<details><summary>{lines:,} lines</summary>\n\n", Untrusted(block), "\n\n</details>\n\n"]
