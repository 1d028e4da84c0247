"""Posts are labelled as they come through a real log, once, and by a model that can be read."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from actors import snapshot
from actors.features.safety import TRUST_AND_SAFETY, TRUST_AND_SAFETY_SCHEMA
from actors.keeper import Keeper
from actors.labelling import Labelling, labelled_positions, place
from actors.questions import AskLabels
from actors.state import ShardState
from actors.tailer import Tailer
from cluster.archiver import Archiver
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ingest import Ingest
from cluster.log import LogUnavailable, Record
from cluster.logs import features_lane, open_reader, open_writer
from cluster.routing import decode, encode, is_imported, route
from cluster.settings import Settings
from cluster.validation import check_objects
from tests.actors.features.safety_models import small_head, small_model
from tests.actors.test_tailer import PATIENCE_S, wait_for
from tests.worlds import HOUR_MS, NOW_MS, USERS, Clock, Event, models

FRIENDLY, RUDE, SAUCY = "friend", "oaf", "wink wink"


class World:
    """A log that is alone on its machine, with an archive."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder)
        self.now_ms = time.time_ns() // 1_000_000
        self.clock = Clock(self.now_ms - 60_000)
        self.log = open_writer(self.settings)
        self._archiver = Archiver(
            self.log,
            self.settings.archive_root,
            range(self.settings.log.lanes),
            features_lane=features_lane(self.settings),
        )
        self.ingest = Ingest(self.settings, self.log, self.flush)

    def flush(self) -> None:
        while self._archiver.step():
            pass

    def append(self, events: list[Event], *, imported: bool = False) -> None:
        checked = check_objects(events, now_ms=self.now_ms)
        assert not checked.problems
        lanes = route(checked.batch, self.settings.log.lanes)
        self.log.append({k: encode(rows, imported=imported) for k, rows in lanes.items()})

    def activate(self, version: str, time_ms: int = 0) -> None:
        event = self.clock.event(
            Kind.ARTIFACT_ACTIVATE, name=TRUST_AND_SAFETY, model_version=version
        )
        self.append([event | {"time_ms": time_ms or event["time_ms"]}])

    def model(self, *, with_media: bool = False) -> str:
        """A version of the small model."""
        model = small_model()
        with ArtifactStore(self.settings.data_dir / "artifacts").writing(
            TRUST_AND_SAFETY, schema_version=TRUST_AND_SAFETY_SCHEMA
        ) as draft:
            calibration = {"slopes": model.slopes, "offsets": model.offsets}
            draft.write_tensors("model.safetensors", model.model.tensors() | calibration)
            thresholds = {
                language: [[x if np.isfinite(x) else None for x in row] for row in rows.tolist()]
                for language, rows in model.thresholds.items()
            }
            told = {"labels": model.labels, "precisions": model.precisions}
            draft.write_json("labels.json", told | {"thresholds": thresholds})
            if with_media:
                draft.write_tensors("media.safetensors", dict(vars(small_head())))
        return str(draft.version)

    def break_model(self, version: str) -> None:
        folder = self.settings.data_dir / "artifacts" / TRUST_AND_SAFETY / version
        file = folder / "model.safetensors"
        file.chmod(0o600)
        file.write_bytes(b"nonsense")

    def records(self) -> list[Record]:
        with open_reader(self.settings) as log:
            return log.read(dict.fromkeys(range(self.settings.log.lanes), 0), 2**24)

    def labels(self) -> list[tuple[int, int, str, int]]:
        """(event, post, label, partition) of every copy of a label in the log."""
        return [
            (row["event_id"], row["post_id"], row["label"], row["partition"])
            for record in self.records()
            for row in decode(record.payload).to_pylist()
            if row["kind"] == Kind.SAFETY_LABEL
        ]

    @contextmanager
    def labelling(self, appender: object = None) -> Iterator[Labelling]:
        """A labeller, once it has read what is in the log so far."""
        begun_ms = time.time_ns() // 1_000_000
        one = Labelling(self.settings, appender or self.log, self.flush)  # type: ignore[arg-type]
        try:
            wait_for(lambda: one.failure or one._caught_up_ms > begun_ms)
            yield one
        finally:
            one.stop()

    def caught_up(self, one: Labelling) -> None:
        asked_ms = time.time_ns() // 1_000_000
        wait_for(lambda: one._caught_up_ms > asked_ms)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.log.close()


@pytest.fixture
def posts(world: World) -> list[Event]:
    """A rude post, a friendly one, and a saucy one that replies, so that two lanes know of it."""
    clock = world.clock
    reply = {"reply_to_id": 101, "reply_to_author_id": USERS[0]}
    return [
        clock.post(101, USERS[0], text=RUDE),
        clock.post(102, USERS[1], text=FRIENDLY),
        clock.post(103, USERS[2], text=SAUCY, **reply),
    ]


def known_to_a_shard(world: World) -> list[dict[str, float]]:
    """The labels of the three posts, as a shard that applies the log answers."""
    state = ShardState(world.settings, models(world.settings.data_dir / "artifacts"))
    tailer = Tailer(
        state, lambda: open_reader(world.settings), world.settings.data_dir / "snapshots"
    )
    begun_ms = time.time_ns() // 1_000_000
    tailer.start()
    try:
        wait_for(lambda: tailer.caught_up_ms > begun_ms)
    finally:
        tailer.stop()
    authors = np.array(USERS[:3])
    [answer] = state.ask([AskLabels(np.array([101, 102, 103]), authors)])
    return list(answer)


def test_a_post_gets_its_label_once(world: World, posts: list[Event]) -> None:
    world.activate(world.model())
    with world.labelling() as one:
        world.append(posts)
        world.caught_up(one)
        status = one.status()
    assert (status["posts"], status["labels"], status["refused"]) == (3, 2, None)
    assert status["lag_ms"] < PATIENCE_S * 1000
    assert [(post, label) for _, post, label, _ in world.labels()] == [
        (101, "p_toxicity"),
        (103, "p_nsfw_text"),
    ]
    rude, friendly, saucy = known_to_a_shard(world)
    assert rude == {"p_toxicity": pytest.approx(float(small_model().scores([RUDE])[0, 0]))}
    assert friendly == {}
    assert list(saucy) == ["p_nsfw_text"]


def test_a_post_gets_the_label_of_its_media(world: World) -> None:
    world.activate(world.model(with_media=True))
    adult, plain = [2.0] + [0.0] * 255, [-2.0] + [0.0] * 255
    edit = {"post_id": 101, "author_id": USERS[0], "media_embedding": plain}
    with world.labelling() as one:
        world.append(
            [
                world.clock.post(101, USERS[0], media_embedding=adult),
                world.clock.post(102, USERS[1], media_embedding=plain, text=FRIENDLY),
                world.clock.post(103, USERS[2], media_embedding=adult, text=RUDE),
            ]
        )
        world.caught_up(one)
        assert (one.status()["posts"], one.status()["labels"]) == (3, 3)
        first, second, third = known_to_a_shard(world)
        score = float(small_head().scores(np.array([adult], np.float32))[0])
        assert first == {"p_nsfw_media": pytest.approx(score)}
        assert (second, set(third)) == ({}, {"p_nsfw_media", "p_toxicity"})
        # Other media, another label; a text that changes leaves the media as they were.
        world.append([world.clock.event(Kind.POST_EDIT, **edit)])
        world.append([world.clock.event(Kind.POST_EDIT, post_id=103, author_id=USERS[2], text="")])
        world.caught_up(one)
    first, _, third = known_to_a_shard(world)
    assert (first, set(third)) == ({}, {"p_nsfw_media"})


@pytest.mark.parametrize("imported", [False, True])
def test_a_crash_before_the_place_was_written_changes_nothing(
    world: World, posts: list[Event], imported: bool
) -> None:
    world.activate(world.model())
    if imported:
        posts = [post | {"time_ms": NOW_MS + i} for i, post in enumerate(posts)]
    with world.labelling():
        pass
    before = place(world.settings).read_bytes()
    world.append(posts, imported=imported)
    with world.labelling():
        pass
    once, answers = world.labels(), known_to_a_shard(world)
    place(world.settings).write_bytes(before)
    with world.labelling() as again:
        assert again.status()["posts"] == 3
    twice = world.labels()
    # Of old events the archive says that they are there; young ones appliers know themselves.
    assert twice == (once if imported else once * 2)
    assert known_to_a_shard(world) == answers
    with world.labelling() as third:
        assert third.status()["posts"] == 0


class Unavailable:
    """A log that cannot be written."""

    def append(self, lane_payloads: Mapping[int, bytes]) -> int:
        raise LogUnavailable("not now")


def test_what_was_not_acknowledged_is_labelled_later(world: World, posts: list[Event]) -> None:
    world.activate(world.model())
    with world.labelling():
        pass
    world.append(posts)
    with world.labelling(Unavailable()) as failing:
        wait_for(lambda: failing.failure)
        assert "not now" in failing.status()["failure"]
    assert world.labels() == []
    with world.labelling() as one:
        assert one.failure is None
    assert len(world.labels()) == 2


def test_an_old_imported_post_is_labelled(world: World, posts: list[Event]) -> None:
    world.activate(world.model())
    old = [post | {"time_ms": NOW_MS + i} for i, post in enumerate(posts)]
    world.append(old, imported=True)
    with world.labelling() as one:
        assert one.status()["refused_labels"] == 0
    assert [bool(labels) for labels in known_to_a_shard(world)] == [True, False, True]
    written = [decode(r.payload) for r in world.records()]
    labels = [b for b in written if Kind.SAFETY_LABEL in b.column("kind").to_pylist()]
    assert labels
    assert all(is_imported(batch) for batch in labels)


def test_a_model_that_cannot_be_read_changes_nothing(world: World, posts: list[Event]) -> None:
    good, bad = world.model(), world.model()
    world.break_model(bad)
    world.activate(good)
    with world.labelling() as one:
        world.activate(bad)
        world.activate("20010101T000000-0001")
        world.append(posts)
        world.caught_up(one)
        status = one.status()
    assert (status["version"], status["labels"]) == (good, 2)
    assert status["refused"].startswith("20010101T000000-0001: ")
    with world.labelling() as again:
        assert again.status()["version"] == good
        # The newest by its own time is the one that counts.
        world.activate(world.model(), time_ms=world.now_ms - HOUR_MS)
        world.caught_up(again)
        assert again.status()["version"] == good
        newest = world.model()
        world.activate(newest)
        world.caught_up(again)
        assert again.status()["version"] == newest


def test_posts_before_any_model_go_by(world: World, posts: list[Event]) -> None:
    world.append(posts)
    with world.labelling() as one:
        status = one.status()
    assert (status["unlabelled"], status["labels"], status["version"]) == (3, 0, "")


def test_a_record_that_is_no_batch_is_passed_over(world: World, posts: list[Event]) -> None:
    world.activate(world.model())
    world.append(posts[:1])
    world.log.append({3: b"nonsense"})
    world.append(posts[1:])
    with world.labelling() as one:
        assert one.status()["labels"] == 2


def test_the_log_is_not_trimmed_before_its_posts_are_labelled(
    world: World, posts: list[Event]
) -> None:
    world.activate(world.model())
    with world.labelling():
        pass
    world.append(posts)
    state = ShardState(world.settings, models())
    snapshots = world.settings.data_dir / "snapshots"
    heads = world.log.heads()
    del heads[features_lane(world.settings)]
    snapshot.write(snapshot.capture(state, heads), snapshots)
    keeper = Keeper(world.settings, None)
    try:
        keeper.flush()
        keeper._log.trim = world.log.trim  # type: ignore[method-assign]
        keeper._housekeep()
        behind = labelled_positions(world.settings)
        firsts = world.log.first_offsets()
        assert all(firsts[lane] <= offset + 1 for lane, offset in behind.items())
        with world.labelling() as one:
            assert one.status()["labels"] == 2
        keeper._housekeep()
        assert world.log.first_offsets() != firsts
    finally:
        keeper.stop()
