import sqlite3
from pathlib import Path

import pytest

from cluster.events import Kind
from cluster.ids import id_of_string
from cluster.importers.atproto import parse_tid, parse_uri
from cluster.importers.contract import UnreadableImport
from cluster.importers.records import Cursor, IdCollision, RecordMap
from tests.cluster.importers.jetstream_messages import BEGIN_US, did, post_uri, tid

RKEY = tid(BEGIN_US)
TID = parse_tid(RKEY, "rkey")


def test_what_is_committed_stays_and_the_rest_does_not(tmp_path: Path) -> None:
    path = tmp_path / "state" / "records.sqlite"
    records = RecordMap(path)
    assert records.user(did(1)) == (id_of_string(did(1)), True)
    assert records.user(did(1)) == (id_of_string(did(1)), False)
    records.put(1, Kind.FAVOURITE, TID, 7, 8)
    records.set_cursor("f", "x", Cursor(10, BEGIN_US))
    records.commit()
    records.put(1, Kind.FAVOURITE, TID + 1, 7, 8)
    assert records.take(1, Kind.FAVOURITE, TID) == (7, 8)
    records.user(did(2))
    records.set_cursor("f", "x", Cursor(20, BEGIN_US))
    records.close()

    records = RecordMap(path)
    assert records.cursor("f", "x") == (10, BEGIN_US)
    assert records.cursor("f", "changed") == (0, 0)
    assert records.user(did(1)) == (id_of_string(did(1)), False)
    assert records.user(did(2)) == (id_of_string(did(2)), True)
    assert records.name_of_user(id_of_string(did(1))) == did(1)
    assert records.take(1, Kind.FAVOURITE, TID + 1) is None
    assert records.take(1, Kind.REPOST, TID) is None
    assert records.take(1, Kind.FAVOURITE, TID) == (7, 8)
    assert records.take(1, Kind.FAVOURITE, TID) is None
    records.close()


def test_a_record_put_and_taken_within_a_batch_is_gone(tmp_path: Path) -> None:
    records = RecordMap(tmp_path / "records.sqlite")
    records.put(1, Kind.FOLLOW, TID, 7, 0)
    records.commit()
    records.put(1, Kind.FOLLOW, TID, 9, 0)
    assert records.take(1, Kind.FOLLOW, TID) == (9, 0)
    records.commit()
    assert records.take(1, Kind.FOLLOW, TID) is None
    records.close()


def test_another_name_under_the_same_id_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    records = RecordMap(path)
    uri = parse_uri(post_uri(1, RKEY), "uri")
    author_id, _ = records.user(did(1))
    post_id = records.post(uri, author_id)
    assert records.post(uri, author_id) == post_id == id_of_string(uri.text)
    assert records.name_of_post(post_id) == uri.text
    assert records.name_of_post(post_id - 1) is None
    records.commit()
    records.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE users SET did = 'did:plc:other'")
        database.execute("UPDATE posts SET tid = tid + 1")
    database.close()
    records = RecordMap(path)
    with pytest.raises(IdCollision, match="did:plc:other have one id"):
        records.user(did(1))
    with pytest.raises(IdCollision, match="another post have one id"):
        records.post(uri, author_id)
    records.close()


def test_state_of_before_mentions_is_taken_on(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    records = RecordMap(path)
    records.put(1, Kind.FAVOURITE, TID, 7, 8)
    records.commit()
    records.close()
    database = sqlite3.connect(path)
    database.executescript("DROP TABLE mentions; PRAGMA user_version = 1")
    database.close()
    records = RecordMap(path)
    assert records.mentioned(5) == set()
    records.mention(5, {2, 3})
    records.mention(6, {2})
    records.commit()
    records.close()
    records = RecordMap(path)
    assert (records.mentioned(5), records.mentioned(6)) == ({2, 3}, {2})
    records.mention(5, set())
    assert records.mentioned(5) == set()
    assert records.take(1, Kind.FAVOURITE, TID) == (7, 8)
    records.close()


def test_state_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    RecordMap(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(UnreadableImport, match="version 9"):
        RecordMap(path)
