"""What is written to disk: only the answer cache of a map, and files that the user names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kernels import Kernel
from service import Service, Wandb, completion

LOAD = "%load_ext wandb_inference_magic"
MAP = "rows = ['one', 'two']\nget_ipython().run_cell_magic('wbmap', 'rows {options}', 'Is {{{{ text }}}} good?')"
EVERYTHING_ELSE = [
    "%wbchat hi",
    "%wbusage --reset",
    "%%wbchat --thread other -s 'Be brief.' -t 0.5\nhi again",
    "%%wbchat --dry-run\nhi",
    "%wbmodels --table",
    "%wbmodels --refresh",
    "%wbmodels --use test/model-b",
    "%wbconfig",
    "%wbconfig --timeout 60",
    "%wbconfig --check",
    "%wbusage -o used",
    "%wbthread",
    "%wbthread main --show",
    "%wbthread --undo",
    "from wandb_inference_magic import chat, client, models\nchat('hi')\nmodels()\nlist(client().models.list())",
]

Files = dict[str, "bytes | None"]


class Disk:
    """Files where a notebook writes: in its home, its working folder, and the folder for temporary files."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        # What IPython and Jupyter write themselves in any run, and matplotlib once it draws.
        self.others = [Path(environment[name]) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR")]
        self.before = self.files()

    def files(self) -> Files:
        """Return all files with their contents, and folders (with None), except those of the other packages."""
        found = [path for path in self.folder.rglob("*") if not any(path.is_relative_to(one) for one in self.others)]
        return {str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else None for path in found}

    def changes(self) -> set[str]:
        """Return the names that were added, changed or removed since the last call."""
        before, self.before = self.before, self.files()
        return {name for name, _ in before.items() ^ self.before.items()}


@pytest.fixture
def disk(environment: dict[str, str], tmp_path: Path) -> Callable[[], Disk]:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment |= {"TMPDIR": str(temporary), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    return lambda: Disk(tmp_path, environment)


def start_with_service(start_kernel: Callable[..., Kernel], service: Service) -> Kernel:
    kernel = start_kernel(**service.environment)
    assert kernel.run("x = 1").ok
    return kernel


def test_only_the_cache_of_a_map_is_written(
    start_kernel: Callable[..., Kernel], service: Service, disk: Callable[[], Disk], tmp_path: Path
) -> None:
    kernel = start_with_service(start_kernel, service)
    seen = disk()
    assert kernel.run(LOAD).ok
    for code in EVERYTHING_ELSE:
        assert kernel.run(code).ok, code
    assert not kernel.run("%wbchat --nonsense hi").ok
    assert seen.changes() == set()
    service.always = completion("Yes.")
    assert kernel.run(MAP.format(options="--no-cache")).ok
    assert seen.changes() == set()
    assert kernel.run(MAP.format(options="")).ok
    cache = kernel.value("str(__import__('platformdirs').user_cache_path('wandb_inference_magic', appauthor=False))")
    cache_folder = Path(cache).relative_to(tmp_path)
    written = seen.changes()
    assert str(cache_folder / "answers.sqlite") in written
    # The folders above it may be new too: this home had none.
    assert all(Path(name).is_relative_to(cache_folder) or name in map(str, cache_folder.parents) for name in written), (
        written
    )
    assert kernel.run("%unload_ext wandb_inference_magic").ok
    assert seen.changes() == set()


def test_only_named_files_are_written(disk: Callable[[], Disk], kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel, service = kernel_with_catalog, wandb.api
    seen = disk()
    assert kernel.run("%wbchat hi").ok
    for name in ("talk.md", "talk.html", "talk.json"):
        assert kernel.run(f"%wbthread --export {name}").ok
        assert seen.changes() == {name}
    assert kernel.run("%wbthread copy --import talk.json").ok
    assert seen.changes() == set()
    assert kernel.run("%wbconfig --cassette class.jsonl --mode record\n%wbchat --once hi").ok
    assert seen.changes() == {"class.jsonl"}
    service.always = completion("Yes.")
    assert kernel.run(MAP.format(options="")).ok
    assert seen.changes() == {"class.jsonl"}, "recorded answers are not also kept in the cache"
    assert kernel.run("%wbconfig --mode replay\n%wbchat --once hi").ok
    assert seen.changes() == set()
    assert kernel.run("%wbconfig --mode off\n%wbconfig --budget 1 --budget-file class.sqlite").ok
    assert kernel.run("%wbchat --once hi").ok
    written = seen.changes()
    assert "class.sqlite" in written
    assert {name.removeprefix("class.sqlite") for name in written} <= {"", "-wal", "-shm", "-journal"}
