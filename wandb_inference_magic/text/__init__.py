"""Make plain text safe, read and write JSON text, and remove secrets from text.

This is the lowest layer.
"""

from __future__ import annotations

from .figures import (
    counted as counted,
    duration as duration,
    figure as figure,
    is_number as is_number,
    shortest as shortest,
    sum_or_none as sum_or_none,
    ungrouped as ungrouped,
)
from .folded import bare as bare, folded as folded
from .json_text import (
    as_json as as_json,
    json_bytes as json_bytes,
    json_or_none as json_or_none,
    json_values as json_values,
    read_json_text as read_json_text,
    with_backslashes as with_backslashes,
    with_whole_numbers as with_whole_numbers,
)
from .plain import safe_plain as safe_plain, whole as whole, wrapped as wrapped
from .redaction import (
    KEY_VARIABLES as KEY_VARIABLES,
    addresses as addresses,
    hidden as hidden,
    library_message as library_message,
    passwords_in as passwords_in,
    redacted as redacted,
    remember as remember,
    with_texts as with_texts,
    without_query_secrets as without_query_secrets,
)
