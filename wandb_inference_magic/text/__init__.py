"""Make plain text safe, read and write JSON text, and remove secrets from text.

This is the lowest layer.
"""

from __future__ import annotations

from .figures import (
    LARGEST_INTEGER,
    counted,
    duration,
    figure,
    is_number,
    member_value,
    shortest,
    sum_or_none,
    ungrouped,
    written,
)
from .folded import bare, boolean_of, folded
from .json_text import (
    as_json,
    json_bytes,
    json_or_none,
    json_values,
    read_json_text,
    read_loose_json,
    with_backslashes,
    with_whole_numbers,
)
from .plain import is_terminal, printable, safe_plain, whole, wrapped
from .redaction import (
    KEY_VARIABLES,
    addresses,
    hidden,
    holds_key,
    known_keys,
    library_message,
    passwords_in,
    redacted,
    remember,
    with_texts,
    without_keys,
    without_query_secrets,
    without_secrets,
)
