"""The candidates for the text model, which share their features and differ in what they learn.

Neither is the original's BERT. A pretrained encoder under logistic regressions finds more where few
texts earn the label (not of self-harm beside TF-IDF), less where many do, and is far from the 2,000
posts a second that a core should label. PR-AUC of 41,883 published texts in five folds, and posts
(154 characters in the mean) a second of CPU time on one thread in batches of 2,048, by
`python -m benchmarks.safety --encoder` on a busy AMD EPYC with AVX-512:

| | toxicity | hate | abuse | NSFW | violence | self-harm | mean | posts/s |
|---|---|---|---|---|---|---|---|---|
| positives | 31,616 | 1,569 | 1,618 | 228 | 93 | 51 | | |
| `linear` | 0.967 | 0.427 | 0.926 | 0.924 | 0.236 | 0.667 | 0.691 | 13,954 |
| `embeddings` | 0.966 | 0.416 | 0.923 | 0.910 | 0.134 | 0.311 | 0.610 | 12,024 |
| scikit-learn's TF-IDF | 0.963 | 0.424 | 0.928 | 0.932 | 0.295 | 0.735 | 0.713 | 3,275 |
| MiniLM, 6 layers | 0.955 | 0.384 | 0.879 | 0.943 | 0.439 | 0.728 | 0.721 | 57 |

MiniLM computes in float32 there. In bfloat16 its mean is the same and it embeds 162 a second; two
threads embed 316, and 103 in float32. It is not fine-tuned: that might raise what it finds, and
would leave it as slow.
"""

import math
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from actors.features.safety import NgramModel
from actors.features.safety_ngrams import BLOCKS, Ngrams
from training.trust_and_safety.labelled import UNKNOWN, Values

Floats = npt.NDArray[np.float32]

MIN_TEXTS = 2
"""An n-gram of fewer training texts says nothing of others."""
INVERSE_L2 = 1.0
"""scikit-learn's C; 3 and 10 did worse on each of the published sets."""
TOLERANCE, MAX_ITERATIONS = 1e-2, 200

DIMENSIONS = 32
BATCH_TEXTS = 128
LEARNING_RATE = 5e-3
STEPS, MAX_EPOCHS = 250, 5
"""Whole epochs until so many batches: of many texts one, since a second one learns by heart."""
MAX_NORM = 1.0

Fit = Callable[[Ngrams, Values, int, int], NgramModel]
"""(texts, values (n, labels) with `UNKNOWN`, buckets, seed) → a model with a logit a label."""


def fit_linear(texts: Ngrams, values: Values, n_buckets: int, seed: int) -> NgramModel:
    """A logistic regression for each label, from the texts of which it is known.

    Every label needs both values.
    """
    rarities = rarities_of(texts, n_buckets)
    matrix = sparse.csr_matrix(
        (texts.weights(rarities), texts.buckets, texts.offsets[::BLOCKS]),
        shape=(len(texts), n_buckets),
    )
    n_labels = values.shape[1]
    rows, bias = np.zeros((n_buckets, n_labels), np.float32), np.zeros(n_labels, np.float32)
    for label in range(n_labels):
        known = np.flatnonzero(values[:, label] != UNKNOWN)
        regression = LogisticRegression(
            C=INVERSE_L2,
            solver="liblinear",
            dual=True,
            tol=TOLERANCE,
            max_iter=MAX_ITERATIONS,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # The last digits of the weights change no order worth waiting for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit(matrix[known], values[known, label])
        rows[:, label] = regression.coef_[0]
        bias[label] = regression.intercept_[0]
    return NgramModel(rarities, rows, bias)


def fit_embeddings(texts: Ngrams, values: Values, n_buckets: int, seed: int) -> NgramModel:
    """A sum of n-gram embeddings, ReLU and a dense layer for all labels at once (fastText's idea).

    The loss is the binary cross-entropy of what is known (the original's masked BCE, −1
    unknown), with Adam; the output bias begins at the logit of each label's share.
    """
    rng = np.random.default_rng(seed)
    rarities = rarities_of(texts, n_buckets)
    weights = texts.weights(rarities)
    n, n_labels = values.shape
    known = values != UNKNOWN
    shares = np.clip((values == 1).sum(axis=0) / np.maximum(known.sum(axis=0), 1), 1e-3, 1 - 1e-3)
    table = nn.EmbeddingBag(n_buckets, DIMENSIONS, mode="sum", sparse=True)
    bias = nn.Parameter(torch.zeros(DIMENSIONS))
    head = nn.Linear(DIMENSIONS, n_labels)
    with torch.no_grad():
        table.weight.copy_(_uniform(rng, (n_buckets, DIMENSIONS), 1 / DIMENSIONS))
        head.weight.copy_(_uniform(rng, (n_labels, DIMENSIONS), DIMENSIONS**-0.5))
        head.bias.copy_(torch.from_numpy(np.log(shares / (1 - shares)).astype(np.float32)))
    dense = [bias, *head.parameters()]
    optimizers: tuple[torch.optim.Optimizer, ...] = (
        torch.optim.SparseAdam(list(table.parameters()), lr=LEARNING_RATE),
        torch.optim.Adam(dense, lr=LEARNING_RATE),
    )
    targets = torch.from_numpy(np.maximum(values, 0).astype(np.float32))
    counts = torch.from_numpy(known.astype(np.float32))
    n_epochs = min(math.ceil(STEPS * BATCH_TEXTS / n), MAX_EPOCHS)
    for _ in range(n_epochs):
        order = rng.permutation(n)
        for first in range(0, n, BATCH_TEXTS):
            rows = order[first : first + BATCH_TEXTS]
            offsets, at = texts.places(rows)
            sums = table(
                torch.from_numpy(texts.buckets[at]).long(),
                torch.from_numpy(offsets[:-1:BLOCKS].copy()),
                per_sample_weights=torch.from_numpy(weights[at]),
            )
            logits = head(torch.relu(sums + bias))
            losses = nn.functional.binary_cross_entropy_with_logits(
                logits, targets[rows], weight=counts[rows], reduction="sum"
            )
            for optimizer in optimizers:
                optimizer.zero_grad()
            (losses / counts[rows].sum().clamp(min=1)).backward()
            nn.utils.clip_grad_norm_(dense, MAX_NORM)
            for optimizer in optimizers:
                optimizer.step()
    return NgramModel(
        rarities,
        _array(table.weight),
        _array(bias),
        _array(head.weight).T.copy(),
        _array(head.bias),
    )


def rarities_of(texts: Ngrams, n_buckets: int) -> Floats:
    """Smoothed inverse document frequencies by bucket; 0 below `MIN_TEXTS` texts."""
    counts = np.bincount(texts.buckets, minlength=n_buckets)
    rarities = np.log((1 + len(texts)) / (1 + counts)) + 1
    kept: Floats = np.where(counts >= MIN_TEXTS, rarities, 0).astype(np.float32)
    return kept


FITS: dict[str, Fit] = {"linear": fit_linear, "embeddings": fit_embeddings}
"""Candidate → how it is fitted."""


def _uniform(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(-limit, limit, shape).astype(np.float32))


def _array(tensor: torch.Tensor) -> Floats:
    array: Floats = tensor.detach().numpy().copy()
    return array
