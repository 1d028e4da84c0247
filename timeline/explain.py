"""Why is this post here, and why is that one not: what a request's trace says of one post.

A trace is kept as bytes: a row for each candidate, and for each stage what it did to it.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from actors.features.binned import BinnedModel, LightRanker
from actors.features.light import FEATURES, positions_in
from actors.features.tasks import TASK_NAMES
from actors.graph import PUBLIC_CODES
from actors.models import LIGHT_RANKER
from cluster.ids import Ids
from timeline.candidates import MAX_PROOFS
from timeline.pipeline import Extend, Filter, Pipeline, Prepare, Rescore, Retrieve, Score, Select
from timeline.timelines import Page

TOP_CONTRIBUTIONS = 8
"""Features shown of either sign, the heaviest first."""

_SCHEMA_VERSION = 1
_HEAD = struct.Struct("<BQ")
_HALF_MAX = 65_504.0
_FEATURE = "feature."
_PREDICTED = "predicted."
_KIND_OF_STAGE = {
    Prepare: "prepare",
    Retrieve: "retrieve",
    Extend: "extend",
    Filter: "filter",
    Score: "score",
    Rescore: "rescore",
    Select: "select",
}
_LABEL_OF_CODE = {code: kind.label for kind, code in PUBLIC_CODES.items()}


class UnreadableTrace(ValueError):
    """Bytes that are not a trace this version can read."""


def stage_kinds(pipeline: Pipeline) -> dict[str, str]:
    """Stage → what kind of stage it is, as traces name it."""
    return {stage.name: _KIND_OF_STAGE[type(stage)] for stage in pipeline.stages}


def half_precision(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Features as they are kept: float16, finite."""
    bounded = np.clip(features, -_HALF_MAX, _HALF_MAX)
    bounded[np.isnan(bounded)] = 0.0
    halves: npt.NDArray[np.float16] = bounded.astype(np.float16)
    return halves


def pack_trace(page: Page, kinds: Mapping[str, str]) -> bytes:
    """The trace of a page as bytes; `kinds` are those of its product's stages."""
    found, stages = page.trace.found, page.trace.stages
    order = np.argsort(found.post_ids, kind="stable")
    ordered = found.post_ids[order]

    def rows_of(post_ids: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The rows of those posts that were found, and which of them were."""
        at = positions_in(ordered, post_ids)
        return order[at[at >= 0]], at >= 0

    dropped_at = np.full(len(found), -1, np.int8)
    columns: dict[str, Any] = {}
    for number, stage in enumerate(stages):
        if stage.dropped is not None:
            dropped_at[rows_of(stage.dropped)[0]] = number
        if stage.post_ids is not None and stage.values is not None:
            values = np.full(len(found), np.nan, np.float32)
            rows, known = rows_of(stage.post_ids)
            values[rows] = stage.values[known]
            columns[f"stage.{number}"] = values
    position = np.full(len(found), -1, np.int16)
    rows, known = rows_of(page.shown.post_ids)
    position[rows] = np.flatnonzero(known)
    halves = np.asfortranarray(half_precision(found.features))
    columns |= {
        "post_id": found.post_ids,
        "author_id": found.author_ids,
        "sources": found.sources,
        "dropped_at": dropped_at,
        "position": position,
        "proof_ids": _as_bytes(found.proof_ids),
        "proof_kinds": _as_bytes(found.proof_kinds),
        **{f"{_FEATURE}{name}": halves[:, i] for i, name in enumerate(FEATURES)},
    }
    if page.predictions is not None:
        rows, known = rows_of(page.predictions.post_ids)
        for at, task in enumerate(TASK_NAMES):
            column = np.full(len(found), np.nan, np.float32)
            column[rows] = page.predictions.probabilities[known, at]
            columns[f"{_PREDICTED}{task}"] = column
    said = {
        "product": page.product,
        "viewer_id": page.viewer_id,
        "request_id": page.request_id,
        "now_ms": page.now_ms,
        "model_version": page.model_version,
        "light_ranker": page.light_version,
        "weights": page.weights,
        "degraded": page.degraded,
        "reason": page.reason,
        "sources": page.source_names,
        "stages": [
            {"name": s.name, "kind": kinds.get(s.name, ""), "ms": round(s.ms, 3)}
            | {"in": s.n_in, "out": s.n_out}
            for s in stages
        ],
    }
    table = pa.table(columns).replace_schema_metadata({b"trace": orjson.dumps(said)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    raw = sink.getvalue()
    content: bytes = pa.Codec("zstd").compress(raw, asbytes=True)
    return _HEAD.pack(_SCHEMA_VERSION, raw.size) + content


def why(trace: bytes, post_id: int, light_ranker: Callable[[str], LightRanker]) -> dict[str, Any]:
    """What a trace says about a post; ids are strings.

    `verdict` is `shown`, `dropped` (then `dropped_by` names the stage) or
    `not_a_candidate`. `light_ranker` gives a model by its version; contributions are left
    out where it raises `LookupError`, `OSError` or `ValueError`. Raises `UnreadableTrace`.
    """
    table, said = _read(trace)
    answer: dict[str, Any] = {
        "post_id": str(post_id),
        "user_id": str(said["viewer_id"]),
        "request_id": said["request_id"],
        "product": said["product"],
        "now_ms": said["now_ms"],
        "model_version": said["model_version"],
        "degraded": said["degraded"],
        "stages": said["stages"],
    }
    rows = np.flatnonzero(table.column("post_id").to_numpy() == post_id)
    if not len(rows):
        return answer | {
            "found": False,
            "verdict": "not_a_candidate",
            "detail": f"no source found it, of {', '.join(said['sources']) or 'none'}",
        }
    row = {name: table.column(name)[int(rows[0])].as_py() for name in table.column_names}
    dropped_at, stages = row["dropped_at"], said["stages"]
    shown = row["position"] >= 0
    reached = [s for i, s in enumerate(stages) if dropped_at < 0 or i <= dropped_at]
    features = {
        name.removeprefix(_FEATURE): float(value)
        for name, value in row.items()
        if name.startswith(_FEATURE)
    }
    return answer | {
        "found": True,
        "verdict": "shown" if shown else "dropped",
        "author_id": str(row["author_id"]),
        "found_by": [name for i, name in enumerate(said["sources"]) if row["sources"] >> i & 1],
        "position": row["position"] if shown else None,
        "dropped_by": stages[dropped_at]["name"] if dropped_at >= 0 else None,
        "filters": [
            {"name": s["name"], "passed": i != dropped_at}
            for i, s in enumerate(reached)
            if s["kind"] in ("filter", "select")
        ],
        "score": _score(row, reached, features, said, light_ranker),
        "proofs": _proofs(row),
        "features": features,
    }


def _score(
    row: Mapping[str, Any],
    reached: list[dict[str, Any]],
    features: Mapping[str, float],
    said: Mapping[str, Any],
    light_ranker: Callable[[str], LightRanker],
) -> dict[str, Any] | None:
    """What ranked the post: scores set, factors applied, and what came of them."""
    score: dict[str, Any] = {}
    factors: dict[str, float] = {}
    final: float | None = None
    for number, stage in enumerate(reached):
        value = float(row.get(f"stage.{number}", np.nan))
        if stage["kind"] == "score" and not np.isnan(value):
            score[stage["name"]] = final = value
        elif stage["kind"] == "rescore" and final is not None:
            # Only posts whose score a stage changed are in its trace.
            factors[stage["name"]] = 1.0 if np.isnan(value) else value
            final *= factors[stage["name"]]
    if final is None:
        return None
    if LIGHT_RANKER in score:
        try:
            version = said.get("light_ranker", said["model_version"])
            model = light_ranker(version).of(features.get("is_followed", 0.0) > 0)
        except (LookupError, OSError, ValueError):
            model = None
        if model is not None and set(model.names) <= features.keys():
            score |= _contributions(model, features)
    predicted = _predicted(row, said.get("weights", {}))
    if predicted:
        score["predicted"] = predicted
    return score | {"factors": factors, "final": final}


def _predicted(row: Mapping[str, Any], weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """What the heavy ranker predicted, and what each adds to the score, the heaviest first."""
    found = {
        name.removeprefix(_PREDICTED): float(value)
        for name, value in row.items()
        if name.startswith(_PREDICTED) and not np.isnan(value)
    }
    counted = found | {
        # As `predictions.weighted_score` counts it: by the likelier of both heads.
        name: max(found[name], found[f"{name}_v2"])
        for name in ("is_good_clicked",)
        if {name, f"{name}_v2"} <= found.keys()
    }
    told: list[dict[str, Any]] = [
        {"engagement": name, "probability": p, "adds": counted[name] * weights.get(name, 0.0)}
        for name, p in found.items()
    ]
    return sorted(told, key=lambda one: -abs(one["adds"]))


def _contributions(model: BinnedModel, features: Mapping[str, float]) -> dict[str, Any]:
    """The features that moved the logit most: the heaviest of either sign."""
    values = np.array([[features[name] for name in model.names]], np.float32)
    added = model.contributions(values)[0]
    heaviest = np.argsort(-np.abs(added), kind="stable")
    chosen = [
        i
        for sign in (1, -1)
        for i in [i for i in heaviest.tolist() if added[i] * sign > 0][:TOP_CONTRIBUTIONS]
    ]
    return {
        "bias": float(model.bias),
        "logit": float(model.bias + added.sum()),
        "contributions": [
            {"feature": model.names[i], "value": float(values[0, i]), "adds": float(added[i])}
            for i in chosen
        ],
    }


def _proofs(row: Mapping[str, Any]) -> list[dict[str, str]]:
    ids = np.frombuffer(row["proof_ids"], np.int64)
    kinds = np.frombuffer(row["proof_kinds"], np.uint8)
    return [
        {"user_id": str(user), "kind": _LABEL_OF_CODE.get(kind, str(kind))}
        for user, kind in zip(ids.tolist(), kinds.tolist(), strict=True)
        if user
    ]


def _read(trace: bytes) -> tuple[pa.Table, dict[str, Any]]:
    try:
        version, n_bytes = _HEAD.unpack_from(trace)
        if version != _SCHEMA_VERSION:
            raise UnreadableTrace(f"trace of schema version {version}, not {_SCHEMA_VERSION}")
        raw = pa.Codec("zstd").decompress(trace[_HEAD.size :], n_bytes)
        with pa.ipc.open_stream(raw) as reader:
            table = reader.read_all()
        return table, orjson.loads(table.schema.metadata[b"trace"])
    except (struct.error, pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise UnreadableTrace(f"not a trace: {error}") from error


def _as_bytes(values: npt.NDArray[Any]) -> pa.Array:
    """Rows of an array (n, MAX_PROOFS) as a column of fixed-size bytes."""
    width = MAX_PROOFS * values.dtype.itemsize
    content = pa.py_buffer(np.ascontiguousarray(values))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(values), [None, content])
