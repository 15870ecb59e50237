"""Demonstrations: the scripted motion, played on the mock arm in lockstep and recorded.

Part of every episode is played with a slow wobble on the commands while the clean targets are written down. So the
recordings also show the way back to the path, which keeps what learns from them from drifting off it.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.arm import SO101
from so101_robot.config_arm import SO101Config
from so101_robot.demo.motion import LOOP_S, RISE_S, Sweep, plan_sweep
from so101_robot.errors import ConfigError
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.world import World

FPS = 30
EPISODE_S = RISE_S + 1.25 * LOOP_S
"""From rest, once round and a little more, so that the end of the loop joins its beginning."""
TASK = "Swing over the red block and back above it, again and again."

WOBBLE = np.array([3.0, 2.0, 2.0, 2.0, 2.0, 3.0])
"""Standard deviation of the wobble per joint (degrees, gripper percent)."""
WOBBLE_S = 0.6
"""Its correlation time."""


class Moment(NamedTuple):
    """One tick of a demonstration."""

    tick: int
    state: NDArray[np.float64]
    """(6,) where the arm is."""
    target: NDArray[np.float64]
    """(6,) where the script wants it: the action that is recorded."""
    robot: SO101
    """For its frames, which are rendered only if somebody asks."""


@contextmanager
def mock_robots(config: MockConfig) -> Generator[Generator[SO101]]:
    """The mock arm in scene after scene: seeds config.seed, config.seed + 1, ... in lockstep, as fast as possible."""
    arm = MockArm(replace(config, realtime_factor=0.0))

    def scenes() -> Generator[SO101]:
        seed = config.seed
        while True:
            arm.reset(seed)
            robot = SO101(SO101Config(port="mock", health_every=0, mock=arm.config), mock=arm)
            robot.connect()
            try:
                yield robot
            finally:
                robot.disconnect()
            seed += 1

    robots = scenes()
    try:
        yield robots
    finally:
        robots.close()
        arm.close()


def demonstrate(robot: SO101, sweep: Sweep, seed: int, wobble: bool, fps: int = FPS) -> Iterator[Moment]:
    """Play `sweep` for one episode, a moment per tick, before the tick's command is sent."""
    ticks = round(EPISODE_S * fps)
    noise = _wobble(ticks, fps, seed) if wobble else np.zeros((ticks, len(JOINTS)))
    lower, upper = robot.joint_limits()
    start_s = robot.clock.now_s()
    for tick in range(ticks):
        target = np.clip(sweep.at(tick / fps), lower, upper)
        yield Moment(tick, robot.read().position, target, robot)
        robot.command(np.clip(target + noise[tick], lower, upper))
        robot.clock.sleep_until(start_s + (tick + 1) / fps)


def world_of(robot: SO101) -> World:
    """The scene that a connected mock arm stands in. Raises ConfigError for any other arm."""
    if robot.mock is None or robot.mock.world is None:
        raise ConfigError("the scripted motion needs the mock arm in a scene (--robot.port=mock)")
    return robot.mock.world


def plan_for(robot: SO101, seed: int) -> Sweep:
    """The scripted motion for the scene that `robot` stands in."""
    return plan_sweep(world_of(robot), robot.read().position, seed)


def record_demonstrations(
    out_dir: Path,
    episodes: int,
    seed: int = 0,
    width: int = 96,
    height: int = 96,
    fps: int = FPS,
    use_videos: bool = True,
    repo_id: str = "local/mock_demo",
) -> Path:
    """Record episodes in LeRobot's dataset format v3, in scenes `seed`, `seed` + 1, ...

    Features as in LeRobot's recordings of an SO-101: observation.state and action with names "shoulder_pan.pos" ...,
    observation.images.front and .wrist.

    Args:
        out_dir: where the dataset goes; must not exist.
        width, height: of both cameras [px].
        use_videos: as video; else as pictures in the tables.

    Returns:
        `out_dir`.

    Raises:
        FileExistsError: `out_dir` exists.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.utils.constants import ACTION, OBS_STR
    from lerobot.utils.feature_utils import build_dataset_frame, hw_to_dataset_features

    dataset: Any = None
    config = MockConfig(seed=seed, width=width, height=height, camera_fps=float(fps))
    with mock_robots(config) as robots:
        for episode, robot in zip(range(episodes), robots, strict=False):
            if dataset is None:
                features = hw_to_dataset_features(robot.observation_features, OBS_STR, use_videos)
                actions: dict[str, type | tuple[int, ...]] = {**robot.action_features}
                features |= hw_to_dataset_features(actions, ACTION, use_videos)
                dataset = LeRobotDataset.create(
                    repo_id, fps, features, root=out_dir, robot_type=robot.name, use_videos=use_videos
                )
            for moment in demonstrate(
                robot, plan_for(robot, seed + episode), seed + episode, episode % 4 > 0, fps
            ):
                names = list(robot.action_features)
                values = dict(zip(names, moment.state.tolist(), strict=True))
                values |= {name: frame.image for name, frame in robot.frames().items()}
                targets = dict(zip(names, moment.target.tolist(), strict=True))
                frame = build_dataset_frame(dataset.features, values, OBS_STR)
                frame |= build_dataset_frame(dataset.features, targets, ACTION)
                dataset.add_frame(frame | {"task": TASK})
            dataset.save_episode()
    if dataset is not None:
        dataset.finalize()
    return out_dir


def _wobble(ticks: int, fps: int, seed: int) -> NDArray[np.float64]:
    """(ticks, 6) of an Ornstein-Uhlenbeck process, started in its stationary state scaled in over the first second."""
    rng = np.random.default_rng((seed, 3))
    keep = np.exp(-1 / (fps * WOBBLE_S))
    noise = rng.standard_normal((ticks, len(JOINTS)))
    for tick in range(1, ticks):
        noise[tick] = keep * noise[tick - 1] + np.sqrt(1 - keep**2) * noise[tick]
    return noise * WOBBLE * np.minimum(np.arange(ticks) / fps, 1.0)[:, None]
