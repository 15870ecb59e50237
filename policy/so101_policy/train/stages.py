"""The steps of a run between its settings and its loop, in the order in which `train.run` calls them."""

import logging
import random
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from so101_policy.errors import TrainError
from so101_policy.frames.samples import SampleOrder, Samples
from so101_policy.train.batches import Batches
from so101_policy.train.checkpoints import Checkpoints, Progress, Trained, read_progress, restore
from so101_policy.train.data import Description, TrainingData, check_alike, check_fits, describe, load
from so101_policy.train.device_batch import DeviceBatch
from so101_policy.train.heldout import spread
from so101_policy.train.metrics import open_metrics
from so101_policy.train.policy import make_trained, settle_features
from so101_policy.train.processes import Processes, join_processes
from so101_policy.train.progress import Display
from so101_policy.train.resume import check_same_data, check_same_run
from so101_policy.train.trainer import Ending, HeldOutSet, Trainer

__all__ = ["assemble", "begin_or_resume", "examine", "finish", "load_samples", "make_trained", "start"]

_log = logging.getLogger(__name__)


def start(config: Any, stack: ExitStack) -> Processes:
    """Join the other processes, if there are; settle what holds for the whole process."""
    processes = join_processes(config.policy.device)
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


def examine(config: Any, processes: Processes) -> tuple[Description, Description | None]:
    """Descriptions of the datasets, and whether everything goes together. Nothing is written.

    Raises:
        PolicyError: one message with what does not fit.
    """
    if not processes.is_main:
        processes.wait()  # the main process may have to fetch the dataset first
    size = config.cache.height_width
    data = describe(config.dataset.repo_id, config.dataset.root, size, config.dataset)
    shifted = None
    if config.shifted.repo_id is not None:
        shifted = describe(config.shifted.repo_id, config.shifted.root, size, config.dataset)
        check_alike(shifted, data)
    if processes.is_main:
        processes.wait()
    joints = None if config.policy.pretrained_path is None else trained_joints(config)
    if config.resume:
        check_same_run(config, config.checkpoint_path)
    if config.policy.input_features:
        check_fits(config.policy, data, config.rename_map, joints)
    settle_features(config.policy, data)
    if config.resume:
        progress = read_progress(config.checkpoint_path)
        check_same_data(progress, data.identity, config.batch_size * processes.count)
        if progress.step >= config.steps:
            raise TrainError(
                f"the run is at step {progress.step} of {config.steps} already; ask for more --steps"
            )
    return data, shifted


def load_samples(
    config: Any, data: Description, shifted: Description | None, processes: Processes
) -> TrainingData:
    """The frames, decoded by the main process where they are not in the cache yet.

    Raises:
        PolicyError: see `data.load`; or the frames shall be on a device and do not fit.
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
                    "(--cache.size), or drop the flag: they are then sent batch by batch"
                )
    return samples


def begin_or_resume(config: Any, trained: Trained, data: Description, processes: Processes) -> Progress:
    """How far the run is; of a resumed one, every state as it was. From here on there is something on the disk."""
    joint = config.batch_size * processes.count
    progress = Progress(batch=joint, processes=processes.count, data=data.identity)
    if config.resume:
        progress = restore(config.checkpoint_path, trained, processes.rank)
        progress.batch, progress.processes, progress.data = joint, processes.count, data.identity
        if processes.is_main:
            Checkpoints(config.output_dir, config.steps).go_back_to(config.checkpoint_path, progress)
    elif config.seed is not None and processes.rank > 0:
        torch.manual_seed(config.seed + processes.rank)  # other dropout than in the main process
    return progress


def assemble(
    config: Any,
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
        chosen = indices[spread(len(indices), config.max_eval_samples)]
        return HeldOutSet(name, chosen, lambda wanted: prepare(part.batch(wanted)))

    sets = [held_out("heldout", samples.samples, samples.held_out)] if len(samples.held_out) else []
    if samples.shifted is not None:
        sets.append(held_out("shifted", samples.shifted, samples.shifted.indices))
    display = Display(config.steps, progress.step, visible=processes.is_main)
    stack.callback(display.close)
    metrics = open_metrics(config, progress.step, write=processes.is_main)
    stack.callback(metrics.close)
    checkpoints = Checkpoints(config.output_dir, config.steps)
    display.say(_in_words(config, trained, samples, processes))
    return Trainer(config, trained, batches, sets, processes, progress, checkpoints, metrics, display)


def finish(config: Any, trainer: Trainer, ending: Ending, processes: Processes) -> int:
    """Say what there is now, and export; the exit code."""
    if not processes.is_main:
        return 0 if ending is Ending.DONE else 130
    place = trainer.last_checkpoint / "pretrained_model"
    if ending is Ending.INTERRUPTED:
        print(
            f"stopped at step {trainer.progress.step}. Go on with:\n"
            f"  so101-train --config_path={place / 'train_config.json'} --resume=true"
        )
        return 130
    if config.save_checkpoint:
        print(f"done: {place}")
    if config.export == "act":
        from so101_policy.model.export import export_as_act

        print(f"exported: {export_as_act(place, config.output_dir / 'act')}")
    return 0


def trained_joints(config: Any) -> list[str] | None:
    """The joint names that a checkpoint of this trainer was trained with; unknown for others."""
    from pathlib import Path

    from so101_policy.checkpoint_files import find_checkpoint

    folder = Path(find_checkpoint(config.policy.pretrained_path)).parent
    try:
        return read_progress(folder).data.get("joints")
    except TrainError:
        return None


def _in_words(config: Any, trained: Trained, samples: TrainingData, processes: Processes) -> str:
    parameters = sum(p.numel() for p in trained.policy.parameters()) / 1e6
    episodes = {
        name: len(np.unique(samples.samples.episode_of[indices]))
        for name, indices in (("train", samples.train), ("held out", samples.held_out))
    }
    regularizer = getattr(config.policy, "regularizer", None)
    preset = f", regularizer {regularizer.preset}" if regularizer is not None else ""
    together = f" x {processes.count} processes" if processes.count > 1 else ""
    return (
        f"{config.policy.type}{preset}: {parameters:.2f} M parameters on {processes.device}, {config.precision}\n"
        f"{len(samples.train)} samples of {episodes['train']} episodes, {episodes['held out']} held out; "
        f"batch {config.batch_size}{together}, {config.steps} steps\n"
        f"output: {config.output_dir}"
    )
