"""What is known about the models: the endpoint's live list, joined with a public feed or a dated snapshot.

The service counts cached tokens among those of the prompt (2026-10-07).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

from ..errors import InferenceError, did_you_mean, near_names, shortened_repr
from ..text import counted, safe_plain
from .ids import SORTS, is_lora, least_context


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens. `cached` is None if cached tokens have no separate price."""

    input: float
    output: float
    cached: float | None = None

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Return the cost of one call in USD; `prompt_tokens` includes the cached ones."""
        price_cached = self.input if self.cached is None else self.cached
        cached = min(max(cached_tokens, 0), prompt_tokens)
        fresh = prompt_tokens - cached
        return (fresh * self.input + cached * price_cached + completion_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Model:
    """What is known about one model. None and empty mean not known.

    `available` says whether the endpoint lists it now. `reasoning` is `none`, `always`, `toggle-on` (unless switched
    off), `toggle-off` (only when switched on), `adaptive` (the model decides) or `unknown`.
    `lifecycle` is the feed's value: `general-availability`, `deprecated`, `retired`. `released` is a date in ISO form.
    """

    id: str
    name: str = ""
    context: int | None = None
    max_output: int | None = None
    input: tuple[str, ...] = ()
    price: Price | None = None
    reasoning: str = "unknown"
    reasoning_efforts: tuple[str, ...] = ()
    tools: bool | None = None
    structured: bool | None = None
    description: str = ""
    available: bool | None = None
    lifecycle: str = ""
    released: str = ""

    @property
    def takes_images(self) -> bool | None:
        return "image" in self.input if self.input else None

    @property
    def thinks(self) -> bool | None:
        """Whether it reasons, or can do so."""
        return None if describe_reasoning(self.reasoning) == "unknown" else self.reasoning != "none"


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models of an endpoint. It can be iterated, and its text lists them.

    `live` says whether the list is the endpoint's current one. `as_of` says where the facts come from. `note` says
    what was not available.
    """

    models: tuple[Model, ...]
    live: bool
    as_of: str = ""
    note: str = ""
    replacements: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)

    def __contains__(self, model: object) -> bool:
        """Return whether the endpoint has a model, given itself or by its id."""
        return any(model in (one, one.id) for one in self.models)

    def __repr__(self) -> str:
        """Return a line for each model, and below them where the facts come from."""
        lines = [" · ".join(filter(None, (model.id, format_short(model)))) for model in self.models]
        source = f"Facts: {self.as_of}." if self.as_of else ""
        lines = [f"{counted(len(self), 'model')}{':' * bool(lines)}", *lines, self.note, source]
        return safe_plain("\n".join(filter(None, lines)))

    def find(self, id: str) -> Model | None:
        """Return the model with that id. Ids are case-sensitive."""
        return next((model for model in self.models if model.id == id), None)

    def matching(self, text: str, *, sort: str = "name", min_context: float = 0) -> list[Model]:
        """Return the models that all words of `text` match, in the order that `sort` names.

        A word matches a part of the model's id, name, description or facts. `images`, `tools` and `reasoning` match the
        models with that feature, and `128k+` those with at least that context.

        Parameters
        ----------
        text : str
        sort : str
            `price`, `context`, `name` or `newest`. A model whose value is not known comes last.
        min_context : number
            The smallest context, in tokens. A model whose context is not known has none.

        Raises
        ------
        InferenceError
            If an argument is of another type, or there is no such order.
        """
        if not isinstance(text, str):
            raise _refused("text", text, 'words of an id or of facts: matching("llama tools")')
        if sort not in SORTS:
            raise _refused("sort", sort, f"one of {', '.join(SORTS)}")
        try:
            least = float(min_context)
        except (TypeError, ValueError):
            raise _refused("min_context", min_context, "a number of tokens: 128_000") from None
        words = text.lower().split()
        found = [
            model
            for model in self.models
            if (model.context or 0) >= least and all(_matches(model, word) for word in words)
        ]
        # The models are in the order of their names, and sorting keeps the order of equal ones.
        return found if sort == "name" else sorted(found, key=SORT_KEYS[sort])

    def named(self, name: str) -> list[str]:
        """Return the ids whose last part is `name`, ignoring case."""
        folded = name.casefold()
        return [model.id for model in self.models if model.id.rpartition("/")[2].casefold() == folded]

    def describe_unknown(self, id: str) -> InferenceError:
        """Return the error for an id that the endpoint does not have. It names the replacement, or similar ids."""
        ids = [model.id for model in self.models if model.id != id]
        if replacement := self.replacements.get(id):
            why, remedy = "It is retired.", f"Its replacement is {replacement}."
        elif is_lora(id):
            why = "Its address is wrong, or its base model is not served."
            remedy = "Check the team, project, name and version; %wbmodels shows the models served."
        else:
            why = ""
            remedy = did_you_mean(id, ids) or _named_alike(id, ids) or "See the models with %wbmodels."
        return InferenceError(f"There is no model {id!r} at this endpoint.", why=why, remedy=remedy, cause="model")


# Search ------------------------------------------------------------------------------------------------


def _matches(model: Model, word: str) -> bool:
    least = least_context(word)
    if least is not None:
        return (model.context or 0) >= least
    names, everything = searched_texts(model)
    fact = {
        "image": model.takes_images,
        "images": model.takes_images,
        "tools": model.tools,
        "reasoning": model.thinks,
    }.get(word)
    # A description may say that a model does not have something.
    return fact or word in (everything if fact is None else names)


def searched_texts(model: Model) -> tuple[str, str]:
    """Return the names of a model, and all that a search looks through, in lower case."""
    names = f"{model.id} {model.name}".lower()
    facts = (*model.input, format_context(model.context), format_price(model.price), format_short(model))
    return names, " ".join((names, model.description, *facts)).lower()


def price_to_sort_by(model: Model) -> float | None:
    """Return the price of a million tokens in and a million out."""
    return None if model.price is None else model.price.input + model.price.output


SORT_KEYS: Final[Mapping[str, Callable[[Model], tuple[bool, Any]]]] = {
    "price": lambda model: _unknown_last(price_to_sort_by(model)),
    "context": lambda model: _unknown_last(-model.context if model.context else None),
    "newest": lambda model: _unknown_last(-int(model.released.replace("-", "")) if model.released else None),
}


def _unknown_last(value: Any) -> tuple[bool, Any]:
    return value is None, 0 if value is None else value


def _named_alike(id: str, ids: Sequence[str]) -> str:
    """Suggest the id with a similar last part, in case the maker's part was left out."""
    by_name = {one.rpartition("/")[2]: one for one in ids}
    near = [by_name[name] for name in near_names(id.rpartition("/")[2], by_name)]
    return f"Did you mean {' or '.join(near)}?" if near else ""


# Joining -----------------------------------------------------------------------------------------------


def join(
    listing: Sequence[str] | None,
    feed: Mapping[str, Model] | None = None,
    known: Catalog | None = None,
    *,
    notes: Sequence[str] = (),
) -> Catalog:
    """Join the live list with the facts.

    Parameters
    ----------
    listing : sequence of str or None
        The ids that the endpoint lists; None if the list could not be fetched.
    feed : mapping or None
        The public feed's models. Its facts take precedence over the snapshot's.
    known : Catalog or None
        The snapshot; None for an endpoint that is not W&B's, because nothing is known about its models.
    notes : sequence of str
        The errors that occurred while these were fetched.

    Returns
    -------
    Catalog
        With a list: its models, including those about which nothing else is known. Without a list, or with an empty
        one: the models in the feed, or else in the snapshot, without the retired ones.
    """
    feed = feed or {}
    dated = {model.id: model for model in known.models} if known else {}
    facts = {**dated, **{id: _more_exact(model, dated.get(id)) for id, model in feed.items()}}
    # Not both: a model that is no longer in the newer feed is most likely retired.
    served = [id for id, model in (feed or dated).items() if model.lifecycle != "retired"]
    ids = list(listing or served)
    available = True if listing else None
    models = [replace(facts.get(id, Model(id)), available=available) for id in ids]
    sources = [f"W&B's public feed, fetched {date.today().isoformat()}"] if feed else []
    if known and (not feed or any(id in dated and id not in feed for id in ids)):
        sources.append(known.as_of)
    return Catalog(
        models=tuple(sorted(models, key=lambda model: (model.id.lower(), model.id))),
        live=bool(listing),
        as_of=" and ".join(sources),
        note=" ".join(notes) if listing else _note(listing, known, notes, bool(models)),
        replacements=known.replacements if known else {},
    )


def _note(listing: Sequence[str] | None, known: Catalog | None, notes: Sequence[str], has_models: bool) -> str:
    sentences = list(notes)
    if listing is not None and known:
        sentences.append("The service gave an empty list.")
    elif known and not sentences:
        sentences.append("The service's own list is not known.")
    if sentences and has_models:
        sentences.append("These are the models known without it.")
    return " ".join(sentences)


def _more_exact(model: Model, older: Model | None) -> Model:
    """Return the feed's model. How it reasons is the snapshot's value where that is more exact."""
    leaves_open = ("toggle-off", "adaptive") if model.reasoning == "toggle-on" else ()
    if older and (model.reasoning == "unknown" or older.reasoning in leaves_open):
        return replace(model, reasoning=older.reasoning)
    return model


# Facts as users read them ------------------------------------------------------------------------------

REASONING_LABELS: Final = {
    "none": "no",
    "always": "always",
    "toggle-on": "yes, can be switched off",
    "toggle-off": "can be switched on",
    "adaptive": "the model decides",
    "unknown": "unknown",
}


def describe_reasoning(reasoning: str) -> str:
    """Return a description of how a model reasons. A value that the snapshot does not use is unknown."""
    return REASONING_LABELS.get(reasoning, "unknown")


def format_context(tokens: int | None) -> str:
    """Return a context size as `262k` or `1.0M`."""
    if tokens is None:
        return "unknown"
    if tokens >= 1_000_000:
        return f"{tokens / 1e6:.1f}M"
    return f"{tokens // 1000}k" if tokens >= 1000 else str(tokens)


def format_price(price: Price | None) -> str:
    """Return a price as `$0.03 / $0.13`: USD per million tokens in and out."""
    return "unknown" if price is None else f"${_price_digits(price.input)} / ${_price_digits(price.output)}"


def format_short(model: Model) -> str:
    """Return context and price as `131k · $0.03/0.13`, with what is known of them."""
    facts = (format_context(model.context) if model.context else "", format_price(model.price) if model.price else "")
    return " · ".join(filter(None, facts)).replace(" / $", "/")


def describe_flag(flag: bool | None) -> str:
    """Return a fact that may not be known, as `yes`, `no` or `unknown`."""
    return "unknown" if flag is None else "yes" if flag else "no"


def usd(amount: float | None) -> str:
    """Return an amount in USD: `$0.00012`, `$1.50`; `free` for 0; `unknown` for None and non-finite numbers.

    Amounts from 0.1 on have two decimals; smaller ones have two significant digits.
    """
    if amount is None or not math.isfinite(amount):
        return "unknown"
    if amount < 0:
        return f"-{usd(-amount)}"
    if amount == 0:
        return "free"
    if amount >= 0.1:
        return f"${amount:,.2f}"
    # Of the rounded amount: 0.0996 has one digit more before it is.
    decimals = 1 - math.floor(math.log10(float(f"{amount:.1e}")))
    return f"${amount:.{max(decimals, 2)}f}"


def usd_apart(first: float, second: float) -> tuple[str, str]:
    """Return two amounts in USD as `usd` has them, or with as many digits as they differ in."""
    if first == second or usd(first) != usd(second):
        return usd(first), usd(second)
    decimals = 1 - math.floor(math.log10(abs(first - second)))
    return f"${first:,.{decimals}f}", f"${second:,.{decimals}f}"


def describe_cost(amount: float | None) -> str:
    """Return a cost as part of a sentence: as `usd` has it, or `cost unknown`."""
    return "cost unknown" if usd(amount) == "unknown" else usd(amount)


def _price_digits(amount: float) -> str:
    """Return a price to six significant digits, with at least two decimals and never an exponent."""
    from decimal import Decimal

    whole, _, decimals = format(Decimal(f"{amount:.6g}"), "f").partition(".")
    return f"{whole}.{decimals.ljust(2, '0')}"


# The types of the columns of `rows` that are no texts, as pandas names them. A value may be missing in each.
ROW_TYPES: Final = {
    **dict.fromkeys(("context", "max_output"), "Int64"),
    **dict.fromkeys(("usd_in", "usd_out", "usd_cached"), "Float64"),
    **dict.fromkeys(("tools", "structured", "available"), "boolean"),
}


def rows(models: Sequence[Model]) -> list[dict[str, object]]:
    """Return the models as rows for a DataFrame. Numbers stay numbers. docs/howto/models.md documents the columns."""
    return [
        {
            "id": model.id,
            "name": model.name,
            "context": model.context,
            "max_output": model.max_output,
            "input": ", ".join(model.input),
            "usd_in": model.price.input if model.price else None,
            "usd_out": model.price.output if model.price else None,
            "usd_cached": model.price.cached if model.price else None,
            "reasoning": model.reasoning,
            "reasoning_efforts": ", ".join(model.reasoning_efforts),
            "tools": model.tools,
            "structured": model.structured,
            "available": model.available,
            "lifecycle": model.lifecycle,
            "released": model.released,
            "description": model.description,
        }
        for model in models
    ]


def _refused(name: str, value: object, wanted: str) -> InferenceError:
    return InferenceError(f"{name} is {shortened_repr(value)}.", remedy=f"Give {wanted}.")
