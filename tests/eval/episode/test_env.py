"""The episodes as a gymnasium environment, and as LeRobot meets it."""

import math
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as vision
from gymnasium.utils.env_checker import check_env
from lerobot.envs.configs import EnvConfig
from lerobot.envs.factory import make_env, make_env_config, make_env_pre_post_processors
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.scripts.lerobot_eval import rollout

from checkpoints import POSE, untrained
from so101_eval.episode.config_env import PalletizingEnvConfig
from so101_eval.episode.env import EnvObservation, Handed, PalletizingEnv
from so101_eval.episode.episode import FPS, Stage
from so101_eval.episode.scripted import Scripted
from so101_eval.errors import ConfigError
from so101_eval.expert.expert import Expert
from so101_eval.palletizing import DEMO_SEEDS, Score, draw
from so101_robot.commands import compose
from so101_robot.loop.tick import Tick

SEED = 3


@pytest.fixture(scope="module")
def env() -> Generator[PalletizingEnv]:
    made = PalletizingEnv("palletize-1", render_mode="rgb_array")
    yield made
    made.close()


def stage_of(env: PalletizingEnv) -> Stage:
    return env._stage  # pyright: ignore[reportPrivateUsage]


def same(a: EnvObservation, b: EnvObservation) -> bool:
    return np.array_equal(a["agent_pos"], b["agent_pos"]) and all(
        np.array_equal(a["pixels"][name], b["pixels"][name]) for name in ("front", "wrist")
    )


def test_it_is_what_gymnasium_expects(env: PalletizingEnv) -> None:
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)  # that one makes an environment per mode, by its id
    # actions are in a robot's units, as in every recording, and so not from -1 to 1
    assert not [
        text for text in (str(c.message) for c in complaints) if "symmetric and normalized" not in text
    ]


def test_the_same_seed_and_actions_give_the_same_observations(env: PalletizingEnv) -> None:
    def episode(seed: int) -> list[EnvObservation]:
        seen = [env.reset(seed=seed)[0]]
        rng = np.random.default_rng(0)
        for _ in range(15):
            action = seen[-1]["agent_pos"] + rng.uniform(-5, 5, 6).astype(np.float32)
            seen.append(env.step(action)[0])
        return seen

    first, again, other = episode(SEED), episode(SEED), episode(SEED + 1)
    assert all(map(same, first, again))
    assert not any(map(same, first, other))
    assert not np.array_equal(first[0]["pixels"]["wrist"], first[-1]["pixels"]["wrist"])


def test_what_the_expert_does_succeeds_in_the_same_number_of_ticks(env: PalletizingEnv) -> None:
    targets: list[np.ndarray[Any, Any]] = []

    def record(tick: Tick) -> None:
        if tick.asked is not None:
            targets.append(tick.asked)

    reset = draw("palletize-1", seed=SEED)
    expected = stage_of(env).attempt(
        reset, lambda stage: Scripted(Expert(stage.world, stage.robot, reset)), record
    )
    assert expected.score.success

    env.reset(seed=SEED)
    steps, ended, truncated, reward, info = 0, False, False, 0.0, {}
    while not (ended or truncated):
        assert reward == 0.0
        _, reward, ended, truncated, info = env.step(targets[min(steps, len(targets) - 1)])
        steps += 1
    assert ended
    assert not truncated
    assert reward == 1.0
    assert info["is_success"] is True
    score = Score.from_json(info["score"])
    assert score.success
    assert score.seed == SEED
    assert score.robot_s == expected.score.robot_s


def test_an_arm_that_stands_still_is_truncated_when_time_is_up(env: PalletizingEnv) -> None:
    observation, _ = env.reset(seed=SEED)
    last = env.get_wrapper_attr("_max_episode_steps")
    action = observation["agent_pos"]
    for _ in range(last - 1):
        assert not any(env.step(action)[2:4])
    _, reward, ended, truncated, info = env.step(action)
    assert (reward, ended, truncated, info["is_success"]) == (0.0, False, True, False)
    failure = Score.from_json(info["score"]).failure
    assert failure is not None
    assert failure.kind == "never_moved"


def test_actions_that_are_no_numbers_end_the_episode_as_such(env: PalletizingEnv) -> None:
    env.reset(seed=SEED)
    ended, steps, info = False, 0, {}
    while not ended:
        _, _, ended, _, info = env.step(np.full(6, np.nan, np.float32))
        steps += 1
    assert steps < 2 * FPS
    failure = Score.from_json(info["score"]).failure
    assert failure is not None
    assert failure.kind == "nan"


def test_an_attempt_is_laid_out_as_the_evaluation_does(env: PalletizingEnv) -> None:
    expected = draw("palletize-1", "home-pose", 2, SEED)
    run = stage_of(env).begin(expected, lambda stage: Handed())
    run.loop.begin()
    assert run.loop.look()
    position = run.observation().state
    again, info = env.reset(seed=SEED, options={"scenario": "home-pose", "level": 2})
    assert np.array_equal(again["agent_pos"], position.astype(np.float32))
    assert info == {"is_success": False, "seed": SEED}
    nominal, _ = env.reset(seed=SEED)
    assert not np.array_equal(again["agent_pos"], nominal["agent_pos"])


def test_a_reset_without_a_seed_draws_an_evaluation_seed_that_follows_from_the_last(
    env: PalletizingEnv,
) -> None:
    env.reset(seed=SEED)
    first = env.reset()[1]["seed"]
    env.reset(seed=SEED)
    assert env.reset()[1]["seed"] == first != SEED


def test_it_says_in_words_what_is_to_be_done(env: PalletizingEnv) -> None:
    assert env.task == "palletize-1"
    assert env.task_description == "Put the box into the marked slots of the pallet."


def test_the_pictures_are_rendered_side_by_side(env: PalletizingEnv) -> None:
    observation, _ = env.reset(seed=SEED)
    picture = env.render()
    assert picture is not None
    assert np.array_equal(picture[:, :96], observation["pixels"]["front"])
    assert np.array_equal(picture[:, 96:], observation["pixels"]["wrist"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"task": "palletize-99"}, "available: palletize-1"),
        ({"scenario": "earthquake"}, "nominal"),
        ({"level": 7}, "level"),
        ({"fps": 50}, "30 ticks per second, so possible are 1, 2, 3, 5, 6, 10, 15, 30"),
        ({"render_mode": "human"}, "rgb_array"),
    ],
)
def test_what_does_not_exist_is_one_message(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PalletizingEnv(**wrong)


def test_no_demonstration_seed_and_no_step_before_a_reset(env: PalletizingEnv) -> None:
    with pytest.raises(ConfigError, match="not for eval"):
        env.reset(seed=DEMO_SEEDS.start)
    fresh = PalletizingEnv("palletize-1")
    with pytest.raises(ConfigError, match="reset"):
        fresh.step(np.zeros(6))
    fresh.close()
    fresh.close()


# As a policy was trained


def test_a_step_of_ten_hertz_is_three_ticks_on_a_straight_line() -> None:
    """Two windows to one goal end where two thirds of the steps at 30 Hz, each its part of the way, end."""
    slow, fast = PalletizingEnv("palletize-1", fps=10), PalletizingEnv("palletize-1")
    try:
        start = slow.reset(seed=SEED)[0]["agent_pos"].astype(np.float64)
        fast.reset(seed=SEED)
        command = compose.last_command(fast._stage.robot)
        goal = start + np.array([6.0, 3.0, -3.0, 0.0, 3.0, 0.0])
        seen = slow.step(goal)[0]
        assert slow._run is not None
        assert fast._run is not None
        for part in (1 / 3, 2 / 3, 1.0):
            expected = fast.step(command + part * (goal - command))[0]
        np.testing.assert_array_equal(seen["agent_pos"], expected["agent_pos"])
        np.testing.assert_array_equal(seen["pixels"]["front"], expected["pixels"]["front"])
        assert slow.metadata["render_fps"] == 10
        assert slow._max_episode_steps == math.ceil((fast._max_episode_steps - 1) / 3) + 1
    finally:
        slow.close()
        fast.close()


def test_what_the_cameras_see_is_scaled_as_in_training(env: PalletizingEnv) -> None:
    large = PalletizingEnv("palletize-1", height=32, width=32, camera_height=96, camera_width=96)
    try:
        seen, full = large.reset(seed=SEED)[0]["pixels"], env.reset(seed=SEED)[0]["pixels"]
        for name, picture in full.items():
            small = vision.resize(torch.from_numpy(picture).permute(2, 0, 1), [32, 32], antialias=True)
            np.testing.assert_array_equal(seen[name], small.permute(1, 2, 0).numpy())
    finally:
        large.close()


def test_joints_may_be_in_lerobots_range(env: PalletizingEnv) -> None:
    other = PalletizingEnv("palletize-1", use_degrees=False)
    try:
        seen, degrees = other.reset(seed=SEED)[0]["agent_pos"], env.reset(seed=SEED)[0]["agent_pos"]
        scale = other._stage.robot.bus.scale
        np.testing.assert_allclose(seen, scale.to_range(degrees), atol=1e-4)
        goal = degrees + np.float32([3, 1, -1, 0, 0, 0])
        moved = other.step(scale.to_range(goal))[0]["agent_pos"]
        np.testing.assert_allclose(
            scale.from_range(moved), env.step(goal)[0]["agent_pos"], atol=0.2
        )  # a step of an encoder
    finally:
        other.close()


# As LeRobot meets it


def test_lerobots_own_rollout_runs_an_act_checkpoint_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The functions that `lerobot-eval` is made of, two attempts side by side, cut short."""
    checkpoint = untrained(tmp_path)
    config = make_env_config("so101_palletizing", task="palletize-1")
    assert isinstance(config, PalletizingEnvConfig)
    policy_config = ACTConfig.from_pretrained(checkpoint)
    policy_config.pretrained_path = checkpoint
    monkeypatch.setattr(PalletizingEnv, "_max_episode_steps", 25)
    vector: gymnasium.vector.VectorEnv[Any, Any, Any] = make_env(config, n_envs=2)["so101_palletizing"][0]
    before, after = make_pre_post_processors(policy_config, pretrained_path=str(checkpoint))
    env_before, env_after = make_env_pre_post_processors(config, policy_config)
    policy = make_policy(policy_config, env_cfg=config)
    policy.eval()
    outcome = rollout(vector, policy, env_before, env_after, before, after, seeds=[1000, 1001])
    vector.close()
    assert outcome["action"].shape == (2, 25, 6)
    assert (outcome["action"].mean((0, 1)) - torch.tensor(POSE)).abs().max() < 30
    assert not outcome["success"].any()


def test_two_attempts_that_end_differently_fit_into_one_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("so101_eval.episode.env.GRACE_S", -14.9)
    monkeypatch.setattr("so101_eval.palletizing.score.score.GRACE_S", -14.9)
    config: EnvConfig = PalletizingEnvConfig(task="palletize-1")
    vector: gymnasium.vector.VectorEnv[Any, Any, Any] = config.create_envs(2)["so101_palletizing"][0]
    vector.reset(seed=[1, 2], options={"lerobot_new_rollout": True})
    info: dict[str, Any] = {}
    for _ in range(4):  # 0.1 s, and the tick on which that has passed
        info = vector.step(np.tile(np.float32(POSE), (2, 1)))[4]
    vector.close()
    assert info["final_info"]["is_success"].tolist() == [False, False]
    assert [Score.from_json(text).seed for text in info["final_info"]["score"]] == [1, 2]
