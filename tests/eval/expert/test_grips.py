"""Ways to grasp a box and the room that fingers have, against brute force and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from so101_eval.expert.grips import (
    FIXED_FINGER_M,
    MOVING_JAW_M,
    Box,
    Rectangle,
    fingers,
    room_m,
    separation_m,
    ways,
)

EDGE_M = 0.025


def box(x_m: float, y_m: float, yaw_rad: float = 0.0, z_m: float = EDGE_M / 2) -> Box:
    return Box(np.array([x_m, y_m, z_m]), yaw_rad, EDGE_M)


def rectangles() -> st.SearchStrategy[Rectangle]:
    sides = st.floats(0.004, 0.03)
    places = st.floats(-0.06, 0.06)
    return st.builds(Rectangle, places, places, st.floats(-3.2, 3.2), st.tuples(sides, sides))


def test_side_by_side_the_separation_is_the_gap():
    one, other = Rectangle(0, 0, 0, (0.01, 0.01)), Rectangle(0.05, 0.003, 0, (0.02, 0.01))
    assert separation_m(one, other) == pytest.approx(0.02)


@given(rectangles(), rectangles())
@settings(max_examples=60, deadline=None)
def test_a_separation_is_never_more_than_the_true_distance_and_tells_overlap(
    one: Rectangle, other: Rectangle
):
    distance_m = sampled_distance_m(one, other)
    separation = separation_m(one, other)
    assert separation <= distance_m + 1e-9
    assert separation == pytest.approx(separation_m(other, one))
    if distance_m == 0.0:
        assert separation <= 0.0
    elif distance_m > 0.002:
        assert separation > 0.0


def sampled_distance_m(one: Rectangle, other: Rectangle) -> float:
    """Between a grid of points on each; 0 where a point of one lies inside the other."""
    grid = np.linspace(-1, 1, 21)
    points: list[np.ndarray] = []
    for rectangle in (one, other):
        local = np.array([(a * rectangle.half_m[0], b * rectangle.half_m[1]) for a in grid for b in grid])
        cos, sin = math.cos(rectangle.yaw_rad), math.sin(rectangle.yaw_rad)
        points.append(local @ np.array([(cos, sin), (-sin, cos)]) + (rectangle.x_m, rectangle.y_m))
    for cloud, rectangle in ((points[0], other), (points[1], one)):
        cos, sin = math.cos(rectangle.yaw_rad), math.sin(rectangle.yaw_rad)
        local = (cloud - (rectangle.x_m, rectangle.y_m)) @ np.array([(cos, -sin), (sin, cos)])
        if (np.abs(local) <= rectangle.half_m).all(axis=1).any():
            return 0.0
    return float(np.linalg.norm(points[0][:, None] - points[1][None], axis=2).min())


def test_each_way_has_the_fixed_pad_on_another_face():
    found = ways(box(0.2, 0.1, 0.3))
    faces_m = np.array([way.position_m[:2] - (0.2, 0.1) for way in found])
    np.testing.assert_allclose(np.linalg.norm(faces_m, axis=1), EDGE_M / 2)
    np.testing.assert_allclose(faces_m.sum(axis=0), 0, atol=1e-12)
    for way, face_m in zip(found, faces_m, strict=True):
        np.testing.assert_allclose(face_m, -way.opening * EDGE_M / 2)
        assert math.remainder(way.yaw_rad - 0.3, math.pi / 2) == pytest.approx(0, abs=1e-9)


def test_the_fingers_enclose_what_is_between_the_pads():
    grasp = ways(box(0.0, 0.0))[0]
    fixed, moving = fingers(grasp, EDGE_M)
    assert fixed.x_m + FIXED_FINGER_M / 2 == pytest.approx(-EDGE_M / 2)
    assert moving.x_m - MOVING_JAW_M / 2 == pytest.approx(EDGE_M / 2)


def test_a_neighbour_takes_the_room_on_its_side_only():
    beside = box(0.0, 0.038)
    rooms_m = {round(math.degrees(way.yaw_rad)): room_m(way, EDGE_M, [beside]) for way in ways(box(0, 0))}
    assert rooms_m[90] == pytest.approx(0.038 - EDGE_M - MOVING_JAW_M)  # the moving jaw between them
    assert rooms_m[-90] == pytest.approx(0.038 - EDGE_M - FIXED_FINGER_M)  # the fixed one
    assert min(room for yaw_deg, room in rooms_m.items() if abs(yaw_deg) != 90) > 0.005


def test_what_is_lower_than_the_fingertips_takes_no_room():
    low = box(0.0, 0.025)
    above = ways(box(0.0, 0.0, z_m=0.060))[1]
    assert room_m(above, EDGE_M, [low]) == math.inf
