"""Wrong input: one readable message, exit code 2, nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from so101_policy.cli import TRAIN

Train = Callable[..., Path]
Flags = Callable[..., list[str]]
Record = Callable[..., Path]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert TRAIN.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.count("so101-train:") == 1
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--regularizer.floor=0.9", "floor"),
        ("--policy.dim_modle=3", "did you mean --policy.dim_model?"),
        ("--steps=many", "steps"),
        ("--precision=fp8", "fp32, bf16"),
        ("--cache.size=big", "HEIGHTxWIDTH"),
        ("--held_out=0.9999", "leaves none to train on"),
        ("--dataset.episodes=[0,9]", "episodes 0 to 3"),
        ("--policy.vision_backbone=resnet18", "frozen"),
        ("--trackers=mlflow", "tensorboard"),
        ("--dataset.streaming=true", "lerobot-train does"),
        ("--policy.n_obs_steps=2", "Multiple observation steps not handled yet"),
        (
            "--policy.temporal_ensemble_coeff=0.01",
            "`n_action_steps` must be 1 when using temporal ensembling.",
        ),
        ("--policy.n_action_steps=9", "The chunk size is the upper bound"),
        (
            "--policy.feedforward_activation=sine",
            "--policy.feedforward_activation is 'sine', expected one of relu",
        ),
        ("--policy.n_heads=3", "--policy.dim_model is 16 and n_heads 3"),
        ("--policy.dropout=2", "--policy.dropout is 2.0, expected a number from 0 to 1"),
        ('--policy.normalization_mapping={"STATE": "FOO"}', "FOO"),
        ("--policy.vision_backbone=resnet11", "possible: resnet18, resnet34"),
        (
            "--policy.device=cuda:77",
            "--policy.device=cuda:77: device 'cuda:77' is not available; this machine has cpu",
        ),
        ("--policy.device=gpu", "there is no device 'gpu'"),
        ("--dataset.video_backend=ffmpeg", "torchcodec, pyav"),
        ("--optimizer.type=multi_adam", "possible are adam, adamw, sgd"),
        ("--eval_freq=5", "lerobot-train calls it --env_eval_freq now"),
        ("--config_path=me/nothing-there-7", "me/nothing-there-7"),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str], flag: str, told: str
):
    more = ["--regularizer.preset=phase3"] if "floor" in flag else []
    more += ["--policy.pretrained_backbone_weights=null"] if "resnet18" in flag else []
    assert told in refused(flags(tmp_path / "run", *more, flag), capsys)
    assert not (tmp_path / "run").exists()


def test_a_dataset_that_is_not_there(tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]):
    said = refused(flags(tmp_path / "run", root=tmp_path / "nowhere"), capsys)
    assert "there is no dataset folder" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"cameras": {"front": (32, 32), "top": (32, 32)}}, "uses the camera wrist"),
        ({"cameras": {"front": (32, 64), "wrist": (32, 64)}}, "--cache.size=32x32"),
        ({"joints": ("a.pos", "b.pos")}, "the policy has 3 joint targets, the dataset has 2"),
        ({"joints": ("a.pos", "b.pos", "z.pos")}, "another robot"),
    ],
)
def test_a_dataset_of_another_robot(
    tmp_path: Path,
    train: Train,
    flags: Flags,
    recorded: Record,
    capsys: pytest.CaptureFixture[str],
    other: dict[str, object],
    told: str,
):
    trained = train(tmp_path / "first", "--steps=1")
    root = recorded(tmp_path / "other", lengths=(5, 5), **other)
    data = [flag for flag in flags(tmp_path / "run", root=root) if not flag.startswith("--policy.")]
    source = f"--policy.path={trained / 'checkpoints/last/pretrained_model'}"
    assert told in refused([*data, source], capsys)
    assert not (tmp_path / "run").exists()


def test_a_shifted_dataset_must_look_like_the_one_trained_on(
    tmp_path: Path, train: Train, flags: Flags, recorded: Record, capsys: pytest.CaptureFixture[str]
):
    other = recorded(tmp_path / "other", lengths=(5,), cameras={"front": (32, 32)})
    assert "wrist: missing" in refused(flags(tmp_path / "run", f"--shifted.root={other}"), capsys)
    alike = recorded(tmp_path / "alike", lengths=(5, 6), seed=4)
    out = train(tmp_path / "run", f"--shifted.root={alike}", "--eval_steps=3", "--steps=3")
    assert "shifted_l1" in (out / "metrics.jsonl").read_text()


def test_a_folder_that_is_taken(tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "run").mkdir()
    assert "already exists" in refused(flags(tmp_path / "run"), capsys)


@pytest.mark.parametrize("type_", ["act", "regularized_act"])
def test_weights_of_another_backbone_are_refused_before_frames_are_decoded(
    tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str], type_: str
):
    given = (
        f"--policy.type={type_}",
        "--policy.vision_backbone=resnet50",
        f"--cache.folder={tmp_path / 'cache'}",
    )
    weights = "--policy.pretrained_backbone_weights=ResNet18_Weights.IMAGENET1K_V1"
    said = refused(flags(tmp_path / "run", *given, weights), capsys)
    assert "ResNet18_Weights.IMAGENET1K_V1 are not of --policy.vision_backbone=resnet50" in said
    assert "expected ResNet50_Weights.IMAGENET1K_V1 or null" in said
    assert not list(tmp_path.iterdir())


def test_a_device_that_a_resumed_run_was_on_is_there_or_another_is_named(
    tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
):
    out = train(tmp_path / "run", "--steps=1")
    file = out / "checkpoints/last/pretrained_model/train_config.json"
    file.write_text(file.read_text().replace('"device": "cpu"', '"device": "cuda:77"'))
    resume = [f"--config_path={out}", "--resume=true", "--steps=2"]
    assert "--policy.device=cpu trains there" in refused(resume, capsys)
    assert TRAIN.main([*resume, "--policy.device=cpu"]) == 0
