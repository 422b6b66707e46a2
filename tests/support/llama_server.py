"""llama.cpp's own HTTP server with the practice model, in its own process, as an endpoint like any other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from registries import unavailable

from wandb_inference_magic.client import practice_server

MODEL = "SmolLM2-135M-Instruct"
KEY = "a-key-of-the-llama"

# The child process of the practice model. `chat_template` replaces the one of the weights, which ignores tools.
CHILD = """
import sys, xllamacpp
from wandb_inference_magic.client.practice_server import serve_parent

class Parameters(xllamacpp.CommonParams):
    def __init__(self):
        super().__init__()
        self.chat_template = sys.argv[1]

if sys.argv[1]:
    xllamacpp.CommonParams = Parameters
serve_parent()
"""

# The form in which models like Hermes and Qwen call tools. The server finds out from the template how to read a call.
TOOLS_TEMPLATE = (Path(__file__).parent / "data" / "tools.jinja").read_text(encoding="utf-8")

# The model cannot end a reply in this grammar, so it lasts until somebody ends it.
ENDLESS = """--max-tokens 4000 --param grammar='root ::= "half " root' Count."""
# A tool that the examples in the template call.
TOOL = "def temperature(city: str) -> float:\n    'The temperature in a city.'\n    return 21.5\n"


@dataclass(frozen=True)
class LlamaServer:
    """A running server. `kill` ends it at once, as a crash does."""

    url: str
    process: subprocess.Popen[str]

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a kernel or a session whose endpoint is this server."""
        return {
            "WANDB_INFERENCE_BASE_URL": self.url,
            "WANDB_INFERENCE_MODEL": MODEL,
            "WANDB_INFERENCE_API_KEY": KEY,
        }

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running_llama(chat_template: str = "") -> Iterator[LlamaServer]:
    """Run the server until the end of the block. It prints its address when it is ready."""
    if not practice_server.installed():
        unavailable(f"The practice model is not installed: {practice_server.INSTALL_COMMAND}")
    weights = str(practice_server.find_weights())
    environment = {name: value for name, value in os.environ.items() if not re.search("key|token|proxy", name, re.I)}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, chat_template],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    with process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps({"weights": weights, "model": MODEL, "key": KEY}) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            yield LlamaServer(f"{answer['address']}/v1", process)
        finally:
            process.kill()
