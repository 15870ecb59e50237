"""A checkpoint that does what it must not, at every command that reads one: one message, exit code 2, nothing done.

What is refused, and by which words, is tested where it is read (`tests/policy/checkpoint`). Here is asked whether the
commands read there: none may reach LeRobot, an arm or a process of its own first.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from so101_eval.cli import EVAL
from so101_eval.episode.config_env import PalletizingEnvConfig
from so101_policy.checkpoint.folder import CONFIG, TRAIN_CONFIG, TRAINED_ON, WEIGHTS
from so101_policy.cli import RELIANCE, TRAIN
from so101_policy.command_line.command_shell import Command
from so101_policy.errors import CheckpointError
from so101_robot.arm.arm import SO101
from so101_robot.cli import RUN
from so101_robot.commands import run as run_module
from so101_robot.errors import ConfigError
from tiny_training import policy_flags, record_boxes

pytestmark = pytest.mark.timeout(600)

PX = 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short episodes."""
    return record_boxes(tmp_path_factory.mktemp("data") / "boxes", episodes=2, size=(PX, PX))


def trained_by(dataset: Path) -> list[str]:
    return ["--dataset.repo_id=local/boxes", f"--dataset.root={dataset}", "--trackers=none", "--held_out=0"]


@pytest.fixture(scope="module")
def run_folder(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that can be gone on with. Not to be changed."""
    out = tmp_path_factory.mktemp("train") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SO101_CACHE", str(out.parent / "cache"))
        flags = [*trained_by(dataset), *policy_flags()]
        assert TRAIN.main([*flags, "--steps=2", "--batch_size=4", f"--output_dir={out}"]) == 0
    return out


@pytest.fixture
def hostile(run_folder: Path, tmp_path: Path) -> Path:
    """The folder of a copy of that training's checkpoint, still harmless."""
    copy = shutil.copytree(run_folder, tmp_path / "run", symlinks=True)
    return copy / "checkpoints" / "000002" / "pretrained_model"


REAL_CONNECT = SO101.connect


@pytest.fixture(autouse=True)
def _nothing_may_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No arm is connected, no folder of a run begun."""
    monkeypatch.setattr(SO101, "connect", lambda *_, **__: pytest.fail("an arm was connected"))


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def runs_a_command(folder: Path) -> str:
    step = {"class": "subprocess.Popen", "config": {"args": ["touch", str(folder / "PWNED")]}}
    change(folder / "policy_preprocessor.json", lambda data: data["steps"].insert(0, step))
    return "subprocess.Popen"


def weights_are_nan(folder: Path) -> str:
    tensors = load_file(folder / WEIGHTS)
    save_file({name: torch.full_like(x, torch.nan) for name, x in tensors.items()}, folder / WEIGHTS)
    return "not finite"


def starts_at_infinity(folder: Path) -> str:
    change(folder / CONFIG, lambda data: data.update(start_pose=[1e308, 0, 0, 0, 0, 0]))
    return "start_pose"


def plays_too_fast(folder: Path) -> str:
    change(folder / TRAINED_ON, lambda data: data.update(fps=1e308))
    return "fps"


def links_out(folder: Path) -> str:
    shutil.move(folder / WEIGHTS, folder.parents[3] / "stolen.safetensors")
    (folder / WEIGHTS).symlink_to(folder.parents[3] / "stolen.safetensors")
    return "link out"


ATTACKS = (runs_a_command, weights_are_nan, starts_at_infinity, plays_too_fast, links_out)


def so101_run(folder: Path, out: Path, dataset: Path) -> tuple[Command, list[str]]:
    mock = [f"--robot.mock.width={PX}", f"--robot.mock.height={PX}", "--robot.port=mock", "--dashboard=off"]
    return RUN, [f"--policy.path={folder}", *mock, f"--output_dir={out}"]


def so101_eval_run(folder: Path, out: Path, dataset: Path) -> tuple[Command, list[str]]:
    task = ["--task=palletize-1", "--episodes=1", "--num_workers=1", f"--output_dir={out}"]
    return EVAL, ["run", "--policies", f"it={folder}", *task]


def so101_reliance(folder: Path, out: Path, dataset: Path) -> tuple[Command, list[str]]:
    return RELIANCE, [f"--policy.path={folder}", f"--dataset.root={dataset}", f"--output_dir={out}"]


def so101_train_path(folder: Path, out: Path, dataset: Path) -> tuple[Command, list[str]]:
    return TRAIN, [*trained_by(dataset), f"--policy.path={folder}", "--steps=1", f"--output_dir={out}"]


def so101_train_resume(folder: Path, out: Path, dataset: Path) -> tuple[Command, list[str]]:
    return TRAIN, [f"--config_path={folder / TRAIN_CONFIG}", "--resume=true", "--steps=3"]


COMMANDS = (so101_run, so101_eval_run, so101_reliance, so101_train_path, so101_train_resume)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_it_is_refused_in_one_message_and_nothing_is_done(
    attack: Callable[[Path], str],
    command: Callable[[Path, Path, Path], tuple[Command, list[str]]],
    hostile: Path,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    words, out = attack(hostile), tmp_path / "out"
    asked, arguments = command(hostile, out, dataset)
    assert asked.main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert said.count(f"{asked.name}") == 1
    assert not list(tmp_path.rglob("PWNED"))
    assert not out.exists()


@pytest.mark.parametrize("command", [so101_run, so101_reliance])
@pytest.mark.parametrize("device", ["cuda:77", "mps:3", "gpu", "cpu:x"])
def test_a_device_that_is_not_there_is_refused_and_no_other_is_taken(
    device: str,
    command: Callable[[Path, Path, Path], tuple[Command, list[str]]],
    run_folder: Path,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    asked, arguments = command(run_folder, tmp_path / "out", dataset)
    assert asked.main([*arguments, f"--policy.device={device}"]) == 2
    said = capsys.readouterr().err
    assert "device" in said
    assert device in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_the_colours_of_the_recordings_reach_the_preflight_of_a_run(
    run_folder: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By them swapped cameras are noticed."""
    asked: list[Any] = []

    def preflight(*given: Any) -> None:
        asked.append(given[4])
        raise ConfigError("that is all")

    monkeypatch.setattr(SO101, "connect", lambda *_: None)
    monkeypatch.setattr(SO101, "disconnect", lambda *_, **__: None)
    monkeypatch.setattr(run_module, "preflight", preflight)
    command, arguments = so101_run(run_folder, tmp_path / "out", dataset)
    assert command.main(arguments) == 2
    ((front, wrist),) = [list(colours.values()) for colours in asked]
    assert front == pytest.approx([0.5] * 3, abs=0.02)  # pictures of every colour
    assert wrist == pytest.approx([0.5] * 3, abs=0.02)


def test_an_episode_is_not_repeated_with_it(
    hostile: Path,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """`so101-eval replay`, where the checkpoint has changed since the run."""
    out, folder = tmp_path / "eval", tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(SO101, "connect", REAL_CONNECT)
        assert EVAL.main(so101_eval_run(hostile, out, hostile)[1]) == 0
    for attack in ATTACKS:
        shutil.rmtree(folder)
        shutil.copytree(run_folder, folder, symlinks=True)
        words = attack(hostile)
        capsys.readouterr()
        assert EVAL.main(["replay", str(out), "1", "--no_video"]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert "Traceback" not in said
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.parametrize(
    "text", ["{" * 100_000, '{"policy": ' * 5000, "[1, 2]", "null", '{"policy": {"type": ["act"]}}']
)
def test_settings_of_a_training_that_are_none_are_one_message(
    text: str, hostile: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """LeRobot's parser reads them before anything here looks at the checkpoint."""
    (hostile / TRAIN_CONFIG).write_text(text)
    asked, arguments = so101_train_resume(hostile, tmp_path / "out", dataset)
    assert asked.main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_lerobots_evaluation_in_our_environment_looks_first(hostile: Path, monkeypatch: pytest.MonkeyPatch):
    """Its environment is made before its policy."""
    runs_a_command(hostile)
    monkeypatch.setattr(sys, "argv", ["lerobot-eval", f"--policy.path={hostile}"])
    with pytest.raises(CheckpointError, match=r"subprocess\.Popen"):
        PalletizingEnvConfig(task="palletize-1")
    assert not (hostile / "PWNED").exists()
