"""so101-train: train an ACT policy, stock or regularized, on a LeRobotDataset.

    parse -> does it fit? -> frames, decoded once -> policy -> loop -> checkpoints -> export

Whatever is wrong with the request is said before anything is written: one message, exit code 2. A run that diverges
or cannot write ends with its state saved: one message, exit code 1. Ctrl-C saves, says how to go on, exit code 130.
"""

import logging
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from so101_policy.errors import PolicyError, StoppedError
from so101_policy.train.flags import HELP, parse, wants_help

if TYPE_CHECKING:
    from so101_policy.train.config import SO101TrainConfig

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

VERBOSE = ("-v", "--verbose")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if wants_help(arguments):
        print(HELP, end="")
        return OK
    verbose = any(argument in VERBOSE for argument in arguments)
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    logging.getLogger("lerobot").setLevel(logging.INFO if verbose else logging.ERROR)
    try:
        return run(parse([argument for argument in arguments if argument not in VERBOSE]))
    except KeyboardInterrupt:
        _complain("interrupted before the first step")
        return INTERRUPTED
    except PolicyError as problem:  # the border to a person
        if verbose:
            traceback.print_exc()
        _complain(str(problem))
        return FAILED if isinstance(problem, StoppedError) else WRONG_INPUT


def run(config: "SO101TrainConfig") -> int:
    """Train as asked; returns the exit code.

    Raises:
        PolicyError: it cannot be done, or it diverged.
    """
    from so101_policy.train import stages as training_run

    with ExitStack() as stack:
        processes = training_run.start(config, stack)
        data, shifted = training_run.examine(config, processes)
        samples = training_run.load_samples(config, data, shifted, processes)
        trained = training_run.make_trained(config, data, processes.device)
        progress = training_run.begin_or_resume(config, trained, data, processes)
        trainer = training_run.assemble(config, trained, samples, progress, processes, stack)
        ending = trainer.run()
        return training_run.finish(config, trainer, ending, processes)


def _complain(text: str) -> None:
    print(f"so101-train: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
