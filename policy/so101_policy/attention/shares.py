"""Where an ACT looks: exact shares of its decoder's cross-attention, at almost no cost.

`AttentionProbe` watches any LeRobot ACT, ours or one trained by `lerobot-train`, through forward hooks.
LeRobot asks `nn.MultiheadAttention` for its weights by default and drops them; the probe asks for them per
head and reads them. So the shares are the very weights that made the action, the actions stay bit-identical,
nothing is kept on the modules, and nothing is left behind on leaving the `with` block.

    with AttentionProbe(policy) as probe:
        actions = policy.predict_action_chunk(batch)
        probe.shares.state, probe.shares.uniform["state"]

Two warnings. A share says where the decoder looks, not what the action depends on: in a stock ACT the encoder
mixes joint state into the vision tokens before. And a share means little without its base rate under uniform
attention, which falls from 1/20 with two 96x96 cameras to 1/602 with two of 480x640, so every share carries
its base rate.

The probe is for inference. In training mode torch returns weights after dropout, which are no probabilities
(rows sum to 0.6 .. 1.1 at p = 0.1); the probe then leaves the forward pass alone and `shares` is None.

Shapes: B batch, H heads (of all decoder layers, side by side), Q queries, S keys (tokens), G figures,
V keys of vision.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import torch
from lerobot.policies.act.configuration_act import ACTConfig
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from so101_policy.errors import PolicyError
from so101_policy.names import camera_name

Keep = Callable[[Sequence[Tensor], "TokenLayout", dict[str, tuple[int, int]]], None]
"""Takes the weights of a forward pass, their layout, and the rows and columns of each camera's tokens."""

Arguments = tuple[Any, ...]
"""Positional arguments of a forward pass, as torch's hooks get them."""

NO_VISION = 1e-30
"""A query that spends less than this on vision has no vision entropy; left are float32's last digits."""

STATE_PERCENTILE = 0.95


class TokenLayout(NamedTuple):
    """Which keys of the decoder's cross-attention belong to what, in LeRobot's order."""

    latent: slice
    state: slice | None
    environment: slice | None
    cameras: dict[str, slice]
    total: int

    @classmethod
    def of(cls, config: ACTConfig, camera_tokens: Mapping[str, int]) -> Self:
        """Layout for a LeRobot `ACTConfig` whose cameras give `camera_tokens` tokens each (in this order)."""
        end = 1
        state = environment = None
        if config.robot_state_feature:
            state, end = slice(end, end + 1), end + 1
        if config.env_state_feature:
            environment, end = slice(end, end + 1), end + 1
        cameras: dict[str, slice] = {}
        for name, count in camera_tokens.items():
            cameras[name], end = slice(end, end + count), end + count
        return cls(slice(0, 1), state, environment, cameras, end)

    @property
    def vision(self) -> slice:
        """All cameras together; empty where there are none."""
        return slice(self.total - sum(map(_length, self.cameras.values())), self.total)

    def uniform(self) -> dict[str, float]:
        """Base rates: what each share would be if every token got the same attention."""
        vision = _length(self.vision)
        rates = {name: _length(part) / self.total for name, part in self.cameras.items()}
        return rates | {
            "latent": 1 / self.total,
            "state": _length(self.state) / self.total,
            "environment": _length(self.environment) / self.total,
            "vision": vision / self.total,
            "entropy": 1.0 if vision > 1 else 0.0,
        }


class AttentionShares(NamedTuple):
    """Shares of the decoder's cross-attention, mean over batch, layers, heads and queries; all in 0..1.

    latent + state + environment + vision = 1, and the cameras sum to `vision`. A part that the model lacks
    is 0.
    """

    latent: float
    state: float
    environment: float
    vision: float
    cameras: dict[str, float]
    entropy: float
    """Entropy of the attention within the vision tokens over its maximum log(N): 0 one token, 1 uniform."""
    state_p95: float
    """95th percentile (nearest rank) of the state share over (head, query): a mean of 0.2 hides 0.98."""
    uniform: dict[str, float]
    """Under uniform attention: latent, state, environment, vision, entropy, and each camera by its name."""
    heads: dict[str, list[float]] | None = None
    """On request: the same keys as `uniform`, one value per head; heads of further decoder layers follow."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a log; `heads` only where it was asked for."""
        data = self._asdict()
        if self.heads is None:
            del data["heads"]
        return data


def shares_of(weights: Sequence[Tensor], layout: TokenLayout, *, per_head: bool = False) -> AttentionShares:
    """Shares of cross-attention `weights`, one tensor (B, H, Q, S) of probabilities per decoder layer.

    Entropy of the vision part: Shannon's, of p_v / m with m = sum_v p_v, H = log m - (1/m) sum_v p_v log p_v,
    over its maximum log N_v. All figures cross to the host at once: a GPU is waited for once.

    Raises:
        PolicyError: the weights have another number of keys than the layout.
    """
    a_BHQS = (weights[0] if len(weights) == 1 else torch.cat(list(weights), dim=1)).detach().float()
    if a_BHQS.shape[-1] != layout.total:
        raise PolicyError(
            f"the decoder attends to {a_BHQS.shape[-1]} tokens, but the inputs give {layout.total}: "
            f"{_length(layout.vision)} of {', '.join(layout.cameras) or 'no camera'}, the others of latent and states"
        )
    nothing_BHQ = a_BHQS.new_zeros(a_BHQS.shape[:-1])
    parts = [*layout.cameras.values(), layout.latent, layout.state, layout.environment]
    masses = [nothing_BHQ if part is None else a_BHQS[..., part].sum(-1) for part in parts]
    vision_BHQ = sum(masses[: len(layout.cameras)], nothing_BHQ)
    entropy_BHQ = _vision_entropy(a_BHQS[..., layout.vision], vision_BHQ)
    figures_GH = torch.stack([*masses, vision_BHQ, entropy_BHQ]).mean((1, 3))
    p95 = _percentile(masses[-2].flatten(), STATE_PERCENTILE)
    *flat, state_p95 = cast(list[float], torch.cat([figures_GH.flatten(), p95[None]]).tolist())

    H = a_BHQS.shape[1]
    rows = [flat[start : start + H] for start in range(0, len(flat), H)]
    *cameras, latent, state, environment, vision, entropy = (sum(row) / H for row in rows)
    names = [*layout.cameras, "latent", "state", "environment", "vision", "entropy"]
    return AttentionShares(
        latent=latent,
        state=state,
        environment=environment,
        vision=vision,
        cameras=dict(zip(layout.cameras, cameras, strict=True)),
        entropy=min(max(entropy, 0.0), 1.0),  # float32 rounding may leave it 1e-7 outside
        state_p95=state_p95,
        uniform=layout.uniform(),
        heads=dict(zip(names, rows, strict=True)) if per_head else None,
    )


class AttentionProbe:
    """Reads the cross-attention of a LeRobot `ACTPolicy` (or its inner `ACT`) while inside `with`.

    After each forward pass in eval mode `shares` holds its shares; None before the first one and in training
    mode. One probe watches one model from one thread at a time; a copy of the model made meanwhile is not
    watched.

    Args:
        policy: what to watch.
        per_head: shares of every head too.
        keep: is given the weights of each forward pass, one (B, H, Q, S) per decoder layer, their layout, and each
            camera's (rows, columns) of tokens, for what shares do not show (`maps.py`).

    Raises:
        PolicyError: the module is not an ACT, or its attention gives no weights.
    """

    def __init__(self, policy: nn.Module, *, per_head: bool = False, keep: Keep | None = None):
        self._model = _act_of(policy)
        self._per_head = per_head
        self._keep = keep
        self._handles: list[RemovableHandle] = []
        self._grids: list[tuple[int, int]] = []
        self._weights: list[Tensor] = []
        self.shares: AttentionShares | None = None

    def __enter__(self) -> Self:
        if self._handles:
            raise PolicyError("this attention probe is already watching; leave its `with` block first")
        model: Any = self._model
        attentions: list[nn.MultiheadAttention] = [layer.multihead_attn for layer in model.decoder.layers]
        self._watched: frozenset[nn.Module] = frozenset([self._model, *attentions])
        self._handles.append(model.register_forward_pre_hook(self._begin))
        if model.config.image_features:
            self._watched |= {model.backbone}
            self._handles.append(model.backbone.register_forward_hook(self._see_image))
        for attention in attentions:
            self._handles.append(attention.register_forward_pre_hook(self._ask_per_head, with_kwargs=True))
            self._handles.append(attention.register_forward_hook(self._see_weights))
        self._handles.append(model.register_forward_hook(self._finish))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._forget()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy of a watched model takes its hooks along; they still lead here, inert for the copy."""
        return self

    def _forget(self) -> None:
        self._grids.clear()
        self._weights.clear()

    def _begin(self, model: nn.Module, args: Arguments) -> None:
        if model in self._watched:
            self._forget()
            self.shares = None

    def _see_image(self, backbone: nn.Module, args: Arguments, output: dict[str, Tensor]) -> None:
        if backbone in self._watched:
            height, width = output["feature_map"].shape[-2:]
            self._grids.append((height, width))

    def _ask_per_head(
        self, attention: nn.Module, args: Arguments, kwargs: dict[str, Any]
    ) -> tuple[Arguments, dict[str, Any]] | None:
        if attention not in self._watched or attention.training:
            return None
        return args, kwargs | {"average_attn_weights": False}

    def _see_weights(
        self, attention: nn.Module, args: Arguments, output: tuple[Tensor, Tensor | None]
    ) -> None:
        if attention not in self._watched or attention.training:
            return
        if output[1] is None:
            raise PolicyError(
                "this model's cross-attention gives no weights (need_weights=False), so there are no shares"
            )
        self._weights.append(output[1])

    def _finish(self, model: nn.Module, args: Arguments, output: tuple[Any, ...]) -> None:
        if model not in self._watched or not self._weights:
            return
        config: Any = model.config
        names = [camera_name(key) for key in config.image_features]
        if len(self._grids) != len(names):
            raise PolicyError(
                f"the backbone saw {len(self._grids)} images, but the model has {len(names)} cameras "
                f"({', '.join(names)})"
            )
        grids = dict(zip(names, self._grids, strict=True))
        layout = TokenLayout.of(config, {name: rows * columns for name, (rows, columns) in grids.items()})
        self.shares = shares_of(self._weights, layout, per_head=self._per_head)
        if self._keep is not None:
            self._keep(self._weights, layout, grids)
        self._forget()  # do not hold the weights until the next forward pass


def _vision_entropy(a_BHQV: Tensor, mass_BHQ: Tensor) -> Tensor:
    """Normalised entropy (B, H, Q) within the vision tokens; 0 for one token, or (nearly) no attention."""
    if a_BHQV.shape[-1] < 2:
        return torch.zeros_like(mass_BHQ)
    # 0 log 0 = 0: the clamp only touches zeros. In place, 0.6 ms on a CPU for 8 x 100 x 600 weights; else 2.
    plogp_BHQ = a_BHQV.clamp_min(torch.finfo(a_BHQV.dtype).tiny).log_().mul_(a_BHQV).sum(-1)
    entropy_BHQ = (mass_BHQ.log() - plogp_BHQ / mass_BHQ) / math.log(a_BHQV.shape[-1])
    return torch.where(mass_BHQ > NO_VISION, entropy_BHQ, 0.0)


def _percentile(values: Tensor, fraction: float) -> Tensor:
    """Nearest-rank percentile: the smallest value that at least `fraction` of all do not exceed."""
    return values.kthvalue(math.ceil(fraction * values.numel())).values


def _act_of(policy: nn.Module) -> nn.Module:
    for module in (policy, getattr(policy, "model", None)):
        if isinstance(module, nn.Module) and hasattr(module, "config"):
            layers = getattr(getattr(module, "decoder", None), "layers", [])
            if layers and all(
                isinstance(getattr(y, "multihead_attn", None), nn.MultiheadAttention) for y in layers
            ):
                return module
    raise PolicyError(
        f"a {type(policy).__name__} has no ACT decoder; shares are read from LeRobot's ACT and its subclasses"
    )


def _length(part: slice | None) -> int:
    return 0 if part is None else part.stop - part.start
