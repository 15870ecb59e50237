"""The steps of a first hour, in their order: what each does, how it is checked, and how it is undone.

A step asks, lets a command do the work, and writes what it found into so101.yaml. Nothing here moves an arm: commands
do, each with its own questions.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from so101_calibration.errors import CalibrateError, UsageError
from so101_calibration.setup import arms, looking, place, recording
from so101_calibration.setup.looking import PICTURES
from so101_calibration.setup.recording import EPISODES, PAGE
from so101_calibration.setup.work import Setup
from so101_robot.errors import RobotError


class Step(NamedTuple):
    """One of them."""

    title: str
    minutes: int
    words: str
    """What happens, before it does."""
    do: Callable[[Setup], None]
    """Raises CalibrateError or RobotError where it cannot be done."""
    wrong: Callable[[Setup], str]
    """What is not right about it now; empty: it is done, as far as can be seen without asking the arm."""
    undo: Callable[[Setup], str]
    """Takes back what it wrote; returns what was done, in words."""
    needs_leader: bool = False


def _nothing(setup: Setup) -> str:
    del setup
    return "it wrote nothing that could be taken back"


def _ids_stay(setup: Setup) -> str:
    del setup
    return "the ids stay in the servos; so101-calibrate ids gives others"


def _page_stays(setup: Setup) -> str:
    del setup
    return f"the recording is as it was; {PAGE} stays until the next check replaces it"


def _as_it_was(setup: Setup) -> str:
    del setup
    return ""


STEPS: Mapping[str, Step] = {
    "permissions": Step(
        "May you open the ports?", 2,
        "Looks at ports and cameras. Where something is missing, the line to type is shown; it is never typed for you.",
        arms.allow, arms.not_allowed, _nothing,
    ),
    "ports": Step(
        "Which arm is at which port?", 2,
        "With two arms you unplug the follower's cable (the arm with the jaws) for a moment, and plug it in again.",
        arms.find_ports, arms.ports_wrong, arms.forget_ports,
    ),
    "ids": Step(
        "Ids of the servos", 10, "Looks for six servos on each arm, and gives new ones their ids, one after the other.",
        arms.give_ids, _as_it_was, _ids_stay,
    ),
    "follower": Step(
        "Calibrate the follower", 5,
        "Its torque goes off: keep a hand at it. Then bring it into the middle pose, and each joint to both stops.",
        arms.calibrate(leader=False), arms.calibration_wrong(leader=False), arms.restore(leader=False),
    ),
    "leader": Step(
        "Calibrate the leader", 5, "The same for the arm with the trigger, in the same middle pose.",
        arms.calibrate(leader=True), arms.calibration_wrong(leader=True), arms.restore(leader=True), needs_leader=True,
    ),
    "pair": Step(
        "Do both arms mean the same?", 3, "Bring both arms into the same three poses; what differs is said in degrees.",
        arms.compare, _as_it_was, _nothing, needs_leader=True,
    ),
    "cameras": Step(
        "Cameras", 10, f"A picture of each camera goes into {PICTURES}/; you say which is which, and turn the lenses.",
        looking.find_cameras, looking.cameras_wrong, looking.forget_cameras,
    ),
    "place": Step(
        "Table and walls", 3, "Where the arm must not go. These limits only narrow those that it has.",
        place.measure_place, place.place_wrong, place.forget_place,
    ),
    "home": Step(
        "Home", 2, "Where the arm parks at the end of every run.",
        place.choose_home, place.home_wrong, place.forget_home,
    ),
    "motion": Step(
        "A first motion", 2, "Asks, then moves each joint by 3 degrees, one after the other.",
        arms.move, _as_it_was, _nothing,
    ),
    "record": Step(
        f"Record {EPISODES} episodes", 10, "The follower goes slowly to where the leader is, then follows your hand.",
        recording.record, recording.recording_wrong, recording.put_aside, needs_leader=True,
    ),
    "check": Step(
        "Is the recording right?", 1, "Looks at everything that training would take, and writes a page about it.",
        recording.check, _as_it_was, _page_stays, needs_leader=True,
    ),
}  # fmt: skip
"""In their order."""


def step_of(name: str) -> Step:
    """Raises UsageError for one that there is not."""
    if name not in STEPS:
        raise UsageError(f"there is no step {name!r}; possible: {', '.join(STEPS)}")
    return STEPS[name]


EXPECTED = (CalibrateError, RobotError, OSError)
"""What a step may raise: it is said, and the person decides."""
