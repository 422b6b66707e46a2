"""Counts, durations and costs read the same everywhere; lines of messages break at words."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kernels import plain

from wandb_inference_magic.catalog import describe_cost
from wandb_inference_magic.errors import InferenceError, Interrupted, quoted, shortened
from wandb_inference_magic.text import counted, duration, grapheme_start, python_values, wrapped


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (3.21, "3.2 s"),
        (3, "3 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (125.0, "2 min 5 s"),
        (3600, "1 h"),
        (3_720_000, "1,033 h 20 min"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_counts_and_costs() -> None:
    assert [counted(number, "row") for number in (0, 1, 1234)] == ["0 rows", "1 row", "1,234 rows"]
    assert [describe_cost(cost) for cost in (None, 0.0, 0.00012)] == ["cost unknown", "free", "$0.00012"]


NEW_YEAR = np.datetime64("2024-01-01", "ns")
_FIELDS = [("q", object), ("t", "M8[ns]"), ("f", "f4", 2)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NEW_YEAR, datetime(2024, 1, 1)),
        (np.array(NEW_YEAR), datetime(2024, 1, 1)),
        (np.array([[NEW_YEAR, "NaT"]], "M8[ns]"), [[datetime(2024, 1, 1), None]]),
        (np.ma.array([NEW_YEAR, NEW_YEAR], mask=[0, 1]), [datetime(2024, 1, 1), None]),
        (pd.DatetimeIndex([NEW_YEAR]), [pd.Timestamp("2024-01-01")]),
        (np.array(["2024"], "M8[Y]"), [date(2024, 1, 1)]),
        (np.array(["-0500-01-01"], "M8[s]"), ["-500-01-01T00:00:00"]),
        (np.array([3600 * 10**9, 5], "m8[ns]"), [timedelta(hours=1), "5 nanoseconds"]),
        (np.array([3], "m8[M]"), ["3 months"]),
        (np.array([("a", NEW_YEAR, (0.1, 2))], _FIELDS), [{"q": "a", "t": datetime(2024, 1, 1), "f": [0.1, 2.0]}]),
        (np.array([0.1], "f4"), [0.1]),
        (np.longdouble(1.5), 1.5),
        (np.array([1 + 2j], "G"), [1 + 2j]),
    ],
)
def test_values_of_numpy_become_those_of_python(value: Any, expected: Any) -> None:
    found = python_values(value)
    assert found == expected
    assert type(found) is type(expected)


class Quantities(np.ndarray[Any, Any]):
    """Numbers with a unit, as Astropy has them: they are no list of numbers."""

    def tolist(self) -> Any:
        raise NotImplementedError


def test_what_numpy_does_not_convert_stays_as_it_is() -> None:
    kind = np.dtype("f8")  # its shape is () too
    assert python_values(kind) is kind
    assert [*map(type, python_values(np.array([[1], [2]]).view(Quantities)))] == [Quantities, Quantities]


def test_lines_of_messages_break_at_words() -> None:
    """JupyterLab and terminals break a longer line wherever it reaches the edge."""
    address = "https://example.org/" + "a" * 90
    words = " ".join(["antidisestablishmentarianism"] * 9)
    error = InferenceError(f"It failed: {words}.", why=f"See {address} for it.", remedy=words, cause="request")
    lines = plain("\n".join(error._render_traceback_())).splitlines()
    assert all(len(line) <= 80 or address in line for line in lines)
    assert len(lines) > 8
    assert " ".join(" ".join(lines).split()) == f"It failed: {words}. See {address} for it. What to do: {words}"
    assert "\n" not in str(error)
    assert len(Interrupted(words)._render_traceback_()[0].splitlines()) > 1
    assert wrapped("short\n\nlines") == "short\n\nlines"


FAMILY, SCOTLAND = (
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
)


@pytest.mark.parametrize(
    "one",
    [
        "e\u0301\u0323", FAMILY, SCOTLAND, "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "\u2764\ufe0f",
        "\u0915\u094d\u0937\u0947", "\u0e01\u0e33", "\u1100\u1161\u11a8", "\uff76\uff9e", "1\ufe0f\u20e3",
        "\u0646\u0650\u200c",
    ],
)  # fmt: skip
def test_a_cut_takes_no_character_apart_that_a_reader_sees(one: str) -> None:
    text = one * 300
    for place in range(1, 3 * len(one)):
        assert grapheme_start(text, place) == place // len(one) * len(one)
    assert quoted(text).removesuffix("\u2026") == one * (199 // len(one))
    assert shortened(text).removesuffix("...") == one * (37 // len(one))


def test_ordinary_text_is_cut_where_it_is_asked() -> None:
    for text in (
        "It is\r\nso.",
        "\u65e5\u672c\u8a9e\u3067\u3059\u3002",
        "\U0001f600\U0001f601",
        "\u0645\u0631\u062d\u0628\u0627",
        "a" + "\u0301" * 99,
    ):
        assert [grapheme_start(text, place) for place in (0, len(text))] == [0, len(text)]
        if "\u0301" not in text:
            assert [grapheme_start(text, place) for place in range(len(text))] == [*range(len(text))]
    # What has no end is cut anywhere.
    assert grapheme_start("a" + "\u0301" * 999, 800) == 800
