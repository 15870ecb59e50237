"""A small study without checkpoints: two arms that stay where they are, so that it is made and locked in no time."""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from so101_eval.evaluation.policy_specs import PolicySpec
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.real_study.design.lock import lock
from so101_eval.real_study.design.study import Study, write_study
from so101_eval.real_study.session.bench import Bench
from so101_eval.real_study.session.sitting import of_study
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.commands.run_config import RunConfig
from so101_robot.mock.arm import MockArm
from so101_robot.mock.config import MockConfig

POSE = (0.0, -57.4, 46.3, 90.0, 0.0, 30.0)


def spec(name: str) -> PolicySpec:
    return PolicySpec(
        name, "hold", hashlib.sha256(name.encode()).hexdigest(), hashlib.sha256(b"").hexdigest()
    )


def small_study(blocks: int = 3, policies: int = 2, practice: int = 0) -> Study:
    specs = tuple(spec(f"secret-name-{number}") for number in range(policies))
    return Study(specs, "palletize-1-small", (("nominal", 0),), blocks, 0.3, POSE, practice=practice)


def locked(folder: Path, study: Study | None = None) -> Study:
    folder.mkdir(parents=True, exist_ok=True)
    write_study(folder, study or small_study())
    return lock(folder)


@contextmanager
def mock_bench(duration_s: float) -> Generator[Bench]:
    """The bench of a small study on a mock arm in lockstep; its trials end after `duration_s`."""
    study = small_study()
    mock = MockConfig(scene=study.task, width=32, height=32, realtime_factor=0.0)
    arm = MockArm(mock, scene=PalletizingScene(study.task))
    robot = SO101(SO101Config(port="mock", mock=mock), mock=arm)
    robot.connect()
    config = of_study(study, RunConfig(robot=robot.config))
    config.duration_s = duration_s
    yield Bench(robot, config, {})
    robot.disconnect(release=False)
    arm.close()
