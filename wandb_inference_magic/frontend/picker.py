"""Show the models and choose one, with a dropdown and search box or a static table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from ..catalog import check_model_id, describe_reasoning, format_context, format_price, rows
from ..errors import InferenceError, did_you_mean
from ..messages import data_frame
from ..rendering import line_bundle, table_bundle
from ..session import Command
from .canvas import is_notebook
from .live import Spinner, cleared_on_error
from .output_widget import WIDGET, widget_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..arguments import ModelsOptions
    from ..catalog import Catalog, Model
    from ..config import Endpoint
    from ..session import Session
    from .canvas import Canvas
    from .context import MagicContext

HEADINGS: Final = ("model", "context", "USD per million in / out", "takes", "reasoning")


def show_models(context: MagicContext, options: ModelsOptions, text: str) -> None:
    """Run `%wbmodels`: choose, list, or show the picker. Show the static table if no user is present to pick.

    Raises
    ------
    InferenceError
        If the endpoint does not have the model, the text matches no model, or no list of models is available.
    """
    canvas = context.canvas()
    with cleared_on_error(canvas):
        _show_models(context, options, text, canvas)


def _show_models(context: MagicContext, options: ModelsOptions, text: str, canvas: Canvas) -> None:
    shell, session, command = context.shell, context.session, context.command
    command.listener = Spinner(canvas)
    endpoint = command.endpoint
    catalog = session.models.catalog(command, refresh=options.refresh)
    if options.use is not None:
        chosen = _by_number(session, options.use)
        session.models.check(chosen, endpoint)
        session.settings.set(model=chosen)
        is_unlisted = catalog.live and not endpoint.is_wandb and catalog.find(chosen) is None
        note = f". The endpoint does not list it. {catalog.describe_unknown(chosen).remedy}" if is_unlisted else ""
        canvas.show(line_bundle(f"Model for the next chats: {chosen}{note}"))
        return
    models = _matching(catalog, text)
    if options.output:
        # Nothing is shown, and no status line is left.
        canvas.discard()
        shell.user_ns[options.output] = data_frame(rows(models))
        return
    session.listed_models = [model.id for model in models]
    numbered = not is_notebook(shell)
    bundle = models_table(models, catalog, endpoint, command.model_or_none, numbered=numbered)
    if context.cell.is_interactive and is_notebook(shell) and not options.table:
        bundle = {WIDGET: widget_view(Picker(session, catalog, endpoint, text).widget.model_id), **bundle}
    canvas.show(bundle)


def _by_number(session: Session, use: str) -> str:
    """Return the model id for `use`. A number is a row of the last table."""
    if not use.isdecimal():
        return use
    listed = session.listed_models
    if 1 <= int(use) <= len(listed):
        return listed[int(use) - 1]
    shown = f"The last table has the numbers 1 to {len(listed)}." if listed else "No table has been shown yet."
    raise InferenceError(
        f"There is no model number {use}.", why=shown, remedy="See the models: %wbmodels", cause="model"
    )


def _matching(catalog: Catalog, text: str) -> list[Model]:
    models = catalog.matching(text)
    if models:
        return models
    if not catalog.models:
        raise InferenceError(
            "This endpoint does not list its models.",
            why=catalog.note,
            remedy="Name a model yourself: -m ID in a chat, or %wbconfig --model ID.",
            cause="model",
        )
    words = {word for model in catalog.models for word in (model.id, *model.id.replace("/", "-").split("-"))}
    raise InferenceError(
        f"No model matches {text!r}.",
        remedy=did_you_mean(text, words) or "%wbmodels without a text shows them all.",
        cause="model",
    )


def models_table(
    models: Sequence[Model], catalog: Catalog, endpoint: Endpoint, chosen: str | None, *, numbered: bool = False
) -> dict[str, Any]:
    """Return the models as a static table with the chosen model marked. With `numbered`, number the rows to pick by."""
    headings: Sequence[str] = HEADINGS
    rows = [
        (f"{model.id} ← chosen" if model.id == chosen else model.id, *_plain_facts(model, endpoint)) for model in models
    ]
    below = _describe_source(catalog)
    if numbered:
        headings = ("#", *headings)
        rows = [(str(number), *row) for number, row in enumerate(rows, 1)]
        below = f"Pick one by its number or id: %wbmodels --use 1. {below}"
    return table_bundle(headings, rows, above=_describe_practice_model(endpoint), below=below)


def _facts(model: Model, endpoint: Endpoint) -> tuple[str, str, str, str]:
    price = "free" if endpoint.is_free else format_price(model.price)
    return format_context(model.context), price, ", ".join(model.input), describe_reasoning(model.reasoning)


def _known_facts(model: Model, endpoint: Endpoint) -> dict[str, str]:
    """Return the facts that are known of a model, by their names."""
    context, price, takes, reasoning = _facts(model, endpoint)
    facts = {
        "context": f"{context} tokens" if model.context else "",
        "price": price if endpoint.is_free else f"{price} per million tokens" if model.price else "",
        "takes": takes,
        "reasoning": "" if reasoning == "unknown" else reasoning,
    }
    return {name: fact for name, fact in facts.items() if fact}


def _plain_facts(model: Model, endpoint: Endpoint) -> list[str]:
    """Return the facts for a table without dollar signs, because its heading names the currency."""
    return [fact.replace("$", "") for fact in _facts(model, endpoint)]


def _describe_practice_model(endpoint: Endpoint) -> str:
    if not endpoint.is_local:
        return ""
    return (
        "This is the practice model, a small one on this machine. "
        "With a key (%wbconfig --key) the models of W&B Inference are here."
    )


def _describe_source(catalog: Catalog) -> str:
    return f"{catalog.note} {f'Facts: {catalog.as_of}.' if catalog.as_of else ''}".strip()


class Picker:
    """A dropdown of the models with a search box and the facts of the chosen model.

    Choosing a model sets the `model` setting. Changing that setting in another way updates the dropdown. For an id that
    is not in the list (a LoRA), type it into the search box and click the button that appears. `widget` shows it all.
    """

    def __init__(self, session: Session, catalog: Catalog, endpoint: Endpoint, text: str = "") -> None:
        import ipywidgets as widgets

        self._session = session
        self._catalog = catalog
        self._endpoint = endpoint
        self._search = widgets.Text(
            value=text,
            description="Search",
            placeholder="part of a name, or any model id",
            layout=widgets.Layout(width="22em"),
        )
        self._dropdown = widgets.Dropdown(description="Model", layout=widgets.Layout(width="32em", max_width="100%"))
        self._use = widgets.Button(layout=widgets.Layout(width="auto", display="none"))
        self._details = widgets.HTML()
        source = widgets.HTML(_small(" ".join((_describe_practice_model(endpoint), _describe_source(catalog)))))
        row = widgets.HBox(
            [self._search, self._dropdown, self._use],
            layout=widgets.Layout(flex_flow="row wrap", grid_gap="2px 8px"),
        )
        self.widget = widgets.VBox([row, self._details, source])
        self._dropdown.observe(self._chosen, "value")
        self._offer()
        self._search.observe(self._searched, "value")
        self._use.on_click(self._typed_id_used)
        session.settings.observe(self._offer, "model")
        session.on_close(self._close)

    def _offer(self, _change: Any = None) -> None:
        """Offer the models that match the search, and always the current model."""
        chosen = Command(self._session, dry=True).model_or_none
        ids = [model.id for model in self._catalog.matching(self._search.value)]
        if chosen and chosen not in ids:
            ids.insert(0, chosen)
        options = [] if chosen else [("choose a model", "")]
        options += [(one, one) for one in ids]
        # A dropdown with new options selects the first one by itself. That is not the user's choice.
        self._dropdown.unobserve(self._chosen, "value")
        self._dropdown.options = options
        self._dropdown.value = chosen or ""
        self._dropdown.observe(self._chosen, "value")
        self._describe()

    def _describe(self) -> None:
        chosen = self._dropdown.value
        model = self._catalog.find(chosen) if chosen else None
        facts = {} if model is None else _known_facts(model, self._endpoint)
        if not facts:
            self._details.value = _small("Nothing is known of this model." if chosen else "")
            return
        cells = " · ".join(f"{name} <b>{escape(fact)}</b>" for name, fact in facts.items())
        self._details.value = f'<div style="line-height: 1.5">{cells}</div>'

    def _chosen(self, change: Any) -> None:
        if change["new"] and change["new"] != Command(self._session, dry=True).model_or_none:
            self._session.settings.set(model=change["new"])
        self._describe()

    def _searched(self, _change: Any) -> None:
        self._offer()
        typed = self._search.value.strip()
        is_new = bool(typed) and self._catalog.find(typed) is None and not self._catalog.matching(typed)
        self._use.description = f"Use {typed}"
        self._use.layout.display = None if is_new and _is_model_id(typed) else "none"

    def _typed_id_used(self, _button: Any) -> None:
        self._session.settings.set(model=self._search.value.strip())
        self._search.value = ""

    def _close(self) -> None:
        self._session.settings.unobserve(self._offer, "model")
        for widget in (self._search, self._dropdown, self._use):
            widget.disabled = True


def _is_model_id(text: str) -> bool:
    try:
        check_model_id(text)
    except InferenceError:
        return False
    return True


def _small(text: str) -> str:
    return f'<div style="line-height: 1.5"><small>{escape(text)}</small></div>'
