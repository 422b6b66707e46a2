"""`%%wbmap` in a real kernel, and `map_prompts`: over a real socket."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import ModuleType

import nbformat
import pytest
from kernels import Kernel, NotebookRun, SharedKernel
from mapped_rows import FRAME, SCRIPT, echo, prompt_of, prompts, variables_for
from python_processes import run_python
from service import MODEL, Answer, Service, Streamed, completion, refused

from wandb_inference_magic import InferenceError

MAP = "%%wbmap df\nIs {{ text }} good?"


def test_each_row_becomes_a_prompt_and_its_answer_a_column(mapper: Kernel, service: Service) -> None:
    run = mapper.run("%%wbmap df -o answered -s 'Be brief.' -t 0 --max-tokens 5\nIs {{ text }} {{ n + 1 }} good?")
    assert run.ok
    assert sorted(prompts(service)) == [f"Is {text} {n} good?" for text, n in zip("abcd", range(2, 6), strict=True)]
    assert service.last.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {name: service.last.body[name] for name in ("model", "temperature", "max_tokens")} == {
        "model": MODEL,
        "temperature": 0,
        "max_tokens": 5,
    }
    assert "stream" not in service.last.body or service.last.body["stream"] is False
    assert mapper.value("answered.reply.tolist()") == [
        f"<Is {text} {n} good?>" for text, n in zip("abcd", range(2, 6), strict=True)
    ]
    assert mapper.value("answered.index.tolist()") == [3, 3, 9, 1]
    assert mapper.value("list(answered.columns)") == ["text", "n", "reply"]
    assert mapper.value("list(df.columns)") == ["text", "n"], "the frame itself is not changed"


def test_a_map_ends_with_one_tidy_output(mapper: Kernel, service: Service) -> None:
    run = mapper.run(MAP)
    assert set(run.output["data"]) == {"text/markdown", "text/plain"}
    for expected in ("4 of 4 rows answered, in _wbmap", "48 + 12 tokens", "cost unknown", MODEL):
        assert expected in run.text
    assert "Is a good?" in run.text


@pytest.mark.parametrize(
    ("options", "headings"),
    [
        ("", ["row", "reply"]),
        ("--into mood", ["row", "mood"]),
        ("--into text", ["row", "text_2"]),
        ('--schema "text, n int"', ["row", "text_reply", "n_reply"]),
        ("--into mood -m test/a -m test/b", ["row", "model", "mood"]),
    ],
)
def test_the_answers_are_shown_below_the_names_of_their_columns(
    mapper: Kernel, service: Service, options: str, headings: list[str]
) -> None:
    service.always = completion('{"text": "x", "n": 1}')
    run = mapper.run(f"%%wbmap df {options}\nIs {{{{ text }}}} good?")
    assert run.ok, run.error
    heading = run.output["data"]["text/markdown"].strip().split("\n")[0]
    assert [one.strip(" *").replace("\\", "") for one in heading.strip("|").split("|")] == headings


def test_the_first_answers_are_shown_while_others_are_running(mapper: Kernel, service: Service) -> None:
    gate, seen = Event(), False

    def answer(one: Answer) -> None:
        if "a" not in prompt_of(one):
            assert gate.wait(60)
        echo(one)

    service.always = answer
    request = mapper.start("%%wbmap df --concurrency 2\nIs {{ text }} x?")
    for message in mapper.messages(request):
        if "Is a x?" in json.dumps(message.content) and not gate.is_set():
            seen = True
            gate.set()
    assert seen


def test_a_headless_map_shows_no_progress_bar(environment: dict[str, str], service: Service, tmp_path: Path) -> None:
    """The output under nbclient contains the answers and no widget."""
    service.always = echo
    cells = ["%load_ext wandb_inference_magic", FRAME, MAP]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    NotebookRun(notebook, timeout=120).execute(env=variables_for(environment, service))
    (output,) = notebook.cells[-1].outputs
    assert set(output.data) == {"text/markdown", "text/plain"}
    assert "4 of 4 rows answered" in output.data["text/plain"]


def test_calls_whose_tokens_are_not_counted_are_not_shown_as_no_tokens(mapper: Kernel, service: Service) -> None:
    service.always = completion("Good.", counted={"queue_time": 0.1})
    service.then(completion("Good."))
    assert "12 + 3 tokens · tokens of 3 calls not counted" in mapper.run(MAP).text
    assert "in _wbmap · tokens of 4 calls not counted" in mapper.run(f"{MAP[:10]} --no-cache{MAP[10:]}").text


def test_map_prompts_works_in_a_script(environment: dict[str, str], service: Service) -> None:
    service.always = echo
    done = run_python("-c", SCRIPT, "3", environment=variables_for(environment, service))
    assert done.stdout == "3\n", done.stderr


@pytest.mark.parametrize(
    ("make", "read"),
    [
        ("import polars; frame = polars.from_pandas(df)", "type(out).__module__.split('.')[0], out['reply'].to_list()"),
        pytest.param(
            "import polars; frame = polars.from_pandas(df).lazy()",
            "'polars', out['reply'].to_list()",
            marks=pytest.mark.short,
        ),
        pytest.param(
            "import pyarrow; frame = pyarrow.table({'text': list('abcd')})",
            "'pyarrow', out['reply'].to_pylist()",
            marks=pytest.mark.short,
        ),
        ("frame = df.text", "type(out).__name__, out['reply'].tolist()"),
        ("import polars; frame = polars.Series(['a', 'b', 'c', 'd'])", "'polars', out['reply'].to_list()"),
        pytest.param("frame = list('abcd')", "type(out).__name__, out['reply'].tolist()", marks=pytest.mark.short),
        ("frame = [{'text': one, 'other': 1} for one in 'abcd']", "type(out).__name__, out['reply'].tolist()"),
        ("frame = (one for one in 'abcd')", "type(out).__name__, out['reply'].tolist()"),
    ],
)
def test_any_frame_list_or_generator_can_be_mapped(shared_mapper: SharedKernel, make: str, read: str) -> None:
    kernel = shared_mapper.kernel
    kernel.run(make)
    run = kernel.run("%%wbmap frame -o out --no-cache\nIs {{ text }} good?")
    assert run.ok, run.error
    assert len(shared_mapper.service.chats) == 4
    assert kernel.value(f"({read})")[1] == [f"<Is {text} good?>" for text in "abcd"]


def test_rows_of_a_generator_are_drawn_lazily(api: ModuleType, service: Service) -> None:
    """The rows are an endless generator: only rows that are used are drawn."""
    drawn = 0

    def endless() -> Iterator[str]:
        nonlocal drawn
        for drawn in itertools.count(1):
            yield str(drawn)

    service.always = lambda one: (echo if int(prompt_of(one)) < 100 else refused(402, "no credit"))(one)
    with pytest.raises(InferenceError) as caught:
        api.map_prompts(endless(), "{{ text }}", concurrency=4)
    assert 100 <= drawn <= 112
    assert caught.value.cause == "quota"


@pytest.mark.parametrize("frame", ["df", '"df"', "(df)"])
def test_rows_beyond_the_limit_are_not_lost(kernel: Kernel, service: Service, frame: str) -> None:
    service.always = completion("good")
    assert kernel.run("import pandas as pd\ndf = pd.DataFrame({'n': range(40)})").ok
    refused = kernel.run(f"%%wbmap {frame} -o df --limit 4\n{{{{ n }}}}").error
    assert "df would keep only its first 4 rows, because of --limit. Nothing was sent." in refused
    assert service.chats == []
    assert kernel.run("%%wbmap df -o df\n{{ n }}").ok
    assert kernel.value("(len(df), list(df))") == (40, ["n", "reply"])


def test_columns_override_names_of_the_notebook(mapper: Kernel, service: Service) -> None:
    mapper.run("text, tone = 'of the notebook', 'kindly'")
    mapper.run("%%wbmap df --limit 1\n{{ text }} {{ tone }} {{ row['n'] }} {{ row | length }}")
    assert prompts(service) == ["a kindly 1 2"]


def test_each_field_of_a_schema_becomes_a_typed_column(mapper: Kernel, service: Service) -> None:
    def answer(one: Answer) -> None:
        letter = prompt_of(one)[0]
        completion(json.dumps({"label": "good" if letter < "c" else "bad", "score": ord(letter)}))(one)

    service.always = answer
    mapper.run("%%wbmap df -o out --schema 'label good|bad, score int'\n{{ text }}?")
    assert service.last.body["response_format"]["json_schema"]["strict"] is True
    assert mapper.value("out[['label', 'score']].values.tolist()") == [
        ["good", 97],
        ["good", 98],
        ["bad", 99],
        ["bad", 100],
    ]
    assert mapper.value("str(out.score.dtype)").lower() == "int64"
    assert "reply" not in mapper.value("list(out.columns)")


def test_an_answer_that_does_not_fit_is_repaired_once(mapper: Kernel, service: Service) -> None:
    service.then(completion('{"label": "so so"}'))
    service.always = completion('{"label": "bad"}')
    mapper.run("%%wbmap df -o out --limit 1 --schema 'label good|bad'\n{{ text }}?")
    assert len(service.chats) == 2
    assert "so so" in service.last.body["messages"][-2]["content"]
    assert mapper.value("out.label.tolist()") == ["bad"]


def test_a_field_is_computed_once_a_row_and_shown_as_it_is_in_the_frame(mapper: Kernel, service: Service) -> None:
    mapper.run(
        "from itertools import count\nfrom pydantic import BaseModel, Field, computed_field\nnumbers = count(1)\n"
        "class Inner(BaseModel):\n    @computed_field\n    def number(self) -> int:\n        return next(numbers)\n"
        "class Ticket(Inner):\n    text: str\n    part: Inner = Field(exclude=True)\n"
    )
    service.always = completion('{"text": "x", "part": {}}')
    run = mapper.run("%%wbmap df -o out --schema Ticket\n{{ text }}?")
    pairs = mapper.value("list(zip(out.number.tolist(), out.part.tolist()))")
    assert sorted([one for number, part in pairs for one in (number, part["number"])]) == [*range(1, 9)]
    for row, (number, part) in enumerate(pairs[:3], 1):
        assert re.search(rf"{row} +x +{part} +{number}\n", run.output["data"]["text/plain"])
    # Those of a reply have the same fields.
    service.always = None
    service.then(Streamed(['{"text": "x", "part": {}}']))
    mapper.run("%wbchat --schema Ticket -o reply go")
    (row,) = mapper.value("reply.to_frame().to_dict('records')")
    assert row == {"text": "x", "part": {"number": 10}, "number": 9}


def test_a_refused_schema_is_relaxed_for_all_rows(mapper: Kernel, service: Service) -> None:
    def answer(one: Answer) -> None:
        if (one.received.body.get("response_format") or {}).get("type") == "json_schema":
            refused(400, "response_format json_schema is not supported")(one)
        else:
            completion('{"label": "good"}')(one)

    service.always = answer
    run = mapper.run("%%wbmap df -o out --concurrency 1 --schema 'label good|bad'\n{{ text }}?")
    assert mapper.value("out.label.tolist()") == ["good"] * 4
    # The second row was prepared while the first one was running.
    assert len(service.chats) <= 6
    assert "does not support schemas" in run.text
    before = len(service.chats)
    assert mapper.run("%%wbmap df -o out --schema 'label good|bad'\n{{ text }}?").ok
    assert len(service.chats) == before, "all answers are in the cache"


def test_several_models_answer_in_separate_columns(mapper: Kernel, service: Service) -> None:
    service.always = lambda one: completion(one.received.body["model"])(one)
    mapper.run("%%wbmap df -o out -m test/a -m test/b\n{{ text }}?")
    assert mapper.value("out[['reply_a', 'reply_b']].values.tolist()") == [["test/a", "test/b"]] * 4


def test_all_models_get_the_same_prompts_each_rendered_once(mapper: Kernel, service: Service) -> None:
    mapper.run("made = []\ndef one(text):\n    made.append(text)\n    return len(made)\nmany = list('abcdefgh')")
    run = mapper.run("%%wbmap many -o out -m test/a -m test/b\n{{ text }} {{ one(text) }}")
    assert run.ok, run.error
    assert mapper.value("''.join(made)") == "abcdefgh"
    asked = [(chat.body["model"], chat.body["messages"][-1]["content"]) for chat in service.chats]
    expected = [f"{text} {number}" for number, text in enumerate("abcdefgh", 1)]
    assert sorted(asked) == [(model, prompt) for model in ("test/a", "test/b") for prompt in expected]


def test_the_prompts_that_an_estimate_needs_are_those_that_are_sent(mapper: Kernel, service: Service) -> None:
    mapper.run("made = []\ndef one(text):\n    made.append(text)\n    return len(made)\nmany = list('abcdefghij')")
    run = mapper.run("%%wbmap many -o out\n{{ text }} {{ one(text) }}")
    assert run.ok, run.error
    assert mapper.value("''.join(made)") == "abcdefghij"
    assert sorted(chat.body["messages"][-1]["content"] for chat in service.chats)[0] == "a 1"


@pytest.mark.parametrize(
    ("first", "is_known"),
    [
        ("'why'", True),
        ("['why', 1]", True),
        ("{'a': None}", True),
        ("Path('why')", True),
        ("pd.DataFrame({'why': range(100)})", True),
        ("lambda: 'why'", True),
        ("lambda: Lock()", True),
        ("lambda held=Lock(): held", False),
        ("[Part()]", True),
        ("[Lock()]", False),
    ],
)
def test_a_prompt_with_another_value_of_the_notebook_is_another_map(mapper: Kernel, first: str, is_known: bool) -> None:
    """A loop over questions keeps the answers to each."""
    cell = "%%wbmap df -o df\n{{ asked is defined }} {{ text }}"
    mapper.run("from pathlib import Path\nfrom threading import Lock\nimport pandas as pd\nclass Part: size = 1")
    replies = []
    for asked in (first, first, "'how'"):
        assert mapper.run(f"asked = {asked}").ok
        run = mapper.run(cell)
        assert run.ok, run.error
        replies.append(mapper.value("sum('reply' in name for name in df)"))
        why = (
            "Whether this map has written reply cannot be known, because its prompt has a value that cannot be compared"
        )
        assert (f"{why}: asked. If it has, drop that first." in run.text) == (replies == [1, 2])
    assert replies == ([1, 1, 2] if is_known else [1, 2, 3])


def test_a_prompt_with_another_text_of_a_file_is_another_map(mapper: Kernel) -> None:
    mapper.run("from pathlib import Path\nasked = Path('asked.txt')")
    replies = []
    for text in ("why", "why", "how"):
        assert mapper.run(f"asked.write_text({text!r})\nNone").ok
        assert mapper.run("%%wbmap df -o df\n{{ asked }} {{ text }}").ok
        replies.append(mapper.value("sum('reply' in name for name in df)"))
    assert replies == [1, 1, 2]
