"""A follower and a leader at pseudo-terminals, served by threads of the test's own process."""

import json
from pathlib import Path

from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.commands.both_arms import connect
from so101_robot.leader.config_leader import LeaderConfig
from so101_robot.leader.leader import Leader
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import IdealPlant
from terminals import Terminal


class TwoArms:
    """A follower and a leader without physics, each at a port, each with its file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        arms = (
            MockArm(MockConfig(random_mount=True), plant=IdealPlant()),
            MockArm(MockConfig(), plant=IdealPlant(), leader=True),
        )
        for arm, name in zip(arms, ("follower", "leader"), strict=True):
            # the shafts are where each arm's middle is
            for index, offset in enumerate(arm.mount_offset_steps):
                arm.plant._steps[index] = 2047 + offset  # type: ignore[attr-defined]
            (folder / f"{name}.json").write_text(json.dumps(arm.calibration_fields))
        self.follower, self.leader = (Terminal(arm) for arm in arms)

    def connect(self, follower: str, leader: str, name: str = "leader", was_follower: bool = False) -> Leader:
        """What so101-teleop does first; raises what it says."""
        robot = SO101(SO101Config(port=follower, id="follower", calibration_dir=self.folder))
        asked = LeaderConfig(port=leader, id=name, calibration_dir=self.folder, was_follower=was_follower)
        found = Leader(asked)
        try:
            connect(robot, found, was_follower)
            return found
        finally:
            robot.disconnect(release=False)
            found.close()

    @property
    def torque(self) -> list[int]:
        """Of all twelve servos."""
        return [
            terminal.arm.servos.get(index, "Torque_Enable")
            for terminal in (self.follower, self.leader)
            for index in range(6)
        ]
