"""`so101-run` on the mock arm says what became of the boxes, on the terminal and in its summary."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from so101_robot.cli import RUN
from so101_robot.commands import compose, watching
from so101_robot.commands.run import with_defaults
from so101_robot.display import terminal_pictures
from so101_robot.display.view import Title
from so101_robot.display.web.run_page import Result, RunPage
from so101_robot.runs.log import RunLog, read_ticks

FLAGS = ("--duration_s=0.5", "--robot.mock.realtime_factor=0", "--dashboard=off")


def test_a_run_that_had_no_time_says_that_the_box_was_not_placed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    # a terminal that shows pictures gets the cameras'
    monkeypatch.setattr(compose, "can_be_asked", lambda stream: True)
    monkeypatch.setattr(compose, "choose_style", lambda style, stream: "live")
    monkeypatch.setattr(terminal_pictures.renderable, "Image", terminal_pictures.renderable.SixelImage)
    drawing: list[object] = []

    def silent(title: Title, *, pictures: object, **_: object) -> RunLog:
        drawing.append(pictures)
        return RunLog(tmp_path / "unused", {})

    monkeypatch.setattr(compose, "Dashboard", silent)
    assert RUN.main([*FLAGS, f"--output_dir={tmp_path / 'run'}"]) == 0
    said = capsys.readouterr()
    assert [type(pictures) for pictures in drawing] == [terminal_pictures.TerminalPictures]
    assert "box not placed: " in said.out
    task = json.loads((tmp_path / "run" / "summary.json").read_text())["task"]
    assert task["name"] == "palletize-1-small"
    assert task["success"] is False
    assert [box["good"] for box in task["boxes"]] == [False]
    # an ordinary run warns of nothing, keeps a film, and says what to type next
    assert said.err == ""
    assert json.loads((tmp_path / "run" / "preflight.json").read_text())["verdict"] == "ok"
    assert (tmp_path / "run" / "clip.mp4").stat().st_size > 1000
    after = said.out.partition("\nnext:\n")[2].splitlines()
    assert len(after) == 3
    assert f"so101-replay {tmp_path / 'run'}" in after[1]


def test_the_page_shows_what_became_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[Result] = []

    class Page(RunPage):
        def __init__(self, cameras: Sequence[str], on_ready: Callable[[str], None]) -> None:
            super().__init__(cameras, on_ready, stay_s=0.0, port=0)

        def finish(self, result: Result) -> None:
            told.append(result)
            super().finish(result)

    monkeypatch.setattr(watching, "RunPage", Page)
    out = tmp_path / "run"
    assert RUN.main([*FLAGS, "--display=web", f"--output_dir={out}"]) == 0
    assert RUN.main([*FLAGS, "--clip=false", f"--output_dir={tmp_path / 'unseen'}"]) == 0
    assert not (tmp_path / "unseen" / "clip.mp4").exists()
    seen, unseen = (
        [tick.get("sent") for tick in read_ticks(at / "ticks.jsonl")] for at in (out, tmp_path / "unseen")
    )
    assert seen == unseen  # to be watched changes nothing
    assert told[0].lines[0].startswith("box not placed: ")
    assert (told[0].good, told[0].film, len(told[0].next)) == (False, out / "clip.mp4", 3)
    assert RUN.main(["--display=web", "--fps=45", f"--output_dir={tmp_path / 'no'}"]) == 2
    assert told[-1] is watching.UNTOLD
    assert not (tmp_path / "no").exists()


def test_without_any_flag_the_page_is_shown_where_it_can_be(monkeypatch: pytest.MonkeyPatch):
    assert with_defaults({}).display == "web"
    assert with_defaults({"--duration_s": "3"}).display == "off"
    monkeypatch.setattr(watching, "WEB", watching.WEB._replace(packages=("not_there",)))
    assert with_defaults({}).display == "off"


def test_where_there_is_no_task_nothing_is_said_of_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    flags = (*FLAGS, "--robot.mock.scene=table", f"--output_dir={tmp_path / 'run'}")
    assert RUN.main(flags) == 0
    assert "placed" not in capsys.readouterr().out
    assert "task" not in json.loads((tmp_path / "run" / "summary.json").read_text())
