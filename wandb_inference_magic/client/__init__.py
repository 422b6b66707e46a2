"""Network access: HTTP clients and streaming.

Also contains the server of the practice model on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .chunks import CHECK_ADDRESS as CHECK_ADDRESS, ChunkReader as ChunkReader
    from .http import (
        ClientOptions as ClientOptions,
        Clients as Clients,
        certificates as certificates,
        http_library as http_library,
    )
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
        "chunks": ("CHECK_ADDRESS", "ChunkReader"),
        "http": ("ClientOptions", "Clients", "certificates", "http_library"),
        "sse": ("DONE", "EXTENSION", "LIMITED"),
        "stream": ("STREAMED", "fetch_feed", "fetch_model_list", "stream_chat"),
    },
)
