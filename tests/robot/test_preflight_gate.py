"""A pre-flight that says stop: nothing is driven, by neither command. Asked of the commands, since each check has tests
of its own and a command that forgets to obey them would pass those."""

import json
from pathlib import Path
from typing import Any

import draccus
import numpy as np
import pytest

from so101_robot.cli import REPLAY, RUN
from so101_robot.commands import replay, run
from so101_robot.commands.run_config import RunConfig
from so101_robot.preflight.findings import Finding, Level

pytestmark = pytest.mark.timeout(600)
"""All that is imported for a run takes 20 s of a free core, and whoever comes first waits for it."""

STOP = Finding(Level.STOP, "servos", "servo 3", "it is on fire", "no fire", "put it out")
QUICK = [
    "--robot.mock.width=96",
    "--robot.mock.height=96",
    "--robot.mock.realtime_factor=0",
    "--dashboard=off",
]


def test_so101_run_drives_nothing(
    touched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(run, "preflight", lambda *_: [STOP])
    code = RUN.main([*QUICK, "--policy.engine=plain", "--duration_s=0.2", f"--output_dir={tmp_path / 'run'}"])
    assert (code, touched) == (2, [])
    assert "the pre-flight check says no, and the arm was not moved" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_so101_replay_drives_nothing(
    touched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    (recorded / "run.json").write_text(
        json.dumps({"config": draccus.encode(RunConfig(fps=30.0)), "calibration": None})
    )
    goal = np.array([0.0, -88.0, 82.0, 65.0, 0.0, 15.0]).tolist()
    tick: dict[str, Any] = {"phase": "run", "mode": "running", "unix_s": 0.0, "late_ms": 0.0, "stages_ms": {}}
    lines = [
        json.dumps({**tick, "tick": n, "t": n / 30, "state": goal, "sent": goal, "guard": "ok"})
        for n in range(9)
    ]
    (recorded / "ticks.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(replay, "findings", lambda *_: [STOP])
    code = REPLAY.main([str(recorded), *QUICK, f"--output_dir={tmp_path / 'again'}"])
    assert (code, touched) == (2, [])
    assert "the pre-flight check says no, and the arm was not moved" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
