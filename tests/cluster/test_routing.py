from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import routing
from cluster.events import REFERENCES, RULES, Kind
from cluster.ids import N_PARTITIONS, owners_of, partitions_of
from cluster.routing import PARTITION, UnreadableBatch, decode, encode, is_imported, route
from tests.worlds import USERS, Event, checked, worlds

LANES = st.sampled_from([1, 3, 16, 64])


def concerned(event: Event) -> set[int]:
    """The partitions that an event concerns, one event at a time."""
    users = {event.get("actor_id", 0), event.get("author_id", 0)}
    users |= {event.get(name, 0) for name in REFERENCES.values()}
    if RULES[Kind[event["kind"].upper()]].user_target:
        users.add(event["target_id"])
    return set(partitions_of(sorted(users - {0})).tolist())


@settings(max_examples=40)
@given(worlds(), LANES)
def test_every_event_goes_once_to_each_partition_it_concerns(
    events: list[Event], n_lanes: int
) -> None:
    found: Counter[tuple[int, int]] = Counter()
    for lane, batch in route(checked(events), n_lanes).items():
        assert batch.num_rows > 0
        partitions = batch.column(PARTITION).to_numpy()
        assert set(owners_of(partitions, n_lanes).tolist()) == {lane}
        pairs = zip(batch.column("event_id").to_pylist(), partitions.tolist(), strict=True)
        found.update(pairs)
    expected = {(e["event_id"], partition) for e in events for partition in concerned(e)}
    assert found == Counter(expected)


@settings(max_examples=30)
@given(worlds(), LANES, st.booleans())
def test_a_lane_reads_what_was_written(events: list[Event], n_lanes: int, imported: bool) -> None:
    batch = checked(events)
    for part in route(batch, n_lanes).values():
        read = decode(encode(part, imported=imported))
        assert read.replace_schema_metadata(None) == part.replace_schema_metadata(None)
        assert is_imported(read) == imported
        # What is said of an event does not change on its way.
        for row in read.select(batch.schema.names).to_pylist():
            [event] = [e for e in batch.to_pylist() if e["event_id"] == row["event_id"]]
            assert row == event


def test_an_activation_goes_once_to_every_lane() -> None:
    batch = checked(
        [{"kind": "artifact_activate", "time_ms": 5, "name": "light_ranker", "model_version": "v"}]
    )
    routed = route(batch, 16)
    assert sorted(routed) == list(range(16))
    for lane, part in routed.items():
        assert owners_of(part.column(PARTITION).to_numpy(), 16).tolist() == [lane]


def test_a_topic_is_not_a_user() -> None:
    for kind in ("topic_follow", "topic_mute"):
        follow = {"kind": kind, "time_ms": 5, "actor_id": USERS[0], "target_id": USERS[4]}
        routed = route(checked([follow]), 16)
        assert sum(part.num_rows for part in routed.values()) == 1


def test_a_subscription_concerns_both_and_a_choice_its_viewer() -> None:
    given = {"time_ms": 5, "actor_id": USERS[0]}
    subscribed = {"kind": "subscribe", **given, "target_id": USERS[4]}
    assert concerned(subscribed) == set(partitions_of([USERS[0], USERS[4]]).tolist())
    for kind, name in (
        *(("preference", "languages_only"), ("dismiss", "topics"), ("module_served", "topics")),
    ):
        routed = route(checked([{"kind": kind, **given, "name": name}]), 16)
        [part] = routed.values()
        assert part.column(PARTITION).to_pylist() == partitions_of([USERS[0]]).tolist()


def test_the_author_of_a_root_hears_of_no_more_than_the_root() -> None:
    post = {"kind": "post_create", "time_ms": 5, "post_id": 9, "author_id": USERS[0]}
    routed = route(checked([post | {"root_id": 8, "root_author_id": USERS[4]}]), 16)
    assert sum(part.num_rows for part in routed.values()) == 1


def test_a_mention_concerns_who_names_and_who_is_named() -> None:
    event = {"kind": "mention", "actor_id": USERS[0], "target_id": USERS[5], "post_id": 9}
    batches = route(checked([event | {"time_ms": 1, "event_id": 1}]), 16).values()
    found = {p for batch in batches for p in batch.column(PARTITION).to_pylist()}
    assert found == set(partitions_of([USERS[0], USERS[5]]).tolist())


def test_what_an_older_program_wrote_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    event = {"kind": "follow", "actor_id": 1, "target_id": 2, "time_ms": 1, "event_id": 1}
    monkeypatch.setattr(routing, "SCHEMA_VERSION", 1)
    older = encode(checked([event]))
    monkeypatch.undo()
    assert decode(older).column("target_id").to_pylist() == [2]


def test_nothing_goes_nowhere() -> None:
    assert route(checked([]), 16) == {}
    assert decode(encode(checked([]))).num_rows == 0


PAYLOAD = encode(
    checked([{"kind": "follow", "time_ms": 5, "actor_id": k, "target_id": 9_999}
             for k in range(1, 50)])
)  # fmt: skip


@pytest.mark.parametrize("payload", [b"", b"nonsense", PAYLOAD[:7], PAYLOAD[:300], PAYLOAD[:-600]])
def test_what_is_no_batch_is_refused(payload: bytes) -> None:
    with pytest.raises(UnreadableBatch):
        decode(payload)


@pytest.mark.parametrize("version", [b"3", b"x", None])
def test_other_versions_are_refused(version: bytes | None) -> None:
    batch = pa.RecordBatch.from_pydict({"event_id": [1]})
    key = b"murmuration.events"
    written = batch.replace_schema_metadata({key: version} if version else {})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, written.schema) as writer:
        writer.write_batch(written)
    shown = (version or b"missing").decode()
    with pytest.raises(UnreadableBatch, match=f"version {shown}; this version reads up to 2"):
        decode(sink.getvalue().to_pybytes())


def test_batches_of_the_version_before_are_read() -> None:
    batch = decode(PAYLOAD)
    key = b"murmuration.events"
    assert batch.schema.metadata[key] == b"2"
    before = batch.replace_schema_metadata({**batch.schema.metadata, key: b"1"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, before.schema) as writer:
        writer.write_batch(before)
    assert decode(sink.getvalue().to_pybytes()).equals(batch)


def test_partitions_fit_their_column() -> None:
    assert N_PARTITIONS <= 2**16
