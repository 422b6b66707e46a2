"""A file of the user that hides a library: one sentence says so, before anything is sent."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from environments import clean_environment
from kernels import running_kernel
from python_processes import run_python
from service import Service, completion
from versions import BEFORE_3_11

from wandb_inference_magic.errors import InferenceError, Interrupted
from wandb_inference_magic.libraries import check_libraries, unusable_library

NAME = "library_of_these_tests"


def package(folder: Path, *modules: str) -> Path:
    """Create a package with these modules in a folder."""
    made = folder / NAME
    made.mkdir(parents=True)
    for module in ("__init__", *modules):
        (made / f"{module}.py").touch()
    return made


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python looks in before the one with the installed package."""
    package(tmp_path / "lib" / "site-packages", "client", "types")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr(sys, "path", [str(work), *sys.path, str(tmp_path / "lib" / "site-packages")])
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    return work


@pytest.mark.parametrize("is_imported", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_or_folder_that_hides_a_package_is_named(
    work: Path, kind: str, monkeypatch: pytest.MonkeyPatch, *, is_imported: bool
) -> None:
    own = work / f"{NAME}.py" if kind == "file" else package(work, "mine")
    own.touch()
    if is_imported:
        __import__(NAME)
        monkeypatch.delitem(sys.modules, NAME)
        monkeypatch.setitem(sys.modules, NAME, __import__(NAME))
    with pytest.raises(InferenceError) as caught:
        check_libraries(NAME)
    assert caught.value.what == f"The package {NAME} cannot be used: your own {kind} {own} hides it."
    assert caught.value.remedy == f"Rename the {kind}, then restart the kernel."


@pytest.mark.parametrize("case", ["none", "plain folder", "copy", "only one", "installed here", "working folder gone"])
def test_what_is_the_package_hides_nothing(work: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if case == "plain folder":
        (work / NAME).mkdir()
    elif case == "copy":
        package(work, "client", "types", "newer")
    elif case == "only one":
        package(work, "other")
        monkeypatch.setattr(sys, "path", sys.path[:-1])
    elif case == "installed here":
        package(work / ".venv" / "site-packages", "anything")
        monkeypatch.setattr(sys, "path", [str(work / ".venv" / "site-packages"), *sys.path])
    elif case == "working folder gone":
        monkeypatch.setattr(sys, "path", ["", *sys.path[1:]])
        monkeypatch.chdir(work)
        work.rmdir()
    check_libraries(NAME)


def test_a_failure_that_has_nothing_to_do_with_the_file_keeps_its_own_error(work: Path) -> None:
    (work / f"{NAME}.py").write_text("value = 1\nraise RuntimeError('mine')\n")
    with pytest.raises(RuntimeError) as caught:
        __import__(NAME)
    assert unusable_library(caught.value) is not None
    assert unusable_library(RuntimeError("of another place")) is None
    assert unusable_library(AttributeError("x", name="x", obj=object())) is None


@pytest.mark.parametrize("source", ["x = 1", "raise RuntimeError('mine')"])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("openai", "chat('hi')"),
        ("openai", "client()"),
        ("openai", "map_prompts(['a'], 'Is {{ text }} so?')"),
        ("jinja2", "map_prompts(['a'], 'Is {{ text }} so?')"),
        ("pydantic", "chat('hi', schema='a int')"),
        ("anyio", "chat('hi')"),
    ],
)
def test_the_python_api_names_the_file(
    environment: dict[str, str], service: Service, tmp_path: Path, name: str, call: str, source: str
) -> None:
    (tmp_path / f"{name}.py").write_text(source)
    code = f"""
import sys
sys.path.insert(0, "")
from wandb_inference_magic import InferenceError, chat, client, map_prompts
try:
    {call}
except InferenceError as error:
    print(error)
"""
    done = run_python("-c", code, environment=environment | service.environment, folder=tmp_path)
    own = tmp_path / f"{name}.py"
    assert f"The package {name} cannot be used: your own file {own} hides it." in done.stdout, done.stderr
    assert service.chats == []


@pytest.mark.parametrize(
    ("name", "magic"),
    [("markdown_it", "%wbchat hi"), ("jinja2", "%wbchat {{ 1 }}"), ("pandas", "%wbmodels -o m")],
)
def test_a_magic_names_the_file(service: Service, tmp_path: Path, name: str, magic: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / f"{name}.py").write_text("x = 1\n")
    with running_kernel(clean_environment(tmp_path) | service.environment, work) as kernel:
        assert kernel.run("%load_ext wandb_inference_magic").ok
        error = kernel.run(magic).error
    assert f"The package {name} cannot be used: your own file {work / name}.py hides it." in error
    assert service.chats == []


def test_paid_answers_are_not_lost_where_a_file_hides_pandas(service: Service, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "pandas.py").write_text("x = 1\n")
    with running_kernel(clean_environment(tmp_path) | service.environment, work) as kernel:
        kernel.run("%load_ext wandb_inference_magic")
        service.always = completion("Yes.")
        run = kernel.run('%%wbmap ["a", "b"] --no-cache -o out\n{{ text }}?')
        assert run.ok, run.error
        assert kernel.value("[one['reply'] for one in out]") == ["Yes.", "Yes."]


@pytest.mark.parametrize("name", ["openai", "pydantic", "markdown_it", "pandas"])
def test_a_library_that_cannot_be_imported_is_named(service: Service, tmp_path: Path, name: str) -> None:
    """An upgrade that was not finished: pydantic raises SystemError, an old pandas beside a new NumPy ValueError."""
    work, site = tmp_path / "work", tmp_path / "site-packages"
    work.mkdir()
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").write_text("raise SystemError('the core has version 1, which is too old')")
    cell = "%%wbmap ['a'] --no-cache -o out\n{{ text }}?" if name == "pandas" else "%wbchat hi"
    variables = service.environment | {"PYTHONPATH": str(site)}
    with running_kernel(clean_environment(tmp_path) | variables, work) as kernel:
        assert kernel.run("%load_ext wandb_inference_magic").ok
        run = kernel.run(cell)
        if name == "pandas":
            # The answers are paid for: without a frame they are a list of dicts.
            assert kernel.value("out[0]['reply']") == "Hello there."
        else:
            assert run.error.startswith(f"The package {name} cannot be imported.")
            assert "which is too old" in run.error
            assert name == "markdown_it" or service.chats == []


@pytest.mark.parametrize("call", ["%wbchat hi", "%wbmodels", "import wandb_inference_magic as w; w.client()"])
def test_a_library_that_another_installation_has_made_too_old_is_named(
    service: Service, tmp_path: Path, call: str
) -> None:
    work, layer = tmp_path / "work", tmp_path / "layer"
    work.mkdir()
    for folder in ("openai", "openai-0.28.1.dist-info"):
        (layer / folder).mkdir(parents=True)
    (layer / "openai" / "__init__.py").write_text("class ChatCompletion: ...\n")
    (layer / "openai-0.28.1.dist-info" / "METADATA").write_text("Name: openai\nVersion: 0.28.1\n")
    variables = service.environment | {"PYTHONPATH": str(layer)}
    with running_kernel(clean_environment(tmp_path) | variables, work) as kernel:
        assert kernel.run("%load_ext wandb_inference_magic").ok
        error = kernel.run(call).error
    assert "The package openai is too old: 0.28.1 is installed, and 1.55.3 or newer is needed." in error
    assert 'Run: pip install --upgrade "openai>=1.55.3".' in error
    assert service.chats == []


def test_a_compiled_package_hides_nothing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = package(work / "site-packages") / "__init__.cpython-311-x86_64-linux-gnu.so"
    module = ModuleType(NAME)
    module.__file__ = str(compiled)
    monkeypatch.setitem(sys.modules, NAME, module)
    check_libraries(NAME)


@pytest.mark.skipif(BEFORE_3_11, reason="the IPython for it does not start without sqlite3")
@pytest.mark.parametrize("cell", ["%wbconfig", "%%wbmap ['a'] -o out\n{{ text }}?"])
def test_a_python_that_was_built_without_sqlite_is_named(service: Service, tmp_path: Path, cell: str) -> None:
    work, site = tmp_path / "work", tmp_path / "site"
    work.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys\nsys.modules['_sqlite3'] = None\n")
    variables = service.environment | {"PYTHONPATH": str(site)}
    with running_kernel(clean_environment(tmp_path) | variables, work) as kernel:
        assert kernel.run("%load_ext wandb_inference_magic").ok
        error = kernel.run(cell).error
    assert error.startswith("The package sqlite3 cannot be imported; nothing was sent.")
    assert "This Python was built without it" in error
    assert "pip install" not in error


def test_an_openssl_that_does_not_work_is_named_in_place_of_the_library_that_needs_it(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`import aiohttp` prepares an encrypted connection, and `import openai` imports it if it is installed."""
    monkeypatch.setenv("OPENSSL_CONF", "/etc/own.cnf")
    raises = "import ssl\nraise ssl.SSLError(1, '[SSL: LIBRARY_HAS_NO_CIPHERS] library has no ciphers')"
    (work.parent / "lib" / "site-packages" / NAME / "__init__.py").write_text(raises)
    with pytest.raises(OSError, match="no ciphers") as caught:
        __import__(NAME)
    error = unusable_library(caught.value)
    assert error is not None
    assert error.what == "The OpenSSL of this Python cannot make an encrypted connection; nothing was sent."
    assert error.remedy == "Correct what OPENSSL_CONF=/etc/own.cnf names, or unset it. Then restart the kernel."


@pytest.mark.parametrize("kind", [TimeoutError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["work", "lib/site-packages"])
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_what_a_signal_raises_during_an_import_is_not_a_broken_library(
    work: Path, kind: type[BaseException], place: str, *, is_wrapped: bool
) -> None:
    """A time limit is the user's own error, also if a package sets it, and `sys.exit` in a handler ends the program."""
    strikes = "import signal; signal.raise_signal(signal.SIGUSR1)"
    # As Python 3.11 does with the errors of `__set_name__`.
    wrapped = f"try:\n  {strikes}\nexcept BaseException as error:\n  raise RuntimeError('in a class') from error"
    site = work.parent / "lib" / "site-packages"
    (site / NAME / "__init__.py").write_text(wrapped if is_wrapped else strikes)
    limits: dict[str, Any] = {"__name__": "limits", "__file__": str(work.parent / place / "limits.py"), "kind": kind}
    exec(compile("def strike(*_):\n  raise kind('mine')", limits["__file__"], "exec"), limits)
    before = signal.signal(signal.SIGUSR1, limits["strike"])
    try:
        with pytest.raises((kind, RuntimeError)) as caught:
            __import__(NAME)
        with pytest.raises(kind) as raised:
            unusable_library(caught.value)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert isinstance(raised.value, Interrupted if kind is KeyboardInterrupt else kind)
