"""Outputs are checked as a whole: replies with reasoning and steps, comparisons, threads, tables."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from composites import Maker
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from rich.cells import cell_len

from wandb_inference_magic.commands.threads import conversation_bundle
from wandb_inference_magic.markup.sanitize import Untrusted, safe_document
from wandb_inference_magic.maths.tex import is_ordinary_maths
from wandb_inference_magic.maths.typeset import formulas
from wandb_inference_magic.messages.reply import Reply
from wandb_inference_magic.messages.thread import Thread, Turn
from wandb_inference_magic.rendering.chart import Measure, chart_bundle
from wandb_inference_magic.rendering.reply import ending, reply_bundle
from wandb_inference_magic.rendering.tables import table_bundle
from wandb_inference_magic.rendering.thread_file import to_markdown

# Each fault put into the check of safety that 2,000 composites find is found by these too. That of the place of maths
# in a paragraph is found by one alone, number 255 of the last seed.
NUMBER = 260
SEEDS = range(4)

# The tags of ordinary Markdown, and those of this package. `input` is the box of a task.
TAGS = frozenset(
    """
    p h1 h2 h3 h4 h5 h6 em strong del s code pre span div a br hr ul ol li blockquote table thead tbody tr th td img
    input dl dt dd details summary small
    """.split()  # noqa: SIM905
)
SKIPPED = {"code", "pre", "math"}
MATHML = frozenset(
    """
    math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow mspace msqrt mstyle msub msubsup msup mtable mtd
    mtext mtr munder munderover
    """.split()  # noqa: SIM905
)


class PageCheck(HTMLParser):
    """Reads a page like a browser and MathJax: records what is active in it, and collects its texts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.active: list[str] = []
        self.strings: list[str] = [""]
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS | MATHML:
            self.active.append(f"<{tag}>")
        for name, value in attrs:
            if tag in MATHML:
                # Sizes, colours and the like: nothing that is an address, a style or a handler.
                if re.match(r"on|href|src|style|class|id|xlink|action", name) or not re.fullmatch(
                    r"[\w.+# -]*", value or ""
                ):
                    self.active.append(f"<{tag} {name}={value!r}>")
            else:
                self._check(tag, name, value or "")
        if tag == "br":
            self.strings[-1] += "\n"
            return
        self.strings.append("")
        self._skipped += tag in SKIPPED

    def handle_endtag(self, tag: str) -> None:
        self.strings.append("")
        self._skipped -= tag in SKIPPED

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.strings[-1] += data

    def handle_pi(self, data: str) -> None:
        self.active.append(data)

    def _check(self, tag: str, name: str, value: str) -> None:
        link = re.sub(r"[\x00-\x20]", "", value).lower()
        is_known = (
            name in ("class", "id", "align", "valign", "width", "title", "alt", "type", "disabled", "checked", "start")
            or (name == "style" and re.fullmatch(r"(text-align: ?\w+;?\s?)?(vertical-align: ?top)?", value))
            or (name == "dir" and value in ("auto", "rtl"))
            or (name == "href" and re.match(r"https?://|mailto:|#|(?!\w+:)", link))
            or (
                tag == "img"
                and name == "src"
                and link.startswith(("data:image/png", "data:image/jpeg", "data:image/gif"))
            )
        )
        if not is_known:
            self.active.append(f"<{tag} {name}={value!r}>")


def problems(html: str) -> list[str]:
    """Return what a page could do except show text: tags, attributes, and formulas that are not ordinary maths."""
    check = PageCheck()
    check.feed(html)
    check.close()
    found = [formula for text in check.strings for formula in formulas(text)]
    return check.active + [f"maths {one}" for one in found if one is None or not is_ordinary_maths(one)]


@pytest.mark.parametrize("seed", SEEDS)
def test_composites_of_hostile_pieces_are_inert(seed: int) -> None:
    for composite in Maker(seed).composites(NUMBER):
        found = problems(markdown2html_mistune(composite.markdown)) + problems(composite.html)
        assert found == [], (composite.pieces, composite.markdown)


def test_the_check_finds_active_elements() -> None:
    for html in (
        "<img src=http://a.b/c>",
        "<p onclick=x>",
        "<a href=' javascript:x'>",
        "<script>",
        "<p>$\\href{x}{y}$",
    ):
        assert len(problems(html)) == 1, html


def reply(text: str, reasoning: str = "") -> Reply:
    return Reply(
        text=text, reasoning=reasoning, tool_calls=(), asked_model="m", model="m", endpoint="wandb", usage=None,
        finish_reason="stop", cost=None, seconds=1.0, seconds_to_first=None, messages=(),
    )  # fmt: skip


# Each half is harmless. Together, nbconvert reads the text between the marks as maths, and the code as text.
HALVES = [
    (r"`\begin{a}` x", "```\n\\end{a} <img src=u><script>alert(1)</script>\n```"),
    (r"`\\[` x", "```\n\\\\] <script>alert(1)</script>\n```"),
    ("`$$` x", "```\n$$ <script>alert(1)</script>\n```"),
]


@pytest.mark.parametrize(("first", "second"), HALVES)
def test_marks_in_reasoning_and_text_do_not_form_a_pair(first: str, second: str) -> None:
    shown = reply_bundle(reply(second, first))["text/markdown"]
    assert problems(markdown2html_mistune(shown)) == []
    # Nothing is lost, and the footer is outside.
    assert "alert(1)" in shown
    assert shown.endswith("</small>")


def test_the_end_of_a_fenced_block_in_a_list_begins_none() -> None:
    second = "`\\\\[` x\n\n````\n\\\\] <script>alert(1)</script>\n```*"
    shown = reply_bundle(reply(second, "-  ~~~\n"))["text/markdown"]
    assert problems(markdown2html_mistune(shown)) == []
    assert "alert(1)" in shown


@pytest.mark.parametrize(("first", "second"), HALVES)
def test_a_pair_makes_code_of_its_first_paragraph_alone(first: str, second: str) -> None:
    shown = reply_bundle(reply(f"# Title\n\nSome *words*.\n\n{second}", f"I *think*.\n\n{first}"))["text/markdown"]
    assert problems(markdown2html_mistune(shown)) == []
    for kept in ("# Title\n\nSome *words*.", second, "I *think*.", f"```text\n{first}\n```"):
        assert kept in shown


@pytest.mark.parametrize(("first", "second"), HALVES)
def test_marks_in_two_turns_do_not_form_a_pair(first: str, second: str) -> None:
    thread = Thread("main", [Turn("a", first), Turn("b", second)])
    for shown in (conversation_bundle(thread)["text/markdown"], to_markdown(thread)):
        assert problems(markdown2html_mistune(shown)) == []
        assert "alert(1)" in shown


def test_dollars_on_two_lines_are_not_maths() -> None:
    thread = Thread("main", [Turn("It costs $5\nor \\style{a}{b} $6", "Yes.")])
    assert problems(markdown2html_mistune(conversation_bundle(thread)["text/markdown"])) == []


def test_a_harmless_combination_is_unchanged() -> None:
    parts = [
        Untrusted("Let $x$ be `$y`."),
        "\n\n<small>m</small>",
        Untrusted("\n\n```latex\n\\begin{a}\n\\end{a}\n```"),
    ]
    assert safe_document(parts) == "Let $x$ be `$y`.\n\n<small>m</small>\n\n```latex\n\\begin{a}\n\\end{a}\n```"


def test_a_trace_that_is_not_a_web_address_is_not_a_link() -> None:
    traced = reply("a")
    traced.trace = "javascript:alert(1)"
    assert "javascript" not in reply_bundle(traced)["text/markdown"]


def test_sources_are_links_that_show_where_they_lead() -> None:
    addresses = ("https://a.example/x_(y)?q=1#part", "javascript:alert(1)", "https://b.example/<b>|")
    bundle = reply_bundle(Reply("See [1].", "m", "m", "wandb", sources=addresses))
    page = markdown2html_mistune(bundle["text/markdown"])
    assert re.findall(r'<a href="([^"]*)">', page) == [
        "https://a.example/x_%28y%29?q=1#part",
        "https://b.example/%3Cb%3E%7C",
    ]
    assert re.sub(r"<[^>]*>", "", page).replace("&lt;", "<").replace("&gt;", ">").split("Sources: ")[1].split("\n")[
        0
    ] == ("[1] https://a.example/x_(y)?q=1#part [2] javascript:alert(1) [3] https://b.example/<b>|")


def test_the_long_address_of_a_source_is_shortened() -> None:
    bundle = reply_bundle(Reply("See [1].", "m", "m", "wandb", sources=(f"https://a.example/{'x' * 5000}",)))
    page = markdown2html_mistune(bundle["text/markdown"])
    (shown,) = re.findall(r'<a href="https://a.example/[^"]*">([^<]*)</a>', page)
    assert len(shown) <= 100


def test_an_exported_markdown_file_is_inert() -> None:
    hostile = "![a](http://evil.example/x.png) <script>alert(1)</script> $\\style{a}{b}$"
    text = to_markdown(Thread("<b>x</b>", [Turn(hostile, hostile, system=hostile)], system=hostile))
    assert problems(markdown2html_mistune(text)) == []
    assert "image: a (evil.example)" in text


def test_the_columns_of_a_table_are_aligned_also_below_wide_characters() -> None:
    lines = table_bundle(("thread", "turns"), [("東京", "2"), ("main", "10")])["text/plain"].splitlines()
    assert lines == ["thread  turns", "------  -----", "東京    2", "main    10"]


def test_costs_in_a_table_and_below_it_are_not_maths() -> None:
    """JupyterLab reads the text between two dollars of a paragraph as maths, in a table too."""
    bundle = table_bundle(("model", "cost"), [("a", "$0.0024"), ("b", "$0.0012")], below="$0.0036 in all, $1.50 left.")
    assert bundle["text/plain"].count("$") == 4
    assert bundle["text/markdown"].replace(r"<span>\$</span>", "").count("$") == 0


def test_the_bars_of_a_chart_begin_in_one_column_also_beside_wide_names() -> None:
    chart = chart_bundle(["\u65e5\u672c\u8a9e", "plain", "\u0915\u094d\u0937"], [Measure("rows", [2, 1, 1], str)])[
        "text/plain"
    ]
    assert len({cell_len(line.partition("\u2588")[0]) for line in chart.split("\n")[1:]}) == 1


def test_the_last_lines_of_reasoning_begin_at_a_word_or_without_words_at_a_character() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert ending("The last word. " * 40).startswith("\u2026 word. The last")
    assert ending("short") == "short"
    for one in (
        "\u65e5\u672c\u8a9e\u3067\u8003\u3048\u308b\u3002",
        "\u0e04\u0e34\u0e14\u0e01\u0e33\u0e25\u0e31\u0e07",
        family,
        "x",
    ):
        text = ending(one * 500)
        assert text.startswith("\u2026 ")
        assert 395 <= len(text) <= 410
        assert one[0] != family[0] or text.removeprefix("\u2026 ").startswith(family)


ARABIC = "\u0639\u0646\u0648\u0627\u0646 (\u0645\u0647\u0645)!"


def test_blocks_written_from_right_to_left_are_laid_out_so_and_code_is_not() -> None:
    text = f"# {ARABIC}\n\nUse `print(x)` {ARABIC}\n\n```\n{ARABIC}\n```\n\n- {ARABIC}\n\n      code\n\n"
    text += f"English: {ARABIC[:3]}\n\n"
    shown = reply_bundle(reply(f"{text}| {ARABIC} |\n|---|\n| 1 |", reasoning=ARABIC))["text/markdown"]
    parts = re.findall(r'<div dir="rtl">\n\n(.*?)\n\n</div>', shown, re.DOTALL)
    assert [one.strip() for one in parts] == [
        ARABIC,
        f"# {ARABIC}\n\nUse `print(x)` {ARABIC}",
        f"| {ARABIC} |\n|---|\n| 1 |",
    ]
    assert problems(markdown2html_mistune(shown)) == []
    # The parts of a text with link definitions would not know them. Most texts have one direction.
    for text in (f"{ARABIC} [a]\n\nEnglish [a]\n\n[a]: http://h.example/", f"This is Arabic: {ARABIC[:5]}"):
        assert "dir=" not in reply_bundle(reply(text))["text/markdown"]
    thread = Thread("main", [Turn(ARABIC, ARABIC)])
    assert str(conversation_bundle(thread)["text/markdown"]).count('dir="rtl"') == 2


def test_hostile_pieces_within_arabic_are_inert() -> None:
    for composite in Maker(0).composites(6):
        text = "\n\n".join(f"{ARABIC * 5}\n{one}" for one in composite.pieces)
        assert problems(markdown2html_mistune(reply_bundle(reply(text))["text/markdown"])) == [], text


def test_a_chart_fits_into_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    models, measures = ["openai/gpt-oss-120b", "other"], [Measure("tokens", [1_234_567, 2], "{:,}".format)]
    whole = chart_bundle(models, measures)["text/plain"]
    monkeypatch.setattr("wandb_inference_magic.rendering.chart.is_terminal", lambda _stream: True)
    monkeypatch.setenv("COLUMNS", "44")
    lines = chart_bundle(models, measures)["text/plain"].splitlines()
    assert max(map(cell_len, lines)) == 44
    assert lines[1].endswith("█ 1,234,567")
    monkeypatch.setenv("COLUMNS", "200")
    assert chart_bundle(models, measures)["text/plain"] == whole
