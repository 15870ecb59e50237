"""The runner's side of the console: views and pictures for its page, and the page's actions.

Nothing here waits for the console (`so101_robot/display/web/link.py`). A console that dies is noticed and the session
goes on by the terminal.
"""

import queue
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

import segno

from so101_eval.errors import ConfigError
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.view import Action, Kind, View
from so101_policy.command_line.command_shell import complain, say
from so101_robot.display.web.link import PageLink
from so101_robot.state import Frame

PAGE = Path(__file__).with_name("page.html")
AT_ONCE = ("stop", "danger", "hold", "open", "take", "give")
"""Actions that do not wait for the session: the control of the trial gets them in the thread that they come in."""
KINDS = get_args(Kind)


class ConsoleOperator:
    """An operator with a browser.

    Args:
        port: of the console; 0: any that is free.
        lan: other machines of this network are let in, by a token.

    Raises:
        ConfigError: the port is taken, or the process does not start.
    """

    def __init__(self, port: int, lan: bool = False) -> None:
        self._actions: queue.Queue[Action] = queue.Queue()
        self._control: Control | None = None
        token = secrets.token_urlsafe(16) if lan else None
        self._link = PageLink(
            PAGE, port=port, lan=lan, token=token, on_action=self._heard, on_gone=self._say_that_it_is_gone
        )
        if (found := self._link.wait()) is None:
            self._link.close()
            raise ConfigError(
                f"--port={port}: the console does not start; is something else using the port? Try another"
            )
        self.port = found
        self.address = f"http://{_own_address() if lan else '127.0.0.1'}:{self.port}/" + (
            f"?token={token}" if token else ""
        )

    @property
    def pid(self) -> int:
        """Of the console's process."""
        return self._link.pid

    def announce(self) -> None:
        """Where it is, for the person at the terminal; as a QR code for a phone."""
        say(f"console: {self.address}")
        if "token=" in self.address:
            segno.make(self.address).terminal(compact=True)

    def show(self, view: View) -> None:
        self._link.show(lambda: asdict(view))

    def pictures(self, frames: Mapping[str, Frame]) -> None:
        self._link.pictures(
            {name: frame.image for name, frame in frames.items()}
        )  # drawn in this thread alone

    def drives(self, control: Control | None) -> None:
        self._control = control

    def next(self, timeout_s: float) -> Action | None:
        try:
            return self._actions.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """The process ends. May be called twice."""
        self._link.close()

    def _say_that_it_is_gone(self) -> None:
        complain("so101-bench", "the console is gone; go on with the keys of this terminal")

    def _heard(self, kind: str, data: dict[str, Any]) -> None:
        if kind in KINDS:
            self.take(Action(cast(Kind, kind), data))

    def take(self, action: Action) -> None:
        """To the trial that runs, or to the session."""
        control = self._control
        if action.kind in AT_ONCE:
            if control is not None:
                act(control, action)
        elif control is None:  # what was pressed while the arm drove is not meant for the next screen
            self._actions.put(action)


def act(control: Control, action: Action) -> None:
    """What waits for nobody."""
    match action.kind:
        case "stop":
            control.stop("stopped")
        case "danger":
            control.stop("danger")
        case "hold":
            control.hold()
        case "open":
            control.open()
        case "take" | "give":
            control.take_over(action.kind == "take")
        case _:
            return


def _own_address() -> str:
    """Of this machine in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
