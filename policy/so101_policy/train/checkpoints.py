"""Checkpoints that are complete or absent, in LeRobot's layout, and what lets a resumed run continue exactly.

    checkpoints/000500/pretrained_model/   what LeRobot loads: policy, processors, train_config.json;
                                           and so101_trained_on.json and
                                              so101_background.<camera>.png, for whoever plays it
    checkpoints/000500/training_state/     optimizer, scheduler, random states, so101_training.json
    checkpoints/last -> 000500             checkpoints/best -> 000400 (lowest held-out L1, or most episodes won)

A checkpoint is written into a hidden folder beside its place, flushed to the disk and renamed, and the links are
replaced by a rename too, so kill -9 or a power cut at any moment leaves the previous checkpoint and its link whole.
What such an end leaves behind is removed by the next save.

LeRobot's own files carry the random states of this process; in a run of several, those of the others are beside them.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lerobot.optim import (
    load_optimizer_state,
    load_scheduler_state,
    save_optimizer_state,
    save_scheduler_state,
)
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import (
    CHECKPOINTS_DIR,
    LAST_CHECKPOINT_LINK,
    PRETRAINED_MODEL_DIR,
    TRAINING_STATE_DIR,
    TRAINING_STEP,
)
from lerobot.utils.random_utils import (
    deserialize_rng_state,
    load_rng_state,
    save_rng_state,
    serialize_rng_state,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from so101_policy.checkpoint.folder import TRAINED_ON, look_at_files
from so101_policy.checkpoint.reader import Postprocessor, Preprocessor
from so101_policy.checkpoint.tensors import system_error
from so101_policy.checkpoint.trained_on import TrainedOn, to_json
from so101_policy.checkpoint.training_state import look_at_random_state, look_at_training_state
from so101_policy.errors import StoppedError, TrainError, first_line
from so101_policy.files.plain_data import parse_json, read_text
from so101_policy.files.typed_data import typed
from so101_policy.files.whole_files import sync, write_text
from so101_policy.registration.background import Background
from so101_policy.registration.files import name_of, write_background
from so101_policy.train.settings.config import SO101TrainConfig

BEST_CHECKPOINT_LINK = "best"
PROGRESS = "so101_training.json"
WRITING, SET_ASIDE = ".writing-", "set-aside-"


RESTORE_ERRORS = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, SafetensorError)
"""What LeRobot and torch end in where a state is damaged, or of another model. (RecursionError is a RuntimeError.)"""


@dataclass
class Progress:
    """How far a run has come, beyond what LeRobot's files say."""

    step: int = 0
    """Optimizer steps done."""
    batch: int = 0
    """Samples per step, of all processes together."""
    processes: int = 1
    best_l1: float | None = None
    """Lowest held-out L1 so far, and the step whose checkpoint has it."""
    best_step: int | None = None
    best_successes: int | None = None
    """Most episodes won so far, where episodes are played; `best_step` is then its step."""
    data: dict[str, Any] = field(default_factory=dict)
    """What the data was: frames, episodes, joints, cameras (`data`)."""
    losses: list[float] = field(default_factory=list)
    """Recent losses, by which a diverging one is recognised (`validation.divergence`)."""


@dataclass
class Trained:
    """What a checkpoint holds and a resume restores."""

    config: SO101TrainConfig
    policy: ACTPolicy
    optimizer: Optimizer
    scheduler: LRScheduler | None
    preprocessor: Preprocessor
    postprocessor: Postprocessor
    trained_on: TrainedOn
    """For whoever plays it."""
    backgrounds: Mapping[str, Background] = field(default_factory=dict[str, Background])
    """Camera -> what stands still before it, also for whoever plays it."""


class Checkpoints:
    """The folder `checkpoints` of a run. Only the main process writes."""

    def __init__(self, output_dir: Path, total_steps: int):
        self.folder = output_dir / CHECKPOINTS_DIR
        self._total_steps = total_steps

    def of(self, step: int) -> Path:
        return self.folder / step_name(step, self._total_steps)

    def save(
        self,
        trained: Trained,
        progress: Progress,
        random_states: list[dict[str, Tensor]],
        best: bool = False,
        keep_every: int = 1,
    ) -> Path:
        """Write the checkpoint of `progress.step`, then point `last` (and `best`) at it.

        Args:
            random_states: of every process, in their order; see `random_state`.
            best: it is the best so far; the one that was before is removed unless its step is one of
                `keep_every`.

        Raises:
            StoppedError: the disk is full or refuses; nothing half-written is left and `last` is as before.
        """
        place = self.of(progress.step)
        with self._reported(place):
            if not place.exists():
                self._write(place, trained, progress, random_states)
            self.link(LAST_CHECKPOINT_LINK, place)
        if best:
            self.mark_best(place, keep_every)
        return place

    def mark_best(self, place: Path, keep_every: int = 1) -> None:
        """Point `best` at a checkpoint; the one before is removed unless its step is one of `keep_every`."""
        before = (self.folder / BEST_CHECKPOINT_LINK).resolve()
        with self._reported(place):
            self.link(BEST_CHECKPOINT_LINK, place)
        superseded = before.name.isdecimal() and before != place.resolve()
        if superseded and not (keep_every > 0 and int(before.name) % keep_every == 0):
            _remove(before)

    def remember(self, progress: Progress) -> None:
        """Write down anew how far the run is, into the checkpoint of its step: what was found out about it since."""
        place = self.of(progress.step)
        with self._reported(place):
            write_text(place / TRAINING_STATE_DIR / PROGRESS, json.dumps(asdict(progress)) + "\n")

    def save_aside(
        self, name: str, trained: Trained, progress: Progress, random_states: list[dict[str, Tensor]]
    ) -> Path:
        """Write a state for inspection, not to be resumed from; no link points at it."""
        place = self.folder / f"{name}-{step_name(progress.step, self._total_steps)}"
        with self._reported(place):
            if not place.exists():
                self._write(place, trained, progress, random_states)
        return place

    def link(self, name: str, place: Path) -> None:
        """Point `name` at a checkpoint, in one step: it is never missing."""
        new = self.folder / f"{WRITING}{name}"
        new.unlink(missing_ok=True)
        new.symlink_to(place.name)
        new.replace(self.folder / name)
        sync(self.folder)

    def go_back_to(self, place: Path, progress: Progress) -> None:
        """Make a checkpoint the newest one: links point at it or before, later ones are set aside by name."""
        later = [folder for folder in self._steps() if int(folder.name) > progress.step]
        self.link(LAST_CHECKPOINT_LINK, place)
        if later and progress.best_step is not None:
            best = [folder for folder in self._steps() if int(folder.name) == progress.best_step]
            self.link(BEST_CHECKPOINT_LINK, best[0] if best else place)
        for folder in later:
            folder.rename(_free(folder.with_name(f"{SET_ASIDE}{folder.name}")))

    def _steps(self) -> list[Path]:
        return [folder for folder in self.folder.glob("[0-9]*") if folder.name.isdecimal()]

    def _write(
        self, place: Path, trained: Trained, progress: Progress, random_states: list[dict[str, Tensor]]
    ) -> None:
        new = place.with_name(WRITING + place.name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left_behind in self.folder.glob(WRITING + "*"):
                _remove(left_behind)
            _write_lerobots(new, trained, progress)
            (new / PRETRAINED_MODEL_DIR / TRAINED_ON).write_text(to_json(trained.trained_on))
            for camera, background in trained.backgrounds.items():
                path = new / PRETRAINED_MODEL_DIR / name_of(camera)
                write_background(path, background, str(trained.config.dataset.repo_id))
            state = new / TRAINING_STATE_DIR
            for rank, random_state in enumerate(random_states[1:], start=1):
                save_file(random_state, state / _random_states_of(rank))
            (state / PROGRESS).write_text(json.dumps(asdict(progress)) + "\n")
            for path in (*new.rglob("*"), new):
                if not path.is_symlink():
                    sync(path)
            new.rename(place)
            sync(self.folder)
        except (OSError, SafetensorError):
            _remove(new)
            raise

    @contextlib.contextmanager
    def _reported(self, place: Path) -> Generator[None]:
        """A checkpoint that cannot be written is a StoppedError that says why, and which one is whole."""
        try:
            yield
        except (OSError, SafetensorError) as problem:
            error = problem if isinstance(problem, OSError) else system_error(problem, place)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = "the disk is full" if full else error.strerror or str(error)
            last = self.folder / LAST_CHECKPOINT_LINK
            kept = f"{last.resolve()} is complete" if last.exists() else "there is no checkpoint before it"
            raise StoppedError(
                f"the checkpoint {place} could not be written: {why}. Nothing half-written is left, and {kept}. "
                "Free some space, or choose another --output_dir"
            ) from problem


def restore(checkpoint: Path, trained: Trained, rank: int = 0) -> Progress:
    """Optimizer, scheduler and random states as they were; the policy's weights are loaded with the policy.

    Raises:
        TrainError: the folder is not a checkpoint that can be resumed.
    """
    state = checkpoint / TRAINING_STATE_DIR
    look_at_files(state)
    look_at_training_state(state, trained.optimizer, trained.scheduler)
    if rank > 0:
        look_at_random_state(state / _random_states_of(rank))
    try:
        load_rng_state(state)
        load_optimizer_state(trained.optimizer, state)
        if trained.scheduler is not None:
            load_scheduler_state(trained.scheduler, state)
        if rank > 0:
            flat = load_file(state / _random_states_of(rank))
            deserialize_rng_state(flat)
    except RESTORE_ERRORS as problem:
        raise TrainError(f"{checkpoint} cannot be resumed: {first_line(problem)}") from problem
    return read_progress(checkpoint)


def read_progress(checkpoint: Path) -> Progress:
    """What `so101-train` wrote about a run; of a checkpoint of `lerobot-train`, what can be known.

    Raises:
        TrainError: there is no training state in this folder.
    """
    state = checkpoint / TRAINING_STATE_DIR
    path = state / PROGRESS
    path = path if path.is_file() else state / TRAINING_STEP
    try:
        look_at_files(state)
        stored = typed(dict[str, Any], parse_json(read_text(path)))
        if "step" not in stored:
            raise ValueError("step is missing")
        progress = typed(Progress, stored) if path.name == PROGRESS else _of_lerobot(stored)
        _check(progress)
    except (OSError, ValueError) as problem:
        raise TrainError(
            f"{checkpoint} has no training state to resume from: {path}: {first_line(problem)}"
        ) from problem
    return progress


def _of_lerobot(stored: Mapping[str, Any]) -> Progress:
    processes = stored.get("num_processes") or stored.get("dp_world_size") or 1  # LeRobot 0.6.1, and after it
    processes = typed(int, processes, "num_processes")
    batch = typed(int, stored.get("batch_size") or 0, "batch_size")
    return Progress(typed(int, stored["step"], "step"), batch * processes, processes)


def _check(progress: Progress) -> None:
    """Raises ValueError for counts that no run has."""
    for name, least in {"step": 0, "batch": 0, "processes": 1}.items():
        if (count := getattr(progress, name)) < least:
            raise ValueError(f"{name} is {count}, expected {least} or more")


def random_state() -> dict[str, Tensor]:
    """Of python, numpy and torch, in this process."""
    return serialize_rng_state()


def step_name(step: int, total_steps: int) -> str:
    """LeRobot's name of a checkpoint's folder: the step, with zeros in front."""
    return f"{step:0{max(6, len(str(total_steps)))}d}"


def _write_lerobots(folder: Path, trained: Trained, progress: Progress) -> None:
    """LeRobot's files, each by LeRobot. (Its function for all of them is another one in every version.)"""
    model, state = folder / PRETRAINED_MODEL_DIR, folder / TRAINING_STATE_DIR
    step = {
        "step": progress.step,
        "num_processes": progress.processes,
        "batch_size": progress.batch // progress.processes,
    }
    with _stdout_silenced():
        for part in (trained.policy, trained.config, trained.preprocessor, trained.postprocessor):
            part.save_pretrained(model)
        state.mkdir(parents=True, exist_ok=True)
        (state / TRAINING_STEP).write_text(json.dumps(step, indent=4) + "\n")
        save_rng_state(state)
        save_optimizer_state(trained.optimizer, state)
        if trained.scheduler is not None:
            save_scheduler_state(trained.scheduler, state)


@contextlib.contextmanager
def _stdout_silenced() -> Generator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _random_states_of(rank: int) -> str:
    return f"rng_state_{rank}.safetensors"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _free(path: Path) -> Path:
    """`path`, or with a number behind it where that exists."""
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.name}-{number}")
    return free
