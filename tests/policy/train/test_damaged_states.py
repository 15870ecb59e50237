"""A valid training state, damaged at random: one message that names the folder, or a step that any training may take.

The same damages as to checkpoints (`damage`), to the moments, the settings, the random states and the counts. The
interpreter is watched: nothing is run, nothing is written.
"""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lerobot.utils.random_utils import deserialize_rng_state
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from damage import SEEDED, WATCH, damage, damage_bytes, listing
from so101_policy.errors import SO101Error
from so101_policy.train.checkpoints import random_state, restore
from training_states import saved_state, small, take_a_step

FARTHEST = 0.1
"""Three steps of Adam at a rate of 0.001 go 0.003 far, and less than 0.022 with any gradients before them."""
NUMBERS = (float("nan"), float("inf"), -1, 3e38, -1e9, 2**31, 2**40, 0.5, 624, 625)
TYPES = (*(torch.int8, torch.int64, torch.uint8, torch.bool), torch.float16, torch.bfloat16, torch.float64)
FACTORS = (1e30, -1, 0, 1e-30, 1e300)
NAMES = ("state/0/x", "state/00/exp_avg", "state/1", "state/\u0663/exp_avg", "\x1b[2J", "state/-1/step")


def in_tensors(path: Path, rng: random.Random) -> None:
    found = load_file(path)
    name = rng.choice(sorted(found))
    tensor = found[name]
    act = rng.choice(("drop", "retype", "resize", "spoil", "spoil", "rename", "swap", "scale"))
    if act == "drop":
        del found[name]
    elif act == "retype":
        found[name] = tensor.to(rng.choice(TYPES))
    elif act == "resize":
        flat = tensor.flatten()
        found[name] = rng.choice((flat[:-1], tensor[None], flat.repeat(2), torch.zeros(3, 3), torch.zeros(0)))
    elif act == "spoil" and tensor.numel():
        found[name] = tensor.clone()
        number = rng.choice(NUMBERS)
        whole = int(np.nan_to_num(number, posinf=1e9))
        found[name].view(-1)[rng.randrange(tensor.numel())] = number if tensor.is_floating_point() else whole
    elif act == "scale":
        found[name] = (tensor.double() * rng.choice(FACTORS)).to(tensor.dtype)
    elif act == "rename":
        found[rng.choice(NAMES)] = found.pop(name)
    elif act == "swap":
        other = rng.choice(sorted(found))
        found[name], found[other] = found[other].clone(), tensor.clone()
    save_file({key: value.contiguous() for key, value in found.items()}, path)


def damage_state(state: Path, rng: random.Random, outside: Path) -> None:
    path = rng.choice(sorted(path for path in state.iterdir() if path.is_file()))
    if rng.random() < 0.2:
        damage_bytes(path, rng, outside)
    elif path.suffix == ".json":
        data = json.loads(path.read_text())
        damage(data, rng)
        path.write_text(json.dumps(data))
    else:
        in_tensors(path, rng)


def check_message(error: SO101Error, folder: Path) -> None:
    """One line that a person can read."""
    assert error.exit_code == 2
    assert str(folder) in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 2000


def check_mutant(valid: Path, scratch: Path, rng: random.Random) -> str:
    """Returns what became of it."""
    shutil.rmtree(scratch, ignore_errors=True)
    copy = shutil.copytree(valid, scratch / "000001")
    for _ in range(rng.choice((1, 1, 2, 3))):
        try:
            damage_state(copy / "training_state", rng, scratch / "outside")
        except (OSError, ValueError, RuntimeError, LookupError, SafetensorError):  # by the change before
            continue
    before, random_before, run = listing(scratch), random_state(), small()
    try:
        with WATCH():
            progress = restore(copy, run)
    except SO101Error as error:
        check_message(error, copy)
        outcome = "refused"
    else:
        for _ in range(3):
            take_a_step(run.optimizer)
        for weight in run.optimizer.param_groups[0]["params"]:
            assert (weight.abs() < FARTHEST).all()  # false for NaN
        assert progress.step >= 0
        outcome = "resumed"
    finally:
        deserialize_rng_state(random_before)
    assert listing(scratch) == before
    assert WATCH.seen == []
    return outcome


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_state(tmp_path_factory.mktemp("valid"))


@settings(max_examples=40, derandomize=True, **SEEDED)
@given(seed=st.integers(0, 2**32))
@example(seed=34)  # a list in the place of a group's settings: a traceback
@example(seed=51)  # a mean that its mean square denies: a weight moved by 1e10
@example(seed=413)  # a count of steps that is true or false: a traceback in the first step
def test_forty_mutants_are_refused_in_one_message_or_resumed(valid: Path, tmp_path: Path, seed: int):
    check_mutant(valid, tmp_path / "scratch", random.Random(seed))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=2000, **SEEDED)
@given(seed=st.integers(0, 2**32))
def test_two_thousand_mutants(valid: Path, tmp_path: Path, seed: int):
    check_mutant(valid, tmp_path / "scratch", random.Random(seed))
