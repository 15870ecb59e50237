"""The list of breakages fits the sources. Whether tests notice them is what `make mutants` tries."""

import importlib.util
from contextlib import closing
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("mutants_run", Path(__file__).with_name("run.py"))
assert _spec is not None
assert _spec.loader is not None
run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run)

MUTANTS = run.load()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_breakage_can_be_applied_and_its_tests_are_there(mutant: "run.Mutant") -> None:
    run.check(mutant)
    for test in mutant.tests:
        assert (run.ROOT / test.split("::")[0]).exists(), f"{mutant.name}: there is no {test}"


def test_there_are_breakages_in_every_package() -> None:
    assert {Path(mutant.file).parts[0] for mutant in MUTANTS} == set(run.PACKAGES)
    assert len(MUTANTS) >= 40


def _mutant(**changes: object) -> "run.Mutant":
    fields = {"name": "one", "file": "a.py", "old": "x = 1", "new": "x = 2", "tests": ("tests/mutants",)}
    return run.Mutant(**{**fields, **changes})


@pytest.mark.parametrize(
    ("text", "problem"),
    [("y = 1\n", "0 times"), ("x = 1\nx = 1\n", "2 times")],
)
def test_old_text_that_is_not_there_once_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(run.ListError, match=problem):
        _mutant().apply(tmp_path)
    assert (tmp_path / "a.py").read_text() == text


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(run.ListError, match=r"no file a\.py"):
        _mutant().apply(tmp_path)


def test_a_breakage_changes_its_line_alone(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a = 0\nx = 1\n")
    _mutant().apply(tmp_path)
    assert (tmp_path / "a.py").read_text() == "a = 0\nx = 2\n"


@pytest.mark.slow
def test_a_run_in_a_fork_sees_the_files_of_its_copy_and_a_hanging_one_is_killed(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    with closing(run.Forks()) as forks:
        for body, code in (("assert True", run.PASSED), ("assert False", run.FAILED)):
            test.write_text(f"def test_it():\n    {body}\n")
            assert forks.pytest(tmp_path, ["test_it.py"])[0] == code
        test.write_text("import time\ndef test_it():\n    time.sleep(600)\n")
        assert forks.pytest(tmp_path, ["test_it.py"], timeout_s=10.0) == (run.FAILED, "not over after 10 s")
