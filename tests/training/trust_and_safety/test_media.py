from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from cluster.events import MEDIA_DIMENSIONS
from training.job import TrainingError
from training.trust_and_safety.media import fit_media, read_embeddings, too_few


def drawn(
    n: int = 600, width: int = MEDIA_DIMENSIONS
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Two kinds of embeddings that lie clearly apart, in directions of different scales."""
    rng = np.random.default_rng(3)
    labels = rng.random(n) < 0.3
    shift = rng.normal(size=width)
    embeddings = rng.normal(size=(n, width)) + np.where(labels, 0.2, -0.2)[:, None] * shift
    return (embeddings * np.geomspace(0.01, 10, width)).astype(np.float32), labels


def test_clearly_separate_embeddings_are_told_apart() -> None:
    embeddings, labels = drawn()
    trained = fit_media(embeddings, labels, 0)
    assert trained.metrics["pr_auc"] > 0.98
    assert trained.metrics["precision_at_recall_0.9"] > 0.95
    assert trained.metrics["images"] == 120
    scores = trained.head.scores(embeddings)
    assert ((scores > 0.5) == labels).mean() > 0.98
    again = fit_media(embeddings, labels, 0)
    np.testing.assert_array_equal(again.head.scores(embeddings), scores)


def test_both_forms_of_file_are_read(tmp_path: Path) -> None:
    embeddings, labels = drawn(80)
    np.savez(tmp_path / "a.npz", embeddings=embeddings, labels=labels.astype(int))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), MEDIA_DIMENSIONS)
    table = pa.table({"embedding": lists, "label": pa.array(labels.astype(np.int8))})
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    for name in ("a.npz", "a.arrow"):
        found, truths = read_embeddings(tmp_path / name)
        np.testing.assert_array_equal(found, embeddings)
        np.testing.assert_array_equal(truths, labels)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": np.zeros((3, 256))}, "cannot be read"),
        ({"embeddings": np.zeros(3), "labels": np.zeros(3)}, r"expected embeddings \(n, 256\)"),
        ({"embeddings": np.zeros((3, 8)), "labels": np.zeros(3)}, r"expected .*, got \(3, 8\)"),
        ({"embeddings": np.zeros((3, 256)), "labels": np.full(3, 2)}, "must be 0 or 1"),
        ({"embeddings": np.full((3, 256), np.nan), "labels": np.zeros(3)}, "must be finite"),
    ],
)
def test_bad_embeddings_are_named(
    tmp_path: Path, arrays: dict[str, npt.NDArray[np.float64]], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=message):
        read_embeddings(tmp_path / "a.npz")
    with pytest.raises(TrainingError, match="cannot be read"):
        read_embeddings(tmp_path / "missing.npz")


def test_too_few_are_told() -> None:
    labels = np.arange(60) < 19
    assert too_few(labels) == "19 positive and 41 negative images; at least 20 of each are needed"
    assert too_few(~labels).startswith("41 positive and 19 negative")
    assert too_few(np.arange(60) < 20) == ""
    with pytest.raises(TrainingError, match="the media head has 19 positive"):
        fit_media(np.zeros((60, 4), np.float32), labels, 0)


def test_probabilities_are_those_of_the_stated_prevalence() -> None:
    """Kinds that overlap, three of ten positive: where one of fifty is, most that look alike
    are harmless."""
    rng = np.random.default_rng(5)
    labels = rng.random(6_000) < 0.3
    embeddings = (rng.normal(size=(6_000, 4)) + labels[:, None] * 0.9).astype(np.float32)
    as_drawn, rare = (fit_media(embeddings, labels, 0, share).head for share in (None, 0.02))
    assert as_drawn.scores(embeddings).mean() == pytest.approx(0.3, abs=0.02)
    weights = np.where(labels, 0.02 / labels.mean(), 0.98 / (~labels).mean())
    mean = np.average(rare.scores(embeddings), weights=weights)
    assert mean == pytest.approx(0.02, abs=0.005)
    order = np.argsort(as_drawn.logits(embeddings))
    assert (np.diff(rare.logits(embeddings)[order]) >= -1e-4).all()
