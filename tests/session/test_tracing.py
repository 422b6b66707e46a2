"""`--trace`: what the real Weave client posts to a test server in place of W&B's; tracing never breaks a chat."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from environments import with_sitecustomize
from kernels import Kernel
from service import Answer, Service, Streamed, Wandb, calling, completion, refused
from trace_server import TraceServer

LOAD = "%load_ext wandb_inference_magic"
TRACE = "%wbconfig --trace team/lesson"
# Weave sends in the background. Only its own client can wait for that.
FLUSH = "import weave; weave.get_client().flush()"
# Weave logs a warning in a thread of its own when it gives up sending. The package's handler sees it before this one.
WATCH_WARNINGS = """
import logging, threading
warned = threading.Event()
class Watch(logging.Handler):
    def emit(self, record):
        warned.set()
logging.getLogger("weave").addHandler(Watch(logging.WARNING))
"""
# A user who imports Weave first decides whether it reports its errors to a third party.
OWN_WEAVE_PROJECT = (
    "import os; os.environ['WANDB_ERROR_REPORTING'] = 'false'\nimport weave\nmine = weave.init('team/own')"
)


@pytest.mark.short
def test_a_chat_is_one_op_that_contains_the_model_call(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    configured = tracing_kernel.run(TRACE)
    assert configured.ok, configured.text
    service.then(Streamed(["Hello", " you."], reasoning=["Let me ", "think."]))
    run = tracing_kernel.run("%%wbchat -t 0.5 -s 'Be kind.' --thread talk\nhi")
    outputs = [*configured.outputs, *run.outputs]
    printed = [output["data"]["text/plain"] for output in outputs if output["type"] == "stream"]
    assert (len(outputs), printed) == (2, [])
    tracing_kernel.run(FLUSH)
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
    of_reply = tracing_kernel.value(f"({', '.join(f'_wbreply.{name}' for name in fields)})")
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
    assert tracing_kernel.value("_wbreply.trace") == link


def test_the_traces_of_comparisons_and_maps_contain_their_calls(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(TRACE)
    compared = tracing_kernel.run("%%wbchat -m test/a -m test/b\nWho?")
    assert compared.ok
    assert json.dumps(compared.outputs[0]["data"]["text/markdown"]).count("[trace]") == 1
    service.always = completion("Yes.")
    mapped = tracing_kernel.run(
        "rows = ['x', 'y', 'z']\nget_ipython().run_cell_magic('wbmap', 'rows', 'Is it {{ text }}?')"
    )
    assert mapped.ok
    tracing_kernel.run(FLUSH)
    (chat,), (table,) = traces.named("wbchat"), traces.named("wbmap")
    children = {one["id"]: [c for c in traces.calls if c["parent_id"] == one["id"]] for one in (chat, table)}
    assert sorted(one["inputs"]["model"] for one in children[chat["id"]]) == ["test/a", "test/b"]
    assert set(chat["output"]) == {"test/a", "test/b"}
    assert len(children[table["id"]]) == 3
    assert table["inputs"]["prompt"] == "Is it {{ text }}?"
    assert table["output"]["test/model-a"]["rows"] == 3
    assert table["id"] in mapped.text


def test_no_secret_is_traced(tracing_kernel: Kernel, service: Service, traces: TraceServer) -> None:
    tracing_kernel.run(TRACE)
    key = traces.environment["WANDB_API_KEY"]
    service.always = Streamed([f"You said {key}."])
    tracing_kernel.run(f"%wbchat My key is {key}")
    tracing_kernel.run(FLUSH)
    assert len(traces.calls) == 2
    sent = json.dumps([one.body if not isinstance(one.body, bytes) else repr(one.body) for one in traces.received])
    assert key not in sent
    assert "endpoint-secret" not in sent
    assert "(hidden)" in json.dumps(traces.calls[0])
    assert not any("endpoint-secret" in value for one in traces.received for value in one.headers.values())


def test_half_of_a_character_loses_no_trace(tracing_kernel: Kernel, service: Service, traces: TraceServer) -> None:
    tracing_kernel.run(f"{TRACE}\nfrom wandb_inference_magic import chat, map_prompts")
    run = tracing_kernel.run("chat('\\ud83d', thread='\\ud83d')\nmap_prompts(['\\ud83d', 'b'], '{{ text }}')")
    assert run.ok, run.error
    tracing_kernel.run(FLUSH)
    assert [len(traces.named(name)) for name in ("wbchat", "wbmap", "model_call")] == [1, 1, 3]
    assert traces.named("wbchat")[0]["inputs"]["prompt"] == "\ufffd"


def test_weave_uses_the_key_that_the_package_finds(
    start_kernel: Callable[..., Kernel],
    service: Service,
    traces: TraceServer,
    wandb: Wandb,
    environment: dict[str, str],
) -> None:
    """Weave itself looks for api.wandb.ai in netrc, but wandb 0.31 writes another name there."""
    (Path(environment["HOME"]) / ".netrc").write_text(
        "machine api.forge.coreweave.com login user password netrc-key-0123456789-0123456789\n"
    )
    variables = {**wandb.environment, **traces.environment, "WANDB_BASE_URL": "https://api.wandb.ai"}
    del variables["WANDB_API_KEY"]
    variables["WANDB_INFERENCE_BASE_URL"] = service.url
    kernel = start_kernel(**variables, WANDB_INFERENCE_MODEL="test/model-a")
    kernel.run(LOAD)
    # The request for W&B's list of projects, which follows, does not go through the proxy of the tests.
    kernel.run(TRACE)
    (authorization,) = {one.headers["authorization"] for one in traces.received}
    assert b64decode(authorization.removeprefix("Basic ")) == b"api:netrc-key-0123456789-0123456789"
    assert set(wandb.connected_to) <= {"api.wandb.ai"}
    assert kernel.value("'WANDB_API_KEY' in __import__('os').environ") is False


def test_an_unreachable_trace_server_is_reported_once(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    traces.fails = True
    failed = tracing_kernel.run(TRACE)
    assert "Connecting to Weave for team/lesson failed: nothing is traced." in failed.error
    assert "not set" in re.search(r"trace +(.*)", tracing_kernel.run("%wbconfig").text).group(1)  # type: ignore[union-attr]
    tracing_kernel.run("%config WandbInference.trace = 'team/lesson'")
    first, second = tracing_kernel.run("%wbchat hi"), tracing_kernel.run("%wbchat again")
    assert first.ok
    assert second.ok
    assert "Tracing does not work: Connecting to Weave" in first.text
    assert "Tracing" not in second.text
    assert "trace:" not in first.text


def test_a_trace_server_that_fails_later_is_reported_once(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(TRACE)
    tracing_kernel.run(WATCH_WARNINGS)
    traces.fails = True
    first = tracing_kernel.run("%wbchat one")
    assert tracing_kernel.value("warned.wait(100)"), "Weave logged no warning about the failing server"
    later = [tracing_kernel.run(f"%wbchat {word}") for word in ("two", "three", "four")]
    assert all(run.ok for run in (first, *later))
    assert sum("Tracing does not work" in run.text for run in (first, *later)) == 1
    assert all(output["type"] == "display_data" for run in (first, *later) for output in run.outputs)


def test_failures_and_interrupts_are_traced_as_exceptions(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(TRACE)
    service.then(lambda answer: answer.json({"error": {"message": "no such model"}}, 404))
    assert not tracing_kernel.run("%wbchat -m test/none hi").ok
    gate = Event()
    service.then(Streamed(gate=gate))
    try:
        tracing_kernel.interrupt_at("%wbchat hi", "Hello")
    finally:
        gate.set()
    arrived, finished = Event(), Event()

    def hold(answer: Answer) -> None:
        arrived.set()
        finished.wait(60)

    service.then(completion("Yes."), hold)
    tracing_kernel.run("rows = ['a', 'b']")
    request = tracing_kernel.start("%%wbmap rows --no-cache --concurrency 1\n{{ text }}")
    try:
        assert arrived.wait(60)
        tracing_kernel.interrupt()
        tracing_kernel.finish(request)
    finally:
        finished.set()
    tracing_kernel.run(FLUSH)
    failed, stopped = traces.named("wbchat")
    assert "does not know the model" in failed["exception"]
    assert "Interrupt" in stopped["exception"]
    assert stopped["output"]["text"] == "Hello"
    (table,) = traces.named("wbmap")
    assert "Interrupt" in table["exception"]
    assert [one["rows"] for one in table["output"].values()] == [1]


FORKED_CHAT = """
import os
from wandb_inference_magic import chat
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(writing, (chat("child").trace or "none").encode())
    os._exit(0)
os.waitpid(pid, 0)
link = os.read(reading, 1000).decode()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
def test_a_forked_child_has_no_link_to_a_call_that_is_not_sent(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    """The threads of Weave that send are the parent's."""
    service.always = completion("Yes.")
    tracing_kernel.run(TRACE)
    assert tracing_kernel.run("%wbchat parent").ok
    forked = tracing_kernel.run(FORKED_CHAT)
    assert forked.ok, forked.error
    assert tracing_kernel.value("link") == "none"
    tracing_kernel.run(FLUSH)
    assert len(traces.named("wbchat")) == 1


def test_a_weave_project_of_the_user_is_not_changed(tracing_kernel: Kernel, traces: TraceServer) -> None:
    tracing_kernel.run(OWN_WEAVE_PROJECT)
    assert "Weave is tracing in team/own already." in tracing_kernel.run(TRACE).error
    assert tracing_kernel.value("weave.get_client() is mine")
    assert tracing_kernel.run("%wbconfig --trace team/own").ok
    tracing_kernel.run("%wbconfig --trace off")
    assert tracing_kernel.value("weave.get_client() is mine")


@pytest.mark.parametrize(
    ("code", "off"),
    [
        ("import os; os.environ['WEAVE_DISABLED'] = 'true'", "WEAVE_DISABLED"),
        ("import os; os.environ['WEAVE_DISABLED'] = '1'\nimport weave; weave.init('team/lesson')", "WEAVE_DISABLED"),
        ("import weave; weave.init('team/lesson', settings={'disabled': True})", "by weave.init"),
    ],
)
def test_a_weave_that_is_switched_off_traces_nothing_and_is_no_error(
    tracing_kernel: Kernel, traces: TraceServer, code: str, off: str
) -> None:
    assert tracing_kernel.run(f"{code}\nfrom wandb_inference_magic import chat, evaluate").ok
    assert "Tracing" not in tracing_kernel.run("%wbchat hi").text
    said = tracing_kernel.run(TRACE)
    assert said.ok, said.error
    assert f"Weave is switched off ({off}): nothing is traced" in said.text
    chats = [tracing_kernel.run(cell) for cell in ("%wbchat hi", "chat('x')")]
    assert all(chat.ok and "Tracing" not in chat.text and "trace:" not in chat.text for chat in chats)
    rows = "[{'q': 'a', 'y': 'a'}]"
    failed = tracing_kernel.run(f"evaluate({rows}, '{{{{ q }}}}', truth='y').to_weave('team/lesson')").error
    assert f"Weave is switched off ({off}): nothing is published." in failed
    assert traces.received == []
    # The remedy that it names.
    tracing_kernel.run("%env WEAVE_DISABLED=false")
    run = tracing_kernel.run("%wbchat hi")
    assert (len(run.outputs), "[trace]" in run.outputs[-1]["data"]["text/markdown"]) == (1, True), run.outputs
    tracing_kernel.run(FLUSH)
    assert len(traces.named("wbchat")) == 1


def test_weave_prints_again_after_tracing_is_switched_off(tracing_kernel: Kernel, traces: TraceServer) -> None:
    tracing_kernel.run(f"{TRACE}\n%wbconfig --trace off")
    assert "View Weave data" in tracing_kernel.run("import weave\nmine = weave.init('team/own')").text


def test_an_endpoint_that_does_not_stream_can_be_traced(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(TRACE)
    service.then(completion("In one piece."))
    run = tracing_kernel.run("%wbchat hi")
    assert run.ok
    assert "In one piece." in run.text
    tracing_kernel.run(FLUSH)
    (call,) = traces.named("model_call")
    assert call["output"]["text"] == "In one piece."


def test_no_key_is_traced_in_an_error(tracing_kernel: Kernel, service: Service, traces: TraceServer) -> None:
    tracing_kernel.run(TRACE)
    service.then(refused(400, "your key endpoint-secret-0123 is not for this"))
    assert not tracing_kernel.run("%wbchat My key is endpoint-secret-0123").ok
    tracing_kernel.run(FLUSH)
    (outer,) = traces.named("wbchat")
    assert "endpoint-secret" not in json.dumps(outer)
    assert "is not for this" in outer["exception"]


def test_nothing_is_traced_after_tracing_is_switched_off(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(TRACE)
    tracing_kernel.run("%wbchat traced")
    off = tracing_kernel.run("%wbconfig --trace off")
    assert off.ok
    assert [list(output["data"]) for output in off.outputs] == [["text/markdown", "text/plain"]], (
        "and no bar of Weave's"
    )
    assert len(traces.calls) == 2, "the remaining traces have been sent"
    count = len(traces.received)
    run = tracing_kernel.run("%wbchat not traced")
    assert run.ok, run.error
    assert "trace" not in run.outputs[0]["data"]["text/markdown"].rpartition("<small>")[2]
    tracing_kernel.run(f"{TRACE}\n%wbchat traced again\n{FLUSH}")
    assert len(traces.received) > count
    assert [one["inputs"]["prompt"] for one in traces.named("wbchat")] == ["traced", "traced again"]


def test_the_users_own_weave_tracing_works(tracing_kernel: Kernel, service: Service, traces: TraceServer) -> None:
    tracing_kernel.run(OWN_WEAVE_PROJECT)
    service.then(Streamed(["Hello", " you."]))
    run = tracing_kernel.run("%wbchat hi")
    assert run.ok
    assert "Hello you." in run.text
    assert tracing_kernel.value("_wbreply.request_id") == "req-test-1"
    tracing_kernel.run(FLUSH)
    (chat,), (call,) = traces.named("wbchat"), traces.named("model_call")
    assert chat["parent_id"] is None
    assert call["parent_id"] == chat["id"]
    assert call["project_id"] == "team/own"
    assert call["output"]["text"] == "Hello you."
    assert chat["summary"]["usage"]["test/model-a"]["completion_tokens"] == 3
    assert tracing_kernel.value("weave.get_client() is mine")


def test_attributes_that_the_user_has_set_are_on_each_call(tracing_kernel: Kernel, traces: TraceServer) -> None:
    tracing_kernel.run(f"{OWN_WEAVE_PROJECT}\nfrom wandb_inference_magic import chat, map_prompts")
    calls = "chat('hi')\n    map_prompts(['a'], '{{ text }}', cache=False)"
    run = tracing_kernel.run(f"with weave.attributes({{'env': 'class'}}):\n    {calls}\nchat('no more')")
    assert run.ok, run.text
    tracing_kernel.run(FLUSH)
    names = ("wbchat", "model_call", "wbmap")
    traced = sorted((one for name in names for one in traces.named(name)), key=lambda one: str(one["started_at"]))
    assert [one["attributes"].get("env") for one in traced] == ["class"] * 4 + [None] * 2
    assert ["wandb_inference" in one["attributes"] for one in traced] == [True, False] * 3


def test_an_op_inside_another_leaves_its_figures_to_it(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(f"{TRACE}\nfrom wandb_inference_magic import chat, map_prompts")
    tracing_kernel.run("def look(q: str) -> str:\n    map_prompts(['a'], '{{ text }}')\n    return chat('inner').text")
    service.then(calling(("look", '{"q": "z"}')))
    run = tracing_kernel.run("%%wbchat --tools look\nouter")
    assert run.ok, run.text
    tracing_kernel.run(FLUSH)
    outer, inner = traces.named("wbchat")
    assert (inner["parent_id"], inner["summary"]["wandb_inference"]["calls"]) == (outer["id"], 1)
    figures, output = outer["summary"]["wandb_inference"], outer["output"]
    assert (figures["calls"], round(figures["seconds"], 3)) == (output["calls"], output["seconds"])
    assert (output["calls"], figures["cost_usd"]) == (2, None)
    # Tokens are those of all.
    assert outer["summary"]["usage"]["test/model-a"]["prompt_tokens"] == 12 * 4


def test_calls_from_python_are_traced_like_the_magics(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(OWN_WEAVE_PROJECT)
    code = (
        "from wandb_inference_magic import chat, client\nchat('hi')\n"
        "said = client().chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'by hand'}])"
    )
    service.always = completion("Yes.")
    run = tracing_kernel.run(code)
    assert run.ok, run.error
    tracing_kernel.run(FLUSH)
    names = [call["op_name"].partition("/op/")[2].partition(":")[0] for call in traces.calls]
    # Calls of the user's own client are traced by Weave's patch of the SDK.
    assert sorted(names) == ["model_call", "openai.chat.completions.create", "wbchat"]


def test_a_failed_model_call_is_traced_with_its_error(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(TRACE)
    service.then(refused(400, "too many cooks"))
    assert not tracing_kernel.run("%wbchat hi").ok
    tracing_kernel.run(FLUSH)
    (call,) = traces.named("model_call")
    assert "too many cooks" in call["exception"]
    assert call["output"]["text"] == ""


# `find_spec` asks the finders in order: a module that no finder knows counts as not installed.
WITHOUT_WEAVE = """
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "weave" else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [Without if one is PathFinder else one for one in sys.meta_path]
"""


def test_a_missing_weave_is_reported_with_the_install_command(
    start_kernel: Callable[..., Kernel], service: Service, tmp_path: Path
) -> None:
    kernel = start_kernel(
        WANDB_INFERENCE_BASE_URL=service.url, WANDB_API_KEY="a-key", **with_sitecustomize(WITHOUT_WEAVE, tmp_path)
    )
    kernel.run(LOAD)
    error = kernel.run(TRACE).error
    assert "Weave is not installed: nothing is traced." in error
    assert 'pip install "wandb-inference-magic[weave]"' in error
    assert kernel.run("%wbchat -m test/model-a hi").ok


def test_a_weave_that_cannot_be_imported_is_reported(
    start_kernel: Callable[..., Kernel], service: Service, tmp_path: Path
) -> None:
    """Weave 0.54 accepts any typing-extensions, but fails with most versions."""
    (tmp_path / "weave.py").write_text("raise TypeError('an unexpected keyword argument')")
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url, WANDB_API_KEY="a-key")
    kernel.run(LOAD)
    error = kernel.run(TRACE).error
    assert "Weave is installed, but cannot be imported: nothing is traced." in error
    assert "an unexpected keyword argument" in error
    assert 'pip install "wandb-inference-magic[weave]" --upgrade' in error
    assert kernel.run("%wbchat -m test/model-a hi").ok


def test_a_missing_key_for_tracing_is_reported(kernel: Kernel) -> None:
    error = kernel.run(TRACE).error
    assert "There is no key for W&B: nothing is traced." in error
    assert "%wbconfig --key" in error
    assert kernel.run("%wbchat hi").ok


def test_tracing_starts_when_a_key_is_found_later(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    key = traces.environment["WANDB_API_KEY"]
    tracing_kernel.run("import os; del os.environ['WANDB_API_KEY']\n%config WandbInference.trace = 'team/lesson'")
    assert "There is no key for W&B: nothing is traced." in tracing_kernel.run("%wbchat not traced").text
    assert traces.received == []
    tracing_kernel.run(f"os.environ['WANDB_API_KEY'] = '{key}'")
    assert tracing_kernel.run("%wbchat traced").ok
    tracing_kernel.run(FLUSH)
    assert [one["inputs"]["prompt"] for one in traces.named("wbchat")] == ["traced"]
    authorizations = {one.headers["authorization"] for one in traces.received}
    assert {b64decode(one.removeprefix("Basic ")) for one in authorizations} == {f"api:{key}".encode()}


def test_a_traced_reply_that_ends_with_done_only_is_complete(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(TRACE)
    service.always = Streamed(["All ", "of it."], finish=None)
    for cell in ("%wbchat hi", "%%wbchat --once -m test/a -m test/b\nhi"):
        run = tracing_kernel.run(cell)
        assert run.ok, run.text
        assert "All of it." in run.text
    service.always = Streamed(["Half "], finish=None, done=False)
    assert "The reply stopped before its end." in tracing_kernel.run("%wbchat hi").error
    tracing_kernel.run(FLUSH)
    *complete, half = traces.named("model_call")
    assert [call["output"]["text"] for call in complete] == ["All of it."] * 3
    assert half["output"]["text"] == "Half "
    assert "stopped before its end" in half["exception"]


def test_a_traced_stream_that_stalls_is_reported_as_a_timeout(
    tracing_kernel: Kernel, service: Service, traces: TraceServer
) -> None:
    tracing_kernel.run(f"{TRACE}\n%config WandbInference.max_retries = 0\n%wbconfig --timeout 1.5")
    gate = Event()
    service.always = Streamed(gate=gate)
    try:
        for cell in ("%wbchat hi", "%%wbchat --once -m test/a -m test/b\nhi"):
            assert "sent nothing in time" in tracing_kernel.run(cell).text
    finally:
        gate.set()
    tracing_kernel.run(FLUSH)
    assert ["sent nothing in time" in call["exception"] for call in traces.named("model_call")] == [True] * 3
