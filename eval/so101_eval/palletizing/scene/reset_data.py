"""How an attempt starts, as data: everything that `draw.draw` draws, and nothing else.

A `Reset` is stored as JSON with the attempt and is all that is needed to lay it out again, bit for bit.
"""

from dataclasses import dataclass

from so101_eval.json_lines import from_json, to_json

BOX_LOOKS = ("label", "cross", "band", "lid", "plain")
TABLE_LOOKS = ("checker", "wood", "slate", "mat", "stripes", "speckle", "plain")
PALLET_LOOKS = ("wood", "weathered", "blue", "grey", "mixed")
DISTRACTORS = ("cup", "ball", "pen", "tape")
CAMERAS = ("front", "wrist")


@dataclass(frozen=True)
class BoxStart:
    """A box: where it lies, what it is, how it looks."""

    x_m: float
    y_m: float
    yaw_rad: float
    edge_m: float
    mass_kg: float
    friction: float
    rgb: tuple[float, float, float]
    look: str
    """One of `BOX_LOOKS`."""
    present: bool


@dataclass(frozen=True)
class PalletStart:
    """The pallet's place on the table; `look` is one of `PALLET_LOOKS`."""

    x_m: float
    y_m: float
    yaw_rad: float
    look: str


@dataclass(frozen=True)
class Light:
    """Of the lamps: brightness and colour against nominal, and where the key light comes from."""

    gain: float
    tint: float
    """Red times (1 + tint), blue times (1 - tint)."""
    turn_rad: float


@dataclass(frozen=True)
class CameraShift:
    """A camera moved by `shift_m` along its own axes (right, up, back) and turned by the vector
    `turn_rad`."""

    shift_m: tuple[float, float, float]
    turn_rad: tuple[float, float, float]


@dataclass(frozen=True)
class Distractor:
    """A thing to be seen and not touched; `kind` is one of `DISTRACTORS`."""

    kind: str
    x_m: float
    y_m: float
    yaw_rad: float
    rgb: tuple[float, float, float]


@dataclass(frozen=True)
class SensorDisturbance:
    """What is changed between the robot and its policy: readings, pictures, latency; see `disturbances`."""

    joint_noise_deg: float
    joint_bias_deg: tuple[float, ...]
    """(6,) added to what is measured; percent for the gripper."""
    stuck_joint: str
    stuck_from_s: float
    stuck_s: float
    """0: no joint is stuck."""
    joint_delay_ticks: int
    blur: float
    exposure_stops: float
    frame_drop: float
    image_delay_ticks: int
    black_camera: str
    black_share: float
    action_latency_s: float
    seed: int
    """Of noise, dropped frames and black spells, tick by tick."""


@dataclass(frozen=True)
class Moves:
    """What somebody moves while the arm works, once in an attempt: the moment before the hand is there."""

    near_m: float
    """It happens when the middle between the pads is first this near: to the middle of a box that nobody has
    touched, or, with a box in the jaws, to the pallet's middle (from above)."""
    boxes_m: tuple[tuple[float, float], ...] = ()
    """Way of each box, of which the first that the hand comes near to is moved; none: no box is."""
    pallet_m: tuple[float, float] | None = None


@dataclass(frozen=True)
class Bump:
    """A camera that is moved in the middle of an attempt, and stays so."""

    at_s: float
    camera: str
    shift: CameraShift


@dataclass(frozen=True)
class Reset:
    """Everything that an attempt starts from, and what is going to happen in it."""

    suite: str
    task: str
    scenario: str
    level: int
    seed: int
    boxes: tuple[BoxStart, ...]
    pallet: PalletStart
    surface_friction: float
    """Of table and pallet."""
    arm_rad: tuple[float, ...]
    """(6,) true joint angles at the start."""
    servo_strength: tuple[float, ...]
    """(6,) stall torque against nominal."""
    light: Light
    cameras: dict[str, CameraShift]
    table_look: str
    """One of `TABLE_LOOKS`."""
    distractors: tuple[Distractor, ...]
    senses: SensorDisturbance
    """The name is a key in stored records."""
    zero_error_rad: tuple[float, ...] = ()
    """(6,) how much more than the truth each encoder reads; () for none."""
    moves: Moves | None = None
    bump: Bump | None = None

    def to_json(self) -> str:
        """One line; floats to the last bit."""
        return to_json(self)

    @staticmethod
    def from_json(text: str) -> "Reset":
        """Back from `to_json`, equal to the last bit. Raises `RecordError` for anything else."""
        return from_json(Reset, text, "a stored reset")
