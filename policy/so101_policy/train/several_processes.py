"""The processes that `accelerate launch` has started, as `processes.Processes`."""

from typing import TypeVar, cast

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object
from torch import Tensor, distributed, nn

from so101_policy.train.processes import Processes

T = TypeVar("T")


class SeveralProcesses(Processes):
    """A run of several; made in each of them.

    Args:
        on_cpu: train on the processor, even where there is a GPU.
    """

    def __init__(self, on_cpu: bool):
        # Gradients of parameters that a batch did not use (a mask token, say) must not be waited for. Buffers move in
        # the same way everywhere and need no broadcast.
        settings = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
        self._accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=[settings])
        super().__init__(self._accelerator.device)
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes

    def joined(self, module: nn.Module) -> nn.Module:
        return self._accelerator.prepare_model(module)

    def total(self, value: Tensor) -> Tensor:
        return cast(Tensor, self._accelerator.reduce(value, reduction="sum"))

    def gathered(self, value: T) -> list[T]:
        return cast(list[T], gather_object([value]))

    def any(self, flag: bool) -> bool:
        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()

    def close(self) -> None:
        if distributed.is_initialized():
            self._accelerator.end_training()
            if distributed.is_initialized():
                distributed.destroy_process_group()
