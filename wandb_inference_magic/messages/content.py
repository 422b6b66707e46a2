"""The content of a message: a text, or a list of parts such as texts and images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Message = dict[str, Any]
# A message's content: a text, or a list of text and image parts.
Content = str | list[dict[str, Any]]


def parts_of(content: Content) -> list[dict[str, Any]]:
    """Return the parts of a message's content. A text is one part."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def texts_of(content: Content) -> list[str]:
    """Return the texts of a message's content, without its other parts."""
    return [part["text"] for part in parts_of(content) if part.get("type") == "text"]


def content_text(content: Content) -> str:
    """Return a message's content as text, with `[image]` for each image, and the kind of any other part."""
    return "".join(map(part_text, parts_of(content)))


def part_text(part: Mapping[str, Any]) -> str:
    """Return a part of a message's content as text: `[image]` for an image, and the kind of any other part."""
    kind = part.get("type")
    return str(part["text"]) if kind == "text" else f"[{'image' if kind == 'image_url' else kind}]"


def non_text_parts(content: Content) -> list[str]:
    """Return what stands for the parts of a content that are no text, each once: `[image]`, `[input_audio]`."""
    return list(dict.fromkeys(part_text(part) for part in parts_of(content) if part.get("type") != "text"))


def has_images(content: Content) -> bool:
    """Return whether a message's content has an image."""
    return "[image]" in non_text_parts(content)
