"""What a run looks like now, followed tick by tick: the one `View` that the dashboard and the page show.

Cheap, and called in the loop's thread; `view` may be called from any other.
"""

from collections import deque
from dataclasses import replace

import numpy as np

from so101_robot.bus.protocol import Errors
from so101_robot.chunks.turns import followed
from so101_robot.display.view import Title, View
from so101_robot.guard.rules import GuardRule
from so101_robot.joints import JOINTS
from so101_robot.loop.tick import Tick
from so101_robot.message import Message, Severity

WINDOW_TICKS = 90
"""Ticks over which rate and jitter are taken: 3 s at 30 Hz."""
KEPT = 100
"""Messages."""
SMOOTHING = frozenset((GuardRule.LIMIT, GuardRule.SPEED, GuardRule.ACCELERATION, GuardRule.STEP))
"""Rules by which a goal is brought nearer, as they do in every run: nobody has to act on it."""


def notable(tick: Tick) -> dict[str, Message]:
    """What deserves a word on this tick: key -> message. The same key on the next tick is no news.

    Faults that the supervisor follows are told by the loop, so only what no fault stands for is told here.
    """
    events = {
        f"{change.rule} {change.joint}": Message(
            f"guard: {change.rule} of {change.joint}, {change.asked:.1f} -> {change.allowed:.1f}",
            Severity.INFO if change.rule in SMOOTHING else Severity.WARNING,
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


class Following:
    """Keeps a view up to date."""

    def __init__(self, title: Title) -> None:
        self._view = View(title)
        self._window: deque[tuple[float, float, float]] = deque(maxlen=WINDOW_TICKS)  # time, late, busy
        self._messages: deque[tuple[float, Message]] = deque(maxlen=KEPT)
        self.told = 0
        """Messages so far, also those that are not kept any more."""
        self._events: set[str] = set()
        self._begin_s: float | None = None
        self._last_index = -1

    def on_tick(self, tick: Tick) -> None:
        """The next one."""
        if self._begin_s is None:
            self._begin_s = tick.time_s
        self._view = self._after(tick, self._begin_s)
        events = notable(tick)
        for key in events.keys() - self._events:
            self.on_message(events[key])
        self._events = set(events)

    def on_message(self, message: Message) -> None:
        """A word of the loop."""
        self._messages.append((self._view.elapsed_s, message))
        self.told += 1

    def end(self) -> None:
        """The loop is over, whatever the last tick did."""
        self._view = replace(self._view, phase="over")

    def view(self) -> View:
        """What is to be shown now."""
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
            changed=view.changed + bool(tick.verdict.interventions and tick.verdict.stop is None),
            health=view.health if tick.state.health is None else tick.state.health,
        )
        driver = None if tick.planned is None else tick.planned.driver
        view = replace(view, turns=followed(view.turns, driver, view.elapsed_s))
        if tick.planned is None:
            return view
        view = replace(view, driver=driver)
        if not tick.planned.by_policy:
            return view
        if tick.planned.action is None:
            return replace(view, starved=view.starved + (view.chunk_length > 0))
        if (inference := tick.planned.inference) is None:
            return view
        return replace(
            view,
            latency_ms=inference.latency_s * 1e3,
            shares=inference.shares,
            spread=inference.spread,
            maps=view.maps if inference.maps is None else inference.maps,
            chunk_length=len(inference.actions),
        )
