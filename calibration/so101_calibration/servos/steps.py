"""What a person is asked to do with the arm, as data: for a prompt, and for a simulated hand."""

from typing import NamedTuple

from so101_robot.joints import FULL_TURN_JOINT, JOINTS


class Step(NamedTuple):
    """One thing to do."""

    kind: str
    """hold, middle, sweep, wiggle (this joint alone), or connect (this motor alone)."""
    joint: str | None
    text: str


HOLD = Step("hold", None, "Hold the arm: it goes limp next")

MIDDLE = Step(
    "middle",
    None,
    "Bring all joints to about their middles: upper arm upright, forearm and hand straight forwards, jaws half open. "
    "Roll the wrist exactly, for this is its zero: the jaws open up and down, fixed finger below, moving jaw above",
)

SWEEPS = {
    joint: Step(
        "sweep", joint, f"Move {joint} to both of its stops, slowly, and rest at each for half a second"
    )
    for joint in JOINTS
} | {
    FULL_TURN_JOINT: Step(
        "sweep", FULL_TURN_JOINT, f"Roll {FULL_TURN_JOINT} a quarter turn both ways, slowly"
    ),
}

WIGGLES = {
    joint: Step("wiggle", joint, f"Move {joint}, and only this joint, a third of its range to and fro")
    for joint in JOINTS
}

CONNECTS = {joint: Step("connect", joint, f"Connect the motor of {joint}, and no other") for joint in JOINTS}
