"""Progress of long work: bars on a terminal, a line for each part where there is none."""

import io
import re
from typing import Any

from rich.console import Console

from cluster.commands.bars import Bars, job_bars


def told(terminal: bool, **given: Any) -> str:
    """What is written of two jobs, of which one is trained."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=100, color_system=None)
    with job_bars(console, **given) as bars:
        bars.say("archiving")
        bars.progress("tweepcred: reading", 0.0)
        bars.progress("tweepcred: ranking", 0.0)
        bars.progress("tweepcred: ranking", 1.0)
        bars.say("tweepcred: activating")
        bars.end("tweepcred", done=True)
        bars.progress("twhin: reading", 0.0)
        bars.end("twhin", done=False)
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


def test_what_has_no_share_moves_until_it_has_one() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, color_system=None)
    with job_bars(console) as bars:
        bars.progress("ingest: reading", None)
        bars.progress("ingest: 10 events", 0.25)
        bars.progress("ingest: 20 events", None)
    drawn = re.split("\x1b\\[1A\x1b\\[2K|\r", written.getvalue())
    assert not any("0%" in line for line in drawn if "reading" in line)
    assert re.search(r"ingest ━+╺?━* +25% 0:00:00 20 events", drawn[-1])


def test_nobody_need_be_told() -> None:
    bars = Bars()
    bars.say("archiving")
    bars.progress("tweepcred: reading", 0.5)
    bars.end("tweepcred", done=True)
