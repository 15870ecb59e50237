"""Observer that shows the run in the terminal, or as one plain line a second where there is none.

The loop's thread only leaves the newest tick here. A thread of the dashboard's own draws it ten times a
second, so a slow or stopped terminal never holds the arm up; what fails there is raised by the next
`on_tick`, and the dashboard is dropped.
"""

import sys
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
from rich.live import Live

from so101_policy.command_line.command_shell import say
from so101_policy.command_line.console import Console
from so101_robot.bus.protocol import Errors
from so101_robot.display.view import Title, View, export_svg, plain_line, render
from so101_robot.joints import JOINTS
from so101_robot.loop.tick import Tick
from so101_robot.message import Message, Severity

Style = Literal["auto", "live", "plain", "off"]
STYLES: tuple[Style, ...] = ("auto", "live", "plain", "off")

REFRESH_S = 0.1
PLAIN_EVERY_S = 1.0
WINDOW_TICKS = 90
"""Ticks over which rate and jitter are taken: 3 s at 30 Hz."""

CLOSE_TIMEOUT_S = 2.0
"""How long `close` waits for a terminal that takes nothing."""


def choose_style(style: Style, stream: TextIO) -> Literal["live", "plain", "off"]:
    """What `auto` means for `stream`."""
    if style == "auto":
        return "live" if stream.isatty() else "plain"
    return style


def notable(tick: Tick) -> dict[str, Message]:
    """What deserves a word on this tick: key -> message. The same key on the next tick is no news.

    Faults that the supervisor follows are told by the loop, so only what no fault stands for is told here.
    """
    events = {
        f"{change.rule} {change.joint}": Message(
            f"guard: {change.rule} of {change.joint}, {change.asked:.1f} -> {change.allowed:.1f}",
            Severity.WARNING,
        )
        for change in (tick.verdict.interventions if tick.verdict.stop is None else ())
    }
    if tick.faults:
        return events
    if tick.fault is not None:
        events["fault"] = Message(tick.fault, Severity.WARNING)
    for joint, bits in zip(JOINTS, tick.state.errors.tolist(), strict=True):
        if bits:
            text = f"{joint}: {Errors(bits).describe()}"
            events[f"{joint} {bits}"] = Message(text, Severity.WARNING)
    return events


class Dashboard:
    """Shows the run on `stream`; its thread starts with the first tick.

    `picture`: a file that gets the last picture before the way home, as SVG.
    """

    name = "dashboard"

    def __init__(
        self, title: Title, *, live: bool, stream: TextIO | None = None, picture: Path | None = None
    ) -> None:
        self._live = live
        self._picture = picture
        self._last_running: View | None = None
        self._stream = stream or sys.stdout
        self._view = View(title)
        self._window: deque[tuple[float, float, float]] = deque(maxlen=WINDOW_TICKS)  # time, late, busy
        self._messages: deque[tuple[float, Message]] = deque(maxlen=100)
        self._told = 0
        self._events: set[str] = set()
        self._begin_s: float | None = None
        self._last_index = -1
        self._done = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._show, name=self.name, daemon=True)

    def on_tick(self, tick: Tick) -> None:
        if self._problem is not None:
            raise self._problem
        if self._begin_s is None:
            self._begin_s = tick.time_s
            self._thread.start()
        if tick.phase == "home" and self._last_running is None:
            self._last_running = self.view()
        self._view = self._after(tick, self._begin_s)
        events = notable(tick)
        for key in events.keys() - self._events:
            self.on_message(events[key])
        self._events = set(events)

    def on_message(self, message: Message) -> None:
        self._messages.append((self._view.elapsed_s, message))
        self._told += 1

    def close(self) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(timeout=CLOSE_TIMEOUT_S)
        if self._picture is not None:
            export_svg(self._last_running or self.view(), self._picture)

    def view(self) -> View:
        """What is shown now."""
        window = np.array(self._window, dtype=np.float64)
        view = replace(self._view, messages=tuple(self._messages))
        if len(window) < 2 or window[-1, 0] <= window[0, 0]:
            return view
        return replace(
            view,
            rate_hz=float((len(window) - 1) / (window[-1, 0] - window[0, 0])),
            jitter_ms=float(np.percentile(window[:, 1], 95)) * 1e3,
            busy_ms=float(np.median(window[:, 2])),
        )

    def _after(self, tick: Tick, begin_s: float) -> View:
        """The view after `tick`: cheap, in the loop's thread."""
        view = self._view
        busy_ms = sum(value for stage, value in tick.stages_ms.items() if stage != "observers")
        self._window.append((tick.time_s, tick.late_s, busy_ms))
        missed = tick.index - self._last_index - 1
        self._last_index = tick.index
        view = replace(
            view,
            elapsed_s=tick.time_s - begin_s,
            phase=tick.phase,
            tick=tick,
            mode=tick.mode,
            faults=tick.faults,
            blind=tick.blind,
            missed=view.missed + missed,
            held=view.held + (tick.verdict.action is None),
            health=view.health if tick.state.health is None else tick.state.health,
        )
        if tick.planned is None:
            return view
        if tick.planned.action is None:
            return replace(view, starved=view.starved + (view.chunk_length > 0))
        if (inference := tick.planned.inference) is None:
            return view
        return replace(
            view,
            latency_ms=inference.latency_s * 1e3,
            shares=inference.shares,
            chunk_length=len(inference.actions),
        )

    def _show(self) -> None:
        try:
            if self._live:
                self._show_live()
            else:
                self._show_plain()
        except Exception as problem:  # raised again in the loop's thread, where the observer is dropped
            self._problem = problem

    def _show_live(self) -> None:
        console = Console(file=self._stream)
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                last = self._done.is_set()
                live.update(render(self.view(), console.width), refresh=True)
                if last:
                    return
                self._done.wait(REFRESH_S)

    def _show_plain(self) -> None:
        told = 0
        due_s = time.monotonic()
        while True:
            last = self._done.is_set()
            view = self.view()
            new = min(self._told - told, len(view.messages))
            told += new
            for time_s, message in view.messages[len(view.messages) - new :]:
                say(f"{time_s:7.1f} s | {message.text}", self._stream)
            if view.tick is not None and (last or time.monotonic() >= due_s):
                say(plain_line(view), self._stream)
                due_s += PLAIN_EVERY_S
            self._stream.flush()
            if last:
                return
            self._done.wait(REFRESH_S)
