"""Whether a JSON value fits a JSON schema, for the keywords that structured output is made of.

These are: type, enum, const, properties, required, additionalProperties, items, anyOf, oneOf, allOf and $ref.
Any other keyword is taken for fulfilled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

# A bool is an int to Python, not to JSON.
_TYPES: Final[Mapping[str, Any]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        value.is_integer() if isinstance(value, float) else isinstance(value, int) and not isinstance(value, bool)
    ),
}


def problems_of(value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what in a value does not fit a schema, each in one line with its place."""
    yield from _Check(schema).problems(value, schema, "")


class _Check:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def problems(self, value: Any, schema: Any, path: str) -> Iterator[str]:
        if not isinstance(schema, Mapping):
            if schema is False:
                yield f"{path or 'the answer'}: nothing is allowed here"
            return
        if "$ref" in schema:
            yield from self.problems(value, self._referred(str(schema["$ref"])), path)
        if not _is_one_of(value, schema):
            yield f"{path or 'the answer'}: {_wanted(schema)} is expected, not {shortened(repr(value))}"
            return
        yield from self._of_alternatives(value, schema, path)
        if isinstance(value, Mapping):
            yield from self._of_object(value, schema, path)
        if isinstance(value, list) and "items" in schema:
            for number, one in enumerate(value):
                yield from self.problems(one, schema["items"], _below(path, str(number)))

    def _of_alternatives(self, value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
        for one in schema.get("allOf", ()):
            yield from self.problems(value, one, path)
        for keyword in ("anyOf", "oneOf"):
            found = [list(self.problems(value, one, path)) for one in schema.get(keyword, ())]
            if found and [] not in found:
                yield min(found, key=len)[0]

    def _of_object(self, value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{_below(path, name)}: it is missing"
        for name, one in value.items():
            if name in properties:
                yield from self.problems(one, properties[name], _below(path, name))
            elif "additionalProperties" in schema:
                yield from self.problems(one, schema["additionalProperties"], _below(path, name))

    def _referred(self, reference: str) -> Any:
        found: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(part, True) if isinstance(found, Mapping) and part else found
        return found


def _is_one_of(value: Any, schema: Mapping[str, Any]) -> bool:
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    return not kinds or any(_TYPES.get(kind, lambda _: True)(value) for kind in kinds)


def _wanted(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {', '.join(map(repr, schema['enum']))}"
    if "const" in schema:
        return repr(schema["const"])
    kinds = schema["type"]
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
