"""Hours of simulated work with random faults, about one every ten seconds.

python -m experiments.faults.soak --hours 2 --out outputs/faults/soak.json
python -m experiments.faults.soak --minutes 10 --seed 3

The loop of so101-run drives the mock arm in lockstep, as fast as the machine can. A fault that lasts too long ends the
run, as it should; then a person mends it and starts the next run with the same arm. Asked is: no unsafe motion
(`judging`), no tick missing in a log, no growing memory, and every fault accounted for: noticed by the runner on the
tick or soon, or of a kind that harms nothing (`HARMLESS` says why). The exit code is 1 if anything of that is not so.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.faults.judging import BEYOND_DEG, FALL_MM, SPEED_DEG_S, beyond, largest_speed, let_fall
from experiments.faults.ours import APPROACH_DEG_S, LATENCY_S, N_ACTION_STEPS
from experiments.faults.report import as_list, write_between
from experiments.faults.stage import FPS, Stage, as_prediction
from so101_eval.commands.plan import amount
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.scheduler import make_scheduler
from so101_robot.chunks.workers import InlineWorker
from so101_robot.commands.reconnect import Reconnector
from so101_robot.errors import describe
from so101_robot.faults.fault import Mode
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig, StopRequests
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.runs.log import TICKS, RunLog, read_ticks

OK, FAILED = 0, 1
MARK = "soak"
"""Name of the marks in a Markdown file between which `--markdown` writes."""

EVERY_S = (5.0, 15.0)
"""From the end of a fault to the next one: drawn from here."""

RARE_S = 60.0
"""Fewer faults than one in so long, and the soak has tried too little to say anything."""

NOTICE_S = 1.0
"""How long after its end a fault may be noticed."""

GROWTH_MB_PER_HOUR = 10.0
"""What memory may grow by, after the warm-up: allocators breathe by a few megabytes."""
WARM_UP_SHARE = 0.1


class Kind(NamedTuple):
    """A kind of fault, and how long it lasts: drawn from `for_s`; None: single replies."""

    fault: str
    for_s: tuple[float, float] | None
    more: dict[str, Any]


KINDS: tuple[Kind, ...] = (
    *(
        Kind(fault, None, {})
        for fault in (
            "corrupt_reply", "corrupt_header", "truncated_reply", "wrong_length", "noise", "bad_error_byte", "bad_id",
            "out_of_order", "duplicate_reply", "id_collision", "echo", "late_reply", "silent_servo", "silent_bus",
            "stolen_bytes",
        )
    ),
    Kind("lost_request", None, {"instruction": "sync_write"}),
    Kind("corrupt_request", None, {"instruction": "sync_write"}),
    Kind("silent_servo", (0.1, 3.0), {"servo": "any"}),
    Kind("silent_bus", (0.1, 2.0), {}),
    Kind("late_reply", (0.1, 1.0), {}),
    Kind("stolen_bytes", (0.2, 2.0), {"servo": "all"}),
    Kind("overload", (0.2, 1.5), {"servo": "any"}),
    Kind("overheat", (0.2, 1.5), {"servo": "any"}),
    Kind("overvoltage", (0.05, 2.0), {}),
    Kind("encoder_fault", (0.2, 1.5), {"servo": "any"}),
    Kind("reboot", (0.5, 0.5), {"servo": "any"}),
    Kind("no_power", (0.1, 0.8), {}),
    Kind("multi_turn", (0.2, 0.4), {"servo": "joint"}),
    Kind("unplug", (0.2, 4.0), {}),
    Kind("stall", (0.05, 1.0), {}),
    Kind("camera_stall", (0.05, 4.0), {"camera": "lens"}),
    Kind("camera_freeze", (0.5, 4.0), {"camera": "lens"}),
    Kind("camera_dark", (0.2, 3.0), {"camera": "lens"}),
    Kind("overload", (20.0, 20.0), {"servo": "arm"}),
    Kind("silent_servo", (20.0, 20.0), {"servo": "any"}),
)  # fmt: skip

HARMLESS: dict[str, str] = {
    **dict.fromkeys(
        (
            "corrupt_reply", "corrupt_header", "truncated_reply", "wrong_length", "noise", "bad_error_byte", "bad_id",
            "out_of_order", "duplicate_reply", "id_collision", "echo", "stolen_bytes",
        ),
        "a damaged reply is asked for again within the tick",
    ),
    **dict.fromkeys(
        ("lost_request", "corrupt_request"), "a goal is sent on every tick, so one that is lost lasts a tick"
    ),
    "stall": "a stall that is shorter than a tick's pause delays nothing",
    "camera_stall": "a stall that is shorter than the allowed age of a picture",
    "camera_freeze": "the arm moved too little while the picture stood still to tell",
    "camera_dark": "",
    "late_reply": "",
}  # fmt: skip


@dataclass
class Injected:
    """One fault."""

    fault: str
    begin_s: float
    end_s: float
    noticed: bool = False


@dataclass
class Result:
    """What a soak came to."""

    simulated_s: float = 0.0
    wall_s: float = 0.0
    runs: int = 0
    ended_by: dict[str, int] = field(default_factory=dict[str, int])
    ticks: int = 0
    missing: int = 0
    faults: int = 0
    noticed: dict[str, int] = field(default_factory=dict[str, int])
    harmless: dict[str, int] = field(default_factory=dict[str, int])
    unaccounted: list[str] = field(default_factory=list[str])
    speed_deg_s: float = 0.0
    beyond_deg: float = 0.0
    let_fall_mm: float = 0.0
    memory_mb: list[float] = field(default_factory=list[float])
    growth_mb_per_hour: float = 0.0

    def failures(self) -> list[str]:
        """What is not as it should be."""
        found = [f"not accounted for: {fault}" for fault in self.unaccounted]
        if self.faults * RARE_S < self.simulated_s:
            found.append(f"only {self.faults} faults in {self.simulated_s:.0f} s: that is no soak")
        if self.missing:
            found.append(f"{self.missing} ticks are missing in the logs")
        if self.speed_deg_s > SPEED_DEG_S:
            found.append(f"a joint leapt, {self.speed_deg_s:.0f} deg/s")
        if self.beyond_deg > BEYOND_DEG:
            found.append(f"a joint left its range by {self.beyond_deg:.1f} deg")
        if self.let_fall_mm > FALL_MM:
            found.append(f"the arm was let fall by {self.let_fall_mm:.0f} mm")
        if self.growth_mb_per_hour > GROWTH_MB_PER_HOUR:
            found.append(f"memory grows by {self.growth_mb_per_hour:.1f} MB an hour")
        return found


class Saboteur:
    """Observer that lets things go wrong and writes down whether it was noticed."""

    name = "saboteur"

    def __init__(self, stage: Stage, stop: StopRequests, until_s: float, result: Result) -> None:
        self._stage, self._stop, self._until_s, self._result = stage, stop, until_s, result
        self._rng = stage.rng
        self._now: Injected | None = None
        self._next_s = stage.now_s() + 5.0
        self.ticks = 0

    def on_tick(self, tick: Tick) -> None:
        self.ticks += 1
        now_s = tick.time_s
        self._notice(tick)
        if now_s >= self._until_s and not self._stop.requested:  # asked twice, the arm is let go at once
            self._stop.request("the soak is over")
        if self._now is not None and now_s >= self._now.end_s + NOTICE_S:
            self.settle()
            self._next_s = now_s + float(self._rng.uniform(*EVERY_S)) - NOTICE_S
        elif self._now is None and now_s >= self._next_s and tick.phase == "run":
            self._begin(now_s)

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...

    def _notice(self, tick: Tick) -> None:
        if self._now is not None and (
            tick.faults or tick.fault or tick.verdict.stop or tick.mode not in (Mode.RUNNING, Mode.PARKING)
        ):
            self._now.noticed = True

    def _begin(self, now_s: float) -> None:
        kind = KINDS[int(self._rng.integers(len(KINDS)))]
        draw = {
            "any": lambda: int(self._rng.integers(1, 7)),
            "arm": lambda: int(self._rng.integers(2, 5)),
            "joint": lambda: int(self._rng.integers(1, 6)),
            "lens": lambda: ("front", "wrist")[int(self._rng.integers(2))],
        }
        more = {key: draw[value]() if value in draw else value for key, value in kind.more.items()}
        lasts_s = 0.0 if kind.for_s is None else float(self._rng.uniform(*kind.for_s))
        entry = {"fault": kind.fault, "at_s": now_s, **more}
        self._stage.arm.add_fault(entry if kind.for_s is None else {**entry, "for_s": lasts_s})
        self._now = Injected(kind.fault, now_s, now_s + lasts_s)
        self._result.faults += 1

    def left_s(self) -> float:
        """How long the fault that is on will last."""
        return 0.0 if self._now is None else max(0.0, self._now.end_s - self._stage.now_s())

    def settle(self) -> None:
        """Account for the fault that is over, and for how the arm moved meanwhile."""
        result, stage, done = self._result, self._stage, self._now
        if done is not None:
            where = result.noticed if done.noticed else result.harmless
            if not done.noticed and not HARMLESS.get(done.fault):
                result.unaccounted.append(
                    f"{done.fault} at {done.begin_s:.1f} s for {done.end_s - done.begin_s:.2f} s"
                )
            else:
                where[done.fault] = where.get(done.fault, 0) + 1
        self._now = None
        motion = stage.arm.motion()
        world = stage.arm.world
        assert world is not None  # the table
        result.speed_deg_s = max(result.speed_deg_s, largest_speed(motion))
        result.beyond_deg = max(result.beyond_deg, beyond(motion, world.joint_range_rad))
        result.let_fall_mm = max(result.let_fall_mm, let_fall(motion, stage.arm.orders))
        stage.arm.forget()
        stage.arm.forget_faults()


def soak(simulated_s: float, seed: int, folder: Path, show: Any = None) -> Result:
    """Work for so long; `show` is called with the seconds done."""
    import time

    stage, result, begin = Stage(seed), Result(), time.monotonic()
    with stage.open():
        while stage.now_s() < simulated_s:
            _one_run(stage, simulated_s, folder, result, show)
            stage.live(1.0)  # a person looks, mends, and starts again
    result.simulated_s, result.wall_s = stage.now_s(), time.monotonic() - begin
    result.growth_mb_per_hour = growth(result.memory_mb, simulated_s)
    return result


def _one_run(stage: Stage, until_s: float, folder: Path, result: Result, show: Any) -> None:
    robot = SO101(SO101Config(mock=stage.arm.config), stage.arm)
    robot.connect()
    guard, clock, stop = robot.guard, robot.clock, StopRequests()
    assert guard is not None  # since connect
    saboteur = Saboteur(stage, stop, until_s, result)
    worker = InlineWorker(
        lambda state, images, before=(): as_prediction(stage.answer(stage.now_s())), LATENCY_S
    )
    log = RunLog(folder / f"run_{result.runs}", {})
    outcome = ControlLoop(
        robot,
        make_scheduler("asynchronous", worker, fps=FPS, n_action_steps=N_ACTION_STEPS),
        guard,
        clock,
        config=LoopConfig(fps=FPS, approach_speed=APPROACH_DEG_S, ending=EndingConfig(wait_s=1.0)),
        observers=[saboteur, log, _Meter(result, show)],
        stop=stop,
        reconnect=Reconnector(robot),
    ).run()
    robot.disconnect(release=False)
    stage.live(2.0 + saboteur.left_s())  # what broke for a while is mended by then
    saboteur.settle()
    kept = sum("tick" in record for record in read_ticks(log.folder / TICKS))
    (log.folder / TICKS).unlink()
    result.runs += 1
    result.ticks += saboteur.ticks
    result.missing += saboteur.ticks - kept
    words = outcome.cause if outcome.error is None else describe(outcome.error).partition(": ")[2][:60]
    result.ended_by[words] = result.ended_by.get(words, 0) + 1
    if outcome.ending.held:  # a person lays it down by hand
        robot.connect()
        robot.release()
        robot.disconnect()
        stage.live(2.0)
        stage.arm.forget()


class _Meter:
    """Memory and progress, once a simulated minute."""

    name = "meter"

    def __init__(self, result: Result, show: Any) -> None:
        self._result, self._show = result, show
        self._next_s = -1.0

    def on_tick(self, tick: Tick) -> None:
        if self._next_s < 0:
            self._next_s = tick.time_s + 60.0
        if tick.time_s >= self._next_s:
            self._next_s = tick.time_s + 60.0
            self._result.memory_mb.append(resident_mb())
            if self._show is not None:
                self._show(tick.time_s)

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...


def resident_mb() -> float:
    """Memory of this process that is in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def growth(memory_mb: Sequence[float], simulated_s: float) -> float:
    """Slope of a line through the samples after the warm-up [MB an hour]; 0 of less than ten samples."""
    kept = np.asarray(memory_mb[int(len(memory_mb) * WARM_UP_SHARE) :])
    if len(kept) < 10:
        return 0.0
    hours = np.linspace(0.0, simulated_s / 3600 * (1 - WARM_UP_SHARE), len(kept))
    return float(np.polyfit(hours, kept, 1)[0])


def in_words(result: Result) -> str:
    """For a person."""
    per_s = result.simulated_s / max(result.faults, 1)
    lines = [
        f"{result.simulated_s / 3600:.2f} simulated hours in {result.wall_s / 60:.1f} minutes, {result.runs} runs, "
        f"{result.ticks} ticks, {result.missing} missing in the logs",
        f"{result.faults} faults (one every {per_s:.1f} s): {sum(result.noticed.values())} noticed, "
        f"{sum(result.harmless.values())} harmless, {len(result.unaccounted)} not accounted for",
        f"fastest joint {result.speed_deg_s:.0f} deg/s, out of range {result.beyond_deg:.1f} deg, let fall "
        f"{result.let_fall_mm:.0f} mm",
    ]
    if result.memory_mb:
        lines.append(
            f"memory {result.memory_mb[0]:.0f} to {result.memory_mb[-1]:.0f} MB, "
            f"{result.growth_mb_per_hour:+.1f} MB an hour"
        )
    ends = Counter(result.ended_by).most_common()
    lines.append("runs ended by: " + "; ".join(f"{count} {words}" for words, count in ends))
    harmless = [f"{count} {fault} ({HARMLESS[fault]})" for fault, count in sorted(result.harmless.items())]
    lines.append("harmless: " + "; ".join(harmless))
    return "\n".join([*lines, *(f"FAILED: {words}" for words in result.failures())])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    seconds = options.hours * 3600 if options.minutes is None else options.minutes * 60
    console = Console(stderr=True)
    columns = TextColumn("soak"), BarColumn(), TextColumn("{task.completed:.0f} s"), TimeRemainingColumn()
    bar: Any = Progress(*columns, console=console) if console.is_terminal else nullcontext()
    with bar as progress, tempfile.TemporaryDirectory() as folder:
        task = progress.add_task("soak", total=seconds) if progress is not None else None

        def show(done_s: float) -> None:
            if progress is not None:
                progress.update(task, completed=done_s)
            elif round(done_s / 60) % 10 == 0:
                console.print(f"{done_s:.0f} of {seconds:.0f} s", highlight=False)

        result = soak(seconds, options.seed, Path(folder), show)
    print(in_words(result))
    if options.markdown is not None:
        write_between(options.markdown, MARK, as_list(in_words(result)))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({**asdict(result), "failures": result.failures()}, indent=1) + "\n")
    return FAILED if result.failures() else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.faults.soak",
        description="Hours of simulated work with random faults.",
        epilog="examples:\n" + (__doc__ or "").split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--hours", type=amount, default=2.0, help="simulated (default: 2)")
    parser.add_argument("--minutes", type=amount, help="simulated, in place of --hours")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument(
        "--markdown", type=Path, help="Markdown file for the figures, written between its marks"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
