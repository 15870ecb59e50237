"""The versions of LeRobot that this project works with, asked for before LeRobot is imported.

Too old is an error that says what to install. Newer than what the tests ran with is allowed and warned of. Nothing of
LeRobot is imported here: every command asks.
"""

import re
from importlib import metadata

from so101_policy.errors import LeRobotVersionError

type Version = tuple[int, ...]

OLDEST: Version = (0, 6, 1)
"""0.6.0 has no `lerobot_types`."""
NEWEST: Version = (0, 6, 2)
"""The newest that the tests ran with: LeRobot's main branch of August 2026, which calls itself 0.6.2."""
INSTALL = "pip install 'lerobot>=0.6.1,<0.8'"
"""As pyproject.toml has it."""


def installed() -> str | None:
    """LeRobot's version; None where it is not installed, which the import will say."""
    try:
        found: str | None = metadata.version("lerobot")  # None of an installation without its own description
        return found or "without a version"
    except metadata.PackageNotFoundError:
        return None


def check() -> str | None:
    """What there is to say about the installed version before it is used, if anything.

    Raises:
        LeRobotVersionError: it is too old.
    """
    name = installed()
    if name is None:
        return None
    found = _numbers(name)
    if found is None:
        return f"LeRobot {name} is none of the versions that this was tested with ({_text(OLDEST)} to {_text(NEWEST)})"
    if OLDEST <= found <= NEWEST:
        return None
    if found < OLDEST:
        raise LeRobotVersionError(
            f"LeRobot {name} is installed, expected {_text(OLDEST)} or newer: {INSTALL}"
        )
    return f"LeRobot {name} is newer than the versions that this was tested with ({_text(OLDEST)} to {_text(NEWEST)})"


def blamed(problem: ImportError) -> LeRobotVersionError | None:
    """What a failed import says, where it is LeRobot that has no such module or name; else None."""
    if (problem.name or "").partition(".")[0] != "lerobot" or (name := installed()) is None:
        return None
    return LeRobotVersionError(
        f"LeRobot {name} does not have what is used of it ({problem.msg.partition(' (')[0]}). Tested were "
        f"{_text(OLDEST)} to {_text(NEWEST)}: pip install lerobot=={_text(OLDEST)}"
    )


def _numbers(name: str) -> Version | None:
    """The first three numbers of a version (PEP 440), missing ones 0: of `1!0.7rc1` it is 0.7.0. None: it has none, or
    only zeros, as of a build that does not know what it is built from."""
    found = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", name)
    numbers = [int(part) for part in found[1].split(".")[:3]] if found else [0]
    return tuple([*numbers, 0, 0][:3]) if any(numbers) else None


def _text(version: Version) -> str:
    return ".".join(str(number) for number in version)
