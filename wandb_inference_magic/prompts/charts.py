"""Charts and geometries as text: the specification of an Altair chart or a Plotly figure with the start of its data.

Also the text by which notebooks show any object.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from inspect import iscoroutine
from math import isfinite
from typing import Any, Final, NoReturn

from ..errors import InferenceError
from ..imports import is_instance, loaded, quiet
from ..text import is_missing, python_values, safe_plain
from .value_spans import LEFT_OUT, CutText

# The points of a list, or rows of a table, that are shown.
MAX_POINTS: Final = 20
ONE_LINE: Final = 100
MAX_TEXT_CHARS: Final = 2000
MAX_GEOMETRY_CHARS: Final = 2000
GEOMETRY: Final = "shapely.geometry.base.BaseGeometry"
_TEXT_TYPES: Final = ("text/markdown", "text/latex", "text/html")
_ELSEWHERE: Final = re.compile(r"<iframe\b", re.IGNORECASE)
_WITHOUT_TEXT: Final = re.compile(r"<(style|script|video|audio|iframe|object)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_TAGS: Final = re.compile(r"<[^>]*>")
# Many are random, and would make another prompt each time.
_IDS: Final = re.compile(r"""(<\w[^<>]*?)\sid=(?:"[^"]*"|'[^']*')""")

_RESPONSE: Final = "Put its text or its data into the prompt: .text or .json()."
_RESULT: Final = "Put a result of it into the prompt, such as .mean()."
_SPARK: Final = "Put a result of it into the prompt, such as df.limit(20).toPandas()."
_PREDICTION: Final = "Put its values into the prompt: .summary_frame()."
_ROWS: Final = "Put its rows into the prompt: .all()."
_EXPORT: Final = "Put its data into the prompt, or the path of a picture of it:"
XARRAY: Final = ("xarray.core.common.DataWithCoords", "xarray.core.variable.Variable")
# The plots of scikit-learn have no class in common.
_DISPLAYS: Final = tuple(
    f"sklearn.metrics.{name}Display"
    for name in ("ConfusionMatrix", "DetCurve", "PrecisionRecall", "PredictionError", "RocCurve")
)
# Types whose own text has a setting, and none of the data: what to put into the prompt in place of such a value.
NO_DATA: Final = {
    # What `groupby`, `rolling` and `resample` give.
    "pandas.core.base.SelectionMixin": _RESULT,
    "dask.base.DaskMethodsMixin": "Put its result into the prompt: .compute().",
    **dict.fromkeys(XARRAY, "Load it, or the part that you need: .load()."),
    "xarray.core.groupby.GroupBy": _RESULT,
    "xarray.computation.rolling.Rolling": _RESULT,
    "xarray.computation.rolling.Coarsen": _RESULT,
    "xarray.computation.weighted.Weighted": _RESULT,
    "datasets.arrow_dataset.DatasetInfoMixin": "Put its rows into the prompt: .take(20).to_pandas().",
    "pyarrow.dataset.Dataset": "Put its rows into the prompt: .head(20).",
    **dict.fromkeys(("sqlalchemy.engine.Result", "sqlalchemy.engine.ScalarResult"), _ROWS),
    "duckdb.DuckDBPyConnection": "Put the result of a query into the prompt: connection.sql(query).",
    # A prediction before other results: one of its classes is of both kinds.
    "statsmodels.tsa.statespace.mlemodel.PredictionResultsWrapper": _PREDICTION,
    "statsmodels.base._prediction_inference.PredictionResultsBase": _PREDICTION,
    "statsmodels.regression._prediction.PredictionResults": _PREDICTION,
    "statsmodels.base.wrapper.ResultsWrapper": "Put its summary into the prompt: .summary().",
    "statsmodels.tsa.seasonal.DecomposeResult": "Put a part of it into the prompt, such as .trend or .seasonal.",
    "h5py.Dataset": "Put its values into the prompt: dataset[()].",
    "netCDF4.Variable": "Put its values into the prompt: variable[:].",
    "zarr.Array": "Put its values into the prompt: array[:].",
    "rasterio.io.DatasetReader": "Put its values into the prompt: .read(1).",
    "anndata.AnnData": "Put its values into the prompt: .to_df().",
    "pandas.HDFStore": "Put a frame of it into the prompt: store[key].",
    "networkx.Graph": "Put its edges into the prompt: list(graph.edges(data=True)).",
    "zipfile.ZipFile": "Put a file of it into the prompt: .read(name).",
    "ibis.expr.types.generic.Value": "Put its result into the prompt: .execute().",
    "requests.Response": _RESPONSE,
    "httpx.Response": _RESPONSE,
    **dict.fromkeys(_DISPLAYS, "Put its figure into the prompt: .figure_."),
    "bokeh.model.Model": f'{_EXPORT} bokeh.io.export_png(figure, filename="figure.png").',
    "holoviews.core.dimension.Dimensioned": f'{_EXPORT} holoviews.save(chart, "chart.png").',
    "openpyxl.worksheet.worksheet.Worksheet": "Put its values into the prompt: list(sheet.values).",
    "openpyxl.cell.cell.Cell": "Put its value into the prompt: .value.",
    "pymupdf.Document": r'Put its text into the prompt: "\n".join(page.get_text() for page in document).',
    "pymupdf.Page": "Put its text into the prompt: .get_text().",
    "pymupdf.Pixmap": "Put the picture into the prompt as one of PIL: PIL.Image.open(io.BytesIO(pixmap.tobytes())).",
    "rdflib.Graph": "Put its triples into the prompt: .serialize().",
    "xml.dom.minidom.Node": "Put its text into the prompt: .toxml().",
    "Bio.Align.PairwiseAlignments": "Put one of them into the prompt: alignments[0].",
    **dict.fromkeys(("pyspark.sql.column.Column", "pyspark.sql.group.GroupedData"), _SPARK),
    "click.Command": "Put its function into the prompt: .callback.",
    "IPython.utils.capture.CapturedIO": "Put what it captured into the prompt: .stdout, or the value that was shown.",
}


def has_no_data(value: object) -> bool:
    """Return whether the text of a value has none of its data, by its type or because it is not loaded."""
    if any(is_instance(value, name) for name in XARRAY):
        return is_lazy(value)
    kind: Any = type(value)
    return _is_without_data(kind)


# Asked of each cell of a frame.
@lru_cache(maxsize=1000)
def _is_without_data(kind: type) -> bool:
    known = (loaded(name) for name in NO_DATA)
    return any(isinstance(one, type) and issubclass(kind, one) for one in known)


def refuse_without_data(value: object) -> NoReturn:
    """Raise InferenceError for a value of one of the types `NO_DATA`."""
    raise InferenceError(
        f"The text of a value of type {type(value).__name__} has none of its data.",
        remedy=next(remedy for name, remedy in NO_DATA.items() if is_instance(value, name)),
    )


def is_lazy(value: Any) -> bool:
    """Return whether an object of xarray has values that are read, or computed, only when they are used."""
    parts = value.variables.values() if hasattr(value, "variables") else [value]
    return not all(getattr(one, "_in_memory", True) for one in parts)


def describe_altair(chart: Any) -> str:
    """Describe an Altair chart by its Vega-Lite specification."""
    # A chart of more than 5,000 rows has a specification only where that limit is lifted. Another transformer of
    # the user may write the data to a file.
    with sys.modules["altair"].data_transformers.enable("default", max_rows=None):
        specification = without(chart.to_dict(), "$schema", "config")
    return f"Altair chart, as Vega-Lite:\n{json.dumps(_short(specification), ensure_ascii=False)}"


def describe_plotly(figure: Any) -> str:
    """Describe a Plotly figure by its data and its layout."""
    specification = dict(figure.to_plotly_json())
    specification["layout"] = without(specification.get("layout", {}), "template")
    # The traces of a widget have a random one.
    specification["data"] = [without(trace, "uid") for trace in specification.get("data", ())]
    return f"Plotly figure, as JSON:\n{json.dumps(_short(specification), ensure_ascii=False)}"


def without(specification: Mapping[str, Any], *defaults: str) -> dict[str, Any]:
    """Return a specification without what is the same in every chart."""
    return {name: one for name, one in specification.items() if name not in defaults}


def _short(value: Any) -> Any:
    """Return a specification with short lists and without defaults, as JSON types."""
    if isinstance(value, dict):
        if "bdata" in value and "dtype" in value:
            return _short(_numbers(value))
        return {str(name): _short(one) for name, one in value.items()}
    if hasattr(value, "tolist"):
        # An array of NumPy, or one of its numbers. Only its start is converted.
        length = len(value) if getattr(value, "shape", ()) else 0
        shown = _short(python_values(value[:MAX_POINTS] if length else value))
        return shown if length <= MAX_POINTS else [*shown, _more(length)]
    if isinstance(value, list | tuple):
        shown = [_short(one) for one in value[:MAX_POINTS]]
        return shown if len(value) <= MAX_POINTS else [*shown, _more(len(value))]
    if is_missing(value):
        return None
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
        # A picture, as the address of its data.
        return f"{value[:ONE_LINE]}{LEFT_OUT.format(f'{len(value) - ONE_LINE:,} characters')}"
    # JSON has no number for infinity.
    is_plain = isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value))
    return value if is_plain else str(value)


def _more(length: int) -> str:
    return LEFT_OUT.format(f"{length - MAX_POINTS:,} more")


def _numbers(packed: dict[str, Any]) -> Any:
    """Return the array that Plotly has packed into text."""
    import numpy as np

    numbers = np.frombuffer(b64decode(packed["bdata"]), dtype=packed["dtype"])
    shape = [int(one) for one in str(packed.get("shape", "")).split(",") if one.strip()]
    return numbers.reshape(shape) if shape else numbers


def describe_geometry(value: Any) -> str:
    """Return a geometry of shapely as WKT. A long one is cut, and its bounds are given."""
    text = str(value.wkt)
    if len(text) <= MAX_GEOMETRY_CHARS:
        return text
    bounds = ", ".join(f"{one:.6g}" for one in value.bounds)
    left_out = LEFT_OUT.format(f"{len(text) - MAX_GEOMETRY_CHARS:,} characters")
    return CutText(f"{value.geom_type} with bounds ({bounds})\n{text[:MAX_GEOMETRY_CHARS]} {left_out}")


def text_in_notebooks(value: object) -> str:
    """Return the text by which IPython's protocol shows a value in a notebook; empty if it has none."""
    for text in shown_in_notebooks(value, _TEXT_TYPES):
        # A video or a widget has nothing but tags; a page in a frame, or a script, nothing but what to do without it.
        if isinstance(text, str) and not _ELSEWHERE.search(text):
            text = safe_plain(_IDS.sub(r"\1", _WITHOUT_TEXT.sub("", text))).strip()
            if _TAGS.sub("", text).strip():
                return text
    return ""


def shown_in_notebooks(value: object, types: Iterable[str]) -> Iterator[Any]:
    """Yield what an object shows of these types by IPython's protocol: by a method for each type, or in a bundle."""
    for one in types:
        yield shown_by(value, f"_repr_{one.partition('/')[2]}_")
    bundle = shown_by(value, "_repr_mimebundle_")
    if isinstance(bundle, Mapping):
        yield from map(bundle.get, types)


def shown_by(value: object, name: str) -> Any:
    """Return what `call_shown_by` gives. It is None also if the method raises: then IPython does without it too."""
    with suppress(Exception):
        return call_shown_by(value, name)
    return None


def call_shown_by(value: object, name: str) -> Any:
    """Return what a method by which an object shows itself gives, without its metadata.

    It is None without such a method, and for one that is a coroutine. What the method raises is not caught.
    """
    with quiet("matplotlib", "PIL"):
        describe = getattr(type(value), name, None)
        shown = describe(value) if callable(describe) else None
    if iscoroutine(shown):
        shown.close()
        return None
    return shown[0] if isinstance(shown, tuple) and shown else shown
