"""The operator at the keyboard of the terminal in which the runner was started; a pedal is a keyboard."""

import os
import queue
import select
import sys
import termios
import threading
import tty
from collections.abc import Mapping
from typing import Any

from so101_eval.real_study.console.keys import Form, press
from so101_eval.real_study.console.remote import AT_ONCE, act
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.view import Action, View
from so101_policy.command_line.command_shell import say
from so101_robot.state import Frame


class TerminalOperator:
    """Reads keys, prints screens. Without a terminal it only prints."""

    def __init__(self) -> None:
        self._actions: queue.Queue[Action] = queue.Queue()
        self._control: Control | None = None
        self._view, self._form = View("session"), Form()
        self._closed = threading.Event()
        self._before: list[Any] | None = None
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
            threading.Thread(target=self._read, name="keys", daemon=True).start()

    def show(self, view: View) -> None:
        if view.screen != self._view.screen or view.code != self._view.code:
            self._form = Form()
        if in_words(view) != in_words(self._view):
            say(in_words(view))
        self._view = view

    def next(self, timeout_s: float) -> Action | None:
        try:
            return self._actions.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def drives(self, control: Control | None) -> None:
        self._control = control

    def pictures(self, frames: Mapping[str, Frame]) -> None: ...

    def close(self) -> None:
        """The terminal is as before. May be called twice."""
        self._closed.set()
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)
            self._before = None

    def _read(self) -> None:
        while not self._closed.is_set():
            if not select.select([sys.stdin], [], [], 0.2)[0]:
                continue
            for key in os.read(sys.stdin.fileno(), 64).decode(errors="ignore"):
                self.press(key)

    def press(self, key: str) -> None:
        """One key."""
        action, control = press(key, self._view, self._form), self._control
        if action is None:
            return
        if action.kind in AT_ONCE:
            if control is not None:
                act(control, action)
        elif control is None:
            self._actions.put(action)


def in_words(view: View) -> str:
    """A screen as lines."""
    where = f"block {view.block or 'practice'} of {view.blocks}, trial {view.trial} of {view.trials}"
    match view.screen:
        case "session":
            lines = [f"  {line.level:4} {line.text}" for line in view.findings]
            keys = "Space: start   c: check again   q: leave" if view.findings else "your name, then Enter"
            return "\n".join([view.text, *lines, keys])
        case "reset":
            lines = [f"  {target.words}" for target in view.targets]
            against = "x: start, the measurement is wrong   " if view.can_override else ""
            return "\n".join([f"{where}: {view.text}", *lines, f"Space: start   {against}u: undo   q: leave"])
        case "countdown":
            return view.text
        case "trial":
            what = "held" if view.held else "driving" if view.running else "going to the start"
            return f"trial {view.code}, {what}. Space: stop   Esc: hold   d: danger"
        case "rig":
            reasons = "   ".join(f"{number}: {reason}" for number, reason in enumerate(view.reasons, 1))
            return f"{view.text} Enter: no   {reasons}"
        case "outcome":
            names = ", ".join(f"{number} {name}" for number, name in enumerate(view.stages, 1))
            return f"{view.text} s: success   or the stage of each box, then f: failure   n: note (#tag)\n  ({names})"
        case "block":
            return f"{view.question} 1 to {view.trials}, or ? for don't know"
        case "over":
            return view.text
