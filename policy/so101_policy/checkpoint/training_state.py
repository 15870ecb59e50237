"""The training state beside a checkpoint, looked at before LeRobot and torch take it.

Both take a state of other sizes than the weights', and the optimizer then writes past the end of memory; NumPy takes a
place beyond its table of random numbers, and reads there; and moments that are NaN make NaN of all weights.

    optimizer_state.safetensors, optimizer_param_groups.json, scheduler_state.json, rng_state.safetensors
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lerobot.utils.constants import (
    OPTIMIZER_PARAM_GROUPS,
    OPTIMIZER_STATE,
    RNG_STATE,
    SCHEDULER_STATE,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from so101_policy.checkpoint.fields import is_number
from so101_policy.errors import CheckpointError, first_line, shown
from so101_policy.files.plain_data import Plain, parse_json, read_text

STATE = "state/"
"""Before the names of the optimizer's tensors: state/<number of the parameter>/<name>."""
STEP = "step"
"""A single number for each parameter; all others are as large as the parameter."""
SQUARES = "_sq"
"""At the end of the names of moments that are never negative."""
MEAN, MEAN_SQUARE = "exp_avg", "exp_avg_sq"
"""Adam's two moments."""
ROUNDED = 1.01, 1e-12
"""By which a mean may be above what its mean square allows: rounding, and squares too small for a float."""
RATES = ("lr", "initial_lr")
"""The settings of a group that a schedule changes, or that it starts from."""
HOW_FAST = ("foreach", "fused")
"""The settings that change only how a step is computed."""
CLOSE = 1e-6
"""By which a rate may be above the one that was asked for: rounding."""
LONGEST = 2**40
"""Steps that no training does."""
PYTHONS, NUMPYS = 625, 624
"""Words of the Mersenne Twister in Python's state (its place is the last one) and in NumPy's."""
WORD = 2**32
SIZES: Mapping[str, int] = {
    "py_rng_version": 1,
    "py_rng_state": PYTHONS,
    "np_rng_state_values": NUMPYS,
    "np_rng_state_index": 1,
    "np_rng_has_gauss": 1,
    "np_rng_cached_gaussian": 1,
}


def look_at_training_state(state: Path, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
    """Whether all that is restored fits the optimizer and the scheduler of this run.

    Args:
        state: the folder `training_state` of a checkpoint.
        optimizer: as configured, without a state.
        scheduler: as configured; None: there is none.

    Raises:
        CheckpointError: names the file, what was found and what is expected.
    """
    _each(state / OPTIMIZER_STATE, lambda path: check_moments(load_file(path), optimizer))
    _each(state / OPTIMIZER_PARAM_GROUPS, lambda path: check_groups(parse_json(read_text(path)), optimizer))
    if scheduler is not None:
        _each(state / SCHEDULER_STATE, lambda path: check_schedule(parse_json(read_text(path)), scheduler))
    look_at_random_state(state / RNG_STATE)


def look_at_random_state(path: Path) -> None:
    """Raises CheckpointError for a state that no generator of random numbers has."""
    _each(path, lambda path: check_random(load_file(path)))


def check_moments(tensors: Mapping[str, Tensor], optimizer: Optimizer) -> None:
    """Raises ValueError for tensors that are not of a parameter, of another size or type than it, not finite, or that
    no gradients can have left."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    groups = [group for group in optimizer.param_groups for _ in group["params"]]
    names: dict[int, set[str]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.removeprefix(STATE).partition("/")
        if not key.startswith(STATE) or not number.isdecimal() or not name or int(number) >= len(parameters):
            raise ValueError(f"{shown(key)} is of none of the {len(parameters)} parameters")
        names.setdefault(int(number), set()).add(name)
        asked = () if name == STEP else tuple(parameters[int(number)].shape)
        if tuple(tensor.shape) != asked:
            raise ValueError(f"{key} has the shape {list(tensor.shape)}, expected {list(asked)}")
        wanted = torch.get_default_dtype() if name == STEP else parameters[int(number)].dtype
        if tensor.dtype != wanted:
            raise ValueError(f"{key} is of the type {tensor.dtype}, expected {wanted}")
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{key} has values that are NaN or infinite")
        if (name.endswith(SQUARES) or name == STEP) and bool((tensor < 0).any()):
            raise ValueError(f"{key} has values below 0")
        if name == STEP and (tensor.item() > LONGEST or not float(tensor.item()).is_integer()):
            raise ValueError(f"{key} is {tensor.item():g}, expected a whole number of steps")
    for number, group in enumerate(groups):
        mean, square = (tensors.get(f"{STATE}{number}/{name}") for name in (MEAN, MEAN_SQUARE))
        if mean is not None and square is not None and not _could_be(mean, square, group):
            raise ValueError(
                f"{STATE}{number}/{MEAN} is larger than any gradients leave it beside {MEAN_SQUARE}"
            )
    for number, found in names.items():
        if found != (all_names := set().union(*names.values())):
            missing = ", ".join(sorted(all_names - found))
            raise ValueError(f"{STATE}{number} has no {missing}")


def _could_be(mean: Tensor, square: Tensor, group: Mapping[str, Any]) -> bool:
    """Whether Adam's moments, which are sums over all gradients g, are of the same ones.

    m = (1 - b) sum b^k g_k and v = (1 - c) sum c^k g_k^2; by Cauchy and Schwarz m^2 <= v (1 - b)^2 / ((1 - c)
    (1 - b^2 / c)), for b = 0.9 and c = 0.999 (7.3)^2 v. A mean far above that is a step of any size.
    """
    b, c = group.get("betas", (0.0, 0.0))
    if not b * b < c < 1:
        return True
    most = (1 - b) / math.sqrt((1 - c) * (1 - b * b / c))
    factor, slack = ROUNDED
    return bool((mean.double().abs() <= factor * most * square.double().sqrt() + slack).all())


def check_groups(stored: Plain, optimizer: Optimizer) -> None:
    """Raises ValueError for settings that this optimizer does not have."""
    for number, (wanted, found) in enumerate(
        _pairs(optimizer.state_dict()["param_groups"], stored, "groups")
    ):
        if not isinstance(found, Mapping):
            raise ValueError(f"group {number} is {shown(found)}, expected names with values")
        most = float(wanted.get("initial_lr", wanted["lr"])) * (1 + CLOSE)
        for name, value in found.items():
            where = f"{name} of group {number}"
            if name in RATES:
                _between(value, 0.0, most, where)
            elif name in HOW_FAST and not (value is None or isinstance(value, bool)):
                raise ValueError(f"{where} is {shown(value)}, expected true, false or null")
            elif name not in HOW_FAST and not _fits(wanted.get(name), value):
                raise ValueError(f"{where} is {shown(value)}, expected {shown(wanted[name])}")


def check_schedule(stored: Plain, scheduler: LRScheduler) -> None:
    """Raises ValueError for rates above those that were asked for, and steps that cannot be."""
    own = scheduler.state_dict()
    if not isinstance(stored, Mapping):
        raise ValueError(f"it is {shown(stored)}, expected names with values")
    for asked, found in _pairs(own["base_lrs"], stored.get("base_lrs"), "base_lrs"):
        if not _same(asked, found):
            raise ValueError(f"base_lrs has {shown(found)}, expected {asked}")
    for asked, found in _pairs(own["base_lrs"], stored.get("_last_lr"), "_last_lr"):
        _between(found, 0.0, float(asked) * (1 + CLOSE), "_last_lr")
    for name in ("last_epoch", "_step_count"):
        _between(stored.get(name), 0, LONGEST, name)


def check_random(tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError."""
    for name, size in SIZES.items():
        if name not in tensors or tensors[name].numel() != size:
            raise ValueError(f"{name} is missing, or has not {size} values")
    words = torch.cat([tensors["py_rng_state"].flatten()[:-1], tensors["np_rng_state_values"].flatten()])
    if words.is_floating_point() or bool(((words < 0) | (words >= WORD)).any()):
        raise ValueError(f"a word of a random state is not a whole number from 0 to {WORD - 1}")
    places = {
        "py_rng_state": (PYTHONS - 1, NUMPYS),
        "np_rng_state_index": (0, NUMPYS),
        "np_rng_has_gauss": (0, 1),
    }
    for name, (at, most) in places.items():
        _between(tensors[name].flatten()[at].item(), 0, most, name)
    if not math.isfinite(tensors["np_rng_cached_gaussian"].item()):
        raise ValueError("np_rng_cached_gaussian is not finite")
    own, found = torch.get_rng_state(), tensors.get("torch_rng_state")
    if found is None or found.dtype != own.dtype or found.shape != own.shape:
        raise ValueError(f"torch_rng_state is missing, or has not {own.numel()} bytes")


def _each(path: Path, check: Callable[[Path], None]) -> None:
    try:
        check(path)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as problem:
        raise CheckpointError(f"{path} cannot be resumed from: {first_line(problem)}") from problem


def _pairs(wanted: Sequence[Any], found: Plain, name: str) -> Iterator[tuple[Any, Any]]:
    if not isinstance(found, list) or len(found) != len(wanted):
        raise ValueError(f"{name}: {shown(found)}, expected {len(wanted)} of them")
    yield from zip(wanted, found, strict=True)


def _is_numbers(value: Plain) -> bool:
    return all(map(is_number, value)) if isinstance(value, list | tuple) else is_number(value)


def _fits(wanted: Plain, found: Plain) -> bool:
    """A setting as it is in this run; of what is no number nor a switch nothing is asked."""
    if isinstance(wanted, bool):
        return found is wanted
    return not _is_numbers(wanted) or _same(wanted, found)


def _same(wanted: Plain, found: Plain) -> bool:
    """Of numbers, or of lists of them."""
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list | tuple) and len(found) == len(wanted) and all(map(_same, wanted, found))
        )
    return is_number(wanted) and is_number(found) and math.isclose(wanted, found, rel_tol=CLOSE)


def _between(value: Plain, least: float, most: float, name: str) -> None:
    if not (is_number(value) and least <= value <= most):
        raise ValueError(f"{name} is {shown(value)}, expected {least:g} to {most:.6g}")
