"""so101-run as a process, and how to wait for what it does."""

import sys
import time
from pathlib import Path

from so101_robot.runs.log import read_ticks

SO101_RUN = [sys.executable, "-m", "so101_robot.commands.run"]


def wait_for(out: Path, phase: str, count: int, seconds: float = 60.0) -> None:
    """Until the run has had `count` ticks of that phase."""
    deadline = time.monotonic() + seconds
    path = out / "ticks.jsonl"
    while time.monotonic() < deadline:
        if path.exists() and sum(tick.get("phase") == phase for tick in read_ticks(path)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} ticks of phase {phase}")
