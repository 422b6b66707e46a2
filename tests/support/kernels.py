"""A real kernel, and the front end's view of its messages."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from kernel_forks import can_fork, forked_kernel, forked_kernelspec
from nbclient import NotebookClient

from wandb_inference_magic.errors import INDENT, InferenceError

if TYPE_CHECKING:
    from pathlib import Path

    from service import Service

SECONDS_TO_DEAD = 5.0
SECONDS_TO_SUBSCRIBE = 0.05
PATIENCE = 120


@dataclass
class Message:
    """A message as the front end receives it. `at` is a time of perf_counter, `size` its length as JSON in bytes."""

    type: str
    content: dict[str, Any]
    at: float
    size: int


@dataclass
class Run:
    """One execution: all its messages, and what a front end shows in the end."""

    messages: list[Message] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)

    def of(self, *types: str) -> list[Message]:
        return [message for message in self.messages if message.type in types]

    @property
    def bytes(self) -> int:
        return sum(message.size for message in self.messages)

    @property
    def ok(self) -> bool:
        return bool(self.reply.get("status") == "ok")

    @property
    def error(self) -> str:
        """The error that the user reads, without colours. Fails if there is none or more than one."""
        assert len(self.of("error")) == 1, (self.reply, self.messages)
        message = self.of("error")[0]
        return unwrapped(message.content["traceback"])

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The outputs left in the cell, as a notebook would save them."""
        return [*self.screens()][-1]

    def screens(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the outputs that the cell shows at first, and after each message."""
        shown: list[dict[str, Any]] = []
        clear = False
        yield []
        for message in self.messages:
            content = message.content
            if message.type == "clear_output":
                clear = content["wait"]
                if not clear:
                    shown.clear()
            elif message.type == "update_display_data":
                for output in shown:
                    if output.get("id") and output["id"] == content["transient"]["display_id"]:
                        output.update(data=content["data"], metadata=content["metadata"])
            elif message.type in ("display_data", "execute_result", "stream", "error"):
                if clear:
                    shown.clear()
                    clear = False
                shown.append(_output(message.type, content))
            yield [dict(output) for output in shown]

    @property
    def output(self) -> dict[str, Any]:
        """The only output. Fails if there is another number of them."""
        (output,) = self.outputs
        return output

    @property
    def text(self) -> str:
        """All plain text that the cell shows in the end."""
        return "\n".join(output["data"].get("text/plain", "") for output in self.outputs)


def _output(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    if kind == "stream":
        return {"type": kind, "data": {"text/plain": content["text"]}}
    if kind == "error":
        return {"type": kind, "data": {"text/plain": unwrapped(content["traceback"])}}
    return {
        "type": kind,
        "data": content["data"],
        "metadata": content["metadata"],
        "id": content.get("transient", {}).get("display_id"),
    }


def failing(call: Callable[[], object]) -> str:
    """Run a call that must fail with an InferenceError, and return the text that a notebook shows for the error."""
    with pytest.raises(InferenceError) as caught:
        call()
    return unwrapped(caught.value._render_traceback_())


def unwrapped(traceback: list[str]) -> str:
    """Return an error's text without colours, each of its sentences on one line."""
    return plain("\n".join(traceback)).replace(f"\n{INDENT}", " ")


def plain(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Kernel:
    """A kernel in its own process, used as a front end does."""

    def __init__(self, pid: int, client: BlockingKernelClient) -> None:
        self.pid = pid
        self.client = client

    def start(self, code: str, *, cell_id: str | None = None, allow_stdin: bool = False) -> str:
        """Send code and return the id of the request."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": True,
        }
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell_id} if cell_id else {})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def messages(self, request: str) -> Iterator[Message]:
        """Yield the messages of a request as they arrive, until the kernel is idle again."""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return
            if kind not in ("status", "execute_input"):
                size = len(_packed(content))
                yield Message(kind, content, time.perf_counter(), size)

    def updated(self, text: str) -> str:
        """Wait for an update of an output, of whatever cell, that has this text. Return all of its plain text."""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["msg_type"] == "update_display_data":
                shown = str(message["content"]["data"].get("text/plain", ""))
                if text in shown:
                    return shown

    def finish(self, request: str, run: Run | None = None) -> Run:
        run = run or Run()
        run.messages.extend(self.messages(request))
        run.reply = self.reply(request)
        return run

    def reply(self, request: str) -> dict[str, Any]:
        """Return the kernel's reply to a request."""
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == request:
                return dict(reply["content"])

    def run(self, code: str, *, cell_id: str | None = None, allow_stdin: bool = False) -> Run:
        """Run code to its end, whether it succeeds or not. With `allow_stdin`, a user is present."""
        run = self.finish(self.start(code, cell_id=cell_id, allow_stdin=allow_stdin))
        if not run.ok:
            # After a failure ipykernel 6 refuses requests for a moment, including those sent before the failure.
            self.client.kernel_info(reply=True, timeout=PATIENCE)
        return run

    def interrupt_at(self, code: str, *texts: str) -> Run:
        """Run code, and interrupt it as soon as the front end receives a message with all these texts."""
        return self.run_and_do(code, self.interrupt, *texts)

    def run_and_do(self, code: str, act: Callable[[], None], *texts: str) -> Run:
        """Run code, and call `act` once as soon as the front end receives a message with all these texts."""
        request, run, is_done = self.start(code), Run(), False
        for message in self.messages(request):
            run.messages.append(message)
            content = json.dumps(message.content, ensure_ascii=False)
            if not is_done and all(one in content for one in texts):
                is_done = True
                act()
        run.reply = self.reply(request)
        assert is_done, f"the front end never received {texts}"
        return run

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the kernel and return its value, which must be a literal."""
        import ast

        content = self.client.execute("", silent=True, user_expressions={"value": f"repr({expression})"}, reply=True)
        found = content["content"]["user_expressions"]["value"]
        assert found["status"] == "ok", found
        return ast.literal_eval(ast.literal_eval(found["data"]["text/plain"]))

    def threads(self) -> dict[int, str]:
        """Return the names of the kernel's threads, keyed by native id: Python's own ids are soon used again."""
        return dict(self.value("{one.native_id: one.name for one in __import__('threading').enumerate()}"))

    def join_threads_since(self, before: Collection[int]) -> None:
        """Wait until all threads that are not in `before` have ended, including threads that they started."""
        # The session's event loop and its executor's threads live as long as the session, tqdm's monitor and the
        # thread in which pyzmq releases messages of over 64 kB even longer.
        lasting = (
            "(one.name.startswith(('wb-event-loop', 'asyncio_'))"
            " or type(one).__name__ in ('TMonitor', 'GarbageCollectorThread'))"
        )
        new = f"__import__('threading').enumerate() if one.native_id not in {set(before)} and not {lasting}"
        joined = f"{{(one.name, type(one).__name__): one.join(60) or one.is_alive() for one in {new}}}"
        while still_alive := self.value(joined):
            assert not any(still_alive.values()), still_alive

    def interrupt(self) -> None:
        """Send the kernel the signal that Kernel > Interrupt sends."""
        os.kill(self.pid, signal.SIGINT)


def _packed(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


@contextmanager
def running_kernel(environment: dict[str, str], folder: Any) -> Iterator[Kernel]:
    """Start a kernel with exactly this environment, working in `folder`, and end it afterwards."""
    # Over files: a TCP port that is free when the manager looks may be taken before the kernel binds it.
    with TemporaryDirectory(prefix="kernel-") as sockets:
        manager = KernelManager(kernel_name="python3", transport="ipc", connection_file=f"{sockets}/kernel.json")
        manager.start_kernel(env=environment, cwd=str(folder))
        try:
            with _connected(manager.client()) as client:
                yield Kernel(int(manager.provisioner.pid), client)
        finally:
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
            manager.context.destroy(linger=0)


@contextmanager
def quick_kernel(environment: dict[str, str], folder: Any, *imported: str) -> Iterator[Kernel]:
    """Do as `running_kernel`, in a process that has imported much already, if the environment allows it.

    `imported` are further modules of others that it has imported.
    """
    if not can_fork(environment):
        with running_kernel(environment, folder) as kernel:
            yield kernel
        return
    with forked_kernel(environment, folder, *imported) as (pid, connection_file):
        client = BlockingKernelClient(connection_file=connection_file)
        client.load_connection_file()
        # On a busy machine a kernel that starts may not answer for a second, after which it would count as dead.
        client.hb_channel.time_to_dead = SECONDS_TO_DEAD
        with _connected(client):
            yield Kernel(pid, client)
        client.context.destroy(linger=0)


@contextmanager
def _connected(client: BlockingKernelClient) -> Iterator[BlockingKernelClient]:
    client.start_channels(stdin=False)
    try:
        wait_for_ready(client)
        # Now that the kernel listens: a channel that tries too early tries again a tenth of a second later, and until
        # then the kernel drops its questions.
        client.stdin_channel.start()
        client.allow_stdin = True
        wait_for_ready(client)
        yield client
    finally:
        client.stop_channels()


def wait_for_ready(client: BlockingKernelClient) -> None:
    """Wait until the kernel answers on both channels. The client's own method then waits for a fifth of a second more.

    The kernel sends before the client has subscribed: what it sends for the first requests may not be received.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        request = client.kernel_info()
        with suppress(Empty):
            while client.get_shell_msg(timeout=PATIENCE)["parent_header"].get("msg_id") != request:
                pass
            while not _ends(client.get_iopub_msg(timeout=SECONDS_TO_SUBSCRIBE), request):
                pass
            return
    raise AssertionError("the kernel did not answer")


def _ends(message: dict[str, Any], request: str) -> bool:
    """Return whether this is the last message that a kernel sends for a request."""
    is_own = message["parent_header"].get("msg_id") == request
    return is_own and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"


class NotebookRun(NotebookClient):
    """Executes a notebook as `jupyter execute` does it, in a kernel that is forked."""

    def create_kernel_manager(self) -> KernelManager:
        manager: KernelManager = super().create_kernel_manager()
        if sys.platform == "linux":
            manager.kernel_spec_manager = KernelSpecManager(kernel_dirs=[str(forked_kernelspec() / "kernels")])
        return manager


@dataclass(frozen=True)
class SharedKernel:
    """A kernel with the extension loaded, and the service that is its endpoint."""

    kernel: Kernel
    service: Service

    @contextmanager
    def renewed(self, folder: Path) -> Iterator[Kernel]:
        """Yield the kernel, working in this folder, with a new session and without variables; so it is afterwards."""
        renew = (
            "%unload_ext wandb_inference_magic\n"
            # What `%config` has set is a default of later sessions.
            "get_ipython().config.pop('WandbInference', None)\n"
            f"%reset -f\n%cd -q {folder}\n%load_ext wandb_inference_magic"
        )
        assert self.kernel.run(renew).ok
        yield self.kernel
        assert self.kernel.run(renew).ok
