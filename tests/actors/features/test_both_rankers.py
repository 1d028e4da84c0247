import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.both_rankers import LEAST, light_factor

HEAVY, LIGHT = np.array([4.0, 0.25, 1.0], np.float32), np.array([0.25, 0.25, 0.5], np.float32)


@pytest.mark.parametrize(
    ("share", "mixed"),
    [(0, [4.0, 0.25, 1.0]), (0.5, [1.0, 0.25, 0.70710678]), (1, [0.25, 0.25, 0.5])],
)
def test_the_geometric_mean_by_share(share: float, mixed: list[float]) -> None:
    factors = light_factor(HEAVY, LIGHT, share)
    assert factors.dtype == np.float32
    assert (HEAVY * factors).tolist() == pytest.approx(mixed)


def test_scores_count_as_no_less_than_the_least() -> None:
    factors = light_factor(np.array([0, 1], np.float32), np.array([0.25, 0], np.float32), 0.5)
    assert factors.tolist() == pytest.approx([np.sqrt(0.25 / LEAST), np.sqrt(LEAST)])


def test_nothing_of_nothing() -> None:
    assert light_factor(HEAVY[:0], LIGHT[:0], 0.5).shape == (0,)


Scores = st.lists(st.tuples(st.floats(1e-3, 50), st.floats(1e-3, 1)), min_size=2, max_size=9)


@given(Scores, st.floats(0, 1))
def test_it_depends_on_no_other_candidate_and_on_no_scale(
    scores: list[tuple[float, float]], share: float
) -> None:
    heavy, light = np.array(scores, np.float32).T
    mixed = heavy * light_factor(heavy, light, share)
    alone = [h * light_factor(heavy[[k]], light[[k]], share)[0] for k, h in enumerate(heavy)]
    assert mixed.tolist() == pytest.approx(alone)
    scaled = 8 * heavy * light_factor(8 * heavy, light, share)
    assert (scaled / mixed).tolist() == pytest.approx([8 ** (1 - share)] * len(mixed), rel=1e-5)
    low, high = np.minimum(heavy, light), np.maximum(heavy, light)
    assert (mixed >= low * (1 - 1e-6)).all()
    assert (mixed <= high * (1 + 1e-6)).all()
