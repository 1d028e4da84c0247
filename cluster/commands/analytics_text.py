"""An author's reach as text: totals, days and top posts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table


def print_analytics(console: Console, found: Mapping[str, Any]) -> None:
    """An `AnalyticsAnswer`; days without anything are left out."""
    total = found["total"]
    since = _day(found["since_ms"])
    console.print(f"[b]user {found['user_id']} since {since}[/]", highlight=False)
    console.print(
        f"{found['followers']:,} followers (+{total['follows']:,} −{total['unfollows']:,}); on "
        f"screen {total['impressions']:,} times, for about {total['viewers']:,} viewers; in "
        f"{total['served']:,} answers",
        highlight=False,
        soft_wrap=True,
    )
    _print_shares(console, "found by", total["served_by"])
    rates = ", ".join(
        f"{kind} {count:,} ({total['rates'][kind]:.2%})"
        if kind in total["rates"]
        else f"{kind} {count:,}"
        for kind, count in total["engagements"].items()
    )
    console.print(f"engagements (of impressions): {rates or 'none'}", highlight=False)
    table = Table("day", "on screen", "viewers", "answers", "engagements", "followers")
    for day in found["by_day"]:
        gained = day["follows"] - day["unfollows"]
        counts = (day["impressions"], day["viewers"], day["served"], _sum(day["engagements"]))
        if any(counts) or day["follows"] or day["unfollows"]:
            table.add_row(_day(day["day_ms"]), *(f"{n:,}" for n in counts), f"{gained:+,}")
    if table.row_count:
        console.print(table)
    if found["top_posts"]:
        table = Table("top post", "on screen", "engagements", "most of them")
        for post in found["top_posts"]:
            kinds = sorted(post["engagements"].items(), key=lambda one: (-one[1], one[0]))[:3]
            table.add_row(
                post["post_id"],
                f"{post['impressions']:,}",
                f"{_sum(post['engagements']):,}",
                ", ".join(f"{kind} {count:,}" for kind, count in kinds),
            )
        console.print(table)
    if found["degraded"]:
        console.print(f"[yellow]degraded:[/] {', '.join(found['degraded'])}")


def _print_shares(console: Console, what: str, counts: Mapping[str, int]) -> None:
    whole = _sum(counts)
    if whole:
        named = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        told = ", ".join(f"{name} {count / whole:.0%}" for name, count in named)
        console.print(f"{what}: {told}", highlight=False, soft_wrap=True)


def _sum(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
