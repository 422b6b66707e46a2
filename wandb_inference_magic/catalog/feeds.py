"""Read the facts about models: the endpoint's list, W&B's public feed, and the snapshot shipped with the package.

The formats of the feeds are those of 2026-10-07. Anything else in them is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from ..errors import quoted
from ..text import without_keys
from .ids import is_model_id
from .models import Catalog, Model, Price

# The limits in characters and in list items: a longer text is not a name, a description or a modality.
MAX_TEXT_CHARS: Final = 5000
MAX_TEXTS: Final = 50
# The members of a response to `GET /models` that may hold the list.
LISTS: Final = ("data", "models", "items", "result", "results", "model_names")
SNAPSHOT_FILE: Final = "models-2026-10-07.json"


def read_listing(document: object) -> list[str]:
    """Return the ids in a response to `GET /models`, each once.

    It is a list, or an object with a list in one of the members `LISTS`. An entry is an id or an object with one.

    Raises
    ------
    ValueError
        If the document is not such a response. The message says what it is.
    """
    is_list = isinstance(document, list) or any(name in _mapping(document) for name in LISTS)
    entries = _entries(document) if is_list else None
    if entries is None:
        raise ValueError(f"It sent: {quoted(json.dumps(document))}")
    ids = list(dict.fromkeys(filter(None, map(_listed_id, entries))))
    if entries and not ids:
        raise ValueError(f"No model's id is in {quoted(json.dumps(entries))}")
    return _without_secrets(ids)


def _entries(listed: object) -> list[Any] | None:
    """Return the entries of a list of models in one of its forms, or None."""
    if listed is None or isinstance(listed, list):
        return listed or []
    if not isinstance(listed, Mapping):
        return None
    # llama.cpp has both members, and one may be null.
    inner = [_entries(listed[name]) for name in LISTS if name in listed]
    if inner:
        return max(inner, key=lambda one: -1 if one is None else len(one))
    if _listed_id(listed):
        return [listed]
    by_id = [{"id": id, **facts} for id, facts in listed.items() if isinstance(facts, Mapping)]
    return by_id if len(by_id) == len(listed) else None


def _listed_id(entry: object) -> str:
    """Return the id of an entry, or an empty text."""
    names = [entry, *(_mapping(entry).get(name) for name in ("id", "model", "modelId", "model_id", "name"))]
    return next((one for one in map(_text, names) if is_model_id(one)), "")


def _without_secrets(ids: list[str]) -> list[str]:
    """Return the ids that hold no part of a key of this process: an endpoint may list anything."""
    together = "\n".join(ids)
    return ids if without_keys(together) == together else [one for one in ids if without_keys(one) == one]


def read_modelsdev(document: object) -> dict[str, Model]:
    """Return the models in W&B's public feed (models.dev schema), by id.

    Raises
    ------
    ValueError
        If the document is not such a feed.
    """
    found = [_mapping(provider).get("models") for provider in _mapping(document).values()]
    tables = [table for table in found if isinstance(table, Mapping)]
    if not tables:
        raise ValueError("not a feed of models")
    entries = [(key, entry) for table in tables for key, entry in table.items() if isinstance(entry, Mapping)]
    models = [_of_modelsdev(str(key), entry) for key, entry in entries]
    return {model.id: model for model in models if is_model_id(model.id)}


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
        released=_date(entry.get("release_date")),
    )


def _reasoning(entry: Mapping[str, Any]) -> str:
    """Return how a model reasons, as far as the feed says. It does not say whether a toggle is on by default."""
    if entry.get("reasoning") is False:
        return "none"
    options = _options(entry)
    if any(option.get("type") == "toggle" for option in options):
        return "toggle-on"
    # Options are optional in the feed. Without any, how the model reasons is unknown.
    return "always" if entry.get("reasoning") is True and options else "unknown"


def _efforts(entry: Mapping[str, Any]) -> tuple[str, ...]:
    efforts = (_texts(option.get("values")) for option in _options(entry) if option.get("type") == "effort")
    return next(efforts, ())


def _options(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    options = entry.get("reasoning_options")
    return [option for option in options if isinstance(option, Mapping)] if isinstance(options, list) else []


@cache
def snapshot() -> Catalog:
    """Return the facts shipped with the package, as a catalog that is not live."""
    from importlib.resources import files

    document = json.loads((files(__package__) / SNAPSHOT_FILE).read_text(encoding="utf-8"))
    return Catalog(
        models=tuple(_of_snapshot(entry) for entry in document["models"]),
        live=False,
        as_of=f"snapshot of {document['as_of']}",
        replacements=document["retired_replacements"],
    )


def _of_snapshot(entry: Mapping[str, Any]) -> Model:
    return Model(
        id=entry["id"],
        name=entry["name"],
        context=entry["context"],
        input=tuple(entry["input"]),
        price=Price(**entry["usd_per_million"]),
        reasoning=entry["reasoning"],
        description=f"{entry['parameters']} parameters",
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value[:MAX_TEXT_CHARS] if isinstance(value, str) else ""


def _date(value: object) -> str:
    return _text(value) if re.fullmatch(r"\d{4}-\d\d-\d\d", _text(value)) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in map(_text, value[:MAX_TEXTS]) if one) if isinstance(value, list) else ()


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: object) -> float | None:
    """Return a number if it is plausible, else None: JSON may hold NaN and integers too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return None
    return float(value)


def _count(value: object) -> int | None:
    number = _number(value)
    return int(number) if number and number < 2**63 else None


def _price(input: object, output: object, cached: object) -> Price | None:
    usd_in, usd_out = _number(input), _number(output)
    return None if usd_in is None or usd_out is None else Price(usd_in, usd_out, _number(cached))
