"""What a person sees of a training run: a bar in a terminal, a line per log step elsewhere."""

import time
from collections.abc import Mapping
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from so101_policy.command_line.console import Console

SHOWN_FIGURES = (
    "loss",
    "l1",
    "kld",
    "share_state",
    "share_vision",
    "heldout_l1",
    "shifted_l1",
    "samples_per_s",
)
"""Figures that a line has, in this order, where there are such figures."""


class Display:
    """`advance` after every step, `show` at log steps. Draws nothing unless `visible` (the main process)."""

    def __init__(self, total: int, step: int = 0, visible: bool = True, console: Console | None = None):
        self._console = console or Console()
        self._visible, self._total, self._first = visible, total, step
        self._began = time.monotonic()
        self._latest: dict[str, float] = {}
        self._bar: Progress | None = None
        if visible and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
                refresh_per_second=4,
                speed_estimate_period=60,
            )
            self._task = self._bar.add_task("", total=total, completed=step, figures="")
            self._bar.start()

    def advance(self, step: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        """What is not measured at this step stays as it was last."""
        self._latest |= {name: value for name, value in figures.items() if name in SHOWN_FIGURES}
        text = "  ".join(f"{name} {self._latest[name]:.4g}" for name in SHOWN_FIGURES if name in self._latest)
        if self._bar is not None:
            self._bar.update(self._task, figures=text)
        elif self._visible:
            line = f"step {step}/{self._total}  {text}  remaining {self._remaining(step)}"
            self._console.print(line, soft_wrap=True)

    def message(self, text: str) -> None:
        """A message, above the bar."""
        if self._visible:
            self._console.print(text, soft_wrap=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _remaining(self, step: int) -> str:
        done = step - self._first
        if not done:
            return "unknown"
        seconds = (time.monotonic() - self._began) / done * (self._total - step)
        return str(timedelta(seconds=round(seconds)))
