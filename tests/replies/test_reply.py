"""Chunks add up to a Reply."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, strategies as st

import wandb_inference_magic
from wandb_inference_magic.catalog.models import Price
from wandb_inference_magic.messages.reply import Reply
from wandb_inference_magic.replies.builder import ReplyBuilder
from wandb_inference_magic.replies.forms import add_block

pytestmark = pytest.mark.short


TWO = '{"city": "Oslo", "city": "Bonn"}'


def reply_of(*chunks: dict[str, Any], price: Price | None = None) -> Reply:
    builder = ReplyBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.build(asked_model="m", endpoint="wandb", price=price, messages=[])


def delta(finish: str | None = None, **piece: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": piece, "finish_reason": finish}]}


def test_a_split_character_is_joined_and_half_a_character_is_replaced() -> None:
    assert reply_of(delta(content="a\ud83d"), delta(content="\ude00b")).text == "a\U0001f600b"
    assert reply_of(delta(content="a\ud83d"), delta(reasoning="c"), delta(content="b\ude00")).text == "a\ufffdb\ufffd"
    last = reply_of(delta(reasoning="c\ud83d"), delta(content="a\ud83d"))
    assert (last.text, last.reasoning) == ("a\ufffd", "c\ufffd")


def test_a_model_that_repeats_itself_is_read_in_linear_time() -> None:
    """A last piece may be the whole reply once more. With quadratic time this test would take minutes."""
    line = "I will think about it once more. " * 30
    assert reply_of(*[delta(content=line)] * 20_000).text == line * 20_000


def test_end_tags_that_are_repeated_do_not_take_the_length_of_the_text_each() -> None:
    """A wrong template repeats them to the limit. If all text were read for each, this test would take minutes."""
    line = "I will think about it once more. " * 3000
    reply = reply_of(*[delta(content=line)] * 50, *[delta(content="<|im_end|>")] * 1000)
    assert reply.text == (line * 50).rstrip()


@pytest.mark.parametrize("name", [{}, {"name": "f"}])
def test_the_arguments_of_a_tool_call_are_read_in_linear_time(name: dict[str, str]) -> None:
    """Some services repeat the name with each piece. With quadratic time this test would take minutes."""
    begin, *rest = '{"rows": [', *['{"a": "' + "word " * 600, '"}', ", "] * 6_000, "0]}"
    pieces = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": begin}}]
    pieces += [{"index": 0, "function": {**name, "arguments": piece}} for piece in rest]
    (call,) = reply_of(*(delta(tool_calls=[piece]) for piece in pieces)).tool_calls
    assert call.arguments == begin + "".join(rest)


def test_reasoning_in_lists_of_parts_is_put_together_in_linear_time() -> None:
    """Nor does it change what was received. With quadratic time this test would take minutes."""
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "word "}] * 40} for _ in range(50_000)]
    blocks: list[Any] = []
    for part in parts:
        add_block(blocks, part)
    assert [len(block["thinking"]) for block in (*blocks, parts[0])] == [2_000_000, 40]


@pytest.mark.parametrize("written", [TWO, "{'city': 'Oslo', 'city': 'Bonn',}", json.dumps(TWO), f"```json\n{TWO}\n```"])
def test_arguments_have_all_values_under_a_key_in_any_form(written: str) -> None:
    """The tool is not called with one of them."""
    piece = {"index": 0, "id": "c", "function": {"name": "f", "arguments": written}}
    (call,) = reply_of(delta(tool_calls=[piece])).tool_calls
    assert call.arguments == TWO


def test_arguments_with_escapes_that_are_cut_are_whole_at_their_end_only() -> None:
    """Each call is in single characters, with the name in each piece."""
    calls = [r'{"a": "}\\\"{", "b": {"c": "\\\\"}}', '{"a": {}}', '{"a": "{"}']
    pieces = [{"index": 0, "function": {"name": "f", "arguments": one}} for one in "".join(calls)]
    assert [one.arguments for one in reply_of(*(delta(tool_calls=[one]) for one in pieces)).tool_calls] == calls


def test_text_and_reasoning_are_kept_apart() -> None:
    reply = reply_of(
        delta(reasoning="think "),
        delta(reasoning_content="more"),
        delta(content="a"),
        delta("stop", content="b"),
    )
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("ab", "think more", "stop")


def test_usage_in_a_last_chunk_without_choices_and_its_cost() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}}
    reply = reply_of(delta(content="a"), {"choices": [], "usage": usage}, price=Price(1.0, 10.0, 0.5))
    assert reply.usage is not None
    assert reply.usage.total_tokens == 1100
    assert reply.cost == pytest.approx((600 * 1.0 + 400 * 0.5 + 100 * 10.0) / 1e6)


def test_usage_at_the_end_of_a_stream_of_the_responses_api() -> None:
    counted = {"input_tokens": 11, "output_tokens": 7}
    reply = reply_of(
        {"type": "response.created", "response": {"id": "r", "usage": None}},
        {"type": "response.completed", "response": {"id": "r", "usage": counted}},
    )
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (11, 7)


def test_an_unknown_price_or_usage_is_not_zero() -> None:
    assert reply_of(delta(content="a"), price=Price(1.0, 1.0, None)).cost is None
    assert reply_of({"usage": {"prompt_tokens": 1, "completion_tokens": 1}}).cost is None


def test_the_answering_model_and_the_requested_model_are_kept_apart() -> None:
    reply = reply_of({"model": "base", **delta(content="a")})
    assert (reply.asked_model, reply.model) == ("m", "base")


def test_tool_calls_are_joined_from_their_pieces() -> None:
    reply = reply_of(
        delta(tool_calls=[{"index": 0, "id": "1", "function": {"name": "f", "arguments": '{"a"'}}]),
        delta(tool_calls=[{"index": 1, "id": "2", "function": {"name": "g", "arguments": "{}"}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]),
    )
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("1", "f", '{"a": 1}'),
        ("2", "g", "{}"),
    ]


def test_a_completion_in_one_piece_is_read() -> None:
    reply = reply_of({"choices": [{"message": {"content": None, "reasoning": "r"}, "finish_reason": "length"}]})
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("", "r", "length")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "reasoning",
                    "tool_calls",
                    "function",
                    "usage",
                    "index",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.sampled_from(["choices", "usage", "model"]), json_values), max_size=4))
def test_any_chunks_give_a_reply(chunks: list[dict[str, Any]]) -> None:
    assert isinstance(reply_of(*chunks).text, str)


def test_every_public_attribute_is_documented() -> None:
    heads = re.findall(r"^([a-z_, ]+) : ", inspect.getdoc(Reply) or "", re.MULTILINE)
    public = {one.name for one in fields(Reply) if not one.name.startswith("_")}
    assert {name for head in heads for name in head.split(", ")} == public
    assert "earlier_messages" in public
    assert "on_screen" not in dir(reply_of(delta(content="a")))


def test_the_package_lists_its_public_names() -> None:
    assert set(dir(wandb_inference_magic)) == {*wandb_inference_magic.__all__, "__version__"}


MARKS = (
    *("</s>", "<｜end▁of▁sentence｜>", "<|end_of_text|>", "<|eom_id|>", "<|EOT|>", "<eos>", "<|call|>"),
    *("<|END_OF_TURN_TOKEN|>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>", "<|return|>"),
)


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_is_no_text_at_the_end_only(mark: str) -> None:
    for text, shown in (
        (f"Paris{mark}", "Paris"),
        (f"Paris {mark}\n{mark}", "Paris"),
        (f"{mark} ends it.", f"{mark} ends it."),
        (f"So {mark}\n\nends it", f"So {mark}\n\nends it"),
        (f"It is `{mark}`", f"It is `{mark}`"),
    ):
        for pieces in ([text], text, text.partition(mark)):
            builder = ReplyBuilder()
            for piece in pieces:
                builder.add({"choices": [{"delta": {"content": piece}}]})
            assert builder.text == shown, pieces


def test_an_empty_block_after_text_is_no_text() -> None:
    text = "Four.\n<think></think>\nIt is."
    for pieces in ([text], text):
        reply = reply_of(*(delta(content=piece) for piece in pieces))
        assert (reply.text, reply.reasoning) == ("Four.\nIt is.", "")


@pytest.mark.parametrize("text", ["So.</think> is a tag.", "`a\n</think>` is a tag.", "So.\n</think> \nFour."])
def test_a_closing_tag_counts_or_not_however_it_is_cut(text: str) -> None:
    whole, cut = reply_of(delta(content=text)), reply_of(*(delta(content=one) for one in text))
    assert (whole.text, whole.reasoning) == (cut.text, cut.reasoning)


@pytest.mark.parametrize("end", ["", " ", "\n", " \n "])
def test_a_closing_tag_at_the_end_of_a_reply_ends_the_reasoning(end: str) -> None:
    for pieces in ([f"So.\n</think>{end}"], f"So.\n</think>{end}", ["So.\n", "</think>", end]):
        reply = reply_of(*(delta(content=piece) for piece in pieces), delta("stop"))
        assert (reply.text, reply.reasoning) == ("", "So.")


@pytest.mark.parametrize(
    ("text", "shown", "reasoning"),
    [
        ("analysisUser greets.assistantfinalHello!", "Hello!", "User greets."),
        ("analysisUser greets.", "analysisUser greets.", ""),
        ("analysis of it: assistantfinal", "analysis of it: assistantfinal", ""),
        ("Say assistantfinal.", "Say assistantfinal.", ""),
        ("analysis", "analysis", ""),
        ("an", "an", ""),
    ],
)
def test_the_words_of_gpt_oss_are_tags_only_together(text: str, shown: str, reasoning: str) -> None:
    for pieces in ([text], text, [text[:1], text[1:]]):
        reply = reply_of(*(delta(content=piece) for piece in pieces), delta("stop"))
        assert (reply.text, reply.reasoning) == (shown, reasoning), pieces


def test_the_repr_shows_the_text() -> None:
    assert repr(reply_of(delta(content="x" * 100))).startswith("<Reply 'xxx")


@pytest.mark.parametrize("calls", [[], [{"type": "custom", "custom": None}], [{"id": "a", "function": None}]])
def test_a_call_of_a_tool_that_cannot_be_read_is_reported(calls: list[Any]) -> None:
    builder = ReplyBuilder()
    builder.add({"choices": [{"delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]})
    assert any("call of a tool, but it has none in a form that can be read" in one for one in builder.reports)
    builder.add({"choices": [{"delta": {"tool_calls": [{"id": "b", "function": {"name": "f", "arguments": "{}"}}]}}]})
    assert builder.reports == ()


def test_the_name_of_a_model_is_one_plain_line() -> None:
    """A terminal shows the repr of a Reply as it is."""
    name = "m\x1b]52;c;cm0gLXJm\x07\x1b[2J\n\u202ex"
    assert "from m x, " in repr(reply_of({"model": name, **delta("stop", content="a")}))


def test_a_part_of_an_unknown_form_is_quoted_without_a_piece_of_a_key_and_its_cut_is_marked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    for before in range(40, 200, 8):
        card = {"type": "card", "note": "x" * before, "sent": key, "more": "y" * 200}
        (notice,) = reply_of(delta(content=[card])).notices
        assert "012" not in notice, notice
        assert notice.endswith("…")
