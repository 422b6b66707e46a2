"""The cassette in use: opened on first use, and again when its settings have changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from ..config import SESSION, expanded
from ..errors import InferenceError

if TYPE_CHECKING:
    from ..config import Resolved
    from .cassette import Cassette


class CassetteSlot:
    """Holds the cassette of a session.

    Parameters
    ----------
    folder : Path
        Where relative paths of cassettes start.
    secrets : callable
        Returns the keys that must not be written.
    """

    def __init__(self, folder: Path, secrets: Callable[[], Collection[str]]) -> None:
        self._folder = folder
        self._secrets = secrets
        self._open: tuple[tuple[str, str], Cassette] | None = None
        # Several threads may need the cassette at the same time.
        self._lock = RLock()

    def get(self, settings: Resolved) -> Cassette | None:
        """Return the cassette that the settings name, or None.

        Raises
        ------
        InferenceError
            When it cannot be used.
        """
        with self._lock:
            if not settings.cassette or settings.cassette_mode == "off":
                self._open = None
                return None
            wanted = (settings.cassette, settings.cassette_mode)
            if self._open is None or self._open[0] != wanted:
                # Imported when a cassette is in use.
                from .cassette import Cassette

                path = self._folder / expanded(settings.cassette)
                try:
                    cassette = Cassette(path, settings.cassette_mode, settings.cassette_pace, self._secrets)
                except InferenceError as error:
                    if (source := settings.sources["cassette"]) != SESSION:
                        error.remedy = f"{error.remedy} The name of the file comes from {source}."
                    raise
                self._open = wanted, cassette
            self._open[1].pace = settings.cassette_pace
            return self._open[1]

    @contextmanager
    def reopening(self) -> Iterator[None]:
        """Open the cassette again inside the `with` block: it replays from its beginning, and records a new take.

        If the block raises, the cassette that was open before stays in use, and its take is not lost.
        """
        before, self._open = self._open, None
        try:
            yield
        except BaseException:
            self._open = before
            raise
