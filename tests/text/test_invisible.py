"""Characters that are not seen, and where they count."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from wandb_inference_magic.text.invisible import INVISIBLE, bare, is_blank, visible_only, without_invisible

pytestmark = pytest.mark.short


@pytest.mark.parametrize("one", INVISIBLE)
def test_what_is_not_seen_counts_within_a_word_and_not_at_its_edges(one: str) -> None:
    assert one.isprintable() is False
    assert bare(f"{one}a{one}b{one}{one}") == f"a{one}b"
    assert bare(f" {one} a {one}") == "  a "
    assert visible_only(f"{one}a{one}b") == "ab"
    assert bare(one) == ""


@pytest.mark.parametrize(
    "word", ["می\u200cخواهم", "क\u094d\u200dष", "👨\u200d👩\u200d👧", "❤\ufe0f", "1\ufe0f\u20e3", "a b", " "]
)
def test_what_belongs_to_a_word_is_a_part_of_it(word: str) -> None:
    assert bare(word) == bare(f"\u200b{word}\u200f") == word


def test_parts_between_marks_have_edges_too() -> None:
    assert bare("\u200ba|b\u200b ,\u2060c\u00add", ",|") == "a|b ,c\u00add"
    assert bare("a \u200bb") == "a \u200bb"


def test_in_answers_only_joiners_count() -> None:
    assert without_invisible("\u200bنمی\u200cدانم\u200f ❤\ufe0f") == "نمی\u200cدانم ❤"


@given(st.text())
def test_no_character_that_is_seen_is_lost(text: str) -> None:
    assert visible_only(bare(text)) == visible_only(bare(text, ",|")) == visible_only(text)


@given(st.text())
def test_a_text_of_blanks_and_of_what_is_not_seen_is_blank(text: str) -> None:
    assert is_blank(text) == all(one.isspace() or one in INVISIBLE for one in text)
