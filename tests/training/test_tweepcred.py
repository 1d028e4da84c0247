from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.settings import Settings, load
from tests.training.archives import DAY_MS, archived, archived_events, settings_at
from tests.worlds import NOW_MS, Clock, Event, checked
from training.job import Trained, TrainingError
from training.tweepcred import REAL_GRAPH, TWEEPCRED, observe, train

A, B, C, D, E = 11, 7, 23, 5, 42


def store(settings: Settings) -> ArtifactStore:
    return ArtifactStore(settings.data_dir / "artifacts")


def chosen(folder: Path, **tweepcred: Any) -> Settings:
    return settings_at(folder, tweepcred=tweepcred)


def table_of(settings: Settings, trained: Trained) -> pa.Table:
    artifact = store(settings).open(TWEEPCRED, trained.version, schema_version=1)
    return artifact.table("reputations.arrow")


def ranks_of(settings: Settings, trained: Trained) -> dict[int, float]:
    table = table_of(settings, trained)
    return dict(zip(table["user_id"].to_pylist(), table["pagerank"].to_pylist(), strict=True))


def follows(clock: Clock, *pairs: tuple[int, int], kind: Kind = Kind.FOLLOW) -> list[Event]:
    return [clock.edge(kind, actor, target) for actor, target in pairs]


def user(clock: Clock, kind: Kind, user_id: int, **given: Any) -> Event:
    return clock.event(kind, actor_id=user_id, **given)


def little_world() -> list[Event]:
    clock = Clock(NOW_MS - 50 * DAY_MS)
    return [
        user(clock, Kind.USER_CREATE, A),
        user(clock, Kind.USER_CREATE, B, verified=True),
        *follows(clock, (A, B), (B, C), (C, A), (D, A), (D, C)),
        *follows(clock, (B, D), (E, A)),
        *follows(clock, (B, D), kind=Kind.UNFOLLOW),
        clock.post(900, A),
    ]


def test_ranks_are_networkx_s_with_the_published_prior(folder: Path) -> None:
    settings = chosen(folder, tolerance=1e-12)
    trained = train(settings, archived_events(settings, little_world()), store(settings))
    graph = nx.DiGraph([(A, B), (B, C), (C, A), (D, A), (D, C), (E, A)])
    # Their age is that of a log of a few milliseconds; who came before it is of age.
    mass = {A: 1.0, B: 100.0, C: 55.0, D: 55.0, E: 55.0}
    everywhere = dict.fromkeys(graph, 1.0)
    wanted = nx.pagerank(graph, 0.9, mass, tol=1e-14, max_iter=1_000, dangling=everywhere)
    found = ranks_of(settings, trained)
    assert list(found) == sorted([A, B, C, D, E])
    for user_id, rank in found.items():
        assert rank == pytest.approx(wanted[user_id], abs=1e-9)

    table = table_of(settings, trained)
    assert table.schema.types == [pa.int64(), pa.float32(), pa.float64()]
    reputations = dict(
        zip(table["user_id"].to_pylist(), table["reputation"].to_pylist(), strict=True)
    )
    assert reputations[max(found, key=found.__getitem__)] == 95
    assert reputations[min(found, key=found.__getitem__)] == 15


def test_the_manifest_says_what_was_ranked(folder: Path) -> None:
    settings = chosen(folder)
    events = little_world()
    trained = train(settings, archived_events(settings, events), store(settings))
    manifest = store(settings).manifest(TWEEPCRED, trained.version)
    assert manifest.metrics == trained.metrics
    assert manifest.data_range_ms == (events[0]["time_ms"], events[-1]["time_ms"] + 1)
    found = trained.metrics
    assert (found["users"], found["edges"], found["dropped_edges"]) == (5, 6, 0)
    assert found["converged"]
    assert 0 < found["l1_change"] < 1e-9
    assert 1 < found["iterations"] <= 200
    assert found["warm_start"] is None
    assert set(found["seconds"]) == {"read", "graph", "pagerank"}
    # Five users have far more than 3.2e-3 each: the published line puts all at its end.
    assert found["published_saturated_share"] == found["published_share_at_100"] == 1
    assert found["top_users"][0]["reputation"] == 95
    assert len(found["top_users"]) == 5


def test_who_is_gone_leaves_the_graph_and_the_suspended_only_the_prior(folder: Path) -> None:
    clock = Clock(NOW_MS - 50 * DAY_MS)
    events = [
        *follows(clock, (A, B), (B, A), (A, C), (A, D), (A, E), (E, A), (B, C)),
        user(clock, Kind.USER_DEACTIVATE, D),
        user(clock, Kind.USER_DELETE, E),
        user(clock, Kind.USER_SUSPEND, C),
    ]
    settings = chosen(folder, tolerance=1e-12)
    trained = train(settings, archived_events(settings, events), store(settings))
    found = ranks_of(settings, trained)
    graph = nx.DiGraph([(A, B), (B, A), (A, C), (B, C)])
    everywhere = dict.fromkeys(graph, 1.0)
    wanted = nx.pagerank(graph, 0.9, {A: 1.0, B: 1.0}, tol=1e-14, dangling=everywhere)
    assert found == pytest.approx(wanted, abs=1e-9)
    assert trained.metrics["dropped_edges"] == 3


def test_only_what_came_before_counts(folder: Path) -> None:
    settings = chosen(folder, warm_start=False)
    events = little_world()
    archive = archived_events(settings, events)
    until_ms = next(e["time_ms"] for e in events if e.get("actor_id") == E)
    trained = train(settings, archive, store(settings), until_ms=until_ms)
    assert list(ranks_of(settings, trained)) == sorted([A, B, C, D])
    # The unfollow of D came later.
    assert trained.metrics["edges"] == 6
    last_ms = max(e["time_ms"] for e in events if e["time_ms"] < until_ms)
    manifest = store(settings).manifest(TWEEPCRED, trained.version)
    assert manifest.data_range_ms == (events[0]["time_ms"], last_ms + 1)


def test_accounts_age_until_the_last_event_of_any_kind(folder: Path) -> None:
    clock = Clock(NOW_MS - 90 * DAY_MS)
    events = [user(clock, Kind.USER_CREATE, A), *follows(clock, (A, B))]
    clock.now_ms += 15 * DAY_MS - 3
    events.append(clock.post(900, B))
    settings = chosen(folder)
    archive = archived_events(settings, events)
    for until_ms, days in ((None, 15), (clock.now_ms + 5 * DAY_MS, 20)):
        users, _, _ = observe(archive, until_ms or clock.now_ms + 1)
        assert users.ids.tolist() == [B, A]
        assert users.age_days[1] == pytest.approx(days, abs=1e-6)
        assert np.isinf(users.age_days[0])
    one = train(settings, archive, store(settings))
    two = train(settings, archive, store(settings), until_ms=clock.now_ms + 90 * DAY_MS)
    # Of age in the second, A has half of the prior: r = 0.05 + 0.45 (1 − r).
    assert ranks_of(settings, two)[A] == pytest.approx(0.5 / 1.45, abs=1e-8)
    assert ranks_of(settings, one)[A] < 0.34


@effort(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([(A, B), (B, A), (A, C), (C, B)]),
            st.sampled_from([Kind.FOLLOW, Kind.UNFOLLOW]),
            st.integers(0, 3),
        ),
        max_size=14,
    )
)
def test_the_newest_event_of_a_pair_wins(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[tuple[int, int], Kind, int]]
) -> None:
    settings = settings_at(tmp_path_factory.mktemp("newest"))
    events = [
        {
            "kind": kind.label,
            "event_id": event_id,
            "time_ms": NOW_MS + later_ms,
            "actor_id": pair[0],
            "target_id": pair[1],
        }
        for event_id, (pair, kind, later_ms) in enumerate(told, 1)
    ]
    anchor = {
        "kind": "follow",
        "event_id": 1_000,
        "time_ms": NOW_MS,
        "actor_id": D,
        "target_id": E,
    }
    now = {}
    for event in sorted([*events, anchor], key=lambda e: (e["time_ms"], e["event_id"])):
        now[event["actor_id"], event["target_id"]] = event["kind"] == "follow"
    archive = archived_events(settings, [*events, anchor])
    users, found, first_ms = observe(archive, NOW_MS + DAY_MS)
    pairs = zip(
        users.ids[found.followers].tolist(), users.ids[found.followed].tolist(), strict=True
    )
    assert sorted(pairs) == sorted(pair for pair, on in now.items() if on)
    assert first_ms == NOW_MS


def test_a_warm_start_begins_where_the_last_ended(society: tuple[Settings, Archive]) -> None:
    settings, archive = society
    artifacts = store(settings)
    cold, warm = train(settings, archive, artifacts), train(settings, archive, artifacts)
    assert warm.metrics["warm_start"] == cold.version
    assert warm.metrics["iterations"] <= 2 < cold.metrics["iterations"]
    one, two = table_of(settings, cold), table_of(settings, warm)
    assert one["reputation"].equals(two["reputation"])
    np.testing.assert_allclose(two["pagerank"].to_numpy(), one["pagerank"].to_numpy(), atol=1e-9)
    # The data of both ends after this instant: neither may help there.
    first_ms, end_ms = store(settings).manifest(TWEEPCRED, cold.version).data_range_ms or (0, 0)
    early = train(settings, archive, artifacts, until_ms=(first_ms + end_ms) // 2)
    assert early.metrics["warm_start"] is None


def test_the_same_archive_gives_the_same_reputations(society: tuple[Settings, Archive]) -> None:
    settings, archive = society
    still = settings.training.tweepcred.model_copy(update={"warm_start": False, "threads": 3})
    training = settings.training.model_copy(update={"tweepcred": still})
    settings = settings.model_copy(update={"training": training})
    one, two = (table_of(settings, train(settings, archive, store(settings))) for _ in "12")
    assert one.equals(two)
    assert one["pagerank"].to_numpy().sum() == pytest.approx(1, abs=1e-12)
    reputations = one["reputation"].to_numpy()
    assert (reputations.max(), reputations.min()) == (95, 15)
    assert (np.diff(one["user_id"].to_numpy()) > 0).all()


def test_the_twitter_preset_takes_the_published_line(folder: Path) -> None:
    settings = load(preset="twitter", data_dir=folder, log={"kind": "sqlite", "replicas": 1})
    trained = train(settings, archived_events(settings, little_world()), store(settings))
    assert trained.metrics["scale"] == {"intercept": 130.0, "slope": 5.21}
    assert trained.metrics["iterations"] <= 20
    assert set(table_of(settings, trained)["reputation"].to_pylist()) == {100.0}


def write_real_graph(settings: Settings, scores: list[tuple[int, int, float]], end_ms: int) -> str:
    viewers, authors, values = zip(*scores, strict=True)
    table = pa.table(
        {
            "viewer_id": pa.array(viewers, pa.int64()),
            "author_id": pa.array(authors, pa.int64()),
            "score": pa.array(values, pa.float32()),
            "followed": pa.array([True] * len(scores)),
        }
    )
    with store(settings).writing(REAL_GRAPH, schema_version=1, data_range_ms=(1, end_ms)) as draft:
        draft.write_table("scores.arrow", table)
    assert draft.version is not None
    return draft.version


def test_real_graph_weights_edges_down_to_a_floor(folder: Path) -> None:
    settings = chosen(folder, weighted=True, weight_floor=0.125, tolerance=1e-12)
    archive = archived_events(settings, little_world())
    # A score too low, one of a user nobody knows, and one of a pair without a follow.
    scores = [(D, A, 0.75), (D, C, 0.0625), (999, A, 0.5), (A, C, 0.9), (C, A, 0.5)]
    version = write_real_graph(settings, scores, NOW_MS - 60 * DAY_MS)
    write_real_graph(settings, [(D, A, 0.25), (D, C, 0.75)], NOW_MS + DAY_MS)
    trained = train(settings, archive, store(settings))
    graph = nx.DiGraph()
    floor = [(A, B), (B, C), (C, A), (E, A), (D, C)]
    graph.add_weighted_edges_from([*((a, b, 0.125) for a, b in floor), (D, A, 0.75)])
    mass = {A: 1.0, B: 100.0, C: 55.0, D: 55.0, E: 55.0}
    everywhere = dict.fromkeys(graph, 1.0)
    wanted = nx.pagerank(graph, 0.9, mass, tol=1e-14, max_iter=1_000, dangling=everywhere)
    assert ranks_of(settings, trained) == pytest.approx(wanted, abs=1e-9)
    manifest = store(settings).manifest(TWEEPCRED, trained.version)
    assert manifest.depends_on == {REAL_GRAPH: version}


def test_weights_without_real_graph_are_missing(folder: Path) -> None:
    settings = chosen(folder, weighted=True)
    archive = archived_events(settings, little_world())
    with pytest.raises(TrainingError, match="no real_graph artifact whose data ends by"):
        train(settings, archive, store(settings))
    assert store(settings).versions(TWEEPCRED) == []


@pytest.mark.parametrize("case", ["nothing", "no follow", "only who is gone", "all suspended"])
def test_too_little_data_leaves_no_artifact(folder: Path, case: str) -> None:
    clock = Clock(NOW_MS - 50 * DAY_MS)
    events, said = {
        "nothing": ([], "holds no event before that time"),
        "no follow": ([user(clock, Kind.USER_CREATE, A)], r"nobody .* \(1 users, 0 follows"),
        "only who is gone": (
            [*follows(clock, (A, B)), user(clock, Kind.USER_DELETE, B)],
            r"nobody .* \(1 users, 1 follows of users who are gone\)",
        ),
        "all suspended": (
            [*follows(clock, (A, B)), *(user(clock, Kind.USER_SUSPEND, u) for u in (A, B))],
            "none of the 2 users has prior mass",
        ),
    }[case]
    settings = chosen(folder)
    archive = archived(settings, [checked(events)] if events else [])
    with pytest.raises(TrainingError, match=said):
        train(settings, archive, store(settings))
    assert store(settings).versions(TWEEPCRED) == []
