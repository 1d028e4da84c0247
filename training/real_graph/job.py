"""The Real Graph job: from the archive to the authors each viewer is likely to interact with."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.real_graph import REAL_GRAPH, REAL_GRAPH_SCHEMA, SCORES
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.ids import Ids
from cluster.settings import DAY_MS, Settings
from cluster.training_settings import RealGraphSettings
from training.job import Progress, Trained, TrainingError, silent
from training.real_graph.calibration import Calibration, calibrate, sampling_log_odds
from training.real_graph.candidates import rank_in_group
from training.real_graph.evaluation import deciles, order_metrics, probabilities_metrics, rules
from training.real_graph.examples import MIN_LABELLED, Examples, choose_day_ms, examples_before
from training.real_graph.inputs import Inputs, names_of
from training.real_graph.interactions import Interactions
from training.real_graph.model import N_FOLDS, Model, fit, folds_of, sampled
from training.real_graph.reading import KINDS, NEEDED, collect

Floats = npt.NDArray[np.float64]


def train(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    *,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Learn from everything archived before `until_ms` and write a new `real_graph`.

    Now is `until_ms`, or just after the last event. The model learns from what was known two
    days before now and happened on the day after, is judged by the last day, beside the rules
    *most recent* and *most frequent*, and scores the candidates of now for the day to come.
    How long such a day lasts, see `choose_day_ms`. The same archive, settings and `until_ms`
    give the same scores.

    Raises `TrainingError`, naming what is missing, where there is too little to learn from;
    nothing is written then.
    """
    began_s = time.perf_counter()
    progress("reading interactions", 0.0)
    interactions = collect(archive.batches(KINDS, None, until_ms, NEEDED))
    now_ms = interactions.last_ms + 1 if until_ms is None else until_ms
    read_s = time.perf_counter()
    progress("rolling up", 0.0)
    chosen, seed = settings.training.real_graph, settings.training.seed
    day_ms = choose_day_ms(interactions, now_ms, chosen)
    learnt = examples_before(interactions, now_ms - 2 * day_ms, day_ms, chosen)
    judged = examples_before(interactions, now_ms - day_ms, day_ms, chosen)
    rolled_s = time.perf_counter()
    progress("training", 0.0)
    predictor = learn(interactions, learnt, chosen, seed)
    metrics, details = judge(judged, predictor, seed)
    metrics |= {
        "day_length": day_ms / DAY_MS,
        "training_pairs": len(learnt.pairs),
        "training_positives": int(learnt.labels.sum()),
    }
    fitted_s = time.perf_counter()
    progress("scoring", 0.0)
    ahead = examples_before(interactions, now_ms, day_ms, chosen)
    table = scored(interactions, ahead, predictor, chosen.top_authors)
    metrics |= {"scored_pairs": len(table), "viewers": len(np.unique(table.column("viewer_id")))}
    names = names_of(chosen.inputs)
    with artifacts.writing(
        REAL_GRAPH,
        schema_version=REAL_GRAPH_SCHEMA,
        metrics=metrics,
        data_range_ms=(interactions.first_ms, now_ms),
    ) as draft:
        draft.write_table(SCORES, table)
        model = predictor.model.to_json()
        calibration = predictor.calibration.to_json()
        draft.write_json("model.json", {**model, "inputs": names, "calibration": calibration})
        importance = dict(zip(names, predictor.model.importance(), strict=True))
        details |= {"importance": importance, "settings": chosen.model_dump()}
        draft.write_json("training.json", details)
    progress("scoring", 1.0)
    seconds = {
        "read": read_s - began_s,
        "roll up": rolled_s - read_s,
        "fit": fitted_s - rolled_s,
        "score": time.perf_counter() - fitted_s,
    }
    return Trained(REAL_GRAPH, draft.written, metrics, seconds)


@dataclass(frozen=True)
class Predictor:
    """A model with its calibration."""

    model: Model
    calibration: Calibration

    def probabilities(self, inputs: Inputs) -> Floats:
        """That each pair interacts on the day to come, (n,)."""
        return self.calibration.apply(self.model.raw(inputs))


def learn(
    interactions: Interactions, examples: Examples, settings: RealGraphSettings, seed: int
) -> Predictor:
    """Fit on all positives and a sample of negatives, calibrated by sources not learnt from.

    Each fifth of the sources is left out once: that says how many rounds are enough, and its
    probabilities, by a model that never saw these sources, are what the calibration of the
    model of all is fitted to. Raises `TrainingError` where pairs of either label are too few.
    """
    sources = interactions.user_ids[examples.sources]
    destinations = interactions.user_ids[examples.destinations]
    used = sampled(sources, destinations, settings.pair_share, seed)
    inputs, labels = examples.inputs[used], examples.labels[used]
    n_positive = int(labels.sum())
    n_negative = len(labels) - n_positive
    if min(n_positive, n_negative) < MIN_LABELLED:
        raise TrainingError(
            f"of {settings.pair_share:g} of the candidate pairs {n_positive:,} interacted and "
            f"{n_negative:,} did not; at least {MIN_LABELLED} of each are needed to learn: bring "
            "in more events, or raise training.real_graph.pair_share"
        )
    share = min(1.0, settings.negatives_per_positive * n_positive / n_negative)
    kept = labels | sampled(sources[used], destinations[used], share, seed + 1)
    folds = folds_of(sources[used])
    raw, rounds = np.empty(len(labels)), []
    for fold in range(N_FOLDS):
        inside, outside = kept & (folds != fold), folds == fold
        if labels[inside].all() or not labels[inside].any():
            raise TrainingError("the users who interacted are too few to learn from")
        stop_by = kept & outside
        model = fit(
            *(inputs[inside], labels[inside], seed, settings), (inputs[stop_by], labels[stop_by])
        )
        rounds.append(model.rounds)
        raw[outside] = model.raw(inputs[outside]) if outside.any() else 0.0
    enough = settings.model_copy(update={"rounds": round(float(np.mean(rounds)))})
    model = fit(inputs[kept], labels[kept], seed, enough)
    undone = sampling_log_odds(share)
    return Predictor(model, calibrate(raw, labels, undone, settings.calibration))


def judge(
    examples: Examples, predictor: Predictor, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of the model and of the plain rules, and the deciles behind the calibration."""
    probabilities = predictor.probabilities(examples.inputs)
    metrics: dict[str, Any] = {
        "judged_pairs": len(examples.pairs),
        "judged_positives": int(examples.labels.sum()),
        **probabilities_metrics(probabilities, examples.labels),
    }
    scores = {"": probabilities, **rules(examples.pairs, examples.instant)}
    for name, values in scores.items():
        found = order_metrics(values, examples.labels, examples.sources, seed)
        metrics |= {f"{name}{metric}": value for metric, value in found.items()}
    return metrics, {"deciles": deciles(probabilities, examples.labels)}


def scored(
    interactions: Interactions, examples: Examples, predictor: Predictor, top: int
) -> pa.Table:
    """The table of scores: the best `top` authors of each viewer among those followed, and as
    many of the others."""
    scores = predictor.probabilities(examples.inputs).astype(np.float32)
    followed = np.isin(examples.pairs, examples.instant.follows)
    viewers, authors = examples.sources, examples.destinations
    by_side = np.lexsort((authors, -scores, followed, viewers))
    sides = viewers[by_side] * 2 + followed[by_side]
    kept = by_side[(rank_in_group(sides) < top) & (scores[by_side] > 0)]
    kept = kept[np.lexsort((authors[kept], -scores[kept], viewers[kept]))]
    return _table(interactions.user_ids, viewers[kept], authors[kept], scores[kept], followed[kept])


def _table(
    user_ids: Ids,
    viewers: Ids,
    authors: Ids,
    scores: npt.NDArray[np.float32],
    followed: npt.NDArray[np.bool_],
) -> pa.Table:
    return pa.table(
        {
            "viewer_id": user_ids[viewers],
            "author_id": user_ids[authors],
            "score": scores,
            "followed": followed,
        }
    )
