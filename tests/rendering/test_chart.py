"""The chart below a comparison: readable in any style, and shown as text if matplotlib does not work."""

from __future__ import annotations

from pathlib import Path

from kernels import Kernel

from wandb_inference_magic.rendering.chart import Measure, chart_bundle


def test_the_chart_does_not_depend_on_the_users_style() -> None:
    from matplotlib import style

    def drawn() -> str:
        measure = Measure("tokens written", [40, 20], lambda value: f"{value:g}")
        return str(chart_bundle(["test/a", "test/b"], [measure])["image/png"])

    plain = drawn()
    with style.context("dark_background"):
        assert drawn() == plain, "the page behind it is white"


def test_the_chart_is_text_if_matplotlib_fails(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('made for another numpy')")
    run = kernel.run("%%wbchat -m test/a -m test/b\nWho are you?")
    assert run.ok, run.text
    _, chart = run.outputs
    assert set(chart["data"]) == {"text/plain"}
    assert "tokens written" in chart["data"]["text/plain"]
