"""What depends on the version of Python or of IPython."""

from __future__ import annotations

import sys

import pytest
from IPython import version_info
from traitlets.config import Config

# Functions of Python that some tests need came with this version.
BEFORE_3_11 = sys.version_info < (3, 11)
# Its `%%time` runs no frame of the cell, and shows an error without raising it.
TIME_OF_IPYTHON_8 = pytest.mark.skipif(version_info[0] < 9, reason="%%time of IPython 8 is not part of the cell")
# Of a shell in the process of a test: IPython leaves its file open, of which Python 3.13 warns.
NO_HISTORY = Config({"HistoryManager": {"enabled": False}})
