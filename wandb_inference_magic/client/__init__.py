"""Network access: HTTP clients, streaming, error conversion and retries.

Also contains the server of the practice model on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .chunks import CHECK_ADDRESS as CHECK_ADDRESS, ChunkReader as ChunkReader, ServiceError as ServiceError
    from .failures import FailureContext as FailureContext, to_inference_error as to_inference_error
    from .http import (
        ClientOptions as ClientOptions,
        Clients as Clients,
        certificates as certificates,
        http_library as http_library,
    )
    from .retries import delay_after as delay_after, retry_delay as retry_delay, wait as wait
    from .sse import DONE as DONE, EXTENSION as EXTENSION, LIMITED as LIMITED
    from .stream import (
        STREAMED as STREAMED,
        fetch_feed as fetch_feed,
        fetch_model_list as fetch_model_list,
        stream_chat as stream_chat,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "chunks": ("CHECK_ADDRESS", "ChunkReader", "ServiceError"),
        "failures": ("FailureContext", "to_inference_error"),
        "http": ("ClientOptions", "Clients", "certificates", "http_library"),
        "retries": ("delay_after", "retry_delay", "wait"),
        "sse": ("DONE", "EXTENSION", "LIMITED"),
        "stream": ("STREAMED", "fetch_feed", "fetch_model_list", "stream_chat"),
    },
)
