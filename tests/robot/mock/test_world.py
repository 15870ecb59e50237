"""Scenes by name, resets that repeat, and a table on which things stay where they are."""

from importlib.metadata import EntryPoint

import mujoco
import numpy as np
import pytest

from so101_eval.palletizing.scene.tasks import TASKS
from so101_robot.errors import ConfigError
from so101_robot.mock.physics.table import BLOCKS, TableScene
from so101_robot.mock.physics.world import (
    HOME_POSE_RAD,
    SCENE_GROUP,
    World,
    available_scenes,
    load_scene,
    table_scene,
)


def step(world: World, steps: int) -> None:
    for _ in range(steps):
        mujoco.mj_step(world.model, world.data)


def test_the_table_is_found_by_name() -> None:
    assert "table" in available_scenes()
    assert load_scene("table").name == "table"


def test_one_entry_point_brings_a_scene_for_every_palletizing_task() -> None:
    assert set(TASKS) < set(available_scenes())
    for name in ("palletize-2", "palletize-1-small"):
        assert load_scene(name).name == name


def test_a_scene_found_by_its_own_name_imports_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    table, palletize = (EntryPoint(n, f"nowhere.{n}:make", SCENE_GROUP) for n in ("table", "palletize"))
    loaded: list[str] = []

    def load(point: EntryPoint) -> object:
        loaded.append(point.name)
        return {"palletize-2": table_scene} if point is palletize else table_scene

    monkeypatch.setattr(EntryPoint, "load", load)
    monkeypatch.setattr("so101_robot.mock.physics.world.entry_points", lambda group: (palletize, table))
    load_scene("table")
    assert loaded == ["table"]
    load_scene("palletize-2")
    assert loaded == ["table", "palletize", "table"]


def test_an_unknown_scene_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"no scene 'kitchen'; available: .*table"):
        load_scene("kitchen")


def test_the_same_seed_gives_the_same_digest_in_a_fresh_world_and_after_a_reset() -> None:
    digests: list[str] = []
    first = World(table_scene(), seed=3)
    for world in (first, World(table_scene(), seed=3), first):
        world.reset(3)
        step(world, 200)
        digests.append(world.digest())
    assert len(set(digests)) == 1
    other = World(table_scene(), seed=4)
    step(other, 200)
    assert other.digest() != digests[0]


def test_reset_without_a_seed_repeats_the_last_episode() -> None:
    world = World(table_scene(), seed=5)
    start = world.digest()
    step(world, 50)
    assert world.digest() != start
    world.reset()
    assert world.digest() == start


def test_what_a_scene_randomises_does_not_survive_into_the_next_episode() -> None:
    class Randomised(TableScene):
        def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
            super().reset(model, data, rng)
            factor = rng.uniform(0.5, 2.0)
            model.geom_friction[:] *= factor
            model.light_diffuse[:] *= factor
            model.vis.headlight.ambient[:] *= factor
            model.vis.map.fogend *= factor
            model.tex_data[:] = 0

    world = World(Randomised(), seed=1)
    assert not world.model.tex_data.any()
    first = (world.model.geom_friction.copy(), world.model.vis.map.fogend)
    world.reset(2)
    assert not np.array_equal(world.model.geom_friction, first[0])
    world.reset(1)
    np.testing.assert_array_equal(world.model.geom_friction, first[0])
    assert world.model.vis.map.fogend == first[1]


def test_blocks_lie_apart_and_within_reach_for_every_seed() -> None:
    world = World(table_scene())
    for seed in range(30):
        world.reset(seed)
        places = np.array([world.data.body(f"block/{name}").xpos for name in BLOCKS])
        reach = np.linalg.norm(places[:, :2] - [0.0388353, 0.0], axis=1)
        assert np.all((reach > 0.13) & (reach < 0.23))
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]]
        assert min(gaps) > 0.047
        table = world.model.geom("table").id
        assert np.all(world.data.contact.geom[:, 0] == table)  # nothing touches anything but the table


def test_blocks_rest_still_for_three_seconds() -> None:
    world = World(table_scene(), seed=2)
    before = {name: world.data.body(f"block/{name}").xpos.copy() for name in BLOCKS}
    step(world, 1500)
    for name, place in before.items():
        block = world.data.joint(f"block/{name}")
        assert np.linalg.norm(world.data.body(f"block/{name}").xpos - place) < 2e-4
        assert np.abs(block.qvel).max() < 1e-3


def test_the_folded_arm_stays_folded_without_torque() -> None:
    world = World(table_scene())
    before = world.data.qpos[world.joint_qpos].copy()
    step(world, 1500)
    moved = np.abs(world.data.qpos[world.joint_qpos] - before)
    assert np.rad2deg(moved).max() < 1.0
    assert np.abs(world.data.qvel[world.joint_dof]).max() < 1e-3


@pytest.mark.parametrize("offset_rad", [-0.08, 0.08])
def test_an_arm_left_near_its_rest_pose_settles_into_it(offset_rad: float) -> None:
    world = World(table_scene())
    rest = world.data.qpos[world.joint_qpos].copy()
    low, high = world.joint_range_rad.T
    wanted = rest + np.array([0, abs(offset_rad), -abs(offset_rad), min(offset_rad, 0), 0, 0])
    world.place_arm(np.clip(wanted, low, high))
    step(world, 1500)
    settled = world.data.qpos[world.joint_qpos] - rest
    assert np.rad2deg(np.abs(settled)).max() < 4.0  # friction holds it there


def test_a_bundle_of_rays_meets_what_single_rays_meet() -> None:
    world = World(table_scene())
    world.place_arm(HOME_POSE_RAD)
    mujoco.mj_forward(world.model, world.data)
    eye = world.data.camera("hero").xpos
    aim = np.array([0.15, 0.0, 0.1]) + np.random.default_rng(0).uniform(-0.15, 0.15, (1500, 3))
    rays = (aim - eye) / np.linalg.norm(aim - eye, axis=1, keepdims=True)
    drawn, n = np.array([1, 1, 1, 0, 0, 0], np.uint8), len(rays)
    bundle, distance_m, alone = np.empty(n, np.int32), np.empty(n), np.empty(n, np.int32)
    mujoco.mj_multiRay(
        world.model, world.data, eye, rays.ravel(), drawn, 1, -1, bundle, distance_m, None, n, 1e10
    )
    for i, ray in enumerate(rays):
        mujoco.mj_ray(world.model, world.data, eye, ray, drawn, 1, -1, alone[i : i + 1], None)
    lost = np.count_nonzero(bundle != alone)
    assert lost == 0 if mujoco.mj_version() >= 4_000_000 else lost < 0.03 * n
    assert len(np.unique(alone)) > 20


def test_a_snapshot_is_what_moves() -> None:
    world = World(table_scene())
    before = world.snapshot()
    assert before.shape == (world.model.nq,)
    step(world, 1)
    assert before is not world.snapshot()
    assert not np.array_equal(before, world.snapshot())


def test_resting_things_have_no_torsional_friction() -> None:
    model = World(table_scene()).model  # at impratio 10 it makes resting boxes spin by themselves
    touched = [model.geom("table").id, *(model.geom(f"block/{name}").id for name in BLOCKS)]
    assert np.all(model.geom_condim[touched] == 3)
