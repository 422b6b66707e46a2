"""A run leaves the key in no output, error, traceback, log, history or saved notebook."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import ModuleType

import nbformat
import openai
import pytest
from kernels import Kernel, SharedKernel
from nbclient import NotebookClient
from python_forks import run_by_fork
from service import MODEL, Answer, Service, Streamed, Wandb, chunk, listing, refused

from wandb_inference_magic.errors import InferenceError

KEY = "wandb_v1_SECRETsecretSECRETsecret42"
# What `python -m wandb_inference_magic` runs.
DIAGNOSIS = "import runpy; runpy.run_module('wandb_inference_magic', run_name='__main__')"

CELLS = [
    "%load_ext wandb_inference_magic",
    "import logging; logging.basicConfig(level=logging.DEBUG, filename='debug.log')",
    "%wbchat hi",
    "%wbconfig",
    "%wbconfig --check",
    "%config WandbInference",
    "%wbmodels",
    "%xmode Verbose",
    "%wbchat this one fails",
    "%config WandbInference.debug = True",
    "%wbchat this one fails, with its traceback",
    "from wandb_inference_magic import client\nmine = client()\nmine, mine.api_key, vars(mine), mine.default_headers",
    "client().chat.completions.create(model='m', messages=[])",
    "client().with_options(base_url='http://127.0.0.1:9', max_retries=0).models.list()",
    "import gc\n[repr(one) for one in gc.get_objects() if type(one).__name__ == 'Key']",
    "%whos",
    "%history",
]


def test_a_whole_run_leaves_the_key_nowhere(environment: dict[str, str], wandb: Wandb, tmp_path: Path) -> None:
    """Verbose tracebacks, debug logs and inspecting the client do not show it either."""
    wandb.api.then(lambda answer: wandb.api.always(answer), lambda answer: wandb.api.always(answer))
    for status in (401, 400, 400):
        wandb.api.then(refused(status, f"wrong key {KEY[:4]}..."))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    runner = NotebookClient(notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}})
    runner.execute(env=environment | wandb.environment | {"WANDB_API_KEY": KEY, "OPENAI_LOG": "debug"})
    nbformat.write(notebook, tmp_path / "saved.ipynb")
    # The run did what it should: the key was used, and calls failed.
    assert wandb.api.last.headers["authorization"] == f"Bearer {KEY}"
    failed = [cell for cell in notebook.cells if any(out.output_type == "error" for out in cell.outputs)]
    assert len(failed) == 4
    assert (tmp_path / "debug.log").stat().st_size > 1000
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in left if KEY.encode() in path.read_bytes()] == []


def test_a_typed_key_is_in_no_history(
    start_kernel: Callable[..., Kernel], wandb: Wandb, environment: dict[str, str]
) -> None:
    kernel = start_kernel(**wandb.environment, WANDB_INFERENCE_MODEL=MODEL)
    kernel.run("%load_ext wandb_inference_magic")
    request = kernel.start("%wbconfig --key", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=60)
    kernel.client.input(KEY)
    assert kernel.finish(request).ok
    kernel.run("%wbchat hi\n%history -g")
    kernel.run("get_ipython().history_manager.writeout_cache()")
    assert wandb.api.last.headers["authorization"] == f"Bearer {KEY}"
    left = [path for path in Path(environment["HOME"]).rglob("*") if path.is_file()]
    assert any(path.name == "history.sqlite" for path in left)
    assert [path for path in left if KEY.encode() in path.read_bytes()] == []
    assert kernel.value(f"any({KEY[5:]!r} in str(value) for value in globals().values())") is False


def test_a_key_in_a_prompt_is_in_no_output_and_no_file(
    start_kernel: Callable[..., Kernel], service: Service, environment: dict[str, str]
) -> None:
    """As by a prompt that asks what is wrong with a configuration, and shows all of it."""
    kernel = start_kernel(**service.environment | {"WANDB_INFERENCE_API_KEY": KEY})
    kernel.run("%load_ext wandb_inference_magic\nimport os")
    cells = [
        "%%wbchat --dry-run\nWhat is wrong? {{ dict(os.environ) | tojson }}",
        "%%wbchat -s 'Look at {{ os.environ.WANDB_INFERENCE_API_KEY }}.'\nWhat is wrong? {{ dict(os.environ) }}",
        "%%wbmap [1] --dry-run\n{{ os.environ.WANDB_INFERENCE_API_KEY }} {{ text }}",
        "%wbthread --show",
        *(f"%wbthread --export t{ending}" for ending in (".md", ".html", ".json")),
        "%wbthread",
        "%wbthread --edit 1",
        "%wbthread --undo",
    ]
    for cell in cells:
        run = kernel.run(cell)
        assert run.ok, run.error
        assert KEY not in str([run.messages, run.reply]), cell
    written = list(Path(kernel.value("os.getcwd()")).glob("t.*"))
    assert len(written) == 3
    for path in written:
        assert "What is wrong?" in path.read_text()
        assert KEY not in path.read_text()


@pytest.mark.parametrize(
    "typed",
    [
        f"{KEY}\rmore",
        f"{KEY}\nmore",
        f"{KEY}\0more",
        f"\u201c{KEY}\u201d",
        f"'{KEY}'",
        f"Bearer {KEY}",
        f"{KEY} {KEY}",
    ],
)
def test_an_invalid_typed_key_is_refused(shared: SharedKernel, typed: str) -> None:
    """It would become part of a header, and the library that refuses it there quotes all of it."""
    request = shared.kernel.start("%wbconfig --key", allow_stdin=True)
    shared.kernel.client.get_stdin_msg(timeout=60)
    shared.kernel.client.input(typed)
    run = shared.kernel.finish(request)
    assert "This is not a key: it " in run.error
    assert "SECRET" not in str(run.messages)
    assert shared.kernel.run("%wbchat --once hi").ok
    assert "authorization" not in shared.service.last.headers


def test_an_invalid_key_in_the_environment_is_reported(
    start_kernel: Callable[..., Kernel], wandb: Wandb, environment: dict[str, str], tmp_path: Path
) -> None:
    variables = {"WANDB_API_KEY": f"\u201c{KEY}\u201d", **wandb.environment}
    kernel = start_kernel(**variables)
    kernel.run("%load_ext wandb_inference_magic")
    ignored = "WANDB_API_KEY is ignored: it has typographic quotes in it"
    for cell in ("%wbchat hi", "%wbmodels", "%wbconfig --check"):
        error = kernel.run(cell).error
        assert "No W&B key was found; nothing was sent." in error
        assert ignored in error
    assert ignored in kernel.run("%wbconfig").text
    done = run_by_fork(DIAGNOSIS, environment | variables, tmp_path)
    assert ignored in done.stdout
    assert set(wandb.connected_to) == {wandb.API, wandb.FEED}, "the diagnosis sends requests, but without a key"


def test_an_invalid_key_of_another_endpoint_is_reported(start_kernel: Callable[..., Kernel], service: Service) -> None:
    kernel = start_kernel(
        WANDB_INFERENCE_BASE_URL=service.url, WANDB_INFERENCE_MODEL="m", WANDB_INFERENCE_API_KEY=f"{KEY}\n{KEY}"
    )
    kernel.run("%load_ext wandb_inference_magic")
    error = kernel.run("%wbchat hi").error
    assert "The key for the endpoint cannot be used; nothing was sent." in error
    assert "WANDB_INFERENCE_API_KEY is ignored: it contains a line break." in error
    assert "is ignored" in kernel.run("%wbconfig").text
    assert service.received == []


CELLS_BEHIND_A_PROXY = [
    "%load_ext wandb_inference_magic\nfrom wandb_inference_magic import chat, client, map_prompts",
    "%wbchat hi",
    "%wbconfig",
    "%wbconfig --check",
    "%wbmodels --table",
    "client()",
    "chat('hi')",
    "rows = ['a']",
    "%%wbmap rows\n{{ text }}",
    "_wbmap",
    "%%wbchat -m test/a -m test/b\nhi",
    "%config WandbInference.debug = True",
    "%wbchat hi",
    "client()",
]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_no_part_of_a_proxy_password_is_shown_in_a_notebook(
    start_kernel: Callable[..., Kernel], environment: dict[str, str], tmp_path: Path, variable: str
) -> None:
    variables = {"WANDB_API_KEY": KEY, variable: "http://user:pa55#wörd?ps3@h:3128"}
    kernel = start_kernel(**variables)
    runs = [kernel.run(cell) for cell in CELLS_BEHIND_A_PROXY]
    shown = "".join(str(run.messages) for run in runs)
    for piece in ("pa55", "wörd", "ps3", KEY):
        assert piece not in shown
    for number in (1, 5, 6, 12, 13):
        assert f"The proxy in {variable} cannot be used; nothing was sent." in runs[number].error
        assert "Traceback" not in runs[number].error or number > 10
    done = run_by_fork(DIAGNOSIS, environment | variables, tmp_path)
    assert f"The proxy in {variable} cannot be used" in done.stdout
    assert "pa55" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "line",
    [
        f"%wbconfig --key {KEY}",
        f"%wbconfig --key={KEY}",
        f"%wbconfig {KEY}",
        f"%wbconfig --api-key {KEY}",
        f"%wbconfig --endpoint https://{KEY}@host.example/v1",
        f"%wbconfig --endpoint https://12/{KEY}@host.example/v1",
        f"%wbconfig --endpoint https://host.example/v1?api_key={KEY}",
        f"%wbchat --key {KEY} hi",
        f"%wbchat --api-key={KEY} hi",
        f"%wbchat --param api_key={KEY} hi",
        f'%wbchat --param \'extra_headers={{"Authorization": "{KEY}"}}\' hi',
    ],
)
def test_a_key_typed_into_a_cell_is_refused(shared: SharedKernel, line: str) -> None:
    run = shared.kernel.run(line)
    assert not run.ok
    assert KEY not in str(run.messages)
    assert shared.service.received == []


def test_a_key_assigned_to_the_settings_is_refused(kernel: Kernel) -> None:
    for name in ("key", "api_key", "wandb_api_key"):
        run = kernel.run(f"%config WandbInference.{name} = '{KEY}'")
        assert "%wbconfig --key" in run.text
        assert KEY not in str(run.messages)
    assert KEY not in str(kernel.run("%config WandbInference").messages)
    assert KEY not in str(kernel.run("%wbconfig").messages)


def test_the_debug_log_of_a_script_contains_no_key(environment: dict[str, str], wandb: Wandb, tmp_path: Path) -> None:
    code = (
        "import logging; logging.basicConfig(level=logging.DEBUG)\n"
        "from wandb_inference_magic import chat, client\n"
        "print(chat('hi').text, repr(client()))\n"
        "raise SystemExit(client().models.list())"
    )
    done = run_by_fork(code, environment | wandb.environment | {"WANDB_API_KEY": KEY}, tmp_path)
    assert "Hello there." in done.stdout
    assert logging.getLevelName(logging.DEBUG) in done.stderr
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize("call", ["chat('hi')", "map_prompts(['a'], 'Is {{ text }} so?')", "client().models.list()"])
@pytest.mark.parametrize("status", [400, 401])
def test_a_traceback_contains_no_key_that_the_service_quotes(
    environment: dict[str, str], service: Service, tmp_path: Path, call: str, status: int
) -> None:
    """It also shows the SDK's error, as the reason of ours."""
    service.always = refused(status, f"Incorrect API key provided: {KEY}")
    service.listing_script = refused(status, f"Incorrect API key provided: {KEY}")
    code = f"from wandb_inference_magic import chat, client, map_prompts\n{call}"
    keys = {"WANDB_INFERENCE_API_KEY": KEY}
    done = run_by_fork(code, environment | service.environment | keys, tmp_path)
    assert "Incorrect API key provided: (hidden)" in done.stderr
    assert "SECRET" not in done.stderr


def test_the_request_that_the_users_client_returns_contains_no_key(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    api = start_api(**service.environment, WANDB_INFERENCE_API_KEY=KEY)
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    completions = api.client().with_options(max_retries=0).chat.completions
    requests = [completions.with_raw_response.create(**asked).http_response.request]
    stream = completions.create(**asked, stream=True)
    requests.append(stream.response.request)
    assert list(stream)
    service.always = refused(401, "wrong key")
    with pytest.raises(openai.AuthenticationError) as failed:
        completions.create(**asked)
    requests.append(failed.value.request)
    service.always = lambda answer: answer.cut()
    with pytest.raises(openai.APIConnectionError) as broken:
        completions.create(**asked)
    requests.append(broken.value.request)
    with pytest.raises(InferenceError) as ours:
        api.chat("hi")
    requests.append(ours.value.__cause__.request)
    assert all(one.headers["authorization"] == f"Bearer {KEY}" for one in service.chats)
    assert not any(KEY in str(request.headers.raw) + str(pickle.dumps(request.headers)) for request in requests)


def test_a_pickled_reply_contains_no_key(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = start_kernel(WANDB_API_KEY=KEY, **wandb.environment)
    kernel.run("%load_ext wandb_inference_magic\n%wbchat hi\nimport pickle\ncarried = pickle.dumps(_wbreply)")
    assert kernel.value(f"{KEY.encode()!r} in carried") is False
    assert kernel.value("pickle.loads(carried).text") == "Hello there."


COLAB = f"""
import sys
from types import ModuleType
asked = []
def get(name):
    asked.append(name)
    if not granted:
        raise PermissionError("the notebook has no access to this secret")
    return "{KEY}"
granted = False
google, colab = ModuleType("google"), ModuleType("google.colab")
google.colab, colab.userdata = colab, ModuleType("userdata")
colab.userdata.get = get
sys.modules |= {{"google": google, "google.colab": colab}}
"""


def test_a_secret_store_is_asked_once_for_a_granted_key(
    start_kernel: Callable[..., Kernel], wandb: Wandb, tmp_path: Path
) -> None:
    kernel = start_kernel(**wandb.environment)
    kernel.run(f"{COLAB}\n%load_ext wandb_inference_magic\n%config WandbInference.endpoint = 'wandb'")
    assert "Colab secrets could not be read (PermissionError)" in kernel.run("%wbchat hi").error
    kernel.run("granted = True; asked.clear()\n%wbconfig --cassette class.jsonl")
    wandb.api.always = Streamed(["You said ", KEY[:9], KEY[9:]])
    for word in ("one", "two"):
        assert kernel.run(f"%wbchat --once {word} {KEY}").ok
    assert wandb.api.last.headers["authorization"] == f"Bearer {KEY}"
    assert kernel.value("asked") == ["WANDB_API_KEY"]
    assert KEY[:9] not in (tmp_path / "class.jsonl").read_text()
    # A key that was changed in the store in the meantime is found.
    kernel.run("%wbconfig --reset\n%config WandbInference.endpoint = 'wandb'\n%wbchat --once three")
    assert kernel.value("asked") == ["WANDB_API_KEY"] * 2


def test_an_invalid_key_in_a_secret_store_is_reported(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = start_kernel(**wandb.environment)
    kernel.run(COLAB.replace(f'return "{KEY}"', f'return "\u201c{KEY}\u201d"').replace("= False", "= True"))
    kernel.run("%load_ext wandb_inference_magic")
    error = kernel.run("%wbchat hi").error
    assert "Colab secrets is ignored: it has typographic quotes in it" in error
    assert "SECRET" not in error


def test_a_replay_asks_no_secret_store(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    first = start_kernel(WANDB_API_KEY=KEY, **wandb.environment)
    first.run("%load_ext wandb_inference_magic\n%wbconfig --cassette class.jsonl\n%wbchat --once hi")
    second = start_kernel()
    second.run(f"{COLAB}\n%load_ext wandb_inference_magic\n%wbconfig --cassette class.jsonl --mode replay")
    assert second.run("%wbchat --once hi").ok
    assert second.value("asked") == []


@pytest.mark.parametrize("endpoint", ["custom", "other"])
def test_a_key_in_a_reply_is_in_no_message_while_it_streams(
    start_kernel: Callable[..., Kernel], service: Service, endpoint: str
) -> None:
    """The key of the endpoint, or that of another service: a prompt with all of the environment has both."""
    own = KEY if endpoint == "custom" else "none"
    kernel = start_kernel(**service.environment | {"WANDB_INFERENCE_API_KEY": own, "WANDB_API_KEY": KEY})
    kernel.run("%load_ext wandb_inference_magic\n%config WandbInference.refresh_per_second = 50")
    shown = Event()

    def answer(one: Answer) -> None:
        one.start()
        one.event(chunk({"reasoning_content": f"It is {KEY}, "}))
        for piece in ("Your key is ", KEY[:9], KEY[9:], " and that is it.\n\n", "Look."):
            one.event(chunk({"content": piece}))
        assert shown.wait(30)
        one.event(chunk({"content": " Done."}, "stop"))
        one.event("[DONE]")
        one.end()

    service.always = answer
    run = kernel.run_and_do("%wbchat --once hi", shown.set, "that is it")
    assert run.ok
    assert "Your key is (hidden) and that is it." in run.text
    assert KEY[:9] not in str(run.messages)


def test_a_key_that_the_service_returns_is_hidden(start_kernel: Callable[..., Kernel], service: Service) -> None:
    """In an id, the name of a model, the list of models, a source: all of these are saved with the notebook."""
    kernel = start_kernel(**service.environment, WANDB_INFERENCE_API_KEY=f" {KEY} ")
    kernel.run("%load_ext wandb_inference_magic\nfrom wandb_inference_magic import models")
    service.listing = listing(MODEL, KEY, f"team/{KEY[:20]}")

    def answer(one: Answer) -> None:
        one.start(x_request_id=KEY)
        sources = [f"https://proxy.example/fetch?k={KEY}"]
        one.event(chunk({"content": "Hi."}, "stop", model=f"by-{KEY}", citations=sources))
        one.event("[DONE]")
        one.end()

    service.always = answer
    runs = [
        kernel.run(cell) for cell in ("%wbchat hi", "_wbreply", "_wbreply.facts()", "%wbmodels --table", "models()")
    ]
    assert all(run.ok for run in runs)
    assert service.last.headers["authorization"] == f"Bearer {KEY}"
    shown = "".join(str(run.messages) for run in runs)
    assert "SECRET" not in shown
    assert "(hidden)" in shown
    assert MODEL in runs[3].text
    assert kernel.value("_wbreply.sources") == ("https://proxy.example/fetch?k=(hidden)",)


NETRC_LINE = "~/.netrc could not be read (line 1 is not understood: correct it)"


@pytest.mark.parametrize("endpoint", ["local", "wandb"])
def test_a_file_of_keys_that_cannot_be_read_is_named_where_there_is_no_key(
    start_kernel: Callable[..., Kernel], environment: dict[str, str], endpoint: str
) -> None:
    (Path(environment["HOME"]) / ".netrc").write_text("machin github.com login x\n")
    kernel = start_kernel()
    kernel.run(f"%load_ext wandb_inference_magic\n%wbconfig --endpoint {endpoint}")
    assert NETRC_LINE in kernel.run("%wbconfig").text


@pytest.mark.parametrize(
    ("store", "why"),
    [
        (COLAB, "Colab secrets could not be read (PermissionError)"),
        (
            COLAB.replace(f'return "{KEY}"', f'return "{KEY}\\n"').replace("= False", "= True"),
            "Colab secrets is ignored: it contains a line break",
        ),
    ],
)
@pytest.mark.parametrize("endpoint", ["auto", "wandb"])
def test_the_settings_say_why_the_key_in_a_secret_store_is_not_used(
    start_kernel: Callable[..., Kernel], store: str, why: str, endpoint: str
) -> None:
    kernel = start_kernel()
    kernel.run(f"{store}\n%load_ext wandb_inference_magic\n%config WandbInference.endpoint = '{endpoint}'")
    shown = kernel.run("%wbconfig")
    assert why in shown.text
    assert kernel.value("asked") == ["WANDB_API_KEY"]


def test_no_file_is_switched_off_by_a_file_name(start_kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    kernel = start_kernel()
    kernel.run("%load_ext wandb_inference_magic")
    error = kernel.run("%wbconfig --cassette off").error
    assert "To use none: %wbconfig --mode off." in error
    assert not (tmp_path / "off").exists()
    error = kernel.run("%wbconfig --budget 1 --budget-file None").error
    assert "A budget file is a file, and 'None' would be its name." in error
    assert '%config WandbInference.budget_file = "". A file of that name: --budget-file ./None' in error
    assert not (tmp_path / "None").exists()
    assert kernel.run("%wbconfig --budget 1 --budget-file ./none").ok
    assert (tmp_path / "none").exists()
    assert kernel.run('%config WandbInference.budget_file = ""\n%wbconfig').ok
