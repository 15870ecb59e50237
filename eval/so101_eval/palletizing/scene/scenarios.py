"""What an evaluation changes on purpose, one axis at a time, in levels 0 to 3.

A scenario is a row of `Knobs`, one per level; level 0 is always the nominal scene, and level 2 is the
severity that others have published where anybody has (`source`). Knobs say how far a factor may be off;
the direction is drawn by `draw.draw` from the factor's own stream, so that level 3 is level 1 taken
further in the same direction, and that two scenarios never move each other's factors.

Visual scenarios change pictures and nothing else: the physics goes on bit for bit as in the nominal scene.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from so101_eval.errors import ConfigError

LEVELS = (0, 1, 2, 3)
NOMINAL = "nominal"

type Range = tuple[float, float]


@dataclass(frozen=True)
class Knobs:
    """How far each factor may be away from nominal. The defaults are the nominal scene."""

    light_gain: float = 0.0
    """Brighter or darker by this share."""
    light_turn_deg: float = 0.0
    """The key light comes from elsewhere, turned about the vertical."""
    light_tint: float = 0.0
    """Warmer or colder: red goes up and blue down by this share, or the other way round."""
    camera_shift_m: float = 0.0
    """The front camera stands off, in a random direction; the wrist camera a tenth of that on its mount."""
    camera_turn_deg: float = 0.0
    """Both cameras look past their aim, about a random axis."""
    plain_background: bool = False
    """No checker on the table: nothing behind the task tells where a camera stands."""
    table_looks: int = 0
    """The table has one of so many other surfaces."""
    pallet_looks: int = 0
    """The pallet has one of so many other looks."""
    box_hue: float = 0.0
    """Box colours are turned by up to this share of the colour circle (0.5: the opposite colour)."""
    box_looks: int = 0
    """Each box has one of so many other prints in place of the label strip."""
    distractors: int = 0
    """Objects that nobody asked for, beside the way."""
    start_band_m: Range | None = None
    """Boxes start at this signed distance [m] from the border of the demonstrated area (positive:
    outside)."""
    start_band_boxes: int = 8
    """So many boxes do; the others start anywhere inside, because outside there is not room for eight."""
    pallet_shift_m: float = 0.0
    """The pallet is off by this much in a random direction ..."""
    pallet_shift_within: bool = False
    """... or by anything up to it along each axis."""
    pallet_yaw_rad: float = 0.0
    """The pallet is turned by this much, either way ..."""
    pallet_yaw_within: bool = False
    """... or by anything up to it."""
    box_scale: Range = (1.0, 1.0)
    """Edge of each box against 25 mm."""
    box_mass: Range = (1.0, 1.0)
    """Mass of each box against 20 g; the logarithm is uniform."""
    friction: Range = (1.0, 1.0)
    """Friction of boxes, table and pallet against nominal."""
    start_pose_rad: float = 0.0
    """Each joint starts off its home by this much, either way ..."""
    start_pose_within: bool = False
    """... or by anything up to it."""
    start_anywhere: float = 0.0
    """The arm starts this share of the way from its home to some other pose that is safe, any at all."""
    zero_error_deg: float = 0.0
    """Each servo's zero is off by this much, either way: what is measured and what is commanded shift together."""
    servo_strength: Range = (1.0, 1.0)
    """Stall torque of each servo against nominal."""
    joint_noise_deg: float = 0.0
    """Standard deviation of white noise on every measured joint (degrees; percent for the gripper)."""
    joint_bias_deg: float = 0.0
    """Constant error of every measured joint, either way."""
    stuck_s: float = 0.0
    """One joint's measurement stands still for so long, once in an attempt."""
    joint_delay_ticks: int = 0
    """Measured joints are so many control ticks old."""
    blur: float = 0.0
    """Standard deviation of a Gaussian blur as a share of the picture's width."""
    exposure_stops: float = 0.0
    """Pictures are brighter or darker by so many factors of two."""
    frame_drop: float = 0.0
    """Probability that a picture does not come and the last one is seen again."""
    image_delay_ticks: int = 0
    """Pictures are so many control ticks old."""
    black_share: float = 0.0
    """One camera is black for this share of the time, in spells of a second."""
    action_latency_s: float = 0.0
    """Actions reach the arm so much later."""
    box_moved_m: float = 0.0
    """A box is moved this far while the hand comes near."""
    pallet_moved_m: float = 0.0
    """The pallet is, while the first box is being brought."""
    bump_shift_m: float = 0.0
    """One camera is moved by this much in the middle of the attempt (the wrist camera by a tenth) ..."""
    bump_turn_deg: float = 0.0
    """... and turned by this much."""
    boxes_missing: int = 0
    """So many boxes are not there: does the policy grasp all the same? 3 is all of them."""


@dataclass(frozen=True)
class Scenario:
    """A named axis: knobs for levels 1 to 3."""

    name: str
    description: str
    visual: bool
    """Changes pictures only."""
    severities: tuple[Knobs, Knobs, Knobs]
    source: str = "own choice"
    """Of level 2."""
    possible: bool = True
    """Whether a real arm can be in it. Those that it cannot be in are no part of `all`."""

    def knobs(self, level: int) -> Knobs:
        """Raises `ConfigError` for a level that does not exist."""
        if level not in LEVELS:
            raise ConfigError(f"scenario {self.name!r} has no level {level}; possible are 0, 1, 2, 3")
        return Knobs() if level == 0 else self.severities[level - 1]


def _axis(name: str, description: str, visual: bool, source: str = "own choice", **knobs: Any) -> Scenario:
    """A scenario from knobs with a value per level: `box_hue=(0.1, 0.25, 0.5)`."""
    severities = tuple(Knobs(**{knob: values[i] for knob, values in knobs.items()}) for i in range(3))
    return Scenario(name, description, visual, (severities[0], severities[1], severities[2]), source)


_COLOSSEUM = "The Colosseum, arXiv 2402.08191"
_FACTOR_WORLD = "Factor World, arXiv 2307.03659"
_LIBERO = "LIBERO-Plus, arXiv 2510.13626"
_MOVED_M = (0.015, 0.025, 0.040)
_HERE = (True, True, True)
_TWO = (2, 2, 2)
_DESK_SHIFT_M, _DESK_TURN_DEG = (0.005, 0.010, 0.020), (0.5, 1.0, 2.0)
"""What happens to cameras on a desk."""
_WIDER_SHIFT = {"camera_shift_m": (0.02, 0.05, 0.10), "camera_turn_deg": (1.0, 3.0, 6.0)}

_AXES = (
    _axis("light-intensity", "brighter or darker", True, _COLOSSEUM, light_gain=(0.15, 0.35, 0.60)),
    _axis(
        "light-direction", "key light from elsewhere", True, _FACTOR_WORLD, light_turn_deg=(20.0, 60.0, 150.0)
    ),
    _axis("light-colour", "warmer or colder light", True, _COLOSSEUM, light_tint=(0.06, 0.14, 0.25)),
    _axis(
        "camera-pose",
        "cameras moved and turned, as on a desk: a box is 1, 2, 5 px elsewhere in 96 lines, 6, 12, 23 px in 480",
        True,
        camera_shift_m=_DESK_SHIFT_M,
        camera_turn_deg=_DESK_TURN_DEG,
    ),
    _axis("camera-moved", "cameras moved far, 4 to 21 px in 96 lines", True, _COLOSSEUM, **_WIDER_SHIFT),
    _axis(
        "camera-bumped",
        "one camera moved and turned in the middle of the attempt",
        True,
        bump_shift_m=_DESK_SHIFT_M,
        bump_turn_deg=_DESK_TURN_DEG,
    ),
    _axis(
        "camera-pose-plain",
        "cameras moved, and no background that tells where they are",
        True,
        "Know your camera, arXiv 2510.02268",
        **_WIDER_SHIFT,
        plain_background=_HERE,
    ),
    _axis("table-texture", "another table top", True, _FACTOR_WORLD, table_looks=(1, 3, 5)),
    _axis("pallet-texture", "another pallet", True, _FACTOR_WORLD, pallet_looks=(1, 2, 4)),
    _axis("box-colour", "boxes in other colours", True, _COLOSSEUM, box_hue=(0.08, 0.25, 0.50)),
    _axis("box-texture", "another print on the boxes", True, _COLOSSEUM, box_looks=(1, 2, 4)),
    _axis("distractors", "objects beside the way", True, _COLOSSEUM, distractors=(1, 2, 4)),
    _axis(
        "box-start-inside",
        "boxes start well inside the demonstrated area",
        False,
        start_band_m=((-1.0, -0.004), (-1.0, -0.008), (-1.0, -0.012)),
    ),
    _axis(
        "box-start-edge",
        "boxes start at the border of the demonstrated area",
        False,
        start_band_m=((-0.010, 0.0), (-0.005, 0.005), (0.0, 0.010)),
        start_band_boxes=_TWO,
    ),
    _axis(
        "box-start-outside",
        "boxes start outside the demonstrated area",
        False,
        "LIBERO-PRO, arXiv 2510.03827",
        start_band_m=((0.005, 0.015), (0.015, 0.030), (0.030, 0.050)),
        start_band_boxes=_TWO,
    ),
    _axis(
        "box-everywhere",
        "boxes start anywhere in the demonstrated area and up to 10, 20, 30 mm around it",
        False,
        start_band_m=((-1.0, 0.010), (-1.0, 0.020), (-1.0, 0.030)),
        start_band_boxes=(8, 8, 8),
    ),
    _axis("box-moved", "a box is moved while the hand approaches", False, box_moved_m=_MOVED_M),
    _axis("pallet-moved", "the pallet is moved while a box is brought", False, pallet_moved_m=_MOVED_M),
    _axis("pallet-shift", "pallet 10, 20, 40 mm off", False, pallet_shift_m=(0.010, 0.020, 0.040)),
    _axis("pallet-yaw", "pallet turned 5, 10, 20 degrees", False, pallet_yaw_rad=(0.0873, 0.1745, 0.3491)),
    _axis(
        "box-size",
        "larger and smaller boxes",
        False,
        _COLOSSEUM,
        box_scale=((0.95, 1.05), (0.90, 1.10), (0.80, 1.20)),
    ),
    _axis(
        "box-mass",
        "lighter and heavier boxes",
        False,
        box_mass=((0.7, 1.4), (0.5, 2.0), (0.3, 4.0)),
    ),
    _axis(
        "friction",
        "more and less slippery",
        False,
        friction=((0.8, 1.15), (0.6, 1.3), (0.4, 1.5)),
    ),
    _axis(
        "home-pose",
        "every joint starts off its home",
        False,
        _LIBERO,
        start_pose_rad=(0.0349, 0.0873, 0.1745),
    ),
    _axis("start-anywhere", "the arm starts in any safe pose", False, start_anywhere=(1 / 3, 2 / 3, 1.0)),
    _axis(
        "calibration-error",
        "every servo's zero is off, as after a horn that slipped or a calibration by another hand",
        False,
        zero_error_deg=(0.5, 1.0, 2.0),
    ),
    _axis("joint-noise", "noise on measured joints", False, joint_noise_deg=(0.5, 1.0, 2.0)),
    replace(
        _axis(
            "sensor-bias",
            "constant error of measured joints, but not of commanded ones: arms do not do this (calibration-error is "
            "what they do)",
            False,
            joint_bias_deg=(1.0, 2.0, 4.0),
        ),
        possible=False,
    ),
    _axis("joint-stuck", "one encoder stands still for a while", False, stuck_s=(0.5, 2.0, 1e3)),
    _axis("joint-delay", "measured joints come late", False, joint_delay_ticks=(1, 3, 5)),
    _axis("image-blur", "pictures out of focus", False, blur=(0.006, 0.012, 0.025)),
    _axis("image-exposure", "pictures too bright or too dark", False, exposure_stops=(0.5, 1.0, 2.0)),
    _axis("image-drop", "pictures do not come", False, frame_drop=(0.1, 0.3, 0.6)),
    _axis("image-delay", "pictures come late", False, image_delay_ticks=(1, 3, 5)),
    _axis("image-black", "one camera is black at times, or always", False, black_share=(0.25, 0.5, 1.0)),
    _axis("action-latency", "actions 50, 100, 200 ms late", False, action_latency_s=(0.05, 0.1, 0.2)),
    _axis("catch-trial", "boxes taken away: 1, 2, all", False, boxes_missing=(1, 2, 8)),
)


def _combined(name: str, description: str, parts: tuple[str, ...]) -> Scenario:
    """All axes of `parts` at once, each at the level of the whole."""
    axes = [next(axis for axis in _AXES if axis.name == part) for part in parts]
    merged = [_merge(*(axis.knobs(level) for axis in axes)) for level in (1, 2, 3)]
    visual = all(axis.visual for axis in axes)
    return Scenario(name, description, visual, (merged[0], merged[1], merged[2]), " + ".join(parts))


def _merge(*rows: Knobs) -> Knobs:
    changes: dict[str, Any] = {}
    for knobs in rows:
        changes |= changed(knobs)
    return Knobs(**changes)


def changed(knobs: Knobs) -> dict[str, Any]:
    """The knobs that are not nominal."""
    return {
        field.name: getattr(knobs, field.name)
        for field in fields(knobs)
        if getattr(knobs, field.name) != field.default
    }


_RANDOMISED = Knobs(
    friction=(0.6, 1.3),
    servo_strength=(0.85, 1.15),
    box_mass=(0.5, 2.0),
    pallet_shift_m=0.012,
    pallet_shift_within=True,
    pallet_yaw_rad=0.2,
    pallet_yaw_within=True,
    start_pose_rad=0.03,
    start_pose_within=True,
)


def _share(knobs: Knobs, share: float) -> Knobs:
    """All spans of domain randomisation, `share` as wide."""

    def narrower(span: Range) -> Range:
        return 1 + (span[0] - 1) * share, 1 + (span[1] - 1) * share

    return replace(
        knobs,
        friction=narrower(knobs.friction),
        servo_strength=narrower(knobs.servo_strength),
        box_mass=narrower(knobs.box_mass),
        pallet_shift_m=knobs.pallet_shift_m * share,
        pallet_yaw_rad=knobs.pallet_yaw_rad * share,
        start_pose_rad=knobs.start_pose_rad * share,
    )


_OTHERS = (
    Scenario(
        "randomised",
        "domain randomisation: friction, strength, mass, pallet, start pose",
        False,
        (_share(_RANDOMISED, 0.5), _RANDOMISED, _share(_RANDOMISED, 1.25)),
    ),
    _combined(
        "another-room",
        "other light, table and cameras",
        ("light-intensity", "light-direction", "light-colour", "camera-moved", "table-texture"),
    ),
    _combined(
        "other-boxes",
        "other size, mass, friction and colour",
        ("box-size", "box-mass", "friction", "box-colour"),
    ),
    _combined(
        "moved-bench", "pallet shifted and turned, home pose off", ("pallet-shift", "pallet-yaw", "home-pose")
    ),
    _combined(
        "bad-senses",
        "noisy late joints, blurred late pictures",
        ("joint-noise", "joint-delay", "image-blur", "image-delay"),
    ),
)

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(NOMINAL, "as demonstrated", True, (Knobs(), Knobs(), Knobs())),
        *_AXES,
        *_OTHERS,
    )
}


ALIASES: Mapping[str, str] = {"joint-bias": "sensor-bias"}
"""Old name -> new name."""
IN_SUITE_V1: Mapping[str, str] = {"camera-pose": "camera-moved"}
"""Names that meant another scenario in the first suite."""


def load_scenario(name: str) -> Scenario:
    """The scenario of that name, old or new. Raises `ConfigError` that lists those that exist."""
    name = ALIASES.get(name, name)
    if name not in SCENARIOS:
        raise ConfigError(f"there is no scenario {name!r}; available: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
