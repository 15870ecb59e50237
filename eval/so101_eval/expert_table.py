"""How often the scripted expert succeeds, by task and scenario, and what goes wrong when it does not.

python -m so101_eval.expert_table --task palletize-2 --episodes 200 --jobs 2
python -m so101_eval.expert_table --task palletize-1 palletize-4 --scenario nominal randomised --level 2
python -m so101_eval.expert_table --task palletize-2 --scenario all --level 2 --episodes 20 --json scores.jsonl

Evaluation seeds by default. No pictures are rendered: the expert does not look through the cameras.
"""

import argparse
import math
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from so101_robot.errors import RobotError

from so101_eval.attempt import Bench
from so101_eval.errors import ConfigError, EvalError
from so101_eval.palletizing.expert import run_expert
from so101_eval.palletizing.record import Score
from so101_eval.palletizing.reset import EVAL_SEEDS
from so101_eval.palletizing.scenarios import NOMINAL, SCENARIOS, load_scenario
from so101_eval.palletizing.tasks import TASKS, load_task

ALL = "all"
WIDTH = 150
"""Characters of the table where it is written to a file."""


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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. One message for what cannot be done."""
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        cells = _cells(options.task, options.scenario, options.level)
        seeds = range(options.first_seed, options.first_seed + options.episodes)
        output = options.json.open("x") if options.json is not None else None
    except (EvalError, OSError) as error:
        return _complain(error)
    runs: list[Run] = []
    try:
        for run in _with_progress(attempts(cells, seeds, options.jobs), len(cells) * len(seeds), console):
            runs.append(run)
            if output is not None:
                output.write(run.score.to_json() + "\n")
                output.flush()
    except KeyboardInterrupt:
        console.print(f"interrupted after {len(runs)} attempts")
    except (EvalError, RobotError, OSError) as error:
        return _complain(error)
    finally:
        if output is not None:
            output.close()
    console.print(_table(cells, runs))
    _print_failures(console, runs)
    return 0


def attempts(cells: Iterable[Cell], seeds: range, jobs: int) -> Generator[Run]:
    """All attempts, in the order in which they end."""
    work = [(cell, seed) for cell in cells for seed in seeds]
    if jobs == 1:
        yield from map(_attempt, work)
        return
    # spawned, not forked: LeRobot's libraries have threads by the time they are imported
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_attempt, work, chunksize=max(1, min(8, len(work) // (4 * jobs))))


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval for a probability, 95 % by default.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if trials == 0:
        return 0.0, 1.0
    share, weight = successes / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(middle - half, 0.0), min(middle + half, 1.0)


_benches: dict[str, Bench] = {}
"""Of this process, one at a time: a compiled scene serves all attempts at a task."""


def _attempt(work: tuple[Cell, int]) -> Run:
    (task, scenario, level), seed = work
    if task not in _benches:
        for bench in _benches.values():
            bench.close()
        _benches.clear()
        _benches[task] = Bench(task)
    started_s = time.process_time()
    attempt = run_expert(task, scenario, level, seed, _benches[task])
    return Run(attempt.score, sum(attempt.interventions.values()), time.process_time() - started_s)


def _cells(tasks: Sequence[str], scenarios: Sequence[str], level: int) -> list[Cell]:
    """Raises ConfigError for a task, scenario or level that does not exist."""
    names = list(SCENARIOS) if ALL in scenarios else list(scenarios)
    for task in tasks:
        load_task(task)
    for name in names:
        load_scenario(name).knobs(level)
    if not names or not tasks:
        raise ConfigError("nothing to do: needed are a task and a scenario")
    return [Cell(task, name, 0 if name == NOMINAL else level) for task in tasks for name in names]


def _with_progress(runs: Iterable[Run], total: int, console: Console) -> Generator[Run]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        bar, good, known = progress.add_task("expert", total=total), 0, 0
        for run in runs:
            yield run
            good, known = good + bool(run.score.success), known + (run.score.success is not None)
            progress.update(bar, advance=1, description=f"expert {good}/{known}")


def _table(cells: Iterable[Cell], runs: Sequence[Run]) -> Table:
    table = Table(title="scripted expert", caption="errors: over the boxes that stand as they should")
    for name in ("task", "scenario"):
        table.add_column(name)
    for name in ("success", "95 %", "error mm", "yaw deg", "s/box", "guard", "CPU s"):
        table.add_column(name, justify="right")
    table.add_column("failures")
    for cell in cells:
        found = [run for run in runs if Cell(run.score.task, run.score.scenario, run.score.level) == cell]
        table.add_row(cell.task, f"{cell.scenario} {cell.level}", *_row(found))
    return table


def _row(runs: Sequence[Run]) -> list[str]:
    known = [run.score for run in runs if run.score.success is not None]
    if not known:
        return ["-"] * 8
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


def _print_failures(console: Console, runs: Iterable[Run]) -> None:
    for score in (run.score for run in runs):
        if score.failure is not None:
            at = f"{score.failure.kind} in phase {score.failure.phase} at {score.failure.time_s:.1f} s"
            box = "" if score.failure.box is None else f", box {score.failure.box}"
            detail = f" ({score.failure.detail})" if score.failure.detail else ""
            where = f"{score.task} {score.scenario} {score.level} seed {score.seed}"
            console.print(f"{where}: {at}{box}{detail}", highlight=False, markup=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m so101_eval.expert_table",
        description="How often the scripted expert succeeds, and what goes wrong when it does not.",
        epilog="examples:\n" + (__doc__ or "").split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--task", nargs="+", default=["palletize-2"], help=f"of {', '.join(TASKS)}")
    parser.add_argument("--scenario", nargs="+", default=[NOMINAL], help=f"scenarios by name, or {ALL}")
    parser.add_argument("--level", type=int, default=2, help="0 to 3 (default: 2, the published severity)")
    parser.add_argument("--episodes", type=_positive, default=20, help="attempts per row (default: 20)")
    parser.add_argument("--first-seed", type=int, default=EVAL_SEEDS.start, help="default: %(default)s")
    parser.add_argument("--jobs", type=_positive, default=1, help="processes (default: 1)")
    parser.add_argument("--json", type=Path, help="write every score to this new file, one line each")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: needed is 1 or more")
    return value


def _complain(error: Exception) -> int:
    print(f"expert_table: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
