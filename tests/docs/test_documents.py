"""What the documents promise about themselves: links that lead somewhere, names that exist, a README of one page."""

import importlib
import re
import runpy
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCES = {
    "robot": "so101_robot",
    "policy": "so101_policy",
    "eval": "so101_eval",
    "calibration": "so101_calibration",
}
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]

MOST_WORDS, LONGEST_LINE = 600, 200
"""Of the README."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str):
    document = ROOT / name
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    targets = [target.partition("#") for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [(file, anchor) for file, _, anchor in targets if not file.startswith(("http:", "https:"))]
    assert [file for file, _ in local if file and not (document.parent / file).exists()] == []
    pages = [(document.parent / file if file else document, anchor) for file, anchor in local if anchor]
    assert [(page.name, anchor) for page, anchor in pages if anchor not in headings(page.read_text())] == []


def headings(text: str) -> set[str]:
    """Anchors, as GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str):
    """Paths from the top of the repository, in backquotes; how_to makes files of its own."""
    text = (ROOT / name).read_text()
    rooms = "robot|policy|eval|calibration|tests|experiments|docs"
    named = set(re.findall(rf"`((?:{rooms})/[\w./-]+\.(?:py|md|yaml|toml))", text))
    made = set(re.findall(r"New file `([^`]+)`", text))
    assert sorted(path for path in named - made if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("name", NAMES)
def test_modules_that_are_named_exist(name: str):
    modules = re.findall(r"-m ((?:so101_\w+|experiments)(?:\.\w+)*)", (ROOT / name).read_text())
    folders = {package: ROOT / room / package for room, package in SOURCES.items()}
    folders["experiments"] = ROOT / "experiments"

    def exists(module: str) -> bool:
        package, *rest = module.split(".")
        path = folders[package].joinpath(*rest)
        return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()

    assert [module for module in modules if not exists(module)] == []


def test_the_readme_is_a_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= MOST_WORDS
    assert max(map(len, text.splitlines())) <= LONGEST_LINE


def test_the_picture_of_the_architecture_shows_rooms_that_exist(tmp_path: Path):
    drawing = runpy.run_path(str(ROOT / "docs" / "pictures" / "draw_architecture.py"))
    for boxes in drawing["JOURNEYS"].values():
        for box in boxes:
            for room in box.room.split():
                folder = ROOT / box.package / SOURCES[box.package] / room
                assert folder.is_dir(), f"{box.title}: there is no room {folder}"
    again = tmp_path / "again.svg"
    drawing["draw"](again)
    kept = (ROOT / "docs" / "pictures" / "architecture.svg").read_text()
    assert words_in(again.read_text()) == words_in(kept), "run: python docs/pictures/draw_architecture.py"


def words_in(svg: str) -> list[str]:
    """matplotlib writes each text as a comment beside its outlines."""
    return re.findall(r"<!-- (.*?) -->", svg, re.DOTALL)


def test_every_decision_is_in_the_index():
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    assert [path.name for path in folder.glob("0*.md") if f"({path.name})" not in index] == []


def test_the_version_is_the_same_everywhere():
    version = project()["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    log = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## ([\w.]+)", log, re.MULTILINE)[:2] == ["Unreleased", version]


# what the pages say about the commands -----

HELP = {
    path.stem: path.read_text()
    for folder in ("robot", "policy", "eval", "calibration")
    for path in sorted(ROOT.glob(f"{folder}/**/help/so101-*.txt"))
}
"""Name of a command, `so101-eval-run`, -> its help."""

AS_ELSEWHERE = {"so101-replay": "so101-run", "so101-bench-run": "so101-run"}
"""Commands whose help says that they have another one's flags too."""


def commands_in(text: str) -> list[str]:
    """Command lines in the code of a page: spans, and blocks with their continued lines."""
    spans = re.findall(r"(?<!`)`(so101-[a-z]+(?:\s[^`]+)?)`(?!`)", text)
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.partition(" # ")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return spans + [
        line.removeprefix("$ ").strip() for line in lines if line.startswith(("$ so101-", "so101-"))
    ]


def unknown_flags(line: str) -> list[str]:
    """Flags of a command line that the command's help does not have."""
    words = re.sub(r"\s+(?:\||&&)\s.*", "", line.replace("\n", " ")).split()
    name, rest = words[0], words[1:]
    while rest and f"{name}-{rest[0]}" in HELP:
        name, rest = f"{name}-{rest[0]}", rest[1:]
    known = HELP[name] + HELP.get(AS_ELSEWHERE.get(name, ""), "") if name in HELP else ""
    flags = [flag for word in rest if (flag := re.match(r"--[\w.]+", word)) is not None]
    return [f"{line}: {flag[0]}" for flag in flags if not re.search(rf"{re.escape(flag[0])}(?![\w])", known)]


@pytest.mark.parametrize("name", NAMES)
def test_flags_that_are_named_exist(name: str):
    """Against the help texts, which a test compares with the parsers."""
    lines = commands_in((ROOT / name).read_text())
    assert [flag for line in lines for flag in unknown_flags(line)] == []


def test_a_flag_that_does_not_exist_is_noticed():
    page = "`so101-eval run --no_such=1`\n```console\n$ so101-run \\\n  --robot.prt=mock\n```\n"
    assert [flag.rpartition(" ")[2] for line in commands_in(page) for flag in unknown_flags(line)] == [
        "--no_such",
        "--robot.prt",
    ]


def test_the_catalogue_of_messages_is_up_to_date(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "reference"))
    maker = importlib.import_module("make_messages")
    kept = (ROOT / "docs" / "reference" / "messages.md").read_text()
    assert maker.as_markdown(maker.Catalogue()) == kept, "run: make messages"


def test_the_catalogue_has_every_plain_message():
    """Found in a simpler way: an error with one text and nothing to fill in."""
    page = (ROOT / "docs" / "reference" / "messages.md").read_text()
    made = re.compile(r'raise \w*Error\(\s*"([^"\\{}]+)"\s*\)')
    sources = [path for room, package in SOURCES.items() for path in (ROOT / room / package).rglob("*.py")]
    texts = {text for path in sources for text in made.findall(path.read_text())}
    assert len(texts) > 50
    assert [
        text for text in sorted(texts) if text.rpartition(" - ")[0] not in page or text[-20:] not in page
    ] == []


def test_every_kind_of_fault_is_on_the_page_of_fault_plans():
    kinds = re.findall(
        r'\bKind\(\s*"(\w+)"', (ROOT / "robot/so101_robot/mock/wire/fault_kinds.py").read_text()
    )
    page = (ROOT / "docs" / "guides" / "fault_plans.md").read_text()
    assert len(kinds) > 30
    assert [kind for kind in kinds if f"`{kind}`" not in page] == []


def test_the_words_of_the_dashboard_are_explained():
    page = (ROOT / "docs" / "guides" / "words_of_the_dashboard.md").read_text()
    source = (ROOT / "robot/so101_robot/display/view.py").read_text()
    rows = re.findall(r'add_row\("(\w+)"', source)
    rates = re.findall(r'^        \("(\w+)", view\.', source, re.MULTILINE)
    columns = re.findall(r'for name in \(("position".*?)\):', source)[0].replace('"', "").split(", ")
    counts = re.findall(r'\("(\w+)", view\.\w+\)', source)
    assert {"policy", "jitter", "load", "starved"} <= {*rows, *rates, *columns, *counts}
    assert [word for word in {*rows, *rates, *columns, *counts} if f"**{word}**" not in page] == []


@pytest.mark.slow
def test_the_code_of_from_python_runs():
    """What needs no arm: the run in lockstep, an action through the guard, and a configuration of a real arm."""
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    lockstep, guarded, real = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(lockstep, names)
    arm = names["arm"]
    arm.connect()
    try:
        exec(guarded, names)
    finally:
        arm.disconnect()
    assert names["sent"]["shoulder_pan.pos"] > 0  # it was at 0, and 10 was asked for
    exec(real, names)
    assert names["arm"].config.port == "/dev/ttyACM0"


# the site -----

MADE = {"index.md", *(f"reference/api/{package}.md" for package in SOURCES.values())}
"""Pages that the site has and docs/ has not: docs/reference/site_hooks.py makes them."""


def pages_in(navigation: Any) -> list[str]:
    """All of mkdocs.yml's `nav`."""
    if isinstance(navigation, str):
        return [navigation]
    below = navigation.values() if isinstance(navigation, dict) else navigation
    return [page for part in below for page in pages_in(part)]


def test_every_page_is_in_the_navigation_of_the_site_once():
    named = pages_in(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    kept = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")}
    assert sorted(named) == sorted(kept | MADE)


def test_the_python_api_has_every_name_that_is_exported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "reference"))
    pages = importlib.import_module("make_api").pages()
    arm = pages["so101_robot"]
    assert "## SO101\n" in arm
    assert "### SO101.command\n" in arm
    assert "command(self" in arm
    for room, package in SOURCES.items():
        exported = re.findall(
            r"^__all__ = \[(.*?)\]", (ROOT / room / package / "__init__.py").read_text(), re.M | re.S
        )
        names = re.findall(r'"([A-Za-z]\w*)"', exported[0])
        assert names
        assert [name for name in names if f"\n## {name}\n" not in pages[package]] == []


def test_a_site_that_is_not_whole_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "reference"))
    check = importlib.import_module("check_site")
    page = '<h1 id="top"><a href="{}">x</a><script src="{}"></script><a href="https://example.org">out</a>'
    (tmp_path / "own.js").write_text("")
    (tmp_path / "other.html").write_text('<p id="there">')
    (tmp_path / "whole.html").write_text(page.format("other.html#there", "own.js"))
    assert check.main(str(tmp_path)) == 0
    (tmp_path / "a.html").write_text(page.format("other.html#gone", "own.js"))
    (tmp_path / "b.html").write_text(page.format("gone.html", "https://example.org/x.js"))
    assert [complaint.partition(": ")[2] for complaint in sorted(check.complaints(tmp_path))] == [
        "other.html#gone: there is no such anchor",
        "<script> is fetched from https://example.org/x.js",
        "gone.html leads nowhere",
    ]
    assert check.main(str(tmp_path)) == 1


@pytest.mark.slow
def test_the_site_is_built():
    """Strictly, and then looked at as a browser would. The first time it installs what builds it."""
    make("-s", "docs")
    search = (ROOT / "site" / "search" / "search_index.js").read_text()
    assert "brltty" in search
    assert "unpkg" not in (ROOT / "site" / "troubleshooting.html").read_text()


# versions and make -----


def pinned() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_constraints_are_names_and_versions_and_nothing_else():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.+!]+", line)] == []


def test_constraints_pin_every_dependency_within_its_range():
    data = project()
    groups = [
        data["project"]["dependencies"],
        *data["dependency-groups"].values(),
        *data["project"]["optional-dependencies"].values(),
    ]
    versions = pinned()
    for requirement in (Requirement(text) for group in groups for text in group):
        name = canonicalize_name(requirement.name)
        if name == canonicalize_name(data["project"]["name"]):
            continue
        assert name in versions, f"{name} is not in constraints.txt; run: make constraints"
        assert versions[name] in requirement.specifier, (
            f"{name}=={versions[name]}, allowed: {requirement.specifier}"
        )


def make(*arguments: str) -> str:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_help_lists_every_target():
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    listed = re.findall(r"^  make ([a-z-]+)", make("help"), re.MULTILINE)
    assert listed == phony.removeprefix(".PHONY:").split()


def test_make_clean_leaves_outputs_alone(tmp_path: Path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    kept, gone = tmp_path / "outputs" / "train" / "weights", tmp_path / ".venv" / "bin" / "python"
    for file in (kept, gone):
        file.parent.mkdir(parents=True)
        file.write_text("")
    done = subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert kept.exists()
    assert not gone.exists()
    assert "outputs/ is left" in done.stdout
