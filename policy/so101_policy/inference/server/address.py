"""Where a policy server is, and whether that is this machine."""

from ipaddress import ip_address
from typing import NamedTuple

from so101_policy.errors import PolicyError, shown

LOCAL = "localhost"


class ServerError(PolicyError, ValueError):
    """A policy server that cannot be meant, or cannot be used with what was asked for."""


class Address(NamedTuple):
    """host:port."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Only this machine reaches it."""
        if self.host == LOCAL:
            return True
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:  # a name: who knows where it leads
            return False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def read_address(text: str) -> Address:
    """The address that is written so. Raises ServerError."""
    host, colon, port = text.rpartition(":")
    bare_v6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    fine = colon and host and host.isprintable() and not set(host) & set("/ @,") and not bare_v6
    if not fine or not (port.isascii() and port.isdecimal() and 1 <= int(port[:6]) <= 65535):
        raise ServerError(f"--policy.server={shown(text)}: expected host:port, for example localhost:8080")
    return Address(host, int(port))


def check_reach(address: Address, elsewhere: bool) -> None:
    """Raises ServerError for a server that is not on this machine, unless that is meant (`elsewhere`)."""
    if address.loopback or elsewhere:
        return
    raise ServerError(
        f"--policy.server={address} is another machine: pictures and actions would travel there as anybody on the way "
        "can read and change them, and whoever reaches a LeRobot policy server can run programs on it. Open a tunnel, "
        f"ssh -L {address.port}:localhost:{address.port} {address.host}, and give "
        f"--policy.server=localhost:{address.port}; or say that this network may be trusted: "
        "--policy.server_elsewhere=true"
    )


class ServerGoneError(PolicyError, ConnectionError):
    """A policy server does not answer, or not in time; it may come back."""
