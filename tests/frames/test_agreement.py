"""Whether an answer and a known value mean the same."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, computed_field

from wandb_inference_magic.frames.agreement import means_same
from wandb_inference_magic.frames.kinds import BOOLEAN, Kind

BOOL = Kind(BOOLEAN)


class Mood(Enum):
    GOOD = "good"


class Place(BaseModel):
    city: str
    size: float | None = None


class Town(Place):
    @computed_field
    def label(self) -> str:
        return self.city.upper()


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (True, 1, BOOL),
        (False, 0.0, BOOL),
        (True, np.int64(1), BOOL),
        (True, "yes", BOOL),
        (False, " No.", BOOL),
        (True, "TRUE", BOOL),
        (True, "Yes.", None),
        (False, "n", None),
        (False, "0", BOOL),
        (True, np.True_, None),
        (date(2026, 1, 2), np.datetime64("2026-01-02", "ns"), None),
        (["2026-01-02"], np.array(["2026-01-02"], "M8[ns]"), None),
        ("True", True, None),
        (1, True, None),
        (3, 3.0, None),
        (0.1, Decimal("0.1"), None),
        (Decimal("2.50"), 2.5, None),
        (2.5, "2.50", None),
        ("2.50.", 2.5, None),
        (10**400, 10**400, None),
        ("Good.", "good", None),
        ('"Good."', "good", None),
        ("**Good**.", "good", None),
        ("\u201egood\u201c", "good", None),
        ("`2.50`", 2.5, None),
        ('"yes"', True, BOOL),
        ("Zoe\u0308", "zo\u00eb", None),
        (Mood.GOOD, "Good", None),
        (date(2024, 1, 5), "2024-01-05", None),
        (date(2024, 1, 5), pd.Timestamp("2024-01-05"), None),
        (datetime(2024, 1, 5, 10, tzinfo=timezone.utc), "2024-01-05T12:00:00+02:00", None),
        (datetime(2024, 1, 5, 10), pd.Timestamp("2024-01-05 10:00", tz="UTC"), None),
        (date(2024, 1, 5), pd.Timestamp("2024-01-05", tz="Europe/Oslo"), None),
        ("2024-01-05", pd.Timestamp("2024-01-05", tz="America/Lima"), None),
        (time(10, 30), "10:30", None),
        (timedelta(days=1), pd.Timedelta(days=1), None),
        (["a", 1], ["A", 1.0], None),
        (["a", "b"], '["a", "b"]', None),
        (["a", "it's"], """['a', "it's"]""", None),
        (["a", 1.5, None, True], "('a', 1.5, None, True)", None),
        ({"a": [1, {"b\\": -2e-7}]}, str({"a": [1, {"b\\": -2e-7}]}), None),
        (["a, b", "it's"], str(np.array(["a, b", "it's"])), None),
        (["a", None, 1], str(np.array(["a", None, 1], dtype=object)), None),
        ([1.5, 2, 1e-7], str(np.array([1.5, 2, 1e-7])), None),
        ([[number] * 2 for number in range(60)], str(np.arange(60).repeat(2).reshape(60, 2)), None),
        (["a", "b (c)"], "[np.str_('a'), 'b (c)']", None),
        ({"t": ["a", "b"], "n": [1]}, str({"t": np.array(["a", "b"]), "n": [np.int64(1)]}), None),
        ({"t": ["a", "b"]}, "{'t': array(['a', 'b'], dtype=object)}", None),
        (["b", "a"], "{'a', 'b'}", None),
        ({"b", "a"}, "{'a', 'b'}", None),
        (("a", 1), np.array(["a", "1"]), None),
        ({"b", "a"}, ["a", "b"], None),
        ({"b", "a"}, '["a", "b"]', None),
        ({"city": "Oslo", "size": None}, {"city": "oslo"}, None),
        (Place(city="Oslo"), '{"city": "Oslo"}', None),
        (Place(city="Oslo", size=2), {"city": "Oslo", "size": Decimal("2.0")}, None),
        (Town(city="Oslo"), {"city": "Oslo"}, None),
        ([Town(city="Oslo")], [{"city": "Oslo", "size": None}], None),
        ([True, False], [1, "no"], Kind("list", item=BOOL)),
        (None, float("nan"), None),
        ([None], [pd.NA], None),
        (True, "1.0", BOOL),
        (False, "off", BOOL),
        ("1", "1.0", None),
        ("-20.00", "-20", None),
        ("1,000", 1000, None),
        ("1,234,567.5", 1234567.5, None),
        ("1,000", "1000", None),
        ("**1,234,567.00**.", "1234567", None),
        ("non\u2011fiction", "Non-fiction", None),
        ("10\u202fkm", "10 km", None),
        ("don\u2019t", "don't", None),
        ("18\u201324", "18-24", None),
        ("18\u201224", "18-24", None),
        ("\u20135", -5, None),
        ("1\u202f000\u202f000", 1_000_000, None),
        ("1\u00a0000.5", 1000.5, None),
        ("1\u2009000", "1000", None),
        ("***good***", "good", None),
        ("```sql\nSELECT 1\n```", "SELECT 1", None),
        ("~~~\nx = 1\n\ny = 2\n~~~", "x = 1\n\ny = 2", None),
        ("a\nb", "a\r\nb", None),
        ("say \u201chi\u201d", 'say "hi"', None),
        ("it\u2018s", "it's", None),
        ("\u2018Paris\u2019", "Paris", None),
        ("\u201aParis\u2018", "Paris", None),
        ("\u203aParis\u2039.", "Paris", None),
        ("\u300c\u306f\u3044\u300d", "\u306f\u3044\u3002", None),
        ("\u0939\u093e\u0901\u0964", "\u0939\u093e\u0901", None),
        # Characters that are not seen, of another width, of Turkish, and marks and digits of other scripts.
        ("\u200f\u0645\u062b\u0628\u062a\u06d4\u200e", "\u0645\u062b\u0628\u062a", None),
        ("\u200bgood\ufeff", "\u2068good\u2069", None),
        ("\u2764\ufe0f", "\u2764", None),
        ("\uff21", "a", None),
        ("10 \u33a1", "10 m\u00b2", None),
        ("Python\u2122", "PythonTM", None),
        ("\uff08\uff15\uff09", "(5)", None),
        ("\uff76\uff9e", "\u30ac", None),
        ("POZ\u0130T\u0130F", "Pozitif", None),
        ("KIRMIZI", "k\u0131rm\u0131z\u0131", None),
        ("\u300a\u597d\u300b", "\u597d\u3002", None),
        ("\u3010\u597d\u3011", "\u597d", None),
        ("\u0967\u0968\u0969", "123", None),
        ("\uff11\uff12\uff13", 123, None),
        ("\u0663\u066c\u0664\u0665\u0666", 3456, None),
        ("\u06f1\u06f2\u066b\u06f5", 12.5, None),
        ("\uff0d\uff11\uff0c\uff12\uff13\uff14\uff0e\uff15", -1234.5, None),
        ("\u200f42", 42, None),
        ("1.234,5", 1234.5, None),
        ("1\u202f234,5", 1234.5, None),
        (
            "\u0662\u0660\u0662\u0664-\u0660\u0661-\u0660\u0665T\u0661\u0660:\u0660\u0660",
            datetime(2024, 1, 5, 10),
            None,
        ),
        ("inf", float("inf"), None),
        ("-Infinity", float("-inf"), None),
        ("\u22125", -5, None),
        ("\u22125.50", -5.5, None),
        ("\u20115", "-5", None),
        ("\u22121,000.5", -1000.5, None),
        (0.1 + 0.2, 0.3, None),
        (333 * 0.1, "33.3", None),
        (3.3 * 3, Decimal("9.9"), None),
        (0.1 * 30, 3, None),
        (0.12345678901234568, "0.12345678901234568", None),
        (0.1, float(np.float32(0.1)), None),
        (date(2024, 1, 1), np.datetime64("2024-01-01", "ns"), None),
        (Decimal("0.3"), float(np.float32(0.3)), None),
    ],
)
def test_values_that_mean_the_same(one: Any, other: Any, kind: Kind | None) -> None:
    assert means_same(one, other, kind)
    assert means_same(other, one, kind)


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (True, 0, BOOL),
        (True, 2, BOOL),
        (True, "maybe", BOOL),
        ("yes", 1, None),
        (1, 2, None),
        ("1.10", "1.1", None),
        ("1,5", 15, None),
        ("1,5", "15", None),
        ("1,0000", "10000", None),
        (["ab"], "['a' 'b']", None),
        (["ab"], "['a''b']", None),
        (["a"], "[" + "array(" * 10_000 + "'a'" + " " * 20_000 + "]", None),
        (["a", "b"], "{'a': 'b'}", None),
        (["a", "b"], "{'a'}", None),
        (["a"], "('a')", None),
        ([2], "[1+1]", None),
        ([1], "[" * 5000 + "1" + "]" * 5000, None),
        ([1], "[" + "-" * 50_000 + "1]", None),
        (["\\d"], "['\\d']", None),
        ([1], "[1or 2]", None),
        ("2024", datetime(1970, 1, 1, 0, 33, 44, tzinfo=timezone.utc), None),
        ("20240105", date(2024, 1, 5), None),
        ("v1.0", "v1", None),
        ("1 000", 1000, None),
        ("1\u202f000,000", 1_000_000, None),
        ("```\na\n```\nb\n```\nc\n```", "a\n```\nb\n```\nc", None),
        (date(2024, 1, 5), pd.Timestamp("2024-01-05 01:00", tz="Europe/Oslo"), None),
        (0.1, 0.10000001, None),
        (0.1, 0.10000000000001, None),
        (1234567890123456.0, 1234567890123457.0, None),
        (Decimal("0.30000000000000004"), Decimal("0.3"), None),
        ("5\u2212", -5, None),
        ("1e9999999", 0.5, None),
        ("1e-9999999", 0.5, None),
        (16777216.0, 16777217.0, None),
        (2**53, 2**53 + 1, None),
        (1, "one", None),
        (1, "sNaN", None),
        (0, None, None),
        ("", None, None),
        ("None", None, None),
        ("C*", "C", None),
        ("__init__", "init", None),
        ("_x_", "x", None),
        ("*.py*", ".py", None),
        ('"a" or "b"', 'a" or "b', None),
        ("'tis", "tis", None),
        ('""', None, None),
        ("e\u0301", "e", None),
        ("x\u00b2", "x2", None),
        ("\u33a1", "m2", None),
        ("CO\u2082", "CO2", None),
        ("\u00bd", "1/2", None),
        ("1,5", 1.5, None),
        ("1.234,5", 12345, None),
        (date(2024, 1, 5), "2024-01-06", None),
        (date(2024, 1, 5), datetime(2024, 1, 5, 1), None),
        (date(2024, 1, 5), "soon", None),
        (time(10), timedelta(hours=10), None),
        (["a", "b"], ["b", "a"], None),
        (["a"], ["a", "a"], None),
        (["a"], "a", None),
        ({"a"}, "a", None),
        ({"a": 1}, {"a": 1, "b": 2}, None),
        ({"a": 1}, [1], None),
    ],
)
def test_values_that_mean_something_else(one: Any, other: Any, kind: Kind | None) -> None:
    assert not means_same(one, other, kind)
    assert not means_same(other, one, kind)


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.dates(), st.decimals()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@given(one=anything, other=anything, kind=st.sampled_from([None, BOOL]))
def test_any_two_values_can_be_compared(one: Any, other: Any, kind: Kind | None) -> None:
    assert means_same(one, other, kind) == means_same(other, one, kind)
    assert means_same(one, one, kind)
