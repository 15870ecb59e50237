"""Two small policies that come with the package, so that there is something to see on a fresh machine.

They were trained in simulation to put one box onto a pallet (`docs/studies/levers.md`): one by
the recipe that this project recommends, one by stock ACT on plain demonstrations. What each was trained on, and how
often it succeeds, stands on its card, README.md beside its weights.
"""

from pathlib import Path

from so101_robot.errors import ConfigError

FOLDER = Path(__file__).with_name("policies")

SCENE = "palletize-1-small"
"""Where they know their way about."""

PREFIX = "demo:"
NAMES = ("recommended", "stock")
"""Of the policies; the first one is the default."""


def demo_policy(name: str) -> Path:
    """The folder of a checkpoint that comes with the package.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in NAMES:
        possible = ", ".join(PREFIX + known for known in NAMES)
        raise ConfigError(
            f"--policy.path={PREFIX}{name}: expected one of {possible}, or a checkpoint's folder"
        )
    return FOLDER / name
