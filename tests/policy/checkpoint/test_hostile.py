"""What a checkpoint of strangers must not do: each of these did it once, or ended in a traceback."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints import untrained
from so101_policy import ActPolicy, CheckpointError
from so101_policy.checkpoint.folder import CONFIG, PROCESSORS, TRAINED_ON, WEIGHTS
from so101_policy.files.plain_data import MOST_DEPTH, depth_of, parse_json
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy

PRE, POST = PROCESSORS
PRE_STATE = "policy_preprocessor_step_3_normalizer_processor.safetensors"
POST_STATE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"


@pytest.fixture
def copy(valid: Path, tmp_path: Path) -> Path:
    return shutil.copytree(valid, tmp_path / "copy")


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def retensor(path: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def refused(folder: Path) -> str:
    """The one message."""
    with pytest.raises(CheckpointError) as caught:
        ActPolicy.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 1500
    return message


def test_the_checkpoint_itself_loads(copy: Path):
    assert ActPolicy.load(copy).fps == 30


# Processors


@pytest.mark.parametrize("file", PROCESSORS)
def test_a_class_by_its_path_is_refused_and_not_called(copy: Path, tmp_path: Path, file: str):
    mark = tmp_path / "PWNED"
    step = {"class": "subprocess.Popen", "config": {"args": ["touch", str(mark)]}}
    change(copy / file, lambda data: data["steps"].insert(0, step))
    message = refused(copy)
    assert "subprocess.Popen" in message
    assert file in message
    assert not mark.exists()


def test_a_class_beside_a_registered_name_is_refused_too(copy: Path):
    change(copy / PRE, lambda data: data["steps"][0].update({"class": "os.system"}))
    assert "os.system" in refused(copy)


def test_nothing_is_imported_for_a_class(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'PWNED')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    change(copy / PRE, lambda data: data["steps"].append({"class": "evil_module.Step"}))
    refused(copy)
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("name", ["tokenizer_processor", "mystery", ["x"], None, "to_batch_processor\x1b[2J"])
def test_a_step_that_is_not_on_the_list_is_refused_by_its_name(copy: Path, name: Any):
    change(copy / PRE, lambda data: data["steps"].insert(0, {"registry_name": name, "config": {}}))
    assert f"the step {name!r}" in refused(copy)


@pytest.mark.parametrize(
    "state", ["../out.safetensors", "/out.safetensors", "sub/x.safetensors", "", "..", 7]
)
def test_statistics_from_elsewhere_are_refused(copy: Path, state: Any):
    shutil.copy(copy / PRE_STATE, copy.parent / "out.safetensors")
    change(copy / PRE, lambda data: data["steps"][-1].update(state_file=state))
    refused(copy)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, *PROCESSORS, PRE_STATE, POST_STATE, "train_config.json"])
def test_a_link_out_of_the_folder_is_refused(copy: Path, tmp_path: Path, name: str):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    if (copy / name).exists():
        shutil.move(copy / name, outside / name)
    else:
        (outside / name).write_text("{}")
    (copy / name).symlink_to(outside / name)
    assert "link out of the checkpoint's folder" in refused(copy)


def test_a_camera_cut_out_of_the_configuration_is_missed(copy: Path):
    """The weights fit any number of cameras, so it would load, and act as if the camera had never been there."""
    change(copy / CONFIG, lambda data: data["input_features"].pop("observation.images.front"))
    assert "it has cameras of [[32, 32], [32, 32]], config.json of [[32, 32]]" in refused(copy)
    (copy / TRAINED_ON).unlink()  # as of checkpoints that have none
    assert "'observation.images.front' is scaled, but config.json does not have it" in refused(copy)


def test_links_into_the_blobs_of_the_hubs_cache_are_what_it_is_made_of(valid: Path, tmp_path: Path):
    repo = tmp_path / "models--someone--act"
    snapshot, blobs = repo / "snapshots" / "abc", repo / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(valid.iterdir())):
        shutil.copy(path, blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert ActPolicy.load(snapshot).fps == 30
    shutil.move(blobs / "0", tmp_path / "stolen")
    (blobs / "0").symlink_to(tmp_path / "stolen")
    assert "link out" in refused(snapshot)


def test_a_pipe_in_a_files_place_does_not_hang(copy: Path):
    (copy / WEIGHTS).unlink()
    os.mkfifo(copy / WEIGHTS)
    assert "not an ordinary file" in refused(copy)


@pytest.mark.parametrize(
    ("file", "index", "settings"),
    [
        (PRE, -1, {"stats": {"action": {"mean": [0], "std": [1]}}}),
        (PRE, -1, {"normalize_observation_keys": []}),
        (PRE, -1, {"eps": 1e9}),
        (PRE, -1, {"eps": "1e-8"}),
        (PRE, -1, {"features": {}}),
        (PRE, -1, {"norm_map": {"VISUAL": "MEAN_STD", "STATE": "IDENTITY", "ACTION": "MEAN_STD"}}),
        (PRE, 0, {"rename_map": ["x"]}),
        (PRE, 2, {"float_dtype": "float16"}),
        (POST, 0, {"norm_map": {"ACTION": "IDENTITY"}}),
    ],
)
def test_settings_of_a_step_that_would_change_what_is_scaled_are_refused(
    copy: Path, file: str, index: int, settings: dict[str, Any]
):
    change(copy / file, lambda data: data["steps"][index]["config"].update(settings))
    assert file in refused(copy)


@pytest.mark.parametrize(("file", "index"), [(PRE, 1), (PRE, 2), (PRE, 3), (POST, 0), (POST, 1)])
def test_a_step_that_is_needed_must_be_there_and_once(copy: Path, file: str, index: int):
    before = (copy / file).read_text()
    change(copy / file, lambda data: data["steps"].pop(index))
    assert "has no step" in refused(copy)
    (copy / file).write_text(before)
    change(copy / file, lambda data: data["steps"].append(data["steps"][index]))
    assert "twice" in refused(copy)


def test_renaming_after_scaling_is_refused(copy: Path):
    def late(data: dict[str, Any]) -> None:
        step = data["steps"].pop(0)
        step["config"]["rename_map"] = {"observation.images.top": "observation.images.front"}
        data["steps"].append(step)

    change(copy / PRE, late)
    assert "scales before it renames" in refused(copy)


# config.json


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": ["act"]}, "type is ['act']"),
        ({"type": {"a": 1}}, "type is"),
        ({"type": "act\x1b]0;x\x07"}, "of type"),
        ({"n_heads": 7}, "n_heads 7"),
        ({"n_heads": "4"}, "n_heads is '4'"),
        ({"n_heads": True}, "n_heads is True"),
        ({"dim_model": 10**9}, "dim_model is 1000000000"),
        ({"chunk_size": 10**6}, "chunk_size is 1000000"),
        ({"chunk_size": 0}, "chunk_size is 0"),
        ({"n_action_steps": 7}, "n_action_steps is 7"),
        ({"temporal_ensemble_coeff": "x"}, "temporal_ensemble_coeff"),
        ({"feedforward_activation": "eval"}, "feedforward_activation is 'eval'"),
        ({"vision_backbone": "resnet"}, "resnet"),
        ({"normalization_mapping": {"STATE": "NONSENSE"}}, "NONSENSE"),
        ({"normalization_mapping": 3}, "normalization_mapping is 3"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": "fast"}, "fps is 'fast'"),
        ({"start_pose": [1e308, 0, 0, 0, 0, 0]}, "start_pose is [1e+308"),
        ({"start_pose": [400, 0, 0, 0, 0, 0]}, "start_pose"),
        ({"start_pose": [0, 0]}, "start_pose is [0, 0], expected 6 numbers"),
        ({"start_pose": "home"}, "start_pose is 'home'"),
        ({"regularizer": 3}, "regularizer"),
        ({"input_shapes": {}}, "LeRobot before 2025"),
        ({"input_features": []}, "input_features is []"),
        ({"output_features": {}}, "has no output"),
        ({"use_vae": None}, "use_vae is None"),
        ({"device": ["cpu"], "tags": 5}, "tags"),
        ({"nonsense\x1b[31m": 1}, "nonsense"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_what_is_expected(copy: Path, fields: Any, expected: str):
    change(copy / CONFIG, lambda data: data.update(fields))
    message = refused(copy)
    assert CONFIG in message or "of type" in message
    assert expected in message


@pytest.mark.parametrize(
    "shape", [[96], [], [10**6], [3, 10**6, 32], [1, 32, 32], [3, 32, 3.5], "x", None, [True]]
)
def test_a_shape_that_no_camera_has_is_refused(copy: Path, shape: Any):
    change(copy / CONFIG, lambda c: c["input_features"]["observation.images.front"].update(shape=shape))
    assert "the shape of input_features.observation.images.front is" in refused(copy)


@pytest.mark.parametrize(
    "field", ["n_heads", "pre_norm", "normalization_mapping", "input_features", "regularizer"]
)
def test_a_field_that_decides_about_actions_has_no_default(copy: Path, field: str):
    change(copy / CONFIG, lambda data: data.pop(field))
    assert field in refused(copy)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(copy: Path, word: str):
    path = copy / CONFIG
    path.write_text(path.read_text().replace('"fps": 30.0', f'"fps": {word}'))
    assert "not a finite number" in refused(copy)


@pytest.mark.parametrize("file", [CONFIG, *PROCESSORS])
def test_depth_and_size_are_bounded(copy: Path, file: str):
    before = (copy / file).read_text()
    (copy / file).write_text("[" * 100_000 + "]" * 100_000)
    assert "nested 100000 deep" in refused(copy)
    (copy / file).write_text(before[:-1].rstrip() + " " * 5_000_000)
    assert "too large" in refused(copy)


def test_brackets_in_strings_are_no_depth():
    assert depth_of('{"a": "[[[\\"[[", "b": [1]}') == 2
    assert parse_json("[" * MOST_DEPTH + "]" * MOST_DEPTH)
    with pytest.raises(ValueError, match="deep"):
        parse_json("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1))


def test_a_number_of_ten_thousand_digits_is_one_message(copy: Path):
    path = copy / CONFIG
    path.write_text(path.read_text().replace('"chunk_size": 6', '"chunk_size": ' + "9" * 10_000))
    assert CONFIG in refused(copy)


def test_steering_characters_in_names_do_not_reach_a_terminal(copy: Path):
    def rename(config: dict[str, Any]) -> None:
        inputs = config["input_features"]
        inputs["observation.images.\x1b[2Jfront"] = inputs.pop("observation.images.front")

    change(copy / CONFIG, rename)
    assert "\\x1b" in refused(copy)


# Weights and statistics


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(copy: Path, value: float):
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.decoder_pos_embed.weight"][0, 0] = value

    retensor(copy / WEIGHTS, spoil)
    assert "weights are not finite: model.decoder_pos_embed.weight" in refused(copy)


def test_missing_unknown_and_resized_weights_are_one_message(copy: Path):
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["model.action_head.bias"]
        tensors["model.extra"] = torch.zeros(2)
        tensors["model.action_head.weight"] = torch.zeros(6, 7)
        tensors["model.encoder.layers.0.norm1.weight"] = torch.zeros(32, dtype=torch.int32)

    retensor(copy / WEIGHTS, spoil)
    message = refused(copy)
    assert "missing: model.action_head.bias" in message
    assert "unknown: model.extra" in message
    assert "model.action_head.weight (found [6, 7], expected [6, 32])" in message
    assert "of another kind: model.encoder.layers.0.norm1.weight" in message


def test_a_model_larger_than_its_weights_is_refused_before_it_is_built(copy: Path):
    change(copy / CONFIG, lambda c: c.update(dim_feedforward=65_536, n_encoder_layers=64, dim_model=16_384))
    assert "does not fit" in refused(copy)  # would be a terabyte


@pytest.mark.parametrize("file", [WEIGHTS, PRE_STATE, POST_STATE])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_cut_file_is_one_message(copy: Path, file: str, keep: float):
    data = (copy / file).read_bytes()
    (copy / file).write_bytes(data[: int(len(data) * keep)])
    message = refused(copy)
    assert file in message
    assert "cut short" in message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("action.mean", torch.full((6,), float("nan")), "mean of action is not finite"),
        ("action.std", torch.full((6,), float("inf")), "std of action is not finite"),
        ("action.std", torch.full((6,), -1.0), "std of action is negative"),
        ("action.mean", torch.full((6,), 1e30), "mean of action goes to 1e+30"),
        ("action.mean", torch.zeros(1), "the shape [1], expected [6]"),
        ("action.mean", torch.zeros(6, 1), "the shape [6, 1], expected [6]"),
    ],
)
def test_statistics_that_no_data_has_are_refused(copy: Path, key: str, value: torch.Tensor, expected: str):
    retensor(copy / POST_STATE, lambda tensors: tensors.update({key: value}))
    assert expected in refused(copy)


def test_a_camera_of_other_sizes_in_the_processor_is_refused(copy: Path):
    def resize(data: dict[str, Any]) -> None:
        data["steps"][-1]["config"]["features"]["observation.images.front"]["shape"] = [3, 64, 64]

    change(copy / PRE, resize)
    assert "observation.images.front" in refused(copy)


# Built once


def test_a_policy_is_built_once(valid: Path, monkeypatch: pytest.MonkeyPatch):
    built: list[str] = []
    real = RegularizedACTPolicy.__init__

    def count(self: RegularizedACTPolicy, *settings: Any, **more: Any) -> None:
        built.append(type(self).__name__)
        real(self, *settings, **more)

    monkeypatch.setattr(RegularizedACTPolicy, "__init__", count)
    policy = ActPolicy.load(valid).policy
    assert built == ["RegularizedACTPolicy"]
    assert not policy.training
    stored = load_file(valid / WEIGHTS)
    assert all(torch.equal(weight, stored[name]) for name, weight in policy.state_dict().items())
    assert {weight.requires_grad for weight in policy.parameters()} == {True}


def test_numbers_that_are_not_in_the_file_are_there_all_the_same(tmp_path: Path):
    """Of LeRobot's temporal ensembling, which keeps them beside the model."""
    folder = untrained(tmp_path / "it", px=32, n_action_steps=1, temporal_ensemble_coeff=0.01)
    policy = ActPolicy.load(folder).policy
    assert policy.temporal_ensembler.ensemble_weights.tolist()[1] == pytest.approx(0.990, abs=1e-3)
