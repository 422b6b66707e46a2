"""`%%wbchat` and `%wbchat` in a real kernel: what the front end receives, and what is sent to the service."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from threading import Event
from typing import Any

import pytest
from kernels import Kernel, Run, SharedKernel
from service import MODEL, Answer, Service, Streamed, completion, usage

WORDS = [f"word{number} " for number in range(500)]


def markdown(run: Run) -> str:
    return str(run.output["data"]["text/markdown"])


def test_the_first_words_are_shown_before_the_last_ones_are_sent(kernel: Kernel, service: Service) -> None:
    gate = Event()
    script = Streamed(WORDS, gate=gate, hold_after=5)
    service.then(script)
    request = kernel.start("%%wbchat\nCount to 500.")
    run = Run()
    for message in kernel.messages(request):
        run.messages.append(message)
        if "word0" in json.dumps(message.content) and not gate.is_set():
            assert not script.sent_last.is_set()
            gate.set()
    assert gate.is_set()
    assert run.output["data"]["text/markdown"].startswith("".join(WORDS).strip())


@pytest.mark.short
def test_a_reply_ends_as_one_tidy_output(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["# Title\n\n", "First *paragraph*.\n\n", "- a\n- b\n\n", "Last."], per_second=10))
    run = kernel.run("%%wbchat\nHi")
    assert set(run.output["data"]) == {"text/markdown", "text/plain"}
    assert markdown(run).startswith("# Title\n\nFirst *paragraph*.\n\n- a\n- b\n\nLast.")
    assert run.output["data"]["text/plain"].startswith("# Title\n\nFirst *paragraph*.\n\n- a\n- b\n\nLast.")
    for part in (re.escape(MODEL), r"12 \+ 3 tokens", r"\d\.\d s", "cost unknown", "turn 1"):
        assert re.search(part, run.output["data"]["text/plain"]), part
    facts = run.output["metadata"]["wandb_inference"]
    assert facts["model"] == MODEL
    assert facts["request_id"] == "req-test-1"
    assert (facts["prompt_tokens"], facts["completion_tokens"]) == (12, 3)


def test_words_on_the_screen_stay_while_others_arrive(kernel: Kernel, service: Service) -> None:
    """A block that has been drawn stays in its place when the next one begins."""
    blocks = ["# A title\n\n", "A paragraph of words. ", "And more.\n\n", "1. one\n", "2. two\n\n", "After the list "]
    blocks += ["comes this.\n", "> A quote\n\n", "| a |\n|---|\n", "| cell |\n\n", "Some last words.", " The end."]
    # Slower than the refresh rate, so that each piece is drawn separately.
    service.then(Streamed(blocks, per_second=8))
    screens = [str([one["data"].get("text/markdown") for one in shown]) for shown in kernel.run("%wbchat hi").screens()]
    expected = set(re.findall(r"[A-Za-z]{3,}", "".join(blocks)))
    # Without the words of the status line, which the first text replaces.
    words = [[word for word in re.findall(r"[A-Za-z]{3,}", screen) if word in expected] for screen in screens]
    assert len({*map(len, words)}) > 5
    for before, after in pairwise(words[:-1]):
        assert after[: len(before)] == before


def test_the_refresh_rate_is_limited(kernel: Kernel, service: Service) -> None:
    service.then(
        Streamed(
            [f"word{number} " + ("\n\n" if number % 40 == 39 else "") for number in range(500)],
            per_second=250,
        )
    )
    run = kernel.run("%%wbchat\nHi")
    drawn = run.of("display_data", "update_display_data")
    seconds = drawn[-1].at - drawn[0].at
    # Each refresh may end one output and start the next.
    assert 5 < len(drawn) <= 2 * (15 * seconds + 2)


def received_bytes(kernel: Kernel, service: Service, tokens: int, paragraph: int) -> int:
    """Return the number of bytes that the front end receives for a reply of `tokens` tokens in paragraphs."""
    pieces = [
        f"word{number % 90 + 10} " + ("\n\n" if number % paragraph == 0 else "") for number in range(1, tokens + 1)
    ]
    service.then(Streamed(pieces, per_second=2000))
    return kernel.run("%%wbchat --once\nHi").bytes


def test_the_bytes_for_the_front_end_grow_linearly(kernel: Kernel, service: Service) -> None:
    received_bytes(kernel, service, 100, paragraph=40)

    long = received_bytes(kernel, service, 5000, 40)
    # A busy machine draws less often, which makes the shorter reply too small.
    assert any(long <= 10 * 1.3 * received_bytes(kernel, service, 500, 40) for _ in range(3))


def test_the_bytes_for_a_single_long_block_grow_about_linearly(kernel: Kernel, service: Service) -> None:
    received_bytes(kernel, service, 100, paragraph=40)

    # The pauses between drawings grow, so the position of a reply's end within a pause changes the result by up to
    # one drawing, and a machine that pauses adds one more. With a constant refresh rate the factor would be 4.
    twice = received_bytes(kernel, service, 10_000, 10**6)
    assert any(twice <= 2.8 * received_bytes(kernel, service, 5000, 10**6) for _ in range(3))


def test_other_output_of_the_cell_is_not_changed(kernel: Kernel, service: Service) -> None:
    service.always = Streamed(["One.\n\n", "Two.\n\n", "Three."], per_second=20)
    run = kernel.run("print('above')\nr = %wbchat hi\nprint('below')")
    texts = [output["data"]["text/plain"] for output in run.outputs]
    assert texts[0] == "above\n"
    assert texts[1].startswith("One.\n\nTwo.\n\nThree.")
    # What is printed may come in two messages.
    assert "".join(texts[2:]) == "below\n"


def test_two_chats_in_one_cell_have_an_output_each(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["A1.\n\n", "A2."], per_second=20), Streamed(["B1.\n\n", "B2."], per_second=20))
    run = kernel.run("%wbchat first\n%wbchat second")
    assert [output["data"]["text/plain"][:3] for output in run.outputs] == ["A1.", "B1."]


COUNTED = """
import ast
from wandb_inference_magic import chat
read, parse = [], ast.parse
def noted(lines):
    read.append("lines")
    return lines
def parsed(*given, **options):
    read.append("code")
    return parse(*given, **options)
noted.has_side_effects = True
get_ipython().input_transformers_post.append(noted)
ast.parse = parsed
"""


def test_a_long_cell_is_not_read_for_each_chat_of_its_loops(kernel: Kernel) -> None:
    kernel.run(COUNTED)

    def read(times: int) -> int:
        assert kernel.run(f"for _ in range({times}):\n    %wbchat --once --quiet hi\n    chat('hi')").ok
        return int(kernel.value("(len(read), read.clear())[0]"))

    read(1)
    assert read(2) == read(6)


def test_the_line_magic_can_be_assigned_and_is_not_shown_twice(kernel: Kernel) -> None:
    assert len(kernel.run("r = %wbchat hello").outputs) == 1
    assert len(kernel.run("%wbchat hello").outputs) == 1
    assert len(kernel.run("get_ipython().run_line_magic('wbchat', 'hello')").outputs) == 1
    assert kernel.value("r.text") == "Hello there."
    assert kernel.run("%%capture shown\n%wbchat hello").outputs == []
    assert kernel.value("all(one.data for one in shown.outputs)")
    again = kernel.run("r")
    assert again.output["type"] == "execute_result"
    assert again.output["data"]["text/markdown"].startswith("Hello there.")


@pytest.mark.parametrize("copied", ["copy.copy(r)", "copy.deepcopy(r)", "pickle.loads(pickle.dumps(r))"])
def test_a_copy_of_a_reply_that_is_made_in_its_cell_is_shown(shared: SharedKernel, copied: str) -> None:
    shared.kernel.run(f"import copy, pickle\nr = %wbchat --once hello\nother = {copied}")
    assert shared.kernel.run("other").output["data"]["text/markdown"].startswith("Hello there.")


@pytest.mark.short
def test_a_question_mark_at_the_end_is_part_of_the_text(kernel: Kernel, service: Service) -> None:
    assert kernel.run("%wbchat what is pandas?").ok
    assert service.last.body["messages"][-1]["content"] == "what is pandas?"
    assert kernel.run("if True:\n    answer = %wbchat and what's numpy?\nx = 1").ok
    assert service.last.body["messages"][-1]["content"] == "and what's numpy?"
    assert kernel.value("answer.text") == "Hello there."
    assert kernel.run("%alias_magic ask wbchat\n%alias_magic other time").ok
    assert kernel.run("def f(x):\n    return %wbchat and what isn't {{ x }}?\nf('dask')\nx = 7 %(3)").ok
    assert service.last.body["messages"][-1]["content"] == "and what isn't dask?"
    assert kernel.run("%ask what is polars?").ok
    assert service.last.body["messages"][-1]["content"] == "what is polars?"
    assert not kernel.run("%other len?").outputs
    assert kernel.run("ask and what is arrow?").ok
    assert service.last.body["messages"][-1]["content"] == "and what is arrow?"
    # As IPython adds a % to other lines: not where the word is a variable, nor if the user wants none.
    for before, after in (("wbchat = 1", "del wbchat"), ("%automagic off", "%automagic on")):
        kernel.run(before)
        kernel.run("wbchat what is len?")
        kernel.run(after)
    assert service.last.body["messages"][-1]["content"] == "and what is arrow?"


@pytest.mark.short
@pytest.mark.parametrize(
    ("code", "prompt"),
    [
        ("%wbchat --once this is \\\n  so?", "this is    so?"),
        ("answer = %wbchat --once is this \\\n so?\nx = 1", "is this   so?"),
        ("%time %wbchat --once Why so?", "Why so?"),
        ("%timeit -n1 -r1 answer = %wbchat --once Why so?", "Why so?"),
        ("answer = %time %wbchat --once Why so?", "Why so?"),
        ("wbchat --once Why so?", "Why so?"),
        ("answer = %wbchat\t--once Why so?", "Why so?"),
        ("def f():\n    return %wbchat\u00a0--once Why so?\nf()", "Why so?"),
        ("x = 1\nif x:\n    wbchat\t--once Why so?", "Why so?"),
        ("time wbchat --once Why so?", "Why so?"),
    ],
)
def test_a_question_mark_is_part_of_the_text_on_more_lines_and_below_another_magic(
    shared: SharedKernel, code: str, prompt: str
) -> None:
    assert shared.kernel.run(code).ok
    assert shared.service.last.body["messages"][-1]["content"] == prompt


# Each line is one that IPython removes or changes in Python code.
TYPED = "In [1]: 1 / 0\n\n>>> for x in a:\n...     print(x)\n...\n    >>> f(1)\n    ...: 2"


@pytest.mark.short
@pytest.mark.parametrize(
    "magics", ["%%wbchat --once", "\n  %%wbchat --once", "%%time\n%%wbchat --once", "%%asking --once"]
)
def test_the_body_of_a_cell_is_sent_as_it_is_typed(shared: SharedKernel, magics: str) -> None:
    shared.kernel.run("%alias_magic --cell asking wbchat")
    assert shared.kernel.run(f"{magics}\n{TYPED}").ok
    assert shared.service.last.body["messages"][-1]["content"] == TYPED


def test_the_body_of_a_map_is_sent_as_it_is_typed(shared: SharedKernel) -> None:
    assert shared.kernel.run("%%wbmap ['a']\n>>> {{ text }}\n... ").ok
    assert shared.service.last.body["messages"][-1]["content"] == ">>> a\n... "


def test_prompts_are_removed_from_python_code_and_other_cells_as_ever(shared: SharedKernel) -> None:
    assert shared.kernel.run(">>> x = 1\n>>> print(x)").text == "1\n"
    assert shared.kernel.run("%%capture shown\n>>> print(2)").ok
    odd = shared.kernel.run("\\\n\r?")
    # From Python 3.12 on, IPython reads it as a request for help.
    assert odd.ok if sys.version_info >= (3, 12) else "SyntaxError" in odd.error
    assert shared.kernel.value("shown.stdout") == "2\n"


@pytest.mark.parametrize("prompt", ["hi\nyou", "hi\n{{ 1 + 1 }}\n"])
def test_a_prompt_is_the_same_with_the_line_ends_of_windows(shared: SharedKernel, prompt: str) -> None:
    for cell in (f"%%wbchat --once\n{prompt}", f"%%wbchat --once\n{prompt}".replace("\n", "\r\n")):
        assert shared.kernel.run(cell).ok
    first, second = (chat.body["messages"][-1]["content"] for chat in shared.service.chats)
    assert first == second


def test_help_shows_usage_options_and_examples(kernel: Kernel) -> None:
    content = kernel.client.execute("%%wbchat?", reply=True)["content"]
    shown = content["payload"][0]["data"]["text/plain"]
    for expected in (
        "%%wbchat [options]",
        "--temperature NUMBER",
        "-o, --output NAME",
        "In [1]: %%wbchat -t 0.2",
    ):
        assert expected in shown


def test_a_cell_run_again_in_a_conversation_replaces_its_turn(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["First."]), Streamed(["Second."]), Streamed(["First again."]))
    kernel.run("%%wbchat\nOne", cell_id="cell-1")
    second = kernel.run("%%wbchat\nTwo", cell_id="cell-2")
    assert [message["content"] for message in service.last.body["messages"]] == ["One", "First.", "Two"]
    assert "turn 2" in second.text
    again = kernel.run("%%wbchat\nOne, edited", cell_id="cell-1")
    assert [message["content"] for message in service.last.body["messages"]] == ["One, edited"]
    assert "turn 1" in again.text


def test_once_new_and_thread_options_choose_the_conversation(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat one")
    kernel.run("%wbchat --once two")
    assert len(service.last.body["messages"]) == 1
    kernel.run("%wbchat --thread other three")
    assert len(service.last.body["messages"]) == 1
    kernel.run("%wbchat four")
    assert len(service.last.body["messages"]) == 3
    kernel.run("%wbchat --new five")
    assert len(service.last.body["messages"]) == 1


def test_only_what_the_user_set_is_sent(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbchat --once hi")
    assert service.last.body == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_every_option_is_sent(kernel: Kernel, service: Service) -> None:
    line = (
        "-m other/model -s 'Be brief.' -t 0.5 --max-tokens 9 --top-p 0.9 --seed 3 --stop X --stop 'Y Z' "
        "--param top_k=5 --param 'chat_template_kwargs={\"enable_thinking\": false}'"
    )
    assert kernel.run(f"%%wbchat {line}\nHi {{x}} $y \\(z\\)").ok
    body = dict(service.last.body)
    assert body.pop("messages") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi {x} $y \\(z\\)"},
    ]
    assert body.pop("stream_options") and body.pop("stream")
    assert body == {
        "model": "other/model",
        "temperature": 0.5,
        "max_tokens": 9,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["X", "Y Z"],
        "top_k": 5,
        "chat_template_kwargs": {"enable_thinking": False},
    }


@pytest.mark.parametrize("stream", ["", "--no-stream"])
def test_a_refusal_is_said_to_be_one(kernel: Kernel, service: Service, stream: str) -> None:
    words = "I can't help."
    service.then(completion("", refusal=words))
    run = kernel.run(f"%wbchat {stream} hi")
    assert "I can't help" in markdown(run)
    assert "the model refused" in run.text
    assert "The reply has no text" not in run.text
    assert kernel.value("(_wbreply.text, _wbreply.refusal)") == (words, words)


def test_a_reply_in_one_piece_is_shown(kernel: Kernel, service: Service) -> None:
    service.then(completion("All at once.", reasoning="hm"))
    run = kernel.run("%wbchat --no-stream hi")
    assert "stream" not in service.last.body
    assert "All at once." in markdown(run)
    assert kernel.value("(_wbreply.reasoning, _wbreply.usage.total_tokens)") == ("hm", 15)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_separate_from_the_text_and_folded(kernel: Kernel, service: Service, name: str) -> None:
    service.then(Streamed(["42"], reasoning=["Let me ", "think."], reasoning_name=name))
    run = kernel.run("%wbchat hi")
    assert kernel.value("(_wbreply.text, _wbreply.reasoning)") == ("42", "Let me think.")
    assert "tokens</summary>\n\n<blockquote>\n\nLet me think.\n\n</blockquote>\n\n</details>\n\n42" in markdown(run)
    assert "think" not in run.output["data"]["text/plain"]


def test_quiet_shows_nothing_and_output_names_the_variable(kernel: Kernel) -> None:
    run = kernel.run("%wbchat --quiet -o answer hi")
    assert run.outputs == []
    assert kernel.value("(answer.text, _wbreply is answer)") == ("Hello there.", True)


FORMATS: list[tuple[str, str, dict[str, Any]]] = [
    ("text", "**a** <b>", {"text/plain": "**a** <b>"}),
    ("html", "**a** <b>", {"text/html": "<p><strong>a</strong> &lt;b&gt;</p>"}),
    (
        "json",
        'Sure:\n```json\n{"a": [1]}\n```',
        {"text/markdown": '```json\n{\n  "a": [\n    1\n  ]\n}\n```'},
    ),
]


@pytest.mark.parametrize(("format", "text", "expected"), FORMATS, ids=[one[0] for one in FORMATS])
def test_a_reply_is_shown_in_the_chosen_format(
    kernel: Kernel, service: Service, format: str, text: str, expected: dict[str, str]
) -> None:
    service.then(Streamed([text]))
    data = kernel.run(f"%wbchat --format {format} hi").output["data"]
    assert set(data) == {"text/plain", *expected}
    for kind, start in expected.items():
        assert data[kind].startswith(start), data[kind]


def test_a_missing_usage_finish_reason_or_end_marker_is_tolerated(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(counted=None), Streamed(finish=None), Streamed(done=False))
    for _ in range(3):
        assert kernel.run("%wbchat --once hi").ok


def test_the_model_that_answered_is_named(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(model="base/model"))
    assert "base/model" in kernel.run("%wbchat hi").text
    assert kernel.value("(_wbreply.asked_model, _wbreply.model)") == (MODEL, "base/model")


def test_a_reply_has_usage_messages_and_times(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["x"], counted=usage(100, 7, cached=40)))
    kernel.run("%wbchat --once hello")
    assert kernel.value("_wbreply.usage.cached_tokens") == 40
    assert kernel.value("_wbreply.messages") == ({"role": "user", "content": "hello"},)
    assert kernel.value("0 < _wbreply.seconds_to_first <= _wbreply.seconds") is True
    assert kernel.value("repr(_wbreply)").startswith("<Reply 'x' from test/model-a, 7 tokens")


def test_a_reply_that_ends_before_its_last_block_is_drawn_is_shown_once(kernel: Kernel, service: Service) -> None:
    """The first block stays in its place. Of the second one only marks have arrived, which are not drawn alone."""
    service.then(Streamed(["First.\n\n**"]))
    run = kernel.run("%%wbchat\nhi")
    assert run.output["data"]["text/plain"].startswith("First.")


def test_options_behind_the_text_are_sent_and_said_to_be(kernel: Kernel, service: Service) -> None:
    run = kernel.run("%wbchat --once Explain it -t 0.2")
    assert service.last.body["messages"][-1]["content"] == "Explain it -t 0.2"
    assert "temperature" not in service.last.body
    assert "[-t 0.2 was sent as text: options come before the text.]" in run.text
    assert "was sent as text" not in kernel.run("%%wbchat --once\nExplain it -t 0.2").text
    kernel.run("%alias_magic asking wbchat")
    for second in ("%%wbchat -t 0", "%wbchat --once Second?", "%%asking", "%%wbmap df"):
        notice = f"[{second} is part of the prompt: a cell has one prompt. Put it into a cell of its own.]"
        assert notice in kernel.run(f"%%wbchat --once\nFirst\n{second}\nSecond").text
    for body in ("%%time\nx = %wbchat hi", " %wbchat hi", "```python\n%wbchat hi\n```", "50 %wbchat", "%wbchat: why?"):
        assert "is part of the prompt" not in kernel.run(f"%%wbchat --once\nExplain this cell:\n{body}").text
    assert "is part of the prompt" not in kernel.run("%%wbchat --once\n\n%wbchat is what?\n").text
    assert "is part of the prompt" not in kernel.run("%%wbchat --once --raw\nFirst\n%wbchat Second").text


def test_help_is_shown_and_nothing_is_sent(shared: SharedKernel) -> None:
    for line in ("%wbchat -h", "%%wbchat --help", "%%wbchat -t 1 -h\nHello"):
        run = shared.kernel.run(line)
        assert run.ok
        assert "  -t, --temperature NUMBER\n      How random the reply is" in run.text
        assert max(map(len, run.text.splitlines())) <= 82
    assert "FRAME" in shared.kernel.run("%%wbmap --help").text
    assert shared.service.received == []


@pytest.mark.parametrize("blank", ["\t", "\u00a0", "\u3000 "])
@pytest.mark.parametrize("cell", ["%wbchat{}--once hi", "%%wbchat{}--once\nhi", "r = %wbchat{}--once hi"])
def test_any_blank_separates_the_name_of_a_magic_from_its_options(shared: SharedKernel, cell: str, blank: str) -> None:
    run = shared.kernel.run(cell.format(blank))
    assert run.ok, run.error
    assert shared.service.last.body["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("end", ["\t", "\u00a0", "\r"])
def test_a_blank_at_the_end_of_a_magic_is_none_before_an_option(shared: SharedKernel, end: str) -> None:
    run = shared.kernel.run(f'%wbusage{end}\nx = 2\ns = """\n%wbchat\thello\n"""')
    assert run.ok, run.error
    assert shared.kernel.value("(x, s)") == (2, "\n%wbchat\thello\n")


HALF = "\ud800"


def with_halves(answer: Answer) -> None:
    """Answer with half a character in every text: JSON can hold one, and the messages of a kernel cannot."""
    message = {
        "role": "assistant",
        "content": f"See http://a.example/{HALF}, `{HALF}` and $x{HALF}$.",
        "reasoning_content": f"So {HALF}.",
        "annotations": [{"type": "url_citation", "url_citation": {"url": f"https://b.example/{HALF}"}}],
    }
    choice = {"index": 0, "finish_reason": f"stop{HALF}", "message": message}
    body = {"id": HALF, "object": "chat.completion", "model": f"m{HALF}", "choices": [choice], "usage": usage(3, 2)}
    answer.json(body | {"system_fingerprint": HALF})


@pytest.mark.parametrize("magic", ["%%wbchat", "%%wbchat --once --code", "%%wbchat -m test/a -m test/b"])
def test_half_a_character_anywhere_in_a_reply_is_replaced(kernel: Kernel, service: Service, magic: str) -> None:
    service.always = with_halves
    run = kernel.run(f"{magic}\nhi")
    assert run.ok
    assert "See http://a.example/\ufffd" in run.text
    assert kernel.run("_wbreply").ok
    assert kernel.run("%wbthread --show").ok


def test_half_a_character_in_the_name_of_a_thread_does_not_lose_the_reply(kernel: Kernel, service: Service) -> None:
    service.then(Streamed(["Hello."]))
    kernel.run(r"get_ipython().run_line_magic('wbthread', '\ud800')")
    assert "Hello." in kernel.run("%wbchat hi").text
