"""JSON texts, written and read so that nothing in them raises what nobody expects."""

from __future__ import annotations

import json
from typing import Any


def json_bytes(document: Any, *, compact: bool = False) -> bytes:
    """Return a document as JSON in UTF-8; `compact` leaves out the blanks that make it easier to read."""
    separators = (",", ":") if compact else None
    try:
        return json.dumps(document, ensure_ascii=False, separators=separators).encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8 form, but an ASCII one.
        return json.dumps(document, separators=separators).encode()


def read_json_text(text: str | bytes) -> Any:
    """Return the document of a JSON text.

    Raises
    ------
    ValueError
        When it is none, or one that is nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
