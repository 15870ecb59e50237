"""How a person takes over from a policy: the flags `--takeover.*` of `so101-run`."""

from dataclasses import dataclass

from so101_robot.errors import ConfigError

LEAST_TORQUE, MOST_TORQUE = 0.2, 0.7
"""With less a leader does not lift itself; more is no longer gentle."""

KEYS_WITH_NAMES = ("enter", "space", "tab", "backspace", "esc", "up", "down", "left", "right")


@dataclass
class TakeoverConfig:
    """A person takes over with the leader that --teleop.port names."""

    key: str = "t"
    """Takes over: a character, space, enter, tab, esc or an arrow (up, down, left, right). A pedal types one, too."""
    back_key: str = "b"
    """Gives back to the policy. The same as --takeover.key: that key takes over and gives back in turn."""
    moved_deg: float = 10.0
    """Moving a joint of the leader farther than this from where it rested takes over, too [deg]; 0: only the key
    does."""
    moved_ms: float = 300.0
    """If it is away for so long without a break: a bump of the table is none [ms]."""
    torque: float = 0.5
    """How strongly the leader is brought to the follower's pose, as a share of its servos' torque. A hand can hold it.
    On the simulated leader 0.4 carries it stretched out, and 0.3 does not: its elbow sinks by 65 degrees."""

    def __post_init__(self) -> None:
        for flag, key in (("--takeover.key", self.key), ("--takeover.back_key", self.back_key)):
            if not (
                key in KEYS_WITH_NAMES
                or (len(key) == 1 and key.isascii() and key.isprintable() and key != " ")
            ):
                raise ConfigError(
                    f"{flag}={key}: expected a character, or one of {', '.join(KEYS_WITH_NAMES)}"
                )
        _in_range("--takeover.moved_deg", self.moved_deg, 0.0, 90.0)
        _in_range("--takeover.moved_ms", self.moved_ms, 0.0, 10_000.0)
        _in_range("--takeover.torque", self.torque, LEAST_TORQUE, MOST_TORQUE)

    def in_words(self) -> str:
        """The keys, for the person at the arm."""
        if self.key == self.back_key:
            return f"{self.key} takes over and gives back"
        return f"{self.key} takes over, {self.back_key} gives back"


def _in_range(flag: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{flag}={value:g}: expected {least:g} to {most:g}")
