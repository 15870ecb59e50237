"""OpenVINO as an engine's backend: for processors, in most cases the fastest, and with bf16 where they have it.

It reads the same exported graph as ONNX Runtime (`onnx_file.py`, `exported_files.py`). The packages are an extra;
`extras.OPENVINO` loads this module where they are installed.

Left to itself OpenVINO rounds to bf16 on processors that have it, and pins its threads to the first cores, which is
where the next process pins its own. Neither happens here unless it is asked for.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openvino
import torch
from torch import Tensor

from so101_policy.errors import first_line
from so101_policy.inference.backend import Precision
from so101_policy.inference.exported_files import opened
from so101_policy.inference.graph import ActGraph, EngineError
from so101_policy.inference.onnx_file import export
from so101_policy.inference.signal_stack import kept_signal_stack

DEVICE = "CPU"


class OpenVinoBackend:
    """The graph, compiled. As many threads as torch has when it is made.

    Args:
        precision: of the numbers inside; inputs and outputs are float32 in any case.
        folder: where exported graphs are kept; None: `exported_files.default_folder()`.

    Raises:
        EngineError: the policy is not on the processor, the graph cannot be exported, or the processor lacks bf16.
    """

    name = "openvino"

    def __init__(self, graph: ActGraph, precision: Precision = "f32", folder: Path | None = None):
        device = next(graph.parameters()).device
        if device.type != "cpu":
            raise EngineError(
                f"engine openvino runs on the cpu, the policy on {device}; possible: torch, plain"
            )
        with kept_signal_stack():
            compiled = _compiled(graph, precision, folder)
        self._request: Any = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        request = self._request
        try:
            for index, x in enumerate(inputs):
                request.set_input_tensor(index, openvino.Tensor(x.contiguous().numpy(), shared_memory=True))
            request.infer()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed: {first_line(error)}") from error
        # copied: the next inference writes into the same memory
        return [torch.from_numpy(request.get_output_tensor(index).data.copy()) for index in self._outputs]


def _compiled(graph: ActGraph, precision: Precision, folder: Path | None) -> Any:
    core: Any = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        raise EngineError(
            "this processor has no bf16 (lscpu would list avx512_bf16, amx_bf16 or bf16); possible: f32"
        )
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }

    def read(model: Path | bytes) -> Any:
        source = io.BytesIO(model) if isinstance(model, bytes) else str(model)
        return core.compile_model(core.read_model(source), DEVICE, options)

    try:
        return opened(graph, export, read, (RuntimeError,), folder)
    except RuntimeError as error:
        raise EngineError(f"engine openvino cannot be made of this policy: {first_line(error)}") from error
