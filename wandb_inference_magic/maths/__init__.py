"""Formulas in Markdown: which are ordinary maths, where they are, and their forms as MathML and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .mathml import to_mathml, to_text
    from .tex import is_ordinary_maths
    from .typeset import formulas, page_strings

__getattr__ = lazy_exports(__name__)
