"""Terminal IPython under a pseudo-terminal: text as it arrives, tables, short errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock

import pytest
from pseudo_terminals import PATIENCE, Terminal
from python_processes import run_python
from service import Answer, Service, Streamed, calling, completion, refused

from wandb_inference_magic.frontend.terminal import is_dumb


@pytest.fixture
def terminal(environment: dict[str, str], service: Service, tmp_path: Path) -> Iterator[Terminal]:
    settings = service.environment | {"TERM": "xterm"}
    terminal = Terminal(environment | settings, tmp_path)
    assert terminal.run("%load_ext wandb_inference_magic").strip() == ""
    yield terminal
    terminal.end()


@pytest.mark.short
def test_text_prints_as_it_arrives(terminal: Terminal, service: Service) -> None:
    gate = Event()
    script = Streamed(["First words", " and the rest."], gate=gate, hold_after=1)
    service.then(script)
    terminal.type("%wbchat hi")
    terminal.child.expect_exact("First words")
    assert not script.sent_last.is_set()
    gate.set()
    printed = terminal.answer()
    assert re.search(r"First words and the rest\.\n\[test/model-a · 12 \+ 3 tokens · ", printed)
    assert "Out[" not in printed


def test_text_that_turns_out_to_be_reasoning_is_said_to_be(terminal: Terminal, service: Service) -> None:
    """A template opened the block: only its end is received, after the text before it was printed."""
    gate = Event()
    service.then(Streamed(["Let me see.\n\n", "Yes.\n\n", "</think>\n\nFour it is."], gate=gate, hold_after=2))
    terminal.type("%wbchat hi")
    terminal.child.expect_exact("Let me see.")
    gate.set()
    printed = terminal.answer()
    assert re.search(r"(?s)The text above is the model's reasoning\..*\n\s*Four it is\.", printed)
    assert "think>" not in printed


def test_a_reply_can_be_assigned(terminal: Terminal) -> None:
    terminal.run("r = %wbchat hi")
    assert "'Hello there.'" in terminal.run("r.text")


def test_a_shell_without_colours_gets_none(terminal: Terminal, service: Service) -> None:
    service.always = Streamed(["Some **bold** words and `code`.\n\n```python\nx = 1\n```\n"])
    terminal.run("%colors NoColor")
    terminal.type("%wbchat hi")
    raw = terminal.raw_answer()
    assert "\x1b[1mbold\x1b[0m" in raw
    assert not re.search(r"\x1b\[[\d;]*\b(3\d|4\d|9\d)\b[\d;]*m", raw), raw


@pytest.mark.parametrize("mode", ["%xmode Plain", "%xmode Minimal", "%config WandbInference.debug = True"])
def test_the_lines_of_an_error_stay_apart(terminal: Terminal, service: Service, mode: str) -> None:
    terminal.run("%xmode Plain")
    terminal.run(mode)
    service.then(refused(400, "no such thing"))
    lines = [line.strip() for line in terminal.run("%wbchat hi").splitlines()]
    assert any(line.startswith(("What to do: ", "Traceback ")) for line in lines), lines
    assert not any("no such thing" in line and "What to do" in line for line in lines[:5]), lines


def test_escape_sequences_do_not_reach_the_terminal(terminal: Terminal, service: Service) -> None:
    service.then(Streamed(["red \x1b[31m", "title \x1b]0;owned\x07 end"]))
    terminal.type("%wbchat hi")
    raw = terminal.raw_answer()
    assert "\x1b[31m" not in raw, "the reply's own colour"
    assert "\x1b]0;" not in raw
    assert "red title  end" in terminal.seen(raw)


def test_models_are_a_table_to_pick_from(terminal: Terminal, service: Service) -> None:
    printed = terminal.run("%wbmodels")
    assert re.search(r"^# +model +context +", printed, re.MULTILINE)
    assert re.search(r"^2 +test/model-b", printed, re.MULTILINE)
    assert "Model for the next chats: test/model-b" in terminal.run("%wbmodels --use 2")
    terminal.run("%wbchat hi")
    assert service.last.body["model"] == "test/model-b"
    assert "numbers 1 to 2" in terminal.run("%wbmodels --use 9")


def test_tables_fit_the_terminal(terminal: Terminal) -> None:
    wide = terminal.run("%wbconfig")
    terminal.resize(50)
    printed = terminal.run("%wbconfig")
    assert all(len(line) <= 50 for line in printed.splitlines())
    # A long value takes several lines of its column.
    assert re.search(r"^model +test/model-a +WANDB_INFERENCE_MODEL$", wide, re.MULTILINE)
    assert re.search(r"^model +test/model-a +WANDB_INF\w+\n +\w+\n", printed, re.MULTILINE), printed


def test_several_replies_are_rendered_as_one_is(terminal: Terminal, service: Service) -> None:
    service.always = Streamed(["Some **bold** words.\n\n```python\nx = 1\n```\n"])
    terminal.type("%wbchat -m test/model-a -m test/model-b hi")
    raw = terminal.raw_answer()
    printed = terminal.seen(raw)
    assert raw.count("\x1b[1mbold\x1b[0m") == 2
    assert printed.count("Some bold words.") == 2
    assert re.search(
        r"^test/model-a\nSome bold words\.\n\nx = 1\n\[test/model-a · 12 \+ 3 tokens", printed, re.MULTILINE
    )
    assert "```" not in printed
    assert "tokens a second" in printed, "the chart"


def test_a_conversation_is_rendered_as_its_replies_are(terminal: Terminal, service: Service) -> None:
    service.always = Streamed(["# Head\n\n**Bold** and $x^2$:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"])
    terminal.run("%wbchat hi there")
    shown = terminal.run("%wbthread --show")
    assert "Turn 1: hi there" in shown
    assert "x²" in shown
    for mark in ("**", "| a", "# Head", "$"):
        assert mark not in shown


def test_a_conversation_is_shown_without_the_keys_in_it(
    environment: dict[str, str], service: Service, tmp_path: Path
) -> None:
    key = "k0123456789" * 2
    settings = service.environment | {"TERM": "xterm", "WANDB_INFERENCE_API_KEY": key}
    terminal = Terminal(environment | settings, tmp_path)
    terminal.run("%load_ext wandb_inference_magic")
    terminal.run("import os; key = os.environ['WANDB_INFERENCE_API_KEY']")
    terminal.run("%wbchat -s 'Look at {{ key }}.' What is {{ key }}?")
    assert key in str(service.last.body)
    shown = terminal.run("%wbthread --show")
    assert "System: Look at (hidden)." in shown
    assert "Turn 1: What is (hidden)?" in shown
    assert key not in shown
    terminal.end()


@pytest.mark.parametrize(
    "text",
    [
        "```python\n" + "".join(f"line_{number} = {number}\n" for number in range(40)),
        "".join(f"- line_{number}\n" for number in range(40)),
        "| a |\n|---|\n" + "".join(f"| line_{number} |\n" for number in range(40)),
    ],
)
def test_a_block_that_is_longer_than_the_screen_is_printed_once(
    terminal: Terminal, service: Service, text: str
) -> None:
    gate = Event()
    service.then(Streamed([text, "```\n" if text.startswith("`") else "\n", "The end."], gate=gate, hold_after=1))
    terminal.resize(80, 20)
    terminal.type("%wbchat hi")
    raw = terminal.raw_until("line_39")
    gate.set()
    lines = terminal.scrolled(raw + terminal.raw_answer())
    assert [sum(f"line_{number}" in re.findall(r"line_\d+", line) for line in lines) for number in range(40)] == [
        1
    ] * 40
    assert sum("The end." in line for line in lines) == 1


def test_the_last_lines_of_the_reasoning_are_shown_while_the_model_thinks(terminal: Terminal, service: Service) -> None:
    gate = Event()
    thoughts = [f"Thought {number} about it. " for number in range(60)]
    service.then(Streamed(["Four it is."], reasoning=thoughts, reasoning_gate=gate))
    terminal.type("%wbchat hi")
    terminal.child.expect(r"is thinking · 1 s · about 3\d\d tokens")
    terminal.child.expect_exact("Thought 59 about it")
    gate.set()
    raw = terminal.raw_answer()
    assert re.search(r"\[Thought for [\d.]+ s · about \d+ tokens: _wbreply\.reasoning\]", raw)
    assert "Four it is." in raw


def test_errors_are_short(terminal: Terminal, service: Service) -> None:
    service.then(refused(401, "Invalid Authentication"))
    printed = terminal.run("%wbchat hi")
    assert "asks for a key" in printed
    assert "Traceback" not in printed
    assert len(printed.strip().splitlines()) <= 5


def test_ctrl_c_keeps_the_partial_reply(terminal: Terminal, service: Service) -> None:
    gate = Event()
    service.then(Streamed(["Half an answer", " never shown"], gate=gate))
    terminal.type("%wbchat hi")
    terminal.child.expect_exact("Half an answer")
    terminal.child.sendintr()
    printed = terminal.answer()
    gate.set()
    assert "incomplete: interrupted" in printed
    assert "Traceback" not in printed
    assert "'Half an answer'" in terminal.run("_wbreply.text")
    assert "Hello there." in terminal.run("%wbchat again")
    assert len(service.last.body["messages"]) == 1


def test_ctrl_c_leaves_no_line_of_the_partial_reply_twice(terminal: Terminal, service: Service) -> None:
    """The terminal shows the key behind the last line."""
    gate = Event()
    service.then(Streamed(["Half an answer,\n\nand half", " never shown"], gate=gate, hold_after=1))
    terminal.type("%wbchat hi")
    terminal.child.expect(r"and half *")
    shown = f"{terminal.child.before}{terminal.child.after}"
    terminal.child.sendintr()
    printed = terminal.seen(f"{shown}{terminal.raw_answer()}")
    gate.set()
    assert printed.count("and half") == 1
    assert "incomplete: interrupted" in printed


def test_a_tool_may_ask_and_draw(terminal: Terminal, service: Service, tmp_path: Path) -> None:
    """A line that is read stays behind its question, and a line that is drawn again stays one."""
    (tmp_path / "asking.py").write_text(
        """
def ask_user(question):
    answer = input("ANSWER> ")
    for step in range(3):
        print(f"\\rstep {step}", end="", flush=True)
    print()
    return answer
"""
    )
    terminal.run("from asking import ask_user")
    service.then(
        calling(("ask_user", '{"question": "name?"}'), said="Let me ask you."), Streamed(["You said it.\n\nBye."])
    )
    terminal.type("%wbchat --tools ask_user hi")
    terminal.child.expect_exact("ANSWER> ")
    asked = terminal.child.before
    terminal.child.sendline("blue")
    lines = terminal.seen(f"{asked}ANSWER> {terminal.raw_answer()}").split("\n")
    shown = [line for line in lines if line]
    assert shown[:4] == ["Let me ask you.", "running ask_user(question='name?')", "ANSWER> blue", "step 2"]
    assert "→ blue" in shown[4]
    assert shown[5:7] == ["You said it.", "Bye."]


def test_a_piped_session_prints_plain_text(environment: dict[str, str], service: Service, tmp_path: Path) -> None:
    done = run_python(
        *("-m", "IPython", "--ext=wandb_inference_magic", "-c", "%wbchat hi\nr = %wbchat again?"),
        environment=environment | service.environment,
        folder=tmp_path,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Hello there.\n[test/model-a · ")
    assert "\x1b" not in done.stdout
    assert service.last.body["messages"][-1]["content"] == "again?"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_what_the_encoding_of_a_pipe_lacks_is_a_question_mark(
    environment: dict[str, str], service: Service, tmp_path: Path, encoding: str
) -> None:
    """On Windows a file has such an encoding, on a cluster the locale."""
    service.always = Streamed(["A \u2192 B", " \U0001f600!"])
    cells = '%wbchat hi\n%wbthread\n%wbmodels\n_ = get_ipython().run_cell_magic("wbmap", "[1]", "{{ text }}")\n%wbjobs'
    done = run_python(
        *("-m", "IPython", "--ext=wandb_inference_magic", "-c", cells),
        environment=environment | service.environment | {"PYTHONIOENCODING": encoding},
        folder=tmp_path,
        timeout=PATIENCE,
        encoding=encoding,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"A \? B \?!\n\[test/model-a [·?] ", done.stdout)
    for part in ("? current", "test/model-b", "1 row", "There are no jobs"):
        assert part in done.stdout, part


def test_a_terminal_on_databricks_is_one(environment: dict[str, str], service: Service, tmp_path: Path) -> None:
    """rich takes each IPython there for a notebook."""
    settings = service.environment | {"TERM": "xterm", "DATABRICKS_RUNTIME_VERSION": "14.3"}
    terminal = Terminal(environment | settings, tmp_path)
    terminal.run("%load_ext wandb_inference_magic")
    service.then(Streamed(["**A** ", "and ", "B"], per_second=20))
    assert "A and B\n[test/model-a" in terminal.run("%wbchat hi")
    terminal.end()


def test_what_the_encoding_of_a_terminal_lacks_is_a_question_mark(
    environment: dict[str, str], service: Service, tmp_path: Path
) -> None:
    settings = service.environment | {"TERM": "xterm", "PYTHONIOENCODING": "ascii"}
    terminal = Terminal(environment | settings, tmp_path)
    terminal.run("%load_ext wandb_inference_magic")
    service.then(Streamed(["**A** \u2192 ", "B"], per_second=20), refused(400, "no \u2192 here"))
    assert re.search(r"A \? B\n\[test/model-a \? ", terminal.run("%wbchat hi"))
    assert "no ? here" in terminal.run("%wbchat hi")
    assert "main ? current" in terminal.run("%wbthread")
    terminal.end()


MARKDOWN = """\
# Heading

Some **bold** words and a [link](http://ok.example/a) and <b>tags</b>.

```python
def f(x):
    return x + 1
```

| a | b |
|---|---|
| one | two |
"""


@pytest.mark.short
def test_markdown_is_rendered_with_colours(terminal: Terminal, service: Service) -> None:
    service.then(Streamed([MARKDOWN[start : start + 7] for start in range(0, len(MARKDOWN), 7)], per_second=60))
    terminal.type("%wbchat hi")
    raw = terminal.raw_answer()
    printed = terminal.seen(raw)
    assert "\x1b[1mbold\x1b[0m" in raw
    assert "Some bold words" in printed
    assert re.search(r"\x1b\[[0-9;]*m(def|return)\x1b", raw), "the code is highlighted"
    assert "link (http://ok.example/a)" in printed, "an address is shown, not hidden behind its link text"
    assert "\x1b]8" not in raw
    assert "<b>tags</b>" in printed
    assert re.search(r"^ *one +(│ )?two *$", printed, re.MULTILINE)
    assert "\n\ndef f(x):\n    return x + 1\n\n" in printed, "code is shown so that it can be copied"


def test_text_is_wrapped_at_the_width_of_the_terminal(terminal: Terminal, service: Service) -> None:
    text_of_60_words = " ".join(["word"] * 60)
    service.always = Streamed([text_of_60_words])
    wide = terminal.run("%wbchat --once hi")
    terminal.resize(60)
    narrow = terminal.run("%wbchat --once hi")
    longest = [max(len(line) for line in text.splitlines() if line.startswith("word")) for text in (wide, narrow)]
    assert 120 < longest[0] <= 160
    assert longest[1] <= 60


@pytest.mark.parametrize("kind", ["dumb", ""])
def test_a_dumb_terminal_receives_plain_text(
    environment: dict[str, str], service: Service, tmp_path: Path, kind: str
) -> None:
    settings = service.environment | {"TERM": kind}
    terminal = Terminal(environment | settings, tmp_path)
    terminal.run("%load_ext wandb_inference_magic")
    # While it waits for a retry it could show a status line, but could not remove it again.
    service.then(refused(503, "busy"), Streamed(["**bold** ", "words"]))
    terminal.type("%wbchat hi")
    raw = terminal.raw_answer()
    assert "**bold** words\r\n[test/model-a · " in raw
    assert "\x1b" not in raw, "escape sequences that it does not support"
    assert "model-b" in terminal.run("%wbmodels")
    terminal.end()


def test_a_windows_console_without_term_is_not_dumb() -> None:
    assert not is_dumb("", "nt")
    assert not is_dumb("xterm-256color", "posix")
    assert is_dumb("", "posix")
    assert is_dumb("dumb", "nt")


def test_json_is_indented_in_a_terminal(terminal: Terminal, service: Service) -> None:
    service.then(Streamed(['{"a": [1, 2]}']))
    printed = terminal.run("%wbchat --format json hi")
    assert printed.startswith('{\n  "a": [\n    1,\n    2\n  ]\n}\n[test/model-a · ')


def test_a_map_shows_a_progress_bar_and_ends_in_a_table(terminal: Terminal, service: Service) -> None:
    gate, lock, requests = Event(), Lock(), [0]

    def answer(one: Answer) -> None:
        with lock:
            requests[0] += 1
            number = requests[0]
        if number > 3:
            assert gate.wait(60)
        completion(f"Answer {number}.")(one)

    service.always = answer
    terminal.run("rows = list(range(6))")
    terminal.type("get_ipython().run_cell_magic('wbmap', 'rows --concurrency 1', 'Say {{ text }}')")
    terminal.child.expect_exact("3/6")
    gate.set()
    printed = terminal.answer()
    table = r"^row +reply\n-+ +-+\n1 +Answer 1\.\n2 +Answer 2\.\n3 +Answer 3\.\n6 of 6 rows answered"
    assert re.search(table, printed, re.MULTILINE), printed
    assert "█" not in printed.split("row  reply")[1]


def test_a_job_is_one_line_a_table_and_a_line_that_ctrl_c_leaves(terminal: Terminal, service: Service) -> None:
    gate = Event()

    def answer(one: Answer) -> None:
        if "Say 0" in str(one.received.body) or gate.wait(60):
            completion("Yes.")(one)

    service.always = answer
    terminal.run("rows = list(range(6))")
    begun = terminal.run("get_ipython().run_cell_magic('wbmap', 'rows --bg -o labelled', 'Say {{ text }}')")
    assert re.fullmatch(r"%%wbmap rows · job 1 · running · ░+ · 0 of 6\n", begun), begun
    terminal.run("while labelled.done < 1: labelled.join(0.01)")
    terminal.resize(80)
    heading, _, row = terminal.run("%wbjobs").splitlines()
    assert heading.split()[:3] == ["job", "what", "state"]
    assert row.startswith("1    %%wbmap rows  running  1 of 6")
    terminal.type("%wbjobs 1")
    terminal.child.expect_exact("1 of 6")
    terminal.child.sendintr()
    printed = terminal.answer()
    assert "Job 1 goes on. To end it: %wbjobs 1 --cancel" in printed
    assert "Traceback" not in printed
    # Nothing of the line is left.
    assert "░" not in printed
    gate.set()
    followed = terminal.run("%wbjobs 1")
    assert "6 of 6 rows answered, in labelled.frame()" in followed
    assert "█" not in followed


STREAMS = """\
import sys
class Tee:
    def __init__(self, stream):
        self.stream = stream
    def write(self, text):
        self.stream.write(text)
    def flush(self):
        self.stream.flush()
sys.stdout, sys.stdin, sys.stderr = Tee(sys.stdout), None, {stderr}
"""
SHOWING = """\
%wbchat hi
%wbmodels
%wbthread
%wbusage
_ = get_ipython().run_cell_magic("wbmap", "['a', 'b'] --no-cache", "{{ text }}")
_ = get_ipython().run_cell_magic("wbmap", "['a', 'b'] --bg -o out", "{{ print(text) or text }}")
print(out.wait().reply.tolist() if hasattr(out, "wait") else out.reply.tolist())
# IPython flushes it when it ends.
sys.stderr = sys.__stderr__
"""


@pytest.mark.parametrize("variables", [{}, {"TQDM_DISABLE": "1"}], ids=["shown", "disabled"])
def test_the_variable_of_tqdm_turns_the_bar_off(
    environment: dict[str, str], service: Service, tmp_path: Path, variables: dict[str, str]
) -> None:
    """For logs, which would hold each state of the bar."""
    cell = """_ = get_ipython().run_cell_magic("wbmap", "['a', 'b'] --no-cache", "{{ text }}")"""
    done = run_python(
        *("-m", "IPython", "--ext=wandb_inference_magic", "-c", cell),
        environment=environment | service.environment | variables,
        folder=tmp_path,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert ("row/s" in done.stderr) == (not variables)


@pytest.mark.parametrize("stderr", ["Tee(sys.stderr)", "None"])
def test_streams_of_the_users_need_only_write_and_flush(
    environment: dict[str, str], service: Service, tmp_path: Path, stderr: str
) -> None:
    """Those who log what they see put such a class in place of stdout. Without a console a stream is None."""
    cells = STREAMS.format(stderr=stderr) + SHOWING
    done = run_python(
        *("-m", "IPython", "--ext=wandb_inference_magic", "-c", cells),
        environment=environment | service.environment,
        folder=tmp_path,
        timeout=PATIENCE,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout.startswith("Hello there.\n[test/model-a · ")
    assert "test/model-b" in done.stdout
    assert "['Hello there.', 'Hello there.']" in done.stdout
