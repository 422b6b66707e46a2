"""How counts and durations read, everywhere in the same form."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: `1 row`, `1,234 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


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
