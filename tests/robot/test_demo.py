"""The scripted motion, its recordings, and the checkpoint that is made on first use."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from so101_policy import ActPolicy
from so101_policy.checkpoint import Prediction
from so101_robot.demo import checkpoint as demo
from so101_robot.demo import demo_checkpoint, follow, plan_sweep, record_demonstrations
from so101_robot.demo.motion import (
    LOOP_S,
    LOW_M,
    RISE_S,
    Sweep,
    block_position,
    min_jerk,
    reach,
    tip_position,
)
from so101_robot.demo.recording import FPS, mock_robots, plan_for
from so101_robot.demo.training import Recipe, _answers, new_policy, thumbnail
from so101_robot.errors import ConfigError
from so101_robot.guard import GuardLimits
from so101_robot.mock.arm import MockConfig
from so101_robot.mock.world import World, load_scene

REST = (0.0, -100.0, 97.0, 66.0, 0.0, 9.0)
TINY = Recipe(moments=6, played=1, steps=3, batch=4, dim=32, chunk=30, n_action_steps=10)
QUIET = Console(quiet=True)


def sweep_of(seed: int) -> Sweep:
    return plan_sweep(World(load_scene("table"), seed), REST, seed)


# The motion


def test_min_jerk_is_a_smooth_step():
    s = np.linspace(-0.5, 1.5, 2001)
    x = min_jerk(s)
    assert x[s <= 0].max() == 0
    assert x[s >= 1].min() == 1
    speed = np.gradient(x, s)
    assert speed.min() >= -1e-12
    assert speed.max() == pytest.approx(1.875, abs=1e-3)  # 15/8, the known peak of a minimum-jerk step


@pytest.mark.parametrize("seed", [0, 1, 4, 10])
def test_the_arm_reaches_over_the_block_and_points_down(seed: int):
    world = World(load_scene("table"), seed)
    block_m = block_position(world)
    pose = reach(world, block_m, LOW_M)
    world.place_arm(np.deg2rad([*pose[:5], 0.0]))
    mujoco.mj_forward(world.model, world.data)
    tip_m = tip_position(world)
    assert np.linalg.norm(tip_m[:2] - block_m[:2]) < 1e-3
    assert tip_m[2] == pytest.approx(LOW_M, abs=1e-3)
    assert world.data.body("gripper").xmat[8] > 0.999  # its z axis is up, so the jaws hang down


def test_the_motion_begins_where_the_arm_stands_and_then_repeats():
    sweep = sweep_of(0)
    assert sweep.at(0.0) == pytest.approx(np.array(REST))
    later = RISE_S + np.linspace(0, LOOP_S, 20)
    assert sweep.at(later) == pytest.approx(sweep.at(later + LOOP_S))
    assert sweep.at([[1.0, 2.0]]).shape == (1, 2, 6)


def test_no_pose_of_the_loop_is_passed_in_two_directions():
    sweep = sweep_of(0)
    poses = sweep.at(RISE_S + np.arange(0, LOOP_S, 0.05))[:, :4]
    ways = np.roll(poses, -1, axis=0) - np.roll(poses, 1, axis=0)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    apart = np.linalg.norm(poses[:, None] - poses[None], axis=-1)
    against = ways @ ways.T < 0
    assert apart[against].min() > 5  # [deg] whoever is this close goes the same way


@pytest.mark.parametrize("seed", range(3))
def test_the_motion_is_wide_and_within_the_guards_speed(seed: int):
    poses = sweep_of(seed).at(np.arange(0, RISE_S + 2 * LOOP_S, 1 / FPS))
    assert np.ptp(poses[round(RISE_S * FPS) :, 0]) > 40
    assert np.abs(np.diff(poses, axis=0)).max() * FPS < GuardLimits().joint_speed_deg_s / 2


def test_scenes_give_different_motions_and_a_seed_the_same():
    assert not np.allclose(sweep_of(0).low, sweep_of(1).low)
    assert np.array_equal(sweep_of(1).at(3.0), sweep_of(1).at(3.0))


# Recordings


def test_recordings_are_a_lerobot_dataset_with_lerobots_names(tmp_path: Path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = record_demonstrations(tmp_path / "data", episodes=1, seed=3, width=32, height=24, use_videos=False)
    dataset = LeRobotDataset("local/mock_demo", root=root)
    joints = ["shoulder_pan.pos", "shoulder_lift.pos", "elbow_flex.pos", "wrist_flex.pos", "wrist_roll.pos"]
    for key in ("action", "observation.state"):
        assert dataset.features[key]["names"] == [*joints, "gripper.pos"]
    assert dataset.features["observation.images.front"]["shape"] == (24, 32, 3)
    assert (dataset.num_episodes, dataset.fps) == (1, 30)
    actions = np.array([dataset.hf_dataset[k]["action"] for k in range(len(dataset))])
    states = np.array([dataset.hf_dataset[k]["observation.state"] for k in range(len(dataset))])
    assert np.ptp(actions[:, 0]) > 40  # degrees
    assert np.abs(actions - states)[:, :5].mean() < 6  # the arm follows what is recorded as action
    assert dataset[100]["observation.images.wrist"].std() > 0.05


class Script:
    """A policy that knows the answer."""

    n_action_steps = 30

    def __init__(self, sweep: Sweep):
        self.sweep, self.asked = sweep, 0

    def predict(self, state: ArrayLike, images: dict[str, NDArray[np.uint8]]) -> Prediction:
        ticks = self.asked * self.n_action_steps + np.arange(self.n_action_steps)
        self.asked += 1
        return Prediction(self.sweep.at(ticks / FPS).astype(np.float32), None)


class Still:
    """A policy that stays."""

    n_action_steps = 30

    def predict(self, state: NDArray[np.float64], images: dict[str, NDArray[np.uint8]]) -> Prediction:
        return Prediction(np.tile(state.astype(np.float32), (30, 1)), None)


def test_following_counts_dips_and_measures_misses():
    with mock_robots(MockConfig(seed=0)) as robots:
        robot = next(robots)
        good = follow(Script(plan_for(robot, 0)), robot)
        bad = follow(Still(), next(robots), loops=1)
    assert good.dips == 2
    assert max(good.misses_m) < 0.025
    assert good.pan_deg > 40
    assert bad.dips == 0
    assert bad.pan_deg < 5


# What is trained


def test_the_resnet_hands_the_thumbnail_through():
    policy = new_policy(TINY)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        seen = policy.model.backbone(images)["feature_map"]
        expected = thumbnail(images)
    assert seen.shape == (2, 512, 3, 3)
    assert expected.std() > 0.1
    torch.testing.assert_close(seen, expected, rtol=1e-3, atol=1e-4)


def test_training_on_some_ticks_answers_as_act_does():
    policy = new_policy(TINY).eval()
    state, images = (
        torch.randn(3, 6),
        {key: torch.randn(3, 3, 96, 96) for key in policy.config.image_features},
    )
    with torch.no_grad():
        whole = policy.predict_action_chunk({"observation.state": state} | images)
        features = [policy.model.backbone(image)["feature_map"] for image in images.values()]
        some = _answers(policy.model, state, features, torch.tensor([7, 0, 29]))
    torch.testing.assert_close(some, whole[:, [7, 0, 29]], rtol=1e-4, atol=1e-5)


def test_the_checkpoint_is_made_once_and_is_an_ordinary_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    threads = torch.get_num_threads()
    path = demo_checkpoint(tmp_path, QUIET, TINY)
    assert torch.get_num_threads() == threads
    policy = ActPolicy.load(path)
    assert policy.type == "act"
    assert policy.cameras == {"front": (96, 96), "wrist": (96, 96)}
    assert (policy.chunk_size, policy.n_action_steps) == (30, 10)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]

    monkeypatch.setattr(demo, "_make", pytest.fail)
    assert demo_checkpoint(tmp_path, QUIET, TINY) == path


def test_the_same_recipe_gives_the_same_weights(tmp_path: Path):
    first, second = (ActPolicy.load(demo_checkpoint(tmp_path / name, QUIET, TINY)) for name in "ab")
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_stopped_making_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
):
    def half(folder: Path, *args: object) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise stop

    monkeypatch.setattr(demo, "_make", half)
    with pytest.raises(stop):
        demo_checkpoint(tmp_path, QUIET)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_making_left_is_never_used_and_cleared_when_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    left = tmp_path / f"{demo.MAKING}x" / "checkpoint"
    left.mkdir(parents=True)
    monkeypatch.setattr(demo, "_make", lambda folder, *_: folder.mkdir())
    assert demo_checkpoint(tmp_path / "a", QUIET).is_dir()
    assert demo_checkpoint(tmp_path, QUIET) != left
    assert left.exists()  # young: another process may be at it
    monkeypatch.setattr(demo, "STALE_S", -1.0)
    demo_checkpoint(tmp_path, QUIET, TINY)
    assert not left.exists()


def test_a_process_that_was_faster_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def make(folder: Path, *args: object) -> None:
        folder.mkdir()
        theirs = tmp_path / demo._name(None)
        theirs.mkdir()
        (theirs / "config.json").write_text("theirs")

    monkeypatch.setattr(demo, "_make", make)
    assert (demo_checkpoint(tmp_path, QUIET) / "config.json").read_text() == "theirs"


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="XDG_CACHE_HOME"):
        demo_checkpoint(tmp_path / "file", QUIET)


@pytest.mark.parametrize(
    ("value", "expected"), [("/some/where", "/some/where/so101"), ("relative", None), ("", None)]
)
def test_the_cache_is_where_the_user_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: str | None
):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert demo.cache_folder() == Path(expected or Path.home() / ".cache/so101")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_checkpoint_follows_the_block_in_scenes_that_it_has_not_seen(tmp_path: Path):
    policy = ActPolicy.load(demo_checkpoint(tmp_path, QUIET))
    with mock_robots(MockConfig(seed=100_000)) as robots:
        runs = [follow(policy, robot) for _, robot in zip(range(10), robots, strict=False)]
    misses_m = [miss for run in runs for miss in run.misses_m]
    assert np.median([run.dips for run in runs]) == 2
    assert np.median(misses_m) < 0.03
    assert np.median([run.pan_deg for run in runs]) > 40
