"""The loop: batch, loss, gradients, step; and at their steps metrics, held-out loss and checkpoints.

Nothing in an ordinary step waits for the device: losses stay there, one small tensor a step, until a log step fetches
them all. So a log step knows every step's loss, and a checkpoint is written only after the losses so far were seen to
be sound.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.utils.constants import PRETRAINED_MODEL_DIR
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.errors import TrainError
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy
from so101_policy.train.batches import Batches
from so101_policy.train.checkpoints import BEST_CHECKPOINT_LINK, Checkpoints, Progress, Trained, random_state
from so101_policy.train.interruption import Interruption
from so101_policy.train.joint_loss import COLUMNS, LossOf, joint_loss
from so101_policy.train.metrics import Metrics
from so101_policy.train.processes import Processes
from so101_policy.train.progress import Display
from so101_policy.train.settings.config import SO101TrainConfig
from so101_policy.train.validation import episodes
from so101_policy.train.validation.divergence import DivergedError, DivergenceWatch
from so101_policy.train.validation.heldout import held_out_l1


class Ending(Enum):
    """How a run ended, if not by an error."""

    DONE = "done"
    INTERRUPTED = "interrupted"


class HeldOutSet:
    """Frames that are looked at but not trained on."""

    def __init__(
        self,
        name: str,
        positions: NDArray[np.int64],
        batch_of: Callable[[NDArray[np.int64]], dict[str, Tensor]],
    ):
        self.name, self.positions, self.batch_of = name, positions, batch_of


class Trainer:
    """Trains `trained.policy` from `progress.step` to `config.steps`.

    Args:
        config: a `SO101TrainConfig`, validated.
        progress: how far the run is; kept up to date.
        held_out: "heldout" and "shifted", as far as there are such sets.
    """

    def __init__(
        self,
        config: SO101TrainConfig,
        trained: Trained,
        batches: Batches,
        held_out: list[HeldOutSet],
        processes: Processes,
        progress: Progress,
        checkpoints: Checkpoints,
        metrics: Metrics,
        display: Display,
    ):
        self.progress = progress
        self._config, self._trained, self._batches, self._held_out = config, trained, batches, held_out
        self._processes, self._checkpoints, self._metrics = processes, checkpoints, metrics
        self._display, self._watch = display, DivergenceWatch(progress.losses)
        policy = trained.policy
        self._loss_of: Any = processes.joined(LossOf(policy))
        if config.compile:
            self._loss_of = torch.compile(self._loss_of, dynamic=False)
        self._parameters = [p for group in trained.optimizer.param_groups for p in group["params"]]
        self._skips = all(group.get("fused") for group in trained.optimizer.param_groups)
        limit = config.optimizer.grad_clip_norm if config.optimizer is not None else 0.0
        self._norm_limit = limit if limit > 0 else math.inf
        self._rows: list[Tensor] = []
        self._since, self._waited_s, self._samples = time.perf_counter(), 0.0, 0

    def run(self) -> Ending:
        """Until the last step, or until it is interrupted.

        Raises:
            DivergedError: the loss has diverged; the state is saved beside the checkpoints.
            TrainError: a checkpoint could not be written.
        """
        self._trained.policy.train()
        self._since = time.perf_counter()
        with Interruption() as interruption:
            while self.progress.step < self._config.steps:
                figures = self._step(self._is_due(self._config.log_freq, self.progress.step + 1))
                self._after_step(figures)
                if self._shall_stop(interruption):
                    self._look_at_losses()
                    self._save()
                    return Ending.INTERRUPTED
        return Ending.DONE

    @property
    def last_checkpoint(self) -> Path:
        return self._checkpoints.of(self.progress.step)

    @property
    def best_checkpoint(self) -> Path:
        """Where the link points that the best one has."""
        return self._checkpoints.folder / BEST_CHECKPOINT_LINK

    def _step(self, log: bool) -> Mapping[str, Tensor]:
        """One optimizer step; gives the figures of the policy, which are computed for log steps only."""
        trained = self._trained
        waiting = time.perf_counter()
        batch, share = self._batches.next()
        self._waited_s += time.perf_counter() - waiting
        with self._autocast():
            terms = self._loss_of(batch, log)
            loss, columns = joint_loss(terms, trained.policy.config.kl_weight, share, self._processes)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._norm_limit)
        if self._skips:  # on the device, without asking it: a step without finite gradients changes nothing
            optimizer: Any = trained.optimizer
            optimizer.found_inf = (~norm.isfinite()).to(torch.float32)
        trained.optimizer.step()
        trained.optimizer.zero_grad()
        if trained.scheduler is not None:
            trained.scheduler.step()
        if isinstance(trained.policy, RegularizedACTPolicy):
            trained.policy.update()
        self._rows.append(torch.cat([columns, norm.detach().float()[None] / self._processes.count]))
        self._samples += share.joint
        self.progress.step += 1
        return terms.figures

    def _after_step(self, figures: Mapping[str, Tensor]) -> None:
        step, config = self.progress.step, self._config
        self._display.advance(step)
        last = step == config.steps
        log, save = self._is_due(config.log_freq, step), self._is_due(config.save_freq, step) or last
        evaluate = bool(self._held_out) and config.eval_steps > 0
        evaluate = evaluate and (self._is_due(config.eval_steps, step) or last)
        plays = config.eval.task is not None and (
            self._is_due(config.env_eval_freq or config.save_freq, step) or last
        )
        if not (log or save or evaluate or plays):
            return
        numbers = self._look_at_losses() | {name: value.item() for name, value in figures.items()}
        best = False
        if evaluate:
            numbers |= (found := self._evaluate())
            best = config.eval.task is None and self._is_best(found)
        self._metrics.log(step, numbers)
        self._display.show(step, numbers)
        if last and (doubt := self._watch.doubt):
            self._stop_diverged(str(doubt))
        if config.save_checkpoint and (save or best or plays) and not self._watch.doubt:
            self._save(best)
            if plays:
                self._play()
        self._since, self._waited_s, self._samples = time.perf_counter(), 0.0, 0

    def _look_at_losses(self) -> dict[str, float]:
        """Fetch the losses since the last look: their means, and whether they are sound."""
        if not self._rows:
            return {}
        rows = self._processes.total(torch.stack(self._rows)).cpu().numpy()
        steps, seconds = len(rows), time.perf_counter() - self._since
        self._rows.clear()
        first = self.progress.step - steps + 1
        for step, loss in enumerate(rows[:, 0].tolist(), start=first):
            if divergence := self._watch.see(step, loss):
                self._stop_diverged(str(divergence))
        self.progress.losses = list(self._watch.recent)
        means = dict(zip((*COLUMNS, "grad_norm"), rows.mean(axis=0).tolist(), strict=True))
        rates = {
            "lr": self._trained.optimizer.param_groups[0]["lr"],
            "samples_per_s": self._samples / seconds,
            "step_ms": 1000 * seconds / steps,
            "waited_ms": 1000 * self._waited_s / steps,
        }
        return means | rates

    def _evaluate(self) -> dict[str, float]:
        """Held-out losses. The policy gets one of them: the shifted one, where there is one."""
        policy, found = self._trained.policy, dict[str, float]()
        for held_out in self._held_out:
            result = held_out_l1(
                policy,
                held_out.batch_of,
                held_out.positions,
                max(self._config.batch_size, 32),
                self._processes,
            )
            found[f"{held_out.name}_l1"] = result.l1
            if held_out is self._held_out[0]:
                found |= {f"heldout_{name}": share for name, share in result.shares.items()}
        if isinstance(policy, RegularizedACTPolicy):
            policy.observe_heldout(found.get("shifted_l1", found.get("heldout_l1", 0.0)))
        return found

    def _is_best(self, found: Mapping[str, float]) -> bool:
        l1 = found.get("heldout_l1", found.get("shifted_l1", math.inf))
        if self.progress.best_l1 is not None and l1 >= self.progress.best_l1:
            return False
        self.progress.best_l1, self.progress.best_step = l1, self.progress.step
        return True

    def _save(self, best: bool = False) -> None:
        """Every process brings its random state, the main one writes."""
        if not self._config.save_checkpoint:
            return
        states = self._processes.gathered(random_state())
        if self._processes.is_main:
            self._checkpoints.save(self._trained, self.progress, states, best, self._config.save_freq)
        self._processes.wait()

    def _play(self) -> None:
        """Episodes with the checkpoint that was just saved. That they cannot be played ends no training."""
        if self._processes.is_main:
            place = self._checkpoints.of(self.progress.step)
            folder = self._config.run_folder / episodes.FOLDER / place.name
            try:
                played = episodes.play(place / PRETRAINED_MODEL_DIR, self._config.eval, folder)
            except TrainError as problem:
                self._display.message(f"{problem}. The training goes on")
            else:
                self._judge(place, played)
        self._processes.wait()

    def _judge(self, place: Path, played: episodes.Wins) -> None:
        step, before = self.progress.step, self.progress.best_successes
        self._metrics.log(step, {"episodes_won": played.successes, "episodes_played": played.episodes})
        # of two that win as often the one that learned longer
        best = before is None or played.successes >= before
        self._display.message(f"step {step}: {played} won{', the best so far' if best else ''}")
        if best:
            self.progress.best_successes, self.progress.best_step = played.successes, step
            self._checkpoints.mark_best(place, self._config.save_freq)
            self._checkpoints.remember(self.progress)

    def _stop_diverged(self, text: str) -> None:
        states = self._processes.gathered(random_state())
        if self._processes.is_main:
            place = self._checkpoints.save_aside("diverged", self._trained, self.progress, states)
            text += f". This state is saved in {place}; the checkpoints before it are unchanged"
        raise DivergedError(text)

    def _shall_stop(self, interruption: Interruption) -> bool:
        """Several processes agree at log steps; asking at each would make every step wait for all of them."""
        if self._processes.count == 1:
            return interruption.asked
        due = self._is_due(self._config.log_freq, self.progress.step)
        return due and self._processes.any(interruption.asked)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._config.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self._processes.device.type, torch.bfloat16)

    @staticmethod
    def _is_due(every: int, step: int) -> bool:
        return every > 0 and step % every == 0
