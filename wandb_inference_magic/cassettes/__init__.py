"""Record exchanges in a file and replay them from it.

The file format is documented in `file`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..imports import lazy_exports

if TYPE_CHECKING:
    from .cassette import Cassette
    from .slot import CassetteSlot
    from .transport import CassetteRecorder

# Lazily, because every chat needs the slot, and the rest only where a cassette is in use.
__getattr__ = lazy_exports(__name__)
