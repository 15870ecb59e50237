"""The public names of the robot room, and what importing it costs."""

import subprocess
import sys
from types import ModuleType

import pytest

import so101_robot
from so101_robot import mock


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package in (so101_robot, mock) for name in package.__all__]
)
def test_every_public_name_is_there(package: ModuleType, name: str) -> None:
    assert getattr(package, name) is not None


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Robots'"):
        so101_robot.Robots  # noqa: B018


def test_importing_the_package_brings_neither_torch_nor_mujoco_nor_lerobot() -> None:
    code = "import sys, so101_robot, so101_robot.loop.loop, so101_robot.display.dashboard, so101_robot.runs.log\n"
    code += "assert not {'torch', 'mujoco', 'lerobot', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
