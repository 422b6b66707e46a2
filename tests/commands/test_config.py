"""`%wbconfig`, `%config` and `ipython_config.py`: one set of settings, and the source of each value."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from kernels import Kernel, Run, SharedKernel
from service import Service, Wandb, listing, page, refused
from versions import TIME_OF_IPYTHON_8


def setting(run: Run, name: str) -> tuple[str, str]:
    """Return the value and the source of a setting as shown in the table."""
    rows = [line for line in run.text.splitlines() if line.startswith(f"{name} ")]
    if not rows:
        # One of those at their default, which are listed below the table.
        found = re.search(rf"\b{name} \(([^)]*)\)[,.]", " ".join(run.text.split()))
        return (found[1] if found else ""), "default"
    (row,) = rows
    cells = [cell.strip() for cell in row.split("  ") if cell.strip()]
    return cells[1], cells[2] if len(cells) > 2 else ""


@pytest.mark.short
def test_every_setting_is_shown_with_its_source(
    start_kernel: Callable[..., Kernel], service: Service, environment: dict[str, str]
) -> None:
    profile = Path(environment["IPYTHONDIR"]) / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text(
        "c.WandbInference.temperature = 0.25\nc.WandbInference.model = 'from/file'\n"
    )
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url, WANDB_INFERENCE_MODEL="from/environment")
    kernel.run("%load_ext wandb_inference_magic")
    changed = kernel.run("%wbconfig --timeout 77")
    assert changed.text.splitlines()[2:] == ["timeout  77     set in this session"], "only the changed setting is shown"
    run = kernel.run("%wbconfig")
    assert setting(run, "endpoint") == (service.url, "WANDB_INFERENCE_BASE_URL")
    assert setting(run, "model") == ("from/environment", "WANDB_INFERENCE_MODEL")
    assert setting(run, "temperature") == ("0.25", "IPython's configuration")
    assert setting(run, "timeout") == ("77", "set in this session")
    assert setting(run, "max_retries") == ("3", "default")
    assert setting(run, "key")[0] == "none"
    run = kernel.run("%config WandbInference.model = 'from/session'\n%wbconfig")
    assert setting(run, "model") == ("from/session", "set in this session")
    assert setting(run, "temperature") == ("0.25", "IPython's configuration")
    run = kernel.run("%wbconfig --reset")
    assert setting(run, "model") == ("from/environment", "WANDB_INFERENCE_MODEL")
    assert setting(run, "timeout") == ("120", "default")
    kernel.run("%wbchat --once hi")
    assert service.last.body["temperature"] == 0.25
    assert service.last.body["model"] == "from/environment"


def test_percent_config_keeps_the_settings_of_wbconfig(kernel: Kernel, service: Service) -> None:
    kernel.run("%wbconfig --model set/first")
    kernel.run("%config WandbInference.temperature = 0.5")
    kernel.run("%wbchat --once hi")
    assert (service.last.body["model"], service.last.body["temperature"]) == ("set/first", 0.5)


def test_a_refused_value_leaves_the_settings_unchanged(kernel: Kernel) -> None:
    assert "timeout is a number from 0.001 to 86400, not -5" in kernel.run("%config WandbInference.timeout = -5").text
    unknown = kernel.run("%config WandbInference.temprature = 1").text
    assert "There is no setting 'temprature'. Did you mean temperature?" in unknown
    assert kernel.run("%config WandbInference.max_tokens = 5").text == "", "it is not kept"
    assert kernel.run("%config WandbInference.temperature = 0.5").of("error") == []
    assert setting(kernel.run("%wbconfig"), "timeout") == ("120", "default")
    assert setting(kernel.run("%wbconfig"), "temperature")[0] == "0.5"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--project my-team", "team/project"),
        ("--endpoint ftp://x", "not an endpoint"),
        ("--endpoint wandbb", "Did you mean wandb"),
        ("--endpoint https://user:secret@x.example", "must not contain a user name or password"),
        ("--timeout 0", "seconds"),
        ("--timeout 1e9", "seconds above 0, at most 86,400"),
        ("--cache foo", "--cache: 'foo' is not one of show, clear"),
        ("--cache clear --check", "--cache cannot be combined with --check and --key: each"),
        ("--budget-file /nope/x", "/nope/x"),
        ("--budget-file .", "cannot be used"),
        ("--modle x", "Did you mean --mode or --model"),
    ],
)
def test_an_invalid_setting_is_refused(shared: SharedKernel, line: str, expected: str) -> None:
    run = shared.kernel.run(f"%wbconfig {line}")
    assert expected in run.error
    assert "secret" not in run.error


def test_a_budget_file_is_opened_at_once_and_limits_nothing_without_a_budget(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("no database" * 100)
    assert "junk" in kernel.run("%wbconfig --budget-file junk").error
    refused = kernel.run("%wbconfig --budget-file junk --budget 1").error
    assert "No budget is set now." in refused
    assert setting(kernel.run("%wbconfig"), "budget")[0] == "not set"
    assert setting(kernel.run("%wbconfig"), "budget_file")[1] == "default"
    assert "No budget is set yet" in kernel.run("%wbconfig --budget-file class.sqlite").text
    assert "No budget" not in kernel.run("%wbconfig --budget-file class.sqlite --budget 1").text
    assert setting(kernel.run("%wbconfig --budget 0.00001"), "budget")[0] == "0.00001"
    assert setting(kernel.run("%wbconfig --budget 1000000"), "budget")[0] == "1000000"


def test_a_key_of_another_wandb_server_is_said_to_be_unused(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = start_kernel(**wandb.environment, WANDB_API_KEY="a" * 40, WANDB_BASE_URL="https://wandb.my.example")
    kernel.run("%load_ext wandb_inference_magic")
    value, source = setting(kernel.run("%wbconfig"), "key")
    assert value == "none"
    assert "names wandb.my.example" in source
    assert "WANDB_INFERENCE_API_KEY gives a key for it" in kernel.run("%wbconfig --endpoint wandb").text


@pytest.mark.short
def test_the_key_is_entered_masked_and_never_shown(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    wandb.api.listing = listing("openai/gpt-oss-20b")
    kernel = start_kernel(**wandb.environment)
    kernel.run("%load_ext wandb_inference_magic")
    request = kernel.start("%wbconfig --key", allow_stdin=True)
    stdin_request = kernel.client.get_stdin_msg(timeout=60)["content"]
    assert stdin_request["password"] is True
    assert "forge.coreweave.com/settings" in stdin_request["prompt"]
    kernel.client.input("typed-secret-key")
    run = kernel.finish(request)
    assert "✓ key       typed in, kept for this session\n" in run.text
    assert "✓ reply     " in run.text
    assert "typed-secret-key" not in str(run)
    assert kernel.run("%wbchat hi").ok
    assert wandb.api.last.headers["authorization"] == "Bearer typed-secret-key"
    assert kernel.run("%wbconfig --reset").ok
    assert "typed-secret-key" not in str(kernel.run("%wbconfig"))


def test_a_chat_without_a_key_asks_for_it(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = start_kernel(**wandb.environment)
    kernel.run("%load_ext wandb_inference_magic\n%wbconfig --endpoint wandb")
    request = kernel.start("%wbchat hi", allow_stdin=True)
    assert kernel.client.get_stdin_msg(timeout=60)["content"]["password"] is True
    kernel.client.input("typed-secret-key")
    assert kernel.finish(request).ok
    assert wandb.api.last.headers["authorization"] == "Bearer typed-secret-key"


def test_without_a_key_and_without_input_the_command_fails(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    kernel = start_kernel(**wandb.environment)
    kernel.run("%load_ext wandb_inference_magic\n%wbconfig --endpoint wandb")
    for line in ("%wbchat hi", "%wbmodels", "%wbconfig --key"):
        run = kernel.run(line)
        assert "key" in run.error
        assert "WANDB_API_KEY" in run.error
    assert wandb.connected_to == []


def test_check_lists_what_works(kernel: Kernel, service: Service) -> None:
    run = kernel.run("%wbconfig --check")
    assert run.ok
    for expected in (
        "✓ endpoint",
        "✓ key",
        "✓ project",
        "✓ models",
        "2 listed",
        "✓ reply",
        "test/model-a answered",
    ):
        assert expected in run.text
    assert "max_tokens" not in service.last.body


def test_check_lists_what_does_not_work_and_fails(kernel: Kernel, service: Service) -> None:
    service.always = refused(401, "Invalid Authentication")
    run = kernel.run("%wbconfig --check")
    assert not run.ok
    assert "✓ endpoint" in run.text
    assert "✗ key       The endpoint" in run.text
    assert "✓ models" in run.text
    assert "– reply     not checked" in run.text
    assert "asks for a key" in run.error


def test_check_marks_the_reply_or_the_endpoint_that_fails(kernel: Kernel, service: Service) -> None:
    service.always = refused(402, "no credit")
    run = kernel.run("%wbconfig --check")
    assert not run.ok
    assert "✓ models    2 listed" in run.text
    assert "✗ reply" in run.text
    kernel.run("%wbconfig --endpoint http://127.0.0.1:9/v1")
    assert "✗ endpoint  The endpoint" in kernel.run("%wbconfig --check").text


def test_settings_at_their_default_are_folded(kernel: Kernel) -> None:
    kernel.run("%wbconfig --timeout 77")
    shown = kernel.run("%wbconfig").output["data"]
    table, _, folded = shown["text/markdown"].partition("<details>")
    assert "| timeout | 77 | set in this session |" in table
    assert "default" not in table.replace("budget | not set | default", "").replace("project | not set | default", "")
    assert re.match(r"<summary>\d+ settings at their default</summary>\n\n\| setting \|", folded)
    assert "| max\\_retries | 3 | default |" in folded
    assert "settings at their default: system (not set), " in shown["text/plain"]


def test_a_typed_key_that_is_refused_is_said_to_be(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    wandb.api.always = refused(401, "Invalid Authentication")
    wandb.api.listing = listing("openai/gpt-oss-20b")
    kernel = start_kernel(**wandb.environment)
    kernel.run("%load_ext wandb_inference_magic")
    request = kernel.start("%wbconfig --key", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=60)
    kernel.client.input("typed-secret-key")
    run = kernel.finish(request)
    assert not run.ok
    assert "✗ key       " in run.text
    assert "did not accept the key" in run.error


def test_no_command_shows_a_key(start_kernel: Callable[..., Kernel], service: Service) -> None:
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL=service.url, WANDB_INFERENCE_API_KEY="its-own-secret")
    kernel.run("%load_ext wandb_inference_magic")
    for line in (
        "%wbconfig",
        "%config WandbInference",
        "%wbconfig --check",
        "from wandb_inference_magic import client\nclient()",
    ):
        assert "its-own-secret" not in str(kernel.run(line))


BAD_INPUT = [
    *(
        (f"{line} 'a\0b{ending}'", "It contains a null character.")
        for line, ending in (
            ("%wbconfig --cassette", ""),
            ("%wbconfig --budget-file", ""),
            ("%wbthread --export", ".md"),
            ("%wbthread --import", ".json"),
        )
    ),
    ("%wbchat --image 'a\0b.png' hi", "It contains a null character."),
    ("%%wbchat -t 1\n   \n", "no prompt"),
    ("%%wbchat", "Write the prompt of %%wbchat on the lines below it."),
    ("%%wbchat tell me", "options only"),
    ("%%wbmap [1]", "Write it on the lines below %%wbmap."),
    pytest.param("%%time\n%%wbeval [{'a': 1}] --truth a", "name its file: --prompt FILE", marks=TIME_OF_IPYTHON_8),
    ("%wbchat", "no prompt"),
    ("%%wbchat tell me\nhi", "options only"),
    ("%wbchat --tempreature 1 hi", "Did you mean --temperature"),
    ("%wbchat -m '' hi", "--model"),
    ("# Ask it\n\n%%wbchat -t 1\nHello there", "%%wbchat is not on the first line of the cell"),
    ("# Ask it\n%%wbmap df\nHello there", "Move the comment"),
]


@pytest.mark.parametrize(("code", "expected"), BAD_INPUT)
def test_bad_input_is_one_short_message_and_nothing_is_sent(shared: SharedKernel, code: str, expected: str) -> None:
    run = shared.kernel.run(code)
    assert not run.ok
    assert expected in run.error
    assert len(run.error.splitlines()) <= 4
    assert "Traceback" not in run.error
    assert shared.service.received == []


@pytest.mark.parametrize(
    "line", ["%wbconfig --cassette c.jsonl", "%wbconfig --budget-file b", "%wbchat --image a.png hi"]
)
def test_a_relative_name_in_a_deleted_folder_is_refused(kernel: Kernel, service: Service, line: str) -> None:
    assert kernel.run("import os\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')").ok
    assert "The folder in which this kernel works no longer exists." in kernel.run(line).error
    assert service.received == []


def test_no_network_is_one_short_message(start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel(WANDB_INFERENCE_BASE_URL="http://127.0.0.1:9/v1", WANDB_INFERENCE_MODEL="m")
    kernel.run("%load_ext wandb_inference_magic")
    run = kernel.run("%wbchat hi")
    assert "could not be reached" in run.error
    assert "Nothing answers at that address" in run.error
    assert len(run.error.splitlines()) <= 4


def test_an_endpoint_that_is_not_an_api_is_one_short_message(kernel: Kernel, service: Service) -> None:
    for line in ("%wbchat hi", "%wbchat --no-stream hi"):
        service.then(page())
        run = kernel.run(line)
        assert "answered with a web page" in run.error
    service.then(page(status=404))
    assert not kernel.run("%wbchat hi").ok


def test_the_debug_setting_shows_the_traceback(kernel: Kernel, service: Service) -> None:
    kernel.run("%config WandbInference.debug = True")
    service.then(refused(400, "bad parameter"))
    assert "Traceback (most recent call last)" in kernel.run("%wbchat hi").error
