"""A policy that is not an ACT: LeRobot's own trainer, given the flags as they were typed.

Our trainer loads frames once and knows ACT's losses; the losses of other types are LeRobot's, and so is their trainer.
It runs as a process of its own, so what it prints is LeRobot's, and so is its exit code.
"""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from lerobot.configs import PreTrainedConfig
from lerobot.configs.train import TrainPipelineConfig

from so101_policy.checkpoint.types import type_of
from so101_policy.command_line.installed import line_to_install
from so101_policy.errors import TrainError
from so101_policy.train.settings.flags import DEFAULT_POLICY, pairs

OURS = ("act", DEFAULT_POLICY)
TRAINER = "lerobot.scripts.lerobot_train"


def lerobots_command(arguments: Sequence[str]) -> list[str] | None:
    """The command line of LeRobot's trainer that does what is asked; None: an ACT, or nothing that LeRobot knows.

    Raises:
        TrainError: LeRobot's extra for this type is missing, so101-run does not play it, or a flag is of our own
            trainer.
    """
    flags = dict(pairs(arguments))
    kind = flags.get("--policy.type")
    if kind is None or kind in OURS or kind not in PreTrainedConfig.get_known_choices():
        return None
    about = type_of(kind)
    if about.refused:
        raise TrainError(
            f"--policy.type={kind}: so101-run does not play it ({about.refused}), so it is not trained here; "
            f"`lerobot-train --policy.type={kind} ...` is LeRobot's own way"
        )
    if missing := about.missing:
        raise TrainError(
            f"--policy.type={kind} needs {', '.join(about.packages)}; missing: {', '.join(missing)}. "
            + line_to_install(f"lerobot[{about.extra}]")
        )
    known = {field.name for field in fields(TrainPipelineConfig)}
    if own := [flag for flag in flags if flag.removeprefix("--").partition(".")[0] not in known]:
        raise TrainError(
            f"{own[0]} is of so101-train's own trainer, which trains ACT; a {kind} is trained by LeRobot's: drop it"
        )
    flags = {"--policy.push_to_hub": "false"} | flags
    if root := flags.get("--dataset.root"):
        flags = {"--dataset.repo_id": f"local/{Path(root).name}"} | flags
    return [sys.executable, "-m", TRAINER, *(f"{flag}={value}" for flag, value in flags.items())]
