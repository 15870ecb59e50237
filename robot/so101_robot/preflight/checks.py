"""Pre-flight: what has to be right before an arm moves, as a list of findings.

Each check is a function of data (registers, pictures, statistics) that returns findings: `ok`, `warn` (it may run;
somebody should know) or `stop` (it must not), with what was found, what was expected and what to do. `preflight` runs
them on a connected arm and a policy; a check that cannot be carried out is a `stop`, and the others are made all the
same. The checks are in `judgement` (servos and calibration, shared with `so101-calibrate`), `cameras` and `policy`.
Nothing there moves an arm or writes a register.

Packages that know more add checks as entry points of the group `so101.preflight`: functions of the connected robot and
the policy. The drift check of the cameras comes that way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from so101_policy.checkpoint.scaling import read_statistics
from so101_policy.errors import PolicyError
from so101_policy.units import Units
from so101_robot.bus import calibration as calibrations
from so101_robot.errors import ConfigError, RobotError
from so101_robot.preflight import (
    cameras as preflight_cameras,
)
from so101_robot.preflight import (
    policy as preflight_policy,
)
from so101_robot.preflight.findings import Finding, Level
from so101_robot.preflight.judgement import servo_judgements
from so101_robot.preflight.servos import check_geometry, check_limits

if TYPE_CHECKING:
    from so101_robot.arm.arm import SO101
    from so101_robot.preflight.policy import Policy

CHECKS = (
    "servos",
    "supply",
    "heat",
    "errors",
    "settings",
    "calibration",
    "sizes",
    "geometry",
    "limits",
    "cameras",
    "policy",
    "statistics",
    "ranges",
)


GROUP = "so101.preflight"
"""Entry points: further checks, `(robot, policy) -> list[Finding]`."""


def further_checks() -> dict[str, EntryPoint]:
    """The checks that other packages bring, by name."""
    return {point.name: point for point in sorted(entry_points(group=GROUP)) if point.name not in CHECKS}


@dataclass
class PreflightConfig:
    """What is looked at before the arm moves."""

    skip: list[str] = field(default_factory=list)
    """Checks that are left out: servos, supply, heat, errors, settings, calibration, sizes, geometry, limits, cameras,
    policy, statistics, ranges, drift; or all."""

    def __post_init__(self) -> None:
        known = ("all", *CHECKS, *further_checks())
        for name in self.skip:
            if name not in known:
                raise ConfigError(f"--preflight.skip={name}: expected one of {', '.join(known)}")


def preflight(
    robot: "SO101",
    policy: "Policy",
    skip: Sequence[str] = (),
    units: Units | None = None,
    colours: Mapping[str, Sequence[float]] | None = None,
    begins: Callable[[], Sequence[float] | None] = lambda: None,
) -> list[Finding]:
    """Look at a connected arm, its cameras and the policy that shall drive it.

    Args:
        robot: connected.
        policy: `so101_policy.inference.loaded.LoadedPolicy`, or what looks like one.
        skip: see `PreflightConfig`.
        units: of the policy's joints; None: not known, so taken for degrees.
        colours: camera -> mean colour of the pictures that the policy was trained on, as far as it is known.
        begins: tells (6,) where the arm goes slowly before the policy drives; None: it begins where it is.
    """
    sizes = {
        name: shape[:2] for name, shape in robot.observation_features.items() if isinstance(shape, tuple)
    }
    joints = tuple(robot.action_features)

    def statistics() -> preflight_policy.Statistics:
        return read_statistics(policy.path)

    def ranges() -> list[Finding]:
        found = statistics()
        if units is Units.RANGE:
            found = preflight_policy.in_degrees(found, robot.bus.scale.range_unit)
        pose = begins()
        start = robot.read().position if pose is None else pose
        return preflight_policy.check_ranges(found, *robot.joint_limits(), start)

    def cameras() -> list[Finding]:
        found = preflight_cameras.check_cameras(
            robot.frames, sizes, robot.clock, robot.config.limits.max_frame_age_s, robot.camera_rates
        )
        images = {name: frame.image for name, frame in robot.frames().items()}
        return [*found, *preflight_cameras.check_places(images, colours or {})]

    checks: dict[str, Callable[[], list[Finding]]] = {
        **servo_checks(robot),
        "cameras": cameras,
        "policy": lambda: preflight_policy.check_policy(policy, joints, sizes),
        "statistics": lambda: preflight_policy.check_statistics(statistics(), units),
        "ranges": ranges,
        **{name: partial(_load_and_check, point, robot, policy) for name, point in further_checks().items()},
    }
    return run_checks(checks, skip)


def _load_and_check(point: EntryPoint, robot: "SO101", policy: "Policy") -> list[Finding]:
    """A package of somebody else's that fails must not be what lets the arm move, nor hide the other checks."""
    try:
        return point.load()(robot, policy)
    except Exception as error:
        return [Finding(Level.STOP, point.name, "", f"the check failed: {type(error).__name__}: {error}")]


def run_checks(checks: Mapping[str, Callable[[], list[Finding]]], skip: Sequence[str] = ()) -> list[Finding]:
    """The findings of all checks that are not skipped, in order."""
    findings: list[Finding] = []
    for name, check in checks.items():
        if name in skip or "all" in skip:
            findings.append(
                Finding(Level.WARN, name, "", "not looked at", possible="leave out --preflight.skip")
            )
            continue
        try:
            findings += check()
        except (RobotError, PolicyError) as error:
            findings.append(Finding(Level.STOP, name, "", str(error)))
    return findings


def servo_checks(robot: "SO101") -> dict[str, Callable[[], list[Finding]]]:
    """The checks of what the servos say, all on one reading. If they say nothing, that is the one finding."""
    try:
        rows = robot.bus.read_registers()
    except RobotError as error:
        silence = Finding(Level.STOP, "servos", "", str(error))
        return {"servos": lambda: [silence]}
    calibration = calibrations.of(robot.calibration)
    judgements = servo_judgements(rows, calibration, robot.calibration_fpath, robot.registers_at_start)
    return judgements | {
        "geometry": lambda: check_geometry(robot.config.model),
        "limits": lambda: check_limits(robot.limits_refused),
    }
