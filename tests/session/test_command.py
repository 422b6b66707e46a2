"""A command resolves its settings, its endpoint and its key once, and passes them on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest
from known_models import known_model_environment
from python_forks import printed_by_fork
from service import Service, Wandb, completion

from wandb_inference_magic.config import WANDB_URL, Key, KeySearch
from wandb_inference_magic.errors import Interrupted
from wandb_inference_magic.session import current_session, endpoints

# Counts how often a call opens the files that may contain a key or a project, and how often it resolves the settings.
COUNTED = """
import json, os, sys
from wandb_inference_magic import chat, map_prompts, models
from wandb_inference_magic.config import WandbInference
opened, resolved, resolve = [], [], WandbInference.resolve
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and ("netrc" in arguments[0] or "settings" in arguments[0]):
        opened.append(os.path.basename(arguments[0]))
def counting(settings, *given):
    resolved.append(1)
    return resolve(settings, *given)
models()
chat("the first one opens modules too", max_tokens=5)
WandbInference.resolve = counting
sys.addaudithook(watch)
{call}
print(json.dumps([len(resolved), {{name: opened.count(name) for name in opened if not name.endswith(".py")}}]))
"""


@pytest.mark.parametrize(
    "call",
    [
        "chat('hi', max_tokens=5)",
        "map_prompts(['a', 'b', 'c'], 'Is {{ text }} so?', cache=False)",
        "models(refresh=True)",
    ],
    ids=["chat", "map", "models"],
)
def test_settings_are_resolved_once_and_each_file_is_read_once(
    wandb: Wandb, environment: dict[str, str], call: str
) -> None:
    wandb.api.always = completion("Yes.")
    home = Path(environment["HOME"])
    (home / ".netrc").write_text("machine api.wandb.ai login user password netrc-key-0123456789-0123456789-0123\n")
    (home / ".config" / "wandb").mkdir(parents=True)
    (home / ".config" / "wandb" / "settings").write_text("[default]\nentity = team\nproject = lesson\n")
    variables = environment | known_model_environment(wandb)
    del variables["WANDB_API_KEY"]
    (line,) = printed_by_fork(COUNTED.format(call=call), variables, home)
    resolved, opened = json.loads(line)
    assert resolved == 1
    assert opened == {".netrc": 1, "settings": 1}


def test_a_key_that_was_found_before_a_command_began_is_not_kept_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, found = endpoints.Keys(), iter(["old", "new"])

    def search(*_: object, **__: object) -> KeySearch:
        # The command of another thread begins during the first search.
        if (name := next(found)) == "old":
            keys.refresh()
        return KeySearch(Key(name, "here"))

    monkeypatch.setattr(endpoints, "resolve_key", search)
    assert [keys.find(WANDB_URL), keys.find(WANDB_URL)] == [Key("old", "here"), Key("new", "here")]


def test_a_typed_key_is_for_all_paths_of_its_server_and_for_no_other_server() -> None:
    keys = endpoints.Keys()
    keys.set("http://host.example:8000", Key("typed-key-of-host", "typed"))
    for url in ("http://host.example:8000/v1", "HTTP://HOST.example:8000/v1/"):
        found = keys.find(url)
        assert found is not None
        assert found.reveal() == "typed-key-of-host"
    for url in ("https://host.example:8000", "http://host.example", "http://other.example:8000/v1", "http://["):
        assert keys.find(url) is None


def test_an_interrupt_waits_for_the_imports_in_advance(api: ModuleType, service: Service) -> None:
    """In an import that waits for another thread's it would leave Python's lock of imports held for ever."""
    service.always = completion("Hello.")
    session, joined = current_session(), []

    class Importing(Thread):
        def join(self, timeout: float | None = None) -> None:
            signal.raise_signal(signal.SIGINT)
            joined.append(self.name)

    session.importing = Importing(name="imports")
    with pytest.raises(Interrupted):
        api.chat("hi")
    assert joined == ["imports"]
    assert api.chat("hi").text
