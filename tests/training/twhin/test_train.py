from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster.training_settings import TwhinSettings
from tests.training.twhin.networks import circles, prepared
from tests.training.worker_groups import WorkerGroup
from training.twhin.batches import Place, stream
from training.twhin.checkpoints import Checkpoints
from training.twhin.edges import Edges
from training.twhin.evaluate import Vectors
from training.twhin.plain import PlainTwhin
from training.twhin.sharded import ShardedTwhin
from training.twhin.train import CURVE_STEPS, group_of_one, train_here, train_worker

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"batch": 60, "epochs": 2, "in_batch_negatives": 4}


def begin(folder: Path, **given: Any) -> tuple[Edges, Any, PlainTwhin]:
    """Edges, a checkpoint of no step at all, and the plain model that begins where it does."""
    edges, settings = prepared(folder, circles(), **{**SETTINGS, **given})
    plain = PlainTwhin(edges.rows, settings, 0)
    with group_of_one():
        sharded = ShardedTwhin(edges.rows, settings, 0, CPU)
        Checkpoints(folder / "checkpoints", 9).save(sharded.state(), 0, Place(), [])
    vectors, translations = trained(folder, edges)
    with torch.no_grad():
        for table, values in vectors.items():
            plain.tables[table].copy_(torch.from_numpy(values))
        plain.translations.copy_(torch.from_numpy(translations))
    return edges, settings, plain


def trained(folder: Path, edges: Edges) -> tuple[Vectors, np.ndarray]:  # type: ignore[type-arg]
    return Checkpoints(folder / "checkpoints", 9).vectors(edges.rows, 8)


def two_workers(folder: Path, settings: TwhinSettings) -> WorkerGroup:
    """They train together on the edges of a folder."""
    config = {"folder": str(folder), "settings": settings.model_dump(), "seed": 0}
    return WorkerGroup(folder, train_worker, config, n_workers=2)


START = Place()


def learn(
    plain: PlainTwhin, edges: Edges, settings: Any, n_workers: int, start: Place = START
) -> list[float]:
    """Let the plain model learn what so many workers would; gives the losses."""
    streams = [stream(edges, settings, 0, k, n_workers, start) for k in range(n_workers)]
    return [plain.step(*(b for _, b in together)) for together in zip(*streams, strict=True)]


def assert_equal(folder: Path, edges: Edges, plain: PlainTwhin) -> None:
    vectors, translations = trained(folder, edges)
    expected, expected_translations = plain.vectors()
    assert vectors.keys() == expected.keys()
    for table, values in vectors.items():
        np.testing.assert_allclose(values, expected[table], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(translations, expected_translations, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("sharding", "optimiser"),
    [
        ("table_wise", "adagrad"),
        ("row_wise", "adagrad"),
        ("row_wise", "sgd"),
        ("column_wise", "sgd"),
    ],
)
def test_one_worker_equals_the_plain_loop(folder: Path, sharding: str, optimiser: str) -> None:
    rate = 0.03 if optimiser == "adagrad" else 10.0
    edges, settings, plain = begin(
        folder, sharding=sharding, optimiser=optimiser, learning_rate=rate
    )
    before = plain.vectors()[0]["posts"].copy()
    train_here(folder, settings, 0)
    losses = learn(plain, edges, settings, 1)
    assert np.abs(plain.vectors()[0]["posts"] - before).max() > 0.05
    assert_equal(folder, edges, plain)
    newest = Checkpoints(folder / "checkpoints", 9).newest()
    assert newest is not None
    assert newest[:2] == (len(losses), Place(settings.epochs))
    assert newest[2][-1][2] == pytest.approx(np.mean(losses[-(len(losses) % CURVE_STEPS) :]), 1e-4)


def test_training_cut_off_goes_on_as_if_it_had_not_been(folder: Path) -> None:
    edges, settings, plain = begin(folder)
    checkpoints = Checkpoints(folder / "checkpoints", 9)
    progressed = learn(plain, edges, settings, 1)

    class Cut(RuntimeError):
        pass

    saved = Checkpoints.save

    def cut_at_20(self: Checkpoints, state: Any, number: int, *more: Any) -> None:
        saved(self, state, number, *more)
        if number == 20:
            raise Cut

    often = settings.model_copy(update={"checkpoint_steps": 10})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", cut_at_20)
        with pytest.raises(Cut):
            train_here(folder, often, 0)
    found = checkpoints.newest()
    assert found is not None
    assert found[0] == 20 < len(progressed)
    train_here(folder, often, 0)
    assert_equal(folder, edges, plain)
    kept = sorted(path.name for path in checkpoints.folder.iterdir())
    assert len(kept) == settings.checkpoints_kept


def test_killed_workers_resume_and_another_number_of_them_goes_on(folder: Path) -> None:
    """F8, and resharding: two workers from one's checkpoint, a SIGKILL, two again, then one."""
    edges, settings, plain = begin(folder, sharding="row_wise", checkpoint_steps=4, epochs=4)
    two_workers(folder, settings).kill_one_when(folder / "checkpoints" / "step-000000004")
    found = Checkpoints(folder / "checkpoints", 9).newest()
    assert found is not None
    at_kill = found[0]
    two_workers(folder, settings).finish()
    losses = learn(plain, edges, settings, 2)
    assert 4 <= at_kill < len(losses)
    assert_equal(folder, edges, plain)
    found = Checkpoints(folder / "checkpoints", 9).newest()
    assert found is not None
    assert found[:2] == (len(losses), Place(4))

    longer = settings.model_copy(update={"epochs": 5})
    train_here(folder, longer, 0)
    learn(plain, edges, longer, 1, start=Place(4))
    assert_equal(folder, edges, plain)


def test_a_torn_checkpoint_is_not_resumed_from(folder: Path) -> None:
    edges, settings, plain = begin(folder)
    # What a worker leaves that is killed while it writes.
    torn = folder / "checkpoints" / "writing-000000009"
    torn.mkdir()
    (torn / "__0_0.distcp").write_bytes(b"half")
    train_here(folder, settings, 0)
    learn(plain, edges, settings, 1)
    assert_equal(folder, edges, plain)
