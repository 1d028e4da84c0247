"""Cascades: a line is a post with its engagements, `author user time,user time,…`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import ENGAGEMENTS, NEGATIVE_FEEDBACK, Kind
from cluster.ids import MAX_ID, Ids
from cluster.importers.authors import (
    FIRST_PSEUDO_AUTHOR,
    AuthorFile,
    AuthorTable,
    pseudo_authors,
    read_authors,
)
from cluster.importers.contract import Report, UnreadableImport
from cluster.importers.delimited import Content, Layout, read_columns
from cluster.importers.lines import LineBlock, beside, read_lines, shown_name
from cluster.importers.mapping import DEFAULT_EPOCH_MS
from cluster.importers.names import ids_of
from cluster.importers.stages import Piece
from cluster.importers.table import POST_LEAD_MS

_MAX_LINE_BYTES = 2**30
_MAX_TIME_S = 2**43
"""Above any time in seconds, and far below what overflows in milliseconds."""
_NO_IDS: Ids = np.empty(0, np.int64)


@dataclass(frozen=True)
class CascadeMapping:
    """How the lines of a cascade file are written.

    Times are seconds after `epoch_ms` (0 for Unix times). A post's id is its line's index
    from 0 plus `post_offset`, or the number on the same line of `items` plus it.
    """

    kind: Kind = Kind.FAVOURITE
    epoch_ms: int = DEFAULT_EPOCH_MS
    chunk_separator: str = ","
    field_separator: str = " "
    author_first: bool = True
    """The first chunk begins with the post's author."""
    user_first: bool = True
    """A chunk is user and time, not time and user."""
    user_offset: int = 1
    post_offset: int = 1
    author_offset: int | None = None
    """For authors counted apart from users; otherwise authors are users."""
    items: Path | None = None
    """A relative path is taken from the folder of the cascade file."""
    authors: AuthorFile | None = None
    sort: bool = True
    """Put all in order of time, in memory, so that a replay up to an instant is right."""

    def __post_init__(self) -> None:
        if self.kind not in (*ENGAGEMENTS, *NEGATIVE_FEEDBACK, Kind.IMPRESSION):
            raise UnreadableImport(f"an engagement of a cascade cannot be a {self.kind.label}")
        for name in ("chunk_separator", "field_separator"):
            separator = getattr(self, name)
            if len(separator) != 1 or separator in "\r\n-.0123456789":
                raise UnreadableImport(f"{name} must be one character, no digit; got {separator!r}")
        if self.chunk_separator == self.field_separator:
            raise UnreadableImport("the separators of chunks and of fields must differ")


def read_cascades(path: str, mapping: CascadeMapping, report: Report) -> Iterator[Piece]:
    """The posts and engagements of a cascade file, a second between a post and its first.

    A line with a bad chunk is counted as bad, and its good chunks are kept; without a good
    author, or with no good chunk at all, it gives nothing.
    """
    item_ids = _item_ids(path, mapping, report)
    authors = _authors(path, mapping, report)
    parser = _Parser(mapping)
    for block in read_lines(path, report, max_line_bytes=_MAX_LINE_BYTES):
        cascades = parser.parse(block, shown_name(path), report)
        yield _piece(cascades, path, mapping, item_ids, authors, report)


@dataclass(frozen=True)
class _Cascades:
    """Parsed lines: `authors` has one entry a line (-1 for none), the rest one a chunk."""

    lines: npt.NDArray[np.int64]
    authors: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    users: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.int64]
    refused: npt.NDArray[np.bool_]
    """Lines that have been counted as bad."""


class _Parser:
    def __init__(self, mapping: CascadeMapping) -> None:
        self._mapping = mapping
        self._chunks = mapping.chunk_separator.encode()
        self._fields = mapping.field_separator.encode()
        chunk, field = re.escape(self._chunks), re.escape(self._fields)
        number = rb"[0-9]{1,17}"
        pair = number + field + number
        author = number + field if mapping.author_first else b""
        self._whole = re.compile(author + pair + b"(?:" + chunk + pair + b")*+" + chunk + b"?\r?")
        self._number = re.compile(rb"-?[0-9]{1,17}")

    def parse(self, block: LineBlock, file: str, report: Report) -> _Cascades:
        """The good chunks of every line; a line that is not of the plain form is taken apart."""
        good: list[bytes] = []
        lines: list[int] = []
        counts: list[int] = []
        refused: list[bool] = []
        for number, line in enumerate(block.lines, block.first_line):
            why = ""
            if not self._whole.fullmatch(line):
                if not line.strip():
                    continue
                line, why = self._mended(line)
                if why:
                    report.refuse(file, number, why)
                if not line:
                    continue
            line = line.rstrip(b"\r" + self._chunks)
            good.append(line)
            lines.append(number)
            refused.append(bool(why))
            counts.append(line.count(self._chunks) + 1)
        text = b" ".join(good).replace(self._chunks, b" ").replace(self._fields, b" ")
        values = np.fromstring(text.decode(), np.int64, sep=" ") if good else _NO_IDS
        starts = np.cumsum([0, *counts[:-1]]) if counts else _NO_IDS
        authors = np.full(len(lines), -1)
        if self._mapping.author_first:
            at = 2 * starts + np.arange(len(lines))
            authors, values = values[at], np.delete(values, at)
        pairs = values.reshape(-1, 2)
        users, times = pairs.T if self._mapping.user_first else pairs.T[::-1]
        return _Cascades(
            lines=np.array(lines, np.int64),
            authors=authors,
            counts=np.array(counts, np.int64),
            users=users,
            times_s=times,
            refused=np.array(refused, bool),
        )

    def _mended(self, line: bytes) -> tuple[bytes, str]:
        """The line with its good chunks only (empty if it has none), and what was wrong."""
        chunks = line.rstrip(b"\r" + self._chunks + b" \t").split(self._chunks)
        head = b""
        if self._mapping.author_first:
            author, _, chunks[0] = chunks[0].strip(b" \t").partition(self._fields)
            if not self._number.fullmatch(author):
                return b"", f"the author {author[:40]!r} is not an integer"
            head = author + self._fields
        good, why = [], ""
        for index, chunk in enumerate(chunks, 1):
            fields = chunk.strip(b" \t").split(self._fields)
            if len(fields) == 2 and all(map(self._number.fullmatch, fields)):
                good.append(self._fields.join(fields))
            elif not why:
                why = f"chunk {index} is not two integers: {chunk[:40]!r}"
        return (head + self._chunks.join(good) if good else b""), why


def _piece(
    cascades: _Cascades,
    path: str,
    mapping: CascadeMapping,
    item_ids: Ids | None,
    authors: AuthorTable,
    report: Report,
) -> Piece:
    n_lines = len(cascades.lines)
    post_ids = _post_ids(cascades.lines, item_ids, mapping)
    if mapping.author_first:
        offset = _author_offset(mapping)
        author_ids = np.where(cascades.authors >= 0, cascades.authors + offset, 0)
    else:
        author_ids = authors.of(post_ids)
        unknown = (author_ids == 0) & (post_ids > 0)
        report.notes["posts with a pseudo-author"] += int(unknown.sum())
        author_ids = np.where(unknown, pseudo_authors(post_ids, text_ids=False), author_ids)
    line_of = np.repeat(np.arange(n_lines), cascades.counts)
    user_ids = cascades.users + mapping.user_offset
    times_s = cascades.times_s
    times_ms = np.where(np.abs(times_s) < _MAX_TIME_S, times_s, -_MAX_TIME_S) * 1000
    times_ms += mapping.epoch_ms
    highest = MAX_ID if mapping.author_first else FIRST_PSEUDO_AUTHOR - 1
    good_lines = (post_ids > 0) & (author_ids > 0)
    good = (user_ids > 0) & (user_ids <= highest) & (times_ms > POST_LEAD_MS)
    for line in np.flatnonzero(~good_lines & ~cascades.refused).tolist():
        why = "the author is no id" if post_ids[line] > 0 else "there is no good item id for it"
        report.refuse(shown_name(path), int(cascades.lines[line]), why)
    told = ~good_lines | cascades.refused
    bad_chunks = np.unique(line_of[~good & ~told[line_of]])
    for line in bad_chunks.tolist():
        why = "a user is no id, or a time is before 1970"
        report.refuse(shown_name(path), int(cascades.lines[line]), why)
    good &= good_lines[line_of]
    line_of, user_ids, times_ms = line_of[good], user_ids[good], times_ms[good]
    first_ms = np.full(n_lines, np.iinfo(np.int64).max)
    np.minimum.at(first_ms, line_of, times_ms)
    posts = np.unique(line_of)
    n_posts, n_engagements = len(posts), len(line_of)
    kinds = np.repeat([Kind.POST_CREATE, mapping.kind], [n_posts, n_engagements])
    columns = {
        "kind": kinds.astype(np.uint8),
        "time_ms": np.concatenate([first_ms[posts] - POST_LEAD_MS, times_ms]),
        "actor_id": np.concatenate([np.zeros(n_posts, np.int64), user_ids]),
        "post_id": np.concatenate([post_ids[posts], post_ids[line_of]]),
        "author_id": np.concatenate([author_ids[posts], author_ids[line_of]]),
    }
    of_event = np.concatenate([posts, line_of])
    order = np.argsort(of_event, kind="stable")
    table = pa.table({name: values[order] for name, values in columns.items()})
    return Piece(table, cascades.lines[of_event[order]])


def _post_ids(lines: npt.NDArray[np.int64], item_ids: Ids | None, mapping: CascadeMapping) -> Ids:
    if item_ids is None:
        return lines - 1 + mapping.post_offset
    known = lines < len(item_ids)
    return np.where(known, item_ids[np.where(known, lines, 0)], 0)


def _item_ids(path: str, mapping: CascadeMapping, report: Report) -> Ids | None:
    """Post ids by line number (index 0 is unused), 0 where the line has none."""
    if mapping.items is None:
        return None
    wanted = {"item": (0, Content.INTEGER)}
    file = beside(path, mapping.items)
    tables = list(read_columns(file, report, wanted, Layout(header=False)))
    if not tables:
        return np.zeros(1, np.int64)
    table = pa.concat_tables(tables)
    lines = table.column("line").to_numpy()
    by_line = np.zeros(int(lines.max(initial=0)) + 1, np.int64)
    item_ids = ids_of(table.column("item"), mapping.post_offset)
    by_line[lines] = np.where(item_ids < FIRST_PSEUDO_AUTHOR, item_ids, 0)
    return by_line


def _authors(path: str, mapping: CascadeMapping, report: Report) -> AuthorTable:
    if mapping.authors is None or mapping.author_first:
        return AuthorTable(_NO_IDS, _NO_IDS)
    return read_authors(
        beside(path, mapping.authors.path),
        mapping.authors,
        report,
        text_ids=False,
        post_offset=mapping.post_offset,
        author_offset=_author_offset(mapping),
    )


def _author_offset(mapping: CascadeMapping) -> int:
    return mapping.user_offset if mapping.author_offset is None else mapping.author_offset
