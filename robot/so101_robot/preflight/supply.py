"""Does the supply suit the servos? The one judgement of it, for the pre-flight and for calibration.

A servo's own limits do not tell: a 12 V servo leaves the factory with a least voltage of 4 V, and works at 5 V until it
has to lift something.
"""

from dataclasses import dataclass

from so101_robot.bus.registers import VOLTAGE_UNIT_V
from so101_robot.bus.setup import Registers, value_of

MINI_LIMIT = 90
"""Max_Voltage_Limit [0.1 V]: the 7.4 V servo leaves the factory with 80, the 12 V servo with 140."""

SUPPLY_V = {True: (4.5, 8.4), False: (9.0, 14.0)}
"""What a 7.4 V servo (True) and a 12 V servo work with [V]: Feetech's data sheets; 14.0 is where the latter reports an
error."""


@dataclass(frozen=True)
class WrongSupply:
    """One servo whose supply does not suit it."""

    index: int
    """Of the servo, 0 to 5."""
    kind: str
    """Of the servo: 7.4 V or 12 V."""
    volts: float
    allowed_v: tuple[float, float]

    @property
    def found(self) -> str:
        low, high = self.allowed_v
        return f"a {self.kind} servo ({low:g} to {high:g} V) that gets {self.volts:.1f} V"

    @property
    def remedy(self) -> str:
        too_much = self.volts > self.allowed_v[1]
        why = "unplug it now: it damages the servo" if too_much else "the joint will be weak and let go"
        return f"wrong or failing supply; {why}"


def wrong_supplies(rows: Registers) -> list[WrongSupply]:
    """The servos whose supply does not suit them, from all registers (6, 87)."""
    found: list[WrongSupply] = []
    for index, row in enumerate(rows):
        volts = round(value_of(row, "Present_Voltage") * VOLTAGE_UNIT_V, 1)
        small = value_of(row, "Max_Voltage_Limit") < MINI_LIMIT
        low, high = SUPPLY_V[small]
        if not low <= volts <= high:
            found.append(WrongSupply(index, "7.4 V" if small else "12 V", volts, (low, high)))
    return found
