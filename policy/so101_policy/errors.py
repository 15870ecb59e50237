"""What can go wrong, as exceptions that speak to the person at the bench.

The four packages have a root exception each (`PolicyError` is this package's), and all of them derive from
`SO101Error`. The shell around every command (`command_shell.py`) prints such an error as one message and ends with
its exit code. A message says what was asked, what was found and what is possible.
"""


class SO101Error(Exception):
    """Root of everything that the four packages raise on purpose."""

    exit_code = 2
    """Of the command: 2, wrong input, unless the class says otherwise."""


class CommandLineError(SO101Error, ValueError):
    """A command line that cannot be: a flag or a command that does not exist, a value that does not fit."""


class LeRobotVersionError(SO101Error, ImportError):
    """The installed LeRobot is of a version that does not have what is used of it."""


class PolicyError(SO101Error):
    """Root of everything that `so101_policy` raises on purpose."""


class CheckpointError(PolicyError, ValueError):
    """A checkpoint is not there, is damaged, or is not what was asked for."""


class DatasetError(PolicyError, ValueError):
    """A dataset is not there, is damaged, or must not be used as it is."""


class RegistrationError(PolicyError, ValueError):
    """A camera's picture cannot be put back to what the recordings show, or there is nothing to compare it with."""


class RegularizerError(PolicyError, ValueError):
    """A regularizer was asked for something that contradicts itself, is out of range, or does not exist."""


class TrainError(PolicyError, ValueError):
    """A training run that was asked for cannot be: settings, data and policy do not go together."""


class StoppedError(TrainError):
    """A training run that had begun could not go on; what it had reached is kept."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for a message of one line; of the system's errors what they mean, without
    their number."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def printable(text: str) -> str:
    """Text from outside as a terminal may show it: what steers the terminal is spelled out, line ends stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def one_line(text: str, most: int = 200) -> str:
    """A name or a sentence from outside, to stand in a line of ours: it ends where it seems to end."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return text if len(text) <= most else text[:most] + " ..."


def shown(value: object, most: int = 60) -> str:
    """A value from outside in a message: on one line, short, and without anything that steers a terminal."""
    text = printable(repr(value))
    return text if len(text) <= most else text[:most] + " ..."
