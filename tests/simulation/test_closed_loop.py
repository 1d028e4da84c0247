from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest

from cluster.events import Kind
from cluster.ids import Ids
from simulation.closed_loop import SLICE_MS, Plan, Society, run_arm, warm_up
from simulation.feeds import Chronological, Moment, Oracle, Random
from simulation.outcomes import Outcomes
from simulation.rhythm import DAY_MS

PLAN = Plan(users=80, days=2, seed=3, sessions_per_day=150, judged_share=0.5)


class Ear:
    """Listens, and serves by the clock like the policy it stands for."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.learned_ms: list[int] = []
        self.known: list[tuple[int, int]] = []

    def hear(self, events: pa.RecordBatch) -> None:
        self.batches.append(events)

    def learn(self, now_ms: int) -> None:
        self.learned_ms.append(now_ms)

    def serve(self, moment: Moment, n_posts: int, rng: np.random.Generator) -> Ids:
        heard = max(int(batch.column("time_ms")[-1].as_py()) for batch in self.batches)
        self.known.append((heard, moment.known_ms))
        return Chronological().serve(moment, n_posts, rng)

    @property
    def events(self) -> pa.Table:
        tables = [pa.table(batch) for batch in self.batches]
        return pa.concat_tables(tables, promote_options="default")


@pytest.fixture(scope="module")
def base() -> tuple[Society, Ear]:
    society, ear = Society(PLAN), Ear()
    warm_up(society, ear)
    return society, ear


@pytest.fixture(scope="module")
def arms(base: tuple[Society, Ear]) -> dict[str, Outcomes]:
    policies = {"chronological": Chronological(), "random": Random(), "oracle": Oracle()}
    return {
        name: Outcomes.joined(list(run_arm(base[0].copied(heard=False), policy)))
        for name, policy in policies.items()
    }


def _same(one: Outcomes, other: Outcomes) -> bool:
    return all(
        np.array_equal(getattr(one, f.name), getattr(other, f.name), equal_nan=f.name == "best")
        for f in fields(Outcomes)
    )


def test_the_same_plan_gives_the_same_outcomes(arms: dict[str, Outcomes]) -> None:
    society = Society(PLAN)
    warm_up(society)
    again = Outcomes.joined(list(run_arm(society, Random())))
    assert _same(arms["random"], again)
    other = Society(replace(PLAN, seed=4))
    assert not np.array_equal(other.panel, society.panel)


def test_arms_are_compared_session_by_session(arms: dict[str, Outcomes]) -> None:
    first, *others = arms.values()
    assert len(first) > 200
    assert set(first.days.tolist()) == {1, 2}
    for other in others:
        assert np.array_equal(first.viewers, other.viewers)
        assert np.array_equal(first.days, other.days)
        assert np.array_equal(np.isnan(first.best), np.isnan(other.best))
        # People scroll as far in each arm, where there is as much to see.
        full = (first.n_shown == 20) & (other.n_shown == 20)
        assert full.sum() > 20
        apart = np.abs(first.n_on_screen[full] - other.n_on_screen[full])
        assert apart.mean() < 1


def test_only_the_panel_is_measured(base: tuple[Society, Ear], arms: dict[str, Outcomes]) -> None:
    panel = base[0].panel
    assert 5 < panel.sum() < 70
    served = np.unique(arms["random"].viewers)
    assert panel[served].all()
    assert len(arms["random"]) / PLAN.days == pytest.approx(PLAN.sessions_per_day, rel=0.3)


def test_a_panel_has_somebody_and_may_be_everybody() -> None:
    assert Society(replace(PLAN, sessions_per_day=0)).panel.sum() == 1
    assert Society(replace(PLAN, sessions_per_day=10**6)).panel.all()


def test_regret_is_never_negative_and_the_oracle_has_none(arms: dict[str, Outcomes]) -> None:
    for outcomes in arms.values():
        judged = ~np.isnan(outcomes.best)
        assert 0.3 < judged.mean() < 0.7
        assert (outcomes.best[judged] >= outcomes.expected[judged]).all()
    oracle = arms["oracle"]
    judged = ~np.isnan(oracle.best)
    assert oracle.best[judged] == pytest.approx(oracle.expected[judged], abs=1e-5)
    means = {name: outcomes.expected.mean() for name, outcomes in arms.items()}
    assert means["oracle"] > means["chronological"] > means["random"]


def test_a_listener_hears_everything_before_what_it_serves(base: tuple[Society, Ear]) -> None:
    society, warm = base
    ear = Ear()
    ear.batches = list(warm.batches)
    mine = Outcomes.joined(list(run_arm(society.copied(heard=True), ear, ear)))
    start_ms = PLAN.start_ms + DAY_MS
    assert ear.learned_ms == [start_ms + DAY_MS], "not after the last day"
    assert all(heard < known for heard, known in ear.known)
    assert {known % SLICE_MS for _, known in ear.known} == {0}
    events = ear.events
    times_ms = events.column("time_ms").to_numpy()
    assert times_ms.max() < start_ms + PLAN.days * DAY_MS
    assert len(np.unique(events.column("event_id").to_numpy())) == len(events)
    impressions = events.filter(
        (events.column("kind").to_numpy() == Kind.IMPRESSION) & (times_ms >= start_ms)
    )
    viewers = society.world.users_of(impressions.column("actor_id").to_numpy())
    ours = int(society.panel[viewers].sum())
    # Some were still to come when the last day ended.
    assert 0.95 * mine.n_on_screen.sum() < ours <= mine.n_on_screen.sum()
    assert ours < len(viewers)
    served = events.filter(events.column("kind").to_numpy() == Kind.SERVED)
    later = served.filter(served.column("time_ms").to_numpy() >= start_ms)
    told = society.world.users_of(later.column("actor_id").to_numpy())
    assert len(told)
    assert not society.panel[told].any(), "who serves the panel records it"


def test_an_arm_that_only_listens_is_the_same_as_one_nobody_listens_to(
    base: tuple[Society, Ear], arms: dict[str, Outcomes]
) -> None:
    ear = Ear()
    ear.batches = list(base[1].batches)
    heard = Outcomes.joined(list(run_arm(base[0].copied(heard=True), ear, ear)))
    assert _same(heard, arms["chronological"])


def test_arms_leave_the_society_they_began_with_alone(base: tuple[Society, Ear]) -> None:
    society = base[0]
    n_posts, now_ms = len(society.world.posts), society.now_ms
    follows = society.world.follows.keys.copy()
    next(run_arm(society.copied(heard=False), Oracle()))
    assert (len(society.world.posts), society.now_ms) == (n_posts, now_ms)
    assert np.array_equal(society.world.follows.keys, follows)
