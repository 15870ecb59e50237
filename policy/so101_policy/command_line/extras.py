"""Modules that need packages of an extra: which they are, what to install, and the one place that imports them.

Such a module imports its packages at its top like any other. It is loaded by `Extra.load`, only when what it does is
asked for.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple, cast

from so101_policy.command_line.installed import line_to_install
from so101_policy.errors import PolicyError


class MissingPackageError(PolicyError, ImportError):
    """What was asked for needs a package that is not installed; the message says what to install."""


class Extra(NamedTuple):
    """A module of ours, and the packages that it needs beyond those that are always installed."""

    module: str
    packages: tuple[str, ...]
    install: str
    """What is to be installed: `lerobot_policy_so101[extra]`, or another package."""
    environment: Mapping[str, str] = {}
    """Set, unless it is set already, before the packages are imported."""
    without: tuple[str, ...] = ()
    """Modules that the packages would import if they could, and shall not."""

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]

    @property
    def line(self) -> str:
        """What to type to get the packages."""
        return line_to_install(self.install)

    def complaint(self, missing: Sequence[str]) -> str:
        """What to say to somebody whose packages are `missing`, after the name of what needs them."""
        return f"needs {', '.join(self.packages)}; missing: {', '.join(missing)}. {self.line}"

    def load(self) -> ModuleType:
        """Import the module.

        Raises:
            MissingPackageError: a package is not installed.
        """
        if missing := self.missing:
            raise MissingPackageError(self.complaint(missing))
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
        for name in self.without:
            cast(Any, sys.modules).setdefault(name, None)  # to import it is an ImportError from now on
        return import_module(self.module)


ONNX = Extra(
    "so101_policy.inference.onnx",
    ("onnx", "onnxscript", "onnxruntime"),
    "lerobot_policy_so101[onnx]",
    {"ORT_DISABLE_TELEMETRY": "1"},  # else it leaves a file `.ses` in the folder for temporary files
)
"""To build, to export and to run a graph."""

OPENVINO = Extra(
    "so101_policy.inference.openvino",
    ("onnx", "onnxscript", "openvino"),
    "lerobot_policy_so101[openvino]",
    without=("openvino_telemetry",),  # else each import of OpenVINO is reported to its makers, unasked
)
"""To build and to export a graph, and to run it."""

SERVER = Extra(
    "so101_policy.inference.server.served",
    ("grpc",),
    "lerobot_policy_so101[server]",
    {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"},  # else it writes into the dashboard
)
"""A policy that a LeRobot policy server computes."""

ACCELERATE = Extra("so101_policy.train.several_processes", ("accelerate",), "lerobot_policy_so101[train]")

TRACKERS = {
    "tensorboard": Extra("so101_policy.train.trackers.tensorboard", ("tensorboard",), "tensorboard"),
    "wandb": Extra("so101_policy.train.trackers.wandb", ("wandb",), "wandb"),
    "trackio": Extra("so101_policy.train.trackers.trackio", ("trackio",), "trackio"),
}
"""Each module has `open_tracker(config, from_step)`, which gives a `metrics.Tracker`."""
