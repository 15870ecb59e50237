"""What runs an `ActGraph`: the interface of a backend, and the one that needs nothing beyond torch."""

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from so101_policy.inference.graph import ActGraph

Precision = Literal["f32", "bf16"]
"""Of the numbers inside a graph. f32: LeRobot's actions to rounding. bf16: 8 bits of mantissa, see `precision.py`."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Backend(Protocol):
    """Runs an `ActGraph`."""

    name: str

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The graph's outputs for its inputs, given on the processor."""
        ...


class TorchBackend:
    """The graph as it is."""

    name = "torch"

    def __init__(self, graph: ActGraph):
        self._graph = graph.eval()
        self._device = next(graph.parameters()).device

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.inference_mode():
            return self._graph(*(x.to(self._device) for x in inputs))
