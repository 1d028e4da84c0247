"""The report of the closed loop: one HTML page with its plots in it."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#D55E00", "#000000")
"""Okabe and Ito's, which everybody can tell apart."""
RATES = ("favourite", "reply", "repost", "follow", "click", "show_less")
"""Kinds whose rates are plotted."""

Figures = dict[str, Any]
"""What `closed_loop.run` returns; estimates are [value, low, high]."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Closed loop</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }}
table {{ border-collapse: collapse; font-size: 13px }} th {{ text-align: left }}
td, th {{ padding: .2rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }}
img {{ max-width: 100% }} tr.day td {{ border-top: 2px solid #888 }}
.wide {{ overflow-x: auto }}
</style></head><body>
{body}
</body></html>
"""


def write_report(path: Path, figures: Figures) -> None:
    """Write the page; needs matplotlib, which nothing else does."""
    parts = ["<h1>What people do with what they are shown</h1>", _about(figures)]
    for title, text, figure in (
        (
            "Utility of a session",
            "What was done in a session, weighted by what it is worth to the user; by day, with "
            "95&nbsp;% intervals of a bootstrap over users. The system serves day 1 untrained.",
            _lines(figures, "realised", "utility per session (favourites)"),
        ),
        (
            "Gain over the chronological feed",
            "Expected utility by the true model, which leaves out the luck of who did what, less "
            "that of the chronological feed in the same users' sessions.",
            _lines(figures, "expected_gain", "gain per session (favourites)", zero=True),
        ),
        (
            "Regret",
            "How much more the best feed from the same candidates would have been worth.",
            _lines(figures, "regret", "regret per session (favourites)", zero=True),
        ),
        (
            "Share of the oracle's utility",
            "The expected utility of the feed shown as a share of the best feed's.",
            _lines(figures, "oracle_share", "share of the best", zero=True),
        ),
        ("Engagements per impression", "By kind and day.", _rates(figures)),
        (
            "Where the system's posts came from",
            "The sources of the posts it served, by day.",
            _sources(figures),
        ),
    ):
        parts += [f"<h2>{title}</h2><p>{text}</p>", _image(figure, title)]
    parts += ["<h2>Gain of the system over each feed</h2>", _gains(figures)]
    parts += ["<h2>Figures</h2>", _figures_table(figures), "<h2>Learning</h2>", _learned(figures)]
    path.write_text(_PAGE.format(body="\n".join(parts)), encoding="utf-8")


def _about(figures: Figures) -> str:
    plan = figures["plan"]
    served = (
        "all of whom were served by the feed compared"
        if plan["panel"] == plan["users"]
        else f"of whom a panel of {plan['panel']:,} was served by the feed compared and the others "
        "by a chronological feed"
    )
    missing = ", ".join(f"{what} {n:,}×" for what, n in figures["system"]["missing"].items())
    return f"""
<p>{plan["users"]:,} simulated users, {served}, over {plan["days"]} days after a first one of
chronological feeds; seed {plan["seed"]}. Each feed has a society of its own. All begin alike, and
who writes, who opens a timeline and how far they scroll is drawn alike in each, so that feeds are
compared session by session. Feeds know what happened before the quarter of an hour in which they
are asked, and have {figures["system"]["pages"]:,} sessions each.</p>
<p>Utility is that of the simulated world, in favourites: a favourite is worth 1, a reply 3, a
follow 4, a mute −20, a report −60. It is not the score that the system's rankers are trained to
order by. The oracle knows every user's true chances of doing each thing and shows the posts of the
last two days that are worth most; no feed of the same candidates is worth more. Regret is measured
on {plan["judged_share"]:.0%} of the sessions. Intervals resample users; the world is given, so they
say nothing of how another society would have turned out.</p>
<p>Parts missing from the system's pages: {html.escape(missing) or "none"}.</p>"""


def _lines(figures: Figures, name: str, label: str, *, zero: bool = False) -> "Figure":
    """An estimate by day, a line for each arm."""
    figure, axes = _figure()
    n_arms = len(figures["arms"])
    for at, (arm, found) in enumerate(figures["arms"].items()):
        values, lows, highs = zip(*(day[name] for day in found["days"]), strict=True)
        # Side by side, so that intervals do not hide each other.
        days = [day + 1 + 0.06 * (at - (n_arms - 1) / 2) for day in range(len(values))]
        below = [value - low for value, low in zip(values, lows, strict=True)]
        above = [high - value for value, high in zip(values, highs, strict=True)]
        _line(axes, days, values, at, arm, [below, above])
    if zero:
        axes.axhline(0, color="#888", linewidth=0.8)
    axes.set_ylabel(label)
    _finish(axes, figures["plan"]["days"])
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _rates(figures: Figures) -> "Figure":
    """Small plots, one for each kind."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    for kind, axes in zip(RATES, figure.subplots(2, 3).ravel().tolist(), strict=True):
        for at, (arm, found) in enumerate(figures["arms"].items()):
            rates = [1_000 * day["rates"][kind] for day in found["days"]]
            _line(axes, [day + 1 for day in range(len(rates))], rates, at, arm)
        axes.set_title(f"{kind}, per thousand", fontsize=10)
        axes.set_ylim(bottom=0)
        _finish(axes, figures["plan"]["days"])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _sources(figures: Figures) -> "Figure":
    """Shares by day, stacked."""
    figure, axes = _figure()
    by_day = figures["system"]["sources"]
    names = sorted({name for day in by_day for name in day}, key=lambda n: -by_day[-1].get(n, 0))
    days = [day + 1 for day in range(len(by_day))]
    tops = [0.0] * len(days)
    for at, name in enumerate(names):
        shares = [day.get(name, 0) / max(sum(day.values()), 1) for day in by_day]
        colour, hatch = COLOURS[at % len(COLOURS)], "//" if at >= len(COLOURS) else None
        axes.bar(days, shares, bottom=tops, label=name, color=colour, hatch=hatch, width=0.7)
        tops = [top + share for top, share in zip(tops, shares, strict=True)]
    axes.set_ylabel("share of the posts served")
    _finish(axes, len(days))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _figure() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    return figure, figure.subplots()


def _line(
    axes: "Axes",
    days: Sequence[float],
    values: Sequence[float],
    at: int,
    arm: str,
    errors: Sequence[Sequence[float]] | None = None,
) -> None:
    wide = 2.5 if arm == "system" else 1.3
    axes.errorbar(
        days,
        values,
        yerr=errors,
        color=COLOURS[at % len(COLOURS)],
        label=arm,
        linewidth=wide,
        elinewidth=1,
        marker="o",
        markersize=4,
    )


def _finish(axes: "Axes", n_days: int) -> None:
    axes.set_xticks(range(1, n_days + 1))
    axes.set_xlabel("day")
    axes.spines[["top", "right"]].set_visible(False)


def _image(figure: "Figure", title: str) -> str:
    content = io.BytesIO()
    # Without the program's name and version, the same figures make the same file.
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'


def _figures_table(figures: Figures) -> str:
    head = (
        "<tr><th>day<th>feed<th>sessions<th>posts shown<th>on screen<th>utility<th>gain"
        "<th>expected<th>expected gain<th>regret<th>of oracle</tr>"
    )
    rows = []
    days: list[int | None] = [*range(figures["plan"]["days"]), None]
    for day in days:
        for place, (arm, found) in enumerate(figures["arms"].items()):
            summary = found["all"] if day is None else found["days"][day]
            cells = [
                f"{summary['sessions']:,}",
                *(f"{summary[name]:.1f}" for name in ("shown", "on_screen")),
                *(
                    "{:.2f} ({:.2f} … {:.2f})".format(*summary[name])
                    for name in ("realised", "realised_gain", "expected", "expected_gain")
                ),
                "{:.2f} ({:.2f} … {:.2f})".format(*summary["regret"]),
                f"{summary['oracle_share'][0]:.1%}",
            ]
            numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
            which = "all" if day is None else str(day + 1)
            begins = ' class="day"' if place == 0 else ""
            rows.append(f"<tr{begins}><td>{which}<td>{html.escape(arm)}</td>{numbers}</tr>")
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _gains(figures: Figures) -> str:
    """Over all days, in the same users' sessions."""
    rows = []
    for arm, gain in figures["gains"].items():
        told = ["{:+.2f} ({:+.2f} … {:+.2f})".format(*gain[of]) for of in ("realised", "expected")]
        cells = "".join(f'<td class="n">{text}</td>' for text in told)
        rows.append(f"<tr><td>{html.escape(arm)}</td>{cells}</tr>")
    return f"<table><tr><th>over<th>utility<th>expected</tr>{''.join(rows)}</table>"


def _learned(figures: Figures) -> str:
    """What the jobs at the end of each day made, and how it was judged."""
    rows = []
    for learned in figures["system"]["learned"]:
        metrics = learned["metrics"]
        auc = f"{metrics['auc']:.3f}" if isinstance(metrics.get("auc"), float) else ""
        parts = [learned["version"] or "", f"not served: {learned['passed']}"]
        what = ", ".join(part for part in parts[: 2 if learned["passed"] else 1] if part)
        rows.append(
            f"<tr><td>{learned['day']}<td>{html.escape(learned['name'])}<td>{html.escape(what)}"
            f'<td class="n">{auc}</td><td class="n">{learned["seconds"]:.1f}</td></tr>'
        )
    head = "<tr><th>after day<th>model<th>version<th>AUC<th>seconds</tr>"
    return f"<table>{head}{''.join(rows)}</table>"
