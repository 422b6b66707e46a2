"""`chat`, `models`, `map_prompts`, `client` and `InferenceError` in a plain Python process, without IPython's shell."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from datetime import date
from enum import Enum
from pathlib import Path
from threading import Event, Semaphore, Thread
from types import ModuleType
from typing import Any, Literal, get_type_hints

import numpy as np
import pandas as pd
import pytest
from kernels import Kernel
from openai import OpenAI
from printing import printed_by
from pydantic import BaseModel, validate_call
from python_processes import run_python
from service import MODEL, Answer, Service, completion, listing, page, refused
from typing_extensions import get_overloads
from versions import BEFORE_3_11

import wandb_inference_magic
from wandb_inference_magic import InferenceError
from wandb_inference_magic.arguments.options import ChatOptions, EvalOptions, MapOptions
from wandb_inference_magic.catalog import Catalog
from wandb_inference_magic.catalog.models import Model, Price
from wandb_inference_magic.catalog.parameters import ARGUMENTS, SAMPLING
from wandb_inference_magic.config import SETTING_NAMES
from wandb_inference_magic.engine.python_arguments import TAKES
from wandb_inference_magic.evaluation import Evaluation
from wandb_inference_magic.jobs import Job
from wandb_inference_magic.messages.extract import CodeBlock
from wandb_inference_magic.messages.reply import Reply, ToolCall, ToolStep
from wandb_inference_magic.messages.tokens import Usage
from wandb_inference_magic.session import current_session

RunScript = Callable[..., Any]


@pytest.fixture
def run_script(environment: dict[str, str], service: Service, tmp_path: Path) -> RunScript:
    """Run a script in another process, and return the value that it prints."""

    def run(script: str, **variables: str) -> Any:
        known = service.environment | {"WANDB_INFERENCE_API_KEY": "a-key"}
        done = run_python(
            "-c", textwrap.dedent(script), environment=environment | known | variables, folder=tmp_path, timeout=90
        )
        assert (done.returncode, done.stderr) == (0, "")
        return ast.literal_eval(done.stdout)

    return run


@pytest.fixture
def run_here(start_api: Callable[..., ModuleType], service: Service, capsys: pytest.CaptureFixture[str]) -> RunScript:
    """Run a script in a new session of this process, and return the value that it prints."""

    def run(script: str, **variables: str) -> Any:
        start_api(**service.environment | {"WANDB_INFERENCE_API_KEY": "a-key"} | variables)
        lines = printed_by(textwrap.dedent(script))
        assert capsys.readouterr().err == ""
        return ast.literal_eval("\n".join(lines))

    return run


@pytest.mark.parametrize(
    "script",
    [refused(400, "no"), page(), completion("", finish_reason="stop"), lambda one: one.json({"choices": []})],
    ids=["refused", "page", "empty", "no choices"],
)
def test_no_error_is_among_its_own_causes(api: ModuleType, service: Service, script: Any) -> None:
    service.always = script
    with pytest.raises(InferenceError) as raised:
        api.chat("hi", schema="n int")
    found: list[BaseException] = [raised.value]
    while (cause := found[-1].__cause__) is not None:
        assert cause not in found
        found.append(cause)


def test_daemon_threads_end_with_the_program_without_a_word(run_script: RunScript, service: Service) -> None:
    arrived, ended = Semaphore(0), Event()

    def script(answer: Answer) -> None:
        if answer.received.body["messages"][-1]["content"].startswith("Held"):
            arrived.release()
            assert ended.wait(60)
            return
        assert all(arrived.acquire(timeout=60) for _ in range(3))
        completion("Done.")(answer)

    service.always = script
    try:
        assert run_script(
            """
                from threading import Thread
                from wandb_inference_magic import chat, evaluate, map_prompts

                row = {"a": 1, "b": "x"}
                for held in (
                    lambda: chat("Held"),
                    lambda: map_prompts([row], "Held {{ a }}"),
                    lambda: evaluate([row], "Held again {{ a }}", truth="b"),
                ):
                    Thread(target=held, daemon=True).start()
                print([chat("Main").text])
                """
        ) == ["Done."]
    finally:
        ended.set()


def contents(body: dict[str, Any]) -> list[str]:
    return [message["content"] for message in body["messages"]]


def test_chat_models_and_client_need_no_shell(run_script: RunScript, service: Service) -> None:
    """Nor does an interrupt in the first import break those that follow, nor the end of the main thread."""
    service.listing = listing("test/model-a", "qwen/one-image", "qwen/two")
    found = run_script(
        """
        import signal
        import sys
        from threading import Thread, main_thread
        from wandb_inference_magic import chat, client, models

        def interrupt(event, about):
            if event == "import" and about[0] == "asyncio.unix_events" and not interrupted:
                interrupted.append(1)
                signal.raise_signal(signal.SIGINT)

        def after_main_thread():
            main_thread().join()
            print((*found, chat("Still here?").text))

        interrupted = []
        sys.addaudithook(interrupt)
        try:
            chat("Interrupted")
        except KeyboardInterrupt:
            interrupted.append("seen")
        reply = chat("Hi?")
        found = (
            interrupted, reply.text, reply.model, reply.usage.prompt_tokens,
            [one.id for one in models().models],
            [one.id for one in models().matching("QWEN")],
            [one.id for one in models().matching("image qwen")],
            [one.id for one in models(refresh=True).matching("no such")],
            [one.id for one in client().models.list()],
            client().chat.completions.create(
                model="test/other", messages=[{"role": "user", "content": "By hand"}], stream=True
            ).__class__.__name__,
            "IPython" in sys.modules,
        )
        Thread(target=after_main_thread).start()
        """,
        # A name, which a thread must look up.
        WANDB_INFERENCE_BASE_URL=service.url.replace("127.0.0.1", "localhost"),
    )
    assert found == (
        *([1, "seen"], "Hello there.", MODEL, 12),
        ["qwen/one-image", "qwen/two", "test/model-a"],
        ["qwen/one-image", "qwen/two"],
        ["qwen/one-image"],
        [],
        ["test/model-a", "qwen/one-image", "qwen/two"],
        "Stream",
        False,
        "Hello there.",
    )
    assert [contents(one.body) for one in service.chats] == [["Hi?"], ["By hand"], ["Still here?"]]
    assert service.chats[1].body["model"] == "test/other"
    assert {one.headers["authorization"] for one in service.received} == {"Bearer a-key"}
    lists = [one for one in service.received if one.path.endswith("/models")]
    assert len(lists) == 3, "once for both calls, once for the refresh, and once by hand"


def test_an_error_of_the_users_client_does_not_show_the_key(run_script: RunScript, service: Service) -> None:
    key = "secret-key-0123456789"
    service.then(refused(401, f"bad key {key}"))
    kind, text, body, status = run_script(
        """
        from wandb_inference_magic import client
        try:
            client().chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        except Exception as error:
            print((type(error).__name__, str(error), repr(error.body), error.status_code))
        """,
        WANDB_INFERENCE_API_KEY=key,
    )
    assert (kind, status) == ("AuthenticationError", 401)
    assert key not in text + body
    assert "bad key (hidden)" in text
    assert "bad key (hidden)" in body


def test_the_package_client_does_not_hide_the_function_of_that_name(run_script: RunScript) -> None:
    found = run_script(
        """
        import wandb_inference_magic
        from wandb_inference_magic.client import http

        class Last:
            def __del__(self, package=wandb_inference_magic, print=print, found=(callable(http),)):
                try:
                    package.chat("Too late")
                except package.InferenceError as error:
                    print((callable(package.client), *found, str(error)))

        last = Last()
        """
    )
    # At the end of the program, nothing can be sent.
    ending = "The program is ending: nothing was sent. "
    assert found == (True, False, f"{ending}Send it before the end of the program: join the threads that do so.")


def test_only_chats_that_name_a_thread_continue_it(run_here: RunScript, service: Service) -> None:
    service.then(*(completion(word) for word in ("One.", "Two.", "Three.", "Four.")))
    replies = run_here(
        """
        from wandb_inference_magic import chat
        replies = (
            chat("first", thread="talk", model="test/model-b", system="Be brief."),
            chat("second", thread="talk", temperature=0.5, top_k=3),
            chat("third"),
            chat("fourth", thread="other"),
        )
        print([one.text for one in replies])
        """
    )
    assert replies == ["One.", "Two.", "Three.", "Four."]
    first, second, third, fourth = (one.body for one in service.chats)
    assert (first["model"], contents(first)) == ("test/model-b", ["Be brief.", "first"])
    assert second["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "second"},
    ]
    assert (second["model"], second["temperature"], second["top_k"]) == (MODEL, 0.5, 3)
    assert contents(third) == ["third"]
    assert contents(fourth) == ["fourth"]


def echo(one: Answer) -> None:
    completion(f"<{one.received.body['messages'][-1]['content']}>")(one)


def test_map_prompts_writes_into_the_named_column(run_here: RunScript, service: Service) -> None:
    service.always = lambda one: (refused(400, "too odd") if "odd" in str(one.received.body) else echo)(one)
    frames = run_here(
        """
        import pandas as pd
        from wandb_inference_magic import map_prompts
        df = pd.DataFrame({"text": ["bon", "odd", "jour"], "reply": ["mine", "mine", "mine"]}, index=[7, 8, 9])
        out = map_prompts(df, "Say {{ text }} {{ tone }}", into="french", names={"tone": "kindly"}, temperature=0)
        two = map_prompts(df.head(1), "{{ text }}", into="guess", model=["test/a", "test/b"])
        print((
            out.index.tolist(), list(out.columns), out.fillna("-").french.tolist(), out.reply.tolist(),
            out.french_error.fillna("-").tolist(), list(df.columns), list(two.columns),
        ))
        """
    )
    index, columns, french, untouched, errors, before, of_two = frames
    assert index == [7, 8, 9]
    assert columns == ["text", "reply", "french", "french_error"]
    assert french == ["<Say bon kindly>", "-", "<Say jour kindly>"]
    assert untouched == ["mine"] * 3, "other columns are not changed"
    assert errors[::2] == ["-", "-"]
    assert "too odd" in errors[1]
    assert before == ["text", "reply"], "the frame itself is not changed"
    assert of_two == ["text", "reply", "guess_a", "guess_b"]


def test_wbmap_writes_into_the_named_column(kernel: Kernel, service: Service) -> None:
    service.always = echo
    kernel.run("import pandas as pd\ndf = pd.DataFrame({'text': ['bon', 'jour'], 'reply': ['mine', 'mine']})")
    assert kernel.run("%%wbmap df --into french -o out\nSay {{ text }}").ok
    assert kernel.value("out.to_dict('list')") == {
        "text": ["bon", "jour"],
        "reply": ["mine", "mine"],
        "french": ["<Say bon>", "<Say jour>"],
    }
    assert kernel.run("%%wbmap df --into guess -m test/a -m test/b -o out\nSay {{ text }}").ok
    assert kernel.value("list(out.columns)") == ["text", "reply", "guess_a", "guess_b"]


ERROR = """
from wandb_inference_magic import InferenceError, chat
found = []
for thread in ("talk", "talk"):
    try:
        chat("hi", thread=thread)
    except InferenceError as error:
        found.append((
            error.cause, error.status, error.request_id, error.what, error.why, error.remedy, str(error)
        ))
print(found)
"""


def test_an_error_has_cause_status_reason_and_remedy(run_here: RunScript, service: Service) -> None:
    service.then(refused(401, "Invalid Authentication, says the service"), refused(404, "No such model, it says"))
    (key, model) = run_here(ERROR)
    cause, status, request_id, what, why, remedy, whole = key
    assert (cause, status, request_id) == ("key", 401, "req-test-1")
    assert "did not accept the key" in what
    assert "Invalid Authentication, says the service" in why
    assert "WANDB_INFERENCE_API_KEY" in remedy
    assert whole == f"{what} {why} {remedy}"
    cause, status, request_id, what, why, remedy, _ = model
    assert (cause, status, request_id) == ("model", 404, "req-test-1")
    assert MODEL in what
    assert remedy
    assert contents(service.last.body) == ["hi"], "a failed prompt is not part of the conversation"


def test_an_error_without_a_response_has_no_status(run_here: RunScript) -> None:
    (first, _) = run_here(ERROR, WANDB_INFERENCE_BASE_URL="http://127.0.0.1:9/v1")
    cause, status, request_id, what, why, remedy, _ = first
    assert (cause, status, request_id) == ("network", None, None)
    assert "could not be reached" in what
    assert why
    assert remedy


@pytest.mark.parametrize(
    ("name", "meant"), [("modl", "model"), ("sytem", "system"), ("shema", "schema"), ("tool", "tools")]
)
def test_a_misspelt_argument_is_not_sent_to_the_service(
    api: ModuleType, service: Service, name: str, meant: str
) -> None:
    for call in (api.chat, lambda prompt, **options: api.map_prompts(["a"], prompt, **options)):
        with pytest.raises(InferenceError, match=rf"no argument {name}[\s\S]*Did you mean {meant}\?"):
            call("Hi {{ text }}", **{name: "x"})
    assert service.chats == []
    # A parameter of the service whose name is like none of ours.
    api.chat("Hi", top_k=3, min_p=0.1, repetition_penalty=1.1, guided_json={"type": "object"}, n_probs=1)
    api.chat(
        "Hi",
        stop=["x"],
        samplers=["top_k"],
        thinking={"type": "enabled"},
        cache_prompt=True,
        guided_json={"type": "object"},
    )
    assert service.last.body["guided_json"] == {"type": "object"}


@pytest.mark.parametrize("name", ["temprature", "temp", "Temperature", "max_token", "maxtokens"])
def test_a_misspelt_parameter_is_not_sent_to_the_service(api: ModuleType, service: Service, name: str) -> None:
    meant = "max_tokens" if "max" in name else "temperature"
    with pytest.raises(InferenceError, match=rf"no parameter {name}[\s\S]*Did you mean {meant}\?"):
        api.chat("Hi", **{name: 0})
    assert service.chats == []
    # Names of parameters that services have.
    others = (
        "min_tokens",
        "max_new_tokens",
        "max_completion_tokens",
        "stop_token_ids",
        "min_p",
        "top_a",
        "dynatemp_range",
    )
    api.chat("Hi", **dict.fromkeys(others, 1))
    assert {name: service.last.body[name] for name in others} == dict.fromkeys(others, 1)


def test_several_ids_in_one_text_are_refused(api: ModuleType, service: Service) -> None:
    for models in ("a/b c/d", ["a/b,c/d"]):
        with pytest.raises(InferenceError, match="Give several as a list"):
            api.map_prompts(["a"], "{{ text }}", model=models)
    assert service.chats == []


class LikeFrame(list[str]):
    """The columns of a frame, which are what a frame iterates over."""

    columns = ("path",)


ROWS = [{"t": "a", "label": "b"}]
# What no argument of the name takes: chat's, map_prompts' and evaluate's.
WRONG: dict[str, list[dict[str, Any]]] = {
    "chat": [
        *({"think": True}, {"think": False}, {"model": ["A", "B"]}, {"model": 3}, {"system": 3}, {"thread": 3}),
        *({"thread": ""}, {"thread": " "}, {"images": LikeFrame(["path"])}),
        *({"images": 3}, {"images": "cat.png"}, {"tools": 3}, {"stream": "no"}, {"json": None}, {"prompt": 3}),
        *({"max_tokens": "many"}, {"max_tokens": 0}, {"max_tokens": True}, {"max_tokens": 5.5}, {"top_p": 1.5}),
        *({"temperature": "hot"}, {"temperature": 7}, {"temperature": float("nan")}, {"seed": "x"}, {"stop": 3}),
        *({"response_format": LikeFrame}, {"response_format": list[str]}),
        *({"foo": {1, 2}}, {"foo": float("nan")}, {"temperature": object()}, {"logit_bias": {1: b"x"}}),
    ],
    "map_prompts": [
        *({"think": True}, {"model": [3]}, {"model": 3}, {"system": ["x"]}, {"into": ""}, {"into": 3}, {"limit": "3"}),
        *({"names": {3: 1}}, {"names": [1]}, {"cache": "no"}, {"distinct": "yes"}, {"concurrency": 0}, {"foo": {1}}),
    ],
    "evaluate": [
        *({"think": False}, {"models": 3}, {"models": {"a": 1}}, {"prompts": 3}, {"samples": None}, {"scorer": [3]}),
        *({"judge": 3}, {"field": 3}, {"truth": 3}, {"stop_when_clear": "x"}, {"prompt": 3}, {"foo": {1}}),
    ],
}


def call_with(api: ModuleType, function: str, given: dict[str, Any]) -> Any:
    if function == "chat":
        return api.chat(**{"prompt": "Hi", **given})
    more = {"truth": "label"} if function == "evaluate" else {}
    return getattr(api, function)(**{"frame": ROWS, "prompt": "{{ t }}", **more, **given})


@pytest.mark.parametrize(("function", "given"), [(name, one) for name, wrong in WRONG.items() for one in wrong])
def test_a_wrong_argument_is_named_and_nothing_is_sent(
    api: ModuleType, service: Service, function: str, given: dict[str, Any]
) -> None:
    (name,) = given
    with pytest.raises(InferenceError, match=rf"^{name} is [\s\S]* must be [\s\S]*Nothing was sent\.") as caught:
        call_with(api, function, given)
    assert caught.value.cause == "option"
    assert service.received == []


class Unreadable(Exception):
    """Its texts raise, with an exception that has no text either."""

    def __str__(self) -> str:
        raise Unreadable

    __repr__ = __str__
    isoformat = __str__


WITHOUT_TEXT = {
    "int": 10**5000,
    "list": [10**5000],
    "dict": {"a": Unreadable()},
    "Unreadable": Unreadable(),
    "Series": pd.Series([Unreadable()]),
}


@pytest.mark.parametrize("kind", WITHOUT_TEXT)
@pytest.mark.parametrize(
    ("function", "name"),
    [("chat", "foo"), ("chat", "system"), ("chat", "temperature"), ("map_prompts", "into"), ("evaluate", "judge")],
)
def test_a_wrong_argument_that_has_no_text_is_named_by_its_type(
    api: ModuleType, service: Service, function: str, name: str, kind: str
) -> None:
    match = rf"^{name} is a value of type {kind}: .* must be [\s\S]*Nothing was sent\."
    with pytest.raises(InferenceError, match=match):
        call_with(api, function, {name: WITHOUT_TEXT[kind]})
    assert service.received == []


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_an_empty_prompt_of_a_chat_is_no_template(api: ModuleType, service: Service, prompt: str) -> None:
    with pytest.raises(InferenceError) as caught:
        api.chat(prompt)
    assert str(caught.value) == "The prompt is empty. Nothing was sent. Give a text, or an image."
    assert service.received == []


def test_a_parameter_that_is_none_is_as_if_it_were_not_given(api: ModuleType, service: Service) -> None:
    current_session().settings.set(temperature=0.1)
    api.chat("Hi", temperature=None, top_k=None)
    assert service.last.body["temperature"] == 0.1
    assert "top_k" not in service.last.body
    api.map_prompts(["a"], "L {{ text }}")
    api.map_prompts(["a"], "L {{ text }}", temperature=None, top_k=None)
    assert len(service.chats) == 2, "the answer on disk was used"


def test_ordinary_arguments_of_other_types_are_taken(api: ModuleType, service: Service) -> None:
    service.always = completion("{}")
    api.chat("Hi", json=np.bool_(True), repair=0, images=None, tools=None, temperature=np.float64(0.5))
    assert service.last.body["temperature"] == 0.5
    api.chat("Hi", max_tokens=np.int64(9), temperature=np.float32(0.5), top_p=1, seed=-1, stop="x")
    assert service.last.body["max_tokens"] == 9
    api.map_prompts(ROWS, "{{ t }}", model=(one for one in ("test/a", "test/b")), names={}, foo=np.arange(2))
    assert service.last.body["foo"] == [0, 1]
    api.evaluate(ROWS, None, truth="label", prompts=(one for one in ("{{ t }}", "{{ t }}!")), models=None)


class Text(str, Enum):
    PROMPT = "Summarise this."
    INTO = "summary"

    def __str__(self) -> str:
        return f"Text.{self.name}"


def test_a_text_of_a_class_of_its_own_is_its_characters(api: ModuleType, service: Service) -> None:
    service.always = completion("{}")
    api.chat(Text.PROMPT, system=Text.PROMPT)
    assert [one["content"] for one in service.last.body["messages"]] == ["Summarise this."] * 2
    found = api.map_prompts(pd.DataFrame({"t": ["a"]}), Text.PROMPT, into=Text.INTO)
    assert service.last.body["messages"][-1]["content"] == "Summarise this."
    assert list(found.columns) == ["t", "summary"]


class Options(BaseModel):
    enable_thinking: bool = False


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (date(2026, 1, 2), "2026-01-02"),
        ({"since": [date(2026, 1, 2)]}, {"since": ["2026-01-02"]}),
        (Options(), {"enable_thinking": False}),
        ({"by": {"a": np.int64(3), "b": np.array([1.5])}}, {"by": {"a": 3, "b": [1.5]}}),
    ],
)
def test_a_parameter_is_sent_as_json_has_it(api: ModuleType, service: Service, given: Any, sent: Any) -> None:
    api.chat("Hi", extra=given)
    assert service.last.body["extra"] == sent


@pytest.mark.parametrize("kind", [Reply, ToolCall, ToolStep, CodeBlock, Usage, Catalog, Model, Price])
def test_the_annotations_of_what_users_hold_are_known(kind: type) -> None:
    """Polars reads those of a dataclass in a column."""
    assert get_type_hints(kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("chat", Reply), ("models", Catalog), ("client", OpenAI), ("evaluate", Evaluation | Job), ("map_prompts", Any)],
)
def test_the_annotations_of_functions_are_known(name: str, kind: object) -> None:
    function = getattr(wandb_inference_magic, name)
    assert get_type_hints(function)["return"] == kind
    assert inspect.signature(function, eval_str=True).return_annotation == kind
    validate_call(function)


@pytest.mark.skipif(BEFORE_3_11, reason="Python does not keep overloads")
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("evaluate", {Literal[True]: Job, Literal[False]: Evaluation, bool: Evaluation | Job}),
        ("map_prompts", {Literal[True]: Job, bool: Any}),
    ],
)
def test_a_type_checker_knows_what_a_call_in_the_background_returns(name: str, kinds: dict[Any, Any]) -> None:
    function = getattr(wandb_inference_magic, name)
    known = get_overloads(function.__wrapped__)
    hints = list(map(get_type_hints, known))
    assert {one["background"]: one["return"] for one in hints} == kinds
    # What is written twice stays the same.
    whole, *_ = (one for one in known if "parameters" in one.__annotations__)
    expected = dict(inspect.signature(function).parameters)
    given = inspect.signature(whole).parameters
    assert {one: given[one].replace(annotation="") for one in given} == {
        one: expected[one].replace(annotation="") for one in expected
    }


FUNCTIONS = {one: inspect.signature(getattr(wandb_inference_magic, one)).parameters for one in WRONG}


def test_what_every_argument_takes_is_known() -> None:
    ours = {name for parameters in FUNCTIONS.values() for name in parameters} - {"parameters"}
    assert set(TAKES) == ours


def test_an_argument_of_another_function_is_not_sent_to_the_service(api: ModuleType, service: Service) -> None:
    having: dict[str, list[str]] = {}
    for function, parameters in FUNCTIONS.items():
        for name in parameters:
            having.setdefault(name, []).append(function)
    del having["parameters"]
    assert {name: list(functions) for name, functions in ARGUMENTS.items()} == having
    wrong = [
        (function, name) for name, functions in having.items() for function in FUNCTIONS if function not in functions
    ]
    assert ("map_prompts", "json") in wrong
    # Of the magics.
    options = {name for kind in (ChatOptions, MapOptions, EvalOptions) for name in (one.field for one in kind.declared)}
    assert {"quiet", "fork", "no_cache", "publish"} <= options
    # Settings, and what others call them. Services have parameters of these names.
    others = {*SETTING_NAMES, "key", "headers", "api_base"} - {"refresh_per_second", "catalog", "debug"}
    wrong += [(function, name) for function in FUNCTIONS for name in sorted((options | others) - {*having, *SAMPLING})]
    for function, name in wrong:
        with pytest.raises(InferenceError, match=f"^{name} is not set as a parameter of the service") as caught:
            call_with(api, function, {name: "x"})
        assert caught.value.remedy
    assert service.received == []


@pytest.mark.parametrize("prompt", [5, None, [{"role": "user", "content": "hi"}], {"a": 1}, "", "  "])
def test_a_prompt_that_is_no_text_is_refused(api: ModuleType, service: Service, prompt: Any) -> None:
    with pytest.raises(InferenceError, match="Nothing was sent"):
        api.chat(prompt)
    assert service.chats == []


def test_a_row_that_fails_is_reported_where_no_more_files_can_be_opened(
    run_script: RunScript, service: Service
) -> None:
    service.then(completion(), refused(400, "top_k is too large"))
    (said,) = run_script(
        """
        import sys
        from wandb_inference_magic import map_prompts
        class NoFiles:
            def find_spec(self, name, *rest):
                raise OSError(24, "Too many open files", name)
        map_prompts(["a"], "{{ text }}", cache=False)
        sys.meta_path.insert(0, NoFiles())
        print(map_prompts(["b"], "{{ text }}", cache=False)["reply_error"].tolist())
        """
    )
    assert "top_k is too large" in said


@pytest.mark.parametrize(
    ("what", "thread"),
    [(what, thread) for what in ("chat", "map_prompts", "job") for thread in ("wb-event-loop", "asyncio_")]
    + [("job", "wb-job")],
)
def test_a_machine_that_starts_no_more_threads_is_one_error_and_nothing_stays(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch, what: str, thread: str
) -> None:
    service.always = completion("Yes.")
    monkeypatch.setattr(current_session(), "is_interactive", lambda: True)
    start = Thread.start

    def limited(self: Thread) -> None:
        if self.name.startswith(thread):
            raise RuntimeError("can't start new thread")
        start(self)

    def run() -> object:
        if what == "job":
            return api.map_prompts(["a", "b"], "{{ text }}", background=True, cache=False).wait()
        return api.chat("a") if what == "chat" else api.map_prompts(["a", "b"], "{{ text }}", cache=False)

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", limited)
        with pytest.raises(InferenceError, match="This machine starts no more threads: nothing was sent"):
            run()
    assert service.chats == []
    assert not current_session().jobs.running
    assert run() is not None


def test_a_notice_that_cannot_be_shown_loses_no_paid_answer(
    environment: dict[str, str], service: Service, tmp_path: Path
) -> None:
    code = """
import sys
sys.stderr.close()
from wandb_inference_magic import map_prompts
print(list(map_prompts(["a", "b"], "The same for both", cache=False)["reply"]))
"""
    done = run_python("-c", code, environment=environment | service.environment, folder=tmp_path)
    assert done.stdout.strip() == "['Hello there.', 'Hello there.']"


def test_a_process_that_opens_no_more_files_is_one_error(run_script: RunScript, service: Service) -> None:
    """An import, the event loop and a connection each need a file. Nothing is tried again as if the service failed."""
    service.always = completion("Yes.")
    said = run_script(
        """
        import resource
        from wandb_inference_magic import InferenceError, chat, client, map_prompts, models
        from wandb_inference_magic.session import current_session
        calls = (
            lambda: chat("a"),
            lambda: map_prompts(["a", "b"], "{{ text }}", cache=False),
            lambda: models(refresh=True).models,
            lambda: client().models.list(),
        )
        def without_files(call):
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            try:
                return str(call())
            except Exception as error:
                return f"{type(error).__name__}: {error}"
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        said = [without_files(one) for one in calls]
        for one in calls:
            one()
            # A connection that is kept needs no other file.
            current_session().clients.close()
            said.append(without_files(one))
        print(said)
        """
    )
    assert len(said) == 8
    expected = "InferenceError: This machine opens no more files and connections. It says: Too many open files."
    assert [one for one in said if not one.startswith(expected)] == []
    # Those with files.
    assert len(service.chats) == 3
