"""Reading what tells of the models: the endpoint's list, W&B's public feed, and the snapshot shipped with the package.

The feeds' shapes are those of service.md (facts as of 2026-10-07). Whatever else stands in them is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from ..text import redacted
from .models import Model, Price, Snapshot, is_model_id

# In characters, and how many of a list: what is longer is no name, description or kind.
LONGEST_TEXT: Final = 5000
MOST_TEXTS: Final = 50
SNAPSHOT_FILE: Final = "models-2026-10-07.json"


def read_listing(document: object) -> list[str]:
    """Return the ids in an answer to `GET /models`, each once.

    Raises
    ------
    ValueError
        When the document is no such answer.
    """
    data = _mapping(document).get("data")
    if not isinstance(data, list):
        raise ValueError("not a list of models")
    ids = [_text(_mapping(entry).get("id")) for entry in data]
    return _without_secrets(list(dict.fromkeys(one for one in ids if is_model_id(one))))


def _without_secrets(ids: list[str]) -> list[str]:
    """Return the ids that hold no part of a key: what an endpoint lists may be anything."""
    together = "\n".join(ids)
    return ids if redacted(together) == together else [one for one in ids if redacted(one) == one]


def read_modelsdev(document: object) -> dict[str, Model]:
    """Return the models in W&B's public feed (models.dev schema), by id.

    Raises
    ------
    ValueError
        When the document is no such feed.
    """
    found = [_mapping(provider).get("models") for provider in _mapping(document).values()]
    tables = [table for table in found if isinstance(table, Mapping)]
    if not tables:
        raise ValueError("not a feed of models")
    entries = [(key, entry) for table in tables for key, entry in table.items() if isinstance(entry, Mapping)]
    return _by_id(_of_modelsdev(str(key), entry) for key, entry in entries)


def _of_modelsdev(key: str, entry: Mapping[str, Any]) -> Model:
    cost, limit, kinds = (_mapping(entry.get(name)) for name in ("cost", "limit", "modalities"))
    return Model(
        id=_text(entry.get("id")) or key,
        name=_text(entry.get("name")),
        context=_count(limit.get("context")),
        max_output=_count(limit.get("output")),
        input=_texts(kinds.get("input")),
        price=_price(cost.get("input"), cost.get("output"), cost.get("cache_read")),
        reasoning=_reasoning(entry),
        reasoning_efforts=_efforts(entry),
        tools=_flag(entry.get("tool_call")),
        structured=_flag(entry.get("structured_output")),
        description=_text(entry.get("description")),
        lifecycle=_text(entry.get("status")),
    )


def _reasoning(entry: Mapping[str, Any]) -> str:
    """Say how a model reasons as far as the feed tells: whether a toggle is on at first it does not."""
    if entry.get("reasoning") is False:
        return "none"
    options = _options(entry)
    if any(option.get("type") == "toggle" for option in options):
        return "toggle-on"
    # Options are optional there: without any, how it reasons is not told.
    return "always" if entry.get("reasoning") is True and options else "unknown"


def _efforts(entry: Mapping[str, Any]) -> tuple[str, ...]:
    efforts = (_texts(option.get("values")) for option in _options(entry) if option.get("type") == "effort")
    return next(efforts, ())


def _options(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    options = entry.get("reasoning_options")
    return [option for option in options if isinstance(option, Mapping)] if isinstance(options, list) else []


@cache
def snapshot() -> Snapshot:
    """Return the facts shipped with the package."""
    from importlib.resources import files

    document = json.loads((files(__package__) / SNAPSHOT_FILE).read_text(encoding="utf-8"))
    models = [_of_snapshot(entry) for entry in document["models"]]
    return Snapshot(document["as_of"], {model.id: model for model in models}, document["retired_replacements"])


def _of_snapshot(entry: Mapping[str, Any]) -> Model:
    price = entry["usd_per_million"]
    return Model(
        id=entry["id"],
        name=entry["name"],
        context=entry["context"],
        input=tuple(entry["input"]),
        price=Price(price["input"], price["output"], price["cached"]),
        reasoning=entry["reasoning"],
        description=f"{entry['parameters']} parameters",
    )


def _by_id(models: Iterable[Model]) -> dict[str, Model]:
    return {model.id: model for model in models if is_model_id(model.id)}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value[:LONGEST_TEXT] if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in map(_text, value[:MOST_TEXTS]) if one) if isinstance(value, list) else ()


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: object) -> float | None:
    """Return a number that can be one of these facts; JSON may hold NaN and integers too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return None
    return float(value)


def _count(value: object) -> int | None:
    number = _number(value)
    return int(number) if number else None


def _price(input: object, output: object, cached: object) -> Price | None:
    usd_in, usd_out = _number(input), _number(output)
    return None if usd_in is None or usd_out is None else Price(usd_in, usd_out, _number(cached))
