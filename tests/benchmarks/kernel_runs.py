"""Measures in a real kernel, with a test server that answers at once."""

from __future__ import annotations

import json
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from environments import clean_environment
from figures import Figure, as_difference, as_limit, as_ratio, in_turns
from kernels import Kernel, quick_kernel, running_kernel
from service import Service, Streamed, completion, listing

LOAD = "%load_ext wandb_inference_magic"
CHAT = "%%wbchat --once\nhi"
# The code of a user who knows the SDK.
BY_HAND = """
import openai
client = openai.OpenAI(base_url={url!r}, api_key="none", max_retries=0)
def by_hand(messages=({{"role": "user", "content": "hi"}},), shown=True):
    for chunk in client.chat.completions.create(
        model="test/model-a", messages=list(messages), stream=True, stream_options={{"include_usage": True}},
    ):
        if chunk.choices and chunk.choices[0].delta.content and shown:
            print(chunk.choices[0].delta.content, end="", flush=True)
"""
KILOBYTE = "word " * 204


@dataclass(frozen=True)
class Kernels:
    """Kernels whose endpoint is a service. Those that are `quick` have imported the SDK before they start."""

    service: Service
    quick: bool = False

    @contextmanager
    def fresh(self) -> Iterator[Kernel]:
        """A fresh kernel."""
        start = quick_kernel if self.quick else running_kernel
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            (home / "empty_extension.py").write_text("def load_ipython_extension(shell): pass\n")
            environment = clean_environment(home) | {
                "WANDB_INFERENCE_BASE_URL": self.service.url,
                "WANDB_INFERENCE_MODEL": "test/model-a",
            }
            # It finds the extension in the folder in which it works.
            with start(environment, home) as running:
                yield running

    @contextmanager
    def ready(self) -> Iterator[Kernel]:
        """A kernel in which both ways were used once, so that nothing is left to import."""
        with self.fresh() as running:
            running.run(BY_HAND.format(url=self.service.url))
            running.run(LOAD)
            running.run(CHAT)
            running.run("by_hand()")
            yield running


def wall_seconds(running: Kernel, *cells: str) -> float:
    """Return the seconds that cells take in sequence, as the user sees it."""
    started = time.perf_counter()
    for cell in cells:
        assert running.run(cell).ok
    return time.perf_counter() - started


# Before the first chat ----------------------------------------------------------------------------------------


def loading(kernels: Kernels, times: int) -> Figure:
    def seconds(extension: str) -> float:
        with kernels.fresh() as fresh:
            fresh.run("import time")
            fresh.run(
                textwrap.dedent(f"""
                start = time.perf_counter()
                get_ipython().run_line_magic("load_ext", {extension!r})
                taken = time.perf_counter() - start
                """)
            )
            return float(fresh.value("taken"))

    ours, empty = in_turns(times, lambda: seconds("wandb_inference_magic"), lambda: seconds("empty_extension"))
    return as_ratio("`%load_ext`, fresh kernel", ours * 1000, empty * 1000, "empty extension", "ms", 18)


def first_chat(kernels: Kernels, times: int) -> Figure:
    def seconds(*cells: str) -> float:
        with kernels.fresh() as fresh:
            fresh.run("1")
            return wall_seconds(fresh, *cells)

    by_hand = BY_HAND.format(url=kernels.service.url)
    ours, reference = in_turns(times, lambda: seconds(LOAD, CHAT), lambda: seconds(by_hand, "by_hand()"))
    return as_ratio("first chat, Run All in a fresh kernel", ours, reference, "by hand", "s", 1.05)


def first_chat_later(kernels: Kernels, times: int, pause: float) -> Figure:
    firsts: list[float] = []

    def second() -> float:
        with kernels.fresh() as fresh:
            fresh.run(LOAD)
            time.sleep(pause)
            firsts.append(wall_seconds(fresh, CHAT))
            return in_turns(5, lambda: wall_seconds(fresh, CHAT))[0]

    (later,) = in_turns(times, second)
    return as_ratio(
        f"first chat, {pause:g} s after loading", sorted(firsts)[len(firsts) // 2], later, "a later chat", "s", 1.2
    )


# While it streams ------------------------------------------------------------------------------------------------


def first_words(service: Service, running: Kernel, times: int) -> Figure:
    def seconds(code: str) -> float:
        """Return the time from the server's first token to the first text that the front end receives."""
        left: list[float] = []
        gate = Event()
        service.then(
            Streamed(["Unmistakable ", "end."], gate=gate, at_piece=lambda _: left.append(time.perf_counter()))
        )
        request = running.start(code)
        arrived = 0.0
        for message in running.messages(request):
            if not arrived and "Unmistakable" in json.dumps(message.content):
                arrived = message.at
                gate.set()
        running.reply(request)
        return arrived - left[0]

    ours, bare = in_turns(times, lambda: seconds(CHAT), lambda: seconds("by_hand()"))
    return as_difference("first token to first words", ours, bare, "bare SDK loop printing", 0.015)


def cpu(service: Service, running: Kernel, times: int, tokens: int) -> Figure:
    def seconds(code: str) -> float:
        service.then(Streamed([f"word{number % 90 + 10} " for number in range(tokens)]))
        running.run("import time\nbefore = time.process_time()")
        running.run(code)
        return float(running.value("time.process_time() - before")) / tokens * 1e6

    ours, bare = in_turns(times, lambda: seconds(CHAT), lambda: seconds("by_hand(shown=False)"))
    what = f"CPU a streamed token, drawn ({tokens:,} tokens)"
    return as_ratio(what, ours, bare, "bare SDK loop, not drawn", "µs", 0.5)


def sizes(service: Service, running: Kernel, tokens: int) -> Figure:
    """Measure the bytes that the front end receives when the reply doubles, from `tokens` to four times as many."""

    def received(count: int) -> int:
        pieces = [f"word{number % 90 + 10} " + ("\n\n" if number % 60 == 59 else "") for number in range(count)]
        service.then(Streamed(pieces, per_second=2000))
        return running.run(CHAT).bytes

    small, large = received(tokens), received(4 * tokens)
    twice = (large / small) ** 0.5
    return Figure(
        f"bytes to the front end, {tokens:,} to {4 * tokens:,} tokens",
        f"{large:,}",
        f"{small:,}",
        f"{twice:.2f} times a doubling",
        "at most 2.2 times",
        twice <= 2.2,
    )


MEASURE_MEMORY = """
from pathlib import Path
def megabytes(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024
def begin():
    # Forgets the peak so far (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    global before
    before = megabytes("VmRSS")
"""


def memory(kernels: Kernels, megabytes: float) -> Figure:
    """Measure the peak growth of the kernel for one long reply, compared with IPython showing the same text."""
    paragraph = f"{KILOBYTE}\n\n"
    count = int(megabytes * 1000)

    def grown(cell: str) -> float:
        with kernels.ready() as running:
            running.run(MEASURE_MEMORY)
            kernels.service.then(Streamed([paragraph] * count))
            running.run("begin()")
            assert running.run(cell).ok
            return float(running.value("megabytes('VmHWM') - before"))

    ours = grown(CHAT)
    shown = grown(
        f"from IPython.display import display\ntext = {paragraph!r} * {count}\n"
        "display({'text/markdown': text, 'text/plain': text}, raw=True)"
    )
    size = count * len(paragraph) / 2**20
    floor = f"the reply (IPython's own display of it: {shown / size:.1f} times)"
    return as_ratio(f"memory for a reply of {megabytes:g} MB", ours, size, floor, "MB", 5)


# Models and threads ----------------------------------------------------------------------------------------------


def many_models(kernels: Kernels, times: int, models: int) -> Figure:
    kernels.service.listing = listing(*(f"test/model-{number}" for number in range(models)))
    with kernels.fresh() as running:
        running.run(f"{LOAD}\nimport time")
        running.run("%wbmodels")

        def seconds() -> float:
            code = "start = time.perf_counter()\n%wbmodels\ntook = time.perf_counter() - start"
            # As a front end where somebody can pick.
            running.finish(running.start(code, allow_stdin=True))
            return float(running.value("took"))

        (took,) = in_turns(times, seconds)
    return as_limit(f"`%wbmodels` with {models:,} models, cached", took, 0.1)


def late_turn(kernels: Kernels, times: int, turns: int) -> Figure:
    with kernels.ready() as running:
        kernels.service.always = completion(
            "Yes, and this is a sentence of some twenty words, as an answer in a class may well have."
        )
        chat = "get_ipython().run_cell_magic('wbchat', '--quiet', f'And what of number {n}?')"
        running.run(f"for n in range({turns}):\n    {chat}")
        assert running.run("%wbthread").ok
        kernels.service.always = Streamed()

        def seconds(options: str) -> float:
            return wall_seconds(running, f"%%wbchat {options}\nAnd now?")

        ours, once = in_turns(times, lambda: seconds(""), lambda: seconds("--once"))
    return as_ratio(f"a turn late in a thread of {turns}", ours, once, "the same with --once", "s", 1.2)


def in_kernels(service: Service, *, short: bool) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Yield each measure in kernels with its name, not yet taken."""
    times, kernels = 1 if short else 9, Kernels(service, quick=short)
    yield "loading", lambda: loading(kernels, times)
    yield "first_chat", lambda: first_chat(kernels, 1 if short else 5)
    yield "first_chat_later", lambda: first_chat_later(kernels, 1 if short else 3, 1.0 if short else 10.0)
    with kernels.ready() as running:
        yield "first_words", lambda: first_words(service, running, 1 if short else 25)
        yield "cpu", lambda: cpu(service, running, 1 if short else 5, 200 if short else 5000)
        for tokens in (100,) if short else (500, 5000):
            yield "sizes", partial(sizes, service, running, tokens)
    yield "memory", lambda: memory(kernels, 0.1 if short else 10)
    yield "many_models", lambda: many_models(kernels, times, 100 if short else 1000)
    yield "late_turn", lambda: late_turn(kernels, 1 if short else 15, 5 if short else 200)
