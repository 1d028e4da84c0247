"""The safety text models on published sets beside scikit-learn's own and a pretrained encoder:
cross-validated figures, and posts a second.

Run `python -m benchmarks.safety` (`--quick`: 4,000 of the texts in two folds; `--encoder`: MiniLM,
too, which installs packages of its own), with the folder of the sets in `--texts` or
MURMURATION_DATA; prints JSON.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from actors.features.safety import NgramModel, SafetyModel
from actors.features.safety_ngrams import ngrams
from benchmarks import safety_encoder, safety_reference
from benchmarks.report import emit
from cluster.training_settings import TrustAndSafetySettings
from training.trust_and_safety.duplicates import folds_of, near_duplicates
from training.trust_and_safety.evaluation import cross_validated, judged, mean_pr_auc
from training.trust_and_safety.job import calibrated, gather
from training.trust_and_safety.labelled import Labelled
from training.trust_and_safety.models import FITS

SEED = 0
WANTED_POSTS_PER_S = 2_000
QUICK_TEXTS = 4_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--texts", type=Path, default=os.environ.get("MURMURATION_DATA"))
    parser.add_argument("--encoder", nargs="*", choices=safety_encoder.DTYPES, metavar="DTYPE")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.texts is None:
        parser.error("name the folder of labelled texts: --texts or MURMURATION_DATA")
    chosen = TrustAndSafetySettings(
        labelled_text=arguments.texts, folds=2 if arguments.quick else 5, min_examples=20
    )
    data, _ = gather(chosen, None, None, SEED)
    if arguments.quick:
        drawn = np.random.default_rng(SEED).permutation(len(data))[:QUICK_TEXTS]
        data = data.take(np.sort(drawn))
        enough = ((data.values == 1).sum(axis=0) >= chosen.min_examples).tolist()
        data = data.only([label for label, is_so in zip(data.labels, enough, strict=True) if is_so])
    texts = ngrams(data.texts, chosen.buckets)
    groups = near_duplicates(texts)
    folds = folds_of(groups, chosen.folds, np.random.default_rng(SEED))
    figures: dict[str, Any] = {}
    for name, fit in FITS.items():
        began_s = time.perf_counter()
        logits = cross_validated(fit, texts, data, folds, chosen.buckets, SEED)
        taken_s = time.perf_counter() - began_s
        fitted = fit(texts, data.values, chosen.buckets, SEED)
        model, promises = calibrated(chosen, data, folds, fitted, logits)
        found = judged(data, logits)
        figures[name] = {
            "mean_pr_auc": mean_pr_auc(found),
            "labels": found,
            "thresholds": promises,
            "cross_validation_s": round(taken_s, 1),
            "model_mib": round(_bytes_of(model.model) / 2**20, 1),
            **_speed(_labelling(model), data),
        }
    began_s = time.perf_counter()
    logits = safety_reference.cross_validated(data, folds, SEED)
    taken_s = time.perf_counter() - began_s
    reference = safety_reference.Reference.fit(data.texts, data.values, SEED)
    found = judged(data, logits)
    figures["scikit-learn"] = {
        "mean_pr_auc": mean_pr_auc(found),
        "labels": found,
        "cross_validation_s": round(taken_s, 1),
        "model_mib": round(reference.n_bytes / 2**20, 1),
        **_speed(reference.logits, data),
    }
    if arguments.encoder is not None:
        for dtype in arguments.encoder or safety_encoder.DTYPES:
            figures[f"MiniLM in {dtype}"] = safety_encoder.measured(data, folds, dtype, SEED)
    figures["wanted_posts_per_s_on_one_core"] = WANTED_POSTS_PER_S
    counts = {name: int((data.source_of == i).sum()) for i, name in enumerate(data.sources)}
    emit(
        "safety",
        figures,
        out=arguments.out,
        texts=counts,
        near_copies=len(data) - len(np.unique(groups)),
        folds=chosen.folds,
        buckets=chosen.buckets,
    )


def _labelling(model: SafetyModel) -> Callable[[list[str]], object]:
    return lambda texts: model.labels_of(model.scores(texts))


def _speed(judge: Callable[[list[str]], object], data: Labelled) -> dict[str, Any]:
    """Posts a second of CPU time, from text to labels, in large batches and in small ones."""
    drawn = np.random.default_rng(SEED).permutation(len(data))
    texts = [data.texts[i] for i in drawn.tolist()]
    judge(texts[:64])
    found: dict[str, Any] = {"mean_characters": round(float(np.mean([*map(len, texts)])), 1)}
    for size in (2_048, 64, 1):
        some = texts[: 20_000 if size > 1 else 2_000]
        began_s = time.thread_time()
        for first in range(0, len(some), size):
            judge(some[first : first + size])
        found[f"posts_per_s_in_batches_of_{size}"] = round(
            len(some) / (time.thread_time() - began_s)
        )
    return found


def _bytes_of(model: NgramModel) -> int:
    return sum(tensor.nbytes for tensor in model.tensors().values())


if __name__ == "__main__":
    main()
