"""Files, binary data, code and any other objects in prompts.

The text of files is decoded, images are images, and anything else is refused by its kind. Of code it is the source of
functions and classes, modules, tracebacks.
"""

from __future__ import annotations

import ast
import codecs
import inspect
import json
import linecache
import os
import re
import stat
import textwrap
import traceback
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..config import expanded, on_disk, working_folder
from ..errors import InferenceError, did_you_mean, quoted, shortened
from ..text import counted, is_cell, portable_trace, safe_plain, says_nothing, str_of, without_addresses
from . import images
from .charts import text_in_notebooks
from .value_spans import LEFT_OUT, CutText

if TYPE_CHECKING:
    from .images import Image

MAX_FILE_BYTES: Final = 10_000_000
MAX_ENTRIES: Final = 200
# The end of a file's name, by which a text is taken for a path.
_SUFFIX: Final = re.compile(r"\.[A-Za-z]\w{0,4}$")
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# All of them but tab and the ends of lines, as UTF-8.
_ANY_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")
# An encoding that the text itself names, as XML, HTML and Python have it.
_DECLARED: Final = re.compile(rb"""(?:encoding|charset|coding)\s*[=:]\s*["']?([\w.-]{2,30})""")
# The escapes by which a text in 7 bits, as in Japanese mail, changes to another script. It would be valid UTF-8.
_TO_SCRIPT: Final = re.compile(rb"\x1b\$(?:[@AB]|\([CD])")
_PDF: Final = "a PDF document"
_ZIP: Final = "a ZIP archive"
_UNPACK: Final = "Unpack it, and put the path of a file from it into the prompt."
_CONVERT: Final = (
    "Convert it to a PNG, JPEG, GIF or WebP image, or open it with PIL and put that image into the prompt."
)
_LOAD: Final = "Load it, and put the value into the prompt."
_TRANSCRIBE: Final = "Put its transcript into the prompt."
_WORKBOOK: Final = "Read it with pandas.read_excel, and put the frame into the prompt."
_SLIDES: Final = "Save it as text, or extract its text with python-pptx."
# By the end of the name, for files that are ZIP archives inside or that have no signature.
_BY_SUFFIX: Final = {
    ".xlsx": ("an Excel workbook", _WORKBOOK),
    **dict.fromkeys((".xlsm", ".xlsb", ".ods"), ("a workbook", _WORKBOOK)),
    **dict.fromkeys((".docx", ".docm"), ("a Word document", "Save it as text, or extract its text with python-docx.")),
    **dict.fromkeys((".pptx", ".pptm"), ("a PowerPoint presentation", _SLIDES)),
    ".odt": ("an OpenDocument document", "Save it as text, and put that file into the prompt."),
    ".odp": ("an OpenDocument presentation", "Save it as text, and put that file into the prompt."),
    ".epub": ("an e-book", "Convert it to text, and put that file into the prompt."),
    **dict.fromkeys((".pt", ".pth", ".keras"), ("a file of a model", _LOAD)),
    ".npz": ("a NumPy archive", "Load it with numpy.load, and put an array of it into the prompt."),
}
_BY_SIGNATURE: Final = (
    (b"%PDF-", _PDF, "Extract its text first, for example with pypdf, and put that into the prompt."),
    ((b"PK\x03\x04", b"PK\x05\x06"), _ZIP, _UNPACK),
    (b"PAR1", "a Parquet file", "Read it with pandas.read_parquet, and put the frame into the prompt."),
    (b"ARROW1", "an Arrow file", "Read it with pandas.read_feather, and put the frame into the prompt."),
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"), "an archive", _UNPACK),
    (b"SQLite format 3", "a SQLite database", "Query it (pandas.read_sql), and put the result into the prompt."),
    (b"\xd0\xcf\x11\xe0", "an old Office document", "Save it as text or CSV, and put that file into the prompt."),
    (b"\x89HDF", "an HDF5 file", _LOAD),
    (b"\x93NUMPY", "a NumPy array", "Load it with numpy.load, and put the array into the prompt."),
    ((b"\x80\x04", b"\x80\x05"), "a pickle", _LOAD),
    (b"BM", "a BMP image", _CONVERT),
    ((b"II*\x00", b"MM\x00*"), "a TIFF image", _CONVERT),
    (b"\x00\x00\x01\x00", "an icon", _CONVERT),
    (b"8BPS", "a Photoshop image", _CONVERT),
    ((b"ID3", b"OggS", b"fLaC"), "an audio file", _TRANSCRIBE),
    (b"RIFF", "an audio or video file", _TRANSCRIBE),
    (b"\x7fELF", "a program", "Put its source into the prompt."),
)  # fmt: skip
_HEIC: Final = (b"ftyphei", b"ftypmif", b"ftypavif")


def describe_file(value: object, *, is_whole: bool = False) -> Any:
    """Return the text or the image of a path, or of binary data; None for any other value.

    A very long file or folder is cut, unless `is_whole`.

    Raises
    ------
    InferenceError
        If it has neither.
    """
    if isinstance(value, Path | os.DirEntry):
        return _describe_path(home_resolved(Path(value)), is_whole=is_whole)
    # A path that is not on the disk: in an archive, or of a package.
    if all(hasattr(type(value), name) for name in ("is_dir", "is_file", "iterdir", "read_bytes")):
        return _describe_path(value, is_whole=is_whole)
    if not isinstance(value, bytes | bytearray | memoryview | BytesIO):
        return None
    data = value.getvalue() if isinstance(value, BytesIO) else bytes(value)
    name = f"A value of type {type(value).__name__}"
    return images.image_from_bytes(data) or _text(data, name, is_whole=is_whole)


def _describe_path(path: Any, *, is_whole: bool) -> str | Image:
    """Return the text of a file, its image, or the names in a folder.

    Raises
    ------
    InferenceError
        For a path that cannot be read, or whose file is neither text nor an image.
    """
    is_on_disk = isinstance(path, Path)
    try:
        if path.is_dir():
            return _names_in(path, is_whole=is_whole)
        if is_on_disk and path.exists() and not path.is_file():
            # A pipe or a device may have no end, or nothing to read.
            raise _unreadable(str(path), "It is not a file with contents.", "Read it yourself first.")
        if is_on_disk and (image := images.image_at(path)) is not None:
            return image
        with path.open("rb") as file:
            data = file.read(-1 if is_whole or not is_on_disk else MAX_FILE_BYTES + 1)
    except (OSError, LookupError, ValueError) as error:
        is_missing = isinstance(error, FileNotFoundError | KeyError)
        why = getattr(error, "strerror", None) or ("There is no such file." if is_missing else str(error))
        raise _unreadable(str(path), why, "Check its name and folder.") from None
    return images.image_from_bytes(data) or _text(data, str(path), Path(path.name).suffix, is_whole=is_whole)


def no_image_file(text: str) -> InferenceError | None:
    """Return why a text that is the path of a file is no image, or None if it is no path.

    Raises
    ------
    InferenceError
        When the system takes no such name, or the working folder has been deleted.
    """
    begins, ends = ("./", "../", "/", "~", ".\\", "..\\"), ("/", "\\")
    is_path = "\n" not in text and bool(_SUFFIX.search(text) or text.startswith(begins) or text.endswith(ends))
    try:
        path = home_resolved(text)
        kind = _kind_at(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        kind = ""
    except OSError as error:
        why = error.strerror or str(error)
        return _no_file(f"{shortened(text)} cannot be read: {why}", "Check its name and folder.") if is_path else None
    if kind:
        return _no_file(
            f"{path} is not an image that models read, but {kind}",
            "Give a PNG, JPEG, GIF or WebP file, or an image opened with PIL.",
        )
    if not is_path:
        return None
    # Some names cannot be those of a file on this system.
    expanded(text)
    where = "" if path.is_absolute() else f" (in {working_folder()})"
    return _no_file(
        f"There is no file {path}{where}",
        _near(path) or "Check its name and folder, or give a figure or a PIL image of the notebook.",
    )


def _no_file(what: str, remedy: str) -> InferenceError:
    return InferenceError(f"{what}. Nothing was sent.", remedy=remedy)


def home_resolved(path: str | Path) -> Path:
    """Return a path, which may be a `file://` address, with `~` replaced by the home folder: see `on_disk`.

    The name of a user who is not there is taken literally.
    """
    if isinstance(path, str) and path.startswith("file://"):
        path = url2pathname(urlsplit(path).path)
    return on_disk(Path(os.path.expanduser(path)))  # noqa: PTH111 - `Path.expanduser` raises for such a user


def _near(path: Path) -> str:
    with suppress(OSError):
        return did_you_mean(path.name, [one.name for one in path.parent.iterdir()])
    return ""


def _kind_at(path: Path) -> str:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        return "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        return "an empty file"
    kind, _ = _kind(start, path.suffix)
    return kind or ("a file of another kind" if _decoded(start, is_whole=False) is None else "text")


def _kind(start: bytes, suffix: str) -> tuple[str, str]:
    """Return what kind of file this is, and what to do with it; empty if it is of no known binary kind."""
    if start[4:12].startswith(_HEIC):
        return "a HEIC or AVIF image", _CONVERT
    if start[4:8] == b"ftyp":
        return "an audio or video file", _TRANSCRIBE
    for signature, kind, remedy in _BY_SIGNATURE:
        # Letters can also begin a text.
        if start.startswith(signature) and (kind == _PDF or _CONTROLS.search(start)):
            return _BY_SUFFIX.get(suffix.lower(), (kind, remedy)) if kind == _ZIP else (kind, remedy)
    return "", ""


def _text(data: bytes, name: str, suffix: str = "", *, is_whole: bool) -> str:
    """Return the text that the bytes stand for, of all of them or of `MAX_FILE_BYTES`."""
    kind, remedy = _kind(data[:4096], suffix)
    if kind:
        raise _unreadable(name, f"It is {kind}, not text.", remedy)
    is_whole = is_whole or len(data) <= MAX_FILE_BYTES
    data = data if is_whole else data[:MAX_FILE_BYTES]
    text = _decoded(data, is_whole=is_whole)
    if text is None and _CONTROLS.search(data[:4096]):
        raise _unreadable(name, "It holds no text.", "Read it yourself and put what matters into the prompt.")
    if text is None:
        remedy = 'Decode it yourself: path.read_text(encoding="cp1252"), for example, or data.decode("...").'
        raise _unreadable(name, "It is text in an unknown encoding.", remedy)
    # As when the file is read as text: the same prompt on every system, also where Git changes line ends.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if is_whole else CutText(f"{text}\n{LEFT_OUT.format('the rest of the file')}")


def _decoded(data: bytes, *, is_whole: bool) -> str | None:
    """Return the text in a file's data; None if it is no text, or its encoding cannot be told.

    The encoding is what a byte order mark or the nulls of its first letters say, or UTF-8, or what the text itself
    declares. Others are not guessed: a wrong guess would be sent as other words.
    """
    if _TO_SCRIPT.search(data[:100_000]):
        return None
    declared = _DECLARED.search(data[:1024])
    for encoding in (json.detect_encoding(data), declared[1].decode() if declared else ""):
        # What the text names may be a codec of bytes, such as base64, which fails here, or may raise any UnicodeError.
        with suppress(UnicodeError, LookupError):
            "".encode(encoding)
            # The cut may be inside a character.
            text = codecs.getincrementaldecoder(encoding)().decode(data, final=is_whole)
            # Bytes that are no text can be valid in any encoding.
            is_binary = "\0" in text or (b"\0" in data and _CONTROLS.search(text[:4096].encode()))
            return None if is_binary else text
    return None


def text_or_size(data: bytes | bytearray | memoryview) -> str:
    """Return what stands for binary data in a container or a frame: its text, or its size if it may be none."""
    whole = bytes(data)
    # Those of a class of the user's may be hidden by its text.
    is_plain = type(data).__module__ in ("builtins", "numpy")
    if is_plain and len(whole) <= MAX_FILE_BYTES and not _ANY_CONTROLS.search(whole):
        with suppress(InferenceError):
            return _text(whole, "", is_whole=True)
    return f"[{memoryview(data).nbytes:,} bytes]"


def _names_in(folder: Any, *, is_whole: bool) -> str:
    names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in folder.iterdir())
    if is_whole or len(names) <= MAX_ENTRIES:
        return "\n".join(names)
    left_out = LEFT_OUT.format(counted(len(names) - MAX_ENTRIES, "item"))
    return CutText("\n".join([*names[:MAX_ENTRIES], left_out]))


def _unreadable(name: str, why: str, remedy: str) -> InferenceError:
    return InferenceError(f"{name} cannot be put into a prompt.", why=quoted(why), remedy=remedy)


# Code -------------------------------------------------------------------------------------------------------


def describe_exception(value: BaseException) -> str:
    """Return the traceback of an exception."""
    return safe_plain(portable_trace("".join(traceback.format_exception(value)))).strip()


def describe_object(value: object) -> str:
    """Return a value's own text. If that only names a type, return the text that notebooks show.

    Raises
    ------
    InferenceError
        If it has no such text either.
    """
    if callable(value) and inspect.isroutine(wrapped := getattr(value, "__wrapped__", None)):
        return describe_source(wrapped)
    if not says_nothing(text := safe_plain(str_of(value))):
        return without_addresses(text)
    if shown := text_in_notebooks(value):
        return shown
    raise no_readable_form(value, text)


def no_readable_form(value: object, text: str) -> InferenceError:
    """Return the error for a value whose own text has none of its data."""
    kind = type(value).__name__
    return InferenceError(
        f"A value of type {kind} has no readable form: its text would be {quoted(text)}.",
        remedy="Put the part that you need into the prompt, such as an attribute, or list(...) of a generator. Or "
        f"define the text of a {kind} with @as_prompt.register.",
    )


def describe_source(value: Any) -> str:
    """Return the source of a function or a class, or its signature and documentation."""
    with suppress(OSError, TypeError):
        return textwrap.dedent(inspect.getsource(value)).rstrip()
    if isinstance(value, type) and (source := _source_in_cells(value)):
        return source
    signature = "(...)"
    with suppress(ValueError, TypeError):
        signature = str(inspect.signature(value))
    # The documentation that a class inherits says nothing of it.
    is_documented = not isinstance(value, type) or vars(value).get("__doc__")
    documentation = inspect.getdoc(value) if is_documented else ""
    return f"{getattr(value, '__qualname__', value.__name__)}{signature}\n\n{documentation or ''}".rstrip()


def _source_in_cells(kind: type) -> str:
    """Return the source of a class of the notebook, for which `inspect` has no file; empty if it is not there."""
    if kind.__module__ != "__main__":
        return ""
    # The latest cell comes last.
    for name, entry in reversed(list(linecache.cache.items())):
        text = "".join(entry[2]) if len(entry) > 2 else ""
        if not is_cell(name) or f"class {kind.__name__}" not in text:
            continue
        with suppress(SyntaxError, ValueError):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
                    lines = [node.lineno, *(one.lineno for one in node.decorator_list)]
                    return textwrap.dedent("\n".join(text.splitlines()[min(lines) - 1 : node.end_lineno])).rstrip()
    return ""


def describe_module(value: ModuleType) -> str:
    """Return a module's name and documentation."""
    return f"module {value.__name__}\n\n{inspect.getdoc(value) or ''}".rstrip()
