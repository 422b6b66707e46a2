"""Turn a template and the notebook's values into the content of a prompt.

What a value becomes depends on its type: see `as_prompt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .describe_frames import as_known_frame, columns_of
    from .images import Image, TextOfImages, with_images
    from .template import (
        THE_PROMPT,
        Template,
        how_to_define,
        in_template,
        is_template,
        prompt_with,
        read_image,
        refuse_empty,
        render,
        render_text,
    )
    from .value_spans import CutText, cut, cut_values, fit_values, with_text_after
    from .values import as_prompt, custom_prompt, json_of, to_prompt, whole_prompt

__getattr__ = lazy_exports(__name__)
