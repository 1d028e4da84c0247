"""Why is this post here, and why is that one not: what a request's trace says of one post.

A trace is kept as bytes: a row for each candidate, and for each stage what it did to it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.light import FEATURES
from actors.features.tasks import TASK_NAMES
from actors.graph import PUBLIC_CODES
from actors.signal_types import SignalType
from actors.stores.id_map import IdMap
from cluster.ids import Ids
from timeline.candidates import ENGINES
from timeline.pages import Page
from timeline.pipeline import (
    Extend,
    Filter,
    Gate,
    Pipeline,
    Prepare,
    Refine,
    Rescore,
    Retrieve,
    Score,
    Select,
    StageTrace,
)
from timeline.score_parts import (
    PREDICTED,
    ModelOf,
    factor_column,
    order_column,
    ranks_of,
    score_of,
    stage_column,
)
from timeline.trace_bytes import UnreadableTrace, pack, unpack

__all__ = ["Explained", "UnreadableTrace", "half_precision", "pack_trace", "stage_kinds", "why"]

_HALF_MAX = 65_504.0
_KIND_OF_STAGE = {
    Gate: "gate",
    Prepare: "prepare",
    Retrieve: "retrieve",
    Extend: "extend",
    Filter: "filter",
    Score: "score",
    Rescore: "rescore",
    Select: "select",
    Refine: "refine",
}
_REMOVING = ("filter", "select", "refine")
_LABEL_OF_CODE = {code: kind.label for kind, code in PUBLIC_CODES.items()}


def stage_kinds(pipeline: Pipeline) -> dict[str, str]:
    """Stage → what kind of stage it is, as traces name it."""
    return {stage.name: _KIND_OF_STAGE[type(stage)] for stage in pipeline.steps}


def half_precision(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Features as they are logged: float16, finite."""
    bounded = np.clip(features, -_HALF_MAX, _HALF_MAX)
    bounded[np.isnan(bounded)] = 0.0
    halves: npt.NDArray[np.float16] = bounded.astype(np.float16)
    return halves


def pack_trace(page: Page, kinds: Mapping[str, str]) -> bytes:
    """The trace of a page as bytes; `kinds` are those of its product's stages."""
    found, stages = page.trace.found, page.trace.stages
    n = len(found)
    by_id = IdMap(n)
    row_of = np.empty(n, np.int64)
    row_of[by_id.get_or_insert(found.post_ids)] = np.arange(n)

    def column(post_ids: Ids, values: Any, of: Any, none: float) -> npt.NDArray[Any]:
        """Values of posts by their rows, those that were not found left out."""
        at = by_id.get(post_ids)
        known = at >= 0
        whole = np.full(n, none, of)
        if known.all():
            whole[row_of[at]] = values
        else:
            whole[row_of[at[known]]] = values[known]
        return whole

    dropped_at = np.full(n, -1, np.int16)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, stage in enumerate(stages):
        if stage.dropped is not None:
            at = by_id.get(stage.dropped)
            dropped_at[row_of[at[at >= 0]]] = number
        post_ids = stage.post_ids
        if post_ids is not None and stage.values is not None:
            arrays[stage_column(number)] = column(post_ids, stage.values, np.float32, np.nan)
            for name, values in stage.factors.items():
                if (values == 1).all():
                    continue
                part = column(post_ids, values, np.float32, np.nan)
                arrays[factor_column(number, name)] = part
        if stage.judged_ids is not None and stage.reasons is not None:
            arrays[_rule_column(number)] = column(stage.judged_ids, stage.reasons, np.int16, -1)
        if stage.ordered is not None:
            places = np.arange(len(stage.ordered), dtype=np.int32)
            arrays[order_column(number)] = column(stage.ordered, places, np.int32, -1)
    shown = page.shown.post_ids
    proved = np.flatnonzero(found.proof_ids[:, 0])
    arrays |= {
        "post_ids": found.post_ids,
        "author_ids": found.author_ids,
        "sources": found.sources,
        "source": found.source,
        "engines": found.engines,
        "signals": found.signals,
        "signal_ids": found.signal_ids,
        "dropped_at": dropped_at,
        "positions": column(shown, np.arange(len(shown)), np.int16, -1),
        "proved": proved,
        "proof_ids": found.proof_ids[proved],
        "proof_kinds": found.proof_kinds[proved],
        # Feature by feature, which compresses twice as well.
        "features": found.features.T,
    }
    if page.predictions is not None:
        at = by_id.get(page.predictions.post_ids)
        predicted = np.full((len(TASK_NAMES), n), np.nan, np.float32)
        predicted[:, row_of[at[at >= 0]]] = page.predictions.probabilities[at >= 0].T
        arrays[PREDICTED] = predicted
    return pack(arrays, _said(page, kinds))


def _said(page: Page, kinds: Mapping[str, str]) -> dict[str, Any]:
    return {
        "product": page.product,
        "viewer_id": page.viewer_id,
        "request_id": page.request_id,
        "now_ms": page.now_ms,
        "model_version": page.model_version,
        "light_ranker": page.light_version or page.model_version,
        "weights": {name: page.weights.get(name, 0.0) for name in TASK_NAMES},
        "degraded": page.degraded,
        "reason": page.reason,
        "sources": page.source_names,
        "features": FEATURES,
        "stages": [_said_of(stage, kinds.get(stage.name, "")) for stage in page.trace.stages],
    }


def _said_of(stage: StageTrace, kind: str) -> dict[str, Any]:
    """What a trace says of a stage as a whole; what is not so is left out."""
    told: dict[str, Any] = {"name": stage.name, "kind": kind, "ms": round(stage.ms, 3)}
    told |= {"in": stage.n_in, "out": stage.n_out}
    more = {
        "skipped": stage.skipped,
        "failed": stage.failed,
        "late": stage.late,
        "values": stage.values is not None,
        "factors": list(stage.factors),
        "rules": stage.reason_names,
    }
    return told | {name: value for name, value in more.items() if value}


def why(trace: bytes, post_id: int, light_ranker: ModelOf) -> dict[str, Any]:
    """What a trace says about a post; see `Explained.of`. Raises `UnreadableTrace`."""
    return Explained(trace, light_ranker).of(post_id)


class Explained:
    """A trace that was read, to be asked about any number of posts.

    `light_ranker` gives a model by its version; contributions of features are left out where it
    raises `LookupError`, `OSError` or `ValueError`. Raises `UnreadableTrace`.
    """

    def __init__(self, trace: bytes, light_ranker: ModelOf) -> None:
        self._arrays, self._told = unpack(trace)
        self._light_ranker = light_ranker
        self._ranks: list[npt.NDArray[np.int64]] | None = None

    def of(self, post_id: int) -> dict[str, Any]:
        """Everything known of a post; ids are strings.

        `verdict` is `shown`, `dropped` (then `dropped_by` names the stage) or
        `not_a_candidate`.
        """
        said, arrays = self._told, self._arrays
        stages = [
            {k: v for k, v in s.items() if k not in ("values", "factors", "rules")}
            for s in said["stages"]
        ]
        answer: dict[str, Any] = {
            "post_id": str(post_id),
            "user_id": str(said["viewer_id"]),
            "request_id": said["request_id"],
            "product": said["product"],
            "now_ms": said["now_ms"],
            "model_version": said["model_version"],
            "degraded": said["degraded"],
            "stages": stages,
        }
        rows = np.flatnonzero(arrays["post_ids"] == post_id)
        if not len(rows):
            return answer | {
                "found": False,
                "verdict": "not_a_candidate",
                "detail": f"no source found it, of {', '.join(said['sources']) or 'none'}",
            }
        row = int(rows[0])
        dropped_at, position = int(arrays["dropped_at"][row]), int(arrays["positions"][row])
        reached = dropped_at + 1 if dropped_at >= 0 else len(stages)
        features = arrays["features"][:, row].tolist()
        return answer | {
            "found": True,
            "verdict": "shown" if position >= 0 else "dropped",
            "author_id": str(arrays["author_ids"][row]),
            "found_by": _named(said["sources"], int(arrays["sources"][row])),
            "path": self._path(row),
            "position": position if position >= 0 else None,
            "dropped_by": stages[dropped_at]["name"] if dropped_at >= 0 else None,
            "filters": [
                self._verdict(number, row, passed=number != dropped_at)
                for number, stage in enumerate(stages[:reached])
                if stage["kind"] in _REMOVING and "skipped" not in stage
            ],
            "ranks": self._ranked(row, reached),
            "score": score_of(row, reached, arrays, said, self._light_ranker),
            "proofs": self._proofs(row),
            "features": dict(zip(said["features"], features, strict=True)),
        }

    def _path(self, row: int) -> dict[str, Any]:
        """The way by which the source under which the post counts came to it."""
        arrays, names = self._arrays, self._told["sources"]
        source, signal = int(arrays["source"][row]), int(arrays["signals"][row])
        path: dict[str, Any] = {
            "source": names[source] if 0 <= source < len(names) else None,
            "engines": _named(ENGINES, int(arrays["engines"][row])),
        }
        if signal >= 0:
            path["signal"] = SignalType(signal).name.lower()
        if arrays["signal_ids"][row]:
            path["signal_id"] = str(arrays["signal_ids"][row])
        return path

    def _verdict(self, number: int, row: int, *, passed: bool) -> dict[str, Any]:
        stage = self._told["stages"][number]
        told: dict[str, Any] = {"name": stage["name"], "passed": passed}
        rules = self._arrays.get(_rule_column(number))
        if rules is not None and rules[row] >= 0:
            told["rule"] = stage["rules"][int(rules[row])]
        return told

    def _ranked(self, row: int, reached: int) -> list[dict[str, Any]]:
        """By stage the rank before and after it, from the first that ranks; None for none."""
        if self._ranks is None:
            self._ranks = ranks_of(self._arrays, self._told["stages"])
        told: list[dict[str, Any]] = []
        before: int | None = None
        for stage, ranks in zip(self._told["stages"][:reached], self._ranks, strict=False):
            after = int(ranks[row]) if ranks[row] >= 0 else None
            if before is not None or after is not None:
                told.append({"stage": stage["name"], "before": before, "after": after})
            before = after
        return told

    def _proofs(self, row: int) -> list[dict[str, str]]:
        at = np.flatnonzero(self._arrays["proved"] == row)
        return [
            {"user_id": str(user), "kind": _LABEL_OF_CODE.get(kind, str(kind))}
            for place in at.tolist()
            for user, kind in zip(
                self._arrays["proof_ids"][place].tolist(),
                self._arrays["proof_kinds"][place].tolist(),
                strict=True,
            )
            if user
        ]


def _rule_column(number: int) -> str:
    return f"rule.{number}"


def _named(names: Any, bits: int) -> list[str]:
    return [name for number, name in enumerate(names) if bits >> number & 1]
