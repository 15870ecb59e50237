"""One process, or several that train together through Accelerate (`accelerate launch -m so101_policy.train ...`).

The trainer asks this object and does not care. Accelerate is imported only where several processes are.
"""

import os
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")


class Processes:
    """A run of one process. `SeveralProcesses` is the other one."""

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


class SeveralProcesses(Processes):
    """The processes that `accelerate launch` has started."""

    def __init__(self, on_cpu: bool):
        from accelerate import Accelerator

        self._accelerator: Any = Accelerator(cpu=on_cpu)
        super().__init__(self._accelerator.device)
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes

    def joined(self, module: nn.Module) -> nn.Module:
        # Gradients of parameters that a batch did not use (a mask token, say) must not be waited for. Buffers move in
        # the same way everywhere and need no broadcast.
        on_gpu = self.device.type == "cuda"
        return nn.parallel.DistributedDataParallel(
            module,
            device_ids=[self.device.index] if on_gpu else None,
            find_unused_parameters=True,
            broadcast_buffers=False,
        )

    def total(self, value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value)
        return value

    def gathered(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()

    def close(self) -> None:
        if distributed.is_initialized():
            self._accelerator.end_training()
            if distributed.is_initialized():
                distributed.destroy_process_group()


def join_processes(device: str) -> Processes:
    """What the launcher has started: a run of several, or this process alone on `device`."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return SeveralProcesses(on_cpu=torch.device(device).type == "cpu")
    return Processes(torch.device(device))
