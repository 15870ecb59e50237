"""The pages of docs/how_to, followed to the letter in a copy of the packages: a page that no longer fits fails.

A page is followed like this. "New file `path`:" above a code block writes the file. "In `path`:" above a `diff` block
changes it: lines with `+` are new, lines with `-` go, and what was there must be there exactly once; `@@` separates two
places. The block under "## Check" is then run on the copy.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how_to"
PAGES = sorted(path.stem for path in HOW_TO.glob("add_*.md"))
ROOMS = ("robot", "policy", "eval", "calibration")
FEWEST_CHANGES = 2
"""Every page makes at least so many, so that a page whose blocks are not recognised does not pass for nothing."""


class Change(NamedTuple):
    """One block of a page."""

    file: str
    is_new: bool
    text: str


class Page(NamedTuple):
    """What a page tells its reader to do."""

    changes: list[Change]
    check: str


def read_page(text: str) -> Page:
    """The changes and the check of a page, in order."""
    guide, _, last = text.partition("\n## Check\n")
    blocks = re.findall(
        r"^(New file|In) `([^`]+)`[^\n]*:\n\n```\w+\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == guide.count("\n```") // 2, "a code block without a line that names its file"
    (check,) = re.findall(r"^```python\n(.*?)^```$", last, re.MULTILINE | re.DOTALL)
    return Page([Change(file, kind == "New file", body) for kind, file, body in blocks], check)


def changed(text: str, diff: str, where: str) -> str:
    """`text` after a diff; fails where what should be there is not, or is there twice."""
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = [line or " " for line in hunk.splitlines()]
        assert all(line[0] in " +-" for line in lines), f"{where}: not a diff:\n{hunk}"
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] != "-")
        found = text.count(old)
        assert found == 1, f"{where}: the page shows a place that is there {found} times:\n{old}"
        text = text.replace(old, new)
    return text


def install(copy: Path) -> None:
    """Entry points of the copy, as installing it would bring them; found before those of the real installation."""
    project = tomllib.loads((copy / "pyproject.toml").read_text())["project"]
    folder = copy / "robot" / f"{project['name']}-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in points.items()), ""])
        for group, points in project["entry-points"].items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(groups))


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """The packages and pyproject.toml. Compiled files come along: compiling all of them anew takes long."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path)


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python, with the packages of the copy."""
    path = os.pathsep.join(str(copy / room) for room in ROOMS)
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", PAGES)
def test_the_page_works_as_it_is_written(name: str, copy: Path):
    page = read_page((HOW_TO / f"{name}.md").read_text())
    assert len(page.changes) >= FEWEST_CHANGES
    for change in page.changes:
        file = copy / change.file
        if change.is_new:
            assert not file.exists(), f"{name}: {change.file} is there already"
            file.write_text(change.text)
        else:
            file.write_text(changed(file.read_text(), change.text, f"{name}, {change.file}"))
    install(copy)

    origin = "import so101_robot, so101_policy, so101_eval, so101_calibration\n"
    origin += f"assert so101_robot.__file__.startswith({str(copy)!r})\n"
    done = run(copy, "-c", origin + page.check)
    assert done.returncode == 0, done.stderr

    sources = sorted({change.file for change in page.changes if change.file.endswith(".py")})
    for command in (["check", "--no-cache"], ["format", "--no-cache", "--check"]):
        style = run(copy, "-m", "ruff", *command, *sources)
        assert style.returncode == 0, f"{name} in the house style: {style.stdout}{style.stderr}"


@pytest.mark.parametrize("name", PAGES)
def test_without_the_changes_the_check_of_the_page_fails(name: str, copy: Path):
    """So it tests what the page adds."""
    page = read_page((HOW_TO / f"{name}.md").read_text())
    assert run(copy, "-c", page.check).returncode == 1


def test_a_change_that_does_not_fit_is_noticed():
    diff = " a = 1\n-b = 2\n+b = 3\n@@\n c = 4\n+d = 5\n"
    assert changed("a = 1\nb = 2\nc = 4\n", diff, "page") == "a = 1\nb = 3\nc = 4\nd = 5\n"
    with pytest.raises(AssertionError, match="there 0 times"):
        changed("a = 1\nc = 4\n", diff, "page")
    with pytest.raises(AssertionError, match="there 2 times"):
        changed("a = 1\nb = 2\nc = 4\nc = 4\n", diff, "page")


def test_the_index_names_every_page():
    index = (HOW_TO / "README.md").read_text()
    assert [name for name in PAGES if f"({name}.md)" not in index] == []
    assert len(PAGES) == 6
