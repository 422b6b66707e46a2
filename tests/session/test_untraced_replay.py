"""What a cassette alone answers is not traced: neither a call nor a word goes to W&B's servers."""

from __future__ import annotations

from kernels import Kernel
from service import Service, completion
from trace_server import TraceServer

LOAD = "%load_ext wandb_inference_magic"
TRACE = "%wbconfig --trace team/lesson"
# Weave sends in the background, and lets nobody wait for it but through its own client.
FLUSH = "import weave; connected = weave.get_client(); connected and connected.flush()"
MAP = "rows = ['x', 'y']\nget_ipython().run_cell_magic('wbmap', 'rows --concurrency 1', 'Is it {{ text }}?')"


def by_hand(prompt: str) -> str:
    """Return a call of the SDK's own method, which Weave sees whether a magic is around it or not."""
    return (
        "from wandb_inference_magic import client\n"
        f"said = client().chat.completions.create(model='m', messages=[{{'role': 'user', 'content': {prompt!r}}}])"
    )


def test_nothing_is_traced_while_a_cassette_alone_answers(
    observed: Kernel, service: Service, traces: TraceServer
) -> None:
    assert observed.run("%wbconfig --cassette class.jsonl --mode record\n%wbchat --once hi").ok
    # Tracing is set while it replays already: Weave is not even connected to.
    assert observed.run(f"%wbconfig --mode replay\n{TRACE}").ok
    replayed = observed.run("%wbchat --once hi")
    assert "replayed" in replayed.text
    assert "trace" not in replayed.text
    assert traces.received == []
    # As soon as the endpoint may be asked, there are traces.
    assert observed.run("%wbconfig --mode auto").ok
    assert "trace: " in observed.run("%wbchat --once something new").text
    service.always = completion("Yes.")
    assert observed.run(f"{MAP}\n{by_hand('and by hand')}\n{FLUSH}").ok
    assert [one["inputs"]["prompt"] for one in traces.named("wbchat")] == ["something new"]
    assert len(traces.named("wbmap")) == 1
    assert len(traces.named("model_call")) == 3
    assert len(traces.named("openai.chat.completions.create")) == 1
    # When it replays again, Weave is connected, and sees none of it.
    assert observed.run("%wbconfig --mode replay").ok
    told, asked = len(traces.calls), len(service.received)
    assert observed.run(by_hand("and by hand")).ok
    for code in ("%wbchat --once something new", MAP, "%wbchat --once hi"):
        replayed = observed.run(code)
        assert "replayed" in replayed.text
        assert "trace" not in replayed.text
    observed.run(FLUSH)
    assert [call["op_name"] for call in traces.calls[told:]] == []
    assert len(service.received) == asked
