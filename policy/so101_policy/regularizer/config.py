"""What a regularizer does, as data: one dataclass, and presets with names.

A preset fills whatever was not given, so `RegularizerConfig(preset="phase3", ceiling=0.3)` is phase 3 with another
ceiling, and a saved configuration carries every resolved value beside the name of its preset. What contradicts
itself is refused here, before anything is trained. Formulas and what was measured: docs/guides/regularizer.md; the
mathematics: `terms`; the schedules: `schedules`.

This module knows no torch and no model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from so101_policy.errors import RegularizerError
from so101_policy.regularizer.presets import OFF, PRESETS

__all__ = ["AS_PRESET", "CHOICES", "NO_LIMIT", "PRESETS", "RegularizerConfig"]

AS_PRESET: Any = None
"""Default of every field: take the preset's value. After construction no field holds it any more."""

NO_LIMIT = {"share": (0.0, 1.0), "log_odds": (-99.0, 99.0)}
"""Per unit: the floor and the ceiling (and whatever is beyond) that mean "none". A share cannot leave 0..1; no
attention in float32 is 99 nats from uniform."""

MOST_WEIGHT = 1e6
"""Of any weight or width: what is more is a slip, and the loss would overflow."""
MOST_STEPS = 1e9
"""A training of a year is shorter."""

CHOICES = {
    "state_dropout_fill": ("mask_token", "mean_pose"),
    "space": ("prob", "logit"),
    "threshold_unit": ("share", "log_odds"),
    "reduction": ("pooled", "head", "query", "cvar"),
    "group": ("state", "state_and_latent"),
    "attention": ("cross", "rollout"),
    "weight_schedule": ("constant", "pi"),
    "threshold_schedule": ("constant", "adaptive"),
    "queries": ("all", "executed"),
}


@dataclass
class RegularizerConfig:
    """Input-side treatments, encoder isolation, and the loss on attention. What is not given is as in `preset`.

    Raises:
        RegularizerError: an unknown name, a value out of range, or values that contradict each other.
    """

    preset: str = "none"
    """Named set of values for all fields that are not given: none, phase1, phase2, phase3, adaptive, isolation,
    isolation_ceiling, isolation_band, isolation_band_dropout, recommended, no_state, no_images."""

    # --- inputs (training only) ---
    state_dropout: float = AS_PRESET
    """Probability, per sample, that the whole joint state is hidden, from the VAE encoder too. [0, 1]; 1: always, at
    inference too (a control without state)."""
    state_dropout_fill: str = AS_PRESET
    """What a hidden state becomes: "mask_token" (learnt) or "mean_pose" (0 after normalisation, a legal pose)."""
    state_dim_dropout: float = AS_PRESET
    """Probability, per sample and joint, that one joint is hidden. [0, 1)"""
    state_noise: float = AS_PRESET
    """Standard deviation of Gaussian noise on the state, in normalised units (1 = the dataset's own spread)."""
    camera_dropout: float = AS_PRESET
    """Probability, per sample and camera, that its image is hidden; never all modalities at once. [0, 1]; 1: always, at
    inference too (a control without images)."""

    # --- model ---
    isolation: bool = AS_PRESET
    """The encoder's vision tokens attend to vision only, at training and inference alike."""

    # --- loss on attention ---
    weight: float = AS_PRESET
    """lambda, the weight of the loss on attention. 0: no such loss. With "pi": of all terms but the ceiling."""
    ceiling: float = AS_PRESET
    """tau, in `threshold_unit`; 1 (share) or 99 (log-odds): none. With "pi" the target."""
    floor: float = AS_PRESET
    """rho, in `threshold_unit`; 0 (share) or -99 (log-odds): none."""
    floor_weight: float = AS_PRESET
    """gamma, of the floor relative to the ceiling."""
    beta: float = AS_PRESET
    """Width of the quadratic start of the hinge, in the unit of `space`; 0 is a hard one. It settles at
    tau + beta * pull / lambda."""
    space: str = AS_PRESET
    """"prob": the share; "logit": its logit, whose gradient does not vanish near 0 and 1."""
    threshold_unit: str = AS_PRESET
    """"share", or "log_odds" per token against uniform attention: 0 is chance with any number of tokens."""
    reduction: str = AS_PRESET
    """The hinge of the mean over everything ("pooled"), of each head's mean, of each query, or the mean of the
    worst `cvar_fraction` of those. In this order each is at least as strict as the one before."""
    cvar_fraction: float = AS_PRESET
    """Fraction of the queries, the worst ones, that "cvar" is the mean of. (0, 1]"""
    group: str = AS_PRESET
    """"state": joint and environment state over everything but the latent token (a sink; its own thing).
    "state_and_latent": latent and joint state over everything, as the seed idea had it."""
    attention: str = AS_PRESET
    """"cross": the decoder's; "rollout": carried on through the encoder to the input tokens."""
    queries: str = AS_PRESET
    """"all" of the chunk, or the "executed" first n_action_steps."""
    entropy_floor: float = AS_PRESET
    """Least normalised entropy [0, 1] of attention within vision, against collapse on one token; 0: none."""
    entropy_weight: float = AS_PRESET
    """eta, of `entropy_floor` and `camera_balance`."""
    entropy_bonus: float = AS_PRESET
    """alpha: rewards entropy [nats] without limit. For comparison with the seed idea only; it did not help."""
    camera_balance: float = AS_PRESET
    """Least normalised entropy [0, 1] of attention over the cameras; 0: none."""

    # --- schedules, in optimizer steps ---
    warmup_start: int = AS_PRESET
    """Step at which the loss on attention begins."""
    warmup_end: int = AS_PRESET
    """The loss grows linearly from nothing at `warmup_start` to its weight at `warmup_end`."""
    weight_schedule: str = AS_PRESET
    """"constant", or "pi": a controller moves the ceiling's weight until the share is at the ceiling."""
    pi_kp: float = AS_PRESET
    """Weight per share that is too much. A small one with a large `pi_ki` oscillates."""
    pi_ki: float = AS_PRESET
    """Weight per share that is too much and optimizer step."""
    pi_max: float = AS_PRESET
    """Largest weight that the controller may use."""
    threshold_schedule: str = AS_PRESET
    """"constant", or "adaptive": the ceiling rises by up to `adaptive_step` while the held-out loss is
    `adaptive_low` to `adaptive_high` times its best."""
    adaptive_step: float = AS_PRESET
    """Most by which the adaptive ceiling rises, in `threshold_unit`."""
    adaptive_low: float = AS_PRESET
    """Held-out loss, as a multiple of its best, from which on the adaptive ceiling rises. At least 1."""
    adaptive_high: float = AS_PRESET
    """Held-out loss, as a multiple of its best, at which it has risen by all of `adaptive_step`."""

    def __post_init__(self) -> None:
        _choice("preset", self.preset, tuple(PRESETS))
        preset = OFF | PRESETS[self.preset]
        if self.threshold_unit not in (None, preset["threshold_unit"]):
            self._refuse_thresholds_of_another_unit(PRESETS[self.preset], preset["threshold_unit"])
        unit = self.threshold_unit or preset["threshold_unit"]
        _choice("threshold_unit", unit, CHOICES["threshold_unit"])
        no_floor, no_ceiling = NO_LIMIT[unit]
        preset = {"floor": no_floor, "ceiling": no_ceiling} | preset
        for field in fields(self):
            if getattr(self, field.name) is None:
                setattr(self, field.name, preset[field.name])
        self._check()

    @property
    def is_off(self) -> bool:
        """Nothing is asked for: what is trained is stock ACT."""
        return not (self.touches_inputs or self.isolation or self.wants_attention)

    @property
    def touches_inputs(self) -> bool:
        """Some of the inputs are hidden or blurred in training."""
        return max(self.state_dropout, self.state_dim_dropout, self.state_noise, self.camera_dropout) > 0

    @property
    def hides_state(self) -> bool:
        """The policy never sees where the arm is, in training or later."""
        return self.state_dropout == 1

    @property
    def hides_images(self) -> bool:
        """The policy never sees a picture."""
        return self.camera_dropout == 1

    @property
    def wants_attention(self) -> bool:
        """There is a loss on attention."""
        return self.weight > 0

    @property
    def wants_encoder_attention(self) -> bool:
        """The loss needs the encoder's attention too."""
        return self.wants_attention and self.attention == "rollout"

    @property
    def has_ceiling(self) -> bool:
        return self.ceiling < NO_LIMIT[self.threshold_unit][1]

    @property
    def has_floor(self) -> bool:
        return self.floor > NO_LIMIT[self.threshold_unit][0] and self.floor_weight > 0

    def _refuse_thresholds_of_another_unit(self, preset: Mapping[str, Any], unit: str) -> None:
        missing = [x for x in ("ceiling", "floor") if x in preset and getattr(self, x) is None]
        if missing:
            raise RegularizerError(
                f"preset {self.preset!r} has its {' and '.join(missing)} as a {unit}; "
                f"with threshold_unit={self.threshold_unit!r} give {' and '.join(missing)} too"
            )

    def _check(self) -> None:
        for name, possible in CHOICES.items():
            _choice(name, getattr(self, name), possible)
        for name in ("state_dropout", "camera_dropout"):
            _range(name, getattr(self, name), 0.0, 1.0, "[0, 1]")
        _range("state_dim_dropout", self.state_dim_dropout, 0.0, 1.0, "[0, 1)")
        if self.hides_state and self.hides_images:
            raise RegularizerError("state_dropout=1 and camera_dropout=1 leave the policy without inputs")
        for name in ("entropy_floor", "camera_balance"):
            _range(name, getattr(self, name), 0.0, 1.0, "[0, 1]")
        _range("cvar_fraction", self.cvar_fraction, 0.0, 1.0, "(0, 1]")
        for name in ("state_noise", "weight", "floor_weight", "beta", "entropy_weight", "entropy_bonus"):
            _range(name, getattr(self, name), 0.0, MOST_WEIGHT, f"[0, {MOST_WEIGHT:g}]")
        for name in ("pi_kp", "pi_ki", "pi_max"):
            _range(name, getattr(self, name), 0.0, MOST_WEIGHT, f"[0, {MOST_WEIGHT:g}]")
        for name in ("warmup_start", "warmup_end"):
            _range(name, getattr(self, name), 0.0, MOST_STEPS, f"[0, {MOST_STEPS:g}]")
        self._check_thresholds()
        self._check_schedules()
        if self.wants_attention and not self._terms():
            raise RegularizerError(
                f"weight={self.weight} asks for a loss on attention, but none of its terms is on; give at least "
                "one of ceiling, floor, entropy_floor, camera_balance, or set weight=0"
            )

    def _terms(self) -> bool:
        floors = self.entropy_weight > 0 and max(self.entropy_floor, self.camera_balance) > 0
        return self.has_ceiling or self.has_floor or floors or self.entropy_bonus > 0

    def _check_thresholds(self) -> None:
        lowest, highest = NO_LIMIT[self.threshold_unit]
        for name in ("ceiling", "floor"):
            _range(name, getattr(self, name), lowest, highest, f"[{lowest:g}, {highest:g}]")
        if self.ceiling <= self.floor:
            raise RegularizerError(
                f"the ceiling {self.ceiling:g} is not above the floor {self.floor:g}, so no {self.threshold_unit} "
                "would satisfy both; raise the ceiling, lower the floor, or leave one of them out"
            )
        if self.space == "logit" and self.threshold_unit == "share" and self.ceiling == 0:
            raise RegularizerError("a ceiling of 0 has no logit; give a share above 0, or space='prob'")

    def _check_schedules(self) -> None:
        if self.warmup_end < self.warmup_start:
            raise RegularizerError(
                f"warm-up ends at step {self.warmup_end}, before it starts at step {self.warmup_start}"
            )
        if not 1 <= self.adaptive_low < self.adaptive_high <= MOST_WEIGHT:
            raise RegularizerError(
                f"regularizer.adaptive_low={self.adaptive_low:g} and adaptive_high={self.adaptive_high:g} are "
                "multiples of the best held-out loss: 1 <= low < high"
            )
        for name, value in (("weight_schedule", "pi"), ("threshold_schedule", "adaptive")):
            if getattr(self, name) == value and not self.has_ceiling:
                raise RegularizerError(f"{name}={value!r} moves a ceiling, but there is none; give ceiling")
        if self.threshold_schedule == "adaptive":
            _range("adaptive_step", self.adaptive_step, 0.0, MOST_WEIGHT, f"(0, {MOST_WEIGHT:g}]")
            limit = NO_LIMIT[self.threshold_unit][1]
            if self.ceiling + self.adaptive_step >= limit:
                raise RegularizerError(
                    f"the ceiling would rise to {self.ceiling:g} + {self.adaptive_step:g}; it must stay below {limit:g}"
                )


def _choice(name: str, value: str, possible: tuple[str, ...]) -> None:
    if value not in possible:
        raise RegularizerError(f"{name}={value!r} is unknown; possible: {', '.join(possible)}")


def _range(name: str, value: float, low: float, high: float, interval: str) -> None:
    """`interval` is written as in mathematics; its brackets say whether the ends belong to it."""
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    if not (above and below):
        raise RegularizerError(f"regularizer.{name}={value!r} is out of range; possible: {interval}")
