from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from actors.stores.sparse_embeddings import SIMCLUSTERS, SparseEmbeddings
from cluster.archive import Archive
from cluster.artifacts import Artifact, ArtifactStore
from cluster.events import Kind
from cluster.settings import Settings, load
from cluster.training_settings import SimClustersSettings
from simulation.population import FIRST_USER_ID, Population
from simulation.run import DEFAULT_START_MS, Simulation
from tests.training.archives import DAY_MS, archived_events, settings_at
from tests.worlds import Clock, Event
from training.job import Trained, TrainingError
from training.simclusters.job import number_of_communities, producers_to_cluster, train
from training.simclusters.observed import observe
from training.simclusters.quality import KnownFor, normalized_mutual_information

MATRICES = (
    *("known_for", "interested_in", "producers", "producers_by_follows"),
    *("producers_aggregatable", "topics", "topics_by_language", "topics_by_producers"),
)
MIDDLE_MS = DEFAULT_START_MS + DAY_MS

Society = tuple[Settings, Archive]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("simclusters"))


@pytest.fixture(scope="module")
def trained(society: Society, artifacts: ArtifactStore) -> Trained:
    return train(*society, artifacts)


@pytest.fixture(scope="module")
def artifact(trained: Trained, artifacts: ArtifactStore) -> Artifact:
    return artifacts.open(SIMCLUSTERS, trained.version)


@pytest.fixture(scope="module")
def population() -> Population:
    """The ground truth about the people of the fixture `society`."""
    return Simulation(250, 1).world.population


def test_communities_are_those_of_the_simulation(
    artifact: Artifact, population: Population
) -> None:
    known = SparseEmbeddings.read(artifact, "known_for")
    topics = population.interests.argmax(axis=1)[known.ids - FIRST_USER_ID]
    found = normalized_mutual_information(known.communities, topics)
    rng = np.random.default_rng(0)
    shuffled = [
        normalized_mutual_information(rng.permutation(known.communities), topics) for _ in range(50)
    ]
    # Nobody is of one community only there, so that all of it cannot be found.
    assert found > max(shuffled) + 0.08
    assert len(known) > 150
    assert known.n_communities >= 8


def test_people_are_interested_in_communities_of_their_interests(
    artifact: Artifact, population: Population
) -> None:
    known = SparseEmbeddings.read(artifact, "known_for")
    interested = SparseEmbeddings.read(artifact, "interested_in").scored_by("log_fav_score")
    about = np.zeros((known.n_communities, population.interests.shape[1]))
    np.add.at(about, known.communities, population.interests[known.ids - FIRST_USER_ID])
    about /= np.maximum(np.linalg.norm(about, axis=1, keepdims=True), 1e-9)

    def match(users: Any) -> float:
        tastes = population.interests[users - FIRST_USER_ID]
        likes = tastes @ about[interested.communities[interested.offsets[:-1]]].T
        return float(np.diag(likes).mean())

    shuffled = np.random.default_rng(0).permutation(interested.ids)
    assert match(interested.ids) > 1.2 * match(shuffled)


def test_every_interest_has_two_proofs(society: Society, artifact: Artifact) -> None:
    observed = observe(society[1], None, SimClustersSettings())
    likes = observed.favourites
    producers = defaultdict(set)
    for users, theirs in (
        (observed.follower_ids, observed.followed_ids),
        (likes.user_ids, likes.author_ids),
    ):
        for user, producer in zip(users.tolist(), theirs.tolist(), strict=True):
            producers[user].add(producer)
    known = SparseEmbeddings.read(artifact, "known_for")
    community_of = dict(zip(known.ids.tolist(), known.communities.tolist(), strict=True))
    expected = set()
    for user, theirs in producers.items():
        found = [community_of[p] for p in theirs if p in community_of]
        expected |= {(user, c) for c in set(found) if found.count(c) >= 2}
    interested = SparseEmbeddings.read(artifact, "interested_in")
    users = np.repeat(interested.ids, np.diff(interested.offsets)).tolist()
    assert set(zip(users, interested.communities.tolist(), strict=True)) == expected
    counts = artifact.table("communities.arrow").column("interested").to_numpy()
    np.testing.assert_array_equal(
        counts, np.bincount(interested.communities, minlength=len(counts))
    )


def test_the_artifact_is_complete_and_readable(trained: Trained, artifact: Artifact) -> None:
    matrices = {name: SparseEmbeddings.read(artifact, name) for name in MATRICES}
    for name, matrix in matrices.items():
        assert len(matrix) == trained.metrics["rows"][name] > 0
    assert (np.diff(matrices["known_for"].offsets) == 1).all()
    for name in ("producers", "producers_by_follows", "topics", "topics_by_language"):
        assert 0 < matrices[name].scores.min() <= matrices[name].scores.max() <= 1
    described = artifact.json("communities.json")
    sizes = artifact.table("communities.arrow").column("size").to_pylist()
    assert [c["size"] for c in described] == sizes
    assert sum(sizes) == len(matrices["known_for"])
    fullest = described[int(np.argmax(sizes))]
    assert fullest["languages"][0]["share"] >= fullest["languages"][1]["share"] > 0
    followers = [p["followers"] for p in fullest["producers"]]
    assert followers == sorted(followers, reverse=True)
    assert fullest["topics"]
    assert trained.metrics == artifact.manifest.metrics
    assert trained.metrics["weighted_f1"] > 0.3


def test_the_same_archive_gives_the_same_bytes(
    society: Society, trained: Trained, artifacts: ArtifactStore
) -> None:
    again = train(*society, artifacts)
    assert again.version > trained.version
    one, two = (artifacts.manifest(SIMCLUSTERS, t.version) for t in (trained, again))
    assert one.files == two.files
    assert one.metrics == two.metrics
    assert one.data_range_ms == two.data_range_ms


def test_communities_go_on_from_the_version_before(society: Society, tmp_path: Path) -> None:
    artifacts = ArtifactStore(tmp_path)
    first = train(*society, artifacts, until_ms=MIDDLE_MS)
    manifest = artifacts.manifest(SIMCLUSTERS, first.version)
    assert manifest.data_range_ms is not None
    assert manifest.data_range_ms[1] <= MIDDLE_MS
    assert first.metrics["started_from_earlier"] is False
    second = train(*society, artifacts)
    assert second.metrics["started_from_earlier"] is True
    before, after = (
        SparseEmbeddings.read(artifacts.open(SIMCLUSTERS, t.version), "known_for")
        for t in (first, second)
    )
    rows = after.rows_of(before.ids)
    stayed = before.communities[rows >= 0] == after.communities[rows[rows >= 0]]
    assert stayed.mean() > 0.4
    assert second.metrics["communities_compared"] > 0
    assert second.metrics["mean_cosine_with_earlier"] > 0.4


def test_too_few_producers_leave_no_artifact(tmp_path: Path) -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, user, 100) for user in range(1, 8)]
    with pytest.raises(TrainingError, match="1 of 1 producers have 5 followers or more"):
        _train(events, tmp_path)


def test_nothing_in_common_leaves_no_artifact(tmp_path: Path) -> None:
    clock = Clock()
    # Everybody follows one producer only.
    events = [
        clock.edge(Kind.FOLLOW, 1_000 * p + user, p) for p in range(1, 31) for user in range(5)
    ]
    with pytest.raises(TrainingError, match="none of 150 users follows or favours 2"):
        _train(events, tmp_path)


def _train(events: list[Event], folder: Path) -> None:
    settings, artifacts = settings_at(folder), ArtifactStore(folder / "artifacts")
    try:
        train(settings, archived_events(settings, events), artifacts)
    finally:
        assert artifacts.versions(SIMCLUSTERS) == []


def test_producers_with_most_followers_are_clustered(tmp_path: Path) -> None:
    clock = Clock()
    events = [
        clock.edge(Kind.FOLLOW, 1_000 + user, producer)
        for producer in range(1, 41)
        for user in range(producer)
    ]
    observed = observe(archived_events(settings_at(tmp_path), events), None, SimClustersSettings())
    chosen = SimClustersSettings(min_followers=11, max_producers=25)
    assert producers_to_cluster(observed, chosen).tolist() == list(range(16, 41))
    every = SimClustersSettings(min_followers=11)
    assert producers_to_cluster(observed, every).tolist() == list(range(11, 41))


@pytest.mark.parametrize(
    ("n_producers", "greatest", "expected"),
    [(40, None, 8), (20, None, 5), (1_000, None, 67), (1_000, 66, 67), (1_000, 99, 100)],
)
def test_there_are_communities_enough(
    n_producers: int, greatest: int | None, expected: int
) -> None:
    earlier = None if greatest is None else _known_for(greatest)
    assert number_of_communities(n_producers, earlier, SimClustersSettings()) == expected


def _known_for(community: int) -> KnownFor:
    ids: npt.NDArray[np.int64] = np.array([7])
    return KnownFor(ids, np.array([community], np.int32), np.ones(1, np.float32))


def test_the_published_sizes_give_the_published_number() -> None:
    chosen = load(preset="twitter").training.simclusters
    assert number_of_communities(20_000_000, None, chosen) == 144_928
    assert (chosen.neighbours, chosen.min_followers, chosen.epochs) == (400, 400, 4)
