import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.events import Kind
from simulation.behaviour import (
    COMPONENTS,
    FRESHNESS_HALF_LIFE_H,
    HEAD_KINDS,
    HEADS,
    UTILITIES,
    components,
    probabilities,
)
from simulation.follows import Edges
from simulation.population import draw_population
from simulation.posts import IMAGE, LINK, TEXT, VIDEO, draw_posts
from simulation.rhythm import HOUR_MS

START_MS = 1_704_067_200_000
POPULATION = draw_population(60, START_MS, np.random.default_rng(0))


def _posts(n: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return draw_posts(POPULATION, rng.integers(0, 60, n), np.full(n, START_MS), rng)


def test_every_weight_names_a_component() -> None:
    for head in HEADS:
        assert set(head.weights) <= set(COMPONENTS)


@given(st.lists(st.floats(-2, 2), min_size=len(COMPONENTS), max_size=len(COMPONENTS)))
def test_a_chance_is_the_sigmoid_of_its_weighted_components(values: list[float]) -> None:
    found = np.array([values], np.float32)
    found[0, COMPONENTS.index("followed")] = 0
    post = _posts(1)
    post["media"] = IMAGE
    chances = probabilities(found, post)[0]
    for head, chance in zip(HEADS, chances.tolist(), strict=True):
        logit = head.bias + sum(
            weight * float(found[0, COMPONENTS.index(name)])
            for name, weight in head.weights.items()
        )
        possible = head.kind not in (Kind.VIDEO_WATCH, Kind.LINK_OPEN, Kind.UNFOLLOW)
        assert chance == pytest.approx(possible / (1 + np.exp(-logit)), rel=1e-3, abs=1e-7)


def test_only_what_is_possible_has_a_chance() -> None:
    posts = _posts(4)
    posts["media"] = [TEXT, IMAGE, VIDEO, LINK]
    found = np.zeros((4, len(COMPONENTS)), np.float32)
    found[:2, COMPONENTS.index("followed")] = 1
    chances = probabilities(found, posts)
    for kind, possible in (
        (Kind.PHOTO_EXPAND, [False, True, False, False]),
        (Kind.VIDEO_WATCH, [False, False, True, False]),
        (Kind.LINK_OPEN, [False, False, False, True]),
        (Kind.FOLLOW, [False, False, True, True]),
        (Kind.UNFOLLOW, [True, True, False, False]),
    ):
        assert (chances[:, HEAD_KINDS.index(kind)] > 0).tolist() == possible


def test_components_of_a_pair_made_by_hand() -> None:
    follows = Edges(60)
    follows.add(np.array([3, 5]), np.array([5, 3]))
    follows.add(np.array([3]), np.array([7]))
    posts = _posts(3)
    posts["author"] = [5, 7, 9]
    posts["topic"], posts["second_topic"], posts["second_share"] = 2, [4, -1, -1], [0.25, 0, 0]
    posts["language"] = int(np.flatnonzero(~POPULATION.reads[3])[0])
    posts["adult"] = [True, False, False]
    later_ms = START_MS + round(FRESHNESS_HALF_LIFE_H * HOUR_MS)
    found = components(POPULATION, follows, np.full(3, 3), posts, later_ms)
    by_name = dict(zip(COMPONENTS, found.T, strict=True))
    taste = POPULATION.tastes[3]
    assert by_name["interest"] == pytest.approx(
        [0.75 * taste[2] + 0.25 * taste[4], *[taste[2]] * 2]
    )
    assert by_name["followed"].tolist() == [1, 1, 0]
    assert by_name["mutual"].tolist() == [1, 0, 0]
    assert by_name["freshness"] == pytest.approx([0.5] * 3)
    assert by_name["foreign"].tolist() == [1] * 3
    assert by_name["unwanted_adult"].tolist() == [not POPULATION.allow_sensitive[3], 0, 0]
    assert by_name["quality"] == pytest.approx(posts["quality"])
    style = POPULATION.preferences[3] @ POPULATION.styles[9] / 2
    assert by_name["style"][2] == pytest.approx(style, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "sign"),
    [("interest", 1), ("quality", 1), ("foreign", -1), ("toxic", -1), ("unwanted_adult", -1)],
)
def test_components_move_utility_the_way_they_should(name: str, sign: int) -> None:
    posts = np.repeat(_posts(1), 2)
    found = np.zeros((2, len(COMPONENTS)), np.float32)
    found[:, COMPONENTS.index("interest")] = 0.5
    found[1, COMPONENTS.index(name)] += 1
    low, high = probabilities(found, posts) @ UTILITIES
    assert sign * (high - low) > 0
