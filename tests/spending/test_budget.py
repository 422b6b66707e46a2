"""The budget: the worst-case cost of every call is reserved before it is sent, and released when the call has ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Event, Lock
from types import ModuleType
from typing import Any

import pytest
from kernels import Kernel, SharedKernel
from known_models import known_model_environment
from service import Answer, Service, Streamed, Wandb, calling, completion, refused, usage

from wandb_inference_magic.catalog.models import Price
from wandb_inference_magic.config.endpoint import Endpoint
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.messages.request import PreparedRequest
from wandb_inference_magic.messages.thread import Thread
from wandb_inference_magic.rendering.reply import footer
from wandb_inference_magic.session import current_session
from wandb_inference_magic.spending.budget import Budget, Reservation
from wandb_inference_magic.spending.usage import UsageTracker


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed


# The model costs 1 USD per million input tokens and half of that per million output tokens.
SCRIPT_START = """
from wandb_inference_magic import InferenceError, chat, map_prompts, models
from wandb_inference_magic.session import current_session
session = current_session()
session.settings.set(budget=budget)
models()
"""


def test_chats_in_several_threads_share_the_budget(wandb: Wandb, start_api: Callable[..., ModuleType]) -> None:
    arrived, lock, release = [0], Lock(), Event()

    def answer(one: Answer) -> None:
        with lock:
            arrived[0] += 1
            if arrived[0] > 1:
                release.set()
        assert release.wait(60)
        completion("Yes.", counted=usage(1, 7998))(one)

    wandb.api.always = answer
    api = start_api(**known_model_environment(wandb))
    # Each call can cost 0.004 USD, and does.
    current_session().settings.set(budget=0.005)
    api.models()
    ended: Queue[str] = Queue()

    def ask() -> None:
        try:
            ended.put(api.chat("hi", max_tokens=8000, stream=False).text)
        except InferenceError as error:
            ended.put(error.cause)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(ask)
        try:
            ends = [ended.get(timeout=60) for _ in range(3)]
        finally:
            release.set()
        ends.append(ended.get(timeout=60))
    assert ends == ["budget", "budget", "budget", "Yes."]
    assert arrived == [1]


def test_a_budget_that_is_used_up_by_tool_rounds_keeps_the_steps(
    wandb: Wandb, start_api: Callable[..., ModuleType]
) -> None:
    def weather(city: str) -> str:
        """Tell the weather."""
        return f"It rains in {city}."

    # Each call can cost less than it does: 0.00105 USD.
    wandb.api.always = calling(("weather", '{"city": "Oslo"}'), counted=usage(1000, 100))
    api = start_api(**known_model_environment(wandb))
    current_session().settings.set(budget=0.003)
    api.models()
    with pytest.raises(InferenceError) as caught:
        api.chat("hi", max_tokens=100, tools=weather)
    assert caught.value.what.startswith("The budget is used up after 3 calls: the next could cost $")
    assert "Nothing was sent" not in str(caught.value)
    partial = caught.value.partial
    assert [step.result for step in partial.steps] == ["It rains in Oslo."] * 3
    assert "3 calls · incomplete: stopped by the budget" in footer(partial)


MAP_WITH_REPAIR = (
    "try:\n"
    "    print(map_prompts(['a'], '{{ text }}', schema='label good|bad', max_tokens=8000).label.tolist())\n"
    "except InferenceError as error:\n"
    "    print(error.cause)\n"
    "print(session.usage.reserved())\n"
)


def test_the_repair_of_a_row_needs_budget(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.always = completion('{"label": "so so"}', counted=usage(1, 7998))
    assert run(0.006, MAP_WITH_REPAIR) == ["budget", "0.0"]
    assert len(wandb.api.chats) == 1


def test_a_repaired_row_reserves_one_call_at_a_time(run: Callable[..., list[str]], wandb: Wandb) -> None:
    wandb.api.then(completion('{"label": "so so"}', counted=usage(1, 7998)))
    wandb.api.always = completion('{"label": "good"}', counted=usage(1, 7998))
    assert run(0.0085, MAP_WITH_REPAIR) == ["['good']", "0.0"]
    assert len(wandb.api.chats) == 2


@pytest.mark.parametrize(
    "options",
    [
        "max_completion_tokens=30_000",
        "max_tokens=10, max_completion_tokens=30_000",
        "max_tokens=10, schema={'type': 'object', 'properties': {'a': {'type': 'string', 'description': long}}}",
        "max_tokens=10, tools=[described(number) for number in range(50)]",
    ],
)
def test_every_cost_of_a_call_is_reserved(run: Callable[..., list[str]], wandb: Wandb, options: str) -> None:
    code = (
        "long = 'long ' * 20_000\n"
        "def described(number):\n"
        "    def tool(a: int): return a\n"
        "    tool.__name__, tool.__doc__ = f'tool_{number}', long\n"
        "    return tool\n"
        f"try:\n    chat('hi', {options})\nexcept InferenceError as error:\n    print(error.cause, error.what)\n"
    )
    (line,) = run(0.01, code)
    assert line.startswith("budget This could cost $0.0")
    assert wandb.api.chats == []


def test_an_interrupt_while_models_are_prepared_releases_the_reservations(
    run: Callable[..., list[str]], wandb: Wandb
) -> None:
    code = (
        "from dataclasses import replace\n"
        "from wandb_inference_magic.engine.compare import run_comparison\n"
        "from wandb_inference_magic.engine import ChatSpec\n"
        "from wandb_inference_magic.schemas.schema import Schema, schema_of\n"
        "from wandb_inference_magic.session import Command\n"
        "class Interrupting(Schema):\n"
        "    @property\n"
        "    def response_format(self):\n"
        "        print(session.usage.reserved() > 0)\n"
        "        raise KeyboardInterrupt\n"
        "schema = Interrupting(**vars(schema_of('a')))\n"
        "asks = [ChatSpec('hi', model='test/eyes'), ChatSpec('hi', model='test/thinker', schema=schema)]\n"
        "try:\n"
        "    run_comparison(Command(session), asks)\n"
        "except KeyboardInterrupt:\n"
        "    print(session.usage.reserved())\n"
    )
    assert run(1, code) == ["True", "0.0"]
    assert wandb.api.chats == []


# The limit on replies that the budget adds ------------------------------------------------------------------------

ASK = (
    "try:\n"
    "    reply = chat('hi', stream=False{options})\n"
    "    print(reply.budget_limit, reply.cost <= session.settings.budget, session.usage.reserved())\n"
    "except InferenceError as error:\n"
    "    print(error.cause, error.what)\n"
)


def write_to_the_limit(answer: Answer) -> None:
    """Write as much as the request allows, as a model that never stops. Without a limit these are 100,000 tokens."""
    written = answer.received.body.get("max_tokens", 100_000)
    text, counted = "word " * min(written, 50), usage(10, written)
    if answer.received.body.get("stream"):
        Streamed([text], finish="length", counted=counted)(answer)
        return
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": text}}
    answer.json({"id": "1", "object": "chat.completion", "created": 1, "choices": [choice], "usage": counted})


def limits(wandb: Wandb) -> list[Any]:
    """Return the token limit of each request."""
    return [one.body.get("max_tokens") for one in wandb.api.chats]


@pytest.mark.parametrize(("budget", "fewest", "most"), [(0.001, 1000, 2000), (1.0, 4096, 4096)])
def test_a_reply_without_a_limit_gets_the_affordable_limit(
    run: Callable[..., list[str]], wandb: Wandb, budget: float, fewest: int, most: int
) -> None:
    wandb.api.always = write_to_the_limit
    (limit,) = run(budget, ASK.format(options=""))[0].split()[:1]
    assert limits(wandb) == [int(limit)]
    assert fewest <= int(limit) <= most


@pytest.mark.parametrize(
    ("options", "sent"), [(", max_tokens=300", 300), (", max_completion_tokens=300", None), (", max_tokens=1500", 1500)]
)
def test_a_limit_of_the_user_is_not_changed(
    run: Callable[..., list[str]], wandb: Wandb, options: str, sent: int | None
) -> None:
    wandb.api.always = completion("Yes.")
    assert run(0.001, ASK.format(options=options)) == ["None True 0.0"]
    assert limits(wandb) == [sent]


def test_a_chat_without_budget_for_a_reply_is_refused_with_the_figures(
    run: Callable[..., list[str]], wandb: Wandb
) -> None:
    (line,) = run(0.00001, ASK.format(options=""))
    assert line.startswith("budget This could cost $0.000")
    assert line.endswith("and $0.000010 is left of the budget. Nothing was sent.")
    assert wandb.api.chats == []


def test_each_call_of_a_chat_has_its_own_limit(run: Callable[..., list[str]], wandb: Wandb) -> None:
    code = "def double(a: int):\n    'Double it.'\n    return 2 * a\n" + ASK.format(options=", tools=[double]")
    tool_call = {"index": 0, "id": "1", "function": {"name": "double", "arguments": '{"a": 4}'}}
    wandb.api.then(
        refused(503, "overloaded", Retry_After="0"),
        completion(None, tool_calls=[tool_call], counted=usage(10, 1000)),
        completion("Eight.", counted=usage(20, 3)),
    )
    assert run(0.001, code)[0].endswith("True 0.0")
    first, again, last = limits(wandb)
    assert first == again
    # 1,000 tokens have cost half of it.
    assert first - 1200 < last < first - 900


def test_compared_models_share_the_affordable_limit(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = write_to_the_limit
    kernel.run("%wbconfig --budget 0.001")
    run = kernel.run("%%wbchat -m test/thinker -m test/eyes\nhi")
    assert run.ok, run.error
    one, other = limits(wandb)
    assert abs(one - other) <= 1
    assert one > 500
    assert f"at most {one:,} tokens by the budget" in run.text
    assert kernel.value("sum(one.cost for one in _wbreply)") <= 0.001


@pytest.mark.parametrize(("budget", "number"), [(0.001, 15), (0.01, 30)])
def test_a_map_stays_within_the_budget_and_lowers_concurrency_before_it_cuts(
    kernel_with_catalog: Kernel, wandb: Wandb, budget: float, number: int
) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = write_to_the_limit
    kernel.run(f"%wbconfig --budget {budget} --model test/thinker\nrows = [str(one) for one in range({number})]")
    run = kernel.run("%%wbmap rows -o out\n{{ text }}")
    assert "The budget is used up" in run.error
    sent = limits(wandb)
    assert sum(10e-6 + 0.5e-6 * one for one in sent) <= budget
    assert sum(one < 1024 for one in sent) <= 2
    assert f"cut {len(sent)} answers" in run.text.replace("cut 1 answer;", "cut 1 answers")
    # These rows are called again.
    kernel.run("%wbusage --reset")
    before = len(sent)
    kernel.run("%%wbmap rows -o out\n{{ text }}")
    assert "0" in [one.body["messages"][-1]["content"] for one in wandb.api.chats[before:]]


def test_a_row_cut_by_the_budget_is_called_again(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = write_to_the_limit
    kernel.run("%wbconfig --budget 0.001 --model test/thinker\nrows = ['a']")
    run = kernel.run("%%wbmap rows --schema 'label good|bad'\n{{ text }}")
    assert "It was cut at the budget's limit. For a longer one set --max-tokens" in run.text
    wandb.api.always = completion('{"label": "good"}')
    kernel.run("%wbconfig --budget 1")
    assert kernel.run("%%wbmap rows --schema 'label good|bad' -o out\n{{ text }}").ok
    assert kernel.value("out.label.tolist()") == ["good"]


def test_a_reply_cut_by_the_budget_says_so(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    wandb.api.always = write_to_the_limit
    kernel_with_catalog.run("%wbconfig --budget 0.001 --model test/thinker")
    run = kernel_with_catalog.run("%wbchat hi")
    (limit,) = limits(wandb)
    assert f"The budget's limit of {limit:,} tokens cut this reply. For a longer one set --max-tokens" in run.text
    assert f"at most {limit:,} tokens by the budget · cut at the token limit" in run.text


def test_a_dry_run_shows_the_limit_of_the_budget(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    kernel.run("%wbconfig --budget 1 --model test/thinker")
    run = kernel.run("%wbchat --dry-run hi")
    assert '"max_tokens": 4096' in run.text
    assert "at most 4,096 tokens, by the budget" in run.text
    kernel.run("%wbconfig --budget 0.000001")
    run = kernel.run("%wbchat --dry-run hi")
    assert run.ok
    assert "This could cost" in run.text
    assert wandb.api.chats == []


def test_a_cassette_does_not_depend_on_the_budget(kernel_with_catalog: Kernel, wandb: Wandb, tmp_path: Path) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = lambda one: (Streamed() if one.received.body.get("stream") else completion())(one)
    kernel.run("rows = ['a', 'b']\n%wbconfig --model test/thinker")
    cells = ("%wbchat --once hi", "%wbchat --once --no-stream hello", "%%wbmap rows\n{{ text }}")
    for name, recorded, replayed in (("a", "--budget 1", "None"), ("b", "--budget 1", "2.0"), ("c", "", "2.0")):
        kernel.run("%config WandbInference.budget = None")
        kernel.run(f"%wbconfig --cassette {name}.jsonl --mode record {recorded}")
        assert all(kernel.run(cell).ok for cell in cells)
        sent = len(wandb.api.chats)
        assert set(limits(wandb)[-4:]) == ({4096} if recorded else {None})
        exchanges = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()[1:]]
        assert not any("max_tokens" in one["request"] for one in exchanges if one.get("request"))
        for mode in ("replay", "auto"):
            kernel.run(f"%wbconfig --cassette {name}.jsonl --mode {mode}\n%config WandbInference.budget = {replayed}")
            kernel.run("%wbusage --reset")
            runs = [kernel.run(cell) for cell in cells]
            assert all(run.ok for run in runs), [run.error for run in runs]
            assert "replayed" in runs[0].text
            assert "by the budget" not in runs[0].text
            kernel.run("%wbusage -o used")
            assert kernel.value("used.cost_usd.sum().item()") == 0
        assert len(wandb.api.chats) == sent


def test_cached_answers_are_used_under_a_budget_and_cost_nothing(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = completion("Yes.", counted=usage(10, 1))
    kernel.run("rows = ['a', 'b']\n%wbconfig --model test/thinker")
    assert kernel.run("%%wbmap rows\n{{ text }}").ok
    kernel.run("%wbconfig --budget 1\n%wbusage --reset")
    run = kernel.run("%%wbmap rows\n{{ text }}")
    assert "2 kept from before" in run.text
    assert len(wandb.api.chats) == 2
    assert "Nothing has been sent" in kernel.run("%wbusage").text
    # The same in the opposite order.
    assert kernel.run("more = ['c']\nget_ipython().run_cell_magic('wbmap', 'more', '{{ text }}')").ok
    assert limits(wandb)[-1] == 4096
    kernel.run("%config WandbInference.budget = None")
    assert "1 kept from before" in kernel.run("%%wbmap more\n{{ text }}").text


def test_usage_is_shown_when_the_endpoint_cannot_be_used(kernel: Kernel) -> None:
    assert kernel.run("%wbchat hi").ok
    kernel.run("import os; os.environ['WANDB_INFERENCE_BASE_URL'] = 'nonsense://'")
    assert not kernel.run("%wbchat hi").ok
    assert "test/model-a" in kernel.run("%wbusage").text


ROWS = [f"row {number}" for number in range(20)]


@pytest.fixture
def asked_within(wandb: Wandb, start_api: Callable[..., ModuleType]) -> Callable[..., tuple[int, str]]:
    """Map rows with a budget, and return how many requests were sent, and the refusal. A row costs about 0.00006."""
    wandb.api.always = completion("Yes.", counted=usage(10, 100))
    api = start_api(**known_model_environment(wandb))
    api.models()

    def asked(budget: float | None, rows: list[str], **how: Any) -> tuple[int, str]:
        session, before, refusal = current_session(), len(wandb.api.chats), ""
        session.usage.reset()
        session.settings.set(budget=budget)
        try:
            api.map_prompts(rows, "{{ text }}", max_tokens=100, **how)
        except InferenceError as error:
            refusal = f"{error.what} {error.why}"
        return len(wandb.api.chats) - before, refusal

    return asked


def test_rows_that_need_no_request_cost_nothing(asked_within: Callable[..., tuple[int, str]]) -> None:
    assert asked_within(None, ROWS) == (20, "")
    assert asked_within(0, ROWS) == (0, "")
    assert asked_within(0.0002, [*ROWS, "new"]) == (1, "")
    assert asked_within(0.0002, ["same"] * 20, distinct=True) == (1, "")
    sent, refusal = asked_within(0.0002, ["same"] * 20)
    assert sent == 0
    assert "20 rows, 1 of them without a request, about " in refusal
    sent, refusal = asked_within(0.0002, ROWS, cache=False)
    assert sent == 0
    assert "of them" not in refusal


def test_rows_of_a_long_frame_are_looked_for_all_over_it(
    asked_within: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wandb_inference_magic.batch.start.LOOKED_AT", 10)
    assert asked_within(None, ROWS) == (20, "")
    assert asked_within(0, ROWS) == (0, "")
    sent, refusal = asked_within(0.0002, [*ROWS, *[f"new {number}" for number in range(20)]])
    assert sent == 0
    assert "40 rows, about 20 of them without a request, about " in refusal


def test_what_several_models_cost_together_is_held_against_the_budget(
    asked_within: Callable[..., tuple[int, str]],
) -> None:
    sent, refusal = asked_within(0.0018, ROWS, model=["test/thinker", "test/eyes"])
    assert sent == 0
    assert refusal.startswith("This would cost about $0.0022, and $0.0018 is left of the budget. Nothing was sent.")
    assert "test/thinker: 20 rows, " in refusal
    assert "test/eyes: 20 rows, " in refusal
    assert asked_within(0.0018, ROWS, model="test/eyes") == (20, "")


def test_a_dry_run_names_the_cost_of_what_would_be_sent(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = completion("Yes.", counted=usage(10, 1))
    kernel.run("%wbconfig --model test/thinker\nrows = ['a', 'b']")
    cell = "%%wbmap {} {}\n{{{{ text }}}}"
    assert ": 2 rows, about" in kernel.run(cell.format("rows", "--dry-run")).text
    assert kernel.run(cell.format("rows", "")).ok
    assert ": 3 rows, 2 of them without a request, about" in kernel.run(cell.format("rows+['c']", "--dry-run")).text
    assert ": 2 rows, about" in kernel.run(cell.format("rows", "--dry-run --no-cache")).text


def test_a_call_that_costs_more_than_was_reserved_is_reported(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = completion("Yes.", counted=usage(1000, 1))
    kernel.run("%wbconfig --budget 1 --model test/thinker\nrows = ['a']")
    run = kernel.run("%wbchat --no-stream --max-tokens 10 hi")
    assert "This call cost $0.0010, and $0.00" in run.text
    assert "the service counted more tokens than were estimated" in run.text
    run = kernel.run("%%wbmap rows --max-tokens 10\n{{ text }}")
    assert "This call cost $0.0010, and $0.00" in run.text


# Limits and numbers of replies that a service may interpret in its own way -----------------------------------------


def reserve_for(usage: UsageTracker | None = None, **body: Any) -> tuple[float, int | None]:
    """Return what is reserved for a request under a budget of 0.01 USD, and the limit that is added."""
    usage = usage or UsageTracker()
    messages = [{"role": "user", "content": "hi"}]
    request = PreparedRequest(
        Endpoint("custom", "http://127.0.0.1/v1"), "m", Price(1.0, 0.5), {"messages": messages, **body}, Thread("")
    )
    with Reservation(Budget(0.01, usage)) as reservation:
        reservation.reserve(request)
        return usage.reserved(), reservation.limit


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [-1, 0, "50000", "-1", True, False, float("nan"), [5000], {"a": 1}, ""])
def test_an_invalid_limit_is_refused(name: str, value: object) -> None:
    for body in ({name: value}, {"extra_body": {name: value}}, {name: 10, "extra_body": {name: value}}):
        with pytest.raises(InferenceError, match=f"{name} is not a number above 0. Nothing was sent") as caught:
            reserve_for(**body)
        assert caught.value.cause == "option"
        # The same for a magic and for `client()`.
        assert "--" not in str(caught.value)


@pytest.mark.parametrize("value", [1, 10, 1.5, 0.5, 1000.0])
def test_a_limit_that_is_a_number_is_not_changed(value: float) -> None:
    assert reserve_for(max_completion_tokens=value)[1] is None
    assert reserve_for(extra_body={"max_completion_tokens": None})[1] == 4096


@pytest.mark.parametrize("name", ["n", "best_of"])
def test_several_replies_of_one_call_are_reserved_together(name: str) -> None:
    one, three = (reserve_for(max_tokens=1000, extra_body={name: number})[0] for number in (1, 3))
    assert three - one == pytest.approx(2 * 0.0005)
    assert reserve_for(extra_body={name: 10})[1] == pytest.approx(4096 / 2, rel=0.1)
    assert reserve_for(max_tokens=1000, extra_body={name: "3"})[0] == three
    for invalid in (None, "three", -1, [], True, float("nan")):
        assert reserve_for(max_tokens=1000, extra_body={name: invalid})[0] == one
    with pytest.raises(InferenceError, match="This could cost"):
        reserve_for(max_tokens=10_000, extra_body={name: 10**400})


@pytest.mark.parametrize(
    ("prompt", "replies"),
    [("a b", 1), (["a", "b", "c"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([], 1), (None, 1)],
)
def test_each_prompt_of_a_call_has_its_replies(prompt: object, replies: int) -> None:
    one = reserve_for(max_tokens=1000)[0]
    assert reserve_for(max_tokens=1000, prompt=prompt)[0] - one == pytest.approx((replies - 1) * 0.0005)
    two_each = reserve_for(max_tokens=1000, prompt=prompt, n=2)[0]
    assert two_each - one == pytest.approx((2 * replies - 1) * 0.0005)


def test_an_interrupt_directly_after_a_reservation_releases_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = UsageTracker.reserve

    def interrupted(*given: Any) -> float:
        reserve(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(UsageTracker, "reserve", interrupted)
    usage = UsageTracker()
    with pytest.raises(KeyboardInterrupt):
        reserve_for(usage, max_tokens=1000)
    assert usage.reserved() == 0
