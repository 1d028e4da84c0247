import numpy as np

from actors.stores.edge_draws import next_random, random_below, random_unit


def state(seed: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array([seed], np.uint64)


def test_it_is_splitmix64() -> None:
    # The published first outputs of splitmix64 for seed 1234567.
    generator = state(1234567)
    assert [int(next_random(generator)) for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_bounded_draws_are_even() -> None:
    generator = state(5)
    counts = np.bincount([random_below(generator, 7) for _ in range(14_000)], minlength=7)
    assert len(counts) == 7
    assert counts.min() > 1_800


def test_units_lie_in_zero_to_one() -> None:
    generator = state(6)
    units = np.array([random_unit(generator) for _ in range(10_000)])
    assert units.min() >= 0
    assert units.max() < 1
    assert abs(units.mean() - 0.5) < 0.02
