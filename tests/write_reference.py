"""Write the reference in the README from the code. A test fails if they differ.

uv run python tests/write_reference.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from traitlets import TraitType

from wandb_inference_magic.arguments import PAGES, Page, declared_options
from wandb_inference_magic.config import SETTING_NAMES, WandbInference


def markdown_reference() -> str:
    """Return the reference of every magic and option as Markdown."""
    return "\n\n".join(_markdown(name, page) for name, page in PAGES.items())


def _markdown(name: str, page: Page) -> str:
    title = next(iter(page.usage)).split()[0]
    lines = [f"### `{title}`", "", page.purpose, "", "```text", *page.usage, "```", "", page.notes, ""]
    lines += ["| option | what it does |", "|---|---|"]
    for one in declared_options(page.options):
        usage = one.usage.replace("|", "\\|")
        words = one.help.replace("|", "\\|")
        lines.append(f"| `{usage}` | {words} |")
    return "\n".join(lines)


def markdown_settings() -> str:
    """Return the table of settings as Markdown."""
    traits = WandbInference.class_traits(config=True)
    rows = [f"| `{name}` | {_format_default(traits[name])} | {traits[name].help} |" for name in SETTING_NAMES]
    return "\n".join(["| setting | default | what it does |", "|---|---|---|", *rows])


def _format_default(trait: TraitType[Any, Any]) -> str:
    value = trait.default()
    return f"`{value!r}`" if value not in (None, "", []) else "not set"


README = Path(__file__).parent.parent / "README.md"
PARTS = {
    ("<!-- reference: written by tests/write_reference.py -->", "<!-- end of reference -->"): markdown_reference,
    ("<!-- settings: written by tests/write_reference.py -->", "<!-- end of settings -->"): markdown_settings,
}


def written(readme: str) -> str:
    """Return the README with the reference that the code defines."""
    for (begin, end), write in PARTS.items():
        before, _, rest = readme.partition(begin)
        _, _, after = rest.partition(end)
        readme = f"{before}{begin}\n\n{write()}\n\n{end}{after}"
    return readme


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
