"""Measure what a person feels, each figure against a reference in the same run. Prints one Markdown table.

uv run python tests/benchmarks/run.py            # all of it, a few minutes
uv run python tests/benchmarks/run.py --short    # once each: only to see that it runs
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

sys.path.insert(0, str(Path(__file__).parent.parent))

from conftest import clean_environment
from kernels import Kernel, running_kernel
from service import Service, Streamed

BARE_LOOP = """
import openai
client = openai.OpenAI(base_url=URL, api_key="none", max_retries=0)
def bare():
    for chunk in client.chat.completions.create(
        model="test/model-a", messages=[{"role": "user", "content": "hi"}], stream=True,
        stream_options={"include_usage": True},
    ):
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
"""


@contextmanager
def kernel(service: Service) -> Iterator[Kernel]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "empty_extension.py").write_text("def load_ipython_extension(shell): pass\n")
        environment = clean_environment(home) | {
            "WANDB_INFERENCE_BASE_URL": service.url,
            "WANDB_INFERENCE_MODEL": "test/model-a",
            "PYTHONPATH": folder,
        }
        with running_kernel(environment, home) as running:
            yield running


def load_seconds(service: Service, extension: str) -> float:
    """Load an extension in a fresh kernel and return the seconds that the cell takes inside it."""
    with kernel(service) as fresh:
        fresh.run("import time")
        fresh.run(
            textwrap.dedent(f"""
            start = time.perf_counter()
            get_ipython().run_line_magic("load_ext", {extension!r})
            taken = time.perf_counter() - start
            """)
        )
        return float(fresh.value("taken"))


def first_words_seconds(running: Kernel, service: Service, code: str) -> float:
    """Return the seconds from the server's first token to the first words the front end receives."""
    left: list[float] = []
    gate = Event()
    service.then(Streamed(["Unmistakable ", "end."], gate=gate, at_piece=lambda _: left.append(time.perf_counter())))
    request = running.start(code)
    arrived = 0.0
    for message in running.messages(request):
        if not arrived and "Unmistakable" in json.dumps(message.content):
            arrived = message.at
            gate.set()
    running.reply(request)
    return arrived - left[0]


def received_bytes(running: Kernel, service: Service, tokens: int) -> int:
    """Return the bytes the front end receives for a reply of so many tokens, at 200 a second times ten."""
    pieces = [f"word{number % 90 + 10} " + ("\n\n" if number % 60 == 59 else "") for number in range(tokens)]
    service.then(Streamed(pieces, per_second=2000))
    return running.run("%%wbchat --once\nhi").bytes


def cpu_seconds(running: Kernel, service: Service, code: str, tokens: int) -> float:
    """Return the kernel's CPU seconds for a streamed reply of so many tokens."""
    service.then(Streamed([f"word{number % 90 + 10} " for number in range(tokens)]))
    running.run("import time\nbefore = time.process_time()")
    running.run(code)
    return float(running.value("time.process_time() - before"))


def alternating(times: int, *measures: Callable[[], float]) -> list[float]:
    """Take measures in turns, so that a slow moment of the machine hits all of them; return their medians."""
    taken = [[measure() for measure in measures] for _ in range(times)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    rows: list[tuple[str, str, str, str]] = []
    with Service().running() as service:
        ours, empty = alternating(
            1 if short else 9,
            lambda: load_seconds(service, "wandb_inference_magic"),
            lambda: load_seconds(service, "empty_extension"),
        )
        rows.append(
            (
                "`%load_ext`, fresh kernel",
                f"{ours * 1e3:.1f} ms",
                f"empty extension {empty * 1e3:.1f} ms",
                f"+{(ours - empty) * 1e3:.1f} ms (goal: +50 ms)",
            )
        )
        with kernel(service) as running:
            running.run(f"URL = {service.url!r}" + BARE_LOOP)
            running.run("%load_ext wandb_inference_magic")
            running.run("%wbchat --once warm up\nbare()")
            ours, bare = alternating(
                1 if short else 25,
                lambda: first_words_seconds(running, service, "%%wbchat --once\nhi"),
                lambda: first_words_seconds(running, service, "bare()"),
            )
            rows.append(
                (
                    "first token to first words",
                    f"{ours * 1e3:.1f} ms",
                    f"bare SDK loop printing {bare * 1e3:.1f} ms",
                    f"{(ours - bare) * 1e3:+.1f} ms (goal: +30 ms)",
                )
            )
            small, large = (received_bytes(running, service, tokens) for tokens in (500, 5000))
            rows.append(
                (
                    "bytes to the front end",
                    f"5,000 tokens {large:,}",
                    f"500 tokens {small:,}",
                    f"{large / small:.1f} times (linear: 10)",
                )
            )
            tokens = 200 if short else 5000
            ours, bare = alternating(
                1 if short else 5,
                lambda: cpu_seconds(running, service, "%%wbchat --once\nhi", tokens),
                lambda: cpu_seconds(running, service, "bare()", tokens),
            )
            rows.append(
                (
                    f"CPU of the kernel, {tokens:,} tokens",
                    f"{ours:.2f} s",
                    f"bare SDK loop printing {bare:.2f} s",
                    f"{ours / bare:.2f} times",
                )
            )
    print("| what | ours | reference | result |\n|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
