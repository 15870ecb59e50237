"""The palletizing episodes as a gymnasium environment, for LeRobot's own evaluation and for anyone else's.

One step is one tick of the control loop, 30 Hz on the mock arm in lockstep, or several for a policy of fewer actions
per second: between these the arm follows the straight line, as in `so101-run`. The action passes guard, supervisor,
disturbances and wire as in every other attempt (`episode`), and the same scorer judges it. `reset(seed=...)` lays out
the evaluation attempt of that seed, so results pair with those of this project's own evaluation.

    env = PalletizingEnv("palletize-2")
    observation, info = env.reset(seed=7)

An episode is over when the scorer says that nothing can change any more: *terminated* by success or by an
abort, *truncated* when time is up.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, TypedDict

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from so101_eval.episode.episode import FPS, EpisodeRun, Stage
from so101_eval.episode.policy_notes import check_rate
from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.disturbances import Images
from so101_eval.palletizing.scene.draw import EVAL_SEEDS, check_seed, draw
from so101_eval.palletizing.scene.scenarios import NOMINAL, load_scenario
from so101_eval.palletizing.score.score import GRACE_S
from so101_policy.frames.resizing import scaled
from so101_robot.chunks.inference import Observation
from so101_robot.chunks.interpolation import Interpolated
from so101_robot.chunks.scheduler import NOTHING, Planned, Scheduler
from so101_robot.commands import compose
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.arm import MockConfig
from so101_robot.mock.config import CAMERAS

ACTION_DEG, STATE_DEG = 180.0, 360.0
"""Bounds of the spaces; what the arm can really do is narrower, and the guard's business."""
ACTION_PERCENT, STATE_PERCENT = (0.0, 100.0), (-100.0, 200.0)
"""Of the gripper. Joints are measured with some play and may be disturbed, so their space is wider."""


class EnvObservation(TypedDict):
    """What LeRobot maps to `observation.state` and `observation.images.*`."""

    agent_pos: NDArray[np.float32]
    """(6,) measured joints in LeRobot units: degrees, percent for the gripper."""
    pixels: Images
    """RGB (h, w, 3) of the cameras `front` and `wrist`."""


class PalletizingEnv(gymnasium.Env[EnvObservation, NDArray[np.float32]]):
    """Attempts at one task.

    The action is six joint targets in LeRobot units. The reward is 0 until the end and then the score's
    credit, 0 to 1, which is 1 in a success. `info` always has `is_success`; after a reset also the `seed`, from
    which the attempt can be laid out again; at the end the `score` in JSON (`Score.from_json`). It is text
    because gymnasium's vector environments take nested dictionaries apart.

    Args:
        task: by name.
        scenario, level: what is changed, and how far.
        height, width: of both cameras' pictures [pixels].
        camera_height, camera_width: of what the cameras see [pixels], scaled to the pictures as training scales; None:
            the same.
        fps: steps per second, of which `episode.FPS` is a whole multiple.
        use_degrees: false: joints in LeRobot's -100 to 100 of their calibrated range instead of degrees.
        render_mode: `rgb_array`: `render` gives the pictures side by side.

    Raises:
        ConfigError: no such task, scenario, level, rate or render mode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": int(FPS)}  # noqa: RUF012

    def __init__(
        self,
        task: str = "palletize-2",
        scenario: str = NOMINAL,
        level: int = 0,
        *,
        height: int = 96,
        width: int = 96,
        camera_height: int | None = None,
        camera_width: int | None = None,
        fps: float = FPS,
        use_degrees: bool = True,
        render_mode: Literal["rgb_array"] | None = None,
    ) -> None:
        check_rate(fps)
        self._every = round(FPS / fps)
        self.metadata = {**self.metadata, "render_fps": round(fps)}
        self._size, self._use_degrees = (height, width), use_degrees
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(f"render mode {render_mode!r}; possible: rgb_array")
        load_scenario(scenario).knobs(level)
        self.render_mode = render_mode
        self._scenario, self._level = scenario, level
        mock = MockConfig(width=camera_width or width, height=camera_height or height, realtime_factor=0.0)
        self._stage = Stage(task, mock)
        self._run: EpisodeRun | None = None
        self._handed = Handed()
        self._observation: EnvObservation | None = None
        self.action_space: spaces.Space[NDArray[np.float32]] = _joints(ACTION_DEG, ACTION_PERCENT)
        picture = spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.observation_space = spaces.Dict(  # pyright: ignore[reportAttributeAccessIssue]: a typed dictionary
            {
                "agent_pos": _joints(STATE_DEG, STATE_PERCENT),
                "pixels": spaces.Dict(dict.fromkeys(CAMERAS, picture)),
            }
        )

    @property
    def task(self) -> str:
        """The task's name."""
        return self._stage.task.name

    @property
    def task_description(self) -> str:
        """For policies that read."""
        return self._stage.task.instruction

    @property
    def _max_episode_steps(self) -> int:
        """Where LeRobot looks for it: the step after which every episode is over."""
        return math.ceil((self._stage.task.time_limit_s + GRACE_S) * FPS / self._every) + 1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[EnvObservation, dict[str, Any]]:
        """Lay out the evaluation attempt `seed`; without one, a seed that is drawn from those for evaluation.

        Args:
            seed: of the attempt.
            options: `scenario` and `level` for this attempt instead of the environment's.

        Raises:
            ConfigError: no such scenario or level; a seed that is not for evaluation.
            LayoutError: the boxes do not fit.
        """
        asked: dict[str, Any] = {"scenario": self._scenario, "level": self._level, **(options or {})}
        if seed is not None:
            check_seed(seed, "eval")
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(EVAL_SEEDS.start, EVAL_SEEDS.stop))
        scene = draw(self._stage.task, asked["scenario"], asked["level"], seed)
        self._leave()
        self._handed = Handed()
        self._run = self._stage.begin(scene, self._scheduler)
        self._run.loop.begin()
        self._run.loop.look()
        return self._see(self._run), {"is_success": False, "seed": seed}

    def step(
        self, action: NDArray[np.float32] | ArrayLike
    ) -> tuple[EnvObservation, float, bool, bool, dict[str, Any]]:
        """Send six joint targets, let the ticks of a step pass and look.

        Raises:
            ConfigError: the environment was not reset.
        """
        if self._run is None:
            raise ConfigError("call reset before the first step")
        asked, scale = np.asarray(action, np.float64), self._stage.robot.bus.scale
        self._handed.action = asked if self._use_degrees else scale.from_range(asked)
        loop = self._run.loop
        goes_on = all(loop.act() and loop.look() for _ in range(self._every))
        observation = self._see(self._run)
        if goes_on:
            return observation, 0.0, False, False, {"is_success": False}
        score = self._run.score()
        late = score.duration_s >= self._stage.task.time_limit_s + GRACE_S
        info = {"is_success": bool(score.success), "score": score.to_json()}
        return observation, score.credit or 0.0, not late, late, info

    def render(self) -> NDArray[np.uint8] | None:  # pyright: ignore[reportIncompatibleMethodOverride]: one mode
        """The pictures of the last observation, side by side (h, 2 w, 3); None without a render mode.

        Raises:
            ConfigError: the environment was not reset.
        """
        if self.render_mode is None:
            return None
        if self._observation is None:
            raise ConfigError("call reset before render")
        return np.hstack([self._observation["pixels"][name] for name in CAMERAS])

    def close(self) -> None:
        """Free the arm and its renderer. May be called twice."""
        self._leave()
        self._stage.close()

    def _leave(self) -> None:
        if self._run is not None:
            self._run.loop.finish()
            self._run = None

    def _scheduler(self, stage: Stage) -> Scheduler:
        if self._every == 1:
            return self._handed
        return Interpolated(self._handed, self._every, lambda: compose.last_command(stage.robot))

    def _see(self, run: EpisodeRun) -> EnvObservation:
        seen, scale = run.observation(), self._stage.robot.bus.scale
        state = seen.state if self._use_degrees else scale.to_range(seen.state)
        self._observation = {
            "agent_pos": state.astype(np.float32),
            "pixels": {name: scaled(image, self._size).numpy().copy() for name, image in seen.images.items()},
        }
        return self._observation


class Handed:
    """A scheduler of one action, which whoever calls `step` hands over before each tick."""

    def __init__(self) -> None:
        self.action: NDArray[np.float64] | None = None

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        observe()  # so that the action belongs to this tick
        return NOTHING if self.action is None else Planned(self.action, None, "chunk", 0, tick, 0.0)

    def wait(self) -> None:
        """The next action comes from outside."""

    def reset(self) -> None:
        """There is no plan to forget."""

    def close(self) -> None: ...


def _joints(degrees: float, percent: tuple[float, float]) -> spaces.Space[Any]:
    ends = np.array([[-degrees, degrees]] * len(JOINTS), np.float32)
    ends[GRIPPER] = percent
    return spaces.Box(ends[:, 0], ends[:, 1], dtype=np.float32)
