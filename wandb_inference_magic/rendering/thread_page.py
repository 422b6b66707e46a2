"""A thread as one self-contained HTML page that sends no requests, with its text made safe."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from ..markup import sanitize_markdown
from ..text import safe_plain
from .reply import markdown_to_html

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..messages import Thread

# A second protection besides the safe text: the page may load nothing and run nothing.
POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE: Final = """\
:root { color-scheme: light dark; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }
.prompt, .system { white-space: pre-wrap; overflow-wrap: anywhere; padding: .6rem .9rem; }
.prompt, .system { border-left: .25rem solid #3b6fb6; }
.system { border-color: #888; font-style: italic; }
pre { overflow-x: auto; padding: .6rem .9rem; background: #8882; }
table { border-collapse: collapse; }
th, td { border: 1px solid #888; padding: .2rem .5rem; text-align: left; }
"""


def to_html(thread: Thread) -> str:
    """Return a thread as the text of an HTML page. Maths is kept as LaTeX."""
    title = escape(safe_plain(thread.name))
    body = "\n".join(_body(thread))
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


def _body(thread: Thread) -> Iterator[str]:
    if thread.system:
        yield _words("system", thread.system)
    for number, turn in enumerate(thread.turns, 1):
        yield f"<h2>Turn {number}</h2>"
        if turn.system:
            yield _words("system", turn.system)
        yield _words("prompt", turn.words)
        yield f'<div class="reply">\n{markdown_to_html(sanitize_markdown(turn.reply))}</div>'


def _words(kind: str, text: str) -> str:
    return f'<div class="{kind}">{escape(safe_plain(text))}</div>'
