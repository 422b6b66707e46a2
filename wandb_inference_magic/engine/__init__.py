"""Run one chat: build the request, make the model calls, record the turn.

This package does not import the front end. It reports to a listener (`replies.listener`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .call import ModelCall
    from .chat import recorded_below, run_chat
    from .compare import MAX_MODELS
    from .python_arguments import MAYBE_PROMPT, ONE_MODEL, check_arguments, model_list
    from .relax import does_not_fit, relax_response_format, repair_request
    from .request import for_prompt, prepare_request
    from .spec import ChatSpec, build_spec, cannot_combine, format_result, spec_from_options, spec_from_python

__getattr__ = lazy_exports(__name__)
