"""`%wbusage`: every call is counted with its tokens, seconds and cost, and shown in a chart."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, strategies as st
from kernels import Kernel, Run, SharedKernel, plain
from service import MODEL, Answer, Endless, Service, Streamed, Wandb, chunk, completion, refused, usage

from wandb_inference_magic.catalog.feeds import read_modelsdev
from wandb_inference_magic.catalog.models import Price
from wandb_inference_magic.commands.usage import format_cost
from wandb_inference_magic.config.endpoint import Endpoint
from wandb_inference_magic.markup.literal import DOLLAR_APART
from wandb_inference_magic.messages.request import PreparedRequest
from wandb_inference_magic.messages.thread import Thread
from wandb_inference_magic.messages.tokens import Usage
from wandb_inference_magic.rendering.chart import Measure, chart_bundle
from wandb_inference_magic.rendering.reply import footer
from wandb_inference_magic.replies.builder import ReplyBuilder
from wandb_inference_magic.spending.budget import Budget, Reservation
from wandb_inference_magic.spending.usage import Call, UsageTracker, usage_rows


@pytest.fixture
def service(shared: SharedKernel) -> Service:
    return shared.service


@pytest.fixture
def kernel(renewed: Kernel) -> Kernel:
    return renewed


def table(run: Run) -> dict[str, list[str]]:
    """Return the rows of the displayed table, keyed by their first cells."""
    lines = [line for line in run.outputs[0]["data"]["text/markdown"].splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]
    return {row[0].replace("\\", ""): row[1:] for row in rows}


# Charts ------------------------------------------------------------------------------------------------


@pytest.mark.short
def test_a_chart_has_a_table_with_bars_and_a_text_form() -> None:
    data = chart_bundle(["a/one", "b/three"], [Measure("seconds", [1.0, 2.0], "{:.1f} s".format)])
    assert re.findall(r"([^<>]+)<div style=.border-top:7px solid;width:(\d+)px", data["text/html"]) == [
        ("1.0 s", "55"),
        ("2.0 s", "110"),
    ]
    lines = data["text/plain"].splitlines()
    assert lines[0] == "seconds"
    assert lines[1].split() == ["a/one", "█" * 12, "1.0", "s"]
    assert lines[2].split() == ["b/three", "█" * 24, "2.0", "s"]


def test_an_unknown_value_has_no_bar_in_a_chart() -> None:
    data = chart_bundle(
        ["a", "b\x1b[31m$x$"],
        [
            Measure("cost", [None, 0.0], str),
            Measure("seconds", [None, None], str),
            Measure("x", [float("nan"), 1], str),
        ],
    )
    assert "unknown" in data["text/plain"].splitlines()[1]
    assert "seconds" not in data["text/plain"]
    assert "\x1b" not in data["text/plain"]
    assert data["text/html"].count("border-top") == 1
    assert "<code>b$x$</code>" in data["text/html"]
    assert chart_bundle(["a"], [Measure("cost", [None], str)]) == {}
    assert chart_bundle([], [Measure("cost", [], str)]) == {}


def test_a_large_chart_is_small_and_escapes_names() -> None:
    words = "{:.2f}".format
    models = [f"some-vendor/Some-Model-{number}-120B-Instruct" for number in range(11)]
    measures = [Measure(f"tokens a second {number}", [1.5] * 12, words) for number in range(4)]
    data = chart_bundle(["<img src=x>", *models], measures)
    assert len(data["text/html"]) < 5000
    assert "&lt;img src=x&gt;" in data["text/html"]
    assert "<img" not in data["text/html"]


# Counting ----------------------------------------------------------------------------------------------


def test_totals_add_up() -> None:
    usage = UsageTracker()
    usage.count(Call("a", "wandb", "answered", Usage(10, 20, 5), cost=0.5, seconds=3.0, seconds_to_first=1.0))
    usage.count(Call("a", "wandb", "answered", Usage(1, 2), cost=None, seconds=1.0, seconds_to_first=0.5))
    usage.count(Call("b", "local", "failed", seconds=4.0))
    total = usage.total()
    assert (total.calls, total.failed, total.usage) == (3, 1, Usage(11, 22, 5))
    assert (total.cost, total.unpriced) == (0.5, 1)
    assert total.tokens_per_second == pytest.approx(22 / 2.5)
    assert total.mean_seconds_to_first == 0.75
    assert [(endpoint, model, one.calls) for endpoint, model, one in usage.by_model()] == [
        ("wandb", "a", 2),
        ("local", "b", 1),
    ]
    usage.reset()
    assert usage.total().calls == 0


def test_without_calls_wbusage_says_so(kernel: Kernel) -> None:
    assert "Nothing has been sent since" in kernel.run("%wbusage").text


def test_calls_are_shown_by_model_with_their_cost(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = Streamed(["Hello."], counted=usage(1000, 400, 100))
    kernel.run("%wbchat hi")
    kernel.run("%wbchat again")
    kernel.run("%wbchat -m test/eyes hi")
    run = kernel.run("%wbusage")
    shown = table(run)
    assert shown["test/small"][:4] == ["2", "2,000", "200", "800"]
    # 2,000 tokens at 1 USD per million, 800 at half of that price.
    assert shown["test/small"][-1] == f"{DOLLAR_APART}0.0024"
    assert shown["total"][:4] == ["3", "3,000", "300", "1,200"]
    assert shown["total"][-1] == f"{DOLLAR_APART}0.0036"
    assert "$0.0036" in run.text
    assert "Prices: " in run.text
    assert "$" not in run.outputs[0]["data"]["text/markdown"].replace(DOLLAR_APART, "")
    chart = run.outputs[1]
    assert set(chart["data"]) == {"text/html", "text/plain"}
    assert "tokens a second" in chart["data"]["text/plain"]


def test_an_unknown_price_makes_the_total_cost_a_lower_bound(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = Streamed(["Hello."], counted=usage(1000, 500))
    lora = "wandb-artifact:///team/project/lora:v1"
    kernel.run("%wbchat hi")
    kernel.run(f"%wbchat -m {lora} hi")
    shown = table(kernel.run("%wbusage"))
    assert shown[lora][-1] == "unknown"
    assert shown["total"][-1].startswith("at least ")


def test_the_figures_are_returned_as_a_frame(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbusage -o unused")
    assert kernel.value("(len(unused), unused.calls.tolist(), 'cost_usd' in unused)") == (0, [], True)
    kernel.run("%wbchat hi")
    assert kernel.value("str(unused.cost_usd.dtype)") == "Float64"
    run = kernel.run("%wbusage -o used --reset")
    assert kernel.value("[str(used.cost_usd.dtype), bool(used.cost_usd.isna().all())]") == ["Float64", True]
    assert "Counting starts again from zero." in run.text
    assert kernel.value("used[['model', 'calls', 'prompt_tokens', 'completion_tokens']].values.tolist()") == [
        [MODEL, 1, 12, 3]
    ]
    assert "Nothing has been sent" in kernel.run("%wbusage").text


def test_failed_tries_are_counted_in_a_separate_row(kernel: Kernel, service: Service) -> None:
    service.then(refused(503, "overloaded", Retry_After="0"))
    kernel.run("%wbchat hi")
    service.then(refused(400, "no"))
    kernel.run("%wbchat hi")
    shown = table(kernel.run("%wbusage"))
    assert next(iter(shown.values()))[:4] == ["3", "12", "0", "3"]
    assert shown["of these failed"][0] == "2"


def test_an_interrupted_reply_is_counted_as_an_estimate(kernel: Kernel, service: Service) -> None:
    service.then(Endless("x" * 400))
    assert "Interrupted." in kernel.interrupt_at("%wbchat hello", "xxxx").error
    run = kernel.run("%wbusage")
    assert next(iter(table(run).values()))[3] == "about 100"
    assert "those are estimates" in run.text


def test_tool_rounds_and_comparisons_are_counted(kernel: Kernel, service: Service) -> None:
    kernel.run('def double(a: int):\n    "Double it."\n    return 2 * a')
    called = {"index": 0, "id": "1", "function": {"name": "double", "arguments": '{"a": 4}'}}
    service.then(completion(None, tool_calls=[called]))
    kernel.run("%wbchat --once --no-stream --tools double twice four?")
    kernel.run("%%wbchat -m test/a -m test/b\nhi")
    # Names that Python has in another form.
    kernel.run("%wbusage -o used１")
    kernel.run("%wbmodels -o 結果１")
    assert kernel.value("dict(zip(used１.model, used１.calls))") == {MODEL: 2, "test/a": 1, "test/b": 1}
    assert kernel.value("len(結果１)") > 0


def test_the_count_equals_that_of_the_server_for_many_mixed_calls(kernel: Kernel, service: Service) -> None:
    """A thousand calls, some failing, some in one piece, from several threads in parallel."""
    generator = random.Random(7)
    answered: list[tuple[int, int]] = []

    def answer(one: Answer) -> None:
        chance = generator.random()
        if chance < 0.1:
            refused(400, "no")(one)
            return
        tokens = (generator.randrange(1, 500), generator.randrange(1, 500))
        answered.append(tokens)
        if one.received.body.get("stream"):
            Streamed(["Hi."], counted=usage(*tokens))(one)
        else:
            completion("Hi.", counted=usage(*tokens))(one)

    service.always = answer
    run = kernel.run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from wandb_inference_magic import InferenceError, chat\n"
        "def ask(number):\n"
        "    try:\n"
        "        chat('hi', stream=number % 3 > 0)\n"
        "    except InferenceError:\n"
        "        pass\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    list(pool.map(ask, range(1000)))\n"
        "%wbusage -o used"
    )
    assert run.ok, plain(run.error)
    row = kernel.value("used.iloc[0].to_dict()")
    assert row["calls"] == 1000
    assert row["failed"] == 1000 - len(answered)
    assert row["prompt_tokens"] == sum(prompt for prompt, _ in answered)
    assert row["completion_tokens"] == sum(written for _, written in answered)


# Invalid counts ------------------------------------------------------------------------------------------

INVALID_COUNTS = ("-9", "1" + 400 * "0", "1e999", "-Infinity", "NaN", "true", '"x"', "12.5", "1000000001", "[]", "{}")


def with_usage(text: str, text_of_reply: str = "Hello there.") -> Callable[[Answer], None]:
    """Return a script: a streamed reply whose last chunk has this JSON text as its `usage`."""

    def answer(one: Answer) -> None:
        one.start()
        one.event(chunk({"content": text_of_reply}, "stop"))
        one.event(f'{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{text}}}')
        one.event("[DONE]")
        one.end()

    return answer


def test_invalid_counts_are_reported_and_replaced_by_estimates(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    kernel.run("%wbconfig --budget 0.01 --model test/thinker")
    forms = [
        *(f'{{"prompt_tokens": {one}, "completion_tokens": 3}}' for one in INVALID_COUNTS),
        *(f'{{"prompt_tokens": 12, "completion_tokens": {one}}}' for one in INVALID_COUNTS),
        '{"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}',
        '{"total_tokens": 1500}',
        "-9",
        '"many"',
    ]
    for form in forms:
        wandb.api.then(with_usage(form))
        run = kernel.run("%wbchat --once hi\nassert _wbreply.text == 'Hello there.', _wbreply.text")
        assert run.ok, (form, run.error)
        assert "The service reported unusable token counts (" in run.text, form
        assert "they are estimated instead." in run.text
        assert "about 5 + 4 tokens" in run.text
    run = kernel.run("%wbusage")
    assert run.ok
    assert table(run)["test/thinker"][:4] == [
        str(len(forms)),
        f"about {5 * len(forms)}",
        "0",
        f"about {4 * len(forms)}",
    ]
    assert "those are estimates" in run.text
    # The budget still applies.
    assert "is left of the budget" in kernel.run("%wbchat --max-tokens 20000 hi").error
    wandb.api.then(with_usage("-9"))
    assert "(-9)" in kernel.run("%wbchat --once hi").text


@pytest.mark.parametrize("cached", [*INVALID_COUNTS, "13"])
def test_a_count_of_cached_tokens_that_is_not_valid_is_0(api: ModuleType, service: Service, cached: str) -> None:
    cached = f'"prompt_tokens_details": {{"cached_tokens": {cached}}}'
    service.then(with_usage(f'{{"prompt_tokens": 12, "completion_tokens": 3, {cached}}}'))
    reply = api.chat("hi")
    assert (reply.usage, reply.usage_is_estimate, reply.notices) == (Usage(12, 3), False, ())


def test_invalid_counts_are_replaced_by_estimates_in_maps_and_comparisons(
    kernel_with_catalog: Kernel, wandb: Wandb
) -> None:
    kernel = kernel_with_catalog
    wandb.api.always = completion("Yes.", counted=usage(-9, 10**400))
    kernel.run("rows = ['a', 'b']\n%wbconfig --budget 0.01")
    run = kernel.run("%%wbmap rows\n{{ text }}")
    assert run.ok, run.error
    assert run.text.count("The service reported unusable token counts (-9)") == 1
    run = kernel.run("%%wbchat --no-stream -m test/thinker -m test/eyes\nhi")
    assert run.text.count("The service reported unusable token counts (-9)") == 2
    assert kernel.run("%wbusage").ok
    assert kernel.value("all(0 < one.cost < 0.001 for one in _wbreply)")


def test_whole_numbers_written_as_floats_are_counted(kernel: Kernel, service: Service) -> None:
    service.then(with_usage('{"prompt_tokens": 12.0, "completion_tokens": 3.0}'))
    run = kernel.run("%wbchat hi")
    assert "unusable token counts" not in run.text
    assert "12 + 3 tokens" in run.text


@pytest.mark.parametrize("digits", [400, 5000, 100_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_reply_with_a_count_that_python_cannot_read_is_kept(shared: SharedKernel, digits: int, sign: str) -> None:
    form = f'{{"prompt_tokens": {sign}1{digits * "0"}, "completion_tokens": 3}}'
    body = (
        '{"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "Hello there."}}], '
        f'"usage": {form}}}'
    )

    def whole(one: Answer) -> None:
        one.start(200, "application/json")
        one.raw(body.encode())
        one.end()

    for script, option in ((with_usage(form), ""), (whole, "--no-stream")):
        shared.service.then(script)
        run = shared.kernel.run(f"%wbchat --once {option} hi")
        assert run.ok, run.error
        assert "The service reported unusable token counts (" in run.text
        assert shared.kernel.value("_wbreply.text") == "Hello there."
        assert shared.kernel.run("%wbusage").ok


numbers = st.one_of(
    st.integers(),
    st.integers(0, 10**9),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 10**5000, True, False, None, "12", [], {}, 12.0, -0.0]),
)
counts = st.one_of(
    numbers,
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": numbers,
            "completion_tokens": numbers,
            "prompt_tokens_details": st.one_of(numbers, st.fixed_dictionaries({"cached_tokens": numbers})),
        },
    ),
)


GOOD_COUNTS = {"prompt_tokens": 1000, "completion_tokens": 500}


def counted(*counts: object, text: str = "Hello there, this is half of it", fails: bool = False) -> ReplyBuilder:
    """Return the reply that was made of a text, and of chunks with these counts after it."""
    usage = UsageTracker()
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    request = PreparedRequest(Endpoint("custom", "http://127.0.0.1/v1"), "m", Price(1.0, 0.5), body, Thread(""))
    builder = ReplyBuilder()
    with suppress(RuntimeError), usage.counting(request, builder, lambda _: ""):
        builder.add(chunk({"content": text}))
        for one in counts:
            builder.add({"choices": [], "usage": one})
        if fails:
            raise RuntimeError
    assert usage.total().usage == builder.usage
    assert usage.total().estimates == builder.usage_is_estimate
    return builder


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("counts", "of_what", "used"),
    [
        ((0, 0), "prompt", Usage(5, 8)),
        ((0, 500), "prompt", Usage(5, 500)),
        ((1000, 0), "text", Usage(1000, 8)),
    ],
)
def test_no_tokens_for_what_was_sent_or_written_is_no_count(
    counts: tuple[int, int], of_what: str, used: Usage, *, fails: bool
) -> None:
    builder = counted(dict(zip(GOOD_COUNTS, counts, strict=True)), fails=fails)
    assert (builder.usage, builder.usage_is_estimate) == (used, True)
    assert f"(0 tokens for this {of_what})" in builder.notices[0]


def test_no_tokens_for_an_empty_reply_is_a_count() -> None:
    builder = counted({"prompt_tokens": 1000, "completion_tokens": 0}, text="")
    assert (builder.usage, builder.notices) == (Usage(1000, 0), ())


@pytest.mark.parametrize("last", [{"prompt_tokens": -1, "completion_tokens": 0}, {"total_tokens": 9}, "many"])
def test_counts_that_are_not_valid_leave_those_of_an_earlier_chunk(last: object) -> None:
    builder = counted(GOOD_COUNTS, last)
    assert (builder.usage, builder.notices) == (Usage(1000, 500), ())


@pytest.mark.short
@given(st.lists(counts, max_size=3), st.booleans())
def test_any_usage_is_counted_within_the_budget(chunks: list[Any], fails: bool) -> None:
    usage = UsageTracker()
    budget = Budget(1000.0, usage)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    request = PreparedRequest(Endpoint("custom", "http://127.0.0.1/v1"), "m", Price(1.0, 0.5), body, Thread(""))
    builder, reservation = ReplyBuilder(), Reservation(budget)
    reservation.reserve(request)
    with suppress(RuntimeError), usage.counting(request, builder, reservation.settle):
        builder.add(chunk({"content": "Hello."}))
        for counts in chunks:
            builder.add({"choices": [], "usage": counts})
        if fails:
            raise RuntimeError
    total = usage.total()
    used = total.usage
    assert 0 <= used.cached_tokens <= used.prompt_tokens <= 10**9
    assert 0 <= used.completion_tokens <= 10**9
    assert 0 <= total.cost <= 1500
    assert usage.reserved() == 0
    assert budget.left == max(1000.0 - total.cost, 0.0)
    reply = builder.build(asked_model="m", endpoint="e", price=request.price, messages=())
    assert reply.text == "Hello."
    json.dumps(reply.facts(), allow_nan=False)
    assert footer(reply)
    assert reply.usage_is_estimate or not builder.invalid_usage
    assert reply.usage is None or (reply.usage.prompt_tokens and reply.usage.completion_tokens)
    assert any("unusable token counts" in notice for notice in reply.notices) == reply.usage_is_estimate
    assert format_cost(total)
    assert usage_rows(usage.by_model())


@pytest.mark.short
@given(numbers, numbers, numbers)
def test_an_invalid_price_in_the_feed_is_unknown(into: Any, out: Any, cached: Any) -> None:
    cost = {"input": into, "output": out, "cache_read": cached}
    price = read_modelsdev({"wandb": {"models": {"m": {"id": "m", "cost": cost}}}})["m"].price
    if price is not None:
        assert 0 <= price.cost(10**9, 10**9, 10**9) < float("inf")
        assert not isinstance(into, str | bool)
        assert not isinstance(out, str | bool)
