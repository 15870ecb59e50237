"""A small training state as LeRobot writes it, and what it is restored into: for the tests of resuming."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from lerobot.optim import save_optimizer_state
from lerobot.utils.random_utils import save_rng_state

OPTIMIZER, GROUPS, RANDOM = (
    "optimizer_state.safetensors",
    "optimizer_param_groups.json",
    "rng_state.safetensors",
)


class Small(NamedTuple):
    """What is restored of a run, and what is not."""

    optimizer: torch.optim.Optimizer
    scheduler: None = None


def small() -> Any:
    """Three parameters, without a state."""
    weights = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((4, 3), (3,), (2,))]
    return Small(torch.optim.AdamW(weights, lr=1e-3))


def take_a_step(optimizer: torch.optim.Optimizer) -> None:
    """With gradients of 1."""
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def saved_state(folder: Path) -> Path:
    """A checkpoint after one step in a run in `folder`."""
    run, state = small(), folder / "run/checkpoints/000001/training_state"
    state.mkdir(parents=True)
    take_a_step(run.optimizer)
    save_optimizer_state(run.optimizer, state)
    save_rng_state(state)
    (state / "so101_training.json").write_text('{"step": 1}')
    return state.parent
