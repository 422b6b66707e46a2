"""`chat`, `models`, `map_prompts`, `client` and `InferenceError` in a plain Python process, without IPython's shell."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kernels import Kernel
from service import MODEL, Answer, Service, completion, listing, refused

Told = Callable[..., Any]


@pytest.fixture
def told(environment: dict[str, str], service: Service, tmp_path: Path) -> Told:
    """Run a script in a process of its own, and return what its last expression, printed, says."""

    def run(script: str, **variables: str) -> Any:
        known = {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_API_KEY": "a-key"}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env=environment | known | {"WANDB_INFERENCE_MODEL": MODEL} | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return ast.literal_eval(done.stdout)

    return run


def spoken(body: dict[str, Any]) -> list[str]:
    return [message["content"] for message in body["messages"]]


def test_chat_models_and_client_need_no_shell(told: Told, service: Service) -> None:
    service.listing = listing("test/model-a", "qwen/one-image", "qwen/two")
    found = told(
        """
        import sys
        from wandb_inference_magic import chat, client, models
        reply = chat("Hi?")
        print((
            reply.text, reply.model, reply.usage.prompt_tokens,
            [one.id for one in models().models],
            [one.id for one in models().matching("QWEN")],
            [one.id for one in models().matching("image qwen")],
            [one.id for one in models(refresh=True).matching("no such")],
            [one.id for one in client().models.list()],
            client().chat.completions.create(
                model="test/other", messages=[{"role": "user", "content": "By hand"}], stream=True
            ).__class__.__name__,
            "IPython" in sys.modules,
        ))
        """
    )
    assert found == (
        *("Hello there.", MODEL, 12),
        ["qwen/one-image", "qwen/two", "test/model-a"],
        ["qwen/one-image", "qwen/two"],
        ["qwen/one-image"],
        [],
        ["test/model-a", "qwen/one-image", "qwen/two"],
        "Stream",
        False,
    )
    assert [spoken(one.body) for one in service.chats] == [["Hi?"], ["By hand"]]
    assert service.last.body["model"] == "test/other"
    assert {one.headers["authorization"] for one in service.received} == {"Bearer a-key"}
    lists = [one for one in service.received if one.path.endswith("/models")]
    assert len(lists) == 3, "once for all, once again when told, and once by hand"


def test_the_package_client_does_not_hide_the_function_of_that_name(told: Told) -> None:
    found = told(
        """
        import wandb_inference_magic
        from wandb_inference_magic.client import http
        print((callable(wandb_inference_magic.client), callable(http)))
        """
    )
    assert found == (True, False)


def test_a_thread_goes_on_and_only_where_one_is_named(told: Told, service: Service) -> None:
    service.then(*(completion(word) for word in ("One.", "Two.", "Three.", "Four.")))
    replies = told(
        """
        from wandb_inference_magic import chat
        replies = (
            chat("first", thread="talk", model="test/model-b", system="Be brief."),
            chat("second", thread="talk", temperature=0.5, top_k=3),
            chat("third"),
            chat("fourth", thread="other"),
        )
        print([one.text for one in replies])
        """
    )
    assert replies == ["One.", "Two.", "Three.", "Four."]
    first, second, third, fourth = (one.body for one in service.chats)
    assert (first["model"], spoken(first)) == ("test/model-b", ["Be brief.", "first"])
    assert second["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "second"},
    ]
    assert (second["model"], second["temperature"], second["top_k"]) == (MODEL, 0.5, 3)
    assert spoken(third) == ["third"]
    assert spoken(fourth) == ["fourth"]


def echo(one: Answer) -> None:
    completion(f"<{one.received.body['messages'][-1]['content']}>")(one)


def test_a_frame_is_mapped_into_the_column_named(told: Told, service: Service) -> None:
    service.always = lambda one: (refused(400, "too odd") if "odd" in str(one.received.body) else echo)(one)
    frames = told(
        """
        import pandas as pd
        from wandb_inference_magic import map_prompts
        df = pd.DataFrame({"text": ["bon", "odd", "jour"], "reply": ["mine", "mine", "mine"]}, index=[7, 8, 9])
        out = map_prompts(df, "Say {{ text }} {{ tone }}", into="french", names={"tone": "kindly"}, temperature=0)
        two = map_prompts(df.head(1), "{{ text }}", into="guess", model=["test/a", "test/b"])
        print((
            out.index.tolist(), list(out.columns), out.fillna("-").french.tolist(), out.reply.tolist(),
            out.french_error.fillna("-").tolist(), list(df.columns), list(two.columns),
        ))
        """
    )
    index, columns, french, untouched, errors, before, of_two = frames
    assert index == [7, 8, 9]
    assert columns == ["text", "reply", "french", "french_error"]
    assert french == ["<Say bon kindly>", "-", "<Say jour kindly>"]
    assert untouched == ["mine"] * 3, "a column of another name stays as it is"
    assert errors[::2] == ["-", "-"]
    assert "too odd" in errors[1]
    assert before == ["text", "reply"], "the frame itself stays as it is"
    assert of_two == ["text", "reply", "guess_a", "guess_b"]


def test_the_magic_maps_into_the_column_named(kernel: Kernel, service: Service) -> None:
    service.always = echo
    kernel.run("import pandas as pd\ndf = pd.DataFrame({'text': ['bon', 'jour'], 'reply': ['mine', 'mine']})")
    assert kernel.run("%%wbmap df --into french -o out\nSay {{ text }}").ok
    assert kernel.value("out.to_dict('list')") == {
        "text": ["bon", "jour"],
        "reply": ["mine", "mine"],
        "french": ["<Say bon>", "<Say jour>"],
    }
    assert kernel.run("%%wbmap df --into guess -m test/a -m test/b -o out\nSay {{ text }}").ok
    assert kernel.value("list(out.columns)") == ["text", "reply", "guess_a", "guess_b"]


ERROR = """
from wandb_inference_magic import InferenceError, chat
found = []
for thread in ("talk", "talk"):
    try:
        chat("hi", thread=thread)
    except InferenceError as error:
        found.append((
            error.cause, error.status, error.request_id, error.what, error.why, error.remedy, str(error)
        ))
print(found)
"""


def test_an_error_tells_its_parts(told: Told, service: Service) -> None:
    service.then(refused(401, "Invalid Authentication, says the service"), refused(404, "No such model, it says"))
    (key, model) = told(ERROR)
    cause, status, request_id, what, why, remedy, whole = key
    assert (cause, status, request_id) == ("key", 401, "req-test-1")
    assert "did not accept the key" in what
    assert "Invalid Authentication, says the service" in why
    assert "WANDB_INFERENCE_API_KEY" in remedy
    assert whole == f"{what} {why} {remedy}"
    cause, status, request_id, what, why, remedy, _ = model
    assert (cause, status, request_id) == ("model", 404, "req-test-1")
    assert MODEL in what
    assert remedy
    assert spoken(service.last.body) == ["hi"], "what failed is no part of the conversation"


def test_an_error_without_an_answer_has_no_status(told: Told) -> None:
    (first, _) = told(ERROR, WANDB_INFERENCE_BASE_URL="http://127.0.0.1:9/v1")
    cause, status, request_id, what, why, remedy, _ = first
    assert (cause, status, request_id) == ("network", None, None)
    assert "could not be reached" in what
    assert why
    assert remedy
