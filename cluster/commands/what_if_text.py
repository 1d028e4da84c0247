"""A what-if as text: both orders side by side, and what moved by which part of its score."""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.table import Table

_PARTS = 3
"""Differences of a post that are shown, the heaviest first."""


def print_what_if(console: Console, found: Mapping[str, Any], *, moved: int | None = None) -> None:
    """A `WhatIfAnswer`; at most so many of the `moved` posts, None for all."""
    changes = [
        f"{path} were {told['after']} (it is {told['before']})"
        for path, told in found["changed"].items()
    ]
    changes += [f"{name} were not asked" for name in found["sources_off"]]
    title = f"For You of user {found['user_id']}, if {' and '.join(changes)}"
    console.print(title, style="bold", highlight=False, soft_wrap=True, markup=False)
    if found["experiment_arms"]:
        arms = ", ".join(found["experiment_arms"])
        console.print(f"experiments: {arms}", highlight=False, soft_wrap=True, markup=False)
    before, after = found["before"], found["after"]
    table = Table("place", "as it is", "source", "as it would be", "source")
    for place, (one, other) in enumerate(zip_longest(before["items"], after["items"]), 1):
        same = one and other and one["post_id"] == other["post_id"]
        table.add_row(str(place), *_cells(one), *_cells(other), style="dim" if same else None)
    console.print(table)
    _print_moved(console, found["moved"], moved)
    for name, page in (("as it is", before), ("as it would be", after)):
        if page["degraded"]:
            console.print(f"[yellow]{name}, degraded:[/] {', '.join(page['degraded'])}")


def _print_moved(console: Console, moved: list[dict[str, Any]], most: int | None) -> None:
    if not moved:
        console.print("nothing moved")
        return
    # What was moved by a part of its own tells more than what was passed by others.
    telling = sorted(moved, key=lambda one: one["why"][0]["part"] == "others")[:most]
    table = Table("post", "from", "to", "why", title=f"{len(moved)} moved")
    for one in telling:
        table.add_row(one["post_id"], _place(one["from"]), _place(one["to"]), _why(one["why"]))
    console.print(table)


def _why(parts: list[dict[str, Any]]) -> str:
    told = [
        "only by others"
        if one["part"] == "others"
        else f"{one['part']}: {_value(one['before'])} → {_value(one['after'])}"
        for one in parts[:_PARTS]
    ]
    return "\n".join(told)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _place(place: int | None) -> str:
    return "not on it" if place is None else str(place + 1)


def _cells(item: Mapping[str, Any] | None) -> tuple[str, str]:
    return (item["post_id"], item["source"]) if item else ("", "")
