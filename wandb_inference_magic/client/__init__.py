"""Network access: HTTP clients and streaming.

Also contains the server of the practice model on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .bodies import PassedBody, body_class, http_library
    from .changes import STREAMED, may_pass_streamed
    from .chunks import CHECK_ADDRESS, ChunkReader
    from .http import ClientOptions, Clients, certificates, secret_refusal
    from .sse import ADDED_LIMIT, ASKED, DONE, EXTENSION
    from .stream import fetch_feed, fetch_model_list, stream_chat
    from .transport import transport_class

__getattr__ = lazy_exports(__name__)
