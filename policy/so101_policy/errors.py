"""What can go wrong in the policy room, as exceptions that speak to the person at the bench.

A command catches `PolicyError`, prints one message and exits with a code. A message says what was asked, what
was found and what is possible.
"""


class PolicyError(Exception):
    """Root of everything that `so101_policy` raises on purpose."""


class CheckpointError(PolicyError, ValueError):
    """A checkpoint is not there, is damaged, or is not what was asked for."""
