from typing import Any

import pytest

from cluster.ranker_settings import HeavyRankerSettings
from training.heavy_ranker.gate import best_of, judged_tasks, verdict

SETTINGS = HeavyRankerSettings(min_judged_positives=20, auroc_tolerance=0.01, rce_tolerance=1.0)


def of(rce: float | None, auroc: float | None, positives: int = 50) -> dict[str, Any]:
    return {"rce": rce, "auroc": auroc, "positives": positives, "examples": 1_000}


FOUND = {"is_favorited": of(10.0, 0.80), "is_replied": of(4.0, 0.70), "is_reported": of(1.0, 0.60)}
LIGHT = {"is_favorited": 0.78, "is_replied": 0.70, "is_reported": 0.99}
IN_ORDER = {"served": {"is_favorited": 0.80, "is_replied": 0.70}, "light_ranker": LIGHT}
NO_PAGES: dict[str, dict[str, float]] = {"served": {}, "light_ranker": {}}
"""Of which none has both labels."""


def test_what_is_better_than_both_is_accepted() -> None:
    earlier = {**FOUND, "is_favorited": of(9.0, 0.8)}
    decided = verdict(FOUND, IN_ORDER, {"earlier": earlier}, SETTINGS)
    assert decided.accepted
    assert decided.as_metrics() == {
        "gate": "accepted",
        "gate_reason": "mean RCE 5.00 over 3 tasks; mean AUROC within pages 0.7500, of the light "
        "ranker 0.7400; mean RCE of the earlier version 4.67",
    }


def test_tasks_with_too_few_of_either_label_are_not_judged() -> None:
    rare, common = of(None, None, 19), of(None, None, 990)
    assert judged_tasks({"a": rare, "b": common, "c": of(1.0, 0.5, 20)}, 20) == ["c"]
    decided = verdict({"is_favorited": rare, "is_replied": common}, IN_ORDER, {}, SETTINGS)
    assert not decided.accepted
    assert decided.reason.startswith("nothing to judge by: no task has 20 positives")


def test_what_is_no_better_than_means_is_refused() -> None:
    decided = verdict({"is_favorited": of(-0.1, 0.9)}, NO_PAGES, {}, SETTINGS)
    assert not decided.accepted
    assert "no better than predicting means" in decided.reason


def test_what_is_not_a_number_is_refused() -> None:
    decided = verdict({"is_favorited": of(float("nan"), 0.9)}, IN_ORDER, {}, SETTINGS)
    assert decided.reason == "what is not a number was predicted for is_favorited"


@pytest.mark.parametrize(("of_light", "accepted"), [(0.759, True), (0.761, False)])
def test_the_light_ranker_may_be_a_little_better(of_light: float, accepted: bool) -> None:
    light = {"is_favorited": of_light, "is_replied": of_light, "is_reported": 0.0}
    decided = verdict(FOUND, {**IN_ORDER, "light_ranker": light}, {}, SETTINGS)
    assert decided.accepted == accepted
    assert accepted or decided.reason.startswith("worse than the light ranker")


def test_what_pages_are_ranked_by_is_judged_whatever_the_heads_are_worth() -> None:
    good_heads = dict.fromkeys(FOUND, of(5.0, 0.99))
    served = {"is_favorited": 0.70, "is_replied": 0.70}
    decided = verdict(good_heads, {**IN_ORDER, "served": served}, {}, SETTINGS)
    assert decided.reason == (
        "worse than the light ranker: mean AUROC within pages 0.7000, of the light ranker 0.7400"
    )
    poor_heads = dict.fromkeys(FOUND, of(5.0, 0.51))
    assert verdict(poor_heads, IN_ORDER, {}, SETTINGS).accepted


def test_without_a_page_of_both_labels_orders_are_not_judged() -> None:
    assert verdict(FOUND, NO_PAGES, {}, SETTINGS).reason == "mean RCE 5.00 over 3 tasks"


@pytest.mark.parametrize(("rce", "accepted"), [(5.9, True), (6.1, False)])
def test_the_earlier_version_may_be_a_little_better(rce: float, accepted: bool) -> None:
    for name in ("earlier", "reference"):
        decided = verdict(FOUND, IN_ORDER, {name: dict.fromkeys(FOUND, of(rce, 0.7))}, SETTINGS)
        assert decided.accepted == accepted
        assert accepted or decided.reason.startswith(f"worse than the {name} version")


def test_tolerances_do_not_add_up_from_version_to_version() -> None:
    """Each a little worse than the last: all of them together lose no more than one may."""
    served, reference = [10.0], 10.0
    for _ in range(20):
        rce = served[-1] - 0.9 * SETTINGS.rce_tolerance
        models = {name: {"is_favorited": of(r, 0.7)} for name, r in
                  (("reference", reference), ("earlier", served[-1]), ("new", rce))}  # fmt: skip
        new = models.pop("new")
        if verdict(new, NO_PAGES, models, SETTINGS).accepted:
            served.append(rce)
            best = best_of({**models, "new": new}, SETTINGS)
            reference = {"reference": reference, "earlier": served[-2], "new": rce}[best]
    assert served == [10.0, 9.1]


def test_the_best_version_is_the_reference_and_of_equals_the_first() -> None:
    models = {name: {"a": of(rce, 0.7)} for name, rce in (("x", 3.0), ("y", 5.0), ("z", 5.0))}
    assert best_of(models, SETTINGS) == "y"
    # Tasks of too few positives say nothing.
    models["x"]["b"] = models["y"]["b"] = of(90.0, 0.9, 5)
    assert best_of(models, SETTINGS) == "y"
    rare = {name: {"a": of(rce, 0.7, 5)} for name, rce in (("x", 3.0), ("y", 5.0))}
    assert best_of(rare, SETTINGS) == "x"
