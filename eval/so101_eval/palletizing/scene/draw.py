"""How an attempt starts: drawing a `Reset`.

`draw` is a pure function of (suite, task, scenario, level, seed). Every factor has a random stream of its own,
keyed by the factor and the seed and by nothing else, and a scenario only says how far its factors
may go. So switching one factor on does not move the others, a perturbed attempt pairs with the nominal one of
the same seed, and the levels of a scenario go the same way, farther each.
"""

import colorsys
import hashlib
import math

import numpy as np

from so101_eval.errors import ConfigError, LayoutError
from so101_eval.palletizing.scene.layout import TRIES, lay_out_boxes, slots_in_reach
from so101_eval.palletizing.scene.materials import BOX_RGB
from so101_eval.palletizing.scene.moves import draw_moves
from so101_eval.palletizing.scene.reset_data import (
    BOX_LOOKS,
    CAMERAS,
    DISTRACTORS,
    PALLET_LOOKS,
    TABLE_LOOKS,
    BoxStart,
    Bump,
    CameraShift,
    Distractor,
    Light,
    PalletStart,
    Reset,
    SensorDisturbance,
)
from so101_eval.palletizing.scene.safe_pose import safe_pose_rad
from so101_eval.palletizing.scene.scenarios import IN_SUITE_V1, NOMINAL, Knobs, load_scenario
from so101_eval.palletizing.scene.tasks import (
    BOX_FRICTION,
    BOX_KG,
    PALLET_PLACE_M,
    PAN_AXIS_M,
    Task,
    load_task,
)
from so101_robot.joints import JOINTS
from so101_robot.mock.physics.world import HOME_POSE_RAD

__all__ = [
    "DEMO_SEEDS",
    "EVAL_SEEDS",
    "SUITE",
    "BoxStart",
    "PalletStart",
    "Reset",
    "SensorDisturbance",
    "check_seed",
    "draw",
    "stream",
]

SUITE = "v2"
"""Names the rules in this file: a change that draws other scenes from the same seeds gets a new name. v2: the levels of
`camera-pose` are those of a desk, what it was is `camera-moved`; all other scenes are as in v1, and records of the two
are not counted together all the same."""
SUITES = ("v1", SUITE)
"""Those that can be drawn."""

EVAL_SEEDS = range(1_000_000)
"""Seeds for judging. No demonstration may use one."""
DEMO_SEEDS = range(1_000_000, 2_000_000)
"""Seeds for demonstrations, and for playing."""

WRIST_SHIFT_SHARE = 0.1
"""Of what the front camera is moved: the wrist camera sits on a printed mount, not on a stand."""
BUMP_S = (1.0, 5.0)
"""When a camera is bumped: while a box is being fetched or brought."""


def check_seed(seed: int, use: str) -> int:
    """`seed`, if it may be used for `demo` or `eval`. Raises `ConfigError` for a seed of the other kind."""
    ranges = {"demo": DEMO_SEEDS, "eval": EVAL_SEEDS}
    if use not in ranges:
        raise ConfigError(f"seeds are for {' or '.join(ranges)}, not for {use!r}")
    if seed not in ranges[use]:
        allowed = ranges[use]
        raise ConfigError(
            f"seed {seed} is not for {use}; {use} seeds are {allowed.start} to {allowed.stop - 1}, so that "
            "no policy is judged on a scene that was demonstrated"
        )
    return seed


def stream(factor: str, seed: int) -> np.random.Generator:
    """The random numbers of one factor for one seed, in every suite."""
    entropy = int.from_bytes(hashlib.sha256(f"v1/{factor}".encode()).digest()[:16])
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(seed,)))


def draw(
    task: Task | str, scenario: str = NOMINAL, level: int = 0, seed: int = 0, suite: str = SUITE
) -> Reset:
    """How attempt `seed` of that cell starts.

    Raises:
        ConfigError: no such task, scenario, level or suite; a seed outside of both ranges.
        LayoutError: the boxes do not fit where the scenario wants them.
    """
    task = load_task(task) if isinstance(task, str) else task
    if suite not in SUITES:
        raise ConfigError(f"there is no suite {suite!r}; this version draws {' and '.join(SUITES)}")
    meant = IN_SUITE_V1.get(scenario, scenario) if suite == "v1" else scenario
    knobs = load_scenario(meant).knobs(level)
    if seed not in EVAL_SEEDS and seed not in DEMO_SEEDS:
        raise ConfigError(f"seed {seed}: possible are {EVAL_SEEDS.start} to {DEMO_SEEDS.stop - 1}")
    streams = {factor: stream(factor, seed) for factor in _FACTORS}
    boxes, pallet = _boxes(task, knobs, streams), _pallet(task, knobs, streams)
    return Reset(
        suite, task.name, scenario, level, seed,
        boxes=boxes,
        pallet=pallet,
        surface_friction=BOX_FRICTION * _span(streams["surface"], knobs.friction),
        arm_rad=_arm(knobs, streams["arm"], streams["anywhere"]),
        servo_strength=tuple(_span(streams["servos"], knobs.servo_strength) for _ in JOINTS),
        light=_light(knobs, streams["light"]),
        cameras=_cameras(knobs, streams["camera"]),
        table_look=_table(knobs, streams["table_look"]),
        distractors=_distractors(task, knobs, streams["distractors"]),
        senses=_senses(knobs, streams["senses"]),
        zero_error_rad=_zero_error(knobs, streams["zeros"]),
        moves=draw_moves(task, knobs, boxes, pallet, streams["moves"]),
        bump=_bump(knobs, streams["bump"]),
    )  # fmt: skip


_FACTORS = (
    *("layout", "yaw", "size", "mass", "friction", "colour", "print", "missing", "pallet", "pallet_look"),
    *("surface", "arm", "servos", "light", "camera", "table_look", "distractors", "senses"),
    *("anywhere", "zeros", "moves", "bump"),
)

type _Streams = dict[str, np.random.Generator]


def _span(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """A factor from `span`: the nominal 1 in the middle of the draw, each side scaled on its own.

    A draw u in (-1, 1) gives 1 - |u| (1 - low) or 1 + |u| (high - 1), so that a wider span takes
    the same draw further in the same direction.
    """
    u = rng.uniform(-1.0, 1.0)
    return 1.0 + (u * (span[1] - 1.0) if u > 0 else u * (1.0 - span[0]))


def _log_span(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """As `_span`, uniform in the logarithm."""
    u = rng.uniform(-1.0, 1.0)
    return math.exp(u * math.log(span[1]) if u > 0 else -u * math.log(span[0]))


def _either_way(rng: np.random.Generator, size: float, within: bool = False) -> float:
    """Plus or minus `size`; or anything between."""
    u = rng.uniform(-1.0, 1.0)
    return float(u * size if within else math.copysign(size, u)) if size else 0.0


def _boxes(task: Task, knobs: Knobs, streams: _Streams) -> tuple[BoxStart, ...]:
    places = lay_out_boxes(
        task.pick_area, task.boxes, streams["layout"], knobs.start_band_m, knobs.start_band_boxes
    )
    missing = streams["missing"].permutation(task.boxes)[: knobs.boxes_missing]
    hue = _either_way(streams["colour"], knobs.box_hue)
    boxes: list[BoxStart] = []
    for i, (x_m, y_m) in enumerate(places):
        boxes.append(
            BoxStart(
                x_m, y_m,
                yaw_rad=_yaw_rad(streams["yaw"], task.yaw_span_rad, x_m, y_m),
                edge_m=task.edge_m(i) * _span(streams["size"], knobs.box_scale),
                mass_kg=BOX_KG * _log_span(streams["mass"], knobs.box_mass),
                friction=BOX_FRICTION * _span(streams["friction"], knobs.friction),
                rgb=_turned(BOX_RGB[i], hue),
                look=_look(streams["print"], BOX_LOOKS, knobs.box_looks),
                present=i not in missing,
            )
        )  # fmt: skip
    return tuple(boxes)


def _yaw_rad(rng: np.random.Generator, span_rad: float, x_m: float, y_m: float) -> float:
    """Any yaw, or one near the direction from the pan axis; the same draw for both."""
    yaw_rad = float(rng.uniform(-math.pi, math.pi))
    if span_rad >= math.pi:
        return yaw_rad
    return math.atan2(y_m - PAN_AXIS_M[1], x_m - PAN_AXIS_M[0]) + yaw_rad / math.pi * span_rad


def _look(rng: np.random.Generator, looks: tuple[str, ...], others: int) -> str:
    """The first of `looks`, or one of the `others` after it."""
    u = rng.uniform()
    return looks[1 + int(u * others)] if others else looks[0]


def _turned(rgb: tuple[float, float, float], share: float) -> tuple[float, float, float]:
    """A colour, its hue turned by a share of the circle."""
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb((hue + share) % 1.0, saturation, value) if share else rgb


def _pallet(task: Task, knobs: Knobs, streams: _Streams) -> PalletStart:
    look = _look(streams["pallet_look"], PALLET_LOOKS, knobs.pallet_looks)
    rng = streams["pallet"]
    yaw_rad = _either_way(rng, knobs.pallet_yaw_rad, knobs.pallet_yaw_within)
    for _ in range(TRIES):
        if knobs.pallet_shift_within:
            dx_m, dy_m = knobs.pallet_shift_m * rng.uniform(-1, 1, 2)
        else:
            direction_rad = rng.uniform(-math.pi, math.pi)
            dx_m, dy_m = (knobs.pallet_shift_m * f(direction_rad) for f in (math.cos, math.sin))
        pallet = PalletStart(PALLET_PLACE_M[0] + float(dx_m), PALLET_PLACE_M[1] + float(dy_m), yaw_rad, look)
        if slots_in_reach(task, pallet):
            return pallet
    raise LayoutError(f"no pallet {knobs.pallet_shift_m} m off its place can be reached")


def _arm(knobs: Knobs, rng: np.random.Generator, anywhere: np.random.Generator) -> tuple[float, ...]:
    """The home pose, joints of the arm off it; the jaws start as they are."""
    if knobs.start_anywhere:
        return safe_pose_rad(anywhere, knobs.start_anywhere)
    off_rad = [_either_way(rng, knobs.start_pose_rad, knobs.start_pose_within) for _ in JOINTS[:-1]]
    return (*(home + off for home, off in zip(HOME_POSE_RAD[:-1], off_rad, strict=True)), HOME_POSE_RAD[-1])


def _zero_error(knobs: Knobs, rng: np.random.Generator) -> tuple[float, ...]:
    if not knobs.zero_error_deg:
        return ()
    return tuple(_either_way(rng, math.radians(knobs.zero_error_deg)) for _ in JOINTS)


def _bump(knobs: Knobs, rng: np.random.Generator) -> Bump | None:
    if not knobs.bump_shift_m:
        return None
    at_s, camera = float(rng.uniform(*BUMP_S)), CAMERAS[int(rng.integers(len(CAMERAS)))]
    share = WRIST_SHIFT_SHARE if camera == "wrist" else 1.0
    shift_m = _vector(rng, knobs.bump_shift_m * share)
    return Bump(at_s, camera, CameraShift(shift_m, _vector(rng, math.radians(knobs.bump_turn_deg))))


def _light(knobs: Knobs, rng: np.random.Generator) -> Light:
    gain = 1.0 + _either_way(rng, knobs.light_gain)
    tint = _either_way(rng, knobs.light_tint)
    return Light(gain, tint, math.radians(_either_way(rng, knobs.light_turn_deg)))


def _cameras(knobs: Knobs, rng: np.random.Generator) -> dict[str, CameraShift]:
    shares = {"front": 1.0, "wrist": WRIST_SHIFT_SHARE}
    return {
        name: CameraShift(
            _vector(rng, knobs.camera_shift_m * shares[name]),
            _vector(rng, math.radians(knobs.camera_turn_deg)),
        )
        for name in CAMERAS
    }


def _vector(rng: np.random.Generator, length: float) -> tuple[float, float, float]:
    """A vector of that length in a random direction."""
    direction = rng.normal(size=3)
    x, y, z = (direction * (length / np.linalg.norm(direction))).tolist()
    return x, y, z


def _table(knobs: Knobs, rng: np.random.Generator) -> str:
    look = _look(rng, TABLE_LOOKS, knobs.table_looks)
    return "plain" if knobs.plain_background else look


_SPREAD_M = ((0.06, 0.32), (-0.22, 0.24))  # x, y: what the front camera sees of the table
_CLEAR_M = {"pick": 0.035, "pallet": 0.095, "arm": 0.125, "each other": 0.055}


def _distractors(task: Task, knobs: Knobs, rng: np.random.Generator) -> tuple[Distractor, ...]:
    """In view, but beside the boxes, the pallet and the arm's foot. All four are drawn, the first few
    shown."""
    kinds = rng.permutation(len(DISTRACTORS))
    found: list[Distractor] = []
    while len(found) < len(DISTRACTORS):
        x_m, y_m = (float(rng.uniform(*span)) for span in _SPREAD_M)
        hue, yaw_rad = rng.uniform(), float(rng.uniform(-math.pi, math.pi))
        if (
            task.pick_area.beyond_m(x_m, y_m) > _CLEAR_M["pick"]
            and math.dist((x_m, y_m), PALLET_PLACE_M) > _CLEAR_M["pallet"]
            and math.dist((x_m, y_m), PAN_AXIS_M) > _CLEAR_M["arm"]
            and all(math.dist((x_m, y_m), (d.x_m, d.y_m)) > _CLEAR_M["each other"] for d in found)
        ):
            kind = DISTRACTORS[kinds[len(found)]]
            found.append(Distractor(kind, x_m, y_m, yaw_rad, colorsys.hsv_to_rgb(hue, 0.65, 0.85)))
    return tuple(found[: knobs.distractors])


def _senses(knobs: Knobs, rng: np.random.Generator) -> SensorDisturbance:
    return SensorDisturbance(
        joint_noise_deg=knobs.joint_noise_deg,
        joint_bias_deg=tuple(_either_way(rng, knobs.joint_bias_deg) for _ in JOINTS),
        stuck_joint=JOINTS[int(rng.integers(len(JOINTS) - 1))],
        stuck_from_s=float(rng.uniform(0.5, 6.0)),
        stuck_s=knobs.stuck_s,
        joint_delay_ticks=knobs.joint_delay_ticks,
        blur=knobs.blur,
        exposure_stops=_either_way(rng, knobs.exposure_stops),
        frame_drop=knobs.frame_drop,
        image_delay_ticks=knobs.image_delay_ticks,
        black_camera=CAMERAS[int(rng.integers(len(CAMERAS)))],
        black_share=knobs.black_share,
        action_latency_s=knobs.action_latency_s,
        seed=int(rng.integers(2**31)),
    )
