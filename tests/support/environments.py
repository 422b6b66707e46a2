"""Environments for processes that the tests start, without the keys and settings of the machine."""

from __future__ import annotations

import os
from pathlib import Path

# Code after which no connection can be opened by the Python code of its process.
NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event in ('socket.connect', 'socket.getaddrinfo'):
        raise OSError('there is no network')
sys.addaudithook(refuse)
"""


def clean_environment(folder: Path) -> dict[str, str]:
    """Return an environment without keys, proxies and settings of the machine, with `folder` as the home."""
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return environment | {
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter-config"),
        "JUPYTER_DATA_DIR": str(folder / "jupyter-data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "jupyter-runtime"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # Nothing in the tests may leave this machine.
        "NO_PROXY": "127.0.0.1,localhost",
    }


def with_sitecustomize(code: str, folder: Path) -> dict[str, str]:
    """Return variables for a Python process that runs this code first, from a new folder in `folder`."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(site)}
