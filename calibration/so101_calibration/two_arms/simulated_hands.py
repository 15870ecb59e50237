"""The person of two simulated arms: brings both into the same pose, and one of them alone."""

from collections.abc import Callable, Sequence

from rich.console import RenderableType

from so101_calibration.errors import CalibrateError
from so101_calibration.servos.line import Line
from so101_calibration.servos.simulated_person import PERIOD_S, PUSH_RAD
from so101_calibration.servos.steps import Step, StepKind
from so101_calibration.servos.terminal import Operator
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.arm import MockArm
from so101_robot.mock.physics.hand import Hand

MOVE_S, REST_S = 0.8, 0.3

FOLDED = {"shoulder_lift": -1, "elbow_flex": 1, JOINTS[GRIPPER]: -1}
ASIDE = {"shoulder_pan": 1, "wrist_flex": -1}
"""Joint -> the end of its range that the hand pushes it to."""


class SimulatedHands:
    """Plays a person who has an arm in each hand.

    Args:
        arms: free.
        lines: to them, in the same order.
        display: shows what the program says.
        only: index of the arm that the person takes for "the leader".
    """

    def __init__(
        self, arms: Sequence[MockArm], lines: Sequence[Line], display: Operator | None = None, only: int = 1
    ) -> None:
        self._arms, self._lines, self._display, self._only = arms, lines, display, only

    def say(self, what: RenderableType) -> None:
        if self._display is not None:
            self._display.say(what)

    def until_done(self, step: Step, look: Callable[[], RenderableType]) -> None:
        self.say(step.text)
        hands = [arm.hand for arm in self._arms if arm.hand is not None]
        for index, hand in enumerate(hands):
            self._do(step, hand, index)
        next_s = max(line.clock.now_s() for line in self._lines)
        while any(hand.busy for hand in hands):
            next_s += PERIOD_S
            for line in self._lines:
                line.clock.sleep_until(next_s)
            look()
        self.say(look())

    def confirm(self, question: str) -> bool:
        self.say(f"{question} yes")
        return True

    def _do(self, step: Step, hand: Hand, index: int) -> None:
        if step.kind in (StepKind.HOLD, StepKind.MIDDLE):
            hand.middle(2 * MOVE_S)
            hand.middle(REST_S)
        elif step.kind in (StepKind.FOLD, StepKind.ASIDE):
            if step.kind is StepKind.ASIDE:
                hand.middle(MOVE_S)
            _push(hand, FOLDED if step.kind is StepKind.FOLD else ASIDE)
        elif step.kind is not StepKind.SHAKE:
            raise CalibrateError(f"two simulated hands do not know how to {step.kind}")
        elif index == self._only:
            middle = float(hand.middle_rad[0])
            for aside in (-0.6, 0.6, 0.0):
                hand.move({JOINTS[0]: middle + aside}, MOVE_S)


def _push(hand: Hand, ends: dict[str, int]) -> None:
    targets: dict[str, float] = {}
    for joint, end in ends.items():
        low, high = hand.range_rad[JOINTS.index(joint)].tolist()
        targets[joint] = low - PUSH_RAD if end < 0 else high + PUSH_RAD
    hand.move(targets, 2 * MOVE_S)
    hand.move(targets, REST_S)
