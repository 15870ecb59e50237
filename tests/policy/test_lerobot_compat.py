"""LeRobot's versions: which are taken, what is said of others, and that what moved is imported in one module."""

import ast
import sys
import tomllib
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest

from so101_policy.command_line import command_shell
from so101_policy.command_line.command_shell import Command
from so101_policy.lerobot_compat import version
from so101_policy.train.checkpoints import step_name

PACKAGES = (
    "policy/so101_policy",
    "policy/lerobot_policy_so101",
    "robot",
    "calibration",
    "eval",
    "experiments",
)
ROOT = Path(__file__).parents[2]
HOME = ROOT / "policy/so101_policy/lerobot_compat/moved.py"

MOVED = {
    "lerobot.types": "0.6.1 calls it lerobot.lerobot_types",
    "lerobot.lerobot_types": "not in 0.6.0",
    "lerobot.common.train_utils": "after 0.6.1: load_training_state is gone, save_checkpoint takes other arguments",
    "lerobot.configs.parallelism": "after 0.6.1 only",
    "lerobot.configs.accelerator": "after 0.6.1 only",
    "lerobot.distributed": "after 0.6.1 only",
}


def imported(source: str) -> set[str]:
    """Every module, and every name of a module, that a source imports from LeRobot."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.partition(".")[0] == "lerobot"}


def moved(names: set[str]) -> set[str]:
    return {name for name in names if any(name == old or name.startswith(f"{old}.") for old in MOVED)}


def test_names_that_moved_are_imported_in_one_module():
    sources = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 300
    found = {path: moved(imported(path.read_text())) for path in sources}
    assert found.pop(HOME)
    assert {str(path): names for path, names in found.items() if names} == {}


def test_the_search_sees_every_way_to_import():
    ways = (
        "import lerobot.types",
        "from lerobot import types",
        "from lerobot.types import X",
        "import lerobot.types as t",
    )
    for source in ways:
        assert moved(imported(source)), source


def test_the_range_of_the_project_is_the_one_that_is_told():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    ranges = [line.partition("]")[2] for line in required if line.startswith("lerobot[")]
    assert len(ranges) == 5
    assert {f"pip install 'lerobot{wanted}'" for wanted in ranges} == {version.INSTALL}


def as_installed(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    monkeypatch.setattr(version, "installed", lambda: name)


@pytest.mark.parametrize("name", ["0.6.1", "0.6.2", "0.6.2.dev0", "0.6.1+cu128", None])
def test_versions_that_were_tested_are_taken_in_silence(monkeypatch: pytest.MonkeyPatch, name: str | None):
    as_installed(monkeypatch, name)
    assert version.check() is None


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """A command whose work is done at once."""
    monkeypatch.setitem(sys.modules, "so101_test_work", SimpleNamespace(main=lambda _: 0))  # pyright: ignore
    return Command("so101-test", "", Path(), "so101_test_work", any_flag=True)


@pytest.mark.parametrize("name", ["0.6.3", "0.7.0rc1", "0.7rc1", "1.0"])
def test_a_newer_one_is_warned_of_and_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Command, name: str
):
    as_installed(monkeypatch, name)
    assert command.main([]) == 0
    said = capsys.readouterr().err
    assert (
        said
        == f"so101-test: LeRobot {name} is newer than the versions that this was tested with (0.6.1 to 0.6.2)\n"
    )


@pytest.mark.parametrize("name", ["main", "0+unknown", "0.0.0", "", "without a version"])
def test_one_that_says_nothing_is_warned_of_and_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Command, name: str
):
    as_installed(monkeypatch, name)
    assert command.main([]) == 0
    assert "is none of the versions that this was tested with (0.6.1 to 0.6.2)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["0.6.0", "0.5.1", "0.4", "0.6rc1"])
def test_an_older_one_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Command, name: str
):
    as_installed(monkeypatch, name)
    assert command.main([]) == command_shell.WRONG_INPUT
    said = capsys.readouterr().err
    assert f"LeRobot {name} is installed, expected 0.6.1 or newer: pip install 'lerobot>=0.6.1,<0.8'" in said


@pytest.mark.parametrize(
    "line", ["from lerobot.common.train_utils import gone_in_0_9", "import lerobot.gone_in_0_9"]
)
def test_a_name_that_a_new_version_does_not_have_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str
):
    (tmp_path / "so101_test_newer.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    as_installed(monkeypatch, "0.9.0")
    assert Command("so101-test", "", Path(), "so101_test_newer", any_flag=True).main([]) == 2
    said = capsys.readouterr().err
    assert "LeRobot 0.9.0 does not have what is used of it" in said
    assert "gone_in_0_9" in said
    assert "pip install lerobot==0.6.1" in said


def test_a_package_of_somebody_else_that_is_missing_is_not_blamed_on_lerobot():
    assert version.blamed(ModuleNotFoundError("No module named 'ray'", name="ray")) is None


@pytest.mark.parametrize(("step", "total"), [(5, 10), (123, 100_000), (7, 12_345_678)])
def test_a_checkpoints_folder_is_named_as_lerobot_names_it(step: int, total: int):
    from lerobot.common.train_utils import get_step_identifier

    assert step_name(step, total) == get_step_identifier(step, total)
