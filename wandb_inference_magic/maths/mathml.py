"""Convert a formula to MathML, for pages without a script, and to text, for a terminal.

latex2mathml passes markup through, and makes links of `\\href`. So its elements and attributes are
checked against a list, and are written here. A formula that it does not convert as a whole is not converted.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from html import escape, unescape
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
_LETTER: Final = re.compile(r"&#x0*[46-7][0-9A-Fa-f];|&#x0*5[0-9Aa];")
_SUPERSCRIPTS: Final = dict(zip("0123456789+-−=()nijkTx′″‴∗*", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱʲᵏᵀˣ′″‴**", strict=True))
_SUBSCRIPTS: Final = dict(zip("0123456789+-−=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))
# Accents over one letter, as combining characters.
_ACCENTS: Final = {
    "¯": "\u0304",
    "―": "\u0305",
    "^": "\u0302",
    "~": "\u0303",
    "→": "\u20d7",
    "˙": "\u0307",
    "¨": "\u0308",
}

_LARGE: Final = "∑∏∫∬∭∮⋃⋂"
_UNSPACED: Final = f"{_LARGE}/∂∇¬√∞∀∃∅′″∆⟨⟩|"
# A minus that begins a term.
_UNARY: Final = re.compile(r"((?:^|[(\[{=<>≤≥≈,+×/^]) *[−-]) ")
_FENCED: Final = re.compile(r"[(\[|‖].*[)\]|‖]")


def to_mathml(source: str) -> str | None:
    """Return a formula with its delimiters as MathML; None if it cannot be converted as a whole."""
    converted = _converted(source)
    return None if converted is None else _written(converted)


def to_text(source: str) -> str | None:
    """Return a formula with its delimiters as one line of text; None if that would not say the same."""
    converted = _converted(source)
    try:
        return None if converted is None else " ".join(_spoken(converted).split())
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _converted(source: str) -> Element | None:
    from latex2mathml.converter import convert_to_element

    tex = source.strip("$")
    if found := _OUTER.fullmatch(tex):
        tex = found[1]
    tex = _ENVIRONMENT.sub(lambda found: rf"\{found['mark']}{{{_ENVIRONMENTS.get(found['name'], found['name'])}}}", tex)
    is_inline = source.startswith("$") and not source.startswith("$$")
    try:
        element = convert_to_element(tex, display="inline" if is_inline else "block")
    except Exception:  # noqa: BLE001 - it raises errors of many kinds, for what it does not know
        return None
    return element if all(map(_is_known, element.iter())) else None


def _is_known(element: Element) -> bool:
    text = unescape(element.text or "")
    return (
        element.tag in _ELEMENTS
        # What it does not know becomes an identifier, as written. It breaks no line in a `mspace`.
        and ("\\" not in text and (element.tag == "mtext" or text != "&") and "linebreak" not in element.attrib)
        and element.get("notation", "box") == "box"
        and all(
            name in _ATTRIBUTES | {"xmlns"} and (name == "xmlns" or _VALUE.fullmatch(value))
            for name, value in element.items()
        )
    )


def _written(element: Element) -> str:
    attributes = {name: value for name, value in element.items() if name in _ATTRIBUTES}
    # It writes upright letters as references. A browser would draw a single letter in italics.
    if element.tag == "mi" and _LETTER.fullmatch(element.text or ""):
        attributes["mathvariant"] = "normal"
    opening = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    inner = escape(unescape(element.text or "")) + "".join(map(_written, element))
    return f"<{element.tag}{opening}>{inner}</{element.tag}>"


def _spoken(element: Element) -> str:
    """Return an element as text. Raise ValueError for one that is more than a line of it."""
    tag, parts = element.tag, [_spoken(child) for child in element]
    if tag in ("menclose", "mpadded", "mphantom", "mtable") or element.get("linethickness") == "0":
        raise ValueError(tag)
    if tag == "mspace":
        return "" if "neg" in element.get("width", "") else " "
    if tag == "mfrac":
        return "/".join(map(_grouped, parts))
    if tag in ("msqrt", "mroot"):
        return f"{_raised(parts[1], _SUPERSCRIPTS, '^') if tag == 'mroot' else ''}√{_grouped(parts[0])}"
    if tag in ("mover", "munder"):
        return _marked(tag, *parts)
    if tag.startswith(("msu", "mund")):
        is_one = element[0].tag in ("mi", "mo", "mtext") or _FENCED.fullmatch(parts[0].strip())
        base = parts[0].strip() if is_one else _grouped(parts[0])
        below = "" if tag == "msup" else _raised(parts[1], _SUBSCRIPTS, "_")
        above = "" if tag == "msub" else _raised(parts[-1], _SUPERSCRIPTS, "^")
        return _apart(base, below + above)
    if element.text:
        return _token(tag, unescape(element.text))
    return _row(element, parts)


def _row(element: Element, parts: list[str]) -> str:
    """Return a row. A fraction next to anything but an operator is in brackets."""
    tags = [child[0].tag if child.tag == "mrow" and len(child) == 1 else child.tag for child in element]
    for number, tag in enumerate(tags):
        beside = (tags[number - 1] if number else "mo", *tags[number + 1 : number + 2])
        if tag == "mfrac" and set(beside) - {"mo", "mspace"}:
            parts[number] = f"({parts[number]})"
    return _UNARY.sub(r"\1", "".join(parts))


def _token(tag: str, text: str) -> str:
    if len(text) == 1 and (text in "·∣" or (unicodedata.category(text) == "Sm" and text not in _UNSPACED)):
        return f" {text} "
    if tag == "mtext":
        return text
    return f"{text} " if text in (",", ";") else _apart(text, "")


def _apart(base: str, marks: str) -> str:
    """Return marks behind their base. A large operator and the name of a function have spaces around them."""
    apart = " " if base in _LARGE or (len(base) > 1 and base.isalpha()) else ""
    return f"{apart}{base}{marks}{apart}"


def _marked(tag: str, base: str, mark: str) -> str:
    base, mark = base.strip(), mark.strip()
    if tag == "munder":
        return _apart(base, _raised(mark, _SUBSCRIPTS, "_"))
    if len(base) == 1 and mark in _ACCENTS:
        return unicodedata.normalize("NFC", base + _ACCENTS[mark])
    raise ValueError(tag)


def _raised(text: str, forms: dict[str, str], mark: str) -> str:
    text = "".join(text.split())
    return "".join(map(forms.__getitem__, text)) if all(one in forms for one in text) else f"{mark}{_grouped(text)}"


def _grouped(text: str) -> str:
    text = text.strip()
    is_one = text.isdigit() or sum(not unicodedata.combining(one) for one in text) == 1
    return text if is_one else f"({text})"
