"""Formulas in a reply: ordinary ones stay maths, every other one becomes code with its text unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st
from inert import parsed
from tex_examples import DELIMITERS, allowed_names, hostile_formulas, ordinary_texts

from wandb_inference_magic.markup.literal import safe_inline
from wandb_inference_magic.markup.sanitize import safe_document, sanitize_markdown
from wandb_inference_magic.maths.tex import is_ordinary_maths
from wandb_inference_magic.maths.tex_names import COMMANDS, SYMBOLS
from wandb_inference_magic.maths.typeset import formulas
from wandb_inference_magic.rendering.reply import markdown_to_html

URL = "http://evil.example/x"
HOSTILE = hostile_formulas(URL)
# These are harmless: they consist of letters, of text, or of characters that look like a backslash.
HARMLESS = {
    "double-caret",
    "text-html",
    "text-script",
    "text-bidi-override",
    "many-primes",
    "backslash-fullwidth",
    "backslash-set-minus",
    "markdown-image",
    "markdown-blank-line",
    # Labels are removed.
    "label-shadows-id",
}
# Commands unknown to MathJax, commands left out on purpose (see `tex_names`), and a comment, which hides what follows.
NOT_MATHS = re.compile(
    r"\\(oiint|genfrac|underbracket|intertext|P|copyright|pmb|large|colorbox)(?![A-Za-z])|\{CD\}|(?<!\\)%"
)
MULTILINE_DELIMITERS = [("\\[\n", "\n\\]"), ("\\begin{align*}\n", "\n\\end{align*}")]


def code_in(markdown: str) -> str:
    """Return everything that is code in Markdown, without blanks."""
    code = [one.content for one in parsed(markdown) if one.type in ("code_inline", "fence", "code_block")]
    return "".join("".join(code).split())


def texts_outside_code(markdown: str) -> Iterator[str]:
    """Yield the texts of a page except its code."""
    yield from (one.content for one in parsed(markdown) if one.type == "text")


def test_the_corpus_is_large_enough() -> None:
    assert len(list(ordinary_texts())) >= 300
    assert len(HOSTILE) >= 300


@pytest.mark.parametrize("topic", dict.fromkeys(topic for topic, _ in ordinary_texts()))
def test_typical_formulas_of_models_stay_maths(topic: str) -> None:
    for text in (text for one, text in ordinary_texts() if one == topic):
        if not NOT_MATHS.search(text):
            assert code_in(sanitize_markdown(text)) == code_in(text), text


def test_each_allowed_name_is_maths() -> None:
    for name, tex in allowed_names().items():
        assert is_ordinary_maths(tex), name
        # KaTeX does not know this name.
        assert sanitize_markdown(f"${tex}$") == f"${tex}$".replace(r"\mbox", r"\text"), name


def test_two_backslashes_in_mhchem_do_not_become_a_command() -> None:
    # It turns the first one into `\\text{\\}\\href{a}{x}`.
    for tex in (r"\ce{{\\href{a}{x}}}", r"\pu{{\\style{a}{x}}}", r"\ce{\}a}", r"\ce a"):
        assert not is_ordinary_maths(tex), tex
    for tex in (r"\ce{A ->[\text{H2O}][\Delta] B^{2+}_{(aq)}}", r"\pu{5 mol//L}", r"\ce{A} \\ \ce{B}"):
        assert is_ordinary_maths(tex), tex


def test_hostile_formulas_are_not_maths() -> None:
    assert [name for name, tex in HOSTILE.items() if name not in HARMLESS and is_ordinary_maths(tex)] == []


@pytest.mark.parametrize(("opener", "closer"), [*DELIMITERS, *MULTILINE_DELIMITERS])
def test_a_hostile_formula_is_shown_as_code_unchanged(opener: str, closer: str) -> None:
    # Markdown does not see one formula in longer ones, in ones with a blank line and in ones that contain marks.
    for name, tex in HOSTILE.items():
        if name in HARMLESS or len(tex) > 1900 or "\n\n" in tex or "$$" in tex:
            continue
        shown = sanitize_markdown(f"Before.\n\n{opener}{tex}{closer}\n\nBehind.")
        for text in texts_outside_code(shown):
            assert all(formula is not None and is_ordinary_maths(formula) for formula in formulas(text)), name
        if not any(mark in tex for mark in ("$", "\\)", "\\]", r"\end{", "\r", "\x00", "```")):
            assert "".join(tex.split()) in code_in(shown), name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so $\href{u}{x}$ it is", r"so `$\href{u}{x}$` it is"),
        (r"\(\href{u}{x}\)", r"`\(\href{u}{x}\)`"),
        ("\\[\n\\href{u}{x}\n\\]", "```latex\n\\[\n\\href{u}{x}\n\\]\n```"),
        ("- a\n- \\[\n  \\href{u}{x}\n  \\]", "- a\n- `\\[ \\href{u}{x} \\]`\n\n"),
        ("> $$\n> \\href{u}{x}\n> $$", "> `\\href{u}{x}`\n>\n>"),
        ("| a |\n|---|\n| $\\href{u}{x}$ |", "| a |\n|---|\n| `$\\href{u}{x}$` |"),
        ("# On $\\style{a}{b}$", "# On `$\\style{a}{b}$`"),
        ("[$\\style{a}{b}$](https://ok.example)", "[`$\\style{a}{b}$`](https://ok.example)"),
        ("\\begin{html}\nx\n\\end{html}", "```latex\n\\begin{html}\nx\n\\end{html}\n```"),
        (r"$`\style{a}{b}`$", r"``$`\style{a}{b}`$``"),
        # A definition in one formula could turn a name in another one into a link.
        (r"$\def\x{y}$ and $\x$", r"`$\def\x{y}$` and `$\x$`"),
        # Rewritten: commands that MathJax does not know, and labels, which it would keep for other cells.
        (r"$\bm{x}$", r"$\boldsymbol{x}$"),
        ("\\begin{equation}\n\\label{eq:1} E = mc^2\n\\end{equation}", "\\begin{equation}\n E = mc^2\n\\end{equation}"),
        # Text in a formula, with marks that only some renderers take there.
        (r"$\text{true_pos} \mbox{R\&D}$", r"${\text{true}\_\text{pos}} {\text{R}\&\text{D}}$"),
        (r"\[ \text{if $x > 0$ or y < 1} \]", r"$$ {\text{if }{x > 0}\text{ or y }{\lt}\text{ 1}} $$"),
        (r"$\text{m^2, CO_{2}, 50%}$", r"${\text{m}^{\text{2}}\text{, CO}_{\text{2}}\text{, 50}\%}$"),
        (r"$\text{costs \$5 {a}}$", r"$\text{costs \$5 {a}}$"),
        # Lines outside of an environment, which MathJax 3 shows side by side.
        ("\\[\na = b \\\\\nc\n\\]", "$$\\begin{gathered}\na = b \\\\\nc\n\\end{gathered}$$"),
        (r"$a &= b \\ c &= d$", r"$\begin{aligned}a &= b \\ c &= d\end{aligned}$"),
        (r"$\frac{a \\ b}{c} \{$ and $a \\$", r"$\frac{a \\ b}{c} \{$ and $a \\$"),
        (r"$\begin{cases*} a \\ b \end{cases*}$", r"$\begin{cases*} a \\ b \end{cases*}$"),
        (r"$a \tag{1} \\ b$", r"$a \tag{1} \\ b$"),
        # Signs that MathJax takes in texts only, and some that it does not take.
        (r"$5\,€ + \text{2 €} = ɛ$", r"$5\,\text{€} + \text{2 €} = \text{ɛ}$"),
        ("$a\u20d7$", "`$a\u20d7$`"),
        # Arrows of chemistry, and the texts above and below one.
        (r"$\ce{A <=> B <- C ->[x][\Delta] D}, a<b$", r"$\ce{A <=> B <- C ->[x][\Delta] D}, a\lt b$"),
        (r"$\ce{<img src=x>}$", r"$\ce{\lt img src=x>}$"),
        # Delimiters as in the text of a JSON answer.
        (r"\\( x_1 = \\frac{a}{b} \\) and \\[ a * b = c \\]", r"$x_1 = \frac{a}{b}$ and $$ a * b = c $$"),
        (r"the marks \\( and \\)", r"the marks `\(` and \\)"),
        # In a quotation, JupyterLab takes its marks for a part of a formula of several lines.
        ("> $$\n> a = b\n> $$\n> so", "> $$ a = b $$\n>\n>\n> so"),
        ("> all $a\n> = b$ hold", "> all\n> $a = b$ hold"),
        # VS Code reads `$$` at the start of a line as a block, and no dollar before a letter as the end of a formula.
        (r"\[a = b\] c", "<span></span>$$a = b$$ c"),
        # A mark of punctuation would be on a line of its own.
        ("\\[a = b\\].\nso $$c$$, $$d$$;e", "$$a = b.$$\nso $$c,$$ $$d$$;e"),
        ("$$ a = b $$  \n$$c$$ and", "$$ a = b $$\n<span></span>$$c$$ and"),
        ("so $$a$$ and", "so $$a$$ and"),
        (r"the $n$th, \(k\)th, $x$.", r"the $n\text{th}$, $k\text{th}$, $x$."),
        # Text that only looks like the beginning of a formula.
        (r"C:\begin and \ref{x}", r"C:`\begin` and `\ref`&#123;x}"),
        (r"\\(x", r"`\(`x"),
        ("&#36;x&#36; &dollar; &bsol;( &eacute; R&D", "&amp;#36;x&amp;#36; &amp;dollar; &amp;bsol;( &eacute; R&D"),
    ],
)
def test_formulas_are_rewritten(text: str, expected: str) -> None:
    assert sanitize_markdown(text) == expected


def test_a_formula_that_would_take_too_long_is_not_maths() -> None:
    assert not is_ordinary_maths("{" * 40 + "x" + "}" * 40)
    assert not is_ordinary_maths(r"\begin{matrix}" + "&" * 2000 + r"\end{matrix}")
    assert not is_ordinary_maths("x" * 10_000)


@pytest.mark.parametrize("tex", ["{x", "x}", "a $ b", "50% of x", "#1", "x\\", r"\frac{a}{b", r"\\[9999em] x"])
def test_a_formula_that_mathjax_would_refuse_or_hide_is_not_maths(tex: str) -> None:
    assert not is_ordinary_maths(tex)


@given(
    st.lists(
        st.sampled_from([*sorted(f"\\{name}" for name in SYMBOLS | COMMANDS), "{", "}", "[", "]", "x", " ", "^", "_"]),
        max_size=12,
    )
)
def test_allowed_names_in_any_order_stay_harmless(pieces: list[str]) -> None:
    """The check reads the names of a formula in any position: a formula that passes contains no other name."""
    tex = "".join(pieces)
    if is_ordinary_maths(tex):
        names = set(re.findall(r"\\([A-Za-z]+|.)", tex, re.DOTALL))
        assert names <= SYMBOLS | COMMANDS | {"\\"}


@given(st.text(alphabet="\\()[]${}begin ref`x\n") | st.text(alphabet="\\([\n `*_a$"))
def test_a_literal_line_contains_no_maths(text: str) -> None:
    for shown in texts_outside_code(safe_document([safe_inline(text)])):
        found = list(formulas(shown))
        assert [one for one in found if one is None or "\\" in one] == []


def test_html_keeps_its_formulas_and_nothing_else() -> None:
    html = markdown_to_html(
        sanitize_markdown("$a_1 * b_2 * c$ and\n\n\\[\n\\begin{pmatrix} a\\\\b \\end{pmatrix}\n\\]")
    )
    assert html == "<p>$a_1 * b_2 * c$ and</p>\n<p>$$\n\\begin{pmatrix} a\\\\b \\end{pmatrix}\n$$</p>\n"
    # Markdown removes one of two backslashes, which would turn a line break into a command.
    html = markdown_to_html(sanitize_markdown(r"$a\\mmlToken{mglyph}[src=/x]{}$"))
    assert html == "<p>$\\begin{gathered}a\\\\mmlToken{mglyph}[src=/x]{}\\end{gathered}$</p>\n"
