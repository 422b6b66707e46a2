"""Ending what no interrupt reaches: chats and maps in callbacks and subshells, in a real kernel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from kernels import Kernel, Message, Run
from output_widgets import WIDGET, Screen
from service import Answer, Endless, Service, completion

CALLBACK = """
import ipywidgets
from wandb_inference_magic import chat
button, output = ipywidgets.Button(), ipywidgets.Output()
ask = get_ipython().run_line_magic
ask_all = get_ipython().run_cell_magic
@output.capture()
def clicked(button):
    BODY
button.on_click(clicked)
"""
ROWS = "import pandas as pd\ndf = pd.DataFrame({'n': range(40), 'label': 'yes'})"
# The body, what it is called in the list, what is left when it is ended, and what says that it runs.
CALLBACKS = {
    "chat": ("ask('wbchat', 'hi')", "chat with test/model-a", "incomplete: interrupted", "Half an answer"),
    "comparison": (
        "ask('wbchat', '-m test/a -m test/b hi')",
        "comparison of 2 models",
        "incomplete: interrupted",
        "Half an answer",
    ),
    "map": ("ask_all('wbmap', 'df -o labelled --no-cache', 'Of {{ n }}')", "%%wbmap df", "labelled", "2/40"),
    "evaluation": (
        "ask_all('wbeval', 'df --truth label -m test/a -m test/b -o labelled --no-cache', 'Of {{ n }}')",
        "%%wbeval df",
        "labelled",
        "4/80",
    ),
}
TARGET = "wandb-inference-stop"


class FrontEnd:
    """A front end with a subshell, as JupyterLab starts one for all widgets of a page. It keeps every message."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.screen = kernel, Screen(kernel)
        self.messages: dict[str, list[Message]] = defaultdict(list)
        client = kernel.client
        client.control_channel.send(client.session.msg("create_subshell_request", {}))
        while (reply := client.get_control_msg(timeout=60))["msg_type"] != "create_subshell_reply":
            pass
        self.subshell = str(reply["content"]["subshell_id"])

    def send(self, type: str, content: dict[str, Any], *, subshell: bool = True) -> str:
        """Send a message, to the subshell, and return the id of the request."""
        message = self.kernel.client.session.msg(type, content)
        message["header"]["subshell_id"] = self.subshell if subshell else None
        self.kernel.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def execute(self, code: str, *, subshell: bool = False) -> str:
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True}
        return self.send("execute_request", content, subshell=subshell)

    def click(self, model: str, *, subshell: bool = True) -> str:
        content = {"comm_id": model, "data": {"method": "custom", "content": {"event": "click"}}}
        return self.send("comm_msg", content, subshell=subshell)

    def until(self, is_there: Callable[[], bool]) -> None:
        """Take messages until something is there."""
        while not is_there():
            message = self.kernel.client.get_iopub_msg(timeout=60)
            request, kind, content = message["parent_header"].get("msg_id"), message["msg_type"], message["content"]
            found = Message(kind, content, 0, 0)
            self.messages[request].append(found)
            self.screen.take(request, found)

    def finish(self, request: str) -> Run:
        """Wait for the end of a request and return what it showed."""
        ends = {"execution_state": "idle"}
        self.until(lambda: any(one.content == ends for one in self.messages[request]))
        return Run([one for one in self.messages[request] if one.type not in ("status", "execute_input")])

    def run(self, code: str, *, subshell: bool = False) -> Run:
        return self.finish(self.execute(code, subshell=subshell))

    def start_callback(self, service: Service, body: str, until: str) -> str:
        """Click a button whose callback runs in the subshell. Return the request, once it has shown a text."""
        # A callback runs where the widget was last used.
        created = self.run(CALLBACK.replace("BODY", body), subshell=True)
        assert not created.of("error"), created.error
        half(service)
        request = self.click(self.kernel.value("button.model_id"))
        self.until(lambda: any(until in str(one.content) for one in self.messages[request]))
        return request

    def stop_button(self, request: str) -> str:
        """Return the key of the only Stop button of a request."""
        states = [one.content["data"].get("state", {}) for one in self.messages[request] if one.type == "comm_open"]
        (key,) = (state["key"] for state in states if "alive" in state)
        return str(key)


def half(service: Service) -> None:
    """Answer with half a reply, and two rows of all."""

    def answer(one: Answer) -> None:
        is_whole = one.received.body["messages"][-1]["content"] in ("Of 0", "Of 1")
        (completion("yes") if is_whole else Endless("Half an answer"))(one)

    service.always = answer


@pytest.fixture
def front_end(kernel: Kernel) -> FrontEnd:
    assert kernel.run(ROWS).ok
    return FrontEnd(kernel)


def check_ended(front_end: FrontEnd, request: str, kind: str) -> None:
    """Check that a callback has ended as by an interrupt, and that what had arrived is kept and marked."""
    front_end.finish(request)
    shown = str(front_end.screen.shown())
    assert "Interrupted" in shown
    assert CALLBACKS[kind][2] in shown
    assert "Half an answer" in shown or kind not in ("chat", "comparison")
    assert front_end.run("%wbjobs").text.startswith("There are no jobs.")


@pytest.mark.parametrize("kind", CALLBACKS)
def test_a_callback_is_listed_and_ended(front_end: FrontEnd, service: Service, kind: str) -> None:
    body, what, _, until = CALLBACKS[kind]
    request = front_end.start_callback(service, body, until)
    table = front_end.run("%wbjobs").text
    assert what in table
    assert "running" in table
    for option in ("", "--result x", "--pause"):
        refused = front_end.run(f"%wbjobs 1 {option}").error
        assert f"Job 1 ({what}) runs in a callback, a subshell or a thread of yours" in refused
        assert "%wbjobs 1 --cancel" in refused
    assert front_end.run("%wbjobs 1 --cancel").text == "Job 1 is being cancelled. The results so far are kept."
    check_ended(front_end, request, kind)


def test_the_stop_button_ends_a_callback_although_the_subshell_of_widgets_is_occupied(
    front_end: FrontEnd, service: Service
) -> None:
    """The front end sends the click by a comm of its own, in another subshell or in the main one."""
    body, _, _, until = CALLBACKS["chat"]
    request = front_end.start_callback(service, body, until)
    clicked = {"comm_id": "its-own", "target_name": TARGET, "data": {"button": "no such button"}}
    front_end.finish(front_end.send("comm_open", clicked, subshell=False))
    assert "chat with" in front_end.run("%wbjobs").text
    front_end.send("comm_open", clicked | {"data": {"button": front_end.stop_button(request)}}, subshell=False)
    check_ended(front_end, request, "chat")
    # Nothing is left in the kernel.
    assert front_end.kernel.value(f"{TARGET!r} in get_ipython().kernel.comm_manager.targets") is False
    # The session goes on as after an interrupt.
    service.always = completion("Yes.")
    assert "Yes." in front_end.run("%wbchat And now?").text
    assert [one["content"] for one in service.last.body["messages"]] == ["And now?"]


def test_a_cell_in_a_subshell_has_a_stop_button_and_a_cell_elsewhere_has_none(
    front_end: FrontEnd, service: Service
) -> None:
    half(service)
    request = front_end.execute("%wbchat hi", subshell=True)
    front_end.until(lambda: any("Half an answer" in str(one.content) for one in front_end.messages[request]))
    assert "chat with test/model-a" in front_end.run("%wbjobs").text
    assert front_end.stop_button(request)
    assert front_end.run("%wbjobs 1 --cancel").text == "Job 1 is being cancelled. The results so far are kept."
    ended = front_end.finish(request)
    assert "incomplete: interrupted" in ended.text
    assert WIDGET not in str(ended.outputs)
    service.always = completion("Yes.")
    assert not front_end.run("%wbchat hi").of("comm_open")
    assert not front_end.run("%wbchat --quiet hi", subshell=True).of("comm_open")
    assert not front_end.run("from wandb_inference_magic import chat; chat('hi').text", subshell=True).of("comm_open")


def test_a_thread_of_the_users_code_is_listed_and_has_no_button(kernel: Kernel, service: Service) -> None:
    half(service)
    kernel.run(
        "import threading\ndef ask():\n    try:\n        get_ipython().run_line_magic('wbchat', '--once hi')\n"
        "    except KeyboardInterrupt as ended:\n        said.append(str(ended))\nsaid = []\n"
        "thread = threading.Thread(target=ask)\nthread.start()"
    )
    kernel.run(
        "import time\nfrom wandb_inference_magic.session import current_session\n"
        "until = time.monotonic() + 60\n"
        "while not list(current_session().jobs):\n    assert time.monotonic() < until\n    time.sleep(0.01)"
    )
    run = kernel.run("%wbjobs 1 --cancel\nthread.join(60)")
    assert run.ok
    assert not run.of("comm_open")
    # The job is listed before a part of the reply has arrived.
    ends = ("Interrupted", "partial reply", "Nothing has arrived yet")
    assert any(end in kernel.value("said[0]") for end in ends)


@pytest.mark.short
def test_the_kernels_interrupt_ends_a_callback_of_the_main_thread(kernel: Kernel, service: Service) -> None:
    """As with ipykernel 6, and from 7.4 on."""
    screen = Screen(kernel)
    assert screen.run(CALLBACK.replace("BODY", "ask('wbchat', 'hi')")).ok
    half(service)
    request, is_sent = screen.start_click("button"), False
    for message in kernel.messages(request):
        screen.take(request, message)
        assert not (message.type == "comm_open" and "alive" in str(message.content)), "there is a button"
        if not is_sent and "Half an answer" in str(message.content):
            is_sent = True
            kernel.interrupt()
    shown = str(screen.shown())
    assert "incomplete: interrupted" in shown
    assert "Interrupted. The partial reply is in _wbreply" in shown
    service.always = completion("Yes.")
    assert kernel.run("%wbchat hi").ok
