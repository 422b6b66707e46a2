"""Images as parts of a prompt: from figures, PIL images, files and objects with an image representation."""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import InferenceError, describe_exception, quoted
from ..imports import is_instance, loaded, quiet
from ..messages import parts_of
from .charts import shown_in_notebooks

if TYPE_CHECKING:
    from ..messages import Content

# In pixels. Models scale larger images down, but the request would carry every pixel.
MAX_SIDE_PIXELS: Final = 2048
MAX_FIGURE_PIXELS: Final = 1600
MAX_FILE_BYTES: Final = 20_000_000
MAX_PNG_BYTES: Final = 2_000_000
# Where the metadata of a file is looked for: at its start, or in WebP at its end.
MAX_HEAD_BYTES: Final = 200_000
IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
ORIENTATION: Final = 0x0112
FIGURE: Final = "matplotlib.figure.Figure"
ARTIST: Final = "matplotlib.artist.Artist"
# What may say how an image is to be turned: EXIF in its forms, and XMP.
_METADATA: Final = (b"Exif", b"eXIf", b"EXIF", b"Raw profile type exif", b"tiff:Orientation")
# The formats of PIL whose frames are pages or an animation. Those of a photo (MPO) are versions of it.
_OF_PAGES: Final = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")
# Where a PNG has its bits a pixel and its kind of colours, and what stands there for 65,536 shades of grey.
_PNG_COLOURS: Final = slice(24, 26)
_WIDE_GREYS: Final = b"\x10\x00"
_BRIGHTEST: Final = 65_535.0
_SIGNATURES: Final = {b"\x89PNG\r\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


# How whole files end, by their kinds.
_ENDS: Final = {"png": b"IEND\xaeB`\x82", "jpeg": b"\xff\xd9", "gif": b"\0;"}
# What PIL says of a file that is cut off.
_CUT: Final = ("truncated", "broken data stream")

# What stands for an image in the text of a container.
IN_TEXT: Final = "[image]"


@dataclass(frozen=True, slots=True)
class Image:
    """An image by its URL: a `data:` URL that contains it, or its location."""

    url: str

    @property
    def part(self) -> dict[str, Any]:
        """The image as a part of a message's content."""
        return {"type": "image_url", "image_url": {"url": self.url}}


class TextOfImages(str):
    """The text of a container that has images in it. `[image]` stands for each: the text does not show them.

    `in_place` is whether the container is a list of nothing but images.
    """

    __slots__ = ("images", "in_place")

    images: list[Image]
    in_place: bool

    @classmethod
    def of(cls, text: str, plain: Any, images: list[Image]) -> TextOfImages:
        made = cls(text)
        made.images, made.in_place = images, plain == [IN_TEXT] * len(images)
        return made


def with_images(content: Content, images: Sequence[Image]) -> Content:
    """Return a message's content with images appended."""
    if not images:
        return content
    return [part for part in parts_of(content) if part.get("text") != ""] + [image.part for image in images]


def image_inside(value: object) -> InferenceError:
    return InferenceError(
        f"A value of type {type(value).__name__} has an image, and would be sent here as a text without the picture.",
        remedy="Put each image into the prompt by itself, such as {% for p in pics %}{{ p }}{% endfor %}, or "
        "{{ value.image }}.",
    )


def image_from_bytes(data: bytes) -> Image | None:
    """Return an image from a file's bytes, upright, or None for a format that models do not read."""
    kind = _kind(data)
    return (_redrawn(kind, data) or _image(kind, data)) if kind else None


def image_from_record(value: object) -> Image | None:
    """Return an image that is a dict, as Hugging Face's datasets have it; None for any other value."""
    data = value["bytes"] if isinstance(value, dict) and set(value) == {"bytes", "path"} else None
    return image_from_bytes(data) if isinstance(data, bytes) else None


def _redrawn(kind: str, data: bytes) -> Image | None:
    """Return the image of a file that is to be turned, as its metadata says, or has 65,536 shades of grey.

    None for any other. Libraries that convert such shades to colours make most of them white.
    """
    has_wide_greys = kind == "png" and data[_PNG_COLOURS] == _WIDE_GREYS
    if not has_wide_greys and not any(
        mark in data[:MAX_HEAD_BYTES] or mark in data[-MAX_HEAD_BYTES:] for mark in _METADATA
    ):
        return None
    with suppress(Exception), quiet("PIL"):
        # Without PIL, or where PIL cannot read it, the file is sent as it is.
        from PIL import Image as Pillow

        with Pillow.open(BytesIO(data)) as picture:
            if has_wide_greys or picture.getexif().get(ORIENTATION, 1) != 1:
                return image_from_pillow(picture)
    return None


def _image(kind: str, data: bytes) -> Image:
    return Image(f"data:image/{kind};base64,{b64encode(data).decode()}")


def _kind(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), "")


def image_at(path: Path) -> Image | None:
    """Return the image in a file; None if there is no file that starts with the signature of an image.

    Raises
    ------
    InferenceError
        If the file is too large, or is cut off.
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if not _kind(file.read(16)):
                return None
    except (OSError, ValueError):
        return None
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InferenceError(
            f"The image {path} is larger than {MAX_FILE_BYTES // 1_000_000} MB.",
            remedy="Make it smaller; an image opened with PIL is scaled down automatically.",
        )
    data = path.read_bytes()
    if problem := _cut(data):
        raise InferenceError(
            f"The image {path} is not complete.",
            why=problem,
            remedy="Download or save it again.",
        )
    return image_from_bytes(data)


def _cut(data: bytes) -> str:
    """Return how a file is known to be cut off; empty for any other file. Without PIL, only a WebP says its size."""
    kind = _kind(data)
    if kind == "webp" and (size := int.from_bytes(data[4:8], "little") + 8) > len(data):
        return f"It has {len(data):,} of {size:,} bytes."
    # To decode a photo takes long, and a map may have thousands.
    if kind not in _ENDS or data.endswith(_ENDS[kind]):
        return ""
    with suppress(Exception), quiet("PIL"):
        from PIL import Image as Pillow, UnidentifiedImageError

        try:
            with Pillow.open(BytesIO(data)) as picture:
                # Of an animation, the last picture is cut; of a phone's photo, it may be the first of two.
                for number in sorted({0, getattr(picture, "n_frames", 1) - 1}):
                    picture.seek(number)
                    picture.load()
        except (EOFError, IndexError, ValueError):
            return "It ends within a picture."
        except UnidentifiedImageError:
            return "It ends before the picture." if _ENDS[kind] not in data else ""
        except OSError as error:
            # Other files may be right, and in a form that this PIL does not read.
            return f"PIL says: {quoted(str(error))}." if any(one in str(error).lower() for one in _CUT) else ""
    return ""


def image_from_png(value: object) -> Image | None:
    """Return the image by which a notebook shows an object (`_repr_png_` and the like), else None."""
    drawn = shown_in_notebooks(value, IMAGE_TYPES)
    return next((image for one in drawn if (image := image_from_data(one))), None)


def image_from_data(drawn: object) -> Image | None:
    """Return the image of a MIME bundle's value, which is bytes or base64; None if it is no image."""
    with suppress(ValueError):
        data = b64decode(drawn) if isinstance(drawn, str) else drawn
        return image_from_bytes(data) if isinstance(data, bytes) else None
    return None


def image_from_artist(value: Any) -> Image | None:
    """Return the image of the matplotlib figure that a value is a part of, or that it holds; None for any other."""
    # An attribute of that name may be costly, or change something: it is read only where it can be such a figure.
    if loaded(FIGURE) is None:
        return None
    with suppress(Exception):
        return image_from_figure(value) if is_instance(value.figure.figure, FIGURE) else None
    return None


def image_from_figure(value: Any) -> Image:
    """Return the image of a matplotlib figure, or of the whole figure that axes or a line belong to.

    Raises
    ------
    InferenceError
        If they belong to none, or nothing is drawn in it.
    """
    # The axes of a subfigure name that subfigure, which names the whole figure.
    if (figure := getattr(value.figure, "figure", None)) is None:
        raise InferenceError(
            f"A {type(value).__name__} that is in no figure has no picture.", remedy="Draw it in a figure first."
        )
    if not _is_drawn_in(figure):
        raise InferenceError(
            "A figure is empty: nothing is drawn in it.",
            remedy="A notebook closes a figure when it has shown it. Give it a name in the cell that draws it: "
            "fig = plt.gcf().",
        )
    drawn = BytesIO()
    dpi = min(figure.dpi, MAX_FIGURE_PIXELS / max(*figure.get_size_inches(), 0.1))
    with quiet("matplotlib", "PIL"):
        figure.savefig(drawn, format="png", dpi=dpi)
    return _image("png", drawn.getvalue())


def _is_drawn_in(artist: Any) -> bool:
    """Return whether anything can be seen in a figure, in axes or in a text, besides empty axes."""
    if hasattr(artist, "has_data"):
        texts = (*map(artist.get_title, ("left", "center", "right")), artist.get_xlabel(), artist.get_ylabel())
        others = (artist.texts, artist.artists, artist.tables, artist.get_legend())
        return artist.has_data() or any((*texts, *others)) or any(map(_is_drawn_in, artist.child_axes))
    if hasattr(artist, "subfigs"):
        return any(_is_drawn_in(one) for one in artist.get_children() if one is not artist.patch)
    return not hasattr(artist, "get_text") or bool(artist.get_text())


def image_from_panels(value: object) -> Image | None:
    """Return the image of the one matplotlib figure in which all values of a container are drawn; None for others."""
    figures = map(_figure_of, _flat(value))
    figure = next(figures, None)
    # A long list of other values is read no further than its first.
    is_one = figure is not None and all(one is figure for one in figures)
    return image_from_figure(figure) if is_one else None


def _flat(value: Any, levels: int = 3) -> Iterator[Any]:
    """Yield the items of a container, and of those in it: of the lists that `plt.hist()` and `plt.boxplot()` give."""
    # `plt.subplots()` gives the figure, and its axes as an array; `plt.hist()` the numbers, and its bars.
    if type(value).__name__ == "ndarray":
        yield from value.flat if value.dtype == object else ()
    elif levels and isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _flat(one, levels - 1)
    else:
        yield value


def _figure_of(value: Any) -> Any:
    """Return the whole figure that a value is or is drawn in, as axes, lines and bars are; None for any other."""
    return getattr(value.figure, "figure", None) if is_instance(value, ARTIST) else None


def image_from_pillow(picture: Any) -> Image:
    """Return the image of a PIL image, upright.

    Raises
    ------
    InferenceError
        If PIL cannot read it: it is closed, empty, or its file is cut off. If it has several pages and is at the first
        one, because the user may not know of the others.
    """
    try:
        with quiet("PIL"):
            drawn = _drawn(picture)
    except Exception as error:  # noqa: BLE001 - PIL raises many kinds
        raise InferenceError(
            "A PIL image cannot be put into a prompt.",
            why=f"PIL says: {quoted(describe_exception(error))}.",
            remedy="Open it again, and do not close it before the cell has run.",
        ) from None
    if (pages := _pages_of(picture)) > 1 and not picture.tell():
        raise InferenceError(
            f"A PIL image has {pages} pages or frames. Only the first would be sent.",
            remedy="Write {{ image.copy() }} for the first. For all, make a list in a cell, pages = [page.copy() for "
            "page in PIL.ImageSequence.Iterator(image)], and write {{ pages }}.",
        )
    return drawn


def _pages_of(picture: Any) -> int:
    # A file that is closed has no others to read.
    with suppress(Exception):
        return int(picture.n_frames) if picture.format in _OF_PAGES else 1
    return 1


def _drawn(picture: Any) -> Image:
    from PIL import ImageOps

    copy = _plain_mode(ImageOps.exif_transpose(picture) or picture)
    copy.thumbnail((MAX_SIDE_PIXELS, MAX_SIDE_PIXELS))
    drawn = BytesIO()
    copy.save(drawn, format="PNG")
    if drawn.tell() <= MAX_PNG_BYTES or "A" in copy.mode:
        return _image("png", drawn.getvalue())
    drawn = BytesIO()
    copy.convert("RGB").save(drawn, format="JPEG", quality=90)
    return _image("jpeg", drawn.getvalue())


def _plain_mode(picture: Any) -> Any:
    """Return a copy of a PIL image in a mode that PNG and JPEG support."""
    if picture.mode in ("RGB", "RGBA", "L", "LA"):
        return picture.copy()
    if picture.mode == "La":
        return picture.convert("LA")
    if picture.mode in ("F", "I") or picture.mode.startswith("I;"):
        # More than 256 shades of grey: scale the range in use to 0-255.
        wide = picture.convert("F")
        low, high = wide.getextrema()
        if not isfinite(high - low):
            # Where a depth was not measured, for example, there is no number.
            shades = [shade for shade in array("f", wide.tobytes()) if isfinite(shade)]
            low, high = min(shades, default=0.0), max(shades, default=0.0)
        if low == high:
            # Nothing is seen of it but how bright it is.
            low, high = 0.0, _BRIGHTEST if picture.mode.startswith("I;") else max(high, 1.0)
        factor = 255 / (high - low)
        made = wide.point(lambda shade: shade * factor - low * factor).convert("L")
        # One of the shades before they were scaled.
        made.info.pop("transparency", None)
        return made
    has_alpha = "transparency" in picture.info or picture.mode.endswith(("A", "a"))
    return picture.convert("RGBA" if has_alpha else "RGB")


def image_from_ipython(shown: Any) -> Image:
    """Return the image of an `IPython.display.Image`."""
    if image := image_from_png(shown):
        return image
    if isinstance(shown.url, str) and shown.url:
        return Image(shown.url)
    raise InferenceError(
        f"Models cannot read this kind of IPython image: {quoted(str(shown.format))}.",
        remedy="Use a PNG or JPEG image.",
    )
