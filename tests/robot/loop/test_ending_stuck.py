"""What becomes of an arm that cannot go home: it is held, not dropped."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from so101_robot.arm.config_arm import HOME
from so101_robot.errors import BusTimeoutError, ConfigError, PortError
from so101_robot.faults.fault import Mode
from so101_robot.guard.guard import Guard, GuardLimits
from so101_robot.joints import JOINTS
from so101_robot.loop.ending import Ending, EndingConfig, end_safely
from so101_robot.loop.tick import Tick
from so101_robot.state import ArmState

IN_THE_AIR = np.array([0.0, -35.0, 32.0, 45.0, 0.0, 30.0])
NEARLY_HOME = np.array(HOME) + np.array([40.0, 0, 0, 0, 60, 50])
FPS = 30


class Clock:
    time_s = 5.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, time_s: float) -> None:
        self.time_s = max(self.time_s, time_s)


class StuckArm:
    """Stands where it is put: its commands do not arrive."""

    home: NDArray[np.float64] = np.array(HOME)

    def __init__(self, position: NDArray[np.float64], clock: Clock) -> None:
        self.position, self.clock = position.copy(), clock
        self.calls: list[str] = []
        self.hold_fails = False
        self.away_until_s: dict[int, float] = {}

    def read(self) -> ArmState:
        now_s = self.clock.now_s()
        answered = np.array([now_s >= self.away_until_s.get(joint, 0.0) for joint in range(6)])
        return ArmState(now_s, self.position.copy(), answered, np.zeros(6, np.uint8), None)

    def frames(self) -> dict[str, Any]:
        return {}

    def command(self, position: ArrayLike) -> NDArray[np.float64]:
        raise BusTimeoutError("nobody listens")

    def hold(self) -> NDArray[np.float64]:
        if self.hold_fails:
            raise PortError("unplugged")
        self.calls.append("hold")
        return self.position

    def restore(self, joint: int) -> bool:
        self.calls.append(f"restore {joint}")
        return True

    def release(self) -> dict[str, str | None]:
        self.calls.append("release")
        return dict.fromkeys(JOINTS)


class Scene:
    def __init__(self, position: NDArray[np.float64] = IN_THE_AIR) -> None:
        self.clock = Clock()
        self.arm = StuckArm(position, self.clock)
        self.guard = Guard(GuardLimits(), [-115.0] * 5 + [0.0], [115.0] * 5 + [100.0])
        self.guard.reset(position)
        self.ticks: list[Tick] = []
        self.said: list[str] = []
        self.ctrl_c_at_s: list[float] = []

    def end(self, **config: Any) -> Ending:
        return end_safely(
            self.arm,
            self.guard,
            self.clock,
            EndingConfig(**{"wait_s": 4.0, **config}),
            period_s=1 / FPS,
            release=True,
            first_index=7,
            state=self.arm.read(),
            requests=lambda: sum(time_s <= self.clock.now_s() for time_s in self.ctrl_c_at_s),
            on_tick=self.ticks.append,
            say=lambda message: self.said.append(message.text),
        )


def test_an_arm_in_the_air_that_cannot_go_home_is_held_and_watched_over():
    scene = Scene()
    ending = scene.end()
    assert "would fall" in ending.held
    assert "nobody listens" in ending.held
    assert ending.torque_may_be_on == list(JOINTS)
    assert set(scene.arm.calls) == {"hold"}
    assert any("press Ctrl-C twice to let it go" in text for text in scene.said)
    watched = [tick for tick in scene.ticks if tick.mode is Mode.HOLDING]
    assert len(watched) == pytest.approx(4.0 * FPS, abs=2)
    assert [tick.index for tick in scene.ticks] == list(range(7, 7 + len(scene.ticks)))


@pytest.mark.parametrize(("at_s", "press"), [([7.0, 8.0], "twice"), ([0.0, 8.0], "again")])
def test_a_person_lets_it_go_with_the_second_ctrl_c(at_s: list[float], press: str):
    scene = Scene()
    scene.ctrl_c_at_s = at_s
    ending = scene.end()
    assert not ending.held
    assert ending.torque_may_be_on == []
    assert scene.arm.calls[-1] == "release"
    assert scene.clock.now_s() == pytest.approx(8.0, abs=0.1)
    assert any(f"press Ctrl-C {press} to let it go" in text for text in scene.said)
    assert ("Ctrl-C again lets it go" in scene.said) is (press == "twice")


@pytest.mark.parametrize("at_s", [0.0, 5.0, 8.0], ids=["ended the run", "on the way home", "while it waits"])
def test_one_ctrl_c_does_not_let_it_go(at_s: float):
    scene = Scene()
    scene.ctrl_c_at_s = [at_s]
    assert scene.end().held
    assert "release" not in scene.arm.calls


def test_it_falls_only_when_asked_to():
    scene = Scene()
    ending = scene.end(if_stuck="release")
    assert not ending.held
    assert scene.arm.calls[-1] == "release"


def test_an_arm_that_lies_is_let_go_though_it_is_not_home():
    scene = Scene(NEARLY_HOME)
    ending = scene.end()
    assert not ending.at_home
    assert not ending.held
    assert scene.arm.calls[-1] == "release"


def test_an_arm_that_cannot_be_told_to_hold_is_neither_waited_for_nor_let_go():
    scene = Scene()
    scene.arm.hold_fails = True
    ending = scene.end()
    assert ending.held
    assert "release" not in scene.arm.calls
    assert scene.ticks == []


def test_a_servo_that_comes_back_while_it_is_watched_is_told_to_hold():
    scene = Scene()
    scene.arm.away_until_s[2] = 7.5
    assert scene.end().held
    assert "restore 2" in scene.arm.calls
    assert scene.arm.calls[scene.arm.calls.index("restore 2") + 1] == "hold"


@pytest.mark.parametrize("wrong", [{"if_stuck": "drop"}, {"wait_s": -1.0}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]):
    with pytest.raises(ConfigError, match="expected"):
        EndingConfig(**wrong)
