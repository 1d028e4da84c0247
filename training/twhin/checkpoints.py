"""Checkpoints of sharded training, in a folder that is private to one run.

`torch.distributed.checkpoint` pickles its metadata: nothing is ever read from a folder that
others may write to, and nothing is served from one. Every worker must see the folder.
"""

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from cluster.durable import sync_folder, write_file
from training.twhin.batches import Place
from training.twhin.relations import RELATIONS

Floats = npt.NDArray[np.float32]
Curve = list[tuple[int, int, float]]
"""Epoch, edge and mean loss of the steps since the point before."""

_PLACE = "place.json"


class Checkpoints:
    """Checkpoints of one run, newest last; each is whole or is not there."""

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder, self._kept = folder, kept

    def save(self, state: dict[str, Any], number: int, place: Place, curve: Curve) -> None:
        """Write a checkpoint; all workers call this together."""
        writing = self.folder / f"writing-{number:09d}"
        if dist.get_rank() == 0:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A worker that was killed while it wrote may have left some.
            shutil.rmtree(writing, ignore_errors=True)
        dist.barrier()
        with _deprecations_ignored():
            save(state, checkpoint_id=str(writing))
        dist.barrier()
        if dist.get_rank() == 0:
            told = {"epoch": place.epoch, "edge": place.edge, "curve": curve}
            write_file(writing / _PLACE, json.dumps(told).encode())
            os.rename(writing, self.folder / f"step-{number:09d}")
            sync_folder(self.folder)
            for old in self._all()[: -self._kept]:
                shutil.rmtree(old, ignore_errors=True)
        dist.barrier()

    def newest(self) -> tuple[int, Place, Curve] | None:
        """Number, place and curve of the newest checkpoint."""
        if not (found := self._all()):
            return None
        told = json.loads((found[-1] / _PLACE).read_bytes())
        number = int(found[-1].name.partition("-")[2])
        curve = [(int(e), int(n), float(x)) for e, n, x in told["curve"]]
        return number, Place(told["epoch"], told["edge"]), curve

    def load(self, state: dict[str, Any], number: int) -> None:
        """Fill a state from a checkpoint of any number of workers; all call this together."""
        with _deprecations_ignored():
            load(state, checkpoint_id=str(self.folder / f"step-{number:09d}"))

    def vectors(self, rows: dict[str, int], dimensions: int) -> tuple[dict[str, Floats], Floats]:
        """Whole tables, and the translations, of the newest checkpoint; in this process alone.

        Raises `FileNotFoundError` where there is none.
        """
        if not (found := self._all()):
            raise FileNotFoundError(f"no checkpoint in {self.folder}")
        names = {table: f"model.tables.embedding_bags.{table}.weight" for table in rows}
        tensors = {names[table]: torch.empty(n, dimensions) for table, n in rows.items()}
        tensors["model.translations"] = torch.empty(len(RELATIONS), dimensions)
        with _deprecations_ignored():
            load(dict(tensors), checkpoint_id=str(found[-1]), no_dist=True)
        tables = {table: tensors[name].numpy() for table, name in names.items()}
        return tables, tensors["model.translations"].numpy()

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


@contextmanager
def _deprecations_ignored() -> Iterator[None]:
    """torchrec's sharded tensors are of a kind that torch means to replace, and says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # Said where one process loads what several have saved, which is what it is for.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield
