"""`so101-calibrate servos --auto`: the arm finds its own stops, beside a person who can stop it at any time.

    free space? -> middle pose by hand -> one joint after the other -> folded -> taken by hand -> released

What it does not find is left to the guided flow: "do this joint by hand". Ctrl-C stops the motion at once, and the arm
holds until a hand has taken it. It takes about two and a half minutes.
"""

from collections.abc import Mapping

from so101_calibration.errors import CalibrateError
from so101_calibration.servos.borrowed import borrowed
from so101_calibration.servos.line import Line
from so101_calibration.servos.steps import LET_GO, TAKE
from so101_calibration.servos.stops import Found, StopFinder, settings_for
from so101_calibration.servos.terminal import Operator
from so101_robot.errors import RobotError

FREE_SPACE = (
    "The arm will move by itself, slowly and weakly, through all of its range, for two and a half minutes. Is the "
    "space free, half a metre around and above it, the table below it empty, and every cable loose?"
)


def seek(line: Line, middles: Mapping[str, int], operator: Operator) -> dict[str, tuple[int, int]]:
    """The ends of the joints that the arm finds by itself, joint -> unrolled raw counts; why not the others is said.

    The arm is free before and after, and its servos are set as before.

    Args:
        line: to the servos, which are free.
        middles: joint -> its unrolled raw count in the middle pose, in which a hand holds the arm.
        operator: the person.

    Raises:
        CalibrateError: servos are silent or report errors.
    """
    with borrowed(line, settings_for(middles, line.rows())):
        found = _found(line, middles, operator)
    for joint, why in found.by_hand.items():
        operator.say(f"Do this joint by hand: {joint}, because {why}")
    return found.ends


def _found(line: Line, middles: Mapping[str, int], operator: Operator) -> Found:
    finder = StopFinder(line, middles, operator.say)
    try:
        finder.hold()
        operator.until_done(LET_GO, lambda: "")
        found = finder.find()
    except BaseException as problem:  # also Ctrl-C: the motion ends first
        _stop(finder, line, operator, problem)
        raise
    operator.until_done(TAKE, lambda: "")
    line.release()
    return found


def _stop(finder: StopFinder, line: Line, operator: Operator, problem: BaseException) -> None:
    """Hold; and let go when a hand has the arm. A second Ctrl-C, or nobody there: it holds on."""
    try:
        finder.hold()
        operator.say(f"Stopped ({str(problem) or type(problem).__name__}): the arm holds where it is.")
        operator.until_done(TAKE, lambda: "")
        line.release()
    except (CalibrateError, RobotError, KeyboardInterrupt):
        operator.say(
            "The arm may still be under torque, with settings that are not stored: hold it with your hand and switch "
            "its supply off and on."
        )
