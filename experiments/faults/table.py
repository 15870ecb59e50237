"""The fault table: every row, so often, for so101-run and for LeRobot's own runner, on the mock arm.

python -m experiments.faults.table --repetitions 20 --jobs 2 --out outputs/faults/table.jsonl
python -m experiments.faults.table --row "a servo reboots" "NaN for good" --repetitions 3
python -m experiments.faults.table --side so101-run --group camera policy
python -m experiments.faults.table --group usb --repetitions 5 --mark "usb fault table" \\
       --markdown docs/reference/faults.md

Every repetition has a seed of its own, from which pose, phase, moment and servo are drawn. With --out each is kept as a
line, and what is in the file is not done again: an interrupted table goes on. The exit code is 1 if a repetition of
so101-run was unsafe. What counts as unsafe stands in `judging`. Rows of the group `usb` go on in real time, and are
done only when they are asked for.
"""

import argparse
import json
import multiprocessing
import multiprocessing.process
import sys
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.faults.record import Record, Side
from experiments.faults.report import markdown, write_between
from experiments.faults.rows import BY_NAME, ROWS, Group, Row
from so101_eval.commands.plan import count
from so101_eval.pool import deaf_to_ctrl_c

SIDES: tuple[Side, ...] = get_args(Side)
MARK = "fault table"
"""Name of the marks in a Markdown file between which `--markdown` writes."""

LAST_S = 2.0
"""How long a playing process has to end by itself."""

OK, UNSAFE, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


class Task(NamedTuple):
    """One repetition to be done."""

    row: str
    side: Side
    seed: int


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        rows = _chosen(options.row, options.group)
        known = _known(options.out)
    except ValueError as problem:
        print(f"faults.table: {problem}", file=sys.stderr)
        return WRONG_INPUT
    tasks = _tasks(rows, options.side, options.repetitions, options.lerobot_repetitions, options.first_seed)
    done = {Task(r.row, r.side, r.seed): r for r in known}
    todo = [task for task in tasks if task not in done]
    try:
        for record in _with_bar(_records(todo, options.jobs), len(todo)):
            done[Task(record.row, record.side, record.seed)] = record
            if options.out is not None:
                _append(options.out, record)
    except KeyboardInterrupt:
        print("interrupted; the same command with --out goes on", file=sys.stderr)
        return INTERRUPTED
    records = [done[task] for task in tasks]
    text = markdown(rows, records)
    if options.markdown is not None:
        write_between(options.markdown, options.mark, text)
    else:
        print(text)
    return UNSAFE if any(record.unsafe for record in records if record.side == SIDES[0]) else OK


def do(task: Task) -> Record:
    """One repetition."""
    if task.side == "lerobot":
        from experiments.faults import theirs as driver
    else:
        from experiments.faults import ours as driver
    return driver.drive(BY_NAME[task.row], task.seed)


def _tasks(
    rows: Sequence[Row], sides: Iterable[Side], repetitions: int, lerobots: int | None, first: int
) -> list[Task]:
    """All repetitions of a row before the next row, so that a first look is there early."""
    most = {"so101-run": repetitions, "lerobot": repetitions if lerobots is None else lerobots}
    return [
        Task(row.name, side, first + k)
        for row in rows
        for side in sides
        if side == "so101-run" or not row.only_ours
        for k in range(most[side])
    ]


def _records(tasks: Sequence[Task], jobs: int) -> Generator[Record]:
    if jobs == 1 or len(tasks) < 2:
        yield from map(do, tasks)
        return
    with deaf_to_ctrl_c():
        pool = multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=200)
    try:
        yield from pool.imap_unordered(do, tasks)
    finally:
        # a runner in the middle of a repetition takes SIGTERM for the wish to park, and the pool would wait for ever
        last = threading.Timer(LAST_S, _kill_all, [multiprocessing.active_children()])
        last.start()
        pool.terminate()
        last.cancel()


def _kill_all(processes: Iterable[multiprocessing.process.BaseProcess]) -> None:
    for process in processes:
        process.kill()


def _with_bar(records: Iterable[Record], total: int) -> Generator[Record]:
    """The records, and how far they are, in a terminal and in a log alike."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    unsafe = 0
    bar: Any = Progress(*columns, console=console) if console.is_terminal else nullcontext()
    with bar as progress:
        task = progress.add_task("faults", total=total) if progress is not None else None
        for number, record in enumerate(records, start=1):
            yield record
            if record.unsafe and record.side == SIDES[0]:
                unsafe += 1
                console.print(
                    f"unsafe: {record.row}, seed {record.seed}: {'; '.join(record.unsafe)}", highlight=False
                )
            if progress is not None:
                progress.update(task, advance=1, description=f"faults, {unsafe} unsafe")
            elif number % 50 == 0 or number == total:
                console.print(f"{number}/{total}, {unsafe} unsafe", highlight=False)


def _chosen(names: Sequence[str], groups: Sequence[str]) -> list[Row]:
    if unknown := [name for name in names if name not in BY_NAME]:
        raise ValueError(f"there is no row {unknown[0]!r}; rows: {'; '.join(BY_NAME)}")
    if not names and not groups:
        return [row for row in ROWS if row.group != "usb"]
    return [row for row in ROWS if (not names or row.name in names) and (not groups or row.group in groups)]


def _known(path: Path | None) -> list[Record]:
    """What an earlier call has left; a last line that was cut short is left out."""
    if path is None or not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    try:
        return [Record.from_json(json.loads(line)) for line in lines]
    except (ValueError, TypeError) as problem:
        raise ValueError(f"{path} is not a file of this command: {problem}") from problem


def _append(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.exists() else ""
    if text and not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1])
    with path.open("a") as file:
        file.write(json.dumps(record.as_json()) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.faults.table",
        description="Let everything go wrong on the mock arm, and see what becomes of it.",
        epilog="examples:\n" + (__doc__ or "").split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--repetitions", type=count, default=20, help="of every row (default: 20)")
    parser.add_argument("--lerobot-repetitions", type=int, help="of LeRobot's (default: as many)")
    parser.add_argument("--row", nargs="+", default=[], help="only these, by name")
    parser.add_argument("--group", nargs="+", default=[], choices=get_args(Group), help="only these groups")
    parser.add_argument("--side", nargs="+", default=list(SIDES), choices=SIDES, help="default: both")
    parser.add_argument("--first-seed", type=int, default=0, help="default: 0")
    parser.add_argument("--jobs", type=count, default=1, help="processes (default: 1)")
    parser.add_argument("--out", type=Path, help="file of repetitions, a line each; resumed if it is there")
    parser.add_argument(
        "--markdown", type=Path, help="file for the table, written between its marks; else it is printed"
    )
    parser.add_argument("--mark", default=MARK, help="name of those marks (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
