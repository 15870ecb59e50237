"""so101-data check: what it says, what it writes, and when it says no."""

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from so101_dataset import DATA, edit_json, edit_table, record, set_joint
from so101_eval.cli import DATA as COMMAND
from so101_eval.dataset_report.picks import closings, exact_picks, tip_m
from so101_policy.dataset_check.look import look

PATTERN = r"(https?:)?//(?!www\.w3\.org)"
"""An address that a page would fetch from; the namespace of SVG is none."""


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("dataset") / "small")


@pytest.fixture
def copy(valid: Path, tmp_path: Path) -> Path:
    return shutil.copytree(valid, tmp_path / "small")


def check(*arguments: object) -> int:
    return COMMAND.main(["check", *map(str, arguments)])


def test_a_valid_dataset_is_told_in_a_few_lines_and_nothing_is_written(
    valid: Path, capsys: pytest.CaptureFixture[str]
):
    before = sorted(valid.rglob("*"))
    assert check(valid) == 0
    said = capsys.readouterr().out
    assert "3 episodes, 36 frames, 0.1 minutes at 10 per second; joints in degrees" in said
    assert "Nothing is wrong" in said
    assert f"so101-train --dataset.repo_id=local/{valid.name} --dataset.root={valid}" in said
    assert sorted(valid.rglob("*")) == before


def test_what_is_wrong_is_exit_code_1_and_what_is_no_dataset_2(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    set_joint(copy, "action", {(14, 2): np.nan})
    page, data = tmp_path / "page.html", tmp_path / "report.json"
    assert check(copy, f"--html={page}", f"--json={data}") == 1
    said = capsys.readouterr().out
    assert re.search(
        r"stop +values, .*file-000\.parquet, episode 1, frame 2, action elbow_flex\.pos: nan", said
    )
    assert "1 thing is wrong" in page.read_text()
    assert json.loads(data.read_text())["verdict"] == "stop"
    (copy / DATA).write_bytes(b"")
    assert check(copy) == 1
    assert "it is empty" in capsys.readouterr().out
    for wrong, told in ((tmp_path / "none", "no dataset folder"), (tmp_path, "is not a LeRobotDataset")):
        assert check(wrong) == 2
        assert told in capsys.readouterr().err


def test_json_on_standard_output_is_nothing_but_json(copy: Path, capsys: pytest.CaptureFixture[str]):
    (copy / "meta/stats.json").unlink()
    assert check(copy, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["verdict"] == "warn"
    assert data["findings"][0]["check"] == "statistics"
    assert (data["fps"], data["frames"], data["unit"]) == (10, 36, "degrees")
    assert data["cameras_px"] == {"front": [32, 48], "wrist": [32, 48]}
    assert [row["episode"] for row in data["by_episode"]] == [0, 1, 2]
    assert data["by_episode"][0]["length"] == pytest.approx(1.2)
    assert len(data["cameras"]["front"]["brightness"]) == 3
    assert data["cameras"]["front"]["pairs"] == 18


def test_without_video_no_picture_is_decoded(
    valid: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def decode(*_: Any) -> Any:
        raise AssertionError("decoded")

    monkeypatch.setattr("so101_policy.dataset_check.pictures._in_video", decode)
    assert check(valid, "--no_video", "--json") == 0
    assert "cameras" not in json.loads(capsys.readouterr().out)


def test_a_picture_that_cannot_be_decoded_is_wrong(copy: Path, capsys: pytest.CaptureFixture[str]):
    path = copy / "videos/observation.images.front/chunk-000/file-000.mp4"
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start)
    path.write_bytes(content)
    assert check(copy) == 1
    said = capsys.readouterr().out
    assert "observation.images.front of episode 0" in said
    assert "cannot be decoded" in said


def test_the_page_needs_nothing_but_itself_and_shows_every_part(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_connection(*_: Any) -> Any:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", no_connection)
    page = tmp_path / "deep" / "page.html"
    assert check(copy, f"--html={page}") == 0
    text = page.read_text()
    sections = ("joints", "episodes", "pauses", "cameras", "starts")
    assert [section for section in sections if f'id="{section}"' not in text] == []
    assert not re.search(PATTERN, re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", text))
    assert "default-src 'none'" in text
    assert text.count("data:image/jpeg") == 4


def test_words_from_the_dataset_are_escaped_in_page_and_terminal(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    names = [f"<script>{k}" for k in range(6)]
    for key in ("action", "observation.state"):
        edit_json(copy, "meta/info.json", lambda d, k=key: d["features"][k].__setitem__("names", names))
    page = tmp_path / "page.html"
    assert check(copy, "--no_video", f"--html={page}") == 0
    assert "<script>" not in page.read_text()
    edit_json(copy, "meta/info.json", lambda d: d["features"]["action"].__setitem__("dtype", "\x1b[2J"))
    assert check(copy) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_tolerance(copy: Path):
    edit_table(copy, DATA, lambda c: c.__setitem__("timestamp", [t + 0.01 * (t > 0) for t in c["timestamp"]]))
    assert check(copy, "--no_video") == 1
    assert check(copy, "--no_video", "--tolerance_s=0.02") == 0


# Where things were picked


def test_places_are_exact_where_so101_demos_wrote_them(copy: Path, capsys: pytest.CaptureFixture[str]):
    boxes = [{"x_m": 0.2, "y_m": 0.1 * k, "present": True} for k in range(3)]
    lines = [
        {"episode_index": k, "reset": {"boxes": [box, {"x_m": 0, "y_m": 0, "present": False}]}}
        for k, box in enumerate(boxes)
    ]
    path = copy / "meta/so101_episodes.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    used = look(copy).used
    assert used is not None
    picks = exact_picks(used)
    assert picks is not None
    assert picks.points_m.tolist() == [[0.2, 0.0], [0.2, 0.1], [0.2, 0.2]]
    assert picks.area_cm2 == 0.0
    path.write_text('{"episode_index": 0, "reset": {}}\n')
    assert check(copy, "--no_video") == 1
    assert "so101_episodes.jsonl is damaged" in capsys.readouterr().out


def test_places_are_the_fingertips_where_the_jaws_closed(copy: Path):
    def close(columns: dict[str, Any]) -> None:
        for key in ("action", "observation.state"):
            columns[key] = [
                [*row[:5], 5.0 if 4 <= n % 12 < 9 else 60.0] for n, row in enumerate(columns[key])
            ]

    edit_table(copy, DATA, close)
    seen = look(copy)
    assert seen.used is not None
    picks = closings(seen.used, seen.unit)
    assert picks is not None
    assert picks.episodes == [0, 1, 2]
    assert not picks.is_exact
    expected = tip_m(seen.used.column("observation.state")[4])[:2]
    np.testing.assert_allclose(picks.points_m[0], expected)


def test_the_fingertips_are_ahead_of_the_base_when_the_arm_stretches():
    x, y, z = tip_m(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert 0.3 < x < 0.5
    assert abs(y) < 0.02
    assert 0.1 < z < 0.35
