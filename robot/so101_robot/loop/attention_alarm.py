"""An alarm for a policy that may have gone blind: the joint state gets nearly all of its attention, for a while.

The share is the decoder's cross-attention to the joint state in the answer that is being played. It is a hint and no
proof: a stock ACT mixes the joint state into the vision tokens before the decoder looks at them, so a policy may be
blind below the threshold and see above it. How much an action depends on the pictures is what `so101-reliance`
measures. What uniform attention would be is said with every share, since it depends on the size of the pictures.

`AttentionAlarm` is pure; `WithAttentionAlarm` puts it before the observers of a run. It only reports: nothing
is done to the arm.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING

from so101_robot.errors import ConfigError, describe
from so101_robot.loop.observers import Observers
from so101_robot.loop.tick import AttentionWarning, Observer, Tick
from so101_robot.message import Message, Severity

if TYPE_CHECKING:
    from so101_policy.attention.shares import AttentionShares

_log = logging.getLogger(__name__)

SAME_TIME_S = 1e-6
"""Times of ticks are sums of floating-point periods."""


@dataclass
class AttentionAlarmConfig:
    """When the alarm goes off."""

    share: float = 0.6
    """Share of the joint state in the attention above which a policy may be blind; 1: never."""
    for_s: float = 1.0
    """How long it has to stay above [s]."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"--blind.share={self.share:g}: expected 0 to 1 (never)")
        if not 0 <= self.for_s <= 3600:
            raise ConfigError(f"--blind.for_s={self.for_s:g}: expected 0 to 3600")


class AttentionAlarm:
    """Follows the shares of one run. An answer counts from the tick that it arrives on until the next one, while the
    policy drives: not on the way to its first pose, nor on the way home, nor while a person has taken over."""

    def __init__(self, config: AttentionAlarmConfig) -> None:
        self._config = config
        self._forget()

    def see(self, tick: Tick) -> tuple[AttentionWarning | None, Message | None]:
        """The alarm on this tick, None while it is off; and what there is to say about it, once."""
        if tick.phase != "run" or (tick.planned is not None and not tick.planned.by_policy):
            self._forget()
            return None, None
        inference = None if tick.planned is None else tick.planned.inference
        if inference is not None:
            self._shares = inference.shares
        shares = self._shares
        if shares is None or not self._is_high(shares):
            over, self._on, self._since_s = self._over(tick.time_s), False, None
            return None, over
        if self._since_s is None:
            self._since_s = tick.time_s
        for_s = tick.time_s - self._since_s
        if for_s < self._config.for_s - SAME_TIME_S:
            return None, None
        begins, self._on = not self._on, True
        warning = AttentionWarning(shares.state, shares.uniform.get("state", 0.0), for_s)
        return warning, self._begins(warning) if begins else None

    def _forget(self) -> None:
        self._shares: AttentionShares | None = None
        self._since_s: float | None = None
        self._on = False

    def _is_high(self, shares: "AttentionShares") -> bool:
        """A policy without cameras is not blind but was never meant to see."""
        threshold = max(self._config.share, shares.uniform.get("state", 0.0))
        return bool(shares.cameras) and isfinite(shares.state) and shares.state > threshold

    def _begins(self, warning: AttentionWarning) -> Message:
        text = (
            f"attention alarm: the policy may be blind, the joint state has had more than {self._config.share:.0%} of "
            f"its attention for {warning.for_s:.1f} s (now {warning.share:.0%}, uniform {warning.uniform:.1%}); "
            "a hint, so101-reliance measures it"
        )
        return Message(text, Severity.WARNING)

    def _over(self, now_s: float) -> Message | None:
        if not self._on or self._since_s is None:
            return None
        now = "" if self._shares is None else f": the joint state has {self._shares.state:.0%}"
        return Message(
            f"attention alarm is over after {now_s - self._since_s:.1f} s{now}", Severity.RECOVERED
        )


class WithAttentionAlarm:
    """Observers that are told of the warning too: in `Tick.blind` while it lasts, and in words once.

    One that fails is dropped as in `Observers`; if the alarm itself fails, it is off for the rest of the run and the
    others go on.
    """

    name = "attention alarm"

    def __init__(self, observers: Iterable[Observer], config: AttentionAlarmConfig) -> None:
        self._observers = Observers(observers)
        self._alarm: AttentionAlarm | None = AttentionAlarm(config)

    def on_tick(self, tick: Tick) -> None:
        if self._alarm is not None:
            tick = self._marked(tick, self._alarm)
        self._observers.on_tick(tick)

    def on_message(self, message: Message) -> None:
        self._observers.on_message(message)

    def close(self) -> None:
        self._observers.close()

    def _marked(self, tick: Tick, alarm: AttentionAlarm) -> Tick:
        try:
            warning, news = alarm.see(tick)
        except Exception as problem:  # the run log stands behind this, and must not be lost to an alarm
            self._alarm = None
            news = Message(f"the attention alarm failed and is off: {describe(problem)}", Severity.WARNING)
            warning = None
            _log.warning(news.text)
        if news is not None:
            self._observers.on_message(news)
        return tick if warning is None else replace(tick, blind=warning)
