"""kill -9, a few times, and what is left."""

import json
from pathlib import Path

import pytest

from experiments.faults import kills
from experiments.faults.kills import Kill, in_words
from so101_robot.arm.config_arm import SO101Config
from so101_robot.joints import JOINTS
from so101_robot.watchdog.last_resort import FREE

KILL = Kill(3, "park", 1.0, "run", 40, "parked and released", "parked", 2, ())


@pytest.mark.slow
def test_a_runner_that_is_killed_leaves_its_log_the_episodes_and_a_safe_arm(tmp_path: Path):
    found = kills.kills(4, 1, tmp_path)
    assert [kill.problems for kill in found] == [()] * 4
    assert {kill.action for kill in found} == {"hold", "park"}
    assert sum(kill.ticks for kill in found) > 20


def test_ticks_with_a_gap_in_their_order_are_a_problem(tmp_path: Path):
    path = tmp_path / "ticks.jsonl"
    lines = [json.dumps({"tick": k, "phase": "run"}) for k in (0, 1, 2)]
    path.write_text("\n".join([*lines, '{"tick": 3, "pha']))
    problems: list[str] = []
    assert kills._ticks(path, problems) == (3, "run")  # pyright: ignore[reportPrivateUsage]
    assert problems == []
    path.write_text("\n".join([lines[0], lines[2], lines[1], ""]))
    kills._ticks(path, problems)  # pyright: ignore[reportPrivateUsage]
    assert "not in order" in problems[0]


def test_a_problem_is_told_with_its_kill():
    words = in_words([KILL, KILL._replace(number=4, problems=("the arm is neither",))])
    assert "1 with a problem" in words
    assert "kill 4: the arm is neither" in words
    assert "2 in phase run" in words


def test_no_kills_at_all_are_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        kills.main(["--kills=0"])
    assert ended.value.code == 2
    assert "expected 1 or more" in capsys.readouterr().err


class StillArm:
    """Answers for the mock: an arm at home, free or not."""

    def __init__(self, torque: int, steps: list[int]) -> None:
        self._torque, self._steps = torque, steps

    def call(self, what: str, joint: str, name: str) -> int:
        return self._torque if name == "Torque_Enable" else self._steps[JOINTS.index(joint)]


@pytest.mark.parametrize(
    ("action", "torque", "report", "problem"),
    [
        ("hold", 1, {"text": "held"}, False),
        ("hold", 0, {"text": FREE}, False),  # the runner had let go at home
        ("hold", 0, {"text": "held"}, True),
        ("park", 0, {"text": "parked and released"}, False),
        ("park", 1, {"text": "held"}, True),
        ("hold", 0, {}, False),  # over before the kill
        ("hold", 1, {}, True),
    ],
)
def test_an_arm_has_to_be_as_the_watchdog_was_told(
    tmp_path: Path, action: str, torque: int, report: dict[str, str], problem: bool
):
    fields = {joint: {"range_min": 0, "range_max": 4095} for joint in JOINTS}
    (tmp_path / "arm.json").write_text(json.dumps(fields))
    plan = kills.Plan("/dev/arm", "arm", tmp_path, tmp_path, tmp_path, action)
    home = [round(2047.5 + degrees * 4096 / 360) for degrees in SO101Config(port="mock").home[:5]]
    problems: list[str] = []
    kills._arm(StillArm(torque, home), plan, report, problems)  # type: ignore[arg-type]  # pyright: ignore
    assert bool(problems) == problem
