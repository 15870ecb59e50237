"""The attention alarm: when it begins and ends, what it says, and that it only looks."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_robot.chunks.inference import Inference
from so101_robot.chunks.scheduler import NOTHING, Planned
from so101_robot.errors import ConfigError
from so101_robot.guard.guard import Verdict
from so101_robot.loop.attention_alarm import AttentionAlarm, AttentionAlarmConfig, WithAttentionAlarm
from so101_robot.loop.tick import Tick
from so101_robot.message import Message

POSE = np.zeros(6)
FPS = 10


class State(NamedTuple):
    time_s: float
    position: NDArray[np.float64]


class Shares(NamedTuple):
    state: float
    cameras: dict[str, float]
    uniform: dict[str, float]


def shares(state: float, uniform: float = 0.05, cameras: bool = True) -> Any:
    return Shares(state, {"front": 1 - state} if cameras else {}, {"state": uniform, "front": 1 - uniform})


def tick(index: int, answer: Any = None, phase: Any = "run") -> Tick:
    inference = None if answer is None else Inference(np.zeros((5, 6)), answer, index, index / FPS, 0.1)
    return Tick(
        index=index,
        phase=phase,
        time_s=index / FPS,
        unix_s=0.0,
        late_s=0.0,
        state=State(index / FPS, POSE),  # type: ignore[arg-type]
        frames={},
        planned=None if phase == "home" else Planned(POSE, inference, "chunk", 0, 0, 0.1),
        asked=POSE,
        verdict=Verdict(POSE, (), None),
        sent=POSE,
        goal=POSE,
        stages_ms={},
        fault=None,
    )


class Notes:
    name = "notes"

    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self.said: list[tuple[int, str]] = []
        self.closed = False

    def on_tick(self, tick: Tick) -> None:
        self.ticks.append(tick)

    def on_message(self, message: Message) -> None:
        self.said.append((len(self.ticks), message.text))

    def close(self) -> None:
        self.closed = True


def played(answers: dict[int, Any], ticks: int = 40, **config: float) -> Notes:
    """`answers`: tick -> shares of the answer that arrives on it."""
    notes = Notes()
    alarmed = WithAttentionAlarm([notes], AttentionAlarmConfig(**config))
    for index in range(ticks):
        alarmed.on_tick(tick(index, answers.get(index)))
    alarmed.close()
    assert notes.closed
    return notes


def blind_ticks(notes: Notes) -> list[int]:
    return [seen.index for seen in notes.ticks if seen.blind is not None]


def test_it_begins_after_a_second_above_the_threshold_is_said_once_and_ends_with_an_answer_below() -> None:
    notes = played({0: shares(0.2), 5: shares(0.7), 9: shares(0.8), 25: shares(0.3)})
    assert blind_ticks(notes) == list(range(15, 25))
    assert [at for at, _ in notes.said] == [15, 25]  # before the tick on which it changes
    begun, over = (text for _, text in notes.said)
    assert "may be blind" in begun
    assert "for 1.0 s (now 80%, uniform 5.0%)" in begun
    assert "a hint" in begun
    assert over == "attention alarm is over after 2.0 s: the joint state has 30%"
    last = notes.ticks[24].blind
    assert last is not None
    assert (last.share, last.uniform, last.for_s) == (0.8, 0.05, pytest.approx(1.9))


def test_a_share_that_falls_in_time_is_no_alarm() -> None:
    notes = played({0: shares(0.9), 9: shares(0.5), 12: shares(0.9), 20: shares(0.6)})
    assert (blind_ticks(notes), notes.said) == ([], [])


def test_it_comes_back_when_the_policy_does_it_again() -> None:
    notes = played({0: shares(0.9), 12: shares(0.5), 20: shares(0.9)})
    assert blind_ticks(notes) == [10, 11, *range(30, 40)]
    assert len(notes.said) == 3


@pytest.mark.parametrize(
    "answer",
    [None, shares(float("nan")), shares(1.0, cameras=False), shares(0.7, uniform=0.75)],
    ids=["no shares", "no number", "no cameras", "less than uniform"],
)
def test_what_says_nothing_about_blindness_is_no_alarm(answer: Any) -> None:
    assert blind_ticks(played({0: answer})) == []


def test_thresholds_are_those_of_the_flags() -> None:
    assert blind_ticks(played({0: shares(0.5)}, share=0.4, for_s=3.0)) == list(range(30, 40))
    assert blind_ticks(played({0: shares(0.5)}, share=0.4, for_s=0.0)) == list(range(40))
    assert blind_ticks(played({0: shares(1.0)}, share=1.0)) == []
    for wrong in ({"share": 1.1}, {"share": float("nan")}, {"for_s": -1.0}):
        with pytest.raises(ConfigError, match=r"--blind\."):
            AttentionAlarmConfig(**wrong)


def test_only_the_time_counts_in_which_the_policy_drives() -> None:
    alarm = AttentionAlarm(AttentionAlarmConfig())
    blind: list[int] = []
    phases = ["approach"] * 15 + ["run"] * 15 + ["home"] * 5
    for index, phase in enumerate(phases):
        warning, _ = alarm.see(tick(index, shares(0.9) if index in (0, 17) else None, phase))
        if warning is not None:
            blind.append(index)
    assert blind == [27, 28, 29]  # the answer of the approach is not played, and nothing is on the way home


def test_while_nothing_is_played_the_last_answer_stands() -> None:
    alarm = AttentionAlarm(AttentionAlarmConfig())
    assert alarm.see(tick(0, shares(0.9))) == (None, None)
    held = tick(10)
    object.__setattr__(held, "planned", NOTHING)
    assert alarm.see(held)[0] is not None


def test_an_alarm_that_fails_is_off_and_loses_nothing() -> None:
    notes = Notes()
    alarmed = WithAttentionAlarm([notes], AttentionAlarmConfig())
    for index in range(5):
        alarmed.on_tick(tick(index, object() if index == 2 else None))
    assert [seen.index for seen in notes.ticks] == list(range(5))
    assert len(notes.said) == 1
    assert "the attention alarm failed and is off" in notes.said[0][1]


def test_an_observer_that_fails_behind_it_is_dropped_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Notes):
        def on_tick(self, tick: Tick) -> None:
            raise OSError("no space left")

    notes = Notes()
    alarmed = WithAttentionAlarm([Broken(), notes], AttentionAlarmConfig())
    alarmed.on_tick(tick(0))
    alarmed.on_tick(tick(1))
    assert len(notes.ticks) == 2
    assert "no space left" in notes.said[0][1]
