"""From the archive to a table to learn from, each row as things stood at its instant."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.light import FEATURES, positions_in
from cluster.archive import Archive
from cluster.settings import Settings
from training.examples import Examples, of_engagements, of_impressions
from training.facts import Facts, collect, pair_keys
from training.history import History
from training.job import Progress, TrainingError, silent
from training.replay import features_as_of

Floats = npt.NDArray[np.float32]

MIN_EXAMPLES = 200
MIN_POSITIVES = 20


@dataclass(frozen=True)
class Dataset:
    """Examples with their features, in order of time."""

    source: str
    """`impressions`, or `engagements` with sampled negatives."""
    examples: Examples
    features: Floats
    """Shape (n, len(FEATURES))."""
    as_served: npt.NDArray[np.bool_]
    """Whether the features of each are those that were served; the others are replayed."""
    data_range_ms: tuple[int, int]
    """Half-open range of the times of all events read."""


def build(
    settings: Settings,
    archive: Archive,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Dataset:
    """The training table of everything archived before `until_ms`.

    Impressions are the examples where there are enough of them. Otherwise, as in historical
    data, engagements are, each with sampled posts that the viewer might have seen instead.
    Raises `TrainingError` where there are too few of both.
    """
    progress("reading", 0.0)
    history = History(archive, until_ms)
    facts = collect(history)
    source, examples = _examples(facts, settings)
    features, as_served = _served(archive, until_ms, examples)
    rows = np.flatnonzero(~as_served)
    replayed, known = features_as_of(
        settings,
        history,
        examples.viewer_ids[rows],
        examples.post_ids[rows],
        examples.times_ms[rows],
        lambda share: progress("replaying", share),
    )
    features[rows] = replayed
    could_be_shown = as_served.copy()
    could_be_shown[rows] = known
    kept = np.flatnonzero(could_be_shown)
    examples = examples.take(kept)
    _check(source, examples, facts)
    progress("replaying", 1.0)
    return Dataset(
        source,
        examples,
        features[kept],
        as_served[kept],
        (history.first_ms, history.last_ms + 1),
    )


def _examples(facts: Facts, settings: Settings) -> tuple[str, Examples]:
    most = settings.training.max_examples
    rng = np.random.default_rng(settings.training.seed)
    shown = of_impressions(facts, settings, most, rng)
    if len(shown) >= MIN_EXAMPLES and shown.labels.sum() >= MIN_POSITIVES:
        return "impressions", shown
    sampled = of_engagements(facts, settings, most, np.random.default_rng(settings.training.seed))
    if sampled.labels.sum() > shown.labels.sum():
        return "engagements", sampled
    return "impressions", shown


def _check(source: str, examples: Examples, facts: Facts) -> None:
    n, n_positive = len(examples), int(examples.labels.sum())
    found = (
        f"the archive holds {len(facts.posts.post_ids):,} posts, "
        f"{len(facts.impressions.post_ids):,} impressions and "
        f"{len(facts.engaged.post_ids):,} engagements"
    )
    if n < MIN_EXAMPLES:
        raise TrainingError(
            f"too little to learn from: {found}, which make {n:,} examples; "
            f"at least {MIN_EXAMPLES} are needed"
        )
    for what, there in (("positive", n_positive), ("negative", n - n_positive)):
        if there < MIN_POSITIVES:
            raise TrainingError(
                f"too few {what} examples: {found}, which make {n:,} examples "
                f"({source}) of which {there:,} are {what}; at least {MIN_POSITIVES} are needed"
            )


def _served(
    archive: Archive, until_ms: int | None, examples: Examples
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Features as they were served, and which examples have them."""
    features = np.zeros((len(examples), len(FEATURES)), np.float32)
    found = np.zeros(len(examples), bool)
    requests = pc.drop_null(pc.unique(examples.request_ids))
    if not len(requests):
        return features, found
    codes = pc.index_in(examples.request_ids, requests).fill_null(-1).to_numpy().astype(np.int64)
    keys = pair_keys(codes, examples.post_ids)
    order = np.argsort(keys, kind="stable")
    for table in archive.served_features(until_ms=until_ms):
        values = _values(table)
        if values is None:
            continue
        code = pc.index_in(table.column("request_id").combine_chunks(), requests)
        code = code.fill_null(-1).to_numpy().astype(np.int64)
        theirs = pair_keys(code, table.column("post_id").to_numpy())
        theirs[code < 0] = -1
        sorted_rows = np.argsort(theirs, kind="stable")
        at = positions_in(theirs[sorted_rows], keys[order])
        have = (at >= 0) & (codes[order] >= 0)
        mine, rows = order[have], sorted_rows[at[have]]
        same = table.column("viewer_id").to_numpy()[rows] == examples.viewer_ids[mine]
        features[mine[same]] = values[rows[same]]
        found[mine[same]] = True
    return features, found


def _values(table: pa.Table) -> Floats | None:
    """Served features in today's order; None where one of today's was not served."""
    stored = (table.schema.metadata or {}).get(b"names", b"").decode().split(",")
    if not set(FEATURES) <= set(stored):
        return None
    lists = table.column("features").combine_chunks()
    values = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    wanted: Floats = values[:, [stored.index(name) for name in FEATURES]].astype(np.float32)
    return wanted
