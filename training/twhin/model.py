"""The model: translation along a relation, and the loss that contrasts edges with negatives.

An edge of relation ρ from l to r scores `x_l · (x_r + t_ρ)`. Three faults of the published code
are put right: negatives are labelled 0, they are scored by the same formula as positives, and the
translations are parameters that learn.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import softplus

from training.twhin.batches import Batch, Part
from training.twhin.relations import RELATIONS


def initial_translations(dimensions: int, seed: int) -> Tensor:
    """One vector per relation, of shape (relations, D), uniform in [0, 1 / D).

    The published [0, 1) is far longer than the vectors it is added to: on small networks it
    cost a third of the MRR of follows, since at first every vector learns to point along it.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(RELATIONS), dimensions, generator=generator) / dimensions


def initial_scale(dimensions: int) -> float:
    """Vectors begin uniform within ± this: scores of strangers are then near 0."""
    return 1 / dimensions


def loss(vectors: Mapping[str, Tensor], translations: Tensor, batch: Batch) -> Tensor:
    """Mean over edges of −log σ(score) and of the mean of −log(1 − σ) over its negatives.

    So both classes weigh the same, as published. `vectors` holds, table by table, what
    `batch.rows` asked for, of shape (rows, D); `translations` has shape (relations, D).
    Every edge has as many negatives with another left node as with another right one: those
    drawn in the batch and those drawn from the whole table. True neighbours among them stay,
    as published.
    """
    total = torch.zeros((), device=translations.device)
    for part in batch.parts:
        total = total + _part_loss(vectors, translations[part.relation], part, batch.n_global)
    return total / batch.n_edges


def _part_loss(
    vectors: Mapping[str, Tensor], translation: Tensor, part: Part, n_global: int
) -> Tensor:
    relation = RELATIONS[part.relation]
    lhs_table, rhs_table = vectors[relation.lhs], vectors[relation.rhs]
    lhs = lhs_table[part.lhs : part.lhs + part.n]
    rhs = rhs_table[part.rhs : part.rhs + part.n] + translation
    positives = (lhs * rhs).sum(1)
    other_rhs = _negatives(rhs, part.rhs_negatives, rhs_table, n_global, translation)
    other_lhs = _negatives(lhs, part.lhs_negatives, lhs_table, n_global, None)
    rhs_corrupted = _corrected(lhs @ other_rhs.T, part.rhs_log_q)
    lhs_corrupted = _corrected(rhs @ other_lhs.T, part.lhs_log_q)
    n_negatives = other_rhs.shape[0] + other_lhs.shape[0]
    negatives = softplus(rhs_corrupted).sum() + softplus(lhs_corrupted).sum()
    return softplus(-positives).sum() + negatives / n_negatives


def _negatives(
    vectors: Tensor, at: object, table: Tensor, n_global: int, translation: Tensor | None
) -> Tensor:
    """Vectors of the nodes drawn in the batch, then of those drawn from the whole table."""
    drawn = vectors[torch.as_tensor(at, device=vectors.device)]
    if not n_global:
        return drawn
    everywhere = table[table.shape[0] - n_global :]
    return torch.cat([drawn, everywhere if translation is None else everywhere + translation])


def _corrected(scores: Tensor, log_q: object) -> Tensor:
    """Scores of in-batch negatives less what their frequency brought; uniform ones as they are."""
    if log_q is None:
        return scores
    correction = torch.as_tensor(log_q, device=scores.device)
    return torch.cat([scores[:, : len(correction)] - correction, scores[:, len(correction) :]], 1)
