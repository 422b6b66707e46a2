"""How a reply arrives: the forms that services send, and the builder that makes a Reply of its chunks.

The listener protocol is here too: the engine uses it to report progress to a front end. Who needs one of the modules
needs nearly all, so they are not imported lazily.
"""

from __future__ import annotations

from .builder import ReplyBuilder as ReplyBuilder, Timing as Timing
from .endings import Completeness as Completeness
from .forms import (
    ALL_REASONING as ALL_REASONING,
    adds as adds,
    error_in as error_in,
    first_choice as first_choice,
    is_keep_alive as is_keep_alive,
    is_known_object as is_known_object,
    thoughts_in as thoughts_in,
    with_first_choice as with_first_choice,
    without_reasoning as without_reasoning,
)
from .listener import (
    CallProgress as CallProgress,
    ComparisonListener as ComparisonListener,
    Listener as Listener,
    NullListener as NullListener,
    Waiting as Waiting,
)
