"""LeRobot's checkpoints load and act as LeRobot would, or are refused in one readable line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.utils import prepare_observation_for_inference
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_STATE
from safetensors.torch import load_file, save_file

from so101_policy import ActPolicy, CheckpointError, PolicyError
from so101_policy.names import SO101_JOINTS

CAMERAS = {"front": (32, 64), "wrist": (64, 64)}
CHUNK = 5


def act_config(
    config_class: type[ACTConfig] = ACTConfig, joints: int = 6, env: int = 0, **options: Any
) -> ACTConfig:
    inputs = {OBS_STATE: PolicyFeature(FeatureType.STATE, (joints,))}
    inputs |= {
        f"observation.images.{n}": PolicyFeature(FeatureType.VISUAL, (3, *size))
        for n, size in CAMERAS.items()
    }
    if env:
        inputs[OBS_ENV_STATE] = PolicyFeature(FeatureType.ENV, (env,))
    small: dict[str, Any] = {"dim_model": 32, "n_heads": 4, "dim_feedforward": 64, "n_encoder_layers": 1}
    small |= {"n_vae_encoder_layers": 1, "chunk_size": CHUNK, "n_action_steps": CHUNK, "device": "cpu"}
    return config_class(
        input_features=inputs,
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (joints,))},
        **small | {"pretrained_backbone_weights": None} | options,
    )


def statistics(config: ACTConfig) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    found = {}
    for name, feature in ((config.input_features or {}) | (config.output_features or {})).items():
        shape = (3, 1, 1) if feature.type is FeatureType.VISUAL else feature.shape
        scale = 1 if feature.type is FeatureType.VISUAL else 40
        found[name] = {
            "mean": scale * torch.randn(shape, generator=generator),
            "std": scale * (0.5 + torch.rand(shape, generator=generator)),
        }
    return found


def save(folder: Path, config: ACTConfig, policy_class: type[ACTPolicy] = ACTPolicy) -> Path:
    """A checkpoint as `lerobot-train` leaves it in pretrained_model/."""
    torch.manual_seed(0)
    policy_class(config).save_pretrained(folder)
    for processor in make_act_pre_post_processors(config, statistics(config)):
        processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("saved"), act_config())


@pytest.fixture(scope="module")
def policy(saved: Path) -> ActPolicy:
    return ActPolicy.load(saved)


@pytest.fixture
def broken(saved: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(saved, tmp_path / "copy")


def observation(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    images = {name: rng.integers(0, 256, (*size, 3), dtype=np.uint8) for name, size in CAMERAS.items()}
    return rng.uniform(-90, 90, 6), images


def lerobot_actions(folder: Path, state: np.ndarray, images: dict[str, np.ndarray]) -> np.ndarray:
    """The chunk by LeRobot's own path of inference: prepare, preprocess, select_action, postprocess."""
    config = PreTrainedConfig.from_pretrained(folder, local_files_only=True)
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    preprocess, postprocess = make_pre_post_processors(config, str(folder))
    actions = []
    for _ in range(CHUNK):
        frame = {OBS_STATE: state.astype(np.float32)} | {
            f"observation.images.{n}": i for n, i in images.items()
        }
        with torch.inference_mode():
            batch = preprocess(prepare_observation_for_inference(frame, torch.device("cpu")))
            actions.append(postprocess(policy.select_action(batch))[0].numpy())
    return np.stack(actions)


def test_actions_equal_those_of_lerobot(saved: Path, policy: ActPolicy):
    state, images = observation()
    prediction = policy.predict(state, images)
    expected = lerobot_actions(saved, state, images)
    assert prediction.actions.shape == (CHUNK, 6)
    assert prediction.actions.dtype == np.float32
    scale = np.abs(expected).max()
    np.testing.assert_allclose(prediction.actions / scale, expected / scale, atol=1e-6)
    assert np.ptp(expected) > 1  # statistics were applied, so these are degrees


def test_every_prediction_brings_shares_named_by_camera(policy: ActPolicy):
    shares = policy.predict(*observation()).shares
    assert shares is not None
    assert set(shares.cameras) == {"front", "wrist"}
    assert shares.uniform["wrist"] == pytest.approx(4 / 8)
    assert shares.latent + shares.state + shares.vision == pytest.approx(1, abs=1e-5)
    assert shares.heads is None


def test_predictions_depend_on_every_input(policy: ActPolicy):
    state, images = observation(0)
    other_state, other_images = observation(1)
    chunk = policy.predict(state, images).actions
    assert not np.allclose(chunk, policy.predict(other_state, images).actions)
    for name in CAMERAS:
        assert not np.allclose(chunk, policy.predict(state, images | {name: other_images[name]}).actions)


def test_what_a_checkpoint_says_of_itself(saved: Path, policy: ActPolicy):
    assert policy.cameras == CAMERAS
    assert policy.joints == SO101_JOINTS
    assert (policy.chunk_size, policy.n_action_steps, policy.temporal_ensemble_coeff) == (CHUNK, CHUNK, None)
    assert policy.path == saved
    assert len(policy.sha256) == 64
    assert policy.n_parameters == sum(p.numel() for p in policy.policy.parameters()) > 11_000_000


def test_temporal_ensembling_is_reported_and_not_applied(tmp_path: Path):
    config = act_config(temporal_ensemble_coeff=0.01, n_action_steps=1)
    policy = ActPolicy.load(save(tmp_path, config))
    assert policy.temporal_ensemble_coeff == 0.01
    first, second = (policy.predict(*observation()).actions for _ in range(2))
    assert first.shape == (CHUNK, 6)
    assert np.array_equal(first, second)


def test_heads_are_reported_on_request(saved: Path):
    shares = ActPolicy.load(saved, per_head=True).predict(*observation()).shares
    assert shares is not None
    assert shares.heads is not None
    assert len(shares.heads["state"]) == 4


@pytest.mark.parametrize(
    ("place", "asked"),
    [
        ("", ""),
        ("pretrained_model", ""),
        ("000100/pretrained_model", "000100"),
        ("checkpoints/last/pretrained_model", ""),
        ("checkpoints/last/pretrained_model", "checkpoints"),
        ("checkpoints/last/pretrained_model", "checkpoints/last"),
        ("checkpoints/000100/pretrained_model", ""),
        ("", "model.safetensors"),
    ],
)
def test_a_checkpoint_is_found_inside_what_a_training_leaves(
    saved: Path, tmp_path: Path, place: str, asked: str
):
    shutil.copytree(saved, tmp_path / place, dirs_exist_ok=True)
    (tmp_path / "checkpoints/000020/pretrained_model").mkdir(parents=True)
    assert ActPolicy.load(tmp_path / asked).path == tmp_path / place


def test_the_highest_step_counts_where_there_is_no_last(saved: Path, tmp_path: Path):
    for step in ("000900", "001000"):
        shutil.copytree(saved, tmp_path / "checkpoints" / step / "pretrained_model")
    assert ActPolicy.load(tmp_path).path.parent.name == "001000"


def test_a_registered_subclass_of_act_loads_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from so101_policy.checkpoint import reader

    class TwinPolicy(ACTPolicy):
        config_class = ACTConfig
        name = "twin"

    def twin_class(kind: str) -> type[ACTPolicy]:
        return TwinPolicy

    save(tmp_path, act_config(), TwinPolicy)
    monkeypatch.setattr(reader, "get_policy_class", twin_class)
    assert isinstance(ActPolicy.load(tmp_path).policy, TwinPolicy)


def test_cameras_renamed_in_training_go_by_the_robots_names(saved: Path, broken: Path):
    path = broken / "policy_preprocessor.json"
    text = json.loads(path.read_text())
    (step,) = [s for s in text["steps"] if s["registry_name"] == "rename_observations_processor"]
    step["config"]["rename_map"] = {"observation.images.top": "observation.images.front"}
    path.write_text(json.dumps(text))
    renamed, plain = ActPolicy.load(broken), ActPolicy.load(saved)
    state, images = observation()
    assert set(renamed.cameras) == {"top", "wrist"}
    ours = renamed.predict(state, {"top": images["front"], "wrist": images["wrist"]}).actions
    assert np.array_equal(ours, plain.predict(state, images).actions)


# Checkpoints that cannot be used


def refuse(path: str | Path, *parts: str, device: str = "cpu") -> None:
    with pytest.raises(CheckpointError) as caught:
        ActPolicy.load(path, device)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def test_a_missing_path_names_the_nearest_that_exists(tmp_path: Path):
    (tmp_path / "act_pick_cube").mkdir()
    refuse(
        tmp_path / "act_pick_cub" / "checkpoints",
        "there is no checkpoint",
        f"did you mean {tmp_path}/act_pick_cube?",
    )
    refuse(tmp_path / "zzz", f"{tmp_path} holds act_pick_cube")


def test_a_folder_without_a_checkpoint_says_what_it_holds(tmp_path: Path):
    (tmp_path / "videos").mkdir()
    refuse(tmp_path, "no checkpoint in", "videos")


def test_a_hub_id_that_cannot_be_had_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse("someone/act_pick_cube", "no folder someone/act_pick_cube", "hub id")


@dataclass
class Broken:
    """One way to damage a checkpoint, and what the message must name."""

    damage: Callable[[Path], Any]
    parts: tuple[str, ...]


def truncate(name: str, keep: float) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return damage


def drop_statistics(name: str, pattern: str) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        (path,) = folder.glob(pattern)
        save_file({key: value for key, value in load_file(path).items() if not key.startswith(name)}, path)

    return damage


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.action_head.bias"]
    save_file(weights, folder / "model.safetensors")


DAMAGES = {
    "weights cut short": Broken(truncate("model.safetensors", 0.7), ("model.safetensors", "cut short")),
    "weights empty": Broken(truncate("model.safetensors", 0), ("model.safetensors", "cut short (0 bytes)")),
    "weights missing": Broken(lambda d: (d / "model.safetensors").unlink(), ("has no model.safetensors",)),
    "one weight missing": Broken(drop_weight, ("does not fit", "action_head.bias")),
    "config cut short": Broken(truncate("config.json", 0.5), ("config.json", "cut short")),
    "config no object": Broken(lambda d: (d / "config.json").write_text("[1]"), ("list",)),
    "config with other sizes": Broken(
        lambda d: change(d / "config.json", lambda c: c.update(dim_model=64)),
        ("does not fit", "model.safetensors"),
    ),
    "config with an unknown field": Broken(
        lambda d: change(d / "config.json", lambda c: c.update(nonsense=1)), ("config.json", "nonsense")
    ),
    "no output": Broken(
        lambda d: change(d / "config.json", lambda c: c.update(output_features={})), ("has no output",)
    ),
    "another policy": Broken(
        lambda d: change(d / "config.json", lambda c: c.update(type="diffusion")), ("type 'diffusion'", "ACT")
    ),
    "an unknown policy": Broken(
        lambda d: change(d / "config.json", lambda c: c.update(type="mystery")), ("type 'mystery'", "plugin")
    ),
    "no type": Broken(lambda d: change(d / "config.json", lambda c: c.pop("type")), ("type None",)),
    "preprocessor missing": Broken(
        lambda d: (d / "policy_preprocessor.json").unlink(), ("has no policy_preprocessor.json", "migrate")
    ),
    "postprocessor cut short": Broken(
        truncate("policy_postprocessor.json", 0.5), ("policy_postprocessor.json",)
    ),
    "statistics missing": Broken(
        lambda d: next(d.glob("*preprocessor_step*.safetensors")).unlink(),
        ("has no policy_preprocessor_step_3_normalizer_processor.safetensors",),
    ),
    "no statistics of the state": Broken(
        drop_statistics(OBS_STATE, "*preprocessor_step*.safetensors"),
        ("no mean and std of observation.state",),
    ),
    "no statistics of the action": Broken(
        drop_statistics(ACTION, "*postprocessor_step*.safetensors"), ("no mean and std of action",)
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_refused_in_one_line(broken: Path, name: str):
    DAMAGES[name].damage(broken)
    refuse(broken, *DAMAGES[name].parts)


@pytest.mark.parametrize("device", ["cuda:7", "warp", "mps"])
def test_a_device_that_is_not_there_is_refused_and_those_that_are_there_named(saved: Path, device: str):
    refuse(saved, device, "this machine has cpu", device=device)


def test_loading_prints_nothing(saved: Path, capsys: pytest.CaptureFixture[str]):
    ActPolicy.load(saved)
    assert capsys.readouterr().out == ""


# Robots that do not fit


def misfits(
    policy: ActPolicy, joints: tuple[str, ...] = SO101_JOINTS, cameras: dict[str, tuple[int, int]] = CAMERAS
) -> str:
    with pytest.raises(PolicyError) as caught:
        policy.check_robot(joints, cameras)
    return str(caught.value)


def test_a_robot_that_fits_passes(policy: ActPolicy):
    policy.check_robot(SO101_JOINTS, CAMERAS)
    policy.check_robot([f"{name}.pos" for name in SO101_JOINTS], dict(reversed(CAMERAS.items())))


def test_a_camera_that_the_robot_lacks_is_asked_for(policy: ActPolicy):
    message = misfits(policy, cameras={"front": (32, 64)})
    assert "uses the cameras front (64x32), wrist (64x64)" in message
    assert "wrist is missing" in message
    assert "the robot has front (64x32)" in message


def test_a_camera_that_the_policy_lacks_is_named_with_the_way_out(policy: ActPolicy):
    message = misfits(policy, cameras=CAMERAS | {"top": (48, 64)})
    assert "does not know top" in message
    assert "Drop top from --robot.cameras" in message


def test_a_renamed_camera_shows_both_sides(policy: ActPolicy):
    message = misfits(policy, cameras={"front": (32, 64), "hand": (64, 64)})
    assert "wrist is missing" in message
    assert "does not know hand" in message


def test_a_camera_of_another_size_is_told_what_to_be(policy: ActPolicy):
    message = misfits(policy, cameras=CAMERAS | {"front": (480, 640)})
    assert "trained with 64x32 pixels, the robot gives 640x480" in message
    assert "width to 64 and its height to 32" in message


def test_other_joints_are_named(policy: ActPolicy):
    swapped = (SO101_JOINTS[1], SO101_JOINTS[0], *SO101_JOINTS[2:])
    assert "names and order must be the same" in misfits(policy, joints=swapped)
    assert "6 joint targets; the robot has 5 joints" in misfits(policy, joints=SO101_JOINTS[:5])


def test_a_checkpoint_of_another_robot_does_not_fit(tmp_path: Path):
    policy = ActPolicy.load(save(tmp_path, act_config(joints=14)))
    message = misfits(policy)
    assert "14 joint targets; the robot has 6 joints" in message
    assert "14 joint positions" in message


def test_a_policy_that_needs_the_environments_state_loads_but_fits_no_robot(tmp_path: Path):
    policy = ActPolicy.load(save(tmp_path, act_config(env=3)))
    assert "environment_state" in misfits(policy)
    with pytest.raises(PolicyError, match="environment_state"):
        policy.predict(*observation())


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ({"front": np.zeros((32, 64, 3), np.uint8)}, "needs an image of camera wrist; got images of front"),
        (
            {"front": np.zeros((64, 32, 3), np.uint8), "wrist": np.zeros((64, 64, 3), np.uint8)},
            "camera front",
        ),
        ({"front": np.zeros((32, 64, 3), np.float32), "wrist": np.zeros((64, 64, 3), np.uint8)}, "float32"),
    ],
)
def test_images_that_do_not_fit_are_refused(policy: ActPolicy, images: dict[str, np.ndarray], expected: str):
    with pytest.raises(PolicyError, match=expected):
        policy.predict(np.zeros(6), images)


def test_a_state_of_another_length_is_refused(policy: ActPolicy):
    with pytest.raises(PolicyError, match="takes 6 joint positions"):
        policy.predict(np.zeros(5), observation()[1])
