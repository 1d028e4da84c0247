"""Archives of small worlds, and the settings under which jobs read them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.archive import Archive, Archiver
from cluster.logs import features_lane, open_writer
from cluster.routing import encode, route
from cluster.settings import Settings, load
from simulation.run import DEFAULT_START_MS, simulate
from tests.worlds import Event, checked

DAY_MS = 86_400_000


def settings_at(folder: Path, **training: Any) -> Settings:
    return load(data_dir=folder, training=training)


def archived(
    settings: Settings, batches: Iterable[pa.RecordBatch], features: Sequence[bytes] = ()
) -> Archive:
    """An archive of valid batches, and of records of the features lane."""
    with open_writer(settings) as log:
        for batch in batches:
            lanes = route(batch, settings.log.lanes)
            log.append({lane: encode(rows, imported=True) for lane, rows in lanes.items()})
        for record in features:
            log.append({features_lane(settings): record})
        archiver = Archiver(
            log,
            settings.archive_root,
            range(settings.log.lanes),
            features_lane=features_lane(settings),
        )
        while archiver.step():
            pass
    return Archive(settings.archive_root)


def archived_events(settings: Settings, events: Sequence[Event], **more: Any) -> Archive:
    return archived(settings, [checked(events)] if events else [], **more)


def simulated(users: int, days: float, seed: int) -> Iterator[pa.RecordBatch]:
    """A simulated society whose past is one day long, so that its archive has few dates."""
    first_ms = DEFAULT_START_MS - DAY_MS
    for batch in simulate(users, days, seed):
        at = batch.schema.get_field_index("time_ms")
        times_ms = np.maximum(batch.column(at).to_numpy(), first_ms)
        yield batch.set_column(at, batch.schema.field(at), pa.array(times_ms))
