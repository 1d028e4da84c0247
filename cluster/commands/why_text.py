"""An explanation as text: from the source to the place on the page, or to what dropped it."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_TOP = 8
"""Features of the light ranker that are shown."""


def print_why(console: Console, found: Mapping[str, Any], *, features: bool = True) -> None:
    """A `WhyAnswer`; `features` are all that the light ranker read, which is long."""

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True, markup=False)

    console.print(
        f"post {found['post_id']} for user {found['user_id']}: [b]{found['verdict']}[/]",
        highlight=False,
    )
    if found.get("detail"):
        say(found["detail"])
    if not found["found"]:
        return
    say(f"found by {', '.join(found['found_by'])}{_led_by(found)}")
    if found["position"] is not None:
        say(f"shown at place {found['position'] + 1}")
    if found["dropped_by"]:
        rule = found["filters"][-1].get("rule") if found["filters"] else None
        say(f"dropped by {found['dropped_by']}{f', rule {rule}' if rule else ''}")
    ranked = [one for one in found.get("ranks", ()) if one["after"] not in (None, one["before"])]
    if ranked:
        say("rank after " + ", ".join(f"{one['stage']} {one['after'] + 1}" for one in ranked))
    if found["score"]:
        _print_score(console, found["score"])
    if features and found["features"]:
        table = Table("feature", "value")
        for name, value in found["features"].items():
            table.add_row(name, f"{value:.4g}")
        console.print(table)


def _led_by(found: Mapping[str, Any]) -> str:
    """By what that the viewer, or somebody the viewer follows, did."""
    path = found.get("path") or {}
    led = [f"by {engine}" for engine in path.get("engines", ())]
    if path.get("signal"):
        led.append(f"from {path['signal']} of {path.get('signal_id', 'the viewer')}")
    led += [f"{one['kind']} by {one['user_id']}" for one in found["proofs"]]
    return f": {', '.join(led)}" if led else ""


def _print_score(console: Console, score: Mapping[str, Any]) -> None:
    # Where the heavy ranker predicted nothing, its stage hands on the light ranker's scores.
    rankers = ("light_ranker", "heavy_ranker") if score.get("predicted") else ("light_ranker",)
    scores = [f"{name} {score[name]:.6g}" for name in rankers if name in score]
    factors = [f"{name} ×{value:.4g}" for name, value in score["factors"].items() if value != 1]
    console.print(
        f"score {', '.join([*scores, *factors])} = {score['final']:.6g}",
        highlight=False,
        soft_wrap=True,
    )
    if score.get("predicted"):
        table = Table("predicted engagement", "probability", "weight", "adds to the score")
        for one in score["predicted"]:
            table.add_row(
                one["engagement"],
                f"{one['probability']:.4f}",
                f"{one['weight']:g}",
                f"{one['adds']:+.4f}",
            )
        console.print(table)
    elif score.get("contributions"):
        table = Table("feature of the light ranker", "value", "adds to the logit")
        heaviest = sorted(score["contributions"], key=lambda one: -abs(one["adds"]))[:_TOP]
        for one in heaviest:
            table.add_row(one["feature"], f"{one['value']:.4g}", f"{one['adds']:+.4f}")
        console.print(table)
