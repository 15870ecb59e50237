"""A simulated person for the mock arm: moves its simulated hand as the guided flow asks, and answers yes.

For `--robot.port=mock` (a demonstration of the guided flow) and for tests. The hand knows joint angles only, never what
the encoders read, and it pushes gently into the stops as a person does.
"""

from collections.abc import Callable

import numpy as np
from rich.console import RenderableType

from so101_calibration.errors import CalibrateError
from so101_calibration.servos.steps import Step, StepKind
from so101_calibration.servos.terminal import Operator
from so101_robot.clock import Clock
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.arm import MockArm
from so101_robot.mock.physics.hand import CLEARANCE_RAD, Hand

PERIOD_S = 0.02
"""Between two readings of the servos [s]."""

PUSH_RAD = 0.03
"""How far beyond a stop the hand pushes: about 1 N m at the shoulder, 0.5 N m at the wrist."""

WIGGLE = 0.2
"""Of a joint's range, to either side of its middle."""

REST_S = 0.3
BOOT_S = 1.0
UNPLUGGED_MS = 10**9


class SimulatedPerson:
    """Plays the person of a mock arm.

    Args:
        hand: of the mock arm.
        clock: of the mock arm.
        display: shows what the program says.
        yes: the answer to every question.
        move_s: how long one move takes [s].
        connect: what it does when it is to connect one motor alone.
    """

    def __init__(
        self,
        hand: Hand,
        clock: Clock,
        display: Operator | None = None,
        yes: bool = True,
        move_s: float = 0.6,
        connect: Callable[[str], None] | None = None,
    ) -> None:
        self._connect = connect
        self._hand, self._clock, self._display = hand, clock, display
        self._yes, self._move_s = yes, move_s

    def say(self, what: RenderableType) -> None:
        if self._display is not None:
            self._display.say(what)

    def until_done(self, step: Step, look: Callable[[], RenderableType]) -> None:
        self.say(step.text)
        self.do(step)
        next_s = self._clock.now_s()
        while self._hand.busy:
            look()
            next_s += PERIOD_S
            self._clock.sleep_until(next_s)
        self.say(look())

    def confirm(self, question: str) -> bool:
        self.say(f"{question} {'yes' if self._yes else 'no'}")
        return self._yes

    def do(self, step: Step) -> None:
        """Queue the moves for a step."""
        hand = self._hand
        if step.kind in (StepKind.HOLD, StepKind.MIDDLE):
            hand.middle(2 * self._move_s)
            hand.middle(REST_S)
        elif step.kind is StepKind.LET_GO:
            hand.release()
        elif step.kind is StepKind.TAKE:
            pass  # it is folded, and sinks a little
        elif step.kind is StepKind.CONNECT and step.joint is not None and self._connect is not None:
            self._connect(step.joint)
            self._clock.sleep_until(self._clock.now_s() + BOOT_S)
        elif step.kind is StepKind.WIGGLE and step.joint is not None:
            self._wiggle(step.joint)
        elif step.kind is StepKind.CLOSE:
            hand.move({JOINTS[GRIPPER]: float(hand.range_rad[GRIPPER][0]) - PUSH_RAD}, self._move_s)
            hand.move({JOINTS[GRIPPER]: float(hand.range_rad[GRIPPER][0]) - PUSH_RAD}, REST_S)
        elif step.kind is not StepKind.SWEEP or step.joint is None:
            raise CalibrateError(f"the simulated hand does not know how to {step.kind}")
        else:
            self._sweep(step.joint)

    def _wiggle(self, joint: str) -> None:
        hand, index = self._hand, JOINTS.index(joint)
        middle, aside = float(hand.middle_rad[index]), WIGGLE * float(np.ptp(hand.range_rad[index]))
        for target in (middle - aside, middle + aside, middle):
            hand.move({joint: target}, self._move_s)

    def _sweep(self, joint: str) -> None:
        hand, index = self._hand, JOINTS.index(joint)
        aside = CLEARANCE_RAD.get(joint, ({}, {}))
        back = {name: float(hand.middle_rad[JOINTS.index(name)]) for name in (joint, *aside[0], *aside[1])}
        low, high = hand.range_rad[index].tolist()
        ends = [low - PUSH_RAD, high + PUSH_RAD]
        for end_rad, pose in zip(ends, aside, strict=True):
            hand.move({joint: end_rad, **pose}, self._move_s)
            hand.move({joint: end_rad}, REST_S)
            hand.move(back, self._move_s)


def as_from_the_factory(arm: MockArm, joint: str | None) -> None:
    """Motors of a kit: all have id 1. Only that of `joint` is connected, if one is named."""
    for index in range(len(JOINTS)):
        arm.servos.set(index, "ID", 1)
    if joint is not None:
        connect_alone(arm, joint)
        arm.advance_to(arm.now_us + round(BOOT_S * 1e6))


def connect_alone(arm: MockArm, joint: str) -> None:
    """Unplug all motors but one, which boots."""
    for index, name in enumerate(JOINTS):
        arm.servos.reboot(index, *(() if name == joint else (UNPLUGGED_MS,)))
