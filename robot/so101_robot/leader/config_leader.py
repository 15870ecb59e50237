"""The configuration of a leader; its flags are those of LeRobot's `--teleop.*`."""

from dataclasses import dataclass, field
from pathlib import Path

from so101_robot.errors import ConfigError


@dataclass
class LeaderMockConfig:
    """The simulated leader."""

    seed: int = 0
    """Which one: how its servos are mounted."""
    hand: Path | None = None
    """What its hand does: poses over time (YAML; see so101-mock --help); null: slowly to and fro."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"--teleop.mock.seed={self.seed}: expected 0 or more, below 2^63")


@dataclass
class LeaderConfig:
    """The arm that is moved by hand."""

    port: str = ""
    """Path of the leader's serial port, best one under /dev/serial/by-id; mock: a simulated leader in a simulated hand,
    with --robot.port=mock."""
    id: str | None = None
    """Names the leader's calibration file, as in LeRobot: teleoperators/so_leader/ID.json."""
    calibration_dir: Path | None = None
    """Where that file is; null: LeRobot's place."""
    was_follower: bool = False
    """The leader's gripper has the torque limits that followers get: true: it has been one before, and the ports are
    not swapped."""
    mock: LeaderMockConfig = field(default_factory=LeaderMockConfig)
