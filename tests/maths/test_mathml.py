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
    ],
)
def test_a_formula_is_a_line_of_text(tex: str, text: str) -> None:
    assert to_text(f"${tex}$") == text


@pytest.mark.parametrize("tex", [r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}", r"\binom nk", r"\overline{AB}"])
def test_a_formula_of_several_lines_is_not_a_line_of_text(tex: str) -> None:
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
