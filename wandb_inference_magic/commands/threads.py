"""Run `%wbthread`: list the threads, switch, show, undo, edit, clear, delete, export and import."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InferenceError, shortened
from ..frontend import next_cells
from ..markup import Untrusted, fenced, safe_document, safe_inline
from ..messages import (
    DEFAULT_THREAD,
    CodeBlock,
    Thread,
    estimate_messages,
    has_images,
    non_text_parts,
    texts_of,
)
from ..rendering import (
    MARKDOWN,
    PLAIN,
    Column,
    line_bundle,
    lines_below,
    reply_text,
    table_bundle,
    thread_file,
    thread_parts,
)
from ..text import composed, counted, safe_plain, without_keys

if TYPE_CHECKING:
    from ..arguments import ThreadOptions
    from ..frontend import MagicContext
    from ..messages import Origin, ThreadParts
    from ..session import Session

ACTIONS = ("show", "undo", "edit", "clear", "delete", "export", "import_")
PROMPT_SHOWN = 60


def manage(context: MagicContext, options: ThreadOptions, name: str) -> None:
    """Run `%wbthread` with its options and report the result.

    Raises
    ------
    InferenceError
        For a thread that does not exist, a file that cannot be used, and more than one action at once.
    """
    session, canvas, name = context.session, context.canvas(), composed(name)
    chosen = [action for action in ACTIONS if getattr(options, action)]
    if len(chosen) > 1:
        raise InferenceError("%wbthread does one thing at a time.", remedy="Give one option at a time.")
    if chosen:
        name = name or session.threads.current
        shown = _act(context, chosen[0], options, name)
        parts = session.threads.parts(name)
        canvas.show(shown, _columns(parts.shown_in(context.cell.origin.cell)) if options.show else ())
        return
    if not name:
        canvas.show(threads_table(session))
        return
    session.threads.current = name
    turns = len(session.threads.parts(name).current.turns)
    canvas.show(line_bundle(f"The next chats continue the thread {name} ({counted(turns, 'turn')})."))


def _act(context: MagicContext, action: str, options: ThreadOptions, name: str) -> dict[str, Any]:
    session = context.session
    if action == "import_":
        return _import(session, name, options.import_ or "")
    # The current thread is valid before its first turn: a notebook may begin with --clear.
    threads = session.threads
    parts, origin = threads.parts(name) if name == threads.current else threads.existing(name), context.cell.origin
    if action == "show":
        return conversation_bundle(parts.shown_in(origin.cell), session.settings.allow_images_from)
    if action == "export":
        thread = parts.shown_in(origin.cell)
        path = thread_file.export(thread, options.export or "")
        notice = _left_out(thread_file.left_out_of(thread, path))
        return line_bundle(f"The thread {name} ({counted(len(thread.turns), 'turn')}) is in {path}.{notice}")
    if action == "undo":
        return _undo(parts, origin)
    if action == "edit":
        return _edit(context, parts, options.edit or 0)
    if action == "clear":
        parts.empty(origin)
        return line_bundle(f"The thread {name} is empty now.")
    return _delete(session, name, origin)


def _import(session: Session, name: str, file: str) -> dict[str, Any]:
    parts = session.threads.parts(name)
    before = parts.current.turns
    # A cell that imports can be run again: nothing was added since.
    if any(turn.cell is not None or turn.answer is not None for turn in before):
        raise InferenceError(
            f"The thread {name} has turns already.",
            remedy=f"Import under another name (%wbthread NAME --import {shortened(file)}), or --clear it first.",
        )
    thread, left_out = thread_file.import_(name, file)
    parts.fill(thread)
    turns = counted(len(thread.turns), "turn")
    instead = " in place of those that were imported before" if before else ""
    return line_bundle(f"The thread {name} has {turns} from {file}{instead}.{_left_out(left_out)}")


def _left_out(nouns: Sequence[str]) -> str:
    return f" Left out: {', '.join(nouns)}." if nouns else ""


def _undo(parts: ThreadParts, origin: Origin) -> dict[str, Any]:
    if (turn := parts.undo(origin.cell)) is None:
        where = " before this cell" if parts.current.turns else ""
        raise InferenceError(f"The thread {parts.name} has no turn{where} to take back.")
    left = counted(len(parts.shown_in(origin.cell).turns), "turn")
    return line_bundle(f"Undone: {shortened(_one_line(turn.prompt_text), PROMPT_SHOWN)!r}. {parts.name} has {left}.")


def _edit(context: MagicContext, parts: ThreadParts, number: int) -> dict[str, Any]:
    """Put the prompt of a turn into a new cell, and have the next chat of a new cell replace that turn."""
    thread = parts.shown_in(context.cell.origin.cell)
    if number > len(thread.turns):
        raise InferenceError(
            f"The thread {thread.name} has {counted(len(thread.turns), 'turn')}, so there is no turn {number}.",
            remedy=f"%wbthread {thread.name} --show shows them with their numbers.",
        )
    turn = thread.turns[number - 1]
    # The prompt as it was sent: it is no template.
    line = "%%wbchat --raw" + f" --thread {shlex.quote(thread.name)}" * (thread.name != context.session.threads.current)
    if turn.system and not any(mark in turn.system for mark in ("\n", "{{", "{%")):
        # In the cell, so that it stays when the cell is run once more.
        line += f" -s {shlex.quote(turn.system)}"
    text = without_keys(f"{line}\n{''.join(texts_of(turn.prompt))}")
    is_by_hand = next_cells.put(context.shell, [CodeBlock("", text)], context.cell)
    parts.edit(thread, turn)
    line = (
        f"Turn {number} of {thread.name} is {'below, to copy into a' if is_by_hand else 'in a'} new cell. "
        "Change it and run the cell: its reply replaces the old one. The turns after it stay as they are."
    )
    if has_images(turn.prompt):
        line += " Its images are not in the cell: add them with --image."
    if others := [part for part in non_text_parts(turn.prompt) if part != "[image]"]:
        line += f" Some of its parts are not in the cell, which cannot hold them: {', '.join(others)}."
    shown = safe_document([f"{safe_inline(line)}\n\n", *([Untrusted(fenced(text, "text"))] if is_by_hand else [])])
    return {MARKDOWN: shown.strip("\n"), PLAIN: safe_plain(f"{line}\n\n{text}" if is_by_hand else line)}


def _delete(session: Session, name: str, origin: Origin) -> dict[str, Any]:
    parts = session.threads.parts(name)
    parts.empty(origin)
    parts.exists = False
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
            shortened(_one_line(thread.turns[-1].prompt_text), PROMPT_SHOWN) if thread.turns else "",
        )
        for name, thread in threads.items()
    ]
    return table_bundle(("thread", "turns", "about tokens", "last prompt"), rows)


def conversation_bundle(thread: Thread, allow_images_from: Collection[str] = ()) -> dict[str, Any]:
    """Return a whole thread as a MIME bundle. Prompts and replies are rendered."""
    if not thread.turns:
        return line_bundle(f"The thread {thread.name} has no turns yet.")
    plain = [safe_plain(one) for who, text, *reply in _said(thread) for one in (f"[{who}] {text}", *reply) if one]
    markdown = safe_document(thread_parts(thread), allow_images_from).strip("\n")
    return without_keys({MARKDOWN: markdown, PLAIN: "\n\n".join(plain)})  # type: ignore[no-any-return]


def _columns(thread: Thread) -> list[Column]:
    """Return the turns of a thread for a terminal, which renders the replies. They have no keys of this process."""
    said = without_keys([*_said(thread)]) if thread.turns else []
    return [Column(f"{who.capitalize()}: {text}", (), reply, below.splitlines()) for who, text, reply, below in said]


def _said(thread: Thread) -> Iterator[list[str]]:
    """Yield each system prompt and each turn of a thread: what it is, its text, its reply, and what is below that."""
    turns = zip(thread.systems_sent(), thread.turns, strict=True)
    for number, (system, turn) in enumerate([(thread.system, None), *turns]):
        if system:
            yield ["System", system, "", ""]
        if turn is not None:
            reply = [turn.reply, ""]
            if turn.answer is not None:
                reply = [reply_text(turn.answer), "\n".join(lines_below(turn.answer))]
            yield [f"turn {number}", turn.prompt_text, *reply]


def _one_line(text: str) -> str:
    return " ".join(text.split())
