"""The mathematics of homing: from encoder counts to a LeRobot calibration. Pure functions on integers.

An STS3215 reads `present = (raw - Homing_Offset) mod 4096`, where `raw` is the encoder's own count. LeRobot stores the
offset in 11 bits and a sign, records the range of `present` that a joint covers, and calls the middle of that range
0 degrees. So three things make a calibration right: the range does not cross 0/4095 in `present`, the offset is
within +-2047, and the ends are the joint's ends. Here the ends are measured first, in raw counts that are unrolled
over the encoder's wrap, and the offset follows from them: the middle of the range reads 2047. LeRobot's order (offset
from a pose judged by eye, then the range) gives the same angles, but wraps if that pose was wrong.

Sources: LeRobot 0.6.1 (`FeetechMotorsBus._get_half_turn_homings`, `SerialMotorsBus._normalize`); Feetech memory
table for the register; the sign of the offset as measured on servos with firmware 3.10.
"""

from so101_robot.bus.calibration import DEG_PER_STEP, LARGEST_OFFSET, JointCalibration, wrapped
from so101_robot.guard.measured_ends import MeasuredEnds
from so101_robot.joints import FULL_TURN_JOINT, STEPS_PER_TURN
from so101_robot.preflight.calibration import size

HOME_STEPS = 2047
"""What a servo reads in the middle of its joint's range: LeRobot's `int(4095 / 2)`."""


def homing_for(middle_raw: int) -> int:
    """The offset with which raw count `middle_raw` reads 2047, within +-2047.

    A middle exactly half a turn off (raw 4095) would need -2048, at which LeRobot stops with "Magnitude 2048 exceeds
    2047". There it reads 2046 instead; angles do not change, because the range moves along.
    """
    return max(-LARGEST_OFFSET, int(wrapped(middle_raw - HOME_STEPS)))


def joint_from_range(servo_id: int, low: int, high: int, drive_mode: int = 0) -> JointCalibration:
    """The calibration of a joint whose ends are at unrolled raw counts `low` and `high`."""
    middle = (low + high) // 2
    offset = homing_for(middle % STEPS_PER_TURN)
    reads = (middle - offset) % STEPS_PER_TURN
    return JointCalibration(servo_id, drive_mode, offset, reads + low - middle, reads + high - middle)


def full_turn_joint(servo_id: int, middle_raw: int) -> JointCalibration:
    """The calibration of the wrist's roll, which LeRobot gives the whole turn around the pose of homing."""
    return JointCalibration(servo_id, 0, homing_for(middle_raw), 0, STEPS_PER_TURN - 1)


def roll_ends(row: JointCalibration, zero: int, low: int, high: int) -> MeasuredEnds | None:
    """The stops of the wrist's roll as angles; None where they are not known.

    A person who rolls the wrist a part of the way shows that it is the right servo, and meets no stops.

    Args:
        row: its calibration.
        zero: the unrolled raw count of the pose of homing.
        low, high: unrolled raw counts between which it was rolled, and rested.
    """
    if size(FULL_TURN_JOINT, (high - low) * DEG_PER_STEP):
        return None
    reads = (zero - row.homing_offset) % STEPS_PER_TURN
    lower_deg, upper_deg = ((reads + end - zero - row.middle) * DEG_PER_STEP for end in (low, high))
    if not -180 <= lower_deg < 0 < upper_deg <= 180:
        return None
    return MeasuredEnds(row.homing_offset, lower_deg, upper_deg)


class Track:
    """Where a joint has been: raw counts unrolled over the wrap, and the ends at which it rested.

    An end counts when the joint stayed there (or beyond) for `REST_S`, so that a rebound from a stop and a single bad
    reading do not. A joint that moves more than a quarter turn between two samples cannot be followed: which
    way it went cannot be known, and `jumped` is set.
    """

    REST_S = 0.1
    JUMP_STEPS = STEPS_PER_TURN // 4

    def __init__(self) -> None:
        self.position: int | None = None
        """Unrolled raw count; it starts as the raw count."""
        self.low: int | None = None
        self.high: int | None = None
        self.seen_low = self.seen_high = 0
        self.jumped = False
        self._recent: list[tuple[float, int]] = []

    def add(self, time_s: float, raw: int) -> None:
        """Take a sample of the raw count, 0..4095."""
        if self.position is None:
            self.position = self.seen_low = self.seen_high = raw
        step = int(wrapped(raw - self.position))
        self.jumped |= abs(step) > self.JUMP_STEPS
        self.position += step
        self.seen_low, self.seen_high = min(self.seen_low, self.position), max(self.seen_high, self.position)
        self._recent.append((time_s, self.position))
        if time_s - self._recent[0][0] >= self.REST_S:
            self._settle(time_s)

    @property
    def span_deg(self) -> float:
        """Between the ends at which the joint rested [deg]."""
        return 0.0 if self.low is None or self.high is None else (self.high - self.low) * DEG_PER_STEP

    @property
    def travel_deg(self) -> float:
        """Between the farthest positions seen, rested or not [deg]."""
        return (self.seen_high - self.seen_low) * DEG_PER_STEP

    def begin(self) -> None:
        """Forget the ends, keep counting."""
        self.low = self.high = None
        self._recent.clear()
        self.jumped = False
        if self.position is not None:
            self.seen_low = self.seen_high = self.position

    def _settle(self, time_s: float) -> None:
        while len(self._recent) > 2 and time_s - self._recent[1][0] >= self.REST_S:
            self._recent.pop(0)
        window = [position for _, position in self._recent]
        lowest, highest = max(window), min(window)
        self.low = lowest if self.low is None else min(self.low, lowest)
        self.high = highest if self.high is None else max(self.high, highest)


def is_full_turn(joint: str) -> bool:
    """Whether LeRobot calibrates this joint to the whole turn."""
    return joint == FULL_TURN_JOINT
