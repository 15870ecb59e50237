"""One process, or several that train together through Accelerate (`accelerate launch -m so101_policy.train ...`).

The trainer asks this object and does not care. Accelerate is loaded only where there are several processes.
"""

import os
from typing import TypeVar

import torch
from torch import Tensor, nn

from so101_policy.command_line.extras import ACCELERATE

T = TypeVar("T")


class Processes:
    """A run of one process. `several_processes.SeveralProcesses` is the other one."""

    rank = 0
    count = 1

    def __init__(self, device: torch.device):
        self.device = device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def joined(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over the processes."""
        return module

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes, on the device, without waiting for it."""
        return value

    def gathered(self, value: T) -> list[T]:
        """Every process's value, in the order of their ranks."""
        return [value]

    def any(self, flag: bool) -> bool:
        """Whether it is so in some process. Waits for all."""
        return flag

    def wait(self) -> None:
        """Until all are here."""

    def close(self) -> None:
        """May be called twice."""


def join_processes(device: str) -> Processes:
    """What the launcher has started: a run of several, or this process alone on `device`.

    Raises:
        MissingPackageError: there are several processes, and Accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return ACCELERATE.load().SeveralProcesses(on_cpu=torch.device(device).type == "cpu")
    return Processes(torch.device(device))
