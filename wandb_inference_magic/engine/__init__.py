"""One answer: from what is asked to the request, the model's calls, and the turn that is recorded.

Knows no front end: it reports to a listener (`messages.listener`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .call import OneOfMany as OneOfMany
    from .chat import send as send
    from .compare import MOST_MODELS as MOST_MODELS
    from .relax import asked_more_easily as asked_more_easily
    from .request import Ask as Ask, for_prompt as for_prompt, prepare as prepare
    from .spec import read_ask as read_ask, read_how as read_how, result_words as result_words

__getattr__ = lazy_exports(
    __name__,
    {
        "call": ("OneOfMany",),
        "chat": ("send",),
        "compare": ("MOST_MODELS",),
        "relax": ("asked_more_easily",),
        "request": ("Ask", "for_prompt", "prepare"),
        "spec": ("read_ask", "read_how", "result_words"),
    },
)
