"""The settings: one traitlets `Configurable`, and the source of each value in force."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from traitlets import Bool, CFloat, CInt, Enum, Float, Integer, List, TraitError, TraitType, Unicode, validate
from traitlets.config import Config, Configurable

from ..catalog import check_model_id
from ..errors import InferenceError, did_you_mean, quoted, shortened
from .address import check_endpoint
from .project import check_project, find_project, from_variable

if TYPE_CHECKING:
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


def check_trace(text: str) -> str:
    """Return the project to trace in, or an empty string for `off`.

    Raises
    ------
    InferenceError
        When the text is not a project.
    """
    return "" if text.strip() == "off" else check_project(text)


def check_hosts(hosts: list[str]) -> list[str]:
    """Return the names of hosts.

    Raises
    ------
    InferenceError
        When one is something else, such as an address.
    """
    for host in hosts:
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*|[0-9a-fA-F:]+", host):
            named = re.fullmatch(r"(?:\w+:)?(?://)?([\w.-]+\w).*", host, re.DOTALL)
            meant = f": {named[1]}" if named else ", such as images.example.org"
            raise InferenceError(
                f"{quoted(shortened(host))} in allow_images_from is not the name of a host.",
                remedy=f"Give the name alone, without an address, a port or a path{meant}.",
            )
    return hosts


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a check that accepts one of `choices` and raises InferenceError for any other text."""

    def check(text: str) -> str:
        if text in choices:
            return text
        raise InferenceError(
            f"{shortened(text)!r} is not one of {', '.join(choices)}.",
            remedy=did_you_mean(text, choices) or "Choose one of them.",
        )

    return check


def _checked(trait: TraitType[Any, Any], value: Any) -> Any:
    """Return a setting's value, if its row accepts it.

    Raises
    ------
    InferenceError
        If not.
    """
    if value is None or (value == "" and trait.default_value == ""):
        return value
    if "within" in trait.metadata:
        low, high = trait.metadata["within"]
        if not low <= value <= high:
            raise InferenceError(f"{trait.name} is a number from {low:g} to {high:g}, not {value!r}.")
    check = trait.metadata.get("check")
    return check(value) if check else value


class WandbInference(Configurable):
    """Settings of the W&B Inference magics.

    Set them with `%wbconfig`, with `%config WandbInference.model = "..."`, or in `ipython_config.py` as
    `c.WandbInference.model = "..."`.
    """

    # A row is a setting: its trait, the environment variable that sets it, and the check of its value.
    endpoint = Unicode(
        "auto",
        help="The service to use: `wandb`, `local` (the practice model on this machine), a URL, or `auto`: "
        "wandb if a key is found, else the practice model if it is installed.",
    ).tag(config=True, variable="WANDB_INFERENCE_BASE_URL", check=check_endpoint)
    # Its environment variables are read by the module `project`.
    project = Unicode("", help="Count usage to this W&B project, written team/project.").tag(
        config=True, check=check_project
    )
    model = Unicode("", help="Use this model, by its id. Empty: the endpoint's default.").tag(
        config=True, variable="WANDB_INFERENCE_MODEL", check=check_model_id
    )
    system = Unicode("", help="Send this system prompt with every chat.").tag(config=True)
    temperature = Float(None, allow_none=True, help="Send this temperature, 0 to 2. None: do not send one.").tag(
        config=True, within=TEMPERATURES
    )
    max_tokens = Integer(None, allow_none=True, help="Limit each reply to this many tokens. None: no limit.").tag(
        config=True, within=(1, 10**9)
    )
    budget = CFloat(
        None,
        allow_none=True,
        help="Limit the cost of all calls together, in USD. A call that could exceed it is not sent. None: no limit.",
    ).tag(config=True, within=BUDGETS)
    budget_file = Unicode("", help="Share the budget with every kernel of this machine that names the same file.").tag(
        config=True
    )
    cassette = Unicode("", help="Record exchanges in this file, or replay them from it.").tag(
        config=True, variable="WANDB_INFERENCE_CASSETTE"
    )
    cassette_mode = Enum(
        MODES,
        "auto",
        help="What to do with the cassette: `record` starts it afresh, `replay` answers only from it, without network "
        "or key, `auto` replays what it holds and records the rest, `off` does not use it.",
    ).tag(config=True, variable="WANDB_INFERENCE_CASSETTE_MODE", check=one_of(*MODES))
    cassette_pace = Enum(
        PACES, "recorded", help="Replay replies at the speed of the recording (`recorded`) or `at-once`."
    ).tag(config=True, variable="WANDB_INFERENCE_CASSETTE_PACE", check=one_of(*PACES))
    trace = Unicode("", help="Trace each call in this W&B Weave project, written team/project.").tag(
        config=True, check=check_trace
    )
    timeout = CFloat(120.0, help="Wait this many seconds for the service to send something.").tag(
        config=True, within=SECONDS
    )
    max_retries = CInt(3, help="Try again this many times if the service is busy or out of reach.").tag(
        config=True, within=(0, 20)
    )
    refresh_per_second = CFloat(12.0, help="Redraw a growing reply at most this many times a second (15 at most).").tag(
        config=True, within=(0.1, 15)
    )
    catalog = Bool(True, help="Fetch W&B's public list of prices and context sizes (no key is sent).").tag(config=True)
    allow_images_from = List(
        Unicode(), help="Load images that a reply names from these hosts. Others become links."
    ).tag(config=True, check=check_hosts)
    value_tokens = CInt(
        None,
        allow_none=True,
        help="Cut a value in a prompt (`{{ name }}`) to about this many tokens. None: only if it does not fit in the "
        "model's context.",
    ).tag(config=True, within=(10, 10**7))
    cache_mb = CInt(
        1000,
        allow_none=True,
        help="Keep at most this many MB of `%%wbmap` answers on disk; the least recently used are deleted first. "
        "None: no limit.",
    ).tag(config=True, within=(1, 10**6))
    cache_days = CFloat(
        None, allow_none=True, help="Delete answers on disk that no run has used for this many days. None: never."
    ).tag(config=True, within=(0, 36_500))
    weights = Unicode("", help="Use this GGUF file as the practice model instead of the packaged one.").tag(config=True)
    debug = Bool(False, help="Show the full traceback of an error.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        try:
            super().__init__(**kwargs)
        except TraitError as error:
            raise InferenceError(
                f"WandbInference in IPython's configuration is not usable: {error}",
                remedy="Correct it there (ipython_config.py), or restart the kernel if it was set with %config.",
            ) from None
        self._file = self.chosen()
        # The names of what was set in this session.
        self._set_here: set[str] = set()
        # Called when settings have changed.
        self.when_changed: Callable[[], object] = lambda: None

    @validate(*(name for name, trait in list(vars().items()) if isinstance(trait, TraitType)))
    def _check(self, proposal: Bunch) -> Any:
        try:
            return _checked(proposal.trait, proposal.value)
        except InferenceError as error:
            raise TraitError(str(error)) from None

    def update_config(self, config: Config) -> None:
        """Apply changed settings (`%config` calls this). If a value is refused, restore the previous configuration."""
        if any("key" in name for name in config.get("WandbInference", {})):
            raise TraitError(
                "No key is accepted in a cell or a configuration: they are saved and shared. Run %wbconfig --key: it "
                "asks for the key without showing it. If you typed a real key, delete it and make a new one."
            )
        names = self.trait_names(config=True)
        for name in set(config.get("WandbInference", {})).difference(names):
            # It would be kept, and reported again by each later change.
            raise TraitError(f"There is no setting {shortened(repr(name))}. {did_you_mean(name, names)}".strip())
        before, set_before = self.config, self._set_here
        # An observer sees the source of the new value too.
        self._set_here = {*set_before, *config.get("WandbInference", {})}
        try:
            with self.hold_trait_notifications():
                super().update_config(config)
        except TraitError:
            self.config, self._set_here = before, set_before
            raise
        self.when_changed()

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
            raise InferenceError(str(error)) from None

    def reset(self) -> None:
        """Restore the values of IPython's configuration and the defaults."""
        self.restore(self._file)

    def chosen(self) -> dict[str, Any]:
        """Return the values set by IPython's configuration and this session, for `restore`."""
        return deepcopy(dict(self.config.get("WandbInference", {})))

    def restore(self, chosen: Mapping[str, Any]) -> None:
        """Set exactly these values, and all other traits to their defaults."""
        self.config = Config({"WandbInference": deepcopy(dict(chosen))})
        self._set_here = {name for name in chosen if name not in self._file or chosen[name] != self._file[name]}
        for name, trait in self.traits(config=True).items():
            if name not in chosen:
                setattr(self, name, trait.default(self))
        self.when_changed()

    def for_children(self) -> dict[str, Any]:
        """Return what a child process needs to have the same settings, for `of_parent`."""
        chosen = self.chosen()
        if chosen.get("cassette_mode") == "record":
            # Each child would start the file afresh.
            chosen["cassette_mode"] = "auto"
        return {"file": self._file, "chosen": chosen}

    @classmethod
    def of_parent(cls, file: Mapping[str, Any], chosen: Mapping[str, Any]) -> WandbInference:
        """Return the settings of the parent process."""
        settings = cls(config=Config({"WandbInference": deepcopy(dict(file))}))
        settings.restore(chosen)
        return settings

    def resolve(self, environ: Mapping[str, str] | None = None) -> Resolved:
        """Return the values in force: from this session, else the environment, else the files, else the default.

        Raises
        ------
        InferenceError
            For an environment variable with a value that the setting does not accept.
        """
        environ = os.environ if environ is None else environ
        in_force = {name: self._in_force(name, trait, environ) for name, trait in self.traits(config=True).items()}
        return Resolved(
            **{name: value for name, (value, _) in in_force.items()},
            sources={name: source for name, (_, source) in in_force.items()},
        )

    def _in_force(self, name: str, trait: TraitType[Any, Any], environ: Mapping[str, str]) -> tuple[Any, str]:
        if name in self._set_here:
            return getattr(self, name), SESSION
        if name == "project" and (found := find_project(environ)):
            return found
        variable = trait.metadata.get("variable", "")
        if variable and (text := environ.get(variable, "").strip()):
            return from_variable(partial(_checked, trait), variable, text), variable
        return getattr(self, name), FILE if name in self._file else DEFAULT


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
    value_tokens: int | None
    cache_mb: int | None
    cache_days: float | None
    weights: str
    debug: bool
    sources: Mapping[str, str]


SETTING_NAMES: Final = tuple(field.name for field in fields(Resolved) if field.name != "sources")


def setting_named(flag: str) -> str:
    """Return the setting whose name a flag such as `--temp` begins or is; an empty string if there is none."""
    begun = flag.strip("-").replace("-", "_")
    return next((name for name in SETTING_NAMES if name.startswith(begun)), "") if len(begun) > 2 else ""
