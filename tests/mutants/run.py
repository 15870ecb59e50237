"""Break the wiring on purpose, one line at a time, and see whether a test notices: `make mutants`.

`mutants.toml` lists the breakages: a file, its old text, the new text, and the tests of the fast suite that must
fail. Each is applied to a copy of the repository, never to the repository itself. A breakage that no test notices is
a *survivor*: the wiring it breaks is untested. A breakage whose old text is not in the file exactly once is an error,
so the list cannot rot.

    python tests/mutants/run.py                 # all
    python tests/mutants/run.py fence crossfade # those whose name contains one of the words

Exit code 0: all killed; 1: survivors; 2: the list or the tests are out of order.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.toml")
PACKAGES = ("robot", "policy", "eval", "calibration")
TIMEOUT_S = 600.0
"""A mutant that makes its tests hang is killed, too."""

FAILED, PASSED = 1, 0
"""What pytest exits with when tests failed, and when all passed; anything else says that nothing was tested."""


class ListError(ValueError):
    """The list of breakages does not fit the sources."""


@dataclass(frozen=True)
class Mutant:
    """One breakage."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    """Arguments for pytest: files, or `file::test`."""
    args: tuple[str, ...] = field(default=())
    """Further arguments for pytest, such as `-k word`."""

    def apply(self, root: Path) -> None:
        """Write the broken file below `root`. Raises `ListError` where the old text is not there exactly once."""
        path = root / self.file
        if not path.is_file():
            raise ListError(f"{self.name}: there is no file {self.file}")
        text = path.read_text()
        if (count := text.count(self.old)) != 1:
            raise ListError(f"{self.name}: its old text is in {self.file} {count} times, expected once")
        if self.old == self.new:
            raise ListError(f"{self.name}: old and new text are the same")
        path.write_text(text.replace(self.old, self.new))


def load(path: Path = LIST) -> list[Mutant]:
    """All breakages of the list. Raises `ListError` for one that lacks a field or has a name twice."""
    mutants: list[Mutant] = []
    for entry in tomllib.loads(path.read_text())["mutant"]:
        try:
            mutants.append(
                Mutant(
                    entry["name"],
                    entry["file"],
                    entry["old"],
                    entry["new"],
                    tuple(entry["tests"]),
                    tuple(entry.get("args", ())),
                )
            )
        except KeyError as missing:
            raise ListError(f"{entry.get('name', entry)}: {missing} is missing") from missing
    names = [mutant.name for mutant in mutants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ListError(f"there twice: {', '.join(twice)}")
    return mutants


def copy_tree(target: Path) -> None:
    """The tracked and new files of the repository, with compiled caches, which hold while files keep their times."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    for cache in ROOT.glob("*/**/__pycache__"):
        if ".venv" not in cache.parts and (target / cache.relative_to(ROOT)).parent.is_dir():
            shutil.copytree(cache, target / cache.relative_to(ROOT), dirs_exist_ok=True)


class Forks:
    """`forks.py` at work: pytest without the ten seconds that its imports take."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(ROOT),
            text=True,
        )

    def pytest(
        self, root: Path, tests: Iterable[str], args: Sequence[str] = (), timeout_s: float = TIMEOUT_S
    ) -> tuple[int, str]:
        """Exit code and output of the fast suite's `tests` in the copy at `root`; too long is a failure."""
        request = {
            "root": str(root),
            "arguments": ["-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", *args, *tests],
            "environment": _environment(root),
            "timeout_s": timeout_s,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise ListError(f"{' '.join(tests)}: the process that runs pytest has ended")
        answer = json.loads(line)
        if answer["code"] is None:
            return FAILED, f"not over after {timeout_s:.0f} s"
        if answer["code"] < 0:  # a library that does not bear the fork: another process, from the beginning
            return _unforked(request)
        return answer["code"], answer["output"]

    def close(self) -> None:
        self._process.communicate()


def _unforked(request: dict[str, Any]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", *request["arguments"]]
    try:
        done = subprocess.run(
            command,
            cwd=request["root"],
            env=request["environment"],
            timeout=request["timeout_s"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return FAILED, f"not over after {request['timeout_s']:.0f} s"
    return done.returncode, done.stdout


def _environment(root: Path) -> dict[str, str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(root / name) for name in PACKAGES)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment | {"OMP_NUM_THREADS": "1"}  # the copies share the cores


class Bench:
    """A copy of the repository in which breakages are tried one after the other."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self.forks = folder, forks
        copy_tree(folder)

    def whole(self, tests: Iterable[str], args: Sequence[str]) -> None:
        """Raises `ListError` where the tests do not pass without any breakage."""
        code, output = self.forks.pytest(self.folder, tests, args)
        if code != PASSED:
            suite = " ".join((*tests, *args))
            raise ListError(f"{suite}: do not pass as they are (exit code {code})\n{output[-3000:]}")

    def killed(self, mutant: Mutant) -> bool:
        """Whether a test notices. Raises `ListError` where nothing was tested."""
        path = self.folder / mutant.file
        kept = path.with_name(path.name + ".kept")
        shutil.copy2(path, kept)
        try:
            mutant.apply(self.folder)
            code, output = self.forks.pytest(self.folder, mutant.tests, mutant.args)
        finally:
            shutil.copy2(kept, path)
            kept.unlink()
        if code not in (FAILED, PASSED):
            raise ListError(f"{mutant.name}: pytest ended with {code}\n{output[-3000:]}")
        return code == FAILED


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="only breakages whose name contains one of these")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="copies at work (default: one a core)"
    )
    parser.add_argument(
        "--skip-whole", action="store_true", help="do not check first that the tests pass unbroken"
    )
    flags = parser.parse_args(arguments)
    try:
        mutants = load()
        for mutant in mutants:
            check(mutant)
        chosen = [m for m in mutants if not flags.words or any(word in m.name for word in flags.words)]
        if not chosen:
            raise ListError(f"no breakage is called {' or '.join(flags.words)}")
        survivors = _try(chosen, flags.jobs, whole=not flags.skip_whole)
    except ListError as problem:
        print(problem, file=sys.stderr)
        return 2
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed")
    for mutant in survivors:
        print(f"  survived: {mutant.name} ({mutant.file})")
    return 1 if survivors else 0


def check(mutant: Mutant) -> None:
    """Raises `ListError` unless the breakage can be applied to the sources as they are."""
    path = ROOT / mutant.file
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / mutant.file
        copy.parent.mkdir(parents=True)
        if path.is_file():
            shutil.copy2(path, copy)
        mutant.apply(Path(scratch))


def _try(mutants: Sequence[Mutant], jobs: int, *, whole: bool) -> list[Mutant]:
    """Those that no test notices."""
    benches: SimpleQueue[Bench] = SimpleQueue()
    with (
        tempfile.TemporaryDirectory(prefix="so101-mutants-") as scratch,
        ExitStack() as stack,
        ThreadPoolExecutor(jobs) as pool,
    ):
        for number in range(jobs):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            forks = Forks()
            stack.callback(forks.close)
            benches.put(Bench(folder, forks))

        def check_whole(suite: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
            bench = benches.get()
            try:
                bench.whole(*suite)
            finally:
                benches.put(bench)

        untested: list[str] = []

        def work(mutant: Mutant) -> bool:
            bench, started = benches.get(), time.monotonic()
            try:
                killed = bench.killed(mutant)
                word = "killed  " if killed else "SURVIVED"
            except ListError as problem:  # the others are tried all the same
                untested.append(str(problem))
                killed, word = True, "untested"
            finally:
                benches.put(bench)
            print(f"{word} {time.monotonic() - started:5.0f} s  {mutant.name}", flush=True)
            return killed

        if whole:
            list(pool.map(check_whole, sorted({(mutant.tests, mutant.args) for mutant in mutants})))
        killed = list(pool.map(work, mutants))
    if untested:
        raise ListError("\n".join(untested))
    return [mutant for mutant, was_killed in zip(mutants, killed, strict=True) if not was_killed]


if __name__ == "__main__":
    sys.exit(main())
