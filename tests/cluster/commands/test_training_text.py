"""What became of training, as people read it."""

import io
from typing import Any

from rich.console import Console

from cluster.commands.training_text import print_trained


def figures(pr_auc: float, auc: float, precision: float) -> dict[str, Any]:
    return {
        "examples": 1_200,
        "positives": 80,
        "auc": auc,
        "pr_auc": pr_auc,
        "precision_at_recall_0.85": precision,
        "sources": {},
    }


def printed(found: dict[str, Any]) -> list[str]:
    written = io.StringIO()
    print_trained(Console(file=written, width=120), found)
    return [" ".join(line.strip("│┃ ").split("│")) for line in written.getvalue().splitlines()]


def test_the_text_models_that_were_compared_are_printed_and_which_was_chosen() -> None:
    metrics = {
        "model": "embedding",
        "texts": 1_200,
        "candidates": {
            "linear": {
                "mean_pr_auc": 0.61,
                "labels": {"toxicity": figures(0.61, 0.9, 0.4)},
            },
            "embedding": {
                "mean_pr_auc": 0.65,
                "labels": {"toxicity": figures(0.65, 0.92, 0.45)},
            },
        },
        "thresholds": {},
    }
    found = {"name": "trust_and_safety", "version": "v1", "activated": True, "seconds": 2.0}
    rows = [line.split() for line in printed({**found, "metrics": metrics})]
    assert ["trust_and_safety", "v1", "(active),", "2.0", "s"] in rows
    assert ["model", "embedding"] in rows
    assert ["linear", "mean", "of", "labels", "0.6100"] in rows
    assert ["toxicity", "1,200", "80", "0.6100", "0.9000", "0.4000"] in rows
    assert ["embedding", "(chosen)", "mean", "of", "labels", "0.6500"] in rows
    assert ["toxicity", "1,200", "80", "0.6500", "0.9200", "0.4500"] in rows


def test_the_light_ranker_stands_beside_what_it_has_to_beat() -> None:
    ordered = ("auc", "average_precision", "grouped_auc", "ndcg_at_10", "recall_at_10")
    trained = dict.fromkeys(ordered, 0.75) | {"log_loss": 0.4125, "calibration": 1.09}
    metrics = {
        **trained,
        **{f"popularity_{name}": 0.5 for name in ordered},
        **{f"in_network_{name}": 0.625 for name in trained},
        **{f"in_network_recency_{name}": 0.5 for name in ordered},
        "training_examples": 640,
    }
    found = {"name": "light_ranker", "version": "v1", "activated": True, "seconds": 1.0}
    rows = [line.split() for line in printed({**found, "metrics": metrics})]
    assert ["trained", *["0.750"] * 5, "0.412", "1.090"] in rows
    assert ["popularity", *["0.500"] * 5] in rows
    assert ["trained", *["0.625"] * 7] in rows
    assert ["recency", *["0.500"] * 5] in rows
    assert ["in-network"] in rows
    assert not any("out-of-network" in row for row in rows)
    assert ["training_examples", "640"] in rows
    assert ["auc", "0.7500"] not in rows


def test_other_models_and_those_not_trained() -> None:
    found = {"name": "tweepcred", "version": "v1", "activated": False, "seconds": 0.25}
    rows = [line.split() for line in printed({**found, "metrics": {"users": 3, "l1": 0.5}})]
    assert ["tweepcred", "v1", "(not", "activated),", "0.2", "s"] in rows
    assert ["users", "3"] in rows
    assert ["l1", "0.5000"] in rows
    [line] = printed({"name": "twhin", "version": None, "passed": "it is fresh"})
    assert line == "twhin: not trained, it is fresh"
