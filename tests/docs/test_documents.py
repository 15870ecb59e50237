"""What the documents promise about themselves: links that lead somewhere, names that exist, a README of one page."""

import importlib
import re
import runpy
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
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
    anchors = headings(text)
    assert [anchor for file, anchor in local if not file and anchor not in anchors] == []


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
    spans = re.findall(r"(?<!`)`(so101-[^`]+)`(?!`)", text)
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
        data["dependency-groups"]["dev"],
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
