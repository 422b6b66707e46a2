"""Answers from a cassette alone are not traced: no call and no text is sent to W&B's servers."""

from __future__ import annotations

from kernels import Kernel
from service import Service, completion
from trace_server import TraceServer

LOAD = "%load_ext wandb_inference_magic"
TRACE = "%wbconfig --trace team/lesson"
# Weave sends in the background. Only its own client can wait for that.
FLUSH = "import weave; connected = weave.get_client(); connected and connected.flush()"
MAP = "rows = ['x', 'y']\nget_ipython().run_cell_magic('wbmap', 'rows --concurrency 1', 'Is it {{ text }}?')"


def sdk_call(prompt: str) -> str:
    """Return a call of the SDK's own method, which Weave traces inside and outside a magic."""
    return (
        "from wandb_inference_magic import client\n"
        f"said = client().chat.completions.create(model='m', messages=[{{'role': 'user', 'content': {prompt!r}}}])"
    )


def test_a_replay_is_not_traced(tracing_kernel: Kernel, service: Service, traces: TraceServer) -> None:
    assert tracing_kernel.run("%wbconfig --cassette class.jsonl --mode record\n%wbchat --once hi").ok
    # Tracing is set during a replay: Weave does not even connect.
    assert tracing_kernel.run(f"%wbconfig --mode replay\n{TRACE}").ok
    replayed = tracing_kernel.run("%wbchat --once hi")
    assert "replayed" in replayed.text
    assert "trace" not in replayed.text
    assert traces.received == []
    # As soon as the endpoint may be called, there are traces.
    assert tracing_kernel.run("%wbconfig --mode auto").ok
    assert "trace: " in tracing_kernel.run("%wbchat --once something new").text
    service.always = completion("Yes.")
    assert tracing_kernel.run(f"{MAP}\n{sdk_call('and by hand')}\n{FLUSH}").ok
    assert [one["inputs"]["prompt"] for one in traces.named("wbchat")] == ["something new"]
    assert len(traces.named("wbmap")) == 1
    assert len(traces.named("model_call")) == 3
    assert len(traces.named("openai.chat.completions.create")) == 1
    # In the next replay Weave is connected, but traces nothing.
    assert tracing_kernel.run("%wbconfig --mode replay").ok
    traced_before, requests_before = len(traces.calls), len(service.received)
    assert tracing_kernel.run(sdk_call("and by hand")).ok
    for code in ("%wbchat --once something new", MAP, "%wbchat --once hi"):
        replayed = tracing_kernel.run(code)
        assert "replayed" in replayed.text
        assert "trace" not in replayed.text
    tracing_kernel.run(FLUSH)
    assert [call["op_name"] for call in traces.calls[traced_before:]] == []
    # Nor if the user has kept the client from before the replay.
    assert tracing_kernel.run(f"%wbconfig --mode auto\nkept = client()\n{sdk_call('and by hand')}\n{FLUSH}").ok
    traced_before = len(traces.calls)
    assert tracing_kernel.run("%wbconfig --mode replay").ok
    assert tracing_kernel.run(sdk_call("and by hand").replace("= client()", "= kept")).ok
    tracing_kernel.run(FLUSH)
    assert [call["op_name"] for call in traces.calls[traced_before:]] == []
    assert len(service.received) == requests_before
