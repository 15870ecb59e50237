"""A hand that leads: poses over time, for a mock leader.

The hand goes from pose to pose, at rest in each, with a speed that rises and falls softly. Poses are in LeRobot's
units (degrees from the middle of the calibrated range, percent of the gripper), as a dataset has them. A file has them
as YAML:

    repeat: true
    poses:
      - {at_s: 3, shoulder_pan: 0, shoulder_lift: -57, elbow_flex: 46}
      - {at_s: 5, shoulder_pan: 25}          # the other joints stay
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from so101_policy.errors import first_line
from so101_policy.files.plain_data import parse_yaml, read_text
from so101_robot.errors import ConfigError
from so101_robot.joints import FULL_TURN_JOINT, GRIPPER, JOINTS
from so101_robot.mock.physics.hand import Hand
from so101_robot.mock.physics.model import load_kinematics
from so101_robot.mock.servo.servo import Bridge

SHORTEST_S = 0.1
"""Between two poses: a hand is not faster."""

STILL_S, STILL_RAD = 1.0, 0.05
"""A leader under torque that has moved by less for so long waits for a hand."""

PULL_RAD, PULL_S = 0.2, 0.4
"""What a hand does that takes it then."""

OVER_DEG = 1.0
"""So far beyond the end of a range a pose may be: ends are rounded [deg, percent]."""


class Pose(NamedTuple):
    """Where the hand has brought the arm by a time."""

    at_s: float
    joints: Mapping[str, float]
    """Joint -> LeRobot units; a joint that is not named stays."""


class Script(NamedTuple):
    """What the hand does."""

    poses: tuple[Pose, ...]
    repeat: bool = True
    """From the last pose to the first and so on; false: the hand stays in the last."""


def _whole(at_s: float, *values: float) -> Pose:
    return Pose(at_s, dict(zip(JOINTS, values, strict=True)))


PLAY = Script(
    (
        _whole(2.5, 0, -57, 46, 63, 0, 30),
        _whole(4.5, 25, -50, 40, 63, 20, 60),
        _whole(7.0, -25, -57, 50, 60, -20, 10),
        _whole(9.0, 0, -65, 55, 60, 0, 40),
    )
)
"""Without a file: from the folded pose up, and slowly to and fro well above the table, every joint, for ever."""


TAKES_OVER = Script((Pose(10.0, {}), Pose(11.0, {"shoulder_lift": -80.0, "elbow_flex": 75.0})), repeat=False)
"""Without a file, where a policy drives: at rest, and ten seconds after the start the hand lifts it a little. By then a
policy is at its first pose."""


def read_script(path: Path) -> Script:
    """The script in a file. Raises ConfigError that names the pose and what is wrong with it."""
    flag = f"--hand={path}"
    try:
        given = parse_yaml(read_text(path))
    except (OSError, ValueError) as problem:
        raise ConfigError(
            f"{flag}: {first_line(problem)}; expected a YAML file of poses over time, keyboard, mouse or gamepad"
        ) from problem
    if not isinstance(given, dict) or not isinstance(given.get("poses"), list) or not given["poses"]:
        raise ConfigError(f"{flag}: expected a list `poses`, each like {{at_s: 3, shoulder_pan: 20}}")
    fields = cast("dict[str, Any]", given)
    if unknown := [str(name) for name in fields if name not in ("poses", "repeat")]:
        raise ConfigError(f"{flag}: there is no field {unknown[0]!r}; expected poses, repeat")
    repeat = fields.get("repeat", True)
    if not isinstance(repeat, bool):
        raise ConfigError(f"{flag}: repeat is true or false, not {repeat!r}")
    poses: list[Pose] = []
    for number, entry in enumerate(fields["poses"], start=1):
        poses.append(_pose(entry, poses[-1].at_s if poses else 0.0, f"{flag}: pose {number}"))
    return Script(tuple(poses), repeat)


def _pose(entry: Any, before_s: float, where: str) -> Pose:
    if not isinstance(entry, dict) or not all(_is_number(value) for value in entry.values()):
        raise ConfigError(f"{where}: expected numbers by name, like {{at_s: 3, shoulder_pan: 20}}")
    values = {str(name): float(value) for name, value in entry.items()}
    at_s = values.pop("at_s", math.nan)
    if not at_s >= before_s + SHORTEST_S:
        raise ConfigError(f"{where}: at_s = {at_s:g}; expected {before_s + SHORTEST_S:g} or more")
    ends = joint_ends()
    for name, value in values.items():
        if name not in ends:
            raise ConfigError(f"{where}: there is no joint {name!r}; expected {', '.join(JOINTS)}")
        low, high = ends[name]
        if not low - OVER_DEG <= value <= high + OVER_DEG:
            raise ConfigError(f"{where}: {name} = {value:g}; it can be at {low:.0f} to {high:.0f}")
    return Pose(at_s, values)


def joint_ends() -> dict[str, tuple[float, float]]:
    """Joint -> its ends in LeRobot's units."""
    ranges = zip(JOINTS, np.rad2deg(load_kinematics().range_rad).tolist(), strict=True)
    ends = {joint: (low - _zero_deg(joint), high - _zero_deg(joint)) for joint, (low, high) in ranges}
    return ends | {JOINTS[GRIPPER]: (0.0, 100.0)}


def joint_rad(joint: str, value: float) -> float:
    """The angle [rad] of a joint that LeRobot says is at `value`."""
    if joint == JOINTS[GRIPPER]:
        low, high = load_kinematics().range_rad[GRIPPER].tolist()
        return low + value / 100.0 * (high - low)
    return math.radians(value + _zero_deg(joint))


def _zero_deg(joint: str) -> float:
    """The angle that LeRobot calls 0: the middle of the range, and of the wrist's roll the pose of homing."""
    middle = np.rad2deg(load_kinematics().range_rad[JOINTS.index(joint)]).mean()
    return 0.0 if joint == FULL_TURN_JOINT else float(middle)


class ScriptedHand:
    """Plays a script with the hand of a mock leader. It lets go of an arm that is under torque, and begins anew when
    that is free again.

    Args:
        hand: of the mock arm.
        bridge: (6,) of its motors, kept up to date by the servos.
        script: what to do.
        taken: what to do after it has taken a leader that was brought to it and waits; None: it lets it wait.
    """

    def __init__(
        self,
        hand: Hand,
        bridge: NDArray[np.int8],
        script: Script = PLAY,
        taken: Script | None = None,
    ) -> None:
        self._hand, self._bridge, self._script, self._taken = hand, bridge, script, taken
        self._still: tuple[float, NDArray[np.float64]] | None = None
        self._played = self._pulls = False

    def watch(self, now_s: float) -> None:
        """Look at the arm, and queue what comes next; call it every few milliseconds of simulated time.

        Args:
            now_s: on the arm's clock. The script begins when the hand takes hold.
        """
        if not bool((self._bridge == Bridge.FREE).all()):
            if self._hand.active and not self._pulls:
                self._hand.release()
            self._played = False
            self._take(now_s)
            return
        if self._pulls:
            self._pulls, self._still, self._script = False, None, self._taken or self._script
            self._hand.release()
        if self._hand.busy or (self._played and not self._script.repeat):
            return
        self._played = True
        before_s = 0.0
        for pose in self._script.poses:
            targets = {joint: joint_rad(joint, value) for joint, value in pose.joints.items()}
            self._hand.move(targets, pose.at_s - before_s)
            before_s = pose.at_s

    def _take(self, now_s: float) -> None:
        """Turn a joint of a leader that waits."""
        if self._taken is None or self._pulls:
            return
        joint_rad = self._hand.joint_rad
        if self._still is None or np.abs(joint_rad - self._still[1]).max() > STILL_RAD:
            self._still = now_s, joint_rad.copy()
        elif now_s - self._still[0] >= STILL_S:
            self._pulls = True
            self._hand.move({JOINTS[0]: float(joint_rad[0]) + PULL_RAD}, PULL_S)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
