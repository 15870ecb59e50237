"""A sitting of so101-bench at two real ports: a person takes over with the leader, and the trial is a failure."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from real_sessions import Table
from real_studies import locked, small_study
from so101_eval.real_study.measurement.nothing import Nothing
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.hands import Hands
from so101_eval.real_study.session.runner import TRIALS, Settings
from so101_eval.real_study.session.sitting import sit
from so101_eval.real_study.session.view import Action
from so101_eval.real_study.unblinding.unblind import unblind
from so101_robot.arm.config_arm import SO101Config
from so101_robot.commands.run_config import RunConfig
from so101_robot.leader.config_leader import LeaderConfig
from so101_robot.leader.config_takeover import TakeoverConfig
from so101_robot.runs.log import read_ticks
from two_arms import TwoArms

LIMIT_S = 5.0
"""Of a trial: time for a takeover on a busy machine."""


class Operator(Table):
    """Says that every trial succeeded but one that was taken over; takes over in the first."""

    def __init__(self) -> None:
        super().__init__(lambda: (0, 0), lambda block, policy: True)
        self.trials = 0

    def drives(self, control: Control | None) -> None:
        if control is None:
            return
        self.trials += 1
        if self.trials == 1:
            threading.Thread(target=self._take, args=(control,)).start()

    def _take(self, control: Control) -> None:
        """Once to ask for it, and again when the leader has come; a key more does nothing."""
        for _ in range(200):
            if self.views[-1].screen not in ("reset", "trial", "session"):
                return
            if control.running:
                control.take_over(True)
            threading.Event().wait(0.2)

    def next(self, timeout_s: float) -> Action | None:
        view = self.views[-1]
        if view.screen == "outcome" and view.suggested == "human":
            return Action("outcome", {"stages": [7], "success": False, "why": "human"})
        return super().next(timeout_s)

    def pictures(self, frames: Mapping[str, Any]) -> None: ...


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_takeover_at_two_real_ports_is_a_failure_in_the_studys_table(tmp_path: Path):
    arms = TwoArms(tmp_path)
    folder = tmp_path / "study"
    locked(folder, replace(small_study(blocks=2), time_limit_s=LIMIT_S))
    config = RunConfig(
        robot=SO101Config(port=arms.follower.server.path, id="follower", calibration_dir=tmp_path),
        teleop=LeaderConfig(port=arms.leader.server.path, id="leader", calibration_dir=tmp_path),
        takeover=TakeoverConfig(moved_deg=0),
        clip=False,
    )
    operator = Operator()

    def at_the_bench(hands: Hands) -> Operator:
        return operator

    try:
        state = sit(
            folder, config, at_the_bench, lambda study, robot: Nothing(),
            Settings(countdown_s=0.0, operator="anna"),
        )  # fmt: skip
    finally:
        arms.follower.close()
        arms.leader.close()
    assert operator.trials == 4
    whys = [trial.outcome.why for trial in state.trials.values() if trial.outcome is not None]
    assert whys.count("human") == 1
    taken = next(
        code for code, trial in state.trials.items() if trial.outcome and trial.outcome.why == "human"
    )
    drivers = [tick.get("driver") for tick in read_ticks(folder / TRIALS / taken / "ticks.jsonl")]
    assert {"policy", "hold", "handover", "human"} <= set(drivers)
    summary = unblind(folder)
    assert sum(each.taken_over for each in summary.of_policies) == 1
    assert sorted(each.successes for each in summary.of_policies) == [1, 2]
    assert any("a person took over, which counts as a failure" in line for line in summary.lines())
    assert arms.torque == [0] * 12
