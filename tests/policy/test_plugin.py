"""Importing the plugin package registers this project with LeRobot, lightly, and never fails for a missing room."""

import subprocess
import sys
from importlib import reload

import pytest

import lerobot_policy_so101


def test_importing_it_registers_robot_policy_and_environment_without_loading_physics():
    program = (
        "import sys, lerobot_policy_so101; from lerobot.robots import RobotConfig; "
        "assert 'so101' in RobotConfig.get_known_choices(); "
        "from lerobot.envs.configs import EnvConfig; "
        "assert 'so101_palletizing' in EnvConfig.get_known_choices(); "
        "from lerobot.configs import PreTrainedConfig; "
        "assert 'regularized_act' in PreTrainedConfig.get_known_choices(); "
        "heavy = {'mujoco', 'numba', 'so101_policy.inference.act_policy', 'so101_robot.arm.arm', "
        "'so101_eval.episode.env', "
        "'so101_policy.model.modeling_regularized_act'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_room_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def find_nothing(name: str) -> None:
        asked.append(name)

    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.util.find_spec", find_nothing)
    monkeypatch.setattr("importlib.import_module", refuse)
    reload(lerobot_policy_so101)
    assert asked == ["so101_robot", "so101_eval", "so101_policy", "so101_policy"]
