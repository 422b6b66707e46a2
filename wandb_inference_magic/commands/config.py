"""Show, set and check the settings for `%wbconfig`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from ..arguments import ConfigOptions
from ..config import SETTING_NAMES, expanded
from ..engine import ChatSpec, run_chat
from ..errors import InferenceError
from ..frontend import Spinner
from ..rendering import table_bundle

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ..config import Endpoint, Resolved
    from ..frontend import Canvas
    from ..session import Session

HEADINGS: Final = ("check", "found")
SETTABLE: Final = tuple(option.name for option in fields(ConfigOptions) if option.name in SETTING_NAMES)


def configure(session: Session, options: ConfigOptions, canvas: Canvas) -> None:
    """Run `%wbconfig` with its options, then show the settings or the results of the check.

    Raises
    ------
    InferenceError
        For an invalid setting, when no key is entered, and after a check that failed.
    """
    if options.reset:
        session.forget()
    values = {name: getattr(options, name) for name in SETTABLE if getattr(options, name) is not None}
    if values:
        _set(session, values, canvas)
    if options.key:
        _ask_for_key(session)
    if options.check:
        _check(session, canvas)
        return
    canvas.show(settings_table(session, only=_shown_after(values) if values and not options.reset else ()))


def _shown_after(values: Collection[str]) -> set[str]:
    """Return the settings to show after some have been set: these, and the settings that depend on them."""
    shown = set(values)
    if "endpoint" in values:
        shown |= {"key", "model"}
    if any(name.startswith("cassette") for name in values):
        shown |= {"endpoint", "cassette", "cassette_mode"}
    return shown


def _set(session: Session, values: dict[str, Any], canvas: Canvas) -> None:
    """Set the values. After an error or an interrupt, restore all settings."""
    before = session.settings.chosen()
    for name in ("cassette", "budget_file"):
        if values.get(name):
            values[name] = str(expanded(values[name]).absolute())
    try:
        if values.keys() & {"cassette", "cassette_mode"}:
            with session.reopening():
                session.settings.set(**values)
                _open_cassette(session)
        else:
            session.settings.set(**values)
        if "trace" in values:
            _connect(session, canvas)
    except BaseException:
        session.settings.restore(before)
        raise


def _open_cassette(session: Session) -> None:
    if session.cassette() is None and session.resolve().cassette_mode != "off":
        raise InferenceError(
            "There is no cassette to use.", remedy="Name its file: %wbconfig --cassette FILE.", cause="option"
        )


def _connect(session: Session, canvas: Canvas) -> None:
    """Connect to Weave now if tracing is on, or disconnect, so that an error is reported here."""
    with Spinner(canvas, "waiting for Weave"):
        tracer = session.tracer()
        if tracer is not None:
            tracer.start()


def _ask_for_key(session: Session) -> None:
    if session.prompt_for_key() is None:
        raise InferenceError(
            "No key was typed; nothing has changed.",
            remedy="Run %wbconfig --key again. Where no one can type (a scheduled run), set WANDB_API_KEY in the "
            "environment; for an endpoint other than W&B's, WANDB_INFERENCE_API_KEY.",
            cause="key",
        )


def settings_table(session: Session, only: Collection[str] = ()) -> dict[str, Any]:
    """Return a table of every setting (or `only` some) with its value and source. The key's value is never shown."""
    settings = session.resolve()
    endpoint = session.endpoint(ask=False, start=False)
    rows = [
        ("endpoint", _describe_endpoint(endpoint), _endpoint_source(session, settings)),
        ("key", "found, not shown" if endpoint.key else "none", _key_source(session, endpoint)),
    ]
    for name in SETTING_NAMES[1:]:
        value, source = getattr(settings, name), settings.sources[name]
        if name == "model" and not value:
            value = session.models.in_force_or_none(endpoint) or ""
        if name == "cassette" and (cassette := session.cassette()) is not None:
            value = str(cassette)
        rows.append((name, _format_value(value), source))
    return table_bundle(("setting", "value", "from"), [row for row in rows if not only or row[0] in only])


def _key_source(session: Session, endpoint: Endpoint) -> str:
    return endpoint.key.source if endpoint.key else "; ".join(session.ignored_keys(endpoint.url))


def _describe_endpoint(endpoint: Endpoint) -> str:
    if endpoint.is_local:
        return "local, the practice model on this machine"
    return f"wandb, {endpoint.url}" if endpoint.is_wandb else endpoint.url


def _endpoint_source(session: Session, settings: Resolved) -> str:
    source = settings.sources["endpoint"]
    if settings.endpoint != "auto":
        return source
    cassette = session.cassette()
    if cassette is not None and cassette.endpoint is not None:
        return f"{source}: auto, where the cassette was recorded"
    return f"{source}: auto, by whether a key is found"


def _format_value(value: object) -> str:
    if value in (None, "", []):
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _check(session: Session, canvas: Canvas) -> None:
    """Show what works, one line per check. The first failure ends the check and raises."""
    cassette = session.cassette()
    if cassette is not None and not cassette.records:
        endpoint = _describe_endpoint(session.endpoint())
        rows = [("✓ endpoint", endpoint), ("✓ cassette", f"{cassette} to replay; nothing is called")]
        canvas.show(table_bundle(HEADINGS, rows))
        return
    # The check is of the live service, and its exchanges must not be recorded in the cassette.
    with session.without_cassette():
        _check_service(session, canvas)


def _check_service(session: Session, canvas: Canvas) -> None:
    endpoint = session.endpoint()
    rows: list[tuple[str, str]] = []
    failure: InferenceError | None = None
    with Spinner(canvas, "checking"):
        try:
            for name, found in _findings(session, endpoint):
                rows.append((f"✓ {name}", found))
        except InferenceError as error:
            rows.append(("✗ failed", error.what))
            failure = error
    canvas.show(table_bundle(HEADINGS, rows))
    if failure is not None:
        raise failure


def _findings(session: Session, endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    yield "endpoint", _describe_endpoint(endpoint)
    yield "key", endpoint.key.source if endpoint.key else "none is needed or none is set"
    yield "project", endpoint.project or "not set: the account's own is used"
    catalog = session.models.catalog(endpoint, refresh=True)
    yield "models", f"{len(catalog.models)} listed" if catalog.live else catalog.note
    model = session.models.in_force(endpoint)
    ask = ChatSpec("Reply with the word: ready", model=model, parameters=(("max_tokens", 16),), thread=None)
    reply = run_chat(session, ask)
    seconds = f"{reply.seconds:.1f} s"
    yield "reply", f"{reply.model} answered in {seconds}"
