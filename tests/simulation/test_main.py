import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from cluster.validation import check_batch
from simulation.run import simulate


def test_the_command_streams_the_same_events_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "events.arrow"
    arguments = ["--users", "60", "--days", "0.25", "--seed", "4", "--out", str(path)]
    told = subprocess.run(
        [sys.executable, "-m", "simulation", *arguments],
        capture_output=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
        text=True,
    ).stdout
    with pa.ipc.open_stream(path) as stream:
        written = stream.read_all()
    batches = list(simulate(60, 0.25, 4))
    assert f"{len(written):,} events" in told
    expected = pa.concat_tables([pa.table(b) for b in batches], promote_options="default")
    checked = check_batch(written, now_ms=2**62)
    assert checked.problems == []
    assert pa.table(checked.batch).select(expected.column_names).to_pylist() == expected.to_pylist()
