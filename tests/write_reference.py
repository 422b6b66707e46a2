"""Write the reference in the README from the code. A test fails if they differ.

uv run python tests/write_reference.py
"""

from __future__ import annotations

from pathlib import Path

from wandb_inference_magic.arguments.reference import markdown_reference, markdown_settings

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
