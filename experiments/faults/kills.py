"""kill -9 at random moments, and what is left: the log, the recorded episodes, the arm.

python -m experiments.faults.kills --kills 100 --out outputs/faults/kills.json

Each time a runner in a process of its own drives the mock arm on a pseudo-terminal in real time, with log, recorder and
watchdog as so101-run composes them, and is killed: while it drives, on its way home, or while it saves its episode.
Then: every line of ticks.jsonl but one that was cut short has to be readable, without a gap; episodes that were
recorded before have to be there unchanged; and the watchdog has to hold the arm or to park it, as it was told (they
take turns). The exit code is 1 if anything of that is not so.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.faults.report import as_list, write_between
from experiments.faults.stage import FPS, PERIOD_S, RAISED, SWING, as_prediction
from so101_eval.commands.plan import count
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.scheduler import make_scheduler
from so101_robot.chunks.workers import InlineWorker
from so101_robot.joints import JOINTS
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig
from so101_robot.loop.observers import Background
from so101_robot.mock.serve.mock_process import MockProcess
from so101_robot.runs.dataset import QUEUE_TICKS, DatasetRecorder
from so101_robot.runs.log import TICKS, RunLog, read_ticks
from so101_robot.state import Frame
from so101_robot.watchdog.client import Watchdog, WatchdogConfig, job_for
from so101_robot.watchdog.last_resort import FREE

OK, FAILED = 0, 1
MARK = "kills"
"""Name of the marks in a Markdown file between which `--markdown` writes."""
REPO_ID = "local/kills"
SIZE = (48, 64)
"""Height and width of the recorded pictures."""
DRIVE_S = 1.5
"""How long a runner drives before it goes home by itself, without the way to its first pose."""
LATEST_S = 5.0
"""The kill comes at most so long after the first tick. A run takes four seconds, and then saves its episode."""
PATIENCE_S = 180.0
HOME_DEG = 8.0
"""A joint this close to home is home: it hangs a little and settles when it is let go."""


class Plan(NamedTuple):
    """What a runner needs to know."""

    port: str
    robot_id: str
    calibration_dir: Path
    folder: Path
    dataset: Path
    action: str
    """The watchdog's: hold or park."""


class Kill(NamedTuple):
    """One kill and what was left."""

    number: int
    action: str
    after_s: float
    phase: str
    """What the runner was doing: approach, run, home, or over."""
    ticks: int
    watchdog: str
    """What it reported; empty if the runner had said goodbye."""
    arm: str
    episodes: int
    problems: tuple[str, ...]


class Sighted(SO101):
    """An arm with a camera that needs no device."""

    def frames(self) -> dict[str, Frame]:
        now_s = self.clock.now_s()
        number = int(now_s * FPS)
        image = np.full((*SIZE, 3), 90 + number % 100, np.uint8)
        return {"front": Frame(image, now_s, number, None)}


def run(plan: Plan, resume: bool) -> None:
    """A runner: to its end, if it is let."""
    config = SO101Config(port=plan.port, id=plan.robot_id, calibration_dir=plan.calibration_dir)
    robot = Sighted(config)
    log = RunLog(plan.folder, {})
    recorder = DatasetRecorder(
        REPO_ID, plan.dataset, task="swing", fps=FPS, cameras={"front": SIZE}, resume=resume
    )
    robot.connect()
    guard, clock = robot.guard, robot.clock
    assert guard is not None  # since connect

    def predict(state: Any, images: Any, before: Any = ()) -> Any:
        times_s = clock.now_s() + np.arange(30) / FPS
        return as_prediction(RAISED + SWING * np.sin(2 * np.pi / PERIOD_S * times_s)[:, None])

    job = job_for(
        robot, WatchdogConfig(on_death=plan.action, hang_s=0, speed=60), plan.folder / "watchdog.json"
    )
    assert job is not None  # there is a port
    with Watchdog(job) as watchdog:
        (plan.folder / "watchdog").write_text(str(watchdog.pid))
        watchdog.beat()
        ControlLoop(
            robot,
            make_scheduler("asynchronous", InlineWorker(predict, 0.1), fps=FPS, n_action_steps=10),
            guard,
            clock,
            config=LoopConfig(
                fps=FPS, duration_s=DRIVE_S, approach_speed=90, ending=EndingConfig(speed=90, wait_s=0)
            ),
            observers=[watchdog, log, Background(recorder, capacity=QUEUE_TICKS)],
        ).run()
    robot.disconnect(release=False)


def kills(count: int, seed: int, folder: Path, show: Any = None) -> list[Kill]:
    """Do it `count` times; `show` is called after each."""
    rng = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "lerobot.datasets.lerobot_dataset"])
    found: list[Kill] = []
    with MockProcess(cameras=False) as mock:
        first = _plan(mock, folder, "first", "hold")
        whole = context.Process(target=run, args=(first, False))
        whole.start()
        whole.join()
        known = episodes(first.dataset)
        if len(known) != 1:
            raise RuntimeError(f"the first run, which nobody killed, left {len(known)} episodes")
        for number in range(count):
            plan = _plan(mock, folder, f"kill_{number}", ("hold", "park")[number % 2])
            kill, known = _kill(number, context, plan, mock, rng.uniform(0.0, LATEST_S), known)
            found.append(kill)
            if show is not None:
                show(kill)
    return found


def _plan(mock: MockProcess, folder: Path, name: str, action: str) -> Plan:
    return Plan(mock.port, mock.robot_id, mock.calibration_dir, folder / name, folder / "dataset", action)


def _kill(
    number: int, context: Any, plan: Plan, mock: MockProcess, after_s: float, known: dict[int, str]
) -> tuple[Kill, dict[int, str]]:
    """One runner, killed; and the episodes that are there then."""
    runner = context.Process(target=run, args=(plan, True))
    runner.start()
    path = plan.folder / TICKS
    _until(lambda: not runner.is_alive() or (path.exists() and path.stat().st_size > 0))
    time.sleep(after_s)
    runner.kill()
    runner.join()
    problems: list[str] = []
    ticks, phase = _ticks(path, problems)
    report = _watchdogs_report(plan)
    arm = _arm(mock, plan, report, problems)
    there = episodes(plan.dataset)
    if lost := [episode for episode, digest in known.items() if there.get(episode) != digest]:
        problems.append(f"episodes {lost} are not what they were")
    over = runner.exitcode == 0 or not report
    kill = Kill(
        number,
        plan.action,
        round(after_s, 3),
        "over" if over else phase,
        ticks,
        report.get("text", ""),
        arm,
        len(there),
        tuple(problems),
    )
    return kill, there


def _ticks(path: Path, problems: list[str]) -> tuple[int, str]:
    """How many ticks can be read, and the phase of the last one."""
    try:
        ticks = [record for record in read_ticks(path) if "tick" in record]
    except Exception as problem:  # any is one too many
        problems.append(f"ticks.jsonl: {problem}")
        return 0, ""
    numbers = [tick["tick"] for tick in ticks]
    if not numbers or numbers[0] != 0 or sorted(set(numbers)) != numbers:
        problems.append(f"ticks.jsonl: {len(numbers)} ticks from {numbers[:1]} are not in order")
    return len(ticks), ticks[-1]["phase"] if ticks else ""


def _watchdogs_report(plan: Plan) -> dict[str, Any]:
    """What the watchdog wrote when it was done; empty if it had nothing to do."""
    started = plan.folder / "watchdog"
    if started.exists():
        pid = int(started.read_text())
        _until(lambda: not _is_running(pid))
    report = plan.folder / "watchdog.json"
    return json.loads(report.read_text()) if report.exists() else {}


def _arm(mock: MockProcess, plan: Plan, report: dict[str, Any], problems: list[str]) -> str:
    """How the arm is: held, parked, or something that is a problem."""
    torque = [mock.call("register", joint=joint, name="Torque_Enable") for joint in JOINTS]
    fields = json.loads((plan.calibration_dir / f"{plan.robot_id}.json").read_text())
    home = np.array(SO101Config(port="mock").home)[:5]
    steps = [mock.call("register", joint=joint, name="Present_Position") for joint in JOINTS[:5]]
    middles = [(fields[joint]["range_min"] + fields[joint]["range_max"]) / 2 for joint in JOINTS[:5]]
    away = np.abs((np.array(steps) - middles) * 360 / 4096 - home).max()
    state = "held" if all(torque) else "parked" if away < HOME_DEG and not any(torque) else "neither"
    said = report.get("text", "nothing")
    let_go = not report or said.startswith(FREE)  # by the runner itself, at home, before it died
    wanted = "held" if plan.action == "hold" and not let_go else "parked"
    if state != wanted:
        problems.append(
            f"the arm is {state}, {away:.0f} deg from home, torque {torque}; the watchdog said {said}"
        )
    return state


def episodes(dataset: Path) -> dict[int, str]:
    """Episode -> digest of its numbers, of every episode that the dataset's own list has."""
    import pyarrow.parquet as pq

    listed: dict[int, tuple[int, int]] = {}
    for path in sorted((dataset / "meta" / "episodes").rglob("*.parquet")):
        for row in pq.read_table(path, columns=["episode_index", "length"]).to_pylist():
            listed[row["episode_index"]] = (row["length"], 0)
    rows: dict[int, list[Any]] = {}
    for path in sorted((dataset / "data").rglob("*.parquet")):
        try:
            table = pq.read_table(path, columns=["episode_index", "observation.state", "action"])
        except Exception:  # the file of the episode that was being written
            continue
        for row in table.to_pylist():
            rows.setdefault(row["episode_index"], []).append((row["observation.state"], row["action"]))
    return {
        episode: hashlib.sha256(repr(rows.get(episode, [])[:length]).encode()).hexdigest()
        for episode, (length, _) in listed.items()
        if len(rows.get(episode, [])) >= length
    }


def _until(condition: Any) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_words(found: Sequence[Kill]) -> str:
    """For a person."""
    phases = Counter(kill.phase for kill in found)
    arms = Counter(f"{kill.arm} (told to {kill.action})" for kill in found if kill.watchdog)
    bad = [kill for kill in found if kill.problems]
    lines = [
        f"{len(found)} kills: {', '.join(f'{count} in phase {phase}' for phase, count in phases.most_common())}",
        f"{sum(kill.ticks for kill in found)} ticks readable; whole episodes at the end: "
        f"{found[-1].episodes if found else 0}",
        f"the watchdog acted {sum(arms.values())} times: {', '.join(f'{n} {a}' for a, n in arms.most_common())}",
        f"{len(bad)} with a problem",
    ]
    return "\n".join([*lines, *(f"kill {kill.number}: {'; '.join(kill.problems)}" for kill in bad)])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    columns = TextColumn("kills"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar: Any = Progress(*columns, console=console) if console.is_terminal else nullcontext()
    with bar as progress, tempfile.TemporaryDirectory() as folder:
        task = progress.add_task("kills", total=options.kills) if progress is not None else None

        def show(kill: Kill) -> None:
            if kill.problems:
                console.print(f"kill {kill.number}: {'; '.join(kill.problems)}", highlight=False)
            if progress is not None:
                progress.update(task, advance=1)
            elif (kill.number + 1) % 10 == 0:
                console.print(f"{kill.number + 1}/{options.kills}", highlight=False)

        found = kills(options.kills, options.seed, Path(folder), show)
    print(in_words(found))
    if options.markdown is not None:
        write_between(options.markdown, MARK, as_list(in_words(found)))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps([kill._asdict() for kill in found], indent=1) + "\n")
    return FAILED if any(kill.problems for kill in found) else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.faults.kills",
        description="kill -9 at random moments, and what is left.",
        epilog="examples:\n" + (__doc__ or "").split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--kills", type=count, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--out", type=Path, help="JSON file of the kills")
    parser.add_argument(
        "--markdown", type=Path, help="Markdown file for the figures, written between its marks"
    )
    return parser


if __name__ == "__main__":
    from experiments.faults.kills import (
        main as command,  # under its own name, under which the runners know it
    )

    this = sys.modules["__main__"]
    this.__spec__ = this.__file__ = None  # so no runner imports it once more
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(command())
