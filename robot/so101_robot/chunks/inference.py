"""What a policy is asked and what it answers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from so101_policy.attention.maps import Maps
    from so101_policy.attention.shares import AttentionShares
    from so101_policy.inference.loaded import Prediction
    from so101_policy.inference.seen import Ahead, Seen


class Observation(NamedTuple):
    """What the policy is shown."""

    time_s: float
    state: NDArray[np.float64]
    """(6,) LeRobot units."""
    images: Mapping[str, NDArray[np.uint8]]
    """(h, w, 3) RGB per camera."""
    before: "Sequence[Seen]" = ()
    """What was seen before, one action apart, oldest first, for a policy that looks back."""
    ahead: "Ahead | None" = None
    """What the arm goes on doing meanwhile, for a policy that joins its next chunk to it."""


class Inference(NamedTuple):
    """One answer of the policy."""

    actions: NDArray[np.float64]
    """(T, 6) LeRobot units."""
    shares: "AttentionShares | None"
    observed_tick: int
    observed_s: float
    latency_s: float
    """From the observation until the loop could have it, in the robot's time."""
    compute_s: float = 0.0
    """What the forward pass took on this machine."""
    maps: "Maps | None" = None
    """Where the policy looked in each camera's picture, if it was loaded to tell."""
    raw: NDArray[np.float32] | None = None
    """(T, A) the actions as its network gave them, of a policy that joins its next chunk to them."""
    spread: float | None = None
    """How far its samples are apart [deg, percent], if it drew several (`so101_policy.inference.loaded`)."""


class Predict(Protocol):
    """`so101_policy.inference.loaded.LoadedPolicy.predict`, or anything like it."""

    def __call__(
        self,
        state: NDArray[np.float64],
        images: Mapping[str, NDArray[np.uint8]],
        before: "Sequence[Seen]" = (),
    ) -> "Prediction":
        """`before` is given only where there is something in it."""
        ...


class Guide(Protocol):
    """`so101_policy.inference.loaded.LoadedPolicy.be_guided`."""

    def __call__(self, ahead: "Ahead | None", /) -> None: ...


class Worker(Protocol):
    """Computes one inference at a time."""

    @property
    def busy(self) -> bool:
        """An observation was submitted and its answer has not been polled."""
        ...

    def submit(self, observation: Observation, tick: int) -> None: ...

    def poll(self, now_s: float) -> Inference | None:
        """The answer, once, if it is there at `now_s`. Raises what the policy raised."""
        ...

    def close(self) -> None: ...
