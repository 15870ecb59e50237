"""Boxes in millimetres by the front camera, against MuJoCo's truth; the mat, the grasp."""

import math
import re
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.poses import perturbed, pose_difference
from so101_calibration.cameras.tags import camera_from_tags, find_tags
from so101_calibration.errors import ImplausibleError
from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.draw import Reset, draw
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.palletizing.scene.tasks import PALLET_M, load_task
from so101_eval.palletizing.score.placement import in_world
from so101_eval.real_study.measurement.camera import Camera
from so101_eval.real_study.measurement.cubes import Summed, View, areas_px, corners, drawn
from so101_eval.real_study.measurement.fits import Fit
from so101_eval.real_study.measurement.grasp import NEVER, first_grasp, grasp_in, pads_m
from so101_eval.real_study.measurement.looking import Look
from so101_eval.real_study.measurement.made import measurement_of
from so101_eval.real_study.measurement.mat import FAR_M, HALF_WIDTH_M, NEAR_M, Mat
from so101_eval.real_study.measurement.mat_pdf import write_mat
from so101_eval.real_study.measurement.rendered import FRONT, Eyes, lens_of, pose_of
from so101_eval.real_study.measurement.shown import LINE_PX, drawn_over, words
from so101_eval.real_study.measurement.stacked import EITHER_LAYER, Stood, sure_of_layer
from so101_eval.real_study.measurement.still import Still
from so101_robot.mock.physics.world import World
from so101_robot.preflight.findings import Level
from tests.support.real_studies import small_study

TASK = load_task("palletize-2")
SEED = 1


class Desk(SimpleNamespace):
    """A world with a mat, its camera, and a start."""

    world: World
    scene: PalletizingScene
    eyes: Eyes
    camera: Camera
    reset: Reset

    def start(self) -> dict[str, NDArray[np.uint8]]:
        """Everything as drawn; what the camera sees."""
        self.world.reset(0)
        return self.eyes.pictures()

    def put(self, box: int, x_m: float, y_m: float, z_m: float, yaw_rad: float) -> None:
        """A box elsewhere."""
        turned = (math.cos(yaw_rad / 2), 0, 0, math.sin(yaw_rad / 2))
        self.world.data.joint(f"box/{box}").qpos[:] = (x_m, y_m, z_m, *turned)
        mujoco.mj_forward(self.world.model, self.world.data)

    def place(self, box: int, du_mm: float, dv_mm: float, yaw_deg: float) -> None:
        """A box off the slot of its number."""
        slot, edge_m = TASK.slots[box], self.reset.boxes[box].edge_m
        x_m, y_m = in_world(self.reset.pallet, slot.u_m + du_mm / 1000, slot.v_m + dv_mm / 1000)
        self.put(box, x_m, y_m, PALLET_M[2] + edge_m / 2, math.radians(yaw_deg) + self.reset.pallet.yaw_rad)


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    scene = PalletizingScene(TASK, Mat(TASK).sheet())
    scene.next = draw(TASK, seed=SEED)
    world = World(scene)
    eyes = Eyes(world)
    camera = Camera(TASK, lens_of(world.model), pose_of(world.data), Mat(TASK))
    yield Desk(world=world, scene=scene, eyes=eyes, camera=camera, reset=scene.next)
    eyes.close()


# the mat and the camera's place -----


def test_the_tags_of_a_mat_say_where_the_camera_is(desk: Desk) -> None:
    picture = desk.start()[FRONT]

    found = camera_from_tags(find_tags(picture), Mat(TASK).corners_m, lens_of(desk.world.model))

    off_mm, off_deg = pose_difference(found.X, pose_of(desk.world.data))
    assert off_mm < 2.0
    assert off_deg < 0.25
    assert found.views == 4


def test_tags_that_are_covered_are_named(desk: Desk) -> None:
    seen = find_tags(desk.start()[FRONT])
    del seen[1], seen[2], seen[3]

    with pytest.raises(ImplausibleError, match=r"1 of the mat's 4 tags .* not seen: 1, 2, 3"):
        camera_from_tags(seen, Mat(TASK).corners_m, lens_of(desk.world.model))


def test_a_mat_printed_too_small_stops_the_rig_check_and_says_how_long_its_bar_is(desk: Desk) -> None:
    pictures = desk.start()
    lens, X = lens_of(desk.world.model), pose_of(desk.world.data)

    findings = Camera(TASK, lens, X, Mat(TASK, 104.0)).rig_check(pictures)

    scale = next(finding for finding in findings if "print" in finding.text)
    assert scale.level is Level.STOP
    assert re.search(r"9[56]\.\d % of what it is taken for: by this its bar is (99|100)\.\d mm", scale.text)
    assert all(
        finding.level is not Level.STOP for finding in Camera(TASK, lens, X, Mat(TASK)).rig_check(pictures)
    )


def test_a_mat_that_lies_elsewhere_is_a_warning_that_says_where_to_push_it(desk: Desk) -> None:
    desk.start()
    desk.world.model.geom("sheet").pos[1] += 0.012
    mujoco.mj_forward(desk.world.model, desk.world.data)

    findings = desk.camera.rig_check(desk.eyes.pictures())

    lies = next(finding for finding in findings if "the mat lies" in finding.text)
    assert lies.level is Level.WARN
    assert re.search(r"1[123]\.\d mm left", lies.text)


def test_the_pdf_is_of_true_size_on_one_page_or_two(tmp_path: Path) -> None:
    for page, count, size_mm in (("a3", 1, (420.0, 297.0)), ("a4", 2, (210.0, 297.0))):
        path = tmp_path / f"{page}.pdf"

        assert write_mat(Mat(TASK), path, page) == count

        boxes = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", path.read_bytes())
        assert len(boxes) == count
        assert [float(side) * 25.4 / 72 for side in boxes[0]] == pytest.approx(size_mm, abs=0.1)
    with pytest.raises(ConfigError, match="possible are a3, a4, letter"):
        write_mat(Mat(TASK), tmp_path / "x.pdf", "a5")


def test_a_line_of_the_pdf_is_as_long_as_the_bar_says(tmp_path: Path) -> None:
    write_mat(Mat(TASK), tmp_path / "mat.pdf")
    streams = re.findall(rb"stream\r?\n(.*?)endstream", (tmp_path / "mat.pdf").read_bytes(), re.DOTALL)
    text = b"".join(zlib.decompress(stream) for stream in streams if stream[:1] == b"x")

    lines = re.findall(rb"([\d.]+) ([\d.]+) m\n([\d.]+) ([\d.]+) l\s+S", text)

    lengths_mm = [abs(float(x1) - float(x0)) * 25.4 / 72 for x0, _, x1, _ in lines]
    assert max(lengths_mm) == pytest.approx(100.0, abs=0.05)


def test_tags_boxes_and_pallet_do_not_cover_each_other() -> None:
    for name in ("palletize-1", "palletize-4", "palletize-8"):
        task = load_task(name)
        for x_m, y_m in Mat(task).tags_m.values():
            assert task.pick_area.beyond_m(x_m, y_m) > 0.030
            assert x_m - 0.017 > NEAR_M
            assert x_m + 0.017 < FAR_M
            assert abs(y_m) + 0.017 < HALF_WIDTH_M


def test_a_bar_of_80_mm_is_refused() -> None:
    with pytest.raises(ConfigError, match="80 mm long, expected 90 to 110"):
        Mat(TASK, 80.0)


# cubes in a picture -----


def test_points_are_projected_as_opencv_does() -> None:
    lens = Intrinsics((640, 480), 620.0, 630.0, 322.0, 236.0, -0.11, 0.04, 0.001, -0.002)
    X = np.eye(4)
    X[:3, :3] = np.diag([1.0, -1.0, -1.0])
    X[:3, 3] = (0.1, 0.0, 0.5)
    X = perturbed(X, np.array((0.2, -0.1, 0.3, 0, 0, 0)))
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (20, 3))
    inverted = np.linalg.inv(X)

    expected = cv2.projectPoints(
        points, cv2.Rodrigues(inverted[:3, :3])[0], inverted[:3, 3].copy(), lens.matrix, lens.distortion
    )[0]

    np.testing.assert_allclose(View(lens, X).project(points), expected.reshape(-1, 2), atol=1e-8)


def test_a_sum_over_a_cube_is_that_over_the_pixels_of_its_silhouette(desk: Desk) -> None:
    view = View(lens_of(desk.world.model), pose_of(desk.world.data))
    places = np.array([(0.19, -0.11, 0.3), (0.15, 0.05, 1.1)])
    rows, columns = np.mgrid[0:480, 0:640]
    values = np.sin(rows / 30.0) + np.cos(columns / 25.0) + 1.5

    cubes = drawn(places, 0.01, 0.025, view)

    for place, total, area in zip(places, Summed(values).over(cubes), areas_px(cubes), strict=True):
        hull = cv2.convexHull(view.project(corners(place[None], 0.01, 0.025)[0]).astype(np.float32))
        fine = np.zeros((480 * 8, 640 * 8), np.uint8)  # 8 x 8 points a pixel
        cv2.fillConvexPoly(fine, np.rint((hull + 0.5) * 8 - 0.5).astype(np.int32), 1)
        covered = fine.reshape(480, 8, 640, 8).mean((1, 3))
        assert area == pytest.approx(covered.sum(), rel=0.02)
        assert total == pytest.approx((covered * values).sum(), rel=0.03)


# boxes -----


def test_boxes_at_the_start_are_measured_against_their_targets(desk: Desk) -> None:
    desk.start()
    box = desk.reset.boxes[1]
    desk.put(1, box.x_m + 0.004, box.y_m + 0.006, box.edge_m / 2, box.yaw_rad + math.radians(8))

    offsets = desk.camera.reset_offsets(desk.eyes.pictures(), desk.reset)

    assert offsets[0].within(1.5, 4.0)
    assert offsets[1].dx_mm == pytest.approx(-6.0, abs=1.2)  # to the left is y
    assert offsets[1].dy_mm == pytest.approx(4.0, abs=1.2)
    assert offsets[1].dyaw_deg == pytest.approx(8.0, abs=3.0)
    assert offsets[1].within(3.0, 5.0) is False


def test_the_outline_of_a_start_is_where_the_box_is_seen(desk: Desk) -> None:
    pictures = desk.start()
    desk.camera.rig_check(pictures)

    for box, outline in desk.camera.outlines(desk.reset).items():
        middle = np.array(outline).mean(0) * (640, 480)
        red, green, blue = pictures[FRONT][int(middle[1]), int(middle[0])].astype(int)
        assert max(red, green, blue) - min(red, green, blue) > 60, box


def test_boxes_on_the_pallet_are_measured_in_its_frame(desk: Desk) -> None:
    before = desk.start()
    desk.place(0, 5.0, -3.0, 6.0)
    desk.place(1, -4.0, 2.0, -4.0)

    found = desk.camera.placement(before, desk.eyes.pictures(), desk.reset)

    assert found.success is True
    assert [box.du_mm for box in found.boxes] == pytest.approx([5.0, -4.0], abs=1.2)
    assert [box.dv_mm for box in found.boxes] == pytest.approx([-3.0, 2.0], abs=1.2)
    turns = [(box.dyaw_deg, true) for box, true in zip(found.boxes, (6.0, -4.0), strict=True)]
    assert all(turn is None or turn == pytest.approx(true, abs=3.0) for turn, true in turns)

    after = desk.eyes.pictures()[FRONT]
    picture = drawn_over(after, asdict(found), ("box 1", "box 2"))

    assert picture.shape == (480 + 3 * LINE_PX + 8, 640, 3)
    assert re.fullmatch(
        r"box 1: [56] mm off, turned by [4-8] deg", words(asdict(found), ("box 1", "box 2"))[0]
    )
    for box in found.boxes:
        seen, target = (np.array(outline) * (640, 480) for outline in (box.seen, box.target))
        x, y = seen.mean(0).astype(int)
        assert np.ptp(after[y, x].astype(int)) > 60, "a box is in the middle of its outline"
        off_px = seen.mean(0) - target.mean(0)
        dx_m, dy_m = (np.array(in_world(desk.reset.pallet, box.du_mm / 1000, box.dv_mm / 1000))
                      - (desk.reset.pallet.x_m, desk.reset.pallet.y_m))  # fmt: skip
        view = View(lens_of(desk.world.model), pose_of(desk.world.data))
        there = view.project(np.array([(0.185, -0.115, 0.02), (0.185 + dx_m, -0.115 + dy_m, 0.02)]))
        assert off_px == pytest.approx(there[1] - there[0], abs=1.0)
    changed = np.abs(picture[:480].astype(int) - after).max(-1) > 60
    assert 100 < changed.sum() < 2500, "lines were drawn"


def test_what_is_too_near_to_a_limit_is_measured_and_not_judged(desk: Desk) -> None:
    before = desk.start()
    desk.place(0, 0.0, 0.0, 9.5)
    desk.place(1, 0.0, 0.0, 0.0)

    near = desk.camera.placement(before, desk.eyes.pictures(), desk.reset)
    desk.place(0, 0.0, 0.0, 16.0)
    beyond = desk.camera.placement(before, desk.eyes.pictures(), desk.reset)

    assert near.success is None
    assert near.boxes[0].dyaw_deg == pytest.approx(9.5, abs=1.6)
    assert "too near to the limit" in near.boxes[0].why_not
    assert beyond.success is False
    assert beyond.boxes[0].dyaw_deg == pytest.approx(16.0, abs=1.6)


def test_a_box_that_nobody_moved_is_a_failure(desk: Desk) -> None:
    before = desk.start()
    desk.place(0, 0.0, 0.0, 0.0)

    found = desk.camera.placement(before, desk.eyes.pictures(), desk.reset)

    assert found.success is False
    assert found.boxes[1].du_mm is None
    assert found.boxes[1].why_not == "it lies where it started"


def looked(x_mm: float, score: float, why_not: str = "") -> Look:
    place = np.array([0.185 + x_mm / 1000, -0.115, 0.0])
    return Look(Fit(place, 0.01, score, 0.1, 0.1), place, None, why_not)


def test_a_box_that_may_stand_on_another_one_is_null() -> None:
    """One camera sees a box on another one nearly as one on the deck, 24 mm farther away."""
    hidden = Stood(looked(0, 0.3, "only 30 % of it is seen"), 0)
    high = Stood(looked(-24, 0.87), 0, (looked(-24, 0.87), looked(0, 0.83)))

    assert [stood.look.why_not for stood in sure_of_layer([hidden, high], [False, False])][1] == EITHER_LAYER
    assert sure_of_layer([hidden, high], [True, False])[1] == high, "the other one lies where it started"
    beside = Stood(looked(-30, 0.8), 0)
    assert sure_of_layer([beside, high], [False, False])[1] == high, "the other one is measured elsewhere"
    clear = high._replace(heights=(looked(-24, 0.87), looked(0, 0.6)))
    assert sure_of_layer([hidden, clear], [False, False])[1] == clear


def test_a_box_on_another_one_is_not_measured_as_if_it_stood_on_the_deck() -> None:
    task = load_task("palletize-4-layers")
    scene = PalletizingScene(task)
    reset = scene.next = draw(task, seed=SEED)
    world = World(scene)
    with closing(Eyes(world)) as eyes:
        camera = Camera(task, lens_of(world.model), pose_of(world.data), None)
        desk = Desk(world=world, scene=scene, eyes=eyes, camera=camera, reset=reset)
        before, edge_m = desk.start(), reset.boxes[0].edge_m
        x_m, y_m = in_world(reset.pallet, *task.slots[0][:2])
        for box in (0, 2):
            desk.put(box, x_m, y_m, PALLET_M[2] + edge_m * (0.5 if box == 0 else 1.5), reset.pallet.yaw_rad)
        found = camera.placement(before, eyes.pictures(), reset)

    high = found.boxes[2]
    assert high.du_mm is None or abs(high.du_mm) < 6, "24 mm off would be its place on the deck"


def test_a_box_that_is_gone_is_null_and_decides_nothing(desk: Desk) -> None:
    before = desk.start()
    desk.place(0, 0.0, 0.0, 0.0)
    desk.put(1, -1.0, 0.0, 0.0125, 0.0)

    found = desk.camera.placement(before, desk.eyes.pictures(), desk.reset)

    assert found.success is None
    assert found.boxes[1].du_mm is None
    assert found.boxes[1].why_not


def test_a_box_that_lies_on_the_pallets_edge_is_not_measured_as_if_it_stood(desk: Desk) -> None:
    before = desk.start()
    desk.place(0, 0.0, 0.0, 0.0)
    desk.place(1, 0.0, 0.0, 0.0)
    tilted = desk.world.data.joint("box/1").qpos
    tilted[3:] = (math.cos(0.35), math.sin(0.35), 0, 0)
    mujoco.mj_forward(desk.world.model, desk.world.data)

    found = desk.camera.placement(before, desk.eyes.pictures(), desk.reset)

    assert found.boxes[1].du_mm is None or found.success is not True


def test_a_camera_that_was_moved_in_the_trial_measures_nothing(desk: Desk) -> None:
    before = desk.start()
    desk.place(0, 0.0, 0.0, 0.0)
    desk.place(1, 0.0, 0.0, 0.0)
    model = desk.world.model
    model.cam_pos[model.camera(FRONT).id][1] += 0.01
    mujoco.mj_forward(model, desk.world.data)

    found = desk.camera.placement(before, desk.eyes.pictures(), desk.reset)

    assert found.success is None
    assert "camera moved" in found.boxes[0].why_not


def test_no_picture_of_the_front_camera_is_a_reason_and_no_error(desk: Desk) -> None:
    assert desk.camera.placement({}, {}, desk.reset).success is None
    assert desk.camera.reset_offsets({}, desk.reset)[0].why_not == "there is no picture of front"
    assert desk.camera.rig_check({})[0].level is Level.STOP


# what is known of a rig -----


def test_a_rig_without_a_calibrated_camera_is_told_which_command(tmp_path: Path) -> None:
    study = small_study(blocks=1)

    nothing = measurement_of(study, tmp_path / "arm.json", None)

    assert not nothing.available
    assert "so101-calibrate cameras intrinsics" in nothing.rig_check({})[0].text
    with pytest.raises(ConfigError, match="so101-calibrate cameras intrinsics"):
        measurement_of(study, tmp_path / "arm.json", 100.0)


def test_a_picture_is_still_a_second_after_the_last_change() -> None:
    still = Still(FRONT, 1.0)
    empty = np.full((480, 640, 3), 120, np.uint8)
    hand = empty.copy()
    hand[100:200, 100:200] = 220

    answers = [
        still.seen({FRONT: empty}, 0.0),
        still.seen({FRONT: empty}, 1.0),
        still.seen({FRONT: hand}, 1.1),
    ]
    answers += [still.seen({FRONT: hand}, 2.0), still.seen({FRONT: hand}, 2.2)]

    assert answers == [False, True, False, False, True]


# the grasp -----


def test_the_hand_is_where_the_simulated_pads_are(desk: Desk) -> None:
    desk.start()
    data = desk.world.data
    joints = np.degrees(data.qpos[desk.world.joint_qpos])
    joints[5] = 12.0

    place = pads_m(joints)

    pads = [data.geom(name).xpos for name in ("fj_pad", "mj_pad")]
    assert np.linalg.norm(place - np.mean(pads, axis=0)) < 0.02


def test_the_first_closing_low_over_the_table_is_the_grasp() -> None:
    high, low = np.array((0.0, -60, 30, 60, 0, 60)), np.array((0.0, 10, 10, 70, 0, 60))
    closed_high, closed_low = (np.array([*pose[:5], 20.0]) for pose in (high, low))
    assert pads_m(high)[2] > 0.05 > pads_m(low)[2]

    grasp = first_grasp(np.array([high, closed_high, high, low, low, closed_low]))

    assert grasp is not None
    assert grasp.tick == 5
    assert first_grasp(np.array([high, closed_high])) is None


def test_the_grasp_of_a_trial_is_told_against_where_the_box_was_measured() -> None:
    open_low = [0.0, 10, 10, 70, 0, 60]
    closed = [*open_low[:5], 20.0]
    ticks = [
        {"phase": "approach", "state": [*open_low[:5], 90.0]},
        {"phase": "run", "state": open_low},
        {"phase": "run", "state": [None, *closed[1:]]},
        {"phase": "run", "state": closed},
        {"messages": ["the last line"]},
    ]
    hand = 1000 * pads_m(np.array(closed))
    reset = draw("palletize-1-small", seed=3)
    start = reset.boxes[0]
    measured = [{"box": 0, "dx_mm": 2.0, "dy_mm": 5.0}]  # to the right, and ahead

    found = grasp_in(ticks, reset, measured)

    assert found["hand_mm"] == pytest.approx(hand[:2].tolist(), abs=0.01)
    assert found["box_mm"] == pytest.approx([1000 * start.x_m + 5, 1000 * start.y_m - 2], abs=0.01)
    assert found["off_mm"] == pytest.approx(math.dist(found["box_mm"], found["hand_mm"]), abs=0.02)
    untouched = grasp_in(ticks, reset, [{"box": 0, "dx_mm": None, "dy_mm": None}])
    assert untouched["box_mm"] == pytest.approx([1000 * start.x_m, 1000 * start.y_m], abs=0.01)
    turned = grasp_in(ticks, reset, measured, (10.0, 0, 0, 0, 0, 0))
    assert math.dist(turned["hand_mm"], found["hand_mm"]) > 10, "zeros of the joints count"
    assert grasp_in(ticks[:2], reset, measured) == {"why_not": NEVER}
