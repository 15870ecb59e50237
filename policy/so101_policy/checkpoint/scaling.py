"""The statistics by which a checkpoint scales what a policy takes and gives: all there, finite, of the right shape.

Only numpy is needed. LeRobot leaves a feature without statistics unscaled, and stretches one number over six joints.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from so101_policy.checkpoint.folder import CONFIG, POSTPROCESSOR, PREPROCESSOR
from so101_policy.checkpoint.steps import NORMALIZE, UNNORMALIZE, Description, Step, read_description
from so101_policy.errors import CheckpointError, first_line, printable, shown
from so101_policy.files.plain_data import MOST_BYTES

NEEDED: Mapping[str, tuple[str, ...]] = {
    "IDENTITY": (),
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
"""What LeRobot's normalizer needs of a feature, mode by mode."""

MOST = 1e6
"""No joint, in whatever unit, and no pixel goes further; encoders count to 4096."""

Statistics = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Feature -> name of the statistic (mean, std, min, max, ...) -> values."""

SIDES = {PREPROCESSOR: (NORMALIZE, "input_features"), POSTPROCESSOR: (UNNORMALIZE, "output_features")}
"""File -> the step that scales, and what it has to scale."""


def read_statistics(folder: Path) -> Statistics:
    """The statistics of both processors, as their files have them.

    Raises:
        CheckpointError: a processor may not be built (see `steps.py`), or its statistics cannot be read.
    """
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for file, (name, _) in SIDES.items():
        for feature, values in statistics_of(read_description(folder, file).step(name)).items():
            found.setdefault(feature, {}).update(values)
    return found


def statistics_of(step: Step) -> Statistics:
    """Those of one step; empty where it has none. Raises CheckpointError."""
    path = step.state_file
    if path is None:
        return {}
    if path.stat().st_size > MOST_BYTES:
        raise CheckpointError(f"{path} is too large for statistics: expected at most {MOST_BYTES} bytes")
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    try:
        for key, values in load_file(path).items():
            feature, _, statistic = key.rpartition(".")
            with np.errstate(
                invalid="ignore"
            ):  # a signalling NaN; whoever uses the numbers asks for finite ones
                found.setdefault(feature, {})[statistic] = values.astype(np.float64)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"the statistics {path} cannot be read, damaged or cut short: {printable(first_line(error))}"
        ) from error
    return found


def check_scaling(folder: Path, file: str, description: Description, config: Mapping[str, Any]) -> None:
    """Everything on this side of the policy is scaled, as its configuration says and by numbers that can be.

    Args:
        config: of the policy, whose fields were found right (`fields.py`).

    Raises:
        CheckpointError: names file, feature and statistic.
    """
    name, side = SIDES[file]
    step = description.step(name)
    statistics, wanted = statistics_of(step), config[side]
    objections = [
        *_unknown(step, {*config["input_features"], *config["output_features"]}),
        *_objections(step, statistics, wanted, config["normalization_mapping"]),
    ]
    if objections:
        raise CheckpointError(f"{folder / file}: {'; '.join(objections[:4])}")


def _unknown(step: Step, known: Collection[str]) -> Iterator[str]:
    """What is scaled is what the policy takes. A camera that was cut out of its configuration would not be missed:
    an ACT's weights are the same for any number of cameras."""
    for feature in step.config.get("features", {}):
        if feature not in known:
            yield f"{shown(feature)} is scaled, but {CONFIG} does not have it; it has {', '.join(sorted(known))}"


def _objections(
    step: Step, statistics: Statistics, wanted: Mapping[str, Any], mapping: Mapping[str, str]
) -> Iterator[str]:
    scaled = step.config.get("features", {})
    scales = step.config.get("norm_map", {})
    for feature, about in wanted.items():
        kind, mode = about["type"], mapping.get(about["type"], "IDENTITY")
        if (also := scales.get(kind, "IDENTITY")) != mode:
            yield f"{kind} is scaled by {also}, the policy was trained with {mode}"
        elif mode == "IDENTITY":
            continue
        elif (also := scaled.get(feature)) != about:
            yield f"{feature} is {shown(also)}, the policy has {shown(about)}"
        elif lacking := [key for key in NEEDED[mode] if key not in statistics.get(feature, {})]:
            there = ", ".join(map(printable, statistics)) or "nothing"
            yield (
                f"there are no {' and '.join(lacking)} of {feature}, so its scale is unknown; there are statistics of: "
                f"{there}"
            )
        else:
            yield from _numbers(feature, about, {key: statistics[feature][key] for key in NEEDED[mode]}, mode)


def _numbers(
    feature: str, about: Mapping[str, Any], values: Mapping[str, NDArray[np.float64]], mode: str
) -> Iterator[str]:
    size = about["shape"][0]
    shapes = ((size,), (size, 1, 1)) if about["type"] == "VISUAL" else ((size,),)
    for key, numbers in values.items():
        if numbers.shape not in shapes:
            yield f"{key} of {feature} has the shape {list(numbers.shape)}, expected {list(shapes[-1])}"
        elif not np.isfinite(numbers).all():
            yield f"{key} of {feature} is not finite: {shown(numbers.ravel().tolist())}"
        elif np.abs(numbers).max() > MOST:
            yield f"{key} of {feature} goes to {np.abs(numbers).max():.3g}, expected at most {MOST:g}"
        elif key == "std" and numbers.min() < 0:
            yield f"std of {feature} is negative: {shown(numbers.ravel().tolist())}"
    low, high = ([*values.values()] * 2)[:2]
    if mode != "MEAN_STD" and low.shape == high.shape and (low > high).any():
        yield f"{' is above '.join(NEEDED[mode])} in {feature}: {shown(low.ravel().tolist())}"
