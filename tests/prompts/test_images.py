"""Images and what draws itself, in prompts."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import IPython.display
import ipywidgets
import matplotlib
import numpy as np
import pandas as pd
import PIL.Image
import PIL.ImageSequence
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredText
from prompt_values import axes_with_line, picture_of, png, text_of

from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.prompts import render
from wandb_inference_magic.prompts.values import Image, as_prompt

pytestmark = pytest.mark.short

matplotlib.use("agg")


class Drawn:
    def _repr_png_(self) -> bytes:
        return png()


class DrawnAsText:
    def _repr_png_(self) -> str:
        return base64.encodebytes(png()).decode()


@pytest.mark.parametrize("value", [Drawn(), DrawnAsText(), IPython.display.Image(png())])
def test_an_object_that_draws_itself_becomes_an_image(value: object) -> None:
    assert picture_of(value).size == (4, 3)


class Broken:
    def _repr_png_(self) -> bytes:
        raise RuntimeError("no engine")

    def __str__(self) -> str:
        return "a broken plot"


def test_an_object_that_fails_to_draw_itself_is_shown_as_text() -> None:
    assert text_of(Broken()) == "a broken plot"


def test_a_figure_becomes_an_image_of_bounded_size_and_is_not_changed() -> None:
    figure = Figure(figsize=(40, 20), dpi=100)
    axes = figure.add_subplot()
    axes.plot([1, 2])
    assert picture_of(figure).size == (1600, 800)
    assert picture_of(axes).size == (1600, 800)
    assert (figure.dpi, list(figure.get_size_inches())) == (100, [40, 20])


def test_what_a_plot_returns_is_its_figure() -> None:
    axes = Figure().add_subplot()
    (line,) = axes.plot([1, 2])
    assert as_prompt([line]) == as_prompt(line) == as_prompt(axes)
    bars = axes.bar([1, 2], [1, 2])
    assert as_prompt(bars) == as_prompt(axes)
    assert as_prompt(axes.errorbar([1], [1], yerr=[1])) == as_prompt(axes)


def test_an_attribute_called_figure_is_not_read_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be costly, or change something."""
    read: list[object] = []

    class Model:
        figure = property(read.append)

        def __str__(self) -> str:
            return "a model"

    monkeypatch.delitem(sys.modules, "matplotlib.figure")
    assert as_prompt(Model()) == "a model"
    assert not read


def test_large_images_are_scaled_down() -> None:
    assert picture_of(PIL.Image.new("RGB", (5000, 100))).size == (2048, 41)
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), dtype=np.uint8))
    assert picture_of(noise).format == "JPEG"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16", "F", "LAB"])
def test_an_image_of_any_mode_is_converted(mode: str) -> None:
    assert picture_of(PIL.Image.new(mode, (4, 3))).size == (4, 3)


def test_a_grey_picture_with_its_alpha_multiplied_in_is_an_image() -> None:
    picture = picture_of(PIL.Image.new("LA", (2, 2), (100, 255)).convert("La"))
    assert (picture.mode, picture.getpixel((0, 0))) == ("LA", (100, 255))


@pytest.mark.parametrize(
    "form", [lambda path: path, Path.read_bytes, lambda path: {"bytes": path.read_bytes(), "path": ""}]
)
def test_a_file_of_65536_shades_of_grey_is_seen_as_the_same_image_of_pil_is(
    tmp_path: Path, form: Callable[[Path], object]
) -> None:
    """The service's library would make each shade above 255 white."""
    file = tmp_path / "scan.png"
    PIL.Image.fromarray(np.array([[1000, 20_000], [40_000, 60_000]], dtype="uint16")).save(file)
    read = picture_of(form(file)).convert("RGB")
    assert np.asarray(read)[..., 0].tolist() == [[0, 82], [168, 255]]
    with PIL.Image.open(file) as opened:
        assert as_prompt(form(file)) == as_prompt(opened)


@pytest.mark.parametrize(("shade", "seen"), [(0, 0), (30_000, 116), (65_535, 255)])
def test_an_image_of_one_of_65536_shades_is_as_bright_as_it_is(shade: int, seen: int) -> None:
    read = picture_of(PIL.Image.fromarray(np.full((2, 2), shade, dtype="uint16")))
    assert np.asarray(read).tolist() == [[seen] * 2] * 2


def test_the_transparent_one_of_65536_shades_is_none_of_256() -> None:
    picture = PIL.Image.fromarray(np.array([[0, 160], [30_000, 65_535]], dtype="uint16"))
    picture.info["transparency"] = 160
    assert "transparency" not in picture_of(picture).info


def test_a_file_of_other_shades_is_sent_as_it_is(tmp_path: Path) -> None:
    for number, mode in enumerate(("L", "LA", "RGB", "P", "1")):
        file = tmp_path / f"{number}.png"
        PIL.Image.new(mode, (2, 2)).save(file)
        assert as_prompt(file) == Image(f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "cut"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(file, kind)
    assert as_prompt(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InferenceError, match=r"cut is not complete\.(?s:.*)(PIL says: |It has )"):
        as_prompt(file)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif"])
@pytest.mark.parametrize("size", [8, 20, 40, 100])
def test_a_file_of_which_only_the_first_bytes_came_is_refused(tmp_path: Path, kind: str, size: int) -> None:
    file = tmp_path / "cut"
    PIL.Image.fromarray(np.arange(12_288, dtype=np.uint8).reshape(64, 64, 3)).save(file, kind)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(InferenceError, match="cut is not complete"):
        as_prompt(file)


@pytest.mark.parametrize("kind", ["png", "gif"])
# In the middle of these GIFs, one picture has ended. PIL does not say that the next one has begun.
@pytest.mark.parametrize("tenths", [1, 2, 3, 4, 6, 7, 8, 9])
def test_an_animation_that_is_cut_off_is_refused(tmp_path: Path, kind: str, tenths: int) -> None:
    file = tmp_path / "cut"
    random = np.random.default_rng(0)
    first, *others = (PIL.Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(4))
    first.save(file, kind, save_all=True, append_images=others)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * tenths // 10])
    with pytest.raises(InferenceError, match="cut is not complete"):
        as_prompt(file)


@pytest.mark.parametrize("tenths", [1, 3, 5, 8])
def test_a_photo_of_two_pictures_that_is_cut_off_in_its_first_is_refused(tmp_path: Path, tenths: int) -> None:
    """Phones write such files, with a small second picture."""
    file = tmp_path / "cut"
    points = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    first, second = PIL.Image.fromarray(points), PIL.Image.fromarray(points[:8, :8])
    first.save(file, "MPO", save_all=True, append_images=[second])
    whole = file.read_bytes()
    assert as_prompt(file)
    file.write_bytes(whole[: (len(whole) - 1000) * tenths // 10])
    with pytest.raises(InferenceError, match="cut is not complete"):
        as_prompt(file)


@pytest.mark.parametrize(("missing", "shade"), [(np.nan, 0), (np.inf, 255), (-np.inf, 0)])
def test_an_image_whose_points_are_not_all_numbers_shows_the_others(missing: float, shade: int) -> None:
    shades = np.array([[missing, 0.0], [0.5, 1.0]], dtype="float32")
    shown = as_prompt(PIL.Image.fromarray(shades))
    assert isinstance(shown, Image)
    read = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(shown.url.partition(",")[2]))))
    assert read.tolist() == [[shade, 0], [127, 255]]


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG", "MPO"])
def test_a_pil_image_of_one_page_or_a_photo_with_its_preview_is_an_image(kind: str) -> None:
    data, picture = io.BytesIO(), PIL.Image.new("RGB", (4, 3), "red")
    picture.save(data, kind, save_all=True, append_images=[picture.resize((2, 2))] if kind == "MPO" else [])
    with PIL.Image.open(data) as opened:
        opened.load()
        assert picture_of(opened).size == (4, 3)
    # The file is closed, the picture is loaded.
    assert kind == "MPO" or picture_of(opened).size == (4, 3)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_a_pil_image_of_several_pages_is_refused_unless_one_is_chosen(kind: str) -> None:
    pages = [PIL.Image.new("RGB", (4, 3), color) for color in ("red", "green", "blue")]
    data = io.BytesIO()
    pages[0].save(data, kind, save_all=True, append_images=pages[1:])
    with PIL.Image.open(data) as picture:
        with pytest.raises(InferenceError, match="has 3 pages or frames") as refused:
            as_prompt(picture)
        assert "image.copy()" in refused.value.remedy
        assert len({str(as_prompt(page.copy())) for page in PIL.ImageSequence.Iterator(picture)}) == 3
        picture.seek(1)
        assert picture_of(picture).size == (4, 3)


@pytest.mark.parametrize("picture", [PIL.Image.new("RGB", (0, 0)), PIL.Image.new("RGB", (2, 2))])
def test_a_picture_that_pil_cannot_read_is_refused(picture: PIL.Image.Image) -> None:
    picture.close()
    with pytest.raises(InferenceError, match=r"A PIL image cannot be put into a prompt\.(?s:.*)PIL says: ValueError"):
        as_prompt(picture)


def test_an_ipython_image_with_a_url_is_sent_by_url() -> None:
    assert as_prompt(IPython.display.Image(url="https://ok.example/a.png")) == Image("https://ok.example/a.png")


def test_an_image_in_the_form_of_a_dataset_is_an_image() -> None:
    data = png()
    assert isinstance(as_prompt({"bytes": data, "path": "a.png"}), Image)
    content = render("{{ pictures }}", {"pictures": [{"bytes": data, "path": None}, {"bytes": data, "path": "b.png"}]})
    assert [part["type"] for part in content] == ["image_url", "image_url"]
    assert text_of({"bytes": b"no image", "path": "a.png"}) == '{"bytes": "no image", "path": "a.png"}'


@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_the_pixels_of_a_picture_are_never_sent_as_json(mode: str) -> None:
    picture = PIL.Image.new(mode, (2, 2))
    for value in (picture, [picture]):
        with pytest.raises(InferenceError, match="would be sent here as a text without the picture"):
            render("{{ x | tojson }}", {"x": value})


def test_what_is_drawn_in_a_figure_is_its_picture_wherever_it_stands() -> None:
    axes = Figure().add_subplot()
    for drawn in (axes.plot([1, 2])[0], axes.imshow([[1, 2]]), axes.set_title("t"), axes.axhline(1)):
        assert as_prompt(drawn) == as_prompt(axes)
        for text in ("{{ x | tojson }}", "{{ {'k': x} | tojson }}", "{{ x ~ '' }}", "{{ x | string }}"):
            with pytest.raises(InferenceError, match="image"):
                render(text, {"x": drawn})


def test_what_is_drawn_in_no_figure_is_refused() -> None:
    with pytest.raises(InferenceError, match="Line2D that is in no figure has no picture") as refused:
        render("{{ x }}", {"x": Line2D([0, 1], [0, 1])})
    assert "Draw it in a figure first." in str(refused.value)


def with_empty_title() -> Figure:
    figure = Figure()
    figure.suptitle("")
    return figure


def with_empty_axes_within() -> Figure:
    figure = Figure()
    figure.subfigures(1, 2)[1].add_subplot(projection="polar").inset_axes((0, 0, 0.5, 0.5))
    return figure


@pytest.mark.parametrize("text", ["{{ x }}", "{{ [x] }}", "{{ {'figure': x} }}"])
@pytest.mark.parametrize("empty", [Figure, Figure().add_subplot, with_empty_title, with_empty_axes_within])
def test_an_empty_figure_is_refused(text: str, empty: Callable[[], Any]) -> None:
    """`plt.gcf()` and `plt.gca()` give one in the cell after the plot."""
    with pytest.raises(InferenceError, match="A figure is empty: nothing is drawn in it") as refused:
        render(text, {"x": empty()})
    assert "fig = plt.gcf()" in str(refused.value)


@pytest.mark.parametrize(
    "draw",
    [
        lambda axes: axes.figure.text(0, 0, "A note."),
        lambda axes: axes.text(0, 0, "A note."),
        lambda axes: axes.set_title("A title.", loc="left"),
        lambda axes: axes.table([["a"]]),
        lambda axes: axes.inset_axes((0, 0, 0.5, 0.5)).plot([1, 2]),
        lambda axes: axes.bar([1], [2]),
        lambda axes: axes.add_artist(AnchoredText("A note.", "upper left")),
    ],
)
def test_a_figure_in_which_anything_is_drawn_is_sent(draw: Callable[[Any], object]) -> None:
    axes = Figure().subfigures(1, 2)[0].add_subplot()
    draw(axes)
    assert render("{{ x }}", {"x": axes})


def test_a_series_of_pictures_is_the_list_of_them() -> None:
    axes = axes_with_line()
    picture = PIL.Image.new("RGB", (2, 2))
    assert as_prompt(pd.Series([axes, axes])) == as_prompt(axes)
    content = render("{{ x }}", {"x": pd.Series([picture, picture])})
    assert [part["type"] for part in content if not isinstance(part, str)] == ["image_url", "image_url"]
    with pytest.raises(InferenceError, match="would be sent here as a text without the picture"):
        render("{{ x }}", {"x": pd.Series([picture, "a text"])})


# Older ipywidgets use what ipykernel has deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_picture_in_a_widget_is_a_picture() -> None:
    data = io.BytesIO()
    PIL.Image.new("RGB", (3, 3), "red").save(data, "PNG")
    assert picture_of(ipywidgets.Image(value=data.getvalue())).size == (3, 3)
