"""The line of a magic: its options, each declared once, their values, and the help generated from them.

This package only parses. What an option does is implemented in `commands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .line import Options, TextForm, Value, read_line, read_unfinished, trailing_options
    from .options import (
        ChatOptions,
        ConfigOptions,
        EvalOptions,
        JobsOptions,
        MapOptions,
        ModelsOptions,
        PromptOptions,
        RowsOptions,
        ThreadOptions,
        UsageOptions,
    )
    from .reference import MAGICS, OPTIONS, help_text, sections

__getattr__ = lazy_exports(__name__)
