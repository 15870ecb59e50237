"""Modality dropout: in training, a sample now and then loses its joint state or a camera.

A policy that cannot count on its state learns to look. Per sample, all independent of each other:

- the whole joint state, with probability `state_dropout`: its token becomes a learnable mask token, or the state
  becomes the mean pose (0 in normalised units; a legal pose, so the policy cannot tell it from a real one);
- single joints, with probability `state_dim_dropout` each: they become 0, the mean;
- noise of `state_noise` (standard deviation, normalised units) on every joint;
- each camera, with probability `camera_dropout`: its tokens become a learnable mask token.

No sample loses everything: where joint state and all cameras would go (and there is no environment state), one of them,
drawn at random, stays. The VAE encoder reads the state too, and would carry it into the latent in training only, so it
gets the same masked state. At inference nothing is dropped.

With a probability of 1 there is no dropout but a control: that modality is its mean, always, at inference too (`hide`).

With a mask token after GR00T N1.6's `state_dropout_prob`; per-joint dropout and noise after the toy study in docs.

Shapes: B batch, P joints of the state, C cameras, N tokens of a camera, D model width.
"""

from typing import Any, NamedTuple

import torch
from lerobot.utils.constants import OBS_IMAGES, OBS_STATE
from torch import Tensor, nn

from so101_policy.regularizer.config import RegularizerConfig


class Losses(NamedTuple):
    """What each sample of a batch lost."""

    joints_BP: Tensor
    """bool; all True where the whole state was lost."""
    state_B: Tensor
    cameras_BC: Tensor

    @property
    def one_sided(self) -> Tensor:
        """Samples that lost their state, or all their cameras: nothing to learn there about sharing attention."""
        blind_B = self.cameras_BC.all(-1) if self.cameras_BC.shape[-1] else torch.zeros_like(self.state_B)
        return self.state_B | blind_B


def draw_losses(
    config: RegularizerConfig, samples: int, joints: int, cameras: int, spare: bool, device: torch.device
) -> Losses:
    """Draw who loses what.

    Args:
        joints: size of the joint state, 0 without.
        spare: there is another modality that is never lost (an environment state), so all others may go.
    """
    whole_B1 = _happens((samples, 1), 0.0 if config.hides_state else config.state_dropout, device)
    joints_BP = _happens((samples, joints), config.state_dim_dropout, device) | whole_B1
    cameras_BC = _happens((samples, cameras), 0.0 if config.hides_images else config.camera_dropout, device)
    lost_BM = torch.cat([joints_BP.all(-1, keepdim=True), cameras_BC], dim=1) if joints else cameras_BC
    if not spare:
        lost_BM = keep_one(lost_BM)
    if joints:
        state_B, cameras_BC = lost_BM[:, 0], lost_BM[:, 1:]
        rescued_B = joints_BP.all(-1) & ~state_B
        return Losses(joints_BP & ~rescued_B[:, None], state_B, cameras_BC)
    return Losses(joints_BP, torch.zeros(samples, dtype=torch.bool, device=device), lost_BM)


def hide(config: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """A normalised batch of LeRobot's without what a policy of this configuration never sees: its mean in its place."""
    regularizer: RegularizerConfig = config.regularizer
    hidden = {OBS_STATE} if regularizer.hides_state else set[str]()
    if regularizer.hides_images:
        hidden |= {OBS_IMAGES, *config.image_features}
    return batch | {key: _zeros(batch[key]) for key in hidden & batch.keys()}


def keep_one(lost_BM: Tensor) -> Tensor:
    """Where a sample lost all M modalities, one of them, drawn at random, is kept."""
    chosen_BM = torch.rand(lost_BM.shape, device=lost_BM.device).argsort(-1) == 0
    return lost_BM & ~(lost_BM.all(-1, keepdim=True) & chosen_BM)


class ModalityDropout(nn.Module):
    """The learnable mask tokens, and where they go. Tokens begin at 0; only those that can be needed exist."""

    def __init__(self, config: Any):
        super().__init__()
        self._of = config
        self.config: RegularizerConfig = config.regularizer
        self._cameras = len(config.image_features)
        self._joints = int(config.robot_state_feature.shape[0]) if config.robot_state_feature else 0
        self._spare = bool(config.env_state_feature)
        masks_state = bool(self._joints) and self.config.state_dropout_fill == "mask_token"
        masks_state = masks_state and not self.config.hides_state
        masks_state = masks_state and (self.config.state_dropout > 0 or self.config.state_dim_dropout > 0)
        self.state_token = _token(config.dim_model) if masks_state else None
        self.vae_state_token = _token(config.dim_model) if masks_state and config.use_vae else None
        masks_cameras = 0 < self.config.camera_dropout < 1 and self._cameras > 0
        self.camera_tokens = _token(self._cameras, config.dim_model) if masks_cameras else None

    def hide(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Without what the policy never sees."""
        return hide(self._of, batch)

    def draw(self, samples: int, device: torch.device) -> Losses:
        """Who loses what in a batch of this many samples."""
        return draw_losses(self.config, samples, self._joints, self._cameras, self._spare, device)

    def state(self, state_BP: Tensor, losses: Losses) -> Tensor:
        """The joint state with noise, and 0 for every joint that was lost."""
        if self.config.state_noise:
            state_BP = state_BP + self.config.state_noise * torch.randn_like(state_BP)
        return state_BP.masked_fill(losses.joints_BP, 0.0)

    def state_tokens(self, token_BD: Tensor, losses: Losses, *, of_vae: bool = False) -> Tensor:
        """The projected state, the mask token in its place where the whole state was lost."""
        mask_D = self.vae_state_token if of_vae else self.state_token
        return token_BD if mask_D is None else torch.where(losses.state_B[:, None], mask_D, token_BD)

    def camera(self, token_BND: Tensor, losses: Losses, camera: int) -> Tensor:
        """A camera's projected features, the mask token in their place where the camera was lost."""
        if self.camera_tokens is None:
            return token_BND
        return torch.where(losses.cameras_BC[:, camera, None, None], self.camera_tokens[camera], token_BND)


def _zeros(value: Any) -> Any:
    return [torch.zeros_like(x) for x in value] if isinstance(value, list) else torch.zeros_like(value)


def _happens(shape: tuple[int, int], chance: float, device: torch.device) -> Tensor:
    return torch.rand(shape, device=device) < chance


def _token(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))
