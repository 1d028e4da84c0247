"""A job's private folder, named by what its result depends on, so that it can be gone on with."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.job import TrainingError


@contextmanager
def work_folder(home: Path, told: Mapping[str, Any]) -> Iterator[Path]:
    """The folder below `home` for what `told` (JSON) says; those of other work are removed.

    It is there again for the next caller who tells the same, and should be removed by the one
    who is done. Raises `TrainingError` while another job works below `home`.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    lock = os.open(home, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(f"another job works in {home}: wait for its end") from None
        for other in home.iterdir():
            if other.name != name:
                shutil.rmtree(other)
        folder = home / name
        folder.mkdir(mode=0o700, exist_ok=True)
        yield folder.resolve()
    finally:
        os.close(lock)
