"""Small networks for tests: archives with planted circles of friends, and hand-made edges."""

from pathlib import Path
from typing import Any

import numpy as np

from cluster.archive import Archive
from cluster.events import Kind
from cluster.settings import Settings
from cluster.training_settings import TwhinSettings
from tests.training.archives import archived_events, settings_at
from tests.worlds import Clock, Event
from training.twhin.edges import EdgeColumns, Edges
from training.twhin.prepare import prepare

START_MS = 1_699_000_000_000


def circles(n_circles: int = 4, size: int = 12, seed: int = 0) -> list[Event]:
    """Circles whose members follow and favour each other, an event a minute."""
    rng = np.random.default_rng(seed)
    clock = Clock(START_MS)
    people = np.arange(1, n_circles * size + 1)
    circle = (people - 1) // size
    events = []
    pairs = [(a, b) for a in people for b in people if a != b and circle[a - 1] == circle[b - 1]]
    for at in rng.permutation(len(pairs)):
        actor, target = map(int, pairs[at])
        if rng.random() < 0.6:
            events.append(clock.edge(Kind.FOLLOW, actor, target))
    posts = [(1_000 + 10 * int(author) + k, int(author)) for author in people for k in range(2)]
    events += [clock.post(post, author) for post, author in posts]
    liked = [
        (int(actor), post, author)
        for post, author in posts
        for actor in people[circle == circle[author - 1]]
        if actor != author
    ]
    for at in rng.permutation(len(liked)):
        actor, post, author = liked[at]
        if rng.random() < 0.6:
            kind = rng.choice([Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE])
            events.append(clock.on_post(Kind(int(kind)), actor, post, author))
    return [{**event, "time_ms": START_MS + 60_000 * i} for i, event in enumerate(events)]


def archive_of(folder: Path, events: list[Event], **twhin: Any) -> tuple[Settings, Archive]:
    """An archive of events, and settings for a model of its size."""
    given = {"dimensions": 8, "min_degree": 2, "batch": 128, "global_negatives": 10, **twhin}
    settings = settings_at(folder, twhin=given)
    return settings, archived_events(settings, events)


def prepared(folder: Path, events: list[Event], **twhin: Any) -> tuple[Edges, TwhinSettings]:
    """The edges of events, in `folder/edges`."""
    settings, archive = archive_of(folder / "world", events, **twhin)
    chosen = settings.training.twhin
    return prepare(archive, folder / "edges", chosen, 0), chosen


def columns(*edges: tuple[int, int, int]) -> EdgeColumns:
    """Edges given as (lhs, rel, rhs)."""
    lhs, rel, rhs = np.array(edges, np.int32).reshape(-1, 3).T
    return EdgeColumns(lhs, rel.astype(np.uint8), rhs)
