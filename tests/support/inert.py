"""Hostile texts, and checks that Markdown is inert: that it does nothing but show text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from pandoc import as_pandoc_reads

from wandb_inference_magic.maths import is_ordinary_maths

DATA_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,", re.IGNORECASE)
LINK = re.compile(r"https?://|mailto:|#", re.IGNORECASE)


def parsed(markdown: str) -> Iterator[Token]:
    """Parse like a front end that allows everything."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: True  # type: ignore[method-assign]

    def flat(tokens: list[Token]) -> Iterator[Token]:
        for token in tokens:
            yield token
            yield from flat(token.children or [])

    return flat(parser.parse(markdown))


def assert_inert(markdown: str, *, for_pandoc: bool = True) -> None:
    """Check that Markdown is inert. Pandoc takes for ever for deep nesting."""
    for token in parsed(markdown):
        # The element that keeps dollars apart.
        assert not token.type.startswith("html") or token.content in ("<span>", "</span>"), token
        if token.type == "image":
            assert DATA_IMAGE.match(str(token.attrs["src"])), token
        if token.type == "link_open":
            assert LINK.match(str(token.attrs["href"])), token
    # nbconvert uses another parser, and does not sanitize.
    html = re.sub(r'<input class="[\w-]+" type="checkbox" disabled(?: checked)?/>', "", markdown2html_mistune(markdown))
    assert not re.search(
        r"<(img(?! src=.data:image/)|script|iframe|svg|object|embed|form|input|style|meta|base)\b", html, re.I
    )
    assert not re.search(r"(href|src)=[\"']?\s*(javascript|vbscript|file|data:text)", html, re.I)
    assert not re.search(r"<[^>]*\son\w+=", re.sub(r"(href|title|alt)=\"[^\"]*\"", "", html), re.I)
    if for_pandoc:
        assert_inert_for_pandoc(markdown)


def assert_inert_for_pandoc(markdown: str) -> None:
    """Check that Pandoc, which passes on TeX and reads attributes and settings, finds only text, links and maths."""
    document = as_pandoc_reads(markdown)
    assert document["meta"] == {}
    for node in _pandoc_nodes(document["blocks"]):
        kind, content = node["t"], node.get("c")
        if kind in ("RawInline", "RawBlock"):
            form, raw = content
            assert is_ordinary_maths(raw) if form == "tex" else raw in ("<span>", "</span>"), node
        elif kind == "Math":
            assert is_ordinary_maths(content[1]), node
        elif kind in ("Header", "CodeBlock", "Code", "Link", "Image", "Span", "Div"):
            name, classes, attributes = content[1 if kind == "Header" else 0]
            assert not name, node
            assert not attributes, node
            # A language, or the kind of a bare address.
            assert kind == "CodeBlock" or classes in ([], ["uri"], ["email"]), node
            address = content[2][0] if kind in ("Link", "Image") else "#"
            assert (DATA_IMAGE if kind == "Image" else LINK).match(address), node


def _pandoc_nodes(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if "t" in part:
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from _pandoc_nodes(one)


HOSTILE = [
    # Pandoc, which makes PDF files: TeX, raw HTML, attributes, and settings of the document.
    r"See \input{/etc/hostname} and `\input{/etc/hostname}`{=latex} or C:\Users\new\file.",
    "`<script>alert(1)</script>`{=html} ``a``{=html} `a`\\{=html}",
    "# Title {onmouseover=x}\n\nOther {#id onclick=x}\n===",
    "[a](http://ok.example){onclick=x} [b]{onclick=x} <http://ok.example>{onclick=x}",
    "![dot](data:image/png;base64,iVBORw0KGgo=){onload=x}",
    '::: {style="background:url(http://evil.example/x)"}\nx\n:::\n\n:::: note\nx\n::::',
    "---\ntitle: x\nheader-includes: \\input{x}\n---\n\na\n\n---\nb: [c]\n---\n",
    "a\n\n---\n[b\n---\n",
    "```{=html}\n<script>\n```\n\n~~~ {.x onclick=x}\nb\n~~~",
    "1. \\def\\x{y}\n\n> \\include{x}\n\n| a | b |\n|---|---|\n| `x`{=latex} | \\input{x} |",
    "Term\n: \\input{x}\n\n(@) \\input{x}\n\n| line \\input{x}\n| b",
    "a^[\\input{x}] @b [@c; \\input{x}] \\\\(a\\input{x}\\\\) \\\\\\input{x} &#92;input{x} &bsol;input{x}",
    "+---+\n| \\input{x} |\n+---+",
    # To Pandoc, a formula does not end with a blank, and then another one begins here.
    "$a<$`\\input{x}$`",
    # To Pandoc, items of dashes without text are the head of a table, whose columns cut between two backslashes.
    "*   a\n    -   -\n       l\n   \\\\input /etc/hostname\n",
    "- a\n\n  b\n  -   -\n  cc \\\\input /etc/hostname\n",
    # In a line of marks alone, marked and Pandoc see no item, and no fence that is indented as the item's text is.
    "1) -\n    \t|\n|\n     ```\n     ![a](http://evil.example/x)\n",
    " 1) \n    b\n\t~~~|-\n     ***    <img src=x onerror=f()>\n",
    "- -\n\n   b\n  ```\n  \\input{x}\n\n  ```",
    # To marked 4, a fence is text in a paragraph whose last line has marks of quotations only.
    "$$\n\t> > \n ```\n+---+    <script>f()</script>\n    ~~~\n ===\n",
    # mistune 3.4 takes a line without text for the row below a heading, and reads some tables as a paragraph.
    "`a|<img src=x>`\n|",
    "`a|![x](http://evil.example/x)`\n\xa0|",
    "a `| |\n|-|-|\n|~~c|d|\n|`e~~ <img src=x>`",
    "~~$~~$$![a](http://evil.example/x)}$",
    "a | $x$$y$ b\n|-|-|\n`$ ![a](http://evil.example/x)` | c",
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
    # A bare link or the marks of a strikethrough include a backtick.
    "http://evil.example/`<img src=x>`",
    "~~`<img src=x>`",
    "~~`a`! `<img src=x>`",
    "www.evil.example/`<img src=x>`",
    "a` b `<img src=x>`",
    # Code over several lines in which parsers start other blocks.
    "#```\n<img src=x>\n```",
    "> - a\nb` <img src=x>\n   > c`<img src=x>`",
    "`a\n#b` `<img src=x>`",
    # A definition after a task's box, and blocks after it.
    "- [ ] [r]: javascript:alert(1)\n- [ ] [r]",
    "- [ ] > a\n- [ ] - > b\n    ```\n   `a\n  `<img src=x>`",
    # The text of an image is an attribute, and brackets in a label lose their backslashes.
    '![" onerror="alert(1)](data:image/png;base64,AAAA)',
    "![\\@\\@0\\@\\@ $x$](data:image/png;base64,AAAA)",
    "![|![a](http://evil.example/1) \\[b](https://ok.example)",
    # Fences within other blocks, or fences that do not close.
    "```\n> ```",
    "> - ===\n> > ```\n> > <img src=x>",
    "1. \n   ```\n<img src=x>\n   ```\n`<img src=x>`",
    "  ```\n\n    ```\n<img src=x>\n```~~\n<img src=x>",
    "$$\n```html\n<img src=x>",
    "\\[[\n- [ ] [r]: javascript:alert(1)\\]\n- [r]",
    "![a\n\n](http://evil.example/x)`<img src=x>`",
    "[a](\n\n\nhttp://ok.example)`<img src=x>`",
    # A quotation's mark behind four blanks, and code after a table or below a line of text: marked differs there.
    "> ```\n> a\n    > b\n> ![a](http://evil.example/x)\n> ```",
    ">~~~\n\t> b\n> <img src=x>\n",
    "> - > a\n>       > ```\n>         > <img src=x>\n",
    "> 1. a|b\n>     -|-\n> `x|![a](http://evil.example/x)`",
    "> > a|b\n> > -|-\n> `x|<img src=x>`",
    "- > a|b\n  > -|-\n  `x|<img src=x>`",
    "Text:\n```yaml\n![a](http://evil.example/x)\n---\nb: 1\n```",
    "- Text:\n  ~~~\n  <img src=x>\n  ===\n  ~~~",
    "Text:\n \n```\n<img src=x>\n-\n```",
    # Math delimiters in two pieces of code, for front ends that look for maths first.
    "- ```\n  $\n  ```\n  $x$\n  ```\n  <img src=x onerror=alert(1)>\n  ```",
    "`\\begin{a}` x\n\n```\n\\end{a} <img src=x>\n```",
    "`\\\\[` x\n\n```\n\\\\] <img src=x>\n```",
    "`$$` x\n\n- a\n\n```\n$$ <img src=x> $$\n```",
    "|a|b|\n|-|-|\n|x`$$`- [ ] \n````html\n<script>alert(1)</script>\n$$",
    "- a\n\n      <img src=x>1. a\n<img src=x>\n   ```\n<img src=x>```\n1. a\n<img src=x>\n   ```\n<img src=x>",
    "1. a\n  ```\n<img src=x>\n  ```",
    # After display maths nbconvert starts a block.
    "`\\begin{a}` x\n\n````\n\\end{a} <img src=x>\n```<img src=x>`\\begin{a}` x\n\n```\n\\end{a} <img src=x>\n```",
    "$$x$$<img src=x>\n`<img src=x>`",
    # A strikethrough, other emphasis or a label that ends within code.
    "~~a `b~~ <img src=x>`",
    "~a `b~ <img src=x>`",
    "\\~`<img src=x>`",
    "*a `` b* ` <img src=x> ``",
    "[a ``b](http://ok.example) <img src=x>``",
    "[a ``b](javascript:alert(1))`` c](http://ok.example)",
    # A cell that ends within code, in tables that only some parsers recognize.
    "| a | b |\n|---|---|\n| `x \\\\| <img src=x>` | b |",
    "`x \\\\| <img src=x>`\n-|-",
    "a\n:-\n`<img src=x> | y`",
    "> a\n> |-|\n> `<img src=x> | y`",
    "|a|b|\n|-|-|\n|~~c|d|\n|`e~~ <img src=x>`",
    # A table right after a paragraph, in which a strikethrough begins.
    "~~|\n|`~~<img src=x>`\n:-",
    # A cell beyond the columns of its table, which only some parsers read as text.
    "| a | b |\n|---|---|\n| x | y |~~|\n|`~~<img src=x>`",
    "|a|b|\n|-|-|\n|http://evil.example/x|`a`_`<img src=x>`",
    "http://evil.example/\u00a0`<img src=x>`",
    "<http://a.example/`x> `<img src=x>`",
    # A definition includes the mark of a fence.
    "a\n```\n<img src=x>\n: b\n```",
    "\u3000\n```\n<img src=x>\n: ",
    "a\n: \n```\n\n# `|`<img src=x>\n```",
    # nbconvert draws code whose language starts with this word.
    "```mermaid-x\ngraph TD; A-->B\n```",
    # Line separators for JavaScript only, and letters that Python treats as equal when it ignores case.
    "`\\begin{A}` x\n\u2028\n```\n\\end{A} <img src=x>\n```",
    "`\\begin{A}` x\n\ufeff\n`\\end{A}` `\\begin{A}`\n```\n\\end{A} <img src=x>\n```",
    "`\\begin{\u017f}` `\\begin{A}` x\n```\n\\end{A} <img src=x>\n```",
]
