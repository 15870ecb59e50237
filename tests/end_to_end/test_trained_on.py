"""What a policy was trained on, from the recording to whoever plays it: one rate, one scaling, one unit, everywhere."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as vision
from numpy.typing import NDArray

import tiny_training
from checkpoints import untrained
from short_attempts import hurry
from so101_eval.cli import EVAL
from so101_eval.episode.config_env import PalletizingEnvConfig
from so101_eval.errors import ConfigError
from so101_policy import ActPolicy
from so101_policy.checkpoint.folder import TRAIN_CONFIG, TRAINED_ON
from so101_policy.cli import TRAIN
from so101_policy.train.data import DEMONSTRATIONS
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.cli import RUN
from so101_robot.joints import GRIPPER
from so101_robot.mock.config import MockConfig
from so101_robot.runs.log import read_ticks
from tiny_training import ACT, policy_flags, record_boxes

pytestmark = pytest.mark.timeout(600)
"""All that is imported for a training and a run takes 20 s of a free core."""

RECORDED, TRAINED = (48, 64), (32, 32)
QUICK = ["--robot.port=mock", "--robot.mock.realtime_factor=0", "--dashboard=off", "--ending.home=false"]
QUICK += ["--robot.mock.renderer=ray", "--approach_speed=0", "--policy.engine=plain"]
IN_RANGE = {
    "min": [-58.2, -99.7, -24.6, -6.3, -61.0, 0.9],
    "max": [61.4, 38.5, 99.5, 99.2, 54.1, 71.3],
    "mean": [0.0, -60.0, 60.0, 50.0, 10.0, 30.0],
    "std": [5.0] * 6,
}
"""Statistics of joints in LeRobot's -100..100."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short episodes at 10 fps; two cameras of 64x48, pictures in tables."""
    root = record_boxes(tmp_path_factory.mktemp("data") / "boxes", episodes=3, size=RECORDED)
    (root / DEMONSTRATIONS).write_text('{"seed": 1000001, "reset": {"task": "palletize-1"}}\n')
    return root


@pytest.fixture(scope="module")
def checkpoint(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeRobot's ACT, trained by so101-train on pictures that it scaled to 32x32."""
    out = tmp_path_factory.mktemp("train") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SO101_CACHE", str(out.parent / "cache"))
        flags = policy_flags(ACT | {"pretrained_backbone_weights": "null"})
        flags += ["--policy.type=act", "--dataset.repo_id=local/boxes", f"--dataset.root={dataset}"]
        flags += ["--cache.size=32x32", "--steps=2", "--batch_size=4", "--trackers=none", "--held_out=0"]
        assert TRAIN.main([*flags, f"--output_dir={out}"]) == 0
    return out / "checkpoints" / "last" / "pretrained_model"


@pytest.fixture
def stock(dataset: Path, tmp_path: Path) -> Path:
    """LeRobot's ACT with what `lerobot-train` writes of its dataset, and no word about a rate."""
    folder = untrained(tmp_path / "stock", px=32, chunk_size=5, n_action_steps=3)
    settings = {"dataset": {"repo_id": "local/boxes", "root": str(dataset)}}
    (folder / TRAIN_CONFIG).write_text(json.dumps(settings))
    return folder


type Asked = tuple[NDArray[np.float64], dict[str, NDArray[np.uint8]], NDArray[np.float32]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """Every question to a policy, and its answer."""
    found: list[Asked] = []
    real: Callable[..., Any] = ActPolicy.predict

    def predict(self: ActPolicy, state: Any, images: Any) -> Any:
        answer = real(self, state, images)
        copies = {name: np.array(image) for name, image in images.items()}
        found.append((np.array(state), copies, answer.actions.copy()))
        return answer

    monkeypatch.setattr(ActPolicy, "predict", predict)
    return found


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm that must not be moved."""
    for name in ("command", "hold", "release"):
        monkeypatch.setattr(SO101, name, lambda *_, name=name: pytest.fail(f"the arm was told to {name}"))


def sized(size: tuple[int, int]) -> list[str]:
    return [f"--robot.mock.height={size[0]}", f"--robot.mock.width={size[1]}"]


def about(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())["policy"]


def as_trained(images: dict[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
    """Scaled by torchvision, which is not our way there."""
    small = {
        name: vision.resize(torch.from_numpy(x).permute(2, 0, 1), list(TRAINED), antialias=True)
        for name, x in images.items()
    }
    return {name: np.ascontiguousarray(x.permute(1, 2, 0).numpy()) for name, x in small.items()}


def test_a_training_says_what_it_was_on(checkpoint: Path, dataset: Path):
    known = json.loads((checkpoint / TRAINED_ON).read_text())
    assert (known["fps"], known["scaled_by"]) == (10.0, "bilinear_antialias")
    assert tuple(known["joints"]) == tiny_training.JOINTS
    size = {"recorded": list(RECORDED), "trained": list(TRAINED)}
    assert known["cameras"] == {"front": size, "wrist": size}
    assert known["units"] is None  # no joint of theirs goes beyond 100
    assert known["dataset"]["frames"] == 18
    assert len(known["dataset"]["info_sha256"]) == 64
    assert known["dataset"]["scene"] == "palletize-1"


def test_so101_run_plays_it_at_its_rate_on_frames_scaled_as_in_training(
    checkpoint: Path, tmp_path: Path, asked: list[Asked]
):
    out = tmp_path / "run"
    arguments = [
        f"--policy.path={checkpoint}",
        f"--output_dir={out}",
        "--duration_s=1",
        *QUICK,
        *sized(RECORDED),
    ]
    assert RUN.main(arguments) == 0
    assert (about(out)["fps"], about(out)["ticks_per_action"]) == (10.0, 3)
    assert about(out)["scaled_from"] == {"front": [64, 48], "wrist": [64, 48]}
    assert len(asked) > 1
    policy = ActPolicy.load(checkpoint)
    for state, images, actions in list(asked):
        assert {image.shape for image in images.values()} == {(*RECORDED, 3)}
        np.testing.assert_allclose(policy.predict(state, as_trained(images)).actions, actions, atol=1e-4)


def test_so101_eval_plays_both_sides_of_a_comparison_at_their_rate(
    checkpoint: Path, stock: Path, tmp_path: Path, asked: list[Asked], monkeypatch: pytest.MonkeyPatch
):
    hurry(monkeypatch)
    out = tmp_path / "run"
    task = ["--task=palletize-1", "--episodes=1", "--num_workers=1", f"--output_dir={out}"]
    assert EVAL.main(["run", "--policies", f"ours={checkpoint}", *task]) == 0
    plan = json.loads((out / "run.json").read_text())["plan"]
    assert (plan["height"], plan["width"]) == RECORDED
    assert asked[0][1]["front"].shape == (*RECORDED, 3)
    both = ["--policies", f"ours={checkpoint}", f"stock={stock}"]
    again = tmp_path / "both"
    assert EVAL.main(["run", *both, *task[:3], f"--output_dir={again}"]) == 0
    plan = json.loads((again / "run.json").read_text())["plan"]
    assert {policy["name"]: policy["fps"] for policy in plan["policies"]} == {"ours": 10.0, "stock": 10.0}
    assert (plan["height"], plan["width"]) == TRAINED  # the one size that both take


def test_lerobot_evals_environment_goes_at_the_rate_and_scales(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(sys, "argv", ["lerobot-eval", f"--policy.path={checkpoint}"])
    config = PalletizingEnvConfig(task="palletize-1")
    assert config.fps == 10
    assert (config.observation_height, config.observation_width) == TRAINED
    assert (config.camera_height, config.camera_width) == RECORDED
    with pytest.raises(ConfigError, match="trained on 10 actions per second"):
        PalletizingEnvConfig(task="palletize-1", fps=30)
    nothing = untrained(tmp_path / "nothing", px=32)
    monkeypatch.setattr(sys, "argv", ["lerobot-eval", f"--policy.path={nothing}"])
    with pytest.raises(ConfigError, match=r"Give --env\.fps"):
        PalletizingEnvConfig(task="palletize-1")
    assert PalletizingEnvConfig(task="palletize-1", fps=15).fps == 15


def test_a_training_in_lerobot_tells_its_environment_the_rate(dataset: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["lerobot-train", "--dataset.root", str(dataset), "--policy.type=act"])
    assert PalletizingEnvConfig(task="palletize-1").fps == 10
    monkeypatch.setattr(sys, "argv", ["lerobot-train", "--dataset.repo_id=nobody/nothing"])
    with pytest.raises(ConfigError, match=r"'nobody/nothing' is not on this machine"):
        PalletizingEnvConfig(task="palletize-1")
    monkeypatch.setattr(sys, "argv", ["python"])
    assert PalletizingEnvConfig(task="palletize-1").fps == 30


def test_so101_run_looks_the_rate_up(stock: Path, tmp_path: Path):
    out = tmp_path / "run"
    arguments = [f"--policy.path={stock}", f"--output_dir={out}", "--duration_s=0.3", *QUICK, *sized(TRAINED)]
    assert RUN.main(arguments) == 0
    assert about(out)["fps"] == 10.0


@pytest.mark.usefixtures("untouched")
def test_a_rate_that_nobody_knows_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    nothing, out = untrained(tmp_path / "nothing", px=32), tmp_path / "run"
    assert RUN.main([f"--policy.path={nothing}", f"--output_dir={out}", *QUICK, *sized(TRAINED)]) == 2
    said = capsys.readouterr().err
    assert "Give --policy.fps" in said
    assert "Traceback" not in said
    assert not out.exists()
    task = ["--task=palletize-1", "--episodes=1", f"--output_dir={out}"]
    assert EVAL.main(["run", "--policies", f"it={nothing}", *task]) == 2
    assert "Give --fps" in capsys.readouterr().err
    assert not out.exists()


# Units


@pytest.fixture
def in_range(tmp_path: Path) -> Path:
    """A policy of joints in -100..100, by its statistics."""
    return untrained(tmp_path / "range", px=32, joints=IN_RANGE, n_action_steps=5, chunk_size=5)


@pytest.mark.usefixtures("untouched")
def test_a_policy_of_another_unit_drives_nothing(
    in_range: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    flags = [f"--policy.path={in_range}", "--fps=30", "--policy.fps=30", *QUICK, *sized(TRAINED)]
    assert RUN.main([*flags, f"--output_dir={tmp_path / 'run'}"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "LeRobot's -100..100?" in said
    assert "--robot.use_degrees=false" in said
    task = ["--task=palletize-1", "--episodes=1", "--fps=30", f"--output_dir={tmp_path / 'eval'}"]
    assert EVAL.main(["run", "--policies", f"it={in_range}", *task]) == 2
    assert "--use_degrees=false" in capsys.readouterr().err


def test_with_the_flag_it_is_converted_both_ways(in_range: Path, tmp_path: Path, asked: list[Asked]):
    out = tmp_path / "run"
    flags = [f"--policy.path={in_range}", "--fps=30", "--duration_s=1", "--robot.use_degrees=false"]
    assert RUN.main([*flags, f"--output_dir={out}", *QUICK, *sized(TRAINED)]) == 0
    assert about(out)["units"] == "-100..100"
    mock = MockConfig(width=16, height=12, renderer="ray", realtime_factor=0.0)
    robot = SO101(SO101Config(port="mock", mock=mock))
    robot.connect()
    unit = robot.bus.scale.range_unit
    robot.disconnect()
    assert np.abs(unit[:GRIPPER] - 1).max() > 0.5
    ticks = [tick for tick in read_ticks(out / "ticks.jsonl") if tick.get("phase") == "run"]
    first = next(tick for tick in ticks if tick["asked"] is not None)
    np.testing.assert_allclose(asked[0][0] * unit, ticks[0]["state"], atol=0.01)
    at = first["chunk"]["index"]
    np.testing.assert_allclose(asked[0][2][at] * unit, first["asked"], atol=0.01)
