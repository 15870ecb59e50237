"""Phases are read off the commands: hand-made trajectories, with and without noise."""

from itertools import pairwise

import numpy as np
import pytest

from so101_policy.reliance.phases import (
    PHASES,
    Carry,
    JawLevels,
    carries_of,
    hysteresis,
    phases_of,
    running_median,
)

FPS = 30
OPEN, CLOSED = 60.0, 10.0
LEVELS = JawLevels(CLOSED, OPEN)


def ramp(start: float, stop: float, frames: int) -> np.ndarray:
    return np.linspace(start, stop, frames)


def pick_and_place(boxes: int = 1) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Jaws, arm and phases. Per box 2 s there, 1 s of closing at rest, 2 s back, 1 s of opening at rest; then home."""
    jaws, arm, phases = [np.full(0, OPEN)], [np.empty((0, 2))], list[str]()
    here = np.zeros(2)

    def move(to: tuple[float, float], frames: int, opening: float, phase: str) -> None:
        nonlocal here
        jaws.append(np.full(frames, opening))
        arm.append(np.stack([ramp(here[i], to[i], frames) for i in (0, 1)], axis=1))
        phases.extend([phase] * frames)
        here = np.array(to, dtype=float)

    for _ in range(boxes):
        move((-40, 30), 60, OPEN, "approach")
        move((-40, 30), 15, OPEN, "grasp")
        move((-40, 30), 15, CLOSED, "grasp")
        move((40, 10), 60, CLOSED, "carry")
        move((40, 10), 15, CLOSED, "release")
        move((40, 10), 15, OPEN, "release")
    move((0, 0), 60, OPEN, "return")
    return np.concatenate(jaws), np.concatenate(arm), phases


def agreement(jaws: np.ndarray, arm: np.ndarray, expected: list[str]) -> float:
    found = [PHASES[index] for index in phases_of(jaws, arm, FPS, LEVELS)]
    return float(np.mean([a == b for a, b in zip(found, expected, strict=True)]))


@pytest.mark.parametrize("boxes", [1, 2, 3])
def test_a_pick_and_place_has_its_phases_in_order(boxes: int):
    jaws, arm, expected = pick_and_place(boxes)
    found = phases_of(jaws, arm, FPS, LEVELS)
    order = [PHASES[found[0]]] + [PHASES[b] for a, b in pairwise(found) if a != b]
    assert order == ["approach", "grasp", "carry", "release"] * boxes + ["return"]
    assert agreement(jaws, arm, expected) > 0.9  # the few degrees next to a stop count as at rest


def test_noise_spikes_and_a_hand_that_trembles_change_little():
    jaws, arm, expected = pick_and_place(2)
    rng = np.random.default_rng(0)
    for _ in range(20):
        noisy = jaws + rng.normal(0, 4, len(jaws))
        noisy[rng.integers(0, len(jaws), 8)] = rng.choice([0.0, 100.0], 8)  # lost packets
        assert agreement(noisy, arm + rng.normal(0, 0.8, arm.shape), expected) > 0.9


def test_phases_move_with_the_trajectory_and_know_no_units_of_the_jaws():
    jaws, arm, _ = pick_and_place(1)
    found = phases_of(jaws, arm, FPS, LEVELS)
    later = phases_of(np.r_[np.full(30, OPEN), jaws], np.r_[np.zeros((30, 2)), arm], FPS, LEVELS)
    np.testing.assert_array_equal(later, np.r_[np.zeros(30, int), found])
    scaled = phases_of(jaws * 3 + 7, arm, FPS, JawLevels(CLOSED * 3 + 7, OPEN * 3 + 7))
    np.testing.assert_array_equal(scaled, found)


def test_jaws_that_rest_closed_before_and_after_carry_nothing():
    jaws, arm, _ = pick_and_place(1)
    rest = np.full(45, CLOSED)
    jaws, arm = np.r_[rest, jaws, rest], np.r_[np.zeros((45, 2)), arm, np.zeros((45, 2))]
    phases = phases_of(jaws, arm, FPS, LEVELS)
    assert len(carries_of(jaws, FPS, LEVELS)) == 1
    assert set(phases[:45]) == {PHASES.index("approach")}
    assert set(phases[-60:]) == {PHASES.index("return")}


def test_a_pick_without_a_release_is_carried_to_the_end():
    jaws = np.r_[np.full(60, OPEN), np.full(90, CLOSED)]
    arm = np.r_[np.zeros((75, 1)), ramp(10, 60, 75)[:, None]]
    assert carries_of(jaws, FPS, LEVELS) == [Carry(60, 150)]
    assert PHASES[phases_of(jaws, arm, FPS, LEVELS)[-1]] == "carry"


def test_jaws_that_do_not_move_leave_one_phase():
    phases = phases_of(np.full(90, 30.0), np.zeros((90, 5)), FPS, JawLevels.of(np.full(90, 30.0)))
    assert set(phases) == {PHASES.index("approach")}


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_an_episode_of_a_few_frames_is_no_trouble(frames: int):
    assert len(phases_of(np.full(frames, OPEN), np.zeros((frames, 5)), FPS, LEVELS)) == frames


def test_a_held_box_that_keeps_the_jaws_half_open_stays_carried():
    jaws, arm, expected = pick_and_place(1)
    jaws[80:165] = CLOSED + 0.5 * (OPEN - CLOSED)  # squeezed shut, then relaxed to half
    assert agreement(jaws, arm, expected) > 0.9


def test_running_median_and_hysteresis_equal_a_loop_by_hand():
    rng = np.random.default_rng(1)
    values = rng.random(50)
    padded = np.r_[[values[0]] * 2, values, [values[-1]] * 2]
    np.testing.assert_allclose(running_median(values, 5), [np.median(padded[i : i + 5]) for i in range(50)])
    values[0], state, by_hand = 0.9, False, []
    for value in values:
        state = True if value < 0.4 else False if value > 0.6 else state
        by_hand.append(state)
    assert hysteresis(values, 0.4, 0.6).tolist() == by_hand
