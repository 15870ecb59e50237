"""The page of a run over HTTP: what it is served, by whom it is seen, and that it never matters to the loop."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shown_ticks import LIMITS, TITLE, make_tick
from so101_robot.commands import watching
from so101_robot.commands.run_config import RunConfig
from so101_robot.display.following import Following
from so101_robot.display.web import link
from so101_robot.display.web.run_page import PAGE, Result, RunPage
from so101_robot.display.web.run_view import as_plain, cells
from so101_robot.errors import ConfigError, RobotError
from so101_robot.guard.guard import Intervention, Verdict
from so101_robot.loop.observers import Observers
from so101_robot.message import Message, Severity
from so101_robot.state import Frame

SOON_S = 60.0
GONE = "its server has ended; the run goes on without the page"
RESULT = Result(
    ("box placed: 2 mm and 1 degree off, in 7.4 s",),
    True,
    "outputs/run/now",
    [("so101-replay x", "once more")],
)


class Served:
    """A page, and a browser's side of it."""

    def __init__(self, stay_s: float = 0.0) -> None:
        self.page = RunPage(("front", "wrist"), lambda address: None, stay_s=stay_s, port=0, now_s=self.now_s)
        self.address = self.page.wait()
        self.time_s = 0.0

    def now_s(self) -> float:
        """A second between two looks: every tick is shown."""
        self.time_s += 1.0
        return self.time_s

    def ask(self, path: str, data: Any = None, **headers: str) -> tuple[int, bytes, Any]:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(
            f"{self.address}{path}", body, {"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=SOON_S) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as problem:
            with problem:
                return problem.code, problem.read(), problem.headers

    def view(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first view of the stream that is as wanted."""
        with urllib.request.urlopen(f"{self.address}views", timeout=SOON_S) as stream:
            for line in stream:
                if line.startswith(b"data: ") and wanted(view := json.loads(line[6:])):
                    return view
        raise AssertionError("the stream ended")


@pytest.fixture
def served() -> Generator[Served]:
    served = Served()
    yield served
    served.page.finish(RESULT)


def test_the_page_shows_the_run_from_its_loading_to_its_result(served: Served):
    served.view(lambda view: "loaded" in view.get("text", ""))
    served.page.begin(TITLE, LIMITS)
    for index in range(4):
        served.page.on_tick(make_tick(index))
    served.page.on_message(Message("there; the policy takes over"))
    served.page.on_tick(make_tick(4, verdict=Verdict(None, (), "frame too old: wrist")))
    view = served.view(lambda view: len(view.get("messages", ())) == 1 and "holds" in view["guard"][0])
    assert view["title"]["policy"] == TITLE.policy
    assert view["headline"] == ["running", "good"]
    assert [row[0] for row in view["shares"]] == ["latent", "state", "front", "wrist"]
    assert view["shares"][1][1:3] == [0.314, 0.05]
    assert view["joints"][0] == {
        "name": "shoulder_pan", "unit": "°", "position": -12.3, "goal": -11.8, "lagging": False,
        "range": [-110.0, 110.0], "load": 4.0, "volt": 11.8, "temp": 31.0, "error": "",
    }  # fmt: skip
    assert view["guard"] == ["holds the arm: frame too old: wrist", "bad"]
    assert view["messages"][0][1:] == ["there; the policy takes over", "quiet"]
    assert max(view["maps"]["front"]["cells"]) == 255
    assert view["figures"][0] == ["simulated time;", "answers take 100 ms by setting"]
    assert "over" not in view
    assert view["turns"] == [], "nobody can take over"


def test_the_page_shows_who_drove_when_until_the_way_home():
    following = Following(TITLE)
    for index, driver in enumerate(("policy", "policy", "hold", "handover", "human", "human")):
        planned = make_tick(index).planned
        assert planned is not None
        following.on_tick(make_tick(index, planned=planned._replace(driver=driver)))
    assert as_plain(following.view(), LIMITS)["turns"] == [
        ["policy", 0.0, 0.07], ["hold", 0.07, 0.1], ["handover", 0.1, 0.13], ["human", 0.13, 0.17],
    ]  # fmt: skip
    for index in range(6, 36):
        following.on_tick(make_tick(index, phase="home", planned=None))
    assert as_plain(following.view(), LIMITS)["turns"][-1] == ["human", 0.13, 0.2]
    for driver in ("policy", "human", "handover", "hold"):
        assert f".{driver} {{ --turn:" in PAGE.read_text()


def test_the_pictures_are_those_of_the_cameras_and_are_encoded_elsewhere(served: Served):
    served.page.begin(TITLE, LIMITS)
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 32:] = (200, 40, 40)
    served.page.on_tick(make_tick(0, pictures={"front": Frame(image, 0.0, 1, None)}))
    with urllib.request.urlopen(f"{served.address}live/front", timeout=SOON_S) as stream:
        assert stream.readline().strip() == b"--picture"
        data = b""
        while b"\r\n--picture" not in data:
            data += stream.read1()
    shown = np.asarray(Image.open(BytesIO(data.partition(b"\r\n\r\n")[2])))
    assert shown.shape == (48, 64, 3)
    assert np.abs(shown[10, 50].astype(int) - (200, 40, 40)).max() < 12
    assert shown[10, 10].max() < 12
    assert "PIL" not in link.__dict__


def test_the_result_and_the_film_stay_for_who_opens_the_page_late(tmp_path: Path):
    late = Served(stay_s=60.0)
    late.page.begin(TITLE, LIMITS)
    late.page.on_tick(make_tick(0))
    (tmp_path / "clip.mp4").write_bytes(b"a film")
    late.page.finish(replace(RESULT, film=tmp_path / "clip.mp4"))
    late.page.finish(Result(("said twice",)))
    over = late.view(lambda view: view.get("over"))["over"]
    assert over == {
        "lines": [*RESULT.lines], "good": True, "folder": "outputs/run/now",
        "next": [["so101-replay x", "once more"]], "film": True,
    }  # fmt: skip
    assert late.ask("film")[1] == b"a film"
    assert late.ask("action", {"kind": "seen"})[0] == 200
    wait_for(lambda: not answers(late))


def answers(served: Served) -> bool:
    try:
        served.ask("")
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until_s, "it did not come"
        time.sleep(0.05)


def test_only_this_machine_and_no_page_from_elsewhere(served: Served):
    status, text, headers = served.ask("")
    assert (status, text) == (200, PAGE.read_bytes())
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert served.ask("", Host="evil.example")[0] == 403
    assert served.ask("views", Origin="http://evil.example")[0] == 403
    assert served.ask("film")[0] == 404
    port = served.address.rstrip("/").rpartition(":")[2]
    listening = Path(f"/proc/{served.page.pid}/net/tcp").read_text()
    assert f"0100007F:{int(port):04X}" in listening
    assert f"00000000:{int(port):04X}" not in listening


def test_the_page_asks_for_nothing_from_the_network_and_every_part_has_a_name():
    page = PAGE.read_text()
    assert not re.findall(r"https?:|//[a-z]+\.|@import|<link (?!rel=\"icon\" href=\"data:)|<script src", page)
    assert re.findall(r'<section[^>]*aria-labelledby="([\w-]+)"', page) == re.findall(
        r'<h2 id="([\w-]+)"', page
    )


def test_a_server_that_dies_is_dropped_and_the_loop_goes_on(served: Served):
    said: list[str] = []

    class Listener:
        name = "listener"

        def on_tick(self, tick: Any) -> None: ...
        def on_message(self, message: Message) -> None:
            said.append(message.text)

        def close(self) -> None: ...

    served.page.begin(TITLE, LIMITS)
    observers = Observers([served.page, Listener()])
    os.kill(served.page.pid, signal.SIGKILL)
    index = 0
    until_s = time.monotonic() + SOON_S
    while not said and time.monotonic() < until_s:
        observers.on_tick(make_tick(index))
        index += 1
        time.sleep(0.01)
    assert said == [
        "page failed and is off for the rest of the run: its server has ended; the run goes on without the page"
    ]
    observers.close()


def test_a_server_that_takes_nothing_holds_nobody_up(served: Served, monkeypatch: pytest.MonkeyPatch):
    """It is stopped: the pipe is full after some pictures, and the rest is forgotten."""
    monkeypatch.setattr(link, "LAST_S", 0.2)
    os.kill(served.page.pid, signal.SIGSTOP)
    served.page.begin(TITLE, LIMITS)
    big = np.zeros((480, 640, 3), np.uint8)
    for index in range(60):
        served.page.on_tick(make_tick(index, pictures={"front": Frame(big, 0.0, index, None)}))
    waiting = served.page._link._pictures  # pyright: ignore[reportPrivateUsage]
    assert list(waiting) in ([], ["front"])
    served.page.finish(RESULT)  # and it is ended


def test_a_run_that_is_killed_leaves_a_page_that_says_so(tmp_path: Path):
    program = (
        "from shown_ticks import *\nfrom so101_robot.display.web.run_page import RunPage\nimport os, sys\n"
        "page = RunPage(('front',), lambda at: None, stay_s=30.0, port=0)\nprint(page.wait(), flush=True)\n"
        "page.begin(TITLE, LIMITS); page.on_tick(make_tick(0))\nsys.stdin.read()"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[2] / "support"), *sys.path])
    command = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert command.stdin is not None
    assert command.stdout is not None
    served = Served.__new__(Served)
    served.address = command.stdout.readline().strip()
    assert served.view(lambda view: view.get("joints"))
    command.kill()
    command.wait()
    command.stdin.close()
    command.stdout.close()
    assert served.view(lambda view: view.get("gone"))["headline"] == ["running", "good"]
    assert served.ask("action", {"kind": "seen"})[0] == 200


def test_a_port_that_is_taken_is_no_reason_not_to_run(served: Served):
    port = int(served.address.rstrip("/").rpartition(":")[2])
    other = RunPage(("front",), lambda address: None, stay_s=0.0, port=port)
    try:
        assert other.wait() != served.address
    finally:
        other.finish(RESULT)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    config = RunConfig(display="web")
    monkeypatch.setattr(watching, "WEB", watching.WEB._replace(packages=("starlette", "not_there")))
    with (
        pytest.raises(ConfigError, match=r"missing: not_there.*install .*\[web\]"),
        watching.page(config, ("front",)),
    ):
        pass


def test_what_is_no_number_is_null_and_faults_and_guard_have_their_tones():
    following = Following(TITLE)
    tick = make_tick(0)
    position = tick.state.position.copy()
    position[2] = np.nan
    state = tick.state._replace(position=position, errors=np.array([0, 0x20, 0, 0, 0, 0], np.uint8))
    speed = Verdict(position, (Intervention("speed", "gripper", 9.0, 5.0),), None)
    following.on_tick(
        replace(tick, state=state, verdict=speed, faults={"camera frozen: wrist": "the same picture"})
    )
    following.on_message(Message("x", Severity.ERROR))
    plain = as_plain(following.view(), None)
    json.dumps(plain, allow_nan=False)
    assert plain["joints"][2]["position"] is None
    assert plain["joints"][1]["error"] == "overload"
    assert plain["guard"] == ["changes this action: speed gripper; it changed 1 so far", "quiet"]
    table = Verdict(position, (Intervention("table", None, 9.0, 5.0), *speed.interventions), None)
    following.on_tick(replace(tick, verdict=table))
    assert as_plain(following.view(), None)["guard"] == [
        "changes this action: table, speed gripper; it changed 2 so far",
        "warn",
    ]
    assert plain["faults"] == [["camera frozen: wrist", "the same picture", "warn"]]
    assert plain["messages"][0][2] == "bad"


def test_before_the_first_tick_there_is_a_view_too():
    plain = as_plain(Following(TITLE).view(), LIMITS)
    assert (plain["joints"], plain["shares"], plain["maps"]) == ([], [], {})


def test_maps_show_what_is_more_than_even_on_one_scale_for_all_cameras():
    found = cells({"a": np.array([[0.5, np.nan]], np.float32), "b": np.array([[0.3], [0.0]], np.float32)})
    assert found["a"] == {"rows": 1, "columns": 2, "cells": [255, 0]}
    assert found["b"] == {"rows": 2, "columns": 1, "cells": [85, 0]}  # (.3 - .2) of (.5 - .2)
    nearly_even = cells({"a": np.array([[0.26, 0.25], [0.25, 0.24]], np.float32)})
    assert max(nearly_even["a"]["cells"]) <= 11
    assert cells({}) == {}


def test_a_loop_without_its_page_is_told_once_and_a_second_tick_raises(served: Served):
    served.page.begin(TITLE, LIMITS)
    os.kill(served.page.pid, signal.SIGKILL)

    def fails() -> bool:
        try:
            served.page.on_tick(make_tick(0))
        except RobotError:
            return True
        return False

    wait_for(fails)
