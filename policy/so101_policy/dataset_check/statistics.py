"""Statistics of the frames that are trained on: those of the dataset where they are right, else from the columns.

A policy's inputs and outputs are scaled by these numbers, so a wrong one is a wrong action. `meta/stats.json` is about
all episodes, so a training on some of them needs its own.

Scaling divides by the spread. A joint that stands still in all recordings, or jitters by a count of its encoder, would
be scaled so far that a tenth of a degree on the arm is a new world to the policy; so the spread has a floor.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_policy.dataset_check.description import ACTION, STATE, Description
from so101_policy.dataset_check.folder import STATS, read_object
from so101_policy.dataset_check.numbers import Used
from so101_policy.dataset_check.tables import read_statistics
from so101_policy.errors import DatasetError
from so101_policy.findings import Finding, Level
from so101_policy.units import LEAST_SPREAD_DEG, LikelyUnits, one_degree

type Statistics = dict[str, dict[str, NDArray[Any]]]

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
"""LeRobot's."""
KINDS = ("mean", "std", "min", "max")
"""Those that are compared. Quantiles of LeRobot are averages over episodes."""
TOLERANCE = 0.02
"""Of a column's spread: LeRobot computes in 32 bits, and older versions merged episodes by another formula."""
RELATIVE_SPREAD = 1e-6
"""Of its value, below which an entry in an unknown unit is constant; it is scaled by 1 then."""


class Trained(NamedTuple):
    """What to train with, and what was changed."""

    statistics: Statistics
    notes: list[Finding]


def read_stored(about: Description) -> Statistics | None:
    """`meta/stats.json`; None: it is not there.

    Raises:
        DatasetError: it is damaged.
    """
    path = about.root / STATS
    if not path.exists() and not path.is_symlink():
        return None
    stored: Statistics = {}
    for key, values in read_object(about.root, STATS).items():
        if not isinstance(values, Mapping):
            raise DatasetError(f"{path} is damaged: {key[:60]!r} has no statistics by name - {REMOVE}")
        stored[key] = {}
        for name, value in values.items():
            try:
                stored[key][name] = np.atleast_1d(np.array(value, np.float64))
            except (ValueError, TypeError) as error:
                raise DatasetError(
                    f"{path} is damaged: {name[:60]!r} of {key[:60]!r} is not numbers - {REMOVE}"
                ) from error
    return stored


REMOVE = "remove the file, and so101-train computes them"


def check_stored(about: Description, stored: Statistics | None, all_frames: Used) -> list[Finding]:
    """Whether the stored statistics are those of the columns of state and action."""
    if stored is None:
        return [_wrong(about, "the file is missing")]
    found: list[Finding] = []
    for key in (STATE, ACTION):
        if key in all_frames.rows.columns and (said := _difference(key, stored.get(key), all_frames)):
            found.append(_wrong(about, said))
    return found


def for_training(
    about: Description,
    stored: Statistics | None,
    used: Used,
    is_whole: bool,
    unit: LikelyUnits,
    has_wrong: bool,
) -> Trained:
    """Statistics of the frames of `used`, with the spread of joints at its floor or above.

    Args:
        stored: those of the dataset.
        is_whole: all episodes are used.
        has_wrong: `check_stored` has found something.
    """
    notes: list[Finding] = []
    if stored is not None and is_whole and not has_wrong:
        statistics = {key: dict(values) for key, values in stored.items()}
    else:
        statistics = _computed(about, used) | _of_pictures(about, stored, used, is_whole)
    for key in (STATE, ACTION):
        if key in statistics and key in used.rows.columns and len(used.at_N):
            notes += _floored(statistics[key], key, used, unit)
    return Trained(statistics, notes)


def _computed(about: Description, used: Used) -> Statistics:
    quantiles = {f"q{int(100 * q):02d}": q for q in QUANTILES}
    statistics: Statistics = {}
    for key in used.rows.columns:
        values = used.column(key)
        if len(values):
            found = {"mean": values.mean(axis=0), "std": values.std(axis=0)}
            found |= {"min": values.min(axis=0), "max": values.max(axis=0)}
            found |= {name: np.quantile(values, q, axis=0) for name, q in quantiles.items()}
            statistics[key] = found | {"count": np.array([len(values)])}
    return statistics


def _of_pictures(about: Description, stored: Statistics | None, used: Used, is_whole: bool) -> Statistics:
    """Of the cameras: from what was written about each episode; where that is missing, of the whole dataset."""
    whole = {key: values for key, values in (stored or {}).items() if key in about.cameras}
    if is_whole and whole.keys() >= set(about.cameras):
        return whole
    by_episode = read_statistics(about, np.unique(used.episode_N).tolist(), about.cameras)
    found: Statistics = {}
    for key in about.cameras:
        parts = [part[key] for part in by_episode if _is_complete(part.get(key, {}))]
        if parts and len(parts) == len(by_episode):
            found[key] = _together(parts)
    return whole | found


def _is_complete(values: Mapping[str, Any]) -> bool:
    return {*KINDS, "count"} <= values.keys() and all(np.isfinite(v).all() for v in values.values())


def _together(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Of several episodes; a picture's statistics are (colours, 1, 1), as LeRobot keeps them.

    The variance is that within episodes plus that of their means, each weighted by its count.
    """
    count = np.array([float(part["count"].sum()) for part in parts])
    mean, std, low, high = (np.stack([part[kind].reshape(-1, 1, 1) for part in parts]) for kind in KINDS)
    whole_mean = np.average(mean, axis=0, weights=count)
    variance = np.average(std**2 + (mean - whole_mean) ** 2, axis=0, weights=count)
    together = {"mean": whole_mean, "std": np.sqrt(variance), "min": low.min(axis=0), "max": high.max(axis=0)}
    return together | {"count": np.array([count.sum()])}


def _difference(key: str, stored: Mapping[str, NDArray[Any]] | None, frames: Used) -> str:
    values_NJ = frames.column(key)
    if stored is None:
        return f"{key} is missing"
    if missing := [kind for kind in KINDS if kind not in stored]:
        return f"{key} has no {', '.join(missing)}"
    true = {"mean": values_NJ.mean(axis=0), "std": values_NJ.std(axis=0)}
    true |= {"min": values_NJ.min(axis=0), "max": values_NJ.max(axis=0)}
    slack_J = TOLERANCE * true["std"] + 1e-5 * np.maximum(1.0, np.abs(values_NJ).max(axis=0))
    for kind in KINDS:
        given = stored[kind]
        if given.shape != true[kind].shape:
            return f"{kind} of {key} has shape {given.shape}, the column {true[kind].shape}"
        bad_J = ~(np.abs(given - true[kind]) <= slack_J)
        if bad_J.any():
            j = int(np.flatnonzero(bad_J)[0])
            return f"{kind} of {frames.entry(key, j)} is {given[j]:.4g}, the column's is {true[kind][j]:.4g}"
    return ""


def _floored(values: dict[str, NDArray[Any]], key: str, used: Used, unit: LikelyUnits) -> list[Finding]:
    """Raise what is below the floor, in place; what was raised, in words."""
    is_so101 = used.about.is_so101
    std_J = values["std"].astype(np.float64).copy()
    if is_so101:
        floor_J = np.full_like(std_J, LEAST_SPREAD_DEG * one_degree(unit))
        low_J = std_J < floor_J
    else:
        floor_J = np.ones_like(std_J)
        low_J = std_J <= RELATIVE_SPREAD * np.maximum(1.0, np.abs(values["mean"]))
    if not low_J.any():
        return []
    said = [f"{used.about.features[key].entry(j)} {std_J[j]:.2g}" for j in np.flatnonzero(low_J).tolist()]
    values["std"] = np.where(low_J, floor_J, std_J).astype(values["std"].dtype)
    middle_J = (values["min"] + values["max"]) / 2
    for low, high in (("min", "max"), ("q01", "q99"), ("q10", "q90")):
        if low in values and high in values:
            narrow_J = low_J & (values[high] - values[low] < 2 * floor_J)
            values[low] = np.where(narrow_J, middle_J - floor_J, values[low])
            values[high] = np.where(narrow_J, middle_J + floor_J, values[high])
    floor = float(floor_J[int(np.flatnonzero(low_J)[0])])
    return [
        Finding(
            *(
                Level.WARN,
                "spread",
                key,
                f"hardly moves in the recordings: standard deviation of {', '.join(said)}",
            ),
            f"{floor:.3g} or more",
            f"it is scaled as if it were {floor:.3g}, so that a small offset on the arm does not count as a large one",
        )
    ]


def _wrong(about: Description, said: str) -> Finding:
    return Finding(
        *(Level.WARN, "statistics", str(about.root / STATS), said, "the statistics of the columns"),
        "so101-train computes them from the columns; other programs take them as they are",
    )


def used_frames(used: Used, episodes: Sequence[int]) -> Used:
    """The frames of some of the episodes."""
    chosen = np.isin(used.episode_N, np.asarray(episodes))
    return used._replace(at_N=used.at_N[chosen], episode_N=used.episode_N[chosen])
