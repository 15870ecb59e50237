"""The parts of a run that a person can take over: leader, keys, and the scheduler that both drive through."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from so101_robot.arm.arm import SO101
from so101_robot.chunks.scheduler import Scheduler
from so101_robot.commands import both_arms
from so101_robot.commands.run_config import RunConfig
from so101_robot.errors import ConfigError
from so101_robot.leader import ports
from so101_robot.leader.leader import Leader
from so101_robot.leader.source import LeaderSource
from so101_robot.leader.takeover import NEAR, Takeover
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.preflight.findings import Finding
from so101_robot.process.keys import Keys


class TakingOver:
    """A leader beside a run.

    Args:
        config: of the run, with a leader's port.
        leader: not open yet; made from `config` unless somebody brings it.
        keyed: keys come from elsewhere than this terminal.

    Raises:
        ConfigError: the two ports do not go together, or nobody could take over.
        CalibrationError: the leader's file cannot be read.
    """

    def __init__(self, config: RunConfig, leader: Leader | None = None, keyed: bool = False) -> None:
        ports.require_two_ports(config.robot.port, config.teleop.port)
        self._config = config
        self._keys = Keys()
        if not keyed and not self._keys.available and not config.takeover.moved_deg:
            raise ConfigError(
                "without a terminal no key can take over, and --takeover.moved_deg=0 says that moving the leader does "
                "not; leave one of them"
            )
        self._leader = Leader(config.teleop, takes_over=True) if leader is None else leader

    def connect(self, robot: SO101) -> None:
        """Both arms. Raises RobotError."""
        both_arms.connect(robot, self._leader, self._config.teleop.was_follower)

    def findings(self) -> list[Finding]:
        """Of the connected leader."""
        return both_arms.leader_findings(self._leader, self._config.preflight.skip)

    def scheduler(
        self,
        policy: Scheduler,
        robot: SO101,
        tell: Callable[[Message], None],
        stack: ExitStack,
        pressed: Callable[[], Sequence[str]] | None = None,
    ) -> Takeover:
        """What plays: the policy until a person takes over. The leader is let go.

        Args:
            policy: plays until then.
            robot: connected.
            tell: what the person should know.
            stack: keys of the terminal are read until it is left.
            pressed: the keys since it was asked last, where they come from elsewhere; None: of the terminal.
        """
        assert robot.guard is not None  # since connect
        if let_go := self._leader.free():
            tell(Message(f"the leader was under torque and was let go: {', '.join(let_go)}"))
        if pressed is None:
            pressed = stack.enter_context(self._keys).pressed
        source = LeaderSource(self._leader, robot.guard, robot.clock, tell, NEAR)
        flags = self._config.takeover
        return Takeover(policy, source, self._leader, robot.guard, flags, pressed, tell)

    def hint(self) -> str:
        """How a person takes over, for dashboard and page."""
        flags = self._config.takeover
        moving = f"moving the leader by {flags.moved_deg:g} degrees takes over" if flags.moved_deg else ""
        if not self._keys.available:
            return f"{moving}; no terminal, so no key gives back"
        return " · ".join(part for part in (flags.in_words(), moving) if part)

    def close(self) -> None:
        """Give the leader's port back. May be called twice."""
        self._leader.close()

    def until_the_end(self) -> "KeysEnd":
        """An observer with which the keys end: what comes after it may ask in the terminal."""
        return KeysEnd(self._keys)


class KeysEnd:
    """Gives the terminal back when the arm has been released."""

    name = "keys"

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def on_tick(self, tick: Tick) -> None: ...

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None:
        self._keys.__exit__(None, None, None)
