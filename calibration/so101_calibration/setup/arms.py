"""Steps about the arms: ports, ids, calibration, a first motion."""

import os
from collections.abc import Callable
from dataclasses import replace

from so101_calibration import doctor, files
from so101_calibration.errors import CalibrateError
from so101_calibration.servos.terminal import Terminal
from so101_calibration.setup.person import Person
from so101_calibration.setup.work import NotYetError, Setup
from so101_calibration.two_arms import ports
from so101_policy.command_line.command_shell import say
from so101_policy.errors import first_line
from so101_policy.findings import Level
from so101_robot.errors import ConfigError
from so101_robot.so101_yaml.content import MOCK, Arm, Content, in_yaml, parsed
from so101_robot.so101_yaml.find import NAME

UDEV_RULE = 'SUBSYSTEM=="tty", ATTRS{idVendor}=="1a86", TAG+="uaccess"'
"""Opens the arm's USB adapter (WCH, vendor 1a86) to whoever sits at the machine."""
UDEV_LINE = (
    f"echo '{UDEV_RULE}' | sudo tee /etc/udev/rules.d/70-so101.rules && sudo udevadm control --reload && "
    "sudo udevadm trigger"
)


def allow(setup: Setup) -> None:
    if setup.simulated:
        say("Two simulated arms: nothing has to be opened.")
        return
    while not ports.present():
        setup.person.wait("No serial port yet: plug in the USB cable of the arm, and switch its supply on")
    for line in doctor.as_lines([*doctor.ports(), *doctor.takers(), *doctor.cameras()]):
        say(f"  {line}")
    if problem := not_allowed(setup):
        say(f"\nInstead of the group, a udev rule does it for the arm alone:\n  {UDEV_LINE}")
        raise NotYetError(f"{problem}; type one of the lines above (the group counts after logging in again)")


def not_allowed(setup: Setup) -> str:
    if setup.simulated:
        return ""
    stops = [finding for finding in [*doctor.ports(), *doctor.cameras()] if finding.level is Level.STOP]
    return "; ".join(finding.found for finding in stops)


def find_ports(setup: Setup) -> None:
    person, content = setup.person, setup.content
    if setup.simulated:
        follower, leader = MOCK, MOCK
        say("The simulated arms need no cable: the port of both is `mock`.")
    else:
        follower, leader = _plugged(person)
    if leader is None:
        say("No leader: you can run policies, and calibrate; to record demonstrations a leader is needed.")
    name = person.ask("A name for the follower's calibration", content.arm.id or "my_arm", _no_name)
    led = None
    if leader is not None:
        known = content.leader.id if content.leader is not None else None
        led = Arm(leader, person.ask("A name for the leader's calibration", known or "my_leader", _no_name))
    setup.write(replace(content, arm=Arm(follower, name), leader=led))


def _plugged(person: Person) -> tuple[str, str | None]:
    """The follower's port and the leader's."""
    there = ports.present()
    if not there:
        raise NotYetError("no serial port; plug in the USB cable of the arm, and switch its supply on")
    if len(there) == 1 and person.yes("Is there a leader as well (the arm with the trigger)?", False):
        while len(there) < 2:
            person.wait("Plug in its USB cable, too")
            there = ports.present()
    if len(there) == 1:
        return there[0], None
    follower = ports.unplugged(ports.present, Terminal())
    others = [port for port in ports.present() if port != follower]
    say(f"follower: {follower}")
    if not person.yes(
        f"Is {', '.join(others)} the leader's?" if len(others) == 1 else "Is there a leader?", True
    ):
        return follower, None
    if len(others) > 1:
        chosen = person.ask(
            f"Which is its port: {', '.join(others)}?",
            others[0],
            lambda said: "" if said in others else f"expected one of {', '.join(others)}",
        )
        return follower, chosen
    return follower, others[0]


def _no_name(said: str) -> str:
    try:
        parsed(in_yaml(Content(Arm(id=said))))
    except ConfigError as problem:
        return first_line(problem)
    return ""


def ports_wrong(setup: Setup) -> str:
    content = setup.content
    arms = [content.arm, *([content.leader] if content.leader else [])]
    if content.arm.port is None:
        return f"{NAME} has no port"
    missing = [arm.port for arm in arms if arm.port and arm.port != MOCK and not os.path.exists(arm.port)]
    return f"not there: {', '.join(missing)} - is the cable in?" if missing else ""


def forget_ports(setup: Setup) -> str:
    setup.write(replace(setup.content, arm=Arm(), leader=None))
    return f"arm and leader are no longer in {NAME}"


def _ids(setup: Setup, leader: bool = False) -> None:
    which = "leader" if leader else "follower"
    flags = setup.of_arm(leader)
    flags = [flag for flag in flags if not flag.startswith("--robot.id")]
    if setup.person.yes(f"Are the motors of the {which} new, without ids?", setup.simulated):
        setup.command("so101-calibrate", "ids", *flags, "--all")
    else:
        setup.command("so101-calibrate", "ids", *flags)


def give_ids(setup: Setup) -> None:
    _ids(setup)
    if setup.content.leader is not None:
        _ids(setup, leader=True)


def calibrate(leader: bool) -> Callable[[Setup], None]:
    def do(setup: Setup) -> None:
        setup.command("so101-calibrate", "servos", *setup.of_arm(leader))

    return do


def calibration_wrong(leader: bool) -> Callable[[Setup], str]:
    def wrong(setup: Setup) -> str:
        if ports_wrong(setup) and not setup.content.arm.port:
            return ports_wrong(setup)
        try:
            files.read(setup.calibration(leader))
        except CalibrateError as problem:
            return first_line(problem)
        return ""

    return wrong


def restore(leader: bool) -> Callable[[Setup], str]:
    def undo(setup: Setup) -> str:
        path = setup.calibration(leader)
        kept = sorted((path.parent / files.BACKUPS).glob(f"{path.stem}.*.json"))
        if kept:
            setup.command("so101-calibrate", "servos", *setup.of_arm(leader), f"--from={kept[-1]}")
            return f"servos and file are as in {kept[-1].name}"
        return (
            "there is no calibration of before; servos and file keep this one (calibrate again to replace it)"
        )

    return undo


def compare(setup: Setup) -> None:
    flags = [flag for flag in setup.of_arm() if setup.simulated is False or not flag.startswith("--robot.")]
    mock = ["--robot.port=mock"] if setup.simulated else []
    setup.command("so101-calibrate", "pair", *mock, *flags, *setup.of_leader())


def move(setup: Setup) -> None:
    setup.command("so101-calibrate", "check", *setup.of_arm())
