"""What the watchdog does with an arm whose runner is gone: hold it, park it or let it go, as configured.

Nothing here knows a policy, a guard or a camera. So it does little, slowly, and checks at every step. An arm whose
servos are all free is left alone. An arm that is not the one that was driven, or whose pose is outside its
calibrated range, or that has a silent servo, is held and not moved. A joint that lags, overheats or is
overloaded on the way home ends the way home (`slow_park`). Times are those of a `Clock`, positions are encoder
steps.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from so101_robot.bus.protocol import Errors
from so101_robot.bus.small_bus import GOAL_POSITION, GOAL_VELOCITY, TORQUE_ENABLE, Servo, SmallBus
from so101_robot.clock import Clock
from so101_robot.errors import PortError
from so101_robot.joints import GRIPPER, JOINTS, SERVO_IDS, STEPS_PER_TURN, named_servo
from so101_robot.watchdog.slow_park import (
    HOLD_AT_GOAL_STEPS,
    LAG_S,
    OUTSIDE_RANGE_STEPS,
    PERIOD_S,
    SETTLE_S,
    ArmFacts,
    SlowPark,
    as_goal,
    blocking_errors,
)

Action = Literal["hold", "park", "release"]

FREE = "no servo is under torque: the arm is free and stays so"
"""What is said of an arm that its runner had let go before it died."""


@dataclass
class Report:
    """What happened to the arm."""

    done: bool
    """It is as configured: parked, or held, or free. False: the text says what hindered it."""
    text: str
    joints: dict[str, dict[str, Any] | None]
    """By joint, as read at the end: torque, position and goal in steps, temperature, errors; None: silent."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class LastResort:
    """One action on one arm.

    Args:
        arm: the arm that was driven.
        clock: time.
        speed_steps_s: of the fastest joint on the way home.
        release_when_parked: let go at home.
    """

    def __init__(
        self, arm: ArmFacts, clock: Clock, speed_steps_s: float, release_when_parked: bool = True
    ) -> None:
        self._arm, self._clock = arm, clock
        self._speed_steps_s = speed_steps_s
        self._release_when_parked = release_when_parked
        self._speed_limits: dict[int, int] | None = None

    def carry_out(self, action: Action, bus: SmallBus) -> Report:
        """Do it, on servos that nobody else uses. Raises PortError when the port is gone; may be called again
        then, with another bus."""
        self._bus = bus
        if action == "release":
            return self._release("released")
        servos = self._read_patiently()
        if not servos:
            return self._report(False, "no servo answers; they stay as they are")
        if not any(servo.torque for servo in servos.values()):
            return self._report(True, FREE)
        if action == "park":
            hindrance = self._why_not_move(servos)
            if hindrance is None:
                return self._park(servos)
            return self._hold(servos, f"not parked, because {hindrance}")
        return self._hold(servos)

    # hold -----

    def _hold(self, servos: dict[int, Servo], instead: str = "", done: str = "held") -> Report:
        """Every joint under torque at its goal; `instead` says why it is no more than that."""
        self._hold_loose_joints(servos)
        limp = self._await_rest()
        text = f"{', '.join(limp)} may not hold" if limp else done
        return self._report(not (limp or instead), f"{instead}; {text}" if instead else text)

    def _hold_loose_joints(self, servos: dict[int, Servo]) -> None:
        """Joints without torque hold where they are, and so do those with a failed encoder, whose motors would
        try to reach any other goal without end, and body joints that are not near their goal: those were on their way,
        or push on a stop. The rest keep their goals."""
        for servo_id, servo in servos.items():
            if not servo.torque or servo.errors & Errors.ENCODER or _pushes(servo_id, servo):
                self._bus.write(servo_id, GOAL_POSITION, as_goal(servo.present_steps))  # turns the torque on
                self._bus.write(servo_id, TORQUE_ENABLE, 1)

    def _await_rest(self) -> list[str]:
        """Wait until nothing moves any more; the joints that do not hold or are silent."""
        end_s = self._clock.now_s() + SETTLE_S
        before = self._bus.read_state()
        while True:
            self._clock.sleep_until(self._clock.now_s() + 0.1)
            now = self._bus.read_state()
            still = all(
                servo_id in before and abs(servo.present_steps - before[servo_id].present_steps) <= 3
                for servo_id, servo in now.items()
            )
            if still or self._clock.now_s() > end_s:
                return [
                    joint
                    for joint, i in zip(JOINTS, SERVO_IDS, strict=True)
                    if i not in now or not now[i].torque
                ]
            before = now

    # park -----

    def _why_not_move(self, servos: dict[int, Servo]) -> str | None:
        if silent := [named_servo(i) for i in SERVO_IDS if i not in servos]:
            return f"{', '.join(silent)} does not answer"
        for index, servo_id in enumerate(SERVO_IDS):
            found = self._bus.identity(servo_id)
            if found is None:
                return f"{named_servo(servo_id)} does not answer"
            if differences := found.differences(self._arm.identities[index]):
                return f"this is another arm: {named_servo(servo_id)}: {', '.join(differences)}"
            servo = servos[servo_id]
            low, high = self._arm.lower_steps[index], self._arm.upper_steps[index]
            if not low - OUTSIDE_RANGE_STEPS <= servo.present_steps <= high + OUTSIDE_RANGE_STEPS:
                return f"{named_servo(servo_id)} is at {servo.present_steps}, outside its range of {low} to {high}"
        return blocking_errors(servos)

    def _park(self, servos: dict[int, Servo]) -> Report:
        start = [
            servo.goal_steps
            if abs(servo.goal_steps - servo.present_steps) <= HOLD_AT_GOAL_STEPS
            else servo.present_steps
            for servo in (servos[i] for i in SERVO_IDS)
        ]
        if self._speed_limits is None:  # not when it was interrupted: these would be its own
            self._speed_limits = {servo_id: servo.speed_limit for servo_id, servo in servos.items()}
        way = SlowPark(self._bus, self._arm, self._clock, self._speed_steps_s)
        way.limit_speed()
        # joints that hung are under torque then, and those that were on their way stop
        way.write_goals(dict(zip(SERVO_IDS, start, strict=True)))
        hindrance = way.go(start)
        self._bus.write_all(GOAL_VELOCITY, self._speed_limits)  # ours would slow down the next program
        if hindrance is not None:
            return self._hold(self._read_patiently(), f"not parked, because {hindrance}")
        if self._release_when_parked:
            return self._release("parked and released")
        return self._hold(self._read_patiently(), done="parked and held")

    # both -----

    def _read_patiently(self) -> dict[int, Servo]:
        """The servos that answer, with patience for one that is starting up."""
        servos = self._bus.read_state()
        end_s = self._clock.now_s() + LAG_S
        while len(servos) < len(SERVO_IDS) and self._clock.now_s() < end_s:
            self._clock.sleep_until(self._clock.now_s() + PERIOD_S)
            servos |= self._bus.read_state(i for i in SERVO_IDS if i not in servos)
        return servos

    def _release(self, what: str) -> Report:
        stuck = [named_servo(i) for i in self._bus.release()]
        if stuck:
            return self._report(False, f"{what}, but {', '.join(stuck)} may still be under torque")
        return self._report(True, what)

    def _report(self, done: bool, text: str) -> Report:
        try:
            servos = self._bus.read_state()
        except PortError:
            servos = {}
        joints = {joint: _facts(servos.get(i)) for joint, i in zip(JOINTS, SERVO_IDS, strict=True)}
        return Report(done, text, joints)


def _pushes(servo_id: int, servo: Servo) -> bool:
    """Whether a body joint is away from its goal; more than half a turn is a count that was lost, and no way to go."""
    away = abs(servo.goal_steps - servo.present_steps)
    return servo_id != SERVO_IDS[GRIPPER] and HOLD_AT_GOAL_STEPS < away <= STEPS_PER_TURN // 2


def _facts(servo: Servo | None) -> dict[str, Any] | None:
    if servo is None:
        return None
    return {
        "torque": servo.torque,
        "position_steps": servo.present_steps,
        "goal_steps": servo.goal_steps,
        "temperature_c": servo.temperature_c,
        "errors": servo.errors.describe(),
    }
