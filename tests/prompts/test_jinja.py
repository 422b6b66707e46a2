"""Keys and missing values in templates."""

from __future__ import annotations

import builtins
from collections import UserDict, defaultdict
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from jinja2.defaults import DEFAULT_NAMESPACE
from prompt_values import text_and_peak_of

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.frames import read_rows
from wandb_inference_magic.messages import Reply
from wandb_inference_magic.prompts import Template, render

pytestmark = pytest.mark.short

ORDER = {"items": ["pen", "ink"], "values": 3, "get": "g", "copy": {"keys": "k", "pop": "p"}}
FRAME = pd.DataFrame({"items": ["pen", "ink"], "name": ["Ada", "Bob"], "count": [3, 4], "index": [7, 8]})


def rendered(text: str, **names: Any) -> Any:
    return render(text, names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% for one in labels %}{{ one }};{% endfor %}", "bad;good;mixed;"),
        ("{{ labels | join(', ') }} {{ labels | list | first }}", "bad, good, mixed bad"),
        ("{{ labels | tojson }} {{ {'l': labels} }}", '["bad", "good", "mixed"] {"l": ["bad", "good", "mixed"]}'),
        ("{{ 'good' in labels }} {{ 'none' in labels }}", "True False"),
        ("{{ tags | tojson }} {{ numbers | tojson }}", '["a", "b"] [1, 2]'),
        ("{% if tags %}yes{% endif %}{% if not numbers %}no{% endif %}{% if empty %}no{% endif %}", "yes"),
        ("{{ tags | default('none', true) }} {{ empty | default('none', true) }}", '["a", "b"] none'),
    ],
)
def test_sets_and_arrays_are_lists(text: str, expected: str) -> None:
    names = {"labels": {"good", "bad", "mixed"}, "tags": np.array(["a", "b"], dtype=object)}
    assert rendered(text, **names, numbers=np.array([1, 2]), empty=np.array([])) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' ~ labels }}",
        "{{ 'x%s' % labels }}",
        "x{{ labels | string }}",
        "{{ 'x{}'.format(labels) }}",
        "x{{ str(labels) }}",
        "x{{ list(labels) }}",
        "x{{ [labels] | join }}",
    ],
)
def test_a_set_has_one_order_in_a_text_too(text: str) -> None:
    """Python's own order differs in each process, so a map that continues would ask each row again."""
    assert rendered(text, labels={"good", "bad", "mixed"}) == 'x["bad", "good", "mixed"]'


def test_sets_in_a_set_and_missing_values_have_one_order_too() -> None:
    sets = {frozenset({"pear"}), frozenset({"fig", "apple"}), frozenset({"cherry"}), frozenset[str]()}
    assert rendered("{{ x }}", x=sets) == '[["apple", "fig"], ["cherry"], ["pear"], []]'
    assert rendered("{{ x }}", x={2.0, 3.0, float("nan"), 1.0}) == "[1.0, 2.0, 3.0, null]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ x }} {{ 'x' ~ x }} {{ x | upper }} {{ str(x) }}", "alpha xalpha ALPHA alpha"),
        ("{{ '%s' % x }} {{ '{} {!s}'.format(x, x) }} {{ kind | join }}", "alpha alpha alpha alpha"),
        ("{{ {x: [x]} }} {{ {x: x} | tojson }} {{ df }}", '{"alpha": ["alpha"]} {"alpha": "alpha"} alpha'),
        ("{{ n }} {{ 'x' ~ n }} {{ '%d' % n }} {{ {n: n} }}", '1 x1 1 {"1": 1}'),
        ("{{ own }} {{ 'x' ~ own }} {{ '%d' % own }} {{ {own: own} }}", 'one xone 1 {"one": 1}'),
    ],
)
def test_a_member_of_an_enumeration_of_texts_or_numbers_is_its_value(text: str, expected: str) -> None:
    """A schema made of it has the values as choices, not the names."""
    kind = Enum("Label", {"A": "alpha"}, type=str)
    member = next(iter(kind))
    counts = Enum("Count", {"ONE": 1}, type=int)
    own: Any = IntEnum("Own", {"ONE": 1})
    own.__str__ = lambda _: "one"
    frame = pd.DataFrame({"x": pd.Series([member], dtype=object)})
    names = {"x": member, "kind": kind, "n": next(iter(counts)), "own": own.ONE, "df": frame}
    assert rendered(text, **names).replace("DataFrame, 1 row x 1 column:\nColumns: x (str)\n\nx\n", "") == expected


def test_a_container_in_a_text_is_json() -> None:
    assert rendered("{{ 'x: ' ~ [1, x, {'t': tags}] }}", x=pd.NA, tags={2, 1}) == 'x: [1, null, {"t": [1, 2]}]'
    labels = {"good", "bad", "mixed"}
    assert (
        rendered(
            "{{ x | first }} {{ x | last }} {% for n, one in enumerate(x) %}{{ n }}{{ one }}{% endfor %}", x=labels
        )
        == "bad mixed 0bad1good2mixed"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ order.items }} {{ order.values }} {{ order.get }}", '["pen", "ink"] 3 g'),
        ("{{ order.copy.keys }}{{ order.copy.pop }}", "kp"),
        ("{% for one in orders %}{{ one.values }}{{ one.copy.keys }};{% endfor %}", "3k;3k;"),
        ("{{ orders | map(attribute='values') | sum }}", "6"),
        ("{% for item in order.items %}{{ item }};{% endfor %}", "pen;ink;"),
        ("{% if order.values > 2 %}many{% endif %}", "many"),
        ("{{ users.items }}{{ counts.items }}", "u0"),
        ("{% for _, row in frame.iterrows() %}{{ row.items }} {{ row.name }} {{ row.count }};{% endfor %}",
         "pen Ada 3;ink Bob 4;"),
        ("{% for row in frame.to_dict('records') %}{{ row.index }}{% endfor %}", "78"),
        ("{% for row in rows.iter_rows(named=True) %}{{ row.items }}{% endfor %}", "12"),
    ],
)  # fmt: skip
def test_a_key_comes_before_a_method_of_its_name(text: str, expected: str) -> None:
    names = {
        "order": ORDER,
        "orders": [ORDER, ORDER],
        "users": UserDict(items="u"),
        "counts": defaultdict(int, items=0),
        "frame": FRAME,
        "rows": pl.DataFrame({"items": [1, 2]}),
    }
    assert rendered(text, **names) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% for name, value in order.items() %}{{ name }};{% endfor %}", "items;values;get;copy;"),
        ("{{ order.get('values') }} {{ order.get('none', 5) }}", "3 5"),
        ("{{ order.keys() | list | length }}", "4"),
        ("{{ word.upper() }}", "ADA"),
        ("{{ frame.shape }} {{ frame['count'].sum() }}", "[2, 4] 7"),
    ],
)
def test_a_method_that_is_called_is_the_method(text: str, expected: str) -> None:
    assert rendered(text, order=ORDER, word="ada", frame=FRAME).startswith(expected)


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(["b", "a"]),
        pd.Index(["b", "a"]),
        np.array(["b", "a"]),
        pl.Series(["b", "a"]),
        pa.chunked_array([["b", "a"]]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_the_filters_of_lists_take_arrays(labels: Any) -> None:
    text = "{{ x | map('upper') | join }}{{ x | select('equalto', 'a') | join }}{{ x | reject('equalto', 'a') | join }}"
    assert rendered(text + "{{ x | max }}{{ x | sort | first }}", x=labels) == "BAabba"


def test_a_list_that_a_file_made_an_array_of_is_a_list_in_a_row() -> None:
    tags = np.array(["a", np.array(["b"], dtype=object)], dtype=object)
    row = next(iter(read_rows(pd.DataFrame({"tags": [tags], "vector": [np.array([1.5])]}))))
    assert row["tags"] == ["a", ["b"]]
    assert rendered("{{ tags + ['z'] }} {{ tags == [] }} {{ vector }}", **row) == '["a", ["b"], "z"] False [1.5]'


@pytest.mark.parametrize(
    "text",
    [
        *("scores == [1, 2]", "scores != [0]", "not scores == 1", "scores < [1, 3]", "scores is eq [1, 2]"),
        *("[1, 2] in [scores]", "[1] not in scores", "{'s': scores} == {'s': [1, 2]}", "parts == [[1, 2], [3]]"),
        *("{'s': scores} != {'s': [1, 3]}", "[one] != [0]", "[one] == [[0]] == [one]", "(1, scores) < (1, [1, 3])"),
        *("[[3]] > [one]", "parts <= [[1, 2], [3]]", "not parts < [[1, 2]]", "[[1, 2]] is lt parts", "[1, 2] in parts"),
        *("flags", "cell", "flags == [false, false]", "not none_there", "small == [0.1]", "one == [0]"),
        *("(scores > 1).any()", "scores[scores > 1].sum() == 2", "(scores == 1).sum() == 1", "scores.mean() == 1.5"),
    ],
)
def test_a_list_of_numbers_that_a_file_made_an_array_of_compares_as_the_list(text: str) -> None:
    cells = {
        "scores": np.array([1, 2]),
        "parts": np.array([np.array([1, 2]), np.array([3])], dtype=object),
        "flags": np.array([False, False]),
        "none_there": np.array([]),
        "small": np.array([0.1], dtype="float32"),
        "one": np.array([0]),
    }
    row = next(iter(read_rows(pd.DataFrame({name: [cell] for name, cell in cells.items()}))))
    assert rendered(f"{{% if {text} %}}yes{{% endif %}}", **row, cell=pa.scalar([False])) == "yes"


@pytest.mark.parametrize(
    "text",
    [
        *("'name' in node", "node != none", "child.parent == node", "child in node.children", "node is eq node"),
        *(
            "child is in node.children",
            "node == copy",
            "copy.children != []",
            "[node] <= [copy]",
            "[node, 1] < [copy, 2]",
        ),
    ],
)
def test_a_container_that_holds_itself_can_be_compared(text: str) -> None:
    nodes: list[dict[str, Any]] = [{"name": "a"}, {"name": "a"}]
    for node in nodes:
        node["children"] = [{"parent": node}]
    names = {"node": nodes[0], "child": nodes[0]["children"][0], "copy": nodes[1]}
    assert rendered(f"{{% if {text} %}}yes{{% endif %}}", **names) == "yes"


@pytest.mark.parametrize("text", ["'k5' in lookup", "lookup != none", "5 in many", "many != none", "many < [0, 2]"])
def test_a_large_container_is_not_copied_for_a_comparison(text: str) -> None:
    names = {"lookup": {f"k{number}": {"a": number} for number in range(10_000)}, "many": list(range(100_000))}
    template = f"{{% if {text} %}}yes{{% endif %}}"
    assert rendered(template, **names) == "yes"
    assert text_and_peak_of(names, lambda names: rendered(template, **names))[1] < 500_000


def test_a_comparison_ends_at_the_first_difference() -> None:
    assert rendered("{{ [1, frame] == [2, other] }}", frame=FRAME, other=FRAME.copy()) == "False"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ (names == 'a') | sum }} {{ (names == 'a').sum() }} {{ (names > 'a') | sum }}", "2 2 1"),
        ("{% set found = names == 'a' %}{{ found.sum() }} {{ names[found] }}", '2 ["a", "a"]'),
        ("{% if (names == 'a').any() %}some{% endif %} {{ 'a' in names }} {{ names is in [['a', 'b', 'a']] }}",
         "some True True"),
    ],
)  # fmt: skip
def test_a_comparison_of_an_array_of_texts_is_an_array(text: str, expected: str) -> None:
    assert rendered(text, names=np.array(["a", "b", "a"], dtype=object)) == expected


SERIES = pd.Series([1, 2, 3])
TRUTHS = [
    SERIES > 5,
    SERIES.astype("Int64") > 5,
    pd.Series([False, None], dtype=object),
    pd.Index([0, 1]) > 5,
    pd.array([False, None], dtype="boolean"),
    np.array([False, False]),
    np.array([1]) > 5,
    np.array(["a", "b"], dtype=object) == "a",
    np.array([False, None], dtype=object),
    pa.array([False]),
    pa.chunked_array([[False, None]]),
    pl.Series([False]),
]


@pytest.mark.parametrize("truths", TRUTHS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    "text",
    [
        *(
            "{% if v %}a{% endif %}",
            "{% if false %}a{% elif v %}b{% endif %}",
            "{{ 'a' if v else 'b' }}",
            "{{ v or 1 }}",
        ),
        *("{{ v and 'a' }}", "{{ not v }}", "{% for one in [1] if v %}{{ one }}{% endfor %}", "{{ v | d('a', true) }}"),
        *("{{ [v] | select | list | length }}", "{{ [v] | reject | list }}", "{{ [[v]] | selectattr(0) | list }}"),
    ],
)
def test_several_truths_are_not_one(text: str, truths: Any) -> None:
    with pytest.raises(InferenceError, match=r"(?i)line 1 of the prompt.*truth value of .* is ambiguous"):
        rendered(text, v=truths)


def test_several_truths_that_a_function_gives_are_not_one() -> None:
    row = next(iter(read_rows(pd.DataFrame({"scores": [np.array([1.0, 2.0])]}))))
    with pytest.raises(InferenceError, match="is ambiguous"):
        rendered("{% if np.isnan(scores) %}a{% endif %}", np=np, **row)
    text = "{% if np.isnan(scores).any() %}a{% endif %}{{ scores.sum() }} {{ np.square(scores) }}"
    assert rendered(text, np=np, **row) == "3.0 [1.0, 4.0]"
    assert rendered("{{ np.isfinite(scores) }}", np=np, **row) == "[true, true]"


@pytest.mark.parametrize("value", [SERIES, np.array([1, 2]), [1], {"a": 1}, pd.DataFrame({"a": [1]}), pa.array([1])])
def test_several_numbers_are_not_one(value: Any) -> None:
    for text in ("{{ v | int }}", "{{ v | float }}"):
        with pytest.raises(InferenceError, match="is not one number"):
            rendered(text, v=value)
    assert (
        rendered(
            "{{ v | int(7) }} {{ '3' | int }} {{ x | int }} {{ [1.5] | map('int') | list }}", v=value, x=np.float64(2)
        )
        == "7 3 2 [1]"
    )


def test_what_a_comparison_of_a_series_lacks_is_named() -> None:
    with pytest.raises(InferenceError) as refused:
        rendered("{% if s > 5 %}Warn{% endif %}", s=SERIES)
    assert refused.value.remedy == "Write (...).any() or (...).all()."
    text = "{% if (s > 2).any() %}some{% endif %} {% if s %}there{% endif %}{% if not s[:0] %} none{% endif %}"
    assert rendered(text, s=SERIES) == "some there none"


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT, pa.scalar(None), np.array(np.nan)])
def test_a_missing_value_equals_nothing_but_another(value: Any) -> None:
    assert rendered("{{ x == 'a' }} {{ x != 'a' }} {{ 'a' != x }} {{ x == none }}", x=value) == "False True True True"
    assert rendered("{{ x == 3 }} {{ x != 3 }}", x=pa.scalar(3)) == "True False"


class Model:
    def forward(self) -> None:
        """Its source."""


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("{{ word.upper }}", "Write upper()."),
        ("{{ word['upper'] }}", "Write upper()."),
        ("{{ word.upper | length }}", "Write upper()."),
        ("{{ frame.count.mean }}", "Write mean()."),
        ("{{ model.forward }}", "Write forward()."),
        ("{{ given.values }}", "Write values(). It has a."),
    ],
)
def test_a_method_that_is_not_called_is_an_error(text: str, remedy: str) -> None:
    with pytest.raises(InferenceError, match=r"is a method of a .*Nothing was sent") as refused:
        rendered(text, word="fine", frame=FRAME, model=Model(), given={"a": 1})
    assert refused.value.remedy == remedy
    assert rendered("{{ Model.forward }}", Model=Model).endswith('"""Its source."""')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% if word.upper is defined %}yes{% endif %}", "yes"),
        ("{{ 'yes' if word.upper and word['upper'] is not undefined }}", "yes"),
        ("{% set loud = word.upper %}{{ loud() }}", "FINE"),
        ("{% for change in [word.upper, word.title] %}{{ change() }}{% endfor %}", "FINEFine"),
        ("{% macro of(change) %}{{ change() }}{% endmacro %}{{ of(word.upper) }}", "FINE"),
        ("{{ sorted(['b', 'a'], key=word.find) }}", '["b", "a"]'),
        ("{{ given.values is defined }} {{ given.values | default('none') }}", "False none"),
    ],
)
def test_a_method_can_be_named_and_tested(text: str, expected: str) -> None:
    assert rendered(text, word="fine", given={"a": 1}) == expected


@pytest.mark.parametrize("source", [lambda frame: frame, pd.DataFrame.iterrows])
@pytest.mark.parametrize("name", ["label", "index", "pair", "values", "zzz"])
def test_a_row_has_columns_and_no_attributes(source: Any, name: str) -> None:
    row = next(iter(read_rows(source(pd.DataFrame({"text": ["a"]}, index=["x"])))))
    for text in (f"{{{{ row.{name} }}}}", f"{{{{ row['{name}'] }}}}"):
        with pytest.raises(InferenceError, match=f"the row has no column '{name}'"):
            rendered(text, row=row)
    found = rendered("{{ row.get('text') }} {{ row.keys() | list | last }} {{ row.items() | list | last }}", row=row)
    assert found == 'a text ["text", "a"]'


def test_an_attribute_that_an_object_does_not_have_is_answered_with_a_near_one() -> None:
    with pytest.raises(InferenceError, match=r"Reply object' has no attribute 'txt'.*Did you mean text\?"):
        rendered("{{ reply.txt }}", reply=Reply("hi", "m", "m", "local"))


def test_looking_up_a_key_does_not_add_it() -> None:
    counts: defaultdict[str, int] = defaultdict(int)
    rendered("{{ counts.copy() }}{{ counts.copy is defined }}", counts=counts)
    assert counts == {}


MISSING = [
    None,
    float("nan"),
    np.float32("nan"),
    np.datetime64("NaT", "s"),
    np.timedelta64("NaT", "s"),
    Decimal("NaN"),
    pd.NaT,
    pd.NA,
    pl.Series([None, 1])[0],
    np.ma.masked,
]


@pytest.mark.parametrize("value", MISSING, ids=[f"{type(one).__name__}-{one}" for one in MISSING])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[{{ x }}]", "[]"),
        ("{% if x %}yes{% else %}no{% endif %}", "no"),
        ("{% if not x %}no{% endif %}", "no"),
        ("{% if x is none %}none{% endif %}{% if x is not none %}some{% endif %}", "none"),
        ("{% if x and 1 %}yes{% elif x or 0 %}yes{% else %}no{% endif %}", "no"),
        ("{% if x > 3 %}more{% elif 3 >= x %}less{% else %}neither{% endif %}", "neither"),
        ("{{ 'yes' if x else 'no' }}", "no"),
        ("{{ x | default('unknown') }} {{ x | d('unknown', true) }} {{ x or 'unknown' }}", "unknown unknown unknown"),
        ("[{{ x | trim }}{{ x | upper }}{{ x | truncate(5) }}{{ 'a' ~ x }}]", "[a]"),
        (
            "[{{ x | safe }}{{ x | urlencode }}{{ x | forceescape }}{{ x | format }}] {{ 'a b' | urlencode }}",
            "[] a%20b",
        ),
        ("{{ {'q': 'a b', 'n': x, 'f': 1.5} | urlencode }}", "q=a+b&n=&f=1.5"),
        (
            "{{ [('q', 'ä'), ['n', [1, x]]] | urlencode }} {{ ['a', 1] | urlencode }}",
            "q=%C3%A4&n=%5B1%2C+null%5D %5B%22a%22%2C%201%5D",
        ),
        ("{{ [x, 1] | join(';') }}", ";1"),
        ("{{ [x, 1] | select | list }} {{ [x, 1] | reject | list | length }}", "[1] 1"),
        ("{% for one in [x, 1] if one %}{{ one }}{% endfor %}", "1"),
        ("{{ row.x }}{{ row['x'] }}{% if row.x %}yes{% endif %}", ""),
        ("{{ rows | selectattr('x') | list | length }}", "0"),
        ("{{ row }}", '{"x": null}'),
        ("[{{ '%.2f' % x }}{{ '%d%s' % (x, x) }}{{ '%(x)5.1f' % row }}] {{ '%s: %.1f%%' % ('a', 2) }}", "[] a: 2.0%"),
        (
            "[{{ '{}{:.2f}{x!r:>5}'.format(x, x, x=x) }}{{ '{x}'.format_map(row) }}] {{ '{:>3}'.format(1) }}",
            "[]   1",
        ),
        ("[{{ '%s%s' | format(x, 'a') }}{{ '%(b)s' | format(b=x) }}]", "[a]"),
        ("[{{ x | int }}{{ x | float }}{{ x | round }}{{ x | round | int }}{{ x | abs }}{{ (x | int) + 1 }}]", "[]"),
        ("{{ x | int(3) }} {{ x | float(default=2.5) }} {{ '4' | int }} {{ 2.6 | round | int }}", "3 2.5 4 3"),
        ("[{{ x | length }}{{ x | count }}{{ x | wordcount }}{{ x | join }}] {{ 'ab' | length }}", "[] 2"),
        ("{% for one in x %}{{ one }}{% else %}none{% endfor %}", "none"),
        ("{% for one in x | map('upper') | sort %}{{ one }}{% else %}none{% endfor %}", "none"),
        ("{{ ['a', x] | map('upper') | join('-') }}", "A-"),
        (
            "{{ x in ['a'] }} {{ x not in ['a'] }} {{ 'a' in x }} {{ x is in ['a'] }} {{ 'a' in ['a'] }}",
            "False True False False True",
        ),
        ("[{{ x.upper() }}{{ x.strip().lower() }}{{ x.strftime('%Y') }}]", "[]"),
        (
            "{{ 'a: ' + x }}{{ x + '.' }} {{ [1] + x }} [{{ x + 1 }}{{ 2 - x }}{{ -x }}{{ x * 2 / 3 }}{{ x ** 2 }}]",
            "a: . [1] []",
        ),
        (
            "{{ x is even }} {{ x is odd }} {{ x is divisibleby(3) }} {{ bool(x) }} {{ 4 is even }}",
            "False " * 4 + "True",
        ),
        ("[{% for one in x | dictsort %}{{ one }}{% endfor %}{{ str(x) }}{{ x | last }}]", "[]"),
        ("{% for i, one in enumerate(x) %}{{ one }}{% endfor %}{{ list(zip(x, [1])) + sorted(x) + list(x) }}", "[]"),
        ("[{{ x | first }}{{ x | max }}{{ x | sum }}{{ x | pprint }}] {{ x | list }} {{ [2] | max }}", "[] [] 2"),
    ],
)
def test_a_missing_value_is_false_and_empty(value: Any, text: str, expected: str) -> None:
    assert rendered(text, x=value, row={"x": value}, rows=[{"x": value}]) == expected


@pytest.mark.parametrize(
    "value", [1.5, np.float64(1.5), np.array(1.5), pa.scalar(1.5)], ids=lambda one: type(one).__name__
)
def test_a_number_of_any_type_is_formatted(value: Any) -> None:
    assert rendered("{{ '%.2f' % x }} {{ '{:.1f}'.format(x) }}", x=value) == "1.50 1.5"


ROWS = [{"a": 2, "price": 1.5}, {"a": None, "price": None}, {"a": 1, "price": 2}]


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT, pa.scalar(None, pa.int64())])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ [x, 3, x, 1] | sort }}", "[1, 3, null, null]"),
        ("{{ rows | unique(attribute='a') | map(attribute='a') | list }}", "[2, null, 1]"),
        ("{{ [3, x, 1] | sort(reverse=true) }}", "[3, 1, null]"),
        ("{{ [x, 3, 1] | max }}{{ [3, x, 1] | min }}{{ [1, x, 2] | sum }}", "313"),
        ("{{ [x] | max }}|{{ [x, x] | min }}|{{ [x] | sum }}", "||0"),
        ("{{ 5 in [x, 5] }} {{ x in [x] }} {{ x is in [5, x] }} {{ 4 in (x, 5) }}", "True True True False"),
        ("{{ rows | map(attribute='a') | list | max }}{{ (rows | max(attribute='a')).a }}", "22"),
        ("{{ rows | sum(attribute='price') }}", "3.5"),
        ("{% for row in rows | sort(attribute='a') %}{{ row.a }};{% endfor %}", "1;2;;"),
        ("{% for key, group in rows | groupby('a') %}{{ key }}:{{ group | length }};{% endfor %}", "1:1;2:1;:1;"),
        ("{{ [1, x, 3] | select('gt', 1) | list }}{{ [1, x] | reject('==', 1) | list }}", "[3][null]"),
        ("{{ rows | selectattr('a', 'ge', 2) | list | length }}", "1"),
        ("{{ x[:1] }}{{ x[0] }}{{ x['k'] }}{{ x[:, 0] }}|{{ x[:1] is none }}", "|True"),
    ],
)
def test_missing_items_are_left_out_or_last_and_parts_of_a_missing_value_are_missing(
    value: Any, text: str, expected: str
) -> None:
    rows = [{name: value if one is None else one for name, one in row.items()} for row in ROWS]
    assert rendered(text, x=value, rows=rows) == expected


def test_an_attribute_of_none_is_an_error_because_it_may_be_a_variable() -> None:
    assert rendered("{{ x.size }}", x=float("nan")) == ""
    with pytest.raises(InferenceError, match="'None' has no attribute 'size'") as refused:
        rendered("{{ x.size }}", x=None, sizes=[1])
    assert (
        refused.value.remedy
        == "Check why it is None. Where values may be missing, write ['size'], which is then empty."
    )
    assert rendered("{{ x['size'] }}", x=None) == ""


@pytest.mark.parametrize(
    "text",
    [
        *("one in [1]", "1 in [one]", "one is in [1]", "one > 0 and one < 1.5", "one is gt 0", "one + 1 == 2"),
        *("2 ** one == 2", "not zero", "(zero or 3) == 3", "one is odd", "(one | round) == 1", "word + '!' == 'ab!'"),
        *("word in 'cab'", "'a' in word", "word is string", "(word | length) == 2", "word[0] == 'a'"),
    ],
)
def test_a_scalar_of_pyarrow_is_its_value_in_expressions(text: str) -> None:
    names = {"one": pa.scalar(1), "zero": pa.scalar(0), "word": pa.scalar("ab")}
    assert rendered(f"{{{{ ({text}) is true }}}}", **names) == "True"


def test_scalars_of_pyarrow_are_values_of_python() -> None:
    names = {"table": pa.table({"a": [1, None]}), "one": pa.scalar({"k": [1]})}
    assert rendered("{{ table['a'][0] }}|{{ table['a'][1] }}|{{ one }}|{{ [one] }}", **names) == (
        '1||{"k": [1]}|[{"k": [1]}]'
    )


@pytest.mark.parametrize("of", [np.array, pa.array, lambda values: pd.array(values, dtype="boolean")])
def test_a_truth_of_another_library_is_true_or_false(of: Any) -> None:
    text = "{{ v[0] is true }} {{ v[0] is True }} {{ v[1] is false }} {{ v[0] is boolean }} {{ v[1] is true }}"
    assert rendered(text, v=of([True, False])) == "True True True True False"


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (np.int32(1), "integer number"),
        (np.float32(1.5), "float number"),
        (pa.scalar(1), "integer number"),
        (np.True_, "boolean number true"),
        (np.array([1, 2]), ""),
        (pd.NA, ""),
        (np.str_("true"), ""),
    ],
)
def test_a_scalar_of_another_library_has_the_kind_of_that_of_python(value: Any, kinds: str) -> None:
    names = ("boolean", "false", "float", "integer", "number", "true")
    text = "".join(f"{{% if v is {name} %}}{name} {{% endif %}}" for name in names)
    assert rendered(text, v=value).strip() == kinds


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA])
def test_what_no_row_holds_is_not_called_on_a_missing_value(value: Any) -> None:
    with pytest.raises(InferenceError, match="head"):
        rendered("{{ x.head() }}", x=value)


@pytest.mark.parametrize("value", [0, 0.0, "", False, "nan", "None", float("inf"), np.float64(0)])
def test_a_value_that_is_there_is_not_missing(value: Any) -> None:
    assert rendered("{{ x }}|{{ x is none }}|{{ x | default('d') }}", x=value) == f"{value}|False|{value}"


def test_a_row_of_a_frame_with_missing_values_is_read_as_its_dict_is() -> None:
    frame = pd.DataFrame({"name": ["Ada", None], "age": pd.array([36, None], dtype="Int64"), "score": [1.5, None]})
    text = "{{ row.name }}{% if row.age > 3 %} is {{ row.age }}{% endif %};"
    assert rendered(f"{{% for _, row in frame.iterrows() %}}{text}{{% endfor %}}", frame=frame) == "Ada is 36;;"


@pytest.mark.parametrize("name", sorted({*vars(builtins), *DEFAULT_NAMESPACE} - {"None", "True", "False"}))
def test_a_name_of_the_notebook_comes_before_the_one_that_python_has(name: str) -> None:
    assert Template(f"{{{{ {name} }}}}").render({name: "mine"}) == "mine"
    assert Template(f"{{% if {name} %}}{{{{ [{name}][0] }}}}{{% endif %}}").render({name: "mine"}) == "mine"
    assert Template(f"{{{{ {name} }}}}").names == {name}


def test_pythons_names_are_there() -> None:
    text = "{{ len(x) }} {{ sorted(x) }} {{ dict(a=max(x)) }} {{ isinstance(x, list) }} {{ range(2) | list }}"
    assert Template(text).render({"x": [2, 1]}) == '2 [1, 2] {"a": 2} True [0, 1]'


ROW = {
    "z": "a & b's <é>", "when": pd.Timestamp("2026-01-02"), "n": np.int64(3), "none": pd.NA, "nan": float("nan"),
    "inf": [float("inf"), {"low": np.float32("-inf")}],
}  # fmt: skip
ROW_AS_JSON = (
    '{"z": "a & b\'s <é>", "when": "2026-01-02T00:00:00", "n": 3, "none": null, "nan": null, '
    '"inf": ["inf", {"low": "-inf"}]}'
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ row | tojson }}", ROW_AS_JSON),
        ("{{ row.z | tojson }} {{ row.none | tojson }}", '"a & b\'s <é>" null'),
        ("{{ {'b': [1], 'a': row.nan} | tojson(indent=2) }}", '{\n  "b": [\n    1\n  ],\n  "a": null\n}'),
        ("{% for _, one in frame.iterrows() %}{{ one | tojson }}{% endfor %}",
         '{"when": "2026-01-02T00:00:00", "pay": null}'),
        ("{{ (range(5000) | list | tojson)[-6:] }}", " 4999]"),
    ],
)  # fmt: skip
def test_tojson_writes_what_a_value_is_written_as(text: str, expected: str) -> None:
    frame = pd.DataFrame({"when": [pd.Timestamp("2026-01-02")], "pay": [None]})
    assert rendered(text, row=ROW, frame=frame) == expected


def test_a_name_that_is_undefined_is_not_json() -> None:
    with pytest.raises(InferenceError, match="nothing_there"):
        rendered("{{ nothing_there | tojson }}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ rows[:, 0].tolist() }}", "[1, 4]"),
        ("{{ rows[::-1, 1:].tolist() }}", "[[5, 6], [2, 3]]"),
        ("{{ frame.iloc[1:, :1].values.tolist() }}", "[[2]]"),
        ("{{ frame.loc[:, 'b'].tolist() }}", "[3, 4]"),
        ("{{ 'abc'[::-1] }} {{ rows[0][1:].tolist() }}", "cba [2, 3]"),
    ],
)
def test_slices_of_several_axes_are_those_of_python(text: str, expected: str) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    assert rendered(text, rows=np.array([[1, 2, 3], [4, 5, 6]]), frame=frame) == expected


def test_python_in_braces_that_a_template_does_not_have_is_to_be_computed_in_a_cell() -> None:
    for text in ("{{ x & 1 }}", "{{ [i for i in x] }}", "{{ f'{x}' }}", "{{ lambda: 1 }}"):
        with pytest.raises(InferenceError) as refused:
            rendered(text, x=1)
        assert "compute the value in a cell" in refused.value.remedy
    assert rendered("{{ x is None }} {{ 1 is not None }}", x=None) == "True True"
