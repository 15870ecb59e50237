"""A small stock LeRobot ACT that follows the scripted motion, trained in about a minute on two slow cores.

Two things make that possible. Each moment of the motion is shown in a scene of its own, so two thousand pictures show
two thousand places of the block: the arm is put where it would be at that moment, with the lag and wobble of a few
episodes that were really played. And the ResNet is not trained: its weights are set so that it hands an exact 24x24
thumbnail of opponent colours to the transformer (`hand_through`). A random ResNet knows little about where things are,
and one under LeRobot's frozen batch norm knows nothing, because that normalises nothing without trained statistics.

What comes out is an ordinary ACT checkpoint. It can do one thing in one scene. How well it does it is measured
afterwards (`following.py`), not assumed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import mujoco
import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from so101_robot.demo.motion import plan_sweep
from so101_robot.demo.recording import FPS, demonstrate, mock_robots, plan_for
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.arm import CAMERAS, MockConfig
from so101_robot.mock.render import open_renderer
from so101_robot.mock.world import World, load_scene

Progress = Callable[[float], None]
"""Told the fraction that is done."""

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""What `lerobot-train` scales pictures by. Source: torchvision's ImageNet recipe."""

OPPONENTS = ((1, -1, 0), (-1, 1, 0), (0, 1, -1), (0, -1, 1), (1, 0, -1), (-1, 0, 1), (1, 1, 1), (-1, -1, -1))
"""Red, green and blue against each other, light and dark: one channel of the thumbnail each, its negative part cut."""
BLUR_PX = 1.5

START_VARIATION = np.array([6.0, 6.0, 8.0, 8.0, 3.0, 5.0])
"""Half width by which start poses differ (degrees, gripper percent), so that others than the mock arm's own work."""


class Recipe(NamedTuple):
    """Everything that decides what comes out, with the renderer."""

    moments: int = 2000
    played: int = 8
    """Episodes that are really played, to know how the arm lags and wobbles."""
    size: int = 96
    """Of both cameras, width and height [px]."""
    chunk: int = 60
    n_action_steps: int = 20
    steps: int = 1500
    batch: int = 32
    queries: int = 12
    """Ticks of the chunk that are trained in one step, drawn anew each time."""
    learning_rate: float = 1e-3
    dim: int = 128
    seed: int = 0


class Recordings(NamedTuple):
    """N moments: what was seen, and the targets of the next T ticks."""

    state: NDArray[np.float32]
    """(N, 6)"""
    images: dict[str, NDArray[np.uint8]]
    """camera -> (N, height, width, 3)"""
    targets: NDArray[np.float32]
    """(N, T, 6)"""


def record(recipe: Recipe, progress: Progress) -> Recordings:
    """Moments of the motion, each in the scene of another seed: recipe.seed, recipe.seed + 1, ..."""
    starts, lags = _play(recipe)
    rng = np.random.default_rng((recipe.seed, 4))
    world = World(load_scene("table"), recipe.seed)
    lower_rad, upper_rad = world.joint_range_rad.T
    states, targets = np.empty((recipe.moments, 6)), np.empty((recipe.moments, recipe.chunk, 6))
    images = {name: np.empty((recipe.moments, recipe.size, recipe.size, 3), np.uint8) for name in CAMERAS}
    with open_renderer(world.model, recipe.size, recipe.size) as renderer:
        for n in range(recipe.moments):
            world.reset(recipe.seed + n)
            played, tick = rng.integers(len(lags)), rng.integers(lags.shape[1])
            start = starts[played] + rng.uniform(-1, 1, len(JOINTS)) * START_VARIATION
            ahead = plan_sweep(world, start, recipe.seed + n).at((tick + np.arange(recipe.chunk)) / FPS)
            state = ahead[0] + lags[played, tick]
            joint_rad = np.deg2rad(state)
            joint_rad[GRIPPER] = lower_rad[GRIPPER] + state[GRIPPER] / 100 * (upper_rad - lower_rad)[GRIPPER]
            world.place_arm(np.clip(joint_rad, lower_rad, upper_rad))
            mujoco.mj_kinematics(world.model, world.data)
            for name, pictures in images.items():
                pictures[n] = renderer.render(world.snapshot(), name)
            states[n], targets[n] = state, ahead
            progress((n + 1) / recipe.moments)
    return Recordings(states.astype(np.float32), images, targets.astype(np.float32))


def _play(recipe: Recipe) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start poses (K, 6), and where the arm was minus where it should have been, (K, ticks, 6)."""
    starts: list[NDArray[np.float64]] = []
    lags: list[list[NDArray[np.float64]]] = []
    with mock_robots(MockConfig(seed=recipe.seed)) as robots:
        for episode, robot in zip(range(recipe.played), robots, strict=False):
            sweep = plan_for(robot, recipe.seed + episode)
            moments = demonstrate(robot, sweep, recipe.seed + episode, wobble=episode % 4 > 0)
            starts.append(sweep.start)
            lags.append([moment.state - moment.target for moment in moments])
    return np.array(starts), np.array(lags)


def statistics(recordings: Recordings) -> dict[str, dict[str, Tensor]]:
    """Mean and standard deviation of every feature, as LeRobot's processors take them."""
    flat = {OBS_STATE: recordings.state, ACTION: recordings.targets.reshape(-1, len(JOINTS))}
    stats = {
        name: {"mean": torch.tensor(values.mean(0)), "std": torch.tensor(values.std(0))}
        for name, values in flat.items()
    }
    pictures = {key: torch.tensor(values).reshape(3, 1, 1) for key, values in IMAGENET.items()}
    return stats | {f"{OBS_IMAGES}.{name}": dict(pictures) for name in recordings.images}


def train(recordings: Recordings, recipe: Recipe, progress: Progress) -> ACTPolicy:
    """An ACT that imitates the recordings; the same from the same seed. One thread: more only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            policy = new_policy(recipe)
            _fit(policy, recordings, recipe, progress)
    finally:
        torch.set_num_threads(threads)
    return policy.eval()


def new_policy(recipe: Recipe) -> ACTPolicy:
    """The untrained ACT, its ResNet set to `hand_through`."""
    picture = PolicyFeature(FeatureType.VISUAL, (3, recipe.size, recipe.size))
    config = ACTConfig(
        input_features={OBS_STATE: PolicyFeature(FeatureType.STATE, (len(JOINTS),))}
        | {f"{OBS_IMAGES}.{name}": picture for name in CAMERAS},
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (len(JOINTS),))},
        chunk_size=recipe.chunk,
        n_action_steps=recipe.n_action_steps,
        vision_backbone="resnet18",
        pretrained_backbone_weights=None,
        dim_model=recipe.dim,
        n_heads=4,
        dim_feedforward=2 * recipe.dim,
        n_encoder_layers=2,
        use_vae=False,
        dropout=0.0,
        device="cpu",
        push_to_hub=False,
    )
    policy = ACTPolicy(config)
    hand_through(policy.model.backbone)
    return policy


def thumbnail(images_BCHW: Tensor) -> Tensor:
    """(B, 512, H / 32, W / 32): opponent colours at a quarter of the size, 8 x 8 of their pixels in each place."""
    x = functional.conv2d(images_BCHW, _opponent_filters(), stride=2, padding=3)
    x = functional.max_pool2d(functional.relu(x), kernel_size=3, stride=2, padding=1)
    for _ in range(3):
        x = torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=1)
    return x


def hand_through(backbone: Any) -> None:
    """Set a ResNet-18's weights so that it computes `thumbnail`.

    The first convolution makes the opponent colours; stage 1 passes them on; the stages 2 to 4 each halve the picture
    and move the four pixels of every 2 x 2 into channels of their own, so nothing is lost. Shortcuts pass what is
    already right or nothing, and norms that were born frozen at mean 0, variance 1 change nothing (but for 5e-6).
    """
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
        backbone.conv1.weight[: len(OPPONENTS)] = _opponent_filters()
        channels = len(OPPONENTS)
        for stage in (backbone.layer2, backbone.layer3, backbone.layer4):
            block = stage[0]
            for pixel, (i, j) in enumerate(((1, 1), (1, 2), (2, 1), (2, 2))):
                for channel in range(channels):
                    block.conv1.weight[pixel * channels + channel, channel, i, j] = 1.0
            channels *= 4
            for channel in range(channels):
                block.conv2.weight[channel, channel, 1, 1] = 1.0


def _opponent_filters() -> Tensor:
    """(8, 3, 7, 7): each opponent colour, blurred."""
    x = torch.arange(7.0) - 3
    bell = torch.exp(-(x**2) / (2 * BLUR_PX**2))
    blur = torch.outer(bell, bell) / bell.sum() ** 2
    return torch.tensor(OPPONENTS, dtype=torch.float32)[:, :, None, None] / 2 * blur


def _fit(policy: ACTPolicy, recordings: Recordings, recipe: Recipe, progress: Progress) -> None:
    """Mean absolute error, as LeRobot's loss without the VAE; AdamW, cosine from a short warm-up to zero."""
    stats = statistics(recordings)
    features = [
        _features(pictures, stats[f"{OBS_IMAGES}.{name}"]) for name, pictures in recordings.images.items()
    ]
    state = (torch.from_numpy(recordings.state) - stats[OBS_STATE]["mean"]) / stats[OBS_STATE]["std"]
    targets = (torch.from_numpy(recordings.targets) - stats[ACTION]["mean"]) / stats[ACTION]["std"]
    learning = [p for name, p in policy.named_parameters() if not name.startswith("model.backbone")]
    optimizer = torch.optim.AdamW(learning, lr=recipe.learning_rate, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.steps, pct_start=0.1
    )
    policy.train()
    for step in range(recipe.steps):
        rows = torch.randint(len(state), (recipe.batch,))
        ahead = torch.randperm(recipe.chunk)[: recipe.queries]
        actions = _answers(policy.model, state[rows], [f[rows] for f in features], ahead)
        loss = (actions - targets[rows][:, ahead]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 10.0)
        optimizer.step()
        schedule.step()
        progress((step + 1) / recipe.steps)


def _answers(model: Any, state: Tensor, features: list[Tensor], ahead: Tensor) -> Tensor:
    """(B, len(ahead), 6): what `ACT.forward` answers for some ticks of the chunk, from the backbone's features.

    Queries of ACT's only decoder layer do not see each other, since what they would see of each other is still zero.
    So a fifth of them, drawn anew in each step, trains like all of them in half the time.
    """
    nothing = state.new_zeros(len(state), model.config.latent_dim)
    tokens = [
        model.encoder_latent_input_proj(nothing)[None],
        model.encoder_robot_state_input_proj(state)[None],
    ]
    places = [model.encoder_1d_feature_pos_embed.weight[:, None]]
    for image in features:
        tokens.append(model.encoder_img_feat_input_proj(image).flatten(2).permute(2, 0, 1))
        places.append(model.encoder_cam_feat_pos_embed(image).flatten(2).permute(2, 0, 1))
    places = torch.cat(places)
    seen = model.encoder(torch.cat(tokens), pos_embed=places)
    queries = model.decoder_pos_embed.weight[ahead][:, None]
    blank = seen.new_zeros(len(ahead), *seen.shape[1:])
    return model.action_head(
        model.decoder(blank, seen, encoder_pos_embed=places, decoder_pos_embed=queries)
    ).transpose(0, 1)


def _features(images: NDArray[np.uint8], stats: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        parts = [
            torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255 for part in np.array_split(images, 32)
        ]
        return torch.cat([thumbnail((part - stats["mean"]) / stats["std"]) for part in parts])
