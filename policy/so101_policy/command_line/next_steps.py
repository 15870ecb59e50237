"""What to type next: the last lines of a command that has made something."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from so101_policy.command_line.command_shell import say

GUIDED = "SO101_GUIDED"
"""Set in the environment of a command that another one runs and tells what comes next (so101-setup)."""


class Step(NamedTuple):
    """A command, and what it is good for."""

    command: str
    words: str


def as_typed(command: str) -> str:
    """A command line that works when it is pasted: with its folder, where the commands of this environment are not on
    the PATH."""
    name, _, rest = command.partition(" ")
    if shutil.which(name) is not None:
        return command
    path = Path(sys.executable).parent / name
    if not path.is_file():
        return command
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path} {rest}".rstrip()


def on_dataset(command: str, root: Path) -> str:
    """A command of this project or of LeRobot that works on the dataset in that folder."""
    return (
        f"{command} --dataset.repo_id=local/{shlex.quote(root.name)} --dataset.root={shlex.quote(str(root))}"
    )


def next_steps(*steps: Step) -> list[Step]:
    """Steps as they are typed here."""
    return [Step(as_typed(step.command), step.words) for step in steps]


def tell_next(steps: Sequence[Step]) -> None:
    """On the terminal: a line each; nothing in a command that a guide has begun, which says it itself."""
    if not steps or GUIDED in os.environ:
        return
    say("next:")
    width = max(len(step.words) for step in steps)
    for step in steps:
        say(f"  {step.words.ljust(width)}  {step.command}")
