"""A free port for a server that needs to know its port before it starts."""

from __future__ import annotations

import random
import socket

# Systems assign ports from 32768 (Linux) or 49152 up on request. A port below that range stays free in the meantime.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port of this machine on which nothing listens, and which no other process is assigned by chance."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")
