"""Rerun's file, read back: everything on one time line, and the attention over the picture that it belongs to."""

import contextlib
import io
import socket
import subprocess
import sys
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.inference import Inference
from so101_robot.chunks.scheduler import Planned
from so101_robot.commands.compose import RERUN, make_display, side_observers
from so101_robot.commands.run_config import RunConfig
from so101_robot.display import rerun
from so101_robot.display.attention_pictures import coloured
from so101_robot.display.rerun import RerunDisplay
from so101_robot.errors import ConfigError
from so101_robot.faults.fault import Mode
from so101_robot.guard.guard import Intervention, Verdict
from so101_robot.joints import JOINTS
from so101_robot.loop.tick import Tick
from so101_robot.message import Message, Severity
from so101_robot.state import Frame

CAMERAS = {"front": (48, 64), "wrist": (64, 32)}
FPS = 10
BEGIN_S = 5.0


class State(NamedTuple):
    time_s: float
    position: NDArray[np.float64]
    answered: NDArray[np.bool_]
    errors: NDArray[np.uint8]
    health: Any


class Health(NamedTuple):
    load_percent: NDArray[np.float64]
    voltage_v: NDArray[np.float64]
    temperature_c: NDArray[np.float64]
    current_ma: NDArray[np.float64]


class Shares(NamedTuple):
    latent: float
    state: float
    vision: float
    cameras: dict[str, float]
    entropy: float
    uniform: dict[str, float]


SHARES: Any = Shares(0.1, 0.6, 0.3, {"front": 0.2, "wrist": 0.1}, 0.8, {"state": 0.05})
MAPS = {
    "front": np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.2]], np.float32),
    "wrist": np.full((2, 1), 0.05, np.float32),
}
HEALTH_NOW = Health(*(np.arange(6.0) + 10 * k for k in range(4)))


def make_tick(index: int, **changes: Any) -> Tick:
    time_s = BEGIN_S + index / FPS
    pose = np.arange(6.0) + 10 * index
    frames = {
        name: Frame(np.full((*size, 3), 20 * index, np.uint8), time_s, index // 2, None)
        for name, size in CAMERAS.items()
    }
    parts: dict[str, Any] = {
        "index": index,
        "phase": "run",
        "time_s": time_s,
        "unix_s": 0.0,
        "late_s": 0.0,
        "state": State(time_s, pose, np.ones(6, bool), np.zeros(6, np.uint8), HEALTH_NOW),
        "frames": frames,
        "planned": Planned(pose, None, "chunk", index, 0, 0.1),
        "asked": pose + 2,
        "verdict": Verdict(pose + 1, (), None),
        "sent": pose + 1,
        "goal": pose + 1,
        "stages_ms": {},
        "fault": None,
    }
    return Tick(**{**parts, **changes})


def answered(index: int, observed: int, maps: Any = MAPS) -> Planned:
    inference = Inference(np.zeros((5, 6)), SHARES, observed, BEGIN_S + observed / FPS, 0.2, 0.1, maps)
    return Planned(np.zeros(6), inference, "chunk", index, 0, 0.1)


class Read:
    """A file's contents: entity -> [(seconds, component -> value)]."""

    def __init__(self, file: Path) -> None:
        from rerun.experimental import RrdReader

        self.rows: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        for chunk in RrdReader(file).stream():
            if "run" not in chunk.timeline_names:
                continue
            columns = chunk.to_record_batch().to_pydict()
            times = columns.pop("run")
            for number, time in enumerate(times):
                values = {
                    name.rpartition(":")[2]: value[number]
                    for name, value in columns.items()
                    if value[number] is not None
                }
                self.rows.setdefault(chunk.entity_path.lstrip("/"), []).append((time.total_seconds(), values))
        for rows in self.rows.values():
            rows.sort(key=lambda row: row[0])

    def curve(self, path: str) -> list[tuple[float, float]]:
        return [(time_s, values["scalars"][0]) for time_s, values in self.rows[path]]


def rerun_module() -> Any:
    """The display's module, which cannot be imported where Rerun is not installed."""
    pytest.importorskip("rerun")
    return RERUN.load()


@pytest.fixture
def written(tmp_path: Path) -> Read:
    display = rerun_module().RerunDisplay(tuple(CAMERAS), tmp_path / "run.rrd")
    display.on_tick(make_tick(0))
    display.on_tick(make_tick(1))
    display.on_tick(make_tick(2, planned=answered(2, observed=0)))
    display.on_message(Message("camera frozen: front (the same picture)", Severity.WARNING))
    display.on_tick(
        make_tick(
            3,
            mode=Mode.HOLDING,
            faults={"camera frozen: front": "the same picture", "port gone": "no such file"},
            sent=None,
            asked=None,
            verdict=Verdict(None, (Intervention("speed", "gripper", 3.0, 2.0),), "frozen"),
        )
    )
    display.on_tick(make_tick(4))
    display.on_message(Message("going home"))
    display.on_tick(make_tick(5, phase="home", planned=None, frames={}, mode=Mode.PARKING))
    display.on_tick(make_tick(6, phase="home", planned=None, frames={}, mode=Mode.PARKING))
    display.close()
    return Read(tmp_path / "run.rrd")


def seconds(*ticks: int) -> list[float]:
    return [tick / FPS for tick in ticks]


def test_joints_stand_three_times_at_their_tick(written: Read) -> None:
    for number, joint in enumerate(JOINTS):
        measured = written.curve(f"joints/{joint}/measured")
        assert measured == [(pytest.approx(i / FPS), number + 10 * i) for i in range(7)]
        sent, commanded = (written.curve(f"joints/{joint}/{what}") for what in ("sent", "commanded"))
        assert [value - number for _, value in sent] == [1, 11, 21, 41, 51, 61]
        assert [value - number for _, value in commanded] == [2, 12, 22, 42, 52, 62]


def test_health_is_that_of_every_servo(written: Read) -> None:
    for what, field in rerun_module().HEALTH.items():
        for number, joint in enumerate(JOINTS):
            (value,) = {value for _, value in written.curve(f"health/{what}/{joint}")}
            assert value == getattr(HEALTH_NOW, field)[number]


def test_pictures_are_stored_once_each(written: Read) -> None:
    rows = written.rows["cameras/front"]
    assert [time_s for time_s, _ in rows] == pytest.approx(seconds(0, 2, 4))
    jpeg = bytes(rows[1][1]["blob"][0])
    picture = np.asarray(Image.open(io.BytesIO(jpeg)))
    assert picture.shape == (48, 64, 3)
    assert abs(int(picture.mean()) - 40) <= 1


def test_the_map_lies_half_transparent_over_the_picture_that_it_was_made_from(written: Read) -> None:
    shown, cleared = written.rows["cameras/front/attention"]
    assert shown[0] == pytest.approx(0.0)  # observed then, though the answer came 0.2 s later
    assert shown[1]["opacity"] == [0.5]
    assert shown[1]["draw_order"] == [1.0]  # above the picture, which has none
    picture = np.frombuffer(bytes(shown[1]["buffer"][0]), np.uint8).reshape(48, 64, 3)
    assert picture[-1, -1].sum() > 400  # yellow in the corner that gets it all
    assert picture[0, 0].sum() < 20
    assert cleared[0] == pytest.approx(0.5)  # the way home needs no eyes
    assert "is_recursive" in cleared[1]
    wrist = np.frombuffer(bytes(written.rows["cameras/wrist/attention"][0][1]["buffer"][0]), np.uint8)
    assert wrist.reshape(64, 32, 3).std(axis=(0, 1)).max() == 0


def test_shares_stand_beside_what_uniform_attention_would_be(written: Read) -> None:
    found = {
        name: written.curve(f"shares/{name}") for name in ("latent", "state", "vision", "front", "wrist")
    }
    assert {name: curve[0][1] for name, curve in found.items()} == {
        "latent": 0.1,
        "state": 0.6,
        "vision": 0.3,
        "front": 0.2,
        "wrist": 0.1,
    }
    assert written.curve("shares/state\\ if\\ uniform") == [(pytest.approx(0.0), 0.05)]


def test_mode_and_faults_are_curves_and_words_have_their_severity(written: Read) -> None:
    assert [value for _, value in written.curve("mode")] == [0, 0, 0, 2, 0, 3, 3]
    frozen = written.curve("faults/camera\\ frozen/front")
    assert frozen == [(pytest.approx(0.3), 1.0), (pytest.approx(0.4), 0.0)]
    assert written.curve("faults/port\\ gone") == frozen
    said = [(round(t, 3), v["text"][0], v["level"][0]) for t, v in written.rows["messages"]]
    assert said == [
        (0.2, "camera frozen: front (the same picture)", "WARN"),
        (0.3, "guard: speed gripper 3.00 -> 2.00", "INFO"),
        (0.4, "going home", "INFO"),
    ]


def test_all_cameras_share_one_scale_and_a_camera_of_unknown_size_is_left_out() -> None:
    maps = {
        "a": np.array([[0.4]], np.float32),
        "b": np.array([[0.1]], np.float32),
        "c": np.ones((2, 2), np.float32),
    }
    pictures = coloured({"a": maps["a"], "b": maps["b"]}, {"a": (4, 6), "b": (2, 2)})
    assert {name: picture.shape for name, picture in pictures.items()} == {"a": (4, 6, 3), "b": (2, 2, 3)}
    assert pictures["a"].sum() / 24 > 2 * pictures["b"].sum() / 4
    assert list(coloured(maps, {"a": (4, 6)})) == ["a"]
    nothing = coloured({"a": np.zeros((2, 2), np.float32)}, {"a": (4, 4)})["a"]
    assert nothing.max() < 10


def test_without_a_screen_the_message_says_what_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ConfigError, match=r"no(ne| screen).*--display=file"):
        RerunDisplay(("front",))


STAND_IN = """
import socket, sys
at = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with socket.create_server((at["--bind"], int(at["--port"]))) as server:
    server.accept()
"""
"""A viewer's command line, without a window."""


@pytest.mark.parametrize(
    ("asked", "own"), [((), "127.0.0.1"), (("0.0.0.0",), "127.0.0.1"), (("127.0.0.2",), "127.0.0.2")]
)
def test_the_viewer_listens_on_the_loopback_unless_another_address_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], own: str
) -> None:
    commands: list[list[str]] = []
    popen = subprocess.Popen

    def start(command: list[str], **more: Any) -> Any:
        commands.append(command)
        return popen([sys.executable, "-c", STAND_IN, *command[3:]], **more)

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(rerun.subprocess, "Popen", start)
    process, host, port = rerun.open_viewer(*asked)
    process.wait(timeout=20)
    assert host == own
    (command,) = commands
    assert command[:3] == [sys.executable, "-m", "rerun"]
    assert command[command.index("--bind") + 1] == (asked or ("127.0.0.1",))[0]
    assert command[command.index("--port") + 1] == str(port)


def test_an_address_that_this_machine_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(ConfigError, match=r"--display_host=192.0.2.1: .*expected an address of this machine"):
        rerun.open_viewer("192.0.2.1")


@pytest.mark.parametrize("wrong", ["", "all", "localhost", "127.0.0.1 --web-viewer", "1.2.3"])
def test_what_is_no_address_is_refused_by_the_flags_name(wrong: str) -> None:
    with pytest.raises(ConfigError, match=f"--display_host={wrong}: expected"):
        RunConfig(robot=SO101Config(port="mock"), display_host=wrong)


def test_the_address_that_was_asked_for_reaches_the_viewer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(rerun, "open_viewer", lambda host: asked.append(host) or _refuse())
    config = RunConfig(robot=SO101Config(port="mock"), display="viewer", display_host="10.0.0.1")
    with pytest.raises(ConfigError, match="asked"):
        side_observers(config, tmp_path, {"front": (96, 96)})
    assert asked == ["10.0.0.1"]


def _refuse() -> Any:
    raise ConfigError("asked")


def test_a_viewer_that_does_not_open_is_an_error_and_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(
        rerun.subprocess, "Popen", lambda command, **more: popen([sys.executable, "-c", "exit(1)"], **more)
    )
    with pytest.raises(ConfigError, match="did not open"):
        rerun.open_viewer()


def test_the_rest_of_a_run_is_given_up_when_the_viewer_does_not_take_it(tmp_path: Path) -> None:
    display = RerunDisplay(("front",), tmp_path / "run.rrd")
    asked: list[float] = []
    flush = display._stream.flush  # pyright: ignore[reportPrivateUsage]

    def bounded(*, timeout_sec: float = 1e38) -> None:
        asked.append(timeout_sec)
        flush(timeout_sec=timeout_sec)

    display._stream.flush = bounded  # pyright: ignore[reportPrivateUsage]
    display.close()
    assert asked == [rerun.FLUSH_S]
    assert rerun.FLUSH_S <= 10


def test_a_viewer_that_hangs_is_killed_at_the_end_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection, and then nothing: Rerun's own time-out does not end the wait."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    viewer = subprocess.Popen([sys.executable, "-c", DEAF, str(port)])
    monkeypatch.setattr(rerun, "open_viewer", lambda host: rerun.Viewer(viewer, "127.0.0.1", port))
    monkeypatch.setattr(rerun, "FLUSH_S", 0.5)
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        sleep(0.05)
    display = RerunDisplay(("front",))
    with contextlib.suppress(RuntimeError):
        display.close()
    viewer.kill()  # where the flush gave up by itself
    viewer.wait(timeout=20)


DEAF = """
import socket, sys
connections = []
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        connections.append(server.accept())
"""


def test_a_run_closes_its_viewer_with_patience_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerun, "RerunDisplay", lambda cameras, file, host: SimpleNamespace(name="Rerun"))
    assert 0 < make_display(("front",), None)._patience_s < 30  # pyright: ignore


def test_without_rerun_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match=r"--display needs Rerun, .*install .*\[view\]"):
        make_display(("front",), None)
