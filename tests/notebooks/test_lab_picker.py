"""The model picker in JupyterLab and Notebook 7: comparing, choosing, and what is left of a choice."""

from __future__ import annotations

import re

import pytest
from browser import JupyterServer, Lab, Watch, keep_screenshot
from playwright.sync_api import Locator, Page, expect
from service import Wandb, listing

from wandb_inference_magic.catalog.feeds import snapshot

pytestmark = pytest.mark.browser

CELLS = ["%load_ext wandb_inference_magic", "%wbmodels", "%wbchat --once hi", ""]
# Of the snapshot's models with images and at least 128k of context, the one with the lowest price.
CHEAPEST = "google/gemma-4-26B-A4B-it"
# The different backgrounds of elements.
COLOURS = "all => [...new Set(all.map(one => getComputedStyle(one).backgroundColor))]"
LORA = "wandb-artifact:///team/project/name:latest"


def open_picker(server: JupyterServer, wandb: Wandb, page: Page, name: str, path: str = "doc/tree") -> Lab:
    """Open a notebook, and run `%wbmodels` for the models of the snapshot."""
    wandb.api.listing = listing(*(model.id for model in snapshot().models))
    lab = Lab.open(server, page, name, CELLS, path=path)
    lab.run(0)
    lab.run(1)
    return lab


def chat(lab: Lab) -> None:
    """Run the chat, and wait until the focus has moved to the cell below."""
    lab.run(2)
    expect(lab.cell(3)).to_have_class(re.compile("jp-mod-active"))


def picker_of(lab: Lab) -> tuple[Locator, Locator]:
    """Return the picker and its dropdown."""
    picker = lab.cell(1).locator(".wb-models-root")
    return picker, picker.get_by_role("combobox", name="Model")


def test_the_cheapest_model_with_images_and_128k_takes_at_most_four_actions(
    server: JupyterServer, wandb_hosts: Wandb, page: Page, path: str
) -> None:
    lab = open_picker(server, wandb_hosts, page, f"cheapest-{path[:3]}.ipynb", path)
    picker, dropdown = picker_of(lab)
    expect(dropdown).to_contain_text("openai/gpt-oss-20b")
    below = lab.output(1).last
    expect(below).to_have_text("Model for the next chats: openai/gpt-oss-20b")

    # With the mouse: four clicks.
    dropdown.click()
    options = picker.get_by_role("option")
    keep_screenshot(page, f"picker-{path[:3]}")
    picker.get_by_role("button", name="images").click()
    picker.get_by_role("group", name="Context at least").get_by_role("button", name="128k").click()
    expect(picker).to_contain_text("9 of 20")
    options.nth(3).hover()
    expect(dropdown).to_contain_text("openai/gpt-oss-20b")
    # The model in use is not among them.
    expect(picker.locator("[aria-selected=true]")).to_have_count(0)
    options.first.click()
    expect(dropdown).to_contain_text(CHEAPEST)
    expect(options.first).to_be_hidden()
    for fact in ("262k tokens", "$0.10 / $0.30 per million", "text, image", "can be switched on"):
        expect(picker).to_contain_text(fact)
    chat(lab)
    assert wandb_hosts.api.last.body["model"] == CHEAPEST

    # With the keyboard: open, type, choose. The settings of the mouse are off again.
    dropdown.click()
    for name in ("images", "128k"):
        picker.get_by_role("button", name=name, exact=True).click()
    page.keyboard.press("Escape")
    expect(dropdown).to_be_focused()
    page.keyboard.press("ArrowDown")
    search = picker.get_by_role("combobox", name="Search")
    expect(search).to_be_focused()
    page.keyboard.type("images 1m")
    # The Enter that ends an input method's composition belongs to the input method.
    keys = page.context.new_cdp_session(page)
    keys.send("Input.imeSetComposition", {"text": "+", "selectionStart": 1, "selectionEnd": 1})
    keys.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", "windowsVirtualKeyCode": 229, "key": "Enter"})
    keys.send("Input.insertText", {"text": "+"})
    expect(search).to_have_value("images 1m+")
    expect(options.first).to_be_visible()
    expect(dropdown).to_contain_text(CHEAPEST)
    # With forced colours too, what is pressed and what is active differ from the rest.
    page.emulate_media(forced_colors="active")
    chosen, other = ":is(.wb-models-active, [aria-pressed=true])", ":is([aria-pressed=false])"
    colours = [picker.locator(one).evaluate_all(COLOURS) for one in (chosen, other)]
    page.emulate_media(forced_colors="none")
    assert len(colours[0]) == 1
    assert colours[0] != colours[1]
    page.keyboard.press("Enter")
    expect(dropdown).to_contain_text("zai-org/GLM-5.3-Flash")
    expect(dropdown).to_be_focused()
    chat(lab)
    assert wandb_hosts.api.last.body["model"] == "zai-org/GLM-5.3-Flash"

    # The words match every fact that is shown, and the arrow keys move. Screen readers announce the option.
    dropdown.press("Enter")
    search.fill("131k reasoning")
    expect(picker).to_contain_text("3 of 20")
    page.keyboard.press("ArrowDown")
    active = search.get_attribute("aria-activedescendant")
    expect(page.locator(f"[id='{active}']")).to_have_accessible_name(re.compile(r"^openai/gpt-oss-120b, context 131k"))
    picker.get_by_role("button", name="name", exact=True).click()
    expect(options.first).to_contain_text("ibm-granite")
    search.fill("$0.03")
    expect(picker).to_contain_text("2 of 20")
    search.fill("images qwen")
    picker.get_by_role("button", name="tools").click()
    expect(picker).to_contain_text("No model is known to match.")

    # An id that no list has, and one that cannot be.
    search.fill(LORA)
    page.keyboard.press("Enter")
    expect(dropdown).to_contain_text(LORA)
    dropdown.press("Enter")
    search.fill("wandb-artifact:///team")
    page.keyboard.press("Enter")
    expect(picker).to_contain_text("is not the address of a LoRA")
    expect(dropdown).to_contain_text(LORA)

    # A change of the setting in any other way changes the dropdown, and the text that is saved.
    lab.cell(2).locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.type("%wbconfig --model Qwen/Qwen3.8-27B")
    lab.run(2)
    expect(dropdown).to_contain_text("Qwen/Qwen3.8-27B")
    expect(below).to_contain_text("Model for the next chats: Qwen/Qwen3.8-27B. A restarted kernel does not know")


def test_a_choice_outlives_its_kernel_as_text(server: JupyterServer, wandb_hosts: Wandb, page: Page) -> None:
    lab = open_picker(server, wandb_hosts, page, "left.ipynb")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    picker, dropdown = picker_of(lab)
    dropdown.click()
    picker.get_by_role("option", name="openai/gpt-oss-120b").click()
    use = "%wbmodels --use openai/gpt-oss-120b"
    expect(lab.output(1).last).to_contain_text(use)
    picker.get_by_role("button", name="Copy %wbmodels --use").click()
    expect(picker).to_contain_text(f"Copied: {use}. Paste it into a cell.")
    assert page.evaluate("navigator.clipboard.readText()") == use

    # A restarted kernel: the dropdown says that it has none.
    page.locator("[data-command='notebook:restart-kernel'], [data-jp-item-name='restart']").first.click()
    page.locator(".jp-Dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    expect(picker).to_contain_text("This dropdown has no kernel: choosing has no effect.")
    expect(dropdown).to_be_disabled()
    keep_screenshot(page, "picker-left")

    # The saved notebook, opened again. The new kernel does not know its widgets.
    saved = lab.save()
    assert use in saved["cells"][1]["outputs"][1]["data"]["text/plain"][0]
    lab.close()
    lab.open_again()
    expect(lab.output(1).first).to_contain_text("Error displaying widget")
    expect(lab.output(1).last).to_contain_text(use)


def test_without_the_code_of_the_list_there_is_a_dropdown(
    server: JupyterServer, wandb_hosts: Wandb, new_page: Page
) -> None:
    """The server of a front end may lack anywidget, which the kernel has."""
    new_page.route("**/extensions/anywidget/**", lambda route: route.abort())
    lab = open_picker(server, wandb_hosts, new_page, "fall-back.ipynb")
    output = lab.output(1).first
    dropdown = output.get_by_label("Model")
    dropdown.select_option("zai-org/GLM-5.3-Flash")
    expect(output).to_contain_text("1.0M tokens")
    output.get_by_label("Search").fill("llama")
    # The models that match, and the current one.
    expect(dropdown.locator("option")).to_have_count(3)
    chat(lab)
    assert wandb_hosts.api.last.body["model"] == "zai-org/GLM-5.3-Flash"
    expect(output).not_to_contain_text("Error")
    keep_screenshot(new_page, "picker-fall-back")


def test_a_long_list_of_hostile_ids_is_text(server: JupyterServer, wandb_hosts: Wandb, new_page: Page) -> None:
    # A page that has been open for longer may ask for the sessions when the kernel ends, and learn that it has.
    page, watch = new_page, Watch(new_page)
    hostile = "<img/src=http://evil.example/a/onerror=alert(1)>"
    ids = [hostile, *(f"test/model-{number:04}" for number in range(999))]
    wandb_hosts.api.listing = listing(*ids)
    lab = Lab.open(server, page, "long.ipynb", ["%load_ext wandb_inference_magic", "%wbmodels"])
    lab.run(0)
    lab.run(1)
    picker, dropdown = picker_of(lab)
    dropdown.click()
    options = picker.get_by_role("option")
    expect(picker).to_contain_text("1000 of 1000")
    expect(options.first).to_contain_text(hostile)
    # Only the rows in view exist.
    assert options.count() < 50
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    active = picker.get_by_role("combobox", name="Search").get_attribute("aria-activedescendant")
    expect(page.locator(f"[id='{active}']")).to_be_in_viewport()
    picker.get_by_role("combobox", name="Search").fill("onerror")
    page.keyboard.press("Enter")
    expect(dropdown).to_contain_text(hostile)
    # The shortcuts with Ctrl are still the notebook's. It saves by itself after two minutes.
    dropdown.press("Enter")
    with page.expect_response(lab.is_a_save, timeout=30_000):
        page.keyboard.press("Control+s")
    page.keyboard.press("Escape")
    assert "onerror" in (server.folder / lab.name).read_text()
    watch.assert_nothing()

    # A kernel that has ended does not answer. The dropdown says so, and does not show what was not chosen.
    server.end_kernel(lab.name)
    dropdown.click()
    picker.get_by_role("combobox", name="Search").fill("model-0007")
    page.keyboard.press("Enter")
    expect(picker).to_contain_text("The kernel has not answered: it is busy, or has ended.")
    expect(dropdown).to_contain_text(hostile)
