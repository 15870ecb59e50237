"""What the steps of a set-up work on: the folder with its so101.yaml, the person, and commands that do the work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from so101_calibration import files
from so101_calibration.errors import CalibrateError
from so101_calibration.setup.cameras import Cameras
from so101_calibration.setup.person import Person
from so101_policy.command_line.command_shell import say
from so101_policy.files.whole_files import write_text
from so101_robot.errors import ConfigError
from so101_robot.so101_yaml.content import Content, in_yaml, parsed
from so101_robot.so101_yaml.find import NAME, read


class NotYetError(CalibrateError):
    """A step cannot be done now; the message says what has to be done first."""


@dataclass
class Setup:
    """What the steps work on.

    Args:
        folder: of so101.yaml.
        simulated: two simulated arms.
        person: answers.
        run: runs a command in the folder and returns its exit code.
        cameras: there are.
    """

    folder: Path
    simulated: bool
    person: Person
    run: Callable[[Sequence[str]], int]
    cameras: Cameras

    @property
    def file(self) -> Path:
        """so101.yaml."""
        return self.folder / NAME

    @property
    def content(self) -> Content:
        """What is in it now. Raises ConfigError for a file that is not right."""
        if not self.file.exists():
            return Content()
        try:
            return parsed(read(self.file, named=True))
        except ConfigError as problem:
            raise ConfigError(f"{self.file}: {problem}") from problem

    def write(self, content: Content) -> None:
        """Write it whole. A file that somebody wrote by hand is kept beside it, once."""
        text, before = in_yaml(content), self.file.with_name(f"{NAME}.before")
        if self.file.exists() and not before.exists():
            old = self.file.read_text(encoding="utf-8")
            if old != in_yaml(parsed(old)):
                write_text(before, old)
                say(f"The {NAME} that was here is kept as {before.name}.")
        write_text(self.file, text)

    def command(self, *arguments: str) -> None:
        """Run it. Raises NotYetError where it says no."""
        if (code := self.run(arguments)) != 0:
            raise NotYetError(
                f"{' '.join(arguments[:2])} ended with exit code {code}; it says above what is missing"
            )

    def of_arm(self, leader: bool = False) -> list[str]:
        """Flags that name an arm."""
        arm = self.content.leader if leader else self.content.arm
        if arm is None or arm.port is None:
            raise NotYetError("no port is known yet; do the step `ports` first: so101-setup --again=ports")
        flags = [
            f"--robot.port={arm.port}",
            *([f"--robot.id={arm.id}"] if arm.id else []),
            *self.calibration_dir(),
        ]
        return [*flags, "--leader"] if leader else flags

    def of_leader(self) -> list[str]:
        """Flags that name the leader beside the follower. Raises NotYetError without one."""
        if (leader := self.content.leader) is None:
            raise NotYetError("no leader is known yet; do the step `ports` first: so101-setup --again=ports")
        flags = [f"--teleop.port={leader.port}", *([f"--teleop.id={leader.id}"] if leader.id else [])]
        if self.simulated and leader.id:
            flags = flags[:1]  # a simulated leader brings its own calibration
        return flags

    def calibration_dir(self) -> list[str]:
        """Where calibration files go; LeRobot's folder is for arms that exist."""
        return [f"--robot.calibration_dir={self.folder / 'calibration'}"] if self.simulated else []

    def calibration(self, leader: bool = False) -> Path:
        """Of an arm."""
        arm = self.content.leader if leader else self.content.arm
        if arm is None or not arm.id:
            raise NotYetError(f"{NAME} names no {'leader' if leader else 'arm'}; do the step `ports` first")
        return files.path_of(arm.id, self.folder / "calibration" if self.simulated else None, leader=leader)
