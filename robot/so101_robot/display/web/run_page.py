"""A run on a page of this machine: both cameras, where the policy looks in them, shares, joints, guard, messages, and
in the end what became of it.

The page can be opened from the moment at which its address is printed, also while the policy is still being loaded,
and for two minutes after the run. The loop's thread only leaves the newest tick here, at most ten times a second;
text is made and written in another thread, pictures are encoded in another process (`link.py`). On the simulated arm
in lockstep, whose pictures are drawn by who looks at them, it is this observer that looks, in the loop's thread: time
stands still meanwhile.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from so101_robot.display.following import Following
from so101_robot.display.view import Title
from so101_robot.display.web.link import PageLink
from so101_robot.display.web.run_view import Limits, as_plain
from so101_robot.errors import ConfigError, RobotError
from so101_robot.loop.tick import Tick
from so101_robot.message import Message

PAGE = Path(__file__).with_name("run.html")
PORT = 8100
"""The page of every run, so that one that is left open shows the next run too; another one while that is taken."""
EVERY_S = 0.1
"""Between two updates, in real time."""
STAY_S = 120.0
"""How long the page can still be opened when the run is over."""
LARGEST_FILM = 64 << 20
"""Bytes; a longer film is only in the run folder."""


@dataclass(frozen=True)
class Result:
    """What became of a run."""

    lines: Sequence[str]
    """In words."""
    good: bool | None = None
    """Whether the task was done; None: nobody knows."""
    folder: str = ""
    next: Sequence[tuple[str, str]] = ()
    """(command, words): what to type next."""
    film: Path | None = field(default=None, compare=False)
    """An MP4 file to be shown."""


class RunPage:
    """The page of one run. `begin` comes before the first tick; `close` ends what `finish` did not.

    Args:
        cameras: their names, in the order in which they are shown.
        on_ready: is told the address, in another thread, as soon as there is somebody to answer.
        stay_s: see `STAY_S`.
        port: see `PORT`.
        now_s: real time.
    """

    name = "page"

    def __init__(
        self,
        cameras: Sequence[str],
        on_ready: Callable[[str], None],
        *,
        stay_s: float = STAY_S,
        port: int = PORT,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known: dict[str, Any] = {"cameras": list(cameras), "run": f"{time.time():.3f}"}
        self._following: Following | None = None
        self._limits: Limits | None = None
        self._now_s, self._due_s = now_s, 0.0
        self._sequences: dict[str, int] = {}
        self._phase = ""
        self._finished = False
        self._link = PageLink(
            PAGE,
            port=port,
            or_any_port=True,
            stay_s=stay_s,
            on_ready=lambda found: on_ready(f"http://127.0.0.1:{found}/"),
        )
        self.say("The policy is being loaded ...")

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._link.pid

    def wait(self) -> str:
        """The address. Raises ConfigError where the server does not begin."""
        if (port := self._link.wait()) is None:
            raise ConfigError("--display=web: the page's server does not start; --display=off does without")
        return f"http://127.0.0.1:{port}/"

    def say(self, text: str) -> None:
        """One line instead of a run, before there is one."""
        known = {**self._known, "text": text}
        self._link.show(lambda: known)

    def begin(self, title: Title, limits: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        """What runs, and the ends of the joints' ranges, (6,) each, in LeRobot units."""
        self._following, self._limits = Following(title), limits

    def on_tick(self, tick: Tick) -> None:
        if self._link.gone:
            raise RobotError("its server has ended; the run goes on without the page")
        assert self._following is not None  # since begin
        self._following.on_tick(tick)
        now_s = self._now_s()
        if now_s < self._due_s and tick.phase == self._phase:
            return
        self._due_s, self._phase = now_s + EVERY_S, tick.phase
        self._link.show(self._plain)
        self._link.pictures(self._new_pictures(tick))

    def on_message(self, message: Message) -> None:
        if self._following is not None:
            self._following.on_message(message)

    def close(self) -> None:
        """The loop is over; `finish` has the last word."""
        if self._following is not None:
            self._following.end()

    def finish(self, result: Result) -> None:
        """Show what became of the run, and end. Later calls do nothing."""
        if self._finished:
            return
        self._finished = True
        film = _film(result.film)
        over = {
            "lines": list(result.lines),
            "good": result.good,
            "folder": result.folder,
            "next": [list(each) for each in result.next],
            "film": film is not None,
        }
        if film is not None:
            self._link.film(film)
        self._link.show(lambda: {**self._plain(), "over": over})
        self._link.close()

    def _plain(self) -> Mapping[str, Any]:
        if self._following is None:
            return self._known
        return {**self._known, **as_plain(self._following.view(), self._limits)}

    def _new_pictures(self, tick: Tick) -> dict[str, NDArray[np.uint8]]:
        new = {
            name: frame for name, frame in tick.frames.items() if self._sequences.get(name) != frame.sequence
        }
        self._sequences |= {name: frame.sequence for name, frame in new.items()}
        return {name: frame.image for name, frame in new.items()}


def _film(path: Path | None) -> bytes | None:
    if path is None or not path.is_file() or path.stat().st_size > LARGEST_FILM:
        return None
    return path.read_bytes()
