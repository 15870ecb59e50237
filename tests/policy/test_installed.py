"""The line that installs something more, for each way in which the package may have been installed."""

import shlex
from pathlib import Path

import pytest

from so101_policy.command_line import installed
from so101_policy.command_line.installed import NAME, TOOL_RECEIPT, Installed, line_to_install

WHEEL = "file:///home/x/lerobot_policy_so101-0.1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def _no_pip(monkeypatch: pytest.MonkeyPatch):
    """As in an environment that uv made."""
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    monkeypatch.setattr(installed.shutil, "which", lambda name: None)


def words(requirement: str, source: str, prefix: Path, editable: bool = False) -> list[str]:
    return shlex.split(line_to_install(requirement, Installed(source, editable, prefix)))


def test_a_wheel_from_a_file_is_named_again(tmp_path: Path):
    typed = ["uv", "pip", "install", f"{NAME}[web] @ {WHEEL}", "--python", str(tmp_path)]
    assert words(f"{NAME}[web]", WHEEL, tmp_path) == typed
    assert words("lerobot[smolvla]", WHEEL, tmp_path)[3] == "lerobot[smolvla]"


def test_from_an_index_the_name_is_enough(tmp_path: Path):
    assert words(f"{NAME}[web]", "", tmp_path)[3] == f"{NAME}[web]"


def test_with_pip_there_it_is_pip_of_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installed, "find_spec", lambda name: object())
    monkeypatch.setattr(installed.sys, "executable", "/a b/python")
    assert words("wandb", "", tmp_path) == ["/a b/python", "-m", "pip", "install", "wandb"]


def test_a_clone_is_installed_again_with_the_uv_that_make_put_there(tmp_path: Path):
    clone = tmp_path / "a clone"
    source = clone.as_uri()
    typed = ["pip", "install", "--editable", f"{clone}[web]", "--python", str(tmp_path)]
    assert words(f"{NAME}[web]", source, tmp_path, editable=True) == ["uv", *typed]
    uv = clone / ".tools" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.touch()
    assert words(f"{NAME}[web]", source, tmp_path, editable=True) == [str(uv), *typed]


def test_a_tool_is_made_anew_with_the_extras_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    receipt = (
        f'[tool]\nrequirements = [{{ name = "lerobot-policy-so101", extras = ["web"], path = "{WHEEL}" }}]\n'
    )
    (tmp_path / TOOL_RECEIPT).write_text(receipt)
    monkeypatch.setattr(installed.sys, "prefix", str(tmp_path))
    how = installed.installed()._replace(source=WHEEL)
    force = ["uv", "tool", "install", "--force"]
    assert shlex.split(line_to_install(f"{NAME}[bench]", how)) == [*force, f"{NAME}[bench,web] @ {WHEEL}"]
    other = shlex.split(line_to_install("wandb", how))
    assert other == [*force, f"{NAME}[web] @ {WHEEL}", "--with", "wandb"]


def test_this_environment_is_a_clone():
    """What the tests run in: `make` installs it so."""
    how = installed.installed()
    assert how.editable
    assert (how.folder / "pyproject.toml").is_file()
    assert not how.is_tool
