"""What has failed is tried again every half second, in a thread of its own, until it works."""

import threading
import time
from collections.abc import Callable

EVERY_S = 0.5
"""From the beginning of one attempt to that of the next; one that takes longer is followed by the next at once."""


class Reopening:
    """Attempts that the control loop does not wait for.

    Args:
        attempt: raises what is wrong as long as it does not work.
        name: of the thread.
    """

    def __init__(self, attempt: Callable[[], None], name: str) -> None:
        self._attempt, self._name = attempt, name
        self.trouble = ""
        """Why the last attempt failed; empty before the first and after one that worked."""
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def under_way(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        """Try until it works. Does nothing where that is under way, or was stopped."""
        if self.under_way or self._stopped.is_set():
            return
        self._thread = threading.Thread(target=self._try, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No attempt begins any more; one that has begun goes on."""
        self._stopped.set()

    def wait(self) -> None:
        """Return when no attempt is under way."""
        if self._thread is not None:
            self._thread.join()

    def _try(self) -> None:
        while not self._stopped.is_set():
            begun_s = time.monotonic()
            try:
                self._attempt()
                self.trouble = ""
                return
            except Exception as error:  # drivers raise what they like
                self.trouble = " ".join(str(error).split())
                self._stopped.wait(max(0.0, begun_s + EVERY_S - time.monotonic()))
