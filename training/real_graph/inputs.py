"""What the model is told about a pair: the published inputs, and the rollup beside them."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from training.real_graph.candidates import NEW_POSTS_DAYS, days_of_interaction, values_of
from training.real_graph.instant import (
    CREATED,
    FEATURES,
    FOLLOWS,
    N_COLUMNS,
    PASSIVE,
    Instant,
)
from training.real_graph.interactions import Feature
from training.real_graph.labels import EXPLICIT
from training.real_graph.rollup import LONGEST_DAYS, Rolled

Inputs = npt.NDArray[np.float32]
InputSet = Literal["published", "all"]

_DAYS_OF = {
    "num_follows": Feature.NUM_FOLLOWS,
    "num_favorites": Feature.NUM_FAVORITES,
    "num_tweet_clicks": Feature.NUM_TWEET_CLICKS,
    "num_profile_views": Feature.NUM_PROFILE_VIEWS,
}
PUBLISHED = (
    *("num_days", "num_tweets", *_DAYS_OF),
    *("days_since_last_interaction", "label_types"),
)
"""The original also passes both raw user ids, from which trees learn who is popular by heart:
those are dropped."""
_EDGE_COLUMNS = tuple(c for c in range(len(FEATURES)) if c not in (CREATED, FOLLOWS))
_EXPLICIT_COLUMNS = tuple(FEATURES.index(feature) for feature in EXPLICIT)
ROLLED = (
    *(f"{FEATURES[column].name.lower()}_ewma" for column in _EDGE_COLUMNS),
    *("edge_ewma", "edge_elapsed_days", "edge_non_zero_days", "edge_days_since_last"),
    *("returned_ewma", "followed", "followed_back", "followed_for_days"),
    *("source_explicit_ewma", "source_implicit_ewma", "source_shown_ewma", "source_posts_ewma"),
    *("destination_explicit_ewma", "destination_implicit_ewma"),
    *("destination_shown_ewma", "destination_posts_ewma"),
)


def names_of(chosen: InputSet) -> tuple[str, ...]:
    """The inputs by column."""
    return PUBLISHED if chosen == "published" else (*PUBLISHED, *ROLLED)


def inputs_of(
    pairs: Ids, instant: Instant, window_days: int, decay: float, chosen: InputSet
) -> Inputs:
    """The inputs of pairs (keys, ascending), float32 of shape (n, inputs)."""
    columns = _published(pairs, instant, window_days)
    if chosen == "all":
        columns |= _rolled(pairs, instant, decay)
    names = names_of(chosen)
    inputs = np.empty((len(pairs), len(names)), np.float32)
    for i, name in enumerate(names):
        inputs[:, i] = columns[name]
    return inputs


def _published(
    pairs: Ids, instant: Instant, window_days: int
) -> dict[str, npt.NDArray[np.float64]]:
    days = instant.label_days
    recent = np.flatnonzero(days.days > instant.today - window_days)
    series, n_days = np.unique(days.series[recent], return_counts=True)
    of_pairs, of_columns = series // N_COLUMNS, series % N_COLUMNS
    columns = {
        "num_days": values_of(pairs, *days_of_interaction(instant, window_days)),
        "num_tweets": instant.created_since(NEW_POSTS_DAYS)[pairs % instant.n_users].astype(float),
        "label_types": values_of(pairs, *np.unique(of_pairs, return_counts=True)),
    }
    for name, feature in _DAYS_OF.items():
        rows = of_columns == FEATURES.index(feature)
        columns[name] = values_of(pairs, of_pairs[rows], n_days[rows])
    interacted, ago = _of_each(days.series[recent] // N_COLUMNS, instant.today - days.days[recent])
    # The default stands for pairs without one in the window.
    since = values_of(pairs, interacted, ago - window_days) + window_days
    columns["days_since_last_interaction"] = since
    return columns


def _rolled(pairs: Ids, instant: Instant, decay: float) -> dict[str, npt.NDArray[np.float64]]:
    n = instant.n_users
    sources, destinations = pairs // n, pairs % n
    edges = instant.roll_up_edges(decay)
    of_edges, of_columns = edges.series // N_COLUMNS, edges.series % N_COLUMNS
    columns = {}
    for column in _EDGE_COLUMNS:
        rows = of_columns == column
        name = f"{FEATURES[column].name.lower()}_ewma"
        columns[name] = values_of(pairs, of_edges[rows], edges.ewmas[rows])
    active = ~np.isin(of_columns, PASSIVE)
    edges, of_edges = edges.where(active), of_edges[active]
    known, totals = _of_each(of_edges, edges.ewmas, np.add)
    columns["edge_ewma"] = values_of(pairs, known, totals)
    columns["returned_ewma"] = values_of(destinations * n + sources, known, totals)
    for name, values in (
        ("edge_elapsed_days", edges.elapsed_days),
        ("edge_non_zero_days", edges.non_zero_days),
    ):
        columns[name] = values_of(pairs, *_of_each(of_edges, values, np.maximum))
    never = LONGEST_DAYS + 1
    last = _of_each(of_edges, edges.days_since_last - never)
    columns["edge_days_since_last"] = values_of(pairs, *last) + never
    ages = (instant.at_ms - instant.followed_ms) / instant.day_ms
    columns["followed"] = np.isin(pairs, instant.follows).astype(float)
    columns["followed_back"] = np.isin(destinations * n + sources, instant.follows).astype(float)
    columns["followed_for_days"] = values_of(pairs, instant.follows, ages)
    return columns | _of_vertices(sources, destinations, instant, decay)


def _of_vertices(
    sources: Ids, destinations: Ids, instant: Instant, decay: float
) -> dict[str, npt.NDArray[np.float64]]:
    """How much a source does of late, and how much is done to a destination."""
    rolled: Rolled = instant.roll_up_vertices(decay)
    users, of_columns = rolled.series // (2 * N_COLUMNS), rolled.series % N_COLUMNS
    outgoing = rolled.series // N_COLUMNS % 2 == 1
    created = of_columns == CREATED
    shown = np.isin(of_columns, PASSIVE)
    explicit = np.isin(of_columns, _EXPLICIT_COLUMNS)
    kinds = {"explicit": explicit, "implicit": ~(explicit | shown | created), "shown": shown}
    columns = {}
    for side, wanted, of_side in (
        ("source", sources, outgoing),
        ("destination", destinations, ~outgoing),
    ):
        rows_of_kinds = {kind: mask & of_side for kind, mask in kinds.items()}
        for kind, mask in (rows_of_kinds | {"posts": created}).items():
            sums = np.bincount(users[mask], rolled.ewmas[mask], minlength=instant.n_users)
            columns[f"{side}_{kind}_ewma"] = sums[wanted].astype(np.float64)
    return columns


def _of_each(
    keys: Ids, values: npt.NDArray[Any], combined: np.ufunc = np.minimum
) -> tuple[Ids, npt.NDArray[Any]]:
    """Each of the keys (ascending, repeated) once, with its values combined."""
    if not len(keys):
        return keys, values
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[first], combined.reduceat(values, first)
