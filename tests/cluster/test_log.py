"""One contract for every event log, run against real storage and real servers."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.jetstream_log import JetStreamLog
from cluster.log import (
    AppendUnknown,
    BadFrame,
    CorruptRecord,
    EmptyAppend,
    LogBusy,
    LogClosed,
    LogError,
    LogFull,
    LogUnavailable,
    LogVersionError,
    PayloadTooLarge,
    Record,
    UnknownLane,
    decode_frame,
    encode_append,
)
from cluster.nats_server import NatsCluster, NatsServer, free_ports
from cluster.sqlite_log import SqliteLog
from tests.cluster.log_backends import (
    ALL,
    N_LANES,
    Backend,
    JetStreamBackend,
    SqliteBackend,
    parts,
    read_all,
    records_reach,
)


@pytest.fixture(scope="module")
def single_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield [server.url]


@pytest.fixture(scope="module")
def three_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with NatsCluster(tmp_path_factory.mktemp("nats3")) as cluster:
        yield cluster.urls


@pytest.fixture(params=["sqlite", "jetstream", "jetstream-3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made: Backend
    if request.param == "sqlite":
        made = SqliteBackend(tmp_path / "log.db")
    elif request.param == "jetstream":
        made = JetStreamBackend(request.getfixturevalue("single_server"), 1)
    else:
        made = JetStreamBackend(request.getfixturevalue("three_servers"), 3)
    yield made
    made.close_all()


class TestContract:
    def test_appends_come_back_in_order_with_their_offsets(self, backend: Backend) -> None:
        log = backend.open(clock=lambda: 1_700_000_000_123)
        first = log.append({3: b"a", 1: b"b", 15: b"c"})
        second = log.append({1: b"d"})
        assert second > first
        assert read_all(log) == [
            Record(1, first - 2, b"b", 1_700_000_000_123),
            Record(3, first - 1, b"a", 1_700_000_000_123),
            Record(15, first, b"c", 1_700_000_000_123),
            Record(1, second, b"d", 1_700_000_000_123),
        ]
        heads = log.heads()
        assert (heads[1], heads[3], heads[15], heads[0]) == (second, first - 1, first, 0)

    def test_a_read_takes_only_the_lanes_and_positions_asked(self, backend: Backend) -> None:
        log = backend.open()
        offsets = [log.append({0: b"%d" % i, 1: b"%d" % i, 2: b"%d" % i}) for i in range(5)]
        assert parts(read_all(log, {0: offsets[2] - 2, 2: offsets[3]})) == [
            (0, b"3"),
            (0, b"4"),
            (2, b"4"),
        ]
        assert log.read({1: offsets[4]}) == []
        assert log.read({7: 0}) == []

    def test_readers_are_independent_and_follow_the_writer(self, backend: Backend) -> None:
        log = backend.open()
        one, two = backend.reader(), backend.reader()
        log.append({0: b"x"})
        assert parts(one.read(ALL, timeout_s=5)) == [(0, b"x")]
        log.append({1: b"y"})
        assert parts(read_all(two)) == [(0, b"x"), (1, b"y")]
        assert parts(read_all(one, {0: 1, 1: 0})) == [(1, b"y")]

    def test_a_read_stops_between_appends(self, backend: Backend) -> None:
        log = backend.open()
        for i in range(4):
            log.append(dict.fromkeys(range(4), bytes([i]) * 1000))
        at = dict(ALL)
        sizes: list[int] = []
        while len(sizes) < 4:
            records = log.read(at, 5000, timeout_s=5)
            sizes.append(len(records))
            at.update((record.lane, record.offset) for record in records)
        assert sizes == [4, 4, 4, 4]
        assert len(log.read(ALL, 8000)) == 8
        assert len(log.read(ALL, 1)) == 4, "an append larger than the limit still comes whole"

    def test_eight_appenders_and_nobody_sees_half_an_append(self, backend: Backend) -> None:
        log = backend.open()
        lane_sets = {
            (worker, i): sorted(random.Random(100 * worker + i).sample(range(N_LANES), 1 + i % 9))
            for worker in range(8)
            for i in range(12)
        }
        done = threading.Event()
        some_lanes = [1, 4, 5, 11]

        def follow(lanes: list[int]) -> Counter[str]:
            reader = backend.reader()
            at = dict.fromkeys(lanes, 0)
            seen: Counter[str] = Counter()
            while True:
                last = done.is_set() and records_reach(reader, at)
                records = reader.read(at, 20_000, timeout_s=0.01)
                here: dict[str, list[int]] = {}
                for record in records:
                    assert record.offset > at[record.lane]
                    at[record.lane] = record.offset
                    here.setdefault(record.payload.split(b":")[0].decode(), []).append(record.lane)
                for name, found in here.items():
                    worker, i = map(int, name.split("-"))
                    assert found == [lane for lane in lane_sets[worker, i] if lane in lanes]
                    seen[name] += 1
                if last and not records:
                    return seen

        def work(worker: int) -> list[int]:
            offsets = []
            for i in range(12):
                payload = f"{worker}-{i}:".encode() + os.urandom(1000)
                offsets.append(log.append(dict.fromkeys(lane_sets[worker, i], payload)))
            return offsets

        with ThreadPoolExecutor(10) as pool:
            followers = [pool.submit(follow, lanes) for lanes in (list(range(16)), some_lanes)]
            offsets = [w.result() for w in [pool.submit(work, k) for k in range(8)]]
            done.set()
            everything, some = (follower.result(30) for follower in followers)
        assert all(mine == sorted(mine) for mine in offsets)
        assert len({offset for mine in offsets for offset in mine}) == 96
        assert everything == Counter(f"{worker}-{i}" for worker, i in lane_sets)
        assert some == Counter(
            f"{worker}-{i}" for (worker, i), s in lane_sets.items() if set(s) & set(some_lanes)
        )

    def test_pipelined_appends_are_all_stored(self, backend: Backend) -> None:
        log = backend.open()
        pending = [log.append_async({i % 16: b"%d" % i, 3: b"x"}) for i in range(100) if i != 3]
        offsets = [append.result(20) for append in pending]
        assert len(set(offsets)) == 99
        found = {record.offset: record.payload for record in read_all(log)}
        assert {payload for payload in found.values() if payload != b"x"} >= {
            b"%d" % i for i in range(100) if i % 16 != 3
        }
        assert set(offsets) <= set(found)

    def test_a_read_waits_for_an_append(self, backend: Backend) -> None:
        log = backend.open()
        reader = backend.reader()
        assert reader.read(ALL) == []
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(reader.read, ALL, timeout_s=20.0)
            log.append({5: b"news"})
            assert parts(waiting.result(20)) == [(5, b"news")]

    def test_retention_drops_what_it_is_told_and_no_more(self, backend: Backend) -> None:
        log = backend.open()
        reader = backend.reader()
        offsets = [log.append({0: b"%d" % i, 1: b"%d" % i}) for i in range(6)]
        log.trim({0: offsets[2] - 1, 1: 0})
        assert [p for lane, p in parts(read_all(reader, {0: 0}))] == [b"3", b"4", b"5"]
        assert len(read_all(reader, {1: 0})) == 6
        assert read_all(log)[:3] == read_all(log, {1: 0})[:3], "the other halves still come"
        assert reader.first_offsets()[0] == offsets[2]
        assert reader.first_offsets()[1] == 1

    def test_retention_of_everything_keeps_heads_and_offsets(self, backend: Backend) -> None:
        log = backend.open()
        last = log.append({0: b"a", 1: b"b"})
        log.trim({0: 10**9, 1: 10**9})
        assert read_all(log) == []
        assert (log.heads()[0], log.heads()[1]) == (last - 1, last)
        assert (log.first_offsets()[0], log.first_offsets()[1]) == (last, last + 1)
        log.close()
        log = backend.open()
        after = log.append({0: b"c"})
        assert after > last
        assert parts(read_all(log)) == [(0, b"c")]
        assert log.heads()[1] == last

    def test_a_log_outlives_its_handles(self, backend: Backend) -> None:
        with backend.open() as log:
            offsets = [log.append({i % 3: b"%d" % i}) for i in range(6)]
            before = read_all(log)
        with backend.open() as log:
            assert read_all(log) == before
            assert log.append({0: b"next"}) > offsets[-1]

    def test_bad_appends_are_refused_and_leave_nothing(self, backend: Backend) -> None:
        log = backend.open()
        limit = log.max_payload_bytes
        with pytest.raises(EmptyAppend, match="at least one lane"):
            log.append({})
        with pytest.raises(EmptyAppend, match="lane 4"):
            log.append({3: b"fine", 4: b""})
        with pytest.raises(UnknownLane, match=r"lane 16: .*lanes 0 to 15"):
            log.append({3: b"fine", 16: b"x"})
        with pytest.raises(UnknownLane):
            log.read({-1: 0})
        with pytest.raises(UnknownLane):
            log.trim({99: 1})
        with pytest.raises(PayloadTooLarge, match=f"{limit + 1} bytes for lane 2.*{limit}"):
            log.append_async({3: b"fine", 2: bytes(limit + 1)})
        assert log.heads() == dict.fromkeys(range(N_LANES), 0)
        log.append({2: bytes(limit)})
        assert len(read_all(log)[0].payload) == limit

    def test_a_full_log_refuses_reads_on_and_recovers(self, backend: Backend) -> None:
        log = backend.open(max_bytes=1_000_000)
        acked: list[int] = []
        with contextlib.suppress(LogFull):
            while len(acked) < 100:
                acked += [log.append(dict.fromkeys(range(4), bytes([len(acked)]) * 20_000))]
        assert 3 < len(acked) < 100
        records = read_all(log)
        assert [record.offset for record in records][3::4] == acked
        assert Counter(r.payload[0] for r in records) == dict.fromkeys(range(len(acked)), 4)
        log.trim(dict.fromkeys(range(4), acked[-2]))
        after = log.append({0: b"room again"})
        assert read_all(log)[-1] == read_all(log, {0: after - 1})[0]

    def test_more_appends_than_may_wait_are_refused(self, backend: Backend) -> None:
        log = backend.open(max_pending=4)
        accepted: list[Future[int]] = []
        refusal = None
        while refusal is None and len(accepted) < 100_000:
            try:
                accepted += [log.append_async({0: b"%d" % len(accepted)})]
            except LogBusy as busy:
                refusal = str(busy)
        assert refusal is not None
        assert "wait" in refusal
        offsets = [append.result(20) for append in accepted]
        assert len(read_all(log, {0: 0})) == len(accepted)
        assert log.append({0: b"free again"}) > max(offsets)

    def test_a_closed_handle_says_so(self, backend: Backend) -> None:
        log = backend.open()
        waiting = [log.append_async({0: b"%d" % i}) for i in range(20)]
        log.close()
        log.close()
        assert len({append.result(0) for append in waiting}) == 20, "close finishes what it took"
        with pytest.raises(LogClosed):
            log.append({0: b"x"})
        with pytest.raises(LogClosed):
            log.read(ALL)

    def test_another_shape_or_version_is_refused(self, backend: Backend) -> None:
        backend.open().close()
        with pytest.raises(LogVersionError, match="16 lanes, 8 were asked for"):
            backend.open(n_lanes=8)
        backend.make_newer()
        with pytest.raises(LogVersionError, match="version 99, this program reads up to 1"):
            backend.open()
        with pytest.raises(LogVersionError, match="99"):
            backend.reader()

    def test_a_corrupt_record_is_named_and_can_be_passed(self, backend: Backend) -> None:
        with backend.open() as log:
            good, bad = log.append({2: b"good"}), log.append({2: b"to be damaged"})
            if isinstance(backend, SqliteBackend):
                log.append({2: b"after"})  # else the damage is a torn tail, and is cut
        backend.corrupt(2, bad)
        reader = backend.reader()
        assert parts(reader.read({2: 0}, timeout_s=5)) == [(2, b"good")]
        with pytest.raises(CorruptRecord, match=r"lane 2 at offset \d+: checksum") as caught:
            reader.read({2: good}, timeout_s=5)
        log = backend.open()
        log.append({2: b"later"})
        rest = read_all(log, {2: caught.value.offset})
        assert parts(rest)[-1] == (2, b"later")


class TestJetStreamStream:
    def test_half_an_append_is_held_back_and_then_removed(
        self, single_server: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        backend = JetStreamBackend(single_server, 1)
        backend.open().close()
        backend.store_half_an_append([0, 1, 2, 3, 4], 3)
        log, reader = backend.open(), backend.reader()
        assert reader.read(ALL) == []
        assert reader.read({1: 0}) == [], "nor by a reader of lanes that are all there"
        with caplog.at_level(logging.WARNING):
            log.append({1: b"real"})
        assert "removing 3 of 5 records" in caplog.text
        assert parts(reader.read({1: 0}, timeout_s=5)) == [(1, b"real")]
        assert parts(read_all(reader)) == [(1, b"real")]
        backend.close_all()

    def test_a_reader_passes_over_half_an_append_that_is_not_last(
        self, three_servers: list[str]
    ) -> None:
        backend = JetStreamBackend(three_servers, 3)
        with backend.open() as log:
            backend.store_half_an_append([0, 1, 2], 2)
            log.append({0: b"real", 2: b"real"})
        reader = backend.reader()
        assert parts(reader.read(ALL, timeout_s=5)) == [(0, b"real"), (2, b"real")]
        backend.close_all()

    def test_a_reader_finds_an_append_that_no_hint_told_of(self, single_server: list[str]) -> None:
        backend = JetStreamBackend(single_server, 1)
        log = backend.open()
        log.append({0: b"hinted"})
        assert parts(log.read(ALL, timeout_s=5)) == [(0, b"hinted")]
        assert log.read({0: 1, 7: 0}) == []
        backend.store_half_an_append([7], 1)
        assert parts(log.read({0: 1, 7: 0}, timeout_s=5)) == [(7, b"half")]
        backend.close_all()

    def test_no_server_is_an_error_with_its_deadline(self) -> None:
        with pytest.raises(LogUnavailable, match=r"within 0\.5 s"):
            JetStreamLog(["nats://127.0.0.1:1"], deadline_s=0.5)

    def test_a_stream_waits_until_it_has_a_server_for_each_copy(self, tmp_path: Path) -> None:
        with NatsCluster(tmp_path, 2, name="log") as pair:
            with pytest.raises(LogUnavailable, match="no suitable peers"):
                JetStreamLog(pair.urls, replicas=3, deadline_s=1.0)
            ports = free_ports(1)[0]
            routes = (*(server.ports.route for server in pair.servers), ports.route)
            late = NatsServer(tmp_path / "late", ports, name="late", cluster="log", routes=routes)
            with ThreadPoolExecutor(1) as pool:
                opening = pool.submit(JetStreamLog, pair.urls, replicas=3, deadline_s=30.0)
                with late, opening.result(30.0) as log:
                    assert log.append({0: b"x"}) == 1

    def test_an_append_without_an_answer_ends_at_its_deadline(self, tmp_path: Path) -> None:
        with (
            NatsServer(tmp_path / "nats") as server,
            JetStreamLog([server.url], replicas=1, attempt_s=0.2) as log,
        ):
            log.append({0: b"x"})
            assert server.pid is not None
            os.kill(server.pid, signal.SIGSTOP)
            try:
                with pytest.raises(AppendUnknown, match="deadline"):
                    log.append({0: b"y"}, deadline_s=0.5)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            server.kill()
            with pytest.raises((LogUnavailable, AppendUnknown), match="deadline"):
                log.append({0: b"z"}, deadline_s=0.3)

    def test_closing_ends_though_the_server_takes_nothing_more(self, tmp_path: Path) -> None:
        with NatsServer(tmp_path / "nats") as server:
            log = JetStreamLog([server.url], replicas=1, deadline_s=1.0, attempt_s=0.2)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGSTOP)
            try:
                # More than the two sockets hold between them: the rest waits in the client.
                for _ in range(24):
                    with pytest.raises(LogError, match="deadline"):
                        log.append({0: bytes(500_000)}, deadline_s=0.05)
                closing = threading.Thread(target=log.close)
                closing.start()
                closing.join(10.0)
                assert not closing.is_alive()
            finally:
                os.kill(server.pid, signal.SIGCONT)


OPERATION = st.one_of(
    st.dictionaries(st.integers(0, 3), st.binary(min_size=1, max_size=20), min_size=1),
    st.tuples(st.just("trim"), st.integers(0, 3), st.integers(0, 60)),
    st.tuples(st.just("read"), st.integers(0, 60), st.integers(1, 60)),
    st.just("reopen"),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=st.lists(OPERATION, max_size=25))
def test_sqlite_log_equals_a_list(
    operations: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model")
    open_log: Callable[[], SqliteLog] = lambda: SqliteLog(folder / "log.db", n_lanes=4)  # noqa: E731
    log = open_log()
    model: list[tuple[int, int, bytes]] = []
    next_offset, trimmed, heads = 1, dict.fromkeys(range(4), 0), dict.fromkeys(range(4), 0)
    try:
        for operation in operations:
            if isinstance(operation, dict):
                rows = sorted(operation.items())
                model += [(next_offset + k, *row) for k, row in enumerate(rows)]
                heads.update({lane: next_offset + k for k, (lane, _) in enumerate(rows)})
                next_offset += len(rows)
                assert log.append(operation) == next_offset - 1
            elif operation == "reopen":
                log.close()
                log = open_log()
            elif operation[0] == "trim":
                _, lane, offset = operation
                log.trim({lane: offset})
                trimmed[lane] = max(trimmed[lane], min(offset, heads[lane]))
                model = [row for row in model if row[1] != lane or row[0] > offset]
            else:
                _, after, max_bytes = operation
                expected = [row for row in model if row[0] > after]
                found = [
                    (r.offset, r.lane, r.payload)
                    for r in log.read(dict.fromkeys(range(4), after), max_bytes)
                ]
                assert found == expected[: len(found)]
                assert bool(found) == bool(expected)
            assert log.heads() == heads
            assert log.first_offsets() == {lane: at + 1 for lane, at in trimmed.items()}
    finally:
        log.close()


@given(
    payloads=st.dictionaries(st.integers(0, 511), st.binary(min_size=1, max_size=50), min_size=1),
    bit=st.integers(0, 10_000),
)
def test_a_frame_survives_only_untouched(payloads: dict[int, bytes], bit: int) -> None:
    frames = encode_append(payloads, 123)
    assert [lane for lane, _ in frames] == sorted(payloads)
    for place, (lane, data) in enumerate(frames):
        frame = decode_frame(data)
        assert (frame.lane, frame.place, frame.payload) == (lane, place, payloads[lane])
        assert frame.lanes == tuple(sorted(payloads))
        flipped = bytearray(data)
        flipped[bit // 8 % len(data)] ^= 1 << bit % 8
        with pytest.raises(BadFrame):
            decode_frame(bytes(flipped))
        with pytest.raises(BadFrame):
            decode_frame(data[: bit % len(data)])
