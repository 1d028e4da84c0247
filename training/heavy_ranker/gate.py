"""Whether a new model may serve: judged beside the light ranker and the versions before it.

What pages would be ranked by is judged, not the model alone: the score in which the light ranker
has a share too (`actors.features.both_rankers`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.models import LIGHT_RANKER
from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.evaluate import Metrics
from training.heavy_ranker.labels import UNWANTED

ByTask = Mapping[str, Metrics]
ByOrder = Mapping[str, float]
"""Task → the chance that of two posts of one page, to one of which it happened, that one ranks
first (`training.metrics.grouped_auc`)."""

ACCEPTED, REFUSED = "accepted", "refused"
SERVED = "served"
"""What pages would be ranked by with the new model; without any the light ranker ranks them."""


@dataclass(frozen=True)
class Verdict:
    """What became of a model, and why."""

    accepted: bool
    reason: str

    def as_metrics(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {"gate": ACCEPTED if self.accepted else REFUSED, "gate_reason": self.reason}


def judged_tasks(found: ByTask, min_positives: int) -> list[str]:
    """Tasks of which there are enough positives and negatives to say how good a model is."""
    return [
        task
        for task, metrics in found.items()
        if min(metrics["positives"], metrics["examples"] - metrics["positives"]) >= min_positives
    ]


def verdict(
    found: ByTask,
    in_order: Mapping[str, ByOrder],
    before: Mapping[str, ByTask],
    settings: HeavyRankerSettings,
) -> Verdict:
    """Accepts what is better than constants, and no worse than what it would take the place of.

    `found` are metrics of the new model, `in_order` how well pages are ranked with it (`served`)
    and without (`light_ranker`), `before` metrics of earlier models by what they are called: the
    version before, and the reference (see `best_of`), without which each version might be a
    little worse than the last for ever. All are of the same latest examples. Means are over the
    tasks that can be judged; those of orders over the ones that one wants more of.
    """
    tasks = judged_tasks(found, settings.min_judged_positives)
    if not tasks:
        return Verdict(
            False,
            f"nothing to judge by: no task has {settings.min_judged_positives} positives and "
            "as many negatives among the latest examples",
        )
    broken = [t for t in tasks if not np.isfinite([found[t][m] for m in ("auroc", "rce")]).all()]
    if broken:
        return Verdict(False, f"what is not a number was predicted for {', '.join(broken)}")
    rce = _mean(found, tasks, "rce")
    told = [f"mean RCE {rce:.2f} over {len(tasks)} tasks"]
    if rce <= 0:
        return Verdict(False, f"{told[0]}: no better than predicting means")
    served, light = in_order[SERVED], in_order[LIGHT_RANKER]
    wanted = [task for task in tasks if task not in UNWANTED and task in served]
    if wanted:
        auroc, of_light = (float(np.mean([of[task] for task in wanted])) for of in (served, light))
        told.append(f"mean AUROC within pages {auroc:.4f}, of the light ranker {of_light:.4f}")
        if auroc < of_light - settings.auroc_tolerance:
            return Verdict(False, f"worse than the light ranker: {told[-1]}")
    for name, of_other in before.items():
        theirs = _mean(of_other, tasks, "rce")
        told.append(f"mean RCE of the {name} version {theirs:.2f}")
        if rce < theirs - settings.rce_tolerance:
            return Verdict(False, f"worse than the {name} version: {'; '.join(told)}")
    return Verdict(True, "; ".join(told))


def best_of(of_versions: Mapping[str, ByTask], settings: HeavyRankerSettings) -> str:
    """Which version is best on the same examples, by mean RCE; of equals the first.

    The best one stays the reference for versions to come until another is better on what
    happens then, so that tolerances do not add up from version to version. Without tasks that
    can be judged it is the first.
    """
    first = next(iter(of_versions))
    tasks = judged_tasks(of_versions[first], settings.min_judged_positives)
    if not tasks:
        return first
    return max(of_versions, key=lambda version: _mean(of_versions[version], tasks, "rce"))


def _mean(metrics: ByTask, tasks: list[str], name: str) -> float:
    return float(np.mean([metrics[task][name] for task in tasks]))
