"""The closed loop on the command line: feeds compared on people who react to what they see."""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from actors.models import HEAVY_RANKER
from cluster.commands.closed_loop_report import write_report
from cluster.commands.closed_loop_system import JOBS, Learned, RankerHere, System
from cluster.events import NEGATIVE_FEEDBACK, Kind
from cluster.settings import Settings
from simulation.closed_loop import Plan, Society, run_arm, warm_up
from simulation.feeds import Chronological, Exploring, FeedPolicy, Oracle, Popular, Random
from simulation.outcomes import Bootstrap, Estimate, Outcomes, Summary

BASELINE, SYSTEM = "chronological", "system"
LIGHT = "system, light ranker"
"""Beside a system that has the heavy ranker: all the same without it."""
EXPLORED = 0.1
BASELINES: dict[str, FeedPolicy] = {
    BASELINE: Chronological(),
    "popular": Popular(),
    "popular, 10 % random": Exploring(Popular(), EXPLORED),
    "random": Random(),
    "oracle": Oracle(),
}
SESSIONS_PER_DAY = 1_200
"""Which the system serves one after the other, at 20 to 50 ms each."""
_FEEDBACK = tuple(Kind(kind).label for kind in NEGATIVE_FEEDBACK)


def run(
    settings: Settings,
    users: int,
    days: int,
    seed: int,
    report_path: Path,
    console: Console,
    *,
    sessions_per_day: int = SESSIONS_PER_DAY,
    jobs: Sequence[str] = JOBS,
    heavy: bool = False,
) -> dict[str, Any]:
    """Compare feeds over simulated days; returns the figures that stand beside the report.

    The system begins untrained and runs `jobs` at the end of each day. Where more than
    `sessions_per_day` would be served, a panel of users is; the rest has chronological feeds.
    `heavy` trains the heavy ranker too, and ranks by it; the same system without it is an arm
    of its own then. Writes an HTML page to `report_path` and the figures as JSON beside it;
    everything else is temporary.
    """
    began_s = time.perf_counter()

    def say(text: str) -> None:
        console.print(f"[dim]{time.perf_counter() - began_s:6.1f} s[/]  {text}")

    plan = Plan(users, days, seed, sessions_per_day)
    outcomes: dict[str, list[Outcomes]] = {}
    seconds: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="murmuration-closed-loop-") as folder,
        # On matrices this small, threads cost more than they bring.
        threadpool_limits(1, "blas"),
        _system(settings, Path(folder) / "system", jobs, heavy) as system,
    ):
        base = _warm(plan, system)
        panel = int(base.panel.sum())
        say(
            f"{users:,} users, of whom {panel:,} are served; {len(base.world.posts):,} posts so far"
        )

        def serve(name: str, society: Society, policy: FeedPolicy) -> None:
            started_s = time.perf_counter()
            listener = policy if isinstance(policy, System) else None
            outcomes[name] = []
            for day, found in enumerate(run_arm(society, policy, listener), 1):
                outcomes[name].append(found)
                say(f"{name}, day {day}: {found.realised.mean():.2f} favourites' worth a session")
                for learned in listener.learned if listener else []:
                    if learned.day == day:
                        say(f"  {_told(learned)}")
            seconds[name] = round(time.perf_counter() - started_s, 1)

        for name, policy in BASELINES.items():
            serve(name, base.copied(heard=False), policy)
        if heavy:
            with _system(settings, Path(folder) / "light", jobs, False) as light:
                serve(LIGHT, _warm(plan, light), light)
        serve(SYSTEM, base, system)
        figures = {
            "plan": asdict(plan) | {"panel": panel, "baseline": BASELINE},
            "arms": _summaries(outcomes, Bootstrap(users, seed)),
            "gains": _gains(outcomes, Bootstrap(users, seed)),
            "system": _figures_of(system),
            "seconds": seconds | {"page_mean": system.page_s / max(system.pages, 1)},
        }
    report_path.parent.mkdir(parents=True, exist_ok=True)
    write_report(report_path, figures)
    json_path = report_path.with_suffix(".json")
    json_path.write_text(json.dumps(figures, indent=1) + "\n")
    _print(console, figures)
    say(f"the report is {report_path}, its figures {json_path}")
    return figures


def _system(settings: Settings, folder: Path, jobs: Sequence[str], heavy: bool) -> System:
    if heavy:
        return System(settings, folder, (*jobs, HEAVY_RANKER), RankerHere)
    return System(settings, folder, jobs)


def _warm(plan: Plan, system: System) -> Society:
    """A society of its own, the same for all, of whose first day a system has heard."""
    society = Society(plan)
    warm_up(society, system)
    return society


def _summaries(outcomes: dict[str, list[Outcomes]], bootstrap: Bootstrap) -> dict[str, Any]:
    """By arm: figures of each day, and of all."""
    base = outcomes[BASELINE]
    found: dict[str, Any] = {}
    for name, of_days in outcomes.items():
        pairs = zip(of_days, base, strict=True)
        found[name] = {
            "days": [_plain(bootstrap.summary(mine, theirs)) for mine, theirs in pairs],
            "all": _plain(bootstrap.summary(Outcomes.joined(of_days), Outcomes.joined(base))),
        }
    return found


def _gains(outcomes: dict[str, list[Outcomes]], bootstrap: Bootstrap) -> dict[str, Any]:
    """By arm, what all sessions were worth more with the system than with it."""
    mine, found = Outcomes.joined(outcomes[SYSTEM]), {}
    for name, theirs in outcomes.items():
        if name != SYSTEM:
            plain = _plain(bootstrap.summary(mine, Outcomes.joined(theirs)))
            found[name] = {of: plain[f"{of}_gain"] for of in ("realised", "expected")}
    return found


def _plain(summary: Summary) -> dict[str, Any]:
    """For JSON: an estimate as [value, low, high]."""
    plain: dict[str, Any] = {}
    for field in fields(summary):
        value = getattr(summary, field.name)
        if isinstance(value, Estimate):
            value = [round(number, 6) for number in (value.value, value.low, value.high)]
        plain[field.name] = value
    return plain


def _figures_of(system: System) -> dict[str, Any]:
    return {
        "sources": [dict(sorted(counts.items())) for counts in system.sources],
        "missing": dict(sorted(system.notes.items())),
        "pages": system.pages,
        "learned": [asdict(learned) for learned in system.learned],
    }


def _told(learned: Learned) -> str:
    if learned.version is None:
        return f"{learned.name} did not learn: {learned.passed}"
    judged = [
        f"{name} {learned.metrics[name]:.3f}"
        for name in ("auc", "untrained_auc")
        if isinstance(learned.metrics.get(name), float)
    ]
    not_served = [f"not served: {learned.passed}"] if learned.passed else []
    return ", ".join([f"{learned.name} learned in {learned.seconds:.1f} s", *judged, *not_served])


def _print(console: Console, figures: dict[str, Any]) -> None:
    table = Table(
        *("day", "feed", "sessions", "utility", "95 %", "gain", "95 %", "expected"),
        *("regret", "of oracle", "favourites", "replies", "feedback"),
        title="worth of a session in favourites; engagements per thousand impressions",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    days = figures["plan"]["days"]
    for label, at in [*((str(day + 1), day) for day in range(days)), ("all", None)]:
        for name, arm in figures["arms"].items():
            summary = arm["all"] if at is None else arm["days"][at]
            table.add_row(label, name, *_cells(summary))
        table.add_section()
    console.print(table)
    for name, gain in figures["gains"].items():
        told = ("{:+.2f} ({:+.2f} … {:+.2f})".format(*gain[of]) for of in ("realised", "expected"))
        console.print("system over {}: {}, expected {}".format(name, *told))


def _cells(summary: dict[str, Any]) -> list[str]:
    def interval(estimate: list[float]) -> tuple[str, str]:
        return f"{estimate[0]:.2f}", f"{estimate[1]:.2f} … {estimate[2]:.2f}"

    rates = summary["rates"]
    feedback = sum(rates[kind] for kind in _FEEDBACK if kind in rates)
    return [
        f"{summary['sessions']:,}",
        *interval(summary["realised"]),
        *interval(summary["realised_gain"]),
        f"{summary['expected'][0]:.2f}",
        f"{summary['regret'][0]:.2f}",
        f"{summary['oracle_share'][0]:.0%}",
        *(f"{1_000 * rate:.1f}" for rate in (rates["favourite"], rates["reply"], feedback)),
    ]
