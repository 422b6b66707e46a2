"""How the values of a prompt are shortened until it fits."""

from __future__ import annotations

import pickle
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from wandb_inference_magic.messages import estimate_messages
from wandb_inference_magic.messages.tokens import estimate
from wandb_inference_magic.prompts import Image, cut_values, files, fit_values, render, with_text_after
from wandb_inference_magic.prompts.value_spans import LEFT_OUT, cut

pytestmark = pytest.mark.short

IMAGE = Image("data:image/png;base64,AAAA")
LONG = "".join(f"{number:04d} " for number in range(20_000))


def tokens_of(content: Any) -> int:
    return estimate_messages([{"content": content}])


def test_a_text_is_cut_between_lines() -> None:
    text = "\n".join(f"line {number}" for number in range(10_000))
    lines = cut(text, 500).splitlines()
    assert lines[0] == "line 0"
    assert lines[-1] == "line 9999"
    assert all(line.startswith(("line ", "[... ")) for line in lines)
    assert sum(line.startswith("[... ") for line in lines) == 1


@given(st.text(), st.integers(10, 200))
def test_a_cut_text_stays_within_the_limit(text: str, tokens: int) -> None:
    short = cut(text, tokens)
    if estimate(text) <= tokens or len(text) <= len(LEFT_OUT):
        # The note that says what is left out would not be shorter.
        assert short == text
        return
    head, gap, tail = short.rpartition("\n[... ")[0], "characters left out ...]", short.partition("left out ...]\n")[2]
    assert gap in short
    assert text.startswith(head)
    assert text.endswith(tail)
    assert estimate(head) + estimate(tail) <= tokens + 2


def test_a_value_is_whole_where_there_is_room_or_none_is_known() -> None:
    content = render("Read {{ text }} now", {"text": LONG})
    for room in (None, 100_000):
        assert fit_values(content, room) == (f"Read {LONG} now", 0)


def test_the_longest_values_are_cut_visibly_and_nothing_else() -> None:
    text = "Compare {{ a }} with {{ b }} and {{ short }}: " + "typed " * 100
    content = render(text, {"a": LONG, "b": LONG[::-1], "short": "short value"})
    fitted, counted = fit_values(content, 1000)
    assert counted == 2
    assert 850 < tokens_of(fitted) <= 1000
    assert fitted.count("characters left out ...]") == 2
    assert fitted.startswith("Compare 0000 0001")
    assert fitted.endswith(" and short value: " + "typed " * 100)


def test_whole_values_and_typed_text_are_never_cut() -> None:
    content = render("{{ text | whole }} {{ other }}", {"text": LONG, "other": LONG})
    fitted, counted = fit_values(content, 100_000)
    assert counted == 1
    assert fitted.startswith(LONG)
    assert fit_values(content, 1000) == (f"{LONG} {LONG}", 0), "cutting would not be enough: it is refused elsewhere"
    assert fit_values(LONG, 1000) == (LONG, 0)


def test_values_around_pictures_are_cut_too() -> None:
    content = render("{{ text }}{{ picture }} and {{ text }}", {"text": LONG, "picture": IMAGE})
    fitted, counted = fit_values(content, 3000)
    assert counted == 2
    assert [part["type"] for part in fitted] == ["text", "image_url", "text"]
    assert tokens_of(fitted) <= 3000


def test_a_value_kept_for_later_is_read_as_it_is_and_cut_where_it_is_shown() -> None:
    text = "{% set kept %}{{ text }}{% endset %}{{ kept | length }} {% if kept == text %}same{% endif %} {{ kept }}"
    content = render(text, {"text": LONG})
    assert str(content) == f"{len(LONG)} same {LONG}"
    assert fit_values(content, 500)[1] == 1


@pytest.mark.parametrize(
    "template",
    [
        "{% set kept %}Read {{ text }}{% endset %}{{ kept }} now",
        "{% macro read(one) %}Read {{ one }}{% endmacro %}{{ read(text) }} now",
        "{% macro read() %}Read {{ caller() }}{% endmacro %}{% call read() %}{{ text }}{% endcall %} now",
        "{% for one in [text] recursive %}Read {{ one }}{% endfor %} now",
    ],
)
def test_a_value_in_a_block_that_is_kept_is_cut_as_any_other(template: str) -> None:
    fitted, counted = fit_values(render(template, {"text": LONG}), 1000)
    assert counted == 1
    assert isinstance(fitted, str)
    assert fitted.startswith("Read 0000")
    assert fitted.endswith("9999  now")
    assert cut_values(render(template, {"text": LONG}, tokens=50)) == 1


def test_values_that_are_cut_are_counted_whatever_changes_their_text() -> None:
    for name in ("trim", "upper", "replace(' ', '')"):
        template = f"{{% filter {name} %}}{{{{ a }}}}{{% endfilter %}}"
        assert cut_values(render(template, {"a": LONG}, tokens=50)) == 1
    assert cut_values(render("{% set kept %}{{ a }}{% endset %}{{ kept }}", {"a": list(range(2000))})) == 1


def test_a_text_can_be_added_to_a_rendered_one() -> None:
    content = with_text_after(render("  {{ text }} ? ", {"text": LONG}), "\n\nThe error")
    assert content == f"{LONG} ?\n\nThe error"
    fitted, counted = fit_values(content, 500)
    assert counted == 1
    assert fitted.endswith("?\n\nThe error")
    for blank in ("{{ text }} x     {{ blank }}", "{{ blank }}   {{ text }} x"):
        content = with_text_after(render(blank, {"text": LONG, "blank": "    "}), "\n\nThe error")
        fitted, counted = fit_values(content, 500)
        assert (counted, fitted.count("The erro")) == (1, 1)
        assert fitted.endswith("x\n\nThe error")


def test_values_cut_by_the_setting_are_counted() -> None:
    assert cut_values(render("{{ a }} {{ b }} {{ c | whole }}", {"a": LONG, "b": "b", "c": LONG}, tokens=50)) == 1
    pictured = render("{{ a }}{{ picture }}", {"a": LONG, "picture": IMAGE}, tokens=50)
    assert cut_values(pictured) == 1
    assert cut_values("as typed") == 0


def test_what_is_left_out_of_a_geometry_a_file_or_a_folder_is_counted_and_whole_sends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shapely

    monkeypatch.setattr(files, "MAX_FILE_BYTES", 100)
    (tmp_path / "long.txt").write_text("x" * 150)
    (tmp_path / "names").mkdir()
    for number in range(201):
        (tmp_path / "names" / f"{number}").touch()
    border = shapely.Point(0, 0).buffer(1, quad_segs=100)
    for value, end in (
        (border, border.wkt),
        (tmp_path / "long.txt", "x" * 150),
        (b"x" * 150, "x" * 150),
        (tmp_path / "names", "\n".join(sorted(map(str, range(201))))),
    ):
        cut = render("{{ x }}", {"x": value})
        assert "left out" in str(cut)
        assert cut_values(cut) == 1
        whole = render("{{ x | whole }}", {"x": value})
        assert str(whole) == end
        assert cut_values(whole) == 0
    assert cut_values(render("{{ [x] }}", {"x": border})) == 1
    assert render("{{ [x] | tojson }}", {"x": border}) == f'["{border.wkt}"]'


def test_tojson_and_whole_have_all_levels() -> None:
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested]
    for template, is_whole in (("{{ x | tojson }}", True), ("{{ x | whole }}", True), ("{{ x }}", False)):
        text = render(template, {"x": nested})
        assert (str(text).count("[") == 61) is is_whole
        assert cut_values(text) == (not is_whole)


def test_a_rendered_text_can_be_copied_to_another_process() -> None:
    content = pickle.loads(pickle.dumps(render("{{ a }}", {"a": LONG})))
    assert fit_values(content, 500)[1] == 1


@pytest.mark.parametrize(("value", "room"), [("1" * 100, 6_900), ("猫" * 400, 20_000), ("some words " * 40, 9_000)])
def test_values_that_are_cut_use_the_room(value: str, room: int) -> None:
    content = render(" ".join(f"{{{{ v{number} }}}}" for number in range(150)), {f"v{n}": value for n in range(150)})
    fitted, counted = fit_values(content, room)
    assert counted == 150
    assert 0.9 * room < tokens_of(fitted) <= room


@pytest.mark.parametrize("share", [0.85, 0.9, 0.95])
@pytest.mark.parametrize(
    ("characters", "count"), [("0123456789", 150), ("日本語テキスト", 150), ("日本語テキスト", 60)]
)
def test_values_of_several_lengths_use_the_room_though_pieces_are_estimated_otherwise(
    characters: str, count: int, share: float
) -> None:
    choose = Random(1)
    values = {f"v{n}": "".join(choose.choices(characters, k=50 + n % 50)) for n in range(count)}
    content = render("".join(f"a {{{{ {name} }}}}" for name in values), values)
    room = int(tokens_of(content) * share)
    fitted, counted = fit_values(content, room)
    assert counted
    assert 0.9 * room < tokens_of(fitted) <= room


# The whole has one token more than the estimates for its pieces.
UNEVEN = (
    "    aé  éaé aa éaa ééé éaéaaa a aaa  aaaéaaéééaéééa    ééaééé  a aéa  é a a"
    "ééa aaaéaaaaéaaééaaaaéaaaaé ééaaéé  aéa aa é é éaéa  é é  aa a a éééééaaé é"
)


@example([("é ", UNEVEN), (" é", "")], 42)
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=3000)), max_size=5), st.integers(1, 2000))
def test_what_is_cut_fits(pieces: list[tuple[str, str]], room: int) -> None:
    typed = [text.replace("{", "(") for text, _ in pieces]
    template = "".join(f"{text}{{{{ v{number} }}}}" for number, text in enumerate(typed))
    content = render(template, {f"v{number}": value for number, (_, value) in enumerate(pieces)})
    fitted, counted = fit_values(content, room)
    assert type(fitted) is str
    if counted:
        assert tokens_of(fitted) <= room
    else:
        assert fitted == content
