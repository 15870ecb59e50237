"""The configuration of `so101-teleop`: what draccus reads from the command line or a YAML file.

The words under a field are what `so101-teleop --help` says of its flag. Names are LeRobot's where it has one.
"""

from dataclasses import dataclass, field
from pathlib import Path

from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.interpolation import MOST_HZ
from so101_robot.commands.run_config import LONGEST_S, TICKS_PER_S, RunConfig
from so101_robot.errors import ConfigError
from so101_robot.leader.config_leader import LeaderConfig
from so101_robot.loop.ending import EndingConfig
from so101_robot.preflight.checks import PreflightConfig
from so101_robot.watchdog.client import WatchdogConfig

TELEOP_HZ = 60.0
"""LeRobot's rate of lerobot-teleoperate; that of recordings is `TICKS_PER_S`."""

AUTO, ASK, YES, NO, UNKNOWN = "auto", "ask", "yes", "no", "unknown"
SUCCESS = (AUTO, ASK, YES, NO, UNKNOWN)

MOST_EPISODES = 100_000


@dataclass
class DemonstrationFlags:
    """Demonstrations as episodes of a LeRobotDataset."""

    repo_id: str = ""
    """LeRobot's name of the dataset, `user/name`; empty: none is recorded. Nothing is uploaded."""
    root: Path | None = None
    """Its folder; null: LeRobot's default place."""
    task: str = ""
    """The task in words (lerobot-record: --dataset.single_task)."""
    num_episodes: int = 50
    """How many are recorded; then the run ends."""
    episode_time_s: float = 60.0
    """After so long an episode ends by itself and is kept [s]; a key ends it earlier."""
    reset_time_s: float | None = None
    """After so long the next episode begins by itself [s]; null: when a key says so."""
    resume: bool = False
    """Add episodes to a dataset that exists (lerobot-record: --resume)."""
    disturb: float = 0.0
    """In this share of the episodes the follower wobbles slowly, by a few degrees (1: in all; a good share is 0.5), not
    near the table and not while the jaws move or hold something. Recorded is what the leader asked for: the way
    back."""
    random_start: bool = False
    """Every episode begins in a random pose well above the table, to which the follower is led first."""
    success: str = AUTO
    """Whether an episode succeeded, for LeRobot's columns next.success and next.reward: ask (a key, after each), yes,
    no; unknown: without these columns; auto: ask in a terminal, else unknown."""

    def __post_init__(self) -> None:
        # YAML, which draccus reads every value with, takes yes and no for booleans
        self.success = {"True": YES, "False": NO}.get(self.success, self.success)
        if self.success not in SUCCESS:
            raise ConfigError(f"--record.success={self.success}: expected one of {', '.join(SUCCESS)}")
        _in_range("--record.disturb", self.disturb, 0.0, 1.0)
        for flag, given in (("disturb", self.disturb), ("random_start", self.random_start)):
            if given and not self.repo_id:
                raise ConfigError(f"--record.{flag} is for demonstrations; give --record.repo_id")
        _in_range("--record.num_episodes", self.num_episodes, 1, MOST_EPISODES)
        _in_range("--record.episode_time_s", self.episode_time_s, 0.1, LONGEST_S)
        if self.reset_time_s is not None:
            _in_range("--record.reset_time_s", self.reset_time_s, 0.0, LONGEST_S)


@dataclass
class TeleopConfig:
    """A leader drives a follower."""

    robot: SO101Config = field(default_factory=SO101Config)
    teleop: LeaderConfig = field(default_factory=LeaderConfig)
    record: DemonstrationFlags = field(default_factory=DemonstrationFlags)
    ending: EndingConfig = field(default_factory=EndingConfig)
    preflight: PreflightConfig = field(default_factory=PreflightConfig)
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    fps: float | None = None
    """Ticks per second; null: 60, and 30 while a dataset is recorded, as in LeRobot's commands."""
    duration_s: float = 0.0
    """How long the leader drives [s], on the robot's clock; 0: until Ctrl-C, or until all episodes are recorded."""
    max_stop_s: float = 1.0
    """How long the guard may hold the arm without a break before the run ends [s]."""
    output_dir: Path | None = None
    """The run folder; null: outputs/teleop/<date>_<time>."""
    dashboard: str = "auto"
    """live, plain or off; auto: live in a terminal."""
    picture: Path | None = None
    """Write the last picture of the dashboard to this SVG file."""
    display: str = "off"
    """Pictures, joints, guard: web (a page of this machine; its address is printed), viewer (Rerun), file (Rerun's,
    run.rrd in the run folder), or off."""
    display_host: str = "127.0.0.1"
    """Where the viewer listens: 127.0.0.1 for this machine alone."""
    clip: bool = True
    """Keep a film of the cameras in the run folder, clip.mp4."""
    verbose: bool = False
    """Log more, and show tracebacks."""

    def __post_init__(self) -> None:
        _in_range("--fps", self.ticks_per_s, 1.0, MOST_HZ)
        self.as_run()  # says what is wrong with what both have

    @property
    def ticks_per_s(self) -> float:
        """`fps`, or what it is where nobody says it."""
        if self.fps is not None:
            return self.fps
        return TICKS_PER_S if self.record.repo_id else TELEOP_HZ

    def as_run(self) -> RunConfig:
        """The same as a run without a policy: what loop, watchdog, displays and ending are made of. There is no way to
        a first pose: the leader's is gone to by `leader.source`. Raises ConfigError."""
        return RunConfig(
            robot=self.robot,
            ending=self.ending,
            preflight=self.preflight,
            watchdog=self.watchdog,
            fps=self.ticks_per_s,
            duration_s=self.duration_s,
            max_stop_s=self.max_stop_s,
            approach_speed=0.0,
            output_dir=self.output_dir,
            dashboard=self.dashboard,
            picture=self.picture,
            display=self.display,
            display_host=self.display_host,
            clip=self.clip,
            verbose=self.verbose,
        )


def _in_range(flag: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{flag}={value:g}: expected {least:g} to {most:g}")
