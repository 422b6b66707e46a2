"""The file of a cassette: its lines, secrets in it, and lines that cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from kernels import Kernel
from recordings import GOOD, changed_line, lines, record
from service import Service

from wandb_inference_magic.cassettes.cassette import Cassette
from wandb_inference_magic.cassettes.file import HEADER, Exchange, line_of, read_cassette, without_secrets
from wandb_inference_magic.errors import InferenceError

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
DELTAS = st.dictionaries(st.sampled_from(["content", "reasoning", "reasoning_content", "role", "tool_calls"]), JSON)
CHUNKS = st.dictionaries(st.sampled_from(["id", "model", "usage"]), JSON) | st.builds(
    lambda delta, index, more: {**more, "choices": [{"index": index, "delta": delta, "finish_reason": None}]},
    DELTAS,
    st.integers(0, 1),
    st.dictionaries(st.sampled_from(["id", "model", "usage"]), JSON),
)
EXCHANGES = st.builds(
    Exchange,
    endpoint=st.sampled_from(["wandb", "local", "http://127.0.0.1:8000/v1", "https://bücher.example"]),
    path=TEXT,
    request=JSON,
    seconds=st.integers(0, 10**6).map(lambda ms: ms / 1000),
    document=JSON,
    events=st.lists(st.tuples(st.just(0.5), CHUNKS), max_size=6).map(tuple),
    status=st.integers(200, 599),
    place=st.integers(0, 10**6),
    replaces=st.booleans(),
    request_id=st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12),
)


@given(st.lists(EXCHANGES, max_size=4))
def test_written_exchanges_are_read_back(tmp_path_factory: pytest.TempPathFactory, exchanges: list[Exchange]) -> None:
    path = tmp_path_factory.mktemp("cassette") / "a.jsonl"
    path.write_bytes(HEADER + b"".join(line_of(one) for one in exchanges))
    found = read_cassette(path)
    assert found.damaged == ()
    whole = [(one.endpoint, one.path, one.request, one.seconds, one.events, one.status) for one in exchanges]
    assert [(one.endpoint, one.path, one.request, one.seconds, one.events, one.status) for one in found.exchanges] == (
        whole
    )
    for one, again in zip(exchanges, found.exchanges, strict=True):
        assert again.document == (None if one.events else one.document)
        assert (again.request_id or None) == one.request_id


def test_a_file_cut_at_any_byte_keeps_the_exchanges_before(tmp_path: Path) -> None:
    exchanges = [Exchange("wandb", "/x", {"n": number}, 0.1, {"é": number}) for number in range(3)]
    parts = [line_of(one) for one in exchanges]
    data = HEADER + b"".join(parts)
    path = tmp_path / "a.jsonl"
    for size in range(len(HEADER), len(data) + 1):
        path.write_bytes(data[:size])
        found = read_cassette(path)
        assert found.damaged == ()
        # A last line that is complete except for its line break is read.
        whole = [
            part for number, part in enumerate(parts) if size + 1 >= len(HEADER) + len(b"".join(parts[: number + 1]))
        ]
        assert len(found.exchanges) == len(whole)
        extra = Exchange("wandb", "/x", {"n": 9}, 0.1, {})
        Cassette(path, "auto", "recorded").add(extra)
        assert read_cassette(path).exchanges == (*exchanges[: len(whole)], extra)


def test_unknown_members_and_lines_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    one = json.loads(line_of(Exchange("wandb", "/models", None, 0.1, {"data": []})))
    one["mood"], one["reply"]["weather"] = "good", ["sun"]
    path.write_text(f'{{"cassette": 2, "by": "0.9"}}\n\n{{"note": "hi"}}\n{json.dumps(one)}\r\n')
    found = read_cassette(path)
    assert found.damaged == ()
    assert [one.document for one in found.exchanges] == [{"data": []}]


def test_a_secret_is_hidden_and_a_short_word_is_not_a_secret(tmp_path: Path) -> None:
    secret = 'a"key\\é and more'
    recorded = without_secrets(
        Exchange("wandb", "/x", {secret: [secret, f"x{secret}y", "none"]}, 0.1, {"said": secret}), (secret, "none")
    )
    assert "and more" not in line_of(recorded).decode()
    assert recorded.request["(hidden)"] == ["(hidden)", "x(hidden)y", "none"]


def test_the_longer_of_two_overlapping_secrets_is_hidden_as_a_whole() -> None:
    secrets = ("key-0123456789", "key-0123456789-and-more")
    cut = ["It is key-", "0123456789", "-and-more."]
    events = tuple((0.1, {"choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in cut)
    recorded = without_secrets(Exchange("wandb", "/x", {"said": secrets[1]}, 0.1, events=events), secrets)
    assert recorded.request == {"said": "(hidden)"}
    texts = [event["choices"][0]["delta"]["content"] for _, event in recorded.events]
    assert texts == ["It is (hidden).", "", ""]


@given(st.lists(st.text("abk", max_size=3), max_size=12), st.integers(0, 12))
def test_a_secret_that_spans_several_pieces_is_hidden(pieces: list[str], place: int) -> None:
    secret = "key-0123456789"
    whole = "".join(pieces)
    place = min(place, len(whole))
    text = f"{whole[:place]}{secret}{whole[place:]}"
    cut = [text[start : start + 3] for start in range(0, len(text), 3)]
    events = tuple((0.1, {"choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in cut)
    recorded = without_secrets(Exchange("wandb", "/x", {}, 0.1, events=events), (secret,))
    assert "".join(event["choices"][0]["delta"]["content"] for _, event in recorded.events) == text.replace(
        secret, "(hidden)"
    )


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="cannot be used"):
        Cassette(tmp_path, "auto", "recorded")


def test_a_file_that_is_not_a_cassette_is_refused_and_kept(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"a": 1}\n')
    for mode in ("record", "replay", "auto"):
        run = kernel.run(f"%wbconfig --cassette data.jsonl --mode {mode}")
        assert "is not a cassette" in run.error
    assert (tmp_path / "data.jsonl").read_text() == '{"a": 1}\n'
    assert kernel.run("%wbchat hi").ok, "no setting was changed"
    (tmp_path / "new.jsonl").write_text('{"cassette": 3}\n')
    assert "pip install --upgrade" in kernel.run("%wbconfig --cassette new.jsonl").error
    assert "There is no cassette" in kernel.run("%wbconfig --cassette none.jsonl --mode replay").error
    assert "There is no folder" in kernel.run("%wbconfig --cassette no/where.jsonl").error
    assert "Name its file" in kernel.run("%wbconfig --mode record").error


@pytest.mark.parametrize(
    "header",
    [
        '{"cassette": true}',
        '{"cassette": 1e400}',
        '{"cassette": 0}',
        '{"cassette": NaN}',
        '{"cassette": "1"}',
        "[]",
        "[",
    ],
)
def test_an_invalid_header_is_reported(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{header}\n{json.dumps(GOOD)}\n")
    with pytest.raises(InferenceError, match="is not a cassette"):
        read_cassette(path)


def test_an_incomplete_last_line_is_tolerated(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once one", "%wbchat --once two")
    file = tmp_path / "class.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    kernel.run("%wbconfig --mode replay")
    assert kernel.run("%wbchat --once one").ok
    assert "does not hold this request" in kernel.run("%wbchat --once two").error
    record(kernel, "%wbchat --once two", mode="auto")
    assert [one["request"]["messages"][0]["content"] for one in lines(file)[1:]] == ["one", "two"]


def test_damaged_lines_are_reported_with_their_numbers(kernel: Kernel, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once one", "%wbchat --once two", "%wbchat --once three")
    file = tmp_path / "class.jsonl"
    header, one, two, three = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(header + one + two[:50] + b"\n" + b"[1]\n" + three)
    run = kernel.run("%wbconfig --cassette class.jsonl --mode replay")
    assert "class.jsonl, 2 exchanges; lines 3, 4 cannot be read" in run.text
    assert kernel.run("%wbchat --once three").ok
    assert "Lines 3, 4 cannot be read." in kernel.run("%wbchat --once two").error
    file.write_bytes(header + one + b"[1]\n" * 12)
    run = kernel.run("%wbconfig --cassette class.jsonl --mode replay")
    assert "lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, … cannot be read" in run.text


TOO_LONG = "1" * 400

HOSTILE = {
    "status Infinity": changed_line(reply_status=float("inf")),
    "status NaN": changed_line(reply_status=float("nan")),
    "status 99": changed_line(reply_status=99),
    "status 1000": changed_line(reply_status=1000),
    "status true": changed_line(reply_status=True),
    "status a text": changed_line(reply_status="200"),
    "status null": changed_line(reply_status=None),
    "time of 400 digits": changed_line(reply_seconds=int(TOO_LONG)),
    "time below zero": changed_line(reply_seconds=-1),
    "time NaN": changed_line(reply_seconds=float("nan")),
    "time 1e400": changed_line(reply_seconds=0.5).replace("0.5", "1e400"),
    "time of more than a day": changed_line(reply_seconds=86_401),
    "time a text": changed_line(reply_seconds="abc"),
    "time true": changed_line(reply_seconds=True),
    "no time": json.dumps({**GOOD, "reply": {"json": {}}}),
    "endpoint half an address": changed_line(endpoint="http://[::1"),
    "endpoint with a bad port": changed_line(endpoint="http://h:99999999/v1"),
    "endpoint with a password": changed_line(endpoint="http://user:pw@h/v1"),
    "endpoint a number": changed_line(endpoint=5),
    "endpoint a file": changed_line(endpoint="file:///etc/passwd"),
    "endpoint with a line break": changed_line(endpoint="http://h/v1\n"),
    "endpoint nothing": changed_line(endpoint=""),
    "endpoint endless": changed_line(endpoint="http://" + "h" * 100_000),
    "path a list": changed_line(path=[]),
    "reply a list": changed_line(reply=[]),
    "reply null": changed_line(reply=None),
    "request id a number": changed_line(reply_request_id=5),
    "request id of two lines": changed_line(reply_request_id="a\r\nset-cookie: b"),
    "request id with a surrogate": changed_line(reply_request_id="\ud800"),
    "events a number": changed_line(reply_events=5),
    "events an object": changed_line(reply_events={"a": 1}),
    "an event a number": changed_line(reply_events=[5]),
    "an event without a time": changed_line(reply_events=[[{}]]),
    "an event at infinity": changed_line(reply_events=[[float("inf"), {}]]),
    "an event at 400 digits": changed_line(reply_events=[[int(TOO_LONG), {}]]),
    "an event that is a list": changed_line(reply_events=[[0, []]]),
    "an event of words without a place": changed_line(reply_events=[[0, "word"]]),
    "an event that leaves out a list": changed_line(reply_events=[[0, {}, [[]]]]),
    "an event that leaves out a number": changed_line(reply_events=[[0, {}, 5]]),
    "events that grow": changed_line(
        reply_events=[
            [0, {str(n): n for n in range(3000)} | {"choices": [{"delta": {"content": ""}}]}],
            *[[0, ""]] * 9000,
        ]
    ),
    "nested": '{"request": ' + "[" * 200_000 + "]" * 200_000 + ', "reply": {}}',
    "nested, not much": '{"request": ' + "[" * 500 + "]" * 500 + ', "reply": {}}',
    "a number of 5,000 digits": '{"request": ' + "1" * 5000 + ', "reply": {}}',
    "no JSON": "{",
    "a number": "5",
    "a list": "[]",
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", HOSTILE)
def test_an_invalid_line_is_reported_and_skipped(tmp_path: Path, name: str, version: int) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps(GOOD)
    lines = (f'{{"cassette": {version}}}', good, HOSTILE[name], good, "")
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    found = read_cassette(path)
    assert found.damaged == (3,)
    assert len(found.exchanges) == 2
    assert "line 3 cannot be read" in str(Cassette(path, "replay", "at-once"))
    # The line keeps its place when an exchange is added, also when the file is rewritten.
    extra = Exchange("wandb", "/x", {"n": 9}, 0.1, {})
    Cassette(path, "auto", "at-once").add(extra)
    assert path.read_bytes().splitlines()[2] == HOSTILE[name].encode(errors="surrogatepass")
    assert read_cassette(path).damaged == (3,)
    assert read_cassette(path).exchanges == (*found.exchanges, extra)
    assert read_cassette(path).version == 2


def test_lines_that_are_not_text_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps(GOOD).encode()
    lines = (b'{"cassette": 2}', good, b"\xff\xfe\x00", b"\x00" * 100, good[:40] + b"\xff" + good[40:], good, b"")
    path.write_bytes(b"\n".join(lines))
    assert read_cassette(path).damaged == (3, 4, 5)
    assert len(read_cassette(path).exchanges) == 2


def test_a_line_of_a_gigabyte_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps(GOOD).encode() + b"\n"
    with path.open("wb") as file:
        file.write(HEADER + good)
        # A hole in the file takes no space on the disk.
        file.seek(1_000_000_000, 1)
        file.write(b"\n" + good)
    found = read_cassette(path)
    assert (len(found.exchanges), found.damaged) == (2, (3,))
    assert found.whole == found.size == path.stat().st_size
    with path.open("ab") as file:
        file.truncate(2_100_000_000)
    with pytest.raises(InferenceError, match="cannot be used"):
        read_cassette(path)


def test_a_cassette_with_invalid_lines_breaks_no_magic(kernel: Kernel, service: Service, tmp_path: Path) -> None:
    record(kernel, "%wbchat --once hi")
    with (tmp_path / "class.jsonl").open("a", errors="surrogatepass") as file:
        file.writelines(f"{line}\n" for line in HOSTILE.values())
    kernel.run("%wbconfig --cassette class.jsonl --mode replay --pace at-once")
    assert kernel.run("%wbchat --once hi").ok
    assert "lines 3, 4, 5" in kernel.run("%wbconfig").text
    assert "does not hold this request" in kernel.run("%wbchat --once ho").error
    assert kernel.run("%wbusage").ok


@given(st.dictionaries(st.sampled_from([*GOOD, "json"]), JSON | st.floats()), st.dictionaries(TEXT, JSON) | JSON)
def test_any_line_is_read_or_reported_without_a_raw_error(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, Any], reply: Any
) -> None:
    path = tmp_path_factory.mktemp("cassette") / "a.jsonl"
    line = json.dumps({**GOOD, "reply": reply, **members})
    path.write_text(f'{{"cassette": 2}}\n{line}\n{json.dumps(GOOD)}\n')
    cassette = Cassette(path, "replay", "at-once")
    assert cassette.find(GOOD["endpoint"], GOOD["path"], GOOD["request"]) is not None
    with pytest.raises(InferenceError, match="does not hold this request"):
        cassette.find("wandb", "/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert isinstance(cassette.model, str | None)
    assert isinstance(str(cassette), str)


def test_an_exchange_that_replaces_another_one_is_replayed_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = Exchange("wandb", "/chat/completions", {"q": 1}, 0.1, "take 1")
    others = [replace(first, document="take 2", place=1), replace(first, document="take 3", replaces=True)]
    path.write_bytes(HEADER + b"".join(map(line_of, (first, *others))))
    cassette = Cassette(path, "replay", "at-once")
    found = [cassette.find("wandb", "/chat/completions", {"q": 1}) for _ in range(3)]
    assert [one and one.document for one in found] == ["take 3", "take 2", "take 3"]
    # Older versions have equal requests without places: none of them replaces another.
    path.write_bytes(HEADER + b"".join(line_of(replace(one, place=0, replaces=False)) for one in (first, *others)))
    cassette = Cassette(path, "replay", "at-once")
    found = [cassette.find("wandb", "/chat/completions", {"q": 1}) for _ in range(3)]
    assert [one and one.document for one in found] == ["take 1", "take 2", "take 3"]
