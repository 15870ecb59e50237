"""How far a set-up has come: `so101-setup.json` in the folder, written whole after every step."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from so101_calibration.errors import FileError
from so101_policy.errors import first_line, shown
from so101_policy.files.whole_files import write_json

NAME = "so101-setup.json"
DONE, SKIPPED = "done", "skipped"


@dataclass
class Progress:
    """What has been done in a folder."""

    folder: Path
    simulated: bool = False
    """Of two simulated arms."""
    marks: dict[str, str] = field(default_factory=dict[str, str])
    """Step -> `done` or `skipped`; what is not in it is still to be done."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / NAME

    def mark(self, step: str, how: str | None) -> None:
        """Remember that a step is done or skipped, or (None) that it is not."""
        if how is None:
            self.marks.pop(step, None)
        else:
            self.marks[step] = how
        try:
            write_json(self.path, {"version": 1, "simulated": self.simulated, "steps": self.marks})
        except OSError as problem:
            raise FileError(f"cannot write {self.path}: {problem.strerror}") from problem


def load(folder: Path, simulated: bool, steps: Mapping[str, object]) -> Progress:
    """What was done in that folder; nothing, if there is no file.

    Args:
        folder: where so101.yaml is, or will be.
        simulated: whether this is about simulated arms. One folder cannot have both.
        steps: the steps that there are.

    Raises:
        FileError: the file is not one of so101-setup, or is of the other kind of arm.
    """
    progress = Progress(folder, simulated)
    try:
        content = json.loads(progress.path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return progress
    except (OSError, ValueError) as problem:
        raise FileError(
            f"{progress.path} cannot be read ({first_line(problem)}); remove it to begin anew: so101.yaml stays"
        ) from problem
    marks = content.get("steps") if isinstance(content, dict) else None
    if not isinstance(marks, dict) or not all(mark in (DONE, SKIPPED) for mark in marks.values()):
        raise FileError(
            f"{progress.path}: found {shown(content)}, expected what so101-setup writes; remove it to begin anew"
        )
    if bool(content.get("simulated")) != simulated:
        kinds = ("a real arm", "simulated arms (--mock)")
        raise FileError(
            f"{progress.path} is about {kinds[not simulated]}, not {kinds[simulated]}; use another folder"
        )
    progress.marks = {step: mark for step, mark in marks.items() if step in steps}
    return progress
