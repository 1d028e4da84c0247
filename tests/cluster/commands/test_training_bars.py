"""Progress of training: bars on a terminal, a line for each part where there is none."""

import io
import re
from typing import Any

from rich.console import Console

from cluster.commands.training_bars import Bars, training_bars


def told(terminal: bool, **given: Any) -> str:
    """What is written of two jobs, of which one is trained."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=100, color_system=None)
    with training_bars(console, **given) as bars:
        bars.say("archiving")
        bars.progress("tweepcred: reading", 0.0)
        bars.progress("tweepcred: ranking", 0.0)
        bars.progress("tweepcred: ranking", 1.0)
        bars.say("tweepcred: activating")
        bars.end("tweepcred", trained=True)
        bars.progress("twhin: reading", 0.0)
        bars.end("twhin", trained=False)
        bars.progress("simclusters: communities", 0.25)
    return written.getvalue()


def test_elsewhere_each_part_is_a_line() -> None:
    lines = [re.fullmatch(r" +\d+\.\d s  (.*)", line) for line in told(False).splitlines()]
    assert [line[1] for line in lines if line] == [
        "tweepcred: reading",
        "tweepcred: ranking",
        "twhin: reading",
        "simclusters: communities",
    ]
    assert all(lines)
    assert told(False, lines=False) == ""


def test_on_a_terminal_each_job_has_a_bar_that_stays() -> None:
    # What is drawn last stands after the last move of the cursor to the first line.
    drawn = re.split("\x1b\\[1A\x1b\\[2K", told(True))[-1]
    last = [line for line in re.sub("\x1b\\[[0-9?]*[a-zA-Z]", "", drawn).splitlines() if line]
    assert re.search(r"simclusters ━+ +25% 0:00:00 communities", last[-1])
    whole = told(True)
    assert re.search(r"tweepcred ━+ 100% 0:00:00", whole)
    assert "archiving" not in drawn
    assert "twhin" not in drawn


def test_nobody_need_be_told() -> None:
    bars = Bars()
    bars.say("archiving")
    bars.progress("tweepcred: reading", 0.5)
    bars.end("tweepcred", trained=True)
