"""Features as of past instants: the log replayed through the state that serving uses."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.binned import UNTRAINED_VERSION
from actors.features.light import FEATURES, PROOF_FEATURES, viewer_features
from actors.features.real_graph import REAL_GRAPH
from actors.features.reputation import TWEEPCRED
from actors.models import Models
from actors.social_proof import SocialProof, ask_proofs, seeds_of
from actors.state import ShardState
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ids import Ids
from cluster.routing import route
from cluster.settings import DAY_MS, Settings

Floats = npt.NDArray[np.float32]

_EXPIRE_EVERY_MS = DAY_MS
_ACTIVATED = (TWEEPCRED, REAL_GRAPH)
"""Artifacts whose scores are features: what a replay serves is what was served then."""
_UNREAD = frozenset(
    {
        *("request_id", "surface", "position", "source", "settings_version"),
        *("experiment_arm", "keyword", "uri"),
    }
)
"""Columns at which no feature looks."""
_NOT_LOOKED_AT = (
    *(Kind.SERVED, Kind.MODULE_SERVED, Kind.DISMISS),
    *(Kind.PREFERENCE, Kind.KEYWORD_MUTE, Kind.KEYWORD_UNMUTE),
)
"""Kinds that no feature looks at: what was served, which is half of all events, and choices that
have names."""
_OF_ACTIVATIONS = frozenset({"name", "model_version"})
"""Read where something was activated."""


def features_as_of(
    settings: Settings,
    batches: Iterable[pa.RecordBatch],
    viewer_ids: Ids,
    post_ids: Ids,
    times_ms: Ids,
    progress: Callable[[float], None],
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """What the light ranker would have been given for viewers and posts at given instants.

    `batches` are events in order of time; ids and times are of shape (n,). Returns features
    of shape (n, len(FEATURES)) and whether each post could have been shown at all: it was
    there, not deleted, by an author who was there. An instant sees what happened before it
    and nothing of its own millisecond. `progress` gets the share of instants done.
    """
    features = np.zeros((len(viewer_ids), len(FEATURES)), np.float32)
    known = np.zeros(len(viewer_ids), bool)
    order = np.lexsort((viewer_ids, times_ms))
    groups = _runs(times_ms[order], viewer_ids[order])
    for at, state in _states_before(settings, batches, times_ms[order[groups[:-1]]]):
        rows = order[groups[at] : groups[at + 1]]
        viewer_id, now_ms = int(viewer_ids[rows[0]]), int(times_ms[rows[0]])
        features[rows], known[rows] = light_features(state, viewer_id, post_ids[rows], now_ms)
        if at % 256 == 0:
            progress(at / (len(groups) - 1))
    return features, known


def light_features(
    state: ShardState, viewer_id: int, post_ids: Ids, now_ms: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The features of posts for one viewer by a state that holds every user.

    The same parts as in a request, put together as there; a post replaced by an edit is its
    newest version. Returns what `features_as_of` does.
    """
    settings = state.settings
    most = settings.for_you.max_follows, 1, settings.products.max_followed
    viewer = state.graph.context(viewer_id, now_ms, *most)
    tweepcred, real_graph = (state.active_version(name) for name in _ACTIVATED)
    reputations = state.models.reputations(tweepcred) if _served(tweepcred) else None
    posts = state.posts.hydrate(post_ids, viewer.language, now_ms, reputations)
    tie = viewer_features(
        posts.author_ids,
        viewer_id,
        viewer.followed,
        viewer.affine_ids,
        viewer.affinities,
        *(state.models.real_graph(real_graph).of(viewer_id) if _served(real_graph) else ()),
    )
    proof = np.zeros((len(post_ids), len(PROOF_FEATURES)), np.float32)
    seeds, weights = seeds_of(viewer, settings.for_you.max_seeds)
    if len(seeds):
        asked = ask_proofs(settings, now_ms, seeds, np.arange(len(seeds), dtype=np.int32))
        proof = SocialProof(asked.answer(state), weights).features(posts.post_ids)
    known = (posts.created_ms > 0) & ~posts.deleted & ~posts.author_gone
    return np.concatenate([posts.features, tie, proof], axis=1), known


def _served(version: str) -> bool:
    return version != UNTRAINED_VERSION


def one_shard(settings: Settings) -> ShardState:
    """An empty state that takes every user's events, of the capacity of all shards together."""
    graph = settings.graph
    whole = settings.model_copy(
        update={
            "log": settings.log.model_copy(update={"lanes": 1}),
            "shards": settings.shards.model_copy(
                update={"count": 1, "kinds": ("graph", "posts"), "slice_rows": 65_536}
            ),
            "graph": graph.model_copy(
                update={"edges_per_segment": graph.edges_per_segment * settings.shards.count}
            ),
        }
    )
    return ShardState(whole, Models(ArtifactStore(settings.data_dir / "artifacts")))


def apply(state: ShardState, rows: pa.RecordBatch) -> None:
    """Apply routed rows, which come from an archive and so come once."""
    if rows.num_rows:
        state.apply(rows, np.ones(rows.num_rows, np.int64), imported=True)


def routed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows for one lane that holds every partition, in order of time again."""
    kinds = batch.column("kind").to_numpy()
    activations = np.flatnonzero(kinds == Kind.ARTIFACT_ACTIVATE)
    unread = _UNREAD if len(activations) else _UNREAD | _OF_ACTIVATIONS
    batch = batch.select([name for name in batch.schema.names if name not in unread])
    looked_at = ~np.isin(kinds, _NOT_LOOKED_AT)
    if len(activations):
        named = pc.is_in(batch.column("name").take(pa.array(activations)), pa.array(_ACTIVATED))
        looked_at[activations] = named.to_numpy(zero_copy_only=False)
    batch = batch.filter(pa.array(looked_at))
    rows = route(batch, 1).get(0)
    if rows is None:
        return batch
    return rows.take(pa.array(np.argsort(rows.column("time_ms").to_numpy(), kind="stable")))


def _states_before(
    settings: Settings, batches: Iterable[pa.RecordBatch], instants_ms: Ids
) -> Iterator[tuple[int, ShardState]]:
    """For each instant, in order, the state made of everything before it (always the same)."""
    state = one_shard(settings)
    n_done, expired_ms = 0, 0
    for batch in batches:
        last_ms = int(batch.column("time_ms")[-1].as_py())
        rows = routed(batch)
        if not rows.num_rows:
            continue
        # Later batches hold nothing before the last event of this one.
        n_due = int(np.searchsorted(instants_ms, last_ms, side="right"))
        cuts = np.searchsorted(rows.column("time_ms").to_numpy(), instants_ms[n_done:n_due])
        begin = 0
        for at, cut in zip(range(n_done, n_due), cuts.tolist(), strict=True):
            if cut > begin:
                apply(state, rows.slice(begin, cut - begin))
                begin = cut
            yield at, state
        n_done = n_due
        apply(state, rows.slice(begin))
        if last_ms - expired_ms >= _EXPIRE_EVERY_MS:
            state.expire(last_ms)
            expired_ms = last_ms
    for at in range(n_done, len(instants_ms)):
        yield at, state


def _runs(times_ms: Ids, viewer_ids: Ids) -> npt.NDArray[np.int64]:
    """Where each run of one instant and viewer begins, and the end of the last."""
    if not len(times_ms):
        return np.zeros(1, np.int64)
    new = (times_ms[1:] != times_ms[:-1]) | (viewer_ids[1:] != viewer_ids[:-1])
    return np.concatenate([[0], np.flatnonzero(new) + 1, [len(times_ms)]])
