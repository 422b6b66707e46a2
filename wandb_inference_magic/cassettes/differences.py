"""What differs between two requests, in words: for a request that a cassette does not hold."""

from __future__ import annotations

import json
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final

from ..errors import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# So many characters of a value are shown, and so many of a text stand before the first that differs.
SHOWN: Final = 60
BEFORE: Final = 15
# Of requests that share as many values, so many are compared word by word.
CLOSELY: Final = 20
WORDS: Final = 1000

Leaves = dict[str, Any]


def nearest(asked: Any, known: Sequence[Any]) -> int | None:
    """Return the place of the request in `known` that differs least; None where there is none."""
    wanted = leaves(asked)
    distances = [(_distance(wanted, leaves(one)), place) for place, one in enumerate(known)]
    closest = sorted(distances)[:CLOSELY]
    text = _words(wanted)
    return min(closest, key=lambda one: (-_alike(text, _words(leaves(known[one[1]]))), *one))[1] if closest else None


def differences(recorded: Any, asked: Any) -> list[str]:
    """Say what differs, member by member: what was recorded, and what is asked."""
    return list(_differences(leaves(recorded), leaves(asked)))


def leaves(value: Any, name: str = "") -> Leaves:
    """Return the single values in a JSON document by where they stand, such as `messages[1].content`."""
    if isinstance(value, dict) and value:
        inside = [leaves(one, f"{name}.{key}" if name else str(key)) for key, one in value.items()]
    elif isinstance(value, list) and value:
        inside = [leaves(one, f"{name}[{number}]") for number, one in enumerate(value)]
    else:
        return {name: value}
    return {key: one for part in inside for key, one in part.items()}


def _differences(recorded: Leaves, asked: Leaves) -> Iterator[str]:
    for name in dict.fromkeys((*asked, *recorded)):
        if name not in recorded:
            yield f"{name} is {_shown(asked[name])} now and was not there"
        elif name not in asked:
            yield f"{name} was {_shown(recorded[name])} and is not there now"
        elif recorded[name] != asked[name]:
            before, now = _apart(recorded[name], asked[name])
            yield f"{name} was {before} and is {now}"


def _apart(before: Any, now: Any) -> tuple[str, str]:
    """Show two values from shortly before where they part."""
    if not isinstance(before, str) or not isinstance(now, str):
        return _shown(before), _shown(now)
    pairs = zip(before, now, strict=False)
    same = next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(before), len(now)))
    start = max(0, same - BEFORE)
    dots = "..." if start else ""
    return _shown(f"{dots}{before[start:]}"), _shown(f"{dots}{now[start:]}")


def _shown(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False), SHOWN)


def _distance(one: Leaves, other: Leaves) -> int:
    return sum(name not in one or name not in other or one[name] != other[name] for name in {*one, *other})


def _words(found: Leaves) -> str:
    """Return the last thing that is said: of a conversation, the prompt."""
    said = [value for name, value in found.items() if name.startswith("messages[") and isinstance(value, str)]
    return said[-1][:WORDS] if said else ""


def _alike(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
