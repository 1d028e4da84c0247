"""Tweepcred: how reputable users are, by a PageRank over who follows whom.

The published job, with what does not work in it, or cannot here, done as follows:

- Follows are the graph, as in its code; its README says mentions and reposts.
- The walk stops by the sum of absolute changes, as in its code; its help says the maximum.
- With Real Graph's weights it takes `max(1, w)`. Those are probabilities now, so that every
  edge weighs 1; here it is `max(w, weight_floor)`.
- No event says whether an account has a messaging device or is restricted: every user counts
  as having a device and as not restricted, so that a verified user has 1.8 times the mass of
  another of age. Without the device it would be 20 times.
- An additive weight of account age is declared and never used; there is none here.
- Its constants from ranks to 0–100 were fitted to hundreds of millions of users. In a small
  graph they put most users at 100, so by default the line is fitted anew.
- A user whom no event created is older than the log: of age, and there until told otherwise.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.real_graph import REAL_GRAPH, REAL_GRAPH_SCHEMA, SCORES
from actors.features.reputation import REPUTATIONS, TWEEPCRED, TWEEPCRED_SCHEMA
from actors.stores.id_map import IdMap
from actors.stores.relations import Relations
from actors.stores.users import UserTable
from actors.stores.versions import versions_of
from cluster.archive import Archive
from cluster.archive_catalog import start_of_date_ms
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ids import Ids
from cluster.settings import DAY_MS, Settings
from cluster.training_settings import TweepcredSettings
from training.job import Progress, Trained, TrainingError, silent
from training.pagerank import LinkGraph, PageRank, pagerank
from training.reputation import PUBLISHED, Floats, Users, adjusted, fitted, prior_mass

_USER_KINDS = tuple(kind for kind in Kind if kind.name.startswith("USER_"))
_N_TOP = 10


@dataclass(frozen=True)
class Follows:
    """Who follows whom now, both among `Users`; arrays of shape (m,), each pair once."""

    followers: npt.NDArray[np.int32]
    """Positions in `Users.ids`."""
    followed: npt.NDArray[np.int32]
    n_dropped: int
    """Follows of or by users who are gone."""

    def followings(self, n_users: int) -> Ids:
        """How many each user follows."""
        return np.bincount(self.followers, minlength=n_users)

    def audience(self, n_users: int) -> Ids:
        """How many follow each user."""
        return np.bincount(self.followed, minlength=n_users)


def train(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    *,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Rank all users by what was archived before `until_ms` and write a new `tweepcred`.

    `reputations.arrow` has a row for every user who is there (neither deactivated nor deleted;
    the suspended stay, but the walk never jumps to them) and who was in a user event or a
    follow, by ascending `user_id`: `reputation` (float32, whole numbers 0 … 100) and `pagerank`
    (float64, of sum 1, before the adjustment for followings: where the next run starts). The
    same archive, settings and `until_ms` give the same ranks; a warm start moves them by no
    more than the tolerance allows.

    Raises `TrainingError`, naming what is missing, where there is no follow to walk along;
    nothing is written then.
    """
    chosen = settings.training.tweepcred
    began_s = time.perf_counter()
    progress("reading users and follows", 0.0)
    now_ms, last_ms = _end(archive, until_ms)
    users, follows, first_ms = observe(archive, now_ms)
    read_s = time.perf_counter()
    progress("ranking users", 0.5)
    n = len(users.ids)
    followings, followers = follows.followings(n), follows.audience(n)
    mass = prior_mass(users, followings, followers)
    if not mass.any():
        raise TrainingError(f"none of the {n:,} users has prior mass: all of them are suspended")
    weights, depends_on = _weights(chosen, artifacts, users, follows, now_ms)
    graph = LinkGraph.of(follows.followers, follows.followed, n, weights)
    start, warm_from = _warm_start(chosen, artifacts, users, mass, now_ms)
    grouped_s = time.perf_counter()
    found = pagerank(
        graph,
        prior=mass,
        start=start,
        jump=chosen.jump,
        tolerance=chosen.tolerance,
        max_iterations=chosen.max_iterations,
        threads=chosen.threads,
    )
    ranked_s = time.perf_counter()
    progress("ranking users", 1.0)
    ranks = adjusted(found.ranks, followings, followers) if chosen.post_adjust else found.ranks
    scale = PUBLISHED if chosen.scale == "published" else fitted(ranks)
    reputations = scale.reputations(ranks)
    seconds = {
        "read": read_s - began_s,
        "graph": grouped_s - read_s,
        "pagerank": ranked_s - grouped_s,
    }
    metrics = {
        **_counts(users, follows, found),
        "warm_start": warm_from,
        "seconds": {name: round(taken, 3) for name, taken in seconds.items()},
        **_saturation(ranks),
        "scale": {"intercept": scale.intercept, "slope": scale.slope},
        "top_users": _top(users, found.ranks, reputations),
    }
    with artifacts.writing(
        TWEEPCRED,
        schema_version=TWEEPCRED_SCHEMA,
        depends_on=depends_on,
        metrics=metrics,
        data_range_ms=(first_ms, last_ms + 1),
    ) as draft:
        columns = {"user_id": users.ids, "reputation": reputations, "pagerank": found.ranks}
        draft.write_table(REPUTATIONS, pa.table(columns))
    return Trained(TWEEPCRED, draft.written, metrics, seconds)


def observe(archive: Archive, now_ms: int) -> tuple[Users, Follows, int]:
    """Users and follows as of `now_ms`, by the appliers' own registers; and the first event's time.

    Raises `TrainingError` where nobody who is there follows anybody else who is.
    """
    table, relations = UserTable(), Relations()
    first_ms = now_ms
    columns = ["kind", "time_ms", "event_id", "actor_id", "verified"]
    for batch in archive.batches(_USER_KINDS, until_ms=now_ms, columns=columns):
        first_ms = min(first_ms, batch.column("time_ms")[0].as_py())
        table.write(batch, _versions(batch))
    columns = ["kind", "time_ms", "event_id", "actor_id", "target_id"]
    kinds = (Kind.FOLLOW, Kind.UNFOLLOW)
    for batch in archive.batches(kinds, until_ms=now_ms, columns=columns):
        first_ms = min(first_ms, batch.column("time_ms")[0].as_py())
        actors, targets = (batch.column(name).to_numpy() for name in ("actor_id", "target_id"))
        following = batch.column("kind").to_numpy() == Kind.FOLLOW
        relations.write(actors, targets, _versions(batch), following)
    edges = relations.columns()
    on = edges["active"]
    users, follows = _those_there(table, edges["owner_ids"][on], edges["other_ids"][on], now_ms)
    if not len(follows.followers):
        raise TrainingError(
            f"before {now_ms} ms nobody who is there follows anybody else ({len(users.ids):,} "
            f"users, {follows.n_dropped:,} follows of users who are gone): bring in follows"
        )
    return users, follows, first_ms


def _end(archive: Archive, until_ms: int | None) -> tuple[int, int]:
    """The instant of the job, and the time of the last event of any kind before it."""
    for date in reversed(archive.dates()):
        last_ms = None
        for batch in archive.batches(
            since_ms=start_of_date_ms(date), until_ms=until_ms, columns=["time_ms"]
        ):
            last_ms = batch.column("time_ms")[-1].as_py()
        if last_ms is not None:
            return last_ms + 1 if until_ms is None else until_ms, last_ms
    raise TrainingError("the archive holds no event before that time: bring in events first")


def _versions(batch: pa.RecordBatch) -> Ids:
    return versions_of(batch.column("time_ms").to_numpy(), batch.column("event_id").to_numpy())


def _those_there(table: UserTable, actors: Ids, targets: Ids, now_ms: int) -> tuple[Users, Follows]:
    """Everyone named but the deactivated and the deleted, and the follows among them."""
    named = np.unique(np.concatenate([table["user_ids"], actors, targets]))
    rows = table.rows_of(named)
    gone = _told(table, "deactivated", rows) | _told(table, "deleted", rows)
    there = (named > 0) & ~gone
    ids, rows = named[there], rows[there]
    created_ms = _told(table, "created_ms", rows)
    age_days = np.where(created_ms > 0, (now_ms - created_ms) / DAY_MS, np.inf)
    users = Users(ids, _told(table, "verified", rows), _told(table, "suspended", rows), age_days)

    at = _positions(ids)
    followers, followed = at.get(actors), at.get(targets)
    kept = (followers >= 0) & (followed >= 0)
    return users, Follows(followers[kept], followed[kept], len(kept) - int(kept.sum()))


def _told(table: UserTable, column: str, rows: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    """A column at some rows; 0 at row −1, of users whom no user event named."""
    values = np.zeros(len(rows), table[column].dtype)
    known = rows >= 0
    values[known] = table[column][rows[known]]
    return values


def _positions(user_ids: Ids) -> IdMap:
    """Ids to their places in the array."""
    at = IdMap(len(user_ids))
    at.get_or_insert(user_ids)
    return at


def _weights(
    chosen: TweepcredSettings,
    artifacts: ArtifactStore,
    users: Users,
    follows: Follows,
    now_ms: int,
) -> tuple[Floats | None, dict[str, str]]:
    """Real Graph's score of each follow, and the version they are from; None: all alike."""
    if not chosen.weighted:
        return None, {}
    named = chosen.real_graph_version
    artifact = (
        artifacts.open(REAL_GRAPH, named, schema_version=REAL_GRAPH_SCHEMA)
        if named
        else artifacts.open_latest(REAL_GRAPH, now_ms, schema_version=REAL_GRAPH_SCHEMA)
    )
    if artifact is None:
        raise TrainingError(
            f"training.tweepcred.weighted: there is no {REAL_GRAPH} artifact whose data ends by "
            f"{now_ms} ms: train one first"
        )
    scored = artifact.table(SCORES)
    at, n = _positions(users.ids), len(users.ids)
    viewers, authors = (
        at.get(scored.column(name).to_numpy()).astype(np.int64)
        for name in ("viewer_id", "author_id")
    )
    there = (viewers >= 0) & (authors >= 0)
    pairs = viewers[there] * n + authors[there]
    order = np.argsort(pairs, kind="stable")
    pairs, scores = pairs[order], scored.column("score").to_numpy()[there][order]
    wanted = follows.followers.astype(np.int64) * n + follows.followed
    weights = np.full(len(wanted), chosen.weight_floor)
    if len(pairs):
        places = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        held = pairs[places] == wanted
        weights[held] = np.maximum(scores[places[held]], chosen.weight_floor)
    return weights, {REAL_GRAPH: artifact.manifest.version}


def _warm_start(
    chosen: TweepcredSettings, artifacts: ArtifactStore, users: Users, mass: Floats, now_ms: int
) -> tuple[Floats | None, str | None]:
    """The ranks of the artifact before; who is new starts at the prior."""
    artifact = (
        artifacts.open_latest(TWEEPCRED, now_ms, schema_version=TWEEPCRED_SCHEMA)
        if chosen.warm_start
        else None
    )
    if artifact is None:
        return None, None
    before = artifact.table(REPUTATIONS)
    ids, ranks = (before.column(name).to_numpy() for name in ("user_id", "pagerank"))
    start = mass / mass.sum()
    places = np.minimum(np.searchsorted(ids, users.ids), len(ids) - 1)
    held = ids[places] == users.ids
    start[held] = ranks[places[held]]
    return start, artifact.manifest.version


def _counts(users: Users, follows: Follows, found: PageRank) -> dict[str, Any]:
    return {
        "users": len(users.ids),
        "edges": len(follows.followers),
        "dropped_edges": follows.n_dropped,
        "iterations": found.iterations,
        "l1_change": found.change,
        "converged": found.converged,
    }


def _saturation(ranks: Floats) -> dict[str, float]:
    """Shares of users whom the published constants would put at an end of their range."""
    published = PUBLISHED.reputations(ranks)
    at_0, at_100 = float((published == 0).mean()), float((published == 100).mean())
    return {
        "published_saturated_share": at_0 + at_100,
        "published_share_at_0": at_0,
        "published_share_at_100": at_100,
    }


def _top(
    users: Users, ranks: Floats, reputations: npt.NDArray[np.float32]
) -> list[dict[str, float]]:
    order = np.lexsort((users.ids, -ranks, -reputations))[:_N_TOP]
    return [
        {"user_id": int(users.ids[i]), "reputation": float(reputations[i]), "pagerank": ranks[i]}
        for i in order.tolist()
    ]
