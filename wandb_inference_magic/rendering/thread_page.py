"""A thread as one self-contained HTML page that sends no requests, with its text made safe."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from ..markup import safe_document
from ..text import safe_plain
from .reply import markdown_to_html
from .turn_parts import thread_parts

if TYPE_CHECKING:
    from ..messages import Thread

# A second protection besides the safe text: the page may load nothing and run nothing.
POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE: Final = """\
:root { color-scheme: light dark; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }
blockquote { margin: 1rem 0; padding: .1rem .9rem; border-left: .25rem solid #3b6fb6; overflow-wrap: anywhere; }
small { opacity: .8; }
img { max-width: 100%; }
pre { overflow-x: auto; padding: .6rem .9rem; background: #8882; }
table { border-collapse: collapse; }
th, td { border: 1px solid #888; padding: .2rem .5rem; text-align: left; }
math[display="block"] { margin: .6rem 0; overflow-x: auto; }
menclose { border: 1px solid; padding: .2em; }
mtd[columnalign="left"] { text-align: left; }
mtd[columnalign="right"] { text-align: right; }
[mathvariant="bold"], [mathvariant="bold-italic"] { font-weight: bold; }
"""


def to_html(thread: Thread) -> str:
    """Return a thread as the text of an HTML page. Maths is MathML, so that the page needs no script."""
    title = escape(safe_plain(thread.name))
    body = markdown_to_html(safe_document(thread_parts(thread)), mathml=True)
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""
