"""pNSFWMedia: a small network over image embeddings that others supply."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch import nn

from actors.features.safety import MediaHead
from actors.known_labels import ACT, CARE
from cluster.events import MEDIA_DIMENSIONS
from training.job import TrainingError
from training.trust_and_safety.calibration import negative_weight, platt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

HIDDEN = 128
BATCH = 256
EPOCHS, PATIENCE = 100, 10
LEARNING_RATE, EPSILON = 1e-3, 1e-8
VALIDATION_SHARE = 0.2
MIN_EXAMPLES = 20
RECALLS = (0.5, 0.9)


@dataclass(frozen=True)
class TrainedMedia:
    """The head, and its figures on the validation part."""

    head: MediaHead
    metrics: dict[str, float | int]


def too_few(labels: Bools) -> str:
    """What is missing to learn from embeddings with these labels (n,); empty where nothing is."""
    if min(labels.sum(), (~labels).sum()) >= MIN_EXAMPLES:
        return ""
    return (
        f"{int(labels.sum())} positive and {int((~labels).sum())} negative images; at least "
        f"{MIN_EXAMPLES} of each are needed"
    )


def fit_media(
    embeddings: Floats, labels: Bools, seed: int, prevalence: float | None = None
) -> TrainedMedia:
    """Standardise → dense tanh → sigmoid, from embeddings (n, d) and labels (n,).

    The original's network and schedule: Adam, binary cross-entropy, early stopping by the
    validation loss. By the validation part the probabilities are calibrated (Platt), for a
    share `prevalence` of adult images, as those of texts are. No images and no image model come
    with this project; it has been tried on synthetic embeddings of two clearly separate kinds
    only, which says that it learns, and nothing of how well it knows pictures. Raises
    `TrainingError` for too few of either label.
    """
    rng = np.random.default_rng(seed)
    if missing := too_few(labels):
        raise TrainingError(f"the media head has {missing}")
    judged = np.zeros(len(labels), bool)
    for value in (True, False):
        rows = rng.permutation(np.flatnonzero(labels == value))
        judged[rows[: max(round(VALIDATION_SHARE * len(rows)), 1)]] = True
    mean = embeddings[~judged].mean(axis=0)
    scale = (1 / (embeddings[~judged].std(axis=0) + 1e-6)).astype(np.float32)
    inputs = torch.from_numpy((embeddings - mean) * scale)
    targets = torch.from_numpy(labels.astype(np.float32))
    network = _network(embeddings.shape[1], rng)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, eps=EPSILON)
    loss_of = nn.functional.binary_cross_entropy_with_logits
    learned = np.flatnonzero(~judged)
    best = (np.inf, [p.detach().clone() for p in network.parameters()])
    since_best = 0
    for _ in range(EPOCHS):
        order = rng.permutation(learned)
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            optimizer.zero_grad()
            loss_of(network(inputs[rows])[:, 0], targets[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = float(loss_of(network(inputs[judged])[:, 0], targets[judged]))
        since_best += 1
        if loss < best[0]:
            best, since_best = (loss, [p.detach().clone() for p in network.parameters()]), 0
        if since_best == PATIENCE:
            break
    hidden, hidden_bias, output, output_bias = (tensor.numpy() for tensor in best[1])
    raw = MediaHead(mean, scale, hidden.T.copy(), hidden_bias, output[0].copy(), output_bias.copy())
    truths = labels[judged]
    weight = negative_weight(truths, prevalence)
    slope, offset = map(np.float32, platt(raw.logits(embeddings[judged]), truths, weight))
    head = replace(raw, output=raw.output * slope, output_bias=raw.output_bias * slope + offset)
    return TrainedMedia(head, _judge(head.scores(embeddings[judged]), truths, weight))


def read_embeddings(path: Path) -> tuple[Floats, Bools]:
    """Embeddings float32 (n, `MEDIA_DIMENSIONS`) and labels (n,) of a file.

    `.npz`: arrays `embeddings` (n, d) and `labels` (n,); `.arrow`: columns `embedding` (a list
    of d numbers a row) and `label`. Raises `TrainingError` naming what is wrong.
    """
    try:
        embeddings, labels = _read(path)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise TrainingError(f"{path}: cannot be read as labelled embeddings: {error}") from error
    if embeddings.shape[1:] != (MEDIA_DIMENSIONS,) or labels.shape != (len(embeddings),):
        raise TrainingError(
            f"{path}: expected embeddings (n, {MEDIA_DIMENSIONS}) and labels (n,), got "
            f"{embeddings.shape} and {labels.shape}"
        )
    embeddings = embeddings.astype(np.float32)
    if not np.isfinite(embeddings).all():
        raise TrainingError(f"{path}: embeddings must be finite")
    if not np.isin(labels, (0, 1)).all():
        raise TrainingError(f"{path}: labels must be 0 or 1")
    return embeddings, labels.astype(bool)


def _read(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["embeddings"], arrays["labels"]
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().combine_chunks()
    rows = table.column("embedding").combine_chunks()
    flat = rows.flatten().to_numpy(zero_copy_only=False)
    embeddings = flat.reshape(len(table), -1) if len(table) else flat.reshape(0, 0)
    return embeddings, table.column("label").to_numpy()


def _network(width: int, rng: np.random.Generator) -> nn.Sequential:
    hidden, output = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, 1)
    with torch.no_grad():
        for layer in (hidden, output):
            shape = (layer.out_features, layer.in_features)
            limit = (6 / sum(shape)) ** 0.5  # Glorot's
            layer.weight.copy_(torch.from_numpy(rng.uniform(-limit, limit, shape)))
            layer.bias.zero_()
    return nn.Sequential(hidden, nn.Tanh(), output)


def _judge(scores: Floats, labels: Bools, weight: float) -> dict[str, float | int]:
    """Figures on images that were not learned from; `weight` is that of a negative one where a
    label is given, as `calibration` says."""
    precisions, recalls, _ = precision_recall_curve(labels, scores)
    return {
        "images": len(labels),
        "positives": int(labels.sum()),
        "pr_auc": round(float(average_precision_score(labels, scores)), 4),
        **{
            f"precision_at_recall_{recall}": round(float(precisions[recalls >= recall].max()), 4)
            for recall in RECALLS
        },
        **{
            f"{part}_at_{least}": value
            for least in (CARE, ACT)
            for part, value in _at(scores >= np.float32(least), labels, weight).items()
        },
    }


def _at(flagged: Bools, labels: Bools, weight: float) -> dict[str, float]:
    n_true, n_false = int((flagged & labels).sum()), int((flagged & ~labels).sum())
    return {
        "precision": round(n_true / max(n_true + weight * n_false, 1), 4),
        "recall": round(n_true / int(labels.sum()), 4),
    }
