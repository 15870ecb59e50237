"""kill -9 while the servos are being written: the next start makes arm and file agree, as before or as after."""

import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

import so101_calibration
import so101_robot
from so101_calibration import files
from so101_calibration.servos import compare, journal
from so101_calibration.servos.line import open_line
from so101_robot.mock.serve.mock_process import MockProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DELAYS_S = (0.0, 0.01, 0.03, 0.06, 0.1, 0.2)
"""From the journal's appearance to the kill; a whole write takes about 0.3 s."""


def test_after_kill_9_arm_and_file_are_as_before_or_as_after(tmp_path: Path) -> None:
    path, source = tmp_path / "arm.json", tmp_path / "new" / "arm.json"
    with MockProcess(seed=5, cameras=False) as mock:
        with open_line(mock.port) as line:
            now = compare.stored(line.rows())
        files.write_whole(path, files.dump(now))
        cut = 0
        for k, delay_s in enumerate(DELAYS_S, 1):
            wanted = {
                name: joint._replace(homing_offset=joint.homing_offset // 2 + k)
                for name, joint in now.items()
            }
            files.write_whole(source, files.dump(wanted))
            killed(mock.port, path, source, delay_s)
            cut += journal.journal_path(path).exists()
            with open_line(mock.port) as line:
                told = journal.recover(line, path, datetime.now())
                found = compare.stored(line.rows())
                assert files.read(path) == found
                assert found in (now, wanted), told
                assert not line.sample().torque.any()
            now = found
        assert cut >= 2  # else none of them hit a write


def killed(port: str, path: Path, source: Path, delay_s: float) -> None:
    rooms = [str(Path(module.__file__ or "").parent.parent) for module in (so101_robot, so101_calibration)]
    words = [
        f"--robot.port={port}",
        "--robot.id=arm",
        f"--robot.calibration_dir={path.parent}",
        f"--from={source}",
        "--yes",
    ]
    command = subprocess.Popen(
        [sys.executable, "-m", "so101_calibration", "servos", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(rooms)},
    )  # fmt: skip
    try:
        while not journal.journal_path(path).exists() and command.poll() is None:
            time.sleep(0.001)
        time.sleep(delay_s)
    finally:
        command.send_signal(signal.SIGKILL)
        command.wait()
