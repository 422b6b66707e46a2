"""Values are cut only where the context of the model requires it, or `value_tokens` is set."""

from __future__ import annotations

import json

import pytest
from kernels import Kernel, SharedKernel
from service import Service, Wandb, completion


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed


LONG = "".join(f"{number:04d} " for number in range(4000))


def sent(wandb: Wandb) -> str:
    return str(wandb.api.last.body["messages"][-1]["content"])


def test_values_are_cut_only_as_far_as_the_context_requires(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    kernel.run(f"long = {LONG!r}")
    # A context of 100,000 tokens, then one of 300.
    run = kernel.run("%wbchat --once -m test/eyes Read {{ long }} well")
    assert sent(wandb) == f"Read {LONG} well"
    assert "was cut" not in run.text
    run = kernel.run("%wbchat Read {{ long }} well")
    assert sent(wandb).startswith("Read 0000 0001 ")
    assert "characters left out ...]" in sent(wandb)
    assert sent(wandb).endswith("3999  well")
    assert len(sent(wandb)) < 225 * 4
    assert "A value in the prompt was cut to fit the model's context of 300 tokens." in run.text
    # The thread holds the prompt as it was sent, so that the next one has room.
    kernel.run("%wbchat -m test/eyes And now?")
    assert len(wandb.api.last.body["messages"][0]["content"]) < 225 * 4
    # Text that is typed, or asked to be whole, is not cut.
    before = len(wandb.api.chats)
    for prompt in ("Read {{ long | whole }}", f"Read {LONG}"):
        assert "has room for 300" in kernel.run(f"%%wbchat --once\n{prompt}").error
    assert "was cut to fit" in kernel.run("%wbchat --once --dry-run Read {{ long }}").text
    assert len(wandb.api.chats) == before

    wandb.api.always = completion("Yes.")
    run = kernel.run("rows = [long, 'short', long]\nget_ipython().run_cell_magic('wbmap', 'rows', 'Read {{ text }}')")
    assert run.ok
    assert "Values were cut in the prompts of 2 rows" in run.text
    assert all(len(chat.body["messages"][-1]["content"]) < 225 * 4 for chat in wandb.api.chats[before:])
    run = kernel.run("get_ipython().run_cell_magic('wbmap', 'rows -m test/eyes', 'Read {{ text }}')")
    assert "Values were cut" not in run.text
    assert f"Read {LONG}" in [chat.body["messages"][-1]["content"] for chat in wandb.api.chats]

    kernel.run("%config WandbInference.value_tokens = 50")
    run = kernel.run("%wbchat --once -m test/eyes Read {{ long }} and {{ long }}")
    assert "2 values in the prompt were cut to the setting value_tokens." in run.text


def test_a_container_is_cut_to_its_first_items_with_a_notice_or_sent_whole(kernel: Kernel, service: Service) -> None:
    kernel.run("numbers, deep = list(range(1500)), {'a': {str(number): [number] for number in range(1200)}}")
    for name, left_out in (("numbers", "500 more left out"), ("deep", "200 more left out")):
        run = kernel.run(f"%wbchat --once Read {{{{ {name} }}}}")
        assert left_out in service.last.body["messages"][-1]["content"]
        assert "A value in the prompt was cut to the first items. To send all of them: {{ name | whole }}." in run.text
        run = kernel.run(f"%wbchat --once Read {{{{ {name} | whole }}}}")
        sent_whole = service.last.body["messages"][-1]["content"].removeprefix("Read ")
        assert json.loads(sent_whole) == kernel.value(name)
        assert "was cut" not in run.text
    kernel.run("rows = [{'x': numbers}, {'x': [1]}]")
    run = kernel.run("%%wbmap rows\nRead {{ x }}")
    assert "Values were cut in the prompts of 1 row" in run.text


def test_a_value_that_is_cut_in_the_system_prompt_is_reported_in_chats_and_maps(
    kernel: Kernel, service: Service
) -> None:
    kernel.run("items = list(range(3000))\ndata = ['a', 'b']")
    cut = "A value in -s was cut. To send all of it: {{ name | whole }}."
    for cell in ("%%wbchat --once -s 'S {{ items }}'\nHi", "%%wbmap data -s 'S {{ items }}' -o m\nHi {{ text }}"):
        assert cut in kernel.run(cell).text
        assert "2,000 more left out" in service.last.body["messages"][0]["content"]
    assert cut not in kernel.run("%%wbchat --once -s 'S {{ items | whole }}'\nHi").text
