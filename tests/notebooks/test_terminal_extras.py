"""Terminal IPython as a person uses it: code on the next line, several models, turns, and reasoning."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pyte
import pytest
from pseudo_terminals import PATIENCE, Terminal, end
from service import Answer, Service, Streamed, usage

CODE = "Here:\n\n```python\ndef leap(year):\n    return year % 4 == 0\n```\n\nAnd more:\n\n```python\nother = 1\n```\n"


@pytest.fixture
def variables(environment: dict[str, str], service: Service) -> dict[str, str]:
    return environment | service.environment | {"TERM": "xterm"}


@pytest.fixture
def terminal(variables: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(variables, tmp_path)
    assert terminal.run("%load_ext wandb_inference_magic").strip() == ""
    yield terminal
    terminal.end()


class Editor:
    """IPython with its own line editor, and the screen that the person sees."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        command = "-m IPython --no-banner --no-confirm-exit --HistoryManager.enabled=False --colors=NoColor"
        # There is no terminal here that answers its question for the cursor position.
        editor_variables = environment | {"PROMPT_TOOLKIT_NO_CPR": "1"}
        self.child = pexpect.spawn(
            sys.executable,
            command.split(),
            env=editor_variables,
            cwd=str(folder),
            encoding="utf-8",
            dimensions=(50, 120),
        )
        self._screen = pyte.Screen(120, 50)
        self._stream = pyte.Stream(self._screen)

    @property
    def shown(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).strip("\n")

    def wait_until(self, is_expected: Callable[[str], object]) -> str:
        """Read the screen until it is as expected, and return it."""
        while not is_expected(self.shown):
            try:
                self._stream.feed(self.child.read_nonblocking(4096, timeout=PATIENCE))
            except pexpect.TIMEOUT:
                raise AssertionError(f"this is all that is shown:\n{self.shown}") from None
        return self.shown

    def type(self, keys: str) -> None:
        self.child.send(keys)


@pytest.fixture
def editor(variables: dict[str, str], tmp_path: Path) -> Iterator[Editor]:
    editor = Editor(variables, tmp_path)
    yield editor
    end(editor.child)


def prompt(number: int, text: str = "") -> Callable[[str], object]:
    """Return a check that the given input prompt is shown, with this text after it or none."""
    line = f"In [{number}]: {text}".rstrip()
    return lambda shown: line in shown.splitlines()


def test_code_of_a_reply_is_on_the_next_line_and_runs_when_entered(editor: Editor, service: Service) -> None:
    service.then(Streamed([CODE]))
    editor.wait_until(prompt(1))
    editor.type("%load_ext wandb_inference_magic\r")
    editor.wait_until(prompt(2))
    editor.type("%wbchat --code Leap years?\r")
    shown = editor.wait_until(prompt(3, "def leap(year):"))
    editor.wait_until(lambda shown: re.search(r"^ +\.\.\.: +return year % 4 == 0$", shown, re.MULTILINE))
    assert "other = 1" not in shown.split("In [3]:")[1], "only the first block"
    assert "cannot put code" not in shown
    # The person discards the line with Ctrl-C, and checks whether anything has run.
    editor.type("\x03")
    editor.wait_until(prompt(3))
    editor.type("'leap' in globals()\r")
    assert "Out[3]: False" in editor.wait_until(prompt(4))
    service.then(Streamed([CODE]))
    editor.type("%wbchat --code=all Leap years?\r")
    assert "This front end takes one block at a time" in editor.wait_until(prompt(5, "def leap(year):"))
    # Esc, Enter runs an input of several lines at any cursor position.
    editor.type("\x1b\r")
    editor.wait_until(prompt(6))
    editor.type("leap(2024), leap(2023)\r")
    assert "Out[6]: (True, False)" in editor.wait_until(prompt(7))


def test_models_are_shown_below_each_other_with_a_text_chart(terminal: Terminal, service: Service) -> None:
    def answer(one: Answer) -> None:
        name = one.received.body["model"].partition("/")[2]
        Streamed([f"I am **{name}**."], counted=usage(10, {"a": 40, "b": 20}[name]))(one)

    service.always = answer
    printed = terminal.run("%wbchat -m test/a -m test/b Who are you?")
    first, second = (
        r"test/a\nI am a\.\n\[test/a · ",
        r"test/b\nI am b\.\n\[test/b · ",
    )
    assert re.search(rf"{first}.*{second}", printed, re.DOTALL), printed
    chart = printed.rpartition("[test/b")[2]
    for title in ("seconds to the first piece", "tokens a second", "tokens written"):
        assert title in chart
    assert re.search(r"test/a +█{24} 40\n +test/b +█{12} 20", chart), chart
    assert "PNG" not in printed


def test_turns_are_appended_and_reasoning_is_kept(terminal: Terminal, service: Service) -> None:
    service.then(Streamed(["Four."], reasoning=["Two and ", "two."]))
    assert "Two and two." not in terminal.run("%wbchat two and two?")
    assert "'Two and two.'" in terminal.run("_wbreply.reasoning")
    # The same line again is another turn: a terminal has no cells that could be run again.
    assert "turn 2" in terminal.run("%wbchat two and two?")
    assert [message["content"] for message in service.last.body["messages"]] == [
        "two and two?",
        "Four.",
        "two and two?",
    ]
    terminal.run("%wbchat and three?")
    assert len(service.last.body["messages"]) == 5
