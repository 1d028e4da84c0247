from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from actors.features.binned import UNTRAINED_VERSION, untrained_pair
from actors.features.light import FEATURES
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings
from tests.training.archives import archived_events, settings_at
from tests.training.heavy_ranker.worlds import (
    N_POSTS,
    POSTS,
    SCHEMA,
    asked_ms_of,
    inputs_as_of,
    requests,
    viewer_of,
)
from tests.worlds import HOUR_MS, NOW_MS
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.examples import write_examples
from training.heavy_ranker.labelled import labelled
from training.heavy_ranker.light_scores import light_logits
from training.history import History
from training.replay import features_as_of

Floats = npt.NDArray[np.float32]


def served(request: int, time_ms: int, values: Floats, viewer: int = 0) -> bytes:
    """A record of the features lane of the first posts of a request."""
    n = len(values)
    table = pa.table(
        {
            "request_id": [f"r{request}"] * n,
            "viewer_id": pa.array([viewer or viewer_of(request)] * n, pa.int64()),
            "post_id": pa.array(POSTS[:n], pa.int64()),
            "features": pa.FixedSizeListArray.from_arrays(
                pa.array(values.astype(np.float16).ravel()), values.shape[1]
            ),
            "time_ms": pa.array([time_ms] * n, pa.int64()),
        }
    ).replace_schema_metadata({"names": ",".join(FEATURES)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def judge(
    folder: Path, records: list[bytes], replayed_from: float = 0.0
) -> tuple[Settings, Archive, ExampleSet, Floats]:
    settings = settings_at(folder)
    archive = archived_events(settings, requests(5), features=records)
    found = labelled(archive, 0, NOW_MS, attribution_ms=3 * HOUR_MS, max_examples=100)
    manifest = write_examples(
        *(folder / "set", replace_kinds(settings), archive, SCHEMA, found),
        until_ms=NOW_MS,
        negatives_kept=1.0,
        inputs_as_of=inputs_as_of,
    )
    examples = ExampleSet.open(manifest.paths(folder / "set"), SCHEMA)
    artifacts = ArtifactStore(folder / "artifacts")
    version, logits = light_logits(
        *(settings, archive, artifacts, examples, NOW_MS, lambda share: None),
        replayed_from,
    )
    assert version == UNTRAINED_VERSION
    return settings, archive, examples, logits


def by_hand(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    followed = features[:, FEATURES.index("is_followed")] > 0
    return untrained_pair(FEATURES).logits(features, followed)


def replace_kinds(settings: Settings) -> Settings:
    shards = settings.shards.model_copy(update={"kinds": ("graph", "posts")})
    return settings.model_copy(update={"shards": shards})


def test_scores_are_those_of_the_features_of_the_instant(folder: Path) -> None:
    settings, archive, examples, logits = judge(folder, [])
    columns = (examples.described(name) for name in ("viewer_id", "post_id", "time_ms"))
    features, _ = features_as_of(settings, History(archive), *columns, lambda share: None)
    np.testing.assert_array_equal(logits, by_hand(features))
    assert len(set(logits.tolist())) == 5


def test_scores_are_those_of_the_features_as_served_where_they_were_logged(folder: Path) -> None:
    asked = [asked_ms_of(requests(5), k) for k in range(5)]
    rng = np.random.default_rng(0)
    mine = rng.integers(0, 5, (2, len(FEATURES))).astype(np.float32)
    records = [served(2, asked[2], mine), served(3, asked[3], mine, viewer=5)]
    _, _, _, logits = judge(folder, records)
    expected = by_hand(mine)
    assert logits.reshape(5, N_POSTS)[2, :2] == pytest.approx(expected)
    replayed = judge(folder.with_name("other"), [])[3].reshape(5, N_POSTS)
    others = np.ones((5, N_POSTS), bool)
    others[2, :2] = False
    np.testing.assert_array_equal(logits.reshape(5, N_POSTS)[others], replayed[others])


def test_a_few_whose_features_were_not_logged_are_not_replayed(folder: Path) -> None:
    asked = [asked_ms_of(requests(5), k) for k in range(5)]
    values = np.random.default_rng(0).integers(0, 5, (N_POSTS, len(FEATURES))).astype(np.float32)
    records = [served(k, asked[k], values) for k in range(4)]
    _, _, _, few = judge(folder, records, 0.25)
    expected = by_hand(values)
    assert few.reshape(5, N_POSTS)[:4] == pytest.approx(np.tile(expected, (4, 1)))
    assert np.isnan(few.reshape(5, N_POSTS)[4]).all()
    _, _, _, enough = judge(folder.with_name("other"), records, 0.2)
    assert np.isfinite(enough).all()
