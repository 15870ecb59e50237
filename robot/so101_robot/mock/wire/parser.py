"""The servo's ear: the host's bytes, one after the other, to instruction packets. No bytes make it raise."""

from typing import NamedTuple

from so101_robot.bus.protocol import HEADER, Instruction, checksum

MAX_PARAMS = 128
"""Longer packets are dropped, SYNC_WRITE excepted."""


class Packet(NamedTuple):
    """A valid instruction packet."""

    servo_id: int
    code: int
    params: bytes


class Parser:
    """Bytes to packets by the firmware's rule: whatever two FF bytes precede is taken as an id.

    That holds inside a packet too, so a packet with FF FF among its params is lost, and one after any garbage
    is not.
    """

    def __init__(self) -> None:
        self._body: bytearray | None = None  # id, LEN, .. while inside a packet
        self._ff = 0  # FF bytes in a row

    def feed(self, data: bytes) -> list[tuple[int, Packet]]:
        """The packets that become complete, each with the index of its last byte in `data`."""
        if self._body is None and not self._ff and _is_one_packet(data):
            self._ff = int(data[-1] == 0xFF)
            packet = _packet(data[2:])
            return [] if packet is None else [(len(data) - 1, packet)]
        packets: list[tuple[int, Packet]] = []
        for index, byte in enumerate(data):
            resync = self._ff >= 2
            self._ff = self._ff + 1 if byte == 0xFF else 0
            if resync:
                self._body = None if byte == 0xFF else bytearray((byte,))  # 0xFF is nobody's id
            elif self._body is not None:
                self._body.append(byte)
                if len(self._body) == 2 + self._body[1] or self._body[1] < 2:
                    packet = _packet(bytes(self._body))
                    self._body = None
                    if packet is not None:
                        packets.append((index, packet))
        return packets

    def state(self) -> tuple[bytes | None, int]:
        """What has come of an unfinished packet, and how many FF bytes came last."""
        return None if self._body is None else bytes(self._body), min(self._ff, 2)


def _is_one_packet(data: bytes) -> bool:
    """Whether it is a header and what its LEN announces, without another FF FF: what programs send, in one piece."""
    return (
        len(data) >= 6 and len(data) == data[3] + 4 and data.startswith(HEADER) and data.find(HEADER, 1) < 0
    )


def _packet(body: bytes) -> Packet | None:
    """The packet in `body` (id, LEN, instruction, params, checksum), None if nobody would accept it."""
    if body[1] < 2 or body[-1] != checksum(body[:-1]):
        return None
    if body[2] != Instruction.SYNC_WRITE and len(body) - 4 > MAX_PARAMS:
        return None
    return Packet(body[0], body[2], body[3:-1])
