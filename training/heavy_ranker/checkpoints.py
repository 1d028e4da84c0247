"""Checkpoints of training, in a folder that is private to one run.

`torch.distributed.checkpoint` pickles its metadata: nothing is ever read from a folder that
others may write to, and nothing is served from one. Every worker must see the folder.
"""

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from cluster.durable import sync_folder, write_file
from training.heavy_ranker.batches import Place

_STOOD = "stood.json"


class Point(NamedTuple):
    """A point of the curve of losses."""

    step: int
    loss: float
    """Mean over the steps since the point before, and over workers."""


@dataclass(frozen=True)
class Stood:
    """Where training stood."""

    step: int
    place: Place
    curve: tuple[Point, ...]


class Checkpoints:
    """Checkpoints of one run, newest last; each is whole or is not there."""

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder, self._kept = folder, kept

    def save(self, state: dict[str, Any], stood: Stood) -> None:
        """Write a checkpoint; all workers call this together."""
        writing = self.folder / f"writing-{stood.step:09d}"
        if dist.get_rank() == 0:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A worker that was killed while it wrote may have left some.
            shutil.rmtree(writing, ignore_errors=True)
        dist.barrier()
        with deprecations_ignored():
            save(state, checkpoint_id=str(writing))
        dist.barrier()
        if dist.get_rank() == 0:
            told = {"step": stood.step, "place": vars(stood.place), "curve": stood.curve}
            write_file(writing / _STOOD, json.dumps(told).encode())
            os.rename(writing, self.folder / f"step-{stood.step:09d}")
            sync_folder(self.folder)
            for old in self._all()[: -self._kept]:
                shutil.rmtree(old, ignore_errors=True)
        dist.barrier()

    def newest(self) -> Stood | None:
        """Where training stood at the newest checkpoint."""
        if not (found := self._all()):
            return None
        told = json.loads((found[-1] / _STOOD).read_bytes())
        place = told["place"]
        runs = place.pop("runs")
        return Stood(
            told["step"],
            Place(runs=runs and tuple((begin, end) for begin, end in runs), **place),
            tuple(Point(step, loss) for step, loss in told["curve"]),
        )

    def load(self, state: dict[str, Any], step: int) -> None:
        """Fill a state from a checkpoint of any number of workers; all call this together."""
        with deprecations_ignored():
            load(state, checkpoint_id=str(self.folder / f"step-{step:09d}"))

    def steps(self) -> list[int]:
        """After which steps there is a checkpoint, the newest last."""
        return [int(path.name.removeprefix("step-")) for path in self._all()]

    def load_weights(self, weights: dict[str, Tensor], step: int | None = None) -> None:
        """Fill whole tensors, by their names in the model, from the newest checkpoint.

        Or from that after `step`. In this process alone. Raises `FileNotFoundError` where there
        is none.
        """
        steps = zip(self._all(), self.steps(), strict=True)
        if not (found := [path for path, at in steps if step in (None, at)]):
            raise FileNotFoundError(f"no checkpoint in {self.folder}")
        named: dict[str, Any] = {f"model.ranker.{name}": tensor for name, tensor in weights.items()}
        with deprecations_ignored():
            load(named, checkpoint_id=str(found[-1]), no_dist=True)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


@contextmanager
def deprecations_ignored() -> Iterator[None]:
    """torchrec's sharded tensors are of a kind that torch means to replace, and says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # Said where one process loads what several have saved, which is what it is for.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield
