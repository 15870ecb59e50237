"""so101-run in real time at a serial port (a pseudo-terminal): a run, a cable pulled, a supervisor at its end."""

import json
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from checkpoints import thin
from running import SO101_RUN, wait_for
from so101_robot.cli import RUN
from so101_robot.faults import supervisor
from so101_robot.faults.supervisor import Rule
from so101_robot.joints import JOINTS
from so101_robot.mock.serve.mock_process import MockProcess
from so101_robot.runs.log import read_ticks


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thin(tmp_path_factory.mktemp("checkpoint"), says_fps=30.0)


def on_the_terminal(checkpoint: Path, out: Path, arm: MockProcess, *more: str) -> list[str]:
    """Arguments for an arm that knows no simulated time."""
    camera = f"type: zmq, server_address: 127.0.0.1, port: {arm.zmq_port}, width: 96, height: 96, fps: 30"
    cameras = ", ".join(f"{name}: {{{camera}, camera_name: {name}}}" for name in ("front", "wrist"))
    place = [f"--robot.port={arm.port}", f"--robot.id={arm.robot_id}"]
    place.append(f"--robot.calibration_dir={arm.calibration_dir}")
    return [
        f"--policy.path={checkpoint}",
        *place,
        f"--robot.cameras={{{cameras}}}",
        f"--output_dir={out}",
        *more,
    ]


def test_an_unplugged_port_ends_the_run_with_one_message_about_the_port_and_one_about_torque(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(supervisor.FAULT_RULES, "port gone", Rule(hold_s=1.0))  # pyright: ignore[reportArgumentType]
    run = tmp_path / "run"
    with MockProcess() as arm:
        unplug = threading.Thread(target=lambda: (wait_for(run, "run", 60), arm.close()))
        unplug.start()
        code = RUN.main(on_the_terminal(checkpoint, run, arm, "--dashboard=off", "--approach_speed=0"))
        unplug.join()
    assert code == 1
    error = capsys.readouterr().err
    assert "torque may still be on: shoulder_pan" in error
    assert arm.port in error
    assert "Traceback" not in error
    driven = [tick for tick in read_ticks(run / "ticks.jsonl") if tick.get("phase") == "run"]
    assert any(tick["chunk"]["source"] == "chunk" for tick in driven), (
        "in real time it drives as in simulated time"
    )
    assert driven[59]["frames"]["wrist"]["sequence"] > driven[0]["frames"]["wrist"]["sequence"]


@pytest.mark.timeout(400)
def test_a_supervisor_that_loses_its_patience_leaves_the_arm_held(checkpoint: Path, tmp_path: Path) -> None:
    """SIGINT, SIGTERM, SIGKILL, each before the one before has brought the arm home."""
    out = tmp_path / "run"
    report = out / "watchdog.json"
    with MockProcess() as arm:
        flags = ("--dashboard=off", "--approach_speed=0", "--ending.speed=1", "--watchdog.hang_s=60")
        runner = subprocess.Popen([*SO101_RUN, *on_the_terminal(checkpoint, out, arm, *flags)])
        try:
            wait_for(out, "run", 3, 200.0)
            moved = time.monotonic() + 60
            while not any(tick.get("sent") for tick in read_ticks(out / "ticks.jsonl")):
                assert time.monotonic() < moved
                time.sleep(0.05)
            runner.send_signal(signal.SIGINT)
            wait_for(out, "home", 3)
            runner.send_signal(signal.SIGTERM)
            wait_for(out, "home", 10)
            assert runner.poll() is None
        finally:
            runner.kill()
            runner.wait()
        deadline = time.monotonic() + 60
        while not report.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        found = json.loads(report.read_text())
        assert (found["fate"], found["done"], found["text"]) == ("died", True, "held")
        assert [arm.call("register", joint=joint, name="Torque_Enable") for joint in JOINTS] == [1] * 6
