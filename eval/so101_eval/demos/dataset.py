"""LeRobot's dataset of the staged episodes, made in the staging folder and moved to its place when it is whole."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import av.logging
from datasets.utils.logging import disable_progress_bar
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from so101_eval.demos.episode import Episode, from_png
from so101_eval.demos.folder import SETTINGS, STAGING, write_settings
from so101_eval.demos.settings import Settings
from so101_eval.demos.staging import load
from so101_eval.errors import EvalError
from so101_eval.palletizing.scene.reset_data import CAMERAS
from so101_eval.palletizing.scene.tasks import load_task
from so101_eval.progress import progress
from so101_policy.command_line.console import Console
from so101_robot.runs.dataset import ROBOT_TYPE, VIDEO_BACKEND, dataset_features, outcome_of_frame

EPISODES = "so101_episodes.jsonl"
"""In the dataset's `meta`: a line an episode."""


def assemble(settings: Settings, out: Path, seeds: Sequence[int], console: Console) -> None:
    """The dataset of staged episodes. `meta` comes last: with it the dataset is complete.

    Raises:
        EvalError: LeRobot could not encode a video.
        OSError: the disk is full.
    """
    staging = out / STAGING
    made = staging / "dataset"
    shutil.rmtree(made, ignore_errors=True)  # of an attempt that was cut off
    try:
        _write(settings, made, staging, seeds, console)
        write_settings(made / "meta" / SETTINGS, settings)
        for folder in ("data", "videos", "meta"):
            shutil.rmtree(out / folder, ignore_errors=True)
            (made / folder).rename(out / folder)
    except RuntimeError as error:  # LeRobot's for a video that could not be encoded
        raise EvalError(f"the dataset could not be written: {error}; the staged episodes are kept") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(settings: Settings, made: Path, staging: Path, seeds: Sequence[int], console: Console) -> None:
    dataset = _create(settings, made)
    instruction = load_task(settings.task).instruction
    lines: list[str] = []
    with progress(console) as bar:
        for index, seed in bar.track(list(enumerate(seeds)), description="writing"):
            episode = load(staging, seed)
            _add(dataset, episode, instruction)
            lines.append(json.dumps({"episode_index": index, **episode.record}) + "\n")
    dataset.finalize()
    (made / "meta" / EPISODES).write_text("".join(lines))


def _add(dataset: LeRobotDataset, episode: Episode, instruction: str) -> None:
    for k in range(len(episode.state)):
        images = {f"observation.images.{name}": from_png(episode.pictures[name][k]) for name in CAMERAS}
        frame = {"observation.state": episode.state[k], "action": episode.action[k], "task": instruction}
        outcome = outcome_of_frame(episode.success and k == len(episode.state) - 1)
        dataset.add_frame(frame | images | outcome)
    dataset.save_episode(parallel_encoding=False)


class _Strict(logging.Handler):
    """LeRobot logs a picture that could not be written, and goes on without it: here that ends the writing."""

    def emit(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            raise error


def _create(settings: Settings, root: Path) -> LeRobotDataset:
    """An empty one; what is below it speaks up for errors only."""
    os.environ.setdefault("SVT_LOG", "1")  # the video encoder
    logging.getLogger("lerobot.datasets.image_writer").handlers = [_Strict()]
    disable_progress_bar()
    av.logging.set_libav_level(av.logging.ERROR)
    return LeRobotDataset.create(
        "local/so101_demos",
        settings.fps,
        dataset_features(dict.fromkeys(CAMERAS, (settings.height, settings.width)), with_outcome=True),
        root=root,
        robot_type=ROBOT_TYPE,
        video_backend=VIDEO_BACKEND,
    )
