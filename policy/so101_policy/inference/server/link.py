"""The wire to a LeRobot policy server: its three calls, each with a deadline, and what may go wrong with them.

Requests are pickles of LeRobot's own classes, which its server expects; what comes back stays bytes here (`answer.py`
reads them).
"""

import pickle
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import grpc
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedObservation
from lerobot.transport import services_pb2, services_pb2_grpc
from lerobot.transport.utils import send_bytes_in_chunks

from so101_policy.errors import one_line
from so101_policy.inference.server.address import Address, ServerError, ServerGoneError
from so101_policy.inference.server.answer import MOST_BYTES

CONNECT_S = 5.0
"""A server that listens says so in a moment; a machine that is off does not."""

OPTIONS = (
    ("grpc.max_receive_message_length", MOST_BYTES + 1024),
    ("grpc.enable_http_proxy", 0),  # the address is meant as it is
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.use_local_subchannel_pool", 1),
)
"""Of the channel. It connects again by itself, and waits longer each time."""

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
"""With these the server is not there, or too busy; all others are its own words."""


class Wanted(NamedTuple):
    """The policy that the server is to load."""

    kind: str
    path: str
    """On the server's machine, or the hub."""
    features: Mapping[str, Mapping[str, Any]]
    """As LeRobot's datasets describe them: what an observation will hold."""
    actions: int
    """Of a chunk."""
    device: str


class Link:
    """A channel to a server. Connects when it is used first, and again when it was broken."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(str(address), options=OPTIONS)
        self._stub: Any = services_pb2_grpc.AsyncInferenceStub(self._channel)

    def begin(self, wanted: Wanted, within_s: float) -> None:
        """Have the policy loaded.

        Raises:
            ServerGoneError: nobody is there, or it took longer.
            ServerError: the server cannot load it.
        """
        spec = RemotePolicyConfig(
            wanted.kind,
            wanted.path,
            {name: dict(feature) for name, feature in wanted.features.items()},  # pyright: ignore[reportArgumentType]  LeRobot passes such, too
            wanted.actions,
            wanted.device,
        )
        try:
            self._stub.Ready(services_pb2.Empty(), timeout=CONNECT_S)  # pyright: ignore[reportAttributeAccessIssue]
            setup = services_pb2.PolicySetup(data=pickle.dumps(spec))  # pyright: ignore[reportAttributeAccessIssue]
            self._stub.SendPolicyInstructions(setup, timeout=within_s)
        except grpc.RpcError as error:
            raise self._meaning(error, within_s) from error

    def ask(self, observation: Mapping[str, Any], number: int, within_s: float) -> bytes:
        """The answer to an observation, as it came; empty: the server has none.

        Raises:
            ServerGoneError: nobody is there, or it took longer.
            ServerError: the server refuses.
        """
        timed = TimedObservation(time.time(), number, dict(observation), must_go=True)
        parts = send_bytes_in_chunks(pickle.dumps(timed), services_pb2.Observation)  # pyright: ignore[reportAttributeAccessIssue]
        until_s = time.monotonic() + within_s
        try:
            self._stub.SendObservations(parts, timeout=within_s)
            left_s = max(0.0, until_s - time.monotonic())
            answer: bytes = self._stub.GetActions(services_pb2.Empty(), timeout=left_s).data  # pyright: ignore[reportAttributeAccessIssue]
        except grpc.RpcError as error:
            raise self._meaning(error, within_s) from error
        return answer

    def close(self) -> None:
        """End what is under way. May be called twice."""
        self._channel.close()

    def _meaning(self, error: grpc.RpcError, within_s: float) -> ServerGoneError | ServerError:
        call: Any = error
        code, said = call.code(), one_line(str(call.details()), 400)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServerGoneError(f"the policy server {self._address} did not answer within {within_s:g} s")
        if code in AWAY:
            return ServerGoneError(
                f"no policy server answers at {self._address} ({said}). Start one there: "
                f"python -m lerobot.async_inference.policy_server --host=127.0.0.1 --port={self._address.port}"
            )
        return ServerError(f"the policy server {self._address} refused ({code.name.lower()}): {said}")
