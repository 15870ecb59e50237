"""so101-replay plays what was sent, through guard and loop, and is honest about how far the arm was from it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import draccus
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot.motors import MotorCalibration
from numpy.typing import NDArray

from so101_robot.bus.units import Scale
from so101_robot.chunks.scheduler import Planned
from so101_robot.cli import REPLAY
from so101_robot.commands import replay, watching
from so101_robot.commands.drive import drive
from so101_robot.commands.replay_parts import Played, check_calibration, check_goals, check_rate, on_steps
from so101_robot.commands.run_config import RunConfig
from so101_robot.display.web.run_page import Result, RunPage
from so101_robot.errors import ConfigError, UnsafeActionError
from so101_robot.guard.guard import Guard, GuardLimits
from so101_robot.joints import JOINTS
from so101_robot.loop.loop import Outcome
from so101_robot.loop.stopping import StopRequests
from so101_robot.runs.log import read_ticks
from so101_robot.runs.read import Recording, read_recording

pytestmark = pytest.mark.timeout(600)
"""All that is imported for a run takes 20 s of a free core, and whoever comes first waits for it."""

HOME = np.array([0.0, -98.0, 92.0, 65.0, 0.0, 5.0])
ENDS = np.array([-100.0, -100, -100, -100, -160, 0]), np.array([100.0, 100, 97, 100, 160, 100])
FPS = 30.0
TICKS = 30
QUICK = [
    "--robot.mock.realtime_factor=0",
    "--robot.mock.width=32",
    "--robot.mock.height=32",
    "--dashboard=off",
]
QUICK += ["--ending.home=false"]

Ticks = list[dict[str, Any]]


def scale_of(drive_mode: int) -> Scale:
    return Scale(
        {
            joint: MotorCalibration(
                id=n, drive_mode=drive_mode, homing_offset=0, range_min=900, range_max=3201
            )
            for n, joint in enumerate(JOINTS, start=1)
        }
    )


SCALE = scale_of(drive_mode=0)
"""A middle between two steps, as most real ones."""


def goals() -> NDArray[np.float64]:
    """A slow bow of all joints, away from home by 10 degrees."""
    way = np.sin(np.linspace(0, np.pi / 2, TICKS))[:, None]
    return np.round(HOME + [0.0, 10.0, -10.0, 0.0, 0.0, 10.0] + way * [8.0, 5.0, -5.0, 5.0, 5.0, 5.0], 3)


def ticks() -> Ticks:
    """A tick of `ticks.jsonl` for every goal, where the joints were exactly there."""
    return [
        {
            "tick": 7 + number,
            "phase": "run",
            "mode": "running",
            "t": number / FPS,
            "unix_s": number / FPS,
            "late_ms": 0.0,
            "stages_ms": {"read": 1.0},
            "state": goal.tolist(),
            "sent": goal.tolist(),
            "guard": "ok",
        }
        for number, goal in enumerate(goals())
    ]


def write(folder: Path, records: Ticks, tail: str = "", **facts: Any) -> Path:
    folder.mkdir()
    about = {"config": draccus.encode(RunConfig(fps=30.0)), "calibration": None, **facts}
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "ticks.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return folder


def recording(records: Ticks, tmp_path: Path) -> Recording:
    return read_recording(write(tmp_path / "run", records))


# reading


def test_what_was_not_sent_stays_and_what_was_missed_is_not_measured(tmp_path: Path) -> None:
    records = ticks()
    home = {**records[-1], "phase": "home", "tick": 99}
    start = [
        {**records[0], "tick": n, "sent": None, "phase": phase} for n, phase in ((1, "approach"), (2, "run"))
    ]
    records[4]["sent"] = None  # the arm held
    records[5]["answered"] = [True] * 5 + [False]
    del records[8]
    read = recording([*start, *records, home, {"messages": ["released"]}], tmp_path)
    assert read.goals.shape == (TICKS, 6)
    expected = goals()
    expected[4], expected[8] = expected[3], expected[7]
    np.testing.assert_array_equal(read.goals, expected)
    assert np.isnan(read.measured[8]).all()
    assert np.flatnonzero(np.isnan(read.measured[5])).tolist() == [5]
    assert (read.unsent, read.missed, read.fps) == (1, 1, 30.0)


def test_a_run_that_was_killed_can_be_played(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", ticks(), tail='{"tick": 44, "sta')
    assert len(read_recording(folder).goals) == TICKS


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: None, "there is no run folder"),
        (lambda folder: folder.mkdir(), "is no run folder: it has no run.json"),
        (lambda folder: write(folder, []), "the policy never moved the arm"),
        (lambda folder: write(folder, ticks(), config={"robot": {}}), "is not what so101-run writes"),
    ],
)
def test_what_is_no_run_is_named(tmp_path: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(tmp_path / "run")
    with pytest.raises(ConfigError, match=message):
        read_recording(tmp_path / "run")


def test_other_runs_are_offered_where_there_is_none(tmp_path: Path) -> None:
    write(tmp_path / "other", ticks())
    with pytest.raises(ConfigError, match=r"there is no run folder .*; there are .*other"):
        read_recording(tmp_path / "rum")


# playing


def test_the_recording_waits_while_the_arm_holds_and_then_asks_for_the_end(tmp_path: Path) -> None:
    read, stop = recording(ticks(), tmp_path), StopRequests()
    played = Played(read, stop)

    def next_(tick: int) -> Planned:
        return played.next(tick, 0.0, lambda: pytest.fail("a replay looks at nothing"))

    assert [next_(tick).index_in_chunk for tick in (5, 6, 8)] == [0, 1, 3]  # 7 was missed
    played.wait()
    played.wait()
    assert [next_(tick).index_in_chunk for tick in (20, 21)] == [3, 4]
    assert not stop.requested
    assert next_(21 + TICKS).index_in_chunk == TICKS - 1
    assert (stop.requested, stop.count, stop.reason) == (True, 0, "the recording is over")


def test_the_mock_arm_gets_the_goals_of_the_run_and_the_distance_is_true(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write(tmp_path / "run", ticks())
    again = tmp_path / "again"
    assert REPLAY.main([str(first), *QUICK, f"--output_dir={again}"]) == 0
    said = capsys.readouterr().out
    assert f"{TICKS} of {TICKS} goals were sent again" in said
    played = [tick for tick in read_ticks(again / "ticks.jsonl") if tick.get("phase") == "run"]
    np.testing.assert_allclose(
        [tick["sent"] for tick in played], goals(), atol=0.06
    )  # rounded to steps of 0.09 deg
    approach = [tick for tick in read_ticks(again / "ticks.jsonl") if tick.get("phase") == "approach"]
    assert len(approach) > 5  # it does not leap to the first pose
    moved = np.array([tick["state"] for tick in played]) - np.array([tick["state"] for tick in ticks()])
    told = json.loads((again / "replay.json").read_text())
    assert told["sent"] == TICKS
    for number, joint in enumerate(told["joints"].values()):
        assert joint["rms"] == pytest.approx(np.sqrt(np.mean(moved[:, number] ** 2)), abs=1e-3)
        assert joint["max"] == pytest.approx(np.abs(moved[:, number]).max(), abs=1e-3)
        assert joint["ticks"] == TICKS
    about = json.loads((again / "run.json").read_text())
    assert about["replay"]["of"] == str(first)

    assert (
        REPLAY.main([str(again), *QUICK, f"--output_dir={tmp_path / 'third'}"]) == 0
    )  # a replay is a run, too
    third = json.loads((tmp_path / "third" / "replay.json").read_text())
    assert all(joint["max"] < 0.5 for joint in third["joints"].values())  # the same arm does the same
    repeated = [tick for tick in read_ticks(tmp_path / "third" / "ticks.jsonl") if tick.get("phase") == "run"]
    assert [tick["sent"] for tick in repeated] == [tick["sent"] for tick in played]  # to the step


def test_a_replay_that_goes_wrong_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stuck(*arguments: Any) -> Outcome:
        return drive(*arguments)._replace(error=UnsafeActionError("the arm is stuck"))

    monkeypatch.setattr(replay, "drive", stuck)
    first = write(tmp_path / "run", ticks()[:5])
    shown: list[Result] = []

    class Page(RunPage):
        def __init__(self, cameras: Sequence[str], on_ready: Callable[[str], None]) -> None:
            super().__init__(cameras, on_ready, stay_s=0.0, port=0)

        def finish(self, result: Result) -> None:
            shown.append(result)
            super().finish(result)

    monkeypatch.setattr(watching, "RunPage", Page)
    assert REPLAY.main([str(first), *QUICK, "--display=web", f"--output_dir={tmp_path / 'again'}"]) == 1
    assert "the arm is stuck" in capsys.readouterr().err
    assert shown[0].good is False
    assert "goals were sent again" in shown[0].lines[0]


# looking first


def test_a_calibration_that_is_another_stops_a_real_arm_only() -> None:
    a, b = {"path": "a.json", "sha256": "1"}, {"path": "b.json", "sha256": "2"}
    levels = [check_calibration(*pair).level for pair in ((None, None), (a, a), (a, None), (None, a), (a, b))]
    assert levels == ["ok", "ok", "warn", "warn", "stop"]
    assert check_calibration(a, b, accept_another=True).level == "warn"
    unknown = {"path": "a.json", "sha256": None}
    assert check_calibration(unknown, unknown).level == "stop"  # two that are not there are not the same


def test_a_run_that_was_late_deserves_a_word(tmp_path: Path) -> None:
    read = recording(ticks(), tmp_path)
    assert check_rate(read).level == "ok"
    assert check_rate(read._replace(missed=2)).level == "warn"


def test_what_the_guard_will_change_is_known_before(tmp_path: Path) -> None:
    read = recording(ticks(), tmp_path)
    (fine,) = check_goals(read, Guard(GuardLimits(), *ENDS), ENDS)
    assert fine.level == "ok"
    slow = GuardLimits(joint_speed_deg_s=5.0)
    (finding,) = check_goals(read, Guard(slow, *ENDS), ENDS)
    assert finding.level == "warn"
    assert "speed shoulder_pan" in finding.found
    other = ENDS[0] + np.array([60.0, 0, 0, 0, 0, 0]), ENDS[1] + np.array([60.0, 0, 0, 0, 0, 0])
    far = read._replace(goals=read.goals - np.array([60.0, 0, 0, 0, 0, 0]))
    (finding,) = check_goals(far, Guard(GuardLimits(), *other), other)
    assert finding.level == "stop"
    assert "shoulder_pan is at" in finding.found


def test_an_arm_that_is_only_imagined_is_not_taken_for_a_blocked_one(tmp_path: Path) -> None:
    way = np.outer(np.linspace(0, 1, 30), [60.0, 0, 0, 0, 0, 0])  # 60 deg/s
    read = recording(ticks(), tmp_path)
    read = read._replace(goals=read.goals[:1] + way)
    (fine,) = check_goals(read, Guard(GuardLimits(), *ENDS), ENDS)
    assert fine.level == "ok"


def test_a_goal_at_a_limit_is_not_outside_for_the_rounding_of_a_log(tmp_path: Path) -> None:
    read = recording(ticks(), tmp_path)
    guard = Guard(GuardLimits(), *ENDS)
    moved = read.goals.copy()
    moved[3, 2], moved[4, 2] = 97.0004, 97.2
    near = on_steps(read._replace(goals=moved), SCALE, guard).goals
    assert near[3, 2] == 97.0
    assert near[4, 2] == pytest.approx(97.2, abs=0.09)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-1000, 1000), min_size=6, max_size=6), st.booleans())
def test_a_goal_as_it_is_logged_becomes_the_step_that_it_was(offsets: list[int], inverted: bool) -> None:
    scale = scale_of(drive_mode=1) if inverted else SCALE
    steps = np.array(offsets) + 2048
    logged = np.round(scale.to_joint(steps), 3)
    wide = np.full(6, -999.0), np.full(6, 999.0)
    read = Recording(Path(), {}, 30.0, logged[None], logged[None], 0, 0)
    (goal,) = on_steps(read, scale, Guard(GuardLimits(), *wide)).goals
    np.testing.assert_array_equal(scale.to_steps(goal), steps)


# asking


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which run? the first argument is a run folder"),
        (["--robot.port=mock", "RUN"], "which run?"),
        (["RUN", "--policy.path=x"], "a replay has no use for --policy.path"),
        (["RUN", "--fps=60"], "a replay has no use for --fps"),
        (["RUN", "--sped=1"], "there is no flag --sped"),
        (["RUN", "--robot.mock.scene=moon"], "moon"),
        (["RUN", "--robot.port=/dev/ttyNO"], "/dev/ttyNO"),
        (["RUN", "other"], "what does 'other' belong to?"),
    ],
)
def test_wrong_input_is_one_readable_message(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "run", ticks())
    out = tmp_path / "out"
    asked = [str(folder) if argument == "RUN" else argument for argument in arguments]
    assert REPLAY.main([*asked, f"--output_dir={out}"] if asked else asked) == 2
    error = capsys.readouterr().err
    assert error.startswith("so101-replay: ")
    assert message in error
    assert "Traceback" not in error
    assert not out.exists()


def test_the_help_begins_with_examples_and_names_only_flags_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert REPLAY.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.index("so101-replay outputs/run") < text.index("--robot.port=mock")
    folder, flags, other = replay.split(
        ["run", "--ending.speed=20", "--other_calibration", "--watchdog.on_death=park", "-v"]
    )
    assert (folder, other) == (Path("run"), True)
    assert flags == {"--ending.speed": "20", "--watchdog.on_death": "park", "--verbose": "true"}


def test_the_configuration_is_that_of_the_run_but_for_the_arm_and_what_was_broken(tmp_path: Path) -> None:
    config = RunConfig(fps=60.0, approach_speed=12.0)
    config.robot.port, config.robot.id = "/dev/ttyACM0", "my_arm"
    config.robot.limits = GuardLimits(joint_speed_deg_s=77.0)
    config.robot.mock.faults = tmp_path / "faults.yaml"
    config.policy.n_action_steps = 3
    folder = write(tmp_path / "run", ticks(), config=draccus.encode(config))
    again = replay.configured(read_recording(folder), {"--ending.speed": "20"})
    assert (again.fps, again.approach_speed, again.ending.speed) == (60.0, 12.0, 20.0)
    assert (again.robot.port, again.robot.id) == ("mock", "my_arm")
    assert again.robot.limits.joint_speed_deg_s == 77.0
    assert again.robot.mock.faults is None
    assert again.policy.n_action_steps is None
