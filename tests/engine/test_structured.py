"""`--schema` in a real kernel: what is sent, repair and fallback, and a real answer of the practice model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest
from kernels import Kernel, Run, SharedKernel
from service import MODEL, Answer, Service, Streamed, calling, chunk, completion, pieces, refused

from wandb_inference_magic.cassettes.file import HEADER, Exchange, line_of
from wandb_inference_magic.client import STREAMED
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages import JSON_MODE, JSON_ONLY
from wandb_inference_magic.rendering import reply_bundle
from wandb_inference_magic.session import current_session


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed


GOOD, BAD = '{"name": "Ada", "age": 36}', '{"name": "Ada", "age": "old"}'
ASK = '%%wbchat --schema "name, age int" -o r\nWho was Ada?'


def queue_replies(service: Service, *texts: str) -> None:
    service.then(*(Streamed([text]) for text in texts))


def test_the_schema_is_sent_as_strict_and_the_answer_is_parsed(kernel: Kernel, service: Service) -> None:
    queue_replies(service, GOOD)
    run = kernel.run(ASK)
    assert service.last.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
                "required": ["name", "age"],
                "additionalProperties": False,
            },
        },
    }
    assert kernel.value("r.parsed") == {"name": "Ada", "age": 36}
    assert run.output["data"]["text/markdown"].startswith('```json\n{\n  "name": "Ada",\n  "age": 36\n}\n```')
    assert kernel.value("r.to_frame().to_dict('records')") == [{"name": "Ada", "age": 36}]
    (again,) = kernel.run("r").of("execute_result")
    assert again.content["data"] == run.output["data"], "as its own cell shows it"


@pytest.mark.short
def test_a_type_of_the_notebook_is_a_schema(kernel: Kernel, service: Service) -> None:
    kernel.run(
        "from pydantic import BaseModel\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Home:\n    city: str\n"
        "class Person(BaseModel):\n    name: str\n    homes: list[Home]\n"
    )
    queue_replies(service, '{"items": [{"name": "Ada", "homes": [{"city": "London"}]}]}')
    assert kernel.run("%%wbchat --schema list[Person]\nWho?").ok
    assert kernel.value("repr(_wbreply.parsed)") == "[Person(name='Ada', homes=[Home(city='London')])]"
    run = kernel.run("%%wbchat --schema Persn\nWho?")
    assert "There is no type 'Persn' in the notebook." in run.error
    assert "Did you mean Person?" in run.error


@pytest.mark.parametrize("begin", ["<think>\n", ""])
def test_reasoning_between_tags_is_no_part_of_the_answer(kernel: Kernel, service: Service, begin: str) -> None:
    thought = 'I need {"name": ...}.\n'
    service.then(Streamed(pieces(f"{begin}{thought}</think>\n\n{GOOD}")), Streamed(["Yes."]))
    run = kernel.run(ASK.replace("--schema", "--thread talk --schema"))
    assert run.ok
    assert kernel.value("(r.text, r.reasoning, r.calls)") == (GOOD, thought.strip(), 1)
    assert run.output["data"]["text/markdown"].startswith('```json\n{\n  "name": "Ada"')
    assert kernel.run("%wbchat --thread talk Really?").ok
    assert "I need" not in json.dumps(service.last.body)


def test_reasoning_between_tags_is_in_no_frame_and_no_next_cell(kernel: Kernel, service: Service) -> None:
    service.always = completion(f"<think>\nI need {{...}}.\n```python\nx = 0\n```\n</think>\n\n{GOOD}")
    assert kernel.run('rows = ["Ada"]').ok
    for schema, found in (
        ('--schema "name, age int"', {"text": "Ada", "name": "Ada", "age": 36}),
        ("", {"reply": GOOD}),
    ):
        assert kernel.run(f"%%wbmap rows -o out {schema}\nWho was {{{{ text }}}}?").ok
        assert kernel.value("out.to_dict('records')") == [{"text": "Ada"} | found]
    service.always = completion("<think>\n```python\nx = 0\n```\n</think>\n\n```python\nx = 1\n```")
    run = kernel.run("%%wbchat --code --no-stream\nCode, please")
    assert [one["text"] for one in run.reply["payload"] if one["source"] == "set_next_input"] == ["x = 1"]


def test_text_that_turns_out_to_be_reasoning_is_shown_as_reasoning(kernel: Kernel, service: Service) -> None:
    gate = Event()
    service.then(Streamed(["Let me see.\n\n", "Yes.\n\n", "</think>\n\nFour it is."], gate=gate, hold_after=2))
    request = kernel.start("%wbchat hi")
    run = Run()
    for message in kernel.messages(request):
        run.messages.append(message)
        if "Let me see." in json.dumps(message.content):
            gate.set()
    assert gate.is_set()
    assert len(run.outputs) == 1
    shown = run.outputs[0]["data"]["text/markdown"]
    folded = r"(?s)^<details><summary>Thought.* tokens</summary>\n\n<blockquote>\n\nLet me see\..*</details>"
    assert re.search(folded + r"\s*Four it is\.", shown)
    assert "The text above" not in shown


def test_an_answer_that_does_not_fit_is_repaired_once(kernel: Kernel, service: Service) -> None:
    queue_replies(service, BAD, GOOD)
    run = kernel.run(ASK)
    assert run.ok
    first, second = (chat.body["messages"] for chat in service.chats)
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": BAD}
    assert "age: Input should be a valid integer" in second[-1]["content"]
    assert kernel.value("(r.parsed, r.calls, r.usage.total_tokens)") == ({"name": "Ada", "age": 36}, 2, 30)
    for expected in ("The first answer did not fit", "2 calls", "24 + 6 tokens"):
        assert expected in run.text
    # The thread contains only the valid answer.
    kernel.run("%wbchat And?")
    assert [one["content"] for one in service.last.body["messages"]] == ["Who was Ada?", GOOD, "And?"]


def test_the_reasoning_goes_back_with_an_answer_that_is_repaired(api: ModuleType, service: Service) -> None:
    """DeepSeek's models refuse a message of theirs without it."""
    service.then(completion(BAD, reasoning_content="Let me see."), completion(GOOD))
    api.chat("Who was Ada?", schema="name, age int")
    assert service.last.body["messages"][-2] == {
        "role": "assistant",
        "content": BAD,
        "reasoning_content": "Let me see.",
    }


@pytest.mark.parametrize(
    ("cell", "answers", "expected"),
    [
        (ASK, (BAD, "no json at all"), ("The answer does not fit the schema.", "The answer is not JSON")),
        ("%wbchat --format json Who was Ada?", ("no json at all",), ("The reply is not JSON.",)),
    ],
    ids=["schema", "json"],
)
def test_an_answer_that_never_fits_fails_the_cell_and_its_text_is_kept(
    kernel: Kernel, service: Service, cell: str, answers: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    queue_replies(service, *answers)
    run = kernel.run(cell)
    for one in expected:
        assert one in run.error
    assert "no json at all" in run.outputs[0]["data"]["text/plain"]
    assert kernel.value("(_wbreply.text, _wbreply.parsed)") == ("no json at all", None)
    # A failed answer is not part of the conversation.
    kernel.run("%wbchat And?")
    assert len(service.last.body["messages"]) == 1


def test_an_empty_answer_is_called_empty_and_no_older_reply_is_named(api: ModuleType, service: Service) -> None:
    service.then(completion("Before."), completion(""))
    api.chat("hi")
    with pytest.raises(InferenceError, match="It is empty") as raised:
        api.chat("How many?", schema="number int")
    assert "_wbreply" not in str(raised.value)
    service.then(completion(""))
    with pytest.raises(InferenceError, match="It is empty"):
        api.chat("Answer with JSON.", json=True)


@pytest.mark.parametrize("options", [{"schema": "a int"}, {"json": True}])
def test_from_python_the_text_is_said_to_be_in_the_error(
    api: ModuleType, service: Service, options: dict[str, Any]
) -> None:
    service.always = completion("no answer")
    with pytest.raises(InferenceError) as caught:
        api.chat("Hi", **options)
    assert "`partial` of th" in str(caught.value)
    assert caught.value.partial.text == "no answer"


@pytest.mark.parametrize("counted", [None, {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}])
def test_the_answer_before_an_empty_repair_is_kept(
    api: ModuleType, service: Service, counted: dict[str, int] | None
) -> None:
    service.then(completion("I do not know."), completion("", counted=counted))
    with pytest.raises(InferenceError):
        api.chat("How many?", schema="number int")
    kept = current_session().last_reply
    assert kept is not None
    assert (kept.text, kept.incomplete) == ("I do not know.", "not what was asked for")


def test_a_tool_that_is_called_for_the_repair_is_run(api: ModuleType, service: Service) -> None:
    def count() -> int:
        """Count."""
        return 7

    service.then(completion("Seven."), calling(("count", "{}")), completion('{"number": 7}'))
    reply = api.chat("How many?", schema="number int", tools=[count])
    assert reply.parsed == {"number": 7}
    assert [step.result for step in reply.steps] == ["7"]
    assert [one["role"] for one in service.chats[2].body["messages"]] == [
        "user", "assistant", "user", "assistant", "tool",
    ]  # fmt: skip


def json_refused(written: Any, *, pieces: tuple[str, ...] = (), code: str = "json_validate_failed") -> Any:
    """A script: Groq refuses what its model wrote, at once or in a stream."""
    said = "Generated JSON does not match the expected schema. See 'failed_generation' for more details."
    report = {"error": {"message": said, "type": "invalid_request_error", "code": code, "failed_generation": written}}

    def answer(one: Answer) -> None:
        if not pieces:
            one.json(report, 400)
            return
        one.start()
        for piece in pieces:
            one.event(chunk({"content": piece}))
        one.event(report)
        one.end()

    return answer


@pytest.mark.parametrize(
    "first",
    [
        json_refused(f"{GOOD}\nI hope this helps"),
        json_refused(json.loads(GOOD)),
        json_refused(GOOD, pieces=(GOOD[:9],)),
        json_refused(json.dumps({"name": "json", "arguments": json.loads(GOOD)}), code="tool_use_failed"),
    ],
    ids=["text", "object", "streamed", "call"],
)
@pytest.mark.parametrize("options", [{"schema": "name, age int"}, {"json": True}])
def test_an_answer_that_the_service_refused_as_json_is_read(
    api: ModuleType, service: Service, first: Any, options: dict[str, Any]
) -> None:
    service.then(first)
    reply = api.chat("Who was Ada?", **options)
    assert "Ada" in str(reply.parsed)
    assert (len(service.chats), reply.calls, reply.incomplete, reply.finish_reason) == (1, 1, "", "stop")


@pytest.mark.parametrize("end", ["tool_calls", "stop", "length"])
@pytest.mark.parametrize("options", [{"schema": "name, age int"}, {"json": True}])
def test_an_answer_in_a_call_of_the_gateways_own_tool_is_read(
    api: ModuleType, service: Service, options: dict[str, Any], end: str
) -> None:
    """LiteLLM makes a schema a tool for models of Anthropic, and may send the call as it is."""

    def answer(one: Answer) -> None:
        call = {"id": "a", "type": "function", "function": {"name": "json_tool_call", "arguments": GOOD}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        one.json({"choices": [{"index": 0, "message": message, "finish_reason": end}]})

    service.always = answer
    reply = api.chat("Who was Ada?", **options)
    assert (reply.parsed, reply.text, reply.tool_calls) == ({"name": "Ada", "age": 36}, GOOD, ())
    assert (reply.finish_reason, reply.calls) == ("length" if end == "length" else "stop", 1)
    assert reply.notices == ("The answer came as a call of json_tool_call.",)
    with pytest.warns(api.InferenceWarning, match="as a call of json_tool_call"):
        rows = api.map_prompts(["a"], "{{ text }}", schema="name, age int")
    assert rows.name.tolist() == ["Ada"]
    # It is not the answer where the user has no schema.
    assert api.chat("Who was Ada?").text == ""


def call_beside(text: str | None, name: str, arguments: str) -> Any:
    """A script: a reply with a text and a call of a tool."""
    call = {"id": "a", "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"role": "assistant", "content": text, "tool_calls": [call]}
    return lambda one: one.json({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})


def test_a_call_of_a_tool_that_the_model_made_up_is_an_answer_only_if_it_fits(
    api: ModuleType, service: Service
) -> None:
    service.always = call_beside(None, "web_search", '{"query": "Ada"}')
    for options in ({"json": True}, {"schema": "name, age int"}):
        with pytest.raises(api.InferenceError):
            api.chat("Who was Ada?", **options)
    assert len(service.chats) == 2
    service.always = call_beside(None, "Person", GOOD)
    reply = api.chat("Who was Ada?", schema="name, age int")
    assert reply.parsed == {"name": "Ada", "age": 36}
    assert reply.notices == ("The answer came as a call of Person.",)


@pytest.mark.parametrize("options", [{"schema": "name, age int"}, {"json": True}])
def test_an_answer_in_a_call_is_read_beside_a_text_that_is_none(
    api: ModuleType, service: Service, options: dict[str, Any]
) -> None:
    service.then(call_beside("Here is it:", "json_tool_call", GOOD), call_beside(GOOD, "json_tool_call", BAD))
    assert [api.chat("Who was Ada?", **options).text for _ in range(2)] == [GOOD, GOOD]
    assert len(service.chats) == 2


def test_an_answer_in_a_call_that_does_not_fit_is_repaired(api: ModuleType, service: Service) -> None:
    service.then(calling(("json_tool_call", BAD)), Streamed([GOOD]))
    assert api.chat("Who was Ada?", schema="name, age int").parsed == {"name": "Ada", "age": 36}
    assert service.last.body["messages"][-2] == {"role": "assistant", "content": BAD}


def test_a_refusal_as_json_without_the_answer_is_quoted(api: ModuleType, service: Service) -> None:
    service.then(json_refused(""))
    with pytest.raises(api.InferenceError, match="Generated JSON does not match the expected schema"):
        api.chat("Who was Ada?", schema="name, age int")


@pytest.mark.parametrize("written", [BAD, "I do not know."])
def test_an_answer_that_the_service_refused_as_json_is_repaired_once(
    api: ModuleType, service: Service, written: str
) -> None:
    service.then(json_refused(written), Streamed([GOOD]))
    reply = api.chat("Who was Ada?", schema="name, age int")
    assert (reply.parsed, reply.calls) == ({"name": "Ada", "age": 36}, 2)
    assert service.last.body["messages"][-2] == {"role": "assistant", "content": written}
    assert service.last.body["response_format"]["type"] == "json_schema"
    service.then(json_refused(written), json_refused(written))
    rows = api.map_prompts(["a", "b"], "{{ text }}", schema="name, age int", concurrency=1)
    assert "does not fit the schema" in rows.reply_error[0]


@pytest.mark.parametrize("options", [{"schema": "name, age int"}, {"json": True}])
def test_an_answer_that_was_cut_before_it_was_json_is_called_so(
    api: ModuleType, service: Service, options: dict[str, Any]
) -> None:
    service.always = json_refused("max completion tokens reached before generating a valid document")
    with pytest.raises(api.InferenceError, match="raise --max-tokens") as raised:
        api.chat("Who was Ada?", **options)
    assert (raised.value.cause, len(service.chats)) == ("answer", 1)


def test_an_answer_that_the_service_refused_as_json_is_replayed(api: ModuleType, service: Service) -> None:
    service.then(json_refused(GOOD))
    settings = current_session().settings
    settings.set(cassette="new.jsonl", cassette_mode="record")
    recorded = api.chat("Who was Ada?", schema="name, age int")
    settings.set(cassette_mode="replay")
    replayed = api.chat("Who was Ada?", schema="name, age int")
    assert (replayed.parsed, recorded.replayed, replayed.replayed) == (recorded.parsed, False, True)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_comes_as_reasoning_is_read(api: ModuleType, service: Service, stream: bool) -> None:
    thought = f"They want JSON. Not {BAD}, but {GOOD}."
    service.then(Streamed(["\n"], reasoning=[thought]) if stream else completion("", reasoning=thought))
    reply = api.chat("Who was Ada?", schema="name, age int", stream=stream, thread="main")
    assert (reply.parsed, reply.text, reply.reasoning) == ({"name": "Ada", "age": 36}, thought, "")
    assert '"age": 36' in reply_bundle(reply, "json")["text/markdown"]
    assert len(service.chats) == 1
    # It is part of the conversation.
    assert reply.turn == 1
    service.then(completion("Yes."))
    assert api.chat("Sure?", thread="main").messages[1]["content"] == thought


def test_json_in_reasoning_that_used_up_the_tokens_is_not_an_answer(api: ModuleType, service: Service) -> None:
    service.then(Streamed([], reasoning=[f"Perhaps {GOOD}? No,"], finish="length"))
    with pytest.raises(api.InferenceError, match="does not fit the schema"):
        api.chat("Who was Ada?", schema="name, age int")


def test_repair_can_be_switched_off_and_is_not_tried_for_a_cut_answer(kernel: Kernel, service: Service) -> None:
    queue_replies(service, BAD)
    assert "does not fit" in kernel.run(ASK.replace("--schema", "--no-repair --schema")).error
    assert len(service.chats) == 1
    service.then(Streamed([GOOD[:10]], finish="length"))
    assert "raise --max-tokens" in kernel.run(ASK).error
    assert len(service.chats) == 2


@pytest.mark.parametrize(
    ("prompt", "system", "sent"),
    [
        ("Two cities.", None, [JSON_ONLY, "Two cities."]),
        ("Two cities.", "Be brief.", [f"Be brief.\n\n{JSON_ONLY}", "Two cities."]),
        ("Two cities, as json.", None, ["Two cities, as json."]),
        ("Two cities.", "Speak JSON!", ["Speak JSON!", "Two cities."]),
    ],
)
def test_json_is_asked_for_in_json_mode_and_by_name(
    api: ModuleType, service: Service, prompt: str, system: str | None, sent: list[str]
) -> None:
    queue_replies(service, '["Rome", "Oslo"]')
    reply = api.chat(prompt, system=system, json=True)
    assert (reply.parsed, reply.notices) == (["Rome", "Oslo"], ())
    assert service.last.body["response_format"] == {"type": "json_object"}
    assert [one["content"] for one in service.last.body["messages"]] == sent


def test_a_picture_does_not_count_as_the_word_json(api: ModuleType, service: Service) -> None:
    queue_replies(service, "{}")
    api.chat("What is it?", images=["https://example.org/json.png"], json=True)
    assert service.last.body["messages"][0] == {"role": "system", "content": JSON_ONLY}


def test_a_schema_or_a_response_format_of_the_users_takes_the_place_of_json_mode(
    api: ModuleType, service: Service
) -> None:
    queue_replies(service, GOOD, GOOD)
    assert api.chat("Who?", json=True, schema="name, age int").parsed == {"name": "Ada", "age": 36}
    assert service.last.body["response_format"]["type"] == "json_schema"
    api.chat("Who?", json=True, response_format={"type": "text"})
    assert service.last.body["response_format"] == {"type": "text"}
    assert [len(one.body["messages"]) for one in service.chats] == [1, 1]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "response_format is not supported by this model"),
        (422, "'response_format.type' must be 'json_schema' or 'text'"),
        (400, "JSON mode is not supported"),
        (400, "Function calling with a response mime type: 'application/json' is unsupported"),
        (500, "guided decoding failed"),
        (400, "Failed to initialize samplers: failed to parse grammar"),
        (422, "Input validation error: grammar is not valid: Grammar must have a 'properties' field"),
        (424, "Grammar error: Failed to compile grammar"),
        (400, "Invalid grammar request: Failed to compile json grammar"),
        (400, "JSON schema conversion failed: Unsupported pattern"),
        (400, "This model does not support response format `json_schema`."),
        (400, "The specified schema produces a constraint that has too many states for serving."),
        (400, "Grammar error: Unimplemented keys: ['not']"),
        (405, "json_object response format is not supported for model: test/m"),
        (500, "failed to load model vocabulary required for format"),
    ],
)
@pytest.mark.parametrize("prompt", ["Who?", "Who? In JSON."])
def test_a_model_without_json_mode_is_asked_in_the_prompt(
    api: ModuleType, service: Service, status: int, words: str, prompt: str
) -> None:
    service.then(refused(status, words), Streamed([GOOD]))
    reply = api.chat(prompt, json=True)
    assert reply.parsed == {"name": "Ada", "age": 36}
    assert "does not support response formats: the prompt asked for JSON instead." in reply.notices[0]
    assert "response_format" not in service.last.body
    assert [one["content"] for one in service.last.body["messages"]] == [JSON_ONLY, prompt]
    assert len(service.chats) == 2


@pytest.mark.parametrize("words", ["Request contains an invalid argument.", "Bad Request", "Provider returned error"])
def test_a_refusal_that_names_nothing_is_of_its_request_only(api: ModuleType, service: Service, words: str) -> None:
    def answer(one: Answer) -> None:
        is_bad = one.received.body["messages"][-1]["content"] == "bad"
        (refused(400, words) if is_bad else completion(GOOD))(one)

    service.always = answer
    rows = api.map_prompts(["bad", "a", "bad"], "{{ text }}", schema="name, age int", concurrency=1)
    assert rows.name.tolist()[1] == "Ada"
    assert words in rows.reply_error[0]
    types = [one.body.get("response_format", {}).get("type") for one in service.chats]
    assert types == ["json_schema"] * 3


def test_the_remedy_of_a_refusal_that_names_nothing_names_what_was_sent(api: ModuleType, service: Service) -> None:
    service.always = refused(400, "Bad Request")
    with pytest.raises(api.InferenceError, match="without the schema, without the tools, without top_k, or") as raised:
        api.chat("Who?", schema="name, age int", tools=[json.loads], top_k=3)
    assert "--once, --new" in raised.value.remedy
    with pytest.raises(api.InferenceError, match="Try it without JSON mode, without the images, or"):
        api.chat("Who?", json=True, images=["https://example.org/a.png"])
    with pytest.raises(api.InferenceError, match="Shorten the prompt, or use another model"):
        api.chat("Who?")
    # Its name says what it is.
    service.always = lambda one: one.json({"error": {"message": "Bad Request", "code": "image_not_supported"}}, 400)
    with pytest.raises(api.InferenceError, match="Leave out or change the option"):
        api.chat("Who?", json=True)
    # The schema was left out before.
    service.then(refused(400, "schemas: no"), refused(400, "JSON mode: no"), refused(400, "Bad Request"))
    with pytest.raises(api.InferenceError, match="Shorten the prompt, or use another model"):
        api.chat("Who?", schema="name, age int")


@pytest.mark.parametrize("options", [{"schema": "a int"}, {"json": True}])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "temperature must be below 1"),
        (400, "The prompt was rejected: 'drop schema public' is not allowed."),
        (400, "The prompt was rejected by the content policy: database schema"),
        (400, "Invalid schema for function 'weather': 'properties' is required."),
        (400, "acme/json_schema-7b does not support a temperature"),
        (404, "The model acme/json_schema-7b does not exist"),
    ],
)
def test_another_refusal_is_not_taken_for_one_of_the_format(
    api: ModuleType, service: Service, status: int, words: str, options: dict[str, Any]
) -> None:
    service.always = refused(status, words)
    with pytest.raises(api.InferenceError, match=re.escape(words)):
        api.chat("Who?", model="acme/json_schema-7b", **options)
    assert len(service.chats) == 1


@pytest.mark.parametrize(
    "words",
    [
        "Unrecognized schema: {}",
        "Schema root must be object, got array",
        "For 'object' type schemas, additionalProperties must be false",
        "Internal error: schema compilation failed",
        "Failed to build grammar from schema",
        "JSONSchema is not supported",
        "Structured response is unavailable",
        "guided regex not supported",
        "Regex parse error: look-around is not supported",
        "No endpoints found that can handle the requested parameters.",
    ],
)
def test_a_refused_schema_is_known_by_many_words(api: ModuleType, service: Service, words: str) -> None:
    service.then(refused(400, words), Streamed([GOOD]))
    assert api.chat("Who?", schema="name, age int").parsed == {"name": "Ada", "age": 36}


def test_a_passing_failure_that_names_the_format_does_not_change_it(api: ModuleType, service: Service) -> None:
    current_session().settings.set(max_retries=1)
    service.then(refused(503, "guided decoding is temporarily unavailable", Retry_After="0"), Streamed([GOOD]))
    assert api.chat("Who?", schema="name, age int").notices == ()
    service.then(refused(503, "Structured output unavailable", Retry_After="0"), Streamed([GOOD]))
    assert api.chat("Who?", schema="name, age int").notices == ()
    assert [one.body["response_format"]["type"] for one in service.chats] == ["json_schema"] * 4


def test_another_provider_behind_a_gateway_may_refuse_the_format(api: ModuleType, service: Service) -> None:
    service.then(Streamed([GOOD]), refused(400, "response_format is not supported by this provider"), Streamed([GOOD]))
    for _ in range(2):
        assert api.chat("Who?", schema="name, age int").parsed == {"name": "Ada", "age": 36}


def test_a_model_that_has_answered_under_a_schema_is_not_said_to_refuse_it(api: ModuleType, service: Service) -> None:
    service.then(Streamed([GOOD]), refused(400, "json_schema: busy"), refused(400, "json_schema: pattern"))
    assert api.chat("Who?", schema="name, age int").parsed == {"name": "Ada", "age": 36}
    with pytest.raises(api.InferenceError, match="json_schema: busy"):
        api.chat("And?", schema="name, age int")
    # It may refuse another one.
    service.always = Streamed([GOOD])
    assert "did not accept this schema" in api.chat("And?", schema="age int, name").notices[0]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("'response_format' of type 'json_schema' is not supported with this model.", "does not support schemas"),
        ("Structured outputs are not available for this model.", "does not support schemas"),
        ("Invalid schema for response_format 'a': In context=(), array schema missing items.",
         "did not accept this schema"),
        ("Invalid schema for response_format 'a': 'pattern' is not supported.", "did not accept this schema"),
        ("The specified schema produces a constraint that has too many states for serving.",
         "did not accept this schema"),
        ("Failed to compile json grammar", "did not accept this schema"),
    ],
)  # fmt: skip
def test_a_notice_says_whether_all_schemas_are_refused_or_this_one(
    api: ModuleType, service: Service, words: str, what: str
) -> None:
    service.then(refused(400, words), Streamed([GOOD]))
    (notice,) = api.chat("Who?", schema="name, age int").notices
    assert notice == f"test/model-a {what}: it was asked for JSON instead."


@pytest.mark.parametrize("schema", ["name, age int", None])
def test_a_model_that_has_answered_without_tools_may_refuse_the_format_with_tools(
    api: ModuleType, service: Service, schema: str | None
) -> None:
    options: dict[str, Any] = {"schema": schema} if schema else {"json": True}
    refusal = refused(400, "json mode cannot be combined with tool/function calling")
    service.then(Streamed([GOOD]), *[refusal] * (2 if schema else 1), Streamed([GOOD]))
    api.chat("Who?", **options)
    reply = api.chat("Who?", tools=[json.loads], **options)
    assert reply.parsed == {"name": "Ada", "age": 36}
    assert " together with tools: " in reply.notices[0]


@pytest.mark.parametrize("content", [["Two cities."], ["Be brief.", "Two cities."], ["JSON, please."]])
def test_a_cassette_without_json_mode_is_replayed(
    api: ModuleType, service: Service, tmp_path: Path, content: list[str]
) -> None:
    """Version 0.1.0 recorded `--format json` so."""
    *system, prompt = content
    messages = [{"role": "system", "content": one} for one in system] + [{"role": "user", "content": prompt}]
    request = {"model": MODEL, "messages": messages, **STREAMED}
    events = ((0.1, chunk({"content": GOOD}, "stop")),)
    old = line_of(Exchange(service.url, "/chat/completions", request, 0.2, events=events))
    (tmp_path / "old.jsonl").write_bytes(HEADER + old)
    current_session().settings.set(cassette="old.jsonl", cassette_mode="replay")
    reply = api.chat(prompt, system="".join(system) or None, json=True)
    assert (reply.parsed, reply.replayed) == ({"name": "Ada", "age": 36}, True)
    # The difference that counts is named.
    with pytest.raises(api.InferenceError, match=r"differs in messages\[\d\]\.content"):
        api.chat(f"{prompt}!", system="".join(system) or None, json=True)
    # A request in which the user asks for JSON mode is another one.
    with pytest.raises(api.InferenceError, match="differs in response_format"):
        api.chat(prompt, system="".join(system) or None, json=True, response_format=JSON_MODE)
    with pytest.raises(api.InferenceError, match="differs in response_format"):
        api.client().chat.completions.create(**request, response_format=JSON_MODE)
    assert service.received == []


@pytest.mark.parametrize("mode", ["replay", "auto"])
def test_a_recorded_refusal_that_was_not_relaxed_is_replayed(
    api: ModuleType, service: Service, tmp_path: Path, mode: str
) -> None:
    """An earlier version did not relax a request that was refused in these words."""
    service.then(refused(400, "format: invalid value"), completion("[1]"))
    settings = current_session().settings
    settings.set(cassette="old.jsonl", cassette_mode="record")
    assert api.chat("JSON?", json=True).parsed == [1]
    address = "http://127.0.0.1:9/v1"
    recorded = (tmp_path / "old.jsonl").read_bytes().replace(service.url.encode(), address.encode())
    (tmp_path / "old.jsonl").write_bytes(b"".join(recorded.splitlines(keepends=True)[:2]))
    settings.set(cassette_mode=mode, endpoint=address, max_retries=0)
    with pytest.raises(api.InferenceError, match="format: invalid value"):
        api.chat("JSON?", json=True)


def test_a_recorded_request_in_json_mode_is_replayed_before_one_without(
    api: ModuleType, service: Service, tmp_path: Path
) -> None:
    queue_replies(service, "[1]", "[2]")
    settings = current_session().settings
    settings.set(cassette="new.jsonl", cassette_mode="record")
    api.chat("JSON!")
    api.chat("JSON!", json=True)
    settings.set(cassette_mode="replay")
    assert [api.chat("JSON!", json=True).parsed, api.chat("JSON!").text] == [[2], "[1]"]
    assert len(service.chats) == 2


def accepting_format(*, takes: str) -> Callable[[Answer], None]:
    """Answer as a model that accepts only some response formats."""

    def answer(one: Answer) -> None:
        form = one.received.body.get("response_format", {}).get("type", "")
        if form in ("", takes):
            Streamed([GOOD])(one)
            return
        refused(400, f"response_format of type {form} is not supported by this model")(one)

    return answer


@pytest.mark.parametrize(("takes", "forms"), [("json_object", 2), ("", 3)])
def test_a_model_without_schema_support_is_asked_for_json(
    kernel: Kernel, service: Service, takes: str, forms: int
) -> None:
    service.always = accepting_format(takes=takes)
    run = kernel.run(ASK)
    assert run.ok
    assert kernel.value("r.parsed") == {"name": "Ada", "age": 36}
    bodies: list[dict[str, Any]] = [chat.body for chat in service.chats]
    sent = [(body.get("response_format") or {}).get("type") for body in bodies]
    assert sent == ["json_schema", "json_object", None][:forms]
    system = bodies[-1]["messages"][0]
    assert system["role"] == "system"
    assert "JSON" in system["content"] and '"age"' in system["content"]
    assert "does not support schemas: it was asked for JSON instead." in run.text
    # The instructions that were added for the model are not part of the conversation.
    kernel.run("%wbchat And?")
    assert [one["role"] for one in service.last.body["messages"]] == ["user", "assistant", "user"]


def test_any_other_refusal_is_reported_unchanged(kernel: Kernel, service: Service) -> None:
    service.always = refused(400, "temperature must be below 1")
    assert "temperature must be below 1" in kernel.run(ASK).error
    assert len(service.chats) == 1


def test_several_models_receive_the_schema(kernel: Kernel, service: Service) -> None:
    service.always = Streamed([GOOD])
    assert kernel.run('%%wbchat -m test/a -m test/b --schema "name, age int"\nWho?').ok
    assert kernel.value("[one.parsed['age'] for one in _wbreply]") == [36, 36]


@pytest.mark.practice
def test_the_practice_model_fills_a_schema(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel()
    kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.endpoint = 'local'")
    kernel.run("from dataclasses import dataclass\n@dataclass\nclass Animal:\n    name: str\n    legs: int\n")
    run = kernel.run("%%wbchat --schema Animal --max-tokens 60 -t 0 --seed 1\nDescribe a cat.")
    assert run.ok, run.error
    assert kernel.value("(type(_wbreply.parsed).__name__, type(_wbreply.parsed.legs).__name__)") == ("Animal", "int")
    run = kernel.run('%%wbchat --once --schema "mood good|bad" --max-tokens 30 -t 0\nI love sunny days.')
    assert run.ok, run.error
    assert kernel.value("_wbreply.parsed['mood']") in ("good", "bad")
    json.loads(kernel.value("_wbreply.text"))
