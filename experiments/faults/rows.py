"""The rows of the fault table: what is made to go wrong, for how long, and what a driver must not do then.

A row's faults are those of the mock arm's catalogue where they are on the wire, in a servo, at the port or in a
camera; the rest (a policy that answers nonsense, a full disk, a signal) is done to the stage by a function.
"""

import math
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from experiments.faults.stage import Spoiler, Stage
from experiments.faults.webcams import Does

Group = Literal["wire", "servo", "port", "camera", "policy", "computer", "person", "start", "usb"]

BURST = 5
"""How often a fault of single replies hits, a fifth of a second apart."""

LONG_S = 60.0
"""Longer than any rule holds the arm."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    group: Group
    inject: Callable[[Stage, float, np.random.Generator], None]
    """Let it go wrong at this time [s] (rows of the group `start`: now)."""
    for_s: float = 1.0
    """How long it lasts."""
    stop_s: float | None = None
    """New goals of the policy have to end within this time, for as long as the fault lasts; None: driving on is
    right, because what the driver knows stays true."""
    watch_s: float = 4.0
    """How long the policy drives after the fault has begun, if it is let."""
    only_ours: bool = False
    """There is nothing of the kind in LeRobot's runner."""
    may_fall: bool = False
    """A person asked for the arm to be let go at once."""
    may_lose_log: bool = False
    """Nothing can be written any more."""
    refuses: bool = False
    """The arm must not be touched at all."""


def _entry(fault: str, **more: Any) -> Callable[[Stage, float, np.random.Generator], None]:
    """A fault of the catalogue at that time; `servo="any"` is drawn."""

    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.arm.add_fault({"fault": fault, "at_s": time_s, **_drawn(more, rng)})

    return inject


def _burst(fault: str, **more: Any) -> Callable[[Stage, float, np.random.Generator], None]:
    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        times = [time_s + 0.2 * k for k in range(BURST)]
        stage.arm.add_fault({"fault": fault, "at_s": times, **_drawn(more, rng)})

    return inject


def _drawn(more: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    drawn = {"any": lambda: int(rng.integers(1, 7)), "arm": lambda: int(rng.integers(2, 5))}
    drawn["joint"] = lambda: int(rng.integers(1, 6))
    return {
        key: drawn[value]() if isinstance(value, str) and value in drawn else value
        for key, value in more.items()
    }


def _now(fault: str, **more: Any) -> Callable[[Stage, float, np.random.Generator], None]:
    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.arm.add_fault({"fault": fault, "at_s": 0.0, **_drawn(more, rng)})

    return inject


def _policy(spoiler: Callable[[float], Spoiler]) -> Callable[[Stage, float, np.random.Generator], None]:
    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.spoilers.append(spoiler(time_s))

    return inject


def _signal(number: signal.Signals, again_s: float | None = None) -> Callable[..., None]:
    def send() -> None:
        # a process of the table is begun deaf to a terminal's Ctrl-C (`pool`), but not to this one
        before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.raise_signal(number)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.arm.at(time_s, send)
        if again_s is not None:
            stage.arm.at(time_s + again_s, send)

    return inject


def _gone(for_s: float) -> Callable[..., None]:
    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        name = ("front", "wrist")[int(rng.integers(2))]
        stage.arm.at(time_s, lambda: stage.arm.gone.add(name))
        stage.arm.at(time_s + for_s, lambda: stage.arm.gone.discard(name))

    return inject


def _swapped(for_s: float) -> Callable[..., None]:
    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.arm.at(time_s, lambda: stage.arm.lenses.update(front="wrist", wrist="front"))
        stage.arm.at(time_s + for_s, stage.arm.lenses.clear)

    return inject


def _usb(does: Does, for_s: float, camera: str = "wrist") -> Callable[..., None]:
    """A USB camera does that, then delivers again."""

    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.arm.at(time_s, lambda: setattr(stage.webcam(camera), "does", does))
        stage.arm.at(time_s + for_s, lambda: setattr(stage.webcam(camera), "does", "delivers"))

    return inject


def _usb_slow(fps: float) -> Callable[..., None]:
    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.arm.at(time_s, lambda: setattr(stage.webcam("wrist"), "fps", fps))

    return inject


def _usb_pulled(for_s: float, back: dict[str, tuple[int, str]]) -> Callable[..., None]:
    """Cameras are pulled out, and come back as these numbers, at these ports."""

    def pull(stage: Stage) -> None:
        assert stage.usb is not None
        for name in back:
            stage.usb.unplug(stage.webcam(name))

    def plug(stage: Stage) -> None:
        assert stage.usb is not None
        for name, (number, port) in back.items():
            stage.usb.plug_in(stage.webcam(name), number, port)

    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.arm.at(time_s, lambda: pull(stage))
        stage.arm.at(time_s + for_s, lambda: plug(stage))

    return inject


def _always(change: Callable[[Any, float], None]) -> Callable[[Stage, float, np.random.Generator], None]:
    """The policy's answers are changed from then on."""
    return _policy(lambda begin_s: _replaced(begin_s, math.inf, change))


def _raises(begin_s: float, until_s: float) -> Spoiler:
    def spoil(actions: Any, now_s: float) -> Any:
        if begin_s <= now_s < until_s:
            raise RuntimeError("the policy ran out of memory")
        return actions

    return spoil


def _replaced(begin_s: float, until_s: float, change: Callable[[Any, float], None]) -> Spoiler:
    def spoil(actions: Any, now_s: float) -> Any:
        if begin_s <= now_s < until_s:
            change(actions, now_s)
        return actions

    return spoil


def _fill(value: float) -> Callable[[Any, float], None]:
    def change(actions: Any, now_s: float) -> None:
        actions[:, 1] = value

    return change


def _jump(actions: Any, now_s: float) -> None:
    actions[:, 0] = 80.0 * np.sign(np.sin(40.0 * now_s + np.arange(len(actions))))


def _shape(begin_s: float) -> Spoiler:
    return lambda actions, now_s: actions[:, :5] if now_s >= begin_s else actions


def _slow(begin_s: float, until_s: float, late_s: float) -> Callable[..., None]:
    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.delays.append((time_s + begin_s, time_s + until_s, late_s))

    return inject


def _stall(for_s: float) -> Callable[..., None]:
    """The whole program stands still, as under SIGSTOP."""

    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.stalls.append((time_s, for_s))

    return inject


def _disk_full(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
    stage.arm.at(time_s, stage.fill_disk)


def _observer(kind: str) -> Callable[..., None]:
    def inject(stage: Stage, time_s: float, rng: np.random.Generator) -> None:
        stage.observer_fails = (kind, time_s)

    return inject


_SINGLE = (
    ("corrupt_reply", "a bit of a reply flips"),
    ("corrupt_header", "a reply's header is damaged"),
    ("truncated_reply", "a reply is cut short"),
    ("wrong_length", "a reply's length is wrong"),
    ("noise", "noise before a reply"),
    ("bad_error_byte", "an impossible error byte"),
    ("bad_id", "an impossible id"),
    ("out_of_order", "replies in another order"),
    ("duplicate_reply", "a reply comes twice"),
    ("id_collision", "two servos talk at once"),
    ("echo", "the request comes back"),
    ("late_reply", "replies 80 ms late"),
    ("silent_servo", "a reply is missing"),
    ("silent_bus", "all replies are missing"),
    ("stolen_bytes", "bytes are missing"),
)

_WIRE = (
    *(Row(f"{words}, now and then", "wire", _burst(fault)) for fault, words in _SINGLE),
    Row("a goal is lost, now and then", "wire", _burst("lost_request", instruction="sync_write")),
    Row("a goal is damaged, now and then", "wire", _burst("corrupt_request", instruction="sync_write")),
    Row("every request comes back", "wire", _entry("echo", for_s=3.0), 3.0),
    Row("every reply 80 ms late for a second", "wire", _entry("late_reply", for_s=1.0), 1.0, 0.3),
    Row("a servo silent for a second", "wire", _entry("silent_servo", servo="any", for_s=1.0), 1.0, 0.3),
    Row(
        "a servo silent for good",
        "wire",
        _entry("silent_servo", servo="any", for_s=LONG_S),
        LONG_S,
        0.3,
        LONG_S,
    ),
    Row("all servos silent for a second", "wire", _entry("silent_bus", for_s=1.0), 1.0, 0.3),
    Row("all servos silent for good", "wire", _entry("silent_bus", for_s=LONG_S), LONG_S, 0.3, LONG_S),
    Row("two servos with one id for two seconds", "wire", _entry("id_collision", servo="any", for_s=2.0), 2.0, 0.5),
    Row("another program reads along for 2 s", "wire", _entry("stolen_bytes", servo="all", for_s=2.0), 2.0, 0.5),
)  # fmt: skip

_SERVO = (
    Row("overload for a second", "servo", _entry("overload", servo="arm", for_s=1.0), 1.0, 0.1),
    Row("overload for good", "servo", _entry("overload", servo="arm"), LONG_S, 0.1, LONG_S),
    Row("gripper overloaded, as when it holds a box", "servo", _entry("overload", servo=6), LONG_S),
    Row("over-current, the servo lets go", "servo", _entry("overcurrent", servo="arm", for_s=2.3), 2.3, 1.1, 6.0),
    Row("too hot for a second", "servo", _entry("overheat", servo="arm", for_s=1.0), 1.0, 0.1),
    Row("too hot for good", "servo", _entry("overheat", servo="arm"), LONG_S, 0.1, LONG_S),
    Row("supply too high, flickering", "servo", _entry("overvoltage", every=40, for_s=0.05), LONG_S),
    Row("supply too high for good", "servo", _entry("overvoltage"), LONG_S, 0.7, LONG_S),
    Row("supply sags, servos reboot", "servo", _entry("sag", for_s=0.1), 0.3, 0.3, 6.0),
    Row("no supply for half a second", "servo", _entry("no_power", for_s=0.5), 0.5, 0.3, 6.0),
    Row("no supply for good", "servo", _entry("no_power"), LONG_S, 0.3, LONG_S),
    Row("the cable breaks at a servo", "servo", _entry("cable_break", servo="arm"), LONG_S, 0.3, LONG_S),
    Row("encoder fault for a second", "servo", _entry("encoder_fault", servo="arm", for_s=1.0), 1.0, 0.1),
    Row("encoder fault for good", "servo", _entry("encoder_fault", servo="arm"), LONG_S, 0.1, LONG_S),
    Row("a servo reboots", "servo", _entry("reboot", servo="any"), 0.3, 0.3, 6.0),
    Row("the encoder of a joint wraps", "servo", _entry("multi_turn", servo="joint"), 0.2, 0.1),
    Row("the gripper's encoder wraps", "servo", _entry("multi_turn", servo=6), 0.2, 0.1),
)  # fmt: skip

_PORT = (
    Row("unplugged for two seconds", "port", _entry("unplug", for_s=2.0), 2.0, 0.1, 6.0),
    Row("unplugged for good", "port", _entry("unplug"), LONG_S, 0.1, LONG_S),
    Row("the adapter stalls for 0.3 s", "port", _entry("stall", for_s=0.3), 0.3),
    Row("the adapter stalls for two seconds", "port", _entry("stall", for_s=2.0), 2.0, 0.3),
)

_CAMERA = (
    Row("a camera stalls for 1.6 s", "camera", _entry("camera_stall", camera="wrist", for_s=1.6), 1.6, 0.7),
    Row("a camera stalls for good", "camera", _entry("camera_stall", camera="front"), LONG_S, 0.7, LONG_S),
    Row(
        "a camera freezes for 3 s",
        "camera",
        _entry("camera_freeze", camera="wrist", for_s=3.0),
        3.0,
        2.0,
        6.0,
    ),
    Row("a camera freezes for good", "camera", _entry("camera_freeze", camera="front"), LONG_S, 2.0, LONG_S),
    Row("a camera goes dark for 2 s", "camera", _entry("camera_dark", camera="wrist", for_s=2.0), 2.0, 0.7),
    Row("a camera goes dark for good", "camera", _entry("camera_dark", camera="front"), LONG_S, 0.7, LONG_S),
    Row("the cameras are swapped for 2 s", "camera", _swapped(2.0), 2.0, 0.7),
    Row("the cameras are swapped for good", "camera", _swapped(LONG_S), LONG_S, 0.7, LONG_S),
    Row("a camera is gone for a second", "camera", _gone(1.0), 1.0, 0.2),
    Row("a camera is gone for good", "camera", _gone(LONG_S), LONG_S, 0.2, LONG_S),
)

_USB = (
    Row("reads of a camera fail for 0.4 s", "usb", _usb("fails", 0.4), 0.4, watch_s=6.0),
    Row("reads of a camera fail for 5 s", "usb", _usb("fails", 5.0), 5.0, 0.7, 10.0),
    Row("reads of a camera fail for good", "usb", _usb("fails", LONG_S), LONG_S, 0.7, LONG_S),
    Row("reads of a camera raise for 2 s", "usb", _usb("raises", 2.0), 2.0, 0.7, 7.0),
    Row("reads of a camera hang for 1.6 s", "usb", _usb("hangs", 1.6), 1.6, 0.7, 7.0),
    Row("reads of a camera hang for good", "usb", _usb("hangs", LONG_S), LONG_S, 0.7, LONG_S),
    Row("a camera sends another size for 2 s", "usb", _usb("another size", 2.0), 2.0, 0.7, 7.0),
    Row("a camera sends another size for good", "usb", _usb("another size", LONG_S), LONG_S, 0.7, LONG_S),
    Row("a camera falls from 30 to 8 pictures a second", "usb", _usb_slow(8.0), LONG_S),
    Row("a USB camera sends the same picture for 3 s", "usb", _usb("freezes", 3.0), 3.0, 2.0, 6.0),
    Row("a USB camera goes dark for good", "usb", _usb("is dark", LONG_S), LONG_S, 0.7, LONG_S),
    Row(
        "a camera is pulled and back under another number",
        "usb", _usb_pulled(2.0, {"wrist": (4, "1.2")}), 2.0, 0.7, 7.0,
    ),
    Row(
        "a hub drops both cameras, and their numbers change places",
        "usb", _usb_pulled(2.0, {"front": (2, "1.1"), "wrist": (0, "1.2")}), 2.0, 0.7, 7.0,
    ),
    Row("a camera is pulled for good", "usb", _usb_pulled(LONG_S, {"wrist": (2, "1.2")}), LONG_S, 0.7, LONG_S),
)  # fmt: skip

_POLICY = (
    Row("the policy raises once", "policy", _policy(lambda t: _raises(t, t + 0.2)), 0.2, 0.6),
    Row("the policy raises for good", "policy", _policy(lambda t: _raises(t, math.inf)), LONG_S, 0.6, LONG_S),
    Row("NaN once", "policy", _policy(lambda t: _replaced(t, t + 0.2, _fill(np.nan))), 0.2, 0.6),
    Row("NaN for good", "policy", _always(_fill(np.nan)), LONG_S, 0.6, LONG_S),
    Row("infinite for good", "policy", _always(_fill(np.inf)), LONG_S, 0.6, LONG_S),
    Row("500 degrees for good", "policy", _always(_fill(500.0)), LONG_S, 2.0, LONG_S),
    Row("jumping by 160 degrees for good", "policy", _always(_jump), LONG_S, 2.0, LONG_S),
    Row("five joints instead of six", "policy", _policy(_shape), LONG_S, 0.6, LONG_S),
    Row("an answer takes 3 s once", "policy", _slow(0.0, 0.2, 3.0), 3.0, 2.0, 7.0),
    Row("no answer any more", "policy", _slow(0.0, math.inf, 999.0), LONG_S, 2.0, LONG_S),
)  # fmt: skip

_COMPUTER = (
    Row("the program stands still for 0.3 s", "computer", _stall(0.3), 0.3),
    Row("the program stands still for 2 s", "computer", _stall(2.0), 2.0),
    Row("the disk is full", "computer", _disk_full, LONG_S, only_ours=True, may_lose_log=True),
    Row("the dashboard fails", "computer", _observer("raises"), LONG_S, only_ours=True),
    Row("the recorder fails", "computer", _observer("background raises"), LONG_S, only_ours=True),
    Row("the recorder hangs", "computer", _observer("background hangs"), LONG_S, only_ours=True),
)

_PERSON = (
    Row("Ctrl-C", "person", _signal(signal.SIGINT), LONG_S, 0.1),
    Row(
        "Ctrl-C, and again after a second", "person", _signal(signal.SIGINT, 1.0), LONG_S, 0.1, may_fall=True
    ),
    Row("SIGTERM", "person", _signal(signal.SIGTERM), LONG_S, 0.1),
    Row("the terminal is closed (SIGHUP)", "person", _signal(signal.SIGHUP), LONG_S, 0.1),
)

_START = (
    Row("a servo of another model", "start", _now("wrong_model", servo="any"), refuses=True),
    Row("servos of two firmware versions", "start", _now("wrong_firmware", servo="any"), refuses=True),
    Row("a servo at another baud rate", "start", _now("wrong_baud", servo="any"), refuses=True),
    Row("two servos with one id", "start", _now("wrong_id", servo=5, id=4), refuses=True),
    Row("no supply", "start", _now("no_power"), refuses=True),
)

ROWS: tuple[Row, ...] = (
    *_START,
    *_WIRE,
    *_SERVO,
    *_PORT,
    *_CAMERA,
    *_USB,
    *_POLICY,
    *_COMPUTER,
    *_PERSON,
)
BY_NAME: dict[str, Row] = {row.name: row for row in ROWS}
