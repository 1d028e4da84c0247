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


def test_other_models_and_those_not_trained() -> None:
    found = {"name": "tweepcred", "version": "v1", "activated": False, "seconds": 0.25}
    rows = [line.split() for line in printed({**found, "metrics": {"users": 3, "l1": 0.5}})]
    assert ["tweepcred", "v1", "(not", "activated),", "0.2", "s"] in rows
    assert ["users", "3"] in rows
    assert ["l1", "0.5000"] in rows
    [line] = printed({"name": "twhin", "version": None, "passed": "it is fresh"})
    assert line == "twhin: not trained, it is fresh"
