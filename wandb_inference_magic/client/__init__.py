"""Network access: HTTP clients, streaming, error conversion and retries.

Also contains the server of the practice model on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .failures import FailureContext as FailureContext, to_inference_error as to_inference_error
    from .http import (
        AsyncClient as AsyncClient,
        Client as Client,
        Recorder as Recorder,
        SharedClient as SharedClient,
        certificates as certificates,
    )
    from .retries import pause as pause, wait as wait
    from .sse import (
        DONE as DONE,
        EXTENSION as EXTENSION,
        LAST as LAST,
        LIMITED as LIMITED,
        EventReader as EventReader,
        is_stream as is_stream,
    )
    from .stream import (
        fetch_feed as fetch_feed,
        fetch_model_list as fetch_model_list,
        stream_chat as stream_chat,
        stream_chat_async as stream_chat_async,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "failures": ("FailureContext", "to_inference_error"),
        "http": ("AsyncClient", "Client", "Recorder", "SharedClient", "certificates"),
        "retries": ("pause", "wait"),
        "sse": ("DONE", "EXTENSION", "EventReader", "LAST", "LIMITED", "is_stream"),
        "stream": ("fetch_feed", "fetch_model_list", "stream_chat", "stream_chat_async"),
    },
)
