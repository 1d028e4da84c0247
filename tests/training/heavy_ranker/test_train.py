"""Training for real: in process, and by processes over gloo that are killed and resumed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.heavy_ranker.synthetic import (
    SETTINGS,
    examples_of,
    on_disk,
    schema_of,
    settings_of,
    taught,
)
from tests.training.worker_groups import WorkerGroup
from training.heavy_ranker.batches import Place
from training.heavy_ranker.calibration import identity
from training.heavy_ranker.checkpoints import Checkpoints, Stood
from training.heavy_ranker.curve import CURVE_STEPS
from training.heavy_ranker.export import export, read_weights
from training.heavy_ranker.fit import trained
from training.heavy_ranker.model import HeavyRanker
from training.heavy_ranker.sharded import ShardedRanker
from training.heavy_ranker.train import Run, group_of_one, train_here, train_worker

SCHEMA = schema_of()
RATES: dict[str, Any] = {"learning_rate_scale": 20.0, "table_learning_rate": 0.1}


def run_of(folder: Path, n: int = 512, start: Path | None = None, **given: Any) -> Run:
    examples, _ = taught(examples_of(SCHEMA, n))
    found = on_disk(folder / "examples", SCHEMA, examples, group=50)
    return Run(folder / "run", found, settings_of(**{**RATES, **given}), 3, start)


def another(run: Run, folder: Path, **given: Any) -> Run:
    """Of the same examples, elsewhere."""
    settings = run.settings.model_copy(update=given)
    return Run(folder, run.examples, settings, run.seed, run.start)


def weights(run: Run) -> dict[str, Tensor]:
    return trained(run)[0].state_dict()


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=atol, msg=name)


def with_effect(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without biases below a batch norm, which takes them away again: noise moves them."""
    last = f".{len(SETTINGS['towers'])}.bias"
    return {
        name: tensor
        for name, tensor in found.items()
        if not (name.startswith("towers.layers.") and name.endswith(".bias")) or name.endswith(last)
        if not (name.startswith("towers.norms.") and name.endswith("running_mean"))
    }


def far_apart(found: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((found[name] - other[name]).abs().max()) for name in other)


def stood(run: Run) -> Stood:
    found = run.checkpoints.newest()
    assert found is not None
    return found


def exported(folder: Path, seed: int = 0, **given: Any) -> Path:
    """A model that was not trained."""
    torch.manual_seed(seed)
    settings = settings_of(**given)
    model = HeavyRanker(SCHEMA, settings)
    export(model, SCHEMA, settings, identity(model.tasks), folder)
    return folder


@pytest.mark.parametrize("sharding", ["row_wise", "table_wise", "column_wise", "planned"])
def test_two_workers_learn_what_one_learns_from_the_same_batches(
    tmp_path: Path, sharding: str
) -> None:
    """Each step is of all examples, half of them each; statistics and masks are global."""
    examples, _ = taught(examples_of(SCHEMA, 128))
    # Uneven, so that a mean of means would be wrong.
    examples.mask[:70, 1] = 0
    examples.weights[:40] = 5
    found = on_disk(tmp_path / "examples", SCHEMA, examples, group=50)
    start = exported(tmp_path / "start", dropout=False)
    given = {"epochs": 8, "dropout": False, "sharding": sharding, **RATES}
    # Beyond that, rounding that Adam enlarges would be all there is to see.
    given["learning_rate_scale"] = 5.0
    one = Run(tmp_path / "one", found, settings_of(batch=128, **given), 3, start)
    two = Run(tmp_path / "two", found, settings_of(batch=64, **given), 3, start)
    group = WorkerGroup(tmp_path, train_worker, {"run": two}, n_workers=2)
    train_here(one)
    group.finish()
    assert stood(one).step == stood(two).step == 8
    (last,), (other,) = stood(one).curve, stood(two).curve
    assert last.loss == pytest.approx(other.loss, rel=1e-5)
    learnt = with_effect(weights(one))
    assert_equal(with_effect(weights(two)), learnt, atol=5e-4)
    assert far_apart(with_effect(read_weights(start, SCHEMA, one.settings)), learnt) > 0.02


def test_training_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = run_of(tmp_path, checkpoint_steps=5, epochs=8)
    train_here(whole)
    assert stood(whole).step == 64
    assert stood(whole).place == Place(8)
    cut = another(whole, tmp_path / "cut")
    saved = Checkpoints.save

    class Cut(RuntimeError):
        pass

    def cut_at_35(self: Checkpoints, state: Any, stood: Stood) -> None:
        saved(self, state, stood)
        if stood.step == 35:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", cut_at_35)
        with pytest.raises(Cut):
            train_here(cut)
    assert stood(cut).step == 35
    # What a worker leaves that is killed while it writes.
    torn = cut.folder / "checkpoints" / "writing-000000040"
    torn.mkdir()
    (torn / "__0_0.distcp").write_bytes(b"half")
    train_here(cut)
    assert stood(cut) == stood(whole)
    assert_equal(weights(cut), weights(whole))
    kept = sorted(path.name for path in (cut.folder / "checkpoints").iterdir())
    assert kept == ["step-000000060", "step-000000064"]
    # At its end, it has nothing more to do.
    train_here(cut)
    assert stood(cut).step == 64


def test_killed_workers_resume_and_another_number_of_them_goes_on(tmp_path: Path) -> None:
    """F8, and another world size: two workers, a SIGKILL, two again, then one."""
    start = exported(tmp_path / "start")
    run = run_of(
        tmp_path, start=start, sharding="row_wise", checkpoint_steps=5, epochs=3, batch=32,
        checkpoints_kept=999,
    )  # fmt: skip
    whole = another(run, tmp_path / "whole")
    group = WorkerGroup(tmp_path, train_worker, {"run": run}, n_workers=2)
    group.kill_one_when(run.folder / "checkpoints" / "step-000000010")
    at_kill = stood(run).step
    resumed = WorkerGroup(tmp_path, train_worker, {"run": run}, n_workers=2)
    WorkerGroup(tmp_path, train_worker, {"run": whole}, n_workers=2).finish()
    resumed.finish()
    assert 10 <= at_kill < stood(run).step == 24
    # Each point of the curve is where it would have been.
    assert stood(run) == stood(whole)
    assert_equal(weights(run), weights(whole), atol=1e-6)

    longer = another(run, run.folder, epochs=6)
    train_here(longer)
    assert stood(longer).place == Place(6)
    assert stood(longer).step == 24 + 3 * 16
    losses = [point.loss for point in stood(longer).curve]
    assert losses[:4] == [point.loss for point in stood(whole).curve][:4]
    assert losses[-1] < losses[0] - 0.05


def test_one_goes_on_within_an_epoch_where_two_stood(tmp_path: Path) -> None:
    run = run_of(tmp_path, checkpoint_steps=3, checkpoints_kept=999, epochs=1, batch=32)
    WorkerGroup(tmp_path, train_worker, {"run": run}, n_workers=2).finish()
    assert stood(run).step == 8
    for step in (6, 8):
        path = run.folder / "checkpoints" / f"step-{step:09d}"
        path.rename(tmp_path / path.name)
    assert stood(run).place.taken == 3 * 32
    train_here(run)
    # 512 − 2 · 3 · 32 examples are left, in batches of 32.
    assert stood(run).step == 3 + 10


@pytest.mark.parametrize("tables", [True, False])
def test_a_pipelined_step_is_the_same_step(tmp_path: Path, tables: bool) -> None:
    """torchrec's pipeline, which training uses on a GPU, here on a CPU."""
    run = run_of(tmp_path, tables=tables, start=exported(tmp_path / "start", tables=tables))
    pipelined = another(run, tmp_path / "pipelined")
    train_here(run)
    begun = ShardedRanker.__init__

    def with_pipeline(self: ShardedRanker, *given: Any) -> None:
        begun(self, *given, pipelined=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardedRanker, "__init__", with_pipeline)
        train_here(pipelined)
    assert stood(pipelined) == stood(run)
    assert_equal(weights(pipelined), weights(run), atol=1e-6)


def test_training_begins_with_an_earlier_model(tmp_path: Path) -> None:
    first = run_of(tmp_path, epochs=15)
    train_here(first)
    model, curve = trained(first)
    export(model, SCHEMA, first.settings, identity(model.tasks), tmp_path / "first")
    again = Run(tmp_path / "again", first.examples, first.settings, 4, tmp_path / "first")
    train_here(again)
    anew = stood(again).curve[0].loss
    assert anew < curve[0].loss - 0.1
    assert anew == pytest.approx(curve[-1].loss, abs=0.1)


def test_an_earlier_model_of_another_size_is_refused(tmp_path: Path) -> None:
    start = exported(tmp_path / "start", mask_width=17)
    with pytest.raises(ValueError, match=r"no blocks\.0\.mask1\.weight of shape"):
        train_here(run_of(tmp_path, start=start))


def test_scalars_are_written_for_tensorboard(tmp_path: Path) -> None:
    run = run_of(tmp_path, epochs=13)
    told: list[tuple[str, float]] = []
    train_here(run, lambda what, share: told.append((what, share)))
    (path,) = (run.folder / "scalars").iterdir()
    written = path.read_bytes()
    for name in (b"loss/is_replied", b"learning_rate/backbone", b"examples_per_s"):
        assert written.count(name) == 3
    assert [point.step for point in stood(run).curve] == [CURVE_STEPS, 100, 104]
    assert told == [("training", 50 / 104), ("training", 100 / 104)]


def test_the_group_of_one_leaves_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    with group_of_one():
        torch.set_num_threads(1)
    assert torch.get_num_threads() == before
