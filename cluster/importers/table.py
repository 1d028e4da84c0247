"""Columns-mapped tables: follow edges and engagements out of CSV and TSV files."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import RULES, Kind
from cluster.ids import MAX_ID, Ids
from cluster.importers.authors import (
    FIRST_PSEUDO_AUTHOR,
    AuthorTable,
    pseudo_authors,
    read_authors,
)
from cluster.importers.contract import Report
from cluster.importers.delimited import Column, Content, read_columns
from cluster.importers.lines import beside, shown_name
from cluster.importers.mapping import EDGES, TIMES, TableMapping
from cluster.importers.names import Names, ids_of
from cluster.importers.parts import EventParts, FirstSeen
from cluster.importers.stages import Piece

POST_LEAD_MS = 1000
"""How long before its first engagement a post is created, where times are known."""


def read_table(path: str, mapping: TableMapping, report: Report) -> Iterator[Piece]:
    """The events of a table. Each item becomes a post when it is first seen.

    Without `sort` the posts of a file that is not in order of time may come late: their
    time is that of the first row, not of the earliest. Memory grows with the number of
    items (and of users, with text ids); with `sort`, with the file. Of two texts with one id
    (63 bits of a hash) the lines of the second are refused.
    """
    names = Names()
    rows: Iterator[pa.Table] = (
        _with_ids(table, path, mapping, report, names) for table in _read(path, mapping, report)
    )
    if mapping.sort:
        tables = list(rows)
        rows = iter([pa.concat_tables(tables).sort_by("time_ms")] if tables else [])
    if mapping.target is not None:
        users = FirstSeen()
        for table in rows:
            yield _edges(table, mapping, users)
        return
    authors = _authors(path, mapping, report, names)
    seen = FirstSeen(), FirstSeen()
    for table in rows:
        yield _engagements(table, mapping, authors, seen, report)


def _read(path: str, mapping: TableMapping, report: Report) -> Iterator[pa.Table]:
    ids = Content.TEXT if mapping.text_ids else Content.INTEGER
    wanted: dict[str, tuple[Column | None, Content]] = {
        "actor": (mapping.actor, ids),
        "target": (mapping.target, ids),
        "item": (mapping.item, ids),
        "author": (mapping.author, ids),
        "time": (mapping.time, TIMES[mapping.time_unit][0]),
        "value": (mapping.value, Content.NUMBER),
        "kind": (mapping.kind_column, Content.TEXT),
    }
    for index, flag in enumerate(mapping.flags):
        wanted[f"flag{index}"] = (flag.column, Content.NUMBER)
        wanted[f"value{index}"] = (flag.value, Content.NUMBER)
    given = {
        role: (column, content) for role, (column, content) in wanted.items() if column is not None
    }
    return read_columns(path, report, given, mapping.layout)


def _with_ids(
    table: pa.Table, path: str, mapping: TableMapping, report: Report, names: Names
) -> pa.Table:
    """The good rows, with `time_ms` and the ids that the rows name."""
    lines = table.column("line").to_numpy()
    why = np.full(len(lines), "", object)
    highest = MAX_ID
    if mapping.has_pseudo_authors and not mapping.text_ids:
        highest = FIRST_PSEUDO_AUTHOR - 1
    offsets = {
        "actor": mapping.user_offset,
        "target": mapping.user_offset,
        "item": mapping.post_offset,
        "author": mapping.user_offset if mapping.author_offset is None else mapping.author_offset,
    }
    for role, offset in offsets.items():
        if role in table.schema.names:
            known = names.posts if role == "item" else names.users
            ids = ids_of(table.column(role), offset, known)
            why[(ids < 1) | (ids > highest)] = (
                f"{role} has the id of another name"
                if mapping.text_ids
                else f"{role} is not between 1 and {highest} as an id"
            )
            table = table.append_column(f"{role}_id", pa.array(ids))
    if "target_id" in table.schema.names:
        own = table.column("target_id").to_numpy() == table.column("actor_id").to_numpy()
        why[own & (why == "")] = "target must be another user than actor"
    times_ms = _times_ms(table, mapping, lines)
    why[(times_ms <= POST_LEAD_MS) & (why == "")] = "time must be after 1970"
    table = table.append_column("time_ms", pa.array(times_ms))
    if "kind" in table.schema.names:
        codes = _kind_codes(table.column("kind"), mapping)
        why[(codes == 0) & (why == "")] = "kind is not one of those mapped"
        table = table.append_column("kind_code", pa.array(codes))
    good = why == ""
    for row in np.flatnonzero(~good).tolist():
        report.refuse(shown_name(path), int(lines[row]), why[row])
    return table if good.all() else table.filter(pa.array(good))


def _times_ms(
    table: pa.Table, mapping: TableMapping, lines: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    if mapping.time is None:
        return mapping.epoch_ms + lines * mapping.step_ms
    content, ms_per_unit = TIMES[mapping.time_unit]
    column = table.column("time")
    if content is Content.DATE:
        column = column.cast(pa.int64())
    values = column.to_numpy()
    if ms_per_unit < 1:
        return values // round(1 / ms_per_unit)  # type: ignore[no-any-return]
    scaled = values * ms_per_unit
    outside = ~((scaled > 0) & (scaled < 2.0**62))
    return np.where(outside, 0, np.rint(scaled)).astype(np.int64)


def _kind_codes(column: pa.ChunkedArray, mapping: TableMapping) -> npt.NDArray[np.uint8]:
    encoded = column.combine_chunks().dictionary_encode()
    known = [int(mapping.kinds.get(text, 0)) for text in encoded.dictionary.to_pylist()]
    codes = np.array(known, np.uint8)
    return codes[encoded.indices.to_numpy()] if len(column) else codes


def _edges(table: pa.Table, mapping: TableMapping, users: FirstSeen) -> Piece:
    columns = _numpy(table)
    parts = EventParts(columns["line"])
    everyone = np.arange(table.num_rows)
    if mapping.text_ids:
        _add_users(parts, table, columns, ("actor", "target"), users)
    kinds = columns.get("kind_code", mapping.constant_kind)
    parts.add(
        everyone,
        kind=kinds,
        time_ms=columns["time_ms"],
        actor_id=columns["actor_id"],
        target_id=columns["target_id"],
    )
    return parts.piece()


def _engagements(
    table: pa.Table,
    mapping: TableMapping,
    authors: AuthorTable,
    seen: tuple[FirstSeen, FirstSeen],
    report: Report,
) -> Piece:
    columns = _numpy(table)
    post_ids, times_ms = columns["item_id"], columns["time_ms"]
    author_ids = columns.get("author_id")
    if author_ids is None:
        author_ids = authors.of(post_ids)
        unknown = author_ids == 0
        made_up = pseudo_authors(post_ids, text_ids=mapping.text_ids)
        author_ids = np.where(unknown, made_up, author_ids)
    seen_posts, seen_users = seen
    parts = EventParts(columns["line"])
    if mapping.text_ids:
        _add_users(parts, table, columns, ("actor", "author"), seen_users)
    new = seen_posts.rows(post_ids)
    if mapping.author is None:
        report.notes["posts with a pseudo-author"] += int(unknown[new].sum())
    lead_ms = POST_LEAD_MS if mapping.time is not None else 1
    parts.add(
        new,
        kind=Kind.POST_CREATE,
        time_ms=times_ms[new] - lead_ms,
        post_id=post_ids[new],
        author_id=author_ids[new],
        uri=table.column("item").take(pa.array(new)) if mapping.text_ids else None,
    )
    everyone = np.arange(table.num_rows)

    def add(rows: Ids, kind: Any, values: npt.NDArray[np.float64] | None) -> None:
        _add_engagements(parts, rows, kind, columns, author_ids, values)

    for kind in mapping.always:
        add(everyone, kind, None)
    for index, flag in enumerate(mapping.flags):
        rows = np.flatnonzero(columns[f"flag{index}"] == flag.equals)
        add(rows, flag.kind, columns.get(f"value{index}"))
    if "kind_code" in columns:
        for code in np.unique(columns["kind_code"]).tolist():
            rows = np.flatnonzero(columns["kind_code"] == code)
            add(rows, Kind(code), columns.get("value"))
    elif mapping.constant_kind is not None:
        add(everyone, mapping.constant_kind, columns.get("value"))
    return parts.piece()


def _add_engagements(
    parts: EventParts,
    rows: Ids,
    kind: Kind,
    columns: dict[str, npt.NDArray[Any]],
    author_ids: Ids,
    values: npt.NDArray[np.float64] | None,
) -> None:
    who_and_when = {"time_ms": columns["time_ms"][rows], "actor_id": columns["actor_id"][rows]}
    if kind in EDGES:
        parts.add(rows, kind=kind, **who_and_when, target_id=author_ids[rows])
        return
    has_value = values is not None and "value" in RULES[kind].may
    parts.add(
        rows,
        kind=kind,
        **who_and_when,
        post_id=columns["item_id"][rows],
        author_id=author_ids[rows],
        value=values[rows] if values is not None and has_value else None,
    )


def _add_users(
    parts: EventParts,
    table: pa.Table,
    columns: dict[str, npt.NDArray[Any]],
    roles: tuple[str, ...],
    seen: FirstSeen,
) -> None:
    """A `user_create` with the text of the id, for users who are seen for the first time."""
    roles = tuple(role for role in roles if f"{role}_id" in columns)
    ids = np.stack([columns[f"{role}_id"] for role in roles], axis=1).ravel()
    rows, role_of = np.divmod(seen.rows(ids), len(roles))
    for index, role in enumerate(roles):
        new = rows[role_of == index]
        parts.add(
            new,
            kind=Kind.USER_CREATE,
            time_ms=columns["time_ms"][new] - 1,
            actor_id=columns[f"{role}_id"][new],
            uri=table.column(role).take(pa.array(new)),
        )


def _authors(path: str, mapping: TableMapping, report: Report, names: Names) -> AuthorTable:
    if mapping.authors is None or mapping.author is not None:
        return AuthorTable(np.empty(0, np.int64), np.empty(0, np.int64))
    offset = mapping.user_offset if mapping.author_offset is None else mapping.author_offset
    return read_authors(
        beside(path, mapping.authors.path),
        mapping.authors,
        report,
        text_ids=mapping.text_ids,
        post_offset=mapping.post_offset,
        author_offset=offset,
        names=names,
    )


def _numpy(table: pa.Table) -> dict[str, npt.NDArray[Any]]:
    return {
        column.name: table.column(column.name).to_numpy()
        for column in table.schema
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    }
