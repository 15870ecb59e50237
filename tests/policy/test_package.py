"""What the package exports, how light it is, and what is said where a package of an extra is missing."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import so101_policy
from so101_policy.command_line import extras
from so101_policy.command_line.extras import ACCELERATE, ONNX, OPENVINO, TRACKERS, MissingPackageError
from so101_policy.command_line.installed import line_to_install
from so101_policy.train import metrics
from so101_policy.train.processes import join_processes
from so101_policy.train.settings.config import TRACKERS as TRACKER_NAMES


@pytest.mark.parametrize("name", so101_policy.__all__)
def test_every_exported_name_is_there_and_documented(name: str):
    assert getattr(so101_policy, name).__doc__


def test_a_name_that_is_not_exported_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'Engine'"):
        _ = so101_policy.Engine


@pytest.mark.parametrize("package", ["so101_policy", "lerobot_policy_so101"])
def test_the_package_tells_type_checkers_that_it_has_types(package: str):
    assert (files(package) / "py.typed").is_file()


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, so101_policy, so101_policy.command_line.extras\n"
    code += (
        "heavy = {'torch', 'lerobot', 'onnxruntime', 'openvino', 'accelerate', 'matplotlib', 'datasets'}\n"
    )
    code += "heavy &= set(sys.modules)\n"
    code += "assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def _nothing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)


@pytest.mark.usefixtures("_nothing_extra")
@pytest.mark.parametrize("extra", [ONNX, OPENVINO, ACCELERATE, *TRACKERS.values()])
def test_a_missing_package_is_told_with_what_to_install(extra: extras.Extra):
    with pytest.raises(MissingPackageError) as problem:
        extra.load()
    assert all(package in str(problem.value) for package in extra.packages)
    assert line_to_install(extra.install) in str(problem.value)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(extra, id=extra.module, marks=[pytest.mark.slow] * extra.module.endswith("wandb"))
        for extra in (ONNX, OPENVINO, ACCELERATE, *TRACKERS.values())  # wandb is ten seconds of imports
    ],
)
def test_the_module_behind_an_extra_is_there(extra: extras.Extra):
    if extra.missing:
        pytest.skip(f"not installed: {', '.join(extra.missing)}")
    assert extra.load().__doc__


@pytest.mark.usefixtures("_nothing_extra")
def test_several_processes_without_accelerate_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MissingPackageError, match="accelerate"):
        join_processes("cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join_processes("cpu").device == torch.device("cpu")


@pytest.mark.usefixtures("_nothing_extra")
def test_a_tracker_that_is_not_installed_costs_a_line_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = SimpleNamespace(run_folder=tmp_path, tracker_names=TRACKER_NAMES)
    opened = metrics.open_metrics(config)  # pyright: ignore[reportArgumentType]
    opened.log(3, {"loss": 0.5})
    opened.close()
    assert [record.getMessage().split(" is not used: ")[0] for record in caplog.records] == [*TRACKER_NAMES]
    assert f"missing: wandb. {line_to_install('wandb')}" in caplog.text
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 3, "loss": 0.5}


def test_tensorboard_gets_every_figure(tmp_path: Path):
    if TRACKERS["tensorboard"].missing:
        pytest.skip("tensorboard is not installed")
    config = SimpleNamespace(run_folder=tmp_path, tracker_names=("tensorboard",))
    opened = metrics.open_metrics(config, from_step=2)  # pyright: ignore[reportArgumentType]
    opened.log(3, {"loss": 0.5})
    opened.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()
