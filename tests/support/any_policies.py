"""Untrained policies of LeRobot's other types on disk, small enough for a test."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE

from checkpoints import POSE
from so101_policy.checkpoint.folder import TRAINED_ON
from so101_policy.checkpoint.trained_on import TrainedOn, to_json
from so101_policy.units import Units

PX = 48
"""Height and width of the pictures."""

SMALL: Mapping[str, Mapping[str, Any]] = {
    "vqbet": {
        "n_obs_steps": 3,
        "action_chunk_size": 8,
        "crop_shape": (40, 40),
        "vqvae_embedding_dim": 16,
        "vqvae_enc_hidden_dim": 16,
        "gpt_block_size": 40,
        "gpt_input_dim": 32,
        "gpt_output_dim": 32,
        "gpt_hidden_dim": 32,
        "gpt_n_layer": 1,
        "gpt_n_head": 2,
        "pretrained_backbone_weights": None,
    },
    "diffusion": {
        "n_obs_steps": 2,
        "horizon": 16,
        "n_action_steps": 12,
        "drop_n_last_frames": 3,
        "down_dims": (16, 32),
        "n_groups": 4,
        "diffusion_step_embed_dim": 16,
        "spatial_softmax_num_keypoints": 4,
        "num_train_timesteps": 10,
        "num_inference_steps": 4,
        "pretrained_backbone_weights": None,
    },
    "smolvla": {
        "chunk_size": 10,
        "n_action_steps": 10,
        "max_state_dim": 8,
        "max_action_dim": 8,
        "resize_imgs_with_padding": (64, 64),
        "num_steps": 2,
        "num_vlm_layers": 2,
        "tokenizer_max_length": 12,
        "load_vlm_weights": False,
    },
}
"""Settings by type."""


def tokenizer_in(folder: Path) -> Path:
    """A backbone's configuration and a tokenizer, made here: what SmolVLA's `vlm_model_name` leads to. Needs LeRobot's
    extra smolvla."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, SmolVLMConfig, SmolVLMImageProcessor, SmolVLMProcessor
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    words = [
        "<pad>",
        "<unk>",
        "<image>",
        "<fake_token_around_image>",
        "<global-img>",
        "put",
        "the",
        "box",
        "on",
        "pallet",
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>"}
    special |= {"global_image_token": "<global-img>", "end_of_utterance_token": "<pad>"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", extra_special_tokens=special
    )
    SmolVLMProcessor(
        SmolVLMImageProcessor(), fast, SmolVLMVideoProcessor(), chat_template="{{ messages }}"
    ).save_pretrained(folder)
    text = {"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 64, "patch_size": 16}
    SmolVLMConfig(text_config=text, vision_config=vision, scale_factor=2, image_token_id=2).save_pretrained(
        folder
    )
    return folder


def needs(package: str, extra: str) -> Sequence[pytest.MarkDecorator]:
    """Slow, and skipped where LeRobot's extra is not installed."""
    missing = find_spec(package) is None
    reason = f"LeRobot's extra {extra} is not installed: make test-policies"
    return [pytest.mark.slow, pytest.mark.skipif(missing, reason=reason)]


KINDS = [
    "vqbet",
    pytest.param("diffusion", marks=needs("diffusers", "diffusion")),
    pytest.param("smolvla", marks=needs("transformers", "smolvla")),
]
"""VQ-BeT needs nothing beyond what is installed for all tests."""


def untrained_in(folder: Path, kind: str) -> Path:
    """As `untrained_of`, with a backbone and a tokenizer beside it, where the type needs these."""
    more = {"vlm_model_name": str(tokenizer_in(folder / "backbone"))} if kind == "smolvla" else {}
    return untrained_of(kind, folder / "policy", **more)


def untrained_of(
    kind: str, folder: Path, *, cameras: Sequence[str] = ("front",), fps: float = 30.0, **settings: Any
) -> Path:
    """Write a policy with random weights, always the same, and its processors to `folder`; returns it."""
    inputs = {OBS_STATE: PolicyFeature(FeatureType.STATE, (6,))}
    inputs |= {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, PX, PX)) for name in cameras
    }
    outputs = {ACTION: PolicyFeature(FeatureType.ACTION, (6,))}
    config = make_policy_config(
        kind,
        input_features=inputs,
        output_features=outputs,
        device="cpu",
        **(dict(SMALL.get(kind, {})) | settings),
    )
    torch.manual_seed(0)
    policy = get_policy_class(kind)(config)
    if kind == "vqbet":  # else it warns that its codes were not trained
        policy.vqbet.action_head.vqvae_model.discretized.fill_(True)
    policy.save_pretrained(folder)
    for processor in make_pre_post_processors(config, dataset_stats=numbers(config)):
        processor.save_pretrained(folder)
    recorded = dict.fromkeys(cameras, (PX, PX))
    known = TrainedOn(fps=fps, units=Units.DEGREES, recorded=recorded, trained=recorded)
    (folder / TRAINED_ON).write_text(to_json(known))
    return folder


def numbers(config: PreTrainedConfig) -> dict[str, dict[str, torch.Tensor]]:
    """Statistics that keep joints about `POSE`."""
    pose = torch.tensor(POSE)
    joints = {"mean": pose, "std": torch.full((6,), 5.0), "min": pose - 10, "max": pose + 10}
    pictures = {"mean": torch.full((3, 1, 1), 0.5), "std": torch.full((3, 1, 1), 0.25)}
    pictures |= {"min": torch.zeros(3, 1, 1), "max": torch.ones(3, 1, 1)}
    return dict.fromkeys(config.image_features, pictures) | {OBS_STATE: joints, ACTION: joints}
