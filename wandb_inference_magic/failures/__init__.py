"""What a failure of the service or the network means, and when to try again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .connections import BROKE_OFF as BROKE_OFF
    from .convert import FailureContext as FailureContext, to_inference_error as to_inference_error
    from .retries import delay_after as delay_after, retry_delay as retry_delay
    from .service_error import ServiceError as ServiceError

__getattr__ = lazy_exports(
    __name__,
    {
        "connections": ("BROKE_OFF",),
        "convert": ("FailureContext", "to_inference_error"),
        "retries": ("delay_after", "retry_delay"),
        "service_error": ("ServiceError",),
    },
)
