"""The settings: one traitlets `Configurable`, and the source of each value in force."""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from traitlets import Bool, CFloat, CInt, Enum, Float, Integer, List, TraitError, Unicode, validate
from traitlets.config import Config, Configurable

from ..catalog import check_model_id
from ..errors import InferenceError, did_you_mean, shortened
from .project import check_project, find_project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from traitlets import Bunch

WANDB_URL: Final = "https://api.inference.wandb.ai/v1"
FEED_URL: Final = "https://trace.wandb.ai/inference/modelsdev/models"

# Defaults of a prompt over rows: the number of concurrent requests, and the column of the replies.
CONCURRENCY: Final = 16
INTO: Final = "reply"

# How a cassette is used, and how fast it replays.
Mode = Literal["record", "replay", "auto", "off"]
Pace = Literal["recorded", "at-once"]
MODES: Final = get_args(Mode)
PACES: Final = get_args(Pace)

# The allowed ranges, in a configuration and on the line of a magic.
TEMPERATURES: Final = (0, 2)
SECONDS: Final = (0.001, 86_400)
BUDGETS: Final = (0, 10**6)

SESSION: Final = "set in this session"
FILE: Final = "IPython's configuration"
DEFAULT: Final = "default"

# The environment variable that sets each trait. The module `project` finds the project.
ENVIRONMENT: Final = {
    "endpoint": "WANDB_INFERENCE_BASE_URL",
    "model": "WANDB_INFERENCE_MODEL",
    "cassette": "WANDB_INFERENCE_CASSETTE",
    "cassette_mode": "WANDB_INFERENCE_CASSETTE_MODE",
    "cassette_pace": "WANDB_INFERENCE_CASSETTE_PACE",
}


class WandbInference(Configurable):
    """Settings of the W&B Inference magics.

    Set them with `%wbconfig`, with `%config WandbInference.model = "..."`, or in `ipython_config.py` as
    `c.WandbInference.model = "..."`.
    """

    endpoint = Unicode(
        "auto",
        help="The service spoken to: `wandb`, `local` (the practice model on this machine), a URL, or `auto`: "
        "wandb where a key is found, else the practice model where it is installed.",
    ).tag(config=True)
    project = Unicode("", help="Count the usage for this W&B project, written team/project.").tag(config=True)
    model = Unicode("", help="Ask this model, by its id. Empty: the endpoint's default.").tag(config=True)
    system = Unicode("", help="Send this system prompt with every chat.").tag(config=True)
    temperature = Float(None, allow_none=True, help="Send this temperature, 0 to 2. None: do not send one.").tag(
        config=True
    )
    max_tokens = Integer(None, allow_none=True, help="Limit each reply to so many tokens. None: no limit.").tag(
        config=True
    )
    budget = CFloat(
        None,
        allow_none=True,
        help="Send nothing that could cost more USD than this, all calls together. None: no limit.",
    ).tag(config=True)
    budget_file = Unicode("", help="Share the budget with every kernel of this machine that names the same file.").tag(
        config=True
    )
    cassette = Unicode("", help="Record exchanges in this file, or replay them from it.").tag(config=True)
    cassette_mode = Enum(
        MODES,
        "auto",
        help="What the cassette is for: `record` begins it anew, `replay` answers from it alone, without network "
        "or key, `auto` answers from it what it holds and records the rest, `off`.",
    ).tag(config=True)
    cassette_pace = Enum(
        PACES, "recorded", help="Replay replies as fast as they once came (`recorded`) or `at-once`."
    ).tag(config=True)
    trace = Unicode("", help="Trace each call in this W&B Weave project, written team/project.").tag(config=True)
    timeout = CFloat(120.0, help="Wait so many seconds for the service to say something.").tag(config=True)
    max_retries = CInt(3, help="Try again so many times when the service is busy or out of reach.").tag(config=True)
    refresh_per_second = CFloat(12.0, help="Redraw a growing reply at most so many times a second (15 at most).").tag(
        config=True
    )
    catalog = Bool(True, help="Fetch W&B's public list of prices and context sizes (no key is sent).").tag(config=True)
    allow_images_from = List(
        Unicode(), help="Load images that a reply names from these hosts. Others become links."
    ).tag(config=True)
    value_tokens = CInt(4000, help="Cut a value in a prompt (`{{ name }}`) to about so many tokens.").tag(config=True)
    weights = Unicode("", help="Use this GGUF file as the practice model instead of the packaged one.").tag(config=True)
    debug = Bool(False, help="Show the full traceback of an error.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._file: dict[str, Any] = deepcopy(dict(self.config.get("WandbInference", {})))

    @validate("endpoint")
    def _check_endpoint(self, proposal: Bunch) -> str:
        return _as_trait(check_endpoint, proposal.value)

    @validate("project")
    def _check_project(self, proposal: Bunch) -> str:
        return _as_trait(check_project, proposal.value) if proposal.value else ""

    @validate("trace")
    def _check_trace(self, proposal: Bunch) -> str:
        return _as_trait(check_trace, proposal.value) if proposal.value else ""

    @validate("model")
    def _check_model(self, proposal: Bunch) -> str:
        return _as_trait(check_model_id, proposal.value) if proposal.value else ""

    @validate("temperature")
    def _check_temperature(self, proposal: Bunch) -> Any:
        return _in_range("temperature", proposal.value, *TEMPERATURES)

    @validate("max_tokens")
    def _check_max_tokens(self, proposal: Bunch) -> Any:
        return _in_range("max_tokens", proposal.value, 1, 10**9)

    @validate("budget")
    def _check_budget(self, proposal: Bunch) -> Any:
        return _in_range("budget", proposal.value, *BUDGETS)

    @validate("timeout")
    def _check_timeout(self, proposal: Bunch) -> Any:
        return _in_range("timeout", proposal.value, *SECONDS)

    @validate("max_retries")
    def _check_max_retries(self, proposal: Bunch) -> Any:
        return _in_range("max_retries", proposal.value, 0, 20)

    @validate("value_tokens")
    def _check_value_tokens(self, proposal: Bunch) -> Any:
        return _in_range("value_tokens", proposal.value, 10, 10**7)

    @validate("refresh_per_second")
    def _check_refresh(self, proposal: Bunch) -> Any:
        return _in_range("refresh_per_second", proposal.value, 0.1, 15)

    def update_config(self, config: Config) -> None:
        """Apply changed settings (`%config` calls this). If a value is refused, restore the previous configuration."""
        if any("key" in name for name in config.get("WandbInference", {})):
            raise TraitError(
                "No key is accepted in a cell or a configuration: they are saved and shared. Run %wbconfig --key: it "
                "asks for the key without showing it. If you typed a real key, delete it and make a new one."
            )
        before = self.config
        try:
            super().update_config(config)
        except TraitError:
            self.config = before
            raise

    def set(self, **values: Any) -> None:
        """Set traits for this session, in the same way as `%config`.

        Raises
        ------
        InferenceError
            For a value that the trait does not accept.
        """
        # Set through the configuration: an attribute that is set directly would be undone by the next `%config`.
        try:
            self.update_config(Config({"WandbInference": values}))
        except TraitError as error:
            raise InferenceError(str(error), cause="option") from None

    def reset(self) -> None:
        """Restore the values of IPython's configuration and the defaults."""
        self.restore(self._file)

    def chosen(self) -> dict[str, Any]:
        """Return the values set by IPython's configuration and this session, for `restore`."""
        return deepcopy(dict(self.config.get("WandbInference", {})))

    def restore(self, chosen: Mapping[str, Any]) -> None:
        """Set exactly these values, and all other traits to their defaults."""
        self.config = Config({"WandbInference": deepcopy(dict(chosen))})
        for name, trait in self.traits(config=True).items():
            if name not in chosen:
                setattr(self, name, trait.default(self))

    def resolve(self, environ: Mapping[str, str] | None = None) -> Resolved:
        """Return the values in force: from this session, else the environment, else the files, else the default.

        Raises
        ------
        InferenceError
            For an environment variable with a value that the setting does not accept.
        """
        environ = os.environ if environ is None else environ
        in_force = {name: self._in_force(name, environ) for name in self.trait_names(config=True)}
        return Resolved(
            **{name: value for name, (value, _) in in_force.items()},
            sources={name: source for name, (_, source) in in_force.items()},
        )

    def _in_force(self, name: str, environ: Mapping[str, str]) -> tuple[Any, str]:
        configured = self.config.get("WandbInference", {})
        if name in configured and (name not in self._file or configured[name] != self._file[name]):
            return getattr(self, name), SESSION
        if name == "project" and (found := find_project(environ)):
            return found
        variable = ENVIRONMENT.get(name)
        if variable and environ.get(variable, "").strip():
            return self._from_environment(name, variable, environ[variable].strip()), variable
        return getattr(self, name), FILE if name in self._file else DEFAULT

    def _from_environment(self, name: str, variable: str, text: str) -> str:
        try:
            return _CHECKS[name](text)
        except InferenceError as error:
            raise InferenceError(
                f"The environment variable {variable} is not usable: {error.what}",
                why=error.why,
                remedy=error.remedy,
                cause="option",
            ) from None


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings in force at one moment, and the source of each. The fields are the traits."""

    endpoint: str
    project: str
    model: str
    system: str
    temperature: float | None
    max_tokens: int | None
    budget: float | None
    budget_file: str
    cassette: str
    cassette_mode: Mode
    cassette_pace: Pace
    trace: str
    timeout: float
    max_retries: int
    refresh_per_second: float
    catalog: bool
    allow_images_from: list[str]
    value_tokens: int
    weights: str
    debug: bool
    sources: Mapping[str, str]


SETTING_NAMES: Final = tuple(field.name for field in fields(Resolved) if field.name != "sources")


def check_endpoint(text: str) -> str:
    """Return the endpoint's name or its URL without a trailing slash.

    Raises
    ------
    InferenceError
        When the text is neither `wandb`, `local`, `auto` nor an http(s) URL without a user name, password, query
        or fragment.
    """
    text = text.strip()
    if text in ("wandb", "local", "auto"):
        return text
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() or not character.isprintable() for character in text):
        raise InferenceError(
            "This is not an endpoint: it is neither wandb, local, auto nor a URL.",
            remedy=did_you_mean(text, ("wandb", "local", "auto")) or "A URL looks like https://my-server.example/v1.",
            cause="option",
        )
    if "@" in text:
        raise InferenceError(
            "An endpoint's URL holds no user name or password: it is shown and saved.",
            remedy="Set the key with %wbconfig --key or WANDB_INFERENCE_API_KEY.",
            cause="option",
        )
    if parts.query or parts.fragment:
        raise InferenceError(
            "An endpoint's URL ends before any ? or #: the paths of the service are added to it, and it is shown.",
            remedy="Leave that part out. Set the key with %wbconfig --key or WANDB_INFERENCE_API_KEY.",
            cause="option",
        )
    return text.rstrip("/")


def check_trace(text: str) -> str:
    """Return the project to trace in, or an empty string for `off`.

    Raises
    ------
    InferenceError
        When the text is not a project.
    """
    return "" if text.strip() == "off" else check_project(text)


def one_of(*words: str) -> Callable[[str], str]:
    """Return a check that accepts one of `words` and raises InferenceError for any other text."""

    def check(text: str) -> str:
        if text in words:
            return text
        raise InferenceError(
            f"{shortened(text)!r} is not one of {', '.join(words)}.",
            remedy=did_you_mean(text, words) or "Choose one of them.",
            cause="option",
        )

    return check


_CHECKS: Final[Mapping[str, Callable[[str], str]]] = {
    "endpoint": check_endpoint,
    "model": check_model_id,
    "cassette": str,
    "cassette_mode": one_of(*MODES),
    "cassette_pace": one_of(*PACES),
}


def _as_trait(check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except InferenceError as error:
        raise TraitError(str(error)) from None


def _in_range(name: str, value: Any, low: float, high: float) -> Any:
    if value is not None and not low <= value <= high:
        raise TraitError(f"{name} is a number from {low:g} to {high:g}, not {value!r}.")
    return value
