"""The scene: a reset changes what it says, pictures apart from physics, and nothing outlives it."""

import math
from collections.abc import Iterator

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from so101_eval.palletizing.scene.draw import draw
from so101_eval.palletizing.scene.reset_data import TABLE_LOOKS, Reset
from so101_eval.palletizing.scene.scenarios import SCENARIOS, load_scenario
from so101_eval.palletizing.scene.scene import AWAY_M, PalletizingScene, hold, lay_out
from so101_eval.palletizing.scene.tasks import BOX_M, PALLET_M, PALLET_PLACE_M, TASKS, load_task
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.cameras.render import Renderer, open_renderer
from so101_robot.mock.physics.world import REST_POSE_RAD, World

TASK = "palletize-4"
LATER = {"box-moved", "pallet-moved", "camera-bumped"}
"""What happens in the middle of an attempt."""
VISUAL = sorted(
    name for name, scenario in SCENARIOS.items() if scenario.visual and name not in {"nominal", *LATER}
)
SENSES = sorted(
    name
    for name in SCENARIOS
    if name.startswith(("joint-", "image-", "action-"))
    or name in ("bad-senses", "sensor-bias", "calibration-error")
)
PHYSICAL = sorted(set(SCENARIOS) - set(VISUAL) - set(SENSES) - LATER - {"nominal"})
SEED = 5


@pytest.fixture(scope="module")
def scene() -> PalletizingScene:
    return PalletizingScene(TASK)


@pytest.fixture(scope="module")
def world(scene: PalletizingScene) -> World:
    return World(scene)


@pytest.fixture(scope="module")
def renderer(world: World) -> Iterator[Renderer]:
    with open_renderer(world.model, 48, 48) as renderer:
        yield renderer


def put(world: World, reset: Reset) -> None:
    assert isinstance(world.scene, PalletizingScene)
    world.scene.next = reset
    world.reset(0)


def run(world: World, steps: int = 120) -> str:
    """The digest after a while in which the arm falls on boxes and one box on the edge of the pallet."""
    world.data.joint("box/0").qpos[:3] = (PALLET_PLACE_M[0] + 0.036, PALLET_PLACE_M[1] + 0.042, 0.03)
    for _ in range(steps):
        mujoco.mj_step(world.model, world.data)
    return world.digest()


def pictures(world: World, renderer: Renderer) -> NDArray[np.uint8]:
    return np.stack([renderer.render(world.snapshot(), camera) for camera in ("front", "wrist")])


@pytest.fixture(scope="module")
def nominal(world: World, renderer: Renderer) -> tuple[str, NDArray[np.uint8]]:
    put(world, draw(TASK, seed=SEED))
    image = pictures(world, renderer)
    return run(world), image


@pytest.mark.parametrize("scenario", VISUAL)
def test_a_visual_scenario_changes_pictures_and_not_one_bit_of_physics(
    scenario: str, world: World, renderer: Renderer, nominal: tuple[str, NDArray[np.uint8]]
) -> None:
    put(world, draw(TASK, scenario, 3, SEED))
    image = pictures(world, renderer)
    assert run(world) == nominal[0]
    changed = np.abs(image.astype(int) - nominal[1]).max(axis=-1) > 12
    assert changed.mean() > 0.001


@pytest.mark.parametrize("scenario", SENSES)
def test_a_scenario_of_the_senses_changes_neither_physics_nor_the_true_pictures(
    scenario: str, world: World, renderer: Renderer, nominal: tuple[str, NDArray[np.uint8]]
) -> None:
    put(world, draw(TASK, scenario, 3, SEED))
    np.testing.assert_array_equal(pictures(world, renderer), nominal[1])
    assert run(world) == nominal[0]


@pytest.mark.parametrize("scenario", PHYSICAL)
def test_a_physical_scenario_changes_physics(
    scenario: str, world: World, nominal: tuple[str, object]
) -> None:
    reset = draw(TASK, scenario, 3, SEED)
    put(world, reset)
    assert run(world) != nominal[0]


def test_nothing_of_a_reset_outlives_it(
    world: World, renderer: Renderer, nominal: tuple[str, NDArray[np.uint8]]
) -> None:
    for scenario in ("another-room", "other-boxes", "distractors", "catch-trial", "moved-bench", "friction"):
        put(world, draw(TASK, scenario, 3, SEED))
        run(world, 20)
    put(world, draw(TASK, seed=SEED))
    np.testing.assert_array_equal(pictures(world, renderer), nominal[1])
    assert run(world) == nominal[0]
    fresh = World(PalletizingScene(TASK))
    put(fresh, draw(TASK, seed=SEED))
    assert run(fresh) == nominal[0]


def test_the_model_is_what_the_reset_says(world: World) -> None:
    reset = draw(TASK, "other-boxes", 3, SEED)
    put(world, reset)
    for i, box in enumerate(reset.boxes):
        cube, body = world.model.geom(f"box/{i}"), world.model.body(f"box/{i}")
        np.testing.assert_allclose(cube.size, box.edge_m / 2)
        assert cube.friction[0] == pytest.approx(box.friction)
        assert body.mass[0] == pytest.approx(box.mass_kg)
        np.testing.assert_allclose(body.inertia, box.mass_kg * box.edge_m**2 / 6)
        np.testing.assert_allclose(world.data.qpos[world.model.joint(f"box/{i}").qposadr[0]], box.x_m)
        # the bounding radius was compiled for the largest box and may not be smaller than this one
        assert world.model.geom_rbound[cube.id] >= math.sqrt(3) * box.edge_m / 2
        moved = world.model.body_invweight0[body.id][0]
        assert moved == pytest.approx(1 / box.mass_kg)  # derived constants follow
    assert world.model.geom("table").friction[0] == pytest.approx(reset.surface_friction)
    assert (
        world.model.stat.extent == 0.8
    )  # as the bench chose it: the pictures' near and far planes hang on it
    np.testing.assert_array_equal(world.model.stat.center, [0.15, 0, 0.1])


def test_lamps_and_cameras_are_where_the_reset_says(world: World) -> None:
    put(world, draw(TASK, seed=SEED))
    key, lamps, ambient = world.model.light("key").dir.copy(), world.model.light_diffuse.copy(), 0.40
    front = world.model.camera("front").pos.copy()
    reset = draw(TASK, "another-room", 3, SEED)
    put(world, reset)
    tint = np.array([1 + reset.light.tint, 1, 1 - reset.light.tint]) * reset.light.gain
    np.testing.assert_allclose(world.model.light_diffuse, lamps * tint, rtol=1e-6)
    np.testing.assert_allclose(world.model.vis.headlight.ambient, ambient * tint, rtol=1e-6)
    turned = np.arctan2(*world.model.light("key").dir[1::-1]) - np.arctan2(*key[1::-1])
    assert math.remainder(turned - reset.light.turn_rad, math.tau) == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(world.model.camera("front").pos - front) == pytest.approx(0.10)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_scene_with_its_boxes_and_slots(task: str) -> None:
    world = World(PalletizingScene(task))
    names = [world.model.geom(i).name for i in range(world.model.ngeom)]
    assert sum(name.startswith("box/") and name.count("/") == 1 for name in names) == load_task(task).boxes
    fields = {name for name in names if name.startswith("slot/") and name.endswith("field")}
    assert len(fields) == len({(slot.u_m, slot.v_m) for slot in load_task(task).slots})


def test_a_world_without_a_reset_draws_a_nominal_start_and_leaves_the_arm_folded() -> None:
    world = World(PalletizingScene("palletize-1"), seed=3)
    np.testing.assert_array_equal(world.data.qpos[world.joint_qpos], REST_POSE_RAD)
    first = world.digest()
    world.reset(4)
    assert world.digest() != first
    world.reset(3)
    assert world.digest() == first


def test_boxes_stand_still_on_the_pallet_in_two_layers(world: World) -> None:
    put(world, draw(TASK, seed=SEED))
    pallet = world.data.body("pallet").xpos
    for i, (u_m, v_m, layer) in enumerate([(0, -0.019, 0), (0, 0.019, 0), (0, -0.019, 1), (0, 0.019, 1)]):
        height_m = PALLET_M[2] + BOX_M * (layer + 0.5)
        world.data.joint(f"box/{i}").qpos[:] = (pallet[0] + u_m, pallet[1] + v_m, height_m, 1, 0, 0, 0)
    world.place_arm(REST_POSE_RAD)
    before = np.array([world.data.joint(f"box/{i}").qpos for i in range(4)])
    for _ in range(1500):
        mujoco.mj_step(world.model, world.data)
    after = np.array([world.data.joint(f"box/{i}").qpos for i in range(4)])
    assert np.abs(after - before)[:, :3].max() < 5e-4
    assert max(np.abs(world.data.joint(f"box/{i}").qvel).max() for i in range(4)) < 1e-3


def test_a_box_that_was_taken_away_is_in_no_picture(world: World, renderer: Renderer) -> None:
    reset = draw(TASK, "catch-trial", 3, SEED)
    put(world, reset)
    assert not any(box.present for box in reset.boxes)
    image = pictures(world, renderer)
    for i in range(len(reset.boxes)):
        assert world.data.joint(f"box/{i}").qpos[0] == AWAY_M[0]
        for geom in range(world.model.ngeom):
            if world.model.geom(geom).name.startswith(f"box/{i}"):
                world.model.geom_rgba[geom] = (1, 0, 1, 1)  # painted, it still is in no picture
    np.testing.assert_array_equal(pictures(world, renderer), image)


def test_both_kinds_of_renderer_show_every_table_top(world: World) -> None:
    with open_renderer(world.model, 32, 24, backend="ray") as rays:
        put(world, draw(TASK, seed=SEED))
        seen: list[NDArray[np.uint8]] = []
        for look in TABLE_LOOKS:
            name = "table" if look == "checker" else f"table/{look}"
            world.model.geom("table").matid[0] = world.model.material(name).id
            seen.append(rays.render(world.snapshot(), "front"))
    differences = [np.abs(a.astype(int) - b).mean() for i, a in enumerate(seen) for b in seen[:i]]
    assert min(differences) > 2.0


@pytest.fixture(scope="module")
def arm(scene: PalletizingScene) -> Iterator[MockArm]:
    arm = MockArm(MockConfig(realtime_factor=0), scene=PalletizingScene(scene.task))
    yield arm
    arm.close()


def test_an_arm_is_laid_out_under_torque_at_its_start_with_servos_of_their_own_strength(arm: MockArm) -> None:
    assert arm.world is not None
    assert isinstance(arm.world.scene, PalletizingScene)
    reset = draw(TASK, "randomised", 2, SEED)
    lay_out(arm, arm.world.scene, reset)
    np.testing.assert_allclose(arm.joint_rad, reset.arm_rad)
    arm.advance_to(1_000_000)
    assert np.rad2deg(np.abs(arm.joint_rad - reset.arm_rad)).max() < 4.0  # sags, does not fall
    assert len(set(reset.servo_strength)) == 6


def test_laying_out_again_after_a_crash_gives_the_same_state_bit_for_bit(arm: MockArm) -> None:
    assert arm.world is not None
    scene = arm.world.scene
    assert isinstance(scene, PalletizingScene)
    reset = Reset.from_json(draw(TASK, "randomised", 3, SEED).to_json())
    hashes: list[str] = []
    for _ in range(2):
        lay_out(arm, scene, reset)
        arm.advance_to(300_000)
        hashes.append(arm.state_hash())
        arm.servos.set(0, "Goal_Position", 3000)  # then an episode is broken off in the middle
        arm.advance_to(700_000)
    other = MockArm(MockConfig(realtime_factor=0), scene=PalletizingScene(TASK))
    assert isinstance(other.world, World)
    assert isinstance(other.world.scene, PalletizingScene)
    lay_out(other, other.world.scene, reset)
    other.advance_to(300_000)
    assert {*hashes, other.state_hash()} == {hashes[0]}


@pytest.mark.parametrize(
    ("scenario", "lines_px"), [("camera-pose", (1.2, 2.3, 4.6)), ("camera-moved", (4.0, 10.2, 20.7))]
)
def test_a_camera_that_moved_shows_a_box_as_far_off_as_the_scenario_says(
    scenario: str, lines_px: tuple[float, ...], world: World
) -> None:
    def seen_px(level: int, seed: int) -> NDArray[np.float64]:
        """Where the front camera of 96 lines has the first box."""
        reset = draw(TASK, scenario, level, seed)
        put(world, reset)
        camera = world.data.camera("front")
        box_m = camera.xmat.reshape(3, 3).T @ (world.data.body("box/0").xpos - camera.xpos)
        focal_px = 48 / math.tan(math.radians(world.model.camera("front").fovy[0]) / 2)
        return focal_px * box_m[:2] / -box_m[2]

    for level, expected_px in enumerate(lines_px, start=1):
        off_px = [np.linalg.norm(seen_px(level, seed) - seen_px(0, seed)) for seed in range(40)]
        assert np.mean(off_px) == pytest.approx(expected_px, rel=0.15)


def test_strength_of_the_servos_reaches_the_motors(arm: MockArm) -> None:
    assert arm.world is not None
    assert isinstance(arm.world.scene, PalletizingScene)
    sag_rad: list[float] = []
    for strength in (0.6, 1.4):
        nominal = draw(TASK, seed=SEED)
        reset = Reset(**{**nominal.__dict__, "servo_strength": (strength,) * 6})
        lay_out(arm, arm.world.scene, reset)
        arm.advance_to(800_000)
        sag_rad.append(float(np.abs(arm.joint_rad - reset.arm_rad)[2]))
    assert sag_rad[0] > 1.5 * sag_rad[1]


def test_holding_an_arm_keeps_it_where_it_is(arm: MockArm) -> None:
    hold(arm)
    goals = [arm.servos.get(i, "Goal_Position") - arm.servos.get(i, "Present_Position") for i in range(6)]
    assert goals == [0] * 6
    assert [arm.servos.get(i, "Torque_Enable") for i in range(6)] == [1] * 6


def test_the_pick_area_and_the_pallet_are_in_the_front_picture(world: World, renderer: Renderer) -> None:
    put(world, draw(TASK, seed=SEED))
    base = renderer.render(world.snapshot(), "front")
    for prefix in ("pallet", "slot", *(f"box/{i}" for i in range(4))):
        put(world, draw(TASK, seed=SEED))
        for geom in range(world.model.ngeom):
            if world.model.geom(geom).name.startswith(prefix):
                world.model.geom_rgba[geom] = (1, 0, 1, 1)
        changed = np.abs(renderer.render(world.snapshot(), "front").astype(int) - base).max(axis=-1) > 12
        assert changed.sum() >= 4
        edges = np.argwhere(changed)
        assert edges.min() >= 0


def test_visual_is_said_of_the_scenarios_that_are() -> None:
    assert set(VISUAL) >= {"light-intensity", "camera-pose", "table-texture", "distractors", "another-room"}
    assert not load_scenario("friction").visual
    assert not load_scenario("image-blur").visual
