"""How much load a servo may bear: current, motor duty and temperature -> how fast the arm may go, or a stop.

For current and duty every joint has a budget like that of a motor protection switch (I^2 t; IEC 60255-149 has the
thermal model): what exceeds the value that may last heats, what is below cools,

    heat' = (x / x_lasting)^2 - 1,  heat >= 0,    full at  overload_s ((x_peak / x_lasting)^2 - 1)

so a short overload is tolerated. From half of the budget on the whole arm slows down, to a fifth when it is used up;
then it stops for as long as the overload lasts. Temperature does the same between two readings. A joint that did
not answer keeps what it had; without any health nothing is judged.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.guard.rig import STALL_MA, Rig
from so101_robot.guard.rules import GuardRule
from so101_robot.joints import JOINTS

if TYPE_CHECKING:
    from so101_robot.state import ArmState

SLOWEST = 0.2
"""Of the speed limits that are left before the stop: 36 deg/s, about the speed of the way home."""

SLOW_FROM = 0.5
"""Part of a budget that may be used before the arm slows down."""

LONGEST_S = 1.0
"""Two healths farther apart than this count as this far apart."""


class LoadAllowance(NamedTuple):
    """What the servos' health allows."""

    speed: float = 1.0
    """Part of the speed limits that is left."""
    stop: bool = False
    cause: GuardRule = GuardRule.OVERLOAD_CURRENT
    """What is worst, one of `guard_rules.OVERLOADED`; says nothing while all speed is left."""
    joint: str = ""
    found: float = 0.0
    """Percent of the budget used, or degrees Celsius."""
    allowed: float = 0.0
    """From where on the arm is slowed down, or stopped."""


FULL_SPEED = LoadAllowance()


class LoadLimits:
    """The budgets of six joints."""

    def __init__(self, rig: Rig) -> None:
        rules = [rig.joints[joint] for joint in JOINTS]
        self._rig = rig
        self._lasting = np.array([[r.current_ma for r in rules], [r.load_percent for r in rules]])
        peak = np.array([[STALL_MA], [100.0]])
        self._full = np.array([r.overload_s for r in rules]) * ((peak / self._lasting) ** 2 - 1)
        self._heat: NDArray[np.float64] = np.zeros_like(self._full)
        self._time_s: float | None = None
        self._allowance = FULL_SPEED

    def judge(self, state: "ArmState") -> LoadAllowance:
        """What the newest health allows; once more the same for a state that was seen before."""
        health = state.health
        if health is None or state.time_s == self._time_s:
            return self._allowance
        elapsed_s = 0.0 if self._time_s is None else min(max(state.time_s - self._time_s, 0.0), LONGEST_S)
        self._time_s = state.time_s
        overloaded = (np.stack([health.current_ma, health.load_percent]) / self._lasting) ** 2 - 1
        known = np.isfinite(overloaded)
        self._heat += np.where(known, overloaded, 0.0) * elapsed_s
        np.clip(self._heat, 0.0, self._full, out=self._heat)
        self._allowance = self._worst(np.asarray(health.temperature_c, np.float64))
        return self._allowance

    def _worst(self, temperature_c: NDArray[np.float64]) -> LoadAllowance:
        used = self._heat / self._full
        kind, joint = divmod(int(used.argmax()), len(JOINTS))
        most = float(used[kind, joint])
        cause = (GuardRule.OVERLOAD_CURRENT, GuardRule.OVERLOAD_LOAD)[kind]
        stop = most >= 1.0  # it cools with the first health that is no overload
        allowance = LoadAllowance(
            _eased(most, SLOW_FROM, 1.0),
            stop,
            cause,
            JOINTS[joint],
            100 * most,
            100.0 if stop else 100 * SLOW_FROM,
        )
        hot = np.where(np.isfinite(temperature_c), temperature_c, -np.inf)
        joint, hottest_c = int(hot.argmax()), float(hot.max())
        slow_c, stop_c = self._rig.slow_c, self._rig.stop_c
        by_heat = _eased(hottest_c, slow_c, stop_c)
        if not allowance.stop and (hottest_c >= stop_c or by_heat < allowance.speed):
            stop = hottest_c >= stop_c
            return LoadAllowance(
                by_heat, stop, GuardRule.TEMPERATURE, JOINTS[joint], hottest_c, stop_c if stop else slow_c
            )
        return allowance if allowance.speed < 1.0 or allowance.stop else FULL_SPEED


def _eased(value: float, begin: float, end: float) -> float:
    """1 up to `begin`, falling evenly to `SLOWEST` at `end`."""
    return 1.0 - (1.0 - SLOWEST) * min(max((value - begin) / (end - begin), 0.0), 1.0)
