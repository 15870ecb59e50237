"""so101-train: train an ACT policy, stock or regularized, on a LeRobotDataset.

    parse -> does it fit? -> frames, decoded once -> policy -> loop -> checkpoints -> export

Whatever is wrong with the request is said before anything is written: one message, exit code 2. A run that diverges
or cannot write ends with its state saved: one message, exit code 1. Ctrl-C saves, says how to go on, exit code 130.
"""

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from so101_policy.cli import TRAIN
from so101_policy.command_line.command_shell import say
from so101_policy.train import stages as training_run
from so101_policy.train.delegated import lerobots_command
from so101_policy.train.settings.config import SO101TrainConfig
from so101_policy.train.settings.flags import pairs, parse
from so101_policy.train.settings.lerobot_settings import given_on, without_effect
from so101_policy.train.settings.recipes import nearest_of_lerobot

_log = logging.getLogger(__name__)

VERBOSE = ("-v", "--verbose")


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises PolicyError."""
    verbose = any(argument in VERBOSE for argument in arguments)
    logging.getLogger("so101_policy").setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("lerobot").setLevel(logging.INFO if verbose else logging.ERROR)
    words = [argument for argument in arguments if argument not in VERBOSE]
    if (command := lerobots_command(words)) is not None:
        say(
            f"so101-train: LeRobot's own trainer trains it: lerobot-train {shlex.join(command[3:])}",
            sys.stderr,
        )
        return subprocess.run(command, check=False).returncode
    config = parse(words)
    for sentence in without_effect(given_on(words)):
        _log.warning(sentence)
    if (flags := dict(pairs(words))).get("--recipe") and os.environ.get("RANK", "0") == "0":
        say(nearest_of_lerobot(flags), sys.stderr)
    return run(config)


def run(config: SO101TrainConfig) -> int:
    """Train as asked; returns the exit code.

    Raises:
        PolicyError: it cannot be done, or it diverged.
    """
    with ExitStack() as stack:
        processes = training_run.start(config, stack)
        data, shifted = training_run.examine(config, processes)
        samples = training_run.load_samples(config, data, shifted, processes)
        trained = training_run.make_trained(config, data, processes.device)
        if processes.is_main:  # it alone writes checkpoints
            trained.backgrounds = training_run.learn_backgrounds(config, data)
        progress = training_run.begin_or_resume(config, trained, data, processes)
        trainer = training_run.assemble(config, trained, samples, progress, processes, stack)
        ending = trainer.run()
        return training_run.finish(config, trainer, ending, processes)


if __name__ == "__main__":
    sys.exit(TRAIN.main())
