"""What can go wrong in the robot room, as exceptions that speak to the person at the bench.

Every class derives from `RobotError`, so a command catches one type, prints one message and exits with a code.
Classes also derive from the standard-library exception that a caller would expect. A message says what was asked,
what was found and what is possible.
"""


class RobotError(Exception):
    """Root of everything that `so101_robot` raises on purpose."""


class ConfigError(RobotError, ValueError):
    """The user asked for something that cannot be: a scene, a camera, a file, a value."""


class PortError(RobotError, OSError):
    """The serial port does not exist, is in use, or went away."""


class BusError(RobotError, OSError):
    """Servos did not answer as they should."""


class BusTimeoutError(BusError, TimeoutError):
    """Servos did not answer in time."""


class CalibrationError(RobotError, ValueError):
    """There is no calibration, or it does not fit the arm."""


class CameraError(RobotError, OSError):
    """A camera does not exist, went away or delivers what nobody asked for."""


class UnsafeActionError(RobotError, ValueError):
    """The guard refused to let an action pass."""


def describe(problem: BaseException) -> str:
    """An exception as one line; its class is named where the message alone would not speak."""
    text = " ".join(str(problem).split())
    return (
        text if text and type(problem).__module__.startswith("so101") else f"{type(problem).__name__}: {text}"
    )
