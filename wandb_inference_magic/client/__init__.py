"""The wire: the clients, built in one place, streams read chunk by chunk, failures, retries.

And the practice model's server on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .failures import Situation as Situation, explain as explain
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
        fetch_listing as fetch_listing,
        receive as receive,
        receive_async as receive_async,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "failures": ("Situation", "explain"),
        "http": ("AsyncClient", "Client", "Recorder", "SharedClient", "certificates"),
        "retries": ("pause", "wait"),
        "sse": ("DONE", "EXTENSION", "EventReader", "LAST", "LIMITED", "is_stream"),
        "stream": ("fetch_feed", "fetch_listing", "receive", "receive_async"),
    },
)
