"""The keeper makes room behind the archive however busy the log is."""

from pathlib import Path

import pytest

from actors import keeper as keeping
from actors.keeper import Keeper
from cluster.logs import open_writer
from cluster.routing import encode, route
from cluster.settings import load
from tests.actors.test_tailer import wait_for
from tests.worlds import USERS, Clock, checked


@pytest.mark.parametrize("trims", [True, False])
def test_a_system_of_the_past_trims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trims: bool
) -> None:
    settings = load(None, data_dir=tmp_path)
    with open_writer(settings) as log:
        batch = checked([Clock().post(100, USERS[0], text="kept")])
        log.append({lane: encode(part) for lane, part in route(batch, settings.log.lanes).items()})
        everything = dict.fromkeys(range(settings.log.lanes), 2**40)
        monkeypatch.setattr(keeping.snapshot, "safe_offsets", lambda _: dict(everything))
        keeper = Keeper(settings, None, trims)
        monkeypatch.setattr(keeper._log, "trim", log.trim)
        try:
            keeper.flush()
            keeper._housekeep()
        finally:
            keeper.stop()
        assert (max(log.first_offsets().values()) > 1) == trims


def test_a_log_that_never_rests_is_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(None, data_dir=tmp_path)
    monkeypatch.setattr(keeping, "_STEP_EVERY_S", 0.01)
    monkeypatch.setattr(keeping, "_TRIM_EVERY_S", 0.05)
    clock, posts = Clock(), iter(range(100, 1_000_000))

    with open_writer(settings) as log:

        def append_one() -> None:
            batch = checked([clock.post(next(posts), USERS[0], text="again")])
            for lane, part in route(batch, settings.log.lanes).items():
                log.append({lane: encode(part)})

        append_one()
        everything = dict.fromkeys(range(settings.log.lanes), 2**40)
        monkeypatch.setattr(keeping.snapshot, "safe_offsets", lambda _: dict(everything))
        keeper = Keeper(settings, None)
        monkeypatch.setattr(keeper._log, "trim", log.trim)
        step, archived = keeper._archiver.step, []

        def step_of_a_busy_log() -> int:
            append_one()
            archived.append(step())
            return archived[-1]

        monkeypatch.setattr(keeper._archiver, "step", step_of_a_busy_log)
        try:
            wait_for(lambda: max(log.first_offsets().values()) > 20)
        finally:
            keeper.stop()
        assert all(archived)
        assert keeper.status()["failure"] is None
