"""A valid checkpoint, damaged at random: one message, or a policy that acts; nothing is run, nothing is written.

Each mutant is a copy with one to three changes: in a JSON file something is dropped, retyped, resized, made NaN,
infinite or huge, reordered, or nested deep; in a tensor file a tensor is dropped, retyped, resized or spoiled; a file
is truncated, overwritten in places, or replaced by a link, a folder or a pipe. The interpreter itself is watched: an
audit hook sees every process, every shell and every file that is opened for writing.
"""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from damage import IN_PLACE, JUNK, SEEDED, WATCH, damage, damage_bytes, listing
from so101_policy import ActPolicy, CheckpointError
from so101_policy.checkpoint.folder import CONFIG, PROCESSORS, TRAINED_ON

JSON = (CONFIG, TRAINED_ON, *PROCESSORS)
OURS: tuple[Any, ...] = (
    *(*JUNK, 2, 3, 96, "act", "cpu", "cuda:9", "MEAN_STD", "IDENTITY", "../x.safetensors"),
    *([3, 32, 32], ["act"], {"type": "STATE", "shape": [6]}, {"class": "os.system"}),
)
"""Junk, and what other fields expect."""
VARIANTS = frozenset(("n_heads", "pre_norm", "feedforward_activation", "isolation", "eps"))
"""Another right value of these is another policy, which nothing in the folder contradicts."""

EVIL = {"class": "subprocess.Popen", "config": {"args": ["touch", "PWNED"]}}


type Change = Callable[[Path, random.Random], str]
"""Damages the folder; returns the name of what was changed."""


def in_json(folder: Path, rng: random.Random) -> str:
    path = folder / rng.choice(JSON)
    if not path.is_file():  # a pipe would never answer
        return "nothing"
    data = json.loads(path.read_text())
    if isinstance(data.get("steps"), list) and rng.random() < 0.1:
        data["steps"].insert(rng.randrange(len(data["steps"]) + 1), EVIL)
        key = "steps"
    else:
        key = damage(data, rng, junk=OURS)
    path.write_text(json.dumps(data))
    return key


def in_tensors(folder: Path, rng: random.Random) -> str:
    path = rng.choice(sorted(p for p in folder.glob("*.safetensors") if p.is_file()))
    try:
        tensors = load_file(path)
    except Exception:  # damaged by the change before
        return "nothing"
    if not tensors:
        return "nothing"
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    act = rng.choice(("drop", "retype", "resize", "spoil", "spoil", "swap", "rename"))
    if act == "drop":
        del tensors[name]
    elif act == "retype":
        tensors[name] = tensor.to(
            rng.choice((torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float64))
        )
    elif act == "resize":
        tensors[name] = rng.choice(
            (tensor.flatten()[:-1], tensor[None], torch.zeros(0), torch.zeros(3, 3))
        ).contiguous()
    elif act == "spoil" and tensor.dtype.is_floating_point and tensor.numel():
        tensors[name] = tensor.clone()
        tensors[name].view(-1)[rng.randrange(tensor.numel())] = rng.choice(
            (np.nan, np.inf, -np.inf, 3e38, -1e9)
        )
    elif act == "swap":
        other = rng.choice(sorted(tensors))
        tensors[name], tensors[other] = tensors[other].clone(), tensor.clone()
    elif act == "rename":
        tensors["\x1b]0;" + name] = tensors.pop(name)
    save_file(tensors, path)
    return "weights"


def in_bytes(folder: Path, rng: random.Random) -> str:
    path = rng.choice(sorted(p for p in folder.iterdir() if p.is_file()))
    return "weights" if damage_bytes(path, rng, folder.parent / "outside") in IN_PLACE else path.name


CHANGES: tuple[Change, ...] = (in_json, in_json, in_json, in_tensors, in_bytes)


def check_mutant(valid: Path, rng: random.Random) -> str:
    """Returns what became of it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(valid, Path(scratch) / "copy")
        changed = set[str]()
        for _ in range(rng.choice((1, 1, 2, 3))):
            try:
                changed.add(rng.choice(CHANGES)(folder, rng))
            except (OSError, IndexError, ValueError, AttributeError):  # nothing left to damage
                continue
        before = listing(folder.parent)
        try:
            with WATCH():
                policy = ActPolicy.load(folder)
                actions = act(policy)
        except CheckpointError as error:
            check_message(error, folder)
            outcome = "refused"
        else:
            outcome = "ran"
            assert actions.shape == (policy.chunk_size, 6)
            assert "fps" in changed or policy.fps == 30.0
            if not changed & (VARIANTS | {"weights"}):
                np.testing.assert_allclose(actions, act(ActPolicy.load(valid)), rtol=1e-3, atol=1e-3)
        assert listing(folder.parent) == before
    assert WATCH.seen == []
    return outcome


def check_message(error: CheckpointError, folder: Path) -> None:
    """One line that a person can read."""
    message = str(error)
    assert error.exit_code == 2
    assert message.isprintable(), "one line, and nothing that steers a terminal"
    assert str(folder) in message, "the folder is named"
    assert len(message) < 2000


def act(policy: ActPolicy) -> np.ndarray:
    """The answer to one observation."""
    pictures = {
        name: np.full((*size, 3), 60 * i, np.uint8)
        for i, (name, size) in enumerate(policy.cameras.items(), start=1)
    }
    return policy.predict([0, -60, 60, 50, 0, 30], pictures).actions


@pytest.mark.timeout(600)  # half a minute of a free core
@settings(max_examples=200, derandomize=True, **SEEDED)
@given(seed=st.integers(0, 2**32))
def test_two_hundred_mutants_are_refused_in_one_message_or_act(valid: Path, seed: int):
    check_mutant(valid, random.Random(seed))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=2000, **SEEDED)
@given(seed=st.integers(0, 2**32))
def test_two_thousand_mutants(valid: Path, seed: int):
    check_mutant(valid, random.Random(seed))


@pytest.mark.filterwarnings("ignore")
def test_the_watch_sees_what_it_watches_for(tmp_path: Path):
    with WATCH():
        os.system("true")
        (tmp_path / "written").write_text("x")
    assert [line.split()[0] for line in WATCH.seen] == ["os.system", "open"]
