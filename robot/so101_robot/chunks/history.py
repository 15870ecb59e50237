"""A policy that looks back: what it was shown on the ticks before goes along with every observation.

LeRobot's rollout feeds such a policy on every tick. Here the policy is asked now and then, so what it would have been
fed is kept, one moment for each of its actions. After a stop, as at the beginning, the first moment stands for those
that are missing, as LeRobot does it.
"""

from collections import deque
from collections.abc import Callable

from so101_policy.inference.seen import Seen
from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import Planned, Scheduler


class LookingBack:
    """A scheduler whose policy sees `n_obs_steps` moments.

    Args:
        scheduler: at the policy's rate; its ticks are the policy's actions.
        n_obs_steps: the present one included.
    """

    def __init__(self, scheduler: Scheduler, n_obs_steps: int) -> None:
        self._scheduler = scheduler
        self._before: deque[Seen] = deque(maxlen=n_obs_steps - 1)

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        """As `Scheduler.next`, and looks on every tick."""
        present = observe()
        now = Seen(present.state, present.images)
        before = tuple(self._before) or (now,)
        planned = self._scheduler.next(tick, now_s, lambda: present._replace(before=before))
        self._before.append(now)
        return planned

    def wait(self) -> None:
        self._scheduler.wait()

    def reset(self) -> None:
        """As `Scheduler.reset`: what was seen before the stop is forgotten, too."""
        self._before.clear()
        self._scheduler.reset()

    def close(self) -> None:
        self._scheduler.close()
