"""How often the scripted expert succeeds, by task and scenario, and what goes wrong when it does not.

python -m experiments.expert_table --task palletize-2 --episodes 200 --jobs 2
python -m experiments.expert_table --task palletize-1 palletize-4 --scenario nominal randomised --level 2
python -m experiments.expert_table --task palletize-2 --scenario all --level 2 --episodes 20 --out runs.jsonl

With --out every attempt is kept as a line, and attempts that are in the file already are not played again: an
interrupted table goes on, and one with more episodes or scenarios begins with what is known. The table itself is
Markdown. Evaluation seeds by default. No pictures are rendered: the expert does not look through the cameras.
"""

import argparse
import json
import math
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from so101_eval.commands.plan import count
from so101_eval.episode.episode import Stage
from so101_eval.errors import ConfigError, EvalError, RecordError
from so101_eval.expert.expert import run_expert
from so101_eval.palletizing.scene.draw import DEMO_SEEDS, EVAL_SEEDS, SUITE
from so101_eval.palletizing.scene.scenarios import NOMINAL, SCENARIOS, load_scenario
from so101_eval.palletizing.scene.tasks import TASKS, load_task
from so101_eval.palletizing.score.record import Score
from so101_eval.pool import deaf_to_ctrl_c
from so101_eval.statistics.intervals import wilson
from so101_robot.errors import RobotError

ALL = "all"
HEAD = (
    "task",
    "scenario",
    "success",
    "95 % (Wilson)",
    "error mm",
    "yaw deg",
    "s per box",
    "guard",
    "CPU s",
    "failures",
)
"""Errors: mean / largest over the boxes that stand as they should."""


class Cell(NamedTuple):
    """A row of the table."""

    task: str
    scenario: str
    level: int


class Run(NamedTuple):
    """An attempt of the expert, without its trajectory."""

    score: Score
    interventions: int
    """Ticks and joints on which the guard had something to change."""
    cpu_s: float

    @property
    def key(self) -> tuple[Cell, int]:
        """What was asked for: cell and seed."""
        return Cell(self.score.task, self.score.scenario, self.score.level), self.score.seed

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**self._asdict(), "score": json.loads(self.score.to_json())})

    @staticmethod
    def from_json(text: str) -> "Run":
        """Back from `to_json`. Raises `RecordError` for anything else."""
        try:
            fields = json.loads(text)
            score = Score.from_json(json.dumps(fields["score"]))
            return Run(score, int(fields["interventions"]), float(fields["cpu_s"]))
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(f"this is not a stored attempt: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. One message for what cannot be done."""
    options = _parser().parse_args(arguments)
    try:
        cells = _cells(options.task, options.scenario, options.level)
        asked = [(cell, seed) for cell in cells for seed in _seeds(options.first_seed, options.episodes)]
        known = {} if options.out is None else {run.key: run for run in stored(options.out)}
        runs = [known[key] for key in asked if key in known]
        missing = [key for key in asked if key not in known]
        code = _play(missing, options.jobs, options.out, runs)
    except (EvalError, RobotError, OSError) as error:
        print(f"expert_table: {error}", file=sys.stderr)
        return 2
    print(markdown(cells, runs))
    _print_failures(runs)
    return code


def stored(path: Path) -> list[Run]:
    """The attempts of a file, none if there is no file yet. A last line that was cut off is removed.

    Raises:
        RecordError: the file holds something else, or was made with another version.
        OSError: it cannot be read.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    runs: list[Run] = []
    for number, line in enumerate(whole.decode(errors="replace").splitlines(), 1):
        try:
            runs.append(Run.from_json(line))
        except RecordError as error:
            raise RecordError(f"{path}, line {number}: {error}; choose another --out") from error
        if runs[-1].score.suite != SUITE:
            raise RecordError(f"{path}, line {number}: of suite {runs[-1].score.suite!r}, this is {SUITE!r}")
    if data and not runs:
        raise RecordError(f"{path} holds no attempts; choose another --out, or remove it")
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return runs


def _play(work: Sequence[tuple[Cell, int]], jobs: int, out: Path | None, runs: list[Run]) -> int:
    """Play what is missing, add it to `runs` and to the file; returns the exit code."""
    with nullcontext() if out is None else out.open("a") as file:
        try:
            for run in _with_progress(attempts(work, jobs), len(work)):
                runs.append(run)
                if file is not None:
                    file.write(run.to_json() + "\n")
                    file.flush()
        except KeyboardInterrupt:
            again = "" if out is None else "; the same command again goes on from there"
            print(f"expert_table: interrupted after {len(runs)} attempts{again}", file=sys.stderr)
            return 130
    return 0


def attempts(work: Sequence[tuple[Cell, int]], jobs: int) -> Generator[Run]:
    """All attempts, in the order in which they end."""
    if jobs == 1 or not work:
        yield from map(_attempt, work)
        return
    # spawned, not forked: LeRobot's libraries have threads by the time they are imported
    with deaf_to_ctrl_c():
        pool = multiprocessing.get_context("spawn").Pool(jobs)
    with pool:
        yield from pool.imap_unordered(_attempt, work, chunksize=max(1, min(8, len(work) // (4 * jobs))))


_stages: dict[str, Stage] = {}
"""Of this process, one at a time: a compiled scene serves all attempts at a task."""


def _attempt(work: tuple[Cell, int]) -> Run:
    (task, scenario, level), seed = work
    if task not in _stages:
        for stage in _stages.values():
            stage.close()
        _stages.clear()
        _stages[task] = Stage(task)
    started_s = time.process_time()
    attempt = run_expert(task, scenario, level, seed, _stages[task])
    return Run(attempt.score, sum(attempt.interventions.values()), time.process_time() - started_s)


def _cells(tasks: Sequence[str], scenarios: Sequence[str], level: int) -> list[Cell]:
    """Raises ConfigError for a task, scenario or level that does not exist."""
    names = list(SCENARIOS) if ALL in scenarios else list(scenarios)
    for task in tasks:
        load_task(task)
    for name in names:
        load_scenario(name).knobs(level)
    if not names or not tasks:
        raise ConfigError("nothing to do: expected a task and a scenario")
    return [Cell(task, name, 0 if name == NOMINAL else level) for task in tasks for name in names]


def _seeds(first: int, count: int) -> range:
    """Raises ConfigError for seeds that do not exist."""
    if first < 0 or first + count > DEMO_SEEDS.stop:
        raise ConfigError(f"seed {first} and {count - 1} more: possible are 0 to {DEMO_SEEDS.stop - 1}")
    return range(first, first + count)


def _with_progress(runs: Iterable[Run], total: int) -> Generator[Run]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar, good, known = progress.add_task("expert", total=total), 0, 0
        for run in runs:
            yield run
            good, known = good + bool(run.score.success), known + (run.score.success is not None)
            progress.update(bar, advance=1, description=f"expert {good}/{known}")


def markdown(cells: Iterable[Cell], runs: Sequence[Run]) -> str:
    """The table: a row a cell."""
    rows: list[Sequence[str]] = [HEAD, ("---", "---", *["---:"] * (len(HEAD) - 3), "---")]
    for cell in cells:
        scenario = cell.scenario if cell.scenario == NOMINAL else f"{cell.scenario} {cell.level}"
        rows.append((cell.task, scenario, *_row([run for run in runs if run.key[0] == cell])))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(runs: Sequence[Run]) -> list[str]:
    known = [run.score for run in runs if run.score.success is not None]
    if not known:
        return ["-"] * (len(HEAD) - 2)
    successes = sum(bool(score.success) for score in known)
    low, high = wilson(successes, len(known))
    good = [box for score in known for box in score.boxes if box.good]
    failures = Counter(f"{s.failure.kind}/{s.failure.phase}" for s in known if s.failure is not None)
    return [
        f"{successes}/{len(known)}",
        f"{low:.3f} to {high:.3f}",
        _mean_and_max([box.error_mm for box in good if box.error_mm is not None]),
        _mean_and_max([abs(box.yaw_deg) for box in good if box.yaw_deg is not None]),
        f"{np.mean([s.seconds_per_box for s in known if s.seconds_per_box is not None] or [math.nan]):.1f}",
        str(sum(run.interventions for run in runs)),
        f"{np.mean([run.cpu_s for run in runs]):.2f}",
        ", ".join(f"{count} {name}" for name, count in failures.most_common()) or "none",
    ]


def _mean_and_max(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} / {max(values):.2f}" if values else "-"


def _print_failures(runs: Iterable[Run]) -> None:
    for score in (run.score for run in runs):
        if score.failure is not None:
            at = f"{score.failure.kind} in phase {score.failure.phase} at {score.failure.time_s:.1f} s"
            box = "" if score.failure.box is None else f", box {score.failure.box}"
            detail = f" ({score.failure.detail})" if score.failure.detail else ""
            where = f"{score.task} {score.scenario} {score.level} seed {score.seed}"
            print(f"{where}: {at}{box}{detail}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.expert_table",
        description="How often the scripted expert succeeds, and what goes wrong when it does not.",
        epilog="examples:\n" + (__doc__ or "").split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--task", nargs="+", default=["palletize-2"], help=f"of {', '.join(TASKS)}")
    parser.add_argument("--scenario", nargs="+", default=[NOMINAL], help=f"scenarios by name, or {ALL}")
    parser.add_argument("--level", type=int, default=2, help="0 to 3 (default: 2, the published severity)")
    parser.add_argument("--episodes", type=count, default=20, help="attempts per row (default: 20)")
    parser.add_argument("--first-seed", type=int, default=EVAL_SEEDS.start, help="default: %(default)s")
    parser.add_argument("--jobs", type=count, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--out", type=Path, help="file of attempts, a line each; what it has is not played again"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
