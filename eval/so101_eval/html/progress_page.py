"""A long command on a page of this machine: how far it is, how long it will take, its table so far, and its end.

The server is a process of its own (decision 0014). It is given views, and its death changes nothing but what a person
sees: `show` never waits for it and never raises because of it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from so101_policy.command_line.extras import Extra
from so101_policy.command_line.next_steps import Step
from so101_robot.display.web.link import PageLink

PAGE = Path(__file__).with_name("progress.html")
PORT = 8101
"""Of every such page, so that one that is left open shows the next command too; another one while that is taken. The
page of a run has 8100."""
STAY_S = 120.0
"""How long the page can still be opened when the command is over."""
WEB = Extra("so101_robot.display.web.process", ("starlette", "uvicorn"), "lerobot_policy_so101[web]")
"""What the server needs."""
DISPLAYS = ("off", "web")


class ProgressPage:
    """The page of one command. Whoever opens it calls `finish`.

    Args:
        command: its name.
        title: what it works on.
        say: is told the address, and that the server has died, in another thread.
        stay_s: see `STAY_S`.
        port: see `PORT`.
    """

    def __init__(
        self,
        command: str,
        title: str,
        say: Callable[[str], None],
        *,
        stay_s: float = STAY_S,
        port: int = PORT,
    ) -> None:
        now_s = time.time()
        self._view: dict[str, Any] = {
            "run": f"{now_s:.3f}",
            "command": command,
            "title": title,
            "started_unix_s": now_s,
        }
        self._finished = False
        self._link = PageLink(
            PAGE,
            port=port,
            or_any_port=True,
            stay_s=stay_s,
            on_ready=lambda found: say(f"watch it at http://127.0.0.1:{found}/ (this machine only)"),
            on_gone=lambda: say(f"the page's server has ended; {command} goes on without the page"),
        )
        self.show({})

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._link.pid

    def show(self, parts: Mapping[str, Any]) -> None:
        """Newer values of some parts of the view, as plain data without NaN; `progress.html` says which parts there
        are."""
        self._view = {**self._view, **parts}
        view = self._view
        self._link.show(lambda: view)

    def finish(self, lines: Sequence[str], folder: Path, steps: Sequence[Step] = ()) -> None:
        """Show what became of it, and end. Later calls do nothing.

        Args:
            lines: in words.
            folder: where the results are.
            steps: what to type next.
        """
        if self._finished:
            return
        self._finished = True
        over = {
            "lines": list(lines),
            "folder": str(folder),
            "next": [list(step) for step in steps],
            "elapsed_s": time.time() - self._view["started_unix_s"],
        }
        self.show({"over": over})
        self._link.close()
