"""The tests find a Chromium, or get one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from browser import find_chromium


def test_a_chromium_is_found_or_got_and_a_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "downloaded" / "chrome"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    failing = (sys.executable, "-c", "raise SystemExit(1)")
    with pytest.raises(
        pytest.fail.Exception, match=r"^There is no Chromium\. .*apt-get install chromium-headless-shell"
    ):
        find_chromium(own, ways=[failing, ["no-such-command"]])
    download = (sys.executable, "-c", f"import pathlib as p; f = p.Path({str(own)!r}); f.parent.mkdir(); f.touch()")
    assert find_chromium(own, ways=[failing, download]) == str(own)
    # Now it is there, and nothing is run.
    assert find_chromium(own, ways=[("never",)]) == str(own)
    installed = tmp_path / "bin" / "chromium"
    installed.parent.mkdir()
    installed.touch(mode=0o755)
    assert find_chromium(own, ways=[]) == str(installed)
