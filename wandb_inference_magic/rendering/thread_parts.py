"""A thread to read: the same document in a notebook, in a Markdown file and in a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ..markup import Untrusted, fenced, quotation
from ..messages import pretty_json
from .reply import reply_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..markup import Part
    from ..messages import Content, Thread, Turn

# Longer code and frames are folded.
MOST_LINES: Final = 25
# Fenced code, as it is; source code and a frame, as `prompts` writes values.
_AS_SUCH: Final = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,}).*\n(?:.*\n)*? {0,3}(?P=fence)[`~]*[ \t]*$"
    r"|(?P<python>^(?:@\w.*\n)*(?:async def|def|class) \w.*:.*(?:\n(?:[ \t]+.*|(?=\n+[ \t])|[)\]].*))+)"
    r"|(?P<frame>^\w+, [\d,]+ rows?\b.*:\n(?:.+\n)*\n(?:.+(?:\n|\Z))+)",
    re.MULTILINE,
)


def thread_parts(thread: Thread) -> list[Part]:
    """Return the turns of a thread as parts for `safe_document`."""
    parts = _system(thread.system)
    for number, turn in enumerate(thread.turns, 1):
        parts += [f"## Turn {number}\n\n", *_system(turn.system), "**Prompt**\n\n<blockquote>\n\n"]
        parts += [*_prompt(turn.prompt), "\n\n</blockquote>\n\n**Reply**\n\n", *_reply(turn), "\n\n"]
    return parts


def _system(text: str | None) -> list[Part]:
    return [f"{quotation(f'System: {text}')}\n\n"] if text else []


def _reply(turn: Turn) -> list[Part]:
    # JSON among other text stays as it is.
    pretty = pretty_json(turn.reply) if turn.reply.strip()[:1] in ("{", "[") else None
    text = turn.reply.strip("\n") if pretty is None else fenced(pretty, "json")
    return [Untrusted(text)] if turn.answer is None else reply_parts(turn.answer, text)


def _prompt(prompt: Content) -> Iterator[Part]:
    """Yield a prompt: its text as Markdown whose lines end where they were written to end, and its images."""
    pieces: list[dict[str, Any]] = [{"type": "text", "text": prompt}] if isinstance(prompt, str) else prompt
    for piece in pieces:
        if piece["type"] != "text":
            yield Untrusted(f"![image]({piece['image_url']['url']})")
            yield "\n\n"
            continue
        text, position = piece["text"].strip("\n"), 0
        for found in _AS_SUCH.finditer(text):
            yield from _lines(text[position : found.start()])
            block = found[0].strip("\n")
            yield from _folded(block if found["fence"] else fenced(block, "python" if found["python"] else "text"))
            position = found.end()
        yield from _lines(text[position:])


def _lines(text: str) -> list[Part]:
    return [Untrusted(re.sub(r"(?<=\S)[ \t]*\n(?=[ \t]*\S)", "  \n", text.strip("\n"))), "\n\n"] if text.strip() else []


def _folded(block: str) -> list[Part]:
    lines = block.count("\n") - 1
    if lines <= MOST_LINES:
        return [Untrusted(block), "\n\n"]
    return [f"<details><summary>{lines:,} lines</summary>\n\n", Untrusted(block), "\n\n</details>\n\n"]
