"""Observer that stores the run as one episode of a LeRobotDataset (v3), with the actions that were really
sent.

An action here is the goal that the servos were following on that tick: after scheduler and guard, rounded to
encoder steps. (LeRobot stores what the policy wanted.) Where a follower is disturbed on purpose, it is what the person
asked for instead, which is the way back (`leader.disturbance`). Names, order and units are those of LeRobot's SO-101
recordings, so the dataset trains and merges like one of them. LeRobot's time stamps are tick / fps by
definition; when the ticks really were is in the run's `ticks.jsonl`. Where somebody says whether the episode
succeeded, its last frame says so in LeRobot's columns `next.success` and `next.reward`.

The observer belongs behind `observers.Background`: compressing pictures takes longer than a tick may. The
episode is saved when the run is over; a crash loses at most that episode.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets.utils.logging import disable_progress_bar
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.constants import HF_LEROBOT_HOME, REWARD, SUCCESS
from numpy.typing import NDArray

from so101_policy.dataset_check.look import look, require
from so101_policy.errors import first_line, one_line
from so101_policy.names import INTERVENTION
from so101_policy.units import LikelyUnits, likely_units
from so101_robot.errors import ConfigError
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.loop.tick import Tick
from so101_robot.message import Message

ROBOT_TYPE = "so101_follower"
"""What LeRobot's own SO-101 recordings say, so that datasets can be merged."""

VIDEO_BACKEND = "pyav"
"""For reading back, which is not done here; LeRobot's own choice is torchcodec, which complains at length
where there is no FFmpeg."""

QUEUE_TICKS = 300
"""How many ticks may wait to be stored before some are dropped: ten seconds at 30 Hz, 0.6 GB at 2x640x480."""


def dataset_features(
    cameras: Mapping[str, tuple[int, int]], *, with_outcome: bool = False, with_intervention: bool = False
) -> dict[str, dict[str, Any]]:
    """LeRobot's features of an SO-101 recording.

    Args:
        cameras: name -> (height, width).
        with_outcome: whether episodes say if they succeeded.
        with_intervention: whether frames say if a person drove.
    """
    joints = {"dtype": "float32", "shape": (len(JOINTS),), "names": [f"{joint}.pos" for joint in JOINTS]}
    images = {
        f"observation.images.{name}": {
            "dtype": "video",
            "shape": (height, width, 3),
            "names": ["height", "width", "channels"],
        }
        for name, (height, width) in cameras.items()
    }
    outcome = {
        SUCCESS: {"dtype": "bool", "shape": (1,), "names": None},
        REWARD: {"dtype": "float32", "shape": (1,), "names": None},
    }
    features: dict[str, dict[str, Any]] = {
        "action": dict(joints),
        "observation.state": dict(joints),
        **images,
    }
    if with_intervention:
        features[INTERVENTION] = {"dtype": "bool", "shape": (1,), "names": None}
    return features | outcome if with_outcome else features


def outcome_of_frame(success: bool) -> dict[str, Any]:
    """The columns of a frame that say whether the episode has succeeded with it."""
    return {SUCCESS: np.array([success]), REWARD: np.array([success], np.float32)}


class DatasetRecorder:
    """Stores every tick of the phase `run` from the first command on.

    Args:
        repo_id: LeRobot's name of the dataset, `user/name`; nothing is uploaded.
        root: its folder; None: LeRobot's default place for `repo_id`.
        task: the task in words, stored with each frame.
        fps: rate of the loop.
        cameras: name -> (height, width).
        resume: add an episode to a dataset that exists.
        outcome: asked once, when the run is over: did it succeed? None: the dataset does not say.
        known: the dataset to resume was written by this program, and need not be looked at again.
        intervention: frames say whether a person drove. Those on which nobody did, while the arm stands still for a
            takeover, are left out, as LeRobot does.

    Raises:
        ConfigError: there is a dataset already, or (`resume`) there is none or one that does not fit.
    """

    name = "recorder"

    def __init__(
        self,
        repo_id: str,
        root: Path | None,
        *,
        task: str,
        fps: float,
        cameras: Mapping[str, tuple[int, int]],
        resume: bool = False,
        outcome: Callable[[], bool] | None = None,
        known: bool = False,
        intervention: bool = False,
    ) -> None:
        _hush_helpers()
        self._task = task
        self._created = not resume
        self._whole = True
        self._outcome, self._intervention = outcome, intervention
        self._last: dict[str, Any] | None = None
        """The newest frame, not stored yet: it may be the one that says how the episode ended."""
        self.frames = 0
        if fps != int(fps):
            raise ConfigError(f"LeRobot's datasets have a whole number of frames per second, not {fps}")
        features = dataset_features(cameras, with_outcome=outcome is not None, with_intervention=intervention)
        self._dataset = (
            _resume(repo_id, root, features, int(fps), known)
            if resume
            else _create(repo_id, root, features, int(fps))
        )

    @property
    def root(self) -> Path:
        return Path(self._dataset.root)

    def on_tick(self, tick: Tick) -> None:
        if tick.phase != "run" or tick.goal is None:
            return
        driver = None if tick.planned is None else tick.planned.driver
        if self._intervention and driver in ("hold", "handover"):
            return
        self._whole = False
        self._store_last(success=False)
        self._last = {
            "action": _action(tick, tick.goal).astype(np.float32),
            "observation.state": np.asarray(tick.state.position, np.float32),
            **{f"observation.images.{name}": image.image for name, image in tick.frames.items()},
            "task": self._task,
        }
        if self._intervention:
            self._last[INTERVENTION] = np.array([driver == "human"])
        self.frames += 1
        self._whole = True

    def on_message(self, message: Message) -> None:
        """Words have no place in a dataset."""

    def close(self) -> None:
        """Save the episode; a run without a single command leaves nothing behind.

        An episode that could not be stored whole is given up, and those that were there before are kept.
        """
        if not self._whole:
            self.give_up()
            return
        try:
            if self.frames:
                self._store_last(success=self._outcome is not None and self._outcome())
                # One video after the other: a pool of processes would be forked beside our threads.
                self._dataset.save_episode(parallel_encoding=False)
            self._dataset.finalize()
        except Exception:
            self.give_up()
            raise
        if not self.frames and self._created:
            shutil.rmtree(self.root)

    def _store_last(self, success: bool) -> None:
        if self._last is not None:
            self._dataset.add_frame(self._last | (outcome_of_frame(success) if self._outcome else {}))
            self._last = None

    def give_up(self) -> None:
        """Take back what there is of an episode. Whatever else fails on a full disk is beside the point by now."""
        with contextlib.suppress(Exception):
            self._dataset.clear_episode_buffer()
        with contextlib.suppress(Exception):
            self._dataset.finalize()
        if self._created:
            shutil.rmtree(self.root, ignore_errors=True)


def _action(tick: Tick, goal: NDArray[np.float64]) -> NDArray[np.float64]:
    """(6,) what is stored as the tick's action."""
    if tick.sent is None or tick.planned is None or tick.planned.wanted is None:
        return goal
    return tick.planned.wanted


def _hush_helpers() -> None:
    """Keep LeRobot's helpers from writing over the dashboard: progress bars, the video encoder's banner."""
    disable_progress_bar()
    os.environ.setdefault("SVT_LOG", "1")  # errors only


def _create(repo_id: str, root: Path | None, features: dict[str, Any], fps: int) -> LeRobotDataset:
    try:
        return LeRobotDataset.create(
            repo_id, fps, features, root=root, robot_type=ROBOT_TYPE, video_backend=VIDEO_BACKEND
        )
    except FileExistsError as problem:
        raise ConfigError(
            f"the dataset {repo_id} exists already in {problem.filename}; choose another --record.repo_id or "
            "--record.root, or add an episode to it with --record.resume=true"
        ) from problem
    except (OSError, ValueError) as problem:
        raise ConfigError(
            f"cannot make the dataset {repo_id} in {root or HF_LEROBOT_HOME / repo_id}: {first_line(problem)}"
        ) from problem


def _resume(
    repo_id: str, root: Path | None, features: dict[str, Any], fps: int, known: bool
) -> LeRobotDataset:
    folder = root or HF_LEROBOT_HOME / repo_id
    if not (folder / "meta" / "info.json").is_file():
        raise ConfigError(f"there is no dataset to resume in {folder}")
    if not known:
        _look(folder)
    try:
        dataset = LeRobotDataset.resume(repo_id, root=folder, video_backend=VIDEO_BACKEND)
    except (OSError, ValueError, KeyError) as problem:
        raise ConfigError(
            f"cannot resume the dataset {repo_id} in {folder}: {first_line(problem)}"
        ) from problem
    if SUCCESS in dataset.meta.features and SUCCESS not in features:
        raise ConfigError(
            f"the episodes in {folder} say whether they succeeded; give --record.success=ask (or yes, no)"
        )
    if (INTERVENTION in dataset.meta.features) is not (INTERVENTION in features):
        there = INTERVENTION in dataset.meta.features
        raise ConfigError(
            f"the frames in {folder} {'say' if there else 'do not say'} whether a person drove ({INTERVENTION}), and "
            f"those of this run would{' not' if there else ''}: {'give' if there else 'leave out'} --teleop.port, or "
            "record a new dataset"
        )
    for key in ("action", "observation.state"):
        if key in dataset.meta.features and dataset.meta.features[key]["names"] != features[key]["names"]:
            raise ConfigError(
                f"{key} in {folder} has the joints {one_line(str(dataset.meta.features[key]['names']))}; expected "
                f"{', '.join(features[key]['names'])}"
            )
    theirs = {
        key: tuple(dataset.meta.features[key]["shape"]) for key in dataset.meta.features if key in features
    }
    ours = {key: tuple(feature["shape"]) for key, feature in features.items()}
    if theirs != ours or dataset.meta.fps != fps:
        raise ConfigError(
            f"the dataset in {folder} has {dataset.meta.fps} frames/s of {theirs}; "
            f"this run has {fps} of {ours}"
        )
    return dataset


def _look(folder: Path) -> None:
    """A dataset is looked at before an episode is added to it, as before it is trained on.

    Raises:
        DatasetError: something in it is wrong, so that what is added would be lost with it.
        ConfigError: its joints are in other units than those that are recorded here.
    """
    seen = look(folder, ())  # as a whole; what its values are is the business of whoever trains on them
    require(seen)
    if seen.frames is None or "action" not in seen.frames.rows.columns:
        return
    joints_NJ = np.delete(seen.frames.column("action"), GRIPPER, axis=1)
    if (units := likely_units(joints_NJ)) is LikelyUnits.RANGE:
        raise ConfigError(
            f"the joints in {folder} look like {units}; so101-run records degrees, and a dataset has one unit. "
            "Record a new one, without --record.resume"
        )
