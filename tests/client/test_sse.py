"""Server-sent events, for any way of cutting the bytes of a stream."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from wandb_inference_magic.client import ChunkReader
from wandb_inference_magic.client.sse import EventReader
from wandb_inference_magic.failures import ServiceError

WHOLE = (
    'data: {"text": "caf\u00e9 \u2028 end"}\n\n'
    ": a comment\n\n"
    "event: message\r\ndata: one\r\ndata: two\r\n\r\n"
    "data:tight\r\r"
    "data: [DONE]"
).encode()
EVENTS = ['{"text": "café \u2028 end"}', "one\ntwo", "tight", "[DONE]"]


def data_of(chunks: Iterable[bytes]) -> Iterator[str]:
    reader = EventReader()
    for chunk in chunks:
        yield from (event.data for event in reader.feed(chunk))
    yield from (event.data for event in reader.close())


def test_a_stream_in_one_piece_is_read() -> None:
    assert list(data_of([WHOLE])) == EVENTS


def test_a_stream_of_single_bytes_is_read() -> None:
    assert list(data_of(bytes([one]) for one in WHOLE)) == EVENTS


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_any_cut_gives_the_same_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    parts = [WHOLE[low:high] for low, high in pairwise(edges)]
    assert list(data_of(parts)) == EVENTS


def test_an_error_without_data_says_nothing() -> None:
    with pytest.raises(ServiceError) as raised:
        list(ChunkReader().feed(b"event: error\n\n"))
    assert raised.value.body == {}


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert list(data_of([b"data: a\xff\xfeb\n\n"])) == ["a\ufffd\ufffdb"]


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_any_bytes_are_read(parts: list[bytes]) -> None:
    assert list(data_of(parts)) == list(data_of([b"".join(parts)]))


@pytest.mark.parametrize("between", ["\n", ""])
def test_events_without_blank_lines_between_them_are_read_in_linear_time(between: str) -> None:
    """With quadratic time this test would take minutes."""
    event = 'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}' % ("word " * 400)
    data = between.join([event] * 15_000).encode()
    reader = ChunkReader()
    assert len([*reader.feed(data), *reader.feed(b"\n\ndata: [DONE]\n\n"), *reader.close()]) == 15_000
