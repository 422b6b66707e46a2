"""The catalog of models."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from wandb_inference_magic.catalog.feeds import read_listing, read_modelsdev, snapshot
from wandb_inference_magic.catalog.ids import check_model_id, is_lora
from wandb_inference_magic.catalog.models import (
    REASONING_LABELS,
    ROW_TYPES,
    Model,
    Price,
    describe_reasoning,
    format_context,
    format_price,
    join,
    rows,
    usd,
    usd_apart,
)
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages import data_frame

FEED = {
    "wandb": {
        "models": {
            "a/one": {
                "id": "a/one",
                "name": "One",
                "reasoning": True,
                "reasoning_options": [{"type": "toggle"}, {"type": "effort", "values": ["low", "high"]}],
                "tool_call": True,
                "release_date": "2026-09-01",
                "cost": {"input": 1.5, "output": 3, "cache_read": 0.5},
                "limit": {"context": 131072, "output": 4096},
                "modalities": {"input": ["text", "image"], "output": ["text"]},
            },
            "a/odd": {"cost": {"input": "free"}, "limit": None, "modalities": []},
            "a/broken": "nothing",
        }
    }
}


def test_the_snapshot_is_complete() -> None:
    known = snapshot()
    ids = {model.id for model in known.models}
    assert known.as_of == "snapshot of 2026-10-07"
    assert len(known.models) == 20
    assert {model.reasoning for model in known.models} <= set(REASONING_LABELS)
    assert all(model.price and model.context and model.input for model in known.models)
    assert all(replacement in ids for replacement in known.replacements.values())
    assert not set(known.replacements) & ids


def test_the_feed_is_read_and_malformed_entries_do_no_harm() -> None:
    models = read_modelsdev(FEED)
    assert models["a/one"] == Model(
        id="a/one",
        name="One",
        context=131072,
        max_output=4096,
        input=("text", "image"),
        price=Price(1.5, 3.0, 0.5),
        reasoning="toggle-on",
        reasoning_efforts=("low", "high"),
        tools=True,
        released="2026-09-01",
    )
    assert models["a/odd"] == Model(id="a/odd")
    assert "a/broken" not in models


def test_the_listing_tolerates_missing_fields() -> None:
    document = {"data": [{"id": "b"}, {"id": "a", "created": 0}, {"created": 1}, "odd", {"id": "b"}]}
    assert read_listing(document) == ["b", "a", "odd"]


@pytest.mark.parametrize(
    "document",
    [
        [{"id": "a"}, {"id": "b"}],
        ["a", "b", "a"],
        {"data": ["a", None, "b"]},
        {"models": [{"id": "a"}, {"id": "b"}]},
        {"models": [{"name": "a"}, {"model": "b", "name": "The model b"}]},
        {"data": [{"id": "a", "name": "b"}, {"id": "b"}, {"id": "a"}]},
        {"data": [{"id": 1, "name": "a"}, {"id": None, "model": "b"}, {"id": 2}, None, 3, []]},
        {"object": "list", "data": [{"id": "a"}, {"id": "b"}], "models": [{"name": "a"}, {"name": "b"}]},
        {"data": None, "models": ["a", "b"]},
        {"model_names": ["a", "b"], "lora_names": []},
        {"data": {"data": [{"id": "a"}, {"id": "b"}]}},
        {"data": {"models": ["a", "b"]}},
        {"data": {"a": {"id": "a"}, "b": {"created": 0}}},
        {"models": {"one": {"id": "a"}, "b": {}}},
        {"items": [{"modelId": "a"}, {"model_id": "b"}]},
        {"success": True, "result": [{"id": "a"}, {"id": "b"}]},
    ],
)
def test_every_known_form_of_a_list_is_read(document: Any) -> None:
    assert read_listing(document) == ["a", "b"]


@pytest.mark.parametrize("document", [[], {"data": None}, {"data": []}, {"models": {}}, {"data": None, "models": None}])
def test_a_list_may_be_empty(document: Any) -> None:
    assert read_listing(document) == []


def test_a_single_model_is_a_list_of_one() -> None:
    assert read_listing({"data": {"id": "a", "object": "model"}}) == ["a"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"error": "x"}, 'It sent: {"error": "x"}'),
        ({"error": {"message": "x"}}, 'It sent: {"error": {"message": "x"}}'),
        ({"data": 5}, 'It sent: {"data": 5}'),
        ({"data": {"message": "no"}}, 'It sent: {"data": {"message": "no"}}'),
        ({}, "It sent: {}"),
        (None, "It sent: null"),
        ("a", 'It sent: "a"'),
        ({"data": [{"id": 5}, {"id": None}]}, """No model's id is in [{"id": 5}, {"id": null}]"""),
        ([None], "No model's id is in [null]"),
        ({"data": ["a\tb"]}, "No model's id is in"),
    ],
)
def test_another_document_is_refused_and_quoted(document: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        read_listing(document)


def test_a_file_name_with_spaces_is_an_id() -> None:
    name = "/models/My Model Q4.gguf"
    assert read_listing({"data": [{"id": name}]}) == [name]
    assert check_model_id(name) == name


def test_entries_with_an_invalid_id_are_skipped() -> None:
    bad = ["", "a\nb", " a", "\x1b[31mred", "x" * 501, "a\u202eb", "\ud800", 5, None, ["a"]]
    assert read_listing({"data": [{"id": one} for one in bad] + [{"id": "a/b"}]}) == ["a/b"]
    assert list(read_modelsdev({"p": {"models": {str(one): {"id": one} for one in bad[1:7]} | {"a/b": {}}}})) == ["a/b"]


def test_the_listing_gives_the_models_and_feed_and_snapshot_give_the_facts() -> None:
    catalog = join(["new/unheard-of", "openai/gpt-oss-20b", "a/one"], read_modelsdev(FEED), snapshot())
    assert [model.id for model in catalog.models] == ["a/one", "new/unheard-of", "openai/gpt-oss-20b"]
    assert catalog.live
    assert all(model.available for model in catalog.models)
    assert catalog.find("openai/gpt-oss-20b").price == Price(0.03, 0.13, 0.03)  # type: ignore[union-attr]
    assert catalog.find("new/unheard-of").price is None  # type: ignore[union-attr]


@pytest.mark.parametrize("listing", [None, []])
def test_without_a_listing_the_snapshot_is_used_and_the_note_says_so(listing: list[str] | None) -> None:
    catalog = join(listing, None, snapshot(), notes=["The list failed."])
    assert len(catalog.models) == 20
    assert not catalog.live
    assert "The list failed." in catalog.note
    assert "known without it" in catalog.note
    assert catalog.as_of == "snapshot of 2026-10-07"


def test_models_are_filtered_by_text() -> None:
    catalog = join(None, None, snapshot())
    assert {model.id for model in catalog.matching("QWEN image")} == {
        "Qwen/Qwen3.8-27B",
        "Qwen/Qwen3.6-35B-A3B",
    }
    assert catalog.matching("no such") == []
    assert catalog.matching("", min_context=128e3) == catalog.matching("", min_context=np.int64(128_000))
    for wrong in ({"text": None}, {"text": "", "sort": "cheap"}, {"text": "", "min_context": "128k"}):
        with pytest.raises(InferenceError, match="Give "):
            catalog.matching(**wrong)
    assert len(catalog.matching("")) == 20


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", "Its replacement is meta-llama/Llama-3.3-70B-Instruct."),
        ("openai/gpt-oss-20", "Did you mean openai/gpt-oss-20b"),
        ("OPENAI/GPT-OSS-20B", "Did you mean openai/gpt-oss-20b"),
        ("gpt-oss-20b", "Did you mean openai/gpt-oss-20b"),
        ("entirely-other", "%wbmodels"),
    ],
)
def test_an_unknown_id_is_explained(wrong: str, expected: str) -> None:
    error = join(None, None, snapshot()).describe_unknown(wrong)
    assert error.cause == "model"
    assert expected in str(error)


@pytest.mark.parametrize("id", ["a", "openai/gpt-oss-20b", "wandb-artifact:///t/p/n", "wandb-artifact:///t/p/n:v3"])
def test_a_valid_id_is_stripped_and_accepted(id: str) -> None:
    assert check_model_id(f" {id} ") == id


@pytest.mark.parametrize(
    "bad", ["", " ", "a\u2028b", "a\nb", "a\x00", "a\tb", "wandb-artifact://t/p/n", "wandb-artifact:///t/p"]
)
def test_an_invalid_id_is_refused(bad: str) -> None:
    with pytest.raises(InferenceError):
        check_model_id(bad)


def test_context_and_price_are_formatted_for_people() -> None:
    assert [format_context(n) for n in (None, 512, 131072, 1048576)] == ["unknown", "512", "131k", "1.0M"]
    assert format_price(None) == "unknown"
    assert format_price(Price(0.03, 0.13)) == "$0.03 / $0.13"
    assert [usd(n) for n in (0, 0.0000012, 0.000123, 0.0456, 1.5, 1234.5)] == [
        "free", "$0.0000012", "$0.00012", "$0.046", "$1.50", "$1,234.50",
    ]  # fmt: skip


def test_the_cost_counts_cached_tokens_at_their_price() -> None:
    assert Price(2.0, 4.0, 1.0).cost(1_000_000, 500_000, 250_000) == pytest.approx(1.5 + 0.25 + 2.0)
    assert Price(2.0, 4.0).cost(1_000_000, 0, 250_000) == pytest.approx(2.0)


def test_rows_contain_numbers_and_not_formatted_text() -> None:
    row = rows([snapshot().find("openai/gpt-oss-20b")])[0]
    assert (row["id"], row["context"], row["usd_in"]) == ("openai/gpt-oss-20b", 131072, 0.03)


def test_columns_of_numbers_and_facts_have_a_type_though_nothing_is_known() -> None:
    listed = [Model("a/unknown"), Model("a/known", context=2**53 + 1, price=Price(0.1, 0.2), tools=True)]
    frame = data_frame(rows(listed), types=ROW_TYPES)
    texts = {"id", "name", "input", "reasoning", "reasoning_efforts", "lifecycle", "released", "description"}
    assert set(frame) == texts | set(ROW_TYPES)
    assert frame.dtypes[[*ROW_TYPES]].astype(str).to_dict() == ROW_TYPES
    assert frame["context"].max() == 2**53 + 1
    assert list(frame[frame["tools"]]["id"]) == ["a/known"]
    assert frame["usd_cached"].isna().all()


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "id",
                    "models",
                    "cost",
                    "input",
                    "limit",
                    "context",
                    "modalities",
                    "reasoning_options",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(documents)
def test_any_document_is_read_or_refused(document: Any) -> None:
    for read in (read_listing, read_modelsdev):
        try:
            found = read(document)
        except ValueError:
            continue
        catalog = join(list(found), found if isinstance(found, dict) else None, snapshot())
        for model in catalog.models:
            expected = (format_context(model.context), format_price(model.price), describe_reasoning(model.reasoning))
            assert all(expected)
        assert len(rows(catalog.models)) == len(catalog.models)


malformed = (
    documents
    | st.integers(min_value=10**300)
    | st.sampled_from(["text", "toggle", [], [{"type": []}], {"type": "effort"}])
)
FIELDS = ("id", "name", "reasoning", "reasoning_options", "cost", "limit", "modalities", "status")


@given(st.fixed_dictionaries(dict.fromkeys(FIELDS, malformed)))
def test_a_malformed_entry_does_not_raise(entry: dict[str, Any]) -> None:
    models = read_modelsdev({"models": [entry], "p": {"models": {"a/b": entry}}})
    # Without a model, there is nothing to list: `%wbmodels` says so.
    if found := join(None, models, None).models:
        data_frame(rows(found), types=ROW_TYPES)


@pytest.mark.parametrize("text", ["NaN", "-1", "true", '"0.1"', "1e999", "null"])
def test_an_invalid_price_is_unknown_and_not_zero(text: str) -> None:
    entry = {"cost": {"input": json.loads(text), "output": 1}, "modalities": {"input": "text"}}
    model = read_modelsdev({"p": {"models": {"a/b": entry}}})["a/b"]
    assert model.price is None
    assert model.input == ()


@pytest.mark.parametrize(
    ("facts", "reasoning"),
    [
        ({}, "unknown"),
        ({"reasoning": False}, "none"),
        ({"reasoning": True}, "unknown"),
        ({"reasoning": True, "reasoning_options": [{"type": "effort", "values": ["low"]}]}, "always"),
        ({"reasoning": True, "reasoning_options": [{"type": "toggle"}]}, "toggle-on"),
    ],
)
def test_how_a_model_reasons_is_read_from_the_feed(facts: dict[str, Any], reasoning: str) -> None:
    assert read_modelsdev({"p": {"models": {"a/b": facts}}})["a/b"].reasoning == reasoning


@pytest.mark.parametrize(
    ("id", "feed_says", "reasoning"),
    [
        ("google/gemma-4-31B-it", "toggle-on", "toggle-off"),
        ("MiniMaxAI/MiniMax-M3", "unknown", "adaptive"),
        ("openai/gpt-oss-20b", "none", "none"),
        ("Qwen/Qwen3.8-27B", "toggle-on", "toggle-on"),
        ("meta-llama/Llama-3.1-8B-Instruct", "toggle-on", "toggle-on"),
    ],
)
def test_the_snapshot_supplies_what_the_feed_does_not_say(id: str, feed_says: str, reasoning: str) -> None:
    model = join([id], {id: Model(id, reasoning=feed_says)}, snapshot()).find(id)
    assert model is not None
    assert model.reasoning == reasoning


def test_each_kind_of_reasoning_in_the_snapshot_has_a_description() -> None:
    for kind in {model.reasoning for model in snapshot().models} - {"unknown"}:
        assert describe_reasoning(kind) != "unknown"
    assert describe_reasoning("new-word") == "unknown"


def test_the_sources_of_the_facts_are_named() -> None:
    feed = {"openai/gpt-oss-20b": Model("openai/gpt-oss-20b"), "a/gone": Model("a/gone", lifecycle="retired")}
    today = date.today().isoformat()
    both = join(["openai/gpt-oss-20b", "zai-org/GLM-5.2"], feed, snapshot())
    assert both.as_of == f"W&B's public feed, fetched {today} and snapshot of 2026-10-07"
    assert join(["openai/gpt-oss-20b"], feed, snapshot()).as_of.endswith(today)
    assert join(["new/x"], None, None).as_of == ""


def test_without_a_listing_the_feed_is_used_except_for_retired_models() -> None:
    feed = {"a/one": Model("a/one"), "a/gone": Model("a/gone", lifecycle="retired")}
    catalog = join(None, feed, snapshot())
    assert [(model.id, model.available) for model in catalog.models] == [("a/one", None)]
    assert catalog.note == "The service's own list is not known. These are the models known without it."
    assert join([], None, snapshot()).note.startswith("The service gave an empty list.")


def test_a_lora_is_recognized_by_its_id() -> None:
    lora = "wandb-artifact:///team/project/name:latest"
    assert is_lora(lora)
    assert not is_lora("openai/gpt-oss-20b")
    assert "base model" in join(None, None, snapshot()).describe_unknown(lora).why


def test_large_and_tiny_figures_are_formatted_for_people() -> None:
    assert (format_context(262144), format_context(1_500_000)) == ("262k", "1.5M")
    assert format_price(Price(0.1, 0.044)) == "$0.10 / $0.044"
    assert format_price(Price(12345.678, 0)) == "$12345.70 / $0.00"
    assert (usd(None), usd(0.0), usd(0.05), usd(1e-9)) == ("unknown", "free", "$0.050", "$0.0000000010")
    assert (usd(0.0996), usd(0.00996)) == ("$0.10", "$0.010")


def test_two_amounts_have_as_many_digits_as_they_differ_in() -> None:
    assert usd_apart(0.0000141, 0.0000138) == ("$0.00001410", "$0.00001380")
    assert usd_apart(1.0004, 1.0) == ("$1.00040", "$1.00000")
    assert usd_apart(0.02, 0.01) == ("$0.020", "$0.010")
    assert usd_apart(0.0, 0.0) == ("free", "free")


def test_more_cached_tokens_than_tokens_do_not_lower_the_cost_below_zero() -> None:
    assert Price(2.0, 4.0, 1.0).cost(100, 0, 1_000) == pytest.approx(100 * 1.0 / 1e6)


def test_a_catalog_is_its_models_and_its_text_lists_them() -> None:
    feed = read_modelsdev(FEED)
    catalog = join(["a/one", "b/\x1b[31mtwo"], feed, snapshot(), notes=["The feed is old."])
    assert [model.id for model in catalog] == ["a/one", "b/\x1b[31mtwo"]
    assert len(catalog) == 2
    assert "a/one" in catalog
    assert catalog.models[0] in catalog
    assert "One" not in catalog
    assert repr(catalog).split("\n") == [
        "2 models:",
        "a/one · 131k · $1.50/3.00",
        "b/two",
        "The feed is old.",
        f"Facts: {catalog.as_of}.",
    ]
    assert repr(join([], None, None)) == "0 models"
