"""Training the heavy ranker: examples a second of the published size, beside the sgemm bound.

Run `python -m benchmarks.heavy_ranker_training` (`--quick` for fewer steps); prints JSON. The
whole loop of a worker is timed (Parquet, shuffling, forward, backward, Adam), one thread each,
in turn with matrix products of 2,048³: an example costs 6 FLOPs a parameter at least. Load on
the machine slows both alike, so their ratio is what counts.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.features.inputs import Embedding, Input, Level, Schema, Sort
from actors.features.tasks import TASK_NAMES
from benchmarks.report import emit
from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.example_set import ExampleSet

N_CONTINUOUS, N_BINARY, N_EMBEDDINGS, DIMENSIONS = 2_117, 59, 3, 200
N_PARAMETERS = 48_115_108
BATCH = 2_048
WARM_UP_STEPS = 1
GEMM = 2_048
REQUIRED = {"share_of_sgemm": 0.8, "two_workers_over_one": 1.6}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 step, not 4 of 3")
    arguments, _ = parser.parse_known_args()
    rounds, steps = (2, 1) if arguments.quick else (4, 3)
    settings = HeavyRankerSettings(
        features="twitter",
        mask_width=1_024,
        block_width=1_024,
        backbone=(2_048,),
        towers=(256, 128),
        tables=False,
        batch=BATCH,
        epochs=1_000,
    )
    figures: dict[str, Any] = {"required": REQUIRED}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "part-00000.parquet"
        schema = _schema()
        _write(path, schema, 4 * BATCH)
        for n_workers in (1, 2):
            figures[f"workers_{n_workers}"] = _measured(
                folder, path, schema, settings, n_workers, rounds, steps
            )
    one, two = (figures[f"workers_{n}"]["examples_per_s"] for n in (1, 2))
    figures["two_workers_over_one"] = round(two / one, 3)
    emit(
        "heavy_ranker_training",
        figures,
        parameters=N_PARAMETERS,
        batch_of_a_worker=BATCH,
        threads_of_a_worker=1,
        rounds=rounds,
        steps_of_a_round=steps,
    )


def _measured(
    folder: Path,
    path: Path,
    schema: Schema,
    settings: HeavyRankerSettings,
    n_workers: int,
    rounds: int,
    steps: int,
) -> dict[str, Any]:
    store, out = folder / f"store-{n_workers}", folder / f"measured-{n_workers}"
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=_worker,
            args=(path, schema, settings, rank, n_workers, store, out, rounds, steps),
        )
        for rank in range(n_workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a worker ended with {process.exitcode}")
    measured = [json.loads(out.with_suffix(f".{rank}").read_bytes()) for rank in range(n_workers)]
    rates = [steps * BATCH * n_workers / seconds for seconds in measured[0]["steps_s"]]
    # Each round beside the products before and after it, of all workers at the same time.
    gemms = [sum(found["gflops"][i] for found in measured) for i in range(rounds + 1)]
    bounds = [(a + b) / 2 * 1e9 / (6 * N_PARAMETERS) for a, b in pairwise(gemms)]
    shares = [rate / bound for rate, bound in zip(rates, bounds, strict=True)]
    return {
        "examples_per_s": round(statistics.median(rates), 1),
        "sgemm_gflops": round(statistics.median(gemms), 1),
        "bound_examples_per_s": round(statistics.median(bounds), 1),
        "share_of_sgemm": round(statistics.median(shares), 3),
        "rounds": {
            "examples_per_s": [round(rate, 1) for rate in rates],
            "share_of_sgemm": [round(share, 3) for share in shares],
        },
        "cpu_share": round(statistics.median(measured[0]["cpu_share"]), 3),
    }


def _worker(
    path: Path,
    schema: Schema,
    settings: HeavyRankerSettings,
    rank: int,
    n_workers: int,
    store: Path,
    out: Path,
    rounds: int,
    steps: int,
) -> None:
    """In a worker's process: rounds of steps and of products, in turn."""
    import warnings

    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import FileStore

    from training.heavy_ranker.batches import Place, ReadAhead, stream
    from training.heavy_ranker.calibration import NegativeSampling
    from training.heavy_ranker.sharded import ShardedRanker
    from training.heavy_ranker.tensors import Batch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    meeting = FileStore(str(store), n_workers)
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=n_workers)
    ranker = ShardedRanker(schema, settings, 0, 10_000, torch.device("cpu"))
    examples = ExampleSet.open([path], schema)
    found = stream(
        examples, NegativeSampling(1.0), BATCH, settings.epochs, 0, rank, n_workers, Place()
    )
    batches = ReadAhead((place, Batch.of(batch, schema)) for place, batch in found)
    trained = ranker.steps(batches, 0)
    for _ in range(WARM_UP_STEPS):
        next(trained)
    measured: dict[str, list[float]] = {"gflops": [], "steps_s": [], "cpu_share": []}
    measured["gflops"].append(_gflops())
    for _ in range(rounds):
        dist.barrier()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(steps):
            next(trained)
        dist.barrier()
        seconds = time.perf_counter() - began_s
        measured["steps_s"].append(seconds)
        measured["cpu_share"].append((time.process_time() - cpu_s) / seconds)
        measured["gflops"].append(_gflops())
    out.with_suffix(f".{rank}").write_text(json.dumps(measured))
    dist.barrier()
    batches.close()
    dist.destroy_process_group()


def _gflops(n_products: int = 20) -> float:
    """Rate of square products of one thread, as this machine gives it now."""
    import torch

    a, b = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
    out = torch.empty(GEMM, GEMM)
    torch.mm(a, b, out=out)
    began_s = time.perf_counter()
    for _ in range(n_products):
        torch.mm(a, b, out=out)
    return n_products * 2 * GEMM**3 / (time.perf_counter() - began_s) / 1e9


def _schema() -> Schema:
    inputs = [
        Input(f"c{i}", Sort.CONTINUOUS, Level.POST, "random", "a number")
        for i in range(N_CONTINUOUS)
    ]
    inputs += [Input(f"b{i}", Sort.BINARY, Level.POST, "random", "a flag") for i in range(N_BINARY)]
    vectors = [
        Embedding(f"v{i}", Level.VIEWER, DIMENSIONS, "a vector") for i in range(N_EMBEDDINGS)
    ]
    return Schema(tuple(inputs), tuple(vectors))


def _write(path: Path, schema: Schema, n: int) -> None:
    """Random examples, each label at one in ten."""
    rng = np.random.default_rng(0)
    n_tasks = len(TASK_NAMES)
    columns = {
        "continuous": _lists(rng.standard_normal((n, N_CONTINUOUS), np.float32)),
        "binary": _lists(rng.integers(0, 2, (n, N_BINARY), np.uint8)),
        "labels": _lists((rng.random((n, n_tasks)) < 0.1).astype(np.uint8)),
        "mask": _lists(np.ones((n, n_tasks), np.uint8)),
        "weight": pa.array(np.ones(n, np.float32)),
    }
    for given in schema.embeddings:
        vectors = rng.standard_normal((n, given.dimensions), np.float32)
        columns[given.name] = _lists(vectors)
    told = {"tasks": ",".join(TASK_NAMES), "schema": schema.fingerprint}
    table = pa.table(columns).replace_schema_metadata(told)
    pq.write_table(table, path, row_group_size=BATCH, compression="zstd")


def _lists(values: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


if __name__ == "__main__":
    # Before torch is imported by any worker.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
