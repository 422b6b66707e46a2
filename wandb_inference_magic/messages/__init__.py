"""Replies and what can be extracted from them, threads and turns, prepared requests, token counts.

The listener protocol is here too: the engine uses it to report to a front end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .builder import Arrival as Arrival, ReplyBuilder as ReplyBuilder, Timing as Timing
    from .content import (
        Content as Content,
        Message as Message,
        content_text as content_text,
        has_images as has_images,
        part_text as part_text,
        parts_beside_text as parts_beside_text,
        parts_of as parts_of,
        texts_of as texts_of,
    )
    from .endings import ENDS as ENDS, Completeness as Completeness
    from .extract import CodeBlock as CodeBlock, json_in as json_in, pretty_json as pretty_json, read_json as read_json
    from .forms import (
        ALL_REASONING as ALL_REASONING,
        ECHOED as ECHOED,
        REASONING as REASONING,
        adds as adds,
        error_in as error_in,
        first_choice as first_choice,
        is_known_object as is_known_object,
        number_of_choice as number_of_choice,
        renumbered as renumbered,
    )
    from .frames import data_frame as data_frame
    from .listener import (
        CallProgress as CallProgress,
        ComparisonListener as ComparisonListener,
        Listener as Listener,
        NullListener as NullListener,
        Waiting as Waiting,
    )
    from .reply import (
        BUDGET_REMEDY as BUDGET_REMEDY,
        Reply as Reply,
        ToolCall as ToolCall,
        ToolStep as ToolStep,
        added_up as added_up,
        notices_below as notices_below,
    )
    from .request import (
        ADDED_JSON_MODE as ADDED_JSON_MODE,
        JSON_MODE as JSON_MODE,
        JSON_ONLY as JSON_ONLY,
        REPLY_TOKENS as REPLY_TOKENS,
        PreparedRequest as PreparedRequest,
        reply_limit as reply_limit,
        tokens_beside_messages as tokens_beside_messages,
        without_json_mode as without_json_mode,
    )
    from .thread import (
        DEFAULT_THREAD as DEFAULT_THREAD,
        Origin as Origin,
        Thread as Thread,
        Threads as Threads,
        Turn as Turn,
    )
    from .tokens import (
        Usage as Usage,
        estimate as estimate,
        estimate_messages as estimate_messages,
        writing_seconds as writing_seconds,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "builder": ("Arrival", "ReplyBuilder", "Timing"),
        "content": (
            "Content",
            "Message",
            "content_text",
            "has_images",
            "part_text",
            "parts_beside_text",
            "parts_of",
            "texts_of",
        ),
        "endings": ("Completeness", "ENDS"),
        "extract": ("CodeBlock", "json_in", "pretty_json", "read_json"),
        "forms": (
            "ALL_REASONING",
            "ECHOED",
            "REASONING",
            "adds",
            "error_in",
            "first_choice",
            "is_known_object",
            "number_of_choice",
            "renumbered",
        ),
        "frames": ("data_frame",),
        "listener": ("CallProgress", "ComparisonListener", "Listener", "NullListener", "Waiting"),
        "reply": ("BUDGET_REMEDY", "Reply", "ToolCall", "ToolStep", "added_up", "notices_below"),
        "request": (
            "ADDED_JSON_MODE",
            "JSON_MODE",
            "JSON_ONLY",
            "PreparedRequest",
            "REPLY_TOKENS",
            "reply_limit",
            "tokens_beside_messages",
            "without_json_mode",
        ),
        "thread": ("DEFAULT_THREAD", "Origin", "Thread", "Threads", "Turn"),
        "tokens": ("Usage", "estimate", "estimate_messages", "writing_seconds"),
    },
)
