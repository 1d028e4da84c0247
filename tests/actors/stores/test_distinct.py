import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.distinct import N_REGISTERS, RELATIVE_ERROR, Registers, estimates, registers_of
from cluster.ids import Ids

MANY = np.random.default_rng(0).integers(1, 2**63 - 1, 200_000)


def raised(*parts: Ids) -> Registers:
    registers = np.zeros(N_REGISTERS, np.uint8)
    for part in parts:
        at, ranks = registers_of(part)
        np.maximum.at(registers, at, ranks)
    return registers


def test_nobody() -> None:
    assert estimates(np.zeros((2, N_REGISTERS), np.uint8)).tolist() == [0, 0]
    assert len(estimates(np.zeros((0, N_REGISTERS), np.uint8))) == 0


def test_ranks_are_leading_zeros_of_the_hash() -> None:
    at, ranks = registers_of(MANY)
    assert (at.min(), at.max()) == (0, N_REGISTERS - 1)
    shares = np.bincount(ranks, minlength=6)[:6] / len(MANY)
    assert shares.tolist() == pytest.approx([0, 0.5, 0.25, 0.125, 0.0625, 0.03125], abs=0.005)


@pytest.mark.parametrize("n", [1, 2, 5, 10, 20])
def test_few_are_all_but_exact(n: int) -> None:
    errors = [
        round(float(estimates(raised(MANY[k * n : (k + 1) * n])[None])[0])) - n for k in range(200)
    ]
    assert max(map(abs, errors)) <= (1 if n <= 5 else 3)
    assert np.mean(np.abs(errors) <= n // 10) >= 0.9


@pytest.mark.parametrize("n", [100, 300, 640, 1_000, 10_000])
def test_the_error_is_as_stated_and_has_no_bias(n: int) -> None:
    n_trials = len(MANY) // n
    rows = np.array([raised(MANY[k * n : (k + 1) * n]) for k in range(n_trials)])
    errors = estimates(rows) / n - 1
    assert np.sqrt(np.mean(errors**2)) < 1.25 * RELATIVE_ERROR
    assert abs(errors.mean()) < 4 * RELATIVE_ERROR / np.sqrt(n_trials)


@given(st.lists(st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=20), max_size=6))
def test_neither_order_nor_repetition_shows(parts: list[list[int]]) -> None:
    arrays = [np.array(part, np.int64) for part in parts]
    whole = raised(*arrays)
    assert np.array_equal(raised(*arrays[::-1], *arrays), whole)
    each = [raised(part) for part in arrays]
    assert np.array_equal(np.max([*each, np.zeros_like(whole)], axis=0), whole)


def test_registers_that_are_full() -> None:
    assert estimates(np.full((1, N_REGISTERS), 33, np.uint8))[0] == np.inf
