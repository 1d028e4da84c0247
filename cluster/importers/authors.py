"""Whose post it is, for data that does not say: a table of authors, or a pseudo-author."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from cluster.ids import Ids, mix64
from cluster.importers.contract import Report
from cluster.importers.delimited import COMMA_SEPARATED, Column, Content, Layout, read_columns
from cluster.importers.names import Names, ids_of

FIRST_PSEUDO_AUTHOR = 2**62
"""Integer ids at and above it are kept for pseudo-authors, so that none is ever a user's."""


@dataclass(frozen=True)
class AuthorFile:
    """A delimited file that names the author of each item, once per item.

    A relative path is taken from the folder of the file that is imported.
    """

    path: Path
    item: Column
    author: Column
    layout: Layout = COMMA_SEPARATED


@dataclass(frozen=True)
class AuthorTable:
    """Post ids (sorted, int64) and their authors' ids (int64, same shape)."""

    post_ids: Ids
    author_ids: Ids

    def of(self, post_ids: Ids) -> Ids:
        """The author of each post, 0 where the table has none."""
        if not len(self.post_ids):
            return np.zeros(len(post_ids), np.int64)
        at = np.minimum(np.searchsorted(self.post_ids, post_ids), len(self.post_ids) - 1)
        return np.where(self.post_ids[at] == post_ids, self.author_ids[at], 0)


def read_authors(
    path: str,
    file: AuthorFile,
    report: Report,
    *,
    text_ids: bool,
    post_offset: int,
    author_offset: int,
    names: Names | None = None,
) -> AuthorTable:
    """The table in `file`; bad lines are refused as an import's own are.

    `names` are those of the import, where ids are text.
    """
    names = names or Names()
    content = Content.TEXT if text_ids else Content.INTEGER
    wanted = {"item": (file.item, content), "author": (file.author, content)}
    tables = list(read_columns(path, report, wanted, file.layout))
    if not tables:
        return AuthorTable(np.empty(0, np.int64), np.empty(0, np.int64))
    table = pa.concat_tables(tables)
    post_ids = ids_of(table.column("item"), post_offset, names.posts)
    author_ids = ids_of(table.column("author"), author_offset, names.users)
    good = (post_ids > 0) & (author_ids > 0)
    why = "an id is another name's, too" if text_ids else "an id is out of range"
    for row in np.flatnonzero(~good).tolist():
        report.refuse(path, table.column("line")[row].as_py(), why)
    post_ids, first = np.unique(post_ids[good], return_index=True)
    return AuthorTable(post_ids, author_ids[good][first])


def pseudo_authors(post_ids: Ids, *, text_ids: bool) -> Ids:
    """A made-up author for each post, always the same one, and never a user.

    With integer ids it is 2^62 + the post's id, and users' ids have to be below 2^62. With
    ids that are hashes of text it is the post's id hashed once more.
    """
    if text_ids:
        return np.maximum((mix64(post_ids) >> np.uint64(1)).astype(np.int64), 1)
    return post_ids + FIRST_PSEUDO_AUTHOR
