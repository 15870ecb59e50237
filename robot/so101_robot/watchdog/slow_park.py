"""The way home of the last resort: slow, straight in joint space, and over at the first thing that is wrong.

Speeds are limited twice, by small steps of the goal and in the servos themselves, so that the arm does not leap if
this program is stopped on the way. Positions are encoder steps.
"""

import math
from dataclasses import dataclass

from so101_robot.bus.identity import Identity
from so101_robot.bus.protocol import Errors
from so101_robot.bus.small_bus import GOAL_POSITION, GOAL_VELOCITY, PHASE, SPEED_IN_STEPS, Servo, SmallBus
from so101_robot.clock import Clock
from so101_robot.joints import SERVO_IDS, STEPS_PER_TURN, named_servo
from so101_robot.motion import easing
from so101_robot.motion.tolerances import AT_HOME, HOLD_AT_GOAL_DEG, OUTSIDE_RANGE_DEG

STEPS_PER_DEG = STEPS_PER_TURN / 360

PERIOD_S = 0.03
"""Between two goals on the way home."""

HOLD_AT_GOAL_STEPS = round(HOLD_AT_GOAL_DEG * STEPS_PER_DEG)
AT_HOME_STEPS = round(AT_HOME * STEPS_PER_DEG)
OUTSIDE_RANGE_STEPS = round(OUTSIDE_RANGE_DEG * STEPS_PER_DEG)

LAG_STEPS = round(12 * STEPS_PER_DEG)
"""A joint that is this far behind is blocked: a P-only servo droops by 1 to 2 degrees."""

LAG_S = 0.5
"""So long may a joint lag, or servos stay silent, on the way home."""

SETTLE_S = 2.0
"""How long to wait at the end for the joints to catch up, or to come to rest."""

SERVO_SPEED = 1.5
"""The servos' own speed limit, in fastest speeds of the way home: they have to be able to catch up."""

BLOCKING = Errors.ENCODER | Errors.OVERHEAT | Errors.OVERCURRENT | Errors.OVERLOAD
"""With any of these no joint is moved. A voltage error comes and goes with load and hinders nothing."""


@dataclass(frozen=True)
class ArmFacts:
    """What has to be known of an arm to move it, in the order of `JOINTS`, in steps."""

    home_steps: tuple[int, ...]
    lower_steps: tuple[int, ...]
    upper_steps: tuple[int, ...]
    identities: tuple[Identity, ...]


class SlowPark:
    """From where the arm is to its home.

    Args:
        bus: the servos; nobody else may use them.
        arm: whose home it is.
        clock: time.
        speed_steps_s: of the fastest joint.
    """

    def __init__(self, bus: SmallBus, arm: ArmFacts, clock: Clock, speed_steps_s: float) -> None:
        self._bus, self._arm, self._clock = bus, arm, clock
        self._speed_steps_s = speed_steps_s

    def go(self, start: list[int]) -> str | None:
        """Go from the goals `start`; None when there, else what hindered it. The arm stays where it is then."""
        distance = max(abs(home - begin) for home, begin in zip(self._arm.home_steps, start, strict=True))
        duration_s = easing.duration_s(distance, self._speed_steps_s)
        going_s, due_s = 0.0, self._clock.now_s()
        good_s, whole = due_s, True
        while True:
            sent_all = going_s >= duration_s
            goals = self._between(start, easing.share_done(going_s, duration_s))
            if whole:  # a silent servo may be starting up, and would take a goal for the order to leap there
                self.write_goals(dict(zip(SERVO_IDS, goals, strict=True)))
            due_s = max(due_s + PERIOD_S, self._clock.now_s())
            self._clock.sleep_until(due_s)
            servos = self._bus.read_state()
            whole = len(servos) == len(SERVO_IDS)
            if (fault := blocking_errors(servos) or _limp(servos)) is not None:
                return self._stop(servos, goals, fault)
            trouble = self._trouble(servos, goals)
            good_s = good_s if trouble else self._clock.now_s()
            if sent_all and whole and self._is_home(servos):
                return None
            patience_s = SETTLE_S if sent_all else LAG_S
            if self._clock.now_s() - good_s > patience_s or going_s > duration_s + 2 * SETTLE_S:
                return self._stop(servos, goals, trouble or "the arm does not come to rest at home")
            if not trouble or sent_all:
                going_s += PERIOD_S

    def _trouble(self, servos: dict[int, Servo], goals: list[int]) -> str:
        """What keeps the way home from going on; empty when nothing does."""
        for index, servo_id in enumerate(SERVO_IDS):
            if servo_id not in servos:
                return f"{named_servo(servo_id)} does not answer"
            behind = goals[index] - servos[servo_id].present_steps
            if abs(behind) > LAG_STEPS:
                far_deg = abs(behind) / STEPS_PER_DEG
                return f"{named_servo(servo_id)} is {far_deg:.0f} degrees behind: something blocks it"
        return ""

    def _stop(self, servos: dict[int, Servo], goals: list[int], why: str) -> str:
        """Stop pushing: joints that are behind stay where they are."""
        stand: dict[int, int] = dict(zip(SERVO_IDS, goals, strict=True))
        for servo_id, servo in servos.items():
            if abs(stand[servo_id] - servo.present_steps) > HOLD_AT_GOAL_STEPS:
                stand[servo_id] = servo.present_steps
        if servos:
            self.write_goals({servo_id: stand[servo_id] for servo_id in servos})
        return why

    def _between(self, start: list[int], share: float) -> list[int]:
        """Goals on the straight line from `start` to home, within the calibrated range."""
        arm = self._arm
        line = [round(a + share * (b - a)) for a, b in zip(start, arm.home_steps, strict=True)]
        return [
            min(max(step, low), high)
            for step, low, high in zip(line, arm.lower_steps, arm.upper_steps, strict=True)
        ]

    def _is_home(self, servos: dict[int, Servo]) -> bool:
        return all(
            abs(home - servos[i].present_steps) <= AT_HOME_STEPS
            for home, i in zip(self._arm.home_steps, SERVO_IDS, strict=True)
        )

    def limit_speed(self) -> None:
        """Let the servos themselves be hardly faster than the way home."""
        self._bus.write_all(GOAL_VELOCITY, {i: self._servo_speed(i) for i in SERVO_IDS})

    def _servo_speed(self, servo_id: int) -> int:
        """Goal_Velocity for the way home, in the servo's own unit."""
        phase = self._bus.read(servo_id, PHASE)
        in_steps = phase is None or bool(phase[0] & SPEED_IN_STEPS)
        return max(1, math.ceil(SERVO_SPEED * self._speed_steps_s / (1 if in_steps else 50)))

    def write_goals(self, goals: dict[int, int]) -> None:
        """Command several joints, by id, at once."""
        self._bus.write_all(GOAL_POSITION, {servo_id: as_goal(goal) for servo_id, goal in goals.items()})


def blocking_errors(servos: dict[int, Servo]) -> str | None:
    """The errors with which no joint is moved, in words."""
    wrong = [
        f"{named_servo(i)}: {(s.errors & BLOCKING).describe()}"
        for i, s in servos.items()
        if s.errors & BLOCKING
    ]
    return "; ".join(wrong) or None


def _limp(servos: dict[int, Servo]) -> str | None:
    limp = [named_servo(i) for i, servo in servos.items() if not servo.torque]
    return f"{', '.join(limp)} lost its torque" if limp else None


def as_goal(steps: int) -> int:
    """A position as a goal that a servo can take."""
    return min(max(steps, 0), STEPS_PER_TURN - 1)
