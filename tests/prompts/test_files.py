"""Files and binary data in prompts."""

from __future__ import annotations

import base64
import csv
import io
import json
import logging
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import PIL.Image
import PIL.PngImagePlugin
import pytest
from matplotlib.figure import Figure
from prompt_values import picture_of, png, text_of

from wandb_inference_magic.config import expanded
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.prompts import Image, as_prompt, read_image, render, to_prompt
from wandb_inference_magic.prompts.values import image_of, json_of

pytestmark = pytest.mark.short

BINARY = [
    ("report.pdf", b"%PDF-1.4\n%\xe2\xe3", "a PDF document", "pypdf"),
    ("table.xlsx", b"PK\x03\x04abc", "an Excel workbook", "read_excel"),
    ("letter.docx", b"PK\x03\x04abc", "a Word document", "docx"),
    ("macros.xlsm", b"PK\x03\x04abc", "a workbook", "read_excel"),
    ("letter.odt", b"PK\x03\x04abc", "an OpenDocument document", "text"),
    ("novel.epub", b"PK\x03\x04abc", "an e-book", "text"),
    ("all.zip", b"PK\x03\x04abc", "a ZIP archive", "Unpack"),
    ("table.parquet", b"PAR1\x15\x04", "a Parquet file", "read_parquet"),
    ("table.csv.gz", b"\x1f\x8b\x08\x00", "an archive", "Unpack"),
    ("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Office document", "CSV"),
    ("data.sqlite", b"SQLite format 3\x00", "a SQLite database", "read_sql"),
    ("model.pkl", b"\x80\x04\x95\x01", "a pickle", "Load"),
    ("array.npy", b"\x93NUMPY\x01\x00", "a NumPy array", "numpy.load"),
    ("scan.bmp", b"BM" + bytes(60), "a BMP image", "PIL"),
    ("photo.heic", b"\x00\x00\x00\x18ftypheic", "a HEIC or AVIF image", "PIL"),
    ("talk.mp4", b"\x00\x00\x00\x18ftypisom", "an audio or video file", "transcript"),
    ("other.bin", bytes(range(256)), "no text", "Read it yourself"),
    ("small.bin", b"\x00\x01", "no text", "Read it yourself"),
]


def test_a_path_becomes_the_contents_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\ufeffcafé", encoding="utf-8")
    (tmp_path / "picture.dat").write_bytes(png())
    (tmp_path / "binary.bin").write_bytes(b"\x00\x01\x02")
    assert text_of(tmp_path / "words.txt") == "café"
    assert picture_of(tmp_path / "picture.dat").size == (4, 3)
    assert text_of(tmp_path) == "binary.bin\npicture.dat\nwords.txt"
    for name, why in (("binary.bin", "It holds no text."), ("missing.txt", "No such file")):
        with pytest.raises(InferenceError) as refused:
            as_prompt(tmp_path / name)
        assert why in refused.value.why
        assert refused.value.cause == "option"


@dataclass
class FileAndSize:
    file: Path
    size: int


def test_a_path_in_a_container_becomes_its_name(tmp_path: Path) -> None:
    secret, missing = tmp_path / "secret.txt", Path("missing.txt")
    secret.write_text("the secret")
    assert json.loads(text_of({"out": secret, "more": [missing]})) == {"out": str(secret), "more": ["missing.txt"]}
    assert text_of(FileAndSize(missing, 3)) == '{"file": "missing.txt", "size": 3}'


def test_an_image_is_found_by_path_or_url(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(png())
    found = image_of(str(tmp_path / "picture.png"))
    assert found == as_prompt(tmp_path / "picture.png")
    assert image_of("https://ok.example/a.png") == Image("https://ok.example/a.png")
    assert image_of("just words") is None
    assert image_of(3) is None
    assert image_of("~nobody_at_all/x.png") is None
    assert image_of("x" * 100_000) is None


@pytest.mark.parametrize(("name", "data", "kind", "remedy"), BINARY)
def test_a_binary_file_is_refused_by_its_kind(tmp_path: Path, name: str, data: bytes, kind: str, remedy: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InferenceError) as refused:
        render("{{ path }}", {"path": tmp_path / name})
    assert name in refused.value.what
    assert kind in refused.value.what
    assert remedy in refused.value.remedy
    assert "Nothing was sent" in refused.value.what


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="This system has no named pipes.")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InferenceError, match="It is not a file with contents"):
        as_prompt(pipe)
    with pytest.raises(InferenceError, match="a pipe or a device"):
        read_image(str(pipe), {})


def test_a_path_in_an_archive_or_of_a_scan_is_read_as_one_on_the_disk(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name, text in (("a.txt", "hello"), ("empty.txt", ""), ("d/b.txt", "x"), ("c.pdf", "%PDF-1")):
            archive.writestr(name, text)
    folder = zipfile.Path(str(tmp_path / "z.zip"))
    assert as_prompt(folder) == "a.txt\nc.pdf\nd/\nempty.txt"
    assert [as_prompt(folder / name) for name in ("a.txt", "empty.txt")] == ["hello", ""]
    assert as_prompt([folder / "a.txt"]) == f'["{folder / "a.txt"}"]'
    for name, why in (("c.pdf", "It is a PDF document"), ("none.txt", "There is no such file")):
        with pytest.raises(InferenceError, match=why):
            as_prompt(folder / name)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "g.txt").write_text("of a scan")
    with os.scandir(tmp_path / "f") as found:
        assert [as_prompt(one) for one in found] == ["of a scan"]


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(InferenceError, match="cannot be put into a prompt"):
        as_prompt(Path("a\0b"))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_binary_values_are_never_sent_as_bytes(kind: type) -> None:
    assert as_prompt(kind("café".encode())) == "café"
    assert isinstance(as_prompt(kind(photo("png", orientation=1))), Image)
    for data in (b"%PDF-1.4", bytes(range(256))):
        with pytest.raises(InferenceError, match=f"type {kind.__name__}"):
            as_prompt(kind(data))
    assert as_prompt([kind(b"12345")]) == '["12345"]'


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("naïve café", "utf-8"),
        ("naïve café", "utf-8-sig"),
        ("naïve café", "utf-16"),
        ("naïve café", "utf-16-le"),
        ("naïve café", "utf-16-be"),
        ("naïve café", "utf-32"),
        ("Привет, мир", "utf-8"),
        ('<?xml version="1.0" encoding="koi8-r"?><a>Привет</a>', "koi8-r"),
        ('<meta charset="shift_jis">こんにちは', "shift_jis"),
        ("\x1b(B\x1b[mplain", "utf-8"),
        ("", "utf-8"),
    ],
)
def test_a_text_file_is_read_in_its_encoding(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert as_prompt(tmp_path / "a.txt") == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_line_ends_of_a_file_are_those_of_a_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("a\r\n\r\nb\rc\n".encode(encoding))
    assert as_prompt(tmp_path / "a.csv") == (tmp_path / "a.csv").read_text(encoding) == "a\n\nb\nc\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *[(before + "Привет, мир", "cp1251") for before in ("", "name,city\n" * 20)],
        *[(before + "こんにちは世界、テスト", "shift_jis") for before in ("", "name,city\n" * 20)],
        *[(before + "你好世界", "gbk") for before in ("", "name,city\n" * 20)],
        ("name,city\n" * 20 + "안녕하세요", "euc-kr"),
        ("name,city\n" * 20 + "un café crème à la française", "mac_roman"),
        ("from: こんにちは世界。", "iso-2022-jp"),
        ("naïve café", "cp1252"),
        ("x" * 5000 + "\0", "utf-8"),
    ],
)
def test_a_text_whose_encoding_cannot_be_told_is_refused(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    with pytest.raises(InferenceError, match="text in an unknown encoding"):
        as_prompt(tmp_path / "a.txt")


def photo(format: str, orientation: int) -> bytes:
    picture = PIL.Image.new("RGB", (40, 20), "red")
    exif = picture.getexif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    picture.save(data, format, exif=exif)
    return data.getvalue()


def size_of(shown: object) -> tuple[int, int]:
    assert isinstance(shown, Image)
    return PIL.Image.open(io.BytesIO(base64.b64decode(shown.url.partition(",")[2]))).size


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 20)), (3, (40, 20)), (6, (20, 40)), (8, (20, 40))])
def test_a_photo_is_sent_upright(tmp_path: Path, format: str, orientation: int, size: tuple[int, int]) -> None:
    data = photo(format, orientation)
    path = tmp_path / f"photo.{format}"
    path.write_bytes(data)
    picture = PIL.Image.open(path)
    for value in (path, data, picture):
        assert size_of(as_prompt(value)) == size
    assert size_of(read_image(str(path), {})) == size
    assert picture.size == (40, 20), "the user's own picture is not changed"


def test_a_photo_that_needs_no_turning_is_sent_as_the_file_is(tmp_path: Path) -> None:
    data = photo("jpeg", orientation=1)
    assert as_prompt(data) == Image(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}")


@pytest.mark.parametrize("form", ["xmp", "raw profile"])
def test_a_photo_that_other_metadata_turns_is_upright(tmp_path: Path, form: str) -> None:
    path = tmp_path / "turned.png"
    about = PIL.PngImagePlugin.PngInfo()
    if form == "xmp":
        about.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>')
    else:
        exif = PIL.Image.Exif()
        exif[0x0112] = 6
        data = exif.tobytes()
        about.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n", zip=True)
    PIL.Image.new("RGB", (4, 2)).save(path, pnginfo=about)
    assert picture_of(path).size == (2, 4)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("./scan.bmp", "scan.bmp is not an image that models read, but a BMP image"),
        ("scan.bmp", "but a BMP image"),
        ("report.pdf", "but a PDF document"),
        ("words.png", "but text"),
        ("empty.png", "but an empty file"),
        ("folder", "but a folder"),
        ("nope.png", "There is no file nope.png"),
        ("folder/nope.png", "There is no file folder/nope.png"),
        ("~/nope.jpeg", "There is no file"),
        ("number.png", "There is no file number.png"),
        ("named", "There is no file nope.png"),
        ("number", "of type int"),
        ("number +", "unexpected"),
        (f"{'x' * 300}.png", "File name too long"),
        ("gone/", "There is no file gone"),
        ("/gone.png", "There is no file /gone.png. Nothing was sent"),
    ],
)
def test_an_image_option_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in (
        ("scan.bmp", b"BM" + bytes(60)),
        ("report.pdf", b"%PDF-1.4"),
        ("words.png", b"hello"),
        ("empty.png", b""),
    ):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InferenceError) as refused:
        read_image(option, {"number": 1, "named": "nope.png"})
    assert message in refused.value.what
    assert "Nothing was sent" in refused.value.what


def test_a_misspelled_image_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(photo("png", orientation=1))
    with pytest.raises(InferenceError) as refused:
        read_image(str(tmp_path / "figrue.png"), {})
    assert refused.value.remedy == "Did you mean figure.png?"


def test_a_file_is_found_in_another_form_of_unicode(tmp_path: Path) -> None:
    folder = tmp_path / "e\u0301te\u0301"
    folder.mkdir()
    (folder / "cafe\u0301.png").write_bytes(data := photo("png", orientation=1))
    typed = tmp_path / "\u00e9t\u00e9" / "caf\u00e9.png"
    assert read_image(str(typed), {}) == read_image(str(folder / "cafe\u0301.png"), {})
    (folder / "caf\u00e9.txt").write_text("tea")
    assert to_prompt(typed.with_name("cafe\u0301.txt")) == "tea"
    assert expanded(str(typed)).read_bytes() == data
    assert expanded(str(tmp_path / "caf\u00e9.md")) == tmp_path / "caf\u00e9.md"


def test_the_file_address_of_an_image_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a figure.png").write_bytes(photo("png", orientation=1))
    path = str(tmp_path / "a figure.png")
    assert read_image((tmp_path / "a figure.png").as_uri(), {}) == read_image(path, {})
    with pytest.raises(InferenceError, match=r"There is no file /nope\.png"):
        read_image("file:///nope.png", {})


def test_pictures_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    data = photo("png", orientation=6)
    picture = PIL.Image.open(io.BytesIO(data))
    figure = Figure()
    figure.add_subplot().set_title("A title in a font that must be found")
    caplog.set_level(logging.DEBUG)
    for value in (data, picture, figure):
        assert isinstance(as_prompt(value), Image)
    assert [one for one in caplog.records if one.name.startswith(("PIL", "matplotlib"))] == []
    assert logging.getLogger("PIL").level == logging.NOTSET


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("Tromsø\r\n\t.".encode(), "Tromsø\n\t."),
        (b"", ""),
        (b"\xe5", "[1 bytes]"),
        (b"A\0", "[2 bytes]"),
        ("\x85".encode(), "[2 bytes]"),
        (b"\x1b[1m", "[4 bytes]"),
        (b"%PDF-1.4", "[8 bytes]"),
    ],
)
def test_bytes_in_a_container_or_a_cell_are_their_text_if_they_are_one(data: bytes, shown: str) -> None:
    assert json.loads(str(as_prompt([data]))) == json.loads(json_of([memoryview(data)])) == [shown]
    lines = text_of(pd.DataFrame({"a": [data], "b": [[data]]})).partition("\n\n")[2]
    assert [*csv.reader(io.StringIO(lines))][1:] == [[shown, json.dumps([shown], ensure_ascii=False)]]


def test_a_dict_with_bytes_is_json() -> None:
    assert json.loads(str(as_prompt({"bytes": b"\x89PNG", "path": None}))) == {"bytes": "[4 bytes]", "path": None}


@pytest.mark.parametrize(
    "text", ["ID3 is a tag.", "RIFF: raff", "Rar! it said", "PAR1,PAR2\n1,2", "OggSomething", "BZhang"]
)
def test_a_text_that_begins_like_a_file_of_another_kind_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert as_prompt(tmp_path / "a.txt") == text
