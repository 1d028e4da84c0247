from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from actors.features.real_graph import REAL_GRAPH, REAL_GRAPH_SCHEMA, SCORES, RealGraphScores
from cluster.archive import Archive
from cluster.artifacts import Artifact, ArtifactStore
from cluster.events import Kind
from cluster.importers.formats import open_import
from cluster.settings import Settings, load
from tests.training.archives import archived, archived_events, settings_at
from tests.training.real_graph.small import DAY_MS, START_MS, Diary
from training.job import TrainingError
from training.real_graph.job import train


def opened(artifacts: ArtifactStore, version: str) -> Artifact:
    return artifacts.open(REAL_GRAPH, version, schema_version=REAL_GRAPH_SCHEMA)


def sociable(days: int = 12, users: int = 30) -> Diary:
    """Everybody follows ten others and favours, most days, two or three of them."""
    rng = np.random.default_rng(5)
    diary = Diary()
    for user in range(1, users + 1):
        others = np.setdiff1d(np.arange(1, users + 1), [user])
        followed = rng.permutation(others)[:10]
        for other in followed.tolist():
            diary.edge(Kind.FOLLOW, 0, user, other)
        for day in range(days):
            for other in followed[:3].tolist():
                if rng.random() < 0.7:
                    post = int(rng.integers(1, 2**40))
                    diary.did(Kind.FAVOURITE, day + 0.5, user, other, post=post)
    return diary


def in_time(diary: Diary) -> list[dict[str, Any]]:
    return sorted(diary.events, key=lambda event: event["time_ms"])


def test_it_learns_who_interacts_with_whom(society: tuple[Settings, Archive]) -> None:
    settings, archive = society
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    trained = train(settings, archive, artifacts)
    found: dict[str, Any] = trained.metrics
    assert found["auc"] > found["recent_auc"] + 0.05
    assert found["auc"] > found["frequent_auc"] + 0.02
    assert found["lift_at_1_percent"] > 2
    assert 0.5 < found["calibration"] < 2
    assert found["ece"] < 0.05

    artifact = opened(artifacts, trained.version)
    assert artifact.manifest.metrics == found
    model, details = artifact.json("model.json"), artifact.json("training.json")
    assert model["kind"] == "gbdt"
    assert set(details["importance"]) == set(model["inputs"])
    assert len(details["deciles"]) == 10
    table = artifact.table(SCORES)
    assert all(column.num_chunks == 1 for column in table.columns)
    viewers, scores = (table.column(name).to_numpy() for name in ("viewer_id", "score"))
    order = np.lexsort((-scores, viewers))
    assert (order == np.arange(len(order))).all()
    assert 0 < scores.min() <= scores.max() < 1
    # What is promised for the day to come is about what came on the last.
    assert scores.mean() == pytest.approx(
        found["judged_positives"] / found["judged_pairs"], rel=0.5
    )
    assert len(RealGraphScores(table)) == found["scored_pairs"]


def test_the_same_archive_gives_the_same_scores(folder: Path) -> None:
    settings = settings_at(folder)
    archive = archived_events(settings, in_time(sociable()))
    artifacts = ArtifactStore(folder / "artifacts")
    one, two = train(settings, archive, artifacts), train(settings, archive, artifacts)
    assert one.version < two.version
    assert one.metrics == two.metrics
    files = [opened(artifacts, trained.version).manifest.files for trained in (one, two)]
    assert files[0] == files[1]


def test_nothing_after_the_instant_is_used(folder: Path) -> None:
    until_ms = START_MS + 10 * DAY_MS
    before = [event for event in in_time(sociable()) if event["time_ms"] < until_ms]
    tables = []
    for name, events in (("all", in_time(sociable())), ("before", before)):
        settings = settings_at(folder / name, real_graph={"day_length": 1})
        artifacts = ArtifactStore(folder / name / "artifacts")
        archive = archived_events(settings, events)
        trained = train(settings, archive, artifacts, until_ms=until_ms)
        tables.append(opened(artifacts, trained.version).table(SCORES))
    assert tables[0].equals(tables[1])


def test_each_side_keeps_its_best_and_who_refused_or_left_has_no_score(folder: Path) -> None:
    diary = sociable()
    follows = [event for event in diary.events if event["kind"] == "follow"]
    followed = {follow["target_id"] for follow in follows if follow["actor_id"] == 1}
    strangers = sorted(set(range(2, 31)) - followed)
    for stranger in strangers[:4]:
        diary.did(Kind.FAVOURITE, 11.6, 1, stranger, post=2**41 + stranger)
    blocked, left = sorted(followed)[:2]
    diary.edge(Kind.BLOCK, 11.7, 1, blocked)
    diary.user(Kind.USER_SUSPEND, 11.7, left)
    settings = settings_at(folder, real_graph={"top_authors": 3})
    artifacts = ArtifactStore(folder / "artifacts")
    trained = train(settings, archived_events(settings, in_time(diary)), artifacts)
    table = opened(artifacts, trained.version).table(SCORES)
    of_one = table.filter(pc.equal(table["viewer_id"], 1))
    assert of_one["followed"].to_pylist().count(True) == 3
    assert of_one["followed"].to_pylist().count(False) == 3
    assert {blocked, left}.isdisjoint(of_one["author_id"].to_pylist())
    pairs = set(zip(*(table[name].to_pylist() for name in ("viewer_id", "author_id")), strict=True))
    assert (blocked, 1) not in pairs
    assert not [pair for pair in pairs if left in pair]


def test_logistic_regression_and_explicit_labels(folder: Path) -> None:
    chosen = {"model": "logistic", "label": "explicit", "inputs": "published"}
    settings = settings_at(folder, real_graph=chosen)
    artifacts = ArtifactStore(folder / "artifacts")
    trained = train(settings, archived_events(settings, in_time(sociable())), artifacts)
    model = opened(artifacts, trained.version).json("model.json")
    assert model["kind"] == "logistic"
    assert len(model["weights"]) == len(model["inputs"]) == 8
    assert trained.metrics["auc"] > 0.8


@pytest.mark.parametrize(
    ("days", "users", "message"),
    [(0, 5, "no user did anything"), (2, 3, r"interacted and .* did not on the day to learn from")],
)
def test_too_little_data_leaves_no_artifact(
    folder: Path, days: int, users: int, message: str
) -> None:
    settings = settings_at(folder)
    artifacts = ArtifactStore(folder / "artifacts")
    archive = archived_events(settings, in_time(sociable(days, users)))
    with pytest.raises(TrainingError, match=message):
        train(settings, archive, artifacts)
    assert artifacts.versions(REAL_GRAPH) == []


def test_an_empty_archive_is_too_little(folder: Path) -> None:
    settings = settings_at(folder)
    with pytest.raises(TrainingError, match="no user did anything"):
        train(settings, archived_events(settings, []), ArtifactStore(folder / "artifacts"))


def test_historical_data_get_longer_days(data_dir: Path, folder: Path) -> None:
    settings = load(preset="research", data_dir=folder)
    source = open_import("dataset", data_dir / "christianity", now_ms=1_800_000_000_000)
    some = (_of_posts_below(part.batch, 120) for part in source)
    archive = archived(settings, (batch for batch in some if batch.num_rows))
    trained = train(settings, archive, ArtifactStore(folder / "artifacts"))
    found: dict[str, Any] = trained.metrics
    assert found["day_length"] in (30, 90, 365)
    assert found["auc"] > max(found["recent_auc"], found["frequent_auc"])


def _of_posts_below(batch: pa.RecordBatch, post_id: int) -> pa.RecordBatch:
    """Follows, and what concerns posts below an id."""
    return batch.filter(pa.array(batch.column("post_id").to_numpy() < post_id))
