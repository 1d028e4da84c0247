"""A page as of a past instant, by replay in this process."""

from typing import Any

import orjson

from actors.ranker import Ranker
from cluster.artifacts import ArtifactStore
from cluster.commands.reading import Wanted
from cluster.logs import open_reader
from cluster.settings import Settings
from timeline.answers import page_json
from timeline.products import LISTS
from timeline.replay import timelines_as_of
from timeline.sources.list_posts import UNKNOWN_LIST
from timeline.timelines import Asked

_SECRET = bytes(32)
"""Cursors of a replay are good for nothing else, so they need no secret of their own."""


class UnknownList(LookupError):
    """A list that the user did not have at that instant."""


def page_as_of(settings: Settings, wanted: Wanted, instant_ms: int) -> dict[str, Any]:
    """The page as it would have been, as a `PageAnswer` with `as_of_ms`.

    Raises `UnknownList`, and what is wrong with a cursor (`timeline.cursors`).
    """
    timelines = timelines_as_of(
        settings,
        instant_ms,
        lambda: open_reader(settings),
        _SECRET,
        lambda version: loaded_ranker(settings, version),
    )
    product = LISTS if wanted.product == "list" else wanted.product.replace("-", "_")
    page = timelines.page(
        Asked(
            *(product, wanted.user_id, wanted.limit, instant_ms, wanted.cursor),
            list_id=wanted.list_id,
            with_replies=wanted.replies,
            since_ms=wanted.since_ms,
        )
    )
    if page.reason == UNKNOWN_LIST:
        raise UnknownList(f"user {wanted.user_id} had no list {wanted.list_id} then")
    found: dict[str, Any] = orjson.loads(page_json(page))
    return {**found, "as_of_ms": instant_ms}


def loaded_ranker(settings: Settings, version: str) -> Ranker:
    """One version of the heavy ranker, ready to score. Raises what is wrong with it."""
    # Brings torch along, which the other commands do without.
    from training.heavy_ranker.loaded import LoadedRankers

    rankers = LoadedRankers(ArtifactStore(settings.data_dir / "artifacts"), settings)
    rankers.load(version)
    return rankers
