"""The line of a magic: its options, each declared once, their values, and the help generated from them.

This package only parses. What an option does is implemented in `commands`.
"""

from .line import (
    TextForm as TextForm,
    Value as Value,
    declared_options as declared_options,
    options_behind as options_behind,
    read_line as read_line,
    read_unfinished as read_unfinished,
)
from .options import (
    AskOptions as AskOptions,
    ChatOptions as ChatOptions,
    ConfigOptions as ConfigOptions,
    EvalOptions as EvalOptions,
    JobsOptions as JobsOptions,
    MapOptions as MapOptions,
    ModelsOptions as ModelsOptions,
    ThreadOptions as ThreadOptions,
    UsageOptions as UsageOptions,
)
from .reference import MAGICS as MAGICS, PAGES as PAGES, Page as Page, help_text as help_text
