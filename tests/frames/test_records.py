"""Rows made of records: named tuples, models, rows of databases and of frames. The result can be written to a file."""

from __future__ import annotations

import csv
import re
import sqlite3
import sys
from collections import UserList
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO, StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from weakref import finalize

import dask
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel, ConfigDict
from service import Answer, Service, completion
from sqlalchemy import StaticPool, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from wandb_inference_magic import InferenceError
from wandb_inference_magic.errors import InferenceWarning
from wandb_inference_magic.frames import ListRows, plain, read_rows, with_values, without_columns
from wandb_inference_magic.prompts import Image, render


class Pair(NamedTuple):
    name: str
    pay: Any


@dataclass
class Person:
    name: str
    pay: Any


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Plain:
    def __str__(self) -> str:
        return "a plain one"


PEOPLE = [("Bo", 3), ("Al", 5)]
FRAME = pd.DataFrame(PEOPLE, columns=["name", "pay"], index=["x", "y"])
COLUMNS: dict[str, list[Any]] = {"name": ["Bo", "Al"], "pay": [3, 5]}
INDEXED: dict[str, list[Any]] = {"Index": ["x", "y"], **COLUMNS}


class SparkRow(tuple[Any, ...]):
    """A row as `pyspark.sql.Row` is."""

    __fields__ = ("name", "pay")

    def __new__(cls, *values: Any) -> SparkRow:
        return super().__new__(cls, values)

    def asDict(self) -> dict[str, Any]:
        return dict(zip(self.__fields__, self, strict=True))


def cursor(factory: Any = None, sql: str = "select * from people") -> sqlite3.Cursor:
    database = sqlite3.connect(":memory:")
    database.row_factory = factory
    database.execute("create table people (name, pay)")
    database.executemany("insert into people values (?, ?)", PEOPLE)
    found = database.execute(sql)
    finalize(found, database.close)
    return found


def echo(one: Answer) -> None:
    completion(one.received.body["messages"][-1]["content"])(one)


def from_parquet(frame: pd.DataFrame) -> pd.DataFrame:
    file = BytesIO()
    frame.to_parquet(file)
    return pd.read_parquet(file)


class SqlRow(UserList[Any]):
    """A row as SQLAlchemy has it: a sequence with names, and no tuple."""

    _fields = ("name", "pay")

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))


class Base(DeclarativeBase):
    pass


class Entity(Base):
    __tablename__ = "people"
    name: Mapped[str] = mapped_column(primary_key=True)
    pay: Mapped[int]


def entities() -> list[Entity]:
    """Return entities as a query gives them: what was committed is read again."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    session = Session(engine)
    session.add_all(Entity(name=name, pay=pay) for name, pay in PEOPLE)
    session.commit()
    return list(session.scalars(select(Entity).order_by(Entity.pay)))


@pytest.mark.parametrize(
    ("make", "columns"),
    [
        pytest.param(lambda: [Pair(*one) for one in PEOPLE], COLUMNS, id="named tuples"),
        pytest.param(lambda: [Person(*one) for one in PEOPLE], COLUMNS, id="dataclasses"),
        pytest.param(lambda: [Model(name=name, pay=pay) for name, pay in PEOPLE], COLUMNS, id="models"),
        pytest.param(cursor, COLUMNS, id="tuples of a cursor"),
        pytest.param(lambda: cursor(sqlite3.Row), COLUMNS, id="rows of a cursor"),
        pytest.param(lambda: cursor(sqlite3.Row).fetchall(), COLUMNS, id="rows that were fetched"),
        pytest.param(FRAME.itertuples, INDEXED, id="itertuples"),
        pytest.param(FRAME.iterrows, INDEXED, id="iterrows"),
        pytest.param(lambda: [row for _, row in FRAME.iterrows()], COLUMNS, id="Series"),
        pytest.param(lambda: FRAME.to_records(index=False), COLUMNS, id="records of NumPy"),
        pytest.param(lambda: [SqlRow(one) for one in PEOPLE], COLUMNS, id="rows of SQLAlchemy"),
        pytest.param(lambda: [SimpleNamespace(name=name, pay=pay) for name, pay in PEOPLE], COLUMNS, id="namespaces"),
        pytest.param(entities, COLUMNS, id="entities of SQLAlchemy"),
        pytest.param(lambda: [SparkRow(*one) for one in PEOPLE], COLUMNS, id="rows of Spark"),
        pytest.param(lambda: pd.MultiIndex.from_frame(FRAME), COLUMNS, id="an index of levels"),
    ],
)
def test_fields_that_have_names_are_columns(
    api: ModuleType, service: Service, make: Callable[[], Any], columns: dict[str, list[Any]]
) -> None:
    service.always = echo
    out = api.map_prompts(make(), "{{ name }} earns {{ pay }}")
    for read in (out, from_parquet(out)):
        assert read.to_dict("list") == {**columns, "reply": ["Bo earns 3", "Al earns 5"]}


class Secretive(Base):
    __tablename__ = "logins"
    name: Mapped[str] = mapped_column(primary_key=True)

    def __repr__(self) -> str:
        return "a login"


def test_an_entity_has_its_columns_in_a_prompt_unless_it_has_a_text_of_its_own() -> None:
    entity = entities()[0]
    assert render("{{ one }} {{ [one] }}", {"one": entity}) == '{"name": "Bo", "pay": 3} [{"name": "Bo", "pay": 3}]'
    assert render("{{ one }} {{ [one] }}", {"one": Secretive(name="Bo")}) == 'a login ["a login"]'


class Found(tuple[float, float]):
    """As the results of SciPy: its dict has more than the tuple, and private parts."""

    _fields = ("statistic",)

    def _asdict(self) -> dict[str, Any]:
        return {"statistic": self[0], "df": self[1], "_xp": "a module"}


def test_rows_of_a_database_and_results_of_scipy_have_their_fields_in_a_column() -> None:
    assert plain(cursor(sqlite3.Row).fetchall()) == [{"name": name, "pay": pay} for name, pay in PEOPLE]
    assert plain([Found((0.5, 4.0))]) == [{"statistic": 0.5, "df": 4.0}]


def test_times_in_a_record_of_numpy_are_times() -> None:
    record = np.array([(1, "2026-01-02")], [("n", "i8"), ("t", "M8[ns]")])[0]
    assert next(iter(ListRows([record]))) == {"n": 1, "t": datetime(2026, 1, 2)}


def test_an_index_is_a_column_of_its_name(api: ModuleType, service: Service) -> None:
    service.always = echo
    out = api.map_prompts(pd.Index(["Ulm", "Bonn"], name="city"), "{{ city }}!")
    assert out.to_dict("list") == {"city": ["Ulm", "Bonn"], "reply": ["Ulm!", "Bonn!"]}
    assert api.map_prompts(pd.Index(["Ulm"]), "{{ text }}!").reply.tolist() == ["Ulm!"]


def test_items_of_other_tuples_are_found_by_their_places(api: ModuleType, service: Service) -> None:
    service.always = echo
    out = from_parquet(api.map_prompts(PEOPLE, "{{ row[0] }} earns {{ row['1'] }}"))
    assert out.to_dict("list") == {"0": ["Bo", "Al"], "1": [3, 5], "reply": ["Bo earns 3", "Al earns 5"]}


def test_a_pair_of_iterrows_is_found_by_its_places_too(api: ModuleType, service: Service) -> None:
    service.always = echo
    out = api.map_prompts(FRAME.iterrows(), "{{ row[0] }}: {{ row[1].name }} {{ row[1]['name'] }} earns {{ pay }}")
    assert out.to_dict("list") == {**INDEXED, "reply": ["x: Bo Bo earns 3", "y: Al Al earns 5"]}


def test_two_columns_of_a_cursor_with_the_same_name_are_refused(api: ModuleType, service: Service) -> None:
    with pytest.raises(InferenceError, match=r"Two columns are called 'name'\. Nothing was sent\."):
        api.map_prompts(cursor(sql="select name, name from people"), "{{ name }}")
    assert not service.chats


def test_groups_of_a_frame_are_rows_that_can_be_written(api: ModuleType, service: Service) -> None:
    service.always = echo
    groups = FRAME.groupby("name")
    out = from_parquet(api.map_prompts(groups, "{{ row[0] }}: {{ row[1].pay.sum() }}"))
    assert out["reply"].tolist() == ["Al: 5", "Bo: 3"]
    assert list(out["1"][0]) == [{"name": "Al", "pay": 5}]
    out = from_parquet(api.map_prompts(groups["pay"], "{{ row[0] }}: {{ row[1].sum() }}"))
    assert out["reply"].tolist() == ["Al: 5", "Bo: 3"]
    assert list(out["1"][0]) == [5]


def test_objects_without_fields_are_texts_in_the_result(api: ModuleType, service: Service) -> None:
    service.always = echo
    out = api.map_prompts([Plain(), Pair("Bo", Person("Al", Path("a")))], "{{ row }}")
    read = from_parquet(out)
    assert read["text"].tolist()[0] == "a plain one"
    assert read["pay"].tolist()[1] == {"name": "Al", "pay": "a"}


@pytest.mark.parametrize("value", [dask.delayed(list)(), np.array(5)], ids=["Delayed", "array without dimensions"])
def test_a_value_that_says_it_cannot_be_iterated_has_no_rows(value: Any) -> None:
    with pytest.raises(InferenceError, match=f"A value of type {type(value).__name__} has no rows"):
        read_rows(value)


class ByPlace:
    """A dataset as those of PyTorch: it has rows, but no `__iter__`."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns_ = columns

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> dict[str, Any]:
        # Without an end, as many are.
        return {name: values[place % 2] for name, values in self.columns_.items()}


class Keyed(ByPlace):
    """A mapping that is not registered as one."""

    def keys(self) -> list[str]:
        return [*self.columns_]


def test_rows_are_read_by_their_places(api: ModuleType, service: Service) -> None:
    service.always = echo
    out = api.map_prompts(ByPlace(t=["a", "b"], label=[0, 1]), "{{ t }} {{ label }}")
    assert out["reply"].tolist() == ["a 0", "b 1"]
    assert out["label"].tolist() == [0, 1]
    assert [row["t"] for row in read_rows(ByPlace(t=["a", "b"]), 1)] == ["a"]


class Dataset(list[Any]):
    """One of Hugging Face's, of which each item is a frame with one row in some formats."""

    def __init__(self, kind: str | None = "pandas", columns: tuple[str, ...] = ("t",)) -> None:
        super().__init__([pd.DataFrame({"t": ["a"]}) if kind else dict.fromkeys(columns, "a")])
        self.format = {"type": kind, "columns": columns}

    def with_format(self, kind: str | None, columns: tuple[str, ...]) -> Dataset:
        return Dataset(kind, columns)


def test_a_dataset_in_a_format_of_frames_has_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(Dataset=Dataset))  # type: ignore[arg-type]
    assert [dict(row) for row in read_rows(Dataset())] == [{"t": "a"}]


TABLES = {
    "splits": ({"train": pd.DataFrame({"t": ["a"]}), "test": None}, r"It holds tables\..* 'train', 'test'\."),
    "many sheets": (dict.fromkeys(range(9), pd.DataFrame()), r"by its key: 0, 1, 2, 3, 4, …\."),
    "columns": ({"t": ["a"]}, "Give a DataFrame"),
    "no mapping of Python's": (Keyed(t=["a"]), "Give a DataFrame"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_dict_of_tables_names_them(name: str) -> None:
    value, expected = TABLES[name]
    with pytest.raises(InferenceError) as caught:
        read_rows(value)
    assert re.search(expected, " ".join(str(caught.value).split()))


def test_an_object_whose_text_is_its_address_is_kept(api: ModuleType, service: Service) -> None:
    service.always = echo
    documents = [type("Document", (), {"title": title})() for title in ("one", "two")]
    assert api.map_prompts(documents, "{{ text.title }}")["text"].tolist() == documents


def test_an_image_is_one_value_although_it_is_a_dataclass() -> None:
    image = Image("https://example.com/a.png")
    rows = read_rows([image])
    assert list(rows) == [{"text": image}]
    assert rows.with_columns({})[0]["text"][0] is image


def test_records_that_are_copied_are_still_found_by_place() -> None:
    rows = read_rows(PEOPLE, copy=True)
    assert isinstance(rows, ListRows)
    assert next(iter(rows))[0] == "Bo"  # type: ignore[index]


@pytest.mark.parametrize("limit", [None, 3])
def test_batches_of_pyarrow_are_a_table(api: ModuleType, service: Service, limit: int | None) -> None:
    service.always = echo
    table = pa.table({"t": list("abcdef")})
    size = 6 if limit is None else limit
    for given in (table.to_batches()[0], table.to_reader(max_chunksize=2)):
        out = api.map_prompts(given, "{{ t }}", limit=limit)
        assert isinstance(out, pa.Table)
        assert out["reply"].to_pylist() == list("abcdef")[:size]


def test_a_file_that_pandas_reads_in_chunks_is_its_rows() -> None:
    def chunks() -> Any:
        return pd.read_csv(StringIO("a,b\n1,x\n2,y\n3,z\n"), chunksize=2)

    assert [row["b"] for row in read_rows(chunks())] == ["x", "y", "z"]
    assert [row["b"] for row in read_rows(chunks(), 1)] == ["x"]


def test_only_the_batches_that_the_limit_needs_are_read() -> None:
    reader = pa.table({"t": list("abcdef")}).to_reader(max_chunksize=2)
    assert [row["t"] for row in read_rows(reader, 3)] == ["a", "b", "c"]
    assert reader.read_next_batch().to_pydict() == {"t": ["e", "f"]}


# Warnings of other packages ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_columns_in_several_levels_get_one_more_without_a_warning(api: ModuleType, service: Service) -> None:
    service.always = echo
    frame = pd.DataFrame([["a", "b"]], columns=pd.MultiIndex.from_tuples([("t", "x"), ("t", "y")]))
    out = api.map_prompts(frame, "{{ row[('t', 'x')] }}")
    assert out.columns.tolist() == [("t", "x"), ("t", "y"), ("reply", "")]
    assert out["reply"].tolist() == ["a"]


def test_a_column_in_several_levels_is_known_by_its_name(api: ModuleType, service: Service) -> None:
    service.always = echo
    frame = pd.DataFrame(
        [["a", "b", "mine"]], columns=pd.MultiIndex.from_tuples([("t", "x"), ("t", "y"), ("reply", "")])
    )
    with pytest.warns(InferenceWarning, match="The frame has a column 'reply', which is kept"):
        out = api.map_prompts(frame, "{{ row['t', 'x'] }} {{ row['t, y'] }} {{ reply }}")
    # A column of the user is never replaced.
    assert out["reply"].tolist() == ["mine"]
    assert out["reply_2"].tolist() == ["a b mine"]
    assert read_rows(frame).values("t, x") == ["a"]
    assert read_rows(pd.DataFrame([[1, 2]])).values("1") == [2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", [pl.DataFrame, pl.LazyFrame])
def test_a_frame_of_narwhals_is_read_without_a_warning(api: ModuleType, service: Service, make: Any) -> None:
    service.always = echo
    out = api.map_prompts(nw.from_native(make({"t": ["a"]})), "{{ t }}")
    assert out.to_dict(as_series=False) == {"t": ["a"], "reply": ["a"]}


# Rows without a prompt -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"system": "Be brief."}, {"distinct": True}])
def test_a_row_whose_prompt_is_empty_is_not_sent_and_says_so(
    api: ModuleType, service: Service, options: dict[str, Any]
) -> None:
    service.always = echo
    out = api.map_prompts(["", None, "a", " \n"], "{{ text }}", **options)
    assert [one.body["messages"][-1]["content"] for one in service.chats] == ["a"]
    assert out["reply"].dropna().tolist() == ["a"]
    reasons = out["reply_error"].dropna()
    assert reasons.index.tolist() == [0, 1, 3]
    assert reasons.str.startswith("The prompt is empty once its template is rendered. Nothing was sent.").all()


def test_replies_are_texts_in_rows_and_in_the_result(api: ModuleType, service: Service) -> None:
    service.always = echo
    replies = [api.chat("Say a."), api.chat("Say b.")]
    out = api.map_prompts(replies, "{{ row }} {{ text }}", concurrency=1)
    assert out["reply"].tolist() == ['{"text": "Say a."} Say a.', '{"text": "Say b."} Say b.']
    assert from_parquet(out[["text"]]).to_dict("list") == {"text": ["Say a.", "Say b."]}
    out = api.map_prompts(pd.DataFrame({"draft": replies}), "{{ row }}", concurrency=1)
    assert out["reply"].tolist() == ['{"draft": "Say a."}', '{"draft": "Say b."}']


def test_a_prompt_of_an_image_alone_is_not_empty(api: ModuleType, service: Service) -> None:
    service.always = lambda one: completion("A cat.")(one)
    out = api.map_prompts([Image("https://example.com/a.png")], " {{ text }} ", model="test/model-b")
    assert out["reply"].tolist() == ["A cat."]


@pytest.mark.parametrize(
    "rows",
    [
        lambda: cursor(sqlite3.Row),
        lambda: [Pair(*one) for one in PEOPLE],
        lambda: PEOPLE,
        lambda: csv.reader(["Bo,3", "Al,5"]),
        lambda: np.array(PEOPLE, dtype=object),
    ],
)
def test_the_items_of_a_record_are_found_by_their_places(
    api: ModuleType, service: Service, rows: Callable[[], Any]
) -> None:
    api.map_prompts(rows(), "{{ row[0] }} earns {{ row[-1] }}", concurrency=1)
    assert [one.body["messages"][-1]["content"] for one in service.chats] == ["Bo earns 3", "Al earns 5"]


def test_a_list_among_the_rows_is_also_a_value(api: ModuleType, service: Service) -> None:
    service.always = echo
    out = from_parquet(api.map_prompts([["a", "b"], []], "{{ text }} {{ row[0] if text else 'none' }}"))
    assert out["reply"].tolist() == ['["a", "b"] a', "[] none"]
    assert list(out["text"][0]) == ["a", "b"]


def test_a_list_of_numbers_is_the_same_prompt_after_it_was_written_to_a_file(api: ModuleType, service: Service) -> None:
    """Pandas reads it as an array."""
    service.always = echo
    numbers = [number / 7 for number in range(300)]
    frame = pd.DataFrame({"m": [numbers], "nested": [[[1, 2], [3]]], "held": [{"a": [1, 2]}]})
    read = from_parquet(frame)
    assert isinstance(read["m"][0], np.ndarray)
    prompts = [api.map_prompts(one, "{{ m }} {{ nested }} {{ held }} {{ row }}").reply[0] for one in (frame, read)]
    assert prompts[0] == prompts[1]
    assert str(numbers[150]) in prompts[0]
    methods = api.map_prompts(read, "{{ m.max() }} {{ m.shape }} {{ m[1:3] }}{% if m.min() is integer %}!{% endif %}")
    assert methods.reply[0] == f"{numbers[-1]} [300] {numbers[1:3]}"


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"price": np.array([19.99], dtype="float32")}),
        pl.DataFrame({"price": pl.Series([19.99], dtype=pl.Float32)}),
        pa.table({"price": pa.array([19.99], type=pa.float32())}),
        np.array([(19.99,)], dtype=[("price", "f4")]),
    ],
)
def test_a_float_of_32_bits_has_its_shortest_decimals(frame: Any) -> None:
    """Otherwise the model reads 19.989999771118164."""
    assert [row["price"] for row in read_rows(frame)] == [19.99]


def test_a_float_of_16_bits_has_its_shortest_decimals_too() -> None:
    """Narwhals before version 2 does not know this type."""
    short = np.array([0.1], dtype="float16")
    for frame in (pd.DataFrame({"a": short}), pa.table({"a": short})):
        assert [row["a"] for row in read_rows(frame)] == [0.1]
        assert render("{{ x | tojson }}", {"x": frame}) == '[{"a": 0.1}]'


def test_floats_of_32_bits_within_lists_and_structs_are_short_too() -> None:
    short = pl.List(pl.Float32), pl.Struct({"x": pl.Float32})
    frame = pl.DataFrame({"a": pl.Series([[19.99]], dtype=short[0]), "b": pl.Series([{"x": 0.1}], dtype=short[1])})
    assert [dict(row) for row in read_rows(frame)] == [{"a": [19.99], "b": {"x": 0.1}}]


def test_a_table_or_a_stream_of_any_arrow_library_has_its_rows(api: ModuleType, service: Service) -> None:
    service.always = echo

    class Table:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return pa.table(COLUMNS).__arrow_c_stream__(requested_schema)

    class Stream(Table):
        def read_all(self) -> Any: ...

    for source in (Table(), Stream()):
        assert api.map_prompts(source, "{{ name }}").to_pydict() == {**COLUMNS, "reply": ["Bo", "Al"]}


@pytest.mark.parametrize("has_pyarrow", [True, False])
def test_rows_are_iterated_if_their_arrow_data_cannot_be_read(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch, has_pyarrow: bool
) -> None:
    service.always = echo
    if not has_pyarrow:
        monkeypatch.setitem(sys.modules, "pyarrow", None)

    class Rows:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            raise RuntimeError("not collected yet")

        def __iter__(self) -> Any:
            return iter([{"a": 1}, {"a": 2}])

    assert api.map_prompts(Rows(), "{{ a }}").reply.tolist() == ["1", "2"]
    # A frame has its columns as items.
    for kind in (type("Frame", (Rows,), {"columns": ["a"]}), type("Data", (Rows,), {"__iter__": None})):
        with pytest.raises(InferenceError, match=f"A value of type {kind.__name__} cannot be read"):
            api.map_prompts(kind(), "{{ a }}")


@pytest.mark.parametrize("kind", [Pair, Person])
def test_a_row_without_some_columns_has_the_others_at_their_places(kind: Any) -> None:
    (row,) = read_rows([kind("Bo", 3)])
    left = without_columns(row, {"name"})
    assert (dict(left), left[1]) == ({"pay": 3}, 3)  # type: ignore[index]
    with pytest.raises(LookupError):
        left[0]  # type: ignore[index]
    assert with_values(row, {"name": "Al"})[0] == "Al"  # type: ignore[index]


def test_a_row_without_some_columns_has_none_of_them_in_another_form() -> None:
    class Own(Person):
        def _ai_repr_(self) -> str:
            return f"{self.name}: {self.pay}"

    (own,), (pair,) = read_rows([Own("Bo", 3)]), read_rows(FRAME[:1].iterrows())
    assert (render("{{ row }}", {"row": own}), pair[1]["pay"]) == ("Bo: 3", 3)
    own, pair = without_columns(own, {"pay"}), without_columns(pair, {"pay"})
    assert render("{{ row }}", {"row": own}) == '{"name": "Bo"}'
    with pytest.raises(LookupError):
        pair[1]


class NotIterable:
    def __iter__(self) -> Any:
        raise RuntimeError("closed")


class NotCountable:
    def __len__(self) -> int:
        raise RuntimeError("closed")

    def __iter__(self) -> Any:
        return iter(())


def closed_file() -> Any:
    with StringIO("a") as file:
        return file


@pytest.mark.parametrize("make", [NotIterable, NotCountable, closed_file])
def test_a_source_whose_rows_cannot_be_read_is_refused_in_one_sentence(
    api: ModuleType, service: Service, make: Callable[[], Any]
) -> None:
    with pytest.raises(InferenceError, match=r"The rows of a value of type \w+ cannot be read\. Nothing was sent\."):
        api.map_prompts(make(), "{{ text }}")
