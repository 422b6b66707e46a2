"""Turn a template and the notebook's values into the content of a prompt.

What a value becomes depends on its type: see `as_prompt`.
"""

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
