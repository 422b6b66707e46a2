"""Threads as files: Markdown and HTML to read, and JSON of OpenAI messages to read and to import again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ..config import expanded, read_file, replace_file
from ..errors import InferenceError, quoted
from ..markup import safe_document, safe_inline
from ..messages import Thread, Turn
from ..text import read_json_text, whole
from .thread_page import to_html
from .turn_parts import thread_parts

if TYPE_CHECKING:
    from pathlib import Path

    from ..messages import Message


# In bytes. A conversation may contain images.
MOST_IMPORTED: Final = 64_000_000


def export(thread: Thread, file: str) -> Path:
    """Write a thread to a file and return its path.

    Raises
    ------
    InferenceError
        If the extension is not .md, .html or .json, and if the file cannot be written.
    """
    path = expanded(file)
    write = WRITERS.get(path.suffix)
    if write is None:
        ending = f"the ending {path.suffix}" if path.suffix else "no ending"
        raise InferenceError(
            f"{path} has {ending}: the export format is unknown.",
            remedy="Give the file the ending .md or .html to read it, or .json for OpenAI messages.",
            cause="option",
        )
    try:
        replace_file(path, whole(write(thread)).encode())
    except OSError as error:
        raise _not_usable("written", path, error) from None
    return path


def import_(name: str, file: str) -> Thread:
    """Read a thread from a .json file of OpenAI messages.

    Raises
    ------
    InferenceError
        If the file cannot be read or contains no conversation.
    """
    path = expanded(file)
    try:
        return from_messages(name, read_json_text(read_file(path, MOST_IMPORTED).decode("utf-8-sig")))
    except OSError as error:
        raise _not_usable("read", path, error) from None
    except ValueError as error:
        raise InferenceError(
            f"{path} holds no conversation.",
            why=quoted(str(error)),
            remedy='It is a JSON file with a list of messages: [{"role": "user", "content": "..."}, ...].',
            cause="option",
        ) from None


def to_messages(thread: Thread) -> list[Message]:
    """Return a thread as OpenAI messages. Each system prompt is placed where it was given."""
    messages: list[Message] = []
    for system, more in [(thread.system, []), *((turn.system, turn.messages) for turn in thread.turns)]:
        if system:
            messages.append({"role": "system", "content": system})
        messages += more
    return messages


def to_json(thread: Thread) -> str:
    """Return a thread as the text of a JSON file."""
    return json.dumps(to_messages(thread), indent=2, ensure_ascii=False) + "\n"


def to_markdown(thread: Thread) -> str:
    """Return a thread as Markdown, made safe because the viewer that opens the file may render everything in it."""
    return safe_document([f"# {safe_inline(thread.name)}\n\n", *thread_parts(thread)]).rstrip("\n") + "\n"


def from_messages(name: str, document: Any) -> Thread:
    """Return a thread made from OpenAI messages, or from an object that contains them as `messages`.

    Tool messages are left out, and so is a final prompt without a reply. Consecutive messages of the user, or of the
    assistant, become one.

    Raises
    ------
    ValueError
        If the document has any other form.
    """
    messages = document.get("messages") if isinstance(document, dict) else document
    if not isinstance(messages, list) or not messages:
        raise ValueError("It is not a list of messages.")
    thread = Thread(name)
    system: str | None = None
    prompt: str | list[dict[str, Any]] = ""
    for number, message in enumerate(messages, 1):
        role, content = _read(message, number)
        if role in ("system", "developer"):
            system = _text(content)
        elif role == "user":
            prompt = _joined(prompt, content)
        elif role == "assistant" and (reply := _text(content)).strip():
            if prompt:
                thread.turns.append(Turn(prompt, reply, system=system))
            elif thread.turns:
                thread.turns[-1] = thread.turns[-1]._replace(reply=f"{thread.turns[-1].reply}\n\n{reply}")
            else:
                raise ValueError("The first message is an answer.")
            prompt, system = "", None
    if not thread.turns:
        raise ValueError("No message of the user has an answer.")
    return thread


def _read(message: Any, number: int) -> tuple[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError(f"Message {number} has no role.")
    content = "" if message.get("content") is None else message["content"]
    is_parts = isinstance(content, list) and all(isinstance(part, dict) for part in content)
    if not isinstance(content, str) and not is_parts:
        raise ValueError(f"The content of message {number} is neither a text nor a list of parts.")
    if any(part.get("type") == "text" and not isinstance(part.get("text"), str) for part in _parts(content)):
        raise ValueError(f"A part of message {number} has no text.")
    return message["role"], content or ""


def _joined(prompt: Any, content: Any) -> Any:
    if not prompt:
        return content
    if isinstance(prompt, str) and isinstance(content, str):
        return f"{prompt}\n\n{content}"
    return [*_parts(prompt), *_parts(content)]


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _text(content: Any) -> str:
    return "".join(str(part.get("text", "")) for part in _parts(content))


def _not_usable(done: str, path: Path, error: OSError) -> InferenceError:
    return InferenceError(
        f"{path} could not be {done}.",
        why=quoted(error.strerror or str(error)),
        remedy="Check the name and its folder.",
        cause="option",
    )


WRITERS: Final = {".md": to_markdown, ".html": to_html, ".json": to_json}
