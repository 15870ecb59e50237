"""The register table: complete, in step with LeRobot's and the documentation; codecs invert each other."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lerobot.motors.encoding_utils import decode_sign_magnitude, encode_sign_magnitude
from lerobot.motors.feetech import tables as lerobot_tables

from so101_robot.bus import registers
from so101_robot.bus.registers import BY_NAME, REGISTERS, decode, encode, homing_steps, homing_word
from so101_robot.errors import ConfigError
from so101_robot.mock.servo import memory as servo_memory

DIFFERENT_SIZES = {
    "Minimum_Startup_Force": "the second byte is the integral limit",
}
DIFFERENT_SIGNS = {
    "Present_Current": "the firmware sends a sign in bit 15, LeRobot reads the word as it is",
    "Goal_Time": "PWM mode keeps its signed duty here",
    "Goal_Position_2": "the speed of the profile, which has a direction",
}
OTHER_NAMES = {
    "Moving_Velocity": "Moving_Velocity_Threshold",
    "Acceleration_Multiplier ": "Acceleration_Multiplier",  # LeRobot's name ends in a blank
}


def test_the_table_tiles_all_addresses_without_gap_or_overlap() -> None:
    end = 0
    for register in REGISTERS:
        assert register.address == end
        end = register.end
    assert end == registers.SIZE == 87


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(REGISTERS)


def test_addresses_sizes_and_signs_agree_with_lerobot_up_to_the_known_differences() -> None:
    for name, (address, size) in lerobot_tables.STS_SMS_SERIES_CONTROL_TABLE.items():
        register = BY_NAME[OTHER_NAMES.get(name, name)]
        assert register.address == address, name
        assert (register.size == size) == (name not in DIFFERENT_SIZES), name
        lerobot_sign = lerobot_tables.STS_SMS_SERIES_ENCODINGS_TABLE.get(name)
        assert (register.sign_bit == lerobot_sign) == (name not in DIFFERENT_SIGNS), name
    assert set(lerobot_tables.STS_SMS_SERIES_ENCODINGS_TABLE) - set(BY_NAME) == {
        "Goal_Speed",
        "Present_Speed",
    }


def test_baud_codes_agree_with_lerobot_where_lerobot_agrees_with_the_vendor() -> None:
    theirs = {code: baud for baud, code in lerobot_tables.STS_SMS_SERIES_BAUDRATE_TABLE.items()}
    assert [theirs[code] for code in range(5)] == list(registers.BAUD_RATES[:5])
    assert registers.BAUD_RATES[5:] == (76_800, 57_600, 38_400)


def test_the_writable_mask_holds_goals_and_spares_readings() -> None:
    assert not servo_memory.WRITABLE[:5].any()
    assert servo_memory.WRITABLE[5:56].all()
    assert not servo_memory.WRITABLE[56:80].any()
    assert servo_memory.WRITABLE[80:].all()


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_default_and_limits_survive_a_round_trip(register: registers.Register) -> None:
    for value in (register.default, *register.limits):
        assert decode(register, encode(register, value)) == value


@given(st.sampled_from([r for r in REGISTERS if r.sign_bit is not None]), st.data())
def test_signed_values_are_encoded_as_lerobot_does(register: registers.Register, data: st.DataObject) -> None:
    lowest, highest = register.limits
    value = data.draw(st.integers(lowest, highest))
    assert register.sign_bit is not None
    word = int.from_bytes(encode(register, value), "little")
    assert word == encode_sign_magnitude(value, register.sign_bit)
    assert decode_sign_magnitude(word, register.sign_bit) == value


def test_a_negative_homing_offset_is_written_as_in_lerobots_trace() -> None:
    assert encode(BY_NAME["Homing_Offset"], -318) == (2366).to_bytes(2, "little")


def test_a_value_that_does_not_fit_is_refused_with_the_limits() -> None:
    with pytest.raises(ConfigError, match="Homing_Offset cannot hold 2048; it holds -2047 to 2047"):
        encode(BY_NAME["Homing_Offset"], 2048)
    with pytest.raises(ConfigError, match="Torque_Enable cannot hold -1"):
        encode(BY_NAME["Torque_Enable"], -1)
    with pytest.raises(ConfigError, match="has 2 bytes, not 1"):
        decode(BY_NAME["Goal_Position"], b"\x01")


@given(st.integers(-4095, 4095))
def test_homing_words_invert(offset: int) -> None:
    assert homing_steps(homing_word(offset)) == offset


WORDS = {0: 0, 2047: 2047, 2048: 0, 2049: -1, 4095: -2047, 4096: 2048, 6143: 4095, 6144: -2048, 8191: -4095}


@pytest.mark.parametrize(("word", "steps"), [*WORDS.items(), (8192, 0), (0xFFFF, 0)])
def test_homing_words_mean_what_the_firmware_makes_of_them(word: int, steps: int) -> None:
    assert homing_steps(word) == steps


def test_homing_offsets_beyond_a_turn_are_refused() -> None:
    with pytest.raises(ConfigError, match="-4095 to 4095"):
        homing_word(4096)


def test_the_documentation_is_in_step_with_the_table() -> None:
    path = Path(__file__).parents[3] / "docs" / "reference" / "registers.md"
    assert path.read_text() == registers.as_markdown(), (
        "run: python -m so101_robot.bus.registers > docs/reference/registers.md"
    )
