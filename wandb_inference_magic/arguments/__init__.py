"""The line of a magic: its options, each declared once, their values, and the help generated from them.

This package only parses. What an option does is implemented in `commands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .line import (
        TextForm as TextForm,
        Unfinished as Unfinished,
        Value as Value,
        read_line as read_line,
        read_unfinished as read_unfinished,
    )
    from .options import (
        AskOptions as AskOptions,
        ChatOptions as ChatOptions,
        ConfigOptions as ConfigOptions,
        MapOptions as MapOptions,
        ModelsOptions as ModelsOptions,
        ThreadOptions as ThreadOptions,
        UsageOptions as UsageOptions,
    )
    from .reference import (
        CHAT as CHAT,
        CONFIG as CONFIG,
        MAP as MAP,
        MODELS as MODELS,
        PAGES as PAGES,
        THREAD as THREAD,
        USAGE as USAGE,
        Page as Page,
        help_text as help_text,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "line": ("TextForm", "Unfinished", "Value", "read_line", "read_unfinished"),
        "options": (
            "AskOptions",
            "ChatOptions",
            "ConfigOptions",
            "MapOptions",
            "ModelsOptions",
            "ThreadOptions",
            "UsageOptions",
        ),
        "reference": ("CHAT", "CONFIG", "MAP", "MODELS", "PAGES", "Page", "THREAD", "USAGE", "help_text"),
    },
)
