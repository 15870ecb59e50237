"""What can go wrong in the policy room, as exceptions that speak to the person at the bench.

A command catches `PolicyError`, prints one message and exits with a code. A message says what was asked, what
was found and what is possible.
"""


class PolicyError(Exception):
    """Root of everything that `so101_policy` raises on purpose."""


class CheckpointError(PolicyError, ValueError):
    """A checkpoint is not there, is damaged, or is not what was asked for."""


class RegularizerError(PolicyError, ValueError):
    """A regularizer was asked for something that contradicts itself, is out of range, or does not exist."""


class TrainError(PolicyError, ValueError):
    """A training run that was asked for cannot be: settings, data and policy do not go together."""


class StoppedError(TrainError):
    """A training run that had begun could not go on; what it had reached is kept."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for a message of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
