"""The Jinja2 environment of prompts, and how values compare. A key comes before a method; what is missing is false."""

from __future__ import annotations

import builtins
import inspect
import operator
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partialmethod
from itertools import chain
from types import ModuleType, NoneType
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.utils import missing
from typing_extensions import override

from ..imports import is_instance
from ..text import is_missing, python_values, same_name
from .describe_frames import is_labelled, labels_of
from .json_values import is_list, was_list
from .template_rules import (
    filters_for_missing,
    function_of,
    items_or_empty,
    items_or_value,
    method_of,
    operand_of,
    ordered_items,
    pattern_of,
    text_or_empty,
    truth_of,
    value_or_none,
)
from .value_spans import MarkedText
from .values import json_of

# The name of a test of whether a value is true. It has a space, so that no template can use it.
_TRUE: Final = "as truth"
# The name for `self` in a compiled template.
SELF: Final = "self_of_method"
# Before the name of an attribute that is called.
_CALLED: Final = "() "
# How many arguments these filters have where their test is left out: it is the truth of a value.
_ARGUMENTS: Final = {"select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}
_ORDERINGS: Final = ("gt", "greaterthan", ">", "ge", ">=", "lt", "lessthan", "<", "le", "<=")
_EQUALITIES: Final = ("eq", "equalto", "==", "ne", "!=")
_OF_SCALARS: Final = (
    *("boolean", "divisibleby", "even", "false", "float", "integer", "number", "odd", "string", "true"),
)
# The rules for the parts of a node of a template, by its class: the first one that it is of.
_RULES_OF_PARTS: Final[tuple[tuple[Any, dict[str, Callable[[Any], Any]]], ...]] = (
    (nodes.If | nodes.CondExpr, {"test": truth_of}),
    (nodes.For, {"test": truth_of, "iter": ordered_items}),
    (nodes.Not, {"node": truth_of}),
    (nodes.And | nodes.Or, {"left": truth_of, "right": truth_of}),
    (nodes.Mod, {"left": pattern_of}),
    (nodes.BinExpr, {"left": operand_of, "right": operand_of}),
    (nodes.UnaryExpr | nodes.Getitem, {"node": operand_of}),
)
_CONTAINERS: Final = (list, tuple, dict)
# They are no arrays, and hold none.
_PLAIN: Final = frozenset((str, int, float, bool, NoneType))


class _Undefined(StrictUndefined):
    """A name or an attribute that is not there. The error for its use has both: `name`, and the object as `owner`."""

    __slots__ = ()

    def __init__(self, hint: str | None = None, obj: Any = missing, name: str | None = None, **others: Any) -> None:
        def undefined(message: str | None = None) -> UndefinedError:
            error = UndefinedError(message)
            vars(error).update(name=name, owner=None if obj is missing else obj)
            return error

        super().__init__(hint, obj, name, **{"exc": undefined, **others})


class _Method(_Undefined):
    """A method that is not called. It can be named, tested, passed and called later; it is no text and no value."""

    __slots__ = ("_method",)
    # Jinja2 asks it of what it calls.
    jinja_pass_arg = None

    def __init__(self, method: Callable[..., Any], obj: Any, name: str) -> None:
        super().__init__(f"{name} is a method of a {type(obj).__name__}", obj, name)
        self._method = method

    @override
    def __call__(self, *values: Any, **options: Any) -> Any:
        return self._method(*values, **options)

    @override
    def __bool__(self) -> bool:  # type: ignore[override]
        return True


@lru_cache(maxsize=1)
def _with_rules(
    own_filters: tuple[tuple[str, Any], ...], own_tests: tuple[tuple[str, Any], ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the filters and tests that have other rules than Jinja2's own. Making them takes a millisecond."""
    tests: dict[str, Any] = dict(own_tests)
    tests |= {name: _test_of_scalar(tests[name]) for name in _OF_SCALARS}
    # `x is None` is Python's way to write it.
    tests |= {"None": is_missing, "True": tests["true"], "False": tests["false"]}
    tests |= {name: _comparison(tests[name], _ordered) for name in _ORDERINGS}
    tests |= {name: _comparison(tests[name], _compared) for name in _EQUALITIES}
    tests |= {"none": is_missing, "in": _is_in, _TRUE: lambda value: bool(truth_of(value))}
    tests |= {"defined": lambda value: not _is_undefined(value), "undefined": _is_undefined}
    return filters_for_missing(dict(own_filters)) | _FILTERS, tests


class PromptEnvironment(Environment):
    """An environment with two more rules.

    `{{ row.items }}` is the value of the key `items`, in a dict and in a row of pandas; `{{ row.items() }}` calls the
    method. A value that is missing (None, NaN, NaT, `pd.NA`) is false, is none, is less and greater than nothing, and
    has no text, no items and no number.
    """

    # Of the pieces of a block that is kept for later, or given to a filter or a macro.
    concat = MarkedText.joined

    def __init__(self, **options: Any) -> None:
        super().__init__(undefined=_Undefined, **options)
        filters, tests = _with_rules(tuple(self.filters.items()), tuple(self.tests.items()))
        self.filters |= filters
        self.tests |= tests

    @override
    def parse(self, source: str, name: str | None = None, filename: str | None = None) -> nodes.Template:
        return _adapted(super().parse(source, name, filename))

    @override
    def from_string(self, source: str | nodes.Template, *args: Any, **options: Any) -> Any:
        # An expression that was compiled by itself comes as a tree.
        tree = self.parse(source) if isinstance(source, str) else _adapted(source)
        return super().from_string(tree, *args, **options)

    @override
    def getattr(self, obj: Any, attribute: str) -> Any:
        if attribute.startswith(_CALLED):
            name = attribute.removeprefix(_CALLED)
            return method_of(obj, name) or super().getattr(obj, name)
        has_keys = is_labelled(obj)
        if has_keys and attribute in obj:
            return obj[attribute]
        value = super().getattr(obj, attribute)
        if isinstance(value, Undefined) and obj is not None and is_missing(obj):
            # None may be a variable that should hold something else.
            return None
        if isinstance(value, Undefined):
            return self._in_other_form(value, obj, attribute)
        if _is_method(value, obj) and not has_keys:
            # A column of a frame, a field of a record.
            with suppress(Exception):
                return obj[attribute]
        return self._unless_method(value, obj, attribute)

    @override
    def getitem(self, obj: Any, argument: Any) -> Any:
        if not is_labelled(obj):
            value = super().getitem(obj, argument)
            if isinstance(value, Undefined):
                return self._in_other_form(value, obj, argument)
            return self._unless_method(value, obj, argument)
        # Not an attribute, as for Jinja2.
        try:
            return obj[argument]
        except (AttributeError, LookupError, TypeError):
            return self._in_other_form(self.undefined(obj=obj, name=argument), obj, argument)

    def _in_other_form(self, value: Undefined, obj: Any, name: Any) -> Any:
        """Return the column or key of a name in another form of Unicode; the undefined value if there is none."""
        known = same_name(name, labels_of(obj)) if isinstance(name, str) else None
        return value if known is None else obj[known]

    def _unless_method(self, value: Any, obj: Any, name: Any) -> Any:
        """Return a part of an object. A method in place of a key is not meant."""
        if not _is_method(value, obj):
            return value
        method = _Method(value, obj, name)
        return self.undefined(method._undefined_hint, obj, name) if is_labelled(obj) else method


def _is_method(value: Any, obj: Any) -> bool:
    """Return whether a value is a method of an object: a function of a module or class may be meant as its source."""
    has_object = not isinstance(getattr(value, "__self__", None), NoneType | ModuleType)
    return inspect.isroutine(value) and has_object and not isinstance(obj, type | ModuleType)


def _is_undefined(value: Any) -> bool:
    return isinstance(value, Undefined) and not isinstance(value, _Method)


def _adapted(tree: nodes.Template) -> nodes.Template:
    """Put the rules of the environment into a parsed template."""
    if not any(tree.find_all(nodes.Block)):
        # In Jinja2 it is the template, which is of use only with blocks. Here it is the object of a method.
        for name in tree.find_all(nodes.Name):
            name.name = SELF if name.name == "self" else name.name
    # Their results are used as arrays: `(scores > 5).any()`, `scores[scores > 5]`.
    parts: Any = tree.find_all((nodes.Getattr, nodes.Getitem))
    of_arrays = {id(one) for part in parts for one in (part.node, getattr(part, "arg", None))}
    for node in list(tree.find_all(nodes.Node)):
        if isinstance(node, nodes.Compare):
            _adapt_comparison(node, of_arrays=id(node) in of_arrays)
        else:
            _adapt(node)
    if tree.environment is not None:
        tree.set_environment(tree.environment)
    return tree


def _adapt(node: nodes.Node) -> None:
    """Put the filters for missing values around what a node uses. Refuse other templates."""
    if isinstance(node, nodes.Include | nodes.Extends | nodes.Import | nodes.FromImport):
        raise TemplateSyntaxError("another template cannot be used here: it would not have these names", node.lineno)
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        node.node.attr = _CALLED + node.node.attr
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
        node.node = _filtered(node.node, function_of)
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Tuple):
        # Jinja2 compiles `[:, 0]` to what is no Python.
        node.arg.items = [_as_call(one) if isinstance(one, nodes.Slice) else one for one in node.arg.items]
    elif isinstance(node, nodes.Concat):
        node.nodes = [_filtered(one, text_or_empty) for one in node.nodes]
    elif isinstance(node, nodes.Filter) and len(node.args) == _ARGUMENTS.get(node.name):
        node.args.append(nodes.Const(_TRUE, lineno=node.lineno))
    rules = next((rules for kind, rules in _RULES_OF_PARTS if isinstance(node, kind)), {})
    for part, rule in rules.items():
        if (used := getattr(node, part)) is not None:
            setattr(node, part, _filtered(used, rule))


def names_used_whole(tree: nodes.Template) -> set[str]:
    """Return the names in a template's expressions of which not only an attribute or an item is used.

    An argument of a function of the user or of `next`, which may take a part too, is left out.
    """
    parts: Any = tree.find_all((nodes.Getattr, nodes.Getitem))
    owners = [one.node for one in parts]
    for call in tree.find_all(nodes.Call):
        name = getattr(getattr(call.node, "node", None), "name", "")
        if name == "next" or (name and not hasattr(builtins, name)):
            owners += [*call.args, *(one.value for one in call.kwargs)]
    # The rule of a place is around what stands there.
    in_parts = {id(one.node if isinstance(one, nodes.Filter) and " " in one.name else one) for one in owners}
    names = (one for one in tree.find_all(nodes.Name) if one.ctx == "load")
    return {one.name for one in names if id(one) not in in_parts}


def _as_call(node: nodes.Slice) -> nodes.Expr:
    parts = [part or nodes.Const(None, lineno=node.lineno) for part in (node.start, node.stop, node.step)]
    return _filtered(nodes.Tuple(parts, "load", lineno=node.lineno), _slice_of)


def _adapt_comparison(node: nodes.Compare, *, of_arrays: bool) -> None:
    has_order = any(one.op in ("lt", "lteq", "gt", "gteq") for one in node.ops)
    if node.ops[0].op in ("in", "notin") and not has_order:
        node.expr, node.ops[0].expr = _filtered(node.expr, items_or_value), _filtered(node.ops[0].expr, _members_of)
        return
    rules = (_ordered, _ordered_array) if has_order else (_compared, value_or_none)
    parts: list[Any] = [node, *node.ops]
    for one in parts:
        one.expr = _filtered(one.expr, rules[of_arrays])
    for one in parts[:-1]:
        one.expr = _filtered(one.expr, _container_of)


def _filtered(node: Any, rule: Callable[[Any], Any]) -> nodes.Filter:
    return nodes.Filter(node, _name_of(rule), [], [], None, None, lineno=node.lineno)


def _name_of(rule: Callable[[Any], Any]) -> str:
    """Return the name of a rule as a filter. It has a space, so that no template can use it."""
    return f"as {rule.__name__}"


def _compared(value: Any) -> Any:
    """Return what stands for a value in a comparison: None if it is missing, and the list that an array was made of."""
    value = value_or_none(value)
    return python_values(value) if was_list(value) else value


def _container_of(value: Any) -> Any:
    """Return the left side of a comparison, which has the rule for a container within which arrays may be."""
    return _Container(value) if type(value) in _CONTAINERS else value


def _is_in(value: Any, values: Any) -> bool:
    """The test `is in`, with the rule of the operator: a missing value equals None, and has no items."""
    return items_or_value(value) in _members_of(values)


def _members_of(values: Any) -> Any:
    """Return what the operator `in` looks through: `pd.NA` would compare to neither true nor false."""
    values = _listed(values)
    return _Container(values) if isinstance(values, list | tuple) else items_or_empty(values)


class _Container:
    """A container in a comparison, within which an array that is sent as a list is that list.

    It is not copied before it is compared: it may be large, or hold itself.
    """

    def __init__(self, value: Any) -> None:
        self._value = value

    def __contains__(self, one: Any) -> bool:
        # None is looked for among NaN too.
        if one is not None and _PLAIN.issuperset(map(type, self._value)):
            return one in self._value
        return any(_are_equal(one, value_or_none(other)) for other in self._value)

    def _compare(self, run: Callable[[Any, Any], Any], other: Any) -> Any:
        value, other = self._value, other._value if isinstance(other, _Container) else other
        if type(value) is not type(other):
            return run(value, other)
        if run in (operator.eq, operator.ne):
            return _are_equal(value, other) is (run is operator.eq)
        if isinstance(value, dict):
            return run(value, other)
        pairs = (pair for pair in zip(value, other, strict=False) if not _are_equal(*pair))
        one, another = next(pairs, (len(value), len(other)))
        return run(_container_of(_listed(one)), _listed(another))

    @override
    def __eq__(self, other: object) -> Any:
        return self._compare(operator.eq, other)

    @override
    def __ne__(self, other: object) -> Any:
        return self._compare(operator.ne, other)

    __lt__, __le__ = partialmethod(_compare, operator.lt), partialmethod(_compare, operator.le)
    __gt__, __ge__ = partialmethod(_compare, operator.gt), partialmethod(_compare, operator.ge)


def _are_equal(one: Any, other: Any) -> bool:
    pairs, seen = [(one, other)], {}
    while pairs:
        one, other = map(_listed, pairs.pop())
        if one is other or (id(one), id(other)) in seen:
            continue
        if type(one) is not type(other) or type(one) not in _CONTAINERS:
            if one == other:
                continue
            return False
        if len(one) != len(other) or (isinstance(one, dict) and one.keys() != other.keys()):
            return False
        # They are kept: another list may get the id of one that is gone.
        seen[id(one), id(other)] = one, other
        parts = (list(one.values()), [other[name] for name in one]) if isinstance(one, dict) else (one, other)
        if not _PLAIN.issuperset(map(type, chain(*parts))):
            pairs += reversed([*zip(*parts, strict=True)])
        elif parts[0] != parts[1]:
            return False
    return True


def _listed(value: Any) -> Any:
    # Most have no such method, which is quickly seen.
    is_array = hasattr(type(value), "__array__") and is_instance(value, "numpy.ndarray")
    return python_values(value) if is_array and is_list(value) else value


class _Unordered:
    """Stands for a missing value in a comparison: it is neither less nor greater than any other."""

    def __lt__(self, other: object) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__


def _ordered(value: Any) -> Any:
    return _ordered_array(_compared(value))


def _ordered_array(value: Any) -> Any:
    return _Unordered() if (found := value_or_none(value)) is None else found


def _slice_of(parts: tuple[Any, ...]) -> slice:
    return slice(*parts)


def _comparison(test: Callable[[Any, Any], Any], replaced: Callable[[Any], Any]) -> Callable[[Any, Any], bool]:
    """Return a test of two values, with what stands for each that is missing."""
    return lambda value, other: bool(test(_container_of(replaced(value)), replaced(other)))


def _test_of_scalar(test: Callable[..., Any]) -> Callable[..., bool]:
    """Return a test that is false for a missing value, and sees a scalar of NumPy or pyarrow as that of Python."""

    def test_of_scalar(value: Any, *others: Any) -> bool:
        value = value_or_none(value)
        value = python_values(value) if is_instance(value, "numpy.generic") else value
        return value is not None and bool(test(value, *others))

    return test_of_scalar


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    is_absent = _is_undefined(value) or is_missing(value)
    return default_value if is_absent or (boolean and not truth_of(value)) else value


# What a template's values are passed through.
_RULES: Final = (
    *(truth_of, _ordered, _ordered_array, _compared, value_or_none, items_or_value, text_or_empty, _members_of),
    *(ordered_items, pattern_of, operand_of, _slice_of, function_of, _container_of),
)
_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    **{_name_of(rule): rule for rule in _RULES},
    "default": _default,
    "d": _default,
    "tojson": json_of,
}
