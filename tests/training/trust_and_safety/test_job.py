import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.features.safety import TRUST_AND_SAFETY, read_safety_model
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.settings import Settings, load
from tests.training.archives import archived_events
from tests.training.trust_and_safety.mild_texts import rows
from tests.worlds import Clock
from training.job import TrainingError
from training.trust_and_safety.job import train

LABELS = ("toxicity", "nsfw_text")


def settings_for(folder: Path, **chosen: Any) -> Settings:
    small = {"buckets": 2**13, "folds": 3, "candidates": ("linear",), "prevalence": None}
    return load(data_dir=folder, training={"trust_and_safety": small | chosen})


def written(path: Path, n: int = 900) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", *LABELS])
        writer.writeheader()
        writer.writerows(rows(n))
    return path


def trained(settings: Settings, archive: Archive | None = None, **more: Any) -> Any:
    store = ArtifactStore(settings.data_dir / "artifacts")
    return store, train(settings, archive or archived_events(settings, []), store, **more)


def test_files_become_calibrated_probabilities_and_thresholds(folder: Path, tmp_path: Path) -> None:
    labelled = written(tmp_path / "mine.csv")
    both = ("linear", "embeddings")
    settings = settings_for(folder, labelled_text=str(labelled), candidates=both)
    told: list[tuple[str, float]] = []
    store, found = trained(settings, progress=lambda what, share: told.append((what, share)))
    metrics = found.metrics
    assert set(metrics["candidates"]) == set(both)
    best = metrics["candidates"][metrics["model"]]
    assert best["mean_pr_auc"] == max(c["mean_pr_auc"] for c in metrics["candidates"].values())
    assert best["labels"]["toxicity"]["auc"] > 0.97
    assert metrics["sources"] == {"mine.csv": metrics["texts"]}
    assert told[-1][1] == 1.0

    model = read_safety_model(store, found.version)
    assert model.labels == LABELS
    assert store.open(TRUST_AND_SAFETY, found.version).manifest.data_range_ms is None
    rude, kind = "her uncle is a grumpy nitwit today", "her uncle is a great friend today"
    scores = model.scores([rude, kind, rude.replace("nitwit", "N.I.T.W.1.T")])
    assert model.labels_of(scores)[:, 0].tolist() == [2, 0, 2]
    fresh = rows(400, seed=9)
    truths = np.array([row.get("toxicity", -1) for row in fresh])
    given = model.scores([str(row["text"]) for row in fresh])[:, 0]
    assert abs(given[truths >= 0].mean() - truths[truths >= 0].mean()) < 0.05
    promise = metrics["thresholds"]["toxicity"]["0.95"]
    assert promise["recall"] > 0.8
    assert promise["precision_elsewhere"] > 0.9


def test_a_label_that_is_rarer_than_among_the_texts_is_less_likely(
    folder: Path, tmp_path: Path
) -> None:
    path = str(written(tmp_path / "a.csv", 600))
    scores = []
    for prevalence in (None, 0.01):
        store, made = trained(
            settings_for(folder, labelled_text=path, prevalence=prevalence, folds=2)
        )
        model = read_safety_model(store, made.version)
        scores.append(model.scores(["at the market", "her uncle is a grumpy nitwit today"]))
    as_labelled, rare = scores
    assert rare[0, 0] < 0.5 * as_labelled[0, 0]
    assert rare[1, 0] > 0.5


def test_the_same_texts_give_the_same_model(folder: Path, tmp_path: Path) -> None:
    settings = settings_for(folder, labelled_text=str(written(tmp_path / "a.csv", 400)))
    store, one = trained(settings)
    _, two = trained(settings)
    assert one.version < two.version
    assert one.metrics == two.metrics
    first, second = (read_safety_model(store, found.version) for found in (one, two))
    np.testing.assert_array_equal(first.model.rows, second.model.rows)
    np.testing.assert_array_equal(first.slopes, second.slopes)


def test_posts_that_people_labelled_are_examples(folder: Path) -> None:
    settings = settings_for(folder)
    clock = Clock()
    found = rows(500)
    events = [
        clock.post(1_000 + i, 7, text=str(row["text"]), language="en-GB")
        for i, row in enumerate(found)
    ]
    events += [
        clock.event(Kind.SAFETY_LABEL, post_id=1_000 + i, author_id=7, label="abuse")
        for i, row in enumerate(found)
        if row.get("toxicity")
    ]
    store, made = trained(settings, archived_events(settings, events))
    model = read_safety_model(store, made.version)
    assert model.labels == ("abuse",)
    assert set(model.thresholds) == {"", "en"}
    scores = model.scores(["this cook is a silly goose", "this cook is a patient teacher"])
    assert scores[0, 0] > 2 * scores[1, 0]
    first_ms, end_ms = store.open(TRUST_AND_SAFETY, made.version).manifest.data_range_ms or (0, 0)
    assert (first_ms, end_ms) == (events[0]["time_ms"], events[-1]["time_ms"] + 1)


def test_embeddings_of_images_add_a_media_head(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3 == 0
    embeddings = (rng.normal(size=(300, 256)) + labels[:, None]).astype(np.float32)
    np.savez(tmp_path / "images.npz", embeddings=embeddings, labels=labels)
    settings = settings_for(
        folder,
        labelled_text=str(written(tmp_path / "a.csv", 300)),
        media_embeddings=str(tmp_path / "images.npz"),
    )
    store, made = trained(settings)
    assert made.metrics["media"]["pr_auc"] > 0.95
    media = read_safety_model(store, made.version).media
    assert media is not None
    assert ((media.scores(embeddings) > 0.5) == labels).mean() > 0.95


def test_media_that_people_judged_are_learned_from(folder: Path, tmp_path: Path) -> None:
    settings = settings_for(folder, labelled_text=str(written(tmp_path / "a.csv", 300)))
    rng, clock = np.random.default_rng(0), Clock()
    adult = np.arange(200) % 4 == 0
    embeddings = (rng.normal(size=(200, 256)) + adult[:, None]).astype(np.float32)
    posts = [
        clock.post(1_000 + i, 7, media_embedding=row) for i, row in enumerate(embeddings.tolist())
    ]
    labels = [
        clock.event(Kind.SAFETY_LABEL, post_id=1_000 + i, author_id=7, label="nsfw_media")
        for i in np.flatnonzero(adult).tolist()
    ]
    store, made = trained(settings, archived_events(settings, [*posts, *labels[:19]]))
    few = "19 positive and 76 negative images; at least 20 of each are needed"
    assert made.metrics["media"] == {"passed": few}
    assert read_safety_model(store, made.version).media is None
    store, made = trained(settings, archived_events(settings, [*posts, *labels]))
    assert made.metrics["media"]["pr_auc"] > 0.95
    media = read_safety_model(store, made.version).media
    assert media is not None
    assert ((media.scores(embeddings) > 0.5) == adult).mean() > 0.95
    first_ms, end_ms = store.open(TRUST_AND_SAFETY, made.version).manifest.data_range_ms or (0, 0)
    assert posts[0]["time_ms"] <= first_ms < end_ms == labels[-1]["time_ms"] + 1


def test_without_labelled_text_it_says_what_to_supply(folder: Path) -> None:
    settings = settings_for(folder)
    clock = Clock()
    archive = archived_events(settings, [clock.post(1, 7, text="a post")])
    with pytest.raises(TrainingError, match="labelled_text names no folder"):
        trained(settings, archive)
    assert ArtifactStore(folder / "artifacts").versions(TRUST_AND_SAFETY) == []


def test_too_few_labels_are_counted(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("text,rude\nhello there,0\nsilly goose,1\n")
    with pytest.raises(TrainingError, match=r"50 positive .* rude 1 and 1"):
        trained(settings_for(folder, labelled_text=str(path)))


def test_copies_of_one_text_are_not_enough(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "copies.csv"
    base = "the gardener of our street waters all of his tomatoes before breakfast every day"
    lines = [f"{base} {i % 10},1" for i in range(10)]
    lines += [f"{row['text']},0" for row in rows(30)]
    path.write_text("\n".join(["text,rude", *lines]))
    with pytest.raises(TrainingError, match="all positive texts of label 'rude' are near copies"):
        trained(settings_for(folder, labelled_text=str(path), min_examples=5))


def test_the_simulated_society_has_labels_to_learn(
    society: tuple[Settings, Archive], folder: Path
) -> None:
    settings, archive = society
    chosen = settings_for(folder, min_examples=5).training
    store = ArtifactStore(folder / "artifacts")
    made = train(settings.model_copy(update={"training": chosen}), archive, store)
    assert set(read_safety_model(store, made.version).labels) <= {
        "abusive_high_recall",
        "nsfw_high_precision",
    }
    assert made.metrics["candidates"]["linear"]["mean_pr_auc"] > 0
