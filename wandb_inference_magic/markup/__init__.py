"""The one place that makes untrusted text safe to show as Markdown: `safe_document`.

It also holds the parsers of the front ends and the list of what formulas may contain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .blocks import directed, goes_on, split_finished
    from .cells import keep_cells
    from .check import is_ordinary
    from .front_end_parsers import end_of_fence
    from .links import linked
    from .literal import fenced, quotation, safe_inline
    from .parser import commonmark_parser, maths_as_written, page_parser
    from .sanitize import DocumentPart, Untrusted, safe_document, sanitize_markdown

__getattr__ = lazy_exports(__name__)
