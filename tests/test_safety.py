"""Untrusted text is inert wherever it is shown, and what was meant is what is rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from wandb_inference_magic.safety import safe_inline, safe_markdown, safe_plain


def parsed(markdown: str) -> Iterator[Token]:
    """Parse as a front end that allows everything would."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: True  # type: ignore[method-assign]

    def flat(tokens: list[Token]) -> Iterator[Token]:
        for token in tokens:
            yield token
            yield from flat(token.children or [])

    return flat(parser.parse(markdown))


def assert_inert(markdown: str) -> None:
    for token in parsed(markdown):
        assert not token.type.startswith("html"), token
        if token.type == "image":
            assert re.match(r"data:image/(png|jpeg|gif|webp);base64,", str(token.attrs["src"]), re.IGNORECASE), token
        if token.type == "link_open":
            assert re.match(r"https?://|mailto:|#", str(token.attrs["href"]), re.IGNORECASE), token
    # nbconvert's own parser is another one, and does not sanitise.
    html = markdown2html_mistune(markdown)
    assert not re.search(
        r"<(img(?! src=.data:image/)|script|iframe|svg|object|embed|form|input|style|meta|base)\b", html, re.I
    )
    assert not re.search(r"(href|src)=[\"']?\s*(javascript|vbscript|file|data:text)", html, re.I)
    assert not re.search(r"<[^>]*\son\w+=", re.sub(r"(href|title|alt)=\"[^\"]*\"", "", html), re.I)


HOSTILE = [
    "<img src=http://evil.example/x>",
    "a <IMG SRC='http://evil.example/x' onerror=alert(1)> b",
    "<script>alert(1)</script>",
    "<div>\n\n![x](http://evil.example/x)\n\n</div>",
    "<!-- never closed",
    "<!-- --><img src=x>",
    "<![CDATA[ <img src=x> ]]>",
    "<?php <img src=x> ?>",
    "<style>@import 'http://evil.example/x'</style>",
    "<svg onload=alert(1)>",
    "<iframe src=http://evil.example></iframe>",
    "</details><img src=x>",
    "![a](http://evil.example/x.png)",
    '![a](http://evil.example/x.png "t")',
    "![a](<http://evil.example/x y.png>)",
    "![a] (http://evil.example/x.png)",
    "![a](//evil.example/x.png)",
    "![a](/api/kernels)",
    "![a](attachment:x.png)",
    "![a](data:image/svg+xml;base64,PHN2Zz4=)",
    "![a](data:text/html;base64,PHNjcmlwdD4=)",
    "![a](http://evil.example/x.png",
    "![a\n](http://evil.example/x.png)",
    "![a](\nhttp://evil.example/x.png\n)",
    "![a][r]\n\n[r]: http://evil.example/x.png",
    "![r][]\n\n[r]: http://evil.example/x.png",
    "![r]\n\n[r]: http://evil.example/x.png 'title'",
    "> [r]: http://evil.example/x.png\n\n![r]",
    "[r]:\nhttp://evil.example/x.png\n\n![r]",
    "text\n[r]: javascript:alert(1)\n\n[r]",
    "[![a](http://evil.example/x.png)](https://ok.example)",
    "[![a](http://evil.example/x.png)](javascript:alert(1))",
    "| a | b |\n|---|---|\n| ![x](http://evil.example/x) | <img src=x> |",
    "| a |\n|---|\n| `\\|` <img src=x> |",
    "- ![x](http://evil.example/x)\n  - <img src=x>",
    "> ![x](http://evil.example/x)\n> <img src=x>",
    "# ![x](http://evil.example/x)",
    "![x](http://evil.example/x)\n===",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java&#115;cript:alert(1))",
    "[a](java&Tab;script:alert(1))",
    "[a](<java\tscript:alert(1)>)",
    "[a]( javascript:alert(1))",
    "[a](\x01javascript:alert(1))",
    "[a](vbscript:x)",
    "[a](data:text/html,<script>alert(1)</script>)",
    "[a](file:///etc/passwd)",
    "[a][r]\n\n[r]: javascript:alert(1)",
    "<javascript:alert(1)>",
    '<http://evil.example/"onmouseover=alert(1)>',
    "`code` <img src=x> `",
    "`` ` <img src=x>",
    "` <img src=x>\n\n`",
    "```\ncode\n``` <img src=x>",
    "```mermaid\ngraph TD; A-->B\n```",
    "```html <img src=x>\nx",
    "~~~ <img src=x> ~~~\nx",
    "    <img src=x>",
    "- a\n\n      <img src=x>",
    "1. a\n<img src=x>\n   ```\n<img src=x>",
    "$5 <img src=x onerror=alert(1)> $",
    "$<img src=x>$",
    "$$\n<img src=x>\n$$",
    "\\[ <img src=x> \\]",
    "\\( ![a](http://evil.example/x) \\)",
    "$![a](http://evil.example/x)$",
    "$`<img src=x>`$ `$",
    "\\<img src=x>",
    "\\![a](http://evil.example/x)",
    "!\\[a](http://evil.example/x)",
    "!<!-- -->[a](http://evil.example/x)",
    "&lt;img src=x&gt;<img src=x>",
    "a\\\n<img src=x>",
    "*[a*](javascript:x)",
    '[a](http://ok.example/$x$ "<img src=x>")',
    "\x00<img src=x>\x1b[31m",
    "a\r<img src=x>\r\n![a](http://evil.example)",
    "[`](javascript:x)`](javascript:y)",
    "![[a](http://evil.example/1)](http://evil.example/2)",
    "- a\n\n      <img src=x>1. a\n<img src=x>\n   ```\n<img src=x>```\n1. a\n<img src=x>\n   ```\n<img src=x>",
    "1. a\n  ```\n<img src=x>\n  ```",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_is_inert(text: str) -> None:
    assert_inert(safe_markdown(text))


@given(
    st.lists(
        st.sampled_from([*HOSTILE, "\n", "\n\n", " ", "`", "```\n", "$", "> ", "- ", "|", "\\", "]", "("]), max_size=6
    )
)
def test_hostile_pieces_put_together_are_inert(pieces: list[str]) -> None:
    assert_inert(safe_markdown("".join(pieces)))


@given(st.text(alphabet="<>![]()`$\\|-*_~#:/\n \tajx\"'=&;1."))
def test_any_text_of_active_characters_is_inert(text: str) -> None:
    assert_inert(safe_markdown(text))


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert isinstance(safe_markdown(text), str)
    assert isinstance(safe_inline(text), str)


BENIGN = [
    "Plain text, with *emphasis*, **strength**, ~~strikes~~ and `code < 3`.",
    "# Title\n\nText.\n\n## Another\n\nMore text\nover two lines.",
    "- a\n- b\n  - c\n\n1. one\n2. two",
    "> a quote\n> goes on",
    "```python\nif a < b: print('<b>', \"$x$\", '![a](b)')\n```",
    "````\n```\ninner\n```\n````",
    "| a | b |\n|---|:-:|\n| `x\\|y` | *z* |",
    "A [link](https://ok.example/a?b=c&d=e#f) and mail to [me](mailto:me@ok.example).",
    "Inline $x_1 + y^{2}$ and\n\n$$\nE = mc^2\n$$\n\nas it is.",
    "a --- b ... c; 3 * 4 * 5; snake_case_name; 50% {braces} @at",
    "![dot](data:image/png;base64,iVBORw0KGgo=)",
]


@pytest.mark.parametrize("text", BENIGN)
def test_what_is_harmless_comes_through_unchanged(text: str) -> None:
    assert safe_markdown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\(a_1\) and \( b \)", "$a_1$ and $b$"),
        (r"\[ x < y \]", r"$$ x \lt  y $$"),
        ("\\[\na\n+ b\n\\]", "$$\na\n+ b\n$$"),
        ("so:\n\\[\nx\n\\]\nend", "so:\n$$\nx\n$$\nend"),
        (r"`\(code\)`", r"`\(code\)`"),
        ("```\n\\[ code \\]\n```", "```\n\\[ code \\]\n```"),
        ("It costs $5.", r"It costs \$5."),
        # Without an element between them JupyterLab would take what stands between two dollars for maths.
        ("It costs $5 and $6.", r"It costs \$[](#)5 and \$[](#)6."),
        (r"already \$5", r"already \$5"),
        ("a <b> c", "a &lt;b> c"),
        ("![cat](http://pics.example/c.png)", "[image: cat (pics.example)](http://pics.example/c.png)"),
        ("[![cat](http://pics.example/c.png)](https://ok.example)", "[image: cat (pics.example)](https://ok.example)"),
        ("[run](javascript:go())", "run (`javascript:go()`)"),
        ("see [docs][d]\n\n[d]: https://ok.example", "see [docs](https://ok.example)\n\n"),
        ("<https://ok.example/a>", "[https&#58;//ok.example/a](https://ok.example/a)"),
        ("```python\nopen", "```python\nopen\n```"),
        ("    indented <b>", "```\nindented <b>\n```"),
        ("```mermaid\nx\n```", "```text\nx\n```"),
    ],
)
def test_what_is_rewritten(text: str, expected: str) -> None:
    assert safe_markdown(text) == expected


def test_images_of_allowed_hosts_load() -> None:
    text = "![a](https://pics.example/a.png) ![b](https://pics.example.evil.example/b.png)"
    assert safe_markdown(text, ["Pics.Example"]) == (
        "![a](https://pics.example/a.png) [image: b (pics.example.evil.example)](https://pics.example.evil.example/b.png)"
    )


@given(st.lists(st.sampled_from([*HOSTILE, *BENIGN]), max_size=4))
def test_what_follows_stays_outside(pieces: list[str]) -> None:
    """A footer behind any reply is a paragraph of its own: nothing in the reply swallows it."""
    tokens = list(parsed(safe_markdown("\n\n".join(pieces)) + "\n\nthe footer"))
    last = [token for token in tokens if token.type == "inline"][-1]
    assert last.content == "the footer"
    assert tokens[-1].level == 0 or tokens[tokens.index(last) - 1].level == 0


@pytest.mark.parametrize(
    "piece", ["[", "![", "<", "$", "`", "\\(", "\\[", "*", "](", "[](", "> ", "- ", "|", "a\n| - |\n", "$a "]
)
def test_time_grows_no_faster_than_the_text(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        start = process_time()
        safe_markdown(text)
        return process_time() - start

    seconds(100)
    short, long = (min(seconds(length) for _ in range(3)) for length in (4000, 16_000))
    # Four times the text: linear is 4, quadratic 16. The floor keeps out what is too quick to measure.
    assert long < 10 * max(short, 0.03)


def test_terminal_text() -> None:
    text = "a\x1b[31mred\x1b[0m\x1b]0;title\x07b\x1b]8;;http://evil.example\x1b\\link\x9b1mc\x08\x00\td\r\ne\rf\u202eg"
    assert safe_plain(text) == "aredblinkc\td\ne\nfg"


@given(
    st.text() | st.lists(st.sampled_from(["\x1b", "[", "]", "31m", "\x07", "\\", "\x9b", "a", "\r", "\n"])).map("".join)
)
def test_plain_text_has_no_controls(text: str) -> None:
    plain = safe_plain(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", plain)
    assert safe_plain(plain) == plain


@given(st.text(alphabet="<>![]()`$\\|-*_~#:/\n \tajx\"'=&;1.+") | st.text())
def test_inline_text_is_literal(text: str) -> None:
    tokens = list(parsed(safe_inline(text)))
    assert {token.type for token in tokens} <= {"paragraph_open", "paragraph_close", "inline", "text"}
    shown = "".join(token.content for token in tokens if token.type == "text")
    assert shown == " ".join(safe_plain(text).split())
