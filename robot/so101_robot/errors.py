"""What can go wrong in the robot room, as exceptions that speak to the person at the bench.

Every class derives from `RobotError`, so a command catches one type, prints one message and exits with a code.
Classes also derive from the standard-library exception that a caller would expect. A message says what was found,
what was expected and what to do.
"""

from so101_policy.errors import SO101Error

LONGEST = 2000
"""Characters of an exception in a message, a log or a record."""


class RobotError(SO101Error):
    """Root of everything that `so101_robot` raises on purpose."""


class ConfigError(RobotError, ValueError):
    """The user asked for something that is not possible: a scene, a camera, a file, a value."""


class PortError(RobotError, OSError):
    """The serial port does not exist, is in use, or went away."""


class BusError(RobotError, OSError):
    """Servos did not answer as expected."""


class BusTimeoutError(BusError, TimeoutError):
    """Servos did not answer in time."""


class CalibrationError(RobotError, ValueError):
    """There is no calibration, or it does not fit the arm."""


class CameraError(RobotError, OSError):
    """A camera does not exist, went away, or its pictures are not as configured."""


class UnsafeActionError(RobotError, ValueError):
    """The guard refused an action."""


def describe(problem: BaseException) -> str:
    """An exception as one line; its class is named where the message alone would not speak."""
    try:
        text = " ".join(str(problem)[:LONGEST].split())
    except Exception:  # of a policy that is a stranger's
        text = "(it has no text)"
    return (
        text if text and type(problem).__module__.startswith("so101") else f"{type(problem).__name__}: {text}"
    )
