"""Table, workspace and self-collision: held against MuJoCo's shapes, and what becomes of a step."""

import mujoco
import numpy as np
import pytest

from so101_robot.arm.config_arm import HOME
from so101_robot.guard.collision import BOXES, SELF, TABLE, WORKSPACE, Geometry
from so101_robot.guard.kinematics import angles_of, rotation_of
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.physics.model import add_arm, load_kinematics
from so101_robot.mock.physics.world import REST_POSE_RAD

LOWER = np.array([-110.0, -100.0, -96.8, -95.0, -157.0, 0.0])
UPPER = np.array([110.0, 100.0, 96.8, 95.0, 162.0, 100.0])
RAISED = np.array([0.0, -57.0, 46.0, 63.0, -90.0, 27.0])
DOWN = np.array([10.0, 24.0, 0.0, 0.0, 0.0, 0.0])
"""Joint changes that lead the hand to the table."""
LINKS_TOUCHED = [box.link for box in BOXES if box.link != "base"]


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    add_arm(spec)
    return spec.compile()


def posed(model: mujoco.MjModel, joint: np.ndarray) -> mujoco.MjData:
    data = mujoco.MjData(model)
    for name, angle in zip(JOINTS, angles_of(joint), strict=True):
        data.qpos[model.joint(name).qposadr[0]] = angle
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    return data


def geoms(model: mujoco.MjModel) -> list[int]:
    """MuJoCo's shapes of all boxes but the base's."""
    return [model.geom(shape.name).id for body in load_kinematics().bodies for shape in body.touched]


def poses(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(LOWER, UPPER, (count, 6))


def test_the_boxes_are_the_mock_arms_collision_shapes():
    shapes = [(body.name, shape) for body in load_kinematics().bodies for shape in body.touched]
    ours = [box for box in BOXES if box.link != "base"]
    assert len(ours) == len(shapes)
    for box, (link, shape) in zip(ours, shapes, strict=True):
        assert (box.link, shape.kind) == (link, "box")
        np.testing.assert_allclose(box.centre_mm, np.array(shape.position_m) * 1000, atol=1e-9)
        np.testing.assert_allclose(box.half_mm, np.array(shape.size_m) * 1000, atol=1e-9)
        np.testing.assert_allclose(rotation_of(box.quat_wxyz), rotation_of(shape.quat_wxyz), atol=1e-9)


def test_height_and_walls_are_measured_to_the_corners_of_mujocos_boxes(model: mujoco.MjModel):
    walls = np.array([[0.05, -0.2, 0.01], [0.3, 0.25, 0.4]])
    geometry = Geometry(0.03, walls, None)
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    for joint in poses(50):
        data = posed(model, joint)
        corners = [
            data.geom_xpos[geom] + signs * model.geom_size[geom] @ data.geom_xmat[geom].reshape(3, 3).T
            for geom in geoms(model)
        ]
        hand = [
            c for c, link in zip(corners, LINKS_TOUCHED, strict=True) if link in ("gripper", "moving_jaw")
        ]
        above = [c for c, link in zip(corners, LINKS_TOUCHED, strict=True) if link != "shoulder"]
        expected = [c[:, 2].min() - 0.03 for c in above]
        expected += [min((c - walls[0]).min(), (walls[1] - c).min()) for c in hand]
        np.testing.assert_allclose(geometry.clearances_m(joint), expected, atol=1e-6)


def test_the_arm_touches_itself_where_mujoco_says_so(model: mujoco.MjModel):
    geometry = Geometry(None, None, 0.0)
    of = dict(zip([i for i, box in enumerate(BOXES) if box.link != "base"], geoms(model), strict=True))
    order = ["base", "shoulder", "upper_arm", "lower_arm", "wrist", "gripper", "moving_jaw"]
    link = [order.index(box.link) for box in BOXES]
    pairs = [(i, k) for i in range(len(BOXES)) for k in range(i, len(BOXES)) if link[k] - link[i] > 1]
    assert len(pairs) == len(geometry.names)
    touching = 0
    for joint in poses(150, seed=3):
        data = posed(model, joint)
        for (i, k), clear_m in zip(pairs, geometry.clearances_m(joint), strict=True):
            if BOXES[i].link == "base":
                continue  # MuJoCo has no shape of it
            distance_m = mujoco.mj_geomDistance(model, data, of[i], of[k], 1.0, np.empty(6))
            if distance_m > 1e-4:
                assert 0 < clear_m <= distance_m + 1e-6
            elif distance_m < -1e-4:
                assert clear_m < 0
                touching += 1
    assert touching > 25


@pytest.mark.parametrize("pose", [HOME, tuple(REST_POSE_RAD), tuple(RAISED)])
def test_poses_of_everyday_are_clear_of_the_default_rules(pose: tuple[float, ...]):
    joint = np.array(pose)
    if pose == tuple(REST_POSE_RAD):
        joint = np.array([*np.degrees(pose[:GRIPPER]), 9.0])
    assert Geometry(-0.02, None, -0.01).violations(joint) == []


def test_a_step_through_the_table_ends_on_it_and_on_its_line():
    geometry = Geometry(0.05, None, None)
    last = RAISED
    for _ in range(20):
        reached, broken = geometry.shorten(last, last + DOWN / 4)
        if broken:
            break
        last = reached
    assert geometry.clearances_m(reached).min() == pytest.approx(0, abs=2e-4)
    assert geometry.clearances_m(reached).min() >= -1e-8
    parts = (reached - last)[:2] / (DOWN / 4)[:2]
    assert parts[0] == pytest.approx(parts[1])
    (violation, left_m), *rest = broken
    assert violation.rule == TABLE
    assert violation.clearance_m < 0 <= left_m + 1e-8
    assert rest == []


def test_from_below_the_table_the_way_up_is_open_and_the_way_down_is_not():
    geometry = Geometry(0.15, None, None)
    below = RAISED + DOWN
    before = geometry.clearances_m(below).min()
    assert before < 0
    up, broken = geometry.shorten(below, below - DOWN / 8)
    np.testing.assert_array_equal(up, below - DOWN / 8)
    assert broken == ()
    down, broken = geometry.shorten(below, below + DOWN / 8)
    np.testing.assert_allclose(down, below, atol=1e-6)
    assert broken


def test_jaws_may_open_where_the_arm_may_not_go_on():
    geometry = Geometry(float(Geometry(0.0, None, None).clearances_m(RAISED).min()), None, None)
    asked = RAISED + DOWN / 8
    asked[GRIPPER] += 10
    reached, broken = geometry.shorten(RAISED, asked)
    np.testing.assert_allclose(reached[:GRIPPER], RAISED[:GRIPPER], atol=0.05)
    assert reached[GRIPPER] == asked[GRIPPER]
    assert broken[0][0].rule == TABLE


def test_the_hand_does_not_leave_the_workspace():
    geometry = Geometry(None, [[-1.0, -0.1, -1.0], [1.0, 0.1, 1.0]], None)
    joint, rules = RAISED, set[str]()
    for _ in range(30):
        joint, broken = geometry.shorten(joint, joint + np.array([5.0, 0, 0, 0, 0, 0]))
        rules |= {violation.rule for violation, _ in broken}
    assert rules == {WORKSPACE}
    assert 0 <= geometry.clearances_m(joint).min() + 1e-8 < 1e-3


def test_the_hand_does_not_run_into_the_upper_arm():
    geometry = Geometry(None, None, -0.01)
    joint = np.array([0.0, -60.0, 60.0, -80.0, 0.0, 50.0])
    rules = set[str]()
    for _ in range(60):
        joint, broken = geometry.shorten(joint, np.minimum(joint + np.array([0, 0, 3.0, -3.0, 0, 0]), UPPER))
        rules |= {violation.rule for violation, _ in broken}
    assert rules == {SELF}
    assert geometry.violations(joint) == [] or geometry.violations(joint)[0].clearance_m > -1e-7


def test_no_step_leads_deeper_whatever_is_asked():
    geometry = Geometry(0.0, [[-0.1, -0.2, 0.0], [0.35, 0.3, 0.45]], -0.005)
    rng = np.random.default_rng(5)
    joint = RAISED
    for _ in range(300):
        asked = np.clip(joint + rng.uniform(-12, 12, 6), LOWER, UPPER)
        before = geometry.clearances_m(joint)
        joint, _ = geometry.shorten(joint, asked)
        after = geometry.clearances_m(joint)
        for rule in (TABLE, WORKSPACE):
            own = np.array([name[0] == rule for name in geometry.names])
            assert after[own].min() >= min(before[own].min(), 0) - 2e-9
        own = np.array([name[0] == SELF for name in geometry.names])
        assert (after[own] >= np.minimum(before[own], 0) - 2e-9).all()


def test_without_rules_every_step_is_whole():
    geometry = Geometry(None, None, None)
    assert geometry.violations(RAISED) == []
    assert geometry.shorten(RAISED, RAISED + 500) == (pytest.approx(RAISED + 500), ())
