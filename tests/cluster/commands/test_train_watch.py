"""`murmuration train all --watch`: what is due again is trained again, until it is interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ingest import Ingest
from cluster.log import Record
from cluster.logs import open_reader, open_writer
from cluster.routing import decode
from cluster.settings import DAY_MS, Settings
from cluster.validation import check_objects
from tests.running import wait_until

LONG_AGO_MS = 1_700_000_000_000
"""What is learnt of then is older than any cadence, so the model is due at every look."""


def known_world(settings: Settings) -> None:
    """Follows of long ago in the log, which is closed again."""
    events = [
        {
            "kind": Kind.FOLLOW.label,
            "actor_id": 1 + k,
            "target_id": 1 + (k * 7 + 3) % 40,
            "time_ms": LONG_AGO_MS + k,
        }
        for k in range(40)
        if k != (k * 7 + 3) % 40
    ]
    checked = check_objects(events, now_ms=LONG_AGO_MS + DAY_MS)
    assert not checked.problems
    with open_writer(settings) as log:
        found = Ingest(settings, log, lambda: None).batch(
            checked.batch, now_ms=LONG_AGO_MS + DAY_MS, history=True
        )
        assert not found.problems


def activations(settings: Settings) -> list[str]:
    """Versions of Tweepcred that the log says to serve, once for each lane."""
    with open_reader(settings) as log:
        records: list[Record] = log.read(dict.fromkeys(range(settings.log.lanes), 0), 2**24)
    rows = [row for record in records for row in decode(record.payload).to_pylist()]
    return [
        row["model_version"]
        for row in rows
        if row["kind"] == Kind.ARTIFACT_ACTIVATE and row["name"] == "tweepcred"
    ]


def test_a_due_job_runs_again_until_it_is_interrupted(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    known_world(settings)
    artifacts = ArtifactStore(tmp_path / "artifacts")
    command = [str(Path(sys.executable).parent / "murmuration"), "train", "all"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MURMURATION_")}
    environment["PYTHONFAULTHANDLER"] = "1"
    # Whatever else runs on this machine is not this system.
    environment["MURMURATION_NAMESPACE"] = f"watched-{os.getpid()}"
    with subprocess.Popen(
        [*command, "--watch", "--every", "1", "--data-dir", str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        try:
            wait_until(
                lambda: watching.poll() is not None or len(artifacts.versions("tweepcred")) >= 2,
                240,
                "Tweepcred was trained twice",
            )
            watching.send_signal(signal.SIGINT)
            try:
                told, complained = watching.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                watching.send_signal(signal.SIGABRT)  # It tells where every thread stands.
                pytest.fail(f"it did not end: {watching.communicate(timeout=30)}")
        finally:
            watching.kill()
    assert watching.returncode == 0, complained
    assert complained.splitlines()[-1] == "stopped watching"
    assert "Traceback" not in complained
    assert "tweepcred: ranking users" in complained
    # What had nothing to learn from is not told look by look.
    assert "tweepcred" in told
    assert "not trained" not in told
    versions = artifacts.versions("tweepcred")
    assert all(artifacts.open("tweepcred", version) for version in versions)
    # The log is free again and whole, and says to serve what was trained.
    with open_writer(settings):
        pass
    served = activations(settings)
    assert served
    assert set(served) <= set(versions)
