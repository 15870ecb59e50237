"""The pages of docs/how_to, followed to the letter in a copy of the packages: a page that no longer fits fails.

A page is followed like this. "New file `path`:" above a code block writes the file. "In `path`:" above a `diff` block
changes it: lines with `+` are new, lines with `-` go, and what was there must be there exactly once; `@@` separates two
places. The block under "## Check" is then run on the copy. One copy serves all pages, and one process runs all checks,
because loading LeRobot takes longer than everything else.
"""

import json
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
EXPERIMENTS = "experiments"
FEWEST_CHANGES = 2
"""Every page makes at least so many, so that a page whose blocks are not recognised does not pass for nothing."""

RUN_CHECKS = """
import json, sys, traceback
import so101_robot
assert so101_robot.__file__.startswith(sys.argv[1]), so101_robot.__file__
outcomes = {}
for name, check in json.load(sys.stdin).items():
    try:
        exec(compile(check, name, "exec"), {"__name__": name})
        outcomes[name] = ""
    except Exception:
        outcomes[name] = traceback.format_exc()
print(json.dumps(outcomes))
"""


class Change(NamedTuple):
    """One block of a page."""

    file: str
    is_new: bool
    text: str


class Page(NamedTuple):
    """What a page tells its reader to do."""

    changes: list[Change]
    check: str


class Followed(NamedTuple):
    """The copy after all pages, and what went wrong: page -> text, empty where nothing did."""

    copy: Path
    changes: dict[str, str]
    checks: dict[str, str]


def read_page(name: str) -> Page:
    """The changes and the check of a page, in order."""
    guide, _, last = (HOW_TO / f"{name}.md").read_text().partition("\n## Check\n")
    blocks = re.findall(
        r"^(New file|In) `([^`]+)`[^\n]*:\n\n```\w+\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL
    )
    shown = len(re.findall(r"^```(?:diff|python|toml)$", guide, re.MULTILINE))
    assert len(blocks) == shown, "a code block without a line above that names its file"
    assert shown >= FEWEST_CHANGES
    (check,) = re.findall(r"^```python\n(.*?)^```$", last, re.MULTILINE | re.DOTALL)
    return Page([Change(file, kind == "New file", text) for kind, file, text in blocks], check)


def changed(text: str, diff: str) -> str:
    """`text` after a diff; fails where what should be there is not, or is there twice."""
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = [line or " " for line in hunk.splitlines()]
        assert all(line[0] in " +-" for line in lines), f"not a diff:\n{hunk}"
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] != "-")
        assert text.count(old) == 1, f"the page shows a place that is there {text.count(old)} times:\n{old}"
        text = text.replace(old, new)
    return text


def follow(page: Page, copy: Path) -> None:
    """Make the changes of a page."""
    for change in page.changes:
        file = copy / change.file
        assert file.exists() != change.is_new, (
            f"{change.file} is {'missing' if not change.is_new else 'there already'}"
        )
        file.write_text(change.text if change.is_new else changed(file.read_text(), change.text))


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


def python(copy: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Python, with the packages of the copy."""
    path = os.pathsep.join(str(copy / room) for room in (*ROOMS, "."))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=copy, env=environment, input=given, capture_output=True, text=True, check=False
    )


def check(copy: Path, pages: dict[str, Page]) -> dict[str, str]:
    """Run the checks of pages on a copy: page -> what went wrong."""
    checks = json.dumps({name: page.check for name, page in pages.items()})
    done = python(copy, "-c", RUN_CHECKS, str(copy), given=checks)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The packages and pyproject.toml. Compiled files come along: compiling all of them anew takes long."""
    folder = tmp_path_factory.mktemp("copy")
    for room in (*ROOMS, EXPERIMENTS):
        shutil.copytree(ROOT / room, folder / room)
    shutil.copy(ROOT / "pyproject.toml", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def followed(copy: Path) -> Followed:
    """All pages, one after the other."""
    pages = {name: read_page(name) for name in PAGES}
    trouble = dict.fromkeys(PAGES, "")
    for name, page in pages.items():
        try:
            follow(page, copy)
        except AssertionError as error:
            trouble[name] = str(error)
    install(copy)
    return Followed(copy, trouble, check(copy, pages))


@pytest.mark.parametrize("name", PAGES)
def test_the_page_works_as_it_is_written(name: str, followed: Followed):
    assert followed.changes[name] == ""
    assert followed.checks[name] == ""


@pytest.mark.slow
def test_before_the_changes_the_check_of_every_page_fails():
    """So it tests what the page adds."""
    outcomes = check(ROOT, {name: read_page(name) for name in PAGES})
    assert [name for name, trouble in outcomes.items() if "Error" not in trouble] == []


def test_what_the_pages_add_is_in_the_house_style(followed: Followed):
    changes = [change for name in PAGES for change in read_page(name).changes]
    sources = sorted({change.file for change in changes if change.file.endswith(".py")})
    for command in (["check", "--no-cache"], ["format", "--no-cache", "--check", "--diff"]):
        style = python(followed.copy, "-m", "ruff", *command, *sources)
        assert style.returncode == 0, style.stdout + style.stderr


def test_what_the_pages_add_keeps_to_the_layers(followed: Followed):
    linter = Path(sys.executable).with_name("lint-imports")
    layers = python(followed.copy, str(linter), "--no-cache")
    assert layers.returncode == 0, layers.stdout + layers.stderr


def test_a_change_that_does_not_fit_is_noticed():
    diff = " a = 1\n-b = 2\n+b = 3\n@@\n c = 4\n+d = 5\n"
    assert changed("a = 1\nb = 2\nc = 4\n", diff) == "a = 1\nb = 3\nc = 4\nd = 5\n"
    with pytest.raises(AssertionError, match="there 0 times"):
        changed("a = 1\nc = 4\n", diff)
    with pytest.raises(AssertionError, match="there 2 times"):
        changed("a = 1\nb = 2\nc = 4\nc = 4\n", diff)


def test_the_index_names_every_page():
    index = (HOW_TO / "README.md").read_text()
    assert [name for name in PAGES if f"({name}.md)" not in index] == []
    assert len(PAGES) == 6
