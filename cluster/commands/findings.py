"""What the models of a world found, for people to read."""

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from cluster.artifacts import Artifact, ArtifactStore
from cluster.commands.training_text import contestants, orders

_SHOWN = 5


def print_findings(
    console: Console, artifacts: ArtifactStore, name: str, version: str, topics: Mapping[int, str]
) -> None:
    """The gist of one artifact; `topics` are the names of topics by their ids."""
    artifact = artifacts.open(name, version)
    if name in _PRINTERS:
        _PRINTERS[name](console, artifact, topics)


def _communities(console: Console, artifact: Artifact, topics: Mapping[int, str]) -> None:
    found = artifact.json("communities.json")
    largest = sorted(found, key=lambda one: -one["interested"])[:_SHOWN]
    table = Table("community", "members", "interested", "topics of its members", "first members")
    for one in largest:
        table.add_row(
            str(one["community"]),
            str(one["size"]),
            str(one["interested"]),
            ", ".join(topics.get(t["topic_id"], str(t["topic_id"])) for t in one["topics"][:3]),
            ", ".join(str(producer["user_id"]) for producer in one["producers"][:3]),
        )
    table.title = f"SimClusters: {len(found)} communities, the {len(largest)} of most interest"
    console.print(table)


def _reputations(console: Console, artifact: Artifact, topics: Mapping[int, str]) -> None:
    metrics = artifact.manifest.metrics
    best = ", ".join(
        f"{one['user_id']} ({one['reputation']:.0f})" for one in metrics["top_users"][:_SHOWN]
    )
    console.print(
        f"Tweepcred: {metrics['users']:,} users over {metrics['edges']:,} follows, "
        f"settled after {metrics['iterations']} iterations; most reputed: {best}"
    )


def _ties(console: Console, artifact: Artifact, topics: Mapping[int, str]) -> None:
    metrics = artifact.manifest.metrics
    console.print(
        f"Real Graph: AUC {metrics['auc']:.3f} on the day after the one it learned from "
        f"(most recent {metrics['recent_auc']:.3f}, most frequent "
        f"{metrics['frequent_auc']:.3f}), lift {metrics['lift_at_1_percent']:.1f} at 1 %, "
        f"expected/observed {metrics['calibration']:.2f}"
    )


def _vectors(console: Console, artifact: Artifact, topics: Mapping[int, str]) -> None:
    table = Table("relation", "later edges", "MRR", "hits@10", "popularity: MRR", "hits@10")
    table.title = "TwHIN, on edges later than those it learned from"
    for relation, judged in artifact.manifest.metrics["evaluation"].items():
        if judged.get("edges"):
            names = ("mrr", "hits_at_10", "popularity_mrr", "popularity_hits_at_10")
            table.add_row(
                relation, str(judged["edges"]), *(f"{judged[name]:.3f}" for name in names)
            )
    console.print(table)


def _safety(console: Console, artifact: Artifact, topics: Mapping[int, str]) -> None:
    metrics = artifact.manifest.metrics
    console.print(f"Trust and safety: the {metrics['model']} model of {metrics['texts']:,} texts")
    console.print(contestants(metrics))
    if media := metrics.get("media"):
        figures = ", ".join(f"{name} {value}" for name, value in media.items())
        console.print(f"media, on images that it had not learned: {figures}")


def _ranking(console: Console, artifact: Artifact, topics: Mapping[int, str]) -> None:
    metrics = artifact.manifest.metrics
    console.print(orders(metrics))
    console.print(
        f"learned from {metrics['training_examples']:,} examples, "
        f"{metrics['training_positives']:,} of them positive"
    )


def _chances(console: Console, artifact: Artifact, topics: Mapping[int, str]) -> None:
    metrics = artifact.manifest.metrics
    table = Table("engagement", "examples", "of which did", "AUROC", "light ranker", "RCE")
    table.title = "heavy ranker, on the latest of what was shown"
    for task, judged in metrics["evaluation"]["all"].items():
        light = metrics["light_ranker"]["auroc"].get(task)
        if judged["positives"]:
            table.add_row(
                *(task, f"{judged['examples']:,.0f}", f"{judged['positives']:,.0f}"),
                *(
                    f"{judged['auroc']:.3f}",
                    f"{light:.3f}" if light else "",
                    f"{judged['rce']:.1f}",
                ),
            )
    console.print(table)
    console.print(f"{metrics['gate']}: {metrics['gate_reason']}")


_PRINTERS: dict[str, Callable[[Console, Artifact, Mapping[int, str]], None]] = {
    "simclusters": _communities,
    "tweepcred": _reputations,
    "real_graph": _ties,
    "twhin": _vectors,
    "trust_and_safety": _safety,
    "light_ranker": _ranking,
    "heavy_ranker": _chances,
}
