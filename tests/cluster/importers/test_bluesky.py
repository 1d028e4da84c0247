from pathlib import Path
from typing import Any

import pytest

from cluster.events import KIND_OF_LABEL, Kind
from cluster.ids import id_of_string
from cluster.importers.contract import Import, UnreadableImport
from cluster.importers.formats import STATE_FILE, open_import
from cluster.importers.records import RecordMap
from tests.cluster.importers.jetstream_messages import (
    BEGIN_MS,
    BEGIN_US,
    NOW_MS,
    commit,
    delete,
    did,
    follow,
    like,
    lines_of,
    post,
    post_uri,
    stream,
    tid,
)

A, B, C = tid(BEGIN_US, 1), tid(BEGIN_US, 2), tid(BEGIN_US, 3)


def begin(folder: Path, *messages: Any, **options: Any) -> Import:
    path = folder / "jetstream.ndjson"
    path.write_bytes(lines_of(list(messages)))
    return open_import("jetstream", path, now_ms=NOW_MS, state_dir=folder / "state", **options)


def rows(import_: Import) -> list[dict[str, Any]]:
    """Events without what is not given, with kinds by name."""
    found = []
    for item in import_:
        for row in item.batch.to_pylist():
            given = {name: value for name, value in row.items() if value not in (None, 0)}
            found.append({**given, "kind": Kind(row["kind"]).label})
    return found


def without_users(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in found if row["kind"] != "user_create"]


def test_a_post_brings_its_author_along(tmp_path: Path) -> None:
    record = {"langs": ["pt-BR", "en"], "createdAt": "2024-09-09T19:45:00.500Z"}
    user, created = rows(begin(tmp_path, post(1, BEGIN_US, A, **record)))
    author_id = id_of_string(did(1))
    assert user["kind"] == "user_create"
    assert (user["actor_id"], user["uri"]) == (author_id, did(1))
    event_id = created.pop("event_id")
    assert event_id == id_of_string(f"{post_uri(1, A)}#create#{tid(BEGIN_US)}")
    assert created == {
        "kind": "post_create",
        "time_ms": 1_725_911_100_500,
        "post_id": id_of_string(post_uri(1, A)),
        "author_id": author_id,
        "text": "hello",
        "language": "pt",
        "uri": post_uri(1, A),
    }


@pytest.mark.parametrize(
    ("created_at", "expected_ms"),
    [
        ("2024-09-09T19:45:00Z", 1_725_911_100_000),
        ("2024-09-09T21:45:00+02:00", 1_725_911_100_000),
        ("2024-09-09T19:45:00", 1_725_911_100_000),
        ("2099-01-01T00:00:00Z", BEGIN_MS),
        ("0001-01-01T00:00:00Z", BEGIN_MS),
        ("yesterday", BEGIN_MS - 60_000),
        (None, BEGIN_MS - 60_000),
        (5, BEGIN_MS - 60_000),
    ],
)
def test_a_post_is_dated_as_bluesky_sorts_it(
    tmp_path: Path, created_at: Any, expected_ms: int
) -> None:
    rkey = tid(BEGIN_US - 60_000_000)
    (created,) = without_users(rows(begin(tmp_path, post(1, BEGIN_US, rkey, createdAt=created_at))))
    assert created["time_ms"] == expected_ms


def test_links_media_and_labels_of_posts(tmp_path: Path) -> None:
    quoted = {"$type": "app.bsky.embed.record", "record": {"uri": post_uri(3, C)}}
    facet = {"features": [{"$type": "app.bsky.richtext.facet#link", "uri": "https://a.example"}]}
    card = {"$type": "app.bsky.embed.external", "external": {"uri": "https://a.example"}}
    images = {"$type": "app.bsky.embed.images", "images": [{}, {}]}
    reply = {"root": {"uri": post_uri(3, C)}, "parent": {"uri": post_uri(2, B)}}
    found = without_users(
        rows(
            begin(
                tmp_path,
                post(1, BEGIN_US, A, reply=reply, embed=card, facets=[facet]),
                post(1, BEGIN_US + 5000, B, embed=quoted),
                post(
                    1,
                    BEGIN_US + 9000,
                    C,
                    embed={
                        "$type": "app.bsky.embed.recordWithMedia",
                        "record": {"record": {"uri": post_uri(2, B)}},
                        "media": images,
                    },
                    labels={"values": [{"val": "nudity"}]},
                ),
                post(
                    1, BEGIN_US + 12_000, tid(BEGIN_US, 4), embed={"$type": "app.bsky.embed.video"}
                ),
                post(
                    1,
                    BEGIN_US + 15_000,
                    tid(BEGIN_US, 5),
                    embed={
                        "$type": "app.bsky.embed.record",
                        "record": {"uri": f"at://{did(2)}/app.bsky.graph.list/{B}"},
                    },
                ),
            )
        )
    )
    replying, quoting, both, video, listing = found
    assert replying["reply_to_id"] == id_of_string(post_uri(2, B))
    assert replying["reply_to_author_id"] == id_of_string(did(2))
    assert replying["root_id"] == id_of_string(post_uri(3, C))
    assert replying["link_count"] == 1
    assert quoting["quote_of_id"] == id_of_string(post_uri(3, C))
    assert quoting["quote_of_author_id"] == id_of_string(did(3))
    assert both["quote_of_id"] == id_of_string(post_uri(2, B))
    assert (both["image_count"], both["sensitive"]) == (2, True)
    assert video["video_duration_ms"] > 0
    assert "quote_of_id" not in listing


def naming(*users: int) -> dict[str, Any]:
    features = [{"$type": "app.bsky.richtext.facet#mention", "did": did(user)} for user in users]
    return {"facets": [{"features": [feature]} for feature in features]}


def mentions(found: list[dict[str, Any]]) -> list[tuple[str, int]]:
    kinds = (Kind.MENTION.label, Kind.UNMENTION.label)
    assert all(
        (row["actor_id"], row["post_id"]) == (id_of_string(did(1)), id_of_string(post_uri(1, A)))
        for row in found
        if row["kind"] in kinds
    )
    return [(row["kind"], row["target_id"]) for row in found if row["kind"] in kinds]


def test_mentions_follow_what_a_post_names_until_it_is_deleted(tmp_path: Path) -> None:
    ben, cai, dan = (id_of_string(did(user)) for user in (2, 3, 4))
    created = post(1, BEGIN_US, A, **naming(2, 3, 1, 2))
    edited = commit(
        1, BEGIN_US + 9_000, "feed.post", A, {"text": "hullo", **naming(3, 4)}, "update"
    )
    gone = delete(1, BEGIN_US + 19_000, "feed.post", A)
    found = rows(begin(tmp_path, created, edited, gone))
    assert mentions(found) == [
        *(("mention", user) for user in sorted([ben, cai])),
        *(("mention", dan), ("unmention", ben)),
        *(("unmention", user) for user in sorted([cai, dan])),
    ]
    assert len({row["event_id"] for row in found}) == len(found)
    # Each of them is told of as a user, too.
    assert sum(row["kind"] == "user_create" for row in found) == 4
    path = tmp_path / "again"
    path.mkdir()
    assert rows(begin(path, created, edited, gone)) == found
    nobody = {"$type": "app.bsky.richtext.facet#mention", "did": "ben"}
    malformed = post(1, BEGIN_US, A, facets=[{"features": [nobody]}])
    other = tmp_path / "malformed"
    other.mkdir()
    assert rows(begin(other, malformed)) == []


def test_every_undo_finds_its_record(tmp_path: Path) -> None:
    at = BEGIN_US
    import_ = begin(
        tmp_path,
        post(1, at, A),
        like(2, at, A, post_uri(1, A)),
        commit(2, at, "feed.repost", A, {"subject": {"uri": post_uri(1, A)}}),
        follow(2, at, A, 1),
        commit(2, at, "graph.block", A, {"subject": did(3)}),
        commit(1, at, "feed.post", A, {"text": "hullo"}, "update"),
        delete(2, at, "feed.like", A),
        delete(2, at, "feed.repost", A),
        delete(2, at, "graph.follow", A),
        delete(2, at, "graph.block", A),
        delete(1, at, "feed.post", A),
        delete(2, at, "feed.like", B),
        batch_events=4,  # the undone records are in the database by then
    )
    found = without_users(rows(import_))
    post_id, author_id, actor_id = (id_of_string(name) for name in (post_uri(1, A), did(1), did(2)))
    on_post = {"actor_id": actor_id, "post_id": post_id, "author_id": author_id}
    on_author = {"actor_id": actor_id, "target_id": author_id}
    on_other = {"actor_id": actor_id, "target_id": id_of_string(did(3))}
    of_author = {"post_id": post_id, "author_id": author_id}
    expected = [
        ("post_create", of_author),
        ("favourite", on_post),
        ("repost", on_post),
        ("follow", on_author),
        ("block", on_other),
        ("post_edit", of_author),
        ("unfavourite", on_post),
        ("unrepost", on_post),
        ("unfollow", on_author),
        ("unblock", on_other),
        ("post_delete", of_author),
    ]
    names = ("actor_id", "post_id", "author_id", "target_id")
    assert [(r["kind"], {n: r[n] for n in names if n in r}) for r in found] == expected
    of_user_2 = [row["time_ms"] for row in found if row.get("actor_id") == actor_id]
    assert of_user_2 == sorted(set(of_user_2)), "one millisecond, and still in order"
    assert import_.report.notes == {"deletes of records never seen": 1}
    assert import_.report.bad == 0


def test_accounts_and_identities(tmp_path: Path) -> None:
    def account(active: bool, status: str | None, at: int) -> dict[str, Any]:
        body = {"active": active, "did": did(1), "seq": at, "status": status}
        return {"did": did(1), "time_us": BEGIN_US + at, "kind": "account", "account": body}

    identity = {"did": did(1), "handle": "alice.example", "seq": 9}
    import_ = begin(
        tmp_path,
        {"did": did(1), "time_us": BEGIN_US, "kind": "identity", "identity": identity},
        *(
            account(status is None, status, 1 + at)
            for at, status in enumerate(
                ["deactivated", None, "suspended", None, "takendown", None, "throttled", "deleted"]
            )
        ),
        {"did": did(1), "time_us": BEGIN_US, "kind": "sync", "sync": {}},
    )
    found = rows(import_)
    assert [row["kind"] for row in found] == [
        "user_create",
        "user_update",
        "user_deactivate",
        "user_reactivate",
        "user_suspend",
        "user_unsuspend",
        "user_suspend",
        "user_unsuspend",
        "user_delete",
    ]
    assert found[1]["name"] == "alice.example"
    assert import_.report.notes == {
        "account states without an event": 1,
        "messages of another kind": 1,
    }


BAD = [
    b"{",
    b"[]",
    b'{"did": "alice"}',
    lines_of([{**post(1, BEGIN_US, A), "time_us": "now"}]),
    lines_of([post(1, BEGIN_US, "self")]),
    lines_of([post(1, BEGIN_US, A, text=5)]),
    lines_of([post(1, BEGIN_US, A, reply={"root": {"uri": post_uri(1, A)}})]),
    lines_of([commit(1, BEGIN_US, "feed.like", A, {})]),
    lines_of([commit(1, BEGIN_US, "feed.like", A)]),
    lines_of([commit(1, BEGIN_US, "feed.like", A, {"subject": {"uri": "at://alice/x/y"}})]),
    lines_of([commit(1, BEGIN_US, "graph.follow", A, {"subject": "alice"})]),
    lines_of([follow(1, BEGIN_US, A, 1)]),
    lines_of([commit(1, BEGIN_US, "feed.post", A, {}, "upsert")]),
]


@pytest.mark.parametrize("line", BAD)
def test_a_malformed_message_costs_itself_alone(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "jetstream.ndjson"
    good = lines_of([post(7, BEGIN_US, A)])
    path.write_bytes(good + line.rstrip() + b"\n\n" + lines_of([follow(7, BEGIN_US, B, 8)]))
    import_ = open_import("jetstream", path, now_ms=NOW_MS, state_dir=tmp_path)
    assert [row["kind"] for row in without_users(rows(import_))] == ["post_create", "follow"]
    assert import_.report.bad == 1
    assert import_.report.first_bad[0].line == 2


def test_a_crash_before_the_commit_gives_the_same_events_again(tmp_path: Path) -> None:
    messages = list(stream(400, seed=3))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    straight = rows(begin(tmp_path / "a", *messages))
    seen: dict[int, dict[str, Any]] = {}
    for _ in range(100):
        import_ = begin(tmp_path / "b", *messages, batch_events=60)
        for drawn, item in enumerate(import_, 1):
            for row in item.batch.to_pylist():
                row = {name: value for name, value in row.items() if value not in (None, 0)}
                row["kind"] = Kind(row["kind"]).label
                if row["event_id"] in seen:
                    # Only the millisecond that keeps an actor's events apart may be lost.
                    assert abs(seen[row["event_id"]].pop("time_ms") - row["time_ms"]) <= 1
                    again = {n: v for n, v in row.items() if n != "time_ms"}
                    assert seen[row["event_id"]] == again
                seen[row["event_id"]] = row
            if drawn == 2:
                import_.close()  # the second batch is in the log, but not acknowledged to us
                break
        else:
            break
    else:
        raise AssertionError("no progress")
    assert {row["event_id"] for row in straight} == set(seen)


def test_resumes_where_it_was_and_reads_a_changed_file_from_the_start(tmp_path: Path) -> None:
    messages = list(stream(50, seed=1, deletes=False))
    assert len(without_users(rows(begin(tmp_path, *messages[:30])))) == 30
    assert len(without_users(rows(begin(tmp_path, *messages)))) == 20
    assert rows(begin(tmp_path, *messages)) == []
    other = begin(tmp_path, *messages[1:])
    assert len(without_users(rows(other))) == 49
    assert other.report.lines == 49


def test_an_id_collision_is_refused_and_counted(tmp_path: Path) -> None:
    list(begin(tmp_path, post(1, BEGIN_US, A)))
    records = RecordMap(tmp_path / "state" / STATE_FILE)
    records._db.execute("UPDATE users SET did = 'did:plc:other'")
    records.commit()
    records.close()
    import_ = begin(tmp_path, follow(2, BEGIN_US, A, 1), follow(2, BEGIN_US, B, 3))
    found = without_users(rows(import_))
    assert [row["target_id"] for row in found] == [id_of_string(did(3))]
    assert import_.report.notes["id collisions"] == 1
    assert "have one id" in import_.report.first_bad[0].why


def test_users_are_created_once_each_with_their_did(tmp_path: Path) -> None:
    found = rows(begin(tmp_path, *stream(300, seed=5), batch_events=50))
    created = [row for row in found if row["kind"] == "user_create"]
    assert {row["uri"] for row in created} == {did(user) for user in range(20)}
    assert len(created) == 20
    assert all(row["actor_id"] == id_of_string(row["uri"]) for row in created)
    assert {row["kind"] for row in found} <= KIND_OF_LABEL.keys()


def test_two_imports_do_not_share_a_state(tmp_path: Path) -> None:
    first = begin(tmp_path, post(1, BEGIN_US, A))
    next(iter(first))
    records_path = tmp_path / "state" / STATE_FILE
    with pytest.raises(UnreadableImport, match="another import under way"):
        RecordMap(records_path, wait_s=0.01)
    first.close()
    RecordMap(records_path).close()
