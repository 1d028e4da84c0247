import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.training.twhin.networks import columns
from training.twhin.batches import Batch, Part, Sampler
from training.twhin.closed_form import closed_loss
from training.twhin.model import loss
from training.twhin.relations import RELATIONS, TABLES

D = 4
EDGES = [(0, 0, 1), (2, 0, 0), (1, 0, 2), (0, 1, 3), (3, 1, 1), (2, 3, 0), (1, 5, 2), (0, 5, 0)]

Doubles = npt.NDArray[np.float64]


def batch_and_numbers(n_global: int, log_q: bool) -> tuple[Batch, dict[str, Doubles], Doubles]:
    rng = np.random.default_rng(3)
    q = {(i, s): rng.normal(size=9).astype(np.float32) for i in range(6) for s in ("lhs", "rhs")}
    sampler = Sampler(dict.fromkeys(TABLES, 9), 2, n_global, q if log_q else None)
    batch = sampler.batch(columns(*EDGES), rng)
    vectors = {table: rng.normal(size=(len(rows), D)) for table, rows in batch.rows.items()}
    return batch, vectors, rng.normal(size=(len(RELATIONS), D))


def by_hand(
    vectors: dict[str, Doubles], translations: Doubles, batch: Batch
) -> tuple[float, dict[str, Doubles], Doubles]:
    """The loss and its gradients, edge by edge and negative by negative."""
    total = 0.0
    gradients = {table: np.zeros_like(some) for table, some in vectors.items()}
    by_translation = np.zeros_like(translations)

    def score(part: Part, left: int, right: int, label: int, weight: float, log_q: float) -> None:
        nonlocal total
        relation = RELATIONS[part.relation]
        x_l = vectors[relation.lhs][left]
        moved = vectors[relation.rhs][right] + translations[part.relation]
        logit = x_l @ moved - log_q
        probability = 1 / (1 + np.exp(-logit))
        total -= weight * np.log(probability if label else 1 - probability)
        slope = weight * (probability - label)
        gradients[relation.lhs][left] += slope * moved
        gradients[relation.rhs][right] += slope * x_l
        by_translation[part.relation] += slope * x_l

    for part in batch.parts:
        relation = RELATIONS[part.relation]
        others = []
        for table, begin, places, log_q in (
            (relation.lhs, part.lhs, part.lhs_negatives, part.lhs_log_q),
            (relation.rhs, part.rhs, part.rhs_negatives, part.rhs_log_q),
        ):
            q = np.zeros(len(places)) if log_q is None else log_q
            drawn = [(begin + int(place), float(c)) for place, c in zip(places, q, strict=True)]
            n_rows = len(batch.rows[table])
            others.append(
                drawn + [(n_rows - batch.n_global + k, 0.0) for k in range(batch.n_global)]
            )
        weight = 1 / sum(map(len, others)) / batch.n_edges
        for i in range(part.n):
            left, right = part.lhs + i, part.rhs + i
            score(part, left, right, 1, 1 / batch.n_edges, 0.0)
            for other, q in others[0]:
                score(part, other, right, 0, weight, q)
            for other, q in others[1]:
                score(part, left, other, 0, weight, q)
    return total, gradients, by_translation


@pytest.mark.parametrize("n_global", [0, 3])
@pytest.mark.parametrize("log_q", [False, True])
def test_loss_and_gradients_equal_those_by_hand(n_global: int, log_q: bool) -> None:
    batch, numbers, translations = batch_and_numbers(n_global, log_q)
    vectors = {table: torch.tensor(x, requires_grad=True) for table, x in numbers.items()}
    moved = torch.tensor(translations, requires_grad=True)
    found = loss(vectors, moved, batch)
    found.backward()
    expected, by_vector, by_translation = by_hand(numbers, translations, batch)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    for table, tensor in vectors.items():
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad.numpy(), by_vector[table], rtol=1e-6, atol=1e-9)
    assert moved.grad is not None
    np.testing.assert_allclose(moved.grad.numpy(), by_translation, rtol=1e-6, atol=1e-9)
    # The published code never let the translations learn.
    assert np.abs(by_translation[[0, 1, 3, 5]]).min() > 0


@pytest.mark.parametrize("n_global", [0, 3])
@pytest.mark.parametrize("log_q", [False, True])
def test_the_closed_form_equals_that_by_hand(n_global: int, log_q: bool) -> None:
    batch, numbers, translations = batch_and_numbers(n_global, log_q)
    # As lookups give them: side by side in any order, and longer than any table's rows.
    columns = {table: slice(k * D, (k + 1) * D) for k, table in enumerate(reversed(TABLES))}
    side_by_side = np.ones((batch.stride + 2, len(TABLES) * D))
    for table, some in numbers.items():
        side_by_side[: len(some), columns[table]] = some
    values = torch.tensor(side_by_side, requires_grad=True)
    moved = torch.tensor(translations, requires_grad=True)
    found = closed_loss(values, columns, moved, batch)
    (3 * found).backward()
    expected, by_vector, by_translation = by_hand(numbers, translations, batch)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    by_value = np.zeros_like(side_by_side)
    for table, some in by_vector.items():
        by_value[: len(some), columns[table]] = 3 * some
    assert values.grad is not None
    np.testing.assert_allclose(values.grad.numpy(), by_value, rtol=1e-6, atol=1e-9)
    assert moved.grad is not None
    np.testing.assert_allclose(moved.grad.numpy(), 3 * by_translation, rtol=1e-6, atol=1e-9)


def test_both_classes_weigh_the_same() -> None:
    """With all scores 0 every term is log 2, whatever the number of negatives."""
    for n_global in (0, 3):
        batch, numbers, _ = batch_and_numbers(n_global, log_q=False)
        vectors = {table: torch.zeros(x.shape) for table, x in numbers.items()}
        found = loss(vectors, torch.zeros(len(RELATIONS), D), batch)
        assert found.item() == pytest.approx(2 * np.log(2))
