"""From STOP to hold, and what the console costs the loop, in real time.

A trial of so101-bench on the mock arm at 30 Hz in real time, as it is driven at a sitting: run log, film, live pictures
to the console, whose page one browser has open (a reader that takes all its pictures and views). Somebody stops it: by
a request to the page as a phone sends it, by a key of the terminal, by SIGTERM, and by Esc, which holds. What is
measured is from before that to the moment at which the servos have their new goal. The four ways take turns.

For the jitter the loop drives an arm that answers at once and has its pictures ready, so that what is measured is this
process and the machine; with the console and without it in turns.

    python tests/benchmarks/bench_console.py [stops of each way: 12] [seconds of jitter of each: 30]
"""

import http.client
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from bench_jitter import POSE, Lateness, Still
from rich.console import Console
from rich.table import Table

from so101_eval.episode.scripted import Scripted
from so101_eval.evaluation.loaded_policies import Replaying
from so101_eval.evaluation.policy_specs import PolicySpec
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.real_study.console.keys import ESCAPE
from so101_eval.real_study.console.operators import Several
from so101_eval.real_study.console.remote import ConsoleOperator
from so101_eval.real_study.console.terminal import TerminalOperator
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.session.bench import Bench, Ran
from so101_eval.real_study.session.contenders import Playing
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.operator import Operator
from so101_eval.real_study.session.showing import Showing
from so101_eval.real_study.session.sitting import of_study
from so101_eval.real_study.session.view import View
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.clock import Clock, WallClock
from so101_robot.commands.run_config import RunConfig
from so101_robot.guard.guard import Guard, GuardLimits
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.mock.arm import MockArm
from so101_robot.mock.config import MockConfig
from so101_robot.process.realtime import realtime_runtime
from so101_robot.runs.clip import CLIP, Film
from so101_robot.runs.log import RunLog

TASK, SIZE = "palletize-1-small", (320, 240)
"""What the mock arm draws in a loop of 33 ms, and a phone shows."""
SWING_DEG, PERIOD_TICKS = 6.0, 60
FPS, BLOCK_S = 30.0, 5.0
FIRST_S, LAST_S = 0.4, 0.9
"""After the first action: when somebody stops, at a moment that has nothing to do with the ticks."""
TRIAL = View("trial", code="QXTR", limit_s=30.0)


class Held:
    """When the servos had been told to stay."""

    name = "held"

    def __init__(self, control: Control) -> None:
        self._control = control
        self.driving = threading.Event()
        self.held_s: float | None = None

    def on_tick(self, tick: Tick) -> None:
        if tick.phase != "run":
            return
        self.driving.set()
        if self._control.held and self.held_s is None:
            self.held_s = time.perf_counter()  # of the first tick that sent nothing of the policy's

    def on_message(self, message: Message) -> None:
        if message.text == "going home" and self.held_s is None:
            self.held_s = time.perf_counter()  # said when the ending has told the servos to hold

    def close(self) -> None: ...


class Rig:
    """The arm, and what plays on it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        mock = MockConfig(scene=TASK, width=SIZE[0], height=SIZE[1])
        self._arm = MockArm(mock, scene=PalletizingScene(TASK))
        self._robot = SO101(SO101Config(port="mock", mock=mock), mock=self._arm)
        self._robot.connect()
        home = np.array(self._robot.home)
        specs = tuple(PolicySpec(name, "hold", name * 64, "0" * 64) for name in "ab")
        study = Study(specs, TASK, (("nominal", 0),), 1, 0.3, tuple(home.tolist()))
        self.config = of_study(study, RunConfig(robot=self._robot.config))
        swing = np.zeros((3000, 6))
        swing[:, 0] = SWING_DEG * np.sin(2 * np.pi / PERIOD_TICKS * np.arange(3000))
        self._actions = home + swing

    def play(
        self, operator: Operator, seconds: float, press: Callable[[Control], None] | None
    ) -> tuple[float, Ran, Held]:
        """A trial; (when somebody pressed, how it ended, what was seen)."""
        self._number += 1
        folder, control = self._folder / f"{self._number}", Control()
        self.config.duration_s = seconds
        bench, held, at = Bench(self._robot, self.config, {}), Held(control), [0.0]

        def somebody() -> None:
            held.driving.wait(60.0)
            time.sleep(np.random.default_rng().uniform(FIRST_S, LAST_S))
            at[0] = time.perf_counter()
            assert press is not None  # else there is nobody
            press(control)

        person = threading.Thread(target=somebody, daemon=True)
        if press is not None:
            person.start()
        operator.drives(control)
        folder.mkdir()
        watching = [held, Film(folder / CLIP, 30.0), Showing(operator, TRIAL, control)]
        ran = bench.drive(Playing(self._actions), 0.0, folder, "QXTR", watching, control)
        operator.drives(None)
        if press is not None:
            person.join()
        return at[0], ran, held

    def close(self) -> None:
        self._robot.disconnect(release=False)
        self._arm.close()


class Ready(Still):
    """An arm that answers at once, with pictures as large as a phone shows them."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.image = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)


def late_ms(operator: Operator) -> list[float]:
    """Of each tick of a block."""
    wall, control, lateness = WallClock(), Control(), Lateness()
    swing = POSE + SWING_DEG * np.sin(2 * np.pi / PERIOD_TICKS * np.arange(3000))[:, None]
    with tempfile.TemporaryDirectory() as name, realtime_runtime(wall) as clock:
        folder, arm = Path(name) / "run", Ready(wall)
        log = RunLog(folder, {})
        guard = Guard(GuardLimits(), [-180.0] * 5 + [0.0], [180.0] * 5 + [100.0])
        scheduler = Scripted(Replaying(swing))
        watching = [lateness, log, Film(folder / CLIP, FPS), Showing(operator, TRIAL, control)]
        config = LoopConfig(FPS, BLOCK_S, ending=EndingConfig(home=False))
        outcome = ControlLoop(arm, scheduler, guard, clock, config=config, observers=watching).run()
    if outcome.error is not None:
        raise outcome.error
    return lateness.late_ms[1:]


class Silent:
    """Nobody is at the console."""

    def show(self, view: View) -> None: ...

    def next(self, timeout_s: float) -> None:
        time.sleep(timeout_s)

    def drives(self, control: Control | None) -> None: ...

    def pictures(self, frames: object) -> None: ...

    def close(self) -> None: ...


def read_all(url: str, bytes_read: list[int]) -> None:
    """As a browser that has the page open."""
    try:
        with urllib.request.urlopen(url, timeout=600) as stream:
            while data := stream.read1(65536):
                bytes_read[0] += len(data)
    except (OSError, http.client.HTTPException):  # the console has ended
        return


def ways(browser: ConsoleOperator, terminal: TerminalOperator) -> dict[str, Callable[[Control], None]]:
    """Of stopping."""

    def by_page(control: Control) -> None:
        body, kind = json.dumps({"kind": "stop"}).encode(), {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{browser.port}/action", body, kind), timeout=30
        ) as answer:
            answer.read()

    return {
        "page": by_page,
        "key": lambda control: terminal.press(" "),
        "SIGTERM": lambda control: os.kill(os.getpid(), signal.SIGTERM),
        "Esc": lambda control: terminal.press(ESCAPE),
    }


def stops(
    rig: Rig, both: Operator, presses: dict[str, Callable[[Control], None]], count: int
) -> dict[str, list[float]]:
    """[ms] of each way."""
    found: dict[str, list[float]] = {name: [] for name in presses}
    for _ in range(count):
        for name, press in presses.items():
            pressed_s, ran, held = rig.play(both, 2.0, press)
            assert ran.at_home, f"{name}: the arm is not home"
            assert held.held_s is not None, f"{name}: the arm did not hold"
            found[name].append(1000 * (held.held_s - pressed_s))
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    out = Console(width=110)
    terminal = TerminalOperator()
    with tempfile.TemporaryDirectory() as folder, closing(Rig(Path(folder))) as rig:
        browser = ConsoleOperator(0)
        both, sent = Several((browser, terminal)), [0]
        both.show(TRIAL)
        for path in ("/live/front", "/live/wrist", "/views"):
            url = f"http://127.0.0.1:{browser.port}{path}"
            threading.Thread(target=read_all, args=(url, sent), daemon=True).start()
        load = os.getloadavg()[0]
        table = Table(title=f"from STOP to hold in ms, {count} of each, in turns; load {load:.1f}")
        for column in ("by", "median", "95 %", "largest"):
            table.add_column(column)
        for name, found in stops(rig, both, ways(browser, terminal), count).items():
            table.add_row(name, *(f"{value:.0f}" for value in np.percentile(found, (50, 95, 100))))
        out.print(table)
        late: dict[str, list[float]] = {"with console": [], "without": []}
        before = sent[0]
        for _ in range(max(1, round(seconds / BLOCK_S))):
            for name, operator in (("with console", both), ("without", Silent())):
                late[name] += late_ms(operator)
        load = os.getloadavg()[0]
        table = Table(title=f"lateness of ticks at {FPS:g} Hz in ms, in turns; load {load:.1f}")
        for column in ("", "ticks", "p50", "p99", "max", "over 5 ms"):
            table.add_column(column)
        for name, found in late.items():
            over = 100 * np.mean(np.array(found) > 5)
            figures = [f"{value:.2f}" for value in np.percentile(found, (50, 99, 100))]
            table.add_row(name, str(len(found)), *figures, f"{over:.1f} %")
        out.print(table)
        out.print(f"the page was sent {(sent[0] - before) / 1e6:.1f} MB meanwhile")
        browser.close()


if __name__ == "__main__":
    main()
