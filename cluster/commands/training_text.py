"""What became of training, for people to read."""

from typing import Any

from rich.console import Console
from rich.table import Table

_FIGURES = {
    "auc": "AUC",
    "average_precision": "AP",
    "grouped_auc": "grouped\nAUC",
    "ndcg_at_10": "NDCG\n@10",
    "recall_at_10": "recall\n@10",
    "log_loss": "log\nloss",
    "calibration": "calibr-\nation",
}
_EXAMPLES = {"": "all", "in_network_": "in-network", "out_of_network_": "out-of-network"}
_BY = {"": "trained", "untrained_": "untrained", "recency_": "recency", "popularity_": "popularity"}


def print_trained(console: Console, found: dict[str, Any]) -> None:
    """One of the outcomes that `cluster.commands.training.train` yields."""
    if not found["version"]:
        console.print(f"[bold]{found['name']}[/]: not trained, {found['passed']}")
        return
    state = "active" if found["activated"] else "not activated"
    console.print(
        f"[bold]{found['name']}[/] {found['version']} ({state}), {found['seconds']:.1f} s"
    )
    table = Table("metric", "value")
    compared = tuple(_FIGURES) if found["name"] == "light_ranker" else ()
    for metric, value in found["metrics"].items():
        if isinstance(value, str | int | float) and not metric.endswith(compared):
            table.add_row(metric, f"{value:.4f}" if isinstance(value, float) else f"{value}")
    console.print(table)
    if compared:
        console.print(orders(found["metrics"]))
    if "candidates" in found["metrics"]:
        console.print(contestants(found["metrics"]))
    if media := found["metrics"].get("media"):
        figures = Table("media head, on images not learned", "value")
        for metric, value in media.items():
            figures.add_row(metric, str(value))
        console.print(figures)


def orders(metrics: dict[str, Any]) -> Table:
    """The light ranker beside what it has to beat, on impressions later than those it learned
    from; `metrics` are those of its artifact."""
    table = Table("ordered by", *_FIGURES.values(), title="light ranker, on later impressions")
    for side, examples in _EXAMPLES.items():
        if f"{side}auc" not in metrics:
            continue
        table.add_section()
        table.add_row(f"[bold]{examples}[/]")
        for rival, by in _BY.items():
            figures = (metrics.get(f"{side}{rival}{name}") for name in _FIGURES)
            # Recency and popularity are no probabilities.
            shown = ("" if value is None else f"{value:.3f}" for value in figures)
            table.add_row(f"  {by}", *shown)
    return table


def contestants(metrics: dict[str, Any]) -> Table:
    """The text models that trust and safety compared, by what each found in texts it had not
    learned; `metrics` are those of its artifact."""
    columns = ("model", "label", "texts", "positives", "PR-AUC", "AUC", "precision at recall 0.85")
    table = Table(*columns, title="text models, cross-validated on the same texts")
    for name, judged in metrics["candidates"].items():
        chosen = " (chosen)" if name == metrics["model"] else ""
        table.add_section()
        table.add_row(
            name + chosen, "mean of labels", "", "", f"{judged['mean_pr_auc']:.4f}", "", ""
        )
        for label, of in judged["labels"].items():
            figures = (of["pr_auc"], of["auc"], of["precision_at_recall_0.85"])
            counts = (f"{of['examples']:,}", f"{of['positives']:,}")
            table.add_row("", label, *counts, *(f"{figure:.4f}" for figure in figures))
    return table
