"""The models of trust and safety: those of texts compared, calibrated and, with a head over
embeddings of media where people judged enough of these, written as one artifact."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.safety import (
    ANY_LANGUAGE,
    TRUST_AND_SAFETY,
    TRUST_AND_SAFETY_SCHEMA,
    NgramModel,
    SafetyModel,
    probabilities_of,
)
from actors.features.safety_ngrams import Ngrams, ngrams
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings
from cluster.training_settings import TrustAndSafetySettings
from training.job import Progress, Trained, TrainingError, silent
from training.trust_and_safety.calibration import (
    negative_weight,
    platt,
    precision_elsewhere,
    threshold_at,
)
from training.trust_and_safety.duplicates import folds_of, near_duplicates
from training.trust_and_safety.evaluation import cross_validated, judged, mean_pr_auc
from training.trust_and_safety.labelled import UNKNOWN, Labelled, together, without_repeats
from training.trust_and_safety.media import fit_media, read_embeddings, too_few
from training.trust_and_safety.models import FITS
from training.trust_and_safety.public_sets import read_folder
from training.trust_and_safety.reviewed import read_reviewed
from training.trust_and_safety.reviewed_media import read_reviewed_media

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


def train(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    *,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Learn each label that enough texts carry, and write a new `trust_and_safety`.

    The texts are those of the setting `labelled_text` and the posts that people labelled
    before `until_ms`. Every candidate is cross-validated on the same folds, which keep near
    copies together; the one of the higher mean PR-AUC is calibrated on what it said of the
    folds it had not learned (Platt), gets its thresholds there, and learns from all.

    Probabilities and the precision of a threshold are those where the setting `prevalence` is
    the share of texts that earn the label, among texts otherwise like the labelled ones.

    Raises `TrainingError`, naming what to supply, where there are no labelled texts or too
    few, or a file cannot be read; nothing is written then.
    """
    began_s = time.perf_counter()
    chosen, seed = settings.training.trust_and_safety, settings.training.seed
    progress("reading labelled texts", 0.0)
    data, data_range_ms = gather(chosen, archive, until_ms, seed)
    media, media_range_ms = gather_media(chosen, archive, until_ms, seed)
    texts = ngrams(data.texts, chosen.buckets)
    folds = folds_of(near_duplicates(texts), chosen.folds, np.random.default_rng(seed))
    _check_folds(data, folds)
    read_s = time.perf_counter()
    logits = _compare(chosen, texts, data, folds, seed, progress)
    compared = {name: judged(data, one) for name, one in logits.items()}
    best = max(compared, key=lambda name: mean_pr_auc(compared[name]))
    compared_s = time.perf_counter()
    progress(f"fitting the {best} model", 0.0)
    fitted = FITS[best](texts, data.values, chosen.buckets, seed)
    model, promises = calibrated(chosen, data, folds, fitted, logits[best])
    metrics: dict[str, Any] = {
        "model": best,
        "prevalence": chosen.prevalence or "as labelled",
        "texts": len(data),
        "sources": {name: int((data.source_of == i).sum()) for i, name in enumerate(data.sources)},
        "candidates": {
            name: {"mean_pr_auc": mean_pr_auc(found), "labels": found}
            for name, found in compared.items()
        },
        "thresholds": promises,
    }
    if media is not None and (missing := too_few(media[1])):
        metrics["media"] = {"passed": missing}
    elif media is not None:
        progress("fitting the media head", 0.0)
        fitted_media = fit_media(*media, seed, chosen.prevalence)
        metrics["media"] = fitted_media.metrics
        model = replace(model, media=fitted_media.head)
    version = _write(artifacts, model, data, metrics, _spanning(data_range_ms, media_range_ms))
    progress(f"fitting the {best} model", 1.0)
    seconds = {
        "read": read_s - began_s,
        "compare": compared_s - read_s,
        "fit": time.perf_counter() - compared_s,
    }
    return Trained(TRUST_AND_SAFETY, version, metrics, seconds)


def gather(
    chosen: TrustAndSafetySettings, archive: Archive | None, until_ms: int | None, seed: int
) -> tuple[Labelled, tuple[int, int] | None]:
    """All labelled texts, each once, with the labels that are known of enough of them.

    Beside them the times of the events they come from, None where they come from files.
    Raises `TrainingError`.
    """
    reviewed = archive and read_reviewed(archive, until_ms, chosen.unlabelled_per_labelled, seed)
    parts = read_folder(chosen.labelled_text) if chosen.labelled_text else []
    if reviewed:
        parts.append(reviewed.examples)
    if not parts:
        raise TrainingError(
            "there is no labelled text: no post in the archive has a safety label by people, "
            "and the setting training.trust_and_safety.labelled_text names no folder; give it "
            "one with CSV or NDJSON files (a column 'text' and one column of 0 and 1 a label)"
        )
    data = without_repeats(together(parts))
    counts = {
        label: [int((data.values[:, i] == value).sum()) for value in (1, 0)]
        for i, label in enumerate(data.labels)
    }
    enough = [label for label, found in counts.items() if min(found) >= chosen.min_examples]
    if not enough:
        told = ", ".join(f"{label} {n} and {m}" for label, (n, m) in sorted(counts.items()))
        raise TrainingError(
            f"no label has {chosen.min_examples} positive and as many negative texts "
            f"(there are: {told or 'none'}); label more, or lower "
            "training.trust_and_safety.min_examples"
        )
    return data.only(enough), reviewed.range_ms if reviewed else None


def gather_media(
    chosen: TrustAndSafetySettings, archive: Archive, until_ms: int | None, seed: int
) -> tuple[tuple[Floats, npt.NDArray[np.bool_]] | None, tuple[int, int] | None]:
    """All judged embeddings (n, `MEDIA_DIMENSIONS`) with their labels (n,), None without any.

    Beside them the times of the events they come from. Raises `TrainingError` for a file that
    cannot be read, or that has too few with what the archive holds.
    """
    parts = [read_embeddings(chosen.media_embeddings)] if chosen.media_embeddings else []
    found = read_reviewed_media(archive, until_ms, chosen.unlabelled_per_labelled, seed)
    if found:
        parts.append((found.embeddings, found.labels))
    if not parts:
        return None, None
    embeddings, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    if chosen.media_embeddings and (missing := too_few(labels)):
        raise TrainingError(f"training.trust_and_safety.media_embeddings has {missing}")
    return (embeddings, labels), found.range_ms if found else None


def _spanning(*ranges_ms: tuple[int, int] | None) -> tuple[int, int] | None:
    given = [one for one in ranges_ms if one]
    return (min(a for a, _ in given), max(b for _, b in given)) if given else None


def calibrated(
    chosen: TrustAndSafetySettings,
    data: Labelled,
    folds: Int64s,
    model: NgramModel,
    logits: Floats,
) -> tuple[SafetyModel, dict[str, dict[str, Any]]]:
    """The model with probabilities and thresholds, by cross-validated logits (n, labels).

    Beside it what each threshold promises: by label and precision, the threshold, the recall
    there, and the precision of thresholds set without the texts that they are tried on.
    """
    precisions = tuple(sorted(chosen.precisions))
    n_labels = len(data.labels)
    slopes, offsets = np.ones(n_labels, np.float32), np.zeros(n_labels, np.float32)
    for column in range(n_labels):
        known = data.values[:, column] != UNKNOWN
        truths = data.values[known, column] == 1
        weight = negative_weight(truths, chosen.prevalence)
        slopes[column], offsets[column] = platt(logits[known, column], truths, weight)
    scores = probabilities_of(logits * slopes + offsets)
    tags = np.array([tag.split("-")[0].lower() for tag in data.languages], str)
    thresholds = {}
    for language in [ANY_LANGUAGE, *sorted(set(tags.tolist()) - {ANY_LANGUAGE})]:
        mine = np.ones(len(data), bool) if language == ANY_LANGUAGE else tags == language
        if (found := _thresholds(chosen, data, scores, mine, precisions)) is not None:
            thresholds[language] = found
    promises = {
        label: {
            str(precision): _promise(
                scores[:, column],
                data.values[:, column],
                folds,
                chosen.prevalence,
                precision,
                float(thresholds[ANY_LANGUAGE][row, column]),
            )
            for row, precision in enumerate(precisions)
        }
        for column, label in enumerate(data.labels)
    }
    return SafetyModel(data.labels, model, slopes, offsets, precisions, thresholds), promises


def _thresholds(
    chosen: TrustAndSafetySettings,
    data: Labelled,
    scores: Floats,
    mine: npt.NDArray[np.bool_],
    precisions: tuple[float, ...],
) -> Floats | None:
    """Shape (precisions, labels) by some texts; all texts where these are too few of a label.

    None where they are too few of every label.
    """
    enough = False
    found = np.full((len(precisions), len(data.labels)), np.inf, np.float32)
    for column in range(len(data.labels)):
        known = data.values[:, column] != UNKNOWN
        truths = data.values[:, column] == 1
        some = known & mine
        if min((some & truths).sum(), (some & ~truths).sum()) >= chosen.min_examples:
            known, enough = some, True
        weight = negative_weight(truths[known], chosen.prevalence)
        for row, precision in enumerate(precisions):
            found[row, column] = threshold_at(
                scores[known, column], truths[known], precision, weight
            )
    # A higher precision must not be easier to reach, which ties and few texts may bring about.
    return np.maximum.accumulate(found, axis=0) if enough else None


def _promise(
    scores: Floats,
    values: npt.NDArray[np.int8],
    folds: Int64s,
    prevalence: float | None,
    precision: float,
    threshold: float,
) -> dict[str, float | None]:
    known = values != UNKNOWN
    truths = values[known] == 1
    weight = negative_weight(truths, prevalence)
    elsewhere = precision_elsewhere(scores[known], truths, folds[known], precision, weight)
    return {
        "threshold": round(threshold, 4) if np.isfinite(threshold) else None,
        "recall": round(float((scores[known][truths] >= threshold).mean()), 4),
        "precision_elsewhere": None if elsewhere is None else round(elsewhere, 4),
    }


def _compare(
    chosen: TrustAndSafetySettings,
    texts: Ngrams,
    data: Labelled,
    folds: Int64s,
    seed: int,
    progress: Progress,
) -> dict[str, Floats]:
    """The cross-validated logits of every candidate."""
    logits: dict[str, Floats] = {}
    for name in dict.fromkeys(chosen.candidates):
        told = f"cross-validating the {name} model"
        progress(told, 0.0)

        def done(share: float, told: str = told) -> None:
            progress(told, share)

        logits[name] = cross_validated(FITS[name], texts, data, folds, chosen.buckets, seed, done)
    return logits


def _check_folds(data: Labelled, folds: Int64s) -> None:
    for column, label in enumerate(data.labels):
        for value, told in ((1, "positive"), (0, "negative")):
            rows = data.values[:, column] == value
            if len(np.unique(folds[rows])) < 2:
                raise TrainingError(
                    f"all {told} texts of label {label!r} are near copies of one another: "
                    "label other texts too"
                )


def _write(
    artifacts: ArtifactStore,
    model: SafetyModel,
    data: Labelled,
    metrics: dict[str, Any],
    data_range_ms: tuple[int, int] | None,
) -> str:
    languages, counts = np.unique(np.array(data.languages, str), return_counts=True)
    told = {
        "labels": list(model.labels),
        "precisions": list(model.precisions),
        "thresholds": {
            language: [[x if np.isfinite(x) else None for x in row] for row in rows.tolist()]
            for language, rows in model.thresholds.items()
        },
        "languages": dict(zip(languages.tolist(), counts.tolist(), strict=True)),
        "model": metrics["model"],
    }
    with artifacts.writing(
        TRUST_AND_SAFETY,
        schema_version=TRUST_AND_SAFETY_SCHEMA,
        metrics=metrics,
        data_range_ms=data_range_ms,
    ) as draft:
        calibration = {"slopes": model.slopes, "offsets": model.offsets}
        draft.write_tensors("model.safetensors", model.model.tensors() | calibration)
        if model.media is not None:
            draft.write_tensors("media.safetensors", dict(vars(model.media)))
        draft.write_json("labels.json", told)
    return draft.written
