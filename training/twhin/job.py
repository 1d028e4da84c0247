"""The job `twhin`: from the archive to vectors, translations and indexes that are served.

The artifact holds, for each of the tables `user_follow`, `user_engagement`, `author_follow` and
`posts`, `TABLE.arrow` with `id` (ascending) and `vector`, as trained: not normalised, since the
score is an inner product. `users.hnsw` indexes `user_engagement`, `authors.hnsw` `author_follow`
and `posts.hnsw` `posts`, by cosine; labels are row numbers of those tables. An empty table has
an index without elements. `relations.safetensors` holds `translations` and `engager_centres`,
both of shape (relations, D), in the order of `relations.json`.

**A post too young for the model** is given the vector

    mean over its engagements e of  user_engagement[actor of e] − engager_centres[relation of e]

which is comparable with the trained ones by cosine: it is the direction in which training pulls
a post (`training.twhin.fresh_posts`). Subtracting the relation's translation instead fits far
worse (a cosine of 0.39 with the trained vectors of the same posts, against 0.95 here, on 2,000
simulated people), because no gradient carries a translation into a post's vector. The metrics
`formed_posts_cosine` and `formed_posts` say how well it fits in this version. To rank posts for
a user of `user_engagement`, no translation is needed: it adds the same to every post's score.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
import pyarrow as pa

from actors.vector_models import TWHIN, TWHIN_SCHEMA
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore, Draft
from cluster.settings import Settings
from training.job import Progress, Trained, TrainingError, silent
from training.twhin.edges import Edges, open_edges
from training.twhin.evaluate import Floats, Vectors, evaluate
from training.twhin.fresh_posts import engager_centres, formed_cosine
from training.twhin.prepare import prepare
from training.twhin.relations import (
    AUTHOR_FOLLOW,
    POSTS,
    RELATIONS,
    TABLES,
    USER_ENGAGEMENT,
)

HNSW_M = 16
HNSW_EF_CONSTRUCTION = 200
PARALLEL_FROM = 200_000
"""Larger indexes are built by all cores, and differ then from one build to the next."""
_INDEXES = {"users.hnsw": USER_ENGAGEMENT, "authors.hnsw": AUTHOR_FOLLOW, "posts.hnsw": POSTS}
_NOT_OF_THE_RESULT = {"workers", "checkpoint_steps", "checkpoints_kept", "max_failures"}


def train(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    *,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Learn from everything archived before `until_ms` and write a new `twhin`.

    Trains on the earlier edges and judges by later ones (`evaluation` in the metrics: relation →
    MRR and hits@k of the model, by cosine, and of popularity). The same archive, settings,
    `until_ms` and number of workers give the same vectors. Works in a private folder of the data
    directory, which a job that was cut off leaves behind, for the next one to go on from; with
    several workers on several machines all must see the data directory.

    Raises `TrainingError`, naming what is missing, where there is too little to learn from or
    another job works in the folder; nothing is written then.
    """
    twhin, seed = settings.training.twhin, settings.training.seed
    began_s = time.perf_counter()
    with _work_folder(settings, archive, until_ms) as folder:
        progress("reading edges", 0.0)
        try:
            edges = open_edges(folder / "edges")
        except FileNotFoundError:
            edges = prepare(archive, folder / "edges", twhin, seed, until_ms)
        prepared_s = time.perf_counter()
        progress("training", 0.0)
        vectors, translations, curve = _trained(folder, settings, edges, progress)
        fitted_s = time.perf_counter()
        progress("evaluating", 0.0)
        centres = engager_centres(edges, vectors)
        cosine, n_formed = formed_cosine(edges, vectors, centres)
        metrics: dict[str, Any] = {
            "evaluation": evaluate(edges, vectors, seed),
            "formed_posts_cosine": cosine,
            "formed_posts": n_formed,
            "loss": curve[-1][2],
            "nodes": edges.rows,
            "edges": edges.counts,
            "later_edges": edges.later_counts,
            "held_out_from_ms": edges.cut_ms,
        }
        judged_s = time.perf_counter()
        progress("indexing", 0.0)
        with artifacts.writing(
            TWHIN, schema_version=TWHIN_SCHEMA, metrics=metrics, data_range_ms=edges.data_range_ms
        ) as draft:
            _write_tables(draft, edges, vectors, twhin.dimensions)
            draft.write_tensors(
                "relations.safetensors",
                {"translations": translations, "engager_centres": centres},
            )
            draft.write_json("relations.json", [vars(relation) for relation in RELATIONS])
            draft.write_json("training.json", {"settings": twhin.model_dump(), "curve": curve})
        shutil.rmtree(folder)
    progress("indexing", 1.0)
    seconds = {
        "edges": prepared_s - began_s,
        "fit": fitted_s - prepared_s,
        "evaluation": judged_s - fitted_s,
        "writing": time.perf_counter() - judged_s,
    }
    return Trained(TWHIN, draft.written, metrics, seconds)


def _trained(
    folder: Path, settings: Settings, edges: Edges, progress: Progress
) -> tuple[Vectors, Floats, list[tuple[int, int, float]]]:
    """Vectors by table, translations and the curve of losses, of however many workers."""
    twhin, seed = settings.training.twhin, settings.training.seed
    if twhin.workers > 1:
        # Before torchrec: Ray reads its environment when it is imported.
        from training.twhin.workers import train_on_workers

        train_on_workers(folder, settings, twhin, seed)
    else:
        # Importing torchrec takes seconds, which only those who train should pay.
        from training.twhin.train import train_here

        train_here(folder, twhin, seed, progress)
    from training.twhin.checkpoints import Checkpoints

    checkpoints = Checkpoints(folder / "checkpoints", twhin.checkpoints_kept)
    newest = checkpoints.newest()
    if newest is None:
        raise TrainingError(f"{edges.n_edges:,} edges are too few for {twhin.workers} workers")
    rows = {table: n for table, n in edges.rows.items() if n}
    vectors, translations = checkpoints.vectors(rows, twhin.dimensions)
    return vectors, translations, newest[2]


def _write_tables(draft: Draft, edges: Edges, vectors: Vectors, dimensions: int) -> None:
    ordered = {}
    for table in TABLES:
        ids = edges.vocabulary(table)
        order = np.argsort(ids)
        found = vectors.get(table, np.empty((0, dimensions), np.float32))
        ordered[table] = np.ascontiguousarray(found[order])
        lists = pa.FixedSizeListArray.from_arrays(pa.array(ordered[table].ravel()), dimensions)
        columns = {"id": pa.array(ids[order]), "vector": lists}
        # The tables are checked to be finite, and the indexes hold nothing else.
        draft.write_table(f"{table}.arrow", pa.table(columns))
    for file, table in _INDEXES.items():
        write_index(draft.file(file), ordered[table])


def write_index(path: Path, vectors: Floats) -> None:
    """Write an HNSW index by cosine of vectors, shape (n, D), labelled 0 … n − 1."""
    n, dimensions = vectors.shape
    index = hnswlib.Index(space="cosine", dim=dimensions)
    index.init_index(
        max_elements=max(n, 1), M=HNSW_M, ef_construction=HNSW_EF_CONSTRUCTION, random_seed=100
    )
    if n:
        n_threads = 1 if n < PARALLEL_FROM else os.cpu_count() or 1
        index.add_items(vectors, np.arange(n), num_threads=n_threads)
    index.save_index(str(path))


@contextmanager
def _work_folder(settings: Settings, archive: Archive, until_ms: int | None) -> Iterator[Path]:
    """A private folder named by what the result depends on; those of other jobs are removed."""
    home = settings.data_dir / "training" / TWHIN
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = {
        "settings": settings.training.twhin.model_dump(exclude=_NOT_OF_THE_RESULT),
        "seed": settings.training.seed,
        "until_ms": until_ms,
        "archive": sorted(archive.positions().items()),
    }
    name = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    lock = os.open(home, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(f"another job trains TwHIN in {home}: wait for its end") from None
        for other in home.iterdir():
            if other.name != name:
                shutil.rmtree(other)
        folder = home / name
        folder.mkdir(mode=0o700, exist_ok=True)
        yield folder.resolve()
    finally:
        os.close(lock)
