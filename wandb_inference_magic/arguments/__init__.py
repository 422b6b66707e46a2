"""The line of a magic: its options, each declared once, their values, and the help generated from them.

This package only parses. What an option does is implemented in `commands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .line import (
        Options as Options,
        TextForm as TextForm,
        Value as Value,
        options_behind as options_behind,
        read_line as read_line,
        read_unfinished as read_unfinished,
    )
    from .options import (
        ChatOptions as ChatOptions,
        ConfigOptions as ConfigOptions,
        EvalOptions as EvalOptions,
        JobsOptions as JobsOptions,
        MapOptions as MapOptions,
        ModelsOptions as ModelsOptions,
        PromptOptions as PromptOptions,
        RowsOptions as RowsOptions,
        ThreadOptions as ThreadOptions,
        UsageOptions as UsageOptions,
    )
    from .reference import MAGICS as MAGICS, PAGES as PAGES, Page as Page, help_text as help_text

__getattr__ = lazy_exports(
    __name__,
    {
        "line": ("TextForm", "Value", "Options", "options_behind", "read_line", "read_unfinished"),
        "options": (
            "PromptOptions",
            "ChatOptions",
            "ConfigOptions",
            "EvalOptions",
            "JobsOptions",
            "MapOptions",
            "RowsOptions",
            "ModelsOptions",
            "ThreadOptions",
            "UsageOptions",
        ),
        "reference": ("MAGICS", "PAGES", "Page", "help_text"),
    },
)
