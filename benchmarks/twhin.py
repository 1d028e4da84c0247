"""TwHIN's training: edges a second beside bare torchrec, quality beside popularity and plain torch.

Run `python -m benchmarks.twhin` (`--quick` for a quarter of the work, `--ray` to time a start of
Ray Train's workers too); prints JSON. Both loops of a sharding run in the same processes and take
turns, 50 steps each. CPU time of an edge is steadier than edges a second where other programs
run beside.
"""

import argparse
import json
import math
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
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
    n_steps = 300 if arguments.quick else 1_000
    n_users, n_seeds = (500, 1) if arguments.quick else (2_000, 3)
    settings = TwhinSettings(batch=4_096, in_batch_negatives=10, global_negatives=0, epochs=1)
    with _folder() as folder:
        _write_random_edges(folder / "edges", n_edges, n_nodes)
        figures: dict[str, Any] = {
            "required": REQUIRED,
            "two_workers": {
                sharding: _speed(folder, settings, sharding, 2, n_steps) for sharding in SHARDINGS
            },
            "one_worker": _speed(folder, settings, "table_wise", 1, n_steps),
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


@dataclass(frozen=True)
class _Stretch:
    """Some steps of one loop."""

    edges: float
    """Positive ones, of all workers together."""
    seconds: float
    cpu_s: float
    """Of one worker, then of all; waiting, and what else the machine does, take none."""

    @property
    def rate(self) -> float:
        return self.edges / self.seconds


def _speed(
    folder: Path, settings: TwhinSettings, sharding: str, n_workers: int, n_steps: int
) -> dict[str, Any]:
    """Positive edges a second of all workers together, and their CPU: ours and bare torchrec's."""
    edges_of_steps = n_steps * settings.batch * n_workers
    epochs = math.ceil(edges_of_steps / open_edges(folder / "edges").n_edges)
    chosen = settings.model_copy(update={"sharding": sharding, "epochs": epochs})
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
    ours, bare = ([_Stretch(*some) for some in measured[name]] for name in ("ours", "bare"))
    our_cpu, bare_cpu = (
        sum(some.cpu_s for some in loop) * 1e6 / sum(some.edges for some in loop)
        for loop in (ours, bare)
    )
    return {
        "edges_per_s": round(statistics.median(some.rate for some in ours)),
        "bare_torchrec_edges_per_s": round(statistics.median(some.rate for some in bare)),
        "share_of_bare": round(
            statistics.median(a.rate / b.rate for a, b in zip(ours, bare, strict=True)), 3
        ),
        "cpu_us_an_edge": round(our_cpu, 2),
        "bare_torchrec_cpu_us_an_edge": round(bare_cpu, 2),
        "share_of_bare_by_cpu": round(bare_cpu / our_cpu, 3),
        "runs": {
            "ours": [round(some.rate) for some in ours],
            "bare": [round(some.rate) for some in bare],
        },
    }


def _measure(
    folder: Path, settings: TwhinSettings, rank: int, n_workers: int, store: Path, out: Path
) -> None:
    """In a worker's process: our whole loop, and the bare one whenever ours tells its progress.

    So ours counts with reading shards, drawing negatives and the curve; no start, no end.
    """
    import warnings

    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import FileStore

    from training.twhin.train import CURVE_STEPS, train_loop

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    meeting = FileStore(str(store), n_workers)
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=n_workers)
    edges = open_edges(folder / "edges")
    step = _bare_step(edges, settings)
    for i in range(WARM_UP_STEPS):
        step(i)
    ours: list[_Stretch] = []
    bare: list[_Stretch] = []
    began = (0.0, 0.0, 0.0)

    def now(n_trained: float) -> tuple[float, float, float]:
        return n_trained, time.perf_counter(), time.process_time()

    def since(begin: tuple[float, float, float], n_trained: float) -> _Stretch:
        stretch = [b - a for a, b in zip(begin, now(n_trained), strict=True)]
        cpu_of_all = torch.tensor(stretch[2])
        dist.all_reduce(cpu_of_all)
        return _Stretch(stretch[0], stretch[1], float(cpu_of_all))

    def progress(_: str, share: float) -> None:
        nonlocal began
        n_trained = share * edges.n_edges * settings.epochs
        # Our first steps are its warm-up; what follows the last bare ones has no end.
        if began[0]:
            ours.append(since(began, n_trained))
        dist.barrier()
        bare_began = now(0)
        for i in range(CURVE_STEPS):
            step(i)
        # As our curve does, so that neither ends before the slower worker.
        dist.barrier()
        bare.append(since(bare_began, CURVE_STEPS * settings.batch * n_workers))
        dist.barrier()
        began = now(n_trained)

    if rank == 0:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    dist.barrier()
    train_loop(folder, settings, 0, torch.device("cpu"), progress)
    if rank == 0:
        told = {"ours": [astuple(some) for some in ours]}
        told["bare"] = [astuple(some) for some in bare[: len(ours)]]
        out.write_text(json.dumps(told))
    dist.barrier()
    dist.destroy_process_group()


def _bare_step(edges: Edges, settings: TwhinSettings) -> Callable[[int], None]:
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

    return step


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
