"""A run whose policy a LeRobot policy server computes: what has to hold before it is asked, and what its loss means."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from so101_policy.command_line.command_shell import complain, say
from so101_policy.command_line.extras import SERVER
from so101_policy.inference.server.address import ServerGoneError, check_reach, read_address
from so101_robot.chunks.inference import Predict
from so101_robot.cli import RUN
from so101_robot.commands.run_config import RunConfig
from so101_robot.errors import ConfigError
from so101_robot.faults.fault import SourceFault

if TYPE_CHECKING:
    from so101_policy.inference.loaded import Prediction
    from so101_policy.inference.seen import Seen
    from so101_policy.inference.server.served import ServedPolicy

HERE_ONLY = {"engine": ("auto", "plain"), "precision": ("f32",), "samples": (1,)}
"""Flags of the policy that say how this machine computes it, and what they are where a server does."""


def load_served(config: RunConfig, path: str) -> "ServedPolicy":
    """The policy, which the server has loaded.

    Raises:
        ConfigError: a flag says how this machine shall compute it.
        ServerError, ServerGoneError, CheckpointError, MissingPackageError: as `server.served.load_served`.
    """
    flags = config.policy
    address = read_address(flags.server)
    check_reach(address, flags.server_elsewhere)
    for name, possible in HERE_ONLY.items():
        if (value := getattr(flags, name)) not in possible:
            raise ConfigError(
                f"--policy.{name}={value} is for a policy that this machine computes; with --policy.server leave it out"
            )
    if not address.loopback:
        complain(
            RUN.name,
            f"warning: the policy server {address} is another machine (--policy.server_elsewhere=true): pictures and "
            "actions travel unprotected, and whoever is on the way can move this arm within the guard's limits",
        )
    say(f"the policy server {address} loads the policy ...")
    task = config.task or config.record.task
    return SERVER.load().load_served(
        path, address, flags.device, task, flags.server_timeout_s, flags.server_path
    )


def told_as_fault(predict: Predict) -> Predict:
    """The same policy, whose server's absence is a fault of the run: the arm holds, and the server may come back."""

    def told(
        state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]], before: "Sequence[Seen]" = ()
    ) -> "Prediction":
        try:
            return predict(state, images, *([before] if before else []))
        except ServerGoneError as problem:
            raise SourceFault("policy server gone", str(problem)) from problem

    return told
