"""Replies and what can be extracted from them, threads and turns, prepared requests, token counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
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
    from .extract import (
        CodeBlock as CodeBlock,
        inner_json as inner_json,
        json_in as json_in,
        pretty_json as pretty_json,
        read_json as read_json,
    )
    from .frames import data_frame as data_frame
    from .reply import (
        BUDGET_REMEDY as BUDGET_REMEDY,
        Reply as Reply,
        ToolCall as ToolCall,
        ToolStep as ToolStep,
        added_up as added_up,
        is_cut as is_cut,
        notices_below as notices_below,
    )
    from .request import (
        ADDED_JSON_MODE as ADDED_JSON_MODE,
        ASKING as ASKING,
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
        "extract": ("CodeBlock", "inner_json", "json_in", "pretty_json", "read_json"),
        "frames": ("data_frame",),
        "reply": ("BUDGET_REMEDY", "Reply", "ToolCall", "ToolStep", "added_up", "is_cut", "notices_below"),
        "request": (
            "ADDED_JSON_MODE",
            "ASKING",
            "JSON_MODE",
            "JSON_ONLY",
            "REPLY_TOKENS",
            "PreparedRequest",
            "reply_limit",
            "tokens_beside_messages",
            "without_json_mode",
        ),
        "thread": ("DEFAULT_THREAD", "Origin", "Thread", "Threads", "Turn"),
        "tokens": ("Usage", "estimate", "estimate_messages", "writing_seconds"),
    },
)
