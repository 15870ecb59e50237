"""Six servos on one half-duplex wire: the host's bytes in, timed replies out. No input or output, no waiting.

    wire = Wire(Servos())
    replies = wire.receive(protocol.sync_read(56, 2, (1, 2, 3, 4, 5, 6)), now_us=140)

`now_us` is the moment when the last of the bytes handed over has arrived; the servos should have been ticked
up to then, for registers are sampled when a request is complete. A request may come whole or in pieces, and a
piece may hold several.

What is not modelled: the host talking while a servo answers (both get through), and a servo that misses bytes
while it writes its flash. Source of the rules: the Feetech protocol manual and published firmware 3.10
behaviour; slots and turn-round are those measured there (110 us per servo for 2 bytes at 1 Mbit/s). What is
not known is marked [?].
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from so101_robot.bus.protocol import BROADCAST, Instruction, checksum, status
from so101_robot.bus.registers import BAUD_RATES, BY_NAME, SIZE
from so101_robot.mock.servo.servo import Servos
from so101_robot.mock.wire.fault_kinds import Answer
from so101_robot.mock.wire.fault_plan import FaultPlan
from so101_robot.mock.wire.parser import Packet, Parser

BAUD_TOLERANCE = 0.03
"""A UART follows a clock that is off by this share."""

_ID = BY_NAME["ID"].address
_BAUD = BY_NAME["Baud_Rate"].address
_LEVEL = BY_NAME["Response_Status_Level"].address
_STATUS = BY_NAME["Status"].address


class Reply(NamedTuple):
    """Bytes on their way to the host: byte k ends at `start_us + (k + 1) * wire.byte_us`."""

    start_us: int
    data: bytes


@dataclass(frozen=True)
class WireTiming:
    """How long things take between the host's last byte and a reply's first."""

    byte_us: int | None = None
    """Time of one byte; None: 10 bits at the host's baud rate, rounded to whole microseconds."""
    turnaround_us: int = 5
    """Processor time of a servo behind the idle byte that ends a request; 15 us in all at 1 Mbit/s."""
    slots: bool = True
    """SYNC_READ as the firmware does it, each servo in its time slot; False: replies back to back."""
    flash: bool = False
    """Delay the reply to a write by the time that programming the flash takes."""
    return_delay: bool = False
    """Honour Return_Delay_Time (real STS servos do not)."""
    adapter_delay_us: tuple[int, int] = (0, 0)
    """Delay of the USB adapter, drawn evenly between these for every transaction."""
    echo: bool = False
    """The adapter sends the host's bytes back to it (half-duplex wiring without an echo gate)."""
    seed: int = 0
    """For adapter delays and collisions."""


class Wire:
    """The bus with its servos. `transactions` counts the valid packets that were heard."""

    def __init__(
        self,
        servos: Servos,
        timing: WireTiming | None = None,
        faults: FaultPlan | None = None,
        baud: int = BAUD_RATES[0],
    ) -> None:
        self.servos = servos
        self.timing = timing or WireTiming()
        self.faults = faults
        self.transactions = 0
        self.busy_until_us = 0
        self._parser = Parser()
        self._heard: tuple[tuple[bytes, bytes, int], Mapping[int, list[int]]] | None = None
        self.set_host_baud(baud)

    @property
    def byte_us(self) -> int:
        """Time of one byte on the wire [us]."""
        return self._byte_us

    def set_host_baud(self, baud: int) -> None:
        """The host opens its port at `baud`. Servos with another rate hear noise and stay silent."""
        self.baud = max(baud, 1)
        self._byte_us = round(10e6 / self.baud) if self.timing.byte_us is None else self.timing.byte_us
        self._parser = Parser()

    def advance(self, now_us: int) -> None:
        """Let faults on servos begin and end; call it once per tick if the plan `acts_on_servos`."""
        if self.faults is not None:
            self.faults.advance(self.servos, now_us)

    def receive(self, data: bytes, now_us: int) -> list[Reply]:
        """The replies to what the host sent, ordered by `start_us`. Never raises, whatever the bytes."""
        replies: list[Reply] = []
        if self.timing.echo and data:
            replies.append(Reply(now_us - len(data) * self._byte_us, data))
        for index, packet in self._parser.feed(data):
            end_us = now_us - (len(data) - 1 - index) * self._byte_us
            replies += self._transact(packet, end_us)
        replies.sort(key=lambda reply: reply.start_us)
        for reply in replies:
            end_us = reply.start_us + len(reply.data) * self._byte_us
            self.busy_until_us = max(self.busy_until_us, end_us)
        return replies

    def state(self) -> bytes:
        """What the wire remembers, servos aside, as bytes: equal states are equal bytes."""
        faults = b"" if self.faults is None else self.faults.state()
        return (
            repr((self.transactions, self.busy_until_us, self.baud, self._parser.state())).encode() + faults
        )

    # --- one transaction

    def _transact(self, packet: Packet, now_us: int) -> list[Reply]:
        number = self.transactions
        self.transactions += 1
        plan = self.faults
        if plan is None:
            answers = self._answers(packet, now_us)
        else:
            plan.advance(self.servos, now_us, number)
            if plan.loses_request(packet.code, packet.servo_id, number, now_us):
                return []
            answers = self._answers(packet, now_us)
            request = (
                bytes((0xFF, 0xFF, packet.servo_id, len(packet.params) + 2, packet.code)) + packet.params
            )
            request += bytes((checksum(request[2:]),))
            answers = plan.bend(answers, request, packet.code, number, now_us, self._byte_us)
        delay_us = self._adapter_delay_us(number) if answers else 0
        return [Reply(answer.start_us + delay_us, answer.data) for answer in answers if answer.data]

    def _answers(self, packet: Packet, now_us: int) -> list[Answer]:
        """What the servos do and say. Errors and values are those after the packet took effect."""
        now_us += self._byte_us + self.timing.turnaround_us
        match packet.code:
            case Instruction.SYNC_READ:
                return self._sync_read(packet, now_us)
            case Instruction.SYNC_WRITE:
                self._sync_write(packet)
                return []
            case Instruction.PING:
                return self._ping(packet, now_us)
            case Instruction.READ:
                return self._read(packet, now_us)
            case Instruction.REBOOT:
                for index in self._listening(packet.servo_id):
                    self.servos.reboot(index)
                return []
            case _:
                return self._write(packet, now_us)

    def _listening(self, servo_id: int) -> list[int]:
        """The servos that hear a packet to `servo_id`: that id, powered, at the host's baud rate."""
        by_id = self._hearing()
        if servo_id == BROADCAST:
            return sorted(index for indices in by_id.values() for index in indices)
        return by_id.get(servo_id, [])

    def _hearing(self) -> Mapping[int, list[int]]:
        """Id -> the servos with that id that are powered and at the host's baud rate; remembered while that lasts."""
        servos = self.servos
        now = servos.registers[:, _ID : _BAUD + 1].tobytes(), servos.down().tobytes(), self.baud
        if self._heard is None or self._heard[0] != now:
            by_id: dict[int, list[int]] = {}
            rows = zip(servos.ids, servos.registers[:, _BAUD].tolist(), servos.down().tolist(), strict=True)
            for index, (own_id, baud_code, down) in enumerate(rows):
                if not down and abs(BAUD_RATES[baud_code & 7] / self.baud - 1) < BAUD_TOLERANCE:
                    by_id.setdefault(own_id, []).append(index)
            self._heard = now, by_id
        return self._heard[1]

    def _status(self, index: int, servo_id: int, params: bytes = b"") -> bytes:
        return status(servo_id, int(self.servos.registers[index, _STATUS]), params)

    def _ping(self, packet: Packet, now_us: int) -> list[Answer]:
        """A PING to all is answered in slots of 9 bytes, by id."""
        answers: list[Answer] = []
        hearing = self._hearing()
        for servo_id in hearing if packet.servo_id == BROADCAST else (packet.servo_id,):
            if not (indices := hearing.get(servo_id)):
                continue
            slot_us = 9 * self._byte_us * servo_id if packet.servo_id == BROADCAST else 0
            frames = [self._status(index, servo_id) for index in indices]
            answers.append(self._answer(servo_id, now_us + slot_us, frames))
        return answers

    def _read(self, packet: Packet, now_us: int) -> list[Answer]:
        """[?] A READ to all is answered by nobody, as the manual says."""
        if packet.servo_id == BROADCAST or len(packet.params) != 2 or packet.params[0] >= SIZE:
            return []
        indices = self._listening(packet.servo_id)
        if not indices:
            return []
        frames = [
            self._status(index, packet.servo_id, self.servos.read(index, *packet.params)) for index in indices
        ]
        return [self._answer(packet.servo_id, now_us + self._return_delay_us(indices[0]), frames)]

    def _sync_read(self, packet: Packet, now_us: int) -> list[Answer]:
        """Slot k is the k-th id of the list; a silent servo leaves a hole and the others keep their slots."""
        if packet.servo_id != BROADCAST or len(packet.params) < 2 or packet.params[0] >= SIZE:
            return []
        address, size = packet.params[:2]
        by_id = self._hearing()
        answers: list[Answer] = []
        free_us = now_us
        for slot, servo_id in enumerate(dict.fromkeys(packet.params[2:])):
            if servo_id not in by_id:
                continue
            frames = [self._status(i, servo_id, self.servos.read(i, address, size)) for i in by_id[servo_id]]
            start_us = now_us + slot * (size + 9) * self._byte_us if self.timing.slots else free_us
            answer = self._answer(servo_id, start_us, frames)
            free_us = answer.start_us + len(answer.data) * self._byte_us
            answers.append(answer)
        return answers

    def _sync_write(self, packet: Packet) -> None:
        if packet.servo_id != BROADCAST or len(packet.params) < 2 or packet.params[1] == 0:
            return  # a write of nothing does nothing, as WRITE
        address, size = packet.params[:2]
        by_id = self._hearing()
        for start in range(2, len(packet.params) - size, size + 1):
            block = packet.params[start + 1 : start + 1 + size]
            for index in by_id.get(packet.params[start], ()):
                self.servos.write(index, address, block)

    def _write(self, packet: Packet, now_us: int) -> list[Answer]:
        """An effect first, then a bare status reply with the id and baud rate of before.

        Codes that a servo does not know have no effect; their reply is the same.
        """
        indices = self._listening(packet.servo_id)
        for index in indices:
            self.servos.flash_us[index] = 0
            self._effect(index, packet)
        if packet.servo_id == BROADCAST:
            return []
        replying = [index for index in indices if self.servos.registers[index, _LEVEL]]
        if not replying:
            return []
        delay_us = self._return_delay_us(replying[0])
        if self.timing.flash:
            delay_us += max(int(self.servos.flash_us[index]) for index in replying)
        frames = [self._status(index, packet.servo_id) for index in replying]
        return [self._answer(packet.servo_id, now_us + delay_us, frames)]

    def _effect(self, index: int, packet: Packet) -> None:
        servos, params = self.servos, packet.params
        match packet.code:
            case Instruction.WRITE if len(params) > 1:
                servos.write(index, params[0], params[1:])
            case Instruction.REG_WRITE if len(params) > 1:
                servos.write_later(index, params[0], params[1:])
            case Instruction.ACTION:
                servos.action(index)
            case Instruction.RESET:
                servos.reset(index)
            case Instruction.BACKUP:
                servos.back_up(index)
            case Instruction.CALIBRATE if len(params) >= 2:
                servos.calibrate(index, int.from_bytes(params[:2], "little", signed=True))
            case Instruction.CALIBRATE:
                servos.calibrate(index)
            case _:
                pass

    # --- helpers

    def _return_delay_us(self, index: int) -> int:
        return 2 * self.servos.get(index, "Return_Delay_Time") if self.timing.return_delay else 0

    def _adapter_delay_us(self, number: int) -> int:
        shortest, longest = self.timing.adapter_delay_us
        if longest <= 0:
            return 0
        return random.Random(f"adapter {self.timing.seed} {number}").randint(shortest, longest)

    def _answer(self, servo_id: int, start_us: int, frames: list[bytes]) -> Answer:
        if len(frames) == 1:
            return Answer(servo_id, start_us, frames[0])
        rng = random.Random(f"collision {self.timing.seed} {self.transactions} {servo_id}")
        return Answer(servo_id, start_us, collide(frames, rng.random))


def collide(frames: list[bytes], uniform: Callable[[], float]) -> bytes:
    """What the host hears when several servos answer at once.

    Measured on two servos with one id: about 4 in 10 reads are garbled or doubled, the others look sound. So
    6 in 10 overlay bit by bit (the wire is low where anyone pulls it low; equal frames stay sound), the rest
    are half doubled, half a mix of bytes with some lost to framing errors. `uniform` draws from [0, 1).
    """
    outcome = uniform()
    longest = max(len(frame) for frame in frames)
    columns = [[frame[k] for frame in frames if k < len(frame)] for k in range(longest)]
    if outcome < 0.6:
        overlay = bytearray(b"\xff" * longest)
        for k, column in enumerate(columns):
            for byte in column:
                overlay[k] &= byte
        return bytes(overlay)
    if outcome < 0.8:
        return b"".join(frames)
    return bytes(
        column[int(uniform() * len(column))] ^ int(uniform() * 4) for column in columns if uniform() < 0.9
    )
