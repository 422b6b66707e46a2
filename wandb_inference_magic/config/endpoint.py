"""The service that requests are sent to: W&B's own, the practice model, or any other URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from .address import port_of
from .settings import WANDB_URL

if TYPE_CHECKING:
    from ..errors import InferenceError
    from .key import Key


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The service that requests are sent to, with the data that identifies the caller.

    `kind` is `wandb` for W&B's own service, `local` for the practice model on this machine, and `custom` for any
    other URL. `default_model` is the model of a chat that names none; empty if the user must choose one.
    `origin` is where its URL comes from, as text for users; empty if it is not from the settings.
    `is_fallback` says that no endpoint was chosen and no key was found.
    `out_of_reach` is the error that explains why nothing can be sent to the endpoint. Then only a cassette can reply.
    """

    kind: Literal["wandb", "local", "custom"]
    url: str
    key: Key | None = None
    project: str = ""
    default_model: str = field(default="", compare=False)
    origin: str = field(default="", compare=False)
    is_fallback: bool = field(default=False, compare=False)
    out_of_reach: InferenceError | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Its name in settings and files: `wandb`, `local`, or its URL."""
        return self.url if self.kind == "custom" else self.kind

    @property
    def account(self) -> tuple[str, int, str]:
        """What its list of models belongs to: the URL, a hash of the key, and the project."""
        return self.url, hash(self.key.reveal() if self.key else ""), self.project

    @property
    def label(self) -> str:
        """Its name at the start of a message."""
        if self.is_wandb:
            return "W&B Inference"
        return "The practice model" if self.is_local else f"The endpoint {self.url}"

    @property
    def described_origin(self) -> str:
        """Where its URL comes from, as a sentence; empty if it is not from the settings."""
        return f"The address in use comes from {self.origin}." if self.origin else ""

    @property
    def provider(self) -> str:
        """Its name as a provider of models in traces: `wandb`, `local` or `custom`."""
        return self.kind

    @property
    def is_wandb(self) -> bool:
        return self.kind == "wandb"

    @property
    def is_local(self) -> bool:
        """Whether it is the practice model on this machine."""
        return self.kind == "local"


def origin_of(url: str) -> str:
    """Return the scheme, the host and the port of a URL: a key that was typed for it is for its other paths too."""
    try:
        parts = urlsplit(url)
        port = port_of(parts)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.hostname}:{port}"


def is_wandb(url: str) -> bool:
    """Return whether a URL is W&B's own endpoint, the only one that a W&B key may be sent to."""
    try:
        given, own = urlsplit(url), urlsplit(WANDB_URL)
    except ValueError:
        return False
    return given.scheme == own.scheme and given.netloc.lower() in (own.netloc, f"{own.netloc}:443")
