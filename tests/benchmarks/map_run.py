"""Measure a prompt over many rows, compared with requests written by hand. Prints one Markdown table.

uv run --with aiohttp python tests/benchmarks/map_run.py               # 5,000 rows, about a minute
uv run python tests/benchmarks/map_run.py --lotus ENV/bin/python       # and LOTUS, which is installed there
uv run python tests/benchmarks/map_run.py --rows 200                   # only to see that it runs; without the limit
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from figures import Figure

AT_ONCE = 32
MODEL = "test/model-a"
REPLY = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(REPLY)


class AnsweringProtocol(asyncio.Protocol):
    """A server that answers every chat with the same text, as fast as Python can."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            _, _, rest = self._received[:end].lower().partition(b"content-length:")
            whole = end + 4 + int(rest.split(b"\r\n")[0] or 0)
            if len(self._received) < whole:
                return
            self._received = self._received[whole:]
            self._transport.write(HEAD + REPLY)  # type: ignore[attr-defined]


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(AnsweringProtocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def prompts(rows: int) -> list[str]:
    return [f"Is this review of film {number} good?" for number in range(rows)]


def by_map(url: str, rows: int, *, cache: bool = True) -> None:
    from wandb_inference_magic import map_prompts

    texts = [{"n": number} for number in range(rows)]
    answered = map_prompts(texts, "Is this review of film {{ n }} good?", concurrency=AT_ONCE, cache=cache)
    assert len(answered) == rows


def by_sdk(url: str, rows: int) -> None:
    import openai

    async def ask_all() -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

            async def ask(prompt: str) -> str:
                async with slots:
                    made = await client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": prompt}]
                    )
                return made.choices[0].message.content or ""

            assert len(await asyncio.gather(*map(ask, prompts(rows)))) == rows

    asyncio.run(ask_all())


def by_loop(url: str, rows: int) -> None:
    import openai

    with openai.OpenAI(base_url=url, api_key="none") as client:
        for prompt in prompts(rows):
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}])


def by_aiohttp(url: str, rows: int) -> None:
    import aiohttp  # type: ignore[import-not-found,unused-ignore]

    async def ask_all() -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        async with aiohttp.ClientSession() as client:

            async def ask(prompt: str) -> str:
                body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}
                async with slots, client.post(f"{url}/chat/completions", json=body) as response:
                    return str((await response.json())["choices"][0]["message"]["content"])

            await asyncio.gather(*map(ask, prompts(rows)))

    asyncio.run(ask_all())


def by_lotus(url: str, rows: int) -> None:
    import lotus  # type: ignore[import-not-found,unused-ignore]
    import pandas as pd
    from lotus.models import LM  # type: ignore[import-not-found,unused-ignore]

    lotus.settings.configure(lm=LM(f"openai/{MODEL}", max_batch_size=AT_ONCE, api_base=url, api_key="none"))
    answered = pd.DataFrame({"n": range(rows)}).sem_map("Is this review of film {n} good?")
    assert len(answered) == rows


WAYS: dict[str, Callable[[str, int], None]] = {
    "map": by_map,
    "map without its cache": lambda url, rows: by_map(url, rows, cache=False),
    "AsyncOpenAI by hand": by_sdk,
    "a for loop": by_loop,
    "aiohttp": by_aiohttp,
    "LOTUS": by_lotus,
}


def measure(way: str, url: str, rows: int) -> dict[str, float]:
    """Run one way in this process. Imports and the first calls are not counted."""
    WAYS[way](url, 5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    WAYS[way](url, rows)
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "grown_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def measure_in_process(way: str, url: str, rows: int, times: int, python: str = sys.executable) -> dict[str, float]:
    found = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as cache:
            own = {"WANDB_INFERENCE_BASE_URL": url, "WANDB_INFERENCE_API_KEY": "none", "WANDB_INFERENCE_MODEL": MODEL}
            command = [python, __file__, "--measure", way, "--url", url, "--rows", str(rows)]
            process = subprocess.run(
                command, env=os.environ | own | {"XDG_CACHE_HOME": cache}, capture_output=True, text=True, check=True
            )
            found.append(json.loads(process.stdout.splitlines()[-1]))
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def figure(rows: int, times: int) -> Figure:
    """Return the speed of a map compared with the same by hand. The goal of design.md is 1.3 times."""
    with serving() as url:
        ours, hand = (measure_in_process(way, url, rows, times)["wall"] for way in ("map", "AsyncOpenAI by hand"))
    return Figure(
        f"a prompt over {rows:,} rows, {AT_ONCE} at once",
        f"{rows / ours:,.0f} rows a second",
        f"AsyncOpenAI by hand {rows / hand:,.0f} rows a second",
        f"{hand / ours:.2f} times as fast",
        "at least 1.3 times",
        hand / ours >= 1.3,
    )


@contextmanager
def serving() -> Iterator[str]:
    """Run the server in another process."""
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        finally:
            server.kill()


def report(rows: int, times: int, lotus: str) -> None:
    with serving() as url:
        ways = [way for way in WAYS if way != "LOTUS" and (way != "aiohttp" or find_spec("aiohttp"))]
        figures = {way: measure_in_process(way, url, rows, times) for way in ways}
        if lotus:
            figures["LOTUS"] = measure_in_process("LOTUS", url, rows, times, lotus)
        hand = figures["AsyncOpenAI by hand"]
        print(f"{rows:,} rows, {AT_ONCE} at once\n")
        print("| way | rows a second | ms of CPU a row | times as fast as by hand | memory grown |")
        print("|---|---|---|---|---|")
        for way, one in figures.items():
            print(
                f"| {way} | {rows / one['wall']:,.0f} | {one['cpu'] / rows * 1000:.2f} | "
                f"{hand['wall'] / one['wall']:.2f} | {one['grown_mb']:.0f} MB |"
            )
        for many in (2 * rows, 20 * rows) if times > 1 else ():
            grown = measure_in_process("map", url, many, 1)["grown_mb"]
            print(f"| map, {many:,} rows | | | | {grown:.0f} MB |")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=5000)
    options.add_argument("--times", type=int, default=0, help="how often each; 3 for the full run")
    options.add_argument("--lotus", default="", help="an interpreter that has LOTUS")
    options.add_argument("--serve", action="store_true")
    options.add_argument("--measure")
    options.add_argument("--url", default="")
    arguments = options.parse_args()
    if arguments.serve:
        asyncio.run(serve())
    elif arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.url, arguments.rows)))
    else:
        report(arguments.rows, arguments.times or (3 if arguments.rows >= 1000 else 1), arguments.lotus)


if __name__ == "__main__":
    main()
