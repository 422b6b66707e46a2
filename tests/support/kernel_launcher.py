"""What a kernelspec of the tests starts: it has the kernel forked, passes signals on to it, and ends with it.

`kernel_launcher.py ADDRESS ARGUMENT...`. It imports little: it starts in a fiftieth of the time of a kernel. With
`--terminal` before the address it has IPython forked, and gives it the terminal that it has itself.
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


def lend_terminal(address: str, *arguments: str) -> None:
    """Start IPython in this process's terminal, and wait for its end."""
    import fcntl
    import termios

    asked = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
    asked["terminal"] = os.ttyname(0)
    # Only one session can have a terminal. A process that gives it up gets SIGHUP.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    fcntl.ioctl(0, termios.TIOCNOTTY)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall(json.dumps(asked).encode() + b"\n")
        while connection.recv(64):
            pass


if __name__ == "__main__":
    if sys.argv[1] == "--terminal":
        lend_terminal(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
