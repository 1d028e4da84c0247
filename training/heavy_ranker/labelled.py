"""From the archive to labelled impressions: which, and as how many of the others each counts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.features.tasks import TASK_NAMES
from cluster.archive import Archive
from cluster.archive_catalog import start_of_date_ms
from cluster.events import Kind
from cluster.ids import Ids, id_of_string
from cluster.settings import DAY_MS
from training.facts import pair_keys
from training.heavy_ranker import actions as acts
from training.heavy_ranker import impressions
from training.heavy_ranker.actions import Posts, read_actions, read_posts
from training.heavy_ranker.labels import Bits, Labels, Shown, labels_of

LOOKBACK_MS = DAY_MS
"""How long before it came on screen a post may have been served, for that to be found."""
_FOREVER_MS = 2**62


@dataclass(frozen=True)
class Labelled:
    """Examples to learn from, in order of (time of the request, viewer, post)."""

    shown: Shown
    labels: Bits
    """Shape (n, len(TASK_NAMES)), in the order of `TASK_NAMES`."""
    known: Bits
    """0 where a label is not known."""
    weights: npt.NDArray[np.float32]
    """Of an example without any engagement 1 / the share of these that is kept; else 1."""

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, rows: npt.NDArray[np.int64]) -> "Labelled":
        """Those at given places."""
        return Labelled(
            self.shown.take(rows), self.labels[rows], self.known[rows], self.weights[rows]
        )


def labelled(
    archive: Archive,
    since_ms: int,
    until_ms: int,
    *,
    attribution_ms: int,
    negatives_kept: float = 1.0,
    max_examples: int,
    seed: int = 0,
) -> Labelled:
    """What was shown by requests served in `[since_ms, until_ms)` and can be labelled.

    Nothing after `until_ms` is known: requests whose window was not over then are left out. Of
    examples without any engagement a share is drawn; of more than `max_examples` those of some
    requests, drawn at random. Both draws depend on the example and the seed alone. Reads a
    date at a time, and holds no more than `max_examples` beside it.
    """
    posts = read_posts(archive.batches([Kind.POST_CREATE], None, until_ms, acts.COLUMNS))
    kept: list[tuple[Labelled, Ids]] = []
    for shown, labels in _dates(archive, posts, since_ms, until_ms, attribution_ms):
        part = _sampled(shown, labels, negatives_kept, seed)
        kept.append((part, _luck(part.shown, (seed, 1), of_requests=True)))
        if sum(len(luck) for _, luck in kept) > max_examples:
            kept = _of_some_requests(kept, max_examples)
    return _together([part for part, _ in kept])


def _dates(
    archive: Archive, posts: Posts, since_ms: int, until_ms: int, attribution_ms: int
) -> Iterator[tuple[Shown, Labels]]:
    """What is known of the requests of each date."""
    for date in archive.dates(impressions.KINDS):
        begin_ms = max(start_of_date_ms(date), since_ms)
        end_ms = min(start_of_date_ms(date) + DAY_MS, until_ms)
        if begin_ms >= end_ms:
            continue
        known_ms = min(end_ms + attribution_ms, until_ms)
        exposures = archive.scan(
            impressions.KINDS, begin_ms - LOOKBACK_MS, known_ms, impressions.COLUMNS
        )
        # Requests of the dates beside it may have the better claim to an engagement.
        shown = impressions.shown_of(exposures, -_FOREVER_MS, _FOREVER_MS)
        actions = read_actions(archive.batches(acts.KINDS, begin_ms, known_ms, acts.COLUMNS))
        labels = labels_of(shown, actions, posts, attribution_ms, until_ms)
        within = (shown.asked_ms >= begin_ms) & (shown.asked_ms < end_ms)
        rows = np.flatnonzero(within & labels.known.any(axis=1))
        if len(rows):
            yield shown.take(rows), labels.take(rows)


def _sampled(shown: Shown, labels: Labels, negatives_kept: float, seed: int) -> Labelled:
    """All with an engagement and a share of the others, which then stand for all of them."""
    positive: npt.NDArray[np.bool_] = labels.values.max(axis=1, initial=0) > 0
    rows = np.flatnonzero(positive | (_luck(shown, (seed, 0)) < negatives_kept * 2.0**63))
    weights = np.where(positive[rows], 1.0, 1.0 / negatives_kept).astype(np.float32)
    taken = labels.take(rows)
    return Labelled(shown.take(rows), taken.values, taken.known, weights)


def _luck(shown: Shown, seed: tuple[int, int], *, of_requests: bool = False) -> Ids:
    """A random number below 2^63 for each example, the same for all of a request if told so."""
    names = shown.request_ids.dictionary_encode()
    hashes = np.array([0, *map(id_of_string, names.dictionary.to_pylist())], np.int64)
    # Where no request is named, one is known by its viewer and time.
    codes = names.indices.fill_null(-1).to_numpy() + 1
    requests = np.where(codes > 0, hashes[codes], shown.asked_ms)
    drawn = pair_keys(pair_keys(requests, shown.viewer_ids), np.full(len(shown), seed[0]))
    drawn = pair_keys(drawn, np.full(len(shown), seed[1]))
    return drawn if of_requests else pair_keys(drawn, shown.post_ids)


def _of_some_requests(
    kept: list[tuple[Labelled, Ids]], max_examples: int
) -> list[tuple[Labelled, Ids]]:
    """Of all requests those of least luck, as many as have no more examples together."""
    luck = np.concatenate([luck for _, luck in kept])
    values, counts = np.unique(luck, return_counts=True)
    enough = np.cumsum(counts) <= max_examples
    bound = values[enough][-1] if enough.any() else -1
    fewer = []
    for part, mine in kept:
        rows = np.flatnonzero(mine <= bound)
        fewer.append((part.take(rows), mine[rows]))
    return fewer


def _together(parts: list[Labelled]) -> Labelled:
    if not parts:
        none, strings = np.empty(0, np.int64), pa.array([], pa.string())
        shown = Shown(none, none, none, none, none, strings, strings)
        bits = np.empty((0, len(TASK_NAMES)), np.uint8)
        return Labelled(shown, bits, bits, np.empty(0, np.float32))
    columns = {
        name: np.concatenate([getattr(part.shown, name) for part in parts])
        for name in ("viewer_ids", "post_ids", "author_ids", "asked_ms", "shown_ms")
    }
    strings = {
        name: pa.concat_arrays([getattr(part.shown, name) for part in parts])
        for name in ("request_ids", "sources")
    }
    return Labelled(
        Shown(**columns, **strings),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.known for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )
