"""Threads as files: Markdown and HTML to read, and JSON of OpenAI messages to read and to import again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..config import expanded, how_to_write, read_file, replace_file
from ..errors import InferenceError, quoted
from ..markup import safe_document, safe_inline
from ..messages import Thread, Turn, part_text, parts_of, system_messages, texts_of
from ..text import counted, read_json_text, safe_plain, without_keys, without_surrogates
from .reply import markdown_to_html
from .turn_parts import thread_parts

if TYPE_CHECKING:
    from ..messages import Message


# In bytes. A conversation may contain images.
MAX_FILE_BYTES: Final = 64_000_000
# The kinds of parts that are text, each with the name of its text.
_TEXTS: Final = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
# The roles of other tools, by those that they have here.
_ROLES: Final = {"human": "user", "ai": "assistant", "bot": "assistant", "model": "assistant"}
# Parts with calls of tools or their results, such as Anthropic's `tool_result`, which comes as a message of the user.
_OF_TOOLS: Final = re.compile(r"(?:^|_)(?:tool|function)(?:_|$)")
# What a message can hold and a turn cannot.
_NOT_KEPT: Final = {"name": "name", "reasoning": "reasoning text", "reasoning_content": "reasoning text"}


class Imported(NamedTuple):
    """A thread made from messages, and descriptions of what in them has no place in a thread."""

    thread: Thread
    left_out: tuple[str, ...]


def export(thread: Thread, file: str) -> Path:
    """Write a thread to a file and return its path.

    Raises
    ------
    InferenceError
        If the extension is not .md, .html or .json, and if the file cannot be written.
    """
    path = expanded(file)
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        ending = f"the ending {path.suffix}" if path.suffix else "no ending"
        raise InferenceError(
            f"{path} has {ending}: the export format is unknown.",
            remedy="Give the file the ending .md or .html to read it, or .json for OpenAI messages.",
        )
    try:
        replace_file(path, without_keys(without_surrogates(write(thread))).encode())
    except OSError as error:
        raise _not_usable("written", path, error, how_to_write(error, "%wbthread --export FILE")) from None
    return path


def left_out_of(thread: Thread, path: Path) -> tuple[str, ...]:
    """Return descriptions of what the replies of a thread have, and the file that it was written to has not."""
    if path.suffix.lower() != ".json":
        return ()
    replies = [turn.answer for turn in thread.turns if turn.answer is not None]
    calls, thoughts = sum(len(reply.steps) for reply in replies), sum(bool(reply.reasoning) for reply in replies)
    return (
        *([counted(calls, "tool call")] if calls else []),
        *([f"the reasoning of {thoughts:,} {'reply' if thoughts == 1 else 'replies'}"] if thoughts else []),
    )


def import_(name: str, file: str) -> Imported:
    """Read a thread from a .json file of OpenAI messages.

    Raises
    ------
    InferenceError
        If the file cannot be read or contains no conversation.
    """
    path = expanded(file)
    try:
        return from_messages(name, read_json_text(read_file(path, MAX_FILE_BYTES)))
    except OSError as error:
        raise _not_usable("read", path, error, "Check the name and its folder.") from None
    except ValueError as error:
        raise InferenceError(
            f"{path} holds no conversation.",
            why=quoted(str(error)),
            remedy='It is a JSON file with a list of messages: [{"role": "user", "content": "..."}, ...].',
        ) from None


def to_messages(thread: Thread) -> list[Message]:
    """Return a thread as OpenAI messages. Each system prompt is placed where it was given."""
    messages = system_messages(thread.system)
    for turn, system in zip(thread.turns, thread.systems_sent(), strict=True):
        messages += [*system_messages(system), *turn.messages]
    return messages


def to_json(thread: Thread) -> str:
    """Return a thread as the text of a JSON file."""
    return json.dumps(to_messages(thread), indent=2, ensure_ascii=False) + "\n"


def to_markdown(thread: Thread) -> str:
    """Return a thread as Markdown, made safe because the viewer that opens the file may render everything in it."""
    return safe_document([f"# {safe_inline(thread.name)}\n\n", *thread_parts(thread)]).rstrip("\n") + "\n"


def to_html(thread: Thread) -> str:
    """Return a thread as one self-contained HTML page. Maths is MathML, so that the page needs no script.

    Its policy is a second protection besides the safe text: the page may load nothing and run nothing.
    """
    page = Template((files(__package__) / "thread.html").read_text(encoding="utf-8"))
    body = markdown_to_html(safe_document(thread_parts(thread)), is_page=True)
    return page.substitute(title=escape(safe_plain(thread.name)), body=body)


def from_messages(name: str, document: Any) -> Imported:
    """Return a thread made from OpenAI messages, or from an object that contains them as `messages`.

    Messages of tools are left out, and so are a greeting before the first prompt and a last prompt without a reply.
    Consecutive messages of the user, or of the assistant, become one, and so do system prompts before a turn.

    Raises
    ------
    ValueError
        If the document has any other form.
    """
    messages = document.get("messages") if isinstance(document, dict) else document
    if not isinstance(messages, list):
        raise ValueError("It is not a list of messages.")
    turns: list[Turn] = []
    left_out: Counter[str] = Counter()
    system = greeting = ""
    prompt: str | list[dict[str, Any]] = ""
    for number, message in enumerate(messages, 1):
        role, content, calls = _read(message, number)
        left_out.update({noun for name, noun in _NOT_KEPT.items() if message.get(name)})
        if role == "user":
            kept, of_tools = _without_tools(content)
            left_out.update(of_tools)
            prompt = _joined(prompt, kept) if kept else prompt
            continue
        left_out.update(_dropped(role, content, calls))
        reply = "".join(texts_of(content))
        if role in ("system", "developer"):
            system = _joined(system, reply)
        # White space is a reply, unless it comes with calls of tools.
        elif role == "assistant" and (reply.strip() or (reply and prompt and not calls)):
            if prompt:
                turns.append(Turn(prompt, reply, system=system or None))
                prompt, system = "", ""
            elif turns:
                turns[-1] = turns[-1]._replace(reply=f"{turns[-1].reply}\n\n{reply}")
            else:
                greeting = reply
    if messages and not turns:
        raise ValueError("No message of the user has an answer.")
    ends = [
        (greeting, "a greeting before the first prompt"),
        (prompt, "a last prompt without a reply"),
        (system, "a last system prompt without a turn after it"),
    ]
    notices = [*(counted(count, noun) for noun, count in left_out.items()), *(text for one, text in ends if one)]
    return Imported(Thread(name, turns), tuple(notices))


def _without_tools(content: Any) -> tuple[Any, list[str]]:
    """Return the content of a user's message without calls of tools and their results, and nouns for these parts."""
    dropped = [part for part in parts_of(content) if _OF_TOOLS.search(part["type"])]
    if not dropped:
        return content, []
    kept = [part for part in parts_of(content) if part not in dropped]
    is_text = all(part["type"] == "text" for part in kept)
    return "\n\n".join(texts_of(kept)) if is_text else kept, [_noun_of(part) for part in dropped]


def _noun_of(part: Mapping[str, Any]) -> str:
    return f"{quoted(part_text(part))} part"


def _dropped(role: str, content: Any, calls: int) -> list[str]:
    """Return nouns for what a message that is not the user's has, and a turn has not."""
    if role not in ("system", "developer", "assistant"):
        return [f"{quoted(role)} message"]
    parts = [_noun_of(part) for part in parts_of(content) if part["type"] != "text"]
    if role != "assistant":
        return parts
    return ["tool call"] * calls + parts if content or calls else ["empty assistant message"]


def _read(message: Any, number: int) -> tuple[str, Any, int]:
    """Return the role of a message, its content as a thread has it, and how many tools it calls."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError(f"Message {number} has no role.")
    content = "" if message.get("content") is None else message["content"]
    is_parts = isinstance(content, list) and all(isinstance(part, dict) for part in content)
    if not isinstance(content, str) and not is_parts:
        raise ValueError(f"The content of message {number} is neither a text nor a list of parts.")
    if isinstance(content, list):
        content = [_read_part(part, number) for part in content]
    elif not content and isinstance(message.get("refusal"), str):
        content = message["refusal"]
    calls = message.get("tool_calls") or message.get("function_call") or []
    role = message["role"].strip().lower()
    return _ROLES.get(role, role), content or "", len(calls) if isinstance(calls, list) else 1


def _read_part(part: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a part as a thread has it: a text, an image with its URL, or a part of another kind unchanged."""
    kind, image = part.get("type"), part.get("image_url") or _address_of(part.get("source"))
    if not kind or not isinstance(kind, str):
        raise ValueError(f"A part of message {number} has no type.")
    if kind in _TEXTS:
        text = part.get(_TEXTS[kind])
        if not isinstance(text, str):
            raise ValueError(f"A part of message {number} has no text.")
        return part if kind == "text" else {"type": "text", "text": text}
    if kind in ("image_url", "input_image", "image") and isinstance(image, str):
        detail = {"detail": part["detail"]} if "detail" in part else {}
        return {"type": "image_url", "image_url": {"url": image, **detail}}
    if kind == "image_url" and not (isinstance(image, dict) and isinstance(image.get("url"), str)):
        raise ValueError(f"An image of message {number} has no URL.")
    return part


def _address_of(source: Any) -> str | None:
    """Return the address of an image in Anthropic's form, which is its `source`; None for any other value."""
    if not isinstance(source, dict):
        return None
    kind, data = source.get("media_type"), source.get("data")
    if source.get("type") == "base64" and isinstance(kind, str) and isinstance(data, str):
        return f"data:{kind};base64,{data}"
    return source.get("url")


def _joined(prompt: Any, content: Any) -> Any:
    if not prompt:
        return content
    if isinstance(prompt, str) and isinstance(content, str):
        return f"{prompt}\n\n{content}"
    return [*parts_of(prompt), *parts_of(content)]


def _not_usable(done: str, path: Path, error: OSError, remedy: str) -> InferenceError:
    return InferenceError(f"{path} could not be {done}.", why=quoted(error.strerror or str(error)), remedy=remedy)


WRITERS: Final = {".md": to_markdown, ".html": to_html, ".json": to_json}
