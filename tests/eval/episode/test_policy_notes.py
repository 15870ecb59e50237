"""A policy drives an attempt as it is deployed: asked in time, late by what was stated, at its own rate."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_eval.episode.episode import Attempt, Stage
from so101_eval.episode.policy_notes import PolicyNotes, check_rate, mean_shares
from so101_eval.errors import ConfigError
from so101_eval.evaluation.loaded_policies import scheduler
from so101_eval.palletizing.scene.draw import draw
from so101_policy.attention.shares import AttentionShares
from so101_policy.inference.loaded import Prediction
from so101_robot.chunks.planning import Playing
from so101_robot.loop.tick import Tick
from so101_robot.mock.config import MockConfig

CHUNK = 12
SHARES = AttentionShares(0.1, 0.2, 0.0, 0.7, {"front": 0.3, "wrist": 0.4}, 0.5, 0.6, {"state": 0.05})


class Waving:
    """A policy that looks at nothing but the joints: from where the pan joint is on, half a degree an action."""

    def __init__(self, step_deg: float = 0.5) -> None:
        self.step_deg = step_deg
        self.asked: list[tuple[NDArray[np.float64], Mapping[str, NDArray[np.uint8]]]] = []

    def __call__(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        self.asked.append((state, images))
        actions = np.tile(np.asarray(state, np.float32), (CHUNK, 1))
        actions[:, 0] += self.step_deg * np.arange(1, CHUNK + 1)
        return Prediction(actions, SHARES)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage("palletize-1", MockConfig(width=24, height=24, realtime_factor=0.0)) as stage:
        yield stage


class Enough(Exception):  # noqa: N818 - it is the ordinary end
    """So many ticks are enough."""


def play(
    stage: Stage, policy: Any, playing: Playing, ticks: int, scenario: str = "nominal", level: int = 0
) -> tuple[PolicyNotes, list[Tick]]:
    reset = draw("palletize-1", scenario, level, seed=3)
    notes, seen = PolicyNotes(), list[Tick]()

    def on_tick(tick: Tick) -> None:
        seen.append(tick)
        if len(seen) == ticks:
            raise Enough

    with pytest.raises(Enough):
        stage.attempt(reset, lambda stage: scheduler(stage, policy, playing), notes.on_tick, on_tick)
    return notes, seen


def asked_of(ticks: list[Tick]) -> NDArray[np.float64]:
    return np.array([tick.asked for tick in ticks])


@pytest.mark.parametrize(("latency_s", "late"), [(0.0, 0), (0.1, 3), (0.05, 2), (0.2, 6)])
def test_the_first_action_comes_the_stated_latency_after_the_first_observation(
    stage: Stage, latency_s: float, late: int
):
    notes, ticks = play(stage, Waving(), Playing(n_action_steps=8, latency_s=latency_s), 12)
    assert [tick.index for tick in ticks if tick.asked is None] == list(range(late))
    assert [tick.index for tick in ticks if tick.sent is None] == list(range(late))
    assert notes.held_ticks == late
    start = ticks[0].state.position
    assert asked_of(ticks[late:])[0, 0] == pytest.approx(start[0] + 0.5, abs=1e-3)


def test_a_policy_of_ten_hertz_is_followed_on_the_straight_line(stage: Stage):
    notes, ticks = play(stage, Waving(3.0), Playing(10.0, 30.0, "synchronous", CHUNK, 0.0), 30)
    pan, start = asked_of(ticks)[:, 0], ticks[0].state.position[0]
    np.testing.assert_allclose(pan, start + np.arange(1, 31), atol=0.2)  # 3 degrees in 3 ticks, and so on
    np.testing.assert_allclose(np.diff(pan), 1.0, atol=1e-5)
    # action k is where the arm is to be at the end of window k
    np.testing.assert_allclose(pan[2::3], start + 3.0 * np.arange(1, 11), atol=1e-4)
    assert notes.inferences == 1


def test_at_the_arms_own_rate_actions_pass_as_they_are(stage: Stage):
    policy = Waving()
    _, ticks = play(stage, policy, Playing(30.0, 30.0, "synchronous", CHUNK, 0.0), CHUNK)
    expected = policy(policy.asked[0][0], {}).actions
    np.testing.assert_array_equal(asked_of(ticks), expected.astype(np.float64))


class Looking(Waving):
    """Looks at all pictures."""

    def __call__(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        return super().__call__(state, dict(images))


def test_pictures_are_rendered_once_a_chunk_and_not_on_every_tick(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    policy, rendered = Looking(), list[str]()
    draw_one = stage.mock.draw
    monkeypatch.setattr(
        stage.mock, "draw", lambda name, capture: (rendered.append(name), draw_one(name, capture))[1]
    )
    notes, _ = play(stage, policy, Playing(30.0, 30.0, "asynchronous", 8, 0.1), 60)
    assert len(rendered) == 2 * len(policy.asked)
    assert 4 < len(policy.asked) <= 20  # of 60 ticks
    assert notes.inferences in (len(policy.asked), len(policy.asked) - 1)  # one may be on its way


def test_the_policy_sees_joints_through_their_disturbance(stage: Stage):
    clear, biased, playing = Waving(), Waving(), Playing(30.0, 30.0, "synchronous", 4, 0.0)
    play(stage, clear, playing, 2)
    play(stage, biased, playing, 2, "sensor-bias", 3)
    np.testing.assert_allclose(np.abs(biased.asked[0][0] - clear.asked[0][0]), 4.0, atol=0.1)


def test_a_camera_that_goes_dark_holds_the_arm_as_in_so101_run(stage: Stage):
    _, ticks = play(stage, Looking(), Playing(30.0, 30.0, "synchronous", 4, 0.0), 400, "image-black", 2)
    dark = [tick for tick in ticks if any(fault.startswith("camera dark") for fault in tick.faults)]
    assert {str(tick.mode) for tick in dark} == {"degraded", "holding"}
    assert str(ticks[-1].mode) != "parking"
    assert any(not tick.faults for tick in ticks[dark[0].index :])  # and goes on


def test_an_action_that_is_no_number_holds_the_arm_and_ends_the_attempt(stage: Stage):
    class Broken(Waving):
        def __call__(self, state: Any, images: Any) -> Prediction:
            return super().__call__(state, images)._replace(actions=np.full((CHUNK, 6), np.nan, np.float32))

    policy, playing = Broken(), Playing(30.0, 30.0, "asynchronous", 8, 0.1)
    attempt: Attempt = stage.attempt(
        draw("palletize-1", seed=3), lambda stage: scheduler(stage, policy, playing)
    )
    assert attempt.score.failure is not None
    assert attempt.score.failure.kind == "nan"
    assert attempt.score.success is False
    assert len(policy.asked) > 2  # its plan was void, and it was asked anew


def test_after_a_hold_the_arm_goes_on_from_where_it_was_held(stage: Stage):
    class OnceBroken(Waving):
        def __call__(self, state: Any, images: Any) -> Prediction:
            good = super().__call__(state, images)
            return good._replace(actions=good.actions * np.nan) if len(self.asked) == 2 else good

    policy = OnceBroken()
    _, ticks = play(stage, policy, Playing(10.0, 30.0, "synchronous", 4, 0.0), 60)
    sent = [tick.sent for tick in ticks]
    held = [i for i, each in enumerate(sent) if each is None]
    assert held
    assert len(held) <= 9  # 0.2 s, and the rest of a window
    before, after = sent[held[0] - 1], sent[held[-1] + 1]
    assert before is not None
    assert after is not None
    assert np.abs(after - before).max() < 1.5


def test_shares_are_means_over_the_inferences(stage: Stage):
    notes, _ = play(stage, Waving(), Playing(30.0, 30.0, "synchronous", 4, 0.0), 9)
    shares = notes.shares()
    assert shares is not None
    assert shares["state"] == pytest.approx(0.2)
    assert shares["cameras"] == pytest.approx({"front": 0.3, "wrist": 0.4})
    other = SHARES._replace(state=0.4, cameras={"front": 0.5, "wrist": 0.4})
    assert mean_shares([SHARES, other])["cameras"]["front"] == pytest.approx(0.4)  # pyright: ignore[reportOptionalSubscript]
    assert mean_shares([]) is None


@pytest.mark.parametrize("fps", [0.0, -10.0, 7.0, 60.0, float("nan")])
def test_a_rate_that_the_control_loop_cannot_be_divided_by_is_refused(fps: float):
    with pytest.raises(ConfigError, match="possible"):
        check_rate(fps)
