"""The columns of joints: finite, in the range of a joint, in one unit, moving, and no copy of each other.

Wrong is what no recording of an arm can have. Doubtful is what trains, and trains something else than was meant.

Shapes: N frames that are used, J entries of a column.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_policy.dataset_check.description import ACTION, COUNTERS, STATE, Description, bare
from so101_policy.dataset_check.tables import Rows
from so101_policy.findings import Finding, Level
from so101_policy.names import GRIPPER, SO101_JOINTS
from so101_policy.units import LikelyUnits, likely_units, one_degree

type Array = NDArray[np.float64]

MOST_JOINT = 360.0
"""No joint is further from its middle [deg or percent]."""
MOST_NUMBER = 1e6
"""Of anything that an arm measures, in any unit."""
ONE_COUNT_DEG = 360 / 4096
"""What one count of a servo's encoder is."""
STILL_DEG = 0.5
"""A joint that moves less is still."""
IDLE_S, IDLE_SHARE = 2.0, 0.25
"""So long without any joint moving is idle; a dataset with so much of it is doubtful."""
STUCK_S, STUCK_OFF_DEG = 1.0, 5.0
"""An action that is at the end of its range so long, with the arm so far from it, pushes on a stop."""
MOST_SPEED_DEG_S, LEAST_JUMP_DEG = 500.0, 20.0
"""A step that is faster than the servo without load (STS3215 at 12 V: 60 turns a minute, 360 deg/s), and at least so
large, is a wrong reading."""


class Used(NamedTuple):
    """The frames that a command uses, and how they are told in messages."""

    about: Description
    rows: Rows
    first: NDArray[np.int64]
    """(episodes of the dataset,) first frames"""
    at_N: NDArray[np.int64]
    """Their rows."""
    episode_N: NDArray[np.int64]

    def column(self, key: str) -> Array:
        """(N, J) of a vector, (N, 1) of a number."""
        values = self.rows.columns[key][self.at_N].astype(np.float64)
        return values[:, None] if values.ndim == 1 else values

    def place(self, n: int) -> str:
        """File, episode and frame of the n-th used frame."""
        row, episode = int(self.at_N[n]), int(self.episode_N[n])
        return f"{self.rows.file_of(row)}, episode {episode}, frame {row - int(self.first[episode])}"

    def entry(self, key: str, j: int) -> str:
        return f"{key} {self.about.features[key].entry(j)}"

    def spans(self) -> Iterator[slice]:
        """The frames of each used episode."""
        borders = np.flatnonzero(np.diff(self.episode_N)) + 1
        for start, stop in zip([0, *borders.tolist()], [*borders.tolist(), len(self.at_N)], strict=True):
            yield slice(start, stop)


def check_names(about: Description) -> Iterator[Finding]:
    """Joints of state and action, and of an SO-101 their order: policies and arms know joints by their place alone."""
    names = {key: about.features[key].names for key in (STATE, ACTION) if key in about.features}
    for key, found in names.items():
        joints = bare(found)
        if set(joints) == set(SO101_JOINTS) and joints != SO101_JOINTS:
            yield Finding(
                *(Level.STOP, "joints", f"meta/info.json, {key}", ", ".join(joints), ", ".join(SO101_JOINTS)),
                "an arm would move other joints: put the columns into this order",
            )
    state, action = names.get(STATE, ()), names.get(ACTION, ())
    if state != action and sorted(state) == sorted(action):
        yield Finding(
            *(Level.STOP, "joints", "meta/info.json", f"the action's joints are {', '.join(action)}"),
            *(f"the order of the state's: {', '.join(state)}", "put the columns into one order"),
        )


def check_values(used: Used) -> Iterator[Finding]:
    """Whether every number is finite, and could have been measured or commanded."""
    for key, feature in used.about.features.items():
        if key not in used.rows.columns or key in COUNTERS or feature.dtype == "bool":
            continue
        values_NJ = used.column(key)
        is_joints = used.about.is_so101 and key in (STATE, ACTION)
        most = MOST_JOINT if is_joints else MOST_NUMBER if key in (STATE, ACTION) else np.inf
        with np.errstate(invalid="ignore"):
            bad_NJ = ~np.isfinite(values_NJ) | (np.abs(values_NJ) > most)
        if bad_NJ.any():
            n, j = (int(index[0]) for index in np.nonzero(bad_NJ))
            count = int(bad_NJ.any(axis=1).sum())
            expected = "a finite number" if np.isinf(most) else f"a finite number from {-most:g} to {most:g}"
            episodes = np.unique(used.episode_N[bad_NJ.any(axis=1)]).tolist()
            yield Finding(
                *(Level.STOP, "values", f"{used.place(n)}, {used.entry(key, j)}"),
                f"{values_NJ[n, j]:g}" + (f" ({count} frames are like that)" if count > 1 else ""),
                *(
                    expected,
                    f"leave {_some('episode', episodes)} out with --dataset.episodes, or record again",
                ),
            )


def check_units(used: Used) -> tuple[LikelyUnits, list[Finding]]:
    """The unit of an SO-101's joints, and what is wrong or doubtful about it."""
    if not used.about.is_so101:
        return LikelyUnits.UNKNOWN, []
    keys = [key for key in (STATE, ACTION) if key in used.rows.columns and used.about.features[key].names]
    units = {key: likely_units(_without_gripper(used, key)) for key in keys}
    known = {unit for unit in units.values() if unit is not LikelyUnits.UNKNOWN}
    if LikelyUnits.RADIANS in known and len(known) > 1:
        said = ", ".join(f"{key} looks like {unit}" for key, unit in units.items())
        return units[ACTION], [
            Finding(
                Level.STOP, "units", str(used.rows.files[0]), said, "one unit for both", "convert one of them"
            )
        ]
    unit = (
        units[ACTION] if units[ACTION] is not LikelyUnits.UNKNOWN else next(iter(known), LikelyUnits.UNKNOWN)
    )
    remedy = "an arm that is driven in degrees would go elsewhere: convert both columns"
    if unit in (LikelyUnits.RADIANS, LikelyUnits.RANGE):
        found = f"state and action look like {unit}"
        return unit, [Finding(Level.WARN, "units", "", found, "degrees, and percent for the gripper", remedy)]
    return unit, []


def check_motion(used: Used, unit: LikelyUnits) -> Iterator[Finding]:
    """What recordings of a working arm have: joints that move, actions that lead, no jumps, no long pauses."""
    if STATE not in used.rows.columns or ACTION not in used.rows.columns:
        return
    state_NJ, action_NJ = used.column(STATE), used.column(ACTION)
    if state_NJ.shape == action_NJ.shape and len(state_NJ) > 1 and np.array_equal(state_NJ, action_NJ):
        yield Finding(
            *(Level.WARN, "actions", "", "the action is the state of the same frame, in every frame"),
            *(
                "the target that the arm was given",
                "a policy may learn to stay where it is: record the leader's joints",
            ),
        )
    if used.about.is_so101:
        scale = one_degree(unit)
        yield from _jumps(used, scale)
        yield from _stuck(used, scale)
        yield from _idle(used, scale)
    yield from _twins(used)


def idle_frames(used: Used, scale: float = 1.0) -> NDArray[np.bool_]:
    """(N,) frames in pauses of `IDLE_S` or more, in which neither state nor action moves by `STILL_DEG` * `scale`."""
    idle = np.zeros(len(used.at_N), bool)
    both = np.hstack([used.column(STATE), used.column(ACTION)])
    frames = max(2, round(IDLE_S * used.about.fps))
    for span in used.spans():
        if span.stop - span.start >= frames:
            windows_WJF = np.lib.stride_tricks.sliding_window_view(both[span], frames, axis=0)
            still_W = (windows_WJF.max(-1) - windows_WJF.min(-1) <= STILL_DEG * scale).all(axis=1)
            idle[span] = np.convolve(still_W, np.ones(frames)) > 0.5
    return idle


def _without_gripper(used: Used, key: str) -> Array:
    names = bare(used.about.features[key].names)
    return used.column(key)[:, [j for j, name in enumerate(names) if name != GRIPPER]]


def _jumps(used: Used, scale: float) -> Iterator[Finding]:
    state_NJ = used.column(STATE)
    step_NJ = np.abs(np.diff(state_NJ, axis=0))
    step_NJ[np.diff(used.episode_N) != 0] = 0
    limit = max(LEAST_JUMP_DEG, MOST_SPEED_DEG_S / used.about.fps) * scale
    if (bad_NJ := step_NJ > limit).any():
        n, j = (int(index[0]) for index in np.nonzero(bad_NJ))
        count = int(bad_NJ.any(axis=1).sum())
        yield Finding(
            *(Level.WARN, "jumps", f"{used.place(n + 1)}, {used.entry(STATE, j)}"),
            f"{state_NJ[n, j]:.4g} to {state_NJ[n + 1, j]:.4g} in one frame"
            + (f" ({count} frames jump)" if count > 1 else ""),
            *(f"steps below {limit:.3g}", "a lost or wrong reading: look at the episode, or leave it out"),
        )


def _stuck(used: Used, scale: float) -> Iterator[Finding]:
    state_NJ, action_NJ = used.column(STATE), used.column(ACTION)
    if state_NJ.shape != action_NJ.shape:
        return
    low, high = action_NJ.min(axis=0), action_NJ.max(axis=0)
    names = bare(used.about.features[ACTION].names)
    at_end = (action_NJ - low < 0.1 * scale) | (high - action_NJ < 0.1 * scale)
    pushes = (
        at_end & (np.abs(action_NJ - state_NJ) > STUCK_OFF_DEG * scale) & (high - low > ONE_COUNT_DEG * scale)
    )
    least = round(STUCK_S * used.about.fps)
    for j, name in enumerate(names):
        if name == GRIPPER:  # closed on something, its action is at the end by design
            continue
        longest, where = max(
            ((_run(pushes[span, j]), span.start) for span in used.spans()), default=((0, 0), 0)
        )
        if longest[0] >= least:
            n = where + longest[1]
            yield Finding(
                *(Level.WARN, "actions", f"{used.place(n)}, {used.entry(ACTION, j)}"),
                f"at the end of its range, {action_NJ[n, j]:.4g}, for {longest[0] / used.about.fps:.1f} s, the arm "
                f"{abs(action_NJ[n, j] - state_NJ[n, j]):.3g} away",
                *("an arm that gets there", "it pushed on a stop or lost its torque: look at the episode"),
            )


def _idle(used: Used, scale: float) -> Iterator[Finding]:
    idle = idle_frames(used, scale)
    share = float(idle.mean()) if len(idle) else 0.0
    if share > IDLE_SHARE:
        by_episode = [(float(idle[span].mean()), int(used.episode_N[span.start])) for span in used.spans()]
        worst = max(by_episode)
        yield Finding(
            *(Level.WARN, "idle", "", f"in {share:.0%} of all frames nothing moves for {IDLE_S:g} s or more"),
            f"at most {IDLE_SHARE:.0%}",
            f"most of it is in episode {worst[1]} ({worst[0]:.0%}); policies learn to wait: cut the pauses",
            *(share, "share"),
        )


def _twins(used: Used) -> Iterator[Finding]:
    seen: dict[bytes, int] = {}
    pairs: list[str] = []
    for span in used.spans():
        content = used.column(STATE)[span].tobytes() + used.column(ACTION)[span].tobytes()
        episode = int(used.episode_N[span.start])
        if content in seen:
            pairs.append(f"{episode} is {seen[content]}")
        seen.setdefault(content, episode)
    if pairs:
        found = (
            f"{len(pairs)} episodes are copies: {', '.join(pairs[:5])}"
            if len(pairs) > 1
            else f"episode {pairs[0]}"
        )
        yield Finding(
            *(Level.WARN, "copies", "", f"{found}, number for number", "episodes that were recorded once"),
            "held-out episodes are no test if their copies are trained on: leave the copies out",
        )


def _run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Length and start of the longest run of true."""
    padded = np.concatenate([[False], flags, [False]]).astype(np.int8)
    starts, stops = np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1)
    if not len(starts):
        return 0, 0
    longest = int(np.argmax(stops - starts))
    return int((stops - starts)[longest]), int(starts[longest])


def _some(what: str, numbers: Sequence[int], most: int = 5) -> str:
    listed = ", ".join(map(str, numbers[:most])) + (" .." if len(numbers) > most else "")
    return f"{what}{'s' if len(numbers) > 1 else ''} {listed}"
