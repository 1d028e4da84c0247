from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from actors.features.light import FEATURES
from actors.models import LIGHT_RANKER, SIDES, read_light_ranker
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.importers.formats import open_import
from cluster.settings import Settings, load
from cluster.training_settings import KeepRates
from tests.training.archives import archived, archived_events, settings_at
from tests.training.test_dataset import shown
from training.binned import PAD, bin_edges, fit
from training.job import TrainingError
from training.light_ranker import sampled, train


def test_few_values_get_a_bin_each_and_a_constant_none() -> None:
    features = np.array([[0, 7], [1, 7], [5, 7], [5, 7]], np.float32)
    assert bin_edges(features, 4).tolist() == [[0.5, 3.0, PAD], [PAD, PAD, PAD]]


def test_zero_has_its_own_bin_and_the_others_hold_as_many_each() -> None:
    values = np.concatenate([np.zeros(900), np.arange(1, 101)])
    edges = bin_edges(values[:, None].astype(np.float32), 5)[0]
    assert edges.tolist() == [0.5, 25.5, 50.5, 75.5]


def test_an_infinite_value_is_in_the_last_bin() -> None:
    features = np.array([[1], [2], [np.inf]] * 100, np.float32)
    labels = np.tile([False, True, True], 100)
    model = fit(features, labels, np.ones(300, np.float32), ("x",), 8)
    low, high, infinite = model.logits(features[:3])
    assert low < high == infinite


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(2, 60), st.just(1)),
        elements=st.floats(0, 1e6, width=32) | st.just(0.0),
    ),
    st.integers(2, 16),
)
def test_edges_are_ascending_and_keep_zero_apart(
    features: np.ndarray[tuple[int, int], np.dtype[np.float32]], n_bins: int
) -> None:
    edges = bin_edges(features, n_bins)[0]
    assert len(edges) == n_bins - 1
    real = edges[edges < PAD]
    assert (np.diff(real) > 0).all()
    assert (edges[len(real) :] == PAD).all()
    positive = features[features > 0]
    if len(positive) and (features == 0).any() and positive.min() > 1e-40:
        assert 0 < edges[0] <= positive.min()


def test_a_planted_model_is_found_again() -> None:
    rng = np.random.default_rng(0)
    features = np.stack([rng.exponential(1, 30_000), rng.integers(0, 2, 30_000)], axis=1)
    logits = np.where(features[:, 0] > 1, 1.0, -1.0) + 2 * features[:, 1] - 1
    labels = rng.random(30_000) < 1 / (1 + np.exp(-logits))
    model = fit(features.astype(np.float32), labels, np.ones(30_000, np.float32), ("a", "b"), 16)
    probe = np.array([[0.3, 0], [3.0, 0], [0.3, 1], [3.0, 1]], np.float32)
    np.testing.assert_allclose(model.logits(probe), [-2, 0, 0, 2], atol=0.35)


def test_weights_count_as_copies_would() -> None:
    features = np.array([[0], [0], [1], [1]] * 50, np.float32)
    labels = np.tile([True, False, True, False], 50)
    weights = np.tile([9.0, 1.0, 1.0, 1.0], 50).astype(np.float32)
    copies = np.repeat(np.arange(200), weights.astype(int))
    weighted = fit(features, labels, weights, ("x",), 4)
    copied = fit(features[copies], labels[copies], np.ones(len(copies), np.float32), ("x",), 4)
    np.testing.assert_allclose(weighted.weights, copied.weights, atol=1e-3)


def test_it_learns_what_people_engage_with(society: tuple[Settings, Archive]) -> None:
    settings, archive = society
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    trained = train(settings, archive, artifacts)
    found: dict[str, Any] = trained.metrics
    assert found["source"] == "impressions"
    assert found["training_examples"] + found["validation_examples"] <= 12_000
    assert found["auc"] > found["untrained_auc"] + 0.02
    assert found["auc"] > found["recency_auc"] + 0.05
    assert found["auc"] > found["popularity_auc"]
    assert 0.7 < found["calibration"] < 1.4

    read = read_light_ranker(artifacts, trained.version)
    assert (read.names, read.version) == (FEATURES, trained.version)
    for side, model in zip(SIDES, (read.in_network, read.out_of_network), strict=True):
        assert np.ptp(model.weights) > 0
        assert found[f"{side}_auc"] > found[f"{side}_untrained_auc"]
    artifact = artifacts.open(LIGHT_RANKER, trained.version)
    assert artifact.manifest.metrics == found
    assert artifact.manifest.data_range_ms is not None
    for side in SIDES:
        details = artifact.json("training.json")[side]
        assert set(details["importance"]) == set(details["bins"]) == set(FEATURES)
        age = details["bins"]["age_hours"]
        assert age[0]["from"] is None
        assert age[-1]["to"] is None
        assert [b["to"] for b in age[:-1]] == [b["from"] for b in age[1:]]


@pytest.mark.parametrize(
    ("chosen", "own"),
    [
        ({"own_models": "always", "min_positives": 20}, (1, 1)),
        ({"own_models": "always", "min_positives": 10**6}, (0, 0)),
        ({"own_models": "always", "out_of_network": {"positives": 0.01}}, (1, 0)),
    ],
)
def test_each_side_has_a_model_of_its_own_where_there_is_enough(
    society: tuple[Settings, Archive], chosen: dict[str, Any], own: tuple[int, int]
) -> None:
    settings, archive = society
    settings = load(
        data_dir=settings.data_dir,
        training={"max_examples": 6_000, "light_ranker": {"min_positives": 50, **chosen}},
    )
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    trained = train(settings, archive, artifacts)
    read = read_light_ranker(artifacts, trained.version)
    assert tuple(trained.metrics[f"{side}_own_model"] for side in SIDES) == own
    assert np.array_equal(read.in_network.weights, read.out_of_network.weights) == (own == (0, 0))
    # What it never met is as nothing to it.
    column = FEATURES.index("is_followed")
    alone = read.of(True).weights[column] if own[0] else np.zeros(1)
    assert np.ptp(alone) == 0
    for side in SIDES:
        assert trained.metrics[f"{side}_auc"] > 0.5


def test_sampling_keeps_the_sum_of_weights() -> None:
    labels = np.arange(40_000) % 4 == 0
    weights = np.where(labels, 9.0, 1.0).astype(np.float32)
    rates = KeepRates(positives=0.5, negatives=0.04)
    rows, kept = sampled(labels, weights, rates, np.random.default_rng(0))
    assert (np.diff(rows) > 0).all()
    for label, rate in ((True, 0.5), (False, 0.04)):
        mine = labels[rows] == label
        assert mine.sum() == pytest.approx(rate * (labels == label).sum(), rel=0.05)
        np.testing.assert_allclose(kept[mine], weights[labels == label][0] / rate, rtol=1e-6)
    rows, kept = sampled(labels, weights, KeepRates(), np.random.default_rng(0))
    assert len(rows) == len(labels)
    np.testing.assert_array_equal(kept, weights)


def test_the_same_archive_gives_the_same_model(society: tuple[Settings, Archive]) -> None:
    settings, archive = society
    few = settings.training.model_copy(update={"max_examples": 3_000})
    settings = settings.model_copy(update={"training": few})
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    one, two = train(settings, archive, artifacts), train(settings, archive, artifacts)
    assert one.version < two.version
    assert one.metrics == two.metrics
    first, second = (read_light_ranker(artifacts, trained.version) for trained in (one, two))
    for followed in (True, False):
        np.testing.assert_array_equal(first.of(followed).weights, second.of(followed).weights)
        np.testing.assert_array_equal(first.of(followed).edges, second.of(followed).edges)


def test_too_little_data_leaves_no_artifact(folder: Path) -> None:
    settings = settings_at(folder)
    artifacts = ArtifactStore(folder / "artifacts")
    with pytest.raises(TrainingError, match="at least 200 are needed"):
        train(settings, archived_events(settings, shown(2)), artifacts)
    assert artifacts.versions(LIGHT_RANKER) == []


def test_a_part_with_one_kind_of_label_is_named(folder: Path) -> None:
    settings = settings_at(folder)
    events = shown(100)
    last_fifth_ms = events[5 + 80 * 11]["time_ms"]
    silent = [e for e in events if e["kind"] != "favourite" or e["time_ms"] < last_fifth_ms]
    with pytest.raises(TrainingError, match=r"the validation part, .* has 0 positive and 100 neg"):
        train(settings, archived_events(settings, silent), ArtifactStore(folder / "artifacts"))


def test_it_learns_from_a_historical_cascade(data_dir: Path, folder: Path) -> None:
    settings = load(preset="research", data_dir=folder, training={"max_examples": 8_000})
    source = open_import("dataset", data_dir / "christianity", now_ms=1_800_000_000_000)
    # A quarter of the cascades: an archive of fewer dates.
    some = (_of_posts_below(part.batch, 150) for part in source)
    archive = archived(settings, (batch for batch in some if batch.num_rows))
    trained = train(settings, archive, ArtifactStore(folder / "artifacts"))
    found: dict[str, Any] = trained.metrics
    assert found["source"] == "engagements"
    assert found["auc"] > 0.6
    assert found["auc"] > found["recency_auc"] + 0.1


def _of_posts_below(batch: pa.RecordBatch, post_id: int) -> pa.RecordBatch:
    """Follows, and what concerns posts below an id."""
    return batch.filter(pa.array(batch.column("post_id").to_numpy() < post_id))
