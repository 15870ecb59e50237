"""The dashboard: what it shows at 80 and 120 columns, that it never holds the loop up, its plain form."""

import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

import shown_ticks
from so101_robot.chunks.inference import Inference
from so101_robot.chunks.scheduler import Planned
from so101_robot.display.dashboard import Dashboard, choose_style
from so101_robot.display.following import notable
from so101_robot.display.style import BAD, GOOD, MESSAGE_STYLES, WARN, fault_style, headline
from so101_robot.display.view import Title, View, bar, export_svg, plain_line, render
from so101_robot.faults.fault import Mode, Symptom
from so101_robot.faults.supervisor import Supervisor
from so101_robot.guard.guard import Intervention, Verdict
from so101_robot.joints import JOINTS
from so101_robot.loop.tick import AttentionWarning, Tick
from so101_robot.message import Message, Severity
from so101_robot.state import ArmState

POSE = shown_ticks.POSE
TITLE = Title(
    "train/act · act, 11.2 M parameters", "mock arm, scene table", "front 96x96 · egl", "asynchronous"
)


SHARES = shown_ticks.SHARES._replace(state=0.614, vision=0.274, cameras={"front": 0.18, "wrist": 0.094})
HEALTH = shown_ticks.HEALTH._replace(load_percent=np.array([4.0, 31, 83, 12, 2, np.nan]))


def make_tick(index: int = 0, **changes: Any) -> Tick:
    """Without pictures, of a policy that looks at its joints."""
    time_s = index / 30
    answer = Inference(np.zeros((50, 6)), SHARES, index, time_s, 0.112) if index % 10 == 0 else None
    parts: dict[str, Any] = {
        "state": ArmState(time_s, POSE, np.ones(6, np.bool_), np.zeros(6, np.uint8), HEALTH),
        "planned": Planned(POSE, answer, "chunk", index % 10, 0, 0.1),
    }
    return shown_ticks.make_tick(index, pictures={}, **{**parts, **changes})


def drawn(view: View, width: int, height: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(render(view, width, height))
    return capture.get()


def after(ticks: int) -> Dashboard:
    dashboard = Dashboard(TITLE, live=False, stream=io.StringIO())
    for index in range(ticks):
        dashboard.on_tick(make_tick(index))
    return dashboard


@pytest.mark.parametrize("width", [80, 120])
def test_everything_is_there_and_fits(width: int) -> None:
    dashboard = after(31)
    dashboard.on_message(
        Message("the guard holds the arm: frame too old: wrist (0.533, allowed 0.5), and more than fits here")
    )
    text = drawn(dashboard.view(), width)
    dashboard.close()
    for word in (
        *JOINTS,
        "latent",
        "state",
        "front",
        "wrist",
        "61.4%",
        "30.0 Hz",
        "112 ms",
        "running",
        "frame too old",
    ):
        assert word in text
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert len(text.splitlines()) <= (26 if width == 80 else 20)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 30), (120, 24), (160, 50)])
def test_the_newest_messages_are_on_top_and_whole_and_all_of_it_fits(width: int, height: int) -> None:
    dashboard = after(31)
    for number in range(30):
        dashboard.on_message(Message(f"message {number}"))
    words = "the guard holds the arm: frame too old: wrist (0.533 s, allowed 0.5 s); a person has to look at the cable"
    dashboard.on_message(Message(words, Severity.ERROR))
    lines = drawn(dashboard.view(), width, height).splitlines()
    dashboard.close()
    assert len(lines) <= height - 1
    assert all(cell_len(line) <= width for line in lines)
    at = next(number for number, line in enumerate(lines) if "the guard holds" in line)
    below = " ".join(" ".join(lines[at:]).split())
    assert words in below
    assert below.index("look at the cable") < below.index("message 29") < below.index("message 28")
    for word in (*JOINTS, "latent", "state", "front", "wrist", "chunk"):
        assert any(word in line for line in lines), word


def test_in_simulated_time_no_rate_is_claimed_that_was_only_asked_for() -> None:
    dashboard = Dashboard(replace(TITLE, answers_s=0.1), live=False, stream=io.StringIO())
    for index in range(31):
        dashboard.on_tick(make_tick(index))
    text, line = drawn(dashboard.view(), 80), plain_line(dashboard.view())
    dashboard.close()
    assert "simulated time; answers take 100 ms by setting" in text
    assert "Hz" not in text + line
    assert "inference" not in line


def test_it_has_something_to_show_before_the_first_tick() -> None:
    text = drawn(View(TITLE), 80)
    assert "waiting for the first inference" in text
    assert "shoulder_pan" in text


def test_a_servo_that_complains_or_is_silent_is_named() -> None:
    answered = np.array([True, True, True, True, False, True])
    errors = np.array([0, 0, 0x20, 0, 0, 0], np.uint8)
    view = View(TITLE, phase="run", tick=make_tick(state=ArmState(0.0, POSE, answered, errors, None)))
    text = drawn(view, 80)
    assert "overload" in next(line for line in text.splitlines() if "elbow_flex" in line)
    assert "no answer" in next(line for line in text.splitlines() if "wrist_roll" in line)


FAULTS = {
    "warm: gripper": "gripper has 61 deg C",
    "camera stalled: front": "no new picture for 0.6 s",
    "camera frozen: wrist": "the same picture for 0.4 s",
    "servo silent: elbow_flex": "elbow_flex has not answered for 0.2 s, and more than there is room for on this line",
}


@pytest.mark.parametrize("width", [80, 120])
def test_the_mode_and_the_newest_faults_are_shown_and_still_fit(width: int) -> None:
    dashboard = after(31)
    dashboard.on_tick(make_tick(31, mode=Mode.HOLDING, faults=FAULTS))
    dashboard.on_message(Message("holding: elbow_flex has not answered for 0.2 s", Severity.ERROR))
    text = drawn(dashboard.view(), width)
    line = plain_line(dashboard.view())
    dashboard.close()
    lines = text.splitlines()
    assert "● holding" in lines[0]
    newest = [line.strip() for line in lines if "✖" in line]
    assert [line.split(":")[0] for line in newest] == [
        "✖  servo silent",
        "✖  camera frozen",
        "✖  camera stalled",
    ]
    assert "(and 1 more)" in newest[-1]
    assert "holding: elbow_flex" in lines[-1]  # below the faults
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) <= (26 if width == 80 else 20)
    assert "run | holding | warm: gripper | camera stalled: front" in line


def test_faults_are_red_while_the_arm_is_held_for_them_and_yellow_while_it_is_not() -> None:
    assert fault_style("servo silent: elbow_flex", Mode.HOLDING) == BAD
    assert fault_style("servo silent: elbow_flex", Mode.DEGRADED) == WARN
    assert fault_style("gripper overload: gripper", Mode.HOLDING) == WARN  # never what holds the arm
    assert headline("run", Mode.RUNNING) == ("running", GOOD)
    assert headline("run", Mode.HOLDING) == ("holding", BAD)
    assert headline("approach", Mode.DEGRADED) == ("degraded", WARN)
    assert headline("home", Mode.PARKING) == ("going home", WARN)


def test_what_the_supervisor_says_is_coloured_by_its_severity() -> None:
    supervisor = Supervisor()
    symptom = Symptom("camera frozen", "wrist", "the same picture")
    told = [
        MESSAGE_STYLES[message.severity]
        for time_s, symptoms in ((0.0, [symptom]), (0.4, [symptom]), (0.5, []))
        for message in supervisor.judge(time_s, symptoms).news
    ]
    assert told == [WARN, WARN, BAD, GOOD, GOOD]
    assert set(MESSAGE_STYLES) == set(Severity)


def test_a_policy_that_may_be_blind_is_told_as_a_hint_with_the_base_rate() -> None:
    dashboard = after(31)
    dashboard.on_tick(make_tick(31, blind=AttentionWarning(0.73, 0.05, 4.0)))
    text, line = drawn(dashboard.view(), 80), plain_line(dashboard.view())
    dashboard.on_tick(make_tick(32))
    assert "may be blind" not in drawn(dashboard.view(), 80)
    dashboard.close()
    assert "the policy may be blind: state 73% for 4 s (uniform 5%)" in text
    assert "may be blind for 4 s" in line


def test_what_a_fault_stands_for_is_not_told_twice() -> None:
    state = ArmState(0.0, POSE, np.ones(6, bool), np.array([0, 0, 0x20, 0, 0, 0], np.uint8), None)
    assert list(notable(make_tick(state=state, fault="lost"))) == ["fault", "elbow_flex 32"]
    assert notable(make_tick(state=state, fault="lost", faults={"overload: elbow_flex": "too much"})) == {}


def test_a_bar_is_as_long_as_its_share_and_marks_the_base_rate() -> None:
    assert bar(0.5, None, 10, "red").plain == "━━━━━─────"
    assert bar(0.55, 0.25, 10, "red").plain == "━━◆━━╸────"
    assert bar(0.1, 1.0, 10, "red").plain == "━────────◆"
    assert bar(2.0, None, 4, "red").plain == "━━━━"


def test_rate_jitter_and_counters_are_those_of_the_ticks() -> None:
    dashboard = after(31)
    dashboard.on_tick(make_tick(33, late_s=0.005))
    dashboard.on_tick(make_tick(34, planned=Planned(None, None, "hold", -1, -1, float("nan"))))
    dashboard.on_tick(make_tick(35, verdict=Verdict(None, (), "frame too old")))
    view = dashboard.view()
    dashboard.close()
    assert (view.missed, view.starved, view.held) == (2, 1, 1)
    assert view.rate_hz == pytest.approx(33 / (35 / 30), rel=0.01)
    assert view.busy_ms == 4.0


def test_what_lasts_is_told_once() -> None:
    speed = Verdict(POSE, (Intervention("speed", "gripper", 9.0, 5.0),), None)
    dashboard = after(2)
    for index in range(2, 10):
        dashboard.on_tick(make_tick(index, verdict=speed))
    dashboard.close()
    assert [message.text for _, message in dashboard.view().messages] == [
        "guard: speed of gripper, 9.0 -> 5.0"
    ]
    assert {message.severity for message in notable(make_tick(verdict=speed)).values()} == {Severity.INFO}
    table = Verdict(POSE, (Intervention("table", None, 9.0, 5.0),), None)
    assert {message.severity for message in notable(make_tick(verdict=table)).values()} == {Severity.WARNING}
    assert notable(make_tick(fault="lost"))["fault"] == Message("lost", Severity.WARNING)


def test_without_a_terminal_there_are_plain_lines() -> None:
    stream = io.StringIO()
    dashboard = Dashboard(TITLE, live=False, stream=stream)
    dashboard.on_message(Message("going home"))
    dashboard.on_tick(make_tick(0))
    dashboard.close()
    lines = stream.getvalue().splitlines()
    assert "going home" in lines[0]
    assert "state 61%" in lines[-1]
    assert "\x1b" not in stream.getvalue()
    assert choose_style("auto", stream) == "plain"
    assert choose_style("live", stream) == "live"


def test_a_terminal_that_takes_nothing_never_holds_the_loop_up() -> None:
    blocked = threading.Event()
    gave_up: list[bool] = []

    class Stopped(io.StringIO):
        def write(self, text: str) -> int:
            if not blocked.wait(60):
                gave_up.append(True)
            return super().write(text)

    dashboard = Dashboard(TITLE, live=True, stream=Stopped())
    for index in range(200):
        dashboard.on_tick(make_tick(index))
    assert not gave_up  # all 200 while the first write hung
    blocked.set()
    dashboard.close()


def test_a_terminal_that_is_gone_is_raised_in_the_loops_thread() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("gone")

    dashboard = Dashboard(TITLE, live=False, stream=Gone())
    dashboard.on_tick(make_tick(0))
    dashboard._thread.join(timeout=5)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(BrokenPipeError):
        dashboard.on_tick(make_tick(1))


def test_a_live_dashboard_ends_with_its_last_picture() -> None:
    stream = io.StringIO()
    dashboard = Dashboard(TITLE, live=True, stream=stream)
    for index in range(12):
        dashboard.on_tick(make_tick(index))
    dashboard.on_message(Message("the last word"))
    dashboard.close()
    assert "the last word" in stream.getvalue()


def test_the_last_picture_before_the_way_home_is_kept(tmp_path: Path) -> None:
    dashboard = Dashboard(TITLE, live=False, stream=io.StringIO(), picture=tmp_path / "last.svg")
    for index in range(12):
        dashboard.on_tick(make_tick(index))
    dashboard.on_tick(make_tick(12, phase="home", planned=None))
    dashboard.close()
    assert "running" in (tmp_path / "last.svg").read_text()


def test_plain_line_says_what_is_off() -> None:
    view = View(TITLE, elapsed_s=3.0, phase="run", starved=2, missed=1)
    assert plain_line(view) == "    3.0 s | run | 2 starved | 1 missed"


def test_the_picture_for_a_readme_asks_for_nothing_from_the_network(tmp_path: Path) -> None:
    dashboard = after(31)
    export_svg(dashboard.view(), tmp_path / "dashboard.svg")
    dashboard.close()
    svg = (tmp_path / "dashboard.svg").read_text()
    assert "where" in svg
    assert "@font-face" not in svg
    assert "url(http" not in svg
