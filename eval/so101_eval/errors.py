"""What can go wrong in the evaluation room, as exceptions that say what was asked, found and possible.

Every class derives from `EvalError`, so a command catches one type and prints one message, and from the
standard-library exception that a caller would expect.
"""

from so101_policy.errors import SO101Error


class EvalError(SO101Error):
    """Root of everything that `so101_eval` raises on purpose."""


class ConfigError(EvalError, ValueError):
    """The user asked for something that does not exist: a task, a scenario, a level, a seed."""


class RecordError(EvalError, ValueError):
    """A stored reset or score cannot be read: damaged, incomplete, or of another version."""


class LayoutError(EvalError, ValueError):
    """Boxes cannot be laid out as asked: there is no room."""


class StudyError(EvalError, RuntimeError):
    """A stage of a study did not come to its end."""


class PlayerLostError(EvalError, RuntimeError):
    """A process that played episodes was killed."""

    exit_code = 1


class DiskFullError(EvalError, OSError):
    """There is no room for what is to be written."""
