"""Which backend is the fastest here: measured once, and remembered by machine and policy.

No rule says which runtime is the fastest: it depends on processor, model and picture size. So the candidates run the
same made-up observation in turns, and the one with the shortest time wins, of those that agree with torch. A machine
that is busy can make the wrong one win; the actions are the same to rounding, only later. What must repeat to the last
bit (an evaluation) does not ask here: see `engine.installed_engine`.
"""

import hashlib
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from so101_policy.files.plain_data import parse_json
from so101_policy.files.whole_files import write_text
from so101_policy.inference.backend import Backend, TorchBackend
from so101_policy.inference.exported_files import default_folder, name_of
from so101_policy.inference.graph import ActGraph, EngineError

logger = logging.getLogger(__name__)

MEASURE_S = 0.5
"""For each candidate, beside what it takes to make it [s]."""
ROUNDS = 30
"""At most: the shortest of so many does not get much shorter."""
REMEMBERED = "fastest.json"
MOST_REMEMBERED = 64
RUNTIMES = ("torch", "onnxruntime", "openvino")
"""Packages whose versions decide which one is the fastest."""

Make = Callable[[], Backend]


def fastest(
    graph: ActGraph, candidates: Mapping[str, Make], tolerance: float, folder: Path | None = None
) -> Backend | None:
    """The fastest of the candidates that can be made and agree with torch; None where there is none.

    Args:
        graph: what they run.
        candidates: by name. One alone is not measured.
        tolerance: of actions, relative to the largest where that is above 1.
        folder: where choices are remembered; None: `exported_files.default_folder()`.
    """
    if len(candidates) < 2:
        return next(iter(_made(candidates).values()), None)
    file, key = (folder or default_folder()) / REMEMBERED, _key(graph, candidates)
    known = _remembered(file).get(key)
    if isinstance(known, str) and known in candidates and (made := _made({known: candidates[known]})):
        return made[known]
    backends = _equal(graph, _made(candidates), tolerance)
    if len(backends) < 2:
        return next(iter(backends.values()), None)
    times_ms = _measure(graph, backends)
    name = min(times_ms, key=lambda name: times_ms[name])
    told = ", ".join(f"{name} {time_ms:.2g} ms" for name, time_ms in times_ms.items())
    logger.info("engine %s is the fastest here: %s", name, told)
    _remember(file, key, name)
    return backends[name]


def _made(candidates: Mapping[str, Make]) -> dict[str, Backend]:
    """Those that can be made; of the others the log tells."""
    made: dict[str, Backend] = {}
    for name, make in candidates.items():
        try:
            made[name] = make()
        except EngineError as error:
            logger.warning("engine %s is not used: %s", name, error)
    return made


def _equal(graph: ActGraph, backends: Mapping[str, Backend], tolerance: float) -> dict[str, Backend]:
    """Those whose actions are torch's."""
    inputs, equal = _observation(graph), dict[str, Backend]()
    wanted_TA = TorchBackend(graph)(inputs)[0].cpu()
    for name, backend in backends.items():
        try:
            found_TA = backend(inputs)[0].cpu()
        except (EngineError, RuntimeError) as error:
            logger.warning("engine %s is not used: %s", name, error)
            continue
        difference = float(((found_TA - wanted_TA).abs() / wanted_TA.abs().amax().clamp_min(1)).amax())
        if difference <= tolerance:
            equal[name] = backend
        else:
            logger.warning("engine %s is not used: its actions differ by %.1e from torch's", name, difference)
    return equal


def _measure(graph: ActGraph, backends: Mapping[str, Backend]) -> dict[str, float]:
    """Shortest time of each [ms]. They take turns, so that what else the machine does meets them all."""
    inputs = _observation(graph)
    times_ms = dict.fromkeys(backends, math.inf)
    end_s = time.perf_counter() + MEASURE_S * len(backends)
    for _ in range(ROUNDS):
        for name, backend in backends.items():
            started_s = time.perf_counter()
            backend(inputs)
            times_ms[name] = min(times_ms[name], 1e3 * (time.perf_counter() - started_s))
        if time.perf_counter() > end_s:
            break
    return times_ms


def _observation(graph: ActGraph) -> list[Tensor]:
    """Noise: pictures that are all black would be too easy for a processor."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(x.shape, generator=generator)
        if x.is_floating_point()
        else torch.randint(0, 256, x.shape, dtype=torch.uint8, generator=generator)
        for x in graph.example()
    ]


def _key(graph: ActGraph, candidates: Mapping[str, Make]) -> str:
    """Machine, threads, runtimes and policy, in a few letters."""
    machine = (platform.node(), platform.machine(), os.cpu_count(), torch.get_num_threads())
    facts = (machine, [*map(_version, RUNTIMES)], sorted(candidates), name_of(graph))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _remembered(file: Path) -> dict[str, Any]:
    try:
        found = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(file: Path, key: str, name: str) -> None:
    """Two that write at once lose one of the choices, which is measured again then."""
    choices = [*_remembered(file).items(), (key, name)][-MOST_REMEMBERED:]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(dict(choices)) + "\n")
    except OSError as error:
        logger.warning("which engine is the fastest could not be saved in %s: %s", file, error)
