"""ONNX Runtime as an engine's backend: for processors, where it is about twice as fast as torch.

The graph is exported by torch (`onnx_file.py`), kept on disk (`exported_files.py`), and optimised and run by ONNX
Runtime. The packages are an extra; `extras.ONNX` loads this module where they are installed.

No thread spins while it waits for the next operation: the control loop shares the processor.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime as runtime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as states  # pyright: ignore[reportAttributeAccessIssue]
from torch import Tensor

from so101_policy.errors import first_line
from so101_policy.inference.exported_files import opened
from so101_policy.inference.graph import ActGraph, EngineError
from so101_policy.inference.onnx_file import export

_RUNTIME_ERRORS = tuple(x for x in vars(states).values() if isinstance(x, type) and issubclass(x, Exception))
"""ONNX Runtime's exceptions, which have no class in common."""


class OnnxBackend:
    """The graph, exported. As many threads as torch has when it is made.

    Args:
        folder: where exported graphs are kept; None: `exported_files.default_folder()`.

    Raises:
        EngineError: the policy is not on the processor, or the graph cannot be exported.
    """

    name = "onnx"

    def __init__(self, graph: ActGraph, folder: Path | None = None):
        device = next(graph.parameters()).device
        if device.type != "cpu":
            raise EngineError(f"engine onnx runs on the cpu, the policy on {device}; possible: torch, plain")
        try:
            self._session = opened(graph, export, _session, _RUNTIME_ERRORS, folder)
        except (RuntimeError, *_RUNTIME_ERRORS) as error:  # torch's exporter raises RuntimeErrors
            raise EngineError(f"engine onnx cannot be made of this policy: {first_line(error)}") from error
        self._names = [node.name for node in self._session.get_inputs()]

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        feed = {name: x.numpy() for name, x in zip(self._names, inputs, strict=True)}
        try:
            return [torch.from_numpy(x) for x in self._session.run(None, feed)]
        except _RUNTIME_ERRORS as error:
            raise EngineError(f"ONNX Runtime failed: {first_line(error)}") from error


def _session(model: Path | bytes) -> Any:
    options: Any = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; its warnings are about optimisations
    source = model if isinstance(model, bytes) else str(model)
    return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
