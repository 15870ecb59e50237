"""kill -9 of the whole command `so101-eval run`, with all its processes, at random moments; the same command goes on.

The finished folder has the records, the tables and the report of one that was left alone.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from so101_eval.cli import EVAL
from so101_eval.evaluation.records import EPISODES, EVAL_INFO, RUN, TABLE, read_episodes, read_runs
from so101_eval.evaluation.run_folder import SESSIONS
from so101_eval.report import report_data

BEGIN_S = 8.0
"""About what a sitting takes until it plays; kills without regard to progress come within that."""
EPISODE_S = 1.0
"""About what an episode takes."""
PATIENCE_S = 900.0
"""A sitting takes seconds, and minutes where others keep the machine busy."""


def asked(scenes: int, out: Path, scenarios: str = "nominal") -> list[str]:
    what = [
        "--policies",
        "expert",
        "hold",
        "--task",
        "palletize-1",
        "--scenarios",
        scenarios,
        "--width=24",
        "--height=24",
    ]
    return ["run", *what, "--episodes", str(scenes), "--output_dir", str(out)]


def results(out: Path) -> tuple[Any, ...]:
    """All that may not depend on how a run went: records and tables without times, and what a report is made of."""
    info = json.loads((out / EVAL_INFO).read_text())
    for name in ("eval_s", "eval_ep_s"):
        del info["overall"][name]
    records = [record.comparable() for record in read_episodes(out / EPISODES)]
    report = json.dumps(report_data(read_runs([out])))
    return records, info, (out / TABLE).read_text(), (out / RUN).read_text(), report


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def kill(arguments: list[str], out: Path, rng: random.Random, is_blind: bool) -> None:
    """Begin the command and kill it: at any moment of its beginning, or a while after it has played some more."""
    command = [sys.executable, "-m", "so101_eval", *arguments]
    file = out / (EPISODES if rng.random() < 0.6 else SESSIONS)
    before, give_up_s = size(file), time.monotonic() + PATIENCE_S
    said = out.with_suffix(".err")
    with said.open("w") as errors:
        sitting = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
    try:
        while not is_blind and size(file) == before:
            assert sitting.poll() is None, f"it ended by itself: {said.read_text()[-1000:]}"
            assert time.monotonic() < give_up_s, "it does not play"
            time.sleep(0.003)
        time.sleep(rng.uniform(0.0, BEGIN_S if is_blind else EPISODE_S))
    finally:
        if sitting.poll() is None:
            os.killpg(sitting.pid, signal.SIGKILL)
        code = sitting.wait()
    assert code == -signal.SIGKILL, f"it ended by itself: {said.read_text()[-1000:]}"


def check(kills: int, jobs: tuple[int, ...], asked_of: Any, folder: Path, blind: float, seed: int) -> None:
    """Kill so often, with so many processes in turn, finish, and compare with a run that nobody disturbed."""
    rng, out, alone = random.Random(seed), folder / "killed", folder / "alone"
    found: list[int] = []
    for number in range(kills):
        with_jobs = ["--num_workers", str(jobs[number % len(jobs)])]
        kill([*asked_of(out), *with_jobs], out, rng, is_blind=rng.random() < blind)
        found.append((out / EPISODES).read_bytes().count(b"\n") if (out / EPISODES).exists() else 0)
    assert EVAL.main([*asked_of(out), "--num_workers", "1"]) == 0
    assert EVAL.main([*asked_of(alone), "--num_workers", "1"]) == 0
    assert found == sorted(found)  # what was finished is never lost
    assert 0 < found[-1] < len(read_episodes(alone / EPISODES))  # it was killed in the middle
    assert results(out) == results(alone)


def test_a_command_that_was_killed_ends_as_if_left_alone(tmp_path: Path):
    check(1, (1,), lambda out: asked(3, out), tmp_path, blind=0.0, seed=3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_command_killed_at_twenty_random_moments_ends_as_if_left_alone(tmp_path: Path):
    check(20, (1, 2), lambda out: asked(15, out, "nominal,pallet-shift"), tmp_path, blind=0.35, seed=2)
