"""Make text literal within Markdown: no parser reads anything in it as markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import Final

from ..text import safe_plain
from .links import unlinked

# What Markdown, HTML or maths could read as more than a character, within a line and at its start.
_ACTIVE: Final = re.compile(r"[`*_$|~]")
# marked removes the backslashes before brackets in a link's label, and JupyterLab finds maths after two backslashes.
_ENTITIES: Final = str.maketrans({one: f"&#{ord(one)};" for one in "\\[]{@"} | {"&": "&amp;", "<": "&lt;"})
_LINE_START: Final = re.compile(r"^([#+>=-]|\d+(?=[.)](?:\s|$)))")
# What MathJax reads in a text as the start or end of maths, or as a reference.
_TEX_MARK: Final = re.compile(
    r"\\?(?P<word>\\(?:begin|end|ref|eqref))(?![A-Za-z])|\\\\\\?(?P<bracket>[(\[])|\\.", re.DOTALL
)
_REFERENCE: Final = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);?")
_TYPESET_MARK: Final = re.compile(r"(\\(?:[(\[]|(?:begin|ref|eqref)(?![A-Za-z])))")
# The marks of an image, a link, a reference and a definition. A definition may begin not only at the start of a line,
# but for example also after a task's checkbox. After such a box some parsers start a block.
_BRACKET_MARK: Final = re.compile(
    r"!(?=\[)|(?<=\])[(\[:]|^\[(?=[ xX]\]\s+(?:[>#+=|-]|\d+[.)]|\*\s|~~~|```))", re.MULTILINE
)
# JupyterLab removes the backslash before a dollar, then looks for maths between two dollars. It does not look across
# an element's boundaries. GitHub's documentation names the same element for this.
DOLLAR: Final = r"\$"
DOLLAR_APART: Final = r"<span>\$</span>"
# Quarto runs a shortcode in code too: one shows a variable of the environment, another loads an address.
_SHORTCODE: Final = "{{<"
_NO_SHORTCODES: Final = " {shortcodes=false}"


def safe_inline(text: str) -> str:
    """Return a short text as one line of Markdown that shows it literally, also in a table cell.

    A page may hold several such texts. `safe_document` makes sure that their dollars make no maths.
    """
    # Every second piece is a mark. MathJax sees the page, not the Markdown. It ignores a mark only in code.
    pieces = _TYPESET_MARK.split(" ".join(safe_plain(text).split()))
    line = "".join(f"`{piece}`" if number % 2 else _escaped(piece) for number, piece in enumerate(pieces))
    return _LINE_START.sub(lambda found: f"&#{ord(found[1][0])};{found[1][1:]}", line)


def quotation(text: str) -> str:
    """Return a text as a Markdown quotation that shows it literally, line by line."""
    return "\n".join(f"> {safe_inline(line)}\\" for line in text.splitlines()).rstrip("\\")


def _escaped(text: str) -> str:
    escaped = _ACTIVE.sub(r"\\\g<0>", text.translate(_ENTITIES))
    # MathJax takes one of two backslashes from the page, and one before a dollar, unless an element is between them.
    return unlinked(re.sub(r"&#92;(?=&#92;|\\\$)", r"&#92;<span></span>", escaped))


def dollars_apart(markdown: str) -> str:
    """Return literal text in which the dollars of a paragraph make no maths."""
    paragraphs = markdown.split("\n\n")
    return "\n\n".join(one.replace(DOLLAR, DOLLAR_APART) if one.count(DOLLAR) > 1 else one for one in paragraphs)


def fenced(text: str, language: str) -> str:
    """Return a text as a code block that nothing in it can close."""
    fence = fence_around(text)
    return f"{fence}{fence_info(language, text)}\n{text}\n{fence}"


def fence_info(language: str, code: str) -> str:
    """Return what follows the opening fence of a code block: its language, and that it has no shortcodes."""
    # nbconvert shows a language that it does not know.
    return f"{language or 'text'}{_NO_SHORTCODES}" if _SHORTCODE in code else language


def without_shortcodes(span: str) -> str:
    """Return a code span as two, where one would hold the begin of a shortcode."""
    ticks = span[: len(span) - len(span.lstrip("`"))]
    return span.replace(_SHORTCODE, f"{{{ticks}<span></span>{ticks}{_SHORTCODE[1:]}")


def fence_around(code: str, fence: str = "```") -> str:
    """Return a fence that nothing in the code can close, at any position in a line."""
    longest = max(map(len, re.findall(f"{fence[0]}+", code)), default=0)
    return fence[0] * max(len(fence), longest + 1)


def maths_as_code(source: str) -> str:
    """Return maths as code that nothing in it can close, each line for itself.

    Display maths is without its `$$`, which nbconvert reads as maths even in code.
    """
    if source.startswith("$$") and source.endswith("$$") and len(source) > 4:
        source = source[2:-2].strip()
    return re.sub(r"\S(?:.*\S)?", _code_span, source)


def _code_span(found: re.Match[str]) -> str:
    code = found[0]
    ticks = fence_around(code, "`")
    pad = " " if "`" in (code[0], code[-1]) else ""
    return without_shortcodes(f"{ticks}{pad}{code}{pad}{ticks}")


def tex_marks(content: str, edits: Sequence[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Yield the edits that turn into code each TeX mark of an inline text that is outside the other edits.

    The last edit is an empty one at the end of the text.
    """
    position = 0
    the_end = (len(content), len(content), "")
    for start, end, _ in [*edits, the_end]:
        for found in _TEX_MARK.finditer(content, position, max(start, position)):
            if word := found["word"]:
                yield found.start(), found.end(), f"`{word}`"
            elif bracket := found["bracket"]:
                yield found.start(), found.end(), f"`\\{bracket}`"
        position = end
    yield the_end


def literal(text: str, *, apart: bool = False) -> str:
    """Return inline text with its emphasis kept and nothing else that a parser could read as markup.

    `apart` tells whether its dollars could make maths with others.
    """
    text = _REFERENCE.sub(_harmless_reference, text)
    text = _BRACKET_MARK.sub(lambda found: f"&#{ord(found[0])};", text)
    # nbconvert reads this as a heading, even without a space after it.
    text = re.sub(r"^( *)#(?=#*[^#\s])", r"\1\\#", text, flags=re.MULTILINE)
    # A backtick that starts no code here could start code elsewhere, and turn other code into text.
    dollar = DOLLAR_APART if apart else DOLLAR
    # One tilde is "about", and some parsers strike out what is between two of them. Pandoc, which makes PDF files,
    # passes commands on to TeX, and reads attributes in braces.
    escaped = {
        "$": dollar,
        r"\$": dollar,
        "`": r"\`",
        "~": r"\~",
        "\\": "&#92;",
        "{": "&#123;",
        "<": "&lt;",
        r"\<": "&lt;",
    }
    form = r"\\(?![A-Za-z]).|[$`{\\<]|(?<!~)~(?!~)"
    return re.sub(form, lambda found: escaped.get(found[0], found[0]), text, flags=re.DOTALL)


def literal_line(line: str) -> str:
    """Return text that some parsers assign to no Markdown element, with nothing in it that others read as markup."""
    parts, position = [], 0
    for start, end, code in tex_marks(line, []):
        parts += [literal(line[position:start], apart=True), code]
        position = end
    return "".join(parts)


def _harmless_reference(found: re.Match[str]) -> str:
    """Return a character reference unchanged, or as text if it stands for a letter or a mark of Markdown or TeX."""
    meant = unescape(found[0])
    is_harmless = meant == found[0] or all(not one.isascii() or one in "<>&\"'" for one in meant)
    return found[0] if is_harmless else f"&amp;{found[0][1:]}"
