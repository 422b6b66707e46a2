"""Turn a template and the notebook's values into the content of a prompt.

What a value becomes depends on its type: see `as_prompt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency import lazy_exports

if TYPE_CHECKING:
    from .images import Image as Image
    from .template import (
        Template as Template,
        is_template as is_template,
        read_image as read_image,
        render as render,
        render_text as render_text,
        with_images as with_images,
    )
    from .values import as_prompt as as_prompt, cut as cut, image_of as image_of

__getattr__ = lazy_exports(
    __name__,
    {
        "images": ("Image",),
        "template": ("Template", "is_template", "read_image", "render", "render_text", "with_images"),
        "values": ("as_prompt", "cut", "image_of"),
    },
)
