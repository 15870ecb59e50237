"""Servos whose settings are another's for a while: changed without being stored, and given back.

With Lock = 1 a servo obeys what is written to its EEPROM's registers and forgets it when it is switched off. So what is
changed here is never stored, and after a power cut or kill -9 the arm is as it was as soon as it is switched on again.
"""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

from so101_calibration.errors import ServoError
from so101_calibration.servos.line import LOCK, TORQUE, Line
from so101_robot.bus.registers import BY_NAME, Register
from so101_robot.joints import SERVO_IDS


class _Before(NamedTuple):
    servo_id: int
    register: Register
    word: bytes


@contextlib.contextmanager
def borrowed(line: Line, settings: Sequence[Mapping[str, int]]) -> Generator[None]:
    """The servos with other settings. Their torque is off at the beginning and at the end.

    Args:
        line: to the servos, which are free.
        settings: register -> value, for each servo in order.

    Raises:
        ServoError: a servo does not take a setting, or does not take its own one back (which says what to do).
    """
    kept: list[_Before] = []
    locks = [line.read_word(servo_id, LOCK) for servo_id in SERVO_IDS]
    try:
        for servo_id, wanted in zip(SERVO_IDS, settings, strict=True):
            line.write(servo_id, TORQUE, 0)
            line.write(servo_id, LOCK, 1)
            for name, value in wanted.items():
                register = BY_NAME[name]
                kept.append(_Before(servo_id, register, line.read_word(servo_id, register)))
                line.write(servo_id, register, value)
        yield
    finally:
        _give_back(line, kept, locks)


def _give_back(line: Line, kept: Sequence[_Before], locks: Sequence[bytes]) -> None:
    troubles: list[str] = []
    for servo_id, lock in zip(SERVO_IDS, locks, strict=True):
        try:
            for before in reversed(kept):
                if before.servo_id == servo_id:
                    line.write_word(servo_id, before.register, before.word)
            line.write_word(servo_id, LOCK, lock)
        except ServoError as problem:
            troubles.append(str(problem))
    if troubles:
        raise ServoError(
            f"{'; '.join(troubles)}. Its settings are not as they were before; nothing of it is stored, so switch the "
            "arm off and on"
        )
