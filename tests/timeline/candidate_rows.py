"""Candidates and queries made by hand, for the tests of filters, scores and mixing."""

from dataclasses import replace
from typing import Any

import numpy as np

from actors.features.light import FEATURES
from actors.graph import ViewerContext
from actors.router import LocalRouter
from cluster.settings import Settings
from timeline.candidates import NONE, Candidates
from timeline.query import Query

NOW_MS = 1_700_000_000_000
VIEWER = 1


def context(**given: Any) -> ViewerContext:
    """A viewer known to nobody, but for what is given."""
    nothing = np.empty(0, np.int64)
    names = (
        "follows",
        "blocks",
        "blocked_by",
        "mutes",
        "seen_ids",
        "seen_author_ids",
        "served_ids",
    )
    names += ("hidden_post_ids", "hidden_author_ids", "affine_ids")
    columns = {name: np.array(given.get(name, nothing), np.int64) for name in names}
    affinities = np.array(given.get("affinities", []), np.float32)
    return ViewerContext(True, False, "", affinities=affinities, **columns)


def query(settings: Settings | None = None, limit: int = 10, **given: Any) -> Query:
    asked = Query(VIEWER, NOW_MS, limit, "request", settings or Settings(), LocalRouter([]))
    return replace(asked, context=context(**given))


def rows(*posts: dict[str, Any]) -> Candidates:
    """Candidates of which each dictionary says what differs from a plain new post.

    Feature names set features; `linked` sets the linked authors.
    """
    blank = {
        name: np.zeros((len(posts), *column.shape[1:]), column.dtype)
        for name, column in vars(NONE).items()
    }
    blank["post_ids"] += np.arange(100, 100 + len(posts))
    blank["author_ids"] += np.arange(50, 50 + len(posts))
    blank["created_ms"] += NOW_MS - 1_000
    for row, post in enumerate(posts):
        for name, value in post.items():
            if name == "linked":
                blank["linked_author_ids"][row, : len(value)] = value
            elif name in FEATURES:
                blank["features"][row, FEATURES.index(name)] = value
            else:
                blank[name][row] = value
    return Candidates(**blank)
