"""Terminal IPython under a pseudo-terminal: the text as it arrives, tables, short errors."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pexpect
import pytest
from service import Service, Streamed, refused

PATIENCE = 90


class Terminal:
    """An IPython session as a person has it."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        command = "-m IPython --no-banner --simple-prompt --no-confirm-exit --HistoryManager.enabled=False"
        self.child = pexpect.spawn(
            sys.executable, command.split(), env=environment, cwd=str(folder), encoding="utf-8", timeout=PATIENCE
        )
        self.child.setwinsize(50, 160)
        self.child.expect(r"In \[1\]: ")

    def type(self, line: str) -> None:
        self.child.sendline(line)
        # What was typed is echoed: what follows it is the answer.
        self.child.expect_exact(line)

    def answer(self) -> str:
        """Return what is printed up to the next prompt."""
        self.child.expect(r"In \[\d+\]: ")
        return plain(self.child.before or "")

    def run(self, line: str) -> str:
        self.type(line)
        return self.answer()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n").replace("\r", "")


@pytest.fixture
def terminal(environment: dict[str, str], service: Service, tmp_path: Path) -> Iterator[Terminal]:
    settings = {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_MODEL": "test/model-a", "TERM": "xterm"}
    terminal = Terminal(environment | settings, tmp_path)
    assert terminal.run("%load_ext wandb_inference_magic").strip() == ""
    yield terminal
    terminal.child.close(force=True)


def test_text_prints_as_it_arrives(terminal: Terminal, service: Service) -> None:
    gate = Event()
    script = Streamed(["First words", " and the rest."], gate=gate, hold_after=1)
    service.then(script)
    terminal.type("%wbchat hi")
    terminal.child.expect_exact("First words")
    assert not script.sent_last.is_set()
    gate.set()
    printed = terminal.answer()
    assert " and the rest.\n[test/model-a · 12 + 3 tokens · " in printed
    assert "Out[" not in printed


def test_an_assigned_reply_and_its_value(terminal: Terminal) -> None:
    terminal.run("r = %wbchat hi")
    assert "'Hello there.'" in terminal.run("r.text")


def test_escape_sequences_do_not_reach_the_terminal(terminal: Terminal, service: Service) -> None:
    service.then(Streamed(["red \x1b[31m", "title \x1b]0;owned\x07 end"]))
    terminal.type("%wbchat hi")
    terminal.child.expect(r"In \[\d+\]: ")
    raw = terminal.child.before or ""
    assert "\x1b[31m" not in raw
    assert "\x1b]0;" not in raw
    assert "red title  end" in plain(raw)


def test_models_are_a_table(terminal: Terminal) -> None:
    printed = terminal.run("%wbmodels")
    assert re.search(r"^model +context +", printed, re.MULTILINE)
    assert "test/model-b" in printed


def test_errors_are_short(terminal: Terminal, service: Service) -> None:
    service.then(refused(401, "Invalid Authentication"))
    printed = terminal.run("%wbchat hi")
    assert "did not accept the key" in printed
    assert "Traceback" not in printed
    assert len(printed.strip().splitlines()) <= 5


def test_ctrl_c_keeps_what_has_come(terminal: Terminal, service: Service) -> None:
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


def test_a_piped_session_prints_plain_text(environment: dict[str, str], service: Service, tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--ext=wandb_inference_magic", "-c", "%wbchat hi\nr = %wbchat again?"],
        env=environment | {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_MODEL": "test/model-a"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Hello there.\n[test/model-a · ")
    assert "\x1b" not in done.stdout
    assert service.last.body["messages"][-1]["content"] == "again?"
