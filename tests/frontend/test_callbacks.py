"""Chats in callbacks of the user's widgets, and in threads of the user's code: in a real kernel."""

from __future__ import annotations

from threading import Barrier, Event
from typing import Any

import nbformat
import pytest
from kernels import Kernel, Message, NotebookRun
from output_widgets import Screen
from service import Answer, Service, Streamed, completion, refused

WIDGETS = """
import ipywidgets
from wandb_inference_magic import chat
button, output = ipywidgets.Button(), ipywidgets.Output()
ask = get_ipython().run_line_magic
"""
WITH = """
def clicked(button):
    with output:
        print('Asking')
        BODY
"""
CAPTURE = """
@output.capture()
def clicked(button):
    print('Asking')
    BODY
"""
BARE = """
def clicked(button):
    BODY
"""
TEXT = ["# One\n\n", "Two **words**.\n\n", "```python\nx = 1\n```\n\n", "The end <b>."]


def prepared(kernel: Kernel, form: str, body: str) -> Screen:
    """Create a button whose callback runs `body`, then run a chat in a cell: the last cell before a click."""
    screen = Screen(kernel)
    assert screen.run(f"{WIDGETS}{form.replace('BODY', body)}\nbutton.on_click(clicked)").ok
    assert screen.run("%%wbchat\nin a cell", cell_id="cell-1").ok
    screen.elsewhere.clear()
    assert screen.shown() == []
    return screen


def contents_sent(service: Service) -> list[str]:
    return [message["content"] for message in service.last.body["messages"]]


@pytest.mark.short
@pytest.mark.parametrize("form", [WITH, CAPTURE])
def test_a_chat_is_drawn_in_the_output_widget(kernel: Kernel, service: Service, form: str) -> None:
    screen = prepared(kernel, form, "ask('wbchat', 'in a callback')")
    gate = Event()
    service.then(Streamed(TEXT, gate=gate, hold_after=2))
    request = screen.start_click("button")
    for message in kernel.messages(request):
        screen.take(request, message)
        # The data of a widget comes before the output that shows it.
        if len(screen.shown()) > 1 and "Two **words**." in screen.shown()[1].get("text/markdown", ""):
            assert screen.shown()[0] == {"stream": "Asking\n"}
            gate.set()
    assert gate.is_set()
    printed, reply = screen.shown()
    assert printed == {"stream": "Asking\n"}
    assert set(reply) == {"text/markdown", "text/plain"}
    assert reply["text/markdown"].startswith("# One\n\nTwo **words**.\n\n```python\nx = 1\n```\n\nThe end &lt;b>.")
    assert "12 + 3 tokens" in reply["text/markdown"]
    assert "[test/model-a · 12 + 3 tokens" in reply["text/plain"]
    assert screen.elsewhere == []


def test_consecutive_chats_stay_on_the_screen(kernel: Kernel, service: Service) -> None:
    screen = prepared(kernel, WITH, "ask('wbchat', '--once hi')")
    service.then(Streamed(["First\n\nreply."]), Streamed(["Second\n\nreply."]))
    screen.click()
    screen.click()
    shown = [one.get("stream") or one["text/plain"].partition("\n\n[")[0] for one in screen.shown()]
    assert shown == ["Asking\n", "First\n\nreply.", "Asking\n", "Second\n\nreply."]
    assert screen.elsewhere == []


def test_replies_comparisons_and_tables_are_drawn_in_the_output_widget(kernel: Kernel, service: Service) -> None:
    screen = prepared(
        kernel,
        WITH,
        "ask('wbchat', '--once --no-stream hi'); ask('wbchat', '--once -m test/model-a -m test/model-b hi'); "
        "ask('wbmodels', '--table'); ask('wbthread', '')",
    )
    service.then(completion("I am whole."))
    service.always = lambda answer: Streamed([f"I am {answer.received.body['model']}."])(answer)
    screen.click()
    _, reply_in_one_piece, compared, chart, models, threads = screen.shown()
    assert reply_in_one_piece["text/plain"].startswith("I am whole.")
    for expected in ("=== test/model-a ===", "I am test/model-a.", "=== test/model-b ===", "I am test/model-b."):
        assert expected in compared["text/plain"]
    assert "tokens a second" in chart["text/plain"]
    assert "| test/model-b |" in models["text/markdown"]
    assert "main" in threads["text/plain"]
    assert screen.elsewhere == []


def test_without_an_output_widget_there_is_one_output(kernel: Kernel, service: Service) -> None:
    screen = prepared(kernel, BARE, "ask('wbchat', 'hi')")
    service.then(Streamed(TEXT))
    messages = screen.click()
    kinds = [message.type for message in messages]
    assert kinds.count("display_data") == 1
    assert "clear_output" not in kinds
    last = next(message for message in reversed(messages) if message.type.endswith("display_data"))
    assert last.content["data"]["text/plain"].startswith("# One")


def test_a_chat_in_a_callback_is_appended(kernel: Kernel, service: Service) -> None:
    screen = prepared(kernel, WITH, "ask('wbchat', 'in a callback')")
    screen.click()
    assert contents_sent(service) == ["in a cell", "Hello there.", "in a callback"]
    screen.click()
    assert contents_sent(service)[-3:] == ["in a callback", "Hello there.", "in a callback"]
    assert len(service.last.body["messages"]) == 5
    # The turn of the cell is replaced when the cell runs again, the turns of the callback are kept.
    screen.run("%%wbchat\nin a cell, edited", cell_id="cell-1")
    assert contents_sent(service) == ["in a cell, edited"]
    screen.click()
    assert contents_sent(service) == [
        *("in a cell, edited", "Hello there."),
        *("in a callback", "Hello there.") * 2,
        "in a callback",
    ]


def test_a_reply_of_a_callback_is_returned_and_can_be_shown(kernel: Kernel, service: Service) -> None:
    screen = prepared(kernel, WITH, "global reply; reply = ask('wbchat', 'in a cell'); print(len(reply.text))")
    screen.click()
    assert screen.shown()[-1] == {"stream": "12\n"}
    run = screen.run("reply")
    assert run.output["data"]["text/plain"].startswith("Hello there.")
    screen.click()
    # The text of the request has no effect, although it looks like the cell that ran last.
    screen.run("ask('wbchat', 'hi')")
    assert screen.shown()[-1] == {"stream": "12\n"}


def test_a_reply_of_one_callback_can_be_shown_by_another(kernel: Kernel, service: Service) -> None:
    screen = prepared(kernel, WITH, "kept.append(ask('wbchat', 'hi')); display(kept[0])")
    screen.run("kept = []")
    screen.click()
    screen.click()
    texts = [one["text/plain"] for one in screen.shown() if "text/plain" in one]
    assert len(texts) == 4
    assert texts[0] == texts[1] == texts[3]


def test_chat_from_python_in_a_callback(kernel: Kernel, service: Service) -> None:
    screen = prepared(kernel, WITH, "print(chat('hi', temperature=0).text)")
    screen.click()
    assert "".join(one["stream"] for one in screen.shown()) == "Asking\nHello there.\n"
    assert contents_sent(service) == ["hi"]
    assert screen.elsewhere == []


@pytest.mark.parametrize("body", ["ask('wbchat', 'hi')", "chat('hi')"])
def test_a_failure_is_the_short_message(kernel: Kernel, service: Service, body: str) -> None:
    screen = prepared(kernel, WITH, body)
    service.always = refused(401, "Invalid Authentication")
    screen.click()
    printed, failed = screen.shown()
    assert printed == {"stream": "Asking\n"}
    assert "asks for a key" in failed["error"]
    assert "What to do:" in failed["error"]
    assert "Traceback" not in failed["error"]
    assert screen.elsewhere == []


def test_a_failure_without_an_output_widget_is_the_short_message(kernel: Kernel, service: Service) -> None:
    screen = prepared(kernel, BARE, "ask('wbchat', '--temprature 1 hi')")
    screen.click()
    (message,) = screen.elsewhere
    assert message.type == "error"
    assert "--temperature" in "\n".join(message.content["traceback"])
    assert "Traceback" not in "\n".join(message.content["traceback"])


TWO_THREADS = """
import threading
outputs = [ipywidgets.Output(), ipywidgets.Output()]
replies = {}
def ask_in(number):
    WHERE:
        replies[number] = CHAT
threads = [threading.Thread(target=ask_in, args=(number,)) for number in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def echo_two_chats(service: Service) -> None:
    """Answer two chats at the same time, piece by piece, each with its own prompt."""
    both = Barrier(2)

    def answer(one: Answer) -> None:
        prompt = one.received.body["messages"][-1]["content"]
        Streamed([f"{prompt}\n\n"] * 20, at_piece=lambda number: both.wait(60) and None)(one)

    service.always = answer


@pytest.mark.parametrize("call", ["ask('wbchat', f'--once question {number}')", "chat(f'question {number}')"])
@pytest.mark.parametrize("where", ["with outputs[number]", "if True"])
def test_chats_in_two_threads_do_not_mix(kernel: Kernel, service: Service, call: str, where: str) -> None:
    echo_two_chats(service)
    screen = Screen(kernel)
    screen.run(WIDGETS)
    run = screen.run(TWO_THREADS.replace("WHERE", where).replace("CHAT", call))
    assert run.ok
    whole = ["\n\n".join([f"question {number}"] * 20) for number in range(2)]
    assert kernel.value("[replies[number].text.strip() for number in range(2)]") == whole
    if "wbchat" not in call:
        assert run.outputs == []
        return
    # The front end decides which widget receives the output of two threads of one cell: it assigns it by the cell.
    shown = [*screen.shown("outputs[0]"), *screen.shown("outputs[1]")] if "with" in where else _data(run.outputs)
    assert sorted(one["text/plain"].partition("\n\n[")[0] for one in shown) == whole
    assert all(one["text/plain"].count("12 + 3 tokens") == 1 for one in shown)


def test_chats_in_two_threads_are_both_recorded(kernel: Kernel, service: Service) -> None:
    echo_two_chats(service)
    screen = Screen(kernel)
    screen.run(WIDGETS)
    run = screen.run(TWO_THREADS.replace("WHERE", "if True").replace("CHAT", "ask('wbchat', f'question {number}')"))
    assert run.ok
    assert kernel.value("sorted(reply.turn for reply in replies.values())") == [1, 2]
    service.always = Streamed()
    screen.run("%wbchat and then?")
    first, first_reply, second, second_reply, last = contents_sent(service)
    assert {first, second} == {"question 0", "question 1"}
    assert (first in first_reply, second in second_reply, last) == (True, True, "and then?")


def test_a_cell_with_two_threads_replaces_its_turns_when_it_runs_again(kernel: Kernel, service: Service) -> None:
    screen = Screen(kernel)
    screen.run(WIDGETS)
    code = TWO_THREADS.replace("WHERE", "if True").replace("CHAT", "ask('wbchat', f'question {number}')")
    for _ in range(2):
        echo_two_chats(service)
        assert screen.run(code, cell_id="cell-7").ok
    service.always = Streamed()
    screen.run("%wbchat and then?", cell_id="cell-8")
    assert len(service.last.body["messages"]) == 5
    assert {contents_sent(service)[0], contents_sent(service)[2]} == {"question 0", "question 1"}


def _data(outputs: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [output["data"] for output in outputs]


def test_two_threads_started_by_two_buttons_draw_in_their_own_widgets(kernel: Kernel, service: Service) -> None:
    """Each click is a separate request, so each Output widget contains what its own thread shows."""
    echo_two_chats(service)
    screen = Screen(kernel)
    screen.run(
        f"{WIDGETS}import threading\n"
        "outputs, threads = [ipywidgets.Output(), ipywidgets.Output()], []\n"
        "def ask_in(number):\n"
        "    with outputs[number]:\n"
        "        started[number].set()\n"
        "        ask('wbchat', f'--once question {number}')\n"
        "def clicked(number):\n"
        "    threads.append(threading.Thread(target=ask_in, args=(number,)))\n"
        "    threads[-1].start()\n"
        "    started[number].wait()\n"
        "started = [threading.Event(), threading.Event()]\n"
        "buttons = [ipywidgets.Button(), ipywidgets.Button()]\n"
        "buttons[0].on_click(lambda button: clicked(0))\n"
        "buttons[1].on_click(lambda button: (clicked(1), [one.join() for one in threads]))"
    )
    requests = [screen.start_click(f"buttons[{number}]") for number in range(2)]
    idle = 0
    while idle < 2:
        message = kernel.client.get_iopub_msg(timeout=60)
        request = message["parent_header"].get("msg_id")
        if request in requests:
            idle += message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            screen.take(request, Message(message["msg_type"], message["content"], 0, 0))
    for number in range(2):
        (shown,) = screen.shown(f"outputs[{number}]")
        assert shown["text/plain"].partition("\n\n[")[0] == "\n\n".join([f"question {number}"] * 20)
    assert screen.elsewhere == []


def test_nbclient_keeps_the_whole_reply(service: Service, environment: dict[str, str]) -> None:
    cells = [
        "%load_ext wandb_inference_magic",
        f"{WIDGETS}{WITH.replace('BODY', chr(39).join(('ask(', 'wbchat', ', ', 'hi', ')')))}\nbutton.on_click(clicked)",
        "output",
        "button.click()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    client = NotebookRun(notebook, timeout=120)
    service.then(Streamed(TEXT, per_second=20))
    client.execute(env=environment | service.environment)
    assert notebook.cells[3].outputs == []
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    outputs_of_widgets = [state["state"]["outputs"] for state in states if state["model_name"] == "OutputModel"]
    texts = [
        one["data"]["text/plain"]
        for outputs in outputs_of_widgets
        for one in outputs
        if "text/plain" in one.get("data", {})
    ]
    assert len(texts) == 1
    assert texts[0].startswith("# One")
    assert "12 + 3 tokens" in texts[0]
