"""What can be extracted from a reply: code blocks, JSON, frames."""

from __future__ import annotations

import json
import warnings
from contextlib import nullcontext
from datetime import date
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st
from kernels import Kernel
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field, field_serializer
from service import Service, Streamed

from wandb_inference_magic.errors import InferenceError, InferenceWarning
from wandb_inference_magic.messages import Reply, data_frame
from wandb_inference_magic.messages.extract import CodeBlock, code_blocks, read_json, to_records

TWO_BLOCKS = "Sure:\n\n```python\nx = 1\nx\n```\n\nthen\n\n~~~sh\necho $HOME\n~~~\n\nand\n\n```\nplain\n"


def test_code_blocks_are_found_with_their_language() -> None:
    assert code_blocks(TWO_BLOCKS) == (
        CodeBlock("python", "x = 1\nx"),
        CodeBlock("sh", "echo $HOME"),
        CodeBlock("", "plain"),
    )
    assert code_blocks("\ufeff```python\nx\n```") == (CodeBlock("python", "x"),)
    assert code_blocks("- a list:\n\n  ```python\n  in_it()\n  ```\n") == (CodeBlock("python", "in_it()"),)
    assert code_blocks("no code") == ()
    assert str(code_blocks(TWO_BLOCKS)[0]) == "x = 1\nx"


@given(st.text())
def test_any_text_in_a_fence_is_a_code_block(text: str) -> None:
    fence = "`" * 40
    (*_, last) = code_blocks(f"words\n\n{fence}python\n{text}\n{fence}" if "`" * 40 not in text else f"{fence}\nx")
    assert isinstance(last.text, str)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("Here:\n```json\n[1, 2]\n```", [1, 2]),
        ("```python\nx = 1\n```\n```json\n{}\n```", {}),
        ('Here you are: {"a": [1]}. Anything else?', {"a": [1]}),
        ('{"a": 1} (see [1])', {"a": 1}),
        ('According to [1], it is {"a": 2}.', {"a": 2}),
        ('See [1]: {"a": [2]}', {"a": [2]}),
        ('See [1], [2]: {"a": 1} or {"a": 2}. Sources: [1]', {"a": 2}),
        ('["draft"] -> final: {"a": 1}', {"a": 1}),
        ("By [1]: {'a': 1}", {"a": 1}),
        ('- [ ] to do\n{"a": 1}', {"a": 1}),
        ('See {x}: ["a", "b"]', ["a", "b"]),
        ('[{"a": 1}, {"a": 2}]\n{"note": "x"}', [{"a": 1}, {"a": 2}]),
        ('{"a": 1}\n```python\n[1, 2]\n```', {"a": 1}),
        ('```json\n{"a": 2}\n```\nCorrection:\n```json\n{"a": 1}\n```', {"a": 1}),
        ("```python\n[1, 2]\n```", [1, 2]),
        (r'"{\"a\": 1}"', {"a": 1}),
        (r'"[1] said \"a\""', '[1] said "a"'),
        ('{"a": 1}\n{"a": 2}', {"a": 2}),
        ('{"a": 1}\n{"a": 2, "b', {"a": 1}),
        (r'{"a": "$\rho_0 \tfrac{1}{2} \textbf{b}$"}', {"a": r"$\rho_0 \tfrac{1}{2} \textbf{b}$"}),
        (r'{"a": "$\frac{1}{2} \times \beta$"}', {"a": r"$\frac{1}{2} \times \beta$"}),
        (r'Here: ["\alpha \right \nabla \text{x}"]', [r"\alpha \right \nabla \text{x}"]),
        (r'["$\nu$ \(a \ne \tau\) x \neq y"]', [r"$\nu$ \(a \ne \tau\) x \neq y"]),
        (r'["$\\nu$", "$5\nand $6", "$x$\nu $y$"]', [r"$\nu$", "$5\nand $6", "$x$\nu $y$"]),
        (r'["$$\ne = 2$$"]', ["$$\ne = 2$$"]),
        (r'["^\d{3}\.\w+\b$"]', [r"^\d{3}\.\w+\b$"]),
        (r'["\\frac \\\\n \n\tx \u00e9 \b"]', ["\\frac \\\\n \n\tx é \b"]),
    ],
)
def test_json_is_found_in_a_reply(text: str, value: Any) -> None:
    assert read_json(text) == value


def test_a_block_that_names_json_comes_before_one_that_names_nothing() -> None:
    assert read_json('```json\n{"a": 2}\n```\nwhere the version is\n```\n3\n```') == {"a": 2}
    assert read_json("The set {1, 2} maps to [1, 2, 3,]") == [1, 2, 3]


def test_a_list_within_or_beside_an_object_in_a_loose_form_is_no_answer() -> None:
    assert read_json('{"name": "x", "tags": ["a", "b"],}') == {"name": "x", "tags": ["a", "b"]}
    assert read_json('```json\n{"tags": ["a", "b"], // two\n"ok": None}\n```') == {"tags": ["a", "b"], "ok": None}
    assert read_json('Range [0, 5]. Result: {"a": 1,}') == {"a": 1}
    assert read_json("I got {'label': 'x'} in [0, 1].") == {"label": "x"}


@pytest.mark.parametrize("piece", ["[", "{", '["\n', "[a]: ", "`[`", "- [\n"])
def test_json_is_looked_for_in_linear_time(piece: str) -> None:
    """With quadratic time this test would take a minute and more."""
    with pytest.raises(InferenceError):
        read_json(piece * (100_000 // len(piece)))


def test_a_reply_without_json_is_refused() -> None:
    with pytest.raises(InferenceError) as refused:
        read_json("no json")
    assert refused.value.cause == "answer"


class Person(BaseModel):
    name: str
    age: int


TABLE = (
    "Here:\n\n| city | people | area |\n|---|---:|---|\n| Paris | 2,102,650 | 105.4 |\n| `Rome` | 2748109 | 1285 |\n"
)


@pytest.mark.short
@pytest.mark.parametrize(
    ("text", "parsed", "records"),
    [
        (TABLE, None, [("Paris", 2102650, 105.4), ("Rome", 2748109, 1285.0)]),
        ("|n|z|\n|-|-|\n|1,5|01234|\n|12,25|99999|", None, [("1,5", "01234"), ("12,25", "99999")]),
        ("\ufeff|p|q|\n|-|-|\n|0,123|1,234|\n|0,001|5|", None, [("0,123", "1,234"), ("0,001", "5")]),
        ("|p|q|\n|-|-|\n|1.234,5|1.5|\n|12.500|2|", None, [("1.234,5", 1.5), ("12.500", 2.0)]),
        ("|p|q|\n|-|-|\n|0,5|1.5|\n|a|2|", None, [("0,5", 1.5), ("a", 2.0)]),
        ("|n|z|\n|-|-|\n|+1,234.5|1_0|\n|-7|20|", None, [(1234.5, "1_0"), (-7.0, "20")]),
        ("|n|z|\n|-|-|\n|\u22127|\u221207|\n|1|20|", None, [(-7, "\u221207"), (1, "20")]),
        ("|n|\n|-|\n|0.5|\n|0|", None, [(0.5,), (0.0,)]),
        ('|call|\n|-|\n|`{"a": 1}`|', None, [('{"a": 1}',)]),
        ('[{"a": 1}, {"a": 2}]', None, [(1,), (2,)]),
        ('{"rows": [{"a": 1}], "note": "x"}', None, [(1,)]),
        ('[{"a": 1}]\n[{"a": 2}]', None, [(2,)]),
        ('{"a": 1, "b": "x"}', None, [(1, "x")]),
        ("not json", [{"a": 1}], [(1,)]),
        ("not json", [], []),
        ("|a|b|\n|-|-|\n", None, []),
        ('{"items": []}', [], []),
        ("[]", None, []),
        ("None:\n```json\n[ ]\n```", None, []),
        ('{"name": "Ann", "tags": []}', None, [("Ann", [])]),
        ('{"a": 1}\n{"a": 2}\n\n{"a": 3}', None, [(1,), (2,), (3,)]),
        ('Here:\n```json\n{"a": 1}\n{"a": 2}\n```', None, [(1,), (2,)]),
        ("```markdown\n| a | b |\n|---|---|\n| 1 | x |\n```", None, [(1, "x")]),
        (
            "|t|v|n|\n|-|-|-|\n|+4712345678|3.9|12E5|\n|+4787654321|3.10|Nan|",
            None,
            [("+4712345678", "3.9", "12E5"), ("+4787654321", "3.10", "Nan")],
        ),
        ("|o|n|\n|-|-|\n|`x|y`|1|\n|`a||b`|2|", None, [("x|y", 1), ("a||b", 2)]),
        ("|o|n|\n|-|-|\n|`x\\|y`|`z`|\n|`a | b`|", None, [("x|y", "z"), ("`a", "b`")]),
        (
            "|`a|b`|m|\n|-|-|\n|`df[(x>1) | (y<2)]`|or|\n|$P(A|B)$|\\(\\|x_1*2*\\|\\)|\n",
            None,
            [("df[(x>1) | (y<2)]", "or"), ("$P(A|B)$", r"\(\|x_1*2*\|\)")],
        ),
        ("|a|b|\r\n|-|-|\r\n|1|2|3|\r\n|1|2||", None, [(1, "2|3"), (1, "2")]),
        ("|p|e|\n|-|-|\n|3.10|1.5e-3|\n|3.90|2.0e5|", None, [(3.1, 0.0015), (3.9, 200000.0)]),
        (
            "",
            RootModel[list[Person]]([Person(name="Ada", age=36), Person(name="Bob", age=7)]),
            [("Ada", 36), ("Bob", 7)],
        ),
        ("", [attrs.make_class("City", ["name", "size"])("Rome", 3)], [("Rome", 3)]),
        ("", [SimpleNamespace(name="Rome")], [("Rome",)]),
        ("", RootModel[list[str]](["ab", "cd"]), None),
        ("", [RootModel[str]("ab")], None),
        ('{"items": [1, 2]}', [1, 2], None),
        (
            "",
            {"k": Person(name="Ada", age=36), "d": date(2026, 1, 2)},
            [({"name": "Ada", "age": 36}, date(2026, 1, 2))],
        ),
        ("- [ ] to do", None, None),
        ("just words", None, None),
        ("", None, None),
        ("[1, 2]", None, None),
    ],
)
def test_a_reply_is_read_as_rows(text: str, parsed: Any, records: list[tuple[Any, ...]] | None) -> None:
    found = to_records(text, parsed)
    assert (found and [tuple(one.values()) for one in found.rows]) == records


@pytest.mark.short
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([2**53 + 1, None], "Int64"),
        ([2**53 + 1, 1], "int64"),
        ([1, None], "float64"),
        ([2**53 + 1, 1.5], "float64"),
        ([2**64, None], "object"),
    ],
)
def test_a_large_number_beside_a_missing_one_is_not_changed(values: list[Any], dtype: str) -> None:
    column = data_frame([{"id": value} for value in values])["id"]
    assert str(column.dtype) == dtype
    assert dtype == "float64" or column[0] == values[0]


def test_a_missing_field_is_a_missing_number() -> None:
    assert data_frame([{"id": 2**53 + 1}, {}])["id"].tolist()[0] == 2**53 + 1


@pytest.mark.parametrize(
    ("heads", "names"),
    [
        (["", "2023", "2023"], ["", "2023", "2023.1"]),
        (["", "", "x"], ["", ".1", "x"]),
        (["a", "a", "a.1", "a"], ["a", "a.2", "a.1", "a.3"]),
        (["a.1", "a.1", "a", "a"], ["a.1", "a.1.1", "a", "a.2"]),
    ],
)
def test_columns_with_the_same_heading_are_kept(heads: list[str], names: list[str]) -> None:
    lines = (heads, ["-"] * len(heads), [f"c{number}" for number in range(len(heads))])
    found = to_records("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    assert found is not None
    assert found.columns == names
    (record,) = found.rows
    assert list(record) == names
    assert list(record.values()) == lines[2]


# In a real kernel ------------------------------------------------------------------------------------------------


def run_chat(kernel: Kernel, code: str, cell_id: str | None = "c1") -> tuple[list[dict[str, Any]], str]:
    run = kernel.run(code, cell_id=cell_id)
    assert run.ok, run.text
    return run.reply["payload"], run.text


def next_cell(text: str) -> dict[str, Any]:
    return {"source": "set_next_input", "text": text, "replace": False}


def test_the_first_block_goes_into_the_next_cell_and_is_not_run(kernel: Kernel, service: Service) -> None:
    service.always = Streamed([TWO_BLOCKS])
    cells, text = run_chat(kernel, "%%wbchat --code\nCode, please")
    assert cells == [next_cell("x = 1\nx")]
    assert "copy it" not in text
    assert kernel.value("'x' in globals()") is False
    assert kernel.value("[(b.language, b.text) for b in _wbreply.code_blocks][:2]") == [
        ("python", "x = 1\nx"),
        ("sh", "echo $HOME"),
    ]


def test_each_block_goes_into_a_cell_of_its_own(kernel: Kernel, service: Service) -> None:
    service.always = Streamed([TWO_BLOCKS])
    cells, text = run_chat(kernel, "%%wbchat --code all\nCode, please")
    assert "This front end takes one block at a time" in text
    cells, text = run_chat(kernel, "%%wbchat --code all\nCode, please", cell_id="vscode-notebook-cell:/a.ipynb#W0")
    assert "new cell" not in text
    assert cells == [next_cell(text) for text in ("x = 1\nx", "echo $HOME", "plain")]
    # On a line with text, the next word belongs to the text.
    run_chat(kernel, "%wbchat --once --code all of it")
    assert service.last.body["messages"][-1]["content"] == "all of it"
    cells, _ = run_chat(kernel, "%wbchat --once --code=all of it")
    assert len(cells) == 3


def test_the_code_of_several_chats_in_a_cell_is_kept_and_what_of_it_gets_no_cell_is_said(
    kernel: Kernel, service: Service
) -> None:
    service.always = Streamed([TWO_BLOCKS])
    chats = "for _ in range(2):\n    %wbchat --once --code hi"
    cells, text = run_chat(kernel, chats)
    assert cells[0] == next_cell("x = 1\nx")
    taken = "The next cell is taken already: copy the code from the reply."
    assert text.count(taken) == 1
    assert "at a time" not in text
    cells, text = run_chat(kernel, chats, cell_id="vscode-notebook-cell:/a.ipynb#W0")
    assert cells == [next_cell("x = 1\nx")] * 2
    assert "at a time" not in text
    cells, text = run_chat(kernel, f"get_ipython().set_next_input('mine')\n{chats}")
    assert cells[0] == next_cell("mine")
    assert text.count(taken) == 2


def test_a_block_without_code_makes_no_cell(kernel: Kernel, service: Service) -> None:
    service.always = Streamed(["```\n```\n\n```python\nx = 1\n```\n"])
    for option in ("--code", "--code all"):
        cells, _ = run_chat(kernel, f"%%wbchat {option}\nCode, please")
        assert cells == [next_cell("x = 1")]


def test_a_note_is_shown_where_the_front_end_may_not_insert_a_cell(kernel: Kernel, service: Service) -> None:
    service.always = Streamed([TWO_BLOCKS])
    _, text = run_chat(kernel, "%wbchat --code hi", cell_id=None)
    assert "copy it from the reply" in text
    assert "x = 1" in text


def test_a_reply_without_code_gives_a_note_and_no_cell(kernel: Kernel) -> None:
    cells, text = run_chat(kernel, "%wbchat --code hi")
    assert cells == []
    assert "There is no code block in the reply" in text


def test_json_is_parsed(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(['```json\n{"a": [1, 2]}\n```']))
    kernel.run("%wbchat --format json -o r give me json")
    assert kernel.value("r.parsed") == {"a": [1, 2]}
    assert service.last.body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("option", ["--format json", '--schema "list of name"'])
def test_a_deeply_nested_reply_is_kept_and_reported(kernel: Kernel, service: Service, option: str) -> None:
    service.always = Streamed(["[" * 3000])
    run = kernel.run(f"%wbchat --no-repair {option} -o r go")
    assert "not JSON" in run.error
    assert "RecursionError" not in run.text
    assert kernel.value("_wbreply.text == '[' * 3000") is True
    assert "holds no table" in kernel.run("_wbreply.to_frame()").error


def test_json_within_text_is_read_with_format_and_with_schema(kernel: Kernel, service: Service) -> None:
    service.always = Streamed(['Here you are: {"name": "Ann"}'])
    for option in ("--format json", "--schema name"):
        kernel.run(f"%wbchat {option} -o r go")
        assert kernel.value("r.parsed") == {"name": "Ann"}


@pytest.mark.short
def test_a_table_becomes_a_frame(kernel: Kernel, service: Service) -> None:
    service.then(Streamed([TABLE]))
    kernel.run("r = %wbchat cities\ndf = r.to_frame()")
    assert kernel.value("df.to_dict('list')") == {
        "city": ["Paris", "Rome"],
        "people": [2102650, 2748109],
        "area": [105.4, 1285.0],
    }
    assert "holds no table" in kernel.run("r = %wbchat hi\nr.to_frame()").error


@pytest.mark.parametrize(
    ("cells", "values", "kind"),
    [
        (["1", "", "3"], [1, None, 3], "f"),
        (["N/A", "2,102.5", "\N{EM DASH}"], [None, 2102.5, None], "f"),
        (["9007199254740993", "-"], [9007199254740993, None], "i"),
        (["x", "", "3"], ["x", "", "3"], "O"),
        (["01234", ""], ["01234", ""], "O"),
        (["", "N/A"], ["", "N/A"], "O"),
    ],
)
def test_an_empty_cell_in_a_column_of_numbers_is_missing(cells: list[str], values: list[Any], kind: str) -> None:
    table = "".join(f"| a | {cell} |\n" for cell in cells)
    column = Reply(f"| k | v |\n|---|---|\n{table}", "m", "m", "e").to_frame()["v"]
    assert column.dtype.kind == kind
    assert [None if one is None else one for one in column.astype(object).where(column.notna(), None)] == values


def test_what_a_frame_leaves_out_beside_its_records_is_named() -> None:
    reply = Reply('{"id": 7, "count": 2, "total": 12.5, "note": null, "items": [{"n": 1}, {"n": 2}]}', "m", "m", "e")
    with pytest.warns(InferenceWarning, match=r"without what is beside it: id, total\.$"):
        assert reply.to_frame().to_dict("records") == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        ({"count": 1, "note": None}, None),
        ({"totalCount": 1, "num_items": 1, "itemCount": 1, "number_of_items": 1, "items_total": 1}, None),
        ({"rating": 1, "number": 1, "total": 1}, "rating, number, total"),
        ({"word_count": 1, "n_pages": 1, "COUNTRY": 1}, "word_count, n_pages, COUNTRY"),
        ({"count": True, "length": 1.0, "n": "1"}, "count, length, n"),
        # It says the same of the object as of its records.
        ({"n": 1}, "n"),
    ],
)
def test_only_a_number_that_its_name_calls_the_length_is_not_named(beside: dict[str, Any], named: str | None) -> None:
    reply = Reply(json.dumps(beside | {"items": [{"n": 7}]}), "m", "m", "e")
    with nullcontext() if named is None else pytest.warns(InferenceWarning, match=rf"beside it: {named}\.$"):
        assert reply.to_frame().to_dict("records") == [{"n": 7}]


def test_a_table_without_rows_keeps_its_headings() -> None:
    frame = Reply("| a | b | a |\n|---|---|---|\n", "m", "m", "e").to_frame()
    assert (list(frame), len(frame)) == (["a", "b", "a.1"], 0)


@pytest.mark.parametrize("answer", ['{"items": []}', "[]"])
def test_an_empty_list_becomes_a_frame_without_rows(kernel: Kernel, service: Service, answer: str) -> None:
    service.then(Streamed([answer]))
    kernel.run('%wbchat --schema "list of a int" -o t go')
    assert kernel.value("(t.parsed, len(t.to_frame()))") == ([], 0)


class Share(BaseModel):
    done: int
    total: int
    note: str = Field("not written", exclude=True)

    @computed_field
    def share(self) -> float:
        return self.done / self.total

    @computed_field
    def rest(self) -> int:
        return self.total - self.done

    @field_serializer("done")
    def written(self, value: int) -> int:
        return 10 * value


class Team(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str
    share: Share
    parts: dict[str, list[Share]] = {}


EMPTY, FULL = Share(done=1, total=0), Share(done=1, total=2)
EMPTY_RECORD, FULL_RECORD = (
    {"done": 1, "total": total, "note": "not written", "share": share, "rest": rest}
    for total, share, rest in ((0, None, -1), (2, 0.5, 1))
)
FAILED = "The frame has no value where the field share raised ZeroDivisionError."


def test_a_record_whose_computed_field_raises_has_its_other_fields() -> None:
    """They have the values and types that they have in a map, and in the object."""
    reply = Reply("", "m", "m", "e", parsed=[EMPTY, FULL])
    with pytest.warns(InferenceWarning) as caught:
        frame = reply.to_frame()
    assert [str(one.message) for one in caught] == [FAILED]
    assert list(frame.columns) == ["done", "total", "note", "share", "rest"]
    assert frame.astype(object).where(frame.notna(), None).to_dict("records") == [EMPTY_RECORD, FULL_RECORD]
    assert frame.rest.dtype == "int64"


@pytest.mark.parametrize(
    ("parsed", "rows"),
    [
        (EMPTY, [EMPTY_RECORD]),
        ({"shares": [FULL, EMPTY]}, [FULL_RECORD, EMPTY_RECORD]),
        (RootModel[list[Share]]([EMPTY]), [EMPTY_RECORD]),
        (Team(name="a", share=EMPTY), [{"name": "a", "share": EMPTY_RECORD, "parts": {}}]),
        (
            Team(name="a", share=FULL, parts={"b": [FULL, EMPTY]}, more=2),  # type: ignore[call-arg]
            [{"name": "a", "share": FULL_RECORD, "parts": {"b": [FULL_RECORD, EMPTY_RECORD]}, "more": 2}],
        ),
    ],
)
def test_a_computed_field_that_raises_within_a_record_has_no_value_there(parsed: Any, rows: list[Any]) -> None:
    records = to_records("", parsed)
    assert records is not None
    assert (records.rows, records.failed) == (rows, ("share raised ZeroDivisionError",))


def test_what_is_said_of_a_frame_has_the_frame_where_warnings_are_errors() -> None:
    class Report(BaseModel):
        title: str
        shares: list[Share]

    reply = Reply("", "m", "m", "e", parsed=Report(title="x", shares=[EMPTY, FULL]))
    with pytest.warns(InferenceWarning) as caught:
        reply.to_frame()
    beside = "The frame has the list of records in the answer, without what is beside it: title."
    assert [str(one.message) for one in caught] == [FAILED, beside]
    with warnings.catch_warnings(), pytest.raises(InferenceWarning) as raised:
        warnings.simplefilter("error")
        reply.to_frame()
    assert len(raised.value.partial) == 2
