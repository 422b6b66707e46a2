"""A formula for each name allowed in the maths of a reply, and the corpora of ordinary and of hostile formulas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from wandb_inference_magic.maths.tex_names import (
    BOX_ENVIRONMENTS,
    COLOURS,
    COMMANDS,
    ENVIRONMENTS,
    PLACED_ENVIRONMENTS,
    SYMBOLS,
)

# The delimiters of maths that models use.
DELIMITERS = [
    ("$", "$"),
    ("$$", "$$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("$$\n", "\n$$"),
    (r"\begin{equation}", r"\end{equation}"),
]
DATA = Path(__file__).parent / "data"

# Names that need a formula of their own. A symbol is written alone, and a command with one argument around an x.
_SHAPES = {
    "left": r"\left( x \right)",
    "right": r"\left( x \right]",
    "middle": r"\left( x \middle| y \right)",
    "hline": r"\begin{array}{c} a \\ \hline b \end{array}",
    "hdashline": r"\begin{array}{c} a \\ \hdashline b \end{array}",
    "cr": r"\begin{matrix} a \cr b \end{matrix}",
    "limits": r"\sum\limits_a^b",
    "nolimits": r"\sum\nolimits_a^b",
    "nonumber": r"\begin{align} a \nonumber \end{align}",
    "notag": r"\begin{align} a \notag \end{align}",
    "not": r"\not=",
    "overunderset": r"\overunderset{a}{b}{x}",
    "sideset": r"\sideset{_a^b}{_c^d}\sum",
    "buildrel": r"\buildrel a \over =",
    "prescript": r"\prescript{14}{6}{C}",
    "matrix": r"\matrix{a & b \cr c & d}",
    "pmatrix": r"\pmatrix{a & b \cr c & d}",
    "cases": r"\cases{a & b \cr c & d}",
    "emph": r"\text{\emph{x}}",
    "ce": r"\ce{2H2 + O2 -> 2H2O}",
    "pu": r"\pu{123 kJ//mol}",
}
_OF_TWO = [
    *("frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "tbinom", "stackrel", "stackbin", "overset", "underset"),
    *("splitfrac", "splitdfrac", "ketbra", "Ketbra"),
]
_SIZED = ("big", "Big", "bigg", "Bigg")
_BETWEEN = ("over", "atop", "choose", "brace", "brack")
_OTHERS = {
    "array": r"\begin{array}{c|c} a & b \\ c & d \end{array}",
    "subarray": r"\sum_{\begin{subarray}{c} a \\ b \end{subarray}}",
    "alignat": r"\begin{alignat}{2} a &= b & c &= d \end{alignat}",
    "alignat*": r"\begin{alignat*}{2} a &= b & c &= d \end{alignat*}",
    "alignedat": r"\begin{alignedat}{2} a &= b & c &= d \end{alignedat}",
    "\\": r"\begin{matrix} a \\[2pt] b \end{matrix}",
    "smash": r"\smash[b]{x}",
    "tag": r"x \tag{1}",
    "textcolor": r"\textcolor{red}{x}",
    **{name: rf"\{name}{{x}}" for name in ("cancel", "bcancel", "xcancel")},
    "cancelto": r"\cancelto{0}{x}",
    **{name: rf"a \{name}{{1em}} b" for name in ("hspace", "mspace")},
    **{name: rf"a \{name} 3mu b" for name in ("hskip", "mskip", "kern", "mkern")},
}


def allowed_names() -> dict[str, str]:
    """Return a formula for each allowed control word, environment and colour."""
    symbols = {name: _symbol(name) for name in SYMBOLS if name.strip()}
    commands = {f"{name}(": _command(name) for name in COMMANDS}
    environments = {name: _environment(name) for name in ENVIRONMENTS | BOX_ENVIRONMENTS | PLACED_ENVIRONMENTS}
    colours = {name: rf"\color{{{name}}}{{x}}" for name in COLOURS}
    return dict(sorted({**symbols, **commands, **environments, **colours, **_OTHERS}.items()))


def _symbol(name: str) -> str:
    if name in _SHAPES:
        return _SHAPES[name]
    if name in _BETWEEN:
        return rf"{{a \{name} b}}"
    return rf"\{name}( x" if name.rstrip("lrm") in _SIZED and name != "sqrt" else rf"\{name}"


def _command(name: str) -> str:
    if name in _SHAPES:
        return _SHAPES[name]
    return rf"\{name}{{x}}{{y}}" if name in _OF_TWO else rf"\{name}{{x}}"


def _environment(name: str) -> str:
    row = "a &= b" if name.startswith(("align", "split", "flalign", "eqnarray")) else "a"
    row = "a & b" if "matrix" in name or "cases" in name else row
    return rf"\begin{{{name}}} {row} \\ {row} \end{{{name}}}"


def ordinary_texts() -> Iterator[tuple[str, str]]:
    """Yield topic and text of each entry in the corpus of ordinary formulas."""
    topic = ""
    text = (DATA / "formulas.md").read_text(encoding="utf-8")
    for found in re.finditer(
        r"^````text\n(?P<entry>.*?)\n````$|^## (?P<topic>[^\n]+)$", text, re.MULTILINE | re.DOTALL
    ):
        topic = found["topic"] or topic
        if found["entry"]:
            yield topic, found["entry"]


def hostile_formulas(url: str) -> dict[str, str]:
    """Return the hostile formulas by name. Those that try to load something use `url`."""
    entries = json.loads((DATA / "hostile_tex.json").read_text(encoding="utf-8"))
    return {entry["name"]: entry["tex"].replace("URL", url) for entry in entries}
