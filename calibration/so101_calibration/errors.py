"""What can go wrong while calibrating, as exceptions that speak to the person at the bench.

Every class derives from `CalibrateError`, so the command catches one type (and `so101_robot.errors.RobotError`),
prints one message and exits with code 2. A message says what was found, what was expected and what to do.
"""

from so101_policy.errors import SO101Error


class CalibrateError(SO101Error):
    """Root of everything that `so101_calibration` raises on purpose."""


class UsageError(CalibrateError, ValueError):
    """Wrong input: an option, a file, an answer."""


class FileError(CalibrateError, OSError):
    """A calibration file cannot be read or written, or is something else."""


class ServoError(CalibrateError, OSError):
    """Servos did not answer as they should, or did not take what was written."""


class ImplausibleError(CalibrateError, ValueError):
    """An impossible result, with the reason; nothing was written."""


class TorqueError(CalibrateError, RuntimeError):
    """A joint that a person should move by hand is held by its servo."""


class InputEndedError(CalibrateError, EOFError):
    """The script that answers the prompts has no more lines, or the person left."""


class InterruptedWriteError(CalibrateError, RuntimeError):
    """A write to the servos was interrupted; the message says what state servos and file are in."""
