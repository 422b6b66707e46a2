"""`--trace`: what the real Weave client posts, to a stand-in for W&B's servers; and that it never stands in the way."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from environments import beginning_with
from kernels import Kernel
from service import Service, Streamed, Wandb, completion, refused
from trace_server import TraceServer

LOAD = "%load_ext wandb_inference_magic"
TRACE = "%wbconfig --trace team/lesson"
# Weave sends in the background, and lets nobody wait for it but through its own client.
FLUSH = "import weave; weave.get_client().flush()"
# A user who imports Weave first decides for herself whether it reports its errors to a third party.
OWN = "import os; os.environ['WANDB_ERROR_REPORTING'] = 'false'\nimport weave\nmine = weave.init('team/own')"


@pytest.mark.short
def test_a_chat_is_one_op_with_the_model_call_inside(observed: Kernel, service: Service, traces: TraceServer) -> None:
    configured = observed.run(TRACE)
    assert configured.ok, configured.text
    service.then(Streamed(["Hello", " you."], reasoning=["Let me ", "think."]))
    run = observed.run("%%wbchat -t 0.5 -s 'Be kind.' --thread talk\nhi")
    outputs = [*configured.outputs, *run.outputs]
    assert [output["type"] for output in outputs] == ["display_data"] * 2, "nothing printed"
    observed.run(FLUSH)
    outer, inner = traces.calls
    assert "/op/wbchat:" in outer["op_name"]
    assert "/op/model_call:" in inner["op_name"]
    assert (inner["parent_id"], inner["trace_id"]) == (outer["id"], outer["trace_id"])
    assert outer["parent_id"] is None
    assert outer["inputs"] == {"prompt": "hi", "model": "test/model-a", "system": "Be kind.", "temperature": 0.5}
    assert outer["attributes"]["wandb_inference"]["thread"] == "talk"
    assert outer["output"]["text"] == "Hello you."
    assert outer["output"]["reasoning"] == "Let me think."
    assert "cost_usd" in outer["output"]
    assert set(outer["summary"]["wandb_inference"]) == {"cost_usd", "seconds", "calls"}
    assert outer["summary"]["usage"]["test/model-a"]["prompt_tokens"] == 12
    assert inner["inputs"]["messages"][-1] == {"role": "user", "content": "hi"}
    assert inner["inputs"]["temperature"] == 0.5
    # Field by field what the Reply has.
    fields = ("text", "reasoning", "finish_reason", "request_id", "cost", "usage.prompt_tokens")
    of_reply = observed.value(f"({', '.join(f'_wbreply.{name}' for name in fields)})")
    output = inner["output"]
    assert of_reply == (
        output["text"],
        output["reasoning"],
        output["finish_reason"],
        output["request_id"],
        output["cost_usd"],
        output["usage"]["prompt_tokens"],
    )
    assert output["reasoning"] == "Let me think."
    (link,) = re.findall(r"\[trace\]\((\S+)\)", run.outputs[0]["data"]["text/markdown"])
    assert link.endswith(f"/team/lesson/r/call/{outer['id']}")
    assert f"trace: {link}]" in run.outputs[0]["data"]["text/plain"]
    assert observed.value("_wbreply.trace") == link


def test_comparisons_and_maps_hold_their_calls(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(TRACE)
    compared = observed.run("%%wbchat -m test/a -m test/b\nWho?")
    assert compared.ok
    assert json.dumps(compared.outputs[0]["data"]["text/markdown"]).count("[trace]") == 1
    service.always = completion("Yes.")
    mapped = observed.run("rows = ['x', 'y', 'z']\nget_ipython().run_cell_magic('wbmap', 'rows', 'Is it {{ text }}?')")
    assert mapped.ok
    observed.run(FLUSH)
    (chat,), (table,) = traces.named("wbchat"), traces.named("wbmap")
    children = {one["id"]: [c for c in traces.calls if c["parent_id"] == one["id"]] for one in (chat, table)}
    assert sorted(one["inputs"]["model"] for one in children[chat["id"]]) == ["test/a", "test/b"]
    assert set(chat["output"]) == {"test/a", "test/b"}
    assert len(children[table["id"]]) == 3
    assert table["inputs"]["prompt"] == "Is it {{ text }}?"
    assert table["output"]["test/model-a"]["rows"] == 3
    assert table["id"] in mapped.text


def test_no_secret_is_traced(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(TRACE)
    key = traces.environment["WANDB_API_KEY"]
    service.always = Streamed([f"You said {key}."])
    observed.run(f"%wbchat My key is {key}")
    observed.run(FLUSH)
    assert len(traces.calls) == 2
    told = json.dumps([one.body if not isinstance(one.body, bytes) else repr(one.body) for one in traces.received])
    assert key not in told
    assert "endpoint-secret" not in told
    assert "(hidden)" in json.dumps(traces.calls[0])
    assert not any("endpoint-secret" in value for one in traces.received for value in one.headers.values())


def test_the_key_is_found_where_ours_is(
    start_kernel: Callable[..., Kernel],
    service: Service,
    traces: TraceServer,
    wandb: Wandb,
    environment: dict[str, str],
) -> None:
    """Weave alone looks for api.wandb.ai in netrc; what wandb 0.31 writes there is another name."""
    (Path(environment["HOME"]) / ".netrc").write_text(
        "machine api.forge.coreweave.com login user password netrc-key-0123456789-0123456789\n"
    )
    told = {**wandb.environment, **traces.environment, "WANDB_BASE_URL": "https://api.wandb.ai"}
    del told["WANDB_API_KEY"]
    told["WANDB_INFERENCE_BASE_URL"] = service.url
    kernel = start_kernel(**told, WANDB_INFERENCE_MODEL="test/model-a")
    kernel.run(LOAD)
    # W&B's list of projects, which is asked next, is not behind the tests' proxy.
    kernel.run(TRACE)
    (asked,) = {one.headers["authorization"] for one in traces.received}
    assert b64decode(asked.removeprefix("Basic ")) == b"api:netrc-key-0123456789-0123456789"
    assert set(wandb.connected_to) <= {"api.wandb.ai"}
    assert kernel.value("'WANDB_API_KEY' in __import__('os').environ") is False


def test_a_server_that_cannot_be_reached_is_told_once(observed: Kernel, service: Service, traces: TraceServer) -> None:
    traces.fails = True
    failed = observed.run(TRACE)
    assert "Weave could not be connected to for team/lesson: nothing is traced." in failed.error
    assert "not set" in re.search(r"trace +(.*)", observed.run("%wbconfig").text).group(1)  # type: ignore[union-attr]
    observed.run("%config WandbInference.trace = 'team/lesson'")
    first, second = observed.run("%wbchat hi"), observed.run("%wbchat again")
    assert first.ok
    assert second.ok
    assert "Tracing does not work: Weave could not be connected to" in first.text
    assert "Tracing" not in second.text
    assert "trace:" not in first.text


def test_a_server_that_fails_later_is_told_once(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(TRACE)
    traces.fails = True
    first = observed.run("%wbchat one")
    observed.run(FLUSH)
    later = [observed.run(f"%wbchat {word}") for word in ("two", "three", "four")]
    assert all(run.ok for run in (first, *later))
    assert sum("Tracing does not work" in run.text for run in later) == 1
    assert all(output["type"] == "display_data" for run in (first, *later) for output in run.outputs)


def test_failures_and_interrupts_are_traced_as_such(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(TRACE)
    service.then(lambda answer: answer.json({"error": {"message": "no such model"}}, 404))
    assert not observed.run("%wbchat -m test/none hi").ok
    gate = Event()
    service.then(Streamed(gate=gate))
    try:
        observed.interrupted_at("%wbchat hi", "Hello")
    finally:
        gate.set()
    observed.run(FLUSH)
    failed, stopped = traces.named("wbchat")
    assert "does not know the model" in failed["exception"]
    assert "Interrupt" in stopped["exception"]
    assert stopped["output"]["text"] == "Hello"


def test_another_project_of_the_users_own_is_left_alone(observed: Kernel, traces: TraceServer) -> None:
    observed.run(OWN)
    assert "Weave is tracing in team/own already." in observed.run(TRACE).error
    assert observed.value("weave.get_client() is mine")
    assert observed.run("%wbconfig --trace team/own").ok
    observed.run("%wbconfig --trace off")
    assert observed.value("weave.get_client() is mine")


def test_weave_speaks_again_afterwards(observed: Kernel, traces: TraceServer) -> None:
    observed.run(f"{TRACE}\n%wbconfig --trace off")
    assert "View Weave data" in observed.run("import weave\nmine = weave.init('team/own')").text


def test_an_endpoint_that_does_not_stream_is_traced_too(
    observed: Kernel, service: Service, traces: TraceServer
) -> None:
    observed.run(TRACE)
    service.then(completion("In one piece."))
    run = observed.run("%wbchat hi")
    assert run.ok
    assert "In one piece." in run.text


def test_no_key_is_traced_in_an_error(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(TRACE)
    service.then(refused(400, "your key endpoint-secret-0123 is not for this"))
    assert not observed.run("%wbchat My key is endpoint-secret-0123").ok
    observed.run(FLUSH)
    (outer,) = traces.named("wbchat")
    assert "endpoint-secret" not in json.dumps(outer)
    assert "is not for this" in outer["exception"]


def test_off_means_off(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(TRACE)
    observed.run("%wbchat traced")
    off = observed.run("%wbconfig --trace off")
    assert off.ok
    assert [list(output["data"]) for output in off.outputs] == [["text/markdown", "text/plain"]], (
        "and no bar of Weave's"
    )
    assert len(traces.calls) == 2, "what was left has been sent"
    count = len(traces.received)
    run = observed.run("%wbchat not traced")
    assert run.ok, run.error
    assert "trace" not in run.outputs[0]["data"]["text/markdown"].rpartition("<small>")[2]
    observed.run(f"{TRACE}\n%wbchat traced again\n{FLUSH}")
    assert len(traces.received) > count
    assert [one["inputs"]["prompt"] for one in traces.named("wbchat")] == ["traced", "traced again"]


def test_weave_by_the_users_own_hand_goes_on_working(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(OWN)
    service.then(Streamed(["Hello", " you."]))
    run = observed.run("%wbchat hi")
    assert run.ok
    assert "Hello you." in run.text
    assert observed.value("_wbreply.request_id") == "req-test-1"
    observed.run(FLUSH)
    (chat,), (call,) = traces.named("wbchat"), traces.named("model_call")
    assert chat["parent_id"] is None
    assert call["parent_id"] == chat["id"]
    assert call["project_id"] == "team/own"
    assert call["output"]["text"] == "Hello you."
    assert chat["summary"]["usage"]["test/model-a"]["completion_tokens"] == 3
    assert observed.value("weave.get_client() is mine")


def test_calls_from_python_are_traced_as_the_magics_are(
    observed: Kernel, service: Service, traces: TraceServer
) -> None:
    observed.run(OWN)
    code = (
        "from wandb_inference_magic import chat, client\nchat('hi')\n"
        "said = client().chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'by hand'}])"
    )
    service.always = completion("Yes.")
    run = observed.run(code)
    assert run.ok, run.error
    observed.run(FLUSH)
    names = [call["op_name"].partition("/op/")[2].partition(":")[0] for call in traces.calls]
    # The user's own client is seen by what the user has installed: Weave's own patch of the SDK.
    assert sorted(names) == ["model_call", "openai.chat.completions.create", "wbchat"]


def test_a_failed_model_call_is_traced_with_its_error(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(TRACE)
    service.then(refused(400, "too many cooks"))
    assert not observed.run("%wbchat hi").ok
    observed.run(FLUSH)
    (call,) = traces.named("model_call")
    assert "too many cooks" in call["exception"]
    assert call["output"]["text"] == ""


# `find_spec` asks the finders in order: one that knows nothing of it hides it.
WITHOUT_WEAVE = """
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "weave" else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [Without if one is PathFinder else one for one in sys.meta_path]
"""


def test_weave_that_is_not_installed_is_said_with_the_command(
    start_kernel: Callable[..., Kernel], service: Service, tmp_path: Path
) -> None:
    kernel = start_kernel(
        WANDB_INFERENCE_BASE_URL=service.url, WANDB_API_KEY="a-key", **beginning_with(WITHOUT_WEAVE, tmp_path)
    )
    kernel.run(LOAD)
    error = kernel.run(TRACE).error
    assert "Weave is not installed: nothing is traced." in error
    assert 'pip install "wandb-inference-magic[weave]"' in error
    assert kernel.run("%wbchat -m test/model-a hi").ok


def test_a_weave_that_cannot_be_imported_is_said(
    start_kernel: Callable[..., Kernel], service: Service, tmp_path: Path
) -> None:
    """Weave 0.54 takes any typing-extensions, and breaks with most."""
    (tmp_path / "weave.py").write_text("raise TypeError('an unexpected keyword argument')")
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url, WANDB_API_KEY="a-key")
    kernel.run(LOAD)
    error = kernel.run(TRACE).error
    assert "Weave is installed, but cannot be imported: nothing is traced." in error
    assert "an unexpected keyword argument" in error
    assert 'pip install "wandb-inference-magic[weave]" --upgrade' in error
    assert kernel.run("%wbchat -m test/model-a hi").ok


def test_a_missing_key_is_said(kernel: Kernel) -> None:
    error = kernel.run(TRACE).error
    assert "There is no key for W&B: nothing is traced." in error
    assert "%wbconfig --key" in error
    assert kernel.run("%wbchat hi").ok


def test_a_key_that_comes_later_begins_the_tracing(observed: Kernel, service: Service, traces: TraceServer) -> None:
    key = traces.environment["WANDB_API_KEY"]
    observed.run("import os; del os.environ['WANDB_API_KEY']\n%config WandbInference.trace = 'team/lesson'")
    assert "There is no key for W&B: nothing is traced." in observed.run("%wbchat not traced").text
    assert traces.received == []
    observed.run(f"os.environ['WANDB_API_KEY'] = '{key}'")
    assert observed.run("%wbchat traced").ok
    observed.run(FLUSH)
    assert [one["inputs"]["prompt"] for one in traces.named("wbchat")] == ["traced"]
    asked = {one.headers["authorization"] for one in traces.received}
    assert {b64decode(one.removeprefix("Basic ")) for one in asked} == {f"api:{key}".encode()}


def test_a_reply_that_ends_with_done_alone_is_whole(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(TRACE)
    service.always = Streamed(["All ", "of it."], finish=None)
    for cell in ("%wbchat hi", "%%wbchat --once -m test/a -m test/b\nhi"):
        run = observed.run(cell)
        assert run.ok, run.text
        assert "All of it." in run.text
    service.always = Streamed(["Half "], finish=None, done=False)
    assert "The reply stopped before its end." in observed.run("%wbchat hi").error


def test_a_silence_in_a_stream_is_told_as_one(observed: Kernel, service: Service, traces: TraceServer) -> None:
    observed.run(f"{TRACE}\n%config WandbInference.max_retries = 0\n%wbconfig --timeout 1.5")
    gate = Event()
    service.always = Streamed(gate=gate)
    try:
        for cell in ("%wbchat hi", "%%wbchat --once -m test/a -m test/b\nhi"):
            assert "said nothing in time" in observed.run(cell).text
    finally:
        gate.set()
