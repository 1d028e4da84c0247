"""Embeddings of posts' media that people judged, out of the archive."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.safety import MEDIA_LABEL
from cluster.archive import Archive
from cluster.events import COLUMNS, MEDIA_DIMENSIONS
from training.trust_and_safety.reviewed import newest, people_said, written

_WRITTEN = pa.schema(
    [(name, COLUMNS[name]) for name in ("post_id", "time_ms", "kind", "media_embedding")]
)


@dataclass(frozen=True)
class ReviewedMedia:
    """What the archive teaches of media."""

    embeddings: npt.NDArray[np.float32]
    """Shape (n, `MEDIA_DIMENSIONS`)."""
    labels: npt.NDArray[np.bool_]
    """Whether people called the media adult content, (n,)."""
    range_ms: tuple[int, int]
    """Of the events used, as a half-open interval."""


def read_reviewed_media(
    archive: Archive, until_ms: int | None, unlabelled_per_labelled: int, seed: int
) -> ReviewedMedia | None:
    """Posts with an embedding that people labelled `MEDIA_LABEL`, or took that label from, and
    some that nobody labelled at all; None where nobody ever gave that label.

    As with texts (`reviewed.read_reviewed`), the newest word counts, and unlabelled posts, drawn
    by `seed`, are negative examples. Of a post's embeddings the last before the label counts.
    """
    told = people_said(archive, until_ms)
    if not len(told):
        return None
    post_ids, _, judged_ms, labels, values = newest(told)
    if MEDIA_LABEL not in labels:
        return None
    judged = values[:, labels.index(MEDIA_LABEL)]
    examined = np.flatnonzero(judged >= 0)
    n_wanted = unlabelled_per_labelled * len(examined)
    found = written(archive, until_ms, post_ids, n_wanted, seed, _WRITTEN, _has_embedding)
    ids, times_ms = found.column("post_id").to_numpy(), found.column("time_ms").to_numpy()
    at = np.minimum(np.searchsorted(post_ids, ids), len(post_ids) - 1)
    labelled = post_ids[at] == ids
    usable = np.where(labelled, (judged[at] >= 0) & (times_ms <= judged_ms[at]), True)
    order = np.lexsort((times_ms, ids))
    order = order[usable[order]]
    if not len(order):
        return None
    rows = order[np.append(ids[order][1:] != ids[order][:-1], True)]
    column = found.column("media_embedding").take(pa.array(rows)).combine_chunks()
    embeddings = column.flatten().to_numpy(zero_copy_only=False)
    judgements = np.where(labelled, judged_ms[at], times_ms)[rows]
    return ReviewedMedia(
        embeddings.reshape(-1, MEDIA_DIMENSIONS),
        labelled[rows] & (judged[at[rows]] == 1),
        (int(times_ms[rows].min()), int(max(judgements.max(), times_ms[rows].max())) + 1),
    )


def _has_embedding(batch: pa.RecordBatch) -> pa.Array:
    return pc.is_valid(batch["media_embedding"])
