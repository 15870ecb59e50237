"""Configuration of `SO101`, registered with LeRobot as robot type `so101`.

LeRobot finds the class by this file's name: `config_arm.py` -> `arm.py`, `SO101Config` -> `SO101`.
"""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from lerobot.cameras import CameraConfig
from lerobot.robots.config import RobotConfig

from so101_robot.errors import ConfigError
from so101_robot.guard.limits import GuardLimits
from so101_robot.guard.narrow import content_of
from so101_robot.joints import FOLDED, JOINTS
from so101_robot.mock.config import MockConfig

for _type in ("opencv", "realsense", "zmq"):  # importing its configuration makes a camera type known to flags
    import_module(f"lerobot.cameras.{_type}.configuration_{_type}")

HOME = FOLDED

MODELS = ("so101", "so100")

LARGEST = 360.0
"""No joint value is beyond this [deg, percent]."""


CAMERA_RANGES = {
    "width": (1, 8192),
    "height": (1, 8192),
    "fps": (1, 1000),
    "warmup_s": (0, 60),
    "index_or_path": (0, 255),
}
"""What a camera's settings may be, beside what LeRobot's own configurations refuse."""


@RobotConfig.register_subclass("so101")
@dataclass(kw_only=True)
class SO101Config(RobotConfig):
    """An SO-101 arm: where it is, its cameras, how it behaves."""

    port: str = "mock"
    """Path of the serial port, best one under /dev/serial/by-id. `mock` is the simulated arm in memory, and
    nothing else ever falls back to it."""

    cameras: dict[str, CameraConfig] = field(default_factory=dict)
    """LeRobot cameras by name. The mock arm brings `front` and `wrist` if none are given."""

    model: str = "so101"
    """so101 or so100. Servos, joints and calibration are the same; the guard's table, walls and self-collision have the
    measures of an SO-101, which the pre-flight says of an so100."""

    mock: MockConfig = field(default_factory=MockConfig)
    """The simulated arm; only with port `mock`."""

    limits: GuardLimits = field(default_factory=GuardLimits)
    """What the guard lets pass."""

    rig: Path | None = None
    """File with the limits of this place: table, walls, budgets; null: the file beside the calibration, if there is
    one. `python -m so101_robot.guard.rig FILE` writes one to start from."""

    own_limits: str = ""
    """Further limits, as YAML in the form of the file of --robot.rig: what a so101.yaml says. They narrow those that
    the arm has and never widen them; where they would, a line says so."""

    own_limits_widen: bool = False
    """They take the place of the arm's, wider ones too: for a so101.yaml that --config_path names."""

    home: list[float] = field(default_factory=lambda: list(HOME))
    """Where the arm parks: five angles in degrees and the gripper in percent; cut to the calibrated range."""

    health_every: int = 1
    """Read load, current, voltage and temperature in every n-th tick; 0 for never. Costs 0.8 ms on the
    wire."""

    disable_torque_on_disconnect: bool = True
    """LeRobot's name: whether `disconnect` lets the arm go. Then it falls unless it is parked."""

    use_degrees: bool | None = None
    """LeRobot's name: what a policy and LeRobot's commands are given and give: true: degrees; false: each joint's
    calibrated range as -100 to 100, LeRobot's default until February 2026; null: as the checkpoint says, else degrees.
    Limits, poses, logs and recordings of so101-run are in degrees always."""

    position_p_coefficient: int = 16
    """LeRobot's name and value: half of the servo's own stiffness, against shaking. 1/4 of 0.1 % duty per
    step."""

    position_i_coefficient: int = 0
    """LeRobot's name and value."""

    position_d_coefficient: int = 32
    """LeRobot's name and value."""

    def __post_init__(self) -> None:
        for name, camera in self.cameras.items():
            if missing := [
                what for what in ("width", "height", "fps") if getattr(camera, what, None) is None
            ]:
                raise ConfigError(
                    f"--robot.cameras: camera {name!r}: {' and '.join(map(repr, missing))} "
                    f"{'is' if len(missing) == 1 else 'are'} required; give what the camera delivers, as in "
                    "{type: opencv, index_or_path: 0, width: 640, height: 480, fps: 30}"
                )
            _check_camera(name, camera)
        super().__post_init__()
        if self.own_limits:
            content_of(self.own_limits)
        if self.model not in MODELS:
            raise ConfigError(f"--robot.model={self.model}: expected one of {', '.join(MODELS)}")
        if len(self.home) != len(JOINTS) or not all(abs(value) <= LARGEST for value in self.home):
            raise ConfigError(
                f"--robot.home={self.home}: expected one number, at most {LARGEST:.0f} away from 0, for each of "
                f"{', '.join(JOINTS)}"
            )
        if not 0 <= self.health_every <= 1_000_000:
            raise ConfigError(
                f"--robot.health_every={self.health_every}: expected 0 (never), 1 (every tick) or more, up to a million"
            )
        for name in ("position_p_coefficient", "position_i_coefficient", "position_d_coefficient"):
            if not 0 <= getattr(self, name) <= 254:
                raise ConfigError(f"--robot.{name}={getattr(self, name)}: the servo takes 0 to 254")


def _check_camera(name: str, camera: CameraConfig) -> None:
    """Raises ConfigError that names the camera and the setting."""
    if not name or not name.isprintable() or "/" in name:
        raise ConfigError(
            f"--robot.cameras: {name!r} is no name for a camera; expected one like front, without / in it"
        )
    for field_name, (least, most) in CAMERA_RANGES.items():
        value = getattr(camera, field_name, None)
        if isinstance(value, int | float) and not least <= value <= most:
            raise ConfigError(
                f"--robot.cameras: camera {name!r}: {field_name} = {value}; expected {least} to {most}"
            )
