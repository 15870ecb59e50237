"""One demonstration: the expert plays a seed, and what LeRobot wants to know is written down.

A frame has the observation of the tick at which it begins, and the action that the expert asked for on the last
tick before the next frame. At 30 frames per second that is the same tick; at 10 a straight line from action to
action passes through what the expert asked for.
"""

import json
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_eval.demos.changes import chosen, with_a_move
from so101_eval.demos.recovery import Recovering, recovers, start_off
from so101_eval.demos.settings import Settings
from so101_eval.episode.episode import FPS, Stage
from so101_eval.episode.scripted import Scripted
from so101_eval.expert.expert import Expert
from so101_eval.palletizing.scene.draw import Reset, check_seed, draw
from so101_eval.palletizing.scene.reset_data import CAMERAS
from so101_robot.joints import JOINTS
from so101_robot.loop.tick import Tick
from so101_robot.mock.config import MockConfig

type Vector = NDArray[np.float64]
type Png = NDArray[np.uint8]
"""(k,) the bytes of a picture file, lossless: rendered pictures shrink to a few percent."""


class Episode(NamedTuple):
    """A demonstration; n frames."""

    state: NDArray[np.float32]
    """(n, 6) measured joints, LeRobot units."""
    action: NDArray[np.float32]
    """(n, 6) what the expert asked for."""
    pictures: dict[str, list[Png]]
    """By camera: n pictures."""
    record: dict[str, Any]
    """Seed, success, reset, score: the line of the episode."""

    @property
    def success(self) -> bool:
        return bool(self.record["success"])

    def without_frames(self) -> "Episode":
        """Its record alone."""
        return self._replace(
            state=self.state[:0], action=self.action[:0], pictures={name: [] for name in CAMERAS}
        )


def open_stage(settings: Settings) -> Stage:
    """Where episodes of these settings are played, one after the other."""
    mock = MockConfig(
        width=settings.width,
        height=settings.height,
        shadows=settings.shadows,
        camera_fps=FPS,
        realtime_factor=0.0,
    )
    return Stage(settings.task, mock)


def draw_demo(settings: Settings, seed: int) -> Reset:
    """How the episode of that demonstration seed starts. Raises `ConfigError` for other seeds."""
    reset = draw(settings.task, settings.scenario, settings.level, check_seed(seed, "demo"))
    if chosen(settings.moved, "moved share", seed):
        reset = with_a_move(reset)
    return start_off(reset) if recovers(settings.recovery, seed) else reset


def play(settings: Settings, stage: Stage, seed: int) -> Episode:
    """One demonstration: a pure function of settings and seed. It ends when the expert has finished."""
    reset, film = draw_demo(settings, seed), _Film(int(FPS) // settings.fps)
    recovery = recovers(settings.recovery, seed)

    def make(stage: Stage) -> Scripted:
        expert = Expert(stage.world, stage.robot, reset, settings.teleop)
        film.recovering = Recovering(expert, reset) if recovery else None
        film.script = Scripted(film.recovering or expert)
        return film.script

    attempt = stage.attempt(reset, make, film.on_tick)
    record = {
        "seed": seed,
        "success": attempt.score.success,
        "recovery": recovery,
        "happened": attempt.happened,
        "frames": len(film.states),
        "state_hash": attempt.state_hash,
        "reset": json.loads(reset.to_json()),
        "score": json.loads(attempt.score.to_json()),
    }
    return Episode(_rows(film.states), _rows(film.actions), film.pictures, record)


class _Film:
    """Writes down every so many ticks as a frame."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.script: Scripted | None = None
        self.recovering: Recovering | None = None
        """Who knows the action, if it is not what was sent."""
        self.states: list[Vector] = []
        self.actions: list[Vector] = []
        self.pictures: dict[str, list[Png]] = {name: [] for name in CAMERAS}

    def on_tick(self, tick: Tick) -> None:
        action = tick.asked if self.recovering is None else self.recovering.clean
        if action is None or self.script is None or self.script.finished:
            return
        if tick.index % self.every:
            self.actions[-1] = action.copy()
            return
        self.states.append(tick.state.position.copy())
        self.actions.append(action.copy())
        for name, frame in tick.frames.items():
            self.pictures[name].append(to_png(frame.image))


def _rows(vectors: list[Vector]) -> NDArray[np.float32]:
    return np.reshape(np.array(vectors, np.float32), (len(vectors), len(JOINTS)))


def to_png(image: NDArray[np.uint8]) -> Png:
    """RGB (h, w, 3) as a file's bytes."""
    done, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return np.asarray(png, np.uint8)


def from_png(png: Png) -> NDArray[np.uint8]:
    """Back from `to_png`."""
    image = cv2.imdecode(png, cv2.IMREAD_COLOR)
    assert image is not None  # it was stored whole or not at all
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
