"""What the light ranker says of the heavy ranker's examples, to be judged beside it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.binned import UNTRAINED_VERSION
from actors.features.light import FEATURES, positions_in
from actors.models import LIGHT_RANKER, Models
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.ids import Ids
from cluster.settings import Settings
from training.facts import pair_keys
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.served_inputs import CLOCKS_MS
from training.history import History
from training.replay import features_as_of

Floats = npt.NDArray[np.float32]
_IS_FOLLOWED = FEATURES.index("is_followed")


def light_logits(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    examples: ExampleSet,
    until_ms: int,
    progress: Callable[[float], None],
    replayed_from: float = 0.0,
) -> tuple[str, Floats]:
    """(version, logits (n,)) of the light ranker that served when the examples were shown.

    That is the newest whose data ends before them, or where there is none the newest. Its
    features are those that were served, and replayed where these were not logged, if that is
    at least the share `replayed_from` of examples; else these have no numbers.
    """
    viewers, posts, times_ms = (
        examples.described(name).astype(np.int64) for name in ("viewer_id", "post_id", "time_ms")
    )
    version = artifacts.latest(LIGHT_RANKER, int(times_ms[0])) or artifacts.latest(LIGHT_RANKER)
    ranker = Models(artifacts).light_ranker(version or UNTRAINED_VERSION)
    requests = pa.array(examples.described("request_id"), pa.string())
    features, found = _served(archive, requests, viewers, posts, times_ms)
    rows = np.flatnonzero(~found)
    if len(rows) and len(rows) >= replayed_from * len(posts):
        found[rows] = True
        features[rows], _ = features_as_of(
            settings,
            History(archive, until_ms),
            viewers[rows],
            posts[rows],
            times_ms[rows],
            progress,
        )
    logits = ranker.logits(features, features[:, _IS_FOLLOWED] > 0)
    logits = np.where(found, logits, np.nan)
    return version or UNTRAINED_VERSION, logits.astype(np.float32)


def _served(
    archive: Archive, requests: pa.Array, viewers: Ids, posts: Ids, times_ms: Ids
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Features as served, and of which examples they are known."""
    features = np.zeros((len(posts), len(FEATURES)), np.float32)
    found = np.zeros(len(posts), bool)
    names = pc.drop_null(pc.unique(requests))
    keys = _keys(pc.index_in(requests, names), viewers, posts)
    order = np.argsort(keys, kind="stable")
    until_ms = int(times_ms[-1]) + CLOCKS_MS
    for table in archive.served_features(int(times_ms[0]), until_ms):
        stored = (table.schema.metadata or {}).get(b"names", b"").decode().split(",")
        if not set(FEATURES) <= set(stored):
            continue
        codes = pc.index_in(table.column("request_id").combine_chunks(), names)
        theirs = _keys(codes, *(table.column(name).to_numpy() for name in ("viewer_id", "post_id")))
        by_key = np.argsort(theirs, kind="stable")
        at = positions_in(theirs[by_key], keys[order])
        mine = order[(at >= 0) & (keys[order] >= 0)]
        rows = by_key[at[(at >= 0) & (keys[order] >= 0)]]
        values = table.column("features").combine_chunks().flatten().to_numpy()
        columns = [stored.index(name) for name in FEATURES]
        features[mine] = values.reshape(len(table), -1)[rows][:, columns].astype(np.float32)
        found[mine] = True
    return features, found


def _keys(codes: pa.Array, viewers: Ids, posts: Ids) -> Ids:
    """Of (request, viewer, post); −1 where there is no request."""
    numbers = codes.fill_null(-1).to_numpy().astype(np.int64)
    keys = pair_keys(pair_keys(numbers, viewers), posts)
    return np.where(numbers >= 0, keys, -1)
