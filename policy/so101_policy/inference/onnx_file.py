"""The graph as a file in ONNX's format, for runtimes that compile it: torch's exporter writes it."""

import warnings
from typing import Any

import torch

from so101_policy.inference.graph import ActGraph

OPSET = 18
"""ONNX's set of operations that torch's exporter writes without converting."""


def export(graph: ActGraph) -> bytes:
    """The graph as an ONNX model, weights included. Inputs are named by their keys, the first output is the actions."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program: Any = torch.onnx.export(
            graph.eval(),
            graph.example(),
            dynamo=True,
            verbose=False,
            input_names=list(graph.inputs),
            opset_version=OPSET,
        )
    return program.model_proto.SerializeToString()
