"""The policies that come with the package, and the run without a word that shows one."""

import json
from pathlib import Path

import pytest

from so101_policy.checkpoint.folder import TRAINED_ON
from so101_policy.inference.act_policy import ActPolicy
from so101_robot import demo
from so101_robot.arm.config_arm import SO101Config
from so101_robot.cli import RUN
from so101_robot.commands.run import DEMO_S, with_defaults
from so101_robot.errors import ConfigError
from so101_robot.runs.log import read_ticks


@pytest.mark.parametrize("name", demo.NAMES)
def test_a_policy_that_comes_along_fits_the_mock_arm_and_knows_where_to_begin(name: str):
    policy = ActPolicy.load(demo.demo_policy(name))
    mock = SO101Config().mock
    assert policy.cameras == {"front": (mock.height, mock.width), "wrist": (mock.height, mock.width)}
    assert policy.fps == 10.0
    known = policy.trained_on
    assert (known.fps, known.units, known.stated) == (10.0, "degrees", True)
    assert policy.start_pose is not None
    assert len(policy.start_pose) == 6
    card = (demo.demo_policy(name) / "README.md").read_text()
    assert "so101-train" in card
    assert demo.SCENE in card


def test_they_are_small_enough_for_a_repository():
    assert sum(file.stat().st_size for file in demo.FOLDER.rglob("*") if file.is_file()) < 25e6


def test_without_a_word_the_first_of_them_is_shown_in_its_scene():
    config = with_defaults({})
    assert config.policy.path == f"demo:{demo.NAMES[0]}"
    assert config.robot.mock.scene == demo.SCENE
    assert config.duration_s == DEMO_S


def test_what_is_asked_for_beats_the_demonstrations_defaults():
    flags = {"--policy.path": "demo:stock", "--robot.mock.scene": "table", "--duration_s": "3"}
    config = with_defaults(flags)
    assert (config.policy.path, config.robot.mock.scene, config.duration_s) == ("demo:stock", "table", 3.0)


def test_a_policy_that_names_its_scene_is_shown_there_unless_another_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / TRAINED_ON).write_text(json.dumps({"dataset": {"scene": "palletize-2"}}))
    flags = {"--policy.path": str(tmp_path), "--robot.port": "mock"}
    assert with_defaults(flags).robot.mock.scene == "palletize-2"
    assert "scene palletize-2, in which the policy learned" in capsys.readouterr().out
    assert with_defaults({**flags, "--robot.mock.scene": "table"}).robot.mock.scene == "table"
    (tmp_path / TRAINED_ON).write_text(json.dumps({"dataset": {"scene": "the moon"}}))
    assert with_defaults(flags).robot.mock.scene == "table"
    (tmp_path / TRAINED_ON).write_text("{")
    assert with_defaults(flags).robot.mock.scene == "table"  # the loading says what is wrong


@pytest.mark.parametrize("flags", [{}, {"--policy.path": "demo:stock"}])
def test_none_of_them_drives_a_real_arm(flags: dict[str, str]):
    with pytest.raises(ConfigError, match="have only seen the mock arm"):
        with_defaults({**flags, "--robot.port": "/dev/ttyACM0"})


def test_one_that_does_not_exist_is_one_message(capsys: pytest.CaptureFixture[str]):
    assert RUN.main(["--policy.path=demo:perfect", "--robot.port=mock"]) == 2
    assert "expected one of demo:recommended, demo:stock" in capsys.readouterr().err


def test_the_demonstration_goes_to_its_start_and_looks(tmp_path: Path):
    flags = ("--duration_s=0.5", "--robot.mock.realtime_factor=0", "--ending.home=false", "--dashboard=off")
    assert RUN.main([*flags, f"--output_dir={tmp_path / 'run'}"]) == 0
    ticks = list(read_ticks(tmp_path / "run" / "ticks.jsonl"))
    phases = [tick["phase"] for tick in ticks if "phase" in tick]
    assert phases[0] == "approach"
    assert phases.count("run") == 15
    assert any(tick.get("inference") for tick in ticks if tick.get("phase") == "run")
