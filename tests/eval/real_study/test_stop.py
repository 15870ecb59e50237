"""Stopping, by whatever way: after it the arm is at home and let go, or it is held. How long it takes is in
tests/benchmarks/bench_console.py.
"""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from real_studies import mock_bench
from so101_eval.real_study.console.keys import ESCAPE
from so101_eval.real_study.console.remote import ConsoleOperator
from so101_eval.real_study.console.terminal import TerminalOperator
from so101_eval.real_study.session.bench import Bench, Ran
from so101_eval.real_study.session.contenders import Playing
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.operator import Operator
from so101_eval.real_study.session.showing import Showing
from so101_eval.real_study.session.view import View
from so101_robot.joints import JOINTS
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.mock.serve.mock_process import MockProcess

DRIVER = Path(__file__).parents[2] / "support" / "driven_bench.py"
PATIENCE_S = 60.0
SAMPLE = 10
"""Ticks of the policy before somebody stops."""
TRIAL = View("trial", code="QXTR", running=True)


@pytest.fixture(scope="module")
def bench() -> Generator[Bench]:
    with mock_bench(2.0) as one:
        yield one


class Pressing:
    """Somebody who does something on one tick, and waits until it has arrived."""

    name = "pressing"

    def __init__(self, press: Callable[[], None], arrived: Callable[[], bool]) -> None:
        self._press, self._arrived, self._ticks = press, arrived, 0
        self.goals: list[list[float]] = []
        """In force after it."""

    def on_tick(self, tick: Tick) -> None:
        if tick.phase != "run":
            return
        self._ticks += 1
        if self._ticks == SAMPLE:
            self._press()
            until_s = time.monotonic() + PATIENCE_S
            while not self._arrived():
                assert time.monotonic() < until_s, "what was pressed did not arrive"
                time.sleep(0.005)
        elif self._ticks > SAMPLE and tick.goal is not None:
            self.goals.append(tick.goal.tolist())

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...


def pressed(
    bench: Bench,
    folder: Path,
    operator: Operator,
    press: Callable[[], None],
    arrived: Callable[[Control], bool],
) -> tuple[Ran, Pressing]:
    control = Control()
    pressing = Pressing(press, lambda: arrived(control))
    operator.drives(control)
    watching = [Showing(operator, TRIAL, control), pressing]
    return bench.drive(Playing(None), 0.0, folder, "QXTR", watching, control), pressing


@pytest.mark.parametrize(("key", "why"), [(" ", "stopped"), ("d", "danger")])
def test_a_key_in_the_terminal_sends_the_arm_home(bench: Bench, tmp_path: Path, key: str, why: str):
    operator = TerminalOperator()
    ran, pressing = pressed(
        bench, tmp_path / "t", operator, lambda: operator.press(key), lambda c: c.why is not None
    )
    assert (ran.why, ran.at_home, ran.held) == (why, True, "")
    assert ran.stop_to_hold_s is not None
    assert pressing.goals == [], "the tick after the stop is not the policy's"


def test_escape_holds_the_arm_where_it_is_and_the_time_goes_on(bench: Bench, tmp_path: Path):
    operator = TerminalOperator()
    ran, pressing = pressed(bench, tmp_path / "t", operator, lambda: operator.press(ESCAPE), lambda c: c.held)
    assert (ran.why, ran.at_home) == ("time", True)
    assert len(pressing.goals) > 40
    assert all(goal == pressing.goals[0] for goal in pressing.goals)


def test_the_page_sends_the_arm_home(bench: Bench, tmp_path: Path):
    operator = ConsoleOperator(0)

    def press() -> None:
        body = json.dumps({"kind": "stop"}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{operator.port}/action", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.status == 200

    try:
        ran, pressing = pressed(bench, tmp_path / "t", operator, press, lambda c: c.why is not None)
    finally:
        operator.close()
    assert (ran.why, ran.at_home, ran.held) == ("stopped", True, "")
    assert pressing.goals == []


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.timeout(300)
def test_a_runner_that_is_killed_leaves_an_arm_that_is_held(tmp_path: Path):
    """SIGKILL leaves nobody to end the trial: the watchdog of so101-run does."""
    with MockProcess(cameras=False) as mock:
        told = [mock.port, mock.robot_id, str(mock.calibration_dir), str(tmp_path / "trial")]
        runner = subprocess.Popen([sys.executable, str(DRIVER), *told], stdout=subprocess.PIPE)
        try:
            assert runner.stdout is not None  # it is a pipe
            assert runner.stdout.readline() == b"driving\n"
            runner.send_signal(signal.SIGKILL)
            assert runner.wait(PATIENCE_S) == -signal.SIGKILL
        finally:
            runner.kill()
            runner.wait()
            if runner.stdout is not None:
                runner.stdout.close()
        report = tmp_path / "trial" / "watchdog.json"
        until_s = time.monotonic() + PATIENCE_S
        while not report.exists():
            assert time.monotonic() < until_s, "the watchdog did nothing"
            time.sleep(0.02)
        assert json.loads(report.read_text())["text"] == "held"
        assert [mock.call("register", joint=joint, name="Torque_Enable") for joint in JOINTS] == [1] * 6
