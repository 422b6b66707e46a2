"""What a failure of the service or the network means, and when to try again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .alarm import OUTAGE_SECONDS, Alarm, Tries, Verdict
    from .bodies import read_error
    from .connections import BROKE_OFF, GATEWAY_TIMEOUTS, CallOutcome, may_have_run, outcome_of
    from .convert import (
        FailureContext,
        is_too_long,
        refused_request,
        status_and_words,
        to_inference_error,
        would_refuse_again,
    )
    from .refusals import NOT_OF_REQUEST
    from .refused_forms import RefusedForm, names_field
    from .retries import LONGEST_DELAY, delay_after, retry_delay
    from .service_error import ServiceError

__getattr__ = lazy_exports(__name__)
