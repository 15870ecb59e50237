"""A trial of a study on a mock arm behind a pseudo-terminal, in a process of its own: to be killed.

python tests/support/driven_bench.py PORT ID CALIBRATION_DIR FOLDER     prints "driving" once the policy drives
"""

import sys
from pathlib import Path

import numpy as np

from real_studies import small_study
from so101_eval.real_study.session.bench import Bench
from so101_eval.real_study.session.contenders import Playing
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.sitting import of_study
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.commands.run_config import RunConfig
from so101_robot.loop.tick import Tick
from so101_robot.message import Message

SWING_DEG, PERIOD_TICKS, TICKS = 8.0, 60, 3000


class Telling:
    """Says once that the policy drives."""

    name = "telling"

    def __init__(self) -> None:
        self._ticks = 0

    def on_tick(self, tick: Tick) -> None:
        self._ticks += tick.phase == "run"
        if self._ticks == 10:
            print("driving", flush=True)

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...


def main(port: str, robot_id: str, calibration: str, folder: str) -> None:
    study = small_study()
    robot = SO101(SO101Config(port=port, id=robot_id, calibration_dir=Path(calibration)))
    robot.connect()
    swing = np.array(study.start_pose) + SWING_DEG * np.sin(
        2 * np.pi / PERIOD_TICKS * np.arange(TICKS)
    ).reshape(-1, 1)
    bench = Bench(robot, of_study(study, RunConfig(robot=robot.config)), {})
    bench.drive(Playing(swing), 0.0, Path(folder), "QXTR", [Telling()], Control())


if __name__ == "__main__":
    main(*sys.argv[1:])
