"""Run `%wbthread`: list the threads, switch, show, undo, clear, delete, export and import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InferenceError, shortened
from ..markup import Untrusted, quotation, safe_document, safe_inline
from ..messages import DEFAULT_THREAD, Thread, estimate_messages
from ..rendering import MARKDOWN, PLAIN, line_bundle, table_bundle, thread_file
from ..text import counted, safe_plain

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..arguments import ThreadOptions
    from ..frontend import Canvas
    from ..markup import Part
    from ..session import Session

ACTIONS = ("show", "undo", "clear", "delete", "export", "import_")
PROMPT_SHOWN = 60


def manage(session: Session, options: ThreadOptions, name: str, canvas: Canvas) -> None:
    """Run `%wbthread` with its options and report the result.

    Raises
    ------
    InferenceError
        For a thread that does not exist, a file that cannot be used, and more than one action at once.
    """
    chosen = [action for action in ACTIONS if getattr(options, action)]
    if len(chosen) > 1:
        raise InferenceError(
            "%wbthread does one thing at a time.", remedy="Give one option, and the others after it.", cause="option"
        )
    if chosen:
        canvas.show(_act(session, chosen[0], options, name or session.threads.current))
        return
    if not name:
        canvas.show(threads_table(session))
        return
    session.threads.current = name
    turns = len(session.threads.get_or_new(name).turns)
    canvas.show(line_bundle(f"The next chats continue the thread {name} ({_count(turns)})."))


def _act(session: Session, action: str, options: ThreadOptions, name: str) -> dict[str, Any]:
    if action == "import_":
        return _import(session, name, options.import_ or "")
    # The current thread is valid before its first turn: a notebook may begin with --clear.
    threads = session.threads
    thread = threads.get_or_new(name) if name == threads.current else threads.existing(name)
    if action == "show":
        return conversation_bundle(thread, session.settings.allow_images_from)
    if action == "export":
        path = thread_file.export(thread, options.export or "")
        return line_bundle(f"The thread {name} ({_count(len(thread.turns))}) is in {path}.")
    if action == "undo":
        return _undo(thread)
    if action == "clear":
        session.threads[name] = Thread(name)
        return line_bundle(f"The thread {name} is empty now.")
    return _delete(session, name)


def _import(session: Session, name: str, file: str) -> dict[str, Any]:
    if session.threads.get_or_new(name).turns:
        raise InferenceError(
            f"The thread {name} has turns already.",
            remedy=f"Import under another name (%wbthread NAME --import {shortened(file)}), or --clear it first.",
            cause="option",
        )
    session.threads[name] = thread = thread_file.import_(name, file)
    return line_bundle(f"The thread {name} has {_count(len(thread.turns))} from {file}.")


def _undo(thread: Thread) -> dict[str, Any]:
    if not thread.turns:
        raise InferenceError(f"The thread {thread.name} has no turn to take back.", cause="option")
    turn = thread.turns.pop()
    left = _count(len(thread.turns))
    return line_bundle(f"Undone: {shortened(_one_line(turn.words), PROMPT_SHOWN)!r}. {thread.name} has {left}.")


def _delete(session: Session, name: str) -> dict[str, Any]:
    session.threads.pop(name, None)
    if session.threads.current == name:
        session.threads.current = DEFAULT_THREAD
    return line_bundle(f"The thread {name} is deleted. The next chats continue {session.threads.current}.")


def threads_table(session: Session) -> dict[str, Any]:
    """Return all threads as a table. The current one is marked and is listed even if it has no turns yet."""
    threads = dict(session.threads)
    current = session.threads.current
    threads.setdefault(current, Thread(current))
    rows = [
        (
            f"{name} ← current" if name == current else name,
            str(len(thread.turns)),
            f"{estimate_messages(thread_file.to_messages(thread)):,}",
            shortened(_one_line(thread.turns[-1].words), PROMPT_SHOWN) if thread.turns else "",
        )
        for name, thread in threads.items()
    ]
    return table_bundle(("thread", "turns", "about tokens", "last prompt"), rows)


def conversation_bundle(thread: Thread, allow_images_from: Collection[str] = ()) -> dict[str, Any]:
    """Return a whole thread as a MIME bundle. Replies are rendered; prompts are shown unchanged."""
    parts: list[Part] = []
    plain = []
    systems = [("System", thread.system)] if thread.system else []
    for number, turn in enumerate(thread.turns, 1):
        systems += [("System", turn.system)] if turn.system else []
        for title, text in systems:
            parts.append(f"**{title}:** {safe_inline(text)}\n\n")
            plain.append(f"[{title}] {safe_plain(text)}")
        systems = []
        parts += [f"**Turn {number}**\n\n{quotation(turn.words)}\n\n", Untrusted(turn.reply), "\n\n"]
        plain += [f"[turn {number}] {safe_plain(turn.words)}", safe_plain(turn.reply)]
    if not thread.turns:
        return line_bundle(f"The thread {thread.name} has no turns yet.")
    return {MARKDOWN: safe_document(parts, allow_images_from).strip("\n"), PLAIN: "\n\n".join(plain)}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _count(turns: int) -> str:
    return counted(turns, "turn")
