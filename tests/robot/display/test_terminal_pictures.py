"""The cameras in the terminal: which is asked, has them where there is room, or shows letters alone."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import termios

import numpy as np
import pytest
from rich.console import Console

import shown_ticks
from so101_robot.display import terminal_pictures
from so101_robot.display.dashboard import Dashboard, can_be_asked
from so101_robot.display.terminal_pictures import HEIGHT_PX, TerminalPictures, side_by_side
from so101_robot.display.view import Title

TITLE = Title("policy", "mock arm", "front 96x96", "asynchronous")
RED, BLUE = np.full((96, 96, 3), (200, 0, 0), np.uint8), np.full((120, 160, 3), (0, 0, 200), np.uint8)


def test_cameras_stand_side_by_side_at_one_height_and_keep_their_shape():
    joined = side_by_side({"front": RED, "wrist": BLUE})
    assert joined.shape[0] == HEIGHT_PX
    assert (joined[0, :HEIGHT_PX] == (200, 0, 0)).all()
    assert (joined[0, -HEIGHT_PX * 4 // 3 :] == (0, 0, 200)).all()
    assert (joined[0, HEIGHT_PX] == 0).all()


@pytest.mark.parametrize(("height", "rows"), [(29, 0), (35, 0), (36, 6), (40, 10), (80, 14)])
def test_a_picture_gets_the_rows_that_are_left_and_no_other(height: int, rows: int):
    asked: list[int] = []

    class Pictures(TerminalPictures):
        def __init__(self) -> None:
            pass

        def of(self, frames: object, rows: int) -> str:  # type: ignore[override]
            assert frames
            asked.append(rows)
            return "\n".join(["PICTURE"] * rows)

    dashboard = Dashboard(TITLE, live=True, stream=io.StringIO(), pictures=Pictures())
    for tick in (shown_ticks.make_tick(0), shown_ticks.make_tick(1, pictures={})):  # then the last ones stay
        dashboard._following.on_tick(tick)
        console = Console(file=io.StringIO(), width=120, height=height)
        with console.capture() as capture:
            console.print(dashboard._drawn(120, height))
        lines = capture.get().splitlines()
        assert sum("PICTURE" in line for line in lines) == rows
        assert len(lines) <= height
    assert asked == ([rows] * 2 if rows else [])


ASKS = """
import sys
from so101_robot.display.dashboard import can_be_asked
if can_be_asked(sys.stdout):
    from so101_robot.display.terminal_pictures import terminal_pictures
    pictures = terminal_pictures()
    print("FOUND", None if pictures is None else pictures._kind.__module__)
else:
    print("FOUND not asked")
"""


@pytest.mark.parametrize(
    ("answer", "size", "ssh", "found"),
    [
        (b"\x1b[?62;4;22c", (50, 160), {}, "textual_image.renderable.sixel"),
        (b"\x1b[?62;22c", (50, 160), {}, "None"),
        (b"", (50, 160), {}, "None"),
        (b"", (0, 0), {}, "not asked"),
        (b"", (50, 160), {"SSH_CONNECTION": "there"}, "not asked"),
    ],
    ids=["shows pictures", "shows letters alone", "does not answer", "has no size", "is far away"],
)
def test_the_terminal_itself_is_asked(answer: bytes, size: tuple[int, int], ssh: dict[str, str], found: str):
    controller, terminal = pty.openpty()
    if any(size):
        termios.tcsetwinsize(terminal, size)
    environment = {key: value for key, value in os.environ.items() if key != "SSH_CONNECTION"} | ssh
    command = [sys.executable, "-c", ASKS]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    said = b""
    with contextlib.suppress(OSError):  # it is over
        while part := os.read(controller, 4096):
            said += part
            if answer and b"\x1b[c" in said:
                os.write(controller, answer)
                answer = b""
    process.wait(30)
    os.close(controller)
    assert said.decode().rpartition("FOUND")[2].strip() == found, said
    assert (b"\x1b[c" in said) == (found != "not asked")


def test_where_there_is_no_terminal_none_is_asked():
    assert not can_be_asked(io.StringIO())
    assert not can_be_asked(sys.stdout)  # pytest's


def test_a_picture_is_drawn_in_the_terminals_own_way():
    console = Console(file=io.StringIO(), width=120, height=40, force_terminal=True)
    picture = TerminalPictures(terminal_pictures.renderable.SixelImage).of({"front": RED}, 6)
    assert picture is not None
    console.print(picture)
    assert isinstance(console.file, io.StringIO)
    assert "\x1bP" in console.file.getvalue()
    assert console.file.getvalue().count("\n") == 6
    assert TerminalPictures(terminal_pictures.renderable.SixelImage).of({}, 6) is None
