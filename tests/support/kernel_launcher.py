"""What a kernelspec of the tests starts: it has the kernel forked, passes signals on to it, and ends with it.

`kernel_launcher.py ADDRESS ARGUMENT...`. It imports little: it starts in a fiftieth of the time of a kernel.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys


def main(address: str, *arguments: str) -> None:
    """Start a kernel with this process's environment and folder, and wait for its end."""
    # `PYTHONPATH` is obeyed, further variables of the interpreter and the SDK only by a process of its own.
    if any(name.startswith(("PYTHON", "OPENAI_", "AZURE_")) and name != "PYTHONPATH" for name in os.environ):
        os.execv(sys.executable, [sys.executable, "-m", "ipykernel_launcher", *arguments])
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        asked = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
        connection.sendall(json.dumps(asked).encode() + b"\n")
        pid = int(connection.recv(64))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: os.kill(pid, received))
        connection.recv(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
