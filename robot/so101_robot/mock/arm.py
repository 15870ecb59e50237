"""The mock arm: six servos on one wire, bolted to a simulated SO-101, two cameras, one notion of time.

`MockArm` only composes. Bytes go to the `Wire`, the wire reads and writes the `Servos`, the servos drive
the `Plant`, and the plant turns duty into encoder counts. Time is an integer number of microseconds that
moves when somebody calls `advance_to`; what moves it (a lockstep clock, a pseudo-terminal in real time)
is in `lockstep` and `terminal`. The same seed and the same calls give the same bytes, joint angles and frames, every
time and in every process.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from so101_robot.bus.protocol import Errors
from so101_robot.errors import CameraError, ConfigError
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.cameras.render import Renderer, open_renderer
from so101_robot.mock.cameras.shutter import TICK_US, Capture, Shutter
from so101_robot.mock.config import CAMERAS, MockConfig
from so101_robot.mock.physics.gears import leader_motors
from so101_robot.mock.physics.hand import Hand
from so101_robot.mock.physics.plant import HOME_RAD, MujocoPlant, Plant, calibration, calibration_fields
from so101_robot.mock.physics.world import Attended, Scene, World, load_scene
from so101_robot.mock.servo.servo import Bridge, Servos
from so101_robot.mock.wire.fault_plan import Event, FaultPlan, PortEvent
from so101_robot.mock.wire.wire import Reply, Wire, WireTiming
from so101_robot.state import Frame

if TYPE_CHECKING:
    # LeRobot takes seconds to import, and the process behind a pseudo-terminal needs none of it
    from lerobot.motors import MotorCalibration

__all__ = ["CAMERAS", "MockArm", "MockConfig"]


class MockArm:
    """The arm as bytes in, bytes out, and pictures.

    Args:
        config: scene, seed, cameras, faults.
        plant: another plant than MuJoCo's, for tests of the wire and the firmware; such an arm has no
            cameras and no hand.
        timing: of the wire; the default is a servo bus without a USB adapter's delays.
        scene: a scene of the caller's own, in place of the one that `config` names.
        leader: its servos have a leader's gears, and are mounted at angles of its own: another arm than the follower of
            the same seed.

    Raises:
        ConfigError: a scene that does not exist, a fault plan that cannot be read.
    """

    def __init__(
        self,
        config: MockConfig | None = None,
        *,
        plant: Plant | None = None,
        timing: WireTiming | None = None,
        scene: Scene | None = None,
        leader: bool = False,
    ) -> None:
        self.config = config or MockConfig()
        self.leader = leader
        self._timing = timing
        self._renderer: Renderer | None = None
        self._pictures: dict[str, tuple[Capture, Frame]] = {}
        self.world: World | None = None
        if plant is None:
            self.world = World(scene or load_scene(self.config.scene), self.config.seed)
        self._switch_on(self.config.seed, plant)

    def reset(self, seed: int | None = None) -> None:
        """Switch the arm off and on again in a freshly laid out scene; the same seed gives the same start.

        The arm stays the one it is: servos are mounted as before. Time starts at zero again and faults that
        were added are forgotten: make new clocks and links.

        Raises:
            ConfigError: this arm was given a plant of its own, which only its maker can set back.
        """
        if self.world is None:
            raise ConfigError("a mock arm with another plant than MuJoCo's cannot be reset; make a new one")
        seed = self.config.seed if seed is None else seed
        self.world.reset(seed)
        if self._renderer is not None:
            self._renderer.refresh()
        self._switch_on(seed, None)

    def _switch_on(self, seed: int, plant: Plant | None) -> None:
        """Time zero: everything as it is when the supply is switched on."""
        config = self.config
        self.seed = seed
        self.now_us = 0
        self.port_is_out = False
        self._ticks = 0
        drawn = config.random_mount or self.leader
        self.mount_offset_steps = _mount_offsets(config.seed, self.leader) if drawn else (0,) * len(JOINTS)
        self.servos = Servos(SERVO_IDS)
        self.duty = np.zeros(len(JOINTS))
        self.bridge = np.zeros(len(JOINTS), dtype=np.int8)
        self.hand: Hand | None = None
        if self.world is None:
            assert plant is not None
            self.plant = plant
        else:
            motors = leader_motors() if self.leader else None
            physical = MujocoPlant(self.world, self.mount_offset_steps, motors)
            self.hand = Hand(
                physical.joint_rad, physical.hand_torque_nm, self.world.joint_range_rad, HOME_RAD
            )
            self.plant = physical
        if config.calibrated:
            self._store_calibration()
        self._plan = _fault_plan(config.faults, seed)
        self.wire = Wire(self.servos, self._timing, self._plan if self._plan.faults else None)
        self._ticks_need_faults = self._plan.acts_on_servos
        self._shutter = Shutter(
            CAMERAS if self.world is not None else (), config.camera_fps, self._plan.camera_state
        )
        self.servos.tick(*self._sensors(), self.duty, self.bridge)  # a servo answers after its first sample
        self._open_shutter()

    def _sensors(
        self,
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """What the servos measure, in the order in which their `tick` takes it."""
        plant = self.plant
        return plant.raw_steps, plant.supply_v, plant.temperature_c, plant.current_a

    def _store_calibration(self) -> None:
        """What `lerobot-calibrate` leaves in EEPROM."""
        for index, fields in enumerate(self.calibration_fields.values()):
            self.servos.set(index, "Homing_Offset", fields["homing_offset"])
            self.servos.set(index, "Min_Position_Limit", fields["range_min"])
            self.servos.set(index, "Max_Position_Limit", fields["range_max"])

    # Time

    def advance_to(self, time_us: int) -> None:
        """Let the arm live until `time_us` [us], a tick for every whole millisecond. The past is ignored."""
        last = time_us // TICK_US
        while self._ticks < last:
            self._run(min(last, self._shutter.next_tick) - self._ticks)
            self._open_shutter()
        if time_us > self.now_us:
            self.now_us = time_us

    def _open_shutter(self) -> None:
        if self.world is not None and self._ticks == self._shutter.next_tick:
            if isinstance(self.world.scene, Attended):
                free = bool((self.bridge == Bridge.FREE).all())
                self.world.scene.attend(
                    self.world.model,
                    self.world.data,
                    self.hand if free else None,
                    self._ticks * TICK_US * 1e-6,
                )
            self._shutter.take(self.world.snapshot())

    def _run(self, ticks: int) -> None:
        """The hot loop: a thousand rounds per simulated second."""
        servos_tick, plant_tick = self.servos.tick, self.plant.tick
        raw, supply, heat, current = self._sensors()
        duty, bridge, hand = self.duty, self.bridge, self.hand
        hand_tick = hand.tick if hand is not None and hand.active else None
        if hand_tick is None and not self._ticks_need_faults:
            if not (isinstance(self.plant, MujocoPlant) and self.plant.run(self.servos, duty, bridge, ticks)):
                for _ in range(ticks):
                    servos_tick(raw, supply, heat, current, duty, bridge)
                    plant_tick(duty, bridge)
        else:
            for tick in range(self._ticks, self._ticks + ticks):
                self.wire.advance(tick * TICK_US)
                servos_tick(raw, supply, heat, current, duty, bridge)
                if hand_tick is not None:
                    hand_tick()
                plant_tick(duty, bridge)
        self._ticks += ticks

    # Bytes

    @property
    def unplugged(self) -> bool:
        """True while the USB cable is out: by the fault plan, or because somebody set `port_is_out`."""
        return self.port_is_out or any(event.kind == "unplug" for event in self.port_events())

    def port_events(self) -> tuple[PortEvent, ...]:
        """What the fault plan does to the port now."""
        return self._plan.port_events(self.now_us) if self._plan.faults else ()

    def exchange(self, data: bytes, arrived_us: int | None = None) -> list[Reply]:
        """Give the wire bytes whose last one arrives now, or at `arrived_us`; returns answers with times.

        While the fault plan stalls the port, answers wait for the end of the stall.
        """
        replies = self.wire.receive(data, self.now_us if arrived_us is None else arrived_us)
        for event in self.port_events() if replies else ():
            if event.kind == "stall":
                end_us = event.end_us
                replies = [] if end_us is None else [Reply(max(r.start_us, end_us), r.data) for r in replies]
        return replies

    # Faults

    def add_fault(self, entry: Mapping[str, Any]) -> None:
        """Let something fail: the fields of a fault plan's entry; without `at_s` and `every`, from now on.

        Raises:
            ConfigError: there is no such fault, or not with these fields.
        """
        if "at_s" not in entry and "every" not in entry:
            entry = {**entry, "at_s": self.now_us * 1e-6}
        self._plan.add(entry)
        self.wire.faults = self._plan
        self._ticks_need_faults = self._plan.acts_on_servos

    def fault_log(self) -> list[Event]:
        """The faults that have hit bytes or servos, oldest first."""
        return list(self._plan.log)

    # Pictures

    def captures(self) -> dict[str, Capture]:
        """The latest capture of every camera, for whoever renders elsewhere."""
        return self._shutter.latest(self.now_us)

    def frame(self, name: str) -> "Frame":
        """The latest picture that camera `name` has captured by now, rendered when first asked for.

        The renderer belongs to the thread that asks first: an EGL context cannot change threads.

        Raises:
            CameraError: there is no such camera.
        """
        return self.draw(name, self._captured(name))

    def _captured(self, name: str) -> Capture:
        capture = self.captures().get(name)
        if capture is None:
            raise CameraError(
                f"the mock arm has no camera {name!r}; it has {', '.join(self.captures()) or 'none'}"
            )
        return capture

    def frame_later(self, name: str) -> "Frame":
        """As `frame`, but drawn when somebody looks at it; that has to be in the thread in which others are drawn."""
        capture, backend = self._captured(name), self._open_renderer().backend

        def image() -> NDArray[np.uint8]:
            return self.draw(name, capture).image

        return Frame(image, capture.time_us * 1e-6, capture.sequence, backend)

    def draw(self, name: str, capture: Capture) -> "Frame":
        """The picture of one of the `captures` of camera `name`, also after newer ones. See `frame`."""
        known = self._pictures.get(name)
        if known is not None and known[0] is capture:
            return known[1]
        renderer = self._open_renderer()
        if capture.dark:
            image = np.zeros((self.config.height, self.config.width, 3), dtype=np.uint8)
        else:
            image = renderer.render(capture.snapshot, name)
        frame = Frame(image, capture.time_us * 1e-6, capture.sequence, renderer.backend)
        self._pictures[name] = (capture, frame)
        return frame

    def _open_renderer(self) -> Renderer:
        if self._renderer is None:
            assert self.world is not None, "an arm without a world has no captures"
            config = self.config
            self._renderer = open_renderer(
                self.world.model, config.width, config.height, config.renderer, config.shadows
            )
        return self._renderer

    # Looking inside

    @property
    def joint_rad(self) -> NDArray[np.float64]:
        """The true joint angles (6,) [rad]; a view."""
        assert isinstance(self.plant, MujocoPlant), "only the physical plant knows joint angles"
        return self.plant.joint_rad

    @property
    def calibration(self) -> dict[str, "MotorCalibration"]:
        """What `lerobot-calibrate` would find on this arm."""
        return calibration(self.mount_offset_steps)

    @property
    def calibration_fields(self) -> dict[str, dict[str, int]]:
        """The same as in LeRobot's file: joint -> field -> value."""
        return calibration_fields(self.mount_offset_steps)

    def driven_joints(self) -> list[str]:
        """The joints whose motors are not free."""
        return [
            name for name, bridge in zip(JOINTS, self.bridge.tolist(), strict=True) if bridge != Bridge.FREE
        ]

    def complaints(self) -> str:
        """The servos' error bits in words."""
        errors = {
            name: Errors(self.servos.get(index, "Status")).describe()
            for index, name in enumerate(JOINTS)
            if self.servos.get(index, "Status")
        }
        return "; ".join(f"{name}: {text}" for name, text in errors.items()) or "no errors"

    def state_hash(self) -> str:
        """A digest of physics, registers, wire and time: equal hashes go on equally under equal calls."""
        plant = self.plant
        digest = hashlib.sha256(self.now_us.to_bytes(8, "little"))
        for array in (*self._sensors(), self.duty, self.bridge):
            digest.update(array.tobytes())
        if isinstance(plant, MujocoPlant):
            digest.update(plant.state())
        digest.update(self.servos.state())
        digest.update(self.wire.state())
        if self.world is not None:
            digest.update(self.world.digest().encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Free the renderer, in the thread that rendered. May be called twice."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _fault_plan(path: Path | None, seed: int) -> FaultPlan:
    """The plan in a file, or an empty one. The arm's seed adds to the plan's: other episodes, other draws."""
    plan = FaultPlan.from_yaml(path) if path is not None else FaultPlan()
    plan.seed += seed
    return plan


def _mount_offsets(seed: int, leader: bool) -> tuple[int, ...]:
    """Encoder counts by which each servo was bolted on away from its middle: any but the half turn itself."""
    drawn = np.random.default_rng((seed, 2 if leader else 1)).integers(
        -2047, 2047, len(JOINTS), endpoint=True
    )
    return tuple(drawn.tolist())
