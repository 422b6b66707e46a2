"""The effect of the settings: in requests, in the cell, and with the practice model."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from kernels import Kernel, Message, Run
from service import Service, Streamed, Wandb, completion, refused
from traitlets.config import Config

from wandb_inference_magic.client import practice_server as local
from wandb_inference_magic.config import WandbInference
from wandb_inference_magic.errors import InferenceError

LOAD = "%load_ext wandb_inference_magic"


def config(kernel: Kernel, name: str, value: object) -> None:
    """Set a setting as a user does. `%config` reports a refused value and does not fail."""
    run = kernel.run(f"%config WandbInference.{name} = {value!r}")
    assert run.ok
    assert run.outputs == []


def roles(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in body["messages"]]


def system_prompts(body: dict[str, Any]) -> list[str]:
    return [content for role, content in roles(body) if role == "system"]


# Requests ----------------------------------------------------------------------------------------------------


def test_settings_are_sent_with_every_request(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat --once zero")
    assert "max_tokens" not in service.last.body, "only what the user set is sent"
    config(kernel, "system", "Be brief.")
    config(kernel, "max_tokens", 7)
    kernel.run("%wbchat one")
    assert roles(service.last.body) == [("system", "Be brief."), ("user", "one")]
    kernel.run("%wbchat two")
    assert [role for role, _ in roles(service.last.body)] == ["system", "user", "assistant", "user"]
    assert system_prompts(service.last.body) == ["Be brief."]
    kernel.run("%wbchat --once three")
    # Both fail: a chart of two answers would take longer than the rest of the test.
    service.then(refused(400, "no"), refused(400, "no"))
    kernel.run("%%wbchat -m test/a -m test/b\nfour")
    kernel.run("from wandb_inference_magic import chat\nchat('five')")
    service.always = completion("Yes.")
    kernel.run("rows = ['six', 'seven']\nget_ipython().run_cell_magic('wbmap', 'rows --no-cache', '{{ text }}')")
    others = service.chats[3:]
    assert sorted(roles(chat.body)[-1][1] for chat in others) == ["five", "four", "four", "seven", "six", "three"]
    assert [(system_prompts(chat.body), chat.body["max_tokens"]) for chat in others] == [(["Be brief."], 7)] * 6


def test_an_option_overrides_the_setting(kernel: Kernel, service: Service) -> None:
    config(kernel, "system", "Be brief.")
    config(kernel, "max_tokens", 7)
    config(kernel, "temperature", 0.5)
    kernel.run("%wbchat -s 'Speak like a pirate.' --max-tokens 9 -t 0.1 one")
    assert system_prompts(service.last.body) == ["Speak like a pirate."]
    assert (service.last.body["max_tokens"], service.last.body["temperature"]) == (9, 0.1)
    kernel.run("%wbchat two")
    assert system_prompts(service.last.body) == ["Speak like a pirate."], "it belongs to its thread"
    assert (service.last.body["max_tokens"], service.last.body["temperature"]) == (7, 0.5)
    kernel.run("%wbchat --thread other three")
    assert system_prompts(service.last.body) == ["Be brief."]
    service.always = completion("Yes.")
    kernel.run("rows = ['four']\nget_ipython().run_cell_magic('wbmap', 'rows --no-cache -s Rhyme.', '{{ text }}')")
    assert system_prompts(service.last.body) == ["Rhyme."]
    config(kernel, "system", "")
    kernel.run("%wbchat --thread third five")
    assert system_prompts(service.last.body) == []


# A value of about 500 tokens: four characters are about one token, which is a number with its blank.
LONG = "".join(f"{number:03d} " for number in range(500))


def prompt(service: Service) -> str:
    return str(service.last.body["messages"][-1]["content"])


def test_a_value_is_cut_visibly_to_the_number_of_tokens(kernel: Kernel, service: Service) -> None:
    kernel.run(f"long = {LONG!r}")
    kernel.run("%wbchat --once {{ long }}")
    assert prompt(service) == LONG, "the default leaves it whole"
    for tokens in (50, 200):
        config(kernel, "value_tokens", tokens)
        kernel.run("%wbchat --once <{{ long }}> goes on")
        sent = prompt(service)
        assert re.fullmatch(r"<000 001 .*498 499 > goes on", sent, re.DOTALL), (
            "both ends are kept, and the text around the value"
        )
        left_out = int(re.findall(r"([\d,]+) characters", sent)[0].replace(",", ""))
        kept = len(re.findall(r"\b\d{3} ", sent))
        # Three digits are estimated as two tokens, and a blank as a quarter.
        assert 0.7 * tokens <= 2.25 * kept <= tokens
        assert abs(left_out - 4 * (500 - kept)) < 10, "the number of missing characters is shown"


def test_only_values_are_cut_and_all_of_them(kernel: Kernel, service: Service) -> None:
    kernel.run(f"long = {LONG!r}")
    config(kernel, "value_tokens", 50)
    kernel.run(f"%wbchat --once {LONG}{{{{ long | whole }}}}")
    assert prompt(service).count(LONG.strip()) == 2, "the typed text, and the value with the whole filter"
    kernel.run("%wbchat --once -s {{long}} hi")
    (system,) = system_prompts(service.last.body)
    assert system.startswith("000 ")
    assert len(system) < 300
    service.always = completion("Yes.")
    kernel.run("rows = [long]\nget_ipython().run_cell_magic('wbmap', 'rows --no-cache', 'See {{ text }}')")
    assert prompt(service).startswith("See 000 ")
    assert len(prompt(service)) < 300


# What the cell shows -----------------------------------------------------------------------------------------

CAT, DOG = "https://img.example/cat.png", "https://img.example.evil.example/dog.png"
FOX, OWL = "http://img.example@evil.example/fox.png", "https://IMG.example/owl.png"
PICTURES = f"Look:\n\n![cat]({CAT})\n\n![dog]({DOG})\n\n![fox]({FOX})\n\n![owl]({OWL})\n\nThat is all."


def loaded(shown: str) -> list[str]:
    """Return the addresses of the images that a front end would load from Markdown or HTML."""
    found = re.findall(r"!\[[^\]]*\]\(<?([^)>\s]+)|<img[^>]+src=[\"']?([^\"'> ]+)", shown)
    return [of_markdown or of_html for of_markdown, of_html in found]


def drawn(run: Run) -> list[str]:
    """Return all Markdown that the front end received, while the reply arrived and at the end."""
    return [str(message.content["data"].get("text/markdown", "")) for message in growing(run)]


def growing(run: Run) -> list[Message]:
    return run.of("display_data", "update_display_data")


def shown_before_the_end(kernel: Kernel, service: Service, code: str) -> Run:
    """Run a cell whose reply contains PICTURES. All of them are shown before the reply ends."""
    gate = Event()
    service.then(Streamed([PICTURES, "\n\nThe end."], gate=gate, hold_after=1))
    request = kernel.start(code)
    run = Run()
    for message in kernel.messages(request):
        run.messages.append(message)
        if "That is all." in str(message.content):
            gate.set()
    run.reply = kernel.reply(request)
    assert run.ok
    return run


def test_images_of_an_allowed_host_are_shown_and_others_are_links(kernel: Kernel, service: Service) -> None:
    assert not any(loaded(text) for text in drawn(shown_before_the_end(kernel, service, "%wbchat hi"))), "none is"
    config(kernel, "allow_images_from", ["img.example"])
    run = shown_before_the_end(kernel, service, "%wbchat hi")
    *streamed, final = drawn(run)
    assert "The end." in final
    assert not any("The end." in text for text in streamed)
    for shown in ("\n".join(streamed), final):
        assert set(loaded(shown)) == {CAT, OWL}
        for alt, host, address in (("dog", "img.example.evil.example", DOG), ("fox", "evil.example", FOX)):
            assert re.search(rf"(?<!!)\[image: {alt} \({host}\)\]\(<?{re.escape(address)}>?\)", shown), shown
    assert kernel.value("_wbreply.text").startswith(PICTURES), "the text is as it came"


def test_images_of_an_allowed_host_are_shown_in_every_form_of_a_reply(kernel: Kernel, service: Service) -> None:
    config(kernel, "allow_images_from", ["img.example"])
    service.always = Streamed([PICTURES])
    kernel.run("%wbchat hi")
    assert loaded(kernel.run("%wbthread --show").output["data"]["text/markdown"]) == [CAT, OWL]
    assert loaded(kernel.run("%wbchat --once --format html hi").output["data"]["text/html"]) == [CAT, OWL]
    compared = kernel.run("%%wbchat -m test/a -m test/b\nhi")
    assert loaded(compared.outputs[0]["data"]["text/markdown"]) == [CAT, OWL] * 2


def test_the_refresh_rate_of_a_growing_reply_is_a_setting(kernel: Kernel, service: Service) -> None:
    """Send each piece after the one before it was seen: each is drawn as soon as the setting allows it.

    The clock bounds the rate from one side only: a slow machine takes longer, and may draw as often as it does.
    """
    rate, words = 3, ["Alpha", "beta", "gamma", "delta", "epsilon", "zeta", "omega"]
    kernel.run("%wbchat --once warm up")
    config(kernel, "refresh_per_second", rate)
    seen = [Event() for _ in words]
    began: list[float] = []

    def wait_for_previous_piece(number: int) -> None:
        assert number == 0 or seen[number - 1].wait(60)
        began.append(time.perf_counter())

    service.then(Streamed([f"{word} " for word in words], at_piece=wait_for_previous_piece))
    run = Run()
    for message in kernel.messages(kernel.start("%wbchat --once hi")):
        run.messages.append(message)
        for word, event in zip(words, seen, strict=True):
            if word in str(message.content.get("data")):
                event.set()
    *growth, final = growing(run)
    assert " ".join(words) in final.content["data"]["text/plain"]
    growth = [one for one in growth if one.content["data"]["text/markdown"].startswith("Alpha")]
    # Below a growing reply stands that it grows.
    texts = [one.content["data"]["text/markdown"].partition("\n\n")[0].strip() for one in growth]
    assert texts[:6] == [" ".join(words[:number]) for number in range(1, 7)]
    # The first words are drawn at once, the second time may follow directly, then each takes its share of a second.
    assert len(texts) - 2 <= (growth[-1].at - began[0]) * rate


# The practice model ------------------------------------------------------------------------------------------


def test_named_weights_that_are_not_there_are_reported_where_there_is_no_key(
    start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    kernel = start_kernel(**wandb.environment)
    kernel.run(LOAD)
    config(kernel, "weights", "/nowhere/my-model.gguf")
    error = kernel.run("%wbchat hi").error
    assert "The weights of the practice model were not found: /nowhere/my-model.gguf" in error


@pytest.mark.practice
def test_without_a_key_an_installed_practice_model_is_to_be_chosen_not_installed(
    start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    kernel = start_kernel(**wandb.environment)
    kernel.run(f"{LOAD}\n%wbconfig --endpoint wandb")
    error = kernel.run("%wbchat hi").error
    assert "To try it without a key, choose the practice model: %wbconfig --endpoint local" in error


@pytest.mark.practice
def test_the_practice_model_can_be_chosen_despite_a_key_and_use_other_weights(
    start_kernel: Callable[..., Kernel], wandb: Wandb, environment: dict[str, str]
) -> None:
    packaged = local.find_weights()
    assert packaged is not None
    (Path(environment["HOME"]) / "my-model.gguf").symlink_to(packaged)
    kernel = start_kernel(WANDB_API_KEY="a-key", **wandb.environment)
    kernel.run(LOAD)
    configured = kernel.run("%wbconfig --endpoint local")
    assert "the practice model on this machine" in configured.text
    assert local.PACKAGED_MODEL in configured.text
    config(kernel, "weights", "~/my-model.gguf")
    run = kernel.run("%wbchat --max-tokens 4 hi")
    assert run.ok, run.error
    facts = run.output["metadata"]["wandb_inference"]
    assert (facts["endpoint"], facts["model"]) == ("local", "my-model")
    assert "practice model my-model on this machine" in run.text
    assert "my-model" in kernel.run("%wbmodels --table").text
    assert wandb.connected_to == [], "no host was contacted, and the key was not sent"
    kernel.run("%wbconfig --endpoint wandb")
    assert kernel.run("%wbchat --once hi").ok
    assert wandb.api.last.headers["authorization"] == "Bearer a-key"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WANDB_INFERENCE_MODEL", '"test/model-a"'),
        ("WANDB_INFERENCE_CASSETTE", "'class.jsonl'"),
        ("WANDB_INFERENCE_BASE_URL", '"wandb"'),
    ],
)
def test_quotation_marks_around_a_variable_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InferenceError, match=f"{variable} is not usable: it has quotation marks around its value"):
        WandbInference().resolve()


def test_a_value_set_in_the_session_wins_also_if_the_configuration_file_has_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_INFERENCE_MODEL", "of-the-environment")
    settings = WandbInference(config=Config({"WandbInference": {"model": "of-the-file"}}))
    assert settings.resolve().model == "of-the-environment"
    settings.set(model="of-the-file")
    assert settings.resolve().model == "of-the-file"
    settings.reset()
    assert settings.resolve().model == "of-the-environment"
