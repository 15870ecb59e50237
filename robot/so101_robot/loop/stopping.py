"""How a run is asked to end: by a person, by the system, or by what it plays."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class StopRequests:
    """Requests to end the run. The first one of any kind asks for the safe ending; only a person's second one asks
    for release at once."""

    def __init__(self) -> None:
        self.count = 0
        """How often a person has asked."""
        self.reason = ""
        self._finished = False

    def request(self, reason: str) -> None:
        """A person at the keyboard asks."""
        self.count += 1
        self.reason = self.reason or reason

    def finish(self, reason: str) -> None:
        """The run shall end, and no person has asked: it is over of its own accord, or the system ends programs."""
        self._finished = True
        self.reason = self.reason or reason

    @property
    def requested(self) -> bool:
        """The run shall end."""
        return self._finished or self.count > 0


@contextmanager
def stop_on_signals() -> Generator[StopRequests]:
    """Ctrl-C, SIGTERM and SIGHUP become stop requests while inside; only in the main thread.

    Supervisors send SIGINT, SIGTERM and SIGKILL, some seconds apart, to a program that does not end at once. So SIGTERM
    and SIGHUP begin the safe ending and never cut it short.
    """
    requests = StopRequests()
    names = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

    def handle(number: int, frame: FrameType | None) -> None:
        ask = requests.request if number == signal.SIGINT else requests.finish
        ask(names[signal.Signals(number)])

    before = {number: signal.signal(number, handle) for number in names}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
