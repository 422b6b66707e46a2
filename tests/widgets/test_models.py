"""`%wbmodels` in a real kernel."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kernels import Kernel, Message, Run, SharedKernel
from known_models import TOGGLE, feed_entry
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
        assert "The endpoint answered, but not with a list of models. It sent: " in shown
        assert "Error" not in shown
        assert "Expecting" not in shown


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (
            "<!doctype html><title>Open WebUI</title>",
            "not with a list of models. It sent a web page: a network's sign-in page",
        ),
        ("", "not with a list of models. It sent nothing."),
        ('{"error": {"message": "Invalid API key", "code": "invalid_api_key"}}', "asks for a key"),
        ('{"error": "Unexpected endpoint or method. (GET /models)"}', "does not know this address."),
    ],
)
def test_what_is_sent_in_place_of_a_list_is_reported(shared: SharedKernel, body: str, shown: str) -> None:
    shared.kernel.run("%wbconfig --model test/model-a")
    shared.service.listing_script = _responding(body)
    assert shown in (run := shared.kernel.run("%wbmodels --refresh")).error + run.text


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
    picker, chosen = run.outputs
    assert set(picker["data"]) == {WIDGET, "text/markdown", "text/plain"}
    # A saved notebook does not show widgets.
    assert chosen["data"]["text/plain"] == "Model for the next chats: openai/gpt-oss-20b"
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


def test_an_empty_list_is_said_to_be_empty_and_a_file_name_can_be_chosen(kernel: Kernel, service: Service) -> None:
    """llama.cpp names a model by its file."""
    service.listing = {"data": []}
    assert "The endpoint lists no models: none is loaded there now." in kernel.run("%wbmodels").error
    name = "/models/My Model.gguf"
    service.listing = listing(name)
    assert name in kernel.run("%wbmodels --table").text
    for line in (
        f'%wbmodels --use "{name}"',
        f'%wbconfig --model "{name}"',
        f"%config WandbInference.model = {name!r}",
    ):
        assert kernel.run("%wbconfig --model test/model-a").ok
        assert kernel.run(line).ok, line
        assert kernel.run("%wbchat --once hi").ok
        assert service.last.body["model"] == name
    kernel.run("%wbconfig --model test/model-a")
    assert kernel.run(f'%wbchat --once -m "{name}" hi').ok
    assert service.last.body["model"] == name


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


@pytest.mark.parametrize("more", ["-o found", "--sort price", "--table", "--min-context 8k"])
def test_choosing_lists_nothing(kernel: Kernel, more: str) -> None:
    run = kernel.run(f"%wbmodels --use test/model-b {more}")
    assert "--use only sets the model" in run.error


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
    error = kernel.run("%wbmodels model --min-context 128k").error
    assert "No model matches 'model' with a context of at least 128k" in error
    assert "Did you mean" not in error


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


FIND = """
import gc
from ipywidgets import HTML, Dropdown, Text, VBox
from wandb_inference_magic.widgets.anywidgets import ModelList
dropdown, search, listed = (next(one for one in gc.get_objects() if issubclass(type(one), kind))
    for kind in (Dropdown, Text, ModelList))
box = next(one for one in gc.get_objects() if type(one) is VBox and len(one.children) == 1)
answers = []
listed.send = answers.append
def say(**message):
    listed._handle_msg({"content": {"data": {"method": "custom", "content": message}}, "buffers": []})
"""


def test_the_picker_shows_the_facts_that_are_known(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    wandb.api.listing = listing("new/unheard-of", "Qwen/Qwen3.8-27B")
    wandb.feed.documents[FEED_PATH] = FEED
    kernel = wandb_kernel(start_kernel, wandb)
    kernel.run("%wbconfig --model Qwen/Qwen3.8-27B")
    run_wbmodels_interactively(kernel)
    assert kernel.run(FIND).ok
    unknown, known = kernel.value("listed.models")
    assert unknown["facts"] == []
    assert (unknown["context"], unknown["in"], unknown["out"]) == ("?", "?", "?")
    assert (unknown["price"], unknown["images"], unknown["tools"], unknown["reasoning"]) == (None,) * 4
    assert dict(known["facts"]) == {
        "context": "262k tokens",
        "price": "$0.40 / $3.00 per million tokens",
        "takes": "text, image",
    }
    assert known["images"] is True
    # The fall-back has the same facts, of the chosen model.
    assert kernel.value("any('<b>262k tokens</b>' in one.value for one in gc.get_objects() if type(one) is HTML)")


@pytest.mark.short
def test_the_picker_and_the_setting_follow_each_other(kernel: Kernel, service: Service) -> None:
    run_wbmodels_interactively(kernel)
    assert kernel.run(FIND).ok
    both = "(dropdown.value, listed.chosen)"
    assert kernel.value(both) == ("test/model-a", "test/model-a")
    # The list replaces the fall-back once the front end has loaded its code.
    assert kernel.value("box.children == (listed,)") is False
    kernel.run("say(ready=True)")
    assert kernel.value("box.children == (listed,)") is True
    for change, model in (
        ("dropdown.value = 'test/model-b'", "test/model-b"),
        ("say(choose='test/model-a')", "test/model-a"),
        ("%wbconfig --model test/model-b", "test/model-b"),
        ("%config WandbInference.model = 'test/model-a'", "test/model-a"),
        ("%wbmodels --use test/model-b", "test/model-b"),
        ("search.value = 'team/unlisted'; dropdown.value = 'team/unlisted'", "team/unlisted"),
    ):
        assert kernel.run(change).ok
        assert kernel.value(both) == (model, model), change
        assert kernel.value("listed.command") == f"%wbmodels --use {model}"
        kernel.run("%wbchat --once hi")
        assert service.last.body["model"] == model
    assert kernel.value("listed.note") == ""
    # A page that is loaded again no longer updates the text below the picker.
    kernel.run("say(ready=True)\n%wbmodels --use test/model-a")
    assert "run the cell again" in kernel.value("listed.note")
    kernel.run("say(choose='not\\tan id'); say(choose=5); say(other=1)")
    answers = kernel.value("answers")
    assert answers[0] == {"answer": ""}
    assert "'not\\tan id' is not a model id" in answers[1]["answer"]
    assert len(answers) == 2
    assert kernel.value("(dropdown.disabled, listed.left)") == (False, "")
    assert kernel.run("%unload_ext wandb_inference_magic").ok
    disabled, left = kernel.value("(dropdown.disabled, listed.left)")
    assert disabled
    assert left.startswith("The extension was unloaded: choosing has no effect.")
    # The fall-back says the same.
    assert kernel.value(f"any({left!r} in one.value for one in gc.get_objects() if type(one) is HTML)")


RELOAD = "%reload_ext wandb_inference_magic"


@pytest.mark.parametrize(
    "reloading",
    [
        RELOAD,
        f"{RELOAD}\n{RELOAD}",
        f"{RELOAD}\n%wbchat --once hi",
        f"%load_ext wandb_inference_magic\n{RELOAD}",
        f"%%capture\n{RELOAD}",
        "get_ipython().extension_manager.reload_extension('wandb_inference_magic')",
        f"{RELOAD}\n1 / 0",
    ],
)
def test_a_picker_outlives_that_the_extension_is_loaded_again(kernel: Kernel, service: Service, reloading: str) -> None:
    """A front end that shows it hears nothing of that, and its choices arrive in the session."""
    run = run_wbmodels_interactively(kernel)
    (picker,) = (
        one.content["comm_id"] for one in run.of("comm_open") if "models" in one.content["data"].get("state", {})
    )

    def say(**content: object) -> list[Message]:
        data = {"comm_id": picker, "data": {"method": "custom", "content": content}}
        message = kernel.client.session.msg("comm_msg", data)
        kernel.client.shell_channel.send(message)
        return list(kernel.messages(message["header"]["msg_id"]))

    say(ready=True)
    reloaded = kernel.run(reloading)
    assert reloaded.of("comm_msg", "comm_close") == []
    answered = [one.content["data"] for one in say(choose="test/model-b") if one.type == "comm_msg"]
    assert {"answer": ""} in [one.get("content") for one in answered]
    assert {"chosen": "test/model-b"} in [one.get("state") for one in answered]
    assert kernel.run("%wbchat --once hi").ok
    assert service.last.body["model"] == "test/model-b"
    set_elsewhere = kernel.run("%wbmodels --use test/model-a").of("comm_msg")
    assert {"chosen": "test/model-a"} in [one.content["data"].get("state") for one in set_elsewhere]


def test_a_picker_says_that_its_session_has_ended(kernel: Kernel) -> None:
    run_wbmodels_interactively(kernel)
    assert kernel.run(FIND).ok
    # They start a new session, also in one cell.
    assert kernel.run("%unload_ext wandb_inference_magic\n%load_ext wandb_inference_magic\n%wbchat --once hi").ok
    assert kernel.value("listed.left").startswith("The extension was unloaded")
    assert kernel.run("%wbchat --once hi").ok


@pytest.mark.parametrize("broken", ["None", "types.ModuleType('anywidget')", "types.SimpleNamespace(AnyWidget=int)"])
def test_without_anywidget_there_is_a_dropdown(kernel: Kernel, broken: str) -> None:
    kernel.run(f"import sys, types\nsys.modules['anywidget'] = {broken}")
    run = run_wbmodels_interactively(kernel)
    assert WIDGET in run.outputs[0]["data"]
    kernel.run(
        "import gc, ipywidgets\nfound = [one.value for one in gc.get_objects() if type(one) is ipywidgets.Dropdown]"
    )
    assert kernel.value("found") == ["test/model-a"]


def test_the_table_beside_a_picker_of_many_models_is_short(kernel: Kernel, service: Service) -> None:
    service.listing = listing(*(f"test/model-{number:04}" for number in range(150)))
    run = run_wbmodels_interactively(kernel)
    beside = run.outputs[0]["data"]["text/markdown"]
    assert beside.count("test/model-") == 100
    assert "50 more: %wbmodels --table" in run.outputs[0]["data"]["text/plain"]
    assert kernel.run("%wbmodels --table").output["data"]["text/markdown"].count("test/model-") == 150


def test_the_chosen_id_is_in_the_notebook_as_text(kernel: Kernel) -> None:
    run = run_wbmodels_interactively(kernel)
    shown = run.of("display_data")[-1].content
    changed = kernel.run("%wbconfig --model test/model-b").of("update_display_data")
    assert [one.content["transient"] for one in changed] == [shown["transient"]]
    assert changed[0].content["data"]["text/plain"] == (
        "Model for the next chats: test/model-b. A restarted kernel does not know this choice. "
        "To keep it, put this line into a cell: %wbmodels --use test/model-b"
    )


def compared(kernel: Kernel, line: str) -> list[str]:
    """Return the ids that a line of `%wbmodels` lists, in their order."""
    assert kernel.run(f"%wbmodels {line} -o found").ok
    return list(kernel.value("list(found['id'])"))


def test_models_are_sorted_and_filtered_by_their_facts(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = wandb_kernel(start_kernel, wandb)
    wandb.api.listing = listing(*(str(one["id"]) for one in COMPARED))
    wandb.feed.documents[FEED_PATH] = {"wandb": {"models": {str(one["id"]): one for one in COMPARED}}}
    everything = ["a/cheap", "b/eyes", "c/large", "d/unknown"]
    assert compared(kernel, "") == everything
    assert compared(kernel, "--sort price") == everything
    assert compared(kernel, "--sort context") == ["c/large", "b/eyes", "a/cheap", "d/unknown"]
    assert compared(kernel, "--sort newest") == ["b/eyes", "c/large", "a/cheap", "d/unknown"]
    assert compared(kernel, "images --sort price --min-context 128k") == ["b/eyes", "c/large"]
    assert compared(kernel, "--min-context 200k") == ["c/large"]
    # A description is not a fact. The words match what is shown, and `+` is at least.
    for words, ids in {
        "image": ["b/eyes", "c/large"],
        "tools": ["a/cheap"],
        "reasoning": ["c/large"],
        "131k": ["b/eyes"],
        "100k+": ["b/eyes", "c/large"],
        "$2.00": ["b/eyes"],
        "no": ["a/cheap", "d/unknown"],
    }.items():
        assert compared(kernel, words) == ids, words
    assert "at least 2.0M" in kernel.run("%wbmodels --min-context 2M").error
    # The table has the same facts.
    text = kernel.run("%wbmodels --table --sort newest").text
    assert text.index("b/eyes") < text.index("a/cheap")
    assert kernel.value("(found['released'][0], bool(found['tools'][0]))") == ("2026-01-01", True)


COMPARED = (
    feed_entry(
        "a/cheap", 32_000, tool_call=True, reasoning=False, release_date="2026-01-01", description="Blind: no images"
    ),
    feed_entry("b/eyes", 131_072, "image", price=2.0, tool_call=False, reasoning=False, release_date="2026-09-01"),
    feed_entry(
        "c/large", 1_048_576, "image", price=3.0, reasoning=True, reasoning_options=[TOGGLE], release_date="2026-03-01"
    ),
    {"id": "d/unknown", "release_date": "soon"},
)


def test_a_model_is_found_by_its_name_at_wandbs_endpoint(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = wandb_kernel(start_kernel, wandb)
    kernel.run("%wbchat -m gpt-oss-20b hi")
    assert wandb.api.last.body["model"] == "openai/gpt-oss-20b"
    # The snapshot knows it: no list was requested.
    assert len(wandb.api.received) == 1
    wandb.api.listing = listing(
        "openai/gpt-oss-20b", "new/Brand-New", "a/twice", "b/twice", "Qwen/Qwen3.8-27B", "Qwen/Qwen4"
    )
    for line, model in (
        ("%wbchat -m brand-new hi", "new/Brand-New"),
        ("%wbmodels --use qwen4\n%wbchat hi", "Qwen/Qwen4"),
        ("%wbconfig --model Qwen3.8-27B\n%wbchat hi", "Qwen/Qwen3.8-27B"),
        ("%%wbmap ['a'] -m gpt-oss-20b\n{{ text }}", "openai/gpt-oss-20b"),
    ):
        assert kernel.run(line).ok
        assert wandb.api.last.body["model"] == model
    sent = len(wandb.api.chats)
    for name, candidates in {"qwen": "Qwen/Qwen3.8-27B, Qwen/Qwen4", "twice": "a/twice, b/twice"}.items():
        refused_run = kernel.run(f"%wbchat -m {name} hi")
        assert f"'{name}' is not the name of one model" in refused_run.error
        assert f"2 ids contain it: {candidates}." in refused_run.error
    assert "Did you mean" in kernel.run("%wbchat -m openai/gpt-oss-2b hi").error
    assert len(wandb.api.chats) == sent
    kernel.run("%wbchat -m gpt-oss-20b -m openai/gpt-oss-20b hi")
    assert len(wandb.api.chats) == sent + 1


def test_a_name_is_an_id_at_other_endpoints_and_in_a_replay(
    kernel: Kernel, service: Service, start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    service.listing = listing("test/model-a", "test/model-b")
    kernel.run("%wbmodels --table\n%wbchat -m model-b hi")
    assert service.last.body["model"] == "model-b"
    replaying = wandb_kernel(start_kernel, wandb)
    replaying.run("%wbconfig --cassette talk.jsonl --mode record\n%wbchat --once -m openai/gpt-oss-20b hi")
    replaying.run("%wbconfig --mode replay")
    assert replaying.run("%wbchat --once -m openai/gpt-oss-20b hi").ok
    run = replaying.run("%wbchat --once -m gpt-oss-20b hi")
    assert "does not hold this request" in run.error
    assert "model" in run.error
    assert len(wandb.api.chats) == 1


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
