"""What the joints explain, which episodes are unusual, and what pictures are measured."""

from pathlib import Path

import numpy as np
import pytest

from so101_policy.dataset_check.description import Description, Feature
from so101_policy.dataset_check.explained import explained_by_state
from so101_policy.dataset_check.look import look
from so101_policy.dataset_check.measures import measures_of, unusual
from so101_policy.dataset_check.numbers import Used, idle_frames
from so101_policy.dataset_check.pictures import CameraFigures, look_at_pictures, where_things_lay
from so101_policy.dataset_check.tables import Rows
from so101_policy.units import LikelyUnits

NAMES = tuple(f"{j}.pos" for j in "abcdef")


def used_of(episodes: list[tuple[np.ndarray, np.ndarray]], fps: float = 10.0) -> Used:
    """Frames in memory, from (state, action) of each episode."""
    features = {key: Feature("float32", (6,), NAMES) for key in ("observation.state", "action")}
    lengths = [len(state) for state, _ in episodes]
    about = Description(Path("x"), fps, len(episodes), sum(lengths), 1, features, "", "")
    columns = {
        "observation.state": np.vstack([state for state, _ in episodes]),
        "action": np.vstack([action for _, action in episodes]),
    }
    rows = Rows(columns, (Path("x/file"),), np.array([sum(lengths)]))
    episode_N = np.repeat(np.arange(len(episodes)), lengths)
    return Used(about, rows, np.cumsum([0, *lengths[:-1]]), np.arange(sum(lengths)), episode_N)


def walks(count: int, seed: int = 0, frames: int = 60) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    states = [np.cumsum(rng.normal(0, 3, (frames, 6)), axis=0) for _ in range(count)]
    return [(state, np.vstack([state[1:], state[-1:]])) for state in states]


def test_a_movement_that_the_state_decides_is_explained():
    """Every episode runs to zero from elsewhere: what is left to go is the state itself."""
    rng = np.random.default_rng(0)
    decay = 0.9 ** np.arange(41)[:, None]
    episodes = [(decay[:-1] * start, decay[1:] * start) for start in rng.normal(0, 40, (12, 6))]
    found = explained_by_state(used_of(episodes))
    assert found is not None
    assert found.whole.value > 0.95
    assert found.whole.low <= found.whole.value <= found.whole.high
    assert set(found.joints) == set(NAMES)


def test_a_random_walk_is_not_explained():
    found = explained_by_state(used_of(walks(16)))
    assert found is not None
    assert found.whole.value < 0.35


def test_episodes_are_not_explained_by_themselves():
    """Each episode stands elsewhere and moves its own way: a fit that saw the episode would know it."""
    rng = np.random.default_rng(1)
    episodes = []
    for _ in range(12):
        place, way = rng.normal(0, 40, 6), rng.normal(0, 1, 6)
        state = place + np.arange(60)[:, None] * 0.01 * way
        episodes.append((state, state + 20 * way))
    found = explained_by_state(used_of(episodes))
    assert found is not None
    assert found.whole.value < 0.3


@pytest.mark.parametrize("count", [1, 3])
def test_few_episodes_explain_nothing(count: int):
    assert explained_by_state(used_of(walks(count))) is None


def test_an_episode_that_is_longer_and_one_that_starts_elsewhere_are_unusual():
    episodes = walks(10)
    longer = walks(1, seed=5, frames=200)[0]
    episodes[3] = longer
    state, action = episodes[7]
    episodes[7] = state + 90, action + 90
    used = used_of(episodes)
    found = {(each.episode, each.measure) for each in unusual(measures_of(used, LikelyUnits.DEGREES))}
    assert (3, "length") in found
    assert (7, "start") in found
    assert not any(episode == 0 for episode, _ in found)


def test_idle_is_what_no_joint_moves_in_for_two_seconds():
    state, action = walks(1)[0]
    state[10:32], action[10:32] = state[10], action[10]
    state[40:55], action[40:55] = state[40], action[40]
    idle = idle_frames(used_of([(state, action)]))
    assert np.flatnonzero(idle).tolist() == list(range(10, 32))


def test_readings_that_repeat_while_the_action_moves_are_counted():
    state, action = walks(1)[0]
    state[1::2] = state[::2]
    found = measures_of(used_of([(state, action)]), LikelyUnits.DEGREES).values["repeated readings"][0]
    assert found == pytest.approx(30 / 59, abs=0.02)


def test_pictures_are_measured_and_repeated_ones_noticed(valid: Path):
    seen = look(valid)
    assert seen.used is not None
    assert seen.episodes is not None
    idle = np.zeros(36, bool)
    found = look_at_pictures(seen.used, seen.episodes, idle)["observation.images.front"]
    assert np.allclose(found.brightness, 0.39, atol=0.05)
    assert (found.repeated, found.pairs) == (0, 18)
    assert found.first[0].shape == (32, 48, 3)


def test_where_first_frames_differ_something_was_moved():
    first = [np.full((10, 12, 3), 90, np.uint8) for _ in range(5)]
    first[2][4:6, 3:5] = 200
    usual, differs = where_things_lay(first)
    assert (usual == 90).all()
    assert np.argwhere(differs > 50).tolist() == [[4, 3], [4, 4], [5, 3], [5, 4]]


def test_a_camera_that_is_dark_blurred_in_one_episode_or_stores_twice_is_doubtful():
    from so101_eval.dataset_report.report import _of_camera

    picture = np.zeros((2, 2, 3), np.uint8)
    camera = CameraFigures([0.05, 0.05, 0.4], [10, 1, 10], 9, 18, [picture] * 3)
    texts = [finding.text for finding in _of_camera("observation.images.front", camera, [0, 4, 7])]
    assert [text.split(";")[0] for text in texts] == [
        "camera front: brightness 0.05",
        "camera front, episode 7: brightness 0.40",
        "camera front, episode 4: sharpness 1",
        "camera front: 9 of 18 sampled pictures are stored twice",
    ]
