"""Run one chat: build the request, make the model calls, record the turn.

This package does not import the front end. It reports to a listener (`replies.listener`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .call import ModelCall as ModelCall
    from .chat import run_chat as run_chat
    from .compare import MAX_MODELS as MAX_MODELS
    from .python_arguments import (
        MAYBE_PROMPT as MAYBE_PROMPT,
        ONE_MODEL as ONE_MODEL,
        check_arguments as check_arguments,
        model_list as model_list,
    )
    from .relax import relax_response_format as relax_response_format
    from .request import for_prompt as for_prompt, prepare_request as prepare_request
    from .spec import (
        ChatSpec as ChatSpec,
        build_spec as build_spec,
        cannot_combine as cannot_combine,
        format_result as format_result,
        spec_from_options as spec_from_options,
        spec_from_python as spec_from_python,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "call": ("ModelCall",),
        "chat": ("run_chat",),
        "compare": ("MAX_MODELS",),
        "python_arguments": ("MAYBE_PROMPT", "ONE_MODEL", "check_arguments", "model_list"),
        "relax": ("relax_response_format",),
        "request": ("for_prompt", "prepare_request"),
        "spec": ("ChatSpec", "build_spec", "cannot_combine", "format_result", "spec_from_options", "spec_from_python"),
    },
)
