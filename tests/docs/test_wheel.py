"""The wheel and the source archive: everything that a command reads is inside, and nothing else; and it runs where no
project is."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
PACKAGES = {
    Path(folder).name: folder
    for folder in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]["packages"]
}


def kept(*folders: str) -> set[str]:
    """Files of the repository, new ones too, that git does not ignore."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else():
    inside = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    wanted = {
        f"{package}/{Path(name).relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for name in kept(folder)
    }
    assert inside == wanted
    for name in (  # what a command opens, one of each kind
        "so101_robot/demo/policies/recommended/model.safetensors",
        "so101_robot/mock/physics/model/so101.json",
        "so101_robot/display/web/run.html",
        "so101_eval/html/templates/style.css",
        "so101_eval/commands/help/so101-eval-run.txt",
    ):
        assert name in inside
    assert {f"{package}/py.typed" for package in PACKAGES} <= inside


def test_the_source_archive_has_what_builds_the_wheel_and_no_tests():
    inside = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert kept(*PACKAGES.values()) <= inside
    assert {"constraints.txt", "CHANGELOG.md"} <= inside  # hatchling adds pyproject.toml, README and LICENSE
    assert {Path(name).parts[0] for name in inside if "/" in name} == {
        folder.split("/")[0] for folder in PACKAGES.values()
    }


@pytest.mark.slow
def test_in_an_empty_environment_the_wheel_places_a_box(tmp_path: Path):
    """From the source archive, as a packager would; outside of the repository, with nothing of it on the path."""
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "NO_COLOR": "1"}

    def done(*words: str, code: int = 0) -> str:
        ran = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert ran.returncode == code, f"{words}: {ran.stdout}{ran.stderr}"
        return ran.stdout + ran.stderr

    own_cache = {"UV_CACHE_DIR": done(uv, "cache", "dir").strip()}
    done(uv, "build", "--out-dir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    environment |= own_cache
    done(uv, "venv", "--python", sys.executable, "try")
    done(uv, "pip", "install", "--python", "try", "--constraint", str(ROOT / "constraints.txt"), str(wheel))
    bin_ = tmp_path / "try" / "bin"
    for command in sorted(bin_.glob("so101*")):
        assert "so101" in done(str(command), "--help")
        assert done(str(command), "--version").split()[-1][0].isdigit()
    said = done(str(bin_ / "so101-run"))
    assert "box placed: " in said
    assert (tmp_path / "outputs" / "run").is_dir()
    done(str(bin_ / "so101-bench"), "init", "s", "--policies", "demo:stock", "demo:recommended",
         "--task", "palletize-1-small")  # fmt: skip
    done(str(bin_ / "so101-bench"), "mat", "s")
    assert (tmp_path / "s" / "mat.pdf").stat().st_size > 1000
    missing = done(str(bin_ / "so101-bench"), "lock", "s", code=1)
    assert f"'lerobot_policy_so101[bench] @ {wheel.as_uri()}'" in missing
    assert "Traceback" not in missing
