"""so101-run and cameras that have moved: put back for the policy, or nothing is driven. Asked of the command."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from moved_pictures import TextureBench
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.inference.loaded import Prediction
from so101_policy.registration.background import Background, sharpness
from so101_policy.registration.files import (
    REMEMBERED,
    name_of,
    remembered_path,
    write_background,
    write_painted,
)
from so101_robot.cli import RUN
from so101_robot.demo import demo_policy
from so101_robot.mock.arm import MockArm
from so101_robot.mock.config import MockConfig

pytestmark = pytest.mark.timeout(600)
"""All that is imported for a run takes 20 s of a free core, and whoever comes first waits for it."""

SHIFT_PX = 3
SEED = 4
QUICK = [
    "--policy.engine=plain", "--robot.port=mock",
    "--robot.mock.scene=palletize-1-small", f"--robot.mock.seed={SEED}", "--robot.mock.width=96",
    "--robot.mock.height=96", "--robot.mock.realtime_factor=0", "--dashboard=off", "--duration_s=0.4",
    "--ending.home=false", "--approach_speed=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A short run of a policy that knows no background."""
    folder = tmp_path_factory.mktemp("policy") / "stock"
    shutil.copytree(demo_policy("stock"), folder, ignore=shutil.ignore_patterns(name_of("*")))
    return [f"--policy.path={folder}", *QUICK]


@pytest.fixture(scope="module")
def view() -> NDArray[np.uint8]:
    """What the front camera of the mock arm sees."""
    arm = MockArm(MockConfig(scene="palletize-1-small", seed=SEED, width=96, height=96, realtime_factor=0))
    try:
        return np.array(arm.frame("front").image)
    finally:
        arm.close()


def background_of(view: NDArray[np.uint8], shift_px: int) -> Background:
    """As if the camera had stood where it sees everything `shift_px` to the left."""
    image = np.ascontiguousarray(np.roll(view, -shift_px, axis=1))
    static = np.zeros(image.shape[:2], bool)
    static[:, : static.shape[1] - max(shift_px, 1)] = True
    return Background(image, static, sharpness(image, static), 48, static)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, NDArray[np.uint8]]]:
    """The pictures with which the policy was asked."""
    seen: list[dict[str, NDArray[np.uint8]]] = []
    predict = ActPolicy.predict

    def note(self: ActPolicy, state: Any, images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        seen.append({name: images[name] for name in images})
        return predict(self, state, images)

    monkeypatch.setattr(ActPolicy, "predict", note)
    return seen


def test_the_policy_sees_a_moved_cameras_pictures_put_back_and_the_run_says_so(
    quick: list[str],
    view: NDArray[np.uint8],
    shown: list[dict[str, NDArray[np.uint8]]],
    tmp_path: Path,
) -> None:
    background = background_of(view, SHIFT_PX)
    write_background(tmp_path / "known" / name_of("front"), background, "me/boxes")
    out = tmp_path / "run"
    assert RUN.main([*quick, f"--camera.background={tmp_path / 'known'}", f"--output_dir={out}"]) == 0
    picture = shown[0]["front"]
    where = background.static.copy()
    where[:, -2 * SHIFT_PX :] = False
    assert np.abs(picture[where].astype(int) - background.image[where]).mean() < 3, "as it was recorded"
    assert np.abs(picture.astype(int) - view).mean() > 3, "and not as it comes"
    kept = json.loads((out / "summary.json").read_text())["camera_correction"]
    assert kept["front"]["moved_px"] == pytest.approx(SHIFT_PX, abs=0.1)
    assert json.loads((out / "camera_correction" / "corrections.json").read_text()) == kept
    before, after = (
        np.asarray(Image.open(out / "camera_correction" / f"front_{when}.png"))
        for when in ("before", "after")
    )
    assert not np.array_equal(before, after)
    (finding,) = [
        row
        for row in json.loads((out / "preflight.json").read_text())["findings"]
        if row["check"] == "camera correction"
    ]
    assert finding["level"] == "warn", "so it is told at the terminal"
    assert finding["found"] == f"moved by {SHIFT_PX}.0 px, corrected, 0.0 px left"


def test_a_camera_that_cannot_be_put_back_stops_before_anything_moves(
    quick: list[str], touched: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_background(tmp_path / name_of("front"), TextureBench().background(), "another bench")
    words = [
        *quick,
        "--preflight.skip=all",
        f"--camera.background={tmp_path}",
        f"--output_dir={tmp_path / 'run'}",
    ]
    assert (RUN.main(words), touched) == (2, [])
    said = " ".join(capsys.readouterr().err.split())
    assert "the pre-flight check says no, and the arm was not moved" in said
    assert "camera correction" in said
    assert "--camera.correct=off drives with its pictures as they come" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("case", ["off", "nothing known", "not moved"])
def test_pictures_stay_as_they_come(
    case: str,
    quick: list[str],
    view: NDArray[np.uint8],
    shown: list[dict[str, NDArray[np.uint8]]],
    tmp_path: Path,
) -> None:
    words = [*quick, f"--output_dir={tmp_path / 'run'}", f"--robot.calibration_dir={tmp_path}"]
    if case != "nothing known":
        background = TextureBench().background() if case == "off" else background_of(view, 0)
        write_background(tmp_path / name_of("front"), background, "")
        words += [f"--camera.background={tmp_path}", "--preflight.skip=drift"]
    words += ["--camera.correct=off"] if case == "off" else []
    assert RUN.main(words) == 0
    assert np.abs(shown[0]["front"].astype(int) - view).mean() < 1
    assert ("camera_correction" in json.loads((tmp_path / "run/summary.json").read_text())) == (
        case == "not moved"
    )


def test_what_the_drift_check_remembers_is_put_back_too_and_then_is_no_drift(
    quick: list[str], view: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = {"version": 1, "dataset": "me/boxes", "date": "2026-03-01", "frames": 48, "gamma": 1.0,
             "focal_px": None, "limits": {}}  # fmt: skip
    far = background_of(view, 6)
    path = remembered_path(tmp_path / "rig.json", "front")
    write_painted(path, far, REMEMBERED, about | {"sharpness": far.sharpness})
    words = [*quick, "--robot.id=rig", f"--robot.calibration_dir={tmp_path}"]
    assert RUN.main([*words, "--camera.correct=off", f"--output_dir={tmp_path / 'off'}"]) == 2
    assert "has moved by 6.0 px" in " ".join(capsys.readouterr().err.split())
    assert RUN.main([*words, f"--output_dir={tmp_path / 'auto'}"]) == 0
    findings = json.loads((tmp_path / "auto/preflight.json").read_text())["findings"]
    assert [row["level"] for row in findings if row["check"] == "drift"] == ["ok"]


def test_mistakes_get_one_message(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name_of("front")).write_bytes(b"no picture")
    for words, message in (
        (["--camera.correct=yes_please"], "--camera.correct=yes_please: expected one of auto, off"),
        (
            [f"--camera.background={tmp_path / 'none'}"],
            "expected so101_background.front.png or so101_background.wrist",
        ),
        ([f"--camera.background={tmp_path}"], "so101_background.front.png is not a background"),
    ):
        assert RUN.main([*quick, *words, f"--output_dir={tmp_path / 'run'}"]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert message in said
        assert "Traceback" not in said
