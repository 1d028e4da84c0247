"""A small world in which everything happens, under random models of all sorts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from actors.features.batch_aggregates import AGGREGATES
from actors.models import Models
from actors.state import ShardState
from actors.stores.sparse_embeddings import TOPIC_MATRICES, topic_in_language
from cluster.artifacts import ArtifactStore
from cluster.events import ENGAGEMENTS, NEGATIVE_FEEDBACK, Kind
from cluster.settings import Settings, load
from tests.timeline.trained_worlds import sparse
from tests.training.archives import archived_events
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, Event, apply
from training import aggregates

N_USERS, N_POSTS, DIMENSIONS = 24, 240, 8
USER_IDS = list(range(1, 1 + N_USERS))
POST_IDS = list(range(1_001, 1_001 + N_POSTS))
WRITERS = [user for user in USER_IDS if user % 4 != 3]
TOPIC_IDS = [31, 32, 33, 34]


def author_of(post_id: int) -> int:
    return WRITERS[post_id * 7 % len(WRITERS)]


def rich_events(seed: int = 0, n_engagements: int = 7_000) -> list[Event]:
    """Events of the last two weeks: people, follows, lists, posts of all sorts, engagements."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []

    def happen(kind: Kind, age_ms: float, **given: Any) -> None:
        time_ms = NOW_MS - int(age_ms)
        events.append(
            {"kind": kind.label, "event_id": 1 + len(events), "time_ms": time_ms, **given}
        )

    for stranger in range(2_001, 2_060):
        happen(Kind.FOLLOW, 2 * DAY_MS, actor_id=USER_IDS[0], target_id=stranger)
    for user in USER_IDS[:-1]:
        happen(
            *(Kind.USER_CREATE, (3 + 5 * user) * DAY_MS),
            actor_id=user,
            language=("en", "de", "fr")[user % 3],
            country=("US", "DE")[user % 2],
            age_years=18 + user,
            verified=user % 4 == 0 or user == 9,
            protected=user % 11 == 0,
            allow_sensitive=user % 3 == 0,
        )
        for other in rng.choice(USER_IDS, 3 + user % 9, replace=False).tolist():
            if other != user:
                happen(Kind.FOLLOW, rng.uniform(1, 12) * DAY_MS, actor_id=user, target_id=other)
        others = [other for other in USER_IDS if other != user]
        for kind in (Kind.BLOCK, Kind.MUTE)[: user % 3]:
            for age_ms in (HOUR_MS / 3, DAY_MS):
                happen(kind, age_ms, actor_id=user, target_id=int(rng.choice(others)))
        for topic in TOPIC_IDS[: user % 4]:
            happen(Kind.TOPIC_FOLLOW, 9 * DAY_MS, actor_id=user, target_id=topic)
        if user % 2:
            happen(Kind.LIST_CREATE, 8 * DAY_MS, actor_id=user, target_id=500 + user)
            for member in rng.choice(others, 4, replace=False).tolist():
                ids = {"actor_id": user, "target_id": 500 + user, "author_id": member}
                happen(Kind.LIST_ADD, 7 * DAY_MS, **ids)
                happen(Kind.MUTE, HOUR_MS / 5, actor_id=user, target_id=member)
    # Older posts have lower ids, so that links lead back.
    ages_ms = np.sort(13 * DAY_MS * rng.uniform(0.03, 1, N_POSTS) ** 2)[::-1]
    for post, age_ms in zip(POST_IDS, ages_ms.tolist(), strict=True):
        given: dict[str, Any] = {"post_id": post, "author_id": author_of(post)}
        given["language"] = ("en", "de")[post % 2]
        given["text"] = _text(post)
        given["image_count"], given["link_count"] = post % 4, post % 5 // 2
        given["video_duration_ms"] = (post % 3 == 0) * 20_000 * (post % 5)
        given["sensitive"] = post % 13 == 0
        if post % 4:
            given["topics"] = [TOPIC_IDS[(post + nth) % 4] for nth in range(1 + post % 3)]
        linked = post - (len(WRITERS) if post % 8 == 5 else 1 + int(rng.integers(0, 40)))
        link = {0: "reply_to", 1: "quote_of", 2: "repost_of", 5: "reply_to"}.get(post % 8, "")
        if link and linked >= POST_IDS[0]:
            given |= {f"{link}_id": linked, f"{link}_author_id": author_of(linked)}
            if post % 16 == 1:
                # A quote that replies to what it quotes, and to which its author reacts.
                given |= {"reply_to_id": linked, "reply_to_author_id": author_of(linked)}
                for kind in (Kind.IMPRESSION, Kind.FAVOURITE, Kind.REPLY):
                    ids = {"actor_id": author_of(linked), "post_id": post}
                    happen(kind, age_ms / 2, **ids, author_id=author_of(post))
            if link == "reply_to":
                given["root_id"] = linked if post % 16 else POST_IDS[0]
        happen(Kind.POST_CREATE, age_ms, **given)
    for k, post in enumerate(POST_IDS[::2]):
        label = ("nsfw", "spam", "abusive")[k % 3]
        ids = {"post_id": post, "author_id": author_of(post)}
        happen(Kind.SAFETY_LABEL, HOUR_MS / 8, **ids, label=label, value=0.8)
    edited = POST_IDS[-1] + 1
    ids = {"post_id": edited, "author_id": author_of(POST_IDS[-3]), "edit_of_id": POST_IDS[-3]}
    happen(Kind.POST_CREATE, HOUR_MS / 9, **ids, text="edited", language="en")
    kinds = (*ENGAGEMENTS, *ENGAGEMENTS, *NEGATIVE_FEEDBACK, *[Kind.IMPRESSION] * 8)
    for k in range(n_engagements):
        at = int(N_POSTS * (rng.random() ** 0.7 if k else 0.9))
        # A few posts are known to all.
        at = at // 20 * 19 if k % 2 else at
        post, age_ms = POST_IDS[at], ages_ms[at] * rng.random()
        kind = kinds[int(rng.integers(len(kinds))) if k else 0]
        # Some do much, some little, and one nothing at all.
        actor = USER_IDS[int((N_USERS - 6) * rng.random() ** 4) if k else 18]
        given = {"actor_id": actor, "post_id": post, "author_id": author_of(post)}
        if kind is not Kind.NOTIFICATION_OPEN:
            given["position"] = int(rng.integers(1, 30))
        if kind in (Kind.CLICK, Kind.DWELL, Kind.PROFILE_CLICK, Kind.VIDEO_WATCH):
            given["value"] = float(rng.integers(500, 150_000))
        if kind is Kind.PROFILE_CLICK and k % 3:
            del given["post_id"]
        happen(kind, age_ms, **given)
    for user in USER_IDS[:6]:
        happen(Kind.FOLLOW, HOUR_MS / 4, actor_id=user, target_id=WRITERS[-1])
    for user, post in zip(rng.choice(USER_IDS, 400).tolist(), POST_IDS * 9, strict=False):
        if user != author_of(post):
            happen(
                Kind.MENTION, HOUR_MS / 3, actor_id=author_of(post), target_id=user, post_id=post
            )
            happen(
                Kind.MENTION, HOUR_MS / 3, actor_id=user, target_id=author_of(post), post_id=post
            )
    return sorted(events, key=lambda event: (event["time_ms"], event["event_id"]))


def _text(post: int) -> str:
    words = "WORD" if post % 6 == 0 else "Word #tag @you"
    return " ".join([words] * (post % 27)) if post % 5 else ""


def write_random_models(folder: Path, seed: int = 0) -> dict[str, str]:
    """One version of every artifact that inputs are read from, of all users."""
    rng = np.random.default_rng(seed)
    store, versions = ArtifactStore(folder / "artifacts"), {}

    def rows(ids: Sequence[int], n: int) -> dict[int, dict[int, float]]:
        chosen = {i: rng.choice(9, rng.integers(1, n), replace=False) for i in ids}
        return {
            i: {int(c): float(rng.uniform(0.31, 1)) for c in found} for i, found in chosen.items()
        }

    def table(ids: Sequence[int]) -> pa.Table:
        flat = rng.normal(size=len(ids) * DIMENSIONS).astype(np.float32)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), DIMENSIONS)
        return pa.table({"id": np.array(ids, np.int64), "vector": lists})

    with store.writing("simclusters", schema_version=1) as draft:
        sparse(rows(USER_IDS, 5), as_interests=True).write(draft, "interested_in")
        sparse(rows(USER_IDS, 5)).write(draft, "producers")
        sparse(rows(USER_IDS, 2)).write(draft, "known_for")
        keys = [topic_in_language(topic, word) for topic in TOPIC_IDS for word in ("en", "de")]
        for name in TOPIC_MATRICES:
            sparse(rows(keys, 5)).write(draft, name)
    versions["simclusters"] = str(draft.version)
    with store.writing("twhin", schema_version=1) as draft:
        for name in ("user_engagement", "user_follow", "author_follow"):
            draft.write_table(f"{name}.arrow", table(USER_IDS[:-3]))
    versions["twhin"] = str(draft.version)
    with store.writing("tweepcred", schema_version=1) as draft:
        scores = rng.uniform(0, 100, N_USERS).astype(np.float32)
        columns = {"user_id": np.array(USER_IDS), "reputation": scores}
        draft.write_table("reputations.arrow", pa.table({**columns, "pagerank": scores / 1e4}))
    versions["tweepcred"] = str(draft.version)
    with store.writing("real_graph", schema_version=1) as draft:
        pairs = [(v, a) for v in USER_IDS for a in USER_IDS if v != a and (v + a) % 3]
        scores = np.sort(rng.random(len(pairs)))[::-1].astype(np.float32)
        viewers, authors = np.array(pairs).T
        order = np.lexsort((-scores, viewers))
        found = {
            "viewer_id": viewers[order],
            "author_id": authors[order],
            "score": scores[order],
            "followed": np.zeros(len(pairs), bool),
        }
        draft.write_table("scores.arrow", pa.table(found))
    versions["real_graph"] = str(draft.version)
    return versions


def count_aggregates(folder: Path, events: Sequence[Event], selection: str) -> dict[str, str]:
    """The version of batch aggregates that the job makes of the events."""
    settings = rich_settings(folder, selection)
    store = ArtifactStore(folder / "artifacts")
    made = aggregates.train(settings, archived_events(settings, events), store)
    return {AGGREGATES: made.version}


def rich_settings(folder: Path, selection: str) -> Settings:
    return load(
        data_dir=folder,
        heavy_ranker={"features": selection},
        training={"twhin": {"dimensions": DIMENSIONS}},
        shards={"slice_rows": 50_000},
    )


def rich_states(
    folder: Path,
    versions: dict[str, str],
    events: Sequence[Event],
    n_shards: int = 1,
    selection: str = "twitter",
) -> list[ShardState]:
    """States that serve all models and have heard of the events."""
    models, settings = Models(ArtifactStore(folder / "artifacts")), rich_settings(folder, selection)
    states = [ShardState(settings, models, k, n_shards) for k in range(n_shards)]
    for state in states:
        for name, version in versions.items():
            state.activate(name, version, NOW_MS - 30 * DAY_MS)
        assert not state.counters["refused_activations"]
    apply(states, events, imported=True)
    return states
