"""Which mock arm: what `MockArm` and, through the robot's configuration, `so101-run` can be asked for."""

from dataclasses import dataclass
from pathlib import Path

from so101_robot.errors import ConfigError

CAMERAS = ("front", "wrist")
"""The cameras that every scene has."""

FLAGS = "--robot.mock."
"""How the names of the fields begin as flags."""

LARGEST_SIDE = 4096
"""Of a picture; more than any of LeRobot's cameras delivers [pixels]."""

FASTEST = 1000.0
"""Times real time; no machine gets there."""


@dataclass
class MockConfig:
    """Which mock arm, in which scene."""

    scene: str = "table"
    """A name from the entry-point group `so101.scenes`."""
    seed: int = 0
    """Of everything that is drawn: object poses, mounting, faults."""
    width: int = 96
    """Of both cameras [pixels]."""
    height: int = 96
    """Of both cameras [pixels]."""
    camera_fps: float = 30.0
    """Capture rate of both cameras [1/s]; frame k is captured k / camera_fps after power-up."""
    faults: Path | None = None
    """A fault plan (YAML); none: nothing fails."""
    shadows: bool = False
    """Cast shadows: better pictures, four times the rendering cost."""
    draw_late: bool = False
    """Draw a picture only when somebody looks at it. For runs in one thread, which has to be that of the renderer: in
    lockstep, where policies are asked in the loop. Faults of pictures are noticed on those ticks alone."""
    random_mount: bool = False
    """Bolt every servo on at an encoder angle of its own, as people do, instead of at its middle."""
    calibrated: bool = True
    """Homing offsets and position limits are in the servos' EEPROM, as `lerobot-calibrate` leaves them."""
    renderer: str = "auto"
    """auto, egl, osmesa or ray."""
    realtime_factor: float = 1.0
    """Pace of a lockstep clock: 1 is for people who watch, 0 is as fast as the machine can."""

    def __post_init__(self) -> None:
        for side in ("width", "height"):
            if not 1 <= getattr(self, side) <= LARGEST_SIDE:
                raise ConfigError(
                    f"{FLAGS}{side}={getattr(self, side)}: expected at least 1 pixel and at most {LARGEST_SIDE}"
                )
        if not 0 < self.camera_fps <= 1000:
            raise ConfigError(
                f"{FLAGS}camera_fps={self.camera_fps}: expected above 0 and at most 1000 pictures per second"
            )
        if not 0 <= self.realtime_factor <= FASTEST:
            raise ConfigError(
                f"{FLAGS}realtime_factor={self.realtime_factor}: expected 0 (as fast as possible) to {FASTEST:g}"
            )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"{FLAGS}seed={self.seed}: expected 0 or more, below 2^63")
