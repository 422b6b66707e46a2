"""The service spoken to: W&B's own, the practice model, or any other URL."""

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
    """The service spoken to, with all that identifies the caller to it.

    `kind` tells W&B's own service (`wandb`) and the practice model on this machine (`local`) from any
    other URL (`custom`). `model` is the id of the practice model. `out_of_reach` is why nothing can be sent to it:
    only a cassette can answer for it.
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
    """Whether a URL is W&B's own endpoint, the only one a W&B key may be sent to."""
    try:
        given, own = urlsplit(url), urlsplit(WANDB_URL)
    except ValueError:
        return False
    return given.scheme == own.scheme and given.netloc.lower() in (own.netloc, f"{own.netloc}:443")
