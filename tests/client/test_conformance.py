"""Every form in which servers are known to answer, run as a chat, as a map and through a cassette.

`conformance/` has one file per form: who sends it, the Reply or the error that is expected, and the bytes of the body.
CONFORMANCE.md beside this file lists them. `WRITE_CONFORMANCE=1 pytest tests/client/test_conformance.py` writes it.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, strategies as st
from service import Answer, Service

from wandb_inference_magic.batch.run_results import MAX_REPORTS_SHOWN
from wandb_inference_magic.client import ChunkReader
from wandb_inference_magic.errors import InferenceError, InferenceWarning
from wandb_inference_magic.failures import ServiceError
from wandb_inference_magic.messages import Reply
from wandb_inference_magic.replies import ReplyBuilder
from wandb_inference_magic.session import current_session

FOLDER = Path(__file__).parent / "conformance"
TABLE = Path(__file__).parent / "CONFORMANCE.md"
# A cassette also keeps a refusal of the request itself, which would be returned again.
RECORDED_ERRORS = (400, 404, 413, 415, 422, 424, 429, 500, 501)
FEWEST = 120


@dataclass
class Form:
    """One file: the body of a response, and what is made of it."""

    name: str
    body: bytes
    expected: dict[str, Any]
    sender: str = ""
    status: int = 200
    content_type: str = "application/json"
    ends: str = "closed"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Form:
        head, _, body = file.read_bytes().partition(b"\n\n")
        lines = dict(line.split(": ", 1) for line in head.decode().splitlines())
        return cls(
            file.stem,
            body,
            json.loads(lines["expected"]),
            lines["sender"],
            int(lines.get("status", 200)),
            lines["content-type"],
            lines.get("ends", "closed"),
            {name.removeprefix("header "): value for name, value in lines.items() if name.startswith("header ")},
        )

    def __call__(self, answer: Answer) -> None:
        answer.start(self.status, self.content_type, **self.headers)
        answer.raw(self.body)
        answer.cut() if self.ends == "cut" else answer.end()

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.expected.get("error", {}))


FORMS = [Form.read(file) for file in sorted(FOLDER.glob("*.txt"))]
STREAMS = [form for form in FORMS if form.status == 200 and form.ends == "closed"]
# Those that end no map and of which it has nothing to say: they can be the answers of one map.
MAPPED_TOGETHER = [
    form
    for form in FORMS
    if form.expected.get("text") and form.expected.keys().isdisjoint(("error", "notices", "row_error"))
]


@pytest.fixture
def one_try(api: ModuleType) -> ModuleType:
    current_session().settings.set(max_retries=0)
    return api


def facts(reply: Reply) -> dict[str, Any]:
    """Return what a file can say of a Reply."""
    usage = reply.usage
    tokens = None if usage is None else [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens]
    return {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "refusal": reply.refusal,
        "finish_reason": reply.finish_reason,
        "calls": [[call.name, call.arguments] for call in reply.tool_calls],
        "tokens": tokens,
        "notices": list(reply.notices),
        "sources": list(reply.sources),
        "logprobs": [one["token"] for one in reply.logprobs],
    }


def check(reply: Reply, expected: dict[str, Any]) -> None:
    found = facts(reply)
    for name, value in expected.items():
        if name == "notices":
            assert len(found[name]) == len(value)
            assert all(one in notice for one, notice in zip(value, found[name], strict=True))
        elif name == "tokens" and value is not None:
            assert found[name] == [*value, 0][:3]
        elif name in found:
            assert found[name] == value, name


def check_error(error: InferenceError, expected: dict[str, Any]) -> None:
    assert expected["says"] in str(error)
    for name in ("cause", "retryable", "status", "affects_all", "retry_after"):
        if name in expected:
            assert getattr(error, name) == expected[name], (name, str(error))


def test_there_are_enough_forms() -> None:
    assert len(FORMS) >= FEWEST


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_is_read_by_a_chat_a_map_and_a_cassette(one_try: ModuleType, service: Service, form: Form) -> None:
    service.always = form
    as_chat(one_try, form)
    if form not in MAPPED_TOGETHER:
        as_map(one_try, form)
    as_cassette(one_try, service, form)


def test_forms_are_read_by_one_map(one_try: ModuleType, service: Service) -> None:
    by_name = {form.name: form for form in MAPPED_TOGETHER}
    service.always = lambda answer: by_name[answer.received.body["messages"][-1]["content"]](answer)
    with warnings.catch_warnings():
        # Of what three of them have beside the answer.
        warnings.simplefilter("ignore", InferenceWarning)
        frame = one_try.map_prompts([{"text": name} for name in by_name], "{{ text }}", cache=False)
    expected = [form.expected["text"] for form in MAPPED_TOGETHER]
    rows = zip(by_name, frame["reply"], expected, strict=True)
    assert not [(name, found, text) for name, found, text in rows if found != text]
    assert "reply_error" not in frame


def as_chat(api: ModuleType, form: Form) -> None:
    session = current_session()
    session.last_reply = None
    if not form.error:
        check(api.chat("hi"), form.expected)
        return
    with pytest.raises(InferenceError) as caught:
        api.chat("hi")
    check_error(caught.value, form.error)
    if text := form.expected.get("text"):
        assert session.last_reply is not None
        assert session.last_reply.text == text
        assert session.last_reply.incomplete
    else:
        assert session.last_reply is None


def as_map(api: ModuleType, form: Form) -> None:
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            frame = api.map_prompts([{"text": "hi"}], "{{ text }}", cache=False)
    except InferenceError as error:
        check_error(error, form.error)
        return
    reported = " ".join(str(one.message) for one in warned)
    assert all(one in reported for one in form.expected.get("notices", ())[:MAX_REPORTS_SHOWN])
    (row,) = frame.to_dict("records")
    if not form.error and form.expected.get("text"):
        assert row["reply"] == form.expected["text"]
    if form.error or "row_error" in form.expected or not form.expected.get("text"):
        says = form.error.get("says", form.expected.get("row_error", "requested a call"))
        assert says in row["reply_error"]
    else:
        assert "reply_error" not in row


def as_cassette(api: ModuleType, service: Service, form: Form) -> None:
    settings, session = current_session().settings, current_session()
    settings.set(cassette="class.jsonl", cassette_mode="record", cassette_pace="at-once")
    recorded = outcome(api)
    sent = len(service.chats)
    session.close()
    settings.set(cassette_mode="replay")
    replayed = outcome(api)
    assert len(service.chats) == sent
    if not form.error or is_recorded(form):
        assert replayed == recorded
    else:
        assert "cassette" in str(replayed)
    settings.set(cassette="off")


def is_recorded(form: Form) -> bool:
    error = form.error
    # With `reply`, it refused what the model has written.
    is_of_request = error["cause"] in ("request", "model", "reply") or (error["cause"], error.get("affects_all")) == (
        "refused",
        False,
    )
    is_json = form.body[:1] in (b"{", b"[")
    is_of_request &= error["cause"] == "model" or not error.get("affects_all")
    return form.status in RECORDED_ERRORS and is_json and is_of_request and error.get("recorded", True)


def outcome(api: ModuleType) -> Any:
    try:
        return facts(api.chat("hi"))
    except InferenceError as error:
        return str(error)


# Any cut, any keep-alive ---------------------------------------------------------------------------------


def read(pieces: list[bytes]) -> tuple[str, dict[str, Any]]:
    """Return how a response ends, and what is read of it."""
    reader, builder = ChunkReader(), ReplyBuilder()
    end = "complete"
    try:
        for piece in pieces:
            for chunk in reader.feed(piece):
                builder.add(chunk)
        for chunk in reader.close():
            builder.add(chunk)
    except (InferenceError, ServiceError) as error:
        end = type(error).__name__
    reply = builder.build(asked_model="m", endpoint="", price=None, messages=())
    return end, facts(reply)


@given(st.sampled_from(STREAMS), st.data())
def test_a_form_is_the_same_however_it_is_cut(form: Form, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(form.body)), max_size=20))
    edges = [0, *sorted(cuts), len(form.body)]
    pieces = [form.body[start:end] for start, end in pairwise(edges)]
    assert read(pieces) == read([form.body])


@pytest.mark.parametrize("form", STREAMS, ids=lambda form: form.name)
def test_a_form_is_the_same_byte_by_byte(form: Form) -> None:
    assert read([bytes([one]) for one in form.body]) == read([form.body])


# What a chunk with a text can have beside it.
BESIDE_TEXT = {
    "chunk": ("id", "model", "object", "usage", "error", "code", "success", "citations", "x_groq", "timings"),
    "choice": ("index", "finish_reason", "logprobs", "text", "message", "usage", "error"),
    "delta": ("role", "content", "refusal", "tool_calls", "reasoning", "reasoning_details", "audio", "error"),
}
VALUES = (
    None, "", [], {}, 0, 1, "1", False, "a", "<think>", "stop", "error", ["https://a.b/c"], [{"text": "a"}],
    {"message": "a", "prompt_tokens": 1, "completion_tokens": 1, "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
)  # fmt: skip


@pytest.mark.parametrize("part", BESIDE_TEXT)
def test_a_chunk_that_has_only_text_is_read_like_any_other(part: str) -> None:
    """A chunk with a field that nothing reads is not taken for one that has only text."""

    def event(value: Any = None, name: str = "role", **neutral: Any) -> bytes:
        delta = {"content": "text ", **({name: value} if part == "delta" else {})}
        choice = {"index": 0, "delta": delta, **({name: value} if part == "choice" else {})}
        chunk = {"id": "b", "choices": [choice], **({name: value} if part == "chunk" else {}), **neutral}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    for name, value in product(BESIDE_TEXT[part], VALUES):
        pieces = [event(), event(value, name), event(), b"data: [DONE]\n\n"]
        others = [event(), event(value, name, neutral="a"), event(), b"data: [DONE]\n\n"]
        assert read(pieces) == read(others), (name, value)


KEEP_ALIVES = (
    b": keep-alive\n\n",
    b"\n",
    b"data:\n\n",
    b"data: {}\n\n",
    b"event: ping\ndata: {}\n\n",
    b"retry: 10\n\n",
)


@given(st.sampled_from([form for form in STREAMS if b"\n\ndata: " in form.body]), st.data())
def test_keep_alives_between_events_change_nothing(form: Form, data: st.DataObject) -> None:
    events = form.body.split(b"\n\n")
    body = b"".join(
        event + b"\n\n" + b"".join(data.draw(st.lists(st.sampled_from(KEEP_ALIVES), max_size=2)))
        for event in events[:-1]
    )
    assert read([body + events[-1]]) == read([form.body])


# The table -----------------------------------------------------------------------------------------------


def row(form: Form) -> str:
    if form.error:
        kept = f", keeps {form.expected['text']!r}" if form.expected.get("text") else ""
        again = ", tried again" if form.error["retryable"] else ""
        holds = f"error `{form.error['cause']}`: {form.error['says'] or 'the connection broke'}{again}{kept}"
    else:
        holds = ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in form.expected.items())
    cells = (form.name, form.sender, str(form.status), holds)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") for cell in cells) + " |"


def test_the_table_lists_every_form() -> None:
    lines = [
        "# Forms of replies",
        "",
        f"{len(FORMS)} forms of answers that are read, and who sends them.",
        "Written by `WRITE_CONFORMANCE=1 pytest tests/client/test_conformance.py`. The bytes are in `conformance/`.",
        "",
        "| form | who sends it | status | what the Reply holds |",
        "|---|---|---|---|",
        *map(row, FORMS),
    ]
    text = "\n".join(lines) + "\n"
    if os.environ.get("WRITE_CONFORMANCE"):
        TABLE.write_text(text, "utf-8")
    assert TABLE.read_text("utf-8") == text
