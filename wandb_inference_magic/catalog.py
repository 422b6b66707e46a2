"""What is known about the models: the endpoint's live list, joined with a public feed or a dated snapshot."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Final

from .errors import InferenceError, did_you_mean

SNAPSHOT_FILE: Final = "models-2026-10-07.json"
LORA: Final = "wandb-artifact:"


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens. `cached` is None where cached tokens have no price of their own."""

    input: float
    output: float
    cached: float | None = None

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Return the USD of one call; `prompt_tokens` includes the cached ones (service.md)."""
        cached = self.input if self.cached is None else self.cached
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * cached + completion_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of one model; None and empty mean: not known.

    `available` tells whether the endpoint lists it now. `reasoning` is one of the snapshot's words.
    """

    id: str
    name: str = ""
    context: int | None = None
    input: tuple[str, ...] = ()
    price: Price | None = None
    reasoning: str = "unknown"
    efforts: tuple[str, ...] = ()
    tools: bool | None = None
    structured: bool | None = None
    description: str = ""
    available: bool | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The facts shipped with the package, their date, and what took the place of retired models."""

    as_of: str
    models: Mapping[str, Model]
    replacements: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models of an endpoint.

    `live` tells whether the list is the endpoint's own of now; `as_of` where the facts come from; `note`
    what could not be had.
    """

    models: tuple[Model, ...]
    live: bool
    as_of: str = ""
    note: str = ""
    replacements: Mapping[str, str] = field(default_factory=dict)

    def find(self, id: str) -> Model | None:
        """Return the model of that id; ids are case-sensitive."""
        return next((model for model in self.models if model.id == id), None)

    def matching(self, text: str) -> list[Model]:
        """Return the models whose id, name, description and kinds hold all words of `text`."""
        words = text.lower().split()
        return [model for model in self.models if all(word in _searched(model) for word in words)]

    def explain_unknown(self, id: str) -> InferenceError:
        """Return the error for an id the endpoint does not have: its replacement, or near ids."""
        ids = [model.id for model in self.models]
        if replacement := self.replacements.get(id):
            why, remedy = "It is retired.", f"Its replacement is {replacement}."
        else:
            why, remedy = (
                "",
                did_you_mean(id, ids) or _named_alike(id, ids) or "See the models with %wbmodels.",
            )
        return InferenceError(f"There is no model {id!r} at this endpoint.", why=why, remedy=remedy, cause="model")


def _searched(model: Model) -> str:
    return " ".join((model.id, model.name, model.description, *model.input)).lower()


def _named_alike(id: str, ids: Sequence[str]) -> str:
    """Suggest the id whose last part is meant when the maker's part was left out."""
    by_name = {one.rpartition("/")[2]: one for one in ids}
    suggestion = did_you_mean(id.rpartition("/")[2], by_name)
    words = [word.rstrip("?") for word in suggestion.split()]
    return " ".join(by_name.get(word, word) for word in words) + "?" * bool(words)


def check_model_id(text: str) -> str:
    """Return a model's id.

    Raises
    ------
    InferenceError
        For a blank one, one with blanks or control characters in it, and a malformed LoRA address.
    """
    text = text.strip()
    if not text or len(text) > 500 or any(one.isspace() or not one.isprintable() for one in text):
        raise InferenceError(
            f"{text[:60]!r} is not a model id.",
            remedy="It looks like openai/gpt-oss-20b. %wbmodels shows them.",
            cause="option",
        )
    if text.startswith(LORA) and not re.fullmatch(r"wandb-artifact:///[^/:]+/[^/:]+/[^/:]+(:[^/:]+)?", text):
        raise InferenceError(
            f"{text[:80]!r} is not the address of a LoRA.",
            remedy="It looks like wandb-artifact:///team/project/name:latest, with three slashes.",
            cause="option",
        )
    return text


def is_lora(id: str) -> bool:
    """Whether an id is a LoRA's address; those are in no list."""
    return id.startswith(LORA)


# Reading what the endpoint and the feeds send ----------------------------------------------------------


def read_listing(document: object) -> list[str]:
    """Return the ids in an answer to `GET /models`, each once.

    Raises
    ------
    ValueError
        When the document is no such answer.
    """
    data = document.get("data") if isinstance(document, Mapping) else None
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise ValueError("not a list of models")
    ids = [entry.get("id") for entry in data if isinstance(entry, Mapping)]
    return list(dict.fromkeys(one for one in ids if isinstance(one, str) and one))


def read_modelsdev(document: object) -> dict[str, Model]:
    """Return the models in W&B's public feed (models.dev schema), by id.

    Raises
    ------
    ValueError
        When the document is no such feed.
    """
    providers = document.values() if isinstance(document, Mapping) else ()
    tables = [one["models"] for one in providers if isinstance(one, Mapping) and isinstance(one.get("models"), Mapping)]
    if not tables:
        raise ValueError("not a feed of models")
    entries = [(str(key), entry) for table in tables for key, entry in table.items() if isinstance(entry, Mapping)]
    models = [_of_feed(key, entry) for key, entry in entries]
    return {model.id: model for model in models}


def _of_feed(key: str, entry: Mapping[str, Any]) -> Model:
    id = entry.get("id")
    cost, limit, kinds = (_mapping(entry.get(name)) for name in ("cost", "limit", "modalities"))
    return Model(
        id=id if isinstance(id, str) and id else key,
        name=_text(entry.get("name")),
        context=_count(limit.get("context")),
        input=_texts(kinds.get("input")),
        price=_price(cost.get("input"), cost.get("output"), cost.get("cache_read")),
        reasoning=_reasoning(entry),
        efforts=_efforts(entry),
        tools=_flag(entry.get("tool_call")),
        structured=_flag(entry.get("structured_output")),
        description=_text(entry.get("description")),
    )


def _reasoning(entry: Mapping[str, Any]) -> str:
    """Say how a model reasons as far as the feed tells: whether a toggle is on at first it does not."""
    if entry.get("reasoning") is False:
        return "none"
    options = entry.get("reasoning_options")
    kinds = {_mapping(one).get("type") for one in options} if isinstance(options, Sequence) else set()
    if "toggle" in kinds:
        return "toggle-on"
    return "always" if entry.get("reasoning") is True else "unknown"


def _efforts(entry: Mapping[str, Any]) -> tuple[str, ...]:
    options = entry.get("reasoning_options")
    for one in options if isinstance(options, Sequence) else ():
        if _mapping(one).get("type") == "effort":
            return _texts(_mapping(one).get("values"))
    return ()


@cache
def snapshot() -> Snapshot:
    """Return the facts shipped with the package."""
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


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, Sequence) else ()


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _price(input: object, output: object, cached: object) -> Price | None:
    usable = [
        isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one < 1e9 for one in (input, output, cached)
    ]
    if not usable[0] or not usable[1]:
        return None
    return Price(float(input), float(output), float(cached) if usable[2] else None)  # type: ignore[arg-type]


# Joining -----------------------------------------------------------------------------------------------


def join(
    listing: Sequence[str] | None,
    feed: Mapping[str, Model] | None = None,
    known: Snapshot | None = None,
    *,
    notes: Sequence[str] = (),
) -> Catalog:
    """Join the live list with the facts.

    Parameters
    ----------
    listing : sequence of str or None
        The ids the endpoint lists; None when it could not be asked.
    feed : mapping or None
        The public feed's models; its facts go before the snapshot's.
    known : Snapshot or None
        The snapshot; None for an endpoint that is not W&B's, of whose models nothing is known.
    notes : sequence of str
        What went wrong while these were fetched.

    Returns
    -------
    Catalog
        With a list, its models, also those of which nothing else is known. Without one, or with an empty
        one, the models the feed or the snapshot knows.
    """
    facts = _facts(feed, known)
    as_of = _as_of(feed, known)
    said = list(notes)
    if listing:
        models = [replace(facts.get(one, Model(one)), available=True) for one in listing]
    else:
        models = list(facts.values())
        if listing is not None and known is not None:
            said.append("The service gave an empty list.")
        if said and models:
            said.append("These are the models known without it.")
    return Catalog(
        models=tuple(sorted(models, key=lambda model: model.id.lower())),
        live=bool(listing),
        as_of=as_of,
        note=" ".join(said),
        replacements=known.replacements if known else {},
    )


def _facts(feed: Mapping[str, Model] | None, known: Snapshot | None) -> dict[str, Model]:
    facts = dict(known.models) if known else {}
    for id, model in (feed or {}).items():
        older = facts.get(id)
        # The feed does not say how a model reasons when nothing is said; the snapshot does.
        keep = older is not None and model.reasoning in ("unknown", "toggle-on") and older.reasoning != "unknown"
        facts[id] = replace(model, reasoning=older.reasoning) if older and keep else model
    return facts


def _as_of(feed: Mapping[str, Model] | None, known: Snapshot | None) -> str:
    if feed:
        return f"W&B's public feed, {date.today().isoformat()}"
    return f"snapshot of {known.as_of}" if known else ""


# Facts as users read them ------------------------------------------------------------------------------

REASONING_WORDS: Final = {
    "none": "no",
    "always": "always",
    "toggle-on": "yes, can be switched off",
    "toggle-off": "can be switched on",
    "adaptive": "the model decides",
    "unknown": "unknown",
}


def reasoning_words(reasoning: str) -> str:
    return REASONING_WORDS.get(reasoning, "unknown")


def context_words(tokens: int | None) -> str:
    """Return a context size as `131k` or `1.0M`."""
    if tokens is None:
        return "unknown"
    return f"{tokens / 1e6:.1f}M" if tokens >= 1_000_000 else f"{tokens // 1000}k" if tokens >= 1000 else str(tokens)


def price_words(price: Price | None) -> str:
    """Return a price as `$0.03 / $0.13`: USD per million tokens in and out."""
    return "unknown" if price is None else f"${price.input:.4g} / ${price.output:.4g}"


def usd(amount: float) -> str:
    """Return an amount with two digits that count: `$0.00012`, `$1.50`."""
    if amount == 0:
        return "$0"
    if amount >= 0.1:
        return f"${amount:,.2f}"
    decimals = 1 - math.floor(math.log10(amount))
    return f"${amount:.{decimals}f}"


def rows(models: Sequence[Model]) -> list[dict[str, object]]:
    """Return the models as plain rows, numbers as numbers, for a DataFrame."""
    return [
        {
            "id": model.id,
            "name": model.name,
            "context": model.context,
            "input": ", ".join(model.input),
            "usd_in": model.price.input if model.price else None,
            "usd_out": model.price.output if model.price else None,
            "usd_cached": model.price.cached if model.price else None,
            "reasoning": model.reasoning,
            "tools": model.tools,
            "structured": model.structured,
            "available": model.available,
        }
        for model in models
    ]
