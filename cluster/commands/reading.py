"""The commands that read: timelines and explanations, over HTTP or from a replay."""

import time
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from actors.ranker import Ranker
from cluster.artifacts import ArtifactStore
from cluster.commands.http import HttpService
from cluster.logs import open_reader
from cluster.settings import Settings
from timeline.answers import page_json
from timeline.replay import timelines_as_of

_REPLAY_SECRET = bytes(32)
"""Cursors of a replay are good for nothing else, so they need no secret of their own."""


def timeline_over_http(
    settings: Settings, user_id: int, product: str, limit: int
) -> dict[str, Any]:
    """A page from the running system."""
    return HttpService(settings, "read").get(f"/v1/timelines/{product}/{user_id}", limit=limit)


def timeline_as_of(
    settings: Settings, user_id: int, product: str, limit: int, instant_ms: int
) -> dict[str, Any]:
    """A page as it would have been at a past instant, by replay in this process."""
    timelines = timelines_as_of(
        settings,
        instant_ms,
        lambda: open_reader(settings),
        _REPLAY_SECRET,
        lambda version: loaded_ranker(settings, version),
    )
    make = timelines.following if product == "following" else timelines.for_you
    page = make(user_id, limit, now_ms=instant_ms)
    found: dict[str, Any] = orjson.loads(page_json(page))
    return {**found, "as_of_ms": instant_ms}


def loaded_ranker(settings: Settings, version: str) -> Ranker:
    """One version of the heavy ranker, ready to score. Raises what is wrong with it."""
    # Brings torch along, which the other commands do without.
    from training.heavy_ranker.loaded import LoadedRankers

    rankers = LoadedRankers(ArtifactStore(settings.data_dir / "artifacts"), settings)
    rankers.load(version)
    return rankers


def why_over_http(
    settings: Settings, user_id: int, post_id: int, request_id: str | None
) -> dict[str, Any]:
    """Why a post is, or is not, in a user's For You."""
    service = HttpService(settings, "read")
    path = f"/v1/timelines/for-you/{user_id}/why/{post_id}"
    return service.get(path, request_id=request_id)


def print_timeline(console: Console, page: dict[str, Any]) -> None:
    """A page as a list: a line for each post, and one for why it is there."""
    console.print(f"[b]{_title(page)}[/]")
    now_ms = page.get("as_of_ms", time.time_ns() // 1_000_000)
    for place, item in enumerate(page["items"], 1):
        name = item.get("uri") or f"post {item['post_id']}"
        age = _age(now_ms - item["created_ms"])
        line = f"{place:3d}. {name} by {item['author_id']}, {age} old"
        console.print(f"{line}  [dim]{item['score']:.3f} {item['source']}[/]", soft_wrap=True)
        reasons = "; ".join(reason["text"] for reason in item["reasons"])
        console.print(f"     {reasons}", soft_wrap=True, highlight=False)
    if page["degraded"]:
        console.print(f"[yellow]degraded:[/] {', '.join(page['degraded'])}")
    total = page["timings_ms"].get("total")
    console.print(f"request {page['request_id']}, {total:.1f} ms, model {page['model_version']}")


def print_why(console: Console, found: dict[str, Any]) -> None:
    """An explanation, from the source to the place on the page."""
    console.print(f"post {found['post_id']} for user {found['user_id']}: [b]{found['verdict']}[/]")
    if found.get("detail"):
        console.print(found["detail"])
    if found["found_by"]:
        console.print(f"found by {', '.join(found['found_by'])}")
    if found["position"] is not None:
        console.print(f"shown at place {found['position'] + 1}")
    if found["dropped_by"]:
        console.print(f"dropped by {found['dropped_by']}")
    if found["score"]:
        predicted = found["score"].get("predicted", [])
        console.print("score", {k: v for k, v in found["score"].items() if k != "predicted"})
        if predicted:
            table = Table("predicted engagement", "probability", "adds to the score")
            for one in predicted:
                table.add_row(one["engagement"], f"{one['probability']:.4f}", f"{one['adds']:+.4f}")
            console.print(table)
    if found["features"]:
        table = Table("feature", "value")
        for name, value in found["features"].items():
            table.add_row(name, f"{value:.4g}")
        console.print(table)


def _title(page: dict[str, Any]) -> str:
    reason = f" ({page['reason']})" if page["reason"] else ""
    return f"{page['product']} of user {page['user_id']}{reason}"


def _age(age_ms: int) -> str:
    minutes = max(age_ms, 0) / 60_000
    if minutes < 90:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} d"
