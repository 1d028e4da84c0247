"""The processes of this machine, as Linux tells of them under /proc."""

from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def command_lines(proc: Path = _PROC) -> Iterator[tuple[int, list[bytes]]]:
    """Process id and arguments, the program first, of every process that has any."""
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # It has ended meanwhile.
            if line:
                yield int(folder.name), line.rstrip(b"\0").split(b"\0")
