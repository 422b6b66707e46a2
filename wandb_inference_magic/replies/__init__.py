"""How a reply arrives: the forms that services send, and the builder that makes a Reply of its chunks.

The listener protocol is here too: the engine uses it to report progress to a front end. Who needs one of the modules
needs nearly all, so they are not imported lazily.
"""

from __future__ import annotations

from .builder import ReplyBuilder, Timing
from .endings import Completeness, finish_in
from .forms import (
    ALL_REASONING,
    adds,
    error_in,
    first_choice,
    is_keep_alive,
    is_known_object,
    plain_text,
    thoughts_in,
    without_reasoning,
)
from .listener import CallProgress, Listener
