"""Convert a formula to MathML, for pages without a script, and to text, for a terminal.

latex2mathml passes markup through, and makes links of `\\href`. So its elements and attributes are
checked against a list, and are written here. A formula that it does not convert as a whole is not converted.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from html import escape, unescape
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_ELEMENTS: Final = frozenset(
    {"math", "menclose", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mphantom", "mroot", "mrow", "mspace", "msqrt"}
    | {"mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover"}
)
_ATTRIBUTES: Final = frozenset(
    {"accent", "columnalign", "columnspacing", "depth", "display", "displaystyle", "fence", "form", "height", "largeop"}
    | {"linethickness", "lspace", "mathcolor", "mathvariant", "maxsize", "minsize", "movablelimits", "notation"}
    | {"rowspacing", "rspace", "scriptlevel", "separator", "stretchy", "voffset", "width", "columnlines", "rowlines"}
)
_VALUE: Final = re.compile(r"[\w.+# -]{0,40}", re.ASCII)
# Environments that it does not know, or numbers, and the one that it draws in the same way.
_ENVIRONMENTS: Final = {
    **dict.fromkeys(("aligned", "alignat", "alignat*", "alignedat"), "split"),
    **dict.fromkeys(("gather", "gather*", "gathered"), "matrix"),
    "align": "align*",
    "dcases": "cases",
}
_ENVIRONMENT: Final = re.compile(
    r"\\(?P<mark>begin|end)\{(?P<name>[A-Za-z]+\*?)\}(?P<count>(?<=at\}|t\*\})\s*\{\d+\})?"
    r"(?P<place>(?<=ed\})\s*\[[tbc]\])?"
)
_OUTER: Final = re.compile(
    r"\s*\\begin\{(?:equation|displaymath)\*?\}(.*)\\end\{(?:equation|displaymath)\*?\}\s*", re.DOTALL
)
# One formula a line.
_LINES: Final = re.compile(
    r"\s*\\begin\{(?P<name>aligned|gathered|split|(?:align|gather|eqnarray)\*?)\}(?:(?!\\begin)[\s\S])*\\end\{(?P=name)\}\s*"
)
# Of an operator's name it takes letters and spaces, and of a number no group of digits.
_OPERATOR: Final = re.compile(r"\\operatorname\s*(?P<star>\*?)\s*\{(?P<name>[^{}]*)\}")
_SPACE: Final = re.compile(r"\\[,:; ]|~| ")
_COMMA: Final = re.compile(r"(?<=\d)\{,\}(?=\d)")
_LETTER: Final = re.compile(r"&#x0*[46-7][0-9A-Fa-f];|&#x0*5[0-9Aa];")
_SUPERSCRIPTS: Final = dict(zip("0123456789+-−=()nijkTx′″‴∗*∘", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱʲᵏᵀˣ′″‴**°", strict=True))
_SUBSCRIPTS: Final = dict(zip("0123456789+-−=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))
# Accents over one letter, as combining characters.
_ACCENTS: Final = dict(zip("¯―^~→˙¨", "\u0304\u0305\u0302\u0303\u20d7\u0307\u0308", strict=True))
_LARGE: Final = "∑∏∫∬∭∮⋃⋂"
_UNSPACED: Final = f"{_LARGE}/∂∇¬√∞∀∃∅′″∆⟨⟩|"
# A minus that begins a term.
_UNARY: Final = re.compile(r"((?:^|[(\[{=<>≤≥≈,+×/^]) *[−-]) ")
# Next to these, a fraction reads as one without brackets. Next to other operators it does not: `a/b/c`, `a/b!`.
_BEFORE_FRACTION: Final = "([{⟨⌊⌈,;·"
_AFTER_FRACTION: Final = ")]}⟩⌋⌉,;.·"
_BINDING: Final = "/÷∂∇¬√∆∘∗|~"
# An index, a power or a root that the next letter would seem to belong to.
_OPEN_MARK: Final = re.compile(r"[_^√][^\s()_^√]+$")
_NEEDLESS_SPACE: Final = re.compile(r"\s+(?!\w)|(?<!\w)\s+")
_FENCED: Final = re.compile(r"[(\[|‖].*[)\]|‖]")


def to_mathml(source: str) -> str | None:
    """Return a formula with its delimiters as MathML; None if it cannot be converted as a whole."""
    converted = _converted(source)
    return None if converted is None else _written(converted)


def to_text(source: str) -> str | None:
    """Return a formula with its delimiters as text, a line for each of its own; None if that would not say the same."""
    converted = _converted(source)
    if converted is None:
        return None
    is_lines = _LINES.fullmatch(source.strip("$")) is not None
    rows = converted.iter("mtr") if is_lines else [converted]
    try:
        return "\n".join(" ".join("".join(map(_to_text, row)).split()) for row in rows)
    except (IndexError, ValueError):
        # It makes an element without its parts of `\sum\limits x`.
        return None


@lru_cache(maxsize=256)
def _converted(source: str) -> Element | None:
    from latex2mathml.converter import convert_to_element

    tex = source.strip("$")
    if found := _OUTER.fullmatch(tex):
        tex = found[1]
    tex = _COMMA.sub(r"\\text{,}", _OPERATOR.sub(_operator, tex))
    tex = _ENVIRONMENT.sub(lambda found: rf"\{found['mark']}{{{_ENVIRONMENTS.get(found['name'], found['name'])}}}", tex)
    is_inline = source.startswith("$") and not source.startswith("$$")
    try:
        element = convert_to_element(tex, display="inline" if is_inline else "block")
    except Exception:  # noqa: BLE001 - it raises errors of many kinds, for what it does not know
        return None
    # The parser of HTML knows what the element is.
    del element.attrib["xmlns"]
    return element if all(map(_is_known, element.iter())) else None


def _operator(found: re.Match[str]) -> str:
    """Return the name of an operator as latex2mathml reads it: with spaces that do not break, or as text."""
    name = _SPACE.sub("\xa0", found["name"])
    if all(one.isalpha() or one == "\xa0" for one in name):
        return rf"\operatorname{found['star']}{{{name}}}"
    return found[0] if "\\" in name else rf"\text{{{name}}}"


def _is_known(element: Element) -> bool:
    text = unescape(element.text or "")
    return (
        element.tag in _ELEMENTS
        # What it does not know becomes an identifier, as written.
        and ("\\" not in text and (element.tag == "mtext" or text != "&"))
        and element.get("notation", "box") == "box"
        and all(name in _ATTRIBUTES and _VALUE.fullmatch(value) for name, value in element.items())
    )


def _written(element: Element) -> str:
    attributes = dict(element.items())
    # It writes upright letters as references. A browser would draw a single letter in italics.
    if element.tag == "mi" and _LETTER.fullmatch(element.text or ""):
        attributes["mathvariant"] = "normal"
    opening = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    inner = escape(unescape(element.text or "")) + "".join(map(_written, element))
    return f"<{element.tag}{opening}>{inner}</{element.tag}>"


def _to_text(element: Element) -> str:
    """Return an element as text. Raise ValueError for one that is more than a line of it."""
    tag, parts = element.tag, [_to_text(child) for child in element]
    if tag in ("menclose", "mpadded", "mphantom", "mtable") or element.get("linethickness") == "0":
        raise ValueError(tag)
    if tag == "mspace":
        return "" if "neg" in element.get("width", "") else " "
    if tag == "mfrac":
        return "/".join(map(_grouped, parts))
    if tag in ("msqrt", "mroot"):
        return f"{_raised(parts[1], _SUPERSCRIPTS, '^') if tag == 'mroot' else ''}√{_grouped(parts[0])}"
    if tag == "mover":
        return _accented(*map(str.strip, parts))
    if tag.startswith(("msu", "mund")):
        if tag.startswith("mund") and element[1].tag == "mo":
            raise ValueError(tag)
        below = "" if tag == "msup" else _raised(parts[1], _SUBSCRIPTS, "_")
        above = "" if tag in ("msub", "munder") else _raised(parts[-1], _SUPERSCRIPTS, "^")
        base = parts[0].strip()
        if not base:
            return f"{parts[0]}{below}{above}"
        is_one = _content(element[0]).tag in ("mi", "mo", "mtext") or _FENCED.fullmatch(base)
        return _apart(base if is_one else _grouped(base), below + above)
    if element.text:
        return _token(tag, unescape(element.text))
    return _row(element, parts)


def _content(element: Element) -> Element:
    """Return what is in an element that only groups it."""
    while element.tag in ("mrow", "mstyle") and len(element) == 1:
        element = element[0]
    return element


def _row(element: Element, parts: list[str]) -> str:
    """Return a row. A fraction next to a factor, or to an operator that binds, is in brackets."""
    # Thin spaces are left out: `\frac{1}{x}\,dx`. None is the start, the end or a wide space.
    near = [(number, _content(child)) for number, child in enumerate(element) if not _is_thin(child)]
    around = [None, *(None if child.tag == "mspace" else child for _, child in near), None]
    for (number, child), before, after in zip(near, around, around[2:], strict=False):
        if child.tag == "mfrac" and not _may_stand_between(before, after):
            parts[number] = f"({parts[number]})"
    joined = (
        f" {one}" if one[:1].isalnum() and _OPEN_MARK.search(last) else one for last, one in pairwise(["", *parts])
    )
    return _UNARY.sub(r"\1", "".join(joined))


def _is_thin(element: Element) -> bool:
    return element.tag == "mspace" and not re.match("[12]em", element.get("width", ""))


def _may_stand_between(before: Element | None, after: Element | None) -> bool:
    """Whether a fraction there needs no brackets."""
    left, right = ("" if one is None else unescape(one.text or "x") for one in (before, after))
    if left == right and left in ("|", "‖"):
        return True
    return (left in _BEFORE_FRACTION or _separates(left)) and (
        right in _AFTER_FRACTION or (_separates(right) and right not in _LARGE)
    )


def _separates(text: str) -> bool:
    return len(text) == 1 and unicodedata.category(text) == "Sm" and text not in _BINDING


def _token(tag: str, text: str) -> str:
    if len(text) == 1 and (text in "·∣" or (unicodedata.category(text) == "Sm" and text not in _UNSPACED)):
        return f" {text} "
    if tag == "mtext":
        return text
    return f"{text} " if text in (",", ";") else _apart(text, "")


def _apart(base: str, marks: str) -> str:
    """Return marks behind their base. A large operator and the name of a function have spaces around them."""
    apart = " " if base in _LARGE or (len(base) > 1 and "".join(base.split()).isalpha()) else ""
    return f"{apart}{base}{marks}{apart}"


def _accented(base: str, mark: str) -> str:
    if len(base) == 1 and mark in _ACCENTS:
        return unicodedata.normalize("NFC", base + _ACCENTS[mark])
    raise ValueError(mark)


def _raised(text: str, forms: dict[str, str], mark: str) -> str:
    text = _NEEDLESS_SPACE.sub("", text.strip())
    return "".join(map(forms.__getitem__, text)) if all(one in forms for one in text) else f"{mark}{_grouped(text)}"


def _grouped(text: str) -> str:
    text = text.strip()
    is_one = text.isdigit() or sum(not unicodedata.combining(one) for one in text) == 1
    return text if is_one else f"({text})"
