"""`%wbmodels` in a real kernel."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kernels import Kernel, Run, SharedKernel
from service import Answer, Script, Service, Wandb, listing, refused

FEED = {
    "wandb": {
        "models": {
            "openai/gpt-oss-20b": {
                "id": "openai/gpt-oss-20b",
                "name": "gpt-oss-20b",
                "cost": {"input": 0.05, "output": 0.2},
                "limit": {"context": 131072},
                "modalities": {"input": ["text"]},
            }
        }
    }
}
FEED_PATH = "/inference/modelsdev/models"
WIDGET = "application/vnd.jupyter.widget-view+json"


def wandb_kernel(start_kernel: Callable[..., Kernel], wandb: Wandb, **variables: str) -> Kernel:
    kernel = start_kernel(WANDB_API_KEY="a-key", **wandb.environment, **variables)
    assert kernel.run("%load_ext wandb_inference_magic").ok
    return kernel


def run_wbmodels_interactively(kernel: Kernel) -> Run:
    """Run `%wbmodels` as an interactive front end does."""
    return kernel.finish(kernel.start("%wbmodels", allow_stdin=True))


def test_an_invalid_model_list_is_reported(shared: SharedKernel) -> None:
    shared.kernel.run("%wbconfig --model test/model-a")
    bodies = (
        "[" * 100_000 + "]" * 100_000,
        "no JSON",
        "\xff\xfe",
        "5",
        '{"data": 5}',
        '{"data": [' + "[]," * 5_000_000 + "5]}",
    )
    for body in bodies:
        shared.service.listing_script = _responding(body)
        run = shared.kernel.run("%wbmodels --refresh")
        shown = run.error if not run.ok else run.text
        assert "The endpoint answered, but not with a list of models (" in shown
        assert "Error" not in shown


def _responding(body: str) -> Script:
    def answer(one: Answer) -> None:
        one.start(200, "application/json")
        one.raw(body.encode("latin-1"))
        one.end()

    return answer


def test_the_live_list_is_joined_with_the_public_feed(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    wandb.api.listing = listing("openai/gpt-oss-20b", "new/unheard-of", "Qwen/Qwen3.8-27B")
    wandb.feed.documents[FEED_PATH] = FEED
    kernel = wandb_kernel(start_kernel, wandb)
    run = run_wbmodels_interactively(kernel)
    assert set(run.output["data"]) == {WIDGET, "text/markdown", "text/plain"}
    for expected in ("new/unheard-of", "0.05 / 0.20", "262k", "text, image", "W&B's public feed", "← chosen"):
        assert expected in run.text
    (request,) = wandb.feed.received
    assert "authorization" not in request.headers


def test_the_list_is_fetched_once(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbmodels")
    kernel.run("%wbmodels --table\n%wbmodels model-b")
    assert len(service.received) == 1
    kernel.run("%wbmodels --refresh")
    assert len(service.received) == 2


def test_the_public_feed_can_be_switched_off(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = wandb_kernel(start_kernel, wandb)
    kernel.run("%config WandbInference.catalog = False")
    assert "snapshot of 2026-10-07" in kernel.run("%wbmodels --table").text
    assert wandb.connected_to == [wandb.API]


def test_the_snapshot_replaces_an_empty_list(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    wandb.api.listing = listing()
    text = wandb_kernel(start_kernel, wandb).run("%wbmodels --table").text
    for expected in ("empty list", "known without it", "snapshot of 2026-10-07", "zai-org/GLM-5.3-Flash"):
        assert expected in text


def test_the_snapshot_replaces_a_list_that_fails(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    wandb.api.listing_script = refused(401, "Invalid Authentication")
    text = wandb_kernel(start_kernel, wandb).run("%wbmodels --table").text
    assert "did not accept the key" in text
    assert "zai-org/GLM-5.3-Flash" in text


def test_a_table_shows_the_models_that_match_the_filter(kernel: Kernel) -> None:
    run = kernel.run("%wbmodels model-b --table")
    assert set(run.output["data"]) == {"text/markdown", "text/plain"}
    assert "test/model-b" in run.text
    assert "test/model-a" not in run.text


def test_choosing_sets_the_model_of_the_next_chat(kernel: Kernel, service: Service) -> None:
    assert "test/model-b" in kernel.run("%wbmodels --use test/model-b").text
    kernel.run("%wbchat hi")
    assert service.last.body["model"] == "test/model-b"


def test_a_lora_can_be_chosen(kernel: Kernel, service: Service) -> None:
    assert kernel.run("%wbmodels --use wandb-artifact:///team/project/name:latest").ok
    kernel.run("%wbchat hi")
    assert service.last.body["model"] == "wandb-artifact:///team/project/name:latest"


def test_a_model_that_the_list_does_not_have_is_chosen_with_advice(kernel: Kernel, service: Service) -> None:
    run = kernel.run("%wbmodels --use test/modle-b")
    assert "does not list it. Did you mean test/model-b" in run.text
    service.always = refused(404, "The model `test/modle-b` does not exist")
    run = kernel.run("%wbchat hi")
    assert "Did you mean test/model-b" in run.error
    assert service.last.body["model"] == "test/modle-b"


def test_a_model_that_wandb_does_not_list_is_refused_before_anything_is_sent(
    start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    wandb.api.listing = listing("openai/gpt-oss-20b")
    kernel = wandb_kernel(start_kernel, wandb)
    assert "Did you mean openai/gpt-oss-20b" in kernel.run("%wbmodels --use openai/gpt-oss-2b").error
    assert "Did you mean openai/gpt-oss-20b" in kernel.run("%wbchat -m openai/gpt-oss-2b hi").error
    assert wandb.api.chats == []


def test_a_retired_model_names_its_replacement(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    wandb.api.then(refused(404, "The requested resource was not found"))
    run = wandb_kernel(start_kernel, wandb).run("%wbchat -m Qwen/Qwen3.6-27B hi")
    assert "replacement is Qwen/Qwen3.8-27B" in run.error


def test_a_filter_without_a_match(kernel: Kernel) -> None:
    assert "No model matches 'modle'" in kernel.run("%wbmodels modle").error


def test_the_models_are_returned_as_a_data_frame(kernel: Kernel) -> None:
    assert kernel.run("%wbmodels -o found").outputs == []
    assert kernel.value("(type(found).__name__, list(found['id']))") == (
        "DataFrame",
        ["test/model-a", "test/model-b"],
    )


def test_a_slow_list_leaves_no_status_line_beside_a_data_frame(kernel: Kernel, service: Service) -> None:
    def slow(answer: Answer) -> None:
        time.sleep(2)
        answer.json(listing("test/model-a"))

    service.listing_script = slow
    assert kernel.run("%wbmodels -o found").outputs == []
    assert kernel.value("list(found['id'])") == ["test/model-a"]


def test_the_parts_of_the_picker_have_a_gap_when_they_wrap(kernel: Kernel) -> None:
    layouts = [
        message.content["data"].get("state", {}) for message in run_wbmodels_interactively(kernel).of("comm_open")
    ]
    (row,) = (layout for layout in layouts if layout.get("flex_flow") == "row wrap")
    assert row["grid_gap"] == "2px 8px"


DETAILS = "import gc, ipywidgets\ndetails = [one.value for one in gc.get_objects() if type(one) is ipywidgets.HTML]"


def test_the_picker_shows_the_facts_that_are_known(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    wandb.api.listing = listing("new/unheard-of", "Qwen/Qwen3.8-27B")
    wandb.feed.documents[FEED_PATH] = FEED
    kernel = wandb_kernel(start_kernel, wandb)
    kernel.run("%wbconfig --model Qwen/Qwen3.8-27B")
    run_wbmodels_interactively(kernel)
    kernel.run(DETAILS)
    (shown,) = (one for one in kernel.value("details") if "<b>" in one)
    for words in ("context <b>262k tokens</b>", " per million tokens</b>", "takes <b>text, image</b>"):
        assert words in shown


def test_the_picker_says_nothing_of_facts_that_are_not_known(kernel: Kernel) -> None:
    run_wbmodels_interactively(kernel)
    kernel.run(DETAILS)
    shown = "".join(kernel.value("details"))
    assert "Nothing is known of this model." in shown
    assert "unknown" not in shown


@pytest.mark.short
def test_the_dropdown_and_the_setting_follow_each_other(kernel: Kernel, service: Service) -> None:
    run_wbmodels_interactively(kernel)
    kernel.run(
        "import gc, ipywidgets\n"
        "dropdown, search, use = (next(one for one in gc.get_objects() if type(one) is kind)\n"
        "    for kind in (ipywidgets.Dropdown, ipywidgets.Text, ipywidgets.Button))"
    )
    assert kernel.value("dropdown.value") == "test/model-a"
    kernel.run("dropdown.value = 'test/model-b'")
    kernel.run("%wbchat hi")
    assert service.last.body["model"] == "test/model-b"
    for change, model in (
        ("%wbconfig --model test/model-a", "test/model-a"),
        ("%config WandbInference.model = 'test/model-b'", "test/model-b"),
        ("%wbmodels --use test/model-a", "test/model-a"),
    ):
        kernel.run(change)
        assert kernel.value("dropdown.value") == model
    kernel.run("search.value = 'wandb-artifact:///team/project/name'")
    assert kernel.value("use.layout.display") is None
    kernel.run("use.click()")
    assert kernel.value("(dropdown.value, use.layout.display)") == (
        "wandb-artifact:///team/project/name",
        "none",
    )
    assert kernel.run("%unload_ext wandb_inference_magic").ok
    assert kernel.value("dropdown.disabled") is True


def test_an_endpoint_with_one_model_needs_no_choice(start_kernel: Callable[..., Kernel], service: Service) -> None:
    service.listing = listing("only/one")
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url)
    kernel.run("%load_ext wandb_inference_magic")
    assert kernel.run("%wbchat hi").ok
    assert service.last.body["model"] == "only/one"


def test_an_endpoint_with_several_models_asks_for_a_choice(
    start_kernel: Callable[..., Kernel], service: Service
) -> None:
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url)
    kernel.run("%load_ext wandb_inference_magic")
    assert "No model is chosen" in kernel.run("%wbchat hi").error
    assert service.chats == []
    assert kernel.run("%wbmodels").ok
