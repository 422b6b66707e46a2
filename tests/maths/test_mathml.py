"""Formulas as MathML for pages and as text for terminals: inert, whole, or not converted at all."""

from __future__ import annotations

import re

import pytest
from rich.console import Console
from tex_examples import allowed_names, hostile_formulas

from wandb_inference_magic.frontend.terminal import SafeMarkdown
from wandb_inference_magic.maths.mathml import to_mathml, to_text

ELEMENT = re.compile(r'<(/?m[a-z]+)((?: [a-z]+="[\w.+# -]*")*)>')


@pytest.mark.short
def test_mathml_is_inert_whatever_the_formula() -> None:
    """Also for formulas that are never given to it, because they are not ordinary maths."""
    formulas = [*hostile_formulas("http://evil.example/x").values(), *allowed_names().values()]
    formulas += [r"\text{<img src=x onerror=alert(1)>}", r"\text{&lt;img src=x>}", r"\href{javascript:alert(1)}{x}"]
    converted = [shown for tex in formulas if (shown := to_mathml(f"${tex}$"))]
    assert len(converted) > 700
    for shown in converted:
        assert "<" not in ELEMENT.sub("", shown), shown
        assert not re.search(r' (href|src|style|class|id|on\w+)="', ELEMENT.sub(r"\2", shown)), shown
    assert to_mathml(r"$\href{javascript:alert(1)}{x}$") is None
    assert "<mtext>&lt;img\xa0src=x\xa0onerror=alert(1)&gt;</mtext>" in (to_mathml(formulas[-3].join("$$")) or "")


@pytest.mark.parametrize("tex", [r"\ce{H2O}", r"\cancel{x}", r"\ohm", r"\begin{multline} a \\ b \end{multline}"])
def test_a_formula_that_cannot_be_converted_as_a_whole_is_not_converted(tex: str) -> None:
    assert to_mathml(f"$${tex}$$") is None
    assert to_text(f"$${tex}$$") is None


@pytest.mark.parametrize("name", ["aligned", "align", "align*", "split", "gathered", "gather", "dcases", "pmatrix"])
def test_environments_are_tables_without_numbers(name: str) -> None:
    shown = to_mathml(rf"$$\begin{{{name}}} a \\ c \end{{{name}}}$$")
    assert shown
    assert shown.startswith('<math display="block">')
    assert shown.count("<mtr>") == 2
    assert "(1)" not in shown


def test_the_letters_of_upright_names_are_upright() -> None:
    assert '<mi mathvariant="normal">d</mi><mi>x</mi>' in (to_mathml(r"$\mathrm{d}x$") or "")


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"x = \frac{-b \pm \sqrt{b^2-4ac}}{2a}", "x = (−b ± √(b² − 4ac))/(2a)"),
        (r"\bar x = \frac1n \sum_{i=1}^n x_i", "x̄ = (1/n) ∑ᵢ₌₁ⁿ xᵢ"),
        (r"e^{i\pi}+1=0", "e^(iπ) + 1 = 0"),
        (r"\frac12 x", "(1/2)x"),
        (r"{ab}^2 + (a+b)^2", "(ab)² + (a + b)²"),
        (r"\hat\beta_1 \in \mathbb{R}", "β̂₁ ∈ ℝ"),
        (r"10^{-5} \cdot \sin x", "10⁻⁵ · sin x"),
        # A fraction next to a factor, or to an operator that binds, is in brackets.
        (r"a/\frac{b}{c} = \frac ab/\frac cd", "a/(b/c) = (a/b)/(c/d)"),
        (r"a \div \frac{b}{c}, \frac{1}{2}!", "a ÷ (b/c), (1/2)!"),
        (r"\frac12(x+1) - (x+1)\frac12", "(1/2)(x + 1) − (x + 1)(1/2)"),
        (r"\frac12|x| + |\frac ab|", "(1/2)|x| + |a/b|"),
        (r"\int\frac{1}{x}\,dx = \frac ab.", "∫ (1/x) dx = a/b."),
        (r"\dfrac1n\sum x + \nabla\frac ab", "(1/n) ∑ x + ∇(a/b)"),
        # A factor does not join the index, the power or the root before it.
        (r"F_g d + x^q y + \sqrt{a}b + x_2y", "F_g d + x^q y + √a b + x₂y"),
        (r"\nabla_\theta J + a_{F_g d} + \sqrt{a+b}c", "∇_θ J + a_(F_g d) + √(a + b)c"),
        (r"1{,}000{,}000 + f(1, 2)", "1,000,000 + f(1, 2)"),
        (r"\operatorname*{arg\,max}_\theta \operatorname{top-k} + a_{\max x}", "arg max_θ top-k + a_(max x)"),
        (r"25\,^\circ\text{C} = 77^\circ F", "25 °C = 77°F"),
        (r"{}_nC_k + \underset{k}{a+b}", "ₙCₖ + (a + b)ₖ"),
        # Each line of its own.
        (r"\begin{aligned} a &= \frac{1}{2} \\ &\le \sqrt{x} \end{aligned}", "a = 1/2\n≤ √x"),
        ("\n\\begin{gather*}\na = b \\\\\nc\n\\end{gather*}\n", "a = b\nc"),
    ],
)
def test_a_formula_is_text(tex: str, text: str) -> None:
    assert to_text(f"${tex}$") == text


def test_names_of_operators_and_groups_of_digits_are_whole() -> None:
    assert ">arg\xa0max</mo>" in (to_mathml(r"$\operatorname*{arg\,max}_x$") or "")
    assert "<mn>1</mn><mtext>,</mtext><mn>000</mn>" in (to_mathml("$1{,}000$") or "")


@pytest.mark.parametrize(
    "tex",
    [
        r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
        r"\begin{aligned} a &= \begin{cases} 1 \\ 2 \end{cases} \\ b \end{aligned}",
        r"x = \begin{gathered} a \\ b \end{gathered}",
        *[r"\sum\limits x", r"\max\limits f(x)"],
        *[r"\binom nk", r"\overline{AB}", r"\underbrace{1+1}_{2}", r"\underline{x}"],
    ],
)
def test_a_formula_with_parts_of_several_lines_is_no_text(tex: str) -> None:
    assert to_mathml(f"${tex}$")
    assert to_text(f"${tex}$") is None


def test_a_terminal_shows_formulas_prices_and_sources() -> None:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(
            SafeMarkdown(
                "It costs $5 and $6 for \\(a_1^2\\) <b>x</b> [a](javascript:x) ![c](http://a.example/c)\n\n"
                "\\[\nx = \\frac{1}{2}\n\\]\n\n- $\\begin{pmatrix} a \\\\ b \\end{pmatrix}\\;$ and `$5`"
            )
        )
    shown = captured.get()
    assert "It costs $5 and $6 for a₁² <b>x</b> a (javascript:x) image: c (a.example)" in shown
    assert "\nx = 1/2 " in shown
    # What is no line of text is shown as it is, with its backslashes.
    assert r"$\begin{pmatrix} a \\ b \end{pmatrix}\;$ and $5" in shown
