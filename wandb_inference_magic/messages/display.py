"""How a Reply shows itself as the value of a cell.

`renderer` is a function of a layer above, imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

# Returns the MIME bundle of a Reply. The package sets it when it is imported.
renderer: Callable[[Any], dict[str, Any]]
# The replies that the running cell already shows, which are not shown again as its value. A Reply does not know it: a
# copy, or a saved one, would never show itself.
on_screen: Final[set[Any]] = set()
