"""Pictures: both renderers draw the same scene, repeat, and say clearly what they cannot do."""

import subprocess
import sys

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from so101_robot.errors import CameraError, ConfigError
from so101_robot.mock.cameras import backend, render
from so101_robot.mock.cameras.render import appearance, choose_backend, open_renderer
from so101_robot.mock.physics.world import HOME_POSE_RAD, World, table_scene

needs_opengl = pytest.mark.skipif(
    not any(backend.loadable(name) for name in backend.LIBRARIES),
    reason="no OpenGL libraries on this machine",
)
BACKENDS = [pytest.param("auto", marks=needs_opengl, id="opengl"), "ray"]


def posed_world() -> World:
    world = World(table_scene(), seed=1)
    world.place_arm(HOME_POSE_RAD)
    return world


def shots(world: World, kind: str, shadows: bool = False) -> list[NDArray[np.uint8]]:
    with open_renderer(world.model, 96, 72, kind, shadows) as renderer:
        return [renderer.render(world.snapshot(), camera) for camera in ("front", "wrist", "hero")]


@pytest.mark.parametrize("kind", BACKENDS)
def test_pictures_have_the_asked_size_and_repeat_bit_for_bit(kind: str) -> None:
    first, second = shots(posed_world(), kind), shots(posed_world(), kind)
    for one, other in zip(first, second, strict=True):
        assert one.shape == (72, 96, 3)
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)


@needs_opengl
def test_what_is_beside_a_picture_is_not_drawn_and_no_pixel_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    world, rng = World(table_scene(), seed=1), np.random.default_rng(0)
    poses = [HOME_POSE_RAD, *(np.add(HOME_POSE_RAD, rng.uniform(-0.7, 0.7, 6)) for _ in range(5))]
    pictures: list[list[NDArray[np.uint8]]] = []
    for culls in (True, False):
        if not culls:
            everything = np.ones(world.model.ngeom, np.bool_)
            monkeypatch.setattr(render, "in_view", lambda *values, everything=everything: everything)
        drawn: list[NDArray[np.uint8]] = []
        for pose in poses:
            world.place_arm(pose)
            drawn += shots(world, "auto")
        pictures.append(drawn)
    for culled, whole in zip(*pictures, strict=True):
        np.testing.assert_array_equal(culled, whole)
    assert (world.model.geom_group != render.UNSEEN_GROUP).all()  # the model is as it was


def test_a_camera_that_looks_up_sees_the_floor_alone_since_it_has_no_end() -> None:
    world = posed_world()
    model, data = world.model, world.data
    camera = model.camera("front").id
    seen = render.in_view(model, data, camera, 4 / 3)
    assert 0.5 * model.ngeom < seen.sum() <= model.ngeom
    data.cam_xmat[camera] = np.eye(3).ravel() * [1, 1, 1, 1, -1, 1, 1, 1, -1]  # looks along +z
    planes = model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)
    np.testing.assert_array_equal(render.in_view(model, data, camera, 4 / 3) & ~planes, False)
    assert render.in_view(model, data, camera, 4 / 3)[planes].all()


@needs_opengl
@pytest.mark.parametrize("shadows", [False, True])
def test_rays_and_opengl_draw_the_same_scene(shadows: bool) -> None:
    world = posed_world()
    for gl, rays in zip(shots(world, "auto", shadows), shots(world, "ray", shadows), strict=True):
        difference = gl.astype(float) - rays.astype(float)
        assert np.abs(difference.mean(axis=(0, 1))).max() < 2  # colour of the whole, of 255
        assert np.abs(difference).mean() < 6  # the chequers of the table differ by 16


@pytest.mark.parametrize("kind", BACKENDS)
def test_shadows_darken_the_picture(kind: str) -> None:
    world = posed_world()
    assert shots(world, kind, shadows=True)[0].mean() < shots(world, kind)[0].mean() - 1


@pytest.mark.parametrize("kind", BACKENDS)
def test_the_cameras_see_the_yellow_arm_and_the_red_block(kind: str) -> None:
    front = shots(posed_world(), kind)[0].astype(int)
    red, green, blue = front[..., 0], front[..., 1], front[..., 2]
    assert np.mean((red > 120) & (green > 80) & (blue < 80)) > 0.03
    assert np.mean((red > 100) & (green < 70) & (blue < 70)) > 0.003


@pytest.mark.parametrize("kind", BACKENDS)
def test_pictures_stay_while_the_world_goes_on(kind: str) -> None:
    world = posed_world()
    with open_renderer(world.model, 64, 48, kind) as renderer:
        snapshot = world.snapshot()
        before = renderer.render(snapshot, "front")
        kept = before.copy()
        world.place_arm(np.zeros(6))
        moved = renderer.render(world.snapshot(), "front")
        assert not np.array_equal(before, moved)
        np.testing.assert_array_equal(before, kept)
        np.testing.assert_array_equal(renderer.render(snapshot, "front"), kept)


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_renderer_with_its_own_model_takes_on_another_appearance(kind: str) -> None:
    world, elsewhere = posed_world(), posed_world()
    world.model.geom_rgba[world.model.geom("block/red").id] = (1, 1, 1, 1)
    world.model.vis.headlight.ambient[:] = 0.2
    world.model.tex_data[:] = world.model.tex_data // 2
    with open_renderer(elsewhere.model, 64, 48, kind) as renderer:
        plain = renderer.render(elsewhere.snapshot(), "front")
        renderer.refresh(appearance(world.model))
        dressed = renderer.render(elsewhere.snapshot(), "front")
    with open_renderer(world.model, 64, 48, kind) as renderer:
        np.testing.assert_array_equal(renderer.render(world.snapshot(), "front"), dressed)
    assert dressed.mean() < plain.mean() - 20


@pytest.mark.parametrize("kind", BACKENDS)
def test_two_renderers_live_side_by_side(kind: str) -> None:
    world = posed_world()
    with open_renderer(world.model, 64, 48, kind) as small, open_renderer(world.model, 96, 72, kind) as large:
        shapes = [r.render(world.snapshot(), "front").shape for r in (small, large, small)]
    assert shapes == [(48, 64, 3), (72, 96, 3), (48, 64, 3)]


def test_mistakes_are_named() -> None:
    world = posed_world()
    renderer = open_renderer(world.model, 32, 32, "ray")
    with pytest.raises(CameraError, match="no camera 'back'; available: front, overhead, hero, wrist"):
        renderer.render(world.snapshot(), "back")
    with pytest.raises(CameraError, match="snapshots have"):
        renderer.render(np.zeros(3), "front")
    renderer.close()
    renderer.close()
    with pytest.raises(CameraError, match="closed"):
        renderer.render(world.snapshot(), "front")


def ask(monkeypatch: pytest.MonkeyPatch, variable: str, libraries: set[str]) -> str:
    monkeypatch.setattr(backend, "_asked", variable)
    monkeypatch.setattr(backend, "loadable", libraries.__contains__)
    return choose_backend()


@pytest.mark.parametrize(
    ("variable", "libraries", "chosen"),
    [
        ("", {"egl", "osmesa"}, "egl"),
        ("", {"osmesa"}, "osmesa"),
        ("", set(), "ray"),
        ("osmesa", {"egl", "osmesa"}, "osmesa"),
        ("glfw", {"egl"}, "egl"),
        ("disable", {"egl", "osmesa"}, "ray"),
        ("ray", {"egl", "osmesa"}, "ray"),
    ],
)
def test_the_backend_follows_the_variable_and_the_libraries(
    monkeypatch: pytest.MonkeyPatch, variable: str, libraries: set[str], chosen: str
) -> None:
    assert ask(monkeypatch, variable, libraries) == chosen


def test_a_backend_that_is_missing_or_unknown_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match=r"MUJOCO_GL=egl: cannot load .*apt-get install .*libegl1 libgl1"):
        ask(monkeypatch, "egl", {"osmesa"})
    with pytest.raises(ConfigError, match="expected one of auto, egl, osmesa, ray"):
        ask(monkeypatch, "vulkan", {"egl"})
    with pytest.raises(ConfigError, match="renderer=metal"):
        choose_backend("metal")


@pytest.mark.parametrize("variable", ["vulkan", "osmesa"])
def test_physics_runs_whatever_mujoco_gl_says(variable: str) -> None:
    code = (
        "import os, ctypes\n"
        "load = ctypes.CDLL\n"
        "def refuse(name, *rest, **more):\n"
        "    if name and 'OSMesa' in str(name): raise OSError(name)\n"
        "    return load(name, *rest, **more)\n"
        "ctypes.CDLL = refuse\n"
        "from so101_robot.mock.physics.world import World, table_scene\n"
        "World(table_scene())\n"
        "print(os.environ['MUJOCO_GL'])\n"
    )
    paths = {"PYTHONPATH": ":".join(sys.path), "MUJOCO_GL": variable, "HOME": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == variable
