"""Show, set and check the settings for `%wbconfig`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ..arguments import ConfigOptions
from ..config import DEFAULT, SETTING_NAMES, TYPED, WANDB_URL, absolute, expanded, ignored_project
from ..engine import ChatSpec, cannot_combine, run_chat
from ..errors import MB, InferenceError, Interrupted, quoted
from ..frontend import Spinner
from ..rendering import table_bundle
from ..session import Command, has_no_list, weave_off
from ..text import counted, duration, moment, redacted

if TYPE_CHECKING:
    from ..config import Endpoint
    from ..frontend import Canvas
    from ..session import Session

HEADINGS: Final = ("check", "found")
CHECKED: Final = ("endpoint", "key", "project", "models", "reply")
SETTING_HEADINGS: Final = ("setting", "value", "from")
ALWAYS_SHOWN: Final = ("endpoint", "key", "project", "model", "budget")
SETTABLE: Final = tuple(option.field for option in ConfigOptions.declared if option.field in SETTING_NAMES)


def configure(session: Session, options: ConfigOptions, canvas: Canvas) -> None:
    """Run `%wbconfig` with its options, then show the settings or the results of the check.

    Raises
    ------
    InferenceError
        For an invalid setting, when no key is entered, and after a check that failed.
    """
    if options.cache and (options.check or options.key):
        raise cannot_combine("--cache", "--check and --key", "each shows its own table. Nothing was done.")
    if options.reset:
        session.reset()
    values = {name: getattr(options, name) for name in SETTABLE if getattr(options, name) is not None}
    if values:
        _set(session, values, canvas)
    if options.key:
        _ask_for_key(session)
    if options.check or options.key:
        _check(session, canvas, needs_reply=options.check)
        return
    if options.cache:
        canvas.show(_cache_table(session, clear=options.cache == "clear"))
        return
    only = _shown_after(values) if values and not options.reset else ()
    canvas.show(settings_table(session, only=only, below=_limits_nothing(session, values)))


def _shown_after(values: Collection[str]) -> set[str]:
    """Return the settings to show after some have been set: these, and the settings that depend on them."""
    shown = set(values)
    if "endpoint" in values:
        shown |= {"key", "model"}
    if any(name.startswith("cassette") for name in values):
        shown |= {"endpoint", "cassette", "cassette_mode"}
    return shown


def _limits_nothing(session: Session, values: Mapping[str, Any]) -> str:
    """Say that a budget file that was set limits nothing, if no budget is."""
    if not values.get("budget_file") or session.settings.resolve().budget is not None:
        return ""
    return "No budget is set yet: the file counts what is spent, but nothing is limited. Set a budget: --budget USD"


# The settings that name a file: what it is, and how to use none.
_SWITCHED_OFF: Final = {
    "cassette": ("cassette", "%wbconfig --mode off"),
    "budget_file": ("budget file", '%config WandbInference.budget_file = ""'),
}


def _set(session: Session, values: dict[str, Any], canvas: Canvas) -> None:
    """Set the values. After an error or an interrupt, restore all settings."""
    for name, (what, off) in _SWITCHED_OFF.items():
        if (given := str(values.get(name, ""))).lower() in ("off", "none"):
            raise InferenceError(
                f"A {what} is a file, and {given!r} would be its name.",
                remedy=f"To use none: {off}. A file of that name: --{name.replace('_', '-')} ./{given}",
            )
    before = session.settings.chosen()
    for name in _SWITCHED_OFF:
        if values.get(name):
            values[name] = str(absolute(expanded(values[name])))
    try:
        if values.keys() & {"cassette", "cassette_mode"}:
            with session.cassettes.reopening():
                session.settings.set(**values)
                _open_cassette(Command(session, dry=True))
        else:
            session.settings.set(**values)
        if values.get("budget_file"):
            # A file that cannot be used is reported now, not by the next call.
            session.spending(values["budget_file"]).check()
        if "trace" in values:
            _connect(session, canvas)
    except BaseException as failure:
        session.settings.restore(before)
        if isinstance(failure, InferenceError) and "budget" in values and session.settings.resolve().budget is None:
            # The next cells may rely on it.
            failure.remedy = f"{failure.remedy} No budget is set now."
        raise


def _open_cassette(command: Command) -> None:
    if command.cassette is None and command.settings.cassette_mode != "off":
        raise InferenceError("There is no cassette to use.", remedy="Name its file: %wbconfig --cassette FILE.")


def _connect(session: Session, canvas: Canvas) -> None:
    """Connect to Weave now if tracing is on, or disconnect, so that an error is reported here."""
    tracer = Command(session, dry=True).tracer
    if tracer is not None:
        with Spinner(canvas).waiting("waiting for Weave") as redraw:
            session.loop.call(tracer.start, meanwhile=redraw)


def _ask_for_key(session: Session) -> None:
    name = session.settings.resolve().endpoint
    if session.keys.prompt_for(WANDB_URL if name in ("auto", "wandb", "local") else name) is None:
        raise InferenceError(
            "No key was typed; nothing has changed.",
            remedy="Run %wbconfig --key again. Where no one can type, as in a scheduled run, set "
            f"{session.keys.search(WANDB_URL).variable_to_set} in the environment; for an endpoint other than W&B's, "
            "WANDB_INFERENCE_API_KEY.",
            cause="key",
        )


def _cache_table(session: Session, *, clear: bool) -> dict[str, Any]:
    """Return the facts of the cache of answers as a table, after it was cleared if `clear` is set."""
    # Imported here, because the settings are shown without it.
    from ..batch import open_cache

    settings = session.settings.resolve()
    cache, notices = open_cache(settings)
    if cache is None:
        raise InferenceError(*notices)
    try:
        cleared = cache.clear() if clear else None
        count, oldest = cache.facts()
        size = f"{cache.size() / MB:,.1f} MB"
    except sqlite3.Error as error:
        raise InferenceError(
            f"The cache of answers {cache.path} cannot be read.",
            why=quoted(str(error)),
            remedy="Try again when no other kernel writes to it, or delete the file.",
        ) from None
    finally:
        cache.close()
    limits = (
        "any size" if settings.cache_mb is None else f"at most {settings.cache_mb:,} MB (cache_mb)",
        "any age" if settings.cache_days is None else f"unused for at most {settings.cache_days:g} days (cache_days)",
    )
    rows = [
        ("file", str(cache.path)),
        ("answers", f"{count:,}"),
        ("size", size),
        *([("oldest use", moment(oldest))] if count else []),
        ("limits", ", ".join(limits)),
    ]
    below = "" if cleared is None else f"{counted(cleared, 'answer')} deleted."
    return table_bundle(("cache", "value"), rows, below=" ".join((below, *cache.notices)).strip())


def settings_table(session: Session, only: Collection[str] = (), *, below: str = "") -> dict[str, Any]:
    """Return a table of every setting (or `only` some) with its value and source. The key's value is never shown.

    Settings at their default are folded, but for those that every user has to do with. `below` is shown below it.
    """
    command = Command(session, dry=True)
    settings, endpoint = command.settings, command.endpoint
    rows = [
        ("endpoint", _describe_endpoint(endpoint), _endpoint_source(command)),
        ("key", "found, not shown" if endpoint.key else "none", "; ".join(session.keys.origins(endpoint))),
    ]
    for name in SETTING_NAMES[1:]:
        value, source = getattr(settings, name), settings.sources[name]
        if name == "model" and not value:
            value = command.model_or_none or ""
        if name == "cassette" and command.cassette is not None:
            value = str(command.cassette)
        if name == "project" and not value:
            source = ignored_project(os.environ) or source
        if name == "trace" and value and (off := weave_off()):
            source = f"{source}; {off}: nothing is traced"
        rows.append((name, _format_value(value), source))
    if only:
        return table_bundle(SETTING_HEADINGS, [row for row in rows if row[0] in only], below=below)
    folded = [row for row in rows if row[0] not in ALWAYS_SHOWN and row[2] == DEFAULT]
    return table_bundle(
        SETTING_HEADINGS,
        [row for row in rows if row not in folded],
        below=below,
        folded=folded,
        summary=f"{len(folded)} settings at their default",
    )


def _describe_endpoint(endpoint: Endpoint) -> str:
    if endpoint.is_local:
        return "local, the practice model on this machine"
    return f"wandb, {endpoint.url}" if endpoint.is_wandb else endpoint.url


def _endpoint_source(command: Command) -> str:
    source = command.settings.sources["endpoint"]
    if command.settings.endpoint != "auto":
        return source
    if command.cassette is not None and command.cassette.endpoint is not None:
        return f"{source}: auto, where the cassette was recorded"
    return f"{source}: auto, depending on whether a key is found"


def _format_value(value: object) -> str:
    if value in (None, "", []):
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        # Without an exponent: a budget of 1e-05 is not read at a glance.
        return f"{Decimal(str(value)).normalize():f}"
    # A key may have been set in the wrong place.
    return redacted(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _check(session: Session, canvas: Canvas, *, needs_reply: bool) -> None:
    """Show what works, one line per item. The first failure is marked, ends the check and raises.

    Without `needs_reply`, no reply is asked for where no model is chosen.
    """
    command = Command(session)
    if command.costs_nothing:
        endpoint, key = _describe_endpoint(command.endpoint), _describe_key(command)
        replay = f"{command.cassette} to replay; nothing is called"
        canvas.show(table_bundle(HEADINGS, [("✓ endpoint", endpoint), ("✓ key", key), ("✓ cassette", replay)]))
        return
    # The check is of the live service, and its exchanges must not be recorded in the cassette.
    command = Command(session, uses_cassette=False)
    command.listener = Spinner(canvas)
    found: dict[str, tuple[str, str]] = {}
    failure: InferenceError | None = None
    items = CHECKED if needs_reply or command.model_or_none else CHECKED[:-1]
    try:
        for item, (is_good, result) in zip(items, _checks(command, canvas), strict=False):
            found[item] = f"{'✓' if is_good else '✗'} {item}", result
    except KeyboardInterrupt:
        # That of a chat is about a reply and a thread.
        raise Interrupted("The check was not completed.") from None
    except InferenceError as error:
        # A request for the models shows too that the key is wrong, or that nothing answers at the endpoint.
        failed = {"key": "key", "network": "endpoint"}.get(error.cause, items[len(found)])
        found[failed], failure = (f"✗ {failed}", error.what), error
    rows = [found.get(item, (f"– {item}", "not checked")) for item in items]
    canvas.show(table_bundle(HEADINGS, rows))
    if failure is not None:
        raise failure


def _describe_key(command: Command) -> str:
    source = "; ".join(command.session.keys.origins(command.endpoint))
    return f"{source}, kept for this session" if source == TYPED else source or "none is needed or none is set"


def _checks(command: Command, canvas: Canvas) -> Iterator[tuple[bool, str]]:
    """Yield for each of the items that are `CHECKED` whether it is good, and what was found.

    Raises
    ------
    InferenceError
        At the first item that fails.
    """
    yield True, _describe_endpoint(command.endpoint)
    yield True, _describe_key(command)
    yield True, command.endpoint.project or "not set: the account's own is used"
    models = command.session.models
    try:
        catalog = models.catalog(command, refresh=True)
        failure = models.failure(command.endpoint)
    except InferenceError as error:
        failure = error
    if failure is None:
        yield catalog.live, f"{len(catalog.models):,} listed" if catalog.live else catalog.note
    elif has_no_list(failure) or failure.cause == "refused":
        # A key that may not list the models may be good for chats.
        yield False, failure.reason
    else:
        raise failure
    # Some models refuse a limit on the reply. The practice model may go on writing.
    limit = (("max_tokens", 16),) if command.endpoint.is_local else ()
    spec = ChatSpec("Reply with the word: ready", model=command.model, parameters=limit, thread=None)
    reply = run_chat(command, spec, listener=Spinner(canvas, "checking"))
    yield True, f"{reply.model} answered in {duration(reply.seconds)}"
