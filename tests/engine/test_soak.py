"""Two hundred replies in a row, fifty of them with a random fault: nothing accumulates in the kernel."""

from __future__ import annotations

import random
import threading

import psutil
from kernels import Kernel
from service import Answer, Script, Service, Streamed, chunk, completion, page, refused


def cut(answer: Answer) -> None:
    answer.start()
    answer.event(chunk({"content": "Half"}))
    answer.cut()


def stalled(answer: Answer) -> None:
    answer.start()
    answer.event(chunk({"content": "Half"}))
    threading.Event().wait(1)


FAULTY: list[Script] = [
    cut,
    stalled,
    page(),
    refused(400, "no"),
    refused(429, "busy"),
    refused(503, "busy"),
    Streamed(["Half"], finish=None, done=False, counted=None),
    lambda answer: answer.cut(),
]


def test_two_hundred_replies_leak_no_memory_sockets_or_threads(kernel: Kernel, service: Service) -> None:
    kernel.run("%config WandbInference.max_retries = 0\n%wbconfig --timeout 0.5")
    generator = random.Random(5)
    faulty = set(generator.sample(range(200), 50))
    process = psutil.Process(kernel.pid)

    def chat(number: int) -> bool:
        good = completion("All.") if number % 7 == 0 else Streamed(["Some ", "words.\n\n", "More."])
        service.then(generator.choice(FAULTY) if number in faulty else good)
        stream = " --no-stream" if number % 7 == 0 else ""
        return kernel.run(f"%wbchat --once{stream} number {number}").ok

    def state() -> tuple[int, int, int]:
        kernel.run("import gc\ngc.collect()")
        return process.memory_info().rss, len(process.net_connections("tcp")), process.num_threads()

    # The first replies load what all later ones share.
    for number in range(200, 240):
        chat(number)
    memory, sockets, threads = state()
    outcomes = {number: chat(number) for number in range(200)}
    assert {number for number, good in outcomes.items() if not good} == faulty
    memory_after, sockets_after, threads_after = state()
    assert threads_after <= threads + 1
    assert sockets_after <= sockets + 1
    # IPython itself keeps the text of each cell. A leak of 200 replies would be larger.
    assert memory_after - memory < 25e6
