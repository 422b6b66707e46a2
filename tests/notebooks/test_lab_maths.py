"""Maths in JupyterLab, Notebook 7 and nbconvert's page: ordinary and hostile formulas, with the real MathJax."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import JupyterServer, Lab, Watch, keep_screenshot
from known_models import MODELS
from nbconvert import HTMLExporter
from playwright.sync_api import Page, expect
from service import Streamed, Wandb, pieces
from tex_examples import DELIMITERS, allowed_names, hostile_formulas

pytestmark = pytest.mark.browser

URL = "http://evil.example/leak"
MARKS = [
    *DELIMITERS,
    (r"\\(", r"\\)"),
    ("- $", "$"),
    ("# $", "$"),
    ("| a |\n|---|\n| $", "$ |"),
    ("[$", "$](https://ok.example)"),
    ("&#36;", "&#36;"),
]
HOSTILE = [tex for tex in hostile_formulas(URL).values() if len(tex) < 1900]
# Marks in two parts of an output, with text between them that would be active.
HALVES = ("`\\begin{a}` x", f"```\n\\end{{a}} <img src={URL}><script>alert(1)</script>\n```")

# What MathJax could make of a formula: links, images, styles that load, classes and ids of the formula.
ACTIVE = f"""
root => [...root.querySelectorAll('*')].filter(one =>
    ['SCRIPT', 'IFRAME', 'MGLYPH'].includes(one.tagName) ||
    (one.tagName === 'IMG' && !one.src.startsWith('data:image/png')) ||
    (one.getAttribute('style') || '').includes('url(') ||
    (one.closest('mjx-container') && (one.tagName === 'A' || one.getAttribute('href'))) ||
    [...one.attributes].some(a => a.name.startsWith('on') || (a.name !== 'href' && a.value.includes('{URL}')))
).map(one => one.outerHTML.slice(0, 200))
"""


def hostile_text() -> str:
    marks = cycle(MARKS)
    return "\n\n".join(f"{opener}{tex}{closer}" for tex, (opener, closer) in zip(HOSTILE, marks, strict=False))


def test_each_allowed_name_is_drawn_without_an_error(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, watch: Watch
) -> None:
    examples = allowed_names()
    wandb_hosts.api.always = Streamed(
        ["\n\n".join(f"{number} ${tex}$" for number, tex in enumerate(examples.values()))]
    )
    lab = Lab.open(server, page, "names.ipynb", ["%load_ext wandb_inference_magic", "%wbchat --once hi"])
    lab.run(0)
    lab.run(1)
    reply = lab.output(1)
    expect(reply.locator("mjx-container")).to_have_count(len(examples))
    failed = reply.evaluate(
        """root => [...root.querySelectorAll('p')].filter(p =>
            p.querySelector('mjx-merror, [data-mjx-error], mjx-mtext[style*="red"]')).map(p => p.textContent)"""
    )
    names = list(examples)
    assert [names[int(text.split()[0])] for text in failed] == []
    assert reply.evaluate(ACTIVE) == []
    watch.assert_nothing()
    keep_screenshot(page, "maths-names")


ORDINARY = [
    # Text in a formula, with marks that MathJax refuses there.
    r"\[ \text{Recall} = \frac{\text{true_pos}}{\text{n_total}} + \texttt{R&D} + \text{50%} + \text{m^2} \]",
    "$$\nf(x) = \\begin{cases} 0 & \\text{if x < 0} \\\\ 1 & \\text{if $x > 0$} \\end{cases}\n$$",
    # Arrows of chemistry, and the texts above and below one.
    r"$\ce{N2 + 3H2 <=> 2NH3}$",
    r"$\ce{A ->[H2O][\Delta] B}$",
    # A formula of several lines in a quotation.
    "> **Theorem.** For all $a +\n> b = c$ holds\n>\n> $$\n> a = b + c\n> $$",
    # Delimiters as in the text of a JSON answer.
    r"\\( x_1 = \\frac{1}{2} \\)",
]
SNIPPETS = [
    "df$total <- df$price * df$qty",
    'const el = $("#a"); $(".b").hide();',
    'latex = r"\\begin{x} a \\end{x}"',
]


def test_ordinary_formulas_and_code_are_shown_as_meant(server: JupyterServer, wandb_hosts: Wandb, page: Page) -> None:
    code = "\n".join(f"1. Run:\n   ```javascript\n   {snippet}\n   ```" for snippet in SNIPPETS)
    wandb_hosts.api.always = Streamed(["\n\n".join([*ORDINARY, code])])
    lab = Lab.open(server, page, "ordinary.ipynb", ["%load_ext wandb_inference_magic", "%wbchat --once hi"])
    lab.run(0)
    lab.run(1)
    reply = lab.output(1)
    expect(reply.locator("mjx-container")).to_have_count(len(ORDINARY) + 1)
    expect(reply.locator("mjx-merror, [data-mjx-error], mjx-mtext[style*='red']")).to_have_count(0)
    # JupyterLab would draw the marks of the quotation as "greater than".
    expect(reply.locator("blockquote mjx-c.mjx-c3E")).to_have_count(0)
    # An arrow with two halves, in place of "less than", equals sign, "greater than".
    expect(reply.locator("mjx-container").nth(2).locator("mjx-c.mjx-c3C, mjx-c.mjx-c3D")).to_have_count(0)
    assert [text.strip() for text in reply.locator("pre code").all_inner_texts()] == SNIPPETS
    keep_screenshot(page, "maths-ordinary")


CELLS = [
    "%load_ext wandb_inference_magic\nrows = ['a', 'b']",
    "%wbchat hi",
    "%wbchat --format html hi",
    f"%wbchat -m {MODELS[0]} -m {MODELS[1]} hi",
    "%wbthread main --show",
    "%%wbmap rows --no-cache\nhi",
    "%wbchat --once hi",
]


def test_hostile_formulas_load_nothing(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, watch: Watch, path: str, tmp_path: Path
) -> None:
    """Streamed, saved, opened again untrusted, and as nbconvert's page: no request, no script, no dialog."""
    text = hostile_text()
    wandb_hosts.api.always = Streamed(
        [text[start : start + 400] for start in range(0, len(text), 400)],
        per_second=100,
        reasoning=pieces(f"{HALVES[0]} ${HOSTILE[0]}$ \\[{HOSTILE[1]}\\]"),
    )
    name = f"hostile-maths-{path.partition('/')[0]}.ipynb"
    lab = Lab.open(server, page, name, CELLS, path=path)
    for number in range(5):
        lab.run(number)
    wandb_hosts.api.always = Streamed(
        [f"${HOSTILE[0]}$ \\({HOSTILE[2]}\\) \\begin{{equation}}{HOSTILE[3]}\\end{{equation}}"]
    )
    lab.run(5)
    wandb_hosts.api.always = Streamed([HALVES[1]], reasoning=[HALVES[0]])
    lab.run(6)
    assert_outputs_are_inert(lab, watch)
    saved = lab.save()
    lab.close()
    server.end_kernel(name)
    server.write_untrusted(name, saved, *range(1, len(CELLS)))
    lab.open_again()
    assert_outputs_are_inert(lab, watch)
    assert_exported_page_is_inert(saved, page.context.new_page(), tmp_path)


def assert_outputs_are_inert(lab: Lab, watch: Watch) -> None:
    """Check that the output of each cell is shown, and that nothing in it is active."""
    for number in range(1, len(CELLS)):
        output = lab.cell(number).locator(".jp-OutputArea")
        expect(output.locator(".jp-OutputArea-output").first).to_be_visible()
        assert output.evaluate(ACTIVE) == [], CELLS[number]
    for number in (1, 2, 4):
        expect(lab.cell(number).locator(".jp-OutputArea")).to_contain_text("enclose")
    expect(lab.cell(3).locator(".jp-OutputArea")).to_contain_text("mmlToken")
    watch.assert_nothing()


def assert_exported_page_is_inert(saved: dict[str, Any], page: Page, folder: Path) -> None:
    watch = Watch(page)
    html, _ = HTMLExporter().from_notebook_node(nbformat.reads(json.dumps(saved), as_version=4))
    (folder / "exported.html").write_text(html, encoding="utf-8")
    page.goto((folder / "exported.html").as_uri(), wait_until="domcontentloaded")
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.first).to_be_visible()
    for output in outputs.all():
        assert output.evaluate(ACTIVE) == []
    watch.assert_nothing()
