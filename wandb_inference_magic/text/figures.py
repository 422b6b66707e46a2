"""How counts and durations read, everywhere in the same form."""

from __future__ import annotations

import re
from typing import Final


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: `1 row`, `1,234 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


# 2,102,650 is a number. 1,5 does not match: the comma can be a decimal comma.
_GROUPED: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")


def ungrouped(number: str) -> str:
    """Return the text of a number without the commas between groups of three digits, and any other text as it is."""
    return number.replace(",", "") if _GROUPED.fullmatch(number) else number


def duration(seconds: float) -> str:
    """Return a duration: `3.2 s`, `42 s`, `2 min 5 s`, `1 h`. A short one has a decimal, unless it is an int."""
    if isinstance(seconds, float) and seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h {rest} min" if rest else f"{hours:,} h"
