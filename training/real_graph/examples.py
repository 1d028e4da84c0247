"""Pairs at one instant with what was known of them, and whether they interacted next."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from cluster.settings import DAY_MS
from cluster.training_settings import RealGraphSettings
from training.job import TrainingError
from training.real_graph.candidates import candidates
from training.real_graph.inputs import Inputs, inputs_of
from training.real_graph.instant import Instant, known_at
from training.real_graph.interactions import Feature, Interactions
from training.real_graph.labels import IS_LABEL, labelled

MIN_LABELLED = 20
"""Positive pairs, and negative ones, without which there is nothing to learn or to judge by."""
ENOUGH_LABELLED = 100
"""As many make a day long enough."""
SPANS = 8
"""Data of fewer days than this are cut into this many."""
LONGER_DAYS = (7.0, 30.0, 90.0, 365.0)


@dataclass(frozen=True)
class Examples:
    """Candidate pairs of an instant, ascending by (source, destination); (n,)."""

    instant: Instant
    pairs: Ids
    inputs: Inputs
    labels: npt.NDArray[np.bool_]

    @property
    def sources(self) -> Ids:
        """Places of users in `Interactions.user_ids`."""
        return self.pairs // self.instant.n_users

    @property
    def destinations(self) -> Ids:
        """Places of users in `Interactions.user_ids`."""
        return self.pairs % self.instant.n_users


def examples_before(
    interactions: Interactions, at_ms: int, day_ms: int, settings: RealGraphSettings
) -> Examples:
    """Candidates at `at_ms` with the inputs known then, labelled by the day that follows."""
    instant = known_at(interactions, at_ms, day_ms)
    pairs = candidates(instant, settings.window_days, settings.candidates_per_source)
    inputs = inputs_of(pairs, instant, settings.window_days, settings.decay, settings.inputs)
    labels = labelled(interactions, pairs, at_ms, at_ms + day_ms, settings.label)
    return Examples(instant, pairs, inputs, labels)


def choose_day_ms(interactions: Interactions, now_ms: int, settings: RealGraphSettings) -> int:
    """How long a day lasts: as set, or what the data allow.

    By itself: 24 hours, or an eighth of the time since the first interaction where that is
    less; or else the shortest of 7, 30, 90 and 365 days whose last two have a hundred
    candidate pairs each that interacted, or the one that has most. Historical data, of a few
    hundred users over years, need it.

    Raises `TrainingError` where a day of the set length, or of every length, has fewer than 20.
    """
    happened_ms = interactions.times_ms[
        IS_LABEL[interactions.features] & (interactions.features != Feature.NUM_FOLLOWS)
    ]
    happened_ms = happened_ms[happened_ms < now_ms]
    if not len(happened_ms):
        raise TrainingError(
            f"no user did anything to another's posts before {now_ms} ms: Real Graph learns "
            "from favourites, reposts, replies, clicks and the like"
        )
    span_ms = now_ms - int(happened_ms.min())
    if settings.day_length:
        lengths_ms = [round(settings.day_length * DAY_MS)]
    else:
        lengths_ms = [max(1, min(DAY_MS, span_ms // SPANS))]
        lengths_ms += [round(days * DAY_MS) for days in LONGER_DAYS if days * DAY_MS * 3 <= span_ms]
    most = -1
    for length_ms in lengths_ms:
        learnt, judged = (
            _count(interactions, now_ms - k * length_ms, length_ms, settings) for k in (2, 1)
        )
        if min(*learnt, *judged) > most:
            most, day_ms, counts = min(*learnt, *judged), length_ms, (learnt, judged)
        if most >= ENOUGH_LABELLED:
            break
    if most < MIN_LABELLED:
        (positives, negatives), (later_positives, later_negatives) = counts
        raise TrainingError(
            f"of the candidate pairs {positives:,} interacted and {negatives:,} did not on the "
            f"day to learn from, and {later_positives:,} and {later_negatives:,} on the day to "
            f"judge by, where a day is {day_ms / DAY_MS:g} × 24 h; at least {MIN_LABELLED} of each "
            "are needed: bring in more events, or set training.real_graph.day_length"
        )
    return day_ms


def _count(
    interactions: Interactions, at_ms: int, day_ms: int, settings: RealGraphSettings
) -> tuple[int, int]:
    """Candidates that interacted on the day after an instant, and that did not."""
    instant = known_at(interactions, at_ms, day_ms)
    pairs = candidates(instant, settings.window_days, settings.candidates_per_source)
    n = int(labelled(interactions, pairs, at_ms, at_ms + day_ms, settings.label).sum())
    return n, len(pairs) - n
