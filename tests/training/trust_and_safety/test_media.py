from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from training.job import TrainingError
from training.trust_and_safety.media import fit_media, read_embeddings, train_media


def drawn(n: int = 600, width: int = 64) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Two kinds of embeddings that lie clearly apart, in directions of different scales."""
    rng = np.random.default_rng(3)
    labels = rng.random(n) < 0.3
    shift = rng.normal(size=width)
    embeddings = rng.normal(size=(n, width)) + np.where(labels, 0.4, -0.4)[:, None] * shift
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
    embeddings, labels = drawn(80, 8)
    np.savez(tmp_path / "a.npz", embeddings=embeddings, labels=labels.astype(int))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), 8)
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
        ({"embeddings": np.zeros((3, 2))}, "cannot be read"),
        ({"embeddings": np.zeros(3), "labels": np.zeros(3)}, r"expected embeddings \(n, d\)"),
        ({"embeddings": np.zeros((3, 2)), "labels": np.full(3, 2)}, "must be 0 or 1"),
        ({"embeddings": np.full((3, 2), np.nan), "labels": np.zeros(3)}, "must be finite"),
        ({"embeddings": np.zeros((30, 2)), "labels": np.zeros(30)}, "0 positive and 30 negative"),
    ],
)
def test_bad_embeddings_are_named(
    tmp_path: Path, arrays: dict[str, npt.NDArray[np.float64]], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=message):
        train_media(tmp_path / "a.npz", 0)
    with pytest.raises(TrainingError, match="cannot be read"):
        train_media(tmp_path / "missing.npz", 0)
