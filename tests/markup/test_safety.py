"""Untrusted text is inert wherever it is shown, and harmless text is rendered as intended."""

from __future__ import annotations

import re
from html import unescape
from itertools import count
from time import process_time

import pytest
from hypothesis import example, given, strategies as st
from inert import HOSTILE, assert_inert, parsed
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from wandb_inference_magic.markup.check import is_safe
from wandb_inference_magic.markup.literal import safe_inline
from wandb_inference_magic.markup.sanitize import sanitize_markdown
from wandb_inference_magic.text.plain import safe_plain

LAB_MARK = re.compile(r"(\$\$?|\\(?:begin|end)\{[a-z]*\*?\}|\\[{}$]|[{}]|\n\s*|@@\d+@@|\\\\[()[\]])", re.I)


def without_lab_maths(markdown: str) -> str:
    """Remove what JupyterLab's `removeMath` removes before it parses, without its protection of code."""
    pieces, position, opened = LAB_MARK.split(markdown), 1, 0
    closer, last, depth = "", 0, 0
    while position < len(pieces):
        mark = pieces[position]
        if not closer:
            closer = {"$": "$", "$$": "$$", "\\\\(": "\\\\)", "\\\\[": "\\\\]"}.get(mark, "")
            closer = "\\end" + mark[6:] if mark.startswith("\\begin") else closer
            opened, last, depth = position, 0, 0
        elif mark == closer:
            last = position
            if not depth:
                pieces[opened : position + 1] = ["@@0@@"] + [""] * (position - opened)
                closer = ""
        elif mark.count("\n") > 1:
            if last:
                pieces[opened : last + 1] = ["@@0@@"] + [""] * (last - opened)
                position = last
            closer = ""
        elif mark in "{}":
            depth = max(0, depth + (1 if mark == "{" else -1))
        position += 2
    return "".join(pieces)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_is_inert_without_its_maths(text: str) -> None:
    assert_inert(without_lab_maths(sanitize_markdown(text)))


# To Pandoc, tildes below a line of text are text.
TILDES = [
    "a\n~~~\n\\input{x}\n~~~",
    "- a\n  ~~~~ b\n  ![a](http://evil.example/x)\n  ~~~~",
    "> a\n> ~~~ `x` ~~~\n> `\\input{x}`{=latex}",
    "1. a\n2. b\n   ~~~\n   ```\n   <img src=x>\n   ~~~",
    "a\n```\nb\n```\nc\n~~~\n\\input{x}",
]


@pytest.mark.parametrize("text", [*HOSTILE, *TILDES])
def test_hostile_markdown_is_inert(text: str) -> None:
    assert_inert(sanitize_markdown(text))


@pytest.mark.parametrize("text", ["$$$$", "$$ $$", "$$$$\nx<y\n$$$$", "\n".join(["$$\n<img src=x>\n$$"] * 3)])
@pytest.mark.parametrize("glue", ["", "\n", "\n\n"])
def test_dollars_in_a_row_are_no_formula(text: str, glue: str) -> None:
    assert_inert(sanitize_markdown(glue.join([text] * 3)))


@example(["$$\n<img src=x>\n$$"] * 3)
@given(
    st.lists(
        st.sampled_from(
            [*HOSTILE, "\n", "\n\n", " ", "`", "```\n", "~~~\n", "$", "> ", "- ", "|", "\\", "]", "(", "{=html}"]
        ),
        max_size=6,
    )
)
def test_combinations_of_hostile_pieces_are_inert(pieces: list[str]) -> None:
    assert_inert(sanitize_markdown("".join(pieces)))


# What does something if a parser finds it in text, and what begins, ends or interrupts a block or code.
ACTIVE = [
    *["\\input{x}", "\\\\\\input{x}", "$\\input{x}$", "\\href{x}{y}", "`\\input{x}`{=latex}", "`a`{.x k=v}"],
    *["![a](http://evil.example/x)", "[a](http://ok.example){onclick=x}", "<http://ok.example>{k=v}", "![a][b]"],
    *['[b]: http://evil.example/x "t"', "[^1]", "[^1]: \\input{x}", "@b", "<img src=x>", "{#id .c onclick=x}"],
]
MARKS = [
    # Fences, tables, rules and the underlines of headings.
    *["~~~", "~~~ {.x}", "~~~~ python {k=v}", "~~~{=latex}", "~~~ ```", "```", "``` a b", "````{=html}", "``", "`"],
    *["a | b", "|-|-|", "| a |", "+---+", "+===+", "-----  ----", "  ---- ---", "---", "***", "===", "...", "___"],
    # Items, quotations, headings, definitions, notes.
    *["# ", "## ", "- ", "* ", "1. ", "(@) ", "a) ", "#. ", ": ", "~ ", "> ", ">> ", "    ", "\t", "^[", "[^1]: "],
    *["---\ntitle: x", "::: ", "| ", "Table: ", "Term", "[ ] "],
    # HTML and TeX.
    *["<div>", "</div>", "<!-- ", "-->", "<pre>", "<x", "<details>", "<?x", "<![CDATA[", "$$", "$", "\\[", "\\]"],
    *["\\\\( ", "\\begin{a}", "\\end{a}", "\\begin{verbatim}", "\\newcommand{\\f}{\\input{x}}"],
    # Text.
    *["", "a", "a\\", "a  ", "`code`", "*b*", "**", "_a", "~~c", "H~2~O", "a ", "a `", "| b", "\\`", "\\~~~"],
    *["\xa0", "\u200b"],
]
A_LINE = st.tuples(
    st.sampled_from(["", "", "> ", "  ", "   ", "- ", "    ", "1. "]),
    st.sampled_from(MARKS),
    st.sampled_from(["", "", *ACTIVE]),
    st.sampled_from(["", "", " | b", "`", "\\", "  ", " {"]),
).map("".join)


@given(st.lists(A_LINE, min_size=2, max_size=8), st.sampled_from(["\n", "\n\n"]))
def test_lines_that_begin_and_end_blocks_are_inert(lines: list[str], between: str) -> None:
    assert_inert(sanitize_markdown(between.join(lines)))


@given(st.text(alphabet="<>![](){}`$\\|-*_~#:/\n \tajx\"'=&;1."))
def test_any_text_of_active_characters_is_inert(text: str) -> None:
    assert_inert(sanitize_markdown(text))


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert isinstance(sanitize_markdown(text), str)
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
    r"($f(x)$) $[0,1)$, $]0,1]$, $\left.x\right)$ and $x \bigr)$",
    "a --- b ... c; 3 * 4 * 5; snake_case_name; 50% @at",
    "![dot](data:image/png;base64,iVBORw0KGgo=)",
    "```make\nall:\n\tgcc $$x <a.c\n```",
    "1. Install:\n   ```bash\n   echo $HOME > x\n   ```\n2. Use `List<int>`:\n\n   ```java\n   List<int> a;\n   ```",
    "> Note: see `a<b>`\n>\n> ```html\n> <b>\n> ```",
    "See https://ok.example/a_b, www.ok.example and me@ok.example.",
    "- [ ] do `a<b>`\n- [x] **done**",
    "Use `$$` for display:\n\n```latex\n$$\nx\n$$\n```\n\nand\n\n```html\n<b>\n```",
    "\\begin{align}\na &= b \\\\\n\\end{align}",
]


@pytest.mark.parametrize("text", BENIGN)
def test_harmless_markdown_is_unchanged(text: str) -> None:
    assert sanitize_markdown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # JupyterLab takes maths out of code as well, and does not find its place again in highlighted code.
        ("1. Run\n   ```r\n   a$b + c$d\n   ```", "1. Run\n   ```\n   a$b + c$d\n   ```"),
        (
            "- Run\n  ```r\n  a$b\n  ```\n- Or\n  ```r\n  c$d\n  ```",
            "- Run\n  ```r\n  a$b\n  ```\n\n- Or\n  ```r\n  c$d\n  ```",
        ),
        (r"p \< 0.05 and \\< \<b>", r"p &lt; 0.05 and \\&lt; &lt;b>"),
        # A quotation is two then.
        ("> ```r\n> a$b\n> ```\n> or\n> ```r\n> c$d\n> ```", "> ```r\n> a$b\n> ```\n\n> or\n>\n> ```r\n> c$d\n> ```"),
        # Code binds tighter than the dollars of a formula.
        ("Set $HOME or `$PATH`, or `${A}`.", "Set \\$HOME or `$PATH`, or `${A}`."),
        ("In PHP $x is `$y`, and $z$ and $`a`$", "In PHP <span>\\$</span>x is `$y`, and $z$ and $`a`$"),
        # Brackets of text that a model has escaped, as Markdown made of HTML has them.
        (r"See \[1\], use \[an option\]", r"See \[1\], use \[an option\]"),
        (r"It is \[ 42 \]", r"It is $$ 42 $$"),
        ("- \\[ \\] a\n- \\[x\\] b\n\n\\[x\\]", "- \\[ \\] a\n- \\[x\\] b\n\n$$x$$"),
        (r"\(a_1\) and \( b \)", "$a_1$ and $b$"),
        (r"\[ x < y \]", r"$$ x \lt  y $$"),
        ("\\[\na\n+ b\n\\]", "$$\na\n+ b\n$$"),
        ("so:\n\\[\nx\n\\]\nend", "so:\n$$\nx\n$$\nend"),
        (r"`\(code\)`", r"`\(code\)`"),
        ("```\n\\[ code \\]\n```", "```\n\\[ code \\]\n```"),
        # An element of its own keeps JupyterLab from reading the text between two dollars as maths.
        ("It costs $5 and $6.", r"It costs <span>\$</span>5 and <span>\$</span>6."),
        ("In ($/kg) or ($/lb)", r"In (<span>\$</span>/kg) or (<span>\$</span>/lb)"),
        ("Price ($): 5. f(x) ($M)", r"Price (<span>\$</span>): 5. f(x) (<span>\$</span>M)"),
        ("$x \\in ]0, 1)$", "$x \\in ]0, 1)$"),
        ("pay $5 for $x$", r"pay <span>\$</span>5 for $x$"),
        ("[$5 or $6](https://ok.example)", r"[<span>\$</span>5 or <span>\$</span>6](https://ok.example)"),
        ("It costs $5, or `$6`.", r"It costs \$5, or `$6`."),
        ("$$ is not closed", r"<span>\$</span><span>\$</span> is not closed"),
        ("It costs $5.", r"It costs \$5."),
        (r"already \$5", r"already \$5"),
        ("a <b> c", "a &lt;b> c"),
        # Pandoc reads commands of TeX and attributes anywhere, and settings between lines of dashes.
        (r"C:\Users\new, \# and \{x}", r"C:&#92;Users&#92;new, \# and \{x}"),
        ("`a`{=html} {b}", "`a`&#123;=html} &#123;b}"),
        ("a\n\n---\n\n- b\n\n  ---", "a\n\n***\n\n- b\n\n  ___"),
        ("![cat](http://pics.example/c.png)", "[image: cat (pics.example)](http://pics.example/c.png)"),
        ("[![cat](http://pics.example/c.png)](https://ok.example)", "[image: cat (pics.example)](https://ok.example)"),
        ("[run](javascript:go())", "run (`javascript:go()`)"),
        ("see [docs][d]\n\n[d]: https://ok.example", "see [docs](https://ok.example)\n\n"),
        # A definition that no link uses is text: parsers show nothing of it.
        ("[Answer]: 42", "[Answer]&#58; 42"),
        ("[LOG]: a\n[LOG]: b\n\nit failed", "[LOG]&#58; a\n[LOG]&#58; b\n\nit failed"),
        ("- [Step1]: install\n> [Bob]:\n> hello", "- [Step1]&#58; install\n\n> [Bob]&#58;\n> hello"),
        ("as in [1]: good\n\n[1]: https://ok.example", "as in [1](https://ok.example): good\n\n"),
        # Nor of a definition that leads nowhere, is not the only one of its label, or is used in code only.
        ("as [1]\n\n[1]: Smith (2020)", "as [1]\n\n[1]&#58; Smith (2020)"),
        ("a[0] is it\n\n[0]: first", "a[0] is it\n\n[0]&#58; first"),
        ("[LOG]: a\n[LOG]: b\n\n[LOG] ends", "[LOG]&#58; a\n[LOG]&#58; b\n\n[LOG] ends"),
        (
            "[a]\n\n[a]:\n  https://x/1\n\n[a]:\n  https://x/2",
            "[a]\n\n[a]&#58;\n  https://x/1\n\n[a]&#58;\n  https://x/2",
        ),
        ("`[A]`\n\n[A]: https://ok.example", "`[A]`\n\n[A]&#58; https://ok.example"),
        (
            "see [1][2]\n\n[1]: https://ok.example/1\n[2]: https://ok.example/2",
            "see [1](https://ok.example/1)[2](https://ok.example/2)\n\n\n",
        ),
        (
            "a [1]\n\n```\n[1]: https://no.example\n```\n\n[1]: https://ok.example",
            "a [1](https://ok.example)\n\n```\n[1]: https://no.example\n```\n\n",
        ),
        ("<https://ok.example/a>", "[https://ok.example/a](https://ok.example/a)"),
        ("```python\nopen", "```python\nopen\n```"),
        ("    indented <b>", "```\nindented <b>\n```"),
        ("```mermaid\nx\n```", "```text\nx\n```"),
        ("```mermaidx\nx\n```", "```text\nx\n```"),
        ("```math\n\\gdef\\frac{x}\n```", "```latex\n\\gdef\\frac{x}\n```"),
        ("```GeoJSON\n{}\n```", "```json\n{}\n```"),
        # An element around code ends at the same place for parsers that look for its end without regard to code.
        ("~~a `b~~ <c>`", "&#126;&#126;a `b~~ <c>`"),
        ("*a* `b* <c>`", "*a* `b* <c>`"),
        ("*a ``b* ` <c>``", "&#42;a ``b* ` <c>``"),
        ("[see `a](b) <c>`", "&#91;see `a](b) <c>`"),
        ("[ ] see `a](b) <c>`", "[ ] see `a](b) <c>`"),
        ("[`Vec<T>`](https://ok.example)", "[`Vec<T>`](https://ok.example)"),
        ("a\n:-\n`<b> | c`", "a\n:-\n\\`&lt;b> \\| c\\`"),
        ("| `a \\| <b>` |\n|---|\n| ~~c~~ |", "| `a \\| <b>` |\n|---|\n| ~~c~~ |"),
        # In a table a pipe ends the cell, unless it is escaped. Before the table, JupyterLab would read `\\|` as TeX.
        ("| `a|b` | c |\n|-|-|\n| `d || e` | $|x|$ |", "| `a\\|b` | c |\n|-|-|\n| `d \\|\\| e` | $\\vert x\\vert$ |"),
        (
            "> |a|b|\n> |-|-|\n> |\\(\\|x\\|\\)|$\\text{y|z}$|",
            "> |a|b|\n> |-|-|\n> |$\\Vert x\\Vert$|$\\text{y\u2223z}$|",
        ),
        ("- |a|b|\n  |-|-|\n  | 1 | 2 | 3 |\n  | 1 | 2 | |", "- |a|b|\n  |-|-|\n  | 1 | 2 \\| 3 |\n  | 1 | 2 | |"),
        ("|a|b|\n|-|-|\n| `d | e` | f |\n- `x|y|z`", "|a|b|\n|-|-|\n| `d \\| e` | f |\n\n- `x|y|z`"),
        # To Pandoc, what follows a line of text is part of that text.
        ("Do:\n- a\n- b\n\nThen\n## B\n\nC\n> d", "Do:\n\n- a\n- b\n\nThen\n\n## B\n\nC\n\n> d"),
        ("a\n1. b\n\nc\n***\nd", "a\n\n1. b\n\nc\n\n***\nd"),
        ("| `a|<b>` |\n|-|\n| `c\\\\|d` |", "| \\`a&#124;&lt;b>\\` |\n|-|\n| \\`c&#92;&#124;d\\` |"),
        ("|`a|<b>`|c|\n|-|-|\n|$\\|x\\|$|d|", "|`a\\|<b>`|c|\n|-|-|\n|$\\Vert x\\Vert$|d|"),
        ("```\n|`a|b`|c|\n|-|-|\n```", "```\n|`a|b`|c|\n|-|-|\n```"),
        ("x | `a|b`\n:-", "x | `a|b`\n:-"),
        ("a\n: b", "a\n&#58; b"),
        # VS Code takes a mark at the start of a line for an opening one and reads up to the end of the text.
        ("so $$\nx\n$$ and", "so $$\nx\n{}$$ and"),
        ("a\n```\n: <b>\n```", "a\n\n```\n: <b>\n```"),
        ("```\n> ```", "````\n> ```\n````"),
        ("- a\n# b", "- a\n\n# b"),
        ("#hashtag", r"\#hashtag"),
        ("- [ ] [r]: javascript:x", "- [ ] [r]&#58; javascript:x"),
        ("a ` b", r"a \` b"),
        ("http://a.example/`<b>`", "http&#58;//a.example/`<b>`"),
    ],
)
def test_markdown_is_rewritten(text: str, expected: str) -> None:
    assert sanitize_markdown(text) == expected


@pytest.mark.parametrize("text", ["\ud800 <img src=x>", "\x00", "\x1b]0;<b>", "`" * 500, "[" * 500, "> " * 500, ""])
def test_malformed_text_is_shown(text: str) -> None:
    shown = sanitize_markdown(text)
    assert_inert(shown, for_pandoc=False)
    shown.encode()


SHORTCODES = [
    "The key: `{{< env KEY >}}` here",
    "``a `{{< env KEY >}}` b``",
    "```yaml\nkey: {{< env KEY >}}\n```",
    "- x\n\n  ~~~\n  {{< env KEY >}}\n  ~~~\n",
    "> ```r\n> {{< env KEY >}}\n> ```",
    "    {{< env KEY >}}\n",
    "| a | b |\n|---|---|\n| `{{< env KEY >}}` | 2 |\n",
    "[`{{< env KEY >}}`](https://a.example/{{<env>}}) ![{{< env KEY >}}](http://a.example/{{<env>}}.png)",
    "[x](file:{{<env>}}) <http://a.example/{{<env>}}> text {{< env KEY >}}",
    "$x_{{<env>}} \\text{{<env>}} \\mathrm{{<env>}}$ and\n$$\nx^{{<env>}}\n$$\n\\\\[ \\frac{{<env>}}{2} \\\\]",
    "`$a` and `{{< env $KEY >}}` $b <div>{{< env KEY >}}</div>",
]
# As Quarto does, which reads such a block as it is.
WITHOUT_SHORTCODES = re.compile(r"^[> ]*(`{3,}|~{3,})[^\n]*\{shortcodes=false\}\n.*?^[> ]*\1", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", [*SHORTCODES, "\n\n".join(SHORTCODES)])
def test_quarto_finds_no_shortcode_in_a_reply(text: str) -> None:
    shown = sanitize_markdown(text)
    assert "{{<" not in WITHOUT_SHORTCODES.sub("", shown), shown
    page = unescape(re.sub(r"<[^>]*>", "", markdown2html_mistune(shown)))
    assert page.count("{{< env KEY >}}") == text.count("{{< env KEY >}}"), page
    assert "shortcodes" not in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("See `<img src=x\nonerror=f()>` or `a\nb`.\nSo.", "See `<img src=x onerror=f()>` or `a b`.\nSo."),
        ("- one `a\n  \\input{x}` two\n- three", "- one `a \\input{x}` two\n- three"),
        ("> A `<script>\n> f()` b\n> c", "> A `<script> f()` b\n> c"),
        ("1. `x\n   : y` and\n   `#  z\n   <b>`", "1. `x : y` and\n   `#  z <b>`"),
        ("[`a\n<b>`](https://a.example)", "[`a <b>`](https://a.example)"),
    ],
)
def test_code_over_several_lines_is_shown_on_one(text: str, shown: str) -> None:
    """To Markdown the end of a line in code is a blank. A parser that sees a block in a line ends it there."""
    assert sanitize_markdown(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "1) -\n    \t|\n|\n     ```\n     <b>\n",
        " 1) \n    b\n    ```\n    <b>\n",
        "- -\n\n   b\n  ```\n  \\input{x}\n  ```",
    ],
)
def test_a_fence_in_an_item_whose_line_has_only_marks_is_shown_as_received(text: str) -> None:
    assert sanitize_markdown(text) == f"````text\n{text}\n````"


def test_a_fence_below_a_line_of_marks_in_a_paragraph_is_apart() -> None:
    assert sanitize_markdown("a\n    > >\n```\n<b>\n```") == "a\n    > >\n\n```\n<b>\n```"


def test_text_that_cannot_be_rewritten_is_shown_as_code() -> None:
    text = "$a\nb$ `<img src=x>`"
    assert sanitize_markdown(text) == f"```text\n{text}\n```"
    # Math delimiters would open the code block in nbconvert: the text is then shown line by line.
    text = "\\begin{a}`a\nb` `<i>`\n\n```\n\\end{a} ![a](http://evil.example/x)\n```"
    assert_inert(sanitize_markdown(text))
    assert_inert("\\begin{a} " + safe_inline(text))


def test_a_text_is_read_again_where_a_definition_gives_it_another_meaning() -> None:
    text, definition = "the [mark] here", "\n\n[mark]: javascript:alert(1)"
    for _ in range(2):
        assert is_safe(text, frozenset(), [])
        assert not is_safe(text + definition, frozenset(), [])


def test_images_of_allowed_hosts_load() -> None:
    text = "![a](https://pics.example/a.png) ![b](https://pics.example.evil.example/b.png)"
    assert sanitize_markdown(text, ["Pics.Example"]) == (
        "![a](https://pics.example/a.png) [image: b (pics.example.evil.example)](https://pics.example.evil.example/b.png)"
    )


@given(st.lists(st.sampled_from([*HOSTILE, *BENIGN]), max_size=4))
def test_text_after_a_reply_is_not_part_of_it(pieces: list[str]) -> None:
    """A footer after any reply is a separate paragraph. Nothing in the reply includes it."""
    tokens = list(parsed(sanitize_markdown("\n\n".join(pieces)) + "\n\nthe footer"))
    last = [token for token in tokens if token.type == "inline"][-1]
    assert last.content == "the footer"
    assert tokens[-1].level == 0 or tokens[tokens.index(last) - 1].level == 0


@pytest.mark.parametrize(
    "piece",
    [
        *["[", "![", "<", "$", "`", "\\(", "\\[", "*", "](", "[](", "> ", "- ", "|", "a\n| - |\n", "$a "],
        *["![](a)", "`a`", "`a ``b ", "http://a`", "\\begin{a}{\\end{a}", "$$\n", "`$`<", "```\n", "\x9d\n", "[a]:"],
    ],
)
def test_the_time_grows_linearly_with_the_text(piece: str) -> None:
    numbers = count()

    def seconds(length: int) -> float:
        # What is known of a text is kept: each has another end.
        text = f"{piece * (length // len(piece))}{next(numbers)}"
        start = process_time()
        sanitize_markdown(text)
        return process_time() - start

    seconds(100)
    # Four times the text: a factor of 4 is linear, 16 quadratic. The floor excludes times too short to measure.
    # Other processes can disturb a measurement: one of three is enough.
    assert any(seconds(8_000) < 10 * max(seconds(2_000), 0.01) for _ in range(3))


@pytest.mark.parametrize("piece", ["a\n", " ", "a\n ", "\t"])
def test_code_over_many_lines_takes_linear_time(piece: str) -> None:
    """With quadratic time this test would take minutes."""
    assert sanitize_markdown(f"`a{piece * 50_000}b\nc`").startswith("`a")


def test_escape_sequences_and_controls_are_removed() -> None:
    text = "a\x1b[31mred\x1b[0m\x1b]0;title\x07b\x1b]8;;http://evil.example\x1b\\link\x9b1mc\x08\x00\td\r\ne\rf\u202eg"
    assert safe_plain(text) == "aredblinkc\td\ne\nfg"


def test_an_unfinished_escape_sequence_removes_only_its_line() -> None:
    assert safe_plain("a\x1b]0;title\nb\x1bP1;2\nc") == "a\nb\nc"


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert safe_plain("a\ud800b").encode() == "a\ufffdb".encode()


@given(
    st.text() | st.lists(st.sampled_from(["\x1b", "[", "]", "31m", "\x07", "\\", "\x9b", "a", "\r", "\n"])).map("".join)
)
def test_plain_text_contains_no_control_characters(text: str) -> None:
    plain = safe_plain(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", plain)
    assert safe_plain(plain) == plain


@given(st.text(alphabet="<>![]()`$\\|-*_~#:/\n \tajx\"'=&;1.+") | st.text())
def test_inline_text_is_literal(text: str) -> None:
    # An empty element keeps MathJax from taking one of two backslashes.
    tokens = list(parsed(safe_inline(text).replace("<span></span>", "")))
    assert {token.type for token in tokens} <= {"paragraph_open", "paragraph_close", "inline", "text", "code_inline"}
    shown = "".join(token.content for token in tokens if token.type in ("text", "code_inline"))
    assert shown == " ".join(safe_plain(text).split())
