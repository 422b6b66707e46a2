"""What is said before anything is sent: dry runs, likely mistakes, and which frame is meant."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from kernels import Kernel, SharedKernel
from service import Answer, Service, completion

from wandb_inference_magic import InferenceError, InferenceWarning
from wandb_inference_magic.arguments import MapOptions, read_line
from wandb_inference_magic.batch.run_results import RunResults
from wandb_inference_magic.commands.batch import value_of
from wandb_inference_magic.session import current_session

FRAME = """\
import pandas as pd
df = pd.DataFrame({"review": list("abcde"), "stars": [1, 2, 3, 4, 5]})
frames = {"a": df, "a b": df.head(1), "-x": df}
calls = []
def make(n, *, why="-m x"):
    calls.append(n)
    return df.head(n)
"""


def echo(one: Answer) -> None:
    completion(f"<{one.received.body['messages'][-1]['content']}>")(one)


@pytest.fixture
def mapper(shared: SharedKernel) -> SharedKernel:
    shared.service.always = echo
    assert shared.kernel.run(FRAME).ok
    return shared


# Which frame -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        ("df", "df"),
        ("df.head(40) -o out", "df.head(40)"),
        ('frames["a"]', 'frames["a"]'),
        ("--limit 3 frames['a b'] -o out", "frames['a b']"),
        ('frames["-x"] --limit 3', 'frames["-x"]'),
        ("df[df.stars > -n] --limit 2", "df[df.stars > -n]"),
        ("make(3, why='a -o \" (') -o out", "make(3, why='a -o \" (')"),
        ("df.query('stars > 2') --into x", "df.query('stars > 2')"),
        ("[row for row in rows if row] --into x", "[row for row in rows if row]"),
        ('{"a": 1}["a"] --into x', '{"a": 1}["a"]'),
        (r'f("a \" -o b") -o out', r'f("a \" -o b")'),
        ("a or b --limit 2", "a or b"),
        ("df.head( --limit 3", "df.head( --limit 3"),
        ("-- df", "df"),
    ],
)
def test_the_frame_is_any_expression_among_the_options(line: str, frame: str) -> None:
    assert read_line(MapOptions, "%%wbmap", line, text="expression")[1] == frame


@pytest.mark.parametrize("expression", ["'df'", '"df"', """'d["k"]["df"]'""", "df", "(df)", "df if True else None"])
def test_the_expression_may_be_quoted_as_a_whole(expression: str) -> None:
    frame = object()
    assert value_of(expression, {"df": frame, "d": {"k": {"df": frame}}}, "%%wbmap") is frame


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("dg", "There is no 'dg' in the notebook"),
        ("[df, dg]", "There is no 'dg' in the notebook"),
        ("df.heda(4)", "raised AttributeError"),
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("df.head(", "is not a Python expression"),
        ("df = 3", "is not a Python expression"),
        ("df are kind", "Put an option's value with spaces into quotes"),
        ("import os", "is not a Python expression"),
        ("a\x00b", "null"),
        ("[" * 5000, "Nothing was sent"),
        ("await df", "Nothing was sent"),
        ("", "needs a frame"),
    ],
)
def test_an_expression_that_fails_is_one_short_error(expression: str, expected: str) -> None:
    with pytest.raises(InferenceError, match=r"Nothing was sent|nothing was sent") as raised:
        value_of(expression, {"df": "x", "dh": 1}, "%%wbmap")
    assert expected in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("expression", ["some reviews.csv", "df.csv", "'data/df.csv'"])
def test_a_file_in_place_of_a_frame_is_to_be_read_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    (tmp_path / "data").mkdir()
    for name in ("some reviews.csv", "df.csv", "data/df.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InferenceError, match=r"is a file, not a frame. Nothing was sent. Read it first.*read_csv\('"):
        value_of(expression, {"df": "x"}, "%%wbmap")


def test_the_expression_is_evaluated_once_and_binds_nothing(mapper: SharedKernel) -> None:
    run = mapper.kernel.run("%%wbmap make((nn := 2), why='-o x') -o out\n{{ review }}")
    assert run.ok, run.error
    assert mapper.kernel.value("[calls, len(out), 'nn' in globals()]") == [[2], 2, False]


# Dry runs --------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_first_prompts_and_sends_nothing(mapper: SharedKernel) -> None:
    run = mapper.kernel.run("%%wbmap df --dry-run -s 'Be brief.' -t 0.5 -o dry\nIs {{ review }} good?")
    assert run.ok, run.error
    for part in ("Nothing was sent", "5 rows", "tokens each", "cost unknown", "Is a good?", "Is b good?", "Is c good?"):
        assert part in run.text
    assert "Be brief." in run.text
    assert '"temperature": 0.5' in run.text
    assert "Is d good?" not in run.text
    assert mapper.service.chats == []
    assert not mapper.kernel.value("'dry' in globals()")
    text = mapper.kernel.run("%%wbmap df --dry-run --schema 'review, stars int'\n{{ review }}").text
    assert "'stars', which is kept: the answers are in 'stars_reply'." in text


def test_a_dry_run_of_several_models_estimates_each(mapper: SharedKernel) -> None:
    text = mapper.kernel.run("%%wbmap df --dry-run -m x/a -m x/b --limit 2\n{{ review }}").text
    assert "To x/a at" in text
    assert "To x/b at" in text
    assert text.count("--- row 1") == 1
    assert mapper.service.chats == []


def test_a_dry_run_looks_at_rows_all_over_the_frame(mapper: SharedKernel) -> None:
    mapper.kernel.run("sorted_rows = ['ok'] * 2000 + ['word ' * 900] * 1000")
    text = mapper.kernel.run("%%wbmap sorted_rows --dry-run\n{{ text }}").text
    tokens = re.search(r"about (\d+) \+ ", text)
    assert tokens is not None
    assert 200 < int(tokens[1]) < 600


def test_a_dry_run_counts_the_different_prompts_of_all_rows(mapper: SharedKernel) -> None:
    mapper.kernel.run("repeated = [f'kind {number % 50}' for number in range(10_000)]")
    text = mapper.kernel.run("%%wbmap repeated --dry-run --distinct\n{{ text }}").text
    assert "10,000 rows, 9,950 of them without a request, about" in text


def test_a_dry_run_shows_why_a_row_would_not_be_sent(mapper: SharedKernel) -> None:
    text = mapper.kernel.run("%%wbmap df --dry-run\n{{ 1 // (stars - 2) }}").text
    assert "[not sent: " in text
    assert "ZeroDivisionError" in text
    secret = "hf_abcdefghijklmnopqrstuv"
    text = mapper.kernel.run(
        f"%%wbmap df --limit 1 --dry-run -s {secret}\n{{{{ __import__('os').environ.update(HF_TOKEN='{secret}') }}}} hi"
    ).text
    mapper.kernel.run("import os\ndel os.environ['HF_TOKEN']")
    assert secret not in text
    assert "[not sent: The request has a secret of another service in it." in text


def test_a_look_at_the_rows_that_takes_long_shows_so_and_can_be_interrupted(mapper: SharedKernel) -> None:
    mapper.kernel.run(
        "from time import sleep\nrendered = []\ndef slow(text):\n    rendered.append(text)\n    sleep(0.05)\n"
        "many = [f'row {number}' for number in range(1000)]"
    )
    run = mapper.kernel.interrupt_at("%%wbmap many --dry-run\n{{ slow(text) }} {{ text }}", "checking which answers")
    assert "Interrupted" in run.error
    assert len(mapper.kernel.value("rendered")) < 1000


def test_a_dry_run_needs_no_home_folder(mapper: SharedKernel) -> None:
    start = (
        "from unittest.mock import patch\nhome = patch('platformdirs.user_cache_path', side_effect=RuntimeError('no'))"
    )
    mapper.kernel.run(f"{start}\nhome.start()")
    run = mapper.kernel.run("%%wbmap df --dry-run\n{{ review }}")
    mapper.kernel.run("home.stop()")
    assert run.ok, run.error
    assert "Nothing was sent" in run.text


def test_a_dry_run_takes_no_row_of_an_iterator(mapper: SharedKernel) -> None:
    mapper.kernel.run("rows = iter(['x', 'y'])")
    assert "used up" in mapper.kernel.run("%%wbmap rows --dry-run\n{{ text }}").error
    assert mapper.kernel.value("list(rows)") == ["x", "y"]


# Likely mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt", ["Translate {review}", "Translate.", "{{ 1 + 1 }} {review}", "{{ other }} { review }"]
)
def test_a_prompt_without_a_column_is_a_warning_with_the_columns(
    api: ModuleType, service: Service, prompt: str
) -> None:
    service.always = completion("yes")
    with pytest.warns(InferenceWarning, match=r"names no column.*review, stars") as found:
        api.map_prompts([{"review": "a", "stars": 1}] * 2, prompt, names={"other": 3})
    assert len(found) == 1
    assert found[0].filename == __file__
    if "{" in prompt:
        assert "{{ review }}" in str(found[0].message)


@pytest.mark.parametrize("name", [0, "my col", "a-b", "True", "none", 'a "b"', ("a", "id"), "\U0001f600"])
def test_the_advice_for_a_column_works_for_any_name(api: ModuleType, service: Service, name: Any) -> None:
    service.always = echo
    frame = pd.DataFrame({name: ["x", "y"]})
    with pytest.warns(InferenceWarning, match="names no column") as found:
        api.map_prompts(frame, "Translate.")
    advised = re.search(r"\{\{.*\}\}", str(found[0].message))
    assert advised is not None
    assert api.map_prompts(frame, advised[0]).reply.tolist() == ["<x>", "<y>"]


@pytest.mark.parametrize("prompt", ["{{ review }}", "{{ row }}", "{% if stars %}x{% endif %}", "{{ row.review }}"])
def test_a_prompt_with_a_column_is_no_mistake(api: ModuleType, service: Service, prompt: str) -> None:
    service.always = completion("yes")
    api.map_prompts([{"review": "a", "stars": 1}] * 2, prompt)


def test_a_column_named_row_is_a_warning_where_the_whole_row_is_sent(api: ModuleType, service: Service) -> None:
    service.always = echo
    wells = pd.DataFrame({"row": ["A", "B"], "col": [1, 2]})
    with pytest.warns(InferenceWarning, match=r"row is the whole row\. The column of this name is {{ row\.row }}\."):
        api.map_prompts(wells, "Well {{ row }}{{ col }}")
    assert api.map_prompts(wells, "{{ row.row }}{{ row['col'] }}").reply.tolist() == ["<A1>", "<B2>"]


@pytest.mark.parametrize("name", ["none", "true", "False"])
def test_a_column_with_the_name_of_a_constant_is_refused(api: ModuleType, service: Service, name: str) -> None:
    service.always = echo
    choices = pd.DataFrame({"q": ["A", "B"], name: ["x", "y"]})
    with pytest.raises(InferenceError, match=f"{{{{ {name} }}}} is a constant of Jinja2") as refused:
        api.map_prompts(choices, f"{{{{ q }}}} {{{{ {name} }}}}")
    assert refused.value.remedy == f'Write {{{{ row["{name}"] }}}}.'
    assert service.chats == []
    template = f'{{{{ q }}}}{{{{ row["{name}"] }}}}{{% if q is none or {name} %}}{{% endif %}}'
    assert api.map_prompts(choices, template).reply.tolist() == ["<Ax>", "<By>"]


ITERATED = "{% for a, b in pairs %}{{ a }}={{ b }};{% endfor %}"


@pytest.mark.parametrize("template", [ITERATED, "{{ pairs | list }}", "{{ list(pairs) }}", "{{ ', '.join(pairs) }}"])
def test_an_iterator_that_the_first_row_would_use_up_is_refused(
    api: ModuleType, service: Service, template: str
) -> None:
    names = {"pairs": zip(["2+2"], ["4"], strict=True)}
    for run in (api.map_prompts, lambda *given, **options: api.evaluate(*given, truth="q", **options)):
        with pytest.raises(InferenceError, match="pairs is an iterator: the first row would use it up") as refused:
            run([{"q": "a"}, {"q": "b"}], "{{ q }}: " + template, names=names)
        assert refused.value.remedy == "Make it a list in a cell before: pairs = list(pairs)."
    assert service.chats == []
    service.always = echo
    found = api.map_prompts(["a", "b"], "{{ text }}{{ next(pairs)[0] }}", names={"pairs": iter([("x",), ("y",)])})
    assert found.reply.tolist() == ["<ax>", "<by>"]
    names = {"lookup": lambda items, key: next(items) + key, "pairs": iter("xy")}
    assert api.map_prompts(["a", "b"], "{{ lookup(pairs, text) }}", names=names).reply.tolist() == ["<xa>", "<yb>"]


@pytest.mark.parametrize("system", ["Rate {{ review }}.", "{{- tone}}", "{{ row.stars }}"])
def test_a_system_prompt_that_names_a_column_is_sent_as_it_is_with_a_warning(
    api: ModuleType, service: Service, system: str
) -> None:
    service.always = completion("yes")
    rows = [{"review": "a", "stars": 1}] * 2
    with pytest.warns(InferenceWarning, match="The system prompt is sent as it is, with {{ .* }} in it") as found:
        api.map_prompts(rows, "{{ review }}", system=system, names={"tone": "kind"})
    assert len(found) == 1
    assert service.last.body["messages"][0] == {"role": "system", "content": system}
    with pytest.warns(InferenceWarning, match="The system prompt is sent as it is"):
        api.evaluate(rows, "{{ review }}?", truth="stars", system="{{ stars }}")


def test_braces_in_a_system_prompt_that_name_no_column_are_no_mistake(api: ModuleType, service: Service) -> None:
    service.always = completion("yes")
    api.map_prompts(["a"], "{{ text }}", system="Write a template with {{ name }}, {text} and {% if %}.")
    assert "{{ name }}" in service.last.body["messages"][0]["content"]


def test_the_warning_comes_before_anything_is_sent(api: ModuleType, service: Service) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", InferenceWarning)
        with pytest.raises(InferenceWarning):
            api.map_prompts(["a", "b"], "Translate {text}")
    assert service.chats == []


def test_the_magic_shows_the_warning_from_the_start_to_the_summary(mapper: SharedKernel) -> None:
    run = mapper.kernel.run("%%wbmap df -o out\nTranslate {review}")
    assert run.ok
    assert "names no column" in json.dumps([one.content for one in run.messages][:2])
    assert "names no column" in run.text
    assert "names no column" in mapper.kernel.run("%%wbmap df --dry-run\nTranslate {review}").text


def test_two_cells_that_became_one_are_a_warning_before_anything_is_sent(mapper: SharedKernel) -> None:
    notice = "%%wbmap df -o two is part of the prompt: a cell has one prompt. Put it into a cell of its own."
    body = "\nLike? {{ review }}\n\n%%wbmap df -o two\nSort {{ review }}"
    run = mapper.kernel.run(f"%%wbmap df -o one{body}")
    assert notice in json.dumps([one.content for one in run.messages][:2])
    assert notice in run.text
    assert notice in mapper.kernel.run(f"%%wbeval df --truth stars --dry-run{body}").text
    assert notice not in mapper.kernel.run(f"%%wbmap df --raw{body}").text


# What is shown ---------------------------------------------------------------------------------------------------


def test_the_result_shows_the_columns_of_the_schema(kernel: Kernel, service: Service) -> None:
    kernel.run(FRAME)
    service.always = completion('{"label": "good", "why": "It says so."}')
    run = kernel.run("%%wbmap df -o out --schema 'label, why'\n{{ review }}")
    assert run.ok, run.error
    assert run.text.splitlines()[0].split() == ["row", "label", "why"]
    assert run.text.splitlines()[2].split() == ["1", "good", "It", "says", "so."]
    assert "{'label'" not in run.text


@pytest.mark.parametrize("rows", [{"text": ["long " * 900, "short"]}, ["long " * 900], iter(["long " * 900])])
def test_values_that_will_be_cut_are_reported_before_anything_is_sent(
    api: ModuleType, service: Service, rows: object
) -> None:
    source = pd.DataFrame(rows) if isinstance(rows, dict) else rows
    # `api` has a new session, so that this lasts as long as the test.
    current_session().settings.value_tokens = 50
    # Warnings are errors in tests.
    with pytest.raises(InferenceWarning, match="Some values are longer than the setting value_tokens allows"):
        api.map_prompts(source, "Read {{ text }}")
    assert service.chats == []


def test_the_index_of_a_frame_has_names_too(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"city": ["Paris", "Rome", "Paris"], "year": [1, 1, 2], "people": [3, 4, 5]})
    prompts = {
        "{{ city }}: {{ people }}": frame.groupby("city").sum(numeric_only=True)[["people"]],
        "{{ city }} {{ year }} {{ people }} {{ row }}": frame.set_index(["city", "year"]),
        # A column comes before the index, and the index before the notebook.
        "{{ people }} {{ city }}": frame.set_index(frame.people.rename("people") * 10),
        "{{ row[0] }} {{ row['0'] }}": pd.DataFrame([["a", "b"]]),
        "{{ row['cust id'] }} {{ row }}": pd.DataFrame({"a": [1]}, index=pd.Index(["c1"], name="cust id")),
    }
    sent = []
    for prompt, rows in prompts.items():
        answered = api.map_prompts(rows, prompt, names={"city": "of the notebook", "year": 0}, concurrency=1)
        assert list(answered.columns) == [*rows.columns, "reply"]
        sent.append([chat.body["messages"][-1]["content"] for chat in service.chats[sum(map(len, sent)) :]])
    assert sent == [
        ["Paris: 8", "Rome: 4"],
        [
            f'{city} {year} {people} {{"city": "{city}", "year": {year}, "people": {people}}}'
            for city, year, people in frame.itertuples(index=False)
        ],
        ["3 Paris", "4 Rome", "5 Paris"],
        ["a a"],
        ['c1 {"cust id": "c1", "a": 1}'],
    ]


def test_a_column_whose_name_jinja_cannot_read_is_answered_with_what_works(api: ModuleType) -> None:
    with pytest.raises(InferenceError) as refused:
        api.map_prompts(pd.DataFrame({"price €": [1]}), "{{ price € }}")
    assert 'A column whose name has spaces or signs is {{ row["its name"] }}.' in refused.value.remedy


def test_likely_mistakes_are_said_of_a_frame_of_dask_too(api: ModuleType) -> None:
    import dask.dataframe as dd

    frame = dd.from_pandas(pd.DataFrame({"review": ["Good."], "stars": [3]}).set_index("stars"), npartitions=1)
    with pytest.warns(InferenceWarning, match=r"names no column.*Columns: review\..*{{ review }}"):
        api.map_prompts(frame, "Translate {review}")
    with pytest.warns(InferenceWarning, match="The system prompt is sent as it is, with {{ stars }} in it"):
        api.map_prompts(frame, "Translate {{ review }}", system="Stars: {{ stars }}")


@pytest.mark.parametrize(
    ("prompt", "is_likely"),
    [
        ("{{ n }}: {x}", True),
        ("{{ n }}: {#{x}#}", False),
        ("{{ n }}: {% raw %}{x}{% endraw %}", False),
        (r"{{ n }}: \frac{x}{n}", False),
    ],
)
def test_a_column_in_single_braces_is_reported_where_it_is_one(api: ModuleType, prompt: str, is_likely: bool) -> None:
    # Warnings are errors in tests.
    with pytest.warns(InferenceWarning, match="sent as it is") if is_likely else nullcontext():
        api.map_prompts(pd.DataFrame({"n": [1], "x": [2]}), prompt)


def test_a_frame_of_dask_is_not_evaluated(api: ModuleType, service: Service) -> None:
    import dask.dataframe as dd

    frame = dd.from_pandas(pd.DataFrame({"review": ["Good."], "label": ["good"]}), npartitions=1)
    with pytest.raises(InferenceError, match="Only a map takes a Dask DataFrame"):
        api.evaluate(frame, "{{ review }}", truth="label")
    assert service.chats == []


@pytest.mark.parametrize("is_dask", [False, True])
def test_an_answer_does_not_take_the_name_of_an_index(api: ModuleType, service: Service, is_dask: bool) -> None:
    service.always = completion('{"city": "a city", "size": 3}')
    frame = pd.DataFrame({"city": ["Paris", "Rome"], "people": [3, 4]}).groupby("city").sum()
    if is_dask:
        import dask.dataframe as dd

        frame = dd.from_pandas(frame, npartitions=1)
    with pytest.warns(InferenceWarning, match="has an index 'city', which is kept: the answers are in 'city_"):
        out = api.map_prompts(frame, "{{ city }} {{ people }}", schema="city, size int")
    out = out.compute(scheduler="synchronous") if is_dask else out
    # Both names twice would be refused here.
    assert list(out.reset_index().columns)[:4] == ["city", "people", "city_reply", "size"]


def test_a_column_in_single_braces_beside_one_in_doubled_ones_is_reported(api: ModuleType, service: Service) -> None:
    frame = pd.DataFrame({"review": ["a", "b"], "stars": [1, 2]})
    with pytest.warns(
        InferenceWarning, match=r"\{review\} in the prompt is sent as it is\. .*\{\{ review \}\}"
    ) as found:
        api.map_prompts(frame, "{{ stars }} stars for {review}")
    assert len(found) == 1
    api.map_prompts(frame, 'Fill in {"stars": {stars}, "other": {x}}: {{ review }} {{ stars }}')


# Reports ---------------------------------------------------------------------------------------------------------


def test_a_report_of_each_row_takes_no_longer_than_the_row() -> None:
    """A part of a reply whose form is not known is quoted. With quadratic time this test would take minutes."""
    results, rows = RunResults(), [f"A part of the reply is not shown: {number}" for number in range(100_000)]
    for row in (*rows, rows[0]):
        results.report(row)
    assert results.reports == tuple(rows)
