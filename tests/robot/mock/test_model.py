"""The SO-101 model against its data file and against kinematics computed a second way."""

import json
from importlib.resources import files

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from so101_robot.joints import JOINTS
from so101_robot.mock.physics.model import GEAR_PREFIX, load_kinematics
from so101_robot.mock.physics.world import HOME_POSE_RAD, REST_POSE_RAD, World, table_scene

DATA = json.loads(files("so101_robot.mock.physics.model").joinpath("so101.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def world() -> World:
    return World(table_scene())


def rotation(quat_wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    w, x, y, z = quat_wxyz / np.linalg.norm(quat_wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def link_poses(joint_rad: dict[str, float]) -> dict[str, NDArray[np.float64]]:
    """X_base_link (4, 4) of every link, straight from the data file."""
    joint_of = {joint["body"]: joint["name"] for joint in DATA["joints"]}
    poses: dict[str | None, NDArray[np.float64]] = {None: np.eye(4)}
    for body in DATA["bodies"]:
        X_parent_link = np.eye(4)
        X_parent_link[:3, :3] = rotation(np.array(body["quat"], float))
        X_parent_link[:3, 3] = body["pos"]
        if body["name"] in joint_of:
            angle = joint_rad[joint_of[body["name"]]]
            turn = rotation(np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)]))
            X_parent_link[:3, :3] = X_parent_link[:3, :3] @ turn
        poses[body["name"]] = poses[body["parent"]] @ X_parent_link
    return {name: pose for name, pose in poses.items() if name is not None}


@pytest.mark.parametrize("seed", range(5))
def test_links_stand_where_the_kinematic_chain_puts_them(world: World, seed: int) -> None:
    low, high = load_kinematics().range_rad.T
    joint_rad = np.random.default_rng(seed).uniform(low, high) if seed else np.array(HOME_POSE_RAD)
    world.place_arm(joint_rad)
    mujoco.mj_forward(world.model, world.data)
    for name, pose in link_poses(dict(zip(JOINTS, joint_rad, strict=True))).items():
        body = world.data.body(name)
        np.testing.assert_allclose(body.xpos, pose[:3, 3], atol=1e-6)
        np.testing.assert_allclose(body.xmat.reshape(3, 3), pose[:3, :3], atol=1e-5)


def test_at_zero_the_gripper_is_39_cm_in_front_and_23_cm_above_the_base(world: World) -> None:
    world.place_arm(np.zeros(6))
    mujoco.mj_forward(world.model, world.data)
    gripper = world.data.body("gripper")
    fingertip = gripper.xpos + gripper.xmat.reshape(3, 3) @ [0.0, 0.0, -0.098]
    np.testing.assert_allclose(fingertip, [0.391, 0.0, 0.234], atol=0.002)


def test_positive_pan_turns_the_arm_to_its_right(world: World) -> None:
    world.place_arm([0.5, 0, 0, 0, 0, 0])
    mujoco.mj_forward(world.model, world.data)
    assert world.data.body("gripper").xpos[1] < -0.1


def test_the_arm_weighs_632_grams(world: World) -> None:
    links = [world.model.body(body["name"]).id for body in DATA["bodies"]]
    assert world.model.body_mass[links].sum() == pytest.approx(0.632, abs=1e-4)
    geared = [world.model.body(GEAR_PREFIX + name).id for name in JOINTS]
    assert world.model.body_mass[geared].sum() < 1e-6


def test_joint_ranges_are_those_of_the_data_file_whatever_unit_the_scene_uses() -> None:
    class Radians:
        name = "radians"

        def build(self) -> mujoco.MjSpec:
            spec = mujoco.MjSpec()
            spec.compiler.degree = False
            return spec

        def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
            pass

    for scene in (table_scene(), Radians()):
        world = World(scene)
        for name, (low, high) in zip(JOINTS, world.joint_range_rad, strict=True):
            expected = next(joint["range_rad"] for joint in DATA["joints"] if joint["name"] == name)
            assert [low, high] == pytest.approx(expected, abs=1e-6)


def test_named_poses_lie_within_the_ranges() -> None:
    low, high = load_kinematics().range_rad.T
    for pose in (REST_POSE_RAD, HOME_POSE_RAD):
        assert np.all(low <= np.array(pose))
        assert np.all(np.array(pose) <= high)


def test_home_holds_the_fingertips_well_above_the_table(world: World) -> None:
    world.place_arm(HOME_POSE_RAD)
    mujoco.mj_forward(world.model, world.data)
    tips = [world.data.geom(name).xpos[2] for name in ("fj_pad", "mj_pad")]
    assert min(tips) > 0.07


def test_the_arm_touches_objects_and_not_itself(world: World) -> None:
    model = world.model
    arm = np.flatnonzero(model.geom_contype == 2)
    assert len(arm) == 12
    assert not np.any(model.geom_contype[arm] & model.geom_conaffinity[arm])
    table = model.geom("table").id
    assert np.all(model.geom_contype[arm] & model.geom_conaffinity[table])


def test_contact_and_limit_time_constants_are_at_least_two_steps(world: World) -> None:
    model, shortest_s = world.model, 2 * world.model.opt.timestep
    for solref in (model.geom_solref, model.jnt_solref, model.tendon_solref_lim, model.dof_solref):
        assert np.all(solref[:, 0] >= shortest_s)


def test_the_data_credits_its_origin() -> None:
    assert "TheRobotStudio" in DATA["about"]
    assert "Apache-2.0" in DATA["about"]
