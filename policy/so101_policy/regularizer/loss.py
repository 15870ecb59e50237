"""The loss on a decoder's attention: what `RegularizerConfig` asks for, computed from one `AttentionRecord`.

    loss, figures = regularizer(record)      # weighted and scheduled; figures are detached and stay on the device
    (l1 + loss).backward(); optimizer.step()
    regularizer.update()                     # counts the step, moves the controller

It draws no random numbers, waits for no device and computes no term that is not asked for. It keeps nothing of a
record but two detached numbers until `update`. On a stock encoder this steers attention and not reliance:
docs/guides/regularizer.md has the measurement.

Shapes: B batch, H heads, Q queries, S tokens.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn

from so101_policy.attention.shares import TokenLayout
from so101_policy.errors import RegularizerError
from so101_policy.regularizer.config import RegularizerConfig
from so101_policy.regularizer.figures import attention_figures, share_figures
from so101_policy.regularizer.schedules import PIWeight, Relaxation, warm_up
from so101_policy.regularizer.terms import (
    Band,
    Split,
    entropy,
    entropy_shortfall,
    identity,
    log_mass_of_cameras,
    logit_share,
    reduced,
    rolled_out_logit_share,
    threshold_in_space,
)


class AttentionRecord(NamedTuple):
    """What one forward pass of an ACT did with its attention."""

    cross: list[Tensor]
    """Per decoder layer, (B, H, Q, S): log-probabilities before dropout."""
    encoder: list[Tensor]
    """Per encoder layer, (B, S, S): probabilities before dropout, mean over heads. Only for a rollout."""
    layout: TokenLayout
    valid_BQ: Tensor
    """bool: the query is a real action, not padding, and its sample's state was not hidden."""


class AttentionRegularizer(nn.Module):
    """The terms, weights and schedules of one configuration. Its buffers let a resumed run continue exactly."""

    def __init__(self, config: RegularizerConfig, n_action_steps: int):
        super().__init__()
        self.config = config
        self._n_action_steps = n_action_steps
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.step: Tensor
        self.pi = PIWeight(config.pi_kp, config.pi_ki, config.pi_max)
        self.relaxation = Relaxation(config.adaptive_low, config.adaptive_high)
        self._excess: Tensor | None = None
        """Since the last update: (sum over queries of share - ceiling, how many queries)."""

    def forward(self, record: AttentionRecord, figures: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and named figures (`figures=False`: none, for steps that nobody logs).

        Raises:
            RegularizerError: the record is not what the configuration needs.
        """
        wanted = self.config.wants_attention
        if not record.cross or not (wanted or figures):
            return self._nothing(), {}
        with torch.autocast(record.cross[0].device.type, enabled=False):
            record = self._valid_part(record)
            split = self._split(record.layout)
            z = [] if split is None else self._logit_shares(record, split)
            loss = self._loss(record, z, split) if wanted and split is not None else self._nothing()
            return loss, self._figures(record, z, split, loss) if figures else {}

    @torch.no_grad()
    def update(self) -> None:
        """After each optimizer step."""
        if self._excess is not None:
            excess = self._excess
            if distributed.is_available() and distributed.is_initialized():
                distributed.all_reduce(excess)
            seen = (excess[1] > 0) & (self.step >= self.config.warmup_start)
            self.pi.move(excess[0] / excess[1].clamp_min(1), seen)
            self._excess = None
        self.step.add_(1)

    def observe_heldout(self, l1: float) -> None:
        """A held-out loss, for the adaptive ceiling; every process is given the same."""
        self.relaxation.observe(l1, self.step >= self.config.warmup_end)

    @property
    def ceiling(self) -> Tensor | float:
        """As it is now, in `config.threshold_unit`."""
        if self.config.threshold_schedule == "constant":
            return self.config.ceiling
        return self.config.ceiling + self.config.adaptive_step * self.relaxation.value

    @property
    def strength(self) -> Tensor | float:
        """lambda as it is now: of the ceiling ("pi"), of all terms (else)."""
        config = self.config
        return self._warmth() * (self.pi.value if config.weight_schedule == "pi" else config.weight)

    def _warmth(self) -> Tensor | float:
        end = self.config.warmup_end
        return warm_up(self.step, self.config.warmup_start, end) if end > 0 else 1.0

    def _nothing(self) -> Tensor:
        return torch.zeros((), device=self.step.device)

    def _valid_part(self, record: AttentionRecord) -> AttentionRecord:
        """In float32, and only the queries that are asked for."""
        tokens, total = record.cross[0].shape[-1], record.layout.total
        if tokens != total:
            raise RegularizerError(f"the decoder attends to {tokens} tokens, but the layout has {total}")
        last = self._n_action_steps if self.config.queries == "executed" else None
        cross = [log_p[:, :, :last].float() for log_p in record.cross]
        return record._replace(cross=cross, valid_BQ=record.valid_BQ[:, :last])

    def _split(self, layout: TokenLayout) -> Split | None:
        """None: no loss is asked for, and this model has no share that it could be about."""
        try:
            split = Split.of(layout, self.config.group)
        except RegularizerError:
            if self.config.wants_attention:
                raise
            return None
        if self.config.wants_attention and self.config.camera_balance > 0 and len(layout.cameras) < 2:
            raise RegularizerError(
                "camera_balance compares cameras with each other, but this model has only one"
            )
        return split

    def _logit_shares(self, record: AttentionRecord, split: Split) -> list[Tensor]:
        if not self.config.wants_encoder_attention:
            return [logit_share(log_p, split) for log_p in record.cross]
        if not record.encoder:
            raise RegularizerError(
                "attention='rollout' needs the encoder's attention, but the record has none"
            )
        return [rolled_out_logit_share(log_p, record.encoder, split) for log_p in record.cross]

    def _loss(self, record: AttentionRecord, z: list[Tensor], split: Split) -> Tensor:
        """Mean over decoder layers, weighted and scheduled."""
        x = [each.sigmoid() for each in z] if self.config.space == "prob" else z
        band = self._band(split)
        layers = [
            term
            for log_p, x_BHQ in zip(record.cross, x, strict=True)
            for term in self._terms(log_p, x_BHQ, band, record)
        ]
        loss = sum(layers, self._nothing()) * (self.config.weight / len(x))
        if self.config.weight_schedule == "pi":
            loss = loss + self._constraint(z, record.valid_BQ, split)
        return loss * self._warmth()

    def _terms(
        self, log_p_BHQS: Tensor, x_BHQ: Tensor, band: Band, record: AttentionRecord
    ) -> Iterator[Tensor]:
        """Of one decoder layer. Entropies are those of where the decoder itself looks, with a rollout too."""
        config, layout, valid_BQ = self.config, record.layout, record.valid_BQ
        if band.ceiling is not None or band.floor is not None:
            yield reduced(x_BHQ, valid_BQ, band, config.reduction, config.cvar_fraction)
        log_p_vision = log_p_BHQS[..., layout.vision]
        if config.entropy_floor > 0 < config.entropy_weight:
            shortfall = entropy_shortfall(log_p_vision, config.entropy_floor, valid_BQ)
            yield config.entropy_weight * shortfall
        if config.camera_balance > 0 < config.entropy_weight:
            log_p_cameras = log_mass_of_cameras(log_p_BHQS, layout)
            yield config.entropy_weight * entropy_shortfall(log_p_cameras, config.camera_balance, valid_BQ)
        if config.entropy_bonus > 0:
            yield -config.entropy_bonus * reduced(entropy(log_p_vision), valid_BQ, identity, "query")

    def _constraint(self, z: list[Tensor], valid_BQ: Tensor, split: Split) -> Tensor:
        """The controller's weight times the share itself (a hinge would let go at the ceiling), and its error.

        In any `space` the share and not its logit, whose gradient does not vanish: with that the gains that hold
        the one model at its ceiling drive the next one's share to 0.
        """
        config = self.config
        shares = [reduced(x.sigmoid(), valid_BQ, identity, config.reduction, config.cvar_fraction) for x in z]
        share = torch.stack(shares).mean()
        if self.training:
            count = valid_BQ.sum()
            target = threshold_in_space(self.ceiling, config.threshold_unit, "prob", split.log_chance)
            seen = torch.stack([(share.detach() - target) * count, count.to(share.dtype)])
            self._excess = seen if self._excess is None else self._excess + seen
        return self.pi.value * share

    def _band(self, split: Split) -> Band:
        config = self.config
        has_ceiling = config.has_ceiling and config.weight_schedule == "constant"
        return Band(
            self._in_space(self.ceiling, split) if has_ceiling else None,
            self._in_space(config.floor, split) if config.has_floor else None,
            config.floor_weight,
            config.beta,
        )

    def _in_space(self, threshold: Tensor | float, split: Split) -> Tensor | float:
        return threshold_in_space(threshold, self.config.threshold_unit, self.config.space, split.log_chance)

    @torch.no_grad()
    def _figures(
        self, record: AttentionRecord, z: list[Tensor], split: Split | None, loss: Tensor
    ) -> dict[str, Tensor]:
        figures = attention_figures(record.cross, record.valid_BQ, record.layout)
        if split is not None:
            figures |= share_figures(z, record.valid_BQ, split)
        figures["attention_loss"] = loss.detach()
        if self.config.wants_attention:
            now = {"lambda": self.strength, "ceiling": self.ceiling}
            figures |= {name: torch.zeros_like(figures["attention_loss"]) + x for name, x in now.items()}
        return figures
