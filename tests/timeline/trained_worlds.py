"""A small world under hand-made SimClusters and TwHIN artifacts, of which all can be worked out.

Four likers and four authors, two users in each of four shards. Post 101 is liked by two
likers; the others are like it, unlike it, or must not be shown.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from actors.models import Models
from actors.state import ShardState
from actors.stores.hnsw import build_base
from actors.stores.sparse_embeddings import SparseEmbeddings
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.settings import Settings
from tests.worlds import DAY_MS, NOW_MS, USERS, Clock, Event, apply

LIKERS, AUTHORS = USERS[:4], USERS[4:]
ANN, BEN, SHY, FAR = LIKERS
"""Shy is protected; far likes other things."""
EVE, FOE, GUS, OUT = AUTHORS
"""Out is suspended."""
SOURCE, ALIKE, LESS, UNLIKE = 101, 102, 103, 104
DELETED, OF_PROTECTED, OF_BLOCKED, OF_SUSPENDED, REPOST = 105, 106, 107, 108, 109
HIDDEN = (DELETED, OF_PROTECTED, OF_BLOCKED, OF_SUSPENDED, REPOST)

Entries = dict[int, dict[int, float]]
INTERESTS: Entries = {ANN: {0: 0.8, 1: 0.6}, BEN: {0: 0.6, 1: 0.8}, SHY: {1: 1.0}, FAR: {2: 1.0}}
PRODUCERS: Entries = {EVE: {0: 0.9, 1: 0.1}, FOE: {0: 0.8}, GUS: {1: 0.7}, OUT: {0: 0.9}}
KNOWN_FOR: Entries = {EVE: {0: 0.5}, FOE: {0: 0.4}, GUS: {1: 0.6}, OUT: {2: 0.3}}
LIKER_VECTORS = {ANN: (1, 0, 0), BEN: (0.8, 0.6, 0), SHY: (0, 1, 0), FAR: (0, 0, 1)}
AUTHOR_VECTORS = {EVE: (1, 0, 0), FOE: (0.8, 0.6, 0), GUS: (0, 1, 0), OUT: (1, 0, 0)}
DESCRIBED = [
    {
        "community": 0,
        "size": 2,
        "interested": 2,
        "producers": [],
        "topics": [{"topic_id": 31, "cosine": 0.5}],
        "languages": [{"language": "en", "share": 0.75}],
    }
]


def sparse(entries: Entries, *, as_interests: bool = False) -> SparseEmbeddings:
    pairs = [(user, c, s) for user, row in sorted(entries.items()) for c, s in row.items()]
    users, communities, scores = (np.array(column) for column in zip(*pairs, strict=True))
    values = scores.astype(np.float32)
    further = {"fav_score": values, "log_fav_normalized": values} if as_interests else {}
    return SparseEmbeddings.from_entries(users, communities.astype(np.int32), values, further)


def table(vectors: dict[int, tuple[float, ...]]) -> pa.Table:
    ids = sorted(vectors)
    flat = np.array([vectors[user] for user in ids], np.float32).reshape(-1)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), 3)
    return pa.table({"id": np.array(ids), "vector": lists})


def write_models(folder: Path, *, described: bool = True) -> dict[str, str]:
    """Write one version of every model; returns the versions by name."""
    store, versions = ArtifactStore(folder / "artifacts"), {}
    with store.writing("simclusters", schema_version=1) as draft:
        sparse(INTERESTS, as_interests=True).write(draft, "interested_in")
        sparse(PRODUCERS).write(draft, "producers")
        sparse(KNOWN_FOR).write(draft, "known_for")
        if described:
            draft.write_json("communities.json", DESCRIBED)
    versions["simclusters"] = str(draft.version)
    with store.writing("twhin", schema_version=1) as draft:
        for name in ("user_engagement", "user_follow"):
            draft.write_table(f"{name}.arrow", table(LIKER_VECTORS))
        of_authors = table(AUTHOR_VECTORS)
        draft.write_table("author_follow.arrow", of_authors)
        vectors = [AUTHOR_VECTORS[user] for user in sorted(AUTHORS)]
        build_base(draft.file("authors.hnsw"), np.array(vectors, np.float32))
    versions["twhin"] = str(draft.version)
    with store.writing("tweepcred", schema_version=1) as draft:
        columns = {"user_id": np.array([EVE]), "reputation": np.array([40], np.float32)}
        draft.write_table("reputations.arrow", pa.table({**columns, "pagerank": np.array([0.1])}))
    versions["tweepcred"] = str(draft.version)
    with store.writing("real_graph", schema_version=1) as draft:
        scores = {
            "viewer_id": np.array([ANN]),
            "author_id": np.array([EVE]),
            "score": np.array([0.25], np.float32),
            "followed": np.array([True]),
        }
        draft.write_table("scores.arrow", pa.table(scores))
    versions["real_graph"] = str(draft.version)
    return versions


def write_rows(
    folder: Path, rows: Entries, vectors: dict[int, tuple[float, ...]]
) -> dict[str, str]:
    """Write models in which users have the same rows and vectors in every matrix and table."""
    store, versions = ArtifactStore(folder / "artifacts"), {}
    with store.writing("simclusters", schema_version=1) as draft:
        sparse(rows, as_interests=True).write(draft, "interested_in")
        sparse(rows).write(draft, "producers")
        best = {user: {max(row, key=lambda c: row[c]): 1.0} for user, row in rows.items()}
        sparse(best).write(draft, "known_for")
    versions["simclusters"] = str(draft.version)
    with store.writing("twhin", schema_version=1) as draft:
        for name in ("user_engagement", "user_follow", "author_follow"):
            draft.write_table(f"{name}.arrow", table(vectors))
    versions["twhin"] = str(draft.version)
    return versions


def trained_states(
    folder: Path, events: Sequence[Event], n_shards: int = 1, versions: dict[str, str] | None = None
) -> list[ShardState]:
    """States that serve the versions in `versions` and have heard of events."""
    models = Models(ArtifactStore(folder / "artifacts"))
    settings = Settings(data_dir=folder)
    states = [ShardState(settings, models, k, n_shards) for k in range(n_shards)]
    for state in states:
        for name, version in (versions or {}).items():
            state.activate(name, version, NOW_MS - DAY_MS)
        assert not state.counters["refused_activations"]
    apply(states, events, imported=True)
    return states


def the_world() -> list[Event]:
    """Eve's post 101 is liked by Ann and Ben, and each of the others by whom its name implies."""
    clock = Clock()

    def liked(post: int, author: int, *users: int) -> list[Event]:
        likes = [clock.on_post(Kind.FAVOURITE, user, post, author) for user in users]
        return [clock.post(post, author), *likes]

    repost = {"repost_of_id": ALIKE, "repost_of_author_id": FOE}
    return [
        *(clock.event(Kind.USER_CREATE, actor_id=user) for user in (ANN, BEN, EVE)),
        clock.event(Kind.USER_CREATE, actor_id=SHY, protected=True),
        clock.event(Kind.USER_SUSPEND, actor_id=OUT),
        *(clock.edge(Kind.FOLLOW, user, author) for user in (ANN, BEN) for author in (EVE, FOE)),
        clock.edge(Kind.FOLLOW, FAR, EVE),
        clock.edge(Kind.BLOCK, EVE, FAR),
        *liked(SOURCE, EVE, ANN, BEN),
        *liked(ALIKE, FOE, ANN),
        *liked(LESS, GUS, SHY),
        *liked(UNLIKE, GUS, FAR),
        *liked(DELETED, GUS, ANN, BEN),
        clock.event(Kind.POST_DELETE, post_id=DELETED, author_id=GUS),
        *liked(OF_PROTECTED, SHY, ANN, BEN),
        *liked(OF_BLOCKED, FAR, ANN, BEN),
        *liked(OF_SUSPENDED, OUT, ANN, BEN),
        clock.post(REPOST, GUS, **repost),
        clock.on_post(Kind.FAVOURITE, ANN, REPOST, GUS),
    ]
