"""Show the models and choose one, with a dropdown that opens as a list, or a static table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from ..catalog import (
    ROW_TYPES,
    check_model_id,
    describe_flag,
    describe_reasoning,
    format_context,
    format_price,
    price_to_sort_by,
    rows,
    searched_texts,
)
from ..config import SESSION
from ..errors import InferenceError, did_you_mean
from ..frontend import WIDGET, Spinner, is_notebook, widget_view
from ..messages import data_frame
from ..rendering import line_bundle, table_bundle
from ..replies import cleared_on_error
from ..session import Command

if TYPE_CHECKING:
    from ..arguments import ModelsOptions
    from ..catalog import Catalog, Model
    from ..config import Endpoint
    from ..frontend import Canvas, MagicContext
    from ..session import Session

# So many rows has the table that a front end without widgets shows. It is saved in each notebook.
MAX_LIST_ROWS: Final = 100
RELOADED: Final = (
    "If the line below names another model, run the cell again: it has not changed since the page was reloaded."
)
UNLOADED: Final = (
    "The extension was unloaded: choosing has no effect. Run %load_ext wandb_inference_magic, and then the cell of "
    "%wbmodels again."
)
HEADINGS: Final = ("model", "context", "USD per million in / out", "takes", "tools", "reasoning")


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
        if text or options.table or options.sort or options.min_context or options.output:
            raise InferenceError(
                "--use only sets the model, and takes no text and no option of the list. Nothing was set.",
                remedy="Leave them out, and run %wbmodels once more for the list.",
            )
        chosen = _choose(command, _by_number(session, options.use))
        is_unlisted = catalog.live and not endpoint.is_wandb and catalog.find(chosen) is None
        note = f". The endpoint does not list it. {catalog.describe_unknown(chosen).remedy}" if is_unlisted else ""
        canvas.show(line_bundle(f"Model for the next chats: {chosen}{note}"))
        return
    if not catalog.models:
        raise _without_models(catalog, has_failed=session.models.failure(endpoint) is not None)
    models = _matching(catalog, text, options)
    if options.output:
        # Nothing is shown, and no status line is left.
        canvas.discard()
        context.put(options.output, data_frame(rows(models), types=ROW_TYPES))
        return
    session.listed_models = [model.id for model in models]
    in_use = command.model_or_none
    if options.table or not context.cell.is_interactive or not is_notebook(shell):
        canvas.show(models_table(models, catalog, endpoint, in_use, numbered=not is_notebook(shell)))
        return
    picker = Picker(context, catalog, options, text)
    table = models_table(models, catalog, endpoint, in_use, most=MAX_LIST_ROWS)
    canvas.show({WIDGET: widget_view(picker.widget.model_id), **table})
    picker.show_choice()


def _choose(command: Command, model: str) -> str:
    """Set the model for the next chats, and return its id.

    Raises
    ------
    InferenceError
        If the endpoint does not have it.
    """
    model = command.model_id(check_model_id(model))
    command.session.models.check(model, command.endpoint)
    command.session.settings.set(model=model)
    return model


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


def _without_models(catalog: Catalog, *, has_failed: bool) -> InferenceError:
    """Return the error for an endpoint whose models are not known."""
    name = "Name a model yourself: -m ID in a chat, or %wbconfig --model ID."
    if has_failed:
        return InferenceError("This endpoint does not list its models.", why=catalog.note, remedy=name, cause="model")
    return InferenceError(catalog.note, remedy=f"Load a model there, and run this again. {name}", cause="model")


def _matching(catalog: Catalog, text: str, options: ModelsOptions) -> list[Model]:
    models = catalog.matching(text, sort=options.sort or "name", min_context=options.min_context or 0)
    if models:
        return models
    words = {word for model in catalog.models for word in (model.id, *model.id.replace("/", "-").split("-"))}
    least = f" with a context of at least {format_context(options.min_context)}" if options.min_context else ""
    # A word that some models match is no slip.
    near = "" if options.min_context and catalog.matching(text) else did_you_mean(text, words)
    raise InferenceError(
        f"No model matches {text!r}{least}." if text else f"No model{least} is known.",
        remedy=near or "%wbmodels without a text shows them all.",
        cause="model",
    )


def models_table(
    models: Sequence[Model],
    catalog: Catalog,
    endpoint: Endpoint,
    chosen: str | None,
    *,
    numbered: bool = False,
    most: int | None = None,
) -> dict[str, Any]:
    """Return the models, or the first `most` of them, as a static table with the chosen model marked.

    With `numbered`, number the rows to pick by.
    """
    headings: Sequence[str] = HEADINGS
    rows = [
        # Without dollar signs, because the heading names the currency.
        (
            f"{model.id} ← chosen" if model.id == chosen else model.id,
            *(fact.replace("$", "") for fact in _facts(model, endpoint)),
        )
        for model in models[:most]
    ]
    below = _describe_source(catalog)
    if len(rows) < len(models):
        below = f"{len(models) - len(rows):,} more: %wbmodels --table. {below}"
    if numbered:
        headings = ("#", *headings)
        rows = [(str(number), *row) for number, row in enumerate(rows, 1)]
        below = f"Pick one by its number or id: %wbmodels --use 1. {below}"
    return table_bundle(headings, rows, above=_describe_practice_model(endpoint), below=below)


def _facts(model: Model, endpoint: Endpoint) -> tuple[str, ...]:
    price = "free" if endpoint.is_local else format_price(model.price)
    takes, tools = ", ".join(model.input), describe_flag(model.tools)
    return format_context(model.context), price, takes, tools, describe_reasoning(model.reasoning)


def _known_facts(model: Model, endpoint: Endpoint) -> list[tuple[str, str]]:
    """Return the names of the facts that are known of a model, each with the fact."""
    context, price, takes, tools, reasoning = _facts(model, endpoint)
    facts = {
        "context": f"{context} tokens" if model.context else "",
        "price": price if endpoint.is_local else f"{price} per million tokens" if model.price else "",
        "takes": takes,
        "tools": tools,
        "reasoning": reasoning,
        "released": model.released,
    }
    return [(name, fact) for name, fact in facts.items() if fact not in ("", "unknown")]


def _row(model: Model, endpoint: Endpoint) -> dict[str, Any]:
    """Return what the list shows of a model, sorts by and searches through."""
    price = "free" if endpoint.is_local else format_price(model.price) if model.price else "?"
    price_in, _, price_out = price.partition(" / ")
    names, search = searched_texts(model)
    return {
        "id": model.id,
        "context": format_context(model.context) if model.context else "?",
        "tokens": model.context,
        "in": price_in,
        "out": price_out or price_in,
        "price": 0 if endpoint.is_local else price_to_sort_by(model),
        "images": model.takes_images,
        "tools": model.tools,
        "reasoning": model.thinks,
        "thinks": describe_reasoning(model.reasoning),
        "released": model.released,
        "names": names,
        "search": search,
        "facts": _known_facts(model, endpoint),
    }


def _describe_practice_model(endpoint: Endpoint) -> str:
    if not endpoint.is_local:
        return ""
    return (
        "This is the practice model, a small one on this machine. "
        "With a key (%wbconfig --key) the models of W&B Inference are listed."
    )


def _describe_source(catalog: Catalog) -> str:
    return f"{catalog.note} {f'Facts: {catalog.as_of}.' if catalog.as_of else ''}".strip()


class Picker:
    """A dropdown of the models, which opens as a list with a search box.

    `widget` shows it: first a dropdown of ipywidgets, then, once the front end has loaded the code of the list, the
    list. Choosing a model sets the `model` setting, and changing that setting in another way updates the picker.
    """

    def __init__(self, context: MagicContext, catalog: Catalog, options: ModelsOptions, text: str) -> None:
        import ipywidgets as widgets

        self._session = context.session
        self.catalog = catalog
        self._endpoint = context.command.endpoint
        # Below the widgets, which a saved notebook does not show: the chosen id, as text.
        self._below = context.canvas()
        source = " ".join((_describe_practice_model(self._endpoint), _describe_source(catalog))).strip()
        self._fallback = Fallback(self, text, source)
        self.widget = widgets.VBox([self._fallback.widget])
        self._list = self._new_list(options, text, source)
        self._is_reloaded = False
        self._update()
        self._session.settings.observe(self._changed, "model")
        self._session.on_close(self._close)

    def _new_list(self, options: ModelsOptions, text: str, source: str) -> Any:
        """Return the widget of the list, or None where anywidget is missing, too old or too new."""
        start = {"text": text, "sort": options.sort or "price", "least": options.min_context or 0}
        models = [_row(model, self._endpoint) for model in self.catalog.models]
        try:
            from .anywidgets import ModelList

            shown = ModelList(models=models, source=source, start=start)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, the dropdown remains
            return None
        shown.on_msg(self._received)
        return shown

    def _received(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if content.get("ready"):
            self._is_reloaded = self.widget.children == (self._list,)
            self.widget.children = (self._list,)
        elif isinstance(content.get("choose"), str):
            self._list.send({"answer": self.choose(content["choose"])})

    def choose(self, model: str) -> str:
        """Set the model for the next chats. Return the error if the endpoint does not have it."""
        try:
            _choose(Command(self._session, dry=True), model)
        except InferenceError as error:
            return str(error)
        return ""

    def describe(self, model: str) -> str:
        """Return the known facts of a model as HTML."""
        found = self.catalog.find(model)
        facts = _known_facts(found, self._endpoint) if found else []
        cells = " · ".join(f"{name} <b>{escape(fact)}</b>" for name, fact in facts)
        return cells or ("Nothing is known about this model." if model else "")

    def show_choice(self) -> None:
        """Show the chosen id below the widgets. Later calls replace it."""
        command = Command(self._session, dry=True)
        chosen = command.model_or_none
        text = "No model is chosen." if chosen is None else f"Model for the next chats: {chosen}"
        if chosen is not None and command.settings.sources["model"] == SESSION:
            why = "A restarted kernel does not know this choice. To keep it, put this line into a cell:"
            text += f". {why} {_use(chosen)}"
        self._below.show(line_bundle(text))

    def _update(self) -> None:
        chosen = Command(self._session, dry=True).model_or_none or ""
        self._fallback.offer(chosen)
        if self._list is not None:
            self._list.chosen, self._list.command = chosen, _use(chosen) if chosen else ""

    def _changed(self, _change: Any) -> None:
        self._update()
        if self._is_reloaded:
            # A front end forgets with the page which outputs the kernel may update.
            self._list.note = RELOADED
        self.show_choice()

    def _close(self) -> None:
        self._session.settings.unobserve(self._changed, "model")
        self._fallback.disable(UNLOADED)
        if self._list is not None:
            self._list.left = UNLOADED


def _use(model: str) -> str:
    return f"%wbmodels --use {quote(model)}"


class Fallback:
    """A dropdown of ipywidgets with a search box, for front ends that cannot load the code of the list.

    An id that is not in the list (a LoRA) is offered once it is typed into the search box.
    """

    def __init__(self, picker: Picker, text: str, source: str) -> None:
        import ipywidgets as widgets

        self._picker = picker
        self._chosen = ""
        self._dropdown = widgets.Dropdown(description="Model", layout=widgets.Layout(width="32em", max_width="100%"))
        self._search = widgets.Text(
            value=text,
            description="Search",
            placeholder="part of a name, or any model id",
            layout=widgets.Layout(width="22em"),
        )
        self._details = widgets.HTML()
        row = widgets.HBox(
            [self._dropdown, self._search],
            layout=widgets.Layout(flex_flow="row wrap", grid_gap="2px 8px"),
        )
        self.widget = widgets.VBox([row, self._details, widgets.HTML(_line(f"<small>{escape(source)}</small>"))])
        self._dropdown.observe(self._picked, "value")
        self._search.observe(lambda _change: self.offer(self._chosen), "value")

    def offer(self, chosen: str) -> None:
        """Offer the models that match the search, and always the current model."""
        self._chosen, typed = chosen, self._search.value.strip()
        ids = [model.id for model in self._picker.catalog.matching(typed)]
        offered = ids if chosen in ids else [chosen, *ids]
        options = [(one or "choose a model", one) for one in offered]
        if not ids and typed != chosen and _is_model_id(typed):
            options.append((f"Use {typed}", typed))
        # A dropdown with new options selects the first one by itself. That is not the user's choice.
        self._dropdown.unobserve(self._picked, "value")
        self._dropdown.options = options
        self._dropdown.value = chosen
        self._dropdown.observe(self._picked, "value")
        self._details.value = _line(self._picker.describe(chosen))

    def _picked(self, change: Any) -> None:
        if error := self._picker.choose(change["new"]):
            self.offer(self._chosen)
            self._details.value = _line(escape(error))

    def disable(self, why: str) -> None:
        """Say why it has no effect any more."""
        self._dropdown.disabled = self._search.disabled = True
        self._details.value = _line(escape(why))


def _is_model_id(text: str) -> bool:
    """Whether a search that finds nothing is offered as an id. With a space it is words."""
    try:
        return " " not in check_model_id(text)
    except InferenceError:
        return False


def _line(html: str) -> str:
    return f'<div style="line-height: 1.5">{html}</div>'
