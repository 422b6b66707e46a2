"""The fields of a value, their names, and which are private: kept out of its text, or out of what pydantic writes."""

from __future__ import annotations

import warnings
from collections import UserString, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence, Set as AnySet
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from functools import lru_cache
from itertools import chain, count, islice
from types import FunctionType, SimpleNamespace
from typing import Any, Final

from ..errors import InferenceError, users_failures
from ..imports import is_instance, loaded
from ..text import in_order, str_of

# The classes of rows that drivers of databases have, besides tuples.
_ROWS: Final = ("Row", "Record", "DictRow")
# Sequences with a text of their own.
_NO_CONTAINERS: Final = (str, UserString, bytes, bytearray, memoryview, range)
MAX_DEPTH: Final = 500
# The method that returns all values of a key: of multidict and WebOb, of Werkzeug, Starlette and Django, of httpx.
_ALL_OF_KEY: Final = ("getall", "getlist", "get_list")
_SCALARS: Final = frozenset((str, int, float, bool, bytes, date, datetime, type(None)))


def is_opaque_tuple(value: object) -> bool:
    """Return whether a value is a named tuple with a text of its own, which may hide a secret, as a database's URL."""
    # The groups of Jinja2's `groupby` have a text of their own too, which hides nothing.
    if not isinstance(value, tuple) or not hasattr(value, "_fields") or type(value).__module__.startswith("jinja2."):
        return False
    # Those of `namedtuple` itself are of another module than the class.
    texts = ((one, vars(one).get(name)) for one in type(value).__mro__ for name in ("__str__", "__repr__"))
    return any(getattr(text, "__module__", None) == kind.__module__ for kind, text in texts)


def name_of(label: Any) -> str:
    """Return the name of a column, or of a key: of one with several levels, their names that are not empty."""
    if not isinstance(label, tuple | frozenset) or is_opaque_tuple(label):
        return str_of(label)
    return ", ".join(filter(None, map(name_of, in_order(label) if isinstance(label, frozenset) else label)))


def level_names(index: Any, columns: Iterable[str]) -> list[str]:
    """Return the names of the levels of an index of pandas as columns beside others, each different."""
    taken, found, names = {*columns}, list[str](), list(index.names)
    for place, name in enumerate(names):
        wished = ("index" if len(names) == 1 else f"level_{place}") if name is None else name_of(name)
        others = (f"level_{number}" for number in count(place))
        found.append(next(one for one in chain([wished], others) if one not in taken))
        taken.add(found[-1])
    return found


def _private_fields(kind: type) -> frozenset[str]:
    """Return the fields that a dataclass, an attrs class or a model keeps out of its own text: they may be secrets."""
    models = _described_by_pydantic(kind)
    if _is_of_pydantic_1(kind):
        models = {name: one.field_info for name, one in kind.__fields__.items()}  # type: ignore[attr-defined]
    return frozenset(
        # For attrs it may be a function, which masks the value.
        {one.name for one in _described(kind) if one.repr is not True}
        | {name for name, one in models.items() if not one.repr or getattr(one, "exclude", False)}
    )


def _described(kind: type) -> tuple[Any, ...]:
    """Return the fields of a dataclass or an attrs class; none for any other."""
    return (*getattr(kind, "__dataclass_fields__", {}).values(), *getattr(kind, "__attrs_attrs__", ()))


# Asked of each value.
private_fields: Final[Callable[[type], frozenset[str]]] = lru_cache(maxsize=1000)(_private_fields)


def _described_by_pydantic(kind: type) -> Mapping[str, Any]:
    """Return how pydantic describes the fields of a model, or of a dataclass of its own, with those computed."""
    if not hasattr(kind, "__pydantic_validator__"):
        return {}
    own = getattr(kind, "__pydantic_fields__", None) or getattr(kind, "model_fields", {})
    return {**own, **{name: one.info for name, one in _computed_fields(kind).items()}}


def _computed_fields(kind: type) -> Mapping[str, Any]:
    return getattr(getattr(kind, "__pydantic_decorators__", None), "computed_fields", {})


def _field_names(model: Any) -> list[str]:
    """Return the names of the fields of a model that may be sent, with those that it was given and those computed."""
    kind = type(model)
    names = (*getattr(kind, "model_fields", ()), *(getattr(model, "model_extra", None) or ()), *_computed_fields(kind))
    return [name for name in names if name not in private_fields(kind) and _has(model, name)]


def dumped_model(model: Any) -> Any:
    """Return what pydantic writes of a model, except for parts that have private fields, or no JSON form.

    Raises
    ------
    InferenceError
        If a serializer of the user's own may show private fields.
    """
    kind, is_hiding = type(model), True
    with suppress(Exception):
        if not (is_hiding := parts_have_private_fields(model)):
            return model.model_dump(mode="json", exclude=set(private_fields(kind)))
    if is_hiding and getattr(getattr(kind, "__pydantic_decorators__", None), "model_serializers", None):
        raise InferenceError(
            f"A {kind.__name__} has a serializer of its own, which may show what its parts hide.",
            remedy=f"Put the part that you need into the prompt. Or define the text of a {kind.__name__} with "
            "@as_prompt.register.",
        )
    if getattr(kind, "__pydantic_root_model__", False):
        return model.root
    return {name: _dumped_field(model, name) for name in _field_names(model)}


def _dumped_field(model: Any, name: str) -> Any:
    value = getattr(model, name)
    with suppress(Exception):
        if not has_private_fields(value):
            return model.model_dump(mode="json", include={name})[name]
    return value


def _has(model: object, name: str) -> bool:
    """Return whether a field of a model has a value: it may be missing, and one that is computed may raise an error."""
    with suppress(Exception):
        return hasattr(model, name)
    return False


def has_private_fields(value: Any) -> bool:
    """Return whether a value or a part of it has private fields, or is an opaque tuple: pydantic shows them."""
    return any(map(_has_own_private_fields, _walk([value])))


def parts_have_private_fields(value: Any) -> bool:
    """Return whether a part that may be sent of a container, a model or a dataclass has private fields."""
    return any(map(_has_own_private_fields, _walk(_parts_sent(value))))


def shows_private_fields(value: Any, text: str = "__str__") -> bool:
    """Return whether a value's own text may show a private field of it or of a part: pydantic's shows what it excludes.

    Parameters
    ----------
    value : object
    text : str
        The method that makes the text: `__str__` or `__repr__`. One of the user's own shows what it is meant to show.
    """
    if type(value) in _SCALARS or not (is_container(value) or _is_made_by_library(type(value), text)):
        return False
    with suppress(RecursionError):
        return has_private_fields(value)
    return False


def _is_made_by_library(kind: Any, text: str) -> bool:
    """Return whether a library has made the text of a class from its fields."""
    method = getattr(kind, text)
    method = kind.__repr__ if method is object.__str__ else method
    if _described(kind):
        # `dataclass` wraps the method, and attrs compiles it.
        made_in = getattr(getattr(method, "__code__", None), "co_filename", "")
        return hasattr(method, "__wrapped__") or made_in.startswith("<attrs generated")
    if getattr(method, "__objclass__", None) is SimpleNamespace:
        return True
    return str(getattr(method, "__module__", "")).partition(".")[0] in ("pydantic", "argparse")


def _walk(values: Iterable[Any]) -> Iterator[Any]:
    """Yield values and the parts that may be sent of them, each once: a list may be in many others, or in itself.

    Raises
    ------
    RecursionError
        When a field is computed that has another one in it, and so on without an end.
    """
    left = [(0, one) for one in values if type(one) not in _SCALARS]
    # Kept, so that no other value gets the id of one that was made for this.
    seen: dict[int, Any] = {}
    while left:
        depth, one = left.pop()
        if id(one) in seen:
            continue
        if depth > MAX_DEPTH:
            raise RecursionError
        seen[id(one)] = one
        yield one
        left += [(depth + 1, part) for part in _parts_sent(one) if type(part) not in _SCALARS]


def _has_own_private_fields(value: Any) -> bool:
    return bool(private_fields(type(value))) or is_opaque_tuple(value)


def _parts_sent(value: Any) -> Iterable[Any]:
    if is_instance(value, "pyarrow.Scalar"):
        # One of a map is a Mapping without the methods of one. None has more than its data.
        return ()
    if is_container(value):
        return value.values() if isinstance(value, Mapping) else value
    kind = type(value)
    if _is_namespace(value):
        return [*vars(value).values()]
    names = _field_names(value) if hasattr(kind, "model_dump") else [one.name for one in _described(kind)]
    return (getattr(value, name, None) for name in (*names, *(_other_names(value) or ())))


def record_fields(value: Any, *, private: bool = True) -> dict[str, Any] | None:
    """Return the fields of a record by their names; None for any other value.

    A record is a dataclass, a named tuple or another value with `_asdict`, a namespace, an object of attrs or msgspec,
    an entity of SQLAlchemy, a row of a database or of Spark, a result of the system such as that of `os.stat`, or a
    model of pydantic 1. A model of pydantic is none: see `dumped_model`.

    Parameters
    ----------
    value : object
    private : bool
        Whether with the fields that the class keeps out of its own text. Without them, a value whose text may hide any
        of its fields is no record: a named tuple, an entity, a namespace or a model with a text of its own.
    """
    kind: Any = type(value)
    if isinstance(value, type) or (not private and (is_opaque_tuple(value) or _has_own_text(value))):
        return None
    if is_dataclass(value):
        names = [one.name for one in fields(value)]
    elif callable(getattr(kind, "_asdict", None)):
        own = getattr(value, "_fields", ())  # results of SciPy have others, some of them private
        return {name: one for name, one in value._asdict().items() if name in own or not name.startswith("_")}
    elif _is_namespace(value):
        return dict(vars(value))
    elif isinstance(value, tuple) and hasattr(value, "__fields__") and hasattr(kind, "asDict"):
        # A row of Spark or Databricks.
        return dict(zip(value.__fields__, value, strict=True))
    elif hasattr(kind, "__attrs_attrs__"):
        names = [one.name for one in kind.__attrs_attrs__]
    elif isinstance(value, tuple) and hasattr(kind, "n_sequence_fields"):
        # A result of the system. Not all of its fields are items.
        reduced: Any = value.__reduce__()
        return {**{name: getattr(value, name) for name in kind.__match_args__}, **reduced[1][1]}
    elif (own := _other_names(value)) is not None:
        names = [*own]
    elif is_instance(getattr(kind, "__mapper__", None), "sqlalchemy.orm.Mapper"):
        names = [one.key for one in kind.__mapper__.column_attrs]
        if not private and (kind.__str__, kind.__repr__) != (object.__str__, object.__repr__):
            return None
    else:
        is_row = kind.__name__ in _ROWS and all(hasattr(kind, name) for name in ("keys", "__getitem__"))
        return _columns_of(value) if is_row else None
    left_out = frozenset[str]() if private else private_fields(kind)
    return {name: getattr(value, name, None) for name in names if name not in left_out}


class FieldFailure(str):
    """Stands for a computed field that raised: the type of the exception. `field` is its name.

    No column holds it, and no row of a result.
    """

    field: str

    @property
    def said(self) -> str:
        """Which field raised what."""
        return f"the field {self.field} raised {self[1:-1]}"


def fields_of(value: Any, *, computed: bool = True) -> dict[str, Any] | None:
    """Return the fields of a model or a record (see `record_fields`) by their names; None for any other value.

    With `computed`, those that pydantic computes are fields too. One that raises is a FieldFailure.
    """
    kind: Any = type(value)
    if getattr(kind, "__pydantic_root_model__", None) is False:
        names = (*kind.model_fields, *(value.model_extra or ()))
        found: dict[str, Any] | None = {name: _read(value, name) for name in names}
    else:
        found = record_fields(value)
    if found is None or not computed:
        return found
    return found | {name: _computed(value, name) for name in _computed_fields(kind)}


def _computed(value: Any, name: str) -> Any:
    try:
        return _read(value, name)
    except users_failures() as error:
        failure = FieldFailure(f"<{type(error).__name__}>")
        failure.field = name
        return failure


def _read(value: Any, name: str) -> Any:
    """Return a field, also where warnings are errors and the field is deprecated: the answer is paid for."""
    try:
        return getattr(value, name)
    except Warning:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(value, name)


def _columns_of(row: Any) -> dict[str, Any]:
    """Return the values of a row of a database by the names of its columns. Of two with one name, the second has a 2.

    They are read by their places, because SQLite does not tell the names `id` and `ID` apart.
    """
    names = list(row.keys())
    values = list(row) if hasattr(type(row), "__iter__") else []
    if len(values) != len(names) or all(isinstance(one, str) and one in names for one in values):
        # Its iteration gives the names, as that of a dict.
        return {name: row[name] for name in names}
    found: dict[str, Any] = {}
    for name, one in zip(names, values, strict=True):
        others = (f"{name}_{number}" for number in count(2))
        found[name if name not in found else next(other for other in others if other not in (*names, *found))] = one
    return found


def _has_own_text(value: Any) -> bool:
    """Return whether a namespace, or a model of msgspec or pydantic 1, has a text that its library has not made."""
    if not _is_namespace(value) and _other_names(value) is None:
        return False
    texts = (one for one in (type(value).__str__, type(value).__repr__) if isinstance(one, FunctionType))
    return any(one.__module__.partition(".")[0] not in ("pydantic", "argparse") for one in texts)


def _other_names(value: Any) -> Iterable[str] | None:
    """Return the names of the fields of an object of msgspec or of pydantic 1; None for any other."""
    # A model may allow further fields.
    kind = type(value)
    return vars(value) if _is_of_pydantic_1(kind) else getattr(kind, "__struct_fields__", None)


def _is_namespace(value: Any) -> bool:
    return isinstance(value, SimpleNamespace) or is_instance(value, "argparse.Namespace")


def _is_of_pydantic_1(kind: type) -> bool:
    model = loaded("pydantic.v1.BaseModel")
    return model is not None and issubclass(kind, model)


def public_items(value: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """Return the items of a mapping, without those that its own text hides.

    Where a mapping may have a key several times, as the query of an address, such a key has the list of its values.
    """
    if any(is_instance(value, name) for name in ("httpx.Headers", "httpx2.Headers")):
        return [(key, one) for key, one in value.items() if key not in ("authorization", "proxy-authorization")]
    name = next((name for name in _ALL_OF_KEY if hasattr(type(value), name)), None)
    if name is None:
        return value.items()
    found = ((key, list(getattr(value, name)(key))) for key in dict.fromkeys(value))
    return [(key, ones[0] if len(ones) == 1 else ones) for key, ones in found]


def items_by_name(value: Mapping[Any, Any], most: int) -> dict[str, Any]:
    """Return the first public items of a mapping, at most so many, by the names that their keys have in JSON."""
    named: dict[str, Any] = {}
    for key, one in islice(public_items(value), most):
        # JSON keys are strings only. Where two keys collide, such as 1 and "1", use the repr of the second. That can
        # collide too: each NaN is another key.
        name = name_of(key)
        if name in named:
            # The repr of another type may show what its text hides.
            other = repr(key) if type(key) in _SCALARS else name
            others = (f"{other}_{number}" for number in count(len(named) + 1))
            name = next(one for one in chain((other,), others) if one not in named)
        named[name] = one
    return named


def is_container(value: object) -> bool:
    """Return whether a value has items, as a list or a dict of Python has, whatever its class.

    A class that notebooks show by a summary, as those of xarray, has that summary instead. The text of a result of SQL
    is a part of its rows.
    """
    if isinstance(value, (dict, list, tuple, set, frozenset, deque)):
        return not is_opaque_tuple(value)
    has_items = isinstance(value, Mapping | Sequence | AnySet | MappingView) and not isinstance(value, _NO_CONTAINERS)
    return (has_items and not hasattr(type(value), "_repr_html_")) or _has_named_columns(type(value))


def _has_named_columns(kind: Any) -> bool:
    """Return whether values of a class are tables of rows, with the names of the columns as `keys`, as of jupysql."""
    if not isinstance(getattr(kind, "keys", None), property):
        return False
    return all(hasattr(kind, name) for name in ("__iter__", "__len__", "_repr_html_"))


def items_in(container: Any) -> Any:
    """Return the items of a container: those of a set in one order, and rows with the names of their columns."""
    if isinstance(container, set | frozenset):
        return in_order(container)
    if is_instance(container, "numpy.matrix"):
        return container.A  # the rows of a matrix are matrices
    if not _has_named_columns(type(container)):
        return container
    rows, names = list(container), [str(name) for name in container.keys]
    # Of columns with the same name, a dict would have the last one only.
    if len({*names}) < len(names):
        return [names, *rows]
    with suppress(TypeError, ValueError):
        return [dict(zip(names, row, strict=True)) for row in rows]
    return rows
