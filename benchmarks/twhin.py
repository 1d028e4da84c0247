"""TwHIN's training: edges a second beside bare torchrec, quality beside popularity and plain torch.

Run `python -m benchmarks.twhin` (`--quick` for a quarter of the work, `--ray` to time a start of
Ray Train's workers too); prints JSON. Both loops of a sharding run in the same two processes,
in turn, three times.
"""

import argparse
import json
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import emit
from cluster.archive import Archive, Archiver
from cluster.logs import open_writer
from cluster.routing import encode, route
from cluster.settings import load
from cluster.training_settings import TwhinSettings
from simulation.run import simulate
from training.twhin.edges import EdgeColumns, Edges, EdgeWriter, open_edges
from training.twhin.evaluate import evaluate
from training.twhin.prepare import prepare
from training.twhin.relations import RELATIONS, TABLES

SHARDINGS = ("table_wise", "row_wise", "column_wise")
SHARES = (0.3, 0.3, 0.1, 0.1, 0.05, 0.15)
"""Of each relation, in their order."""
BARE_BATCHES = 64
WARM_UP_STEPS = 20
REQUIRED = {"edges_per_s": 150_000, "share_of_bare": 0.85}

Int32s = npt.NDArray[np.int32]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 M edges instead of 4 M")
    parser.add_argument("--ray", action="store_true", help="time a start of Ray Train's workers")
    arguments, _ = parser.parse_known_args()
    n_edges, n_nodes = (1_000_000, 50_000) if arguments.quick else (4_000_000, 100_000)
    n_users, n_seeds = (500, 1) if arguments.quick else (2_000, 3)
    settings = TwhinSettings(batch=4_096, in_batch_negatives=10, global_negatives=0, epochs=1)
    with _folder() as folder:
        _write_random_edges(folder / "edges", n_edges, n_nodes)
        figures: dict[str, Any] = {
            "required": REQUIRED,
            "two_workers": {
                sharding: _speed(folder, settings, sharding, 2) for sharding in SHARDINGS
            },
            "one_worker": _speed(folder, settings, "table_wise", 1),
            "plain_loop_edges_per_s": _plain_speed(folder, settings, 100),
        }
    with _folder() as folder:
        figures["quality"] = _quality(folder, n_users, n_seeds)
        if arguments.ray:
            figures["start_and_end_s"] = _starts(folder)
    emit(
        "twhin",
        figures,
        edges=n_edges,
        nodes_of_each_table=n_nodes,
        zipf_exponent=0.75,
        dimensions=settings.dimensions,
        batch_of_a_worker=settings.batch,
        negatives_of_an_edge="10 with another left node and 10 with another right node",
        simulated_users=n_users,
        seeds=n_seeds,
    )


def _write_random_edges(folder: Path, n_edges: int, n_nodes: int) -> None:
    """Zipf edges between as many nodes in every table, in shards of a million."""
    folder.mkdir()
    rng = np.random.default_rng(7)
    writer = EdgeWriter(folder, dict.fromkeys(TABLES, n_nodes))
    weights = np.cumsum(np.arange(1, n_nodes + 1) ** -0.75)

    def nodes(n: int) -> Int32s:
        # As the job numbers them: popularity says nothing about a row.
        ranks = np.searchsorted(weights / weights[-1], rng.random(n))
        return np.asarray(order[ranks], np.int32)

    order = rng.permutation(n_nodes).astype(np.int32)
    for _ in range(n_edges // 1_000_000):
        rel = rng.choice(len(RELATIONS), 1_000_000, p=SHARES).astype(np.uint8)
        writer.shard(EdgeColumns(nodes(len(rel)), rel, nodes(len(rel))))
    ids = np.arange(1, n_nodes + 1)
    none = EdgeColumns(*(np.empty(0, np.int32), np.empty(0, np.uint8), np.empty(0, np.int32)))
    writer.finish(dict.fromkeys(TABLES, ids), none, {}, 0, (0, 1))


def _speed(folder: Path, settings: TwhinSettings, sharding: str, n_workers: int) -> dict[str, Any]:
    """Positive edges a second of all workers together, ours and bare torchrec's."""
    chosen = settings.model_copy(update={"sharding": sharding})
    store, out = folder / f"store-{sharding}-{n_workers}", folder / "measured.json"
    processes = [
        multiprocessing.get_context("spawn").Process(
            target=_measure, args=(folder, chosen, rank, n_workers, store, out)
        )
        for rank in range(n_workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a worker ended with {process.exitcode}")
    measured = json.loads(out.read_bytes())
    ours, bare = (statistics.median(measured[name]) for name in ("ours", "bare"))
    return {
        "edges_per_s": round(ours),
        "bare_torchrec_edges_per_s": round(bare),
        "share_of_bare": round(ours / bare, 3),
        "runs": {name: [round(rate) for rate in rates] for name, rates in measured.items()},
    }


def _measure(
    folder: Path, settings: TwhinSettings, rank: int, n_workers: int, store: Path, out: Path
) -> None:
    """In a worker's process: both loops, in turn."""
    import warnings

    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import FileStore

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    meeting = FileStore(str(store), n_workers)
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=n_workers)
    measured: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(3):
        measured["ours"].append(_our_rate(folder, settings))
        measured["bare"].append(_bare_rate(folder, settings))
    if rank == 0:
        out.write_text(json.dumps(measured))
    dist.barrier()
    dist.destroy_process_group()


def _our_rate(folder: Path, settings: TwhinSettings) -> float:
    """The worker's whole loop: reading shards, drawing negatives, the curve; no start, no end."""
    import torch
    import torch.distributed as dist

    from training.twhin.train import train_loop

    told: list[tuple[float, float]] = []

    def progress(_: str, share: float) -> None:
        told.append((time.perf_counter(), share))

    n_edges = open_edges(folder / "edges").n_edges
    if dist.get_rank() == 0:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    dist.barrier()
    train_loop(folder, settings, 0, torch.device("cpu"), progress)
    # The last point may already belong to the next epoch's start.
    (began_s, first), (ended_s, last) = told[0], told[-1]
    return (last - first) * n_edges / (ended_s - began_s)


def _bare_rate(folder: Path, settings: TwhinSettings) -> float:
    """Nothing but torchrec: batches made beforehand, lookups, the loss, both optimisers."""
    import torch
    import torch.distributed as dist
    from torch.nn.functional import softplus
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.model_parallel import DistributedModelParallel
    from torchrec.distributed.planner import (
        EmbeddingShardingPlanner,
        ParameterConstraints,
        Topology,
    )
    from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
    from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

    columns = settings.dimensions // 2 if settings.sharding == "column_wise" else None

    class Sharder(EmbeddingBagCollectionSharder):  # type: ignore[misc]
        def sharding_types(self, compute_device_type: str) -> list[str]:
            return [settings.sharding]

    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = EmbeddingBagCollection(
                tables=[
                    EmbeddingBagConfig(
                        name=table,
                        embedding_dim=settings.dimensions,
                        num_embeddings=edges.rows[table],
                        feature_names=[table],
                    )
                    for table in TABLES
                ],
                device=torch.device("meta"),
            )
            self.translations = torch.nn.Parameter(torch.rand(len(RELATIONS), settings.dimensions))

        def forward(self, prepared: "_Prepared") -> torch.Tensor:
            vectors = self.tables(prepared.lookups).to_dict()
            total = torch.zeros(())
            for i, (lhs, rhs, lhs_negatives, rhs_negatives) in prepared.parts.items():
                left = vectors[RELATIONS[i].lhs][lhs]
                right = vectors[RELATIONS[i].rhs][rhs] + self.translations[i]
                wrong = softplus(left @ right[rhs_negatives].T).sum()
                wrong = wrong + softplus(right @ left[lhs_negatives].T).sum()
                right_score = (left * right).sum(1)
                total = total + softplus(-right_score).sum()
                total = total + wrong / (2 * settings.in_batch_negatives)
            return total / settings.batch

    edges = open_edges(folder / "edges")
    model = Bare()
    apply_optimizer_in_backward(RowWiseAdagrad, model.tables.parameters(), {"lr": 0.03})
    sharder: Any = Sharder()
    constraint = ParameterConstraints(
        sharding_types=[settings.sharding], compute_kernels=["fused"], min_partition=columns
    )
    planner = EmbeddingShardingPlanner(
        topology=Topology(world_size=dist.get_world_size(), compute_device="cpu"),
        constraints=dict.fromkeys(TABLES, constraint),
    )
    plan = planner.collective_plan(model, [sharder], dist.group.WORLD)
    sharded = DistributedModelParallel(
        model, device=torch.device("cpu"), plan=plan, sharders=[sharder]
    )
    translations = [p for n, p in sharded.named_parameters() if n.endswith("translations")]
    optimiser = torch.optim.Adagrad(translations, lr=0.03)
    batches = _prepared(edges, settings, dist.get_rank())

    def step(i: int) -> None:
        optimiser.zero_grad()
        sharded(batches[i % BARE_BATCHES]).backward()
        optimiser.step()

    n_steps = edges.n_edges // (settings.batch * dist.get_world_size()) - WARM_UP_STEPS
    for i in range(WARM_UP_STEPS):
        step(i)
    dist.barrier()
    began_s = time.perf_counter()
    for i in range(n_steps):
        step(i)
    dist.barrier()
    seconds = time.perf_counter() - began_s
    return n_steps * settings.batch * dist.get_world_size() / seconds


@dataclass(frozen=True)
class _Prepared:
    lookups: Any
    parts: dict[int, tuple[slice, slice, Any, Any]]
    """Relation → places of left and right nodes, and negatives among them."""


def _prepared(edges: Edges, settings: TwhinSettings, rank: int) -> list[_Prepared]:
    """Batches of real edges of the same shape for every worker."""
    import torch
    from torchrec import KeyedJaggedTensor

    rng = np.random.default_rng(rank)
    shard = edges.shard(edges.shards[0][0])
    found = []
    for _ in range(BARE_BATCHES):
        rows: dict[str, list[Int32s]] = {table: [] for table in TABLES}
        parts = {}
        for i, relation in enumerate(RELATIONS):
            n = int(settings.batch * SHARES[i])
            some = shard.take(rng.choice(np.flatnonzero(shard.rel == i), n))
            places = []
            for table, nodes in ((relation.lhs, some.lhs), (relation.rhs, some.rhs)):
                begin = sum(map(len, rows[table]))
                rows[table].append(nodes)
                places.append(slice(begin, begin + n))
            negatives = [
                torch.from_numpy(rng.choice(n, settings.in_batch_negatives)) for _ in range(2)
            ]
            parts[i] = (places[0], places[1], negatives[0], negatives[1])
        counts = torch.tensor([sum(map(len, rows[table])) for table in TABLES])
        stride = int(counts.max())
        values = np.concatenate([part for table in TABLES for part in rows[table]])
        lookups = KeyedJaggedTensor(
            keys=list(TABLES),
            values=torch.from_numpy(values.astype(np.int64)),
            lengths=(torch.arange(stride) < counts[:, None]).to(torch.int32).ravel(),
            stride=stride,
        )
        found.append(_Prepared(lookups, parts))
    return found


def _plain_speed(folder: Path, settings: TwhinSettings, n_steps: int) -> int:
    """The same model in plain PyTorch, one process and one thread."""
    import torch

    from training.twhin.batches import Place, stream
    from training.twhin.plain import PlainTwhin

    torch.set_num_threads(1)
    edges = open_edges(folder / "edges")
    model = PlainTwhin(edges.rows, settings, 0)
    batches = stream(edges, settings, 0, 0, 1, Place())
    for _, (_, batch) in zip(range(WARM_UP_STEPS), batches, strict=False):
        model.step(batch)
    began_s, n_edges = time.perf_counter(), 0
    for _, (_, batch) in zip(range(n_steps), batches, strict=False):
        model.step(batch)
        n_edges += batch.n_edges
    return round(n_edges / (time.perf_counter() - began_s))


def _quality(folder: Path, n_users: int, n_seeds: int) -> dict[str, Any]:
    """MRR and hits@10 on later edges of a simulated society: mean over seeds, and spread."""
    from training.twhin.checkpoints import Checkpoints
    from training.twhin.plain import train_plain
    from training.twhin.train import train_here

    settings = load(data_dir=folder / "world")
    twhin = settings.training.twhin
    with open_writer(settings) as log:
        for batch in simulate(n_users, 3, 1):
            lanes = route(batch, settings.log.lanes)
            log.append({lane: encode(rows, imported=True) for lane, rows in lanes.items()})
        archiver = Archiver(log, settings.archive_root, range(settings.log.lanes))
        while archiver.step():
            pass
    edges = prepare(Archive(settings.archive_root), folder / "edges", twhin, 0)
    runs: dict[str, list[dict[str, dict[str, float]]]] = {"sharded": [], "plain": []}
    for seed in range(n_seeds):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        train_here(folder, twhin, seed)
        found, _ = Checkpoints(folder / "checkpoints", 1).vectors(edges.rows, twhin.dimensions)
        runs["sharded"].append(evaluate(edges, found, 0))
        found, _ = train_plain(edges, twhin, seed)
        runs["plain"].append(evaluate(edges, found, 0))
    told: dict[str, Any] = {"edges": edges.counts, "later_edges": edges.later_counts}
    for relation, first in runs["sharded"][0].items():
        told[relation] = {"edges": first["edges"]}
        for metric in ("mrr", "hits_at_10"):
            rows = {loop: [run[relation][metric] for run in some] for loop, some in runs.items()}
            told[relation][metric] = {
                **{loop: _mean_and_spread(values) for loop, values in rows.items()},
                "popularity": round(first[f"popularity_{metric}"], 4),
            }
    return told


def _mean_and_spread(values: list[float]) -> list[float]:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return [round(statistics.mean(values), 4), round(spread, 4)]


def _starts(folder: Path) -> dict[str, float]:
    """Seconds of a whole run of one epoch, start and end included, of each way to run it."""
    from training.twhin.train import train_here
    from training.twhin.workers import train_on_workers

    settings = load(data_dir=folder / "world")
    told = {}
    ways: dict[str, tuple[int, Callable[[TwhinSettings], None]]] = {
        "in_process_1_worker": (1, lambda chosen: train_here(folder, chosen, 0)),
        "ray_train_1_worker": (1, lambda chosen: train_on_workers(folder, settings, chosen, 0)),
        "ray_train_2_workers": (2, lambda chosen: train_on_workers(folder, settings, chosen, 0)),
    }
    for name, (n_workers, run) in ways.items():
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        update = {"epochs": 1, "workers": n_workers}
        began_s = time.perf_counter()
        run(settings.training.twhin.model_copy(update=update))
        told[name] = round(time.perf_counter() - began_s, 1)
    return told


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


if __name__ == "__main__":
    main()
