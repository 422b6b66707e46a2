"""Threads from OpenAI messages, and back."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from wandb_inference_magic.commands.threads import conversation_bundle
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages import Thread, Turn
from wandb_inference_magic.rendering.thread_file import (
    export,
    from_messages,
    import_,
    to_html,
    to_json,
    to_markdown,
    to_messages,
)

pytestmark = pytest.mark.short

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def messages(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in pairs]


def turns_from(*pairs: tuple[str, Any]) -> list[tuple[Any, str, str | None]]:
    return [(turn.prompt, turn.reply, turn.system) for turn in from_messages("t", messages(*pairs)).thread.turns]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "Free some space on its disk, then name the file again: %wbthread --export FILE."),
        (errno.EDQUOT, "Free some space on its disk, then name the file again: %wbthread --export FILE."),
        (errno.EROFS, "Name a file in an existing folder that you can write to: %wbthread --export FILE."),
        (errno.EACCES, "Name a file in an existing folder that you can write to: %wbthread --export FILE."),
    ],
)
def test_a_file_that_cannot_be_written_says_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(InferenceError) as failed:
        export(Thread("t", [Turn("a", "b")]), str(tmp_path / "t.md"))
    assert (failed.value.why, failed.value.remedy) == (f"{os.strerror(code)}.", remedy)


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_texts_of_any_kind_are_text(kind: str, role: str) -> None:
    content = {"system": "S", "user": "a", "assistant": "b"}
    pairs = [(one, [{"type": kind, "text": text}] if one == role else text) for one, text in content.items()]
    imported = from_messages("t", messages(*pairs))
    assert imported.left_out == ()
    (turn,) = imported.thread.turns
    assert (turn.system, turn.prompt_text, turn.reply) == ("S", "a", "b")


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ({"type": "image_url", "image_url": "data:image/png;base64,AAAA"}, IMAGE),
        ({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}, IMAGE),
        (IMAGE, IMAGE),
        ({"type": "functional_text", "a": 1}, {"type": "functional_text", "a": 1}),
        (
            {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
            {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
        ),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}, IMAGE),
        ({"type": "image", "source": {"type": "url", "url": IMAGE["image_url"]["url"]}}, IMAGE),
        (
            {"type": "image", "source": {"type": "file", "file_id": "x"}},
            {"type": "image", "source": {"type": "file", "file_id": "x"}},
        ),
        ({"type": "input_image", "file_id": "x"}, {"type": "input_image", "file_id": "x"}),
        ({"type": "input_audio", "input_audio": {}}, {"type": "input_audio", "input_audio": {}}),
    ],
)
def test_a_part_of_any_kind_can_be_shown_and_exported(part: dict[str, Any], kept: dict[str, Any]) -> None:
    thread = from_messages("t", messages(("user", [part]), ("assistant", "b"))).thread
    assert thread.turns[0].prompt == [kept]
    word = "[image]" if kept is IMAGE else f"[{kept['type']}]"
    assert thread.turns[0].prompt_text == word
    assert word in conversation_bundle(thread)["text/plain"]
    assert word.strip("[]") in to_markdown(thread)
    assert to_html(thread)
    assert from_messages("t", json.loads(to_json(thread))).thread == thread


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"foo": 1}, "A part of message 2 has no type."),
        ({"type": 5}, "A part of message 2 has no type."),
        ({"type": "input_text"}, "A part of message 2 has no text."),
        ({"type": "image_url", "image_url": {}}, "An image of message 2 has no URL."),
    ],
)
def test_a_part_that_cannot_be_read_is_refused(part: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        from_messages("t", messages(("system", "S"), ("user", [part]), ("assistant", "b")))


def test_system_prompts_before_a_turn_become_one() -> None:
    pairs = [("system", "S1"), ("developer", "S2"), ("user", "a"), ("assistant", "b"), ("system", "S3")]
    assert turns_from(*pairs, ("user", "c"), ("assistant", "d")) == [("a", "b", "S1\n\nS2"), ("c", "d", "S3")]
    # One between two messages of the assistant is for the next turn.
    more = [("assistant", "e"), ("user", "c"), ("assistant", "d")]
    assert turns_from(*pairs, *more) == [("a", "b\n\ne", "S1\n\nS2"), ("c", "d", "S3")]


CALLING = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}, {"id": "2"}]}


@pytest.mark.parametrize(
    ("more", "left_out"),
    [
        ([], ()),
        (messages(("user", "c")), ("a last prompt without a reply",)),
        (messages(("system", "S")), ("a last system prompt without a turn after it",)),
        ([CALLING, *messages(("tool", "1"), ("tool", "2"))], ("2 tool calls", "2 tool messages")),
        (messages(("critic", "c")), ("1 critic message",)),
        (messages(("assistant", "")), ("1 empty assistant message",)),
        (messages(("assistant", [{"type": "tool_use"}])), ("1 [tool_use] part",)),
        (messages(("system", [{"type": "text", "text": ""}, IMAGE])), ("1 [image] part",)),
    ],
)
def test_what_has_no_place_in_a_thread_is_named(more: list[dict[str, Any]], left_out: tuple[str, ...]) -> None:
    imported = from_messages("t", [*messages(("user", "a"), ("assistant", "b")), *more])
    assert [turn.messages for turn in imported.thread.turns] == [messages(("user", "a"), ("assistant", "b"))]
    assert imported.left_out == left_out


@pytest.mark.parametrize("kind", ["tool_result", "tool_response", "function_call_output", "web_search_tool_result"])
def test_results_of_tools_among_the_messages_of_the_user_are_left_out(kind: str) -> None:
    result = {"type": kind, "content": "21 degrees"}
    calling = messages(("user", "How warm?"), ("assistant", [{"type": "tool_use", "name": "weather"}]))
    for more in ([result], [result, {"type": "text", "text": "And now?"}]):
        imported = from_messages("t", [*calling, *messages(("user", more), ("assistant", "21."))])
        assert imported.left_out == ("1 [tool_use] part", f"1 [{kind}] part")
        (turn,) = imported.thread.turns
        assert turn.prompt_text == "How warm?" + "\n\nAnd now?" * (len(more) - 1)
        assert kind not in json.dumps(turn.messages)


def test_roles_greetings_and_further_fields_of_other_tools_are_read() -> None:
    listed = messages(("assistant", "How can I help?"), ("human", "a"), ("AI", "b"), ("User", "c"), ("model", "d"))
    listed[2]["name"] = "bot"
    listed[4] |= {"reasoning": "hm", "reasoning_content": "hm"}
    imported = from_messages("t", listed)
    assert [(turn.prompt, turn.reply) for turn in imported.thread.turns] == [("a", "b"), ("c", "d")]
    assert imported.left_out == ("1 name", "1 reasoning text", "a greeting before the first prompt")


def test_white_space_is_a_reply_unless_tools_are_called() -> None:
    calling = {**CALLING, "content": "\n"}
    (turn,) = from_messages("t", [*messages(("user", "a")), calling, *messages(("assistant", "b"))]).thread.turns
    assert turn.reply == "b"
    assert turns_from(("user", "q1"), ("assistant", " \n"), ("user", "q2"), ("assistant", "b")) == [
        ("q1", " \n", None),
        ("q2", "b", None),
    ]


def test_messages_without_an_answer_are_no_thread() -> None:
    with pytest.raises(ValueError, match="No message of the user has an answer"):
        from_messages("t", messages(("user", "a"), ("user", "b")))


def test_several_messages_of_the_user_in_a_row_are_one_prompt() -> None:
    listed = messages(("user", "a"), ("user", [{"type": "text", "text": "b"}]), ("assistant", "c"))
    (turn,) = from_messages("t", listed).thread.turns
    assert turn.prompt == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def test_a_refusal_is_a_reply() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I cannot."}
    assert from_messages("t", [*messages(("user", "a")), refused]).thread.turns[0].reply == "I cannot."
    assert turns_from(("user", "a"), ("assistant", [{"type": "refusal", "refusal": "No."}])) == [("a", "No.", None)]


@pytest.mark.parametrize("turns", [[], [Turn("a", " ", system="S"), Turn([IMAGE], "b")]])
def test_an_exported_thread_is_imported_as_it_was(turns: list[Turn]) -> None:
    thread = Thread("t", turns)
    assert from_messages("t", json.loads(to_json(thread))) == (thread, ())
    assert from_messages("t", {"messages": to_messages(thread)}) == (thread, ())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_in_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "talk.json"
    file.write_text(json.dumps(messages(("user", "é?"), ("assistant", "é.")), ensure_ascii=False), encoding=encoding)
    assert import_("talk", str(file)).thread.turns[0].reply == "é."


@pytest.mark.parametrize("text", ["# Talk\n\nHi.", "", "hello"])
def test_a_file_that_is_not_json_is_called_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "talk.md"
    file.write_text(text)
    with pytest.raises(InferenceError, match=r"holds no conversation\. Expecting value"):
        import_("talk", str(file))


def test_each_block_of_a_page_has_the_direction_of_its_text() -> None:
    """An attribute inside a block with one would hide its text from the browser that looks for the direction."""
    reply = "שלום, `a.`\n\n- מה?\n  - b\n\n  c\n\n> d\n\n# e\n\n| f |\n|---|\n| g |"
    page = to_html(Thread("שיחה!", [Turn("q", reply)]))
    assert page.count('dir="auto"') == 5 + 4, "the name, the turn, two headings and the prompt; blocks of the reply"
    for block in ("<h1", "<p", "<ul", "<table"):
        assert f'{block} dir="auto">' in page
    for block in ("<li>", "<td>", "<p>c</p>"):
        assert block in page
    assert 'lang=""' in page
    page = to_html(Thread("t", [Turn("q", "- **pandas**: مكتبة لتحليل البيانات\n\nIn English.")]))
    assert '<div dir="rtl">\n<ul>' in page
    assert '<p dir="auto">In English.' in page
