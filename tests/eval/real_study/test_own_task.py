"""A task of one's own: read, refused where it cannot be, and studied from init to report."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from real_sessions import Sitting
from real_studies import POSE, locked, spec
from so101_eval.cli import BENCH, EVAL
from so101_eval.errors import ConfigError
from so101_eval.evaluation.records import read_runs
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.palletizing.scene.tasks import PAN_AXIS_M
from so101_eval.real_study.design.lock import writing
from so101_eval.real_study.design.own_task import OwnTask, read_task
from so101_eval.real_study.design.study import Study, read_study
from so101_eval.real_study.measurement.cubes import View as CameraView
from so101_eval.real_study.measurement.outlined import Outlined
from so101_eval.real_study.measurement.rendered import lens_of, pose_of
from so101_eval.real_study.session.view import Action
from so101_eval.real_study.unblinding.unblind import unblind
from so101_robot.mock.physics.world import World

CUPS = """\
name: cups-on-saucers
instruction: Put each cup on its saucer.
objects:
  - {name: red cup, size_mm: [60, 60]}
  - {name: spoon, size_mm: [120, 20]}
slots:
  - {x_mm: 185, y_mm: -115}
  - {x_mm: 185, y_mm: -180, turn_deg: 90}
stages: [touched, lifted, above the saucer, on the saucer]
time_limit_s: 20
area: {radius_mm: [150, 260], azimuth_deg: [-20, 60], apart_mm: 90, turned_deg: 45}
tolerances: {reset_mm: 5}
"""


def cups(tmp_path: Path, text: str = CUPS) -> Path:
    path = tmp_path / "cups.yaml"
    path.write_text(text)
    return path


def own(tmp_path: Path) -> OwnTask:
    return read_task(cups(tmp_path))[0]


def study_of(tmp_path: Path, blocks: int = 2) -> Study:
    task, tolerances = read_task(cups(tmp_path))
    specs = tuple(spec(f"secret-name-{number}") for number in range(2))
    return Study(
        specs, task.name, (("nominal", 0),), blocks, 0.3, POSE, practice=0, own=task, tolerances=tolerances
    )


def test_a_task_is_read_and_a_study_takes_it_over_whole(tmp_path: Path):
    study = study_of(tmp_path)
    assert (study.objects, study.stages[-1]) == (("red cup", "spoon"), "on the saucer")
    assert (study.tolerances.reset_mm, study.tolerances.reset_deg) == (5.0, 5.0)
    folder = tmp_path / "s"
    locked(folder, study)
    (tmp_path / "cups.yaml").unlink()
    assert read_study(folder) == study
    assert read_study(folder).sha256 == study.sha256


def test_objects_start_in_the_area_apart_and_turned_as_far_as_was_asked(tmp_path: Path):
    study = study_of(tmp_path, 40)
    for block in range(40):
        boxes = study.reset(block).boxes
        for box in boxes:
            dx, dy = box.x_m - PAN_AXIS_M[0], box.y_m - PAN_AXIS_M[1]
            assert 0.150 <= math.hypot(dx, dy) <= 0.260
            assert -20.01 <= math.degrees(math.atan2(dy, dx)) <= 60.01
            off = math.degrees(box.yaw_rad) - math.degrees(math.atan2(dy, dx))
            assert abs((off + 180) % 360 - 180) <= 45.01
        assert math.dist((boxes[0].x_m, boxes[0].y_m), (boxes[1].x_m, boxes[1].y_m)) >= 0.09
    assert any(study.reset(block).boxes[0].y_m < 0 for block in range(40)), "the other side of the table, too"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: cups-on-saucers", "name: Cups!", "small letters, digits and hyphens"),
        ("name: cups-on-saucers", "name: palletize-2", "is a built-in task"),
        ("size_mm: [60, 60]", "size_mm: [60, 900]", "red cup: size_mm"),
        ("name: spoon", "name: red cup", "different names"),
        ("  - {x_mm: 185, y_mm: -180, turn_deg: 90}\n", "", "1 slots for 2 objects"),
        ("x_mm: 185, y_mm: -115", "x_mm: 885, y_mm: 0", r"slots\[0\] is 846 mm from the arm's pan axis"),
        ("lifted, ", "touched, ", "of different names"),
        ("time_limit_s: 20", "time_limit_s: 0", "time_limit_s is 0"),
        ("radius_mm: [150, 260]", "radius_mm: [260, 150]", "area.radius_mm is 260 to 150"),
        ("azimuth_deg: [-20, 60]", "azimuth_deg: [-200, 60]", "area.azimuth_deg"),
        ("turned_deg: 45", "turned_deg: 500", "turned_deg 500"),
        ("reset_mm: 5", "reset_mm: 0", "tolerances.reset_mm is 0"),
        ("reset_mm: 5", "reset_cm: 5", "reset_cm"),
        ("time_limit_s: 20", "time_limit_s: soon", "time_limit_s"),
        ("stages:", "steps:", "steps"),
        (CUPS, "- a list", "cups.yaml"),
    ],
)
def test_a_task_that_cannot_be_names_file_and_field(tmp_path: Path, old: str, new: str, words: str):
    assert old in CUPS
    with pytest.raises(ConfigError, match=words) as found:
        read_task(cups(tmp_path, CUPS.replace(old, new)))
    assert str(found.value).startswith(str(tmp_path / "cups.yaml"))


def test_a_file_that_is_not_there_is_no_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    flags = ["--policies", "a=hold", "b=hold", "--start_pose", *map(str, POSE)]
    assert BENCH.main(["init", str(tmp_path / "s"), f"--task={tmp_path}/no.yaml", *flags]) == 2
    assert "there is no such file; built-in tasks are palletize-1" in capsys.readouterr().err


def test_a_scenario_that_moves_a_pallet_needs_one(tmp_path: Path):
    study = study_of(tmp_path)
    with pytest.raises(ConfigError, match="this task has no pallet"):
        Study(
            study.policies,
            study.task,
            (("pallet-shift", 2),),
            2,
            0.3,
            POSE,
            own=study.own,
            tolerances=study.tolerances,
        )


def test_the_outline_of_an_object_is_its_rectangle_on_the_table(tmp_path: Path):
    study = study_of(tmp_path)
    assert study.own is not None
    world = World(PalletizingScene(study.plan_task))
    lens, pose = lens_of(world.model), pose_of(world.data)
    measurement = Outlined(study.own, lens, pose)
    reset = study.reset(0)
    spoon = np.array(measurement.outlines(reset)[1]) * lens.size_px - 0.5
    middle = CameraView(lens, pose).project(np.array([[reset.boxes[1].x_m, reset.boxes[1].y_m, 0.0]]))[0]
    one, other = spoon[2] - spoon[0], spoon[3] - spoon[1]
    along = np.linalg.solve(np.column_stack((one, -other)), spoon[1] - spoon[0])
    assert np.linalg.norm(spoon[0] + along[0] * one - middle) < 0.1, (
        "in perspective that is where diagonals cross"
    )
    sides = np.linalg.norm(spoon - np.roll(spoon, -1, 0), axis=1)
    assert max(sides) / min(sides) > 3, "120 by 20 mm"
    assert all(offset.dx_mm is None for offset in measurement.reset_offsets({}, reset))
    assert not measurement.available


def test_a_study_of_ones_own_task_goes_from_its_session_to_the_report(tmp_path: Path):
    folder = tmp_path / "s"
    locked(folder, study_of(tmp_path, 3))
    with writing(folder) as (study, journal):
        sitting = Sitting(study, folder, journal)
        stages = iter([[4, 4], [2, 0]] * 3)

        def answers(timeout_s: float) -> Action | None:
            view = sitting.operator.views[-1]
            if view.screen != "outcome":
                return plain(timeout_s)
            assert (view.objects, view.stages) == (study.objects, study.stages)
            found = next(stages)
            return Action("outcome", {"stages": found, "success": found == [4, 4], "why": "stopped"})

        plain, sitting.operator.next = sitting.operator.next, answers  # type: ignore[method-assign]
        sitting.run()
    text = next(view for view in sitting.operator.views if view.screen == "reset")
    assert text.targets[0].words.startswith("red cup: ")
    assert unblind(folder).blocks == 3
    records = read_runs([folder])
    assert {record.task for record in records} == {"own:cups-on-saucers"}
    failed = next(record for record in records if not record.success)
    assert failed.score["credit"] == pytest.approx(0.25)
    assert failed.score["failure"]["detail"] == "by the operator: stopped; spoon: not touched"
    assert EVAL.main(["report", str(folder), "--no_videos"]) == 0
    data = json.loads((folder / "report" / "report.json").read_text())
    assert data["task"]["own"]
    page = (folder / "report" / "report.html").read_text()
    assert "own:cups-on-saucers, 2 objects" in page
    assert 'id="milestones"' not in page


def test_the_mat_is_not_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    locked(tmp_path / "s", study_of(tmp_path))
    assert BENCH.main(["mat", str(tmp_path / "s")]) == 2
    assert "a task of its own: the mat is that of a pallet" in capsys.readouterr().err


def test_init_and_rehearse_take_a_task_of_ones_own(tmp_path: Path):
    folder, flags = tmp_path / "s", ["--policies", "a=hold", "b=hold", "--start_pose", *map(str, POSE)]
    path = cups(tmp_path, CUPS.replace("time_limit_s: 20", "time_limit_s: 1"))
    assert BENCH.main(["init", str(folder), f"--task={path}", "--starts=1", "--practice=0", *flags]) == 0
    assert BENCH.main(["rehearse", str(folder)]) == 0
    assert [record.success for record in read_runs([folder / "rehearsal"])] == [False, False]
