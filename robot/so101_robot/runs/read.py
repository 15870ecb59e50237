"""What a run folder holds of a run's motion: the goals that were sent and the joints that were measured.

Only the part in which the policy drove, from its first goal to its last: the way to the first pose and the way home
are gone anew by whoever plays it again. Values are LeRobot units, (6,) a tick.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_policy.errors import first_line
from so101_policy.files.plain_data import parse_json
from so101_robot.errors import ConfigError
from so101_robot.joints import JOINTS
from so101_robot.runs.log import RUN, TICKS, read_ticks


class Recording(NamedTuple):
    """One run, tick by tick."""

    folder: Path
    about: Mapping[str, Any]
    """`run.json`."""
    fps: float
    goals: NDArray[np.float64]
    """(n, 6) the goal in force after each tick: what was sent, or where nothing was, what had been sent before."""
    measured: NDArray[np.float64]
    """(n, 6) where the joints were at the start of each tick; NaN on ticks that there were none of, and for joints
    that did not answer."""
    unsent: int
    """Ticks on which nothing was sent: the arm held."""
    missed: int
    """Ticks that the loop came too late for."""

    @property
    def duration_s(self) -> float:
        return len(self.goals) / self.fps


def read_recording(folder: Path) -> Recording:
    """Read a run folder, also of a run that was killed.

    Raises:
        ConfigError: it is none, or the policy never moved the arm.
    """
    about = _about(folder)
    ticks = [tick for tick in read_ticks(folder / TICKS) if tick.get("phase") == "run"]
    sent = [number for number, tick in enumerate(ticks) if tick["sent"] is not None]
    if not sent:
        raise ConfigError(
            f"there is nothing to play again in {folder}: the policy never moved the arm in its {len(ticks)} ticks"
        )
    ticks = ticks[sent[0] : sent[-1] + 1]
    first = ticks[0]["tick"]
    count = ticks[-1]["tick"] - first + 1
    goals, measured = np.full((count, len(JOINTS)), np.nan), np.full((count, len(JOINTS)), np.nan)
    for tick in ticks:
        at = tick["tick"] - first
        measured[at] = _measured(tick)
        if tick["sent"] is not None:
            goals[at] = tick["sent"]
    for at in range(1, count):
        if np.isnan(goals[at]).any():
            goals[at] = goals[at - 1]
    unsent = sum(tick["sent"] is None for tick in ticks)
    return Recording(
        folder, about, float(about["config"]["fps"]), goals, measured, unsent, count - len(ticks)
    )


def _measured(tick: Mapping[str, Any]) -> NDArray[np.float64]:
    state = np.array([np.nan if value is None else value for value in tick["state"]], np.float64)
    return np.where(tick.get("answered", True), state, np.nan)


def _about(folder: Path) -> Mapping[str, Any]:
    if not folder.is_dir():
        raise ConfigError(f"there is no run folder {folder}{_runs_near(folder)}")
    if not (folder / RUN).is_file():
        raise ConfigError(f"{folder} is no run folder: it has no {RUN}{_runs_near(folder)}")
    try:
        about: Any = parse_json((folder / RUN).read_text(encoding="utf-8"))
        _ = float(about["config"]["fps"]), dict(about["config"]["robot"])
    except (ValueError, KeyError, TypeError) as problem:
        missing = f"it has no {problem}" if isinstance(problem, KeyError) else first_line(problem)
        raise ConfigError(
            f"{folder / RUN} is not what so101-run writes ({missing}); episodes of so101-eval are played again by "
            f"`so101-eval replay`{_runs_near(folder)}"
        ) from problem
    return about


def _runs_near(folder: Path) -> str:
    """Run folders where the asked one was looked for, the newest last."""
    places = (folder, folder.parent, Path("outputs/run"))
    runs = next((found for place in places if (found := sorted(place.glob(f"*/{TICKS}")))), [])
    return f"; there are {', '.join(str(run.parent) for run in runs[-3:])}" if runs else ""
