"""The camera correction in attempts: scenes of camera-pose are put back from pictures alone, and what cannot be put
back ends the attempt and is counted apart."""

import shutil
from pathlib import Path

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from moved_pictures import TextureBench
from short_attempts import hurry
from so101_eval.cli import EVAL
from so101_eval.episode.episode import Stage
from so101_eval.evaluation.plan import Player
from so101_eval.evaluation.records import EPISODES, Key, read_episodes
from so101_eval.evaluation.run_folder import plan_of
from so101_eval.palletizing.scene.draw import draw
from so101_policy.command_line.command_shell import OK, WRONG_INPUT
from so101_policy.registration.background import Background, learn
from so101_policy.registration.correction import find_correction
from so101_policy.registration.files import name_of, write_background
from so101_policy.registration.homography import mapped
from so101_robot.demo import demo_policy
from so101_robot.mock.cameras.render import Renderer, open_renderer
from so101_robot.mock.config import MockConfig
from so101_robot.mock.physics.world import HOME_POSE_RAD, World

TASK, PX = "palletize-1-small", 96


class Scene:
    """The front camera of laid-out scenes, and where it truly is."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._renderer: Renderer | None = None

    @property
    def world(self) -> World:
        return self.stage.world

    def picture(self) -> NDArray[np.uint8]:
        self._renderer = self._renderer or open_renderer(self.world.model, PX, PX)
        return np.array(self._renderer.render(self.world.snapshot(), "front"))

    def table(self) -> NDArray[np.float64]:
        """(3, 3) takes points of the table [m] to pixels."""
        model = self.world.model
        camera, R = model.camera("front").id, np.empty(9)
        mujoco.mju_quat2Mat(R, model.cam_quat[camera])
        focal = PX / 2 / np.tan(np.deg2rad(model.cam_fovy[camera]) / 2)
        K = np.array([[focal, 0, (PX - 1) / 2], [0, focal, (PX - 1) / 2], [0, 0, 1]])
        R_camera_world = np.diag([1.0, -1.0, -1.0]) @ R.reshape(3, 3).T
        return K @ R_camera_world @ np.column_stack((np.eye(3)[:, :2], -model.cam_pos[camera]))

    def background(self) -> Background:
        """While the arm is everywhere."""
        rng, frames = np.random.default_rng(2), list[NDArray[np.uint8]]()
        low, high = self.world.joint_range_rad.T
        for _ in range(24):
            pose = np.array(HOME_POSE_RAD) + rng.normal(0, [0.5, 0.35, 0.35, 0.4, 0.8, 0.3])
            self.world.place_arm(np.clip(pose, low, high))
            mujoco.mj_forward(self.world.model, self.world.data)
            frames.append(self.picture())
        return learn(frames)

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()


def test_cameras_as_far_off_as_on_a_desk_are_put_back_to_less_than_a_pixel() -> None:
    mock = MockConfig(width=PX, height=PX, realtime_factor=0.0)
    with Stage(TASK, mock) as stage:
        scene = Scene(stage)
        stage.lay_out(draw(TASK, seed=0))
        before, background = scene.table(), scene.background()
        points = background.points(background.seldom_hidden)
        for seed in range(3):
            stage.lay_out(draw(TASK, "camera-pose", 2, seed))
            H = scene.table() @ np.linalg.inv(before)
            moved_px = np.linalg.norm(mapped(H, points) - points, axis=1).mean()
            found = find_correction(background, scene.picture())
            assert found.H is not None, "nothing was put back"
            left_px = np.linalg.norm(mapped(found.H, points) - mapped(H, points), axis=1).mean()
            assert left_px < min(1.0, 0.6 * moved_px), seed
            assert found.left_px < 1.0
        scene.close()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that comes with the package, with the background of its recordings."""
    folder = tmp_path_factory.mktemp("policy") / "base"
    shutil.copytree(demo_policy("recommended"), folder)
    return folder


def evaluate(out: Path, checkpoint: Path, *more: str) -> int:
    return EVAL.main(
        ["run", f"--task={TASK}", "--episodes=1", "--first_seed=9005", "--num_workers=1", f"--output_dir={out}",
         "--policies", f"base={checkpoint}", *more]
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_an_attempt_is_played_with_cameras_put_back_and_the_record_says_how(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert evaluate(out, checkpoint, "--scenarios=camera-moved:2", "--camera_correction=auto") == OK
    assert "camera correction: 0 of 1 attempts ended" in capsys.readouterr().out
    (record,) = read_episodes(out / EPISODES)
    assert record.success, "this one fails without the correction"
    assert record.correction is not None
    assert record.correction["failed"] is None
    assert record.correction["cameras"]["front"]["moved_px"] == pytest.approx(4.9, abs=0.8)
    assert record.correction["cameras"]["front"]["left_px"] < 1
    assert evaluate(out, checkpoint, "--scenarios=camera-moved:2") == WRONG_INPUT, (
        "a run has one or the other"
    )
    assert "camera_correction auto (now None)" in capsys.readouterr().err
    assert plan_of(out).camera_correction == "auto"


@pytest.mark.timeout(300)
def test_an_attempt_whose_camera_cannot_be_put_back_ends_and_is_counted_apart(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    write_background(other / name_of("front"), TextureBench(PX, PX).background(), "another bench")
    out = tmp_path / "run"
    assert evaluate(out, other, "--camera_correction=auto") == OK
    assert "camera correction: 1 of 1 attempts ended because a camera could not" in capsys.readouterr().out
    (record,) = read_episodes(out / EPISODES)
    assert record.success is False
    assert (record.end, record.fault, record.exception) == ("stopped", "policy raises", "RegistrationError")
    assert record.correction is not None
    assert "camera front: " in record.correction["failed"]
    assert record.score["failure"]["kind"] == "policy_raised"
    sent: list[NDArray[np.float64] | None] = []
    with Player(plan_of(out)) as player:
        player.play(Key("base", TASK, "nominal", 0, 9005), lambda tick: sent.append(tick.sent))
    assert sent
    assert all(goal is None for goal in sent), "the arm was driven"


def test_off_is_bit_equal_and_a_checkpoint_without_background_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, TASK)
    assert evaluate(tmp_path / "with", checkpoint) == OK
    assert evaluate(tmp_path / "corrected", checkpoint, "--camera_correction=auto") == OK
    (plain,), (corrected,) = (read_episodes(tmp_path / name / EPISODES) for name in ("with", "corrected"))
    assert plain.correction is None
    assert corrected.correction is not None
    assert corrected.state_hash == plain.state_hash, "a camera that stands is left alone"
    capsys.readouterr()
    bare = tmp_path / "bare checkpoint"
    shutil.copytree(checkpoint, bare)
    (bare / name_of("front")).unlink()
    assert evaluate(tmp_path / "bare", bare, "--camera_correction=auto") == WRONG_INPUT
    said = capsys.readouterr().err
    assert "base has no background of a camera that stands; `so101-data background DATASET" in said
    assert not (tmp_path / "bare").exists()
