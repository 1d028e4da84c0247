"""What posts can score at most, before any is looked at: sums of weights by a hash of the post.

Each edge's mark, 16 bits of its post's hash, stands beside it; so the weights of all edges are
summed into buckets in one pass over memory in order. A post scores no more than its bucket, and
where only the best posts are wanted, most buckets need no second look.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from actors.stores.edge_runs import (
    CHUNK_RUN,
    CLOSED_RUN,
    RUN_AT,
    RUN_COUNT,
    RUN_FORM,
    RUN_SEGMENT,
)
from actors.stores.id_map import Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int, int64_rows, int64s, uint16s
from actors.stores.segment_row import (
    BLOCK,
    ENTRIES,
    KIND_MASK,
    MARK_SHIFT,
    MARKS,
    mark_of,
    slot_shift,
)

Float64s = npt.NDArray[np.float64]
Uint8s = npt.NDArray[np.uint8]
Uint16s = npt.NDArray[np.uint16]
Uint32s = npt.NDArray[np.uint32]

MARK_BITS = 16
EVERY_BUCKET = np.ones(1, np.uint8)
# The sums of all edges stay below 2^32: there are fewer than 2^31 edges, and weights round up.
_WHOLE = 2.0**31
# More than rounding can add to a sum of 2^31 weights, as a share of it.
_ROUNDING = 1e-6
# With fewer edges for each post that is wanted, all are looked at.
_WORTH = 4


class ScoreBounds:
    """The buckets of a query for `k` posts that reads `edges` edges with one of `weights` each.

    `sums` uint32[2^b] stand by mark >> `shift`, and are of weights multiplied by `scale`; that is
    0 where bounds are not worth their while: of few edges, or of weights that may be negative.
    """

    def __init__(self, weights: Float64s, edges: int, k: int) -> None:
        self._edges, self._enough = edges, with_slack(k)
        self.scale = _scale_of(weights, edges) if _WORTH * self._enough < edges else 0.0
        self.shift = MARK_BITS - min(MARK_BITS, max(edges - 1, 1).bit_length())
        self.sums = np.zeros(1 << MARK_BITS - self.shift if self.scale > 0.0 else 1, np.uint32)

    def floors(self, excluded: Ids, collect: Callable[[Uint8s], Float64s]) -> Iterator[float]:
        """Falling scores to look down to until enough posts pass; the last is −inf.

        Before each, `collect` was told in which buckets to look, uint8[2^b], 1 or 0, and has
        returned the scores of the posts there, −1 for what is not wanted; all posts that reach the
        yielded score are then among them. Most posts score low, so nearly always the first floor
        does: it leaves room for some that fail gates or other filters.
        """
        enough = self._enough
        while self.scale > 0.0 and _WORTH * enough < self._edges:
            # Buckets hold more than one post, and repeated edges.
            wanted = enough + enough // 2
            least = threshold(self.sums, excluded, self.shift, wanted)
            while least > 0:
                buckets = (self.sums >= least).view(np.uint8)
                floor = score_floor(collect(buckets), enough)
                # What was passed over is worth less than this.
                outside = (least - 1) / self.scale * (1.0 + _ROUNDING)
                if floor > outside:
                    yield floor
                    break
                least = int(floor * self.scale * (1.0 - _ROUNDING)) if floor > 0.0 else 0
            enough *= 4
        yield from falling_floors(collect(EVERY_BUCKET), enough)


def with_slack(k: int) -> int:
    """How many posts to look at for `k` that pass gates and filters."""
    return k + k // 8 + 32


def falling_floors(scores: Float64s, enough: int) -> Iterator[float]:
    """What `enough` scores reach, then four times as many, and so on; the last is −inf."""
    while 2 * enough < len(scores):
        yield float(score_floor(scores, enough))
        enough *= 4
    yield -np.inf


@kernel
def bucket_shift(n_buckets: Int) -> Int:
    """By how much marks are shifted to be among a power of two of buckets."""
    return np.int64(slot_shift(n_buckets)) - MARK_SHIFT


@kernel
def add_bounds(
    rows: npt.NDArray[np.int64],
    runs: npt.NDArray[np.int64],
    run_ends: Ids,
    copies: Ids,
    copied_marks: Uint16s,
    weights: Float64s,
    scale: float,
    counts: npt.NDArray[np.int64],
    shift: Int,
    sums: Uint32s,
) -> None:
    """Add ⌈weight · scale⌉ of every edge of a kind that counts to `sums`, by mark >> shift.

    `counts` int64[16] is 1 for those kinds, else 0; `runs` of seed i end at `run_ends[i]`.
    """
    amounts = np.empty(16, np.uint32)
    begin = np.int64(0)
    for seed in range(len(run_ends)):
        amount = np.int64(np.ceil(weights[seed] * scale))
        for kind in range(16):
            amounts[kind] = amount * counts[kind]
        for r in range(begin, run_ends[seed]):
            run = runs[r]
            at, count = run[RUN_AT], run[RUN_COUNT]
            row = rows[run[RUN_SEGMENT]]
            if run[RUN_FORM] == CLOSED_RUN:
                entries = int64s(row[BLOCK + ENTRIES] + 8 * at, count)
                marks = uint16s(row[BLOCK + MARKS] + 2 * at, count)
                for j in range(count):
                    sums[marks[j] >> shift] += amounts[entries[j] & KIND_MASK]
            elif run[RUN_FORM] == CHUNK_RUN:
                pool = int64_rows(row[BLOCK + ENTRIES] + 16 * (at - count + 1), count, 2)
                for j in range(count):
                    mark = (pool[j, 0] >> MARK_SHIFT) & 0xFFFF
                    sums[mark >> shift] += amounts[pool[j, 1] & KIND_MASK]
            else:
                for j in range(at, at + count):
                    sums[copied_marks[j] >> shift] += amounts[copies[1, j] & KIND_MASK]
        begin = run_ends[seed]


@kernel
def threshold(sums: Uint32s, excluded: Ids, shift: Int, enough: Int) -> Int:
    """A sum that at least `enough` buckets reach without an excluded post, and not many more.

    0 if there are too few.
    """
    theirs = np.empty(len(excluded), np.uint32)
    for i in range(len(excluded)):
        theirs[i] = sums[mark_of(excluded[i]) >> shift]
    low, high = np.int64(0), np.int64(sums.max())
    # To a thousandth of the greatest is close enough; but most are far below it.
    while high - low > 1 + (low >> 6):
        middle = (low + high + 1) >> 1 if low > 0 or high < 64 else high >> 2
        if _reaching(sums, middle) - _reaching(theirs, middle) >= enough:
            low = middle
        else:
            high = middle
    return low


@kernel
def _reaching(sums: Uint32s, least: Int) -> Int:
    limit = np.uint32(least)
    n = np.uint32(0)
    for i in range(len(sums)):
        n += np.uint32(sums[i] >= limit)
    return np.int64(n)


@kernel
def score_floor(scores: Float64s, count: Int) -> float:
    """A number that at least `count` scores reach, and not many more; −inf if there are fewer.

    A histogram over the upper 20 bits of the floats, which order as the numbers do, in steps
    of 1/256 of a score and over 16 powers of two below the greatest.
    """
    if count >= len(scores):
        return -np.inf
    bits = scores.view(np.int64)
    top = np.int64(0)
    for i in range(len(scores)):
        top = max(top, bits[i])
    top >>= 44
    histogram = np.zeros(4096, np.int64)
    for i in range(len(scores)):
        histogram[max(0, min(4095, top - (bits[i] >> 44)))] += 1
    reached = np.int64(0)
    for step in range(4095):
        reached += histogram[step]
        if reached >= count:
            floor = np.empty(1, np.int64)
            floor[0] = (top - step if top > step else 0) << 44
            return float(floor.view(np.float64)[0])
    return -np.inf


def _scale_of(weights: Float64s, edges: int) -> float:
    """By what weights are multiplied so that the sums of `edges` of them fit; 0 if none can."""
    greatest = float(weights.max(initial=0.0))
    if not (float(weights.min(initial=0.0)) >= 0.0 < greatest < np.inf):
        return 0.0
    scale = _WHOLE / (max(edges, 1) * greatest)
    return scale if np.isfinite(scale) else 0.0
