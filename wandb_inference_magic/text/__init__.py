"""Make plain text safe, read and write JSON text, and remove secrets from text.

This is the lowest layer.
"""

from __future__ import annotations

from .figures import (
    MAX_INTEGER,
    counted,
    duration,
    is_number,
    member_value,
    moment,
    plain_number,
    python_values,
    shortest_float,
    str_of,
    sum_or_none,
    three_digits,
)
from .folded import advice_on, boolean_of, folded, number_in
from .invisible import INVISIBLE, UNSEEN, bare, is_blank, visible_only
from .json_text import (
    DoubledKeys,
    as_json,
    changed_object,
    json_as_read,
    json_bytes,
    json_or_none,
    json_values,
    read_json_text,
    read_loose_json,
    with_backslashes,
    with_whole_numbers,
)
from .names import (
    BARS,
    COLONS,
    COMMAS,
    IN_QUOTES,
    QUESTION_MARKS,
    QUOTES,
    composed,
    leading_name,
    python_name,
    same_name,
)
from .plain import digest_of, grapheme_start, is_terminal, printable, safe_plain, without_surrogates, wrapped
from .portable import is_cell, portable_trace, says_nothing, without_addresses, without_version
from .redaction import (
    KEY_VARIABLES,
    addresses,
    known_keys,
    library_message,
    passwords_in,
    redacted,
    redacted_value,
    remember,
    secret_in,
    secrets_of,
    with_texts,
    without_keys,
    without_query_secrets,
    without_secrets,
)
from .values import in_order, is_missing, python_of, unwrapped
