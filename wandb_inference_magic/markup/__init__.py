"""The one place that makes untrusted text safe to show as Markdown: `safe_document`.

It also holds the parsers of the front ends and the list of what formulas may contain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .blocks import split_finished as split_finished
    from .cells import keep_cells as keep_cells
    from .check import is_ordinary as is_ordinary
    from .links import linked as linked
    from .literal import fenced as fenced, quotation as quotation, safe_inline as safe_inline
    from .parser import (
        commonmark_parser as commonmark_parser,
        maths_as_written as maths_as_written,
        page_parser as page_parser,
    )
    from .sanitize import (
        DocumentPart as DocumentPart,
        Untrusted as Untrusted,
        safe_document as safe_document,
        sanitize_markdown as sanitize_markdown,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "blocks": ("split_finished",),
        "cells": ("keep_cells",),
        "check": ("is_ordinary",),
        "links": ("linked",),
        "literal": ("fenced", "quotation", "safe_inline"),
        "parser": ("commonmark_parser", "maths_as_written", "page_parser"),
        "sanitize": ("DocumentPart", "Untrusted", "safe_document", "sanitize_markdown"),
    },
)
