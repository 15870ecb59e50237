"""The console: who is let in, what it knows, that it never holds anybody up, and its page in a browser."""

import dataclasses
import json
import os
import re
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from so101_eval.palletizing.score.record import MILESTONES
from so101_eval.real_study.console.keys import ESCAPE, Form, press
from so101_eval.real_study.console.operators import Several
from so101_eval.real_study.console.remote import PAGE, ConsoleOperator
from so101_eval.real_study.console.terminal import TerminalOperator, in_words
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.view import Action, Line, Target, View
from so101_robot.state import Frame

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOON_S = 30.0

SESSION = View(
    "session",
    text="All is well: start.",
    operator="anna",
    findings=(Line("ok", "supply: 12.1 V"),),
    ready=True,
)
RESET = View(
    "reset", text="Put each box on its outline.", operator="anna", block=3, blocks=20, trial=1, trials=2,
    targets=(Target(0, ((0.4, 0.4), (0.5, 0.4), (0.5, 0.5), (0.4, 0.5)), False, "box 1: 4 mm left, 6 deg"),
             Target(1, (), None, "box 2: 180 mm ahead, 40 mm left, turned 12 deg")),
    ready=True, can_undo=True,
)  # fmt: skip
TRIAL = View(
    "trial", operator="anna", block=3, blocks=20, trial=1, trials=2, code="QXTR", limit_s=30.0, running=True
)
RIG = View(
    "rig",
    text="Did the rig fail?",
    code="QXTR",
    reasons=("cable", "camera"),
    trials=2,
    trial=1,
    block=3,
    blocks=20,
)
OUTCOME = View("outcome", text="What became of the boxes?", code="QXTR", suggested="time", boxes=2, stages=MILESTONES,
               trials=2, trial=1, block=3, blocks=20)  # fmt: skip
BLOCK = View("block", question="Which trial was the new policy?", trials=2, block=3, blocks=20)


@pytest.fixture(scope="module")
def console() -> Generator[ConsoleOperator]:
    operator = ConsoleOperator(0)
    yield operator
    operator.close()


def ask(console: ConsoleOperator, path: str, data: Any = None, **headers: str) -> tuple[int, bytes]:
    body = None if data is None else json.dumps(data).encode()
    given = {
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    request = urllib.request.Request(f"http://127.0.0.1:{console.port}{path}", body, given)
    try:
        with urllib.request.urlopen(request, timeout=SOON_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read()


def wait_for[T](found: Callable[[], T | None]) -> T:
    until = time.monotonic() + SOON_S
    while (value := found()) is None:
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)
    return value


def test_an_action_arrives_and_nonsense_is_refused(console: ConsoleOperator):
    assert ask(console, "/action", {"kind": "operator", "data": {"name": "anna"}})[0] == 200
    assert wait_for(lambda: console.next(0.1)) == Action("operator", {"name": "anna"})
    assert ask(console, "/action", ["x"])[0] == 400
    assert ask(console, "/action", {"data": {}})[0] == 400
    assert ask(console, "/action", {"kind": "stop"}, Content_Type="text/plain")[0] == 400
    ask(console, "/action", {"kind": "read the key"})
    assert console.next(0.3) is None


def test_a_stop_goes_to_the_trial_at_once_and_nothing_of_a_trial_is_left_for_the_next_screen(
    console: ConsoleOperator,
):
    control = Control()
    console.drives(control)
    ask(console, "/action", {"kind": "start"})
    ask(console, "/action", {"kind": "hold"})
    ask(console, "/action", {"kind": "stop"})
    wait_for(lambda: control.why)
    console.drives(None)
    assert (control.why, control.held) == ("stopped", True)
    assert console.next(0.3) is None


def test_only_this_machine_and_only_its_own_page(console: ConsoleOperator):
    assert ask(console, "/")[0] == 200
    assert ask(console, "/", Host="evil.example")[0] == 403
    assert ask(console, "/action", {"kind": "start"}, Origin="http://evil.example")[0] == 403
    assert console.next(0.2) is None
    listening = Path(f"/proc/{console.pid}/net/tcp").read_text()
    assert f"0100007F:{console.port:04X}" in listening
    assert f"00000000:{console.port:04X}" not in listening


def test_the_network_needs_the_token():
    operator = ConsoleOperator(0, lan=True)
    try:
        token = operator.address.partition("token=")[2]
        assert len(token) > 15
        assert ask(operator, "/")[0] == 403
        assert ask(operator, "/?token=wrong")[0] == 403
        assert ask(operator, f"/?token={token}")[0] == 200
        assert ask(operator, "/action", {"kind": "start"})[0] == 403
        assert ask(operator, "/action", {"kind": "start"}, Cookie=f"console={token}")[0] == 200
    finally:
        operator.close()


def test_the_process_is_told_no_folder_and_no_key(console: ConsoleOperator):
    proc = Path(f"/proc/{console.pid}")
    names = {entry.partition(b"=")[0] for entry in (proc / "environ").read_bytes().split(b"\0") if entry}
    assert names <= {b"PATH", b"PYTHONPATH", b"LC_CTYPE"}
    assert os.readlink(proc / "cwd") == "/"
    assert b"studies" not in (proc / "cmdline").read_bytes()


def test_views_and_pictures_reach_the_page(console: ConsoleOperator):
    console.show(TRIAL)
    console.pictures({"front": Frame(np.full((48, 64, 3), 200, np.uint8), 0.0, 1, None)})
    url = f"http://127.0.0.1:{console.port}"
    with urllib.request.urlopen(f"{url}/views", timeout=SOON_S) as stream:
        while b"QXTR" not in (line := stream.readline()):
            assert line != b"", "the stream ended"
    with urllib.request.urlopen(f"{url}/live/front", timeout=SOON_S) as stream:
        assert stream.readline().strip() == b"--picture"
        assert b"\xff\xd8" in stream.read(60)


def test_a_console_that_dies_takes_nobody_with_it():
    operator = ConsoleOperator(0)
    os.kill(operator.pid, signal.SIGKILL)
    both = Several([operator, TerminalOperator()])
    for _ in range(20):
        both.show(TRIAL)
        both.pictures({"front": Frame(np.zeros((48, 64, 3), np.uint8), 0.0, 1, None)})
        time.sleep(0.01)
    assert both.next(0.1) is None
    both.close()


@pytest.mark.parametrize(
    ("view", "keys", "action"),
    [
        (SESSION, " ", Action("start")),
        (View("session"), "anna\r", Action("operator", {"name": "anna"})),
        (RESET, "u", Action("undo")),
        (TRIAL, " ", Action("stop")),
        (TRIAL, "d", Action("danger")),
        (TRIAL, ESCAPE, Action("hold")),
        (TRIAL, "t", Action("take")),
        (TRIAL, "b", Action("give")),
        (TRIAL, "q", None),
        (RIG, "\r", Action("rig", {"reason": None})),
        (RIG, "2", Action("rig", {"reason": "camera"})),
        (RIG, "9", None),
        (OUTCOME, " ", None),
        (
            OUTCOME,
            "34f",
            Action("outcome", {"stages": [3, 4], "success": False, "why": "time", "note": ""}),
        ),
        (
            OUTCOME,
            "nslip\rs",
            Action("outcome", {"stages": [7, 7], "success": True, "why": "time", "note": "slip"}),
        ),
        (BLOCK, "?", Action("block", {"guess": "?", "preference": ""})),
        (BLOCK, "3", None),
    ],
)
def test_keys(view: View, keys: str, action: Action | None):
    form, last = Form(), None
    for key in keys:
        last = press(key, view, form)
    assert last == action


def test_the_page_has_the_keys_of_the_terminal():
    page = PAGE.read_text()
    table = re.search(r"const KEYS = \{.*?\n\};", page, re.DOTALL)
    assert table is not None
    views = {"session": SESSION, "reset": RESET, "trial": TRIAL}
    for screen, row in re.findall(r"(\w+): \{ (.*?) \}", table[0]):
        for key, kind in re.findall(r'"?([^",: ]+|(?<=") (?="))"?: "(\w+)"', row):
            action = press({"Escape": ESCAPE}.get(key, key), views[screen], Form())
            assert action is not None, (screen, key)
            assert action.kind == kind


def test_every_screen_has_words():
    for view in (
        SESSION,
        RESET,
        View("countdown", text="Hands off."),
        TRIAL,
        RIG,
        OUTCOME,
        BLOCK,
        View("over", text="Over"),
    ):
        assert in_words(view).strip()


def test_a_page_that_is_open_at_the_end_is_no_error_in_the_terminal(capfd: pytest.CaptureFixture[str]):
    operator = ConsoleOperator(0)
    operator.show(TRIAL)
    operator.pictures({"front": Frame(np.zeros((8, 8, 3), np.uint8), 0.0, 1, None)})
    streams = [
        urllib.request.urlopen(f"http://127.0.0.1:{operator.port}{path}", timeout=SOON_S)
        for path in ("/views", "/live/front")
    ]
    try:
        assert all(stream.read1(20) for stream in streams)
        operator.close()
        for stream in streams:
            while stream.read1():  # to its proper end: a stream that was cut off raises
                pass
    finally:
        for stream in streams:
            stream.close()
    assert capfd.readouterr().err == ""


@pytest.fixture(scope="module")
def browser() -> Generator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.mark.timeout(300)
def test_a_trial_by_keys_in_a_browser(console: ConsoleOperator, browser: Any):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    console.drives(None)
    console.show(RESET)
    page.goto(console.address, wait_until="domcontentloaded")
    page.wait_for_selector("body.reset")
    assert "4 mm left" in page.inner_text("#targets")
    assert page.locator("polygon").count() == 1
    page.keyboard.press("Space")
    assert wait_for(lambda: console.next(0.1)) == Action("start")
    assert page.locator("#override").is_hidden()
    console.show(dataclasses.replace(RESET, ready=False, can_override=True))
    page.wait_for_selector("#override", state="visible")
    page.keyboard.press("x")
    assert wait_for(lambda: console.next(0.1)) == Action("override")
    control = Control()
    console.drives(control)
    console.show(TRIAL)
    page.wait_for_selector("body.trial")
    assert page.inner_text("#code") == "QXTR"
    page.keyboard.press("Space")
    wait_for(lambda: control.why)
    console.drives(None)
    console.show(RIG)
    page.wait_for_selector("body.rig")
    page.keyboard.press("Space")  # dead
    page.keyboard.press("2")
    assert wait_for(lambda: console.next(0.1)) == Action("rig", {"reason": "camera"})
    console.show(OUTCOME)
    page.wait_for_selector("body.outcome")
    assert "How far did box 2 get?" in page.inner_text("#boxes")
    page.keyboard.press("Space")  # dead
    for key in "34f":
        page.keyboard.press(key)
    found = wait_for(lambda: console.next(0.1))
    assert found.kind == "outcome"
    assert found.data["stages"] == [3, 4]
    console.show(BLOCK)
    page.wait_for_selector("body.block")
    page.get_by_role("button", name="don't know").click()
    assert wait_for(lambda: console.next(0.1)).data["guess"] == "?"
    assert said == []
    page.close()
