"""Video devices of this machine by what stays: the port that a camera is plugged into, or the name that it has itself.

/dev/video0 may be /dev/video2 after a cable was pulled or a hub has lost its power, and another camera may be
/dev/video0 then. Linux keeps links that stay: /dev/v4l/by-path (the USB port) and /dev/v4l/by-id (maker, model, and the
serial number, which many cameras lack). Systems without these links have the name that was asked for, and no other.
"""

import os
import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from so101_robot.errors import CameraError

if TYPE_CHECKING:
    from lerobot.cameras import CameraConfig

DEV = Path("/dev")


class VideoDevice(NamedTuple):
    """One camera as LeRobot's `index_or_path` names it, and the names by which it is found again."""

    asked: int | Path
    stable: tuple[Path, ...]
    """Links that stay, the best first; empty: none is known."""
    others: frozenset[str]
    """Names below by-path of the other devices, which must not be taken for this one."""

    @classmethod
    def at(cls, asked: int | Path) -> Self:
        """The device that is there now."""
        node = _node(asked)
        if not node.exists():
            return cls(asked, (), frozenset())
        if not isinstance(asked, int) and Path(asked).is_symlink():
            return cls(asked, (Path(asked),), frozenset())  # the user's own name that stays
        by_path, by_id = _links("by-path"), _links("by-id")
        mine = [link for link in (*by_path, *by_id) if _real(link) == _real(node)]
        others = frozenset(link.name for link in by_path if link not in mine)
        return cls(asked, tuple(mine) or (node,), others)

    @property
    def node(self) -> Path:
        """What was asked for, as a path."""
        return _node(self.asked)

    def now(self) -> int | Path | None:
        """Where it is now, in the form that was asked for: a number, or a path. None: it is not there."""
        if not self.stable:
            return self.asked
        for link in self.stable:
            if link.exists() and not self._is_another(node := _real(link)):
                number = re.fullmatch(r"video(\d+)", node.name)
                return int(number[1]) if isinstance(self.asked, int) and number else node
        return None

    def _is_another(self, node: Path) -> bool:
        """Two cameras of one model without serial numbers have one name below by-id."""
        return any(link.name in self.others for link in _links("by-path") if _real(link) == node)


def require_different(configs: "Mapping[str, CameraConfig]") -> None:
    """Raises CameraError for two cameras that are one device."""
    devices = {name: _identity(config) for name, config in configs.items()}
    for a, b in combinations(devices, 2):
        if devices[a] is not None and devices[a] == devices[b]:
            raise CameraError(
                f"cameras {a!r} and {b!r} are the same device, {devices[a]}; give each its own in --robot.cameras."
                f"{found(configs[a])}"
            )


def found(config: "CameraConfig") -> str:
    """A sentence with the video devices of this machine, for cameras that are one."""
    if config.type != "opencv":
        return ""
    nodes = sorted(str(path) for path in DEV.glob("video*"))
    return f" Video devices found: {', '.join(nodes) or 'none'}."


def _identity(config: "CameraConfig") -> str | None:
    """What two configurations of one device have in common; None for a type that is not known here."""
    if config.type == "opencv":
        return str(_real(_node(getattr(config, "index_or_path", Path()))))
    fields = {"zmq": ("server_address", "port", "camera_name"), "intelrealsense": ("serial_number_or_name",)}
    return " ".join(str(getattr(config, field, "")) for field in fields.get(config.type, ())) or None


def _node(asked: int | Path) -> Path:
    return DEV / f"video{asked}" if isinstance(asked, int) else Path(asked)


def _links(kind: str) -> list[Path]:
    return sorted((DEV / "v4l" / kind).glob("*"))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
