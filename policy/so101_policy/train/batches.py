"""The batch of one step after another, on the device in time.

The samples of a step are a pure function of seed, step and joint batch size, in LeRobot's order, so a run can be
resumed anywhere, and several processes share a joint batch without talking about it.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.frames.samples import Position, SampleOrder, share
from so101_policy.train.processes import Processes

Raw = Mapping[str, Tensor]


class Share(NamedTuple):
    """One process's part of a step's joint batch."""

    indices: NDArray[np.int64]
    joint: int
    """Samples of all processes."""
    begins_epoch: bool

    @property
    def weight(self) -> float:
        """This process's part of the samples."""
        return len(self.indices) / self.joint


class Batches:
    """`next()` gives a step's batch, normalised and on the device.

    Args:
        raw: frame indices -> raw batch.
        prepare: raw batch -> normalised batch on the device.
        step: the one to begin with.
        ahead: gather the next raw batch in a thread meanwhile (worth it where the device works by itself).
        draws_as_loader: draw the random number that torch's DataLoader draws for its workers when an epoch begins, so
            that dropout is LeRobot's.
    """

    def __init__(
        self,
        order: SampleOrder,
        raw: Callable[[NDArray[np.int64]], Raw],
        prepare: Callable[[Raw], dict[str, Tensor]],
        batch_size: int,
        processes: Processes,
        step: int = 0,
        ahead: bool = False,
        draws_as_loader: bool = False,
    ):
        self._order, self._raw, self._prepare, self._processes = order, raw, prepare, processes
        self._joint, self._draws_as_loader = batch_size * processes.count, draws_as_loader
        self._position: Position = order.position(step, self._joint)
        self._thread = ThreadPoolExecutor(1, "batches") if ahead else None
        self._coming: Future[tuple[Raw, Share]] | None = None

    def next(self) -> tuple[dict[str, Tensor], Share]:
        raw, part = self._coming.result() if self._coming else self._gathered()
        if self._draws_as_loader and part.begins_epoch:
            torch.empty((), dtype=torch.int64).random_()
        if self._thread is not None:
            self._coming = self._thread.submit(self._gathered)
        return self._prepare(raw), part

    def close(self) -> None:
        """May be called twice."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = self._coming = None

    def _gathered(self) -> tuple[Raw, Share]:
        processes = self._processes
        begins_epoch = self._position.sample == 0
        joint, self._position = self._order.take(self._position, self._joint)
        mine = share(joint, processes.rank, processes.count)
        part = Share(mine, len(joint), begins_epoch)
        if len(mine):
            return self._raw(mine), part
        raw = self._raw(
            joint[:1]
        )  # nothing left for this process: it keeps pace with a sample that does not count
        return {**raw, "action_is_pad": torch.ones_like(raw["action_is_pad"])}, part
