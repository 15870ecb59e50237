"""Steps about the place: home, table and walls."""

from collections.abc import Sequence
from dataclasses import replace

from lerobot.motors import MotorCalibration

from so101_calibration import files
from so101_calibration.servos.line import open_line
from so101_calibration.setup.work import NotYetError, Setup
from so101_policy.command_line.command_shell import say
from so101_policy.errors import first_line
from so101_robot.bus.units import Scale
from so101_robot.errors import ConfigError
from so101_robot.guard.height import BELOW_TABLE_M
from so101_robot.joints import FOLDED, JOINTS
from so101_robot.so101_yaml.content import MOCK, Content, Place, in_yaml, parsed
from so101_robot.so101_yaml.find import NAME

REST_MM = 0
"""Of the table, against the underside of the base: the arm stands on it."""


def choose_home(setup: Setup) -> None:
    usual = ", ".join(f"{value:g}" for value in FOLDED)
    said = setup.person.ask(
        f"Where shall the arm park? Enter: folded ({usual}). here: where it is now. Or six numbers "
        f"({', '.join(JOINTS)}; degrees, the gripper in percent)",
        "folded",
        _no_pose,
    )
    home = {"folded": lambda: list(FOLDED), "here": lambda: _where_it_is(setup)}.get(
        said, lambda: _numbers(said)
    )()
    content = setup.content
    setup.write(replace(content, place=replace(content.place, home=home)))
    say(f"Home: {', '.join(f'{value:.0f}' for value in home)}")


def _no_pose(said: str) -> str:
    if said in ("folded", "here"):
        return ""
    try:
        parsed(in_yaml(Content(place=Place(home=_numbers(said)))))
    except (ConfigError, ValueError) as problem:
        return f"{first_line(problem)}; expected folded, here, or six numbers"
    return ""


def _numbers(said: str) -> list[float]:
    return [float(part) for part in said.replace(",", " ").split()]


def _where_it_is(setup: Setup) -> list[float]:
    """The pose of the follower [deg, percent]. Reads, and moves nothing."""
    arm = setup.content.arm
    if arm.port is None:
        raise NotYetError("no port is known yet")
    if arm.port == MOCK:
        return list(FOLDED)
    rows = files.read(setup.calibration())
    with open_line(arm.port) as line:
        present = line.sample().present
    scale = Scale({joint: MotorCalibration(**row._asdict()) for joint, row in rows.items()})
    return [round(float(value), 1) for value in scale.to_joint(present)]


def measure_place(setup: Setup) -> None:
    say(
        f"The arm is not told to go more than {BELOW_TABLE_M * 1000:.0f} mm below the table (it hangs lower than it is "
        "told), nor through the walls that you give."
    )
    height = setup.person.ask(
        "How many millimetres is the table above the underside of the base? (0: the arm stands on it)",
        str(REST_MM),
        no_length,
    )
    walls = setup.person.ask(
        "Free space around the base in cm: in front, left, right, above. Enter: as far as it reaches. For example "
        "45 30 30 50",
        "all",
        lambda said: "" if said == "all" else _no_walls(said),
    )
    content = setup.content
    spans = None if walls == "all" else _walls(walls)
    setup.write(replace(content, place=replace(content.place, table_m=_limit_m(height), walls_m=spans)))


def no_length(said: str) -> str:
    """What is wrong with a height of the table in mm; empty: nothing."""
    try:
        parsed(in_yaml(Content(place=Place(table_m=_limit_m(said)))))
    except (ConfigError, ValueError) as problem:
        return first_line(problem)
    if float(said) < 0:
        return (
            f"{NAME} only narrows limits; a table below the base is given in the limits file of the arm "
            "(docs/reference/limits.md). Expected 0 or more"
        )
    return ""


def _limit_m(said: str) -> float:
    """The guard's plane for a table [m]: somewhat below it, because the arm hangs lower than it is told to."""
    return round(float(said) / 1000 - BELOW_TABLE_M, 4)


def _no_walls(said: str) -> str:
    try:
        parsed(in_yaml(Content(place=Place(walls_m=_walls(said)))))
    except (ConfigError, ValueError) as problem:
        return f"{first_line(problem)}; expected four numbers, or Enter"
    return ""


def _walls(said: str) -> dict[str, Sequence[float]]:
    """Base frame: x forward, y left, z up [m]. Behind itself the arm may go as far as to its left."""
    front, left, right, above = (value / 100 for value in _numbers(said))
    return {"x": [-left, front], "y": [-right, left], "z": [-0.05, above]}


def place_wrong(setup: Setup) -> str:
    return "" if setup.content.place.table_m is not None else f"{NAME} has no table"


def home_wrong(setup: Setup) -> str:
    return "" if setup.content.place.home is not None else f"{NAME} has no home pose"


def forget_place(setup: Setup) -> str:
    content = setup.content
    setup.write(replace(content, place=replace(content.place, table_m=None, walls_m=None)))
    return f"table and walls are no longer in {NAME}; the table is taken to be 2 cm below the base"


def forget_home(setup: Setup) -> str:
    content = setup.content
    setup.write(replace(content, place=replace(content.place, home=None)))
    return "the arm parks folded"
