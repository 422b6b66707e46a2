"""What the documentation takes from elsewhere: the reference, from the code; the examples, executed from cassettes.

Written to `_generated` and `examples` in this folder, which git ignores.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import nbformat

from wandb_inference_magic.arguments import OPTIONS, Options, sections
from wandb_inference_magic.config import SETTING_NAMES, WandbInference

if TYPE_CHECKING:
    from traitlets import TraitType

DOCS: Final = Path(__file__).parent
EXAMPLES: Final = DOCS.parent / "examples"
# Replies to the examples that have no cassette beside them. tests/record_examples.py writes them.
CASSETTES: Final = DOCS / "cassettes"
NO_NETWORK: Final = """\
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError("there is no network")
sys.addaudithook(refuse)
"""


def write(*, execute: bool) -> None:
    """Write all generated pages."""
    folder = DOCS / "_generated"
    folder.mkdir(exist_ok=True)
    (folder / "magics.md").write_text(markdown_reference(), encoding="utf-8")
    (folder / "settings.md").write_text(markdown_settings(), encoding="utf-8")
    pages = DOCS / "examples"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(EXAMPLES, pages, ignore=shutil.ignore_patterns(".*", "*.jsonl"))
    if execute:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(execute_example, sorted(pages.glob("*.ipynb"))):
                pass


# The reference -----------------------------------------------------------------------------------------------------


def markdown_reference() -> str:
    """Return the reference of every magic and option as Markdown."""
    return "\n\n".join(_markdown(name, options) for name, options in OPTIONS.items()) + "\n"


def _markdown(name: str, options: type[Options]) -> str:
    title = options.usage[0][0].split()[0]
    purpose, notes, _ = sections(options)
    lines = [
        f"({name})=",
        f"## `{title}`",
        "",
        purpose,
        "",
        "```text",
        *(form for form, _ in options.usage),
        "```",
        "",
        _mark_code(notes),
        "",
    ]
    lines += ["| option | what it does |", "|---|---|"]
    for one in options.declared:
        usage = one.usage.replace("|", " \\| ")
        text = _mark_code(one.help).replace("|", "\\|")
        lines.append(f"| `{usage}` | {text} |")
    return "\n".join(lines)


# What the help shows without backticks, because a terminal and `?` show it as it is.
CODE: Final = re.compile(r"`[^`]*`|\{\{.*?\}\}|%%?wb[a-z]+|(?<![\w-])--?[a-z][a-z-]*|\b_wbreply\b")


def _mark_code(text: str) -> str:
    return CODE.sub(lambda found: found[0] if found[0].startswith("`") else f"`{found[0]}`", text)


def markdown_settings() -> str:
    """Return the table of settings as Markdown."""
    traits = WandbInference.class_traits(config=True)
    rows = [f"| `{name}` | {_format_default(traits[name])} | {traits[name].help} |" for name in SETTING_NAMES]
    return "\n".join(["| setting | default | what it does |", "|---|---|---|", *rows]) + "\n"


def _format_default(trait: TraitType[Any, Any]) -> str:
    value = trait.default()
    return f"`{value!r}`" if value not in (None, "", []) else "not set"


# The examples ------------------------------------------------------------------------------------------------------


def execute_example(path: Path) -> None:
    """Execute a copy of an example in place. Cassettes answer, and the process can open no connection."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as home:
        folder = Path(shutil.copytree(EXAMPLES, Path(home) / "examples"))
        (Path(home) / "sitecustomize.py").write_text(NO_NETWORK)
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "COREWEAVE_"))}
        variables |= {
            "HOME": home,
            "IPYTHONDIR": f"{home}/ipython",
            "PYTHONPATH": home,
            "WANDB_INFERENCE_CASSETTE_PACE": "at-once",
        }
        if (cassette := CASSETTES / f"{path.stem}.jsonl").exists():
            variables |= {
                "WANDB_INFERENCE_CASSETTE": str(cassette),
                "WANDB_INFERENCE_CASSETTE_MODE": "replay",
            }
        client = NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(folder)}})
        client.execute(env=variables)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    write(execute="--execute" in sys.argv)
