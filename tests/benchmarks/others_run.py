"""Give the same tasks to `%%wbchat`, to others and to the bare openai SDK. Prints one Markdown table.

uv run python tests/benchmarks/others_run.py                                # jupyter-ai 3, three to eight minutes
uv run python tests/benchmarks/others_run.py --other 3 --other 2 --other chatlas --other llm   # a column for each
uv run python tests/benchmarks/others_run.py --other-python ENV/bin/python  # jupyter-ai is there; make no environment
uv run python tests/benchmarks/others_run.py --only brace                   # only the rows that hold this word

Each way has a separate environment (ipykernel and what `pip install` brings), made with uv in a temporary folder,
and speaks to the tests' own server, which answers as an endpoint does: in events if it is asked to stream, else in one
document.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from threading import Event, Timer
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from environments import clean_environment
from figures import in_turns
from kernel_runs import wall_seconds
from kernels import Kernel, Run, running_kernel
from markdown_it import MarkdownIt
from service import MODEL, Answer, Script, Service, Streamed, chunk, completion, refused

PROJECT = Path(__file__).parent.parent.parent
WORDS = "Unmistakable"
# The time for which the server holds back the rest of a reply whose first words have not been seen.
PATIENCE = 5.0
KEY = "sk-of-the-tests"


# The ways ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One way to ask a model in a cell.

    `load` and `prepare` are the first cells of a notebook. `asking` is the cell for a prompt, and `option` an option
    that may help if the cell alone does not. `value` inserts the variable of that name. `distributions` are listed
    with their versions. `kindness` has variables that spare a way some work that it does not need here.
    """

    name: str
    requirements: tuple[str, ...]
    distributions: tuple[str, ...]
    load: str
    asking: str
    prepare: str = "pass"
    option: str = ""
    value: str = "{value}"
    variables: dict[str, str] = field(default_factory=dict)
    kindness: dict[str, str] = field(default_factory=dict)
    python: str = ""
    installed: str = "not measured: `--other-python`"

    def cell(self, prompt: str) -> str:
        return self.asking.replace("PROMPT", prompt)

    def with_option(self) -> Way:
        return replace(self, asking=self.asking.replace("\n", f" {self.option}\n", 1))


OURS = Way(
    name="`%%wbchat`",
    requirements=(str(PROJECT),),
    distributions=("wandb-inference-magic",),
    load="%load_ext wandb_inference_magic",
    asking="%%wbchat\nPROMPT",
    option="--raw",
    value="{{ value }}",
    variables={"WANDB_INFERENCE_BASE_URL": "URL", "WANDB_INFERENCE_MODEL": MODEL, "WANDB_INFERENCE_API_KEY": KEY},
)
FOR_OPENAI = {"OPENAI_BASE_URL": "URL", "OPENAI_API_BASE": "URL", "OPENAI_API_KEY": KEY}
BARE = Way(
    name="bare SDK",
    requirements=("openai",),
    distributions=("openai",),
    load="import openai",
    prepare=f"""
client = openai.OpenAI()
def ask(prompt):
    messages = [{{"role": "user", "content": prompt}}]
    for part in client.chat.completions.create(model={MODEL!r}, messages=messages, stream=True):
        if part.choices and part.choices[0].delta.content:
            print(part.choices[0].delta.content, end="")
""",
    asking="ask(r'''PROMPT''')",
    value="''' + value + r'''",
    variables=FOR_OPENAI,
)
OTHERS = {
    "3": Way(
        name="`%%ai` of jupyter-ai 3",
        requirements=("jupyter-ai-magic-commands==0.0.4",),
        distributions=("jupyter-ai-magic-commands", "litellm"),
        load="%load_ext jupyter_ai_magic_commands",
        # A model for which it has no name needs an alias.
        prepare=f"import os\nget_ipython().run_line_magic('ai', f'alias here openai/{MODEL} --api-base '\n"
        "    + os.environ['OPENAI_BASE_URL'])",
        asking="%%ai here\nPROMPT",
        option="-f text",
        variables=FOR_OPENAI,
        # Otherwise it fetches a list of prices when it is loaded, which takes as long as the network does.
        kindness={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
    "2": Way(
        name="`%%ai` of jupyter-ai 2",
        requirements=("jupyter-ai-magics==2.31.7", "langchain-openai"),
        distributions=("jupyter-ai-magics", "langchain-openai"),
        load="%load_ext jupyter_ai_magics",
        asking=f"%%ai openai-chat-custom:{MODEL}\nPROMPT",
        option="-f text",
        variables=FOR_OPENAI,
    ),
    # As their documentation shows it for a notebook: chatlas draws Markdown, llm's pieces are printed.
    "chatlas": Way(
        name="chatlas",
        requirements=("chatlas", "openai"),
        distributions=("chatlas",),
        load="import chatlas",
        prepare=f"""
import os
def ask(prompt):
    chat = chatlas.ChatOpenAICompletions(base_url=os.environ["OPENAI_BASE_URL"], model={MODEL!r})
    chat.chat(prompt)
""",
        asking="ask(r'''PROMPT''')",
        value="''' + value + r'''",
        variables=FOR_OPENAI,
    ),
    "llm": Way(
        name="llm",
        requirements=("llm",),
        distributions=("llm",),
        load="import llm",
        # The way to another endpoint that needs no file of settings.
        prepare=f"""
import os
from llm.default_plugins.openai_models import Chat
model = Chat({MODEL!r}, api_base=os.environ["OPENAI_BASE_URL"], key=os.environ["OPENAI_API_KEY"])
def ask(prompt):
    for part in model.prompt(prompt):
        print(part, end="")
""",
        asking="ask(r'''PROMPT''')",
        value="''' + value + r'''",
        variables=FOR_OPENAI,
    ),
}


# Environments and kernels ------------------------------------------------------------------------------------------


def uv(*arguments: str) -> str:
    environment = os.environ | {"UV_LINK_MODE": "copy"}
    done = subprocess.run(["uv", *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def with_environment(way: Way, folder: Path) -> Way:
    """Create an environment for a way, and note what `pip install` adds to an environment with ipykernel."""
    uv("venv", "--quiet", "--python", sys.executable, str(folder))
    python = str(folder / "bin" / "python")
    # As pip does it, with compiled bytecode. A cached build of this project would be out of date.
    install = ("pip", "install", "--quiet", "--compile-bytecode", "--refresh-package", "wandb-inference-magic")
    uv(*install, "--python", python, "ipykernel")
    packages, megabytes = contents(folder, python)
    uv(*install, "--python", python, *way.requirements)
    more_packages, more_megabytes = contents(folder, python)
    brought = f"{more_packages - packages} packages, {more_megabytes - megabytes:,.0f} MB"
    return replace(way, python=python, installed=brought)


def contents(folder: Path, python: str) -> tuple[int, float]:
    """Return the number of packages in an environment, and the megabytes of their files."""
    (packages,) = folder.glob("lib/*/site-packages")
    listed = json.loads(uv("pip", "list", "--quiet", "--format", "json", "--python", python))
    return len(listed), sum(file.stat().st_size for file in packages.rglob("*") if file.is_file()) / 1e6


@contextmanager
def fresh_kernel(way: Way, service: Service, *, kind: bool = True) -> Iterator[Kernel]:
    """A kernel in the environment of the way, with nothing loaded."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        spec = home / "specs" / "kernels" / "python3" / "kernel.json"
        spec.parent.mkdir(parents=True)
        command = [way.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.write_text(json.dumps({"argv": command, "display_name": way.name, "language": "python"}))
        # jupyter-ai 3 looks for keys there. Without the file it prints a message when it is loaded.
        (home / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
        environment = clean_environment(home) | way.variables | (way.kindness if kind else {})
        # IPython would add the packages of the environment in which this script runs.
        environment.pop("VIRTUAL_ENV", None)
        own = {name: service.url if value == "URL" else value for name, value in environment.items()}
        with patch.dict(os.environ, JUPYTER_PATH=str(home / "specs")), ExitStack() as stack:
            try:
                running = stack.enter_context(running_kernel(own, home))
            except RuntimeError:
                # It did not answer: its port was free when chosen, and then taken by another process.
                running = stack.enter_context(running_kernel(own, home))
            assert running.value("__import__('sys').executable") == way.python
            yield running


@contextmanager
def ready_kernel(way: Way, service: Service) -> Iterator[Kernel]:
    """A kernel in which the way was used once."""
    with fresh_kernel(way, service) as running:
        service.always = Reply(["Hello."])
        for cell in (way.load, way.prepare, way.cell("Hello")):
            assert running.run(cell).ok, cell
        yield running


# The server's scripts ----------------------------------------------------------------------------------------------


@dataclass
class Reply:
    """A script: a complete reply. With a gate the server waits for it after the first piece, at most for `patience`."""

    pieces: Sequence[str]
    gate: Event | None = None
    patience: float = PATIENCE
    per_second: float | None = None
    was_seen: bool = False

    def __call__(self, answer: Answer) -> None:
        if answer.received.body.get("stream"):
            Streamed(self.pieces, per_second=self.per_second, at_piece=self._wait)(answer)
        else:
            self._wait(1)
            completion("".join(self.pieces))(answer)

    def _wait(self, number: int) -> None:
        if self.gate is not None and number == 1:
            self.was_seen = self.gate.wait(self.patience)


def broken_reply(end: Callable[[Answer], None]) -> Script:
    """A script: a reply that stops after its first words, neither finished nor marked as done."""

    def answer_with(answer: Answer) -> None:
        if answer.received.body.get("stream"):
            answer.start()
            answer.event(chunk({"role": "assistant", "content": WORDS}))
        else:
            answer.start(content_type="application/json")
            begun = {"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS}}]}
            answer.raw(json.dumps(begun)[:-5].encode())
        end(answer)

    return answer_with


# What is measured in a ready kernel --------------------------------------------------------------------------------


def shown_bytes(run: Run) -> str:
    return f"{len(run.text.encode()):,} bytes"


def failed(run: Run) -> str:
    return "the cell does not fail" if run.ok else "the cell fails"


def is_kept(run: Run) -> str:
    return "the partial reply is kept" if WORDS in json.dumps(run.outputs) else "the partial reply is lost"


def first_words(running: Kernel, service: Service, way: Way) -> str:
    gate = Event()
    service.always = reply = Reply([f"{WORDS} ", "end."], gate)
    request = running.start(way.cell("Hello"))
    for message in running.messages(request):
        if WORDS in json.dumps(message.content):
            gate.set()
    running.reply(request)
    return "yes" if reply.was_seen else f"no: nothing in {PATIENCE:g} s"


def as_typed(running: Kernel, service: Service, way: Way, prompt: str, before: str = "pass") -> str:
    """Compare the typed prompt with the one that the server receives, also with the option of the way."""
    service.always = Reply(["Yes."])
    running.run(before)
    plain = how_sent(running, service, way, prompt)
    optional = how_sent(running, service, way.with_option(), prompt) if way.option else plain
    return plain if plain == optional else f"{plain}; with `{way.option}`: {optional}"


def how_sent(running: Kernel, service: Service, way: Way, prompt: str) -> str:
    chats_before = len(service.chats)
    run = running.run(way.cell(prompt))
    if len(service.chats) == chats_before:
        return f"no: {run.reply.get('ename', 'an error')}, nothing is sent"
    sent = service.last.body["messages"][-1]["content"]
    if isinstance(sent, list):
        sent = "".join(part["text"] for part in sent)
    if sent == prompt:
        return "yes"
    added = sent.removeprefix(prompt).strip()
    return f"yes, and added is: {added}" if sent.startswith(prompt) else f"no: `{sent.partition(chr(10))[0]}`"


def value_with_braces(running: Kernel, service: Service, way: Way) -> str:
    """Insert a value that looks like a template of any way."""
    service.always = Reply(["Yes."])
    value = "{secret} or {{ secret }}"
    running.run(f"secret = 'Sesame'\nvalue = {value!r}")
    sent = how_sent(running, service, replace(way, asking=way.cell(f"Say {way.value}")), f"Say {value}")
    return "no: what the braces name is put in too" if "Sesame" in sent else sent


def wrong_key(running: Kernel, service: Service, way: Way) -> str:
    service.always = refused(401, "Incorrect API key provided. You can find your API key in your account's settings.")
    run = running.run(way.cell("Hello"))
    whole = f"{shown_bytes(run)}, {failed(run)}"
    running.run("%xmode Minimal")
    shorter = running.run(way.cell("Hello"))
    running.run("%xmode Context")
    return whole if shorter.text == run.text else f"{whole}; with `%xmode Minimal` {shown_bytes(shorter)}"


def remote_image(running: Kernel, service: Service, way: Way) -> str:
    # No server listens at this address.
    service.always = Reply(
        ["See ", "![x](http://192.0.2.1/leak?data)", ".\n\n", '<img src="http://192.0.2.1/leak?more">']
    )
    loading = is_loaded(running.run(way.cell("Hello")))
    if not loading or not way.option:
        return "yes" if loading else "no"
    still_loading = is_loaded(running.run(way.with_option().cell("Hello")))
    return f"yes; with `{way.option}` {'yes' if still_loading else 'no'}"


def is_loaded(run: Run) -> bool:
    """Tell whether a front end would load an image from the saved outputs, or from outputs shown before."""
    contents = [message.content for message in run.messages] + run.outputs
    html = [str(one.get("data", {}).get("text/html", "")) for one in contents]
    markdown = [MarkdownIt().render(one.get("data", {}).get("text/markdown", "")) for one in contents]
    return any("<img" in text for text in html + markdown)


def broken_off(running: Kernel, service: Service, way: Way, end: Callable[[Answer], None]) -> str:
    service.always = broken_reply(end)
    run = running.run(way.cell("Hello"))
    is_told = not run.ok or any(message.content.get("name") == "stderr" for message in run.of("stream"))
    return f"{'yes' if is_told else 'no'}: {shown_bytes(run)}, {failed(run)}, {is_kept(run)}"


def long_reply(running: Kernel, service: Service, way: Way, tokens: int) -> str:
    pieces = [f"word{number % 90 + 10} " + ("\n\n" if number % 60 == 59 else "") for number in range(tokens)]
    service.always = Reply(pieces, per_second=200)
    run = running.run(way.cell("Hello"))
    assert run.ok
    return f"{run.bytes:,} bytes in {len(run.messages):,} message{'s' if len(run.messages) > 1 else ''}"


def interrupted(running: Kernel, service: Service, way: Way) -> str:
    gate = Event()
    service.always = Reply([f"{WORDS} ", "end."], gate, patience=60)
    request = running.start(way.cell("Hello"))
    timer = Timer(3, running.interrupt)
    timer.start()
    run = running.finish(request)
    gate.set()
    timer.join()
    is_usable = running.run("1 + 1").ok
    return f"{is_kept(run)}, {shown_bytes(run)}, {failed(run)}, the kernel {'goes on' if is_usable else 'is lost'}"


Measure = Callable[[Kernel, Service, Way], str]
LATEX = r"Explain the LaTeX \frac{a}{b} and the set {x}"
DOUBLE = r"Explain the LaTeX \frac{{a}}{{b}}"
IN_A_KERNEL: dict[str, Measure] = {
    "do words show before the reply is complete?": first_words,
    f"single braces: is `{LATEX}` sent as typed?": partial(as_typed, prompt=LATEX),
    "single braces: the same where the notebook has `x = 5`": partial(as_typed, prompt=LATEX, before="x = 5"),
    'single braces: `Is {"name": "Ada"} valid JSON?`': partial(as_typed, prompt='Is {"name": "Ada"} valid JSON?'),
    "single braces: `What does {} mean in str.format?`": partial(as_typed, prompt="What does {} mean in str.format?"),
    f"double braces: `{DOUBLE}`": partial(as_typed, prompt=DOUBLE),
    "a value put in that holds braces itself: is it sent as it is?": value_with_braces,
    "a wrong key (401): text in the cell": wrong_key,
    "a reply names a remote image: is there something in the output that loads it?": remote_image,
    "a reply breaks off, the connection is cut: is the user told?": partial(broken_off, end=Answer.cut),
    "a reply breaks off, the response ends in good order": partial(broken_off, end=Answer.end),
    "a reply of 2,000 tokens, 200 a second: what the front end gets": partial(long_reply, tokens=2000),
    "interrupted in mid-reply": interrupted,
}


# Measures in fresh kernels ---------------------------------------------------------------------------------------


def loading(ways: Sequence[Way], service: Service, times: int) -> list[str]:
    def seconds(way: Way) -> float:
        with fresh_kernel(way, service) as fresh:
            fresh.run("1")
            return wall_seconds(fresh, way.load)

    return against_ours(in_turns(times, *(partial(seconds, way) for way in ways)))


def first_chat(ways: Sequence[Way], service: Service, times: int) -> list[str]:
    service.always = Reply(["Hello."])

    def seconds(way: Way) -> float:
        with fresh_kernel(way, service) as fresh:
            fresh.run("1")
            return wall_seconds(fresh, way.load, way.prepare, way.cell("Hello"))

    return against_ours(in_turns(times, *(partial(seconds, way) for way in ways)))


def against_ours(taken: Sequence[float]) -> list[str]:
    ours, *others = taken
    return [f"{ours:.3f} s", *(f"{one:.3f} s, {one / ours:.1f} times ours" for one in others)]


def hosts_asked(ways: Sequence[Way], service: Service) -> list[str]:
    """Return the hosts whose names are looked up by loading and one chat."""
    service.always = Reply(["Hello."])
    watch = """
import sys
looked_up = set()
sys.addaudithook(lambda event, told: looked_up.add(str(told[0])) if event == "socket.getaddrinfo" else None)
"""

    def hosts_of(way: Way) -> str:
        with fresh_kernel(way, service, kind=False) as fresh:
            for cell in (watch, way.load, way.prepare, way.cell("Hello"), "import time\ntime.sleep(2)"):
                assert fresh.run(cell).ok, cell
            found = set(fresh.value("sorted(looked_up)")) - {"127.0.0.1", "localhost", "None"}
        return ", ".join(sorted(found)) or "none"

    return [hosts_of(way) for way in ways]


def versions(way: Way, service: Service) -> str:
    with fresh_kernel(way, service) as fresh:
        fresh.run("from importlib.metadata import version")
        return ", ".join(f"{name} {fresh.value(f'version({name!r})')}" for name in way.distributions)


def rows(ways: Sequence[Way], service: Service, times: int, only: str) -> Iterator[list[str]]:
    """Yield each row: the measure, and the value of each way."""
    in_fresh_kernels: dict[str, Callable[[], list[str]]] = {
        "loading in a fresh kernel": lambda: loading(ways, service, times),
        "loading and a first chat, answered at once": lambda: first_chat(ways, service, times),
        "hosts asked besides the endpoint, by loading and a chat": lambda: hosts_asked(ways, service),
        "what `pip install` adds to an environment with ipykernel": lambda: [way.installed for way in ways],
    }
    for what, measured in in_fresh_kernels.items():
        if only in what:
            yield [what, *measured()]
    chosen = {what: measure for what, measure in IN_A_KERNEL.items() if only in what}
    with ExitStack() as stack:
        kernels = [stack.enter_context(ready_kernel(way, service)) for way in ways] if chosen else []
        for what, measure in chosen.items():
            yield [what, *(measure(running, service, way) for running, way in zip(kernels, ways, strict=True))]


def in_table(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--other", action="append", choices=OTHERS, help="a column for this one; jupyter-ai 3 if none is said"
    )
    options.add_argument("--other-python", action="append", default=[], help="an interpreter that has it; one for each")
    options.add_argument("--times", type=int, default=5, help="how often what takes time is taken; the median counts")
    options.add_argument("--only", default="", help="only the rows that hold this word")
    arguments = options.parse_args()
    others = [OTHERS[one] for one in arguments.other or ["3"]]
    given = [
        replace(way, python=str(Path(python).absolute()))
        for way, python in zip(others, arguments.other_python, strict=False)
    ]
    with tempfile.TemporaryDirectory() as folder, Service().running() as service:
        ways = [
            way if way.python else with_environment(way, Path(folder) / str(number))
            for number, way in enumerate([OURS, *given, *others[len(given) :], BARE])
        ]
        print(in_table(["what", *(f"{way.name} ({versions(way, service)})" for way in ways)]))
        print("|---" * (len(ways) + 1) + "|")
        for row in rows(ways, service, arguments.times, arguments.only):
            print(in_table(row), flush=True)
    print(f"\nTaken on {date.today()}, Python {platform.python_version()}, {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
