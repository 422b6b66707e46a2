"""What a map asks of whom, so that the same map is known again, and the state of a value, which tells an equal one."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pickle import Pickler, PicklingError
from types import (
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import users_failures
from ..imports import is_instance

if TYPE_CHECKING:
    from hashlib import _Hash

_NOTEBOOK: Final = "__main__"
# Libraries whose objects hold data. Those of other libraries may be large, such as a model, or open, such as a client.
_OF_DATA: Final = frozenset(("PIL", "dateutil", "narwhals", "numpy", "pandas", "polars", "pyarrow", "pydantic", "pytz"))
_KNOWN: Final = _OF_DATA | {_NOTEBOOK, __name__.partition(".")[0]}
# The modules of Python with containers, for values of any kind.
_OF_CONTAINERS: Final = frozenset(("builtins", "collections", "functools", "types"))
# A function that remembers its results.
_CACHED: Final = type(lru_cache(len))
_FUNCTIONS: Final = (FunctionType, _CACHED)
# What a class has for its slots is no value.
_NO_VALUES: Final = (*_FUNCTIONS, MemberDescriptorType, GetSetDescriptorType)


class Origin(NamedTuple):
    """What a map asks of whom.

    Attributes
    ----------
    digest : str
        The same when its cell is run again; empty if that cannot be known.
    unknown : tuple of str
        The names of the values in its prompt that cannot be compared.
    """

    digest: str = ""
    unknown: tuple[str, ...] = ()


NOWHERE: Final = Origin()


def state_of(value: Any) -> str | None:
    """Return a digest that equal values of this session have in common; None if it cannot be known.

    A function of the notebook counts by its code and by the values that it uses, a class also by its values. Of those
    that cannot be compared, such as a connection, a class has the name of the type.
    """
    return _state_of(value, set())


def _state_of(value: Any, seen: set[int]) -> str | None:
    from hashlib import sha256

    digest = sha256()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _StateWriter(digest, seen).dump(value)
    except users_failures():
        # It holds what no file can, such as a connection, or its own code fails.
        return None
    return digest.hexdigest()


class _StateWriter(Pickler):
    """Pickles a value into a digest: functions by what they do, and frames by their columns."""

    def __init__(self, digest: _Hash, seen: set[int]) -> None:
        file = SimpleNamespace(write=digest.update)
        super().__init__(file, protocol=5, buffer_callback=lambda one: digest.update(one.raw()))
        # Equal values are written equally, whether or not their parts are the same objects.
        self.fast = True
        # Functions and classes: one may use itself.
        self._seen = seen
        self._held: list[Any] = []

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, ModuleType):
            return str, (value.__name__,)
        if isinstance(value, CodeType):
            return str, (value.co_name,), (value.co_code, value.co_consts, value.co_names)
        if isinstance(value, _CACHED):
            return str, (type(value).__name__,), value.__wrapped__
        if isinstance(value, type) and value.__module__ != _NOTEBOOK:
            return NotImplemented
        if isinstance(value, FunctionType | type):
            name = str, (f"{value.__module__}.{value.__qualname__}",)
            if id(value) in self._seen:
                return name
            self._seen.add(id(value))
            return *name, _parts_of_function(value) if isinstance(value, FunctionType) else self._parts_of_class(value)
        if _is_of_library(type(value)):
            raise PicklingError(f"{type(value).__name__} may be large, or open")
        if is_instance(value, "pandas.DataFrame"):
            # Its blocks can change while its values do not.
            return str, (type(value).__name__,), (value.index, value.columns, [one.array for _, one in value.items()])
        return NotImplemented

    def _parts_of_class(self, kind: type) -> tuple[Any, ...]:
        """Return the classes above a class, its functions and its values. The others are those of its machinery."""
        above = [one if one.__module__ == _NOTEBOOK else one.__qualname__ for one in (type(kind), *kind.__bases__)]
        own = {name: _unwrapped(one) for name, one in vars(kind).items()}
        values = {name: self._part(one) for name, one in own.items() if _is_value(name, one)}
        return above, values | {name: one for name, one in own.items() if _is_function(one)}

    def _part(self, one: Any) -> str:
        """Return the state of a value in a class. What is open counts by its type, also in a container."""
        # What was seen in one that has no state is still to be written where it is used elsewhere.
        seen = {*self._seen}
        if (state := _state_of(one, seen)) is not None:
            self._seen |= seen
            return state
        parts = [] if id(one) in self._seen else _parts_of_value(one)
        self._seen.add(id(one))
        # The number of one that is gone might be that of the next.
        self._held.append(parts)
        states = [self._part(part) for part in parts]
        # A digest of them: the text of a text has more escapes at each level.
        return f"{type(one).__qualname__} {_state_of(states, set())}" if states else type(one).__qualname__


def _parts_of_value(value: Any) -> list[Any]:
    """Return what a value is made of, as pickle makes it again: nothing if it is open itself, or of a library."""
    kind = type(value)
    top = kind.__module__.partition(".")[0]
    # What else comes with Python, such as a thread, has numbers and names that are others in each run.
    if (top in sys.stdlib_module_names and top not in _OF_CONTAINERS) or _is_of_library(kind):
        return []
    if kind in (list, tuple):
        return [*value]
    if kind in (dict, MappingProxyType):
        return [*value.items()]
    try:
        made = value.__reduce_ex__(2)
        return [*made[:3], *map(list, filter(None, made[3:5]))] if isinstance(made, tuple) else []
    except users_failures():
        return []


def _is_of_library(kind: type) -> bool:
    top = kind.__module__.partition(".")[0]
    return top not in _KNOWN and "-packages" in (getattr(sys.modules.get(top), "__file__", None) or "")


def _parts_of_function(function: FunctionType) -> tuple[Any, ...]:
    held = [one.cell_contents for one in function.__closure__ or ()]
    # Of a library, only its own code can be another one, in a module of the user's that is loaded again.
    names = _names_in(function.__code__) if function.__module__ == _NOTEBOOK else ()
    used = {name: function.__globals__[name] for name in sorted({*names}) if name in function.__globals__}
    return function.__code__, function.__defaults__, function.__kwdefaults__, held, used


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _names_in(one)


def _unwrapped(one: Any) -> Any:
    """Return the function of a method or a property; any other value as it is, also a method of an object."""
    if isinstance(one, MethodType):
        return one
    return one.func if isinstance(one, cached_property) else getattr(one, "fget", getattr(one, "__func__", one))


def _is_function(one: Any) -> bool:
    return isinstance(one, _FUNCTIONS)


def _is_value(name: str, one: Any) -> bool:
    """Return whether something in a class is a value: no function, slot, source of random numbers, and no library's."""
    kind = type(one)
    is_other = isinstance(one, _NO_VALUES) or kind.__module__ in ("_abc", "random") or _is_of_library(kind)
    return not name.startswith("__") and (kind.__module__ == _NOTEBOOK or not is_other)
