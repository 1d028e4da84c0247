"""Scoring by the heavy ranker on the CPU, beside how fast the machine multiplies matrices.

Run `python -m benchmarks.heavy_ranker_scoring` (`--quick` for fewer rounds, `--threads N`);
prints JSON. A request is 1,500 candidates by 750 authors. The model is of the published sizes
(2,117 continuous inputs, 59 binary, three vectors of 200; 48.1 M weights), drawn at random, its
logits brought to a deviation of 1.5 around −2, so that labels can be drawn from it. Precisions
take turns. Rates are per core, of the round with the least CPU time, so that what others on the
machine take does not count; latencies are what the clock says, with the load given beside them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import linear

from actors.features.inputs import Embedding, Input, Level, RankerInputs, Schema, Sort
from actors.features.tasks import TASK_NAMES
from benchmarks.report import emit, percentiles
from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.export import export
from training.heavy_ranker.model import HeavyRanker, table_collection
from training.heavy_ranker.packed_linear import FloatLinear, Precision
from training.heavy_ranker.row_chunks import RowChunks
from training.heavy_ranker.scoring import HeavyRankerModel

Floats = npt.NDArray[np.float32]

CANDIDATES, AUTHORS = 1_500, 750
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
PUBLISHED = HeavyRankerSettings(
    features="twitter",
    mask_width=1_024,
    block_width=1_024,
    backbone=(2_048,),
    towers=(256, 128),
    tables=False,
)
LAPTOP = HeavyRankerSettings()


def schema_of(
    continuous: tuple[int, int, int], binary: tuple[int, int, int], dimensions: int, tables: int
) -> Schema:
    """Inputs by level, two vectors of the viewer and one of the author, tables of posts."""
    inputs = [
        Input(f"{sort.name}_{level.name}_{i}".lower(), sort, level, "", "")
        for sort, counts in ((Sort.CONTINUOUS, continuous), (Sort.BINARY, binary))
        for level in Level
        for i in range(counts[level])
    ]
    inputs += [
        Input(f"code_{i}", Sort.DISCRETE, Level.POST, "", "", buckets=1_000, dimensions=16)
        for i in range(tables)
    ]
    vectors = (("follows", Level.VIEWER), ("engages", Level.VIEWER), ("author", Level.AUTHOR))
    return Schema(
        tuple(inputs), tuple(Embedding(name, level, dimensions, "") for name, level in vectors)
    )


def draw_inputs(schema: Schema, rng: np.random.Generator) -> RankerInputs:
    """A request's inputs: counts with a heavy tail."""
    rows = {Level.VIEWER: 1, Level.AUTHOR: AUTHORS, Level.POST: CANDIDATES}
    values, discrete = [], []
    for level in Level:
        n_continuous = len(schema.of(Sort.CONTINUOUS, level))
        numbers = np.expm1(rng.standard_normal((rows[level], schema.width(level))))
        numbers[:, n_continuous:] = rng.random(numbers[:, n_continuous:].shape) < 0.3
        values.append(numbers.astype(np.float32))
        n_discrete = len(schema.of(Sort.DISCRETE, level))
        discrete.append(rng.integers(0, 2**40, (rows[level], n_discrete)))
    return RankerInputs(
        schema,
        (values[0], values[1], values[2]),
        (discrete[0], discrete[1], discrete[2]),
        {
            e.name: rng.standard_normal((rows[e.level], e.dimensions)).astype(np.float32)
            for e in schema.embeddings
        },
        rng.integers(0, AUTHORS, CANDIDATES),
    )


class Drawn:
    """A random model in a folder, and the same as torch computes it eagerly."""

    def __init__(
        self, schema: Schema, settings: HeavyRankerSettings, folder: Path, inputs: RankerInputs
    ) -> None:
        torch.manual_seed(0)
        self.schema, self.folder, self.inputs = schema, folder, inputs
        tables = table_collection(schema) if settings.tables else None
        self.eager = HeavyRanker(schema, settings, tables).eval()
        self.parameters = sum(p.numel() for p in self.eager.parameters())
        export(self.eager, schema, settings, dict.fromkeys(TASK_NAMES, (1.0, 0.0)), folder)
        logits = np.log(1 / (1 / self.read("fp32", 1).score(inputs).astype(np.float64) - 1))
        scales = 1.5 / logits.std(axis=0)
        biases = -2 - scales * logits.mean(axis=0)
        pairs = zip(scales.tolist(), biases.tolist(), strict=True)
        export(self.eager, schema, settings, dict(zip(TASK_NAMES, pairs, strict=True)), folder)

    def read(self, precision: Precision, threads: int) -> HeavyRankerModel:
        """As it is served."""
        return HeavyRankerModel.read(self.folder, self.schema, precision=precision, threads=threads)

    def plain(self) -> Callable[[], object]:
        """torch's own layers on the dense rows; no tables."""
        continuous, binary, _, vectors = self.inputs.dense()
        dense = (
            torch.from_numpy(continuous),
            torch.from_numpy(binary),
            {name: torch.from_numpy(values) for name, values in vectors.items()},
        )

        def run() -> object:
            with torch.inference_mode():
                return self.eager(*dense, None)

        return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    given, _ = parser.parse_known_args()
    threads, rounds = given.threads, 4 if given.quick else 20
    torch.set_num_threads(threads)
    rng = np.random.default_rng(9)
    with tempfile.TemporaryDirectory() as folder:
        schema = schema_of((1_117, 300, 700), (10, 9, 40), 200, 0)
        published = Drawn(schema, PUBLISHED, Path(folder), draw_inputs(schema, rng))
        figures: dict[str, Any] = {"published": _published(published, threads, rounds, rng)}
    with tempfile.TemporaryDirectory() as folder:
        schema = schema_of((120, 60, 100), (5, 5, 10), 64, 4)
        laptop = Drawn(schema, LAPTOP, Path(folder), draw_inputs(schema, rng))
        models = {precision: laptop.read(precision, threads) for precision in PRECISIONS}
        taken = _in_turns(
            {name: _scorer(model, laptop.inputs) for name, model in models.items()}, 5 * rounds
        )
        figures["laptop"] = {
            **{name: samples.figures for name, samples in taken.items()},
            "parameters": laptop.parameters,
            "target": "30 ms p50",
        }
    emit(
        "heavy_ranker_scoring",
        figures,
        candidates=CANDIDATES,
        authors=AUTHORS,
        threads=threads,
        rounds=rounds,
    )


def _published(drawn: Drawn, threads: int, rounds: int, rng: np.random.Generator) -> dict[str, Any]:
    models = {precision: drawn.read(precision, threads) for precision in PRECISIONS}
    work: dict[str, Callable[[], object]] = {
        name: _scorer(model, drawn.inputs) for name, model in models.items()
    }
    flops = 2 * drawn.parameters * CANDIDATES
    multiplications = _multiplications(threads)
    taken = _in_turns({**work, "torch_eager_fp32": drawn.plain()}, rounds)
    multiplied = _in_turns(multiplications, 5 * rounds)
    sgemm = {name: _FLOPS / min(samples.cpu_s) for name, samples in multiplied.items()}
    best_sgemm = max(sgemm.values())
    computed = flops - _spared(drawn.schema)
    least = {name: min(samples.cpu_s) for name, samples in taken.items()}
    exact = models["fp32"].score(drawn.inputs)
    labels = rng.random((100, *exact.shape)) < exact
    figures: dict[str, Any] = {}
    for name, samples in taken.items():
        figures[name] = {
            **samples.figures,
            "gflop_per_core_s": round(flops / least[name] / 1e9, 1),
            "share_of_sgemm": round(flops / least[name] / best_sgemm, 3),
            "times_less_than_torch_eager": round(least["torch_eager_fp32"] / least[name], 2),
            "times_less_than_fp32": round(least["fp32"] / least[name], 2),
        }
        if name in models:
            figures[name]["share_of_sgemm_of_what_is_computed"] = round(
                computed / least[name] / best_sgemm, 3
            )
            found = models[name].score(drawn.inputs)
            figures[name]["auc_lost"] = round(_auc(labels, exact) - _auc(labels, found), 6)
            figures[name]["largest_difference"] = float(np.abs(found - exact).max())
    return {
        "parameters": drawn.parameters,
        "plain_gflop": round(flops / 1e9, 1),
        "gflop_left_by_sharing": round(computed / 1e9, 1),
        "sgemm_gflop_per_core_s": {name: round(rate / 1e9, 1) for name, rate in sgemm.items()},
        **figures,
        "targets": {"fp32 of sgemm": 0.85, "int8 over fp32": 1.5, "auc_lost": 0.001},
    }


def _spared(schema: Schema) -> int:
    """What operations are saved as candidates share columns in the first layer of masks."""
    columns = {
        level: schema.width(level)
        + sum(e.dimensions for e in schema.embeddings if e.level == level)
        for level in Level
    }
    products = CANDIDATES * (columns[Level.VIEWER] + columns[Level.AUTHOR])
    products -= columns[Level.VIEWER] + AUTHORS * columns[Level.AUTHOR]
    return 2 * PUBLISHED.blocks * PUBLISHED.mask_width * products


_SHAPE = (CANDIDATES, 2_776, 1_024)
_FLOPS = 2 * CANDIDATES * 2_776 * 1_024


def _multiplications(threads: int) -> dict[str, Callable[[], object]]:
    """One product of the model's shape: as torch does it, and by oneDNN in as many threads."""
    n, k, m = _SHAPE
    x, weight = torch.randn(n, k), torch.randn(m, k)
    chunks = RowChunks(threads, n)
    packed = FloatLinear(weight.numpy(), None, torch.float32)
    return {
        "torch_linear": lambda: linear(x, weight),
        "onednn_packed": lambda: chunks.map(lambda rows: packed(x[rows]), n),
    }


class Taken(NamedTuple):
    """By rounds."""

    seconds: list[float]
    cpu_s: list[float]

    @property
    def figures(self) -> dict[str, float]:
        """Of the report."""
        return {**percentiles(self.seconds), "cpu_ms": round(1e3 * min(self.cpu_s), 1)}


def _in_turns(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, Taken]:
    """What every piece of work took, one of each a round."""
    taken: dict[str, Taken] = {name: Taken([], []) for name in work}
    for at in range(rounds + 1):
        for name, run in work.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            run()
            if at:
                taken[name].seconds.append(time.perf_counter() - began)
                taken[name].cpu_s.append(time.process_time() - began_cpu)
    return taken


def _scorer(model: HeavyRankerModel, inputs: RankerInputs) -> Callable[[], object]:
    return lambda: model.score(inputs)


def _auc(labels: npt.NDArray[np.bool_], probabilities: Floats) -> float:
    """The mean over tasks of the AUC, labels of shape (draws, n, tasks)."""
    return float(
        np.mean(
            [
                roc_auc_score(labels[:, :, t].ravel(), np.tile(probabilities[:, t], len(labels)))
                for t in range(probabilities.shape[1])
            ]
        )
    )


if __name__ == "__main__":
    main()
