"""The steps of a run between its settings and its loop, in the order in which `train.run` calls them."""

import logging
import random
import shlex
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.command_line.command_shell import say
from so101_policy.command_line.console import Console
from so101_policy.command_line.next_steps import Step, next_steps, tell_next
from so101_policy.dataset_check.look import announce
from so101_policy.errors import TrainError
from so101_policy.frames.samples import SampleOrder, Samples
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
from so101_policy.model.export import export_as_act
from so101_policy.train.augmentation import Augmentation
from so101_policy.train.backgrounds import learn_backgrounds
from so101_policy.train.batches import Batches
from so101_policy.train.checkpoints import Checkpoints, Progress, Trained, read_progress, restore
from so101_policy.train.data import Description, TrainingData, check_alike, check_fits, describe, load
from so101_policy.train.device_batch import DeviceBatch
from so101_policy.train.metrics import open_metrics
from so101_policy.train.policy import make_trained, settle_features
from so101_policy.train.processes import Processes, join_processes
from so101_policy.train.progress import Display
from so101_policy.train.resume import check_same_data, check_same_run
from so101_policy.train.settings.config import SO101TrainConfig
from so101_policy.train.trainer import Ending, HeldOutSet, Trainer
from so101_policy.train.validation.heldout import evenly_spaced

__all__ = [
    "assemble",
    "begin_or_resume",
    "examine",
    "finish",
    "learn_backgrounds",
    "load_samples",
    "make_trained",
    "start",
]

_log = logging.getLogger(__name__)


def start(config: SO101TrainConfig, stack: ExitStack) -> Processes:
    """Join the other processes, if there are any; set what holds for the whole process: seeds, precision, cuDNN."""
    processes = join_processes(config.act.device or "cpu")
    stack.callback(processes.close)
    if not processes.is_main:
        logging.getLogger().setLevel(logging.ERROR)
    on_gpu = processes.device.type == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = True  # these four as lerobot-train has them
    torch.backends.cudnn.benchmark = not config.cudnn_deterministic
    torch.backends.cudnn.deterministic = config.cudnn_deterministic
    if config.seed is not None:
        random.seed(config.seed)
        np.random.seed(config.seed)
        torch.manual_seed(config.seed)
    if config.precision == "bf16" and not on_gpu:
        _log.warning("--precision=bf16 on a processor without bf16 units is several times slower than fp32")
    return processes


def examine(config: SO101TrainConfig, processes: Processes) -> tuple[Description, Description | None]:
    """Descriptions of the datasets, and whether everything goes together. Nothing is written.

    Raises:
        PolicyError: one message with what does not fit.
    """
    if not processes.is_main:
        processes.wait()  # the main process may have to fetch the dataset first
    size = config.cache.height_width
    data = describe(
        config.dataset.repo_id, config.dataset.root, size, config.dataset, config.tolerance_s,
        config.dataset.episodes, config.held_out or 0,
    )  # fmt: skip
    if processes.is_main:
        announce(data.doubtful, data.dataset.root, Console(stderr=True))
    shifted = None
    if config.shifted.repo_id is not None:
        shifted = describe(
            config.shifted.repo_id, config.shifted.root, size, config.dataset, config.tolerance_s
        )
        check_alike(shifted, data)
    if processes.is_main:
        processes.wait()
    start = config.act.pretrained_path
    joints = None if start is None else joints_of_checkpoint(start)
    if config.resume:
        check_same_run(config, config.resumes_from)
    if config.act.input_features:
        check_fits(config.act, data, config.rename_map, joints)
    settle_features(config.act, data)
    if config.resume:
        progress = read_progress(config.resumes_from)
        check_same_data(progress, data.identity, config.batch_size * processes.count)
        if progress.step >= config.steps:
            raise TrainError(
                f"the run has already done {progress.step} of {config.steps} steps; give more --steps"
            )
    return data, shifted


def load_samples(
    config: SO101TrainConfig, data: Description, shifted: Description | None, processes: Processes
) -> TrainingData:
    """The frames, decoded by the main process where they are not in the cache yet.

    Raises:
        PolicyError: see `data.load`; or the frames were asked for on a device and do not fit.
    """
    if not processes.is_main:
        processes.wait()
    samples = load(config, data, shifted, Console(stderr=True) if processes.is_main else None)
    if processes.is_main:
        processes.wait()
    if config.device_cache is not False:
        for part in filter(None, (samples.samples, samples.shifted)):
            part.to(processes.device)
            if config.device_cache and not part.on_device:
                raise TrainError(
                    "--device_cache=true: the frames do not fit on the device; take smaller ones "
                    "(--cache.size), or drop the flag: the frames are then sent batch by batch"
                )
    return samples


def begin_or_resume(
    config: SO101TrainConfig, trained: Trained, data: Description, processes: Processes
) -> Progress:
    """How far the run is; of a resumed one, every state as it was. From here on there is something on the disk."""
    joint = config.batch_size * processes.count
    progress = Progress(batch=joint, processes=processes.count, data=data.identity)
    if config.resume:
        progress = restore(config.resumes_from, trained, processes.rank)
        progress.batch, progress.processes, progress.data = joint, processes.count, data.identity
        if processes.is_main:
            Checkpoints(config.run_folder, config.steps).go_back_to(config.resumes_from, progress)
    elif config.seed is not None and processes.rank > 0:
        torch.manual_seed(config.seed + processes.rank)  # other dropout than in the main process
    return progress


def assemble(
    config: SO101TrainConfig,
    trained: Trained,
    samples: TrainingData,
    progress: Progress,
    processes: Processes,
    stack: ExitStack,
) -> Trainer:
    """The trainer with all that it uses; `stack` closes it."""
    prepare = DeviceBatch(
        trained.preprocessor,
        processes.device,
        config.rename_map,
        config.dataset.image_transforms,
        exact=not config.fused,
        augmentation=Augmentation(config.augmentation),
    )
    order = SampleOrder(samples.train, config.seed or 0)
    on_gpu = processes.device.type == "cuda"
    batches = Batches(
        *(order, samples.samples.batch, prepare.augmented, config.batch_size, processes, progress.step),
        ahead=on_gpu and not samples.samples.on_device,
        draws_as_loader=not config.fused,
    )
    stack.callback(batches.close)

    def held_out(name: str, part: Samples, indices: NDArray[np.int64]) -> HeldOutSet:
        chosen = indices[evenly_spaced(len(indices), config.max_eval_samples)]
        return HeldOutSet(name, chosen, lambda wanted: prepare(part.batch(wanted)))

    sets = [held_out("heldout", samples.samples, samples.held_out)] if len(samples.held_out) else []
    if samples.shifted is not None:
        sets.append(held_out("shifted", samples.shifted, samples.shifted.indices))
    display = Display(config.steps, progress.step, visible=processes.is_main)
    stack.callback(display.close)
    metrics = open_metrics(config, progress.step, write=processes.is_main)
    stack.callback(metrics.close)
    checkpoints = Checkpoints(config.run_folder, config.steps)
    display.message(_summary(config, trained, samples, processes))
    return Trainer(config, trained, batches, sets, processes, progress, checkpoints, metrics, display)


def finish(config: SO101TrainConfig, trainer: Trainer, ending: Ending, processes: Processes) -> int:
    """Print what was reached, and export; returns the exit code."""
    if not processes.is_main:
        return 0 if ending is Ending.DONE else 130
    place = trainer.last_checkpoint / "pretrained_model"
    if ending is Ending.INTERRUPTED:
        say(
            f"stopped at step {trainer.progress.step}. Continue with:\n"
            f"  so101-train --config_path={place / 'train_config.json'} --resume=true"
        )
        return 130
    if config.save_checkpoint:
        say(f"done: {place}")
        if (won := trainer.progress.best_successes) is not None:
            say(
                f"best: step {trainer.progress.best_step}, {won} of {config.eval.n_episodes} episodes: "
                f"{trainer.best_checkpoint / 'pretrained_model'}"
            )
    if config.export == "act":
        say(f"exported: {export_as_act(place, config.run_folder / 'act')}")
    if config.save_checkpoint:
        tell_next(steps_after(place, config.dataset.root))
    return 0


def steps_after(checkpoint: Path, root: str | Path | None) -> list[Step]:
    """What to type after a training.

    Args:
        checkpoint: of the last step.
        root: folder of the dataset, where it has one of its own.
    """
    policy = shlex.quote(str(checkpoint))
    looks = [] if root is None else [
        Step(
            f"so101-reliance --policy.path={policy} --dataset.root={shlex.quote(str(root))} --episodes=held-out:0.1",
            "does it look, or follow its joints?",
        )
    ]  # fmt: skip
    return next_steps(
        Step(
            f"so101-run --policy.path={policy} --robot.port=mock --display=web", "see it on the simulated arm"
        ),
        *looks,
    )


def joints_of_checkpoint(checkpoint: str | Path) -> list[str] | None:
    """The joint names that a checkpoint of this trainer was trained with; unknown for others."""
    folder = find_checkpoint(checkpoint).parent
    try:
        return read_progress(folder).data.get("joints")
    except TrainError:
        return None


def _summary(config: SO101TrainConfig, trained: Trained, samples: TrainingData, processes: Processes) -> str:
    parameters = sum(p.numel() for p in trained.policy.parameters()) / 1e6
    episodes = {
        name: len(np.unique(samples.samples.episode_of[indices]))
        for name, indices in (("train", samples.train), ("held out", samples.held_out))
    }
    policy = config.act
    preset = f", regularizer {policy.regularizer.preset}" if isinstance(policy, RegularizedACTConfig) else ""
    together = f" x {processes.count} processes" if processes.count > 1 else ""
    return (
        f"{policy.type}{preset}: {parameters:.2f} M parameters on {processes.device}, {config.precision}\n"
        f"{len(samples.train)} samples of {episodes['train']} episodes, {episodes['held out']} held out; "
        f"batch {config.batch_size}{together}, {config.steps} steps\n"
        f"output: {config.run_folder}"
    )
