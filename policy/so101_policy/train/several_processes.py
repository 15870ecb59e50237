"""The processes that `accelerate launch` has started, as `processes.Processes`."""

from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn

from so101_policy.train.processes import Processes

T = TypeVar("T")


class SeveralProcesses(Processes):
    """A run of several; made in each of them.

    Args:
        on_cpu: train on the processor, even where there is a GPU.
    """

    def __init__(self, on_cpu: bool):
        self._accelerator = Accelerator(cpu=on_cpu)
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
