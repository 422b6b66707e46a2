"""A port for a server that must be told one before it starts."""

from __future__ import annotations

import random
import socket

# Systems hand out ports from 32768 (Linux) or 49152 up, to whoever asks for any: one from below stays free meanwhile.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port of this machine where nothing listens, and that no other process is given by chance."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")
