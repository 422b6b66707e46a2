"""Turn a template and the notebook's values into the content of a prompt.

What a value becomes depends on its type: see `as_prompt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .code import without_folders as without_folders
    from .frames import hidden_fields as hidden_fields, is_missing as is_missing, says_nothing as says_nothing
    from .images import Image as Image, TextOfImages as TextOfImages
    from .marked import (
        cut as cut,
        cut_values as cut_values,
        fit_values as fit_values,
        with_text_after as with_text_after,
    )
    from .template import (
        THE_PROMPT as THE_PROMPT,
        Template as Template,
        how_to_define as how_to_define,
        in_template as in_template,
        is_template as is_template,
        prompt_with as prompt_with,
        read_image as read_image,
        refuse_empty as refuse_empty,
        render as render,
        render_text as render_text,
        with_images as with_images,
    )
    from .values import as_prompt as as_prompt, prompt_form as prompt_form

__getattr__ = lazy_exports(
    __name__,
    {
        "code": ("without_folders",),
        "frames": ("hidden_fields", "is_missing", "says_nothing"),
        "images": ("Image", "TextOfImages"),
        "marked": ("cut", "cut_values", "fit_values", "with_text_after"),
        "template": (
            "THE_PROMPT",
            "Template",
            "how_to_define",
            "in_template",
            "is_template",
            "prompt_with",
            "read_image",
            "refuse_empty",
            "render",
            "render_text",
            "with_images",
        ),
        "values": ("as_prompt", "prompt_form"),
    },
)
