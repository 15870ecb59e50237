"""Where things were picked: from the joints of each closing of the jaws, or exactly from what `so101-demos` wrote.

Positions are in the base frame of the arm: x forward, y to the left, in metres on the table.
"""

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from so101_policy.dataset_check.description import ACTION, STATE, bare
from so101_policy.dataset_check.folder import file_in
from so101_policy.dataset_check.numbers import Used
from so101_policy.errors import DatasetError, first_line
from so101_policy.files.plain_data import parse_json
from so101_policy.reliance.phases import JawLevels, carries_of
from so101_policy.units import LikelyUnits
from so101_robot.guard.kinematics import LINK_NAMES, angles_of, forward
from so101_robot.joints import GRIPPER, JOINTS

EPISODES = "meta/so101_episodes.jsonl"
MOST_BYTES = 64_000_000
TIP_M = np.array([-0.008, 0.0, -0.098])
"""Between the fingertips, in the frame of the gripper (TheRobotStudio's model, site gripperframe)."""
MOST_M = 1.0
"""No SO-101 reaches further."""


class Picks(NamedTuple):
    """Where things were picked."""

    points_m: NDArray[np.float64]
    """(n, 2) x and y."""
    episodes: list[int]
    """The episode of each."""
    is_exact: bool
    """From `so101_episodes.jsonl`; else the arm's position when its jaws closed."""

    @property
    def area_cm2(self) -> float:
        """Of the convex hull; 0 for points on a line."""
        try:
            return float(ConvexHull(self.points_m).volume * 1e4)
        except (QhullError, ValueError):
            return 0.0


def picks_of(used: Used, unit: LikelyUnits) -> Picks | None:
    """None: this is no SO-101 in degrees, or nothing was picked.

    Raises:
        DatasetError: `so101_episodes.jsonl` is damaged.
    """
    exact = exact_picks(used)
    return exact if exact is not None else closings(used, unit)


def exact_picks(used: Used) -> Picks | None:
    """Where `so101-demos` put the boxes; None: it did not make this dataset.

    Raises:
        DatasetError: the file is damaged.
    """
    if not (used.about.root / EPISODES).exists():
        return None
    path = file_in(used.about.root, EPISODES)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        lines = [
            cast(dict[str, Any], parse_json(line)) for line in path.read_text(encoding="utf-8").splitlines()
        ]
        found = [
            (int(line["episode_index"]), float(box["x_m"]), float(box["y_m"]))
            for line in lines
            for box in line["reset"]["boxes"]
            if box.get("present", True)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DatasetError(f"{path} is damaged: {first_line(error)}") from error
    chosen = set(used.episode_N.tolist())
    points = [(x, y) for episode, x, y in found if episode in chosen]
    if not points:
        return None
    return Picks(np.array(points), [episode for episode, _, _ in found if episode in chosen], True)


def closings(used: Used, unit: LikelyUnits) -> Picks | None:
    """Where the fingertips were when the jaws closed on something."""
    if unit is not LikelyUnits.DEGREES or bare(used.about.features[ACTION].names) != JOINTS:
        return None
    state_NJ, action_NJ = used.column(STATE), used.column(ACTION)
    levels = JawLevels.of(action_NJ[:, GRIPPER])
    points: list[NDArray[np.float64]] = []
    episodes: list[int] = []
    for span in used.spans():
        for carry in carries_of(action_NJ[span, GRIPPER], used.about.fps, levels):
            point = tip_m(state_NJ[span.start + carry.closing])
            if np.abs(point).max() < MOST_M:
                points.append(point[:2])
                episodes.append(int(used.episode_N[span.start]))
    return Picks(np.array(points), episodes, False) if points else None


def tip_m(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) between the fingertips at joint values (6,) in LeRobot's units."""
    pose = forward(angles_of(joint))
    link = LINK_NAMES.index("gripper")
    return pose.position_m[link] + pose.rotation[link] @ TIP_M
