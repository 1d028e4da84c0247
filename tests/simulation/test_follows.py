import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.follows import Edges, Encounters, follow_backs, initial_follows
from simulation.population import Population, draw_population

START_MS = 1_704_067_200_000
N_USERS = 1_500
Ids = npt.NDArray[np.int64]

_pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


@given(st.lists(st.tuples(st.booleans(), _pairs), max_size=8))
def test_edges_are_a_set_of_pairs(changes: list[tuple[bool, list[tuple[int, int]]]]) -> None:
    edges, model = Edges(6), set[tuple[int, int]]()
    for is_added, pairs in changes:
        sources, targets = np.array(pairs, np.int64).reshape(-1, 2).T
        if is_added:
            edges.add(sources, targets)
            model |= set(pairs)
        else:
            edges.remove(sources, targets)
            model -= set(pairs)
    found = list(zip(*(side.tolist() for side in edges.pairs()), strict=True))
    assert found == sorted(model)
    assert len(edges) == len(model)
    everyone = np.arange(6)
    contained = edges.contain(everyone[:, None], everyone[None, :])
    assert {(int(a), int(b)) for a, b in np.argwhere(contained)} == model
    starts, targets = edges.targets_by_source()
    for user in range(6):
        own = targets[starts[user] : starts[user + 1]].tolist()
        assert own == sorted(target for source, target in model if source == user)


@pytest.fixture(scope="module")
def population() -> Population:
    return draw_population(N_USERS, START_MS, np.random.default_rng(3))


@pytest.fixture(scope="module")
def graph(population: Population) -> tuple[Ids, Ids]:
    encounters = Encounters(population)
    sources, targets, _ = initial_follows(encounters, START_MS, np.random.default_rng(4))
    return sources, targets


def test_follows_come_after_both_accounts_and_before_the_start(population: Population) -> None:
    encounters = Encounters(population)
    sources, targets, times_ms = initial_follows(encounters, START_MS, np.random.default_rng(4))
    assert np.all(sources != targets)
    assert np.all(times_ms >= population.created_ms[sources])
    assert np.all(times_ms >= population.created_ms[targets])
    assert np.all(times_ms < START_MS)
    assert len(np.unique(sources * N_USERS + targets)) == len(sources)


def test_followers_are_heavy_tailed(graph: tuple[Ids, Ids]) -> None:
    followers = np.sort(np.bincount(graph[1], minlength=N_USERS))
    shares = np.cumsum(followers) / followers.sum()
    gini = 1 - 2 * shares.mean() + 1 / N_USERS
    assert gini > 0.45
    assert 1 - shares[-N_USERS // 100 - 1] > 0.07, "share of the top 1 % of users"
    assert followers[-1] > 10 * np.median(followers)


def test_graph_is_reciprocal_and_homophilous(
    population: Population, graph: tuple[Ids, Ids]
) -> None:
    """Against a shuffle of the edges' targets, which keeps every degree."""
    sources, targets = graph
    shuffled = np.random.default_rng(5).permutation(targets)
    others = sources != shuffled
    assert _reciprocity(sources, targets) > 5 * _reciprocity(sources[others], shuffled[others])

    def interests_shared(targets: Ids) -> float:
        both = population.interests[sources] * population.interests[targets]
        return float(both.sum(axis=1)[others].mean())

    def language_shared(targets: Ids) -> float:
        both = population.languages[sources] == population.languages[targets]
        return float(both[others].mean())

    assert interests_shared(targets) > 2 * interests_shared(shuffled)
    assert language_shared(targets) > 1.1 * language_shared(shuffled)
    assert population.style_match(sources, targets).mean() > 0.2


def test_the_famous_follow_back_less(population: Population) -> None:
    order = np.argsort(population.fame)
    plain, famous = order[:200], order[-200:]
    rng = np.random.default_rng(6)
    by_famous = follow_backs(population, plain, famous, rng).mean()
    by_plain = follow_backs(population, famous, plain, rng).mean()
    assert by_plain > 2 * by_famous


def test_encounters_name_the_place_of_the_user(population: Population) -> None:
    users = np.array([7] * 50 + [9] * 50)
    places, targets = Encounters(population).draw(users, np.random.default_rng(7))
    assert 0 < len(places) == len(targets) < 100
    assert np.all(users[places] != targets)
    assert np.all(np.diff(places) > 0)


def _reciprocity(sources: Ids, targets: Ids) -> float:
    forth = np.unique(sources * N_USERS + targets)
    return float(np.isin(targets * N_USERS + sources, forth).mean())
