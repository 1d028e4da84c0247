"""The durable memory of a Bluesky import: record → subject, id → name, and its cursor."""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from cluster.events import Kind
from cluster.ids import id_of_string
from cluster.importers.atproto import POST, RecordUri, format_tid, parse_tid
from cluster.importers.contract import UnreadableImport

SCHEMA_VERSION = 2
_MAX_CACHED = 200_000

_SCHEMA = """
CREATE TABLE users (user_id INTEGER PRIMARY KEY, did TEXT NOT NULL, status INTEGER NOT NULL);
CREATE TABLE posts (post_id INTEGER PRIMARY KEY, author_id INTEGER NOT NULL, tid INTEGER NOT NULL);
CREATE TABLE records (
    actor_id INTEGER, kind INTEGER, tid INTEGER,
    subject_id INTEGER NOT NULL, author_id INTEGER NOT NULL,
    PRIMARY KEY (actor_id, kind, tid)
) WITHOUT ROWID;
CREATE TABLE cursors (
    source TEXT PRIMARY KEY, fingerprint TEXT NOT NULL,
    lines INTEGER NOT NULL, time_us INTEGER NOT NULL
);
"""


_MENTIONS = """
CREATE TABLE mentions (
    post_id INTEGER, user_id INTEGER, PRIMARY KEY (post_id, user_id)
) WITHOUT ROWID;
"""
"""Of version 2: whom posts name. Those imported before named nobody."""


class IdCollision(ValueError):
    """Two names with one id."""


class Cursor(NamedTuple):
    """How far a source has been read: lines, and Jetstream's `time_us`."""

    lines: int
    time_us: int


class RecordMap:
    """One SQLite file, changed in transactions that the importer ends with `commit`.

    A record's key is (actor, kind, TID of its rkey), exact because users' ids are checked
    for collisions. What was not committed is undone by `close`, or by a crash. Raises
    `UnreadableImport` if another import holds the file for longer than `wait_s`.
    """

    def __init__(self, path: Path, *, wait_s: float = 5.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The consumer may draw batches from another thread than the one it began in.
        self._db = sqlite3.connect(
            path, timeout=wait_s, isolation_level=None, check_same_thread=False
        )
        self._cursor = self._db.cursor()
        self._new_records: dict[tuple[int, int, int], tuple[int, int]] = {}
        self._users: dict[str, int] = {}
        self._posts: dict[str, int] = {}
        try:
            self._open(path)
        except sqlite3.Error as error:
            self._db.close()
            raise UnreadableImport(
                f"{path}: cannot be used as import state (another import under way?): {error}"
            ) from error
        except UnreadableImport:
            self._db.close()
            raise

    def user(self, did: str) -> tuple[int, bool]:
        """The user's id, and whether this is the first time the user is seen."""
        known = self._users.get(did)
        if known is not None:
            return known, False
        user_id = id_of_string(did)
        row = self._cursor.execute("SELECT did FROM users WHERE user_id = ?", (user_id,)).fetchone()
        if row is None:
            self._cursor.execute("INSERT INTO users VALUES (?, ?, 0)", (user_id, did))
        elif row[0] != did:
            raise IdCollision(f"{did} and {row[0]} have one id, {user_id}")
        if len(self._users) >= _MAX_CACHED:
            self._users.clear()
        self._users[did] = user_id
        return user_id, row is None

    def post(self, uri: RecordUri, author_id: int) -> int:
        """The id of a post, which is remembered with its author and rkey."""
        known = self._posts.get(uri.text)
        if known is not None:
            return known
        post_id = id_of_string(uri.text)
        tid = parse_tid(uri.rkey, "rkey")
        self._cursor.execute(
            "INSERT INTO posts VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (post_id, author_id, tid)
        )
        if not self._cursor.rowcount:
            row = self._cursor.execute(
                "SELECT author_id, tid FROM posts WHERE post_id = ?", (post_id,)
            ).fetchone()
            if row != (author_id, tid):
                raise IdCollision(f"{uri.text} and another post have one id, {post_id}")
        if len(self._posts) >= _MAX_CACHED:
            self._posts.clear()
        self._posts[uri.text] = post_id
        return post_id

    def name_of_user(self, user_id: int) -> str | None:
        """The DID behind an id."""
        row = self._cursor.execute("SELECT did FROM users WHERE user_id = ?", (user_id,)).fetchone()
        return None if row is None else str(row[0])

    def name_of_post(self, post_id: int) -> str | None:
        """The AT-URI behind an id, also of a post that was only liked or linked to."""
        row = self._cursor.execute(
            "SELECT did, tid FROM posts JOIN users ON user_id = author_id WHERE post_id = ?",
            (post_id,),
        ).fetchone()
        return None if row is None else f"at://{row[0]}/{POST}/{format_tid(row[1])}"

    def put(self, actor_id: int, kind: Kind, tid: int, subject_id: int, author_id: int) -> None:
        """Remember what a record is about."""
        self._new_records[actor_id, int(kind), tid] = subject_id, author_id

    def take(self, actor_id: int, kind: Kind, tid: int) -> tuple[int, int] | None:
        """(subject, author) of a record that is deleted, or None if it was never seen."""
        key = actor_id, int(kind), tid
        rows = self._cursor.execute(
            "DELETE FROM records WHERE actor_id = ? AND kind = ? AND tid = ?"
            " RETURNING subject_id, author_id",
            key,
        ).fetchall()
        stored: tuple[int, int] | None = rows[0] if rows else None
        return self._new_records.pop(key, stored)

    def mention(self, post_id: int, user_ids: set[int]) -> None:
        """Remember whom a post names, and nobody else."""
        self._cursor.execute("DELETE FROM mentions WHERE post_id = ?", (post_id,))
        self._cursor.executemany(
            "INSERT INTO mentions VALUES (?, ?)", [(post_id, user) for user in sorted(user_ids)]
        )

    def mentioned(self, post_id: int) -> set[int]:
        """Whom a post names."""
        rows = self._cursor.execute("SELECT user_id FROM mentions WHERE post_id = ?", (post_id,))
        return {int(user_id) for (user_id,) in rows}

    def change_status(self, user_id: int, status: int) -> int:
        """Set the status of an account (a `Kind`, 0 for active) and give the one before."""
        row = self._cursor.execute(
            "SELECT status FROM users WHERE user_id = ?", (user_id,)
        ).fetchone()
        self._cursor.execute("UPDATE users SET status = ? WHERE user_id = ?", (status, user_id))
        return int(row[0]) if row else 0

    def cursor(self, source: str, fingerprint: str) -> Cursor:
        """Where reading goes on; the beginning for a source that has changed."""
        row = self._cursor.execute(
            "SELECT lines, time_us FROM cursors WHERE source = ? AND fingerprint = ?",
            (source, fingerprint),
        ).fetchone()
        return Cursor(*row) if row else Cursor(0, 0)

    def set_cursor(self, source: str, fingerprint: str, cursor: Cursor) -> None:
        """Remember how far a source has been read."""
        self._cursor.execute(
            "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?)", (source, fingerprint, *cursor)
        )

    def commit(self) -> None:
        """Make everything since the last commit durable."""
        self._cursor.executemany(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)",
            [(*key, *subject) for key, subject in self._new_records.items()],
        )
        self._new_records.clear()
        self._cursor.execute("COMMIT")
        self._cursor.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Undo what was not committed."""
        self._db.close()

    def _open(self, path: Path) -> None:
        # After a power cut the newest commits may be missing, never half there: the cursor
        # goes back with the records, and the events come again under the same ids.
        self._cursor.execute("PRAGMA journal_mode = WAL")
        self._cursor.execute("PRAGMA synchronous = NORMAL")
        self._cursor.execute("PRAGMA cache_size = -65536")
        self._cursor.execute("BEGIN IMMEDIATE")
        (found,) = self._cursor.execute("PRAGMA user_version").fetchone()
        if found > SCHEMA_VERSION:
            raise UnreadableImport(
                f"{path}: import state of version {found}; this version reads up to"
                f" {SCHEMA_VERSION}"
            )
        missing = (_SCHEMA, _MENTIONS)[found:]
        for statement in "".join(missing).split(";"):
            self._cursor.execute(statement)
        if missing:
            self._cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self.commit()
