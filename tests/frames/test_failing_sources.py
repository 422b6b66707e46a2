"""Sources of rows that raise when they are looked at, opened, counted or read: one message, and nothing is sent."""

from __future__ import annotations

import io
import re
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping
from errno import EMFILE
from types import ModuleType
from typing import Any

import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from kernels import SharedKernel
from service import Service

from wandb_inference_magic import InferenceError
from wandb_inference_magic.frames import read_rows


def failing_batches() -> Any:
    def batches() -> Iterator[Any]:
        yield pa.record_batch({"a": [1]})
        raise OSError("disk gone")

    return pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())


def failing_partition(part: pd.DataFrame) -> pd.DataFrame:
    if len(part):
        raise ValueError("bad partition")
    return part


def failing_series() -> Any:
    import dask.dataframe as dd

    return dd.from_pandas(pd.Series([1]), npartitions=1).map_partitions(failing_partition, meta=pd.Series([1]))


class Raising:
    """A source that raises in one of its methods."""

    def __init__(self, method: str, failure: BaseException) -> None:
        self._method, self._failure = method, failure

    def _do(self, method: str) -> None:
        if method == self._method:
            raise self._failure

    def __len__(self) -> int:
        self._do("len")
        return 1

    def __iter__(self) -> Any:
        self._do("iter")
        return iter([{"a": 1}])

    @property
    def description(self) -> Any:
        self._do("columns")
        return [("a",)]

    def fetchmany(self) -> None: ...


class Panic(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(lambda: pl.LazyFrame({"a": [1]}).select("b"), 'unable to find column "b"', id="no column"),
        pytest.param(lambda: pl.scan_csv("missing.csv"), "FileNotFoundError", id="no file"),
        pytest.param(lambda: pl.scan_parquet("missing.parquet"), "missing.parquet", id="no parquet file"),
        pytest.param(lambda: pl.LazyFrame({"a": ["x"]}).cast(pl.Int64), "conversion from `str` to `i64`", id="cast"),
        pytest.param(lambda: nw.from_native(pl.LazyFrame({"a": [1]}).select("b")), "column", id="narwhals"),
        pytest.param(
            lambda: pl.LazyFrame({"a": [1]}).map_batches(lambda _: 1 / 0),  # type: ignore[arg-type,return-value]
            "ZeroDivisionError",
            id="code of the user's",
        ),
        pytest.param(failing_batches, "OSError: IOError: disk gone", id="batches"),
        pytest.param(
            lambda: pd.read_csv(io.StringIO("a,b\n1,2\n1,2,3\n"), chunksize=1), "ParserError", id="chunks of a bad file"
        ),
        pytest.param(failing_series, "bad partition", id="Series of Dask"),
        pytest.param(lambda: Raising("len", OSError("closed")), "OSError: closed", id="len"),
        pytest.param(lambda: Raising("iter", Panic("panic")), "Panic: panic", id="iter"),
        pytest.param(lambda: Raising("iter", SystemExit(2)), "SystemExit", id="exit"),
        pytest.param(lambda: Raising("columns", CancelledError()), "CancelledError", id="columns"),
    ],
)
def test_a_source_that_cannot_be_opened_is_one_message(
    api: ModuleType, service: Service, make: Callable[[], Any], why: str
) -> None:
    for ask in (api.map_prompts, lambda rows, text: api.evaluate(rows, text, truth="a")):
        with pytest.raises(InferenceError) as raised:
            ask(value := make(), "{{ a }}")
        said = str(raised.value)
        assert said.startswith(f"The rows of a value of type {type(value).__name__} cannot be read. Nothing was sent.")
        assert why in said
        assert len(said) < 600
        assert "\n  " not in said
    assert service.chats == []


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            ModuleNotFoundError("No module named 'fastexcel'", name="fastexcel"),
            "The package fastexcel cannot be import",
        ),
        (OSError(EMFILE, "Too many open files"), "This machine opens no more files and connections"),
        (RuntimeError("can't start new thread"), "This machine starts no more threads"),
    ],
)
def test_a_source_that_the_machine_cannot_open_is_described_as_such(failure: Exception, said: str) -> None:
    for value in (Raising("iter", failure), Raising("columns", failure)):
        with pytest.raises(InferenceError, match=said):
            read_rows(value)


class Row(Mapping[str, Any]):
    """A row that is read when it is used."""

    def __iter__(self) -> Iterator[str]:
        return iter(("a", "label"))

    def __len__(self) -> int:
        return 2

    def __getitem__(self, name: str) -> Any:
        if name == "label":
            return "good"
        raise OSError("the image is gone")


def rows_that_end(failure: BaseException) -> Iterator[dict[str, Any]]:
    yield {"a": 1, "label": "good"}
    raise failure


@pytest.mark.parametrize(
    ("make", "number", "why"),
    [
        pytest.param(lambda: rows_that_end(OSError("gone")), 2, "OSError: gone", id="generator"),
        pytest.param(lambda: rows_that_end(Panic("panic")), 2, "Panic: panic", id="panic"),
        pytest.param(lambda: rows_that_end(InferenceError("No chat.")), 2, "InferenceError: No chat", id="ours"),
        pytest.param(lambda: [{"a": 1, "label": "good"}, Row()], 2, "OSError: the image is gone", id="mapping"),
    ],
)
def test_an_evaluation_of_rows_that_cannot_be_read_says_which_row_it_is(
    api: ModuleType, service: Service, make: Callable[[], Any], number: int, why: str
) -> None:
    with pytest.raises(InferenceError) as raised:
        api.evaluate(make(), "{{ a }}", truth="label")
    assert re.match(rf"Row {number} cannot be read: the source of the rows raised {re.escape(why)}", str(raised.value))
    assert service.chats == []


def test_a_frame_that_raises_while_it_is_read_says_which_row_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_rows(pl.DataFrame({"a": [1]}))

    def iter_rows(*_: Any, **__: Any) -> Iterator[tuple[int]]:
        yield (1,)
        raise Panic("index out of bounds")

    monkeypatch.setattr(nw.DataFrame, "iter_rows", iter_rows)
    with pytest.raises(InferenceError, match="Row 2 cannot be read: the source of the rows raised Panic: index out"):
        list(rows)


def test_an_interrupt_is_no_failure_of_the_source() -> None:
    with pytest.raises(KeyboardInterrupt):
        read_rows(Raising("iter", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        list(read_rows(rows_that_end(KeyboardInterrupt())))


@pytest.mark.parametrize("failure", [TypeError("no length"), NotImplementedError()])
def test_a_source_that_does_not_know_its_length_is_read(failure: Exception) -> None:
    rows = read_rows(Raising("len", failure))
    assert rows.length is None
    assert [dict(row) for row in rows] == [{"a": 1}]


@pytest.mark.parametrize(
    "cell",
    [
        "%%wbmap lf\n{{ a }}",
        "%%wbmap lf --bg -o job\n{{ a }}",
        "%%wbmap lf --limit 2 --dry-run\n{{ a }}",
        "%%wbeval lf --truth a\n{{ a }}",
        "%%wbmap (1 / 0 for one in [1])\n{{ text }}",
        "%%wbeval ({'a': 1 / 0} for one in [1]) --truth a\n{{ a }}",
    ],
)
def test_a_magic_shows_no_traceback_of_a_source(shared: SharedKernel, cell: str) -> None:
    kernel = shared.kernel
    assert kernel.run("import polars as pl\nlf = pl.scan_csv('missing.csv')").ok
    run = kernel.run(cell, allow_stdin=True)
    assert not run.ok
    assert "cannot be read" in run.error
    assert "Traceback" not in run.text
    assert len(run.text) < 600
