"""Observer that shows the run in Rerun, live or into a file: pictures, joints, shares, messages on one time
line.

Rerun is an optional extra. The observer belongs behind `observers.Background`, like everything that may take
longer than a tick.
"""

import logging
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .joints import JOINTS
from .observers import Tick

QUEUE_TICKS = 60
"""How many ticks may wait to be shown before some are dropped: two seconds at 30 Hz."""

INSTALL = "pip install 'lerobot_policy_so101[view]'"


class RerunDisplay:
    """Shows the run in a viewer of its own process, or writes it to `file` (*.rrd).

    Raises:
        ConfigError: Rerun is not installed, or has no viewer here.
    """

    name = "Rerun"

    def __init__(self, cameras: tuple[str, ...], file: Path | None = None) -> None:
        try:
            import rerun as rr
            import rerun.blueprint as rrb
        except ImportError as problem:
            raise ConfigError(f"--display needs Rerun, which is not installed; {INSTALL}") from problem
        self._rr: Any = rr
        self._stream: Any = rr.RecordingStream("so101-run")
        self._begin_s: float | None = None
        try:
            if file is None:
                self._stream.spawn()
            else:
                self._stream.save(file)
        except (OSError, RuntimeError) as problem:
            raise ConfigError(
                f"Rerun cannot show the run: {problem}; --display=file writes one instead"
            ) from problem
        logging.getLogger("rerun").setLevel(logging.WARNING)
        self._stream.send_blueprint(_blueprint(rrb, cameras))

    def on_tick(self, tick: Tick) -> None:
        rr, stream = self._rr, self._stream
        if self._begin_s is None:
            self._begin_s = tick.time_s
        stream.set_time("run", duration=tick.time_s - self._begin_s)
        for name, frame in tick.frames.items():
            stream.log(f"cameras/{name}", rr.Image(frame.image))
        for i, joint in enumerate(JOINTS):
            stream.log(f"joints/{joint}/measured", rr.Scalars(float(tick.state.position[i])))
            if tick.asked is not None:
                stream.log(f"joints/{joint}/asked", rr.Scalars(float(tick.asked[i])))
            if tick.sent is not None:
                stream.log(f"joints/{joint}/sent", rr.Scalars(float(tick.sent[i])))
        if tick.state.health is not None:
            for i, joint in enumerate(JOINTS):
                stream.log(f"health/load/{joint}", rr.Scalars(float(tick.state.health.load_percent[i])))
                stream.log(
                    f"health/temperature/{joint}", rr.Scalars(float(tick.state.health.temperature_c[i]))
                )
        self._log_shares(tick)
        for change in tick.verdict.interventions:
            self._say(f"guard: {change.rule} {change.joint or ''} {change.asked:.2f} -> {change.allowed:.2f}")
        if tick.fault is not None:
            self._say(tick.fault)

    def on_message(self, text: str) -> None:
        self._say(text)

    def close(self) -> None:
        self._stream.flush()
        self._stream.disconnect()

    def _log_shares(self, tick: Tick) -> None:
        inference = tick.planned.inference if tick.planned is not None else None
        if inference is None or inference.shares is None:
            return
        shares = inference.shares
        parts = {"latent": shares.latent, "state": shares.state, "vision": shares.vision, **shares.cameras}
        for name, share in parts.items():
            self._stream.log(f"shares/{name}", self._rr.Scalars(share))
        self._stream.log("spread", self._rr.Scalars(shares.entropy))

    def _say(self, text: str) -> None:
        self._stream.log("messages", self._rr.TextLog(text))


def _blueprint(rrb: Any, cameras: tuple[str, ...]) -> Any:
    """Pictures on the left, curves on the right, words below."""
    pictures = [rrb.Spatial2DView(origin=f"cameras/{name}", name=name) for name in cameras]
    joints = [rrb.TimeSeriesView(origin=f"joints/{joint}", name=joint) for joint in JOINTS]
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(
                rrb.Vertical(*pictures),
                rrb.Vertical(
                    rrb.TimeSeriesView(origin="shares", name="where the policy looks"),
                    rrb.Grid(*joints, grid_columns=2),
                    row_shares=[1, 2],
                ),
                column_shares=[1, 2],
            ),
            rrb.TextLogView(origin="messages", name="messages"),
            row_shares=[5, 1],
        ),
        collapse_panels=True,
    )
