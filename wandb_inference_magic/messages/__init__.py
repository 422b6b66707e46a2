"""Replies and what can be extracted from them, threads and turns, prepared requests, token counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .content import Content, Message, content_text, has_images, non_text_parts, part_text, parts_of, texts_of
    from .extract import CodeBlock, inner_json, json_in, json_lines, pretty_json, read_json
    from .fields import (
        FieldFailure,
        dumped_model,
        fields_of,
        has_private_fields,
        is_container,
        is_opaque_tuple,
        items_by_name,
        items_in,
        level_names,
        name_of,
        private_fields,
        public_items,
        record_fields,
        shows_private_fields,
    )
    from .reply import BUDGET_REMEDY, Reply, ToolCall, ToolStep, added_up, is_cut, notices_below
    from .request import (
        ADDED_JSON_MODE,
        CURRENT_CALL,
        JSON_MODE,
        JSON_ONLY,
        LIMIT_NAMES,
        REPLY_TOKENS,
        PreparedRequest,
        chosen_names,
        property_names,
        reply_limit,
        tokens_outside_messages,
        without_json_mode,
    )
    from .thread import DEFAULT_THREAD, Origin, Thread, Turn, system_messages
    from .threads import ThreadParts, Threads
    from .to_pandas import data_frame
    from .tokens import Usage, estimate, estimate_messages, writing_seconds

__getattr__ = lazy_exports(__name__)
