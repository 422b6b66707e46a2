"""Convert a notebook value for a prompt, by its type. `as_prompt` is the one function to extend.

What stands for a value in `{{ value }}`?                         `to_prompt`
... in `{{ value | whole }}`, which is never cut?                 `whole_prompt`
... in `{{ value | tojson }}`?                                    `json_of`
... within a text (`~`, `join`, `%`) or a cell, if not its `str`? `in_place_of_str`
Has the user, or the value's class, defined its text?             `custom_prompt`
Which function converts the values of a type?                     `converter_of`
Which image is it? Raise if it is none? Is it one?                `image_of`, `require_image`, `is_image`

Types of other packages are looked up among the modules that are loaded, so that no package is imported without need.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from functools import lru_cache, singledispatch, wraps
from io import BytesIO, StringIO
from numbers import Number
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final, TypeVar, cast

from ..errors import InferenceError, describe_exception as describe_failure, quoted, users_failures
from ..imports import is_instance, loaded
from ..messages import is_container, is_opaque_tuple, shows_private_fields
from ..text import is_missing, python_of, str_of, unwrapped
from . import charts, describe_frames as frames, images
from .files import (
    describe_exception,
    describe_file,
    describe_module,
    describe_object,
    describe_source,
    home_resolved,
    no_image_file,
    no_readable_form,
)
from .images import IN_TEXT, Image, TextOfImages
from .json_values import ARRAYS, MAX_ITEMS, Forms, JsonValues, Made, is_list, record_of
from .value_spans import CutText, Whole

Converter = Callable[..., str | Image]
C = TypeVar("C", bound=Converter)
ONE_LINE: Final = 100
# The types of `_ai_repr_` that are used, best first. A text is for every model; a picture is only for some.
_TEXT_TYPES: Final = ("text/markdown", "text/plain", "text/html", "application/json")


def _converted(by_type: C) -> C:
    """Let a function for each type return a text or an image also where the one of the user returns another value."""

    @wraps(by_type)
    def as_prompt(value: object) -> str | Image:
        with _explained(value):
            return to_prompt(value)

    return cast("C", as_prompt)


@contextmanager
def _explained(value: object) -> Iterator[None]:
    """Convert what a value's own code raises inside the `with` block."""
    try:
        yield
    except InferenceError:
        raise
    except users_failures() as error:
        raise InferenceError(
            f"A value of type {type(value).__name__} cannot be put into a prompt.",
            why=f"Its own code, or that of its library, raised {quoted(describe_failure(error))}.",
            remedy="Correct it, or put the part that you need into the prompt.",
        ) from None


@_converted
@singledispatch
def as_prompt(value: object) -> str | Image:
    """Return what stands for a value in a prompt: a text or an image.

    Register a custom type with `@as_prompt.register`. A type that is not registered can have a method `_ai_repr_`, as
    Jupyter's enhancement proposal 129 describes it; only one that is not a coroutine is used.

    Raises
    ------
    InferenceError
        For a path that cannot be read or is not a text file, for a value that has no readable form, and if the value's
        own code raises an error.
    """
    if is_missing(value):
        return ""
    if (shown := _from_ai_repr(value)) is not None:
        return shown
    if convert := _own_rule(type(value)):
        return convert(value)
    if _has_parts(value):
        return _json(value)
    content: str | Image | None = describe_file(value)
    if content is not None:
        return content
    return images.image_from_png(value) or images.image_from_artist(value) or describe_object(value)


def image_of(value: object) -> Image | None:
    """Return the image of a value, or of a str (a file's path, an http(s) or data URL). Return None otherwise."""
    if isinstance(value, str):
        if value.startswith(("https://", "http://", "data:image/")):
            return Image(value)
        return images.image_at(home_resolved(value))
    shown = to_prompt(value)
    return shown if isinstance(shown, Image) else None


# Python's own types ------------------------------------------------------------------------------------------

_ANY: Final = as_prompt.dispatch(object)
# Our function for a type, also if the user has registered another one.
_by_our_rules: Final = singledispatch(_ANY)


def _register(*kinds: type) -> Callable[[C], C]:
    """Register the converter of types of Python's own. A class made of one of them may have an `_ai_repr_`."""

    def register(convert: C) -> C:
        def run(value: Any) -> str | Image:
            shown = None if type(value) in kinds else _from_ai_repr(value)
            return convert(value) if shown is None else shown

        for kind in kinds:
            as_prompt.register(kind, run)
            _by_our_rules.register(kind, run)
        return convert

    return register


# A subclass of str may override `__str__`. Use its text.
_register(str)(str.__str__)
_register(Path, bytes, bytearray, memoryview, BytesIO)(describe_file)
_register(StringIO)(StringIO.getvalue)
_register(BaseException)(describe_exception)
_register(FunctionType, MethodType, BuiltinFunctionType, type(lru_cache(len)), type)(describe_source)
_register(ModuleType)(describe_module)
_register(Image)(lambda value: value)


@as_prompt.register
def _(value: Whole) -> str | Image:
    return whole_prompt(value.value)


@_register(dict, list, tuple, set, frozenset, deque)
def _json(value: object, *, is_limited: bool = True) -> str | Image:
    if is_opaque_tuple(value):
        return describe_object(value)
    image = images.image_from_panels(value) or images.image_from_record(value)
    if image is not None:
        return image
    reader = JsonValues(_FORMS, is_limited=is_limited)
    plain = reader.of_itself(value)
    line = json.dumps(plain, ensure_ascii=False)
    text = line if len(line) <= ONE_LINE else json.dumps(plain, ensure_ascii=False, indent=2)
    if reader.images:
        return TextOfImages.of(text, plain, reader.images)
    return CutText(text) if reader.has_left_out else text


# The functions for types that differ within a text or a container. Any other function is used there as well.
_OURS: Final = frozenset(_by_our_rules.registry.values())


def whole_prompt(value: object) -> str | Image:
    """Return what stands for a value in a prompt, without a limit on its size or the items of a container."""
    return _form_of(unwrapped(value), _own_whole)


def _own_whole(value: Any) -> str | Image:
    shown = _own_form(value)
    if not isinstance(shown, CutText):
        return shown
    if is_instance(value, charts.GEOMETRY):
        return str(value.wkt)
    whole = describe_file(value, is_whole=True)
    return _json(value, is_limited=False) if whole is None else whole


def json_of(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON of any length, for the filter `tojson`. A row of pandas is as its dict."""
    plain, value = JsonValues(_FORMS, is_limited=False, is_data=True), unwrapped(value)
    shown = _custom_part(value, is_data=True)
    if shown is None or isinstance(shown, Made):
        # Pictures of PIL offer their pixels as Arrow data.
        if is_image(made := shown.value if shown else value):
            raise images.image_inside(value)
        whole = plain.of_itself(frames.records_of(made))
    else:
        whole = plain.text_of(shown)
    text = json.dumps(whole, ensure_ascii=False, indent=indent)
    if plain.images:
        raise images.image_inside(value)
    return text


def _has_parts(value: Any) -> bool:
    """Return whether a value is JSON by its fields or its items."""
    return record_of(value) is not None or hasattr(type(value), "model_dump") or is_container(value)


def _from_ai_repr(value: object, *, is_data: bool = False) -> str | Image | None:
    """Return what a value's `_ai_repr_` gives; None if it has none, or nothing that is used here."""
    if not hasattr(type(value), "_ai_repr_") and is_dataclass(value) and not is_data:
        # A table of Great Tables has fields that say nothing.
        return charts.text_in_notebooks(value) or None
    try:
        bundle = charts.call_shown_by(value, "_ai_repr_")
    except InferenceError:
        raise
    except users_failures() as error:
        # It may be there to keep something out of prompts.
        kind = type(value).__name__
        why = f"It raised {quoted(describe_failure(error))}."
        raise InferenceError(f"The method _ai_repr_ of a {kind} failed.", why=why, remedy="Correct it.") from None
    if isinstance(bundle, str):
        return str.__str__(bundle)
    if not isinstance(bundle, dict):
        return None
    for one in _TEXT_TYPES:
        if (text := bundle.get(one)) is not None:
            return str.__str__(text) if isinstance(text, str) else _json(text)
    return next((image for one in images.IMAGE_TYPES if (image := images.image_from_data(bundle.get(one)))), None)


# Other packages' types ---------------------------------------------------------------------------------------


def _array(value: Any) -> str | Image:
    """Return an array as text. One of images, such as the axes of a figure, is as the list of them."""
    if is_list(value):
        return _json(value)
    if value.dtype == object and value.ndim and value.size <= MAX_ITEMS and any(map(is_image, value.flat)):
        return _json(list(value.flat))
    return frames.describe_array(value)


def _series(value: Any) -> str | Image:
    """Return a series of pandas as text. One of images is as the list of them, as an array is."""
    if value.dtype == object and len(value) <= MAX_ITEMS and any(map(is_image, value)):
        return _json(value.tolist())
    return frames.describe_pandas(value)


def _any_frame(value: Any) -> str | Image:
    """Return a frame of any library as text. A stream that can be read only once is not read.

    Data that cannot be read are refused only if the value has no text of its own.
    """
    if is_container(value):
        return _json(value)
    try:
        known = frames.as_known_frame(value)
    except InferenceError:
        with suppress(InferenceError):
            return images.image_from_png(value) or describe_object(value)
        raise
    with suppress(TypeError):
        return frames.describe_frame(known)
    if hasattr(type(value), "read_all"):
        raise no_readable_form(value, str_of(value))
    return images.image_from_png(value) or describe_object(value)


def _without_data(value: Any) -> Image:
    """Return the picture of an object whose own text has none of its data, or refuse it."""
    return images.image_from_png(value) or charts.refuse_without_data(value)


def _shown(value: Any) -> str | Image:
    """Return what an object of `IPython.display` shows: its text, or its data as JSON."""
    return describe_object(value) if value.data is None else as_prompt(value.data)


_IMAGE_CONVERTERS: Final = (images.image_from_figure, images.image_from_pillow, images.image_from_ipython)
_CONVERTERS: Final[dict[str, Converter]] = {
    "pandas.DataFrame": frames.describe_pandas,
    "pandas.Series": _series,
    frames.STYLER: frames.describe_styled,
    **dict.fromkeys(("polars.DataFrame", "polars.LazyFrame", "polars.Series", "pyarrow.Table"), frames.describe_frame),
    **dict.fromkeys(("narwhals.DataFrame", "narwhals.LazyFrame", "narwhals.Series"), frames.describe_frame),
    **dict.fromkeys(frames.DASK, frames.describe_dask),
    "pyarrow.Scalar": lambda value: as_prompt(python_of(value)),
    "numpy.ndarray": _array,
    **dict.fromkeys(ARRAYS, _json),
    "numpy.ufunc": describe_source,
    **dict.fromkeys(charts.NO_DATA, _without_data),
    **dict.fromkeys(charts.XARRAY, lambda value: (_without_data if charts.is_lazy(value) else describe_object)(value)),
    "IPython.utils.capture.CapturedIO": lambda value: _without_data(value) if value.outputs else value.stdout,
    images.ARTIST: images.image_from_figure,
    "altair.TopLevelMixin": charts.describe_altair,
    "plotly.basedatatypes.BaseFigure": charts.describe_plotly,
    charts.GEOMETRY: charts.describe_geometry,
    "PIL.Image.Image": images.image_from_pillow,
    "ipywidgets.Image": lambda value: describe_file(bytes(value.value)),
    "IPython.core.display.Image": images.image_from_ipython,
    **dict.fromkeys((f"IPython.core.display.{name}" for name in ("TextDisplayObject", "SVG", "JSON")), _shown),
}


def to_prompt(value: object) -> str | Image:
    """Return what `as_prompt` returns, converted as well if a registered function returns another value."""
    return _form_of(unwrapped(value), _own_form)


def _form_of(value: Any, own: Callable[[Any], str | Image]) -> str | Image:
    """Return the text or the image that the user's function makes of a value; for any other value, what `own` says."""
    made = _made(value)
    return made if made is not value and isinstance(made, str | Image) else own(made)


def _own_form(value: Any) -> str | Image:
    """Return what stands for a value by our rules, whatever the user has registered for its type."""
    if type(value) in (int, float, bool) and not is_missing(value):
        return str_of(value)
    return _by_our_rules.dispatch(type(value))(value)


def _made(value: Any) -> Any:
    """Return what the functions that the user has registered make of a value: another one, which may be of its kind.

    Each is used once. If it returns less of the same kind, our rules apply to that.
    """
    used: list[Converter] = []
    while (convert := as_prompt.dispatch(type(value))) not in _OURS and convert not in used:
        used.append(convert)
        value = unwrapped(convert(value))
        if isinstance(value, str | Image):
            return value
    if used:
        _check_made(value, used[-1])
    return value


def _check_made(value: Any, convert: Converter) -> None:
    """Raise InferenceError if a function that the user has registered returned a value that has no readable form."""
    why = ""
    try:
        if _own_rule(type(value)) or _has_parts(value) or (value is not None and _own_form(value) is not None):
            return
    except InferenceError as error:
        why = error.what
    returned = "None" if value is None else f"a value of type {type(value).__name__}"
    raise InferenceError(
        f"The function {getattr(convert, '__name__', convert)}, registered with as_prompt, returned {returned}.",
        why=why,
        remedy="Let it return a text, or a value such as a figure or a frame.",
    )


def _own_rule(kind: Any) -> Converter | None:
    """Return our function for a type of Python's own, or of another package, whatever the user has registered."""
    return _of_other_package(kind) if (ours := _by_our_rules.dispatch(kind)) is _ANY else ours


def custom_prompt(value: object) -> str | Image | None:
    """Return what the user registered for the type of a value, or its class has for prompts; None for any other."""
    return _from_ai_repr(value) if as_prompt.dispatch(type(value)) in _OURS else to_prompt(value)


def _custom_part(value: object, *, is_data: bool = False) -> str | Image | Made | None:
    """Return what `custom_prompt` returns. Of a value that is no text, return what the user's function made of it."""
    if as_prompt.dispatch(type(value)) in _OURS:
        return _from_ai_repr(value, is_data=is_data)
    made = _made(value)
    if made is not value and isinstance(made, str | Image):
        return made
    shown = _from_ai_repr(made, is_data=is_data)
    return Made(made) if shown is None else shown


def in_place_of_str(value: object) -> str | Image | None:
    """Return what takes the place of `str(value)`: a custom text, or JSON if it shows private fields. None: nothing."""
    if (shown := custom_prompt(value)) is not None:
        return shown
    return json_of(value) if shows_private_fields(value) else None


def _in_cell(value: Any) -> Any:
    """Return what takes the place of a value within a container of a cell: a text, a number, another container."""
    shown = _custom_part(value)
    if isinstance(shown, Made):
        is_json = isinstance(shown.value, Number) or frames.has_items(shown.value)
        shown = shown.value if is_json else _own_form(shown.value)
    elif shown is None:
        shown = json_of(value) if shows_private_fields(value) else value
    return IN_TEXT if isinstance(shown, Image) else shown


frames.own_text = lambda value: IN_TEXT if isinstance(shown := in_place_of_str(value), Image) else shown
frames.in_cell = _in_cell


def converter_of(kind: type) -> Converter | None:
    """Return the function for a type, registered with `as_prompt` or in `_CONVERTERS`; None for any other."""
    return _of_other_package(kind) if (registered := as_prompt.dispatch(kind)) is _ANY else registered


@lru_cache(maxsize=1000)
def _of_other_package(kind: Any) -> Converter | None:
    """Return the function in `_CONVERTERS` for a type; None for any other."""
    for name, convert in _CONVERTERS.items():
        known = loaded(name)
        if isinstance(known, type) and issubclass(kind, known):
            return convert
    is_frame = any(hasattr(kind, name) for name in ("__arrow_c_stream__", "__arrow_c_array__", "__dataframe__"))
    return _any_frame if is_frame else None


# Asked of each value in a container.
_FORMS: Final = Forms(lambda kind: as_prompt.dispatch(kind) in _OURS, _custom_part, _own_rule, _own_whole)


def is_image(value: object) -> bool:
    """Return whether a value is an image, such as a figure, of which nothing is computed."""
    return isinstance(value, Image) or converter_of(type(value)) in _IMAGE_CONVERTERS


def require_image(value: Any) -> Image:
    """Return a value of the user as an image. Raise InferenceError if it is none."""
    with _explained(value):
        image = image_of(value)
    if image:
        return image
    if isinstance(value, str) and (problem := no_image_file(value)) is not None:
        raise problem
    raise InferenceError(
        f"A value of type {type(value).__name__} is not an image.",
        remedy="Give a figure, a PIL image, the path of an image file, or an address.",
    )
