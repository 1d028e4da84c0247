"""Experiments as text: who is in them, their arms, and what each arm changes."""

from collections.abc import Mapping
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_experiments(console: Console, found: Mapping[str, Any]) -> None:
    """The `experiments` of some settings, and the `arms` of `user_id` where these are there."""
    if found["experiments"]:
        table = Table("experiment", "for", "arm", "share", "changes")
        for one in found["experiments"]:
            name, whom = one["name"], _whom(one)
            for arm in one["arms"]:
                table.add_row(name, whom, arm["name"], f"{arm['percent']:g} %", _changes(arm))
                name, whom = "", ""
        console.print(table)
    else:
        console.print("no experiments: switches.experiments is empty in these settings")
    if "arms" in found:
        arms = ", ".join(found["arms"]) or "in no experiment"
        console.print(f"user {found['user_id']}: {arms}", highlight=False, soft_wrap=True)


def _whom(experiment: Mapping[str, Any]) -> str:
    cohort = experiment["cohort"]
    names = ("countries", "languages")
    told = [f"{name} {', '.join(cohort[name])}" for name in names if cohort[name]]
    if cohort["account_age_days_below"] is not None:
        told.append(f"accounts younger than {cohort['account_age_days_below']:g} days")
    if cohort["user_ids"]:
        told.append(f"{len(cohort['user_ids'])} named users")
    if experiment["layer"]:
        low, high = experiment["slots"]
        told.append(f"{low:g}–{high:g} % of layer {experiment['layer']}")
    return "; ".join(told) or "everybody"


def _changes(arm: Mapping[str, Any]) -> str:
    changes = arm["overrides"].items()
    told = "\n".join(f"{path} = {orjson.dumps(to).decode()}" for path, to in changes)
    return escape(told) or "nothing"
