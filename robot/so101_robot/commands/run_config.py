"""The configuration of `so101-run`: what draccus reads from the command line or a YAML file.

The words under a field are what `so101-run --help` says of its flag.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from so101_robot.arm.config_arm import LARGEST, SO101Config
from so101_robot.chunks.interpolation import MOST_HZ
from so101_robot.chunks.scheduler import CHUNK_MODES, CROSSFADE_S
from so101_robot.display.dashboard import STYLES
from so101_robot.errors import ConfigError
from so101_robot.joints import JOINTS
from so101_robot.leader.config_leader import LeaderConfig
from so101_robot.leader.config_takeover import TakeoverConfig
from so101_robot.loop.attention_alarm import AttentionAlarmConfig
from so101_robot.loop.ending import EndingConfig
from so101_robot.preflight.checks import PreflightConfig
from so101_robot.watchdog.client import WatchdogConfig

DISPLAYS = ("off", "web", "viewer", "file")

AUTO, OFF = "auto", "off"

TICKS_PER_S = 30.0
"""LeRobot's rate for recordings."""

LONGEST_S = 1e6
"""Of a run that is to end by itself: 11 days [s]."""


@dataclass
class RtcFlags:
    """Real-time chunking, LeRobot's RTC, by LeRobot's names."""

    enabled: str = "false"
    """Join chunks by real-time chunking, which SmolVLA, pi0 and pi05 can, in place of the cross-fade: true, false, or
    auto: where the policy can."""
    execution_horizon: int = 10
    """Actions of the plan that the next chunk is drawn to; it is asked for that much earlier."""
    max_guidance_weight: float | None = None
    """How strongly, at most; null: the policy's number of denoising steps (LeRobot: 10, for policies of 10 steps). More
    than that draws beyond the plan."""
    prefix_attention_schedule: str = "LINEAR"
    """How that fades after the actions that are certain to be played: LINEAR, EXP, ONES or ZEROS."""

    def __post_init__(self) -> None:
        self.enabled = self.enabled.lower()  # YAML's booleans
        _one_of("--policy.rtc.enabled", self.enabled, ("true", "false", AUTO))
        self.prefix_attention_schedule = self.prefix_attention_schedule.upper()
        _one_of(
            "--policy.rtc.prefix_attention_schedule",
            self.prefix_attention_schedule,
            ("LINEAR", "EXP", "ONES", "ZEROS"),
        )
        _in_range("--policy.rtc.execution_horizon", self.execution_horizon, 1, 1000)
        if self.max_guidance_weight is not None:
            _in_range("--policy.rtc.max_guidance_weight", self.max_guidance_weight, 0.01, 1000.0)


@dataclass
class PolicyFlags:
    """Which policy drives."""

    path: str = ""
    """Folder of a LeRobot checkpoint, output folder of lerobot-train, a hub id, or (on the mock arm only)
    demo:recommended or demo:stock; empty: demo:recommended."""
    device: str = "auto"
    """A torch device; auto: the first GPU, else the processor."""
    engine: str = "auto"
    """What computes the actions: plain (LeRobot's forward), torch (the same actions, faster), onnx (ONNX Runtime),
    openvino, or auto: the fastest, measured once; the first answer is compared with LeRobot's."""
    precision: str = "f32"
    """f32, or bf16 (engine openvino, where the processor has it): faster with large pictures; by how many degrees it is
    off is measured and said, and refused above 1."""
    n_action_steps: int | None = None
    """Actions of a chunk that are played; null: as the checkpoint says."""
    samples: int = 1
    """Answers that a policy which draws them (diffusion, SmolVLA and the like) draws at once; the first is played, and
    the dashboard shows how far they are apart."""
    server: str = ""
    """host:port of a LeRobot policy server that computes the actions; the checkpoint is read here, too, its weights
    need not be here. empty: this machine computes."""
    server_path: str = ""
    """The checkpoint's folder on the server's machine, or its hub id; empty: as --policy.path."""
    server_elsewhere: bool = False
    """The server may be another machine, without a tunnel: pictures and actions travel unprotected."""
    server_timeout_s: float = 5.0
    """The longest that the server may take for an answer [s]."""
    rtc: RtcFlags = field(default_factory=RtcFlags)
    fps: float | None = None
    """Actions per second: the fps of the recordings that it was trained on; null: as the checkpoint says or its
    dataset, else as --fps says, else it is not played."""


@dataclass
class ChunkFlags:
    """When the policy is asked and how its chunks join."""

    mode: str = "auto"
    """synchronous, asynchronous or ensembled; auto: ensembled where the checkpoint asks for it, else asynchronous."""
    crossfade_s: float = CROSSFADE_S
    """Length of the linear cross-fade between two chunks [s]."""


@dataclass
class CameraFlags:
    """A camera that has moved since the recordings."""

    correct: str = "auto"
    """Cameras that stand are found by what stands still before them; the pictures of one that has moved are put back
    before the policy sees them, and where that is not certain the arm is not moved. auto: those whose background is
    known; off: pictures stay as they come."""
    background: Path | None = None
    """Folder of backgrounds, so101_background.CAMERA.png, as so101-train and so101-data background write them; null:
    the checkpoint's, else what so101-calibrate drift --remember keeps."""

    def __post_init__(self) -> None:
        self.correct = {"False": OFF, "True": AUTO}.get(self.correct, self.correct)  # YAML's booleans
        _one_of("--camera.correct", self.correct, (AUTO, OFF))


@dataclass
class RecordFlags:
    """The run as an episode of a LeRobotDataset."""

    repo_id: str = ""
    """LeRobot's name of the dataset, `user/name`; empty: none is recorded."""
    root: Path | None = None
    """Its folder; null: LeRobot's default place."""
    task: str = ""
    """The task in words."""
    resume: bool = False
    """Add an episode to a dataset that exists."""
    success: str = "unknown"
    """Whether the episode succeeded, for LeRobot's columns next.success and next.reward: ask (when the run is over),
    yes, no; or unknown: without these columns, as lerobot-record writes it, since only a person knows."""

    def __post_init__(self) -> None:
        # YAML, which draccus reads every value with, takes yes and no for booleans
        self.success = {"True": "yes", "False": "no"}.get(self.success, self.success)


@dataclass
class RunConfig:
    """One run of a policy on an arm."""

    policy: PolicyFlags = field(default_factory=PolicyFlags)
    robot: SO101Config = field(default_factory=SO101Config)
    chunks: ChunkFlags = field(default_factory=ChunkFlags)
    camera: CameraFlags = field(default_factory=CameraFlags)
    record: RecordFlags = field(default_factory=RecordFlags)
    teleop: LeaderConfig = field(default_factory=LeaderConfig)
    takeover: TakeoverConfig = field(default_factory=TakeoverConfig)
    ending: EndingConfig = field(default_factory=EndingConfig)
    preflight: PreflightConfig = field(default_factory=PreflightConfig)
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    blind: AttentionAlarmConfig = field(default_factory=AttentionAlarmConfig)
    task: str = ""
    """The task in words, for a policy that is told it (SmolVLA, pi0 and the like); empty: as --record.task."""
    fps: float | None = None
    """Ticks per second, up to 200: a whole multiple of the policy's actions per second; between these the arm follows
    the straight line. null: 30."""
    duration_s: float | None = None
    """How long the policy drives [s], on the robot's clock, without the approach; 0: until Ctrl-C; null: 0, or 20 for
    the demonstration."""
    max_stop_s: float = 1.0
    """How long the guard may hold the arm without a break before the run ends [s]."""
    approach_speed: float = 30.0
    """Fastest joint on the way to the policy's first pose [deg/s]; 0: the policy drives from where the arm stands."""
    start_pose: list[float] | None = None
    """Where the arm goes before the policy is asked anything; null: where the checkpoint's demonstrations began, if it
    says so, else to the policy's first action."""
    inference_latency_s: float | None = None
    """On the mock arm: how long an answer takes in simulated time [s]; null: 0.1."""
    output_dir: Path | None = None
    """The run folder; null: outputs/run/<date>_<time>."""
    dashboard: str = "auto"
    """live, plain or off; auto: live in a terminal."""
    picture: Path | None = None
    """Write the last picture of the dashboard to this SVG file."""
    display: str = "off"
    """Pictures with the attention over them, shares, joints, guard: web (a page of this machine; its address is
    printed), viewer (Rerun), file (Rerun's, run.rrd in the run folder), or off. Without any flag: web, if the extra
    web is installed."""
    clip: bool = True
    """Keep a film of the cameras in the run folder, clip.mp4: the first ten minutes, ten pictures a second, at most
    150 MB."""
    display_host: str = "127.0.0.1"
    """Where the viewer listens: 127.0.0.1 for this machine alone; 0.0.0.0 for everybody in its network, who then sees
    the cameras."""
    per_head: bool = False
    """Log the attention shares of every head."""
    verbose: bool = False
    """Log more, and show tracebacks."""

    @property
    def ticks_per_s(self) -> float:
        """`fps`, or what it is where nobody says it."""
        return TICKS_PER_S if self.fps is None else self.fps

    def __post_init__(self) -> None:
        # YAML, which draccus reads every value with, takes off and on for booleans
        self.dashboard = {"False": "off", "True": "auto"}.get(self.dashboard, self.dashboard)
        self.display = {"False": "off", "True": "viewer"}.get(self.display, self.display)
        _one_of("--chunks.mode", self.chunks.mode, ("auto", *CHUNK_MODES))
        _one_of("--dashboard", self.dashboard, STYLES)
        _one_of("--display", self.display, DISPLAYS)
        try:
            ip_address(self.display_host)
        except ValueError as problem:
            raise ConfigError(
                f"--display_host={self.display_host}: expected an address in numbers, 127.0.0.1 for this machine"
            ) from problem
        _in_range("--fps", self.ticks_per_s, 1.0, MOST_HZ)
        _in_range("--duration_s", self.duration_s or 0.0, 0.0, LONGEST_S)
        _in_range("--max_stop_s", self.max_stop_s, 0.0, 3600.0)
        _in_range("--inference_latency_s", self.inference_latency_s or 0.0, 0.0, 60.0)
        _in_range("--approach_speed", self.approach_speed, 0.0, 180.0)
        _in_range("--ending.speed", self.ending.speed, 1.0, 180.0)
        _in_range("--chunks.crossfade_s", self.chunks.crossfade_s, 0.0, 10.0)
        pose = self.start_pose
        if pose is not None and not (
            len(pose) == len(JOINTS) and all(abs(value) <= LARGEST for value in pose)
        ):
            raise ConfigError(
                f"--start_pose={pose}: expected a number, at most {LARGEST:.0f} away from 0, for each of "
                f"{', '.join(JOINTS)}"
            )
        if self.policy.n_action_steps is not None:
            _in_range("--policy.n_action_steps", self.policy.n_action_steps, 1, 1_000_000)
        _in_range("--policy.samples", self.policy.samples, 1, 256)
        _in_range("--policy.server_timeout_s", self.policy.server_timeout_s, 0.1, 60.0)
        if self.policy.fps is not None:
            _in_range("--policy.fps", self.policy.fps, 0.1, MOST_HZ)


def _one_of(flag: str, value: str, possible: tuple[str, ...]) -> None:
    if value not in possible:
        raise ConfigError(f"{flag}={value}: expected one of {', '.join(possible)}")


def _in_range(flag: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{flag}={value:g}: expected {least:g} to {most:g}")
