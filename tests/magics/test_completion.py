"""Tab completion on the lines of the magics, requested as a front end does: the code after insertion is checked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from hypothesis import given, strategies as st
from kernels import Kernel, SharedKernel
from service import Answer, Script, Service, Wandb, listing, page, refused

from wandb_inference_magic.arguments.line import read_unfinished
from wandb_inference_magic.arguments.options import ChatOptions
from wandb_inference_magic.catalog.feeds import snapshot
from wandb_inference_magic.client.practice_server import PACKAGED_MODEL

PATIENCE = 30
MODELS = ("openai/gpt-oss-20b", "openai/gpt-oss-120b", "Qwen/Qwen3.8-27B", "meta.ai/Llama-4.1")


def lines(kernel: Kernel, typed: str) -> list[str]:
    """Press Tab at the last `|` in `typed`, and return the code after inserting each of the offered completions."""
    cursor = typed.rindex("|")
    code = typed[:cursor] + typed[cursor + 1 :]
    content = kernel.client.complete(code, cursor, reply=True, timeout=PATIENCE)["content"]
    assert content["status"] == "ok"
    start, end = content["cursor_start"], content["cursor_end"]
    return [code[:start] + match + code[end:] for match in content["matches"]]


def differences(kernel: Kernel, expected: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    found = {typed: lines(kernel, typed) for typed in expected}
    assert shown(kernel) == []
    return {typed: (found[typed], expected[typed]) for typed in expected if found[typed] != expected[typed]}


def shown(kernel: Kernel) -> list[str]:
    """Return what the kernel has shown on its own since the last call, such as a traceback of a completion."""
    request = kernel.start("")
    found = []
    while True:
        message = kernel.client.get_iopub_msg(timeout=PATIENCE)
        if message["msg_type"] in ("stream", "error", "display_data"):
            found.append(str(message["content"]))
        is_mine = message["parent_header"].get("msg_id") == request
        if is_mine and message["content"].get("execution_state") == "idle":
            kernel.reply(request)
            return found


@given(
    st.sampled_from(["none", "rest", "words"]),
    st.lists(st.sampled_from([*"-'\"= a", "--", " -m ", "--stop", "--stop=", " --new", "\u00a0", "\t", "#", "\\"])),
)
def test_the_completed_word_ends_at_the_cursor(text: Any, parts: list[str]) -> None:
    line = "".join(parts)
    unfinished = read_unfinished(ChatOptions, line, text=text)
    assert unfinished is None or line.endswith(unfinished.word)


@pytest.fixture
def kernel_with_models(kernel: Kernel, service: Service) -> Kernel:
    """A kernel that already has the endpoint's list of models."""
    service.listing = listing(*MODELS)
    assert kernel.run("%wbmodels --table").ok
    return kernel


@pytest.fixture
def shared_with_models(shared: SharedKernel) -> Kernel:
    """Like it, for tests that leave the session unchanged. A kernel's first completion by IPython takes two seconds."""
    shared.service.listing = listing(*MODELS)
    assert shared.kernel.run("%wbmodels --table").ok
    return shared.kernel


def test_options_are_completed(shared_with_models: Kernel) -> None:
    expected = {
        "%wbchat --te|": ["%wbchat --temperature"],
        "%wbchat --th|": ["%wbchat --think", "%wbchat --thread"],
        "%%wbchat --thr|": ["%%wbchat --thread"],
        "%%wbchat --thr|\nHello": ["%%wbchat --thread\nHello"],
        "\n  %%wbchat --thr|\n  Hello": ["\n  %%wbchat --thread\n  Hello"],
        "  %wbchat --thr|": ["  %wbchat --thread"],
        "x = 1\nif x:\n    %wbchat --thr|": ["x = 1\nif x:\n    %wbchat --thread"],
        "answer = %wbchat --thr|": ["answer = %wbchat --thread"],
        "d['a'] = %wbchat --thr|": ["d['a'] = %wbchat --thread"],
        "%wbchat --temp|erature": ["%wbchat --temperatureerature"],
        # Already present, with either flag. --stop may be repeated.
        "%wbchat -t 1 --temp|": [],
        "%wbchat --temperature=1 --temp|": [],
        "%wbchat --stop x --sto|": ["%wbchat --stop x --stop"],
        "%wbchat --quiet --qui|": [],
        "%wbchat -s '--quiet ' --qui|": ["%wbchat -s '--quiet ' --quiet"],
        # In the text, and after an invalid part.
        "%wbchat what is --thr|": [],
        "%wbchat -- --thr|": [],
        "%%wbchat stray --thr|": [],
        "%wbchat -m --thr|": [],
        "%wbchat -s 'be --thr|": [],
        # On the line of %wbmodels the search text may be anywhere.
        "%wbmodels qwen --ta|": ["%wbmodels qwen --table"],
        "%wbmodels --table qwen --re|": ["%wbmodels --table qwen --refresh"],
        "%wbmodels --min|": ["%wbmodels --min-context"],
        "%wbmodels images --sort n|": [f"%wbmodels images --sort {one}" for one in ("name", "newest")],
        "%%wbeval df --tru|": ["%%wbeval df --truth"],
        "%%wbeval df --stop-w|\nHello": ["%%wbeval df --stop-when-clear\nHello"],
        "%wbconfig --ch|": ["%wbconfig --check"],
        "%wbconfig --check |": [
            f"%wbconfig --check {flag}"
            for flag in (
                "--key",
                "--project",
                "-m",
                "--model",
                "--endpoint",
                "--timeout",
                "--budget",
                "--budget-file",
                "--cassette",
                "--mode",
                "--pace",
                "--trace",
                "--cache",
                "--reset",
                "-h",
                "--help",
            )
        ],
        "%wbchat --he|": ["%wbchat --help"],
    }
    assert differences(shared_with_models, expected) == {}


def test_models_are_completed(shared_with_models: Kernel) -> None:
    shared_with_models.run("open('some_file.txt', 'w').close()")
    expected = {
        "%wbchat -m openai/gpt|": ["%wbchat -m openai/gpt-oss-120b", "%wbchat -m openai/gpt-oss-20b"],
        "%wbchat -m openai/gpt-oss-2|": ["%wbchat -m openai/gpt-oss-20b"],
        "%%wbchat --model meta.a|\nHello": ["%%wbchat --model meta.ai/Llama-4.1\nHello"],
        "%%wbchat --model=meta.ai/L|\nHello": ["%%wbchat --model=meta.ai/Llama-4.1\nHello"],
        "answer = %wbchat -m Qwen/Qwen3.|": ["answer = %wbchat -m Qwen/Qwen3.8-27B"],
        "%wbchat -t 0.5 -m qwen|": ["%wbchat -t 0.5 -m Qwen/Qwen3.8-27B"],
        "%wbchat -m 27b|": ["%wbchat -m Qwen/Qwen3.8-27B"],
        "%wbchat -m LLAMA-4|": ["%wbchat -m meta.ai/Llama-4.1"],
        '%wbchat -m "qwen|"': ['%wbchat -m "Qwen/Qwen3.8-27B"'],
        "%wbmodels --use qwen|": ["%wbmodels --use Qwen/Qwen3.8-27B"],
        "%wbconfig --model qwen|": ["%wbconfig --model Qwen/Qwen3.8-27B"],
        "%wbchat -m |": [
            "%wbchat -m meta.ai/Llama-4.1",
            "%wbchat -m openai/gpt-oss-120b",
            "%wbchat -m openai/gpt-oss-20b",
            "%wbchat -m Qwen/Qwen3.8-27B",
        ],
        # Not the id of a model: neither files nor Python names are offered instead.
        "%wbchat -m some_f|": [],
        "%wbchat -m -|": [],
        "%wbchat -m --|": [],
    }
    assert differences(shared_with_models, expected) == {}


def test_context_and_price_are_beside_a_model(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    wandb.api.listing = listing("openai/gpt-oss-20b", "new/unheard-of")
    kernel = start_kernel(WANDB_API_KEY="a-key", **wandb.environment)
    kernel.run("%load_ext wandb_inference_magic\n%wbmodels --table")
    assert beside(kernel, "%wbchat -m ") == {
        # JupyterLab breaks the facts at an ordinary space.
        "openai/gpt-oss-20b": "131k\u00a0·\u00a0$0.03/0.13",
        "new/unheard-of": "model",
    }
    assert beside(kernel, "%wbmodels --sort ") == dict.fromkeys(("price", "context", "name", "newest"), "value")


def beside(kernel: Kernel, code: str) -> dict[str, str]:
    """Press Tab at the end of the code, and return what a front end shows beside each completion."""
    content = kernel.client.complete(code, len(code), reply=True, timeout=PATIENCE)["content"]
    return {one["text"]: one["type"] for one in content["metadata"]["_jupyter_types_experimental"]}


def test_choices_and_threads_are_completed(kernel_with_models: Kernel) -> None:
    for thread in ("plan", "'my plan'", '"it\'s"'):
        assert kernel_with_models.run(f"%wbchat -m {MODELS[0]} --thread {thread} hi").ok
    expected = {
        "%wbchat --format m|": ["%wbchat --format markdown"],
        "%wbchat --format=j|": ["%wbchat --format=json"],
        "%wbconfig --endpoint l|": ["%wbconfig --endpoint local"],
        "%wbconfig --endpoint |": [f"%wbconfig --endpoint {one}" for one in ("wandb", "local", "auto")],
        "%wbconfig --endpoint http|": [],
        "%wbchat --thread |": [f"%wbchat --thread {one}" for one in ("main", "plan", '"my plan"', '"it\'s"')],
        "%wbchat --thread my|": ['%wbchat --thread "my plan"'],
        '%wbchat --thread "my p|': ['%wbchat --thread "my plan'],
        "%wbchat --thread 'it|": [],
        "%wbthread pl|": ["%wbthread plan"],
        "%wbthread lan|": ["%wbthread plan", '%wbthread "my plan"'],
        "%wbthread ma|": ["%wbthread main"],
    }
    assert differences(kernel_with_models, expected) == {}


def test_variables_of_the_user_are_completed(kernel_with_models: Kernel) -> None:
    kernel_with_models.run(
        "import math\n"
        "answer = 1; answers = {}; _answer = 2\n"
        "globals()['ans wer'] = globals()[3] = 3\n"
        "class Ans:\n"
        "    @property\n"
        "    def __class__(self): 1 / 0\n"
        "    def __getattribute__(self, name): 1 / 0\n"
        "ansi = Ans()"
    )
    expected = {
        "%wbchat -o an|": [f"%wbchat -o {one}" for one in ("answer", "answers", "Ans", "ansi")],
        "%wbchat --output=answers|": ["%wbchat --output=answers"],
        "%wbmodels -o ansi|": ["%wbmodels -o ansi"],
        "%wbchat -o _ans|": [],
        # A name of IPython itself.
        "%wbchat -o get_ipy|": [],
    }
    assert differences(kernel_with_models, expected) == {}


@pytest.mark.short
def test_ipython_completes_everything_else(shared_with_models: Kernel) -> None:
    shared_with_models.run("some_variable = 1\nheld = {'some_key': 1}\nopen('some_file.txt', 'w').close()")
    expected = {
        "some_var|": ["some_variable"],
        "%%wbchat\nsome_var|": ["%%wbchat\nsome_variable"],
        "%wbcha|": ["%wbchat", "%%wbchat"],
        "%%wbchat -m x\n%wbchat -m qwen|": [],
        "%%wbchat\n--thr|": [],
        "x = 1\n%%wbchat --thr|": [],
        "%%wbmodels --ta|": [],
        "answer = %%wbchat --thr|": [],
        "%wbother --thr|": [],
        # Text may be anything.
        "%wbchat --system some_f|": ["%wbchat --system some_file.txt"],
        "%wbchat hello some_f|": ["%wbchat hello some_file.txt"],
        # An image may be a file, and a frame an expression.
        "%wbchat --image some_f|": ["%wbchat --image some_file.txt"],
        '%%wbmap held["|': ['%%wbmap held["some_key'],
        "%%wbmap held or some_var|": ["%%wbmap held or some_variable"],
    }
    assert differences(shared_with_models, expected) == {}


def test_tools_schemas_images_and_further_models_are_completed(kernel_with_models: Kernel) -> None:
    made = kernel_with_models.run(
        "def zz_one(): 1 / 0\ndef zz_two(): 1 / 0\nclass ZzType: ...\nzz_list = list[ZzType]\nzz_figure = object()\n"
        "%wbchat -m openai/gpt-oss-20b --thread 'two words' hi"
    )
    assert made.ok, made.text
    expected = {
        "%wbchat --tools zz_|": ["%wbchat --tools zz_one", "%wbchat --tools zz_two"],
        "%wbchat --tools zz_one,zz_|": ["%wbchat --tools zz_one,zz_two"],
        "%%wbeval df --scorer zz_|": ["%%wbeval df --scorer zz_one", "%%wbeval df --scorer zz_two"],
        "%wbchat --schema zz_|": ["%wbchat --schema zz_list"],
        "%wbchat --schema Zz|": ["%wbchat --schema ZzType", "%wbchat --schema zz_list"],
        "%wbchat --image zz_fig|": ["%wbchat --image zz_figure"],
        "%%wbchat --think o|": ["%%wbchat --think on", "%%wbchat --think off"],
        "%%wbchat --fork tw|": ['%%wbchat --fork "two words"'],
        "%wbthread tw|": ['%wbthread "two words"'],
        "%wbthread main --un|": ["%wbthread main --undo"],
        "%%wbchat --code --tem|": ["%%wbchat --code --temperature"],
        "%%wbchat -m Qwen/Qwen3.8-27B -m oss-20|": ["%%wbchat -m Qwen/Qwen3.8-27B -m openai/gpt-oss-20b"],
    }
    assert differences(kernel_with_models, expected) == {}


@pytest.mark.short
def test_columns_jobs_and_options_are_completed(kernel_with_models: Kernel) -> None:
    made = kernel_with_models.run(
        "import pandas as pd\nzz_df = pd.DataFrame({'label': [1], 'my truth': [1], 3: [1], '\\ufeffid': [1]})\n"
        "class Held(dict):\n    def __getattribute__(self, name): 1 / 0\nzz_held = Held()"
    )
    assert made.ok, made.text
    columns = ["label", '"my truth"']
    expected = {
        "%%wbeval zz_df --truth |": [f"%%wbeval zz_df --truth {one}" for one in columns],
        "%%wbeval zz_df.head(2) -m x --truth=la|": ["%%wbeval zz_df.head(2) -m x --truth=label"],
        "%%wbeval zz_df --truth 'my|\nHello": ["%%wbeval zz_df --truth 'my truth\nHello"],
        # The frame is not known, and names nothing that can be read without running code.
        "%%wbeval --truth |": [],
        "%%wbeval zz_held --truth |": [],
        "%%wbeval nothing_such --truth i|": [],
        # There is nothing to complete, of IPython either.
        "%%wbmap zz_df --into i|": [],
        "%%wbeval zz_df --field i|": [],
        "%wbchat -t |": [],
        "%wbchat --max-tokens i|": [],
        "%wbconfig --budget |": [],
        "%wbconfig --trace i|": [],
        "%wbthread --edit |": [],
        "%wbjobs |": [],
        "%wbjobs i|": [],
        "%wbmodels i|": [],
        "%wbmodels |": [f"%wbmodels {one}" for one in MODELS_OPTIONS],
        "%wbthread main --export a.md |": [
            f"%wbthread main --export a.md {one}"
            for one in ("--show", "--undo", "--edit", "--clear", "--delete", "--import", "-h", "--help")
        ],
    }
    assert differences(kernel_with_models, expected) == {}
    assert lines(kernel_with_models, "%%wbmap zz_df |")[:2] == ["%%wbmap zz_df -m", "%%wbmap zz_df --model"]


MODELS_OPTIONS = ("--table", "--refresh", "--sort", "--min-context", "--use", "-o", "--output", "-h", "--help")


def test_jobs_are_completed(kernel: Kernel) -> None:
    assert kernel.run("%wbchat --bg -o zz_job hi").ok
    assert lines(kernel, "%wbjobs |") == ["%wbjobs 1"]
    assert beside(kernel, "%wbjobs ") == {"1": "%%wbchat\u00a0test/model-a"}
    assert lines(kernel, "%wbjobs 1 --can|") == ["%wbjobs 1 --cancel"]


def test_options_are_completed_wherever_the_magic_runs(shared_with_models: Kernel) -> None:
    expected = {
        "%time %wbchat --thr|": ["%time %wbchat --thread"],
        "%timeit -n 1 -r1 r = %wbchat --thr|": ["%timeit -n 1 -r1 r = %wbchat --thread"],
        "%time wbchat --thr|": ["%time wbchat --thread"],
        "wbchat --thr|": ["wbchat --thread"],
        "x = 1\nwbmodels --ta|": ["x = 1\nwbmodels --table"],
        "%%time\n%%wbchat --thr|\nHello": ["%%time\n%%wbchat --thread\nHello"],
        "#| echo: false\n%%wbchat --thr|\nHello": ["#| echo: false\n%%wbchat --thread\nHello"],
        "%%wbchat -t 1 \\\n  --thr|\nHello": ["%%wbchat -t 1 \\\n  --thread\nHello"],
        "%wbchat -t 1 \\\n--thr|": ["%wbchat -t 1 \\\n--thread"],
        "%wbchat \u200b--thr|": ["%wbchat \u200b--thread"],
        "%wbchat \u2014once --thr|": ["%wbchat \u2014once --thread"],
        # A prompt, and what is no magic.
        "%%time\n%%wbchat\n%wbchat --thr|": [],
        "%%wbchat -t 1 \\\n--once\n--thr|": [],
        "%%wbchat\nHello \\\n%wbchat --thr|": [],
        "%wbchat hello %wbchat --thr|": [],
        "r = wbchat --thr|": [],
        "%%time\nx = 1\n%%wbchat --thr|": [],
    }
    assert differences(shared_with_models, expected) == {}
    shared_with_models.run("wbchat = 1")
    hidden = lines(shared_with_models, "wbchat --thr|")
    shared_with_models.run("del wbchat\n%automagic off")
    without_automagic = lines(shared_with_models, "wbchat --thr|")
    shared_with_models.run("%automagic on")
    assert hidden == []
    assert without_automagic == []


def gated_listing(requested: threading.Event, gate: threading.Event, *ids: str) -> Callable[[Answer], None]:
    """Return a script that sends the list of models when the test opens the gate."""

    def answer_with(answer: Answer) -> None:
        requested.set()
        assert gate.wait(60), "the test never opened the gate"
        answer.json(listing(*ids))

    return answer_with


def test_completion_does_not_wait_for_a_slow_list(kernel: Kernel, service: Service) -> None:
    requested, gate = threading.Event(), threading.Event()
    service.listing_script = gated_listing(requested, gate, "slow/model-a", "slow/model-b")
    threads = kernel.threads()
    try:
        assert lines(kernel, "%wbchat -m |") == []
        assert requested.wait(60)
        # Another request for completions while the service is still working: no second request for the list.
        assert lines(kernel, "%wbchat -m slow|") == []
    finally:
        gate.set()
    kernel.join_threads_since(threads)
    assert lines(kernel, "%wbchat -m b|") == ["%wbchat -m slow/model-b"]
    assert [one.path for one in service.received] == ["/v1/models"]


def test_the_snapshot_is_used_until_the_list_of_wandb_arrives(
    start_kernel: Callable[..., Kernel], wandb: Wandb
) -> None:
    requested, gate = threading.Event(), threading.Event()
    wandb.api.listing_script = gated_listing(requested, gate, "new/unheard-of")
    kernel = start_kernel(WANDB_API_KEY="a-key", **wandb.environment)
    kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.catalog = False")
    threads = kernel.threads()
    try:
        assert sorted(lines(kernel, "%wbchat -m |")) == snapshot_lines()
        assert requested.wait(60)
    finally:
        gate.set()
    kernel.join_threads_since(threads)
    assert lines(kernel, "%wbchat -m |") == ["%wbchat -m new/unheard-of"]


def snapshot_lines() -> list[str]:
    return sorted(f"%wbchat -m {model.id}" for model in snapshot().models)


INVALID_LISTS: dict[str, Script] = {
    "refused": refused(500, "Internal error"),
    "a web page": page(),
    "JSON of another form": lambda answer: answer.json({"not": "a list"}),
    "cut": lambda answer: answer.cut(),
}


@pytest.mark.parametrize("script", INVALID_LISTS.values(), ids=INVALID_LISTS)
def test_a_list_that_fails_is_silent(kernel: Kernel, service: Service, script: Script) -> None:
    service.listing_script = script
    # A failing thread would print its traceback where no test looks.
    kernel.run("import threading\nfailed = []\nthreading.excepthook = failed.append")
    threads = kernel.threads()
    assert lines(kernel, "%wbchat -m |") == []
    kernel.join_threads_since(threads)
    requested = [one.path for one in service.received]
    assert set(requested) == {"/v1/models"}
    # The next Tab sends no request.
    assert lines(kernel, "%wbchat -m |") == []
    kernel.join_threads_since(threads)
    assert [one.path for one in service.received] == requested
    assert kernel.value("len(failed)") == 0
    assert shown(kernel) == []


def test_completion_without_a_key_sends_no_request(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = start_kernel(KAGGLE_KERNEL_RUN_TYPE="Interactive", WANDB_INFERENCE_BASE_URL="wandb", **wandb.environment)
    kernel.run(
        """
import sys, types
asked = []
class UserSecretsClient:
    def get_secret(self, name): asked.append(name)
sys.modules["kaggle_secrets"] = types.SimpleNamespace(UserSecretsClient=UserSecretsClient)
"""
    )
    assert kernel.run("%load_ext wandb_inference_magic").ok
    threads = kernel.threads()
    assert sorted(lines(kernel, "%wbchat -m |")) == snapshot_lines()
    kernel.join_threads_since(threads)
    assert kernel.value("asked") == []
    assert wandb.connected_to == []
    # The magics do look up the secret.
    kernel.run("%wbconfig")
    assert kernel.value("asked") != []


def test_the_practice_model_is_offered_and_not_started(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL="local")
    kernel.run("%load_ext wandb_inference_magic")
    assert lines(kernel, "%wbchat -m |") == [f"%wbchat -m {PACKAGED_MODEL}"]
    assert psutil.Process(kernel.pid).children() == []


def test_an_invalid_setting_is_silent(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL="no such endpoint")
    assert kernel.run("%load_ext wandb_inference_magic").ok
    assert lines(kernel, "%wbchat -m |") == []
    assert lines(kernel, "%wbchat --thr|") == ["%wbchat --thread"]
    assert shown(kernel) == []


def test_nothing_is_completed_after_unloading(start_kernel: Callable[..., Kernel], service: Service) -> None:
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url)
    kernel.run(
        "matchers = get_ipython().Completer.custom_matchers\nmatchers.append(lambda text: [])\nbefore = [*matchers]"
    )
    kernel.run("%load_ext wandb_inference_magic")
    assert kernel.value("len(matchers) - len(before)") == 1
    assert lines(kernel, "%wbchat --thr|") == ["%wbchat --thread"]
    kernel.run("%unload_ext wandb_inference_magic")
    assert lines(kernel, "%wbchat --thr|") == []
    assert kernel.value("get_ipython().Completer.custom_matchers is matchers and matchers == before") is True
    kernel.run("%load_ext wandb_inference_magic")
    assert lines(kernel, "%wbchat --thr|") == ["%wbchat --thread"]
