"""Files that survive a crash whole or not at all."""

import hashlib
import os
from pathlib import Path


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Write a new file and wait until its content is on disk (its name is not yet)."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Give `path` new content in one step: a reader or a crash sees the old or the new.

    The temporary file `.NAME.new` beside it is overwritten where a crash left one, so two
    processes must not replace the same file at the same time.
    """
    new = path.with_name(f".{path.name}.new")
    write_file(new, content)
    os.replace(new, path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the content of a file that somebody else wrote is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder (files made, renamed, removed) are on disk."""
    sync_file(path)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
