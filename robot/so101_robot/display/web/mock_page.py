"""The page of `so101-mock`: both cameras and the joints of a simulated arm, while any program talks to it.

It is the page of a run without what only a policy has. The arm's loop calls `look` ten times a second, which reads
some registers; pictures come from the socket on which the arm's camera process publishes them anyway, in a thread of
their own. Nothing here writes to the arm.
"""

import base64
import contextlib
import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import zmq
from numpy.typing import NDArray
from PIL import Image

from so101_robot.display.web.link import PageLink
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.serve.server import MockServer

PAGE = Path(__file__).with_name("run.html")
PORT = 8102
"""Of every mock arm's page, another one while that is taken; a run's has 8100, an evaluation's 8101."""
EVERY_S = 0.1
PICTURES_EVERY_S = 0.1
STEPS = 4095
"""Of a turn, as LeRobot counts."""
MESSAGES = 30
WAIT_MS = 200
NO_ERRORS = "no errors"
"""What the arm says then."""


class MockPage:
    """The page of one mock arm. A context manager.

    Args:
        engine: the running arm.
        say: is told the address, and that the server has died, in another thread.
        port: see `PORT`.
    """

    def __init__(self, engine: MockServer, say: Callable[[str], None], port: int = PORT) -> None:
        self._engine = engine
        self._run = f"{time.time():.3f}"
        self._due_s = self._began_s = time.monotonic()
        self._done = threading.Event()
        self._link = PageLink(
            PAGE,
            port=port,
            or_any_port=True,
            on_ready=lambda found: say(f"watch it at http://127.0.0.1:{found}/ (this machine only)"),
            on_gone=lambda: say("the page's server has ended; the arm goes on without the page"),
        )
        self._thread = threading.Thread(target=self._show_pictures, name="mock page", daemon=True)

    def __enter__(self) -> Self:
        if self._engine.cameras is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        over = {
            "lines": ["The mock arm is switched off."],
            "good": None,
            "folder": "",
            "next": [],
            "film": False,
        }
        view = {**self.view(), "over": over}
        self._link.show(lambda: view)
        self._link.close()

    def wait(self) -> int | None:
        """The port, once the page can be opened; None: its server does not begin. To be called once."""
        return self._link.wait()

    def look(self) -> None:
        """To be called often by the arm's loop."""
        now_s = time.monotonic()
        if now_s < self._due_s or self._link.gone:
            return
        self._due_s = now_s + EVERY_S
        view = self.view()
        self._link.show(lambda: view)

    def view(self) -> dict[str, Any]:
        """Of now, as the page wants it."""
        engine, arm = self._engine, self._engine.arm
        cameras, driven = engine.cameras, arm.driven_joints()
        complaints = arm.complaints()
        words = (
            "unplugged" if not engine.server.plugged else "servos hold it" if driven else "servos are free"
        )
        pictures = f"{engine.config.mock.width}x{engine.config.mock.height}"
        return {
            "run": self._run,
            "bare": True,
            "cameras": [] if cameras is None else list(engine.camera_names),
            "title": {
                "policy": "mock leader" if engine.config.leader else "mock arm",
                "arm": f"{engine.port}, scene {engine.config.mock.scene}",
                "cameras": "no cameras" if cameras is None else f"{pictures}, {cameras.renderer}",
            },
            "headline": [words, "bad" if not engine.server.plugged else "good" if driven else "quiet"],
            "elapsed_s": round(time.monotonic() - self._began_s, 1),
            "figures": [["requests", str(engine.server.requests)]],
            "counters": [["times starved", engine.server.starved]] if engine.server.starved else [],
            "shares": [], "instead": "", "spread": None, "chunk": None, "blind": None, "maps": {},
            "joints": [_joint(engine, index, joint in driven) for index, joint in enumerate(JOINTS)],
            "guard": [complaints, "good" if complaints == NO_ERRORS else "bad"],
            "faults": [],
            "messages": [
                [event.time_us * 1e-6, str(event.fault), "bad"] for event in reversed(arm.fault_log()[-MESSAGES:])
            ],
        }  # fmt: skip

    def _show_pictures(self) -> None:
        """Until the end: the newest message of the camera process, as it is published for every program."""
        assert self._engine.cameras is not None
        context = zmq.Context()
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.CONFLATE, 1)
        socket.setsockopt(zmq.LINGER, 0)
        socket.subscribe(b"")
        socket.connect(f"tcp://127.0.0.1:{self._engine.cameras.port}")
        with contextlib.closing(socket):
            while not self._done.wait(PICTURES_EVERY_S) and not self._link.gone:
                if socket.poll(WAIT_MS):
                    images: dict[str, str] = json.loads(socket.recv())["images"]
                    self._link.pictures({name: _picture(text) for name, text in images.items()})
        context.term()


def _picture(text: str) -> NDArray[np.uint8]:
    """(h, w, 3) RGB: the camera process encodes it as if it were BGR."""
    blue_first = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
    return np.ascontiguousarray(blue_first[..., ::-1])


def _joint(engine: MockServer, index: int, driven: bool) -> dict[str, Any]:
    """As LeRobot would say it, by the limits in the servo: degrees from the middle, percent of the gripper."""
    servos = engine.arm.servos
    low, high = servos.get(index, "Min_Position_Limit"), servos.get(index, "Max_Position_Limit")
    of_gripper = index == GRIPPER

    def value(steps: int) -> float:
        if of_gripper:
            return round(100.0 * (steps - low) / max(high - low, 1), 1)
        return round((steps - (low + high) / 2) * 360.0 / STEPS, 1)

    goal = value(servos.get(index, "Goal_Position")) if driven else None
    position = value(servos.get(index, "Present_Position"))
    return {
        "name": JOINTS[index],
        "unit": "%" if of_gripper else "°",
        "position": position,
        "goal": goal,
        "lagging": False,
        "range": [value(low), value(high)],
        "load": round(abs(servos.get(index, "Present_Load")) / 10),
        "volt": servos.get(index, "Present_Voltage") / 10,
        "temp": servos.get(index, "Present_Temperature"),
        "error": "",
    }
