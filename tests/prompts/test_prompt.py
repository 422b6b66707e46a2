"""Templates: how the text of a cell becomes a prompt."""

from __future__ import annotations

import json
import re
from collections import ChainMap
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from hypothesis import given, strategies as st
from kernels import Kernel, SharedKernel
from matplotlib.figure import Figure
from service import Service, Wandb

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.frames.records import FrameRow
from wandb_inference_magic.prompts.images import with_images
from wandb_inference_magic.prompts.template import (
    Template,
    is_template,
    prompt_with,
    read_image,
    refuse_empty,
    render,
    render_text,
)
from wandb_inference_magic.prompts.values import Image, as_prompt, json_of
from wandb_inference_magic.text import is_blank

IMAGE = Image("data:image/png;base64,AAAA")
NAMES: dict[str, Any] = {"name": "Ada", "ages": [3, 5], "nested": "{{ name }} {% if %} {#", "word": "x" * 10_000}


LATEX = [
    r"\newcommand{\f}[1]{#1} \newcommand{\g}[1]{\newcommand{\h}[1]{##1}}",
    "\\begin{tabular}{#} and {#} again #}",
    "\\foo{%\n  bar%\n}",
    "{# no comment, {% no block",
]


def rendered(text: str, **names: Any) -> Any:
    return render(text, {**NAMES, **names}, tokens=1000)


@given(st.text())
def test_text_without_template_marks_is_unchanged(text: str) -> None:
    if not is_template(text):
        assert rendered(text) is text


@given(st.text(alphabet="{}%#$\\ \n\t\r'\"ab"), st.text(alphabet="{}%#$\\ \n'\"ab"))
def test_text_around_an_expression_is_unchanged(before: str, after: str) -> None:
    # A Windows line break becomes "\n". The texts must not form a template mark where they meet the expression.
    if is_template(f"{before}x{after}") or is_template(f"{before}x") or before.endswith("{") or "\r" in before:
        return
    assert rendered(f"{before}{{{{ name }}}}{after}") == f"{before}Ada{after}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi {{ name }}!", "Hi Ada!"),
        ("{{ name | upper }} {{ ages | sum }} {{ len(ages) }}", "ADA 8 2"),
        ("{% for age in ages %}{{ age }};{% endfor %}", "3;5;"),
        ("a\n{% if ages %}\n  yes\n{% endif %}\nb\n", "a\n  yes\nb\n"),
        ("{# a note #}kept", "kept"),
        ("{% raw %}{{ name }}{% endraw %} {{ name }}", "{{ name }} Ada"),
        (r'{"a": {"b": 1}} $x$ \frac{a}{b} %d {{ name }}', r'{"a": {"b": 1}} $x$ \frac{a}{b} %d Ada'),
        *((f"{text} {{{{ name }}}}", f"{text} Ada") for text in LATEX),
        ("{#- a note\nover lines #}\n{% \n for age in ages\n%}{{ age }}{% endfor %}{#1}", "35{#1}"),
        ("{{ '{#1}' }} {{ '{%'.replace('{%', 'x') }}", "{#1} x"),
        ("once: {{ nested }}", "once: {{ name }} {% if %} {#"),
    ],
)
def test_a_template_is_rendered(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("a\nb {{ nam }}", "Line 2 of the prompt: 'nam' is undefined", "Did you mean name?"),
        ("{{ name.shout }}", "Line 1 of the prompt", "--raw"),
        ("a\n\n{% if %}", "Line 3 of the prompt", "--raw"),
        ("a {{ unclosed", "Line 1 of the prompt", "--raw"),
        ("x\n{{ 1 / 0 }}", "Line 2 of the prompt: an expression raised ZeroDivisionError: division by zero", ""),
        ("{{ broken() }}", "an expression raised ValueError: no", ""),
        ("{{ panics() }}", "In the prompt: an expression raised BaseException: in Rust", ""),
        ("a\n{% include name %}", "Line 2 of the prompt: another template cannot be used here", "write {{ name }}"),
        ("{% extends name %}", "Line 1 of the prompt: another template cannot be used here", "--raw"),
        ("{% import name as other %}", "Line 1 of the prompt: another template cannot be used here", ""),
        ("{% from name import f with context %}", "Line 1 of the prompt: another template cannot be used here", ""),
        ("{% fro age in ages %}{{ age }}{% endfor %}", "Line 1 of the prompt", "--raw"),
        ("{#1}\n{%\n{{ nam }}", "Line 3 of the prompt: 'nam' is undefined", "Did you mean name?"),
    ],
)
def test_an_invalid_template_is_refused_with_its_line_number(text: str, message: str, remedy: str) -> None:
    def broken() -> None:
        raise ValueError("no")

    def panics() -> None:
        raise BaseException("in Rust")

    with pytest.raises(InferenceError) as refused:
        rendered(text, broken=broken, panics=panics)
    assert refused.value.cause == "option"
    assert message in refused.value.what
    assert refused.value.what.endswith("Nothing was sent.")
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("{{ labl }}", "my label is a column of df: write df['my label']."),
        # A variable is like it.
        ("{{ review }}", "review is a column of df: write df.review."),
        ("{{ count }}", "If it is a variable, run the cell that defines it first."),
        ("{{ df.reveiw }}", "Did you mean review?"),
        ("{{ df.zzz }}", "It has review, my label."),
        ("{{ mylabel }}", "write df['my label']."),
        ("{{ config.colour }}", "Did you mean color?"),
        ("{{ groups.zzz }}", ""),
        ("{{ zzz }}", "If it is a variable, run the cell that defines it first. To send braces as they are: --raw"),
    ],
)
def test_an_undefined_name_is_answered_with_what_there_is(text: str, remedy: str) -> None:
    frame = pd.DataFrame({"review": ["good"], "my label": [1]})
    with pytest.raises(InferenceError) as refused:
        names = {"groups": frame.groupby("review"), "df": frame, "_hidden": frame, "config": {"color": 1}}
        render(text, {**names, "reviews": 1, "Out": {}})
    assert remedy in refused.value.remedy


def test_an_option_that_names_a_column_is_answered_with_where_rows_are_written() -> None:
    with pytest.raises(InferenceError) as refused:
        render_text("Be {{ mood }}.", {"df": pd.DataFrame({"mood": ["kind"]})}, tokens=10, what="the option --system")
    assert refused.value.remedy.startswith("mood is a column of df: write df.mood. For another value in each row of a")


@pytest.mark.parametrize("name", ["type", "input", "id", "max", "range", "lipsum", "print"])
def test_a_function_of_python_that_is_not_called_is_undefined(name: str) -> None:
    with pytest.raises(InferenceError, match=f"'{name}' is undefined") as refused:
        render(f"A {{{{ {name} }}}}.", {"Type": "p", "row": {"Type": "p"}})
    assert name != "type" or "Did you mean Type?" in refused.value.remedy
    assert render(f"A {{{{ {name} }}}}.", {name: "value"}) == "A value."


@pytest.mark.parametrize(
    "text",
    ["{{ [type] }}", "{{ type | upper }}", "{{ type | tojson }}", "{{ 'a' ~ type }}", "{% if type %}a{% endif %}"],
)
def test_a_function_of_python_within_an_expression_is_undefined_too(text: str) -> None:
    with pytest.raises(InferenceError, match="'type' is undefined"):
        render(text, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ len(ages) }} {{ max(ages) }} {{ list(map(str, ages)) | join }}", "2 5 35"),
        ("{{ sorted(ages, key=abs, reverse=True) | first }}", "5"),
        ("{% if type(name) == str %}text{% endif %}{% if type(name) in (int, str) %}!{% endif %}", "text!"),
        ("{% for number in range(2) %}{{ number }}{% endfor %}", "01"),
    ],
)
def test_functions_of_python_are_called_and_compared(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ Review_text }}", 'Did you mean Review text? Write {{ row["Review text"] }}.'),
        *(
            (f"{{{{ {name} }}}}", '{{ row["its name"] }}')
            for name in ("Review text", "price €", "qty#", "price ($)", "`a b`")
        ),
        ("{{ user.name }}", '? Write {{ row["user.name"] }} or {{ row["user.id"] }}.'),
        ("{{ user.name }}", "Did you mean user.name or user.id or uses?"),
        ("{{ quote }}", r'Did you mean quote"? Write {{ row["quote\""] }}.'),
        ("{{ Gold }}", """Did you mean 'Gold '? Write {{ row["Gold "] }}."""),
        ("{{ row.Gold }}", """Did you mean 'Gold '? Write {{ row["Gold "] }}."""),
        ("{{ row['nl'] }}", r"""Did you mean 'n\nl'? Write {{ row["n\nl"] }}."""),
        ("{{ row.nothing }}", r"""It has Review text, user.name, user.id, uses, quote", 'Gold ', 'n\nl'."""),
    ],
)
def test_a_column_whose_name_has_a_space_is_answered_with_what_works(text: str, says: str) -> None:
    row = {"Review text": "Fine.", "user.name": "Bo", "user.id": 1, "uses": 2, 'quote"': "", "Gold ": 1, "n\nl": 2}
    with pytest.raises(InferenceError) as refused:
        Template(text, has_row=True).render({**row, "row": row})
    assert says in refused.value.remedy
    assert render('{{ row["Review text"] }}', {**row, "row": row}) == "Fine."


@pytest.mark.parametrize("text", ["{{ Review text }}", "{{ price € }}"])
def test_outside_a_map_there_is_no_row_to_write(text: str) -> None:
    with pytest.raises(InferenceError) as refused:
        render(text, {"df": pd.DataFrame({"Review text": ["Fine."]})})
    assert "row" not in refused.value.remedy


def test_a_column_that_a_row_does_not_have_is_called_so() -> None:
    with pytest.raises(InferenceError, match="the row has no column 'tex'") as refused:
        render("{{ row.tex }}", {"row": FrameRow(text="a")})
    assert "Did you mean text?" in refused.value.remedy


def test_an_undefined_name_in_a_row_is_answered_with_the_columns() -> None:
    with pytest.raises(InferenceError) as refused:
        Template("{{ zzz }}", has_row=True).render({"row": {"review": "good", "label": 1}})
    assert refused.value.remedy.startswith("The columns are review, label. If it is a variable, run the cell")


def test_the_name_of_a_column_of_several_levels_is_in_quotes_among_others() -> None:
    with pytest.raises(InferenceError) as refused:
        Template("{{ zzz }}", has_row=True).render({"row": {"city": "Oslo", "pay, mean": 3}})
    assert refused.value.remedy.startswith('The columns are city, "pay, mean". ')


def test_a_variable_called_row_is_not_the_row_of_a_map() -> None:
    with pytest.raises(InferenceError) as refused:
        render("{{ review }}", {"row": {"a": 1}, "df": pd.DataFrame({"review": ["Fine."]})})
    assert "df.review" in refused.value.remedy


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), BytesIO(b"abc"), StringIO("abc"), Figure, json, len])
@pytest.mark.parametrize("spelling", ["{{ v ~ '' }}", "{{ v | string }}", "{{ [v] | join }}", "{{ '%s' % v }}"])
def test_a_value_is_the_same_text_however_it_is_written(value: object, spelling: str) -> None:
    assert render(spelling, {"v": value}) == render("{{ v }}", {"v": value})


def test_a_path_and_an_exception_in_a_sentence_are_their_own_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("inside")
    names = {"path": tmp_path / "a.txt", "error": ValueError("no such city")}
    assert render("{{ 'In ' ~ path.name ~ ': ' ~ error }}", names) == "In a.txt: no such city"
    assert render("{{ path ~ '' }}", names) == str(tmp_path / "a.txt")


def test_a_frame_of_dask_shows_its_first_rows_without_a_warning_of_narwhals() -> None:
    import dask
    import dask.dataframe as dd

    frame = pd.DataFrame({"n": range(100)}, index=range(100, 200))
    with dask.config.set(scheduler="synchronous"):
        lazy = dd.from_pandas(frame, npartitions=20)
        shown = str(as_prompt(lazy)).splitlines()
        assert shown[:3] == ["lazy DataFrame, 1 column; its first rows, at most 20:", "Columns: n (int64)", ""]
        assert shown[3:] == ["index,n", *(f"{100 + n},{n}" for n in range(20))]
        series = str(as_prompt(lazy.n))
        assert series.splitlines() == [shown[0].replace("DataFrame", "Series"), *shown[1:]]
        assert str(as_prompt([lazy.n])) == json.dumps([series], indent=2)
        assert json.loads(json_of(lazy)) == frame.to_dict("records")
        assert json.loads(json_of(lazy.n)) == frame.n.tolist()


def test_a_long_value_is_cut_visibly_unless_the_whole_filter_is_used() -> None:
    short = rendered("{{ word }} end")
    assert len(short) < 6000
    assert "left out" in short
    assert short.endswith(" end")
    assert rendered("{{ word | whole }} end") == NAMES["word"] + " end"


@pytest.mark.parametrize(
    "spelling", ["{{ v | whole | string }}", "{{ v | whole ~ '' }}", "{{ '%s' | format(v | whole) }}"]
)
def test_the_whole_filter_gives_the_whole_text_within_another(spelling: str, tmp_path: Path) -> None:
    (path := tmp_path / "a.txt").write_text("inside")
    for value, text in ((NAMES["word"], NAMES["word"]), (path, "inside"), (None, ""), ({"a": 1}, '{"a": 1}')):
        assert render(spelling, {"v": value}) == text
    assert render("{{ [v | whole] }}", {"v": path}) == '["inside"]'
    with pytest.raises(InferenceError, match="A value of type Image has an image"):
        render(spelling, {"v": IMAGE})


def test_an_image_becomes_a_part_of_the_message() -> None:
    content = rendered("Look: {{ picture }} and {{ picture }}", picture=IMAGE)
    assert content == [
        {"type": "text", "text": "Look: "},
        IMAGE.part,
        {"type": "text", "text": " and "},
        IMAGE.part,
    ]
    kept = rendered("{% set kept %}{{ picture }}{% endset %}{{ kept }}{{ kept }}", picture=IMAGE)
    assert kept == [IMAGE.part, IMAGE.part]
    for unchanged in (
        "{% filter indent %}a\n{{ picture }}{% endfilter %}",
        "{% set kept %}a {{ picture }}{% endset %}{{ kept }}",
    ):
        assert IMAGE.part in rendered(unchanged, picture=IMAGE)
    with pytest.raises(InferenceError, match="an image"):
        render_text("{{ picture }}", {"picture": IMAGE}, tokens=10, what="the option --system")
    with pytest.raises(InferenceError, match="Write it without braces"):
        render_text("{{ picture }}", {"picture": IMAGE}, tokens=10, what="the option --image")


KEPT = "{% set kept %}see {{ picture }}{% endset %}"


@pytest.mark.parametrize(
    "text",
    [
        "{% filter upper %}see {{ picture }}{% endfilter %}",
        "{% filter wordwrap(20) %}see the image {{ picture }}{% endfilter %}",
        "{% filter truncate(30) %}see the image {{ picture }} and more text to cut{% endfilter %}",
        "{% filter urlencode %}{{ picture }}{% endfilter %}",
        f"{KEPT}{{{{ kept | upper }}}}",
        f"{KEPT}{{{{ kept[:10] }}}}",
        f"{KEPT}{{{{ kept | reverse }}}}",
        "{% macro show(one) %}[{{ one }}]{% endmacro %}{{ show(picture) | upper }}",
        "{{ picture | tojson }}",
        "{{ [picture] | tojson }}",
    ],
)
def test_an_image_in_a_text_that_is_changed_is_refused(text: str) -> None:
    with pytest.raises(InferenceError, match="image") as refused:
        rendered(text, picture=IMAGE)
    assert str(refused.value).startswith(("Line 1 of the prompt: ", "In the prompt: "))


def test_images_are_added_after_the_prompt() -> None:
    assert with_images("Hi", []) == "Hi"
    assert with_images("Hi", [IMAGE]) == [{"type": "text", "text": "Hi"}, IMAGE.part]
    assert with_images([IMAGE.part], [IMAGE]) == [IMAGE.part, IMAGE.part]


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\ufeff\n", " \u2060 \x1c\u00a0"])
def test_a_prompt_without_anything_seen_is_refused(text: str) -> None:
    for refuse in (refuse_empty, lambda text: prompt_with(text, [])):
        with pytest.raises(InferenceError, match="The prompt is empty"):
            refuse(text)
    assert prompt_with(text, [IMAGE]) == with_images(text, [IMAGE])


def test_image_options_take_expressions_and_addresses() -> None:
    assert read_image("pictures[0]", {"pictures": [IMAGE]}) == IMAGE
    assert read_image("https://ok.example/a.png", {}).url == "https://ok.example/a.png"
    for wrong in ("nothing", "1 +", "ages", "1 / 0"):
        with pytest.raises(InferenceError) as refused:
            read_image(wrong, NAMES)
        assert wrong in str(refused.value)
        assert not str(refused.value).startswith("Line")
        assert "image file that is there" in refused.value.remedy or "cell of its own" in refused.value.remedy


# In a real kernel: what is sent -----------------------------------------------------------------------------------

UNUSUAL_BODIES = [
    'json {"a": {"b": [1]}} and {x} {} }} %} #}',
    r"latex $x_{1}^{2}$ \(a\) \[ \frac{1}{2} \] $$y$$",
    "shell: echo $HOME %d %s !ls %timeit x? y??",
    "quotes \"'`` and \\n \\ backslashes \x1b[1m \u2028 \u200b ünï 🎈",
    "\n".join(LATEX),
    "    indented\n\ttabs\n\n\nand blank lines\n  end  ",
]


@pytest.mark.parametrize("body", UNUSUAL_BODIES)
def test_the_body_is_sent_as_typed(shared: SharedKernel, body: str) -> None:
    assert shared.kernel.run(f"%%wbchat --once\n{body}").ok
    assert shared.service.last.body["messages"][-1]["content"] == body


def test_random_bodies_are_sent_unchanged(kernel: Kernel, service: Service) -> None:
    bodies: list[str] = []

    # Without carriage returns: one at the end makes a line end of Windows with the line break that is added.
    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=30))
    def gather(text: str) -> None:
        if not is_blank(text) and not is_template(text):
            bodies.append(text)

    gather()
    assert len(bodies) > 50
    # As a front end sends it: the body after the magic's line. IPython itself adds a line break at the end of the cell.
    code = (
        "for body in " + repr(bodies) + ":\n    get_ipython().run_cell_magic('wbchat', '--once --quiet', body + '\\n')"
    )
    assert kernel.run(code).ok
    assert [chat.body["messages"][-1]["content"] for chat in service.chats] == [one.strip("\n") for one in bodies]


def test_templates_are_rendered_in_the_prompt_and_in_option_values(kernel: Kernel, service: Service) -> None:
    kernel.run("who = 'Ada'; tone = 'a pirate'; count = 7; which = 'test/model-b'")
    assert kernel.run("%%wbchat -s 'Speak like {{ tone }}.' --max-tokens {{ count }} -m {{ which }}\nHi {{ who }}").ok
    body = service.last.body
    assert [one["content"] for one in body["messages"]] == ["Speak like a pirate.", "Hi Ada"]
    assert (body["max_tokens"], body["model"]) == (7, "test/model-b")
    assert kernel.run("%wbchat --once and {{ who | upper }}?").ok
    assert service.last.body["messages"][-1]["content"] == "and ADA?"


def test_names_and_settings_on_a_line_are_rendered(kernel: Kernel, service: Service) -> None:
    kernel.run("who = 'Ada'; which = 'test/model-b'")
    assert "the thread for Ada" in kernel.run("%wbthread 'for {{ who }}'").text
    assert kernel.run("%wbconfig --model {{ which }}").ok
    assert "turn 1 of for Ada" in kernel.run("%wbchat Hi").text
    assert service.last.body["model"] == "test/model-b"
    assert "'absent' is undefined" in kernel.run("%wbthread {{ absent }}").error
    # No such magic has --raw.
    unclosed = kernel.run("%wbmodels '{{ a'").error
    assert "{% raw %}" in unclosed
    assert "--raw" not in unclosed
    # As IPython's own magics have it.
    run = kernel.run("%wbchat -m $which Hi")
    assert "$which in the option --model is not replaced by the variable. Write {{ which }}" in run.error.replace(
        "\nWhat to do:", ""
    )
    assert len(service.chats) == 1


def test_a_prompt_that_is_empty_after_rendering_is_not_sent(kernel: Kernel, service: Service) -> None:
    kernel.run("nothing = ''")
    for body in ("{# only a note #}", "{{ nothing }}\n\n"):
        assert "empty once its template is rendered" in kernel.run(f"%%wbchat\n{body}").error
    assert service.chats == []


def test_raw_sends_the_cell_as_typed(kernel: Kernel, service: Service) -> None:
    assert kernel.run("%%wbchat --raw --once\nHi {{ who }} {% if").ok
    assert service.last.body["messages"][-1]["content"] == "Hi {{ who }} {% if"


def test_an_undefined_name_is_reported_before_anything_is_sent(kernel: Kernel, service: Service) -> None:
    kernel.run("review = 'good'")
    run = kernel.run("%%wbchat\nLabel this:\n{{ reviw }}")
    assert "Line 2 of the prompt: 'reviw' is undefined." in run.error
    assert "Did you mean review?" in run.error
    assert len(run.error) < 200
    assert service.chats == []


DOT = "from PIL import Image; dot = Image.new('RGB', (4, 4), 'red')"


def subplots() -> tuple[Figure, Any]:
    figure = Figure()
    axes = figure.subplots(2)
    axes[0].plot([1, 2])
    return figure, axes


def objects(*values: object) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("value", "images"),
    [
        ([IMAGE, IMAGE], 2),
        ((IMAGE,), 1),
        (objects(IMAGE, IMAGE), 2),
        (subplots()[1], 1),
        (subplots(), 1),
        ({"axes": subplots()[1]}, 1),
        ([subplots()[0], subplots()[0]], 2),
    ],
    ids=["list", "tuple", "array", "axes", "figure and axes", "axes in a dict", "two figures"],
)
def test_images_of_a_list_are_sent_in_its_place(value: object, images: int) -> None:
    content = render("See {{ v }}!", {"v": value})
    assert isinstance(content, list)
    assert [part.get("text", "image") for part in content] == ["See ", *["image"] * images, "!"]


@pytest.mark.parametrize(
    "value",
    [{"a": IMAGE}, [IMAGE, 1], [[IMAGE]], [[IMAGE], "[image]"], objects(IMAGE, 1)],
    ids=["dict", "mixed list", "nested list", "same text", "mixed array"],
)
def test_an_image_among_other_values_is_refused(value: object) -> None:
    with pytest.raises(InferenceError, match="has an image, and would be sent here as a text") as refused:
        render("See {{ v }}!", {"v": value})
    assert "Nothing was sent" in refused.value.what
    assert "{% for p in pics %}{{ p }}{% endfor %}" in refused.value.remedy
    # The result of a tool is text only: there it is named.
    assert "[image]" in str(as_prompt(value))


def test_a_list_with_the_word_for_an_image_is_text() -> None:
    assert render("{{ v }}", {"v": ["[image]"]}) == '["[image]"]'


def test_images_are_sent_only_to_models_that_read_images(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel_with_catalog.run(DOT)
    run = kernel_with_catalog.run("%%wbchat -m test/eyes --image dot\nWhat is {{ dot }}?")
    assert run.ok
    kinds = [part["type"] for part in wandb.api.last.body["messages"][-1]["content"]]
    assert kinds == ["text", "image_url", "text", "image_url"]
    sent_before = len(wandb.api.chats)
    refused = kernel_with_catalog.run("%%wbchat -m test/small --once --image dot\nWhat?")
    assert "reads text only" in refused.error
    assert "%wbmodels image" in refused.error
    assert len(wandb.api.chats) == sent_before
    # The thread continues with a model that reads only text: the images of its turns are named.
    assert kernel_with_catalog.run("%wbchat -m test/thinker And now?").ok
    assert wandb.api.last.body["messages"][0]["content"] == "What is [image]?[image]"


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel_with_catalog.run("%wbchat -s 'Be brief.' one")
    sent_before = len(wandb.api.chats)
    run = kernel_with_catalog.run("x = 1\n%wbchat --dry-run -t 0.5 --max-tokens 50 --param top_k=3 <b>{{ 1 + 1 }}</b>")
    assert run.ok
    plain = run.output["data"]["text/plain"]
    assert re.search(
        r"Nothing was sent\. To test/small at https://\S+: about \d+ tokens, at most about \$0\.0000\d+", plain
    )
    assert "--- system\nBe brief.\n\n--- user\none\n\n--- assistant\nHello there.\n\n--- user\n<b>2</b>" in plain
    for parameter in ('"temperature": 0.5', '"max_tokens": 50', '"top_k": 3', '"stream": true'):
        assert parameter in plain
    assert "```text\n<b>2</b>\n```" in run.output["data"]["text/markdown"]
    assert "would not be sent" not in plain
    # What would be refused is said, in the words of the refusal, and the secret is not shown.
    secret = "hf_abcdefghijklmnopqrstuv"
    kernel_with_catalog.run(f"import os\nos.environ['HF_TOKEN'] = {secret!r}")
    shown = str(kernel_with_catalog.run("%wbchat --dry-run Use {{ os.environ['HF_TOKEN'] }} now").output["data"])
    assert "Use (hidden) now" in shown
    assert secret not in shown
    assert (
        "This request would not be sent. The prompt, an earlier turn or the result of a tool holds the value" in shown
    )
    assert "of HF_TOKEN. Leave it out: a key goes only to its own service." in shown
    assert len(wandb.api.chats) == sent_before
    kernel_with_catalog.run("%wbchat two")
    assert "one" in wandb.api.last.body["messages"][1]["content"]
    assert len(wandb.api.last.body["messages"]) == 4


def test_names_are_found_as_python_finds_them() -> None:
    names = {"\u03bc": 5, "caf\u00e9": "open", "fi": 1, "\u00b5": "literally so"}
    assert render("{{ cafe\u0301 }} {{ \ufb01 }}", names) == "open 1"
    assert render("{{ \u00b5 }}", names) == "literally so"
    del names["\u00b5"]
    assert render("{{ \u00b5 }}", names) == "5"
    row = {"cafe\u0301": "open", "n": 1}
    assert (
        render('{{ row["caf\u00e9"] }} {{ row.caf\u00e9 }} {{ cafe\u0301 }}', {"row": row, "caf\u00e9": 1})
        == "open open 1"
    )
    assert render('{{ f["caf\u00e9"].sum() }} {{ f.caf\u00e9[0] }}', {"f": pd.DataFrame({"cafe\u0301": [2]})}) == "2 2"
    image = PIL.Image.new("RGB", (4, 4))
    for name, known in (("परिणाम", "परिणाम"), ("結果１", "結果1")):
        assert read_image(f"{name}.image", {known: {"image": image}}) == read_image("image", {"image": image})


def test_the_names_of_a_notebook_are_not_searched_for_each_row() -> None:
    class Names(dict[str, Any]):
        def __iter__(self) -> Any:
            raise AssertionError("a map has many rows, and a notebook many names")

    text = "{{ len(caf\u00e9) }} {{ r\u00e9gion | default('none') }} {{ \ufb01 }}"
    assert render(text, ChainMap({"caf\u00e9": "ab"}, Names(fi=1))) == "2 none 1"


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT, np.float64("nan")])
def test_functions_of_python_take_a_missing_value_as_the_filters_do(value: Any) -> None:
    assert (
        render("[{{ str(x) }}{{ int(x) }}{{ float(x) }}{{ round(x, 1) }}{{ abs(x) }}{{ len(x) }}]", {"x": value})
        == "[]"
    )
    assert render("{{ str(x) }} {{ int(x) }} {{ isinstance(x, int) }} {{ len(str(x)) }}", {"x": 12}) == "12 12 True 2"
    # A name of the notebook stays what it is.
    assert render("{{ int(x) }}", {"x": value, "int": lambda _: "own"}) == "own"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("{{ “a” }}", 'Replace “ and ” by ".'),
        ("{{ names[‘a’] }}", "Replace ‘ and ’ by '."),
        ("{{ «a» }}", 'Replace « and » by ".'),
        ("{{ 3 – 1 }}", "Replace – by -."),
        ("{% if 3 ≠ 1 %}a{% endif %}", "Replace ≠ by !=."),
        ("{{ max（1, 2） }}", "Replace （ by (."),
        ("{{ name\u200b }}", "Delete the zero width space (U+200B), which is not seen."),
        ("{{ \u200fname }}", "Delete the right-to-left mark (U+200F), which is not seen."),
        ("{{ name\ufeff }}", "Delete the zero width no-break space (U+FEFF), which is not seen."),
        ("{{ می\u200cخ }}", "Delete the zero width non-joiner (U+200C), which is not seen, unless a name has it."),
        ("{{ 3€ }}", "Braces take simple expressions only"),
        ("{{ 3 ? 1 }}", "Braces take simple expressions only"),
    ],
)
def test_the_message_says_which_character_to_replace_or_delete(text: str, advice: str) -> None:
    with pytest.raises(InferenceError) as caught:
        rendered(text)
    assert caught.value.remedy.startswith(advice)
    with pytest.raises(InferenceError) as caught:
        Template(text, has_row=True)
    assert 'A column whose name has spaces or signs is {{ row["its name"] }}.' in caught.value.remedy
