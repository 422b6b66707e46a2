"""`--tools` in a real kernel, against a scripted server: what is sent and what the user sees."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest
from kernels import Kernel, Run, SharedKernel
from known_models import feed_entry
from service import Answer, Service, Streamed, Wandb, calling, chunk, completion, listing, refused
from tool_calls import weather

from wandb_inference_magic.rendering.reply import reply_plain
from wandb_inference_magic.session import current_session


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed


TOOLS = """
log = []
def weather(city: str, days: int = 1) -> dict:
    "The weather in a city."
    log.append((city, days))
    return {"city": city, "celsius": 21.5}
def broken(x: int):
    "Fail."
    raise RuntimeError("out of order")
def secret():
    log.append("secret was run")
"""


@pytest.fixture
def kernel_with_tools(kernel: Kernel) -> Kernel:
    assert kernel.run(TOOLS).ok
    return kernel


@pytest.mark.short
def test_a_tool_is_called_and_its_result_is_sent_back(kernel_with_tools: Kernel, service: Service) -> None:
    service.then(
        calling(("weather", '{"city": "Paris", "days": 2}'), said="Let me look.", pieces=5), Streamed(["Warm."])
    )
    run = kernel_with_tools.run("%%wbchat --tools weather -o r\nHow is Paris?")
    first, second = (chat.body for chat in service.chats)
    (tool,) = first["tools"]
    assert tool["function"]["name"] == "weather"
    assert tool["function"]["description"] == "The weather in a city."
    assert tool["function"]["parameters"]["properties"]["days"] == {"type": "integer", "default": 1}
    assert second["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Paris", "days": 2}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": '{"city": "Paris", "celsius": 21.5}'},
    ]
    assert kernel_with_tools.value("log") == [("Paris", 2)]
    data = run.output["data"]
    shown = '- `weather(city=\'Paris\', days=2)` → `{"city": "Paris", "celsius": 21.5}`'
    assert data["text/markdown"].startswith(f"Let me look.\n\n{shown}\n\nWarm.\n\n")
    assert "2 calls" in data["text/plain"]
    assert kernel_with_tools.value("(r.text, r.calls, r.usage.total_tokens, r.steps[0].ok)") == ("Warm.", 2, 30, True)
    # The thread contains the question and the answer.
    kernel_with_tools.run("%wbchat And Rome?")
    assert [one["content"] for one in service.last.body["messages"]] == ["How is Paris?", "Warm.", "And Rome?"]
    assert "tools" not in service.last.body


def test_chat_takes_tools_schema_and_images_in_python(api: ModuleType, service: Service) -> None:
    service.then(calling(("weather", '{"city": "Paris"}')), Streamed(['{"ok": true}']), Streamed(['{"n": 1}']))
    reply = api.chat("Go", tools=[weather], schema="ok bool", think="low")
    assert (reply.parsed, [step.call.name for step in reply.steps]) == ({"ok": True}, ["weather"])
    assert service.last.body["reasoning_effort"] == "low"
    assert service.last.body["response_format"]["type"] == "json_schema"
    assert api.chat("Go", tools=weather).text == '{"n": 1}'
    assert service.last.body["tools"][0]["function"]["name"] == "weather"
    api.chat("Go", images=["https://ok.example/a.png"])
    assert service.last.body["messages"][0]["content"][1]["image_url"] == {"url": "https://ok.example/a.png"}


def test_invalid_tools_are_refused_before_anything_is_sent(kernel_with_tools: Kernel, service: Service) -> None:
    assert "Did you mean weather?" in kernel_with_tools.run("%%wbchat --tools wether\nGo").error
    assert "cannot be a tool" in kernel_with_tools.run("%%wbchat --tools log\nGo").error
    assert service.chats == []


def test_a_model_that_is_not_known_to_call_tools_is_asked_with_a_notice(
    start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    wandb.api.listing = listing("test/deaf", "test/able")
    models = {f"test/{name}": feed_entry(f"test/{name}", 9000, tool_call=name == "able") for name in ("deaf", "able")}
    wandb.feed.documents["/inference/modelsdev/models"] = {"wandb": {"models": models}}
    wandb.api.always = completion("Fine.")
    kernel = start_kernel(WANDB_API_KEY="a-key", **wandb.environment)
    assert kernel.run(f"%load_ext wandb_inference_magic\n{TOOLS}\n%wbmodels --table").ok
    notice = "test/deaf is not known to call tools: it may answer without them."
    assert notice in kernel.run("%%wbchat --tools weather --once -m test/deaf\nHow is Paris?").text
    assert "not known" not in kernel.run("%%wbchat --tools weather --once -m test/able\nHow is Paris?").text


def test_each_tool_call_is_shown_as_it_happens(kernel_with_tools: Kernel, service: Service) -> None:
    gate = Event()
    service.then(
        calling(("weather", '{"city": "Paris"}'), said="Let me look."), Streamed(["Warm."], gate=gate, hold_after=0)
    )
    request = kernel_with_tools.start("%%wbchat --tools weather\nHow is Paris?")
    run = Run()
    for message in kernel_with_tools.messages(request):
        run.messages.append(message)
        if "21.5" in json.dumps(message.content):
            gate.set()
    assert gate.is_set()
    drawn = json.dumps([one.content for one in run.messages])
    assert drawn.index("Let me look.") < drawn.index("weather(city='Paris')") < drawn.index("Warm.")
    assert len(run.outputs) == 1


def test_what_the_model_did_not_get_of_a_result_is_a_notice_of_the_reply(api: ModuleType, service: Service) -> None:
    def long() -> str:
        return "x" * 30_000

    def lazy() -> Iterator[int]:
        yield 1

    service.then(calling(("long", "{}"), ("lazy", "{}"), ("long", "{}")), Streamed(["Done."]))
    reply = api.chat("Go", tools=[long, lazy])
    cut, unsent = reply.notices
    assert cut == "The result of the tool long was cut: the model got the first 20,000 of 30,000 characters."
    assert unsent.startswith("The result of the tool lazy was not sent to the model: ")
    assert "as_prompt" not in json.dumps(service.last.body["messages"])
    assert all(one in reply_plain(reply) for one in reply.notices)


def test_parallel_malformed_unknown_and_failing_calls_are_all_answered(
    kernel_with_tools: Kernel, service: Service
) -> None:
    service.then(
        calling(
            ("weather", '{"city": "Paris"}'),
            ("weather", '{"city": '),
            ("weather", '{"town": "Rome"}'),
            ("secret", "{}"),
            ("broken", '{"x": 1}'),
        ),
        Streamed(["Done."]),
    )
    assert kernel_with_tools.run("%%wbchat --tools weather,broken\nGo").ok
    sent: list[dict[str, Any]] = service.last.body["messages"][2:]
    assert [one["tool_call_id"] for one in sent] == [f"call_{number}" for number in range(5)]
    contents = [one["content"] for one in sent]
    assert "21.5" in contents[0]
    assert "not JSON" in contents[1]
    assert "city" in contents[2]
    assert "There is no tool secret" in contents[3]
    assert contents[4].startswith("RuntimeError: out of order")
    # Arguments that were not JSON are not sent back: services refuse a history with them.
    (asking,) = (one for one in service.last.body["messages"] if one.get("tool_calls"))
    assert [call["function"]["arguments"] for call in asking["tool_calls"]][1] == "{}"
    assert kernel_with_tools.value("log") == [("Paris", 1)]


def called_with(id_: str) -> Callable[[Answer], None]:
    """A script: one call of a tool, with this id."""

    def answer(one: Answer) -> None:
        call = {"index": 0, "id": id_, "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        one.json({"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})

    return answer


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        (("weather:0", "weather:0", "weather:0"), ("weather:0", "call00001", "call00002")),
        (("", "a", ""), ("call00001", "a", "call00002")),
        (("a", "call00001", "a"), ("a", "call00001", "call00002")),
    ],
)
def test_the_ids_of_tool_calls_are_unique_in_all_rounds(
    api: ModuleType, service: Service, received: tuple[str, ...], sent: tuple[str, ...]
) -> None:
    service.then(*(called_with(one) for one in received[:2]), completion("No."), called_with(received[2]))
    service.always = completion('{"a": 1}')
    assert api.chat("hi", schema="a int", tools=[weather]).parsed == {"a": 1}
    messages = service.last.body["messages"]
    assert [call["id"] for one in messages for call in one.get("tool_calls", ())] == [*sent]
    assert [one["tool_call_id"] for one in messages if one["role"] == "tool"] == [*sent]


def test_a_cassette_with_the_same_id_in_two_rounds_is_replayed(
    api: ModuleType, service: Service, tmp_path: Path
) -> None:
    """Version 0.1.0 sent the ids as they came."""
    service.then(called_with("a"), called_with("a"), completion("Warm."))
    current_session().settings.set(cassette="new.jsonl", cassette_mode="record")
    api.chat("hi", tools=[weather])
    recorded = (tmp_path / "new.jsonl").read_text("utf-8")
    assert '"call00001"' in recorded
    (tmp_path / "old.jsonl").write_text(recorded.replace('"call00001"', '"a"'), "utf-8")
    current_session().settings.set(cassette="old.jsonl", cassette_mode="replay")
    assert api.chat("hi", tools=[weather]).text == "Warm."
    with pytest.raises(api.InferenceError, match=r"differs in messages\[0\]\.content"):
        api.chat("Hi!", tools=[weather])


@pytest.mark.parametrize(
    ("written", "sent"),
    [("functions.weather:0", "weather"), ("weather<|channel|>commentary", "weather"), ("a b", "a_b")],
)
def test_the_name_of_a_tool_is_sent_back_as_services_take_it(
    api: ModuleType, service: Service, written: str, sent: str
) -> None:
    """OpenAI, Azure and gateways refuse any other name, after the tool has run."""
    service.then(calling((written, '{"city": "Oslo"}')), completion("Sunny."))
    assert api.chat("Oslo?", tools=[weather]).text == "Sunny."
    (asked,) = service.last.body["messages"][1]["tool_calls"]
    assert asked["function"]["name"] == sent


def test_the_number_of_tool_rounds_is_limited(kernel_with_tools: Kernel, service: Service) -> None:
    service.always = calling(("weather", '{"city": "Paris"}'))
    run = kernel_with_tools.run("%%wbchat --tools weather\nGo")
    assert "asked for tools 11 times and did not answer" in run.error
    assert len(service.chats) == 11
    assert service.last.body["tool_choice"] == "none"
    assert len(kernel_with_tools.value("log")) == 10
    assert "tool_choice" not in service.chats[-2].body


FORCED: dict[str, Any] = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--tools weather --param tools=[]", "Tools cannot be combined with the parameter tools"),
        (
            '--schema "a int" --param response_format={}',
            "A schema cannot be combined with the parameter response_format",
        ),
    ],
)
def test_a_parameter_does_not_replace_an_option_without_a_word(
    kernel_with_tools: Kernel, service: Service, options: str, words: str
) -> None:
    assert words in kernel_with_tools.run(f"%wbchat {options} How?").error
    assert service.chats == []


@pytest.mark.parametrize(("choice", "then"), [("required", None), ("any", None), (FORCED, None), ("auto", "auto")])
def test_a_tool_that_must_be_called_is_called_once(
    api: ModuleType, service: Service, choice: object, then: object
) -> None:
    service.then(calling(("weather", '{"city": "Paris"}')), Streamed(["Warm."]))
    assert api.chat("Go", tools=weather, tool_choice=choice, cache_salt="abc").text == "Warm."
    assert [one.body.get("tool_choice") for one in service.chats] == [choice, then]
    assert [one.body["cache_salt"] for one in service.chats] == ["abc", "abc"]


@pytest.mark.parametrize(
    "refusal",
    [
        "",
        "Tool choice is none, but model called a tool",
        "attempted to call tool 'weather' which was not in request.tools",
    ],
)
def test_the_model_must_answer_in_the_last_round_whatever_the_user_chose(
    api: ModuleType, service: Service, refusal: str
) -> None:
    def answer(one: Answer) -> None:
        is_last = refusal and one.received.body["tool_choice"] == "none"
        (refused(400, refusal) if is_last else calling(("weather", '{"city": "Paris"}')))(one)

    service.always = answer
    with pytest.raises(api.InferenceError, match="The model asked for tools 11 times and did not answer"):
        api.chat("Go", tools=weather, tool_choice="auto")
    assert [one.body["tool_choice"] for one in service.chats] == ["auto"] * 10 + ["none"]


def test_another_refusal_in_the_last_round_is_quoted(api: ModuleType, service: Service) -> None:
    service.then(*[calling(("weather", '{"city": "Paris"}'))] * 10, refused(400, "tool_choice none is not supported"))
    with pytest.raises(api.InferenceError, match="tool_choice none is not supported"):
        api.chat("Go", tools=weather)


@pytest.mark.parametrize(
    ("text", "is_call"),
    [
        ('<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>', True),
        ("Let me look.\n<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>", True),
        ('[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Oslo"}}]', True),
        ('[TOOL_CALLS]weather{"city": "Oslo"}', True),
        ('<|python_tag|>{"name": "weather", "parameters": {"city": "Oslo"}}', True),
        ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n", True),
        ("<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0", True),
        ('{"name": "weather", "parameters": {"city": "Oslo"}}', True),
        ('<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n', True),
        ('<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city":"Oslo"}', True),
        ('<|open|>toolscall tool="weather" index="1"<|sep|>', True),
        ('[weather(city="Oslo")]', True),
        ("<start_function_call>call:weather{city:Oslo}<end_function_call>", True),
        ('<|START_ACTION|>[{"tool_name":"weather"}]<|END_ACTION|>', True),
        ("<longcat_tool_call>weather\n</longcat_tool_call>", True),
        ("[see(weather)](https://ok.example)", False),
        ('<tool_call>{"name": "other"}</tool_call>', False),
        ('{"name": "weather"}', False),
        ("The weather in Oslo is fine.", False),
    ],
)
def test_a_call_of_a_tool_that_is_written_as_text_is_reported(
    api: ModuleType, service: Service, text: str, is_call: bool
) -> None:
    service.then(Streamed([text]))
    reply = api.chat("hi", tools=[weather])
    assert reply.text == text
    assert any("a call of a tool as text" in one for one in reply.notices) == is_call


@pytest.mark.parametrize(("text", "is_reported"), [("", True), ("\n\n", True), ("The weather is fine.", False)])
def test_a_call_of_a_tool_that_is_left_in_the_reasoning_is_reported_if_there_is_no_text(
    api: ModuleType, service: Service, text: str, is_reported: bool
) -> None:
    thought = "I need it.\n<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n"

    def thinking(one: Answer) -> None:
        one.start()
        one.event(chunk({"reasoning": thought}))
        one.event(chunk({"content": text}, "stop"))
        one.event("[DONE]")
        one.end()

    service.then(thinking)
    reply = api.chat("hi", tools=[weather])
    assert reply.reasoning == thought
    assert any("a call of a tool as text" in one for one in reply.notices) == is_reported


def test_asynchronous_tools_run_in_the_thread_of_the_cell_and_leave_its_event_loop_as_it_was(
    kernel: Kernel, service: Service
) -> None:
    assert kernel.run(
        "import asyncio, threading\n"
        "seen, lock = [], asyncio.Lock()\n"
        "async def later() -> str:\n"
        "    'Look where it runs.'\n"
        "    async with asyncio.Semaphore(1), lock:\n"
        "        await asyncio.sleep(0.01)\n"
        "        seen.append((threading.current_thread() is threading.main_thread(), asyncio.get_running_loop()))\n"
        "    return 'done'\n"
    ).ok
    for _ in range(2):
        service.then(calling(("later", "{}"), ("later", "{}")), completion("Fine."))
        # A cell with `await` runs as a task of the kernel's own loop.
        done = kernel.run(
            "before = asyncio.get_running_loop(), asyncio.current_task()\n"
            "get_ipython().run_cell_magic('wbchat', '--tools later', 'hi')\n"
            "assert before == (asyncio.get_running_loop(), asyncio.current_task())\n"
            "await asyncio.sleep(0.01)"
        )
        assert done.ok, done.error
        assert "Fine." in done.text
    assert kernel.value("(len(seen), all(main for main, _ in seen), len({loop for _, loop in seen}))") == (4, True, 1)


def test_an_interrupt_ends_an_asynchronous_tool_also_where_it_does_not_wait(kernel: Kernel, service: Service) -> None:
    kernel.run(
        "import asyncio, gc, time\n"
        "async def waits() -> str:\n    'Wait.'\n    print('begun')\n    await asyncio.sleep(200)\n"
        "async def blocks() -> str:\n    'Wait.'\n    print('begun')\n    time.sleep(200)\n"
    )
    threads = kernel.threads()
    for name in ("waits", "blocks", "waits"):
        service.then(calling((name, "{}")))
        run = kernel.interrupt_at(f"%%wbchat --tools {name}\nhi", "begun")
        assert "Interrupted." in run.error
        after = kernel.run("print(gc.collect() >= 0)")
        assert (after.ok, after.text.strip()) == (True, "True")
    kernel.join_threads_since(threads)


@pytest.mark.parametrize(("said", "shown"), [("A moment.", "A moment."), ("", "The model requested a call of: wait")])
def test_an_interrupt_in_a_tool_keeps_the_partial_reply(
    kernel_with_tools: Kernel, service: Service, said: str, shown: str
) -> None:
    kernel_with_tools.run(
        "import time\ndef wait():\n    'Wait.'\n    print('in the tool', flush=True)\n    time.sleep(120)"
    )
    service.then(calling(("wait", "{}"), said=said))
    run = kernel_with_tools.interrupt_at("%%wbchat --tools wait\nGo", "in the tool")
    assert "Interrupted. The partial reply is in _wbreply" in run.error.replace("`", "")
    assert shown in run.text
    assert "in the tool" in run.text
    assert kernel_with_tools.value("(_wbreply.incomplete, _wbreply.tool_calls[0].name)") == ("interrupted", "wait")


@pytest.mark.parametrize(
    ("result", "shown", "cut"),
    [
        (list(range(1500)), "500 more", "the model got a part of its items"),
        (
            functools.reduce(lambda inner, _: [inner], range(50), list[Any]()),
            '"..."',
            "the model got a part of its items",
        ),
        # The later cut alone is reported.
        (["x" * 1000] * 1500, "(cut: the first", "the model got the first 20,000 of "),
    ],
    ids=["long", "deep", "long-text"],
)
def test_a_result_that_is_cut_is_reported_once(
    api: ModuleType, service: Service, result: Any, shown: str, cut: str
) -> None:
    def numbers() -> Any:
        """Return numbers."""
        return result

    service.then(calling(("numbers", "{}")), completion("Many."))
    reply = api.chat("Which?", tools=[numbers])
    (notice,) = reply.notices
    assert notice.startswith(f"The result of the tool numbers was cut: {cut}")
    assert shown in reply.steps[0].result
