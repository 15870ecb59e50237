"""Every number of the settings of a training: what it may be, asked before anything is read.

LeRobot takes most of them as they are, and a NaN or a negative number trains a policy that is worthless, or ends in
an error of PyTorch's that names no flag. The policy's own fields are asked where checkpoints are (`fields.py`), the
regularizer's in its own class.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from so101_policy.checkpoint.fields import OPTIONAL, Rule, is_number, number, whole
from so101_policy.errors import shown

MOST_STEPS = 10**9
"""A training of a year is shorter."""
MOST_SAMPLES = 10**6
MOST_SEED = 2**32 - 1
"""NumPy's."""
MOST_TOLERANCE_S = 1000.0
"""As of `so101-reliance`: it lets any time stamps pass."""
MOST_THREADS = 1024

STEPS = whole(0, MOST_STEPS)
SHARE: Rule = (lambda value: is_number(value) and 0 <= value < 1, "a number from 0 to below 1")
SHARE_OR_NULL: Rule = (lambda value: value is None or SHARE[0](value), f"{SHARE[1]}, or null")
EPSILON: Rule = (lambda value: is_number(value) and 0 < value <= 1, "a number above 0 and up to 1")
RATE = OPTIONAL["optimizer_lr"]

NUMBERS: Mapping[str, Rule] = {
    "seed": whole(0, MOST_SEED, null=True),
    "batch_size": whole(1, MOST_SAMPLES),
    "steps": whole(1, MOST_STEPS),
    "log_freq": whole(1, MOST_STEPS),
    "save_freq": STEPS,
    "eval_steps": STEPS,
    "env_eval_freq": STEPS,
    "eval.n_episodes": whole(1, MOST_SAMPLES),
    "max_eval_samples": STEPS,
    "tolerance_s": number(0, MOST_TOLERANCE_S),
    "held_out": SHARE_OR_NULL,
    "dataset.eval_split": SHARE,
    "dataset.image_transforms.max_num_transforms": whole(0, 1000),
    "corrections.weight": whole(1, 1000),
    "cache.jobs": whole(1, MOST_THREADS, null=True),
    "optimizer.lr": RATE,
    "optimizer.weight_decay": RATE,
    "optimizer.grad_clip_norm": number(0, 1e9),
    "optimizer.betas": SHARE,
    "optimizer.eps": EPSILON,
    "optimizer.momentum": SHARE,
    "optimizer.dampening": number(0, 1),
    "scheduler.num_warmup_steps": whole(0, MOST_STEPS, null=True),
    "scheduler.num_decay_steps": whole(0, MOST_STEPS),
    "scheduler.num_vqvae_training_steps": STEPS,
    "scheduler.num_cycles": number(0, 1e6),
    "scheduler.peak_lr": RATE,
    "scheduler.decay_lr": RATE,
}
"""Setting -> what it may be; a list's entries one by one. Of other numbers only that they are finite."""

ELSEWHERE = ("policy", "reward_model")
"""Groups whose numbers are asked elsewhere."""


def leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of everything in a dataclass, its dataclasses and dictionaries; a list's entries by its name."""
    if dataclasses.is_dataclass(settings):
        inner = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings) if f.init}
    elif isinstance(settings, Mapping):
        inner = {str(name): value for name, value in settings.items()}
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from leaves(value, prefix)
        return
    else:
        yield prefix, settings
        return
    for name, value in inner.items():
        if prefix or name not in ELSEWHERE:
            yield from leaves(value, f"{prefix}.{name}" if prefix else name)


def objections_to_numbers(settings: Any) -> list[str]:
    """
    Args:
        settings: a `TrainPipelineConfig`, or a class derived from it.

    Returns:
        A sentence for each number that cannot be, with its flag; empty: all are right.
    """
    found: list[str] = []
    for name, value in leaves(settings):
        right, expected = NUMBERS.get(name, (_is_finite, "a finite number"))
        if not right(value):
            found.append(f"--{name} is {shown(value)}, expected {expected}")
    return found


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
