"""A follower and a leader, connected and looked at together: by `so101-teleop`, and by a run that can be taken over."""

from collections.abc import Sequence

from so101_robot.arm.arm import SO101
from so101_robot.bus import calibration as calibrations
from so101_robot.errors import CalibrationError
from so101_robot.leader import ports
from so101_robot.leader.leader import Leader
from so101_robot.preflight.checks import run_checks
from so101_robot.preflight.findings import Finding, Level
from so101_robot.preflight.judgement import servo_judgements


def connect(robot: SO101, leader: Leader, was_follower: bool) -> None:
    """Both arms, read before anything is written and told apart before anything is under torque.

    Raises:
        RobotError: an arm is not there, not calibrated, or at the other one's port.
    """
    leader.open()
    follower = calibrations.of(robot.calibration)
    ports.require_leader(leader.rows, leader.config.port, leader.calibration, follower, was_follower)
    leader.require_calibrated()
    try:
        robot.connect()
    except CalibrationError as problem:
        if words := ports.swapped(robot.registers_at_start, robot.config.port, leader.calibration):
            raise CalibrationError(words) from problem
        raise


def leader_findings(leader: Leader, skip: Sequence[str]) -> list[Finding]:
    """What the pre-flight has to say about a connected leader that is not in order."""
    judged = servo_judgements(leader.rows, leader.calibration, leader.calibration_path, leader=True)
    return [
        finding._replace(check=f"leader's {finding.check}")
        for finding in run_checks(judged, skip)
        if finding.level is not Level.OK
    ]
