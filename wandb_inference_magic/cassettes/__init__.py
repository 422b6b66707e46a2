"""Record exchanges in a file and replay them from it.

The file format is documented in `file`.
"""

from .cassette import Cassette as Cassette
from .client import CassetteRecorder as CassetteRecorder
from .slot import CassetteSlot as CassetteSlot
