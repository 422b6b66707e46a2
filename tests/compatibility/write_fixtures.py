"""Write the fixtures of the current version into a folder named after the version.

uv run python tests/compatibility/write_fixtures.py

Fixtures that are there are never written again: the script refuses to. See README.md in this folder.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import date
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any, Final

HERE: Final = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "support")]

# ruff: noqa: E402
from compatibility.sessions import ANEW, EXPECTED, NOTEBOOK, begin, run_steps, step
from environments import clean_environment
from kernels import Kernel, running_kernel
from known_models import feed_entry
from service import Answer, Streamed, Wandb, calling, chunk, completion, listing, refused, usage

from wandb_inference_magic import __version__

# The commit whose budget file had one table.
OLDER_BUDGET: Final = "e2ecfb0"
FEED: Final = (
    feed_entry("test/model-a", 4_000_000, "image", reasoning=True, price=1.0),
    feed_entry("test/model-b", 4_000_000, price=2.0),
)
MODELS: Final = ("test/model-a", "test/model-b", "test/no-schema", "test/no-form")
LEASE_SECONDS: Final = 95.0
COUNT: Final = count(1)


class Elsewhere(Wandb):
    """An endpoint with another name than W&B's. Its address is the same on every machine."""

    API = "models.example"
    URL = f"https://{API}/v1"


# The service -----------------------------------------------------------------------------------------------------


def answer(one: Answer) -> None:
    """Answer according to the request: the reply names the parameters, so that a wrong answer is noticed."""
    body = one.received.body
    last = body["messages"][-1]
    words = _words(last["content"])
    form = body.get("response_format") or {}
    if body["model"] == "test/gone":
        refused(404, "no such model")(one)
    elif ("Judge" in words and "odd" in words) or "refuse this" in words:
        refused(400, "The prompt is too odd.")(one)
    elif body["model"] in ("test/no-schema", "test/no-form") and form.get("type") == "json_schema":
        refused(400, "response_format json_schema is not supported")(one)
    elif body["model"] == "test/no-form" and form:
        refused(400, "response_format is not supported")(one)
    elif _asks_for_tools(body):
        _ask_for_tools(one, len([each for each in body["messages"] if each["role"] == "tool"]))
    elif "This does not fit" in words:
        _say(one, '{"label": "still bad"}' if "hopeless" in str(body["messages"]) else '{"label": "good"}')
    elif "Repair" in words:
        _say(one, '{"label": "so so"}')
    elif form.get("type") == "json_schema":
        _say(one, json.dumps(_instance(form["json_schema"]["schema"]), ensure_ascii=False))
    elif "JSON" in str(body["messages"][0]["content"]):
        _say(one, '{"label": "good", "score": 5}')
    elif "logprobs" in body and not body.get("stream"):
        completion("Sure.", logprobs={"content": [{"token": "Sure.", "logprob": -0.1, "top_logprobs": []}]})(one)
    elif body.get("n"):
        _several(one, body["n"])
    elif words == "Count.":
        _say(one, f"This is answer {next(COUNT)}.")
    elif "Say nothing" in words:
        _say(one, "")
    else:
        _say(one, f"[{_parameters(body)}] {words}", thinking="reasoning_effort" in body or "Think" in words)


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "[image]") for part in content)


def _parameters(body: dict[str, Any]) -> str:
    left_out = ("messages", "tools", "stream", "stream_options")
    sent = {name: value for name, value in body.items() if name not in left_out}
    systems = [one["content"] for one in body["messages"] if one["role"] == "system"]
    others = len(body["messages"]) - len(systems) - 1
    return json.dumps({**sent, "system": systems, "earlier": others}, ensure_ascii=False, sort_keys=True)


def _say(one: Answer, text: str, *, thinking: bool = False) -> None:
    reasons = ["I think", " about it."] if thinking else []
    words = _words(one.received.body["messages"][-1]["content"])
    name = "reasoning_content" if "otherwise" in words else "reasoning"
    if one.received.body.get("stream"):
        Streamed(re.findall(r"\S*\s*", text), reasoning=reasons, reasoning_name=name, per_second=30)(one)
    else:
        completion(text, **({name: "".join(reasons)} if reasons else {}))(one)


def _asks_for_tools(body: dict[str, Any]) -> bool:
    return bool(body.get("tools")) and len([one for one in body["messages"] if one["role"] == "tool"]) < 3


def _ask_for_tools(one: Answer, results: int) -> None:
    if not one.received.body.get("stream"):
        called = {"id": f"call_{results}", "type": "function"}
        function = {"name": "weather", "arguments": '{"city": "Rome", "days": 3}'}
        completion(None, tool_calls=[{**called, "function": function}])(one)
    elif results == 0:
        calls = ("weather", '{"city": "Oslo"}'), ("broken", '{"x": 1}')
        calling(*calls, said="Let me look.", pieces=3)(one)
    else:
        calling(("weather", '{"city": "Grüße", "days": 2}'))(one)


def _several(one: Answer, number: int) -> None:
    choices = [
        {"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": f"Reply {index}."}}
        for index in range(number)
    ]
    if not one.received.body.get("stream"):
        document = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "test/model-a"}
        one.json({**document, "choices": choices, "usage": usage(12, 3)})
        return
    one.start()
    for each in choices:
        delta = {"role": "assistant", "content": each["message"]["content"]}
        one.event(chunk() | {"choices": [{"index": each["index"], "delta": delta, "finish_reason": "stop"}]})
    one.event("[DONE]")
    one.end()


def _instance(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """Return a value that fits a JSON schema."""
    root = root or schema
    if "$ref" in schema:
        return _instance(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return _instance(schema["anyOf"][-1], root)
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {name: _instance(each, root) for name, each in schema["properties"].items()}
    if schema["type"] == "array":
        return [_instance(schema["items"], root)] * 2
    return {"string": "Wörter", "integer": 7, "number": 0.5, "boolean": True, "null": None}[schema["type"]]


# The cells -------------------------------------------------------------------------------------------------------

OUT: Final = "columns(out)"


def _mapped(line: str, prompt: str = "Is {{ text }} {{ n }} good?", limit: str = "--limit 1 ") -> dict[str, Any]:
    return step(f"%%wbmap df -o out {limit}{line}\n{prompt}", OUT)


EVERY_OPTION: Final = (
    "-m test/model-b -s 'Be {{ tone }}.' -t 0 --max-tokens 50 --top-p 0.5 --seed -3 --stop END --param top_k=4 "
    "--think off --schema 'label good|bad, score int'"
)
ANSWERS: Final = [
    _mapped("", limit=""),
    _mapped("-s 'Be {{ tone }}.'"),
    _mapped("-t 0.5"),
    _mapped("-t 0"),
    _mapped("--max-tokens 7"),
    _mapped("--top-p 0.9"),
    _mapped("--top-p 1"),
    _mapped("--seed 42"),
    _mapped("--stop END"),
    _mapped("--stop END --stop 'two words'"),
    _mapped("--param top_k=3"),
    _mapped("--param repetition_penalty=1.1 --param min_p=0 --param word=as-text --param flag=true"),
    _mapped("""--param 'logit_bias={"5": 1.5, "17": -1}'"""),
    _mapped("--think on"),
    _mapped("--think off"),
    _mapped("--think low"),
    _mapped("""--think on --param 'chat_template_kwargs={"more": 1}'"""),
    _mapped("--schema 'label good|bad, score int, tags list, when date?, share float, sure bool'", "Rate {{ text }}."),
    _mapped("--schema 'list of name, age int'"),
    _mapped("--schema Review"),
    _mapped("--schema list[Review] --into reviews"),
    _mapped("--schema Verdict"),
    _mapped("--schema list[str]"),
    _mapped("--raw", "Is {{ text }} sent as typed?"),
    _mapped("--into verdict", "Is {{ text }} put into another column?"),
    _mapped("-m test/model-a -m test/model-b", "Ask two about {{ text }}.", limit="--limit 2 "),
    _mapped("-m test/model-a -m test/model-b --into both --schema 'label good|bad'", "Ask two for {{ text }}."),
    _mapped("", "Judge {{ text }}.", limit=""),
    _mapped("", "Say nothing of {{ n }}."),
    _mapped("", "What is in {{ picture }} of {{ n }}?"),
    _mapped("--schema 'label good|bad'", "Repair {{ text }}."),
    _mapped("--schema 'label good|bad'", "Repair {{ text }}: it is hopeless."),
    _mapped("--schema 'label good|bad' --no-repair", "Repair {{ text }} never."),
    _mapped("-m test/no-schema --schema Review"),
    _mapped("-m test/no-form --schema Review"),
    _mapped("", "{{ row }} and {{ record }} of {{ city }}: {{ x }}"),
    _mapped(EVERY_OPTION),
    step("out = map_prompts(df, 'Is {{ text }} {{ n }} good?', limit=1, temperature=0.5)", OUT),
    step(
        "out = map_prompts(df, 'From {{ city }}: {{ text }}', limit=1, names={'city': city}, system='Be brief.', "
        "model=['test/model-a', 'test/model-b'], schema=Review, think='high', max_tokens=9, top_k=2, stop=['END'])",
        OUT,
    ),
    step("out = map_prompts(['one', 'two'], 'A list of {{ text }}', into='said')", OUT),
    step(
        "out = map_prompts(df, 'Ask two about {{ text }}.', model=['test/model-a', 'test/model-b'], limit=2)",
        OUT,
    ),
    step(
        "%config WandbInference.temperature = 0.25\n%config WandbInference.max_tokens = 11\n"
        "%config WandbInference.system = 'By a setting.'"
    ),
    _mapped("", limit=""),
    step(
        "%config WandbInference.temperature = None\n%config WandbInference.max_tokens = None\n"
        "%config WandbInference.system = ''"
    ),
]

ANSWERS_ELSEWHERE: Final = [
    step(f"%wbconfig --endpoint {Elsewhere.URL}", shown=False),
    _mapped("", limit=""),
    _mapped("-s 'Be {{ tone }}.' -t 0.5 --param top_k=3 --think off --schema Review"),
    step("out = map_prompts(['one', 'two'], 'A list of {{ text }}', into='said')", OUT),
]

REPLY: Final = ("_wbreply.text", "_wbreply.usage.total_tokens", "_wbreply.finish_reason")
TABLE: Final = step("%wbmodels --table")
ASKED: Final = [
    step("%%wbchat -s 'You are a guide.'\nWhat is new in {{ city }}?", *REPLY, "_wbreply.cost"),
    step("%wbchat And what is old?", *REPLY),
    step("%wbchat --no-stream Of {{ record }}, which matters? 🎉", *REPLY),
    step("%wbthread --show"),
    step("%wbchat --thread side --fork main -t 0.5 Elsewhere?", *REPLY),
    step("%wbchat --once --think high Why is the sky blue?", *REPLY, "_wbreply.reasoning"),
    step("%wbchat --once Think otherwise.", *REPLY, "_wbreply.reasoning"),
    step("%wbchat --once --no-stream Think in one piece.", *REPLY, "_wbreply.reasoning"),
    step("%wbchat --tools weather,broken --thread tools How is {{ city }}?", *REPLY, "steps(_wbreply)"),
    step("%wbchat --thread tools And tomorrow?", *REPLY),
    step("%wbchat --once --no-stream --tools weather How is Rome?", *REPLY, "steps(_wbreply)"),
    step("%wbchat --once --max-tokens 9 Please refuse this."),
    step("%wbchat --once -m test/nothing Is anything there?"),
    step("%wbchat --once -m test/no-schema --schema Review Rate it.", "(_wbreply.parsed.label, _wbreply.parsed.score)"),
    step("%wbchat --once -m test/no-form --schema Review Rate it.", "(_wbreply.parsed.label, _wbreply.parsed.score)"),
    step("%%wbchat --once --schema 'list of name, age int, note text?'\nWho is there?", "_wbreply.parsed"),
    step("%%wbchat --once --schema 'label good|bad'\nRepair this.", "_wbreply.parsed", "_wbreply.calls"),
    step("%%wbchat --once --schema 'label good|bad'\nRepair this: it is hopeless."),
    step("%%wbchat -m test/model-a -m test/model-b\nCompare.", "[one.text for one in _wbreply]"),
    step(
        "%%wbchat -m test/model-a -m test/nothing -m test/no-schema --schema Review\nCompare with a schema.",
        "[(one.text, one.incomplete) for one in _wbreply]",
    ),
    step("%%wbmap df -o out -s 'Be brief.' --concurrency 2\nJudge {{ text }} {{ n }}", OUT),
    step("%%wbmap df -o out --limit 2 -m test/model-a -m test/model-b --schema 'label good|bad'\nIs {{ n }} odd?", OUT),
    step("%wbchat --once --image square.png What is it?", *REPLY),
    step("%wbchat --once Look at {{ picture }} twice.", *REPLY),
    step("%wbchat --once --param logprobs=true --param top_logprobs=2 Are you sure?", *REPLY),
    step("%wbchat --once --no-stream --param logprobs=true Are you sure?", *REPLY),
    step(
        "%wbchat --once -t 0.5 --max-tokens 7 --top-p 0.9 --seed 42 --stop END --param top_k=3 --think off Everything.",
        *REPLY,
    ),
    step("%wbchat --once --raw What are {{ braces }}?", *REPLY),
    step("%wbchat --once --format json --system 'As JSON.' Give it.", "_wbreply.parsed"),
    *[step("%wbchat --once Count.", "_wbreply.text")] * 3,
    step("reply = chat('From Python.', system='Be brief.', temperature=0, top_k=2)", "reply.text"),
    step("reply = chat('In one piece.', stream=False, images=['square.png'])", "reply.text"),
    step("reply = chat('Rate it.', schema=Verdict)", "(reply.parsed.good, reply.parsed.why)"),
    step("reply = chat('How is it?', tools=weather, stream=False, thread='python')", "reply.text", "steps(reply)"),
    step("reply = chat('And then?', thread='python')", "reply.text"),
    step("said = refused(lambda: chat('Please refuse this too.'))", "said"),
    step("out = map_prompts(['one', 'two'], 'A list of {{ text }}', into='said', think='low')", OUT),
    step(
        "made = client().chat.completions.create(model='test/model-a', n=2, "
        "messages=[{'role': 'user', 'content': 'Two of them.'}])",
        "[one.message.content for one in made.choices]",
    ),
    step(
        "made = client().chat.completions.create(model='test/model-a', n=2, stream=True, "
        "messages=[{'role': 'user', 'content': 'Two of them.'}])\n"
        "pieces = [(one.index, one.delta.content) for chunk in made for one in chunk.choices]",
        "pieces",
    ),
    step("listed = [one.id for one in client().models.list()]", "listed"),
]

NEXT: Final = step("%wbchat --thread notes And in one more sentence?", *REPLY, "_wbreply.earlier_messages")
NOTES: Final = [
    step("%wbchat --thread notes -s 'You take notes.' Begin with a *plain* <b>prompt</b> & $x^2$.", *REPLY),
    step("%wbchat --thread notes --image square.png What is in it?", *REPLY),
    step("%%wbchat --thread notes --tools weather,broken\nHow is {{ city }}?\n\n```python\nprint(1)\n```", *REPLY),
    step("%wbchat --thread notes -s 'Now be brief.' Grüße, and 🎉.", *REPLY),
    *[step(f"%wbthread notes --export exported.{ending}", shown=False) for ending in ("md", "html", "json")],
    NEXT,
]
THREADS: Final = [
    step("%wbconfig --cassette record.jsonl --mode replay --pace at-once", shown=False),
    step("%wbthread notes --import thread.json", shown=False),
    step("%wbthread notes --show"),
    *[
        step(
            f"%wbthread notes --export again.{ending}",
            f"read('again.{ending}') == read('thread.{ending}')",
            shown=False,
        )
        for ending in ("md", "html", "json")
    ],
    NEXT,
]

AUTO: Final = [
    # Before the list of models is known: it is sent, and refused with 404.
    step("%wbchat --once -m test/gone Is it still there?"),
    TABLE,
    step("%%wbchat -s 'You are a guide.'\nWhat is new in {{ city }}?", *REPLY),
    step("%wbchat --no-stream And what is old?", *REPLY),
    step("%wbchat --once --think on Why is the sky blue?", *REPLY),
    step("%wbchat --once --tools weather,broken How is {{ city }}?", *REPLY, "steps(_wbreply)"),
    step("%wbchat --once Please refuse this."),
    step("%wbchat --once -m test/no-schema --schema Review Rate it.", "(_wbreply.parsed.label, _wbreply.parsed.score)"),
]
AUTO_LATER: Final = [
    step("%%wbchat --once -m test/model-a -m test/model-b\nCompare.", "[one.text for one in _wbreply]"),
    step("%%wbmap df -o out\nJudge {{ text }}", OUT),
    step("%wbchat --once Look at {{ picture }}.", *REPLY),
    step("reply = chat('From Python.', temperature=0)", "reply.text"),
]


def _replaying(file: str, mode: str, cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [step(f"%wbconfig --cassette {file} --mode {mode} --pace at-once", shown=False), *cells]


def _limited(file: str, budget: float) -> list[dict[str, Any]]:
    """Return the steps that check a budget with this file. The prices come from a cassette."""
    return [
        step("%wbconfig --cassette record.jsonl --mode replay --pace at-once", shown=False),
        TABLE,
        step("%wbchat --once Count."),
        step("%wbconfig --mode off", shown=False),
        step(f"%wbconfig --budget {budget} --budget-file {file}", shown=False),
        step("%wbchat --once --max-tokens 1000000 Could this cost too much?"),
        step("said = refused(lambda: chat('And this?', max_tokens=1000000))", "said"),
        step("%wbusage"),
    ]


LOCAL: Final = [
    step("import os\nos.environ['WANDB_INFERENCE_MODEL'] = ''"),
    step("%wbchat --max-tokens 20 Say hello.", *REPLY),
    step("%wbchat --no-stream --max-tokens 20 Again.", *REPLY),
]
SAME: Final = step("", "[read(f'exported.{ending}') == read(f'thread.{ending}') for ending in ('md', 'html', 'json')]")
WITH_KEY: Final = {
    "answers": ANSWERS,
    "answers elsewhere": ANSWERS_ELSEWHERE,
    "budget": _limited("budget.sqlite", 0.52),
    "budget of an older version": _limited("budget-older.sqlite", 0.5),
}
WITHOUT_KEY: Final = {
    "record": _replaying("record.jsonl", "replay", [TABLE, *ASKED, *NOTES, SAME]),
    "auto": _replaying("auto.jsonl", "auto", [*AUTO, *AUTO_LATER]),
    "auto replayed": _replaying("auto.jsonl", "replay", [*AUTO, *AUTO_LATER]),
    "threads": THREADS,
    "local": _replaying("local.jsonl", "replay", LOCAL),
}


# Writing ---------------------------------------------------------------------------------------------------------


def served(wandb: Wandb) -> Wandb:
    wandb.api.always = answer
    wandb.api.listing = listing(*MODELS)
    models = {str(one["id"]): one for one in FEED}
    wandb.feed.documents["/inference/modelsdev/models"] = {"wandb": {"models": models}}
    return wandb


class Writing:
    """A folder in which kernels write, all with the same home."""

    def __init__(self, folder: Path) -> None:
        self.work, self.home = folder / "work", folder / "home"
        # The results of each session when it was written.
        self.first: dict[str, list[dict[str, Any]]] = {}
        self.work.mkdir()
        self.home.mkdir()
        (self.work / "square.png").write_bytes(square())

    @contextmanager
    def kernel(self, **variables: str) -> Iterator[Kernel]:
        own = {"WANDB_INFERENCE_MODEL": "test/model-a"} | variables
        with running_kernel(clean_environment(self.home) | own, self.work) as kernel:
            begin(kernel, NOTEBOOK)
            yield kernel


def square() -> bytes:
    """Return an image: a square of two colours, 4 by 4, as a PNG file."""

    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + (b"\xd0\x30\x30" * 2 + b"\x30\x30\xd0" * 2) for _ in range(4))
    head = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", head) + piece(b"IDAT", zlib.compress(rows)) + piece(b"IEND", b"")


def write_answers(writing: Writing, wandb: Wandb, elsewhere: Wandb) -> None:
    with writing.kernel(WANDB_API_KEY="a-key", **wandb.environment) as kernel:
        writing.first["answers"] = run_steps(kernel, ANSWERS)
    with writing.kernel(**elsewhere.environment) as kernel:
        writing.first["answers elsewhere"] = run_steps(kernel, ANSWERS_ELSEWHERE)
    (file,) = writing.home.rglob("answers.sqlite")
    keep_database(file, writing.work / "answers.sqlite")


def keep_database(source: Path, to: Path) -> None:
    """Copy a database with everything in its journal."""
    with closing(sqlite3.connect(source)) as file:
        file.execute("pragma wal_checkpoint(truncate)")
    shutil.copy(source, to)


def write_cassettes(writing: Writing, wandb: Wandb, elsewhere: Wandb) -> None:
    first = writing.first
    with writing.kernel(WANDB_API_KEY="a-key", **wandb.environment) as kernel:
        cells = [TABLE, *ASKED, *NOTES]
        first["record"] = run_steps(kernel, _recording("record.jsonl", "record", cells))
    for ending in ("md", "html", "json"):
        (writing.work / f"exported.{ending}").rename(writing.work / f"thread.{ending}")
    first["auto"] = []
    for cells in (AUTO, AUTO_LATER):
        with writing.kernel(WANDB_INFERENCE_BASE_URL=Elsewhere.URL, **elsewhere.environment) as kernel:
            results = run_steps(kernel, _recording("auto.jsonl", "auto", cells))
        first["auto"] += results[1:] if first["auto"] else results
    first["auto replayed"] = first["auto"]
    with writing.kernel(WANDB_INFERENCE_BASE_URL="local") as kernel:
        first["local"] = run_steps(kernel, _recording("local.jsonl", "record", LOCAL))


def _recording(file: str, mode: str, cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [step(f"%wbconfig --cassette {file} --mode {mode}", shown=False), *cells]


def write_budget(writing: Writing, wandb: Wandb) -> None:
    """Spend 0.3 USD in one kernel and 0.2 USD in another, and kill a third during its call."""
    variables = {"WANDB_API_KEY": "a-key", **wandb.environment}
    limit = "%wbmodels --table\n%wbconfig --budget 9 --budget-file budget.sqlite"
    for tokens in (300_000, 200_000):
        wandb.api.then(completion("Yes.", counted=usage(tokens, 0)))
        with writing.kernel(**variables) as kernel:
            kernel.run(limit)
            assert kernel.run("%wbchat --no-stream hi").ok
    arrived, over = Event(), Event()

    def hold(one: Answer) -> None:
        arrived.set()
        over.wait(60)

    wandb.api.then(hold)
    with writing.kernel(**variables) as kernel:
        kernel.run(limit)
        # 100,000 words are about that number of tokens: the estimate that counts as spent.
        kernel.start("%wbchat --no-stream --max-tokens 10 {{ 'word ' * 100_000 }}")
        assert arrived.wait(60)
        os.kill(kernel.pid, signal.SIGKILL)
    over.set()


def write_older_budget(writing: Writing, folder: Path) -> None:
    """Write a file with the older code."""
    older = folder / "older"
    older.mkdir()
    command = ["git", "archive", OLDER_BUDGET, "wandb_inference_magic"]
    archive = subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(older)], input=archive.stdout, check=True)
    code = (
        "from pathlib import Path; from wandb_inference_magic.shared_spending import SharedSpending; import sys\n"
        "for usd in (0.3, 0.195): SharedSpending(Path(sys.argv[1])).add(usd)"
    )
    command = [sys.executable, "-c", code, str(writing.work / "budget-older.sqlite")]
    subprocess.run(command, cwd=older, env={"PYTHONPATH": str(older)}, check=True)


def expected(writing: Writing, fixtures: Path, wandb: Wandb) -> dict[str, Any]:
    """Replay all sessions with this version, and return the results: the same as when they were written."""
    groups = []
    for sessions, key in ((WITH_KEY, {"WANDB_API_KEY": "a-key"}), (WITHOUT_KEY, {})):
        for file in fixtures.iterdir():
            shutil.copy(file, writing.work / file.name)
        before = len(wandb.connected_to)
        group = {}
        with writing.kernel(**wandb.environment, **key) as kernel:
            for name, steps in sessions.items():
                kernel.run(ANEW)
                results = run_steps(kernel, steps)
                check(steps, results, writing.first.get(name, ()), is_cassette=not key)
                group[name] = [one | seen for one, seen in zip(steps, results, strict=True)]
        assert len(wandb.connected_to) == before, "the service was asked again"
        groups.append({"key": bool(key), "sessions": group})
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True)
    return {
        "written": {
            "version": __version__,
            "commit": commit.stdout.strip(),
            "date": date.today().isoformat(),
            "python": platform.python_version(),
        },
        "notebook": NOTEBOOK,
        "kernels": groups,
    }


def check(
    steps: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any]],
    first: Sequence[dict[str, Any]],
    *,
    is_cassette: bool,
) -> None:
    """Fail if a replay shows something else than the first run."""
    for one, seen, before in zip(steps, results, first, strict=False):
        assert (seen["error"], seen["values"]) == (before["error"], before["values"]), (one, before, seen)
        if is_cassette:
            assert without_replay_marks(seen["shown"]) == without_replay_marks(before["shown"]), (one, before, seen)


def without_replay_marks(texts: list[str] | None) -> list[str] | None:
    """Return texts without the marks of a replay."""
    return texts and [re.sub(r" · (\d+ )?replayed", "", text) for text in texts]


FILES: Final = (
    "answers.sqlite", "record.jsonl", "auto.jsonl", "local.jsonl", "budget.sqlite", "budget-older.sqlite", "square.png",
    "thread.md", "thread.html", "thread.json",
)  # fmt: skip


def main() -> None:
    to = HERE / __version__
    if to.exists():
        raise SystemExit(f"{to} is there: fixtures are never written again.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        writing = Writing(folder)
        (folder / "tls").mkdir()
        wandb = stack.enter_context(served(Wandb(folder)).running())
        elsewhere = stack.enter_context(served(Elsewhere(folder / "tls")).running())
        write_budget(writing, wandb)
        killed_at = time.monotonic()
        write_older_budget(writing, folder)
        write_answers(writing, wandb, elsewhere)
        write_cassettes(writing, wandb, elsewhere)
        # Then the reservation of the killed kernel has expired, and its estimate counts.
        time.sleep(max(0.0, killed_at + LEASE_SECONDS - time.monotonic()))
        keep_database(writing.work / "budget.sqlite", folder / "budget.sqlite")
        shutil.copy(folder / "budget.sqlite", writing.work)
        fixtures = folder / "fixtures"
        fixtures.mkdir()
        for name in FILES:
            shutil.copy(writing.work / name, fixtures)
        document = expected(writing, fixtures, wandb)
        wandb.assert_no_failures()
        elsewhere.assert_no_failures()
        text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
        (fixtures / EXPECTED).write_text(text, encoding="utf-8")
        shutil.copytree(fixtures, to)


if __name__ == "__main__":
    main()
