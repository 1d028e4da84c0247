"""Posts that people labelled, out of the archive, with the texts they had then."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.safety import MEDIA_LABEL, MODEL_PREFIX
from cluster.archive import Archive
from cluster.events import COLUMNS, Kind
from cluster.ids import mix64
from training.trust_and_safety.labelled import UNKNOWN, Labelled, labelled, of_shares

Int64s = npt.NDArray[np.int64]

SOURCE = "archive"
_TOLD = ("post_id", "time_ms", "kind", "label", "value")
_WRITTEN = pa.schema(
    [(name, COLUMNS[name]) for name in ("post_id", "time_ms", "kind", "text", "language")]
)
_HELD_ROWS = 8_192
"""So many more rows than wanted may be held before they are drawn from."""


@dataclass(frozen=True)
class Reviewed:
    """What the archive teaches."""

    examples: Labelled
    range_ms: tuple[int, int]
    """Of the events used, as a half-open interval."""


def read_reviewed(
    archive: Archive, until_ms: int | None, unlabelled_per_labelled: int, seed: int
) -> Reviewed | None:
    """Labelled posts as examples, and some that nobody labelled; None where there are no labels.

    The newest event of a post and label counts: a label is positive (a value below 0.5 is the
    share of few votes, and negative), its removal negative. Labels that a model gave (see
    `MODEL_PREFIX`) teach nothing. Of what people did not label a post as, nobody knows; but
    posts that they did not label at all are mostly harmless, so as many as wanted, drawn by
    `seed`, are negative examples of every label.
    """
    told = people_said(archive, until_ms)
    # What people say of media no text can teach.
    told = told.filter(pc.not_equal(told.column("label"), MEDIA_LABEL))
    if not len(told):
        return None
    post_ids, times_ms, judged_ms, labels, values = newest(told)
    n_wanted = unlabelled_per_labelled * len(post_ids)
    found = written(archive, until_ms, post_ids, n_wanted, seed, _WRITTEN, _has_text)
    texts, languages, ids, text_ms = _as_judged(found, post_ids, judged_ms)
    if not len(texts):
        return None
    table = np.zeros((len(ids), len(labels)), np.int8)
    at = np.searchsorted(post_ids, ids)
    reviewed = post_ids[np.minimum(at, len(post_ids) - 1)] == ids
    table[reviewed] = values[at[reviewed]]
    columns = {label: table[:, i] for i, label in enumerate(labels)}
    last_ms = max(int(times_ms.max()), int(text_ms.max()))
    first_ms = min(int(times_ms.min()), int(text_ms.min()))
    return Reviewed(labelled(SOURCE, texts, columns, languages), (first_ms, last_ms + 1))


def _has_text(batch: pa.RecordBatch) -> pa.Array:
    return pc.greater(pc.fill_null(pc.binary_length(batch["text"]), 0), 0)


def people_said(archive: Archive, until_ms: int | None) -> pa.Table:
    """Labels that people gave to posts, and took from them, in order of time."""
    kinds = [Kind.SAFETY_LABEL, Kind.SAFETY_UNLABEL]
    told = archive.scan(kinds, until_ms=until_ms, columns=list(_TOLD))
    return told.filter(
        pc.and_(
            pc.greater(told.column("post_id"), 0),
            pc.invert(pc.starts_with(told.column("label"), MODEL_PREFIX)),
        )
    )


def newest(
    told: pa.Table,
) -> tuple[Int64s, Int64s, Int64s, list[str], npt.NDArray[np.int8]]:
    """Posts (ascending), all times, when each post was judged last, labels, and their values."""
    posts, times_ms = told.column("post_id").to_numpy(), told.column("time_ms").to_numpy()
    names = told.column("label").combine_chunks().dictionary_encode()
    labels = sorted(names.dictionary.to_pylist())
    order = np.array([labels.index(name) for name in names.dictionary.to_pylist()], np.int64)
    columns = order[names.indices.to_numpy()]
    shares = told.column("value").to_numpy().astype(np.float64)
    given = told.column("kind").to_numpy() == Kind.SAFETY_LABEL
    # 0 is a value that was not given.
    found = np.where(given, of_shares(np.where(shares == 0, 1.0, shares)), 0)
    ids, rows = np.unique(posts, return_inverse=True)
    values = np.full((len(ids), len(labels)), UNKNOWN, np.int8)
    judged_ms = np.zeros(len(ids), np.int64)
    # In order of time: of several assignments to one place the last stays.
    values[rows, columns] = found
    np.maximum.at(judged_ms, rows, times_ms)
    return ids, times_ms, judged_ms, labels, values


def written(
    archive: Archive,
    until_ms: int | None,
    labelled_ids: Int64s,
    n_wanted: int,
    seed: int,
    schema: pa.Schema,
    says: Callable[[pa.RecordBatch], pa.Array],
) -> pa.Table:
    """What the labelled posts with their edits say, and as many posts as wanted of the others.

    `schema` has post_id, kind and whatever else is to be read; only events for which `says` is
    true are, and `seed` decides which of the others.
    """
    kept: list[pa.RecordBatch] = []
    drawn: list[pa.RecordBatch] = []
    key = mix64(np.array([seed]))
    kinds = [Kind.POST_CREATE, Kind.POST_EDIT]
    for batch in archive.batches(kinds, until_ms=until_ms, columns=schema.names):
        batch = batch.filter(says(batch))
        mine = np.isin(batch.column("post_id").to_numpy(), labelled_ids)
        kept.append(batch.filter(pa.array(mine)))
        others = ~mine & (batch.column("kind").to_numpy() == Kind.POST_CREATE)
        drawn.append(batch.filter(pa.array(others)))
        if sum(part.num_rows for part in drawn) > 2 * n_wanted + _HELD_ROWS:
            drawn = draw(drawn, n_wanted, key)
    parts = [part.cast(schema) for part in [*kept, *draw(drawn, n_wanted, key)]]
    return pa.Table.from_batches(parts, schema).combine_chunks()


def draw(
    parts: list[pa.RecordBatch], n_wanted: int, key: npt.NDArray[np.uint64]
) -> list[pa.RecordBatch]:
    """The posts of the smallest hashes: the same ones however the batches are cut."""
    if not parts:
        return []
    table = pa.Table.from_batches(parts).combine_chunks()
    hashes = mix64(table.column("post_id").to_numpy().astype(np.uint64) ^ key)
    rows = np.sort(np.argsort(hashes, kind="stable")[:n_wanted])
    return list(table.take(pa.array(rows)).combine_chunks().to_batches())


def _as_judged(
    written: pa.Table, post_ids: Int64s, judged_ms: Int64s
) -> tuple[list[str], list[str], Int64s, Int64s]:
    """Of each post the last text up to its judgement, or its first: texts, languages, ids, times.

    An edit that names no language keeps the post's.
    """
    ids, times_ms = written.column("post_id").to_numpy(), written.column("time_ms").to_numpy()
    order = np.lexsort((times_ms, ids))
    ids, times_ms = ids[order], times_ms[order]
    at = np.searchsorted(post_ids, ids)
    known = post_ids[np.minimum(at, len(post_ids) - 1)] == ids
    limits_ms = np.full(len(ids), np.iinfo(np.int64).max)
    limits_ms[known] = judged_ms[at[known]]
    first = np.append(True, ids[1:] != ids[:-1])[: len(ids)]
    post = np.cumsum(first) - 1
    usable = first | (times_ms <= limits_ms)
    n_posts = int(post[-1]) + 1 if len(post) else 0
    chosen = np.zeros(n_posts, np.int64)
    np.maximum.at(chosen, post[usable], np.flatnonzero(usable))
    rows = order[chosen]
    told = written.column("language").to_pylist()
    firsts = order[np.flatnonzero(first)]
    languages = [
        told[i] or told[j] or "" for i, j in zip(rows.tolist(), firsts.tolist(), strict=True)
    ]
    texts = written.column("text").take(pa.array(rows)).to_pylist()
    return texts, languages, ids[chosen], times_ms[chosen]
