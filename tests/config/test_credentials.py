"""Where the key and the project are looked up, and in which order."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import sys
import traceback
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from wandb_inference_magic.config.credentials import (
    Key,
    KeySearch,
    KeySource,
    Note,
    notebook_secrets,
    resolve_key,
)
from wandb_inference_magic.config.project import check_project, find_project, ignored_project
from wandb_inference_magic.errors import InferenceError

SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests run in a folder inside the home."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def texts(found: KeySearch) -> list[str]:
    return [note.text for note in found.notes]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home and a working folder. Each place in them has its own key, named after the place."""
    (tmp_path / ".netrc").write_text(
        "machine api.wandb.ai login user password key-netrc-old\n"
        "machine api.forge.coreweave.com login user password key-netrc-new\n"
    )
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / ".config/wandb").mkdir(parents=True)
    (tmp_path / ".config/wandb/settings").write_text("[default]\napi_key = key-settings-home\n")
    (tmp_path / "work/wandb").mkdir()
    (tmp_path / "work/wandb/settings").write_text("[default]\napi_key = key-settings-folder\n")
    return tmp_path


ORDER = [
    ("WANDB_INFERENCE_API_KEY", "key-own"),
    ("WANDB_API_KEY", "key-wandb"),
    ("COREWEAVE_API_KEY", "key-coreweave"),
    ("~/.netrc (api.wandb.ai)", "key-netrc-old"),
    ("~/.netrc (api.forge.coreweave.com)", "key-netrc-new"),
    ("./wandb/settings", "key-settings-folder"),
    ("~/.config/wandb/settings", "key-settings-home"),
]


@pytest.mark.parametrize("number", range(len(ORDER)))
def test_keys_are_looked_up_in_the_documented_order(home: Path, number: int) -> None:
    """Each place is used if the places before it are empty."""
    environ = {"HOME": str(home)} | dict(ORDER[:3])
    for name, _ in ORDER[:number]:
        environ.pop(name, None)
    if number > 3:
        (home / ".netrc").write_text("machine api.forge.coreweave.com login user password key-netrc-new\n")
    if number > 4:
        (home / ".netrc").unlink()
    if number > 5:
        (home / "work/wandb/settings").unlink()
    found = resolve_key(environ, for_wandb=True).key
    assert found is not None
    assert (found.source, found.reveal()) == ORDER[number]


def test_another_endpoint_uses_only_its_own_key(home: Path) -> None:
    environ = {"HOME": str(home), "WANDB_API_KEY": "key-wandb"}
    assert resolve_key(environ, for_wandb=False).key is None
    own = resolve_key(environ | {"WANDB_INFERENCE_API_KEY": "key-own"}, for_wandb=False).key
    assert own is not None
    assert own.reveal() == "key-own"


def test_the_netrc_variable_names_another_file(home: Path) -> None:
    other = home / "other"
    other.write_text("machine api.wandb.ai login user password key-other\n")
    found = resolve_key({"HOME": str(home), "NETRC": str(other)}, for_wandb=True).key
    assert found is not None
    assert found.reveal() == "key-other"


@pytest.mark.parametrize("host", ["https://wandb.my-company.example", "my-company.example"])
def test_keys_of_a_custom_wandb_host_are_not_used(home: Path, host: str) -> None:
    environ = {"HOME": str(home), "WANDB_API_KEY": "key-wandb", "WANDB_BASE_URL": host}
    found = resolve_key(environ, for_wandb=True)
    assert found.key is None
    assert "my-company.example" in texts(found)[0]
    assert "are not used for W&B Inference; WANDB_INFERENCE_API_KEY gives a key for it" in texts(found)[0]
    assert "(or set WANDB_INFERENCE_API_KEY)" in found.no_key_error("").remedy
    assert "(or set WANDB_API_KEY)" in KeySearch(None).no_key_error("").remedy
    assert resolve_key(environ | {"WANDB_BASE_URL": "https://api.wandb.ai"}, for_wandb=True).key is not None


def test_a_settings_file_of_a_custom_host_is_skipped(tmp_path: Path) -> None:
    Path("wandb").mkdir()
    Path("wandb/settings").write_text("[default]\napi_key = k\nbase_url = https://my-company.example\n")
    found = resolve_key({"HOME": str(tmp_path)}, for_wandb=True)
    assert found.key is None
    assert "my-company.example" in texts(found)[0]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("two words", "holds a space"),
        ("a\nb", "contains a line break"),
        ("key\n", "contains a line break"),
        ("\r\nkey", "contains a line break"),
        ("clé", "contains a character that cannot be part of a key"),
        ("a\x00b", "contains a null character"),
        ("\u201ckey\u201d", "has typographic quotes in it"),
        ("Bearer key", "begins with `Bearer` or another part of a header"),
        ("'key'", "has quotes around it"),
        ('"key"', "has quotes around it"),
        ("k\u200bey", "contains a character that cannot be part of a key"),
        ("\ufeffkey", "contains a character that cannot be part of a key"),
    ],
)
def test_an_invalid_key_is_noted_and_skipped(home: Path, bad: str, why: str) -> None:
    found = resolve_key({"HOME": str(home), "WANDB_API_KEY": bad}, for_wandb=True)
    assert found.key is not None
    assert found.key.reveal() == "key-netrc-old"
    assert texts(found) == [f"WANDB_API_KEY is ignored: it {why}"]


@pytest.mark.parametrize("bad", [f"\u201c{SECRET}\u201d", f"'{SECRET}'", f"{SECRET}\u200b", f"{SECRET}\n {SECRET}"])
@pytest.mark.parametrize("place", ["~/.netrc", "./wandb/settings", "Colab secrets"])
def test_an_invalid_key_is_noted_by_its_place_wherever_it_is(home: Path, place: str, bad: str) -> None:
    (home / ".netrc").write_text(f"machine api.wandb.ai login user password {bad}\n" if "netrc" in place else "")
    (home / "work/wandb/settings").write_text(f"[default]\napi_key = {bad}\n" if "settings" in place else "")
    (home / ".config/wandb/settings").unlink()
    stores = [KeySource(place, lambda: bad)] if "Colab" in place else []
    found = resolve_key({"HOME": str(home)}, for_wandb=True, secrets=stores)
    if "netrc" in place and found.key is not None:
        # In a netrc file, straight quotes around a password are not part of it.
        assert found.key.reveal() == SECRET
        return
    assert found.key is None
    assert texts(found)[0].startswith((f"{place} is ignored: it ", f"{place} could not be read ("))
    assert SECRET not in str(found.notes)


@given(st.text(alphabet=st.characters(codec="utf-8")), st.text(alphabet=st.characters(codec="utf-8")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_contents_of_the_files_are_read_without_an_error(tmp_path: Path, netrc: str, ini: str) -> None:
    Path("wandb").mkdir(exist_ok=True)
    (tmp_path / ".netrc").write_text(netrc, encoding="utf-8")
    Path("wandb/settings").write_text(ini, encoding="utf-8")
    resolve_key({"HOME": str(tmp_path)}, for_wandb=True)
    find_project({"HOME": str(tmp_path)})


def test_a_key_is_never_shown() -> None:
    key = Key(SECRET, "WANDB_API_KEY")
    for shown in (repr(key), str(key), f"{key}", f"{[key]}", f"{key!r:>80}"):
        assert SECRET not in shown
        assert "WANDB_API_KEY" in shown
    for duplicate in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not pickled"):
            duplicate(key)
    assert key == Key(SECRET, "WANDB_API_KEY")
    assert key != Key("another", "WANDB_API_KEY")
    assert len({key, Key(SECRET, "WANDB_API_KEY"), Key("another", "WANDB_API_KEY")}) == 2


def test_the_project_is_looked_up_in_the_documented_order(tmp_path: Path) -> None:
    Path("wandb").mkdir()
    Path("wandb/settings").write_text("[default]\nentity = team-f\nproject = project-f\n")
    files = {"HOME": str(tmp_path)}
    both = files | {"WANDB_ENTITY": "team-e", "WANDB_PROJECT": "project-e"}
    own = both | {"WANDB_INFERENCE_PROJECT": "team-o/project-o"}
    assert find_project(own) == ("team-o/project-o", "WANDB_INFERENCE_PROJECT")
    assert find_project(both) == ("team-e/project-e", "WANDB_ENTITY and WANDB_PROJECT")
    assert find_project(files) == ("team-f/project-f", "./wandb/settings")
    Path("wandb/settings").unlink()
    assert find_project(files | {"WANDB_PROJECT": "alone"}) is None


def test_a_project_of_the_wandb_sdk_that_cannot_be_sent_is_reported(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "WANDB_ENTITY": "team", "WANDB_PROJECT": "p q"}
    assert find_project(environ) is None
    assert ignored_project(environ).startswith("WANDB_ENTITY and WANDB_PROJECT: ignored, because")
    assert ignored_project(environ | {"WANDB_PROJECT": ""}) == ""
    assert ignored_project(environ | {"WANDB_BASE_URL": "https://x.example"}) == ""


@pytest.mark.parametrize("bad", ["", "team", "a/b/c", "/b", "a/", "a b/c", "a/b\n/c", "té/am"])
def test_an_invalid_project_is_refused(bad: str) -> None:
    with pytest.raises(InferenceError, match="team/project"):
        check_project(bad)


def test_the_error_without_a_key_says_what_to_do() -> None:
    error = KeySearch(None, (Note("not read", "netrc could not be read"),)).no_key_error("count to ten.")
    for expected in (
        "forge.coreweave.com/settings",
        "%wbconfig --key",
        "To try it without a key, count to ten.",
        "netrc",
    ):
        assert expected in str(error)


@dataclasses.dataclass
class Holder:
    key: Key


def test_no_attribute_of_a_key_contains_it() -> None:
    key = Key(SECRET, "WANDB_API_KEY")
    assert key.reveal() == SECRET
    assert SECRET not in str(dataclasses.asdict(key))
    assert SECRET not in str(dataclasses.asdict(Holder(key)))
    # In Python 3.10 a dataclass with slots has a `__weakref__` that cannot be read.
    assert SECRET not in str([getattr(key, name) for name in dir(key) if name not in ("__slots__", "__weakref__")])
    with pytest.raises(dataclasses.FrozenInstanceError):
        key.source = "elsewhere"  # type: ignore[misc]


def test_a_traceback_with_local_variables_does_not_show_the_key() -> None:
    key = Key(SECRET, "WANDB_API_KEY")
    try:
        pickle.dumps({"key": key})
    except TypeError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert SECRET not in "".join(shown.format())


def test_a_file_that_cannot_be_parsed_is_noted_without_its_contents(home: Path) -> None:
    (home / ".netrc").write_text(f"machine api.wandb.ai login user\n{SECRET}\n")
    (home / "work/wandb/settings").write_text(f"api_key = {SECRET}\n")
    (home / ".config/wandb/settings").write_text("[default]\nentity = team\n")
    found = resolve_key({"HOME": str(home)}, for_wandb=True, secrets=())
    assert found.key is None
    assert texts(found) == [
        "~/.netrc could not be read (line 2 is not understood: correct it)",
        "./wandb/settings could not be read (line 1 is not understood: correct it)",
        "nothing in WANDB_INFERENCE_API_KEY, WANDB_API_KEY, COREWEAVE_API_KEY, ~/.config/wandb/settings",
    ]
    assert SECRET not in str(found.no_key_error(""))


ENTRY = f"machine api.wandb.ai\n  login user\n  password {SECRET}\n"


@pytest.mark.parametrize(
    "text",
    [
        f"machine api.heroku.com\n  login x\n  password y\n  method interactive\n{ENTRY}",
        f"machine github.com login x password y protocol https\n{ENTRY}",
        f"machine circleci.com\n  login x\n{ENTRY}",
        f'machine x.com login a password "p #\\" q"# note: more\n# machine api.wandb.ai password no\n{ENTRY}',
        f"macdef init\n  machine api.wandb.ai password no\n\n{ENTRY}",
        f"machine\n  login user\n  password y\n{ENTRY}",
        f"default login user password no\n{ENTRY}",
        ENTRY.replace("\n", "\r\n"),
        ENTRY.replace(SECRET, f'"{SECRET}"'),
        f"\ufeff{ENTRY}",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_key_in_netrc_is_found_whatever_else_is_in_it(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / ".netrc").write_bytes(text.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    found = resolve_key({"HOME": str(tmp_path)}, for_wandb=True, secrets=())
    assert found == KeySearch(Key(SECRET, "~/.netrc (api.wandb.ai)"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"machin api.wandb.ai login user password {SECRET}", 1),
        (f"# mine\nmachine\n  login user\n  password {SECRET}\n", 2),
        (f"machine api.wandb.ai\n  login user\n  passwort {SECRET}\n", 3),
        ("machine api.heroku.com\n  login x\n  method interactive\n", 0),
    ],
)
def test_a_line_of_netrc_that_hides_a_key_is_named(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / ".netrc").write_text(text)
    found = resolve_key({"HOME": str(tmp_path)}, for_wandb=True, secrets=())
    expected = (f"~/.netrc could not be read (line {line} is not understood: correct it)",) if line else ()
    assert (found.key, found.reasons) == (None, expected)


def test_without_a_key_the_notes_list_the_places_searched(tmp_path: Path) -> None:
    found = resolve_key({"HOME": str(tmp_path)}, for_wandb=True, secrets=())
    assert found.key is None
    assert texts(found) == [
        "nothing in WANDB_INFERENCE_API_KEY, WANDB_API_KEY, COREWEAVE_API_KEY, ~/.netrc, "
        "./wandb/settings, ~/.config/wandb/settings"
    ]
    found = resolve_key({"HOME": str(tmp_path)}, for_wandb=False)
    assert found.key is None
    assert texts(found) == ["nothing in WANDB_INFERENCE_API_KEY"]


def test_the_own_variable_is_used_despite_a_custom_host(home: Path) -> None:
    environ = {"HOME": str(home), "WANDB_INFERENCE_API_KEY": "key-own", "WANDB_BASE_URL": "https://x.example"}
    assert resolve_key(environ, for_wandb=True).key == Key("key-own", "WANDB_INFERENCE_API_KEY")


@pytest.mark.parametrize("url", ["https://api.wandb.ai@evil.example", "http://[", "api.wandb.ai.evil.example"])
def test_a_host_that_only_looks_like_wandb_is_a_custom_host(home: Path, url: str) -> None:
    environ = {"HOME": str(home), "WANDB_API_KEY": "key-wandb", "WANDB_BASE_URL": url}
    assert resolve_key(environ, for_wandb=True).key is None


def test_netrc_entries_of_other_machines_are_not_used(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine wandb.example login user password a\ndefault login user password b\n")
    assert resolve_key({"HOME": str(tmp_path)}, for_wandb=True, secrets=()).key is None


def test_the_windows_name_of_netrc_is_used_if_there_is_no_netrc(tmp_path: Path) -> None:
    (tmp_path / "_netrc").write_text("machine api.wandb.ai login someone password key-windows\n")
    found = resolve_key({"HOME": str(tmp_path)}, for_wandb=True).key
    assert found == Key("key-windows", "~/_netrc (api.wandb.ai)")
    (tmp_path / ".netrc").write_text("")
    assert resolve_key({"HOME": str(tmp_path)}, for_wandb=True, secrets=()).key is None


@pytest.mark.parametrize("named", ["~/mine", "{home}/mine"])
def test_variables_name_the_config_folder_and_netrc(tmp_path: Path, named: str) -> None:
    folder = named.format(home=tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/settings").write_text("\ufeff[default]\napi_key = key-mine\n", encoding="utf-8")
    environ = {"HOME": str(tmp_path), "WANDB_CONFIG_DIR": folder, "NETRC": f"{folder}/none"}
    found = resolve_key(environ, for_wandb=True).key
    assert found == Key("key-mine", "~/mine/settings")


@pytest.mark.parametrize("variable", ["NETRC", "WANDB_CONFIG_DIR"])
def test_the_home_of_an_unknown_user_does_not_raise(tmp_path: Path, variable: str) -> None:
    environ = {"HOME": str(tmp_path), variable: "~no-such-user/x"}
    assert resolve_key(environ, for_wandb=True, secrets=()).key is None


def test_secret_stores_come_last_and_a_failing_store_is_noted(tmp_path: Path) -> None:
    def fails() -> str:
        raise RuntimeError(SECRET)

    stores = [KeySource("A", fails), KeySource("B", lambda: None), KeySource("C", lambda: " key-store ")]
    environ = {"HOME": str(tmp_path)}
    found = resolve_key(environ, for_wandb=True, secrets=stores)
    assert found.key == Key("key-store", "C")
    assert texts(found) == ["A could not be read (RuntimeError)"]
    assert resolve_key(environ, for_wandb=False, secrets=stores).key is None


def test_the_secrets_of_colab_and_kaggle_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebook_secrets({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}) == ()
    colab, kaggle = ModuleType("google.colab"), ModuleType("kaggle_secrets")
    colab.userdata = type("userdata", (), {"get": staticmethod({"WANDB_API_KEY": "key-colab"}.get)})  # type: ignore[attr-defined]
    # Not with the name in it: a key stays hidden in all texts of this process.
    of_kaggle = {"WANDB_API_KEY": "kaggle-0123456789abc"}
    kaggle.UserSecretsClient = type("Client", (), {"get_secret": lambda self, name: of_kaggle[name]})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kaggle_secrets", kaggle)
    environ = {"HOME": str(tmp_path), "KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
    found = resolve_key(environ, for_wandb=True).key
    assert found == Key("kaggle-0123456789abc", "Kaggle secrets")
    google = ModuleType("google")
    google.colab = colab  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    found = resolve_key(environ, for_wandb=True).key
    assert found == Key("key-colab", "Colab secrets")


def test_a_key_in_place_of_the_project_is_not_shown() -> None:
    with pytest.raises(InferenceError) as caught:
        find_project({"WANDB_INFERENCE_PROJECT": SECRET})
    assert caught.value.cause == "option"
    assert "WANDB_INFERENCE_PROJECT" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_any_kind_of_file_is_skipped_if_it_cannot_be_read(tmp_path: Path) -> None:
    """A pipe has no end. A sparse file and a device do not fit into memory."""
    Path("wandb").mkdir()
    netrc, ini = tmp_path / ".netrc", Path("wandb/settings").absolute()
    for make in (os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), _huge, _binary):
        for path in (netrc, ini):
            make(path)
        found = resolve_key({"HOME": str(tmp_path)}, for_wandb=True)
        assert found.key is None
        assert find_project({"HOME": str(tmp_path)}) is None
        assert "~/.netrc could not be read" in str(found.notes)
        assert "./wandb/settings could not be read" in str(found.notes)
        for path in (netrc, ini):
            path.rmdir() if path.is_dir() else path.unlink()
    nothing = {"HOME": str(tmp_path), "NETRC": os.devnull}
    found = resolve_key(nothing, for_wandb=True)
    assert found.key is None
    assert f"nothing in {', '.join(['WANDB_INFERENCE_API_KEY', 'WANDB_API_KEY'])}" in texts(found)[-1]


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**10)


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 100)
