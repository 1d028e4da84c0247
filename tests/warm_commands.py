"""A command line that stays: commands without a new interpreter, its imports and its Ray each.

It runs the very commands, one after the other, connected to Ray once, so it is to be ended before
the system that it talks to goes down.
"""

import io
import os
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

_ENDS_WITHIN_S = 20


class WarmCommands:
    """Runs `murmuration` commands in one process of its own."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._asks, theirs = Pipe()
        self._one_at_a_time = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env=environment, cwd=folder, pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()

    def run(self, *arguments: str, timeout_s: float) -> CompletedProcess[str]:
        """Run a command, whatever it returns; raises `TimeoutExpired`."""
        with self._one_at_a_time:
            self._asks.send(arguments)
            if not self._asks.poll(timeout_s):
                self.close()
                raise subprocess.TimeoutExpired(arguments, timeout_s)
            done: tuple[int, str, str] = self._asks.recv()
        return CompletedProcess(arguments, *done)

    def close(self) -> None:
        """End the process."""
        self._asks.close()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(asked: Connection) -> None:
    """Run what is asked for until the asker is gone."""
    from cluster.cli import main

    while True:
        try:
            arguments = asked.recv()
        except (EOFError, OSError):
            return
        asked.send(_run(main, arguments))


def _run(main: Any, arguments: tuple[str, ...]) -> tuple[int, str, str]:
    """As `murmuration`'s entry point: what the command returns, and what it said."""
    sys.argv = ["murmuration", *arguments]
    said, complained = io.StringIO(), io.StringIO()
    code: Any = 0
    with redirect_stdout(said), redirect_stderr(complained):
        try:
            main()
        except SystemExit as exit:
            code = exit.code or 0
        except BaseException as error:
            code, _ = 1, complained.write(repr(error))
    if isinstance(code, str):
        code, _ = 1, complained.write(code)
    return code, said.getvalue(), complained.getvalue()


if __name__ == "__main__":
    # Run as a script: the folder of the tests would lead the path.
    sys.path.pop(0)
    serve(Connection(int(sys.argv[1])))
    # Ray's threads have nothing to say any more.
    os._exit(0)
