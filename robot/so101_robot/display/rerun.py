"""Observer that shows the run in Rerun, live or into a file, on one time line: pictures with where the policy looks in
them, joints, shares, health, faults and mode, messages.

    cameras/NAME, cameras/NAME/attention     picture; attention map over it, half transparent
    joints/JOINT/commanded, sent, measured   asked by the policy, sent to the servo, read from it
    health/temperature, load, voltage, current/JOINT
    shares/..., spread                       of the decoder's attention
    mode, faults/FAULT/WHERE                 0 running to 4 released; 1 while the fault lasts
    messages                                 words, with their severity

Shares and maps are at the time of the observation that they were computed from, over the very picture that the
policy saw; everything else is at its tick.

Rerun is an optional extra; `commands/compose.py` loads this module when a display is asked for. The observer belongs
behind `observers.Background`, like everything that may take longer than a tick.
"""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import rerun as rr
import rerun.blueprint as rrb

from so101_robot.chunks.inference import Inference
from so101_robot.display.attention_pictures import coloured
from so101_robot.errors import ConfigError
from so101_robot.faults.fault import Mode
from so101_robot.joints import JOINTS
from so101_robot.loop.tick import Tick
from so101_robot.message import Message, Severity

QUEUE_TICKS = 60
"""How many ticks may wait to be shown before some are dropped: two seconds at 30 Hz."""

TIMELINE = "run"

OPACITY = 0.5
"""Of an attention map over its picture."""

JPEG_QUALITY = 90
"""Two cameras of 480x640 at 30 Hz are 55 MB/s as they are."""

HEALTH = {
    "temperature": "temperature_c",
    "load": "load_percent",
    "voltage": "voltage_v",
    "current": "current_ma",
}
"""Name of the curves -> field of `Health`, which has the unit."""

LEVELS = {
    Severity.INFO: "INFO",
    Severity.RECOVERED: "INFO",
    Severity.WARNING: "WARN",
    Severity.ERROR: "ERROR",
}
"""Rerun's severities."""

LOOPBACK = "127.0.0.1"
"""Where the viewer listens if nobody asks for more. Rerun's own `spawn` opens a port for everybody on the network, who
then see the cameras."""

VIEWER_S = 20.0
"""How long a viewer may take to open."""

PATIENCE_S = 5.0
"""How long the end of a run waits for what is queued."""

FLUSH_S = 5.0
"""How long a viewer may take to get the rest of a run; it is given up then."""


class Viewer(NamedTuple):
    """A window that stays when the run is over."""

    process: "subprocess.Popen[bytes]"
    host: str
    """Where this machine reaches it."""
    port: int


def open_viewer(host: str = LOOPBACK) -> Viewer:
    """Open Rerun's viewer.

    Args:
        host: the number of the address where it listens.

    Raises:
        ConfigError: there is no screen, or the viewer does not open.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigError(
            "--display=viewer needs a screen, and there is none here (neither DISPLAY nor WAYLAND_DISPLAY is set); "
            "--display=file writes run.rrd into the run folder, to be opened where there is one"
        )
    try:
        with socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ) as free:
            port = int(free.getsockname()[1])
    except OSError as problem:
        raise ConfigError(
            f"--display_host={host}: {problem.strerror}; expected an address of this machine"
        ) from problem
    own = LOOPBACK if ip_address(host).is_unspecified else host
    # by this interpreter: the command `rerun` is not on the path of an environment that is not activated
    command = [sys.executable, "-m", "rerun", "--bind", host, "--port", str(port)]
    viewer = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it stays when the run is over, and Ctrl-C is not for it
    )
    deadline_s = time.monotonic() + VIEWER_S
    while time.monotonic() < deadline_s and viewer.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((own, port), timeout=0.2):
            return Viewer(viewer, own, port)
        time.sleep(0.05)
    viewer.kill()
    viewer.wait()
    raise ConfigError(
        f"Rerun's viewer did not open (`{' '.join(command)}`); --display=file writes the run into a file instead"
    )


@contextlib.contextmanager
def _given_up_after(viewer: Viewer | None, seconds: float) -> Generator[None]:
    """A viewer that hangs is killed after that time: Rerun waits for it without end, whatever its time-out says."""
    timer = threading.Timer(seconds, lambda: viewer.process.kill() if viewer is not None else None)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class RerunDisplay:
    """Shows the run in a viewer of its own process, which listens at `host`, or writes it to `file` (*.rrd).

    Raises:
        ConfigError: Rerun has no viewer here.
    """

    name = "Rerun"

    def __init__(self, cameras: tuple[str, ...], file: Path | None = None, host: str = LOOPBACK) -> None:
        self._stream: Any = rr.RecordingStream("so101-run")
        self._viewer: Viewer | None = None
        self._begin_s: float | None = None
        self._sequences: dict[str, int] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._faults: set[str] = set()
        self._covered: set[str] = set()
        """Cameras over whose picture an attention map lies."""
        try:
            if file is None:
                self._viewer = open_viewer(host)
                name = f"[{self._viewer.host}]" if ":" in self._viewer.host else self._viewer.host
                self._stream.connect_grpc(f"rerun+http://{name}:{self._viewer.port}/proxy")
            else:
                self._stream.save(file)
        except (OSError, RuntimeError) as problem:
            raise ConfigError(
                f"Rerun cannot show the run: {problem}; --display=file writes one instead"
            ) from problem
        logging.getLogger("rerun").setLevel(logging.WARNING)
        self._stream.send_blueprint(_blueprint(cameras))

    def on_tick(self, tick: Tick) -> None:
        if self._begin_s is None:
            self._begin_s = tick.time_s
        self._set_time(tick.time_s)
        self._log_pictures(tick)
        self._log_joints(tick)
        self._log_state(tick)
        for change in tick.verdict.interventions:
            text = f"guard: {change.rule} {change.joint or ''} {change.asked:.2f} -> {change.allowed:.2f}"
            self._say(Message(text))
        if tick.fault is not None:
            self._say(Message(tick.fault, Severity.WARNING))
        inference = tick.planned.inference if tick.planned is not None else None
        if inference is not None:
            self._set_time(inference.observed_s)
            self._log_attention(inference)
            self._set_time(tick.time_s)  # for messages
        elif tick.phase == "home":
            self._uncover()

    def on_message(self, message: Message) -> None:
        self._say(message)

    def close(self) -> None:
        with _given_up_after(self._viewer, 2 * FLUSH_S):
            try:
                self._stream.flush(timeout_sec=FLUSH_S)
            finally:
                self._stream.disconnect()

    def _set_time(self, time_s: float) -> None:
        assert self._begin_s is not None  # since the first tick
        self._stream.set_time(TIMELINE, duration=time_s - self._begin_s)

    def _log_pictures(self, tick: Tick) -> None:
        """Those that are new."""
        for name, frame in tick.frames.items():
            if self._sequences.get(name) == frame.sequence:
                continue
            self._sequences[name] = frame.sequence
            self._sizes[name] = (frame.image.shape[0], frame.image.shape[1])
            self._stream.log(f"cameras/{name}", rr.Image(frame.image).compress(JPEG_QUALITY))

    def _log_joints(self, tick: Tick) -> None:
        values = {"measured": tick.state.position, "commanded": tick.asked, "sent": tick.sent}
        for what, pose in values.items():
            if pose is None:
                continue
            for joint, value in zip(JOINTS, pose.tolist(), strict=True):
                self._curve(f"joints/{joint}/{what}", value)
        health = tick.state.health
        if health is None:
            return
        for what, field in HEALTH.items():
            for joint, value in zip(JOINTS, getattr(health, field).tolist(), strict=True):
                self._curve(f"health/{what}/{joint}", value)

    def _log_state(self, tick: Tick) -> None:
        self._curve("mode", list(Mode).index(tick.mode))
        faults = set(tick.faults)
        for fault in faults | self._faults:
            path = rr.new_entity_path(["faults", *fault.split(": ", 1)])
            self._curve(path, float(fault in faults))
        self._faults = faults

    def _log_attention(self, inference: Inference) -> None:
        if (shares := inference.shares) is not None:
            parts = {
                "latent": shares.latent,
                "state": shares.state,
                "vision": shares.vision,
                **shares.cameras,
            }
            parts["state if uniform"] = shares.uniform.get("state", 0.0)
            for name, share in parts.items():
                self._curve(rr.new_entity_path(["shares", name]), share)
            self._curve("spread", shares.entropy)
        for name, picture in coloured(inference.maps or {}, self._sizes).items():
            image = rr.Image(picture, opacity=OPACITY, draw_order=1.0)
            self._stream.log(f"cameras/{name}/attention", image)
            self._covered.add(name)

    def _uncover(self) -> None:
        """On the way home no policy looks."""
        for name in self._covered:
            self._stream.log(f"cameras/{name}/attention", rr.Clear(recursive=False))
        self._covered.clear()

    def _curve(self, path: str, value: float) -> None:
        self._stream.log(path, rr.Scalars(float(value)))

    def _say(self, message: Message) -> None:
        self._stream.log("messages", rr.TextLog(message.text, level=LEVELS[message.severity]))


def _blueprint(cameras: tuple[str, ...]) -> Any:
    """Pictures and where the policy looks on the left, curves on the right, words below."""
    pictures = [rrb.Spatial2DView(origin=f"cameras/{name}", name=name) for name in cameras]
    joints = [rrb.TimeSeriesView(origin=f"joints/{joint}", name=joint) for joint in JOINTS]
    health = [rrb.TimeSeriesView(origin=f"health/{what}", name=what) for what in HEALTH]
    modes = ", ".join(f"{number} {mode}" for number, mode in enumerate(Mode))
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(
                rrb.Vertical(*pictures, rrb.TimeSeriesView(origin="shares", name="where the policy looks")),
                rrb.Tabs(
                    rrb.Grid(*joints, grid_columns=2, name="joints"),
                    rrb.Grid(*health, grid_columns=2, name="health"),
                ),
                column_shares=[1, 2],
            ),
            rrb.Horizontal(
                rrb.TimeSeriesView(origin="mode", name=modes),
                rrb.TimeSeriesView(origin="faults", name="faults"),
            ),
            rrb.TextLogView(origin="messages", name="messages"),
            row_shares=[5, 1, 1],
        ),
        collapse_panels=True,
    )
