"""One small simulated society, shared by the tests that read its events."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from cluster.events import Kind
from simulation.run import Simulation

USERS, HOURS, SEED = 400, 72, 11


@dataclass(frozen=True)
class Society:
    """A simulation that has run for three days, its batches, and all events as one table."""

    simulation: Simulation
    batches: list[pa.RecordBatch]
    events: pa.Table

    def of(self, *kinds: Kind) -> pa.Table:
        return self.events.filter(np.isin(self.column("kind"), kinds))

    def column(self, name: str) -> npt.NDArray[np.int64]:
        return self.events.column(name).to_numpy()


@pytest.fixture(scope="session")
def society() -> Society:
    simulation = Simulation(USERS, SEED)
    batches = [*simulation.past()]
    for _ in range(HOURS):
        batch = simulation.hour()
        assert batch is not None
        batches.append(batch)
    tables = [pa.table(batch) for batch in batches]
    return Society(simulation, batches, pa.concat_tables(tables, promote_options="default"))
