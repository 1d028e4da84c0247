"""Reading files as blocks of whole lines: plain, gzip or standard input, in constant memory."""

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from cluster.importers.contract import Report

STDIN = "-"
BLOCK_BYTES = 4 * 2**20
MAX_LINE_BYTES = 64 * 2**20
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class LineBlock:
    """Some whole lines, each ended by a newline. `first_line` counts from 1."""

    first_line: int
    data: bytes

    @property
    def n_lines(self) -> int:
        """How many lines there are."""
        return self.data.count(b"\n")

    @property
    def lines(self) -> list[bytes]:
        """The lines without their newlines."""
        return self.data[:-1].split(b"\n")


def read_lines(
    path: str,
    report: Report,
    *,
    skip: int = 0,
    block_bytes: int = BLOCK_BYTES,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[LineBlock]:
    """The lines of a file after the first `skip`, block by block.

    A line longer than `max_line_bytes` is refused and stands as an empty line. A compressed
    file that breaks off is refused from there; the whole lines before are given.
    """
    name = shown_name(path)
    number = 1
    for data in _whole_lines(path, report, name, block_bytes, max_line_bytes):
        n_lines = data.count(b"\n")
        first, number = number, number + n_lines
        if number - 1 <= skip:
            continue
        if first <= skip:
            data = _after_lines(data, skip - first + 1)
            first, n_lines = skip + 1, number - 1 - skip
        report.lines += n_lines
        yield LineBlock(first, data)


def shown_name(path: str) -> str:
    """What a file is called in messages."""
    return "<stdin>" if path == STDIN else path


def beside(path: str, other: Path) -> str:
    """Where a second file named by an option lies: relative to the first one's folder."""
    return str(other if path == STDIN else Path(path).parent / other)


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file, or of standard input for `-`; gzip is told by its first bytes."""
    with ExitStack() as stack:
        if path == STDIN:
            raw = cast(io.BufferedReader, sys.stdin.buffer)
        else:
            raw = stack.enter_context(open(path, "rb"))
        if raw.peek(2)[:2] == _GZIP_MAGIC:
            yield cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=raw)))
        else:
            yield raw


def _whole_lines(
    path: str, report: Report, name: str, block_bytes: int, max_line_bytes: int
) -> Iterator[bytes]:
    number = 1  # of the line that `rest` begins
    rest: list[bytes] = []
    rest_bytes = 0
    too_long = False
    at_start = True
    with opened(path) as stream:
        while True:
            try:
                piece = cast(io.BufferedReader, stream).read1(block_bytes)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                report.refuse(name, number, f"the compressed file breaks off here: {error}")
                return
            report.read_share = None if path == STDIN else _share_read(stream)
            if not piece:
                break
            if at_start:
                piece, at_start = piece.removeprefix(_BOM), False
            end = piece.rfind(b"\n") + 1
            if end:
                if too_long:
                    _refuse_long(report, name, number, max_line_bytes)
                    rest, too_long = [], False
                    piece, end = piece[piece.index(b"\n") :], end - piece.index(b"\n")
                data = b"".join([*rest, piece[:end]])
                number += data.count(b"\n")
                yield data
                rest, rest_bytes = [], 0
            rest.append(piece[end:])
            rest_bytes += len(piece) - end
            if rest_bytes > max_line_bytes:
                rest, too_long = [], True
        if too_long:
            _refuse_long(report, name, number, max_line_bytes)
            yield b"\n"
        elif rest_bytes:
            yield b"".join([*rest, b"\n"])


def _share_read(stream: BinaryIO) -> float:
    raw = getattr(stream, "fileobj", stream)  # What is compressed counts as it lies there.
    size_bytes = os.fstat(raw.fileno()).st_size
    return min(raw.tell() / size_bytes, 1.0) if size_bytes else 1.0


def _refuse_long(report: Report, name: str, number: int, max_line_bytes: int) -> None:
    report.refuse(name, number, f"the line is longer than {max_line_bytes} bytes")


def _after_lines(data: bytes, n_lines: int) -> bytes:
    at = 0
    for _ in range(n_lines):
        at = data.index(b"\n", at) + 1
    return data[at:]
