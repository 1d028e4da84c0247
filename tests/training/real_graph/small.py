"""Interactions of small worlds, written as a client would send them."""

from typing import Any

from cluster.events import Kind
from tests.worlds import Event, checked
from training.real_graph.interactions import Feature, Interactions
from training.real_graph.reading import collect

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000


class Diary:
    """Events at (day, minute) after the start, each with an id of its own."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, kind: Kind, day: float, **given: Any) -> None:
        at_ms = START_MS + round(day * DAY_MS)
        event_id = len(self.events) + 1
        self.events.append({"kind": kind.label, "event_id": event_id, "time_ms": at_ms, **given})

    def post(self, post_id: int, author_id: int, day: float = 0.0, **given: Any) -> None:
        self.add(Kind.POST_CREATE, day, post_id=post_id, author_id=author_id, **given)

    def did(self, kind: Kind, day: float, actor: int, author: int, post: int = 7, **g: Any) -> None:
        self.add(kind, day, actor_id=actor, author_id=author, post_id=post, **g)

    def edge(self, kind: Kind, day: float, actor: int, target: int) -> None:
        self.add(kind, day, actor_id=actor, target_id=target)

    def user(self, kind: Kind, day: float, actor: int) -> None:
        self.add(kind, day, actor_id=actor)

    def collected(self) -> Interactions:
        return collect([checked(sorted(self.events, key=lambda e: e["time_ms"]))])


def told(found: Interactions) -> list[tuple[int, int, Feature, float]]:
    """(source, destination, feature, day) of each interaction, posts left out."""
    rows = zip(
        found.user_ids[found.sources].tolist(),
        found.user_ids[found.destinations].tolist(),
        [Feature(f) for f in found.features.tolist()],
        ((found.times_ms - START_MS) / DAY_MS).tolist(),
        strict=True,
    )
    return sorted(row for row in rows if row[2] != Feature.NUM_CREATE_TWEETS)


def key(found: Interactions, source_id: int, destination_id: int) -> int:
    users = found.user_ids.tolist()
    return users.index(source_id) * len(users) + users.index(destination_id)


def named(found: Interactions, keys: Any) -> list[tuple[int, int]]:
    users, n = found.user_ids.tolist(), len(found.user_ids)
    return [(users[k // n], users[k % n]) for k in keys.tolist()]
