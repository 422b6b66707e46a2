"""The service that requests are sent to: W&B's own, the practice model, or any other URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from .settings import WANDB_URL

if TYPE_CHECKING:
    from ..errors import InferenceError
    from .key import Key


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The service that requests are sent to, with the data that identifies the caller.

    `kind` is `wandb` for W&B's own service, `local` for the practice model on this machine, and `custom` for any
    other URL. `model` is the id of the practice model. `out_of_reach` is the error that explains why nothing can be
    sent to the endpoint. Then only a cassette can reply.
    """

    kind: Literal["wandb", "local", "custom"]
    url: str
    key: Key | None = None
    project: str = ""
    model: str = ""
    out_of_reach: InferenceError | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return self.url if self.kind == "custom" else self.kind


def is_wandb(url: str) -> bool:
    """Return whether a URL is W&B's own endpoint, the only one that a W&B key may be sent to."""
    try:
        given, own = urlsplit(url), urlsplit(WANDB_URL)
    except ValueError:
        return False
    return given.scheme == own.scheme and given.netloc.lower() in (own.netloc, f"{own.netloc}:443")
