"""How much faster than real time the mock arm runs in lockstep, on one core, wire and firmware included.

Every 30 Hz tick is what a control loop does: one sync read of all health registers (15 bytes a servo), one
sync write of six goals, and, with cameras, one picture from each. The median of several runs is printed,
and the slowest and fastest.
"""

import math
import os
import statistics
import time

from so101_robot.bus import protocol
from so101_robot.joints import SERVO_IDS
from so101_robot.mock.arm import CAMERAS, MockArm, MockConfig
from so101_robot.mock.lockstep import LockstepClock, LockstepLink

RUNS = 5
RATE_HZ = 30
READ = protocol.sync_read(56, 15, SERVO_IDS)
GOALS = {False: 20, True: 6}


def drive(arm: MockArm, seconds: float, cameras: bool) -> tuple[float, float]:
    """Simulated seconds of one run per wall second, and per second of processor time."""
    clock, link = LockstepClock(arm, pace=0), LockstepLink(arm)
    start_s, start_cpu_s, start_us = time.perf_counter(), time.process_time(), arm.now_us
    for tick in range(1, round(seconds * RATE_HZ) + 1):
        reply = link.transact(READ, protocol.reply_size(15, 6), 0.02)
        assert len(reply) == 126
        goal = 2047 + round(300 * math.sin(tick / 10))
        link.send(protocol.sync_write(42, dict.fromkeys(SERVO_IDS, goal.to_bytes(2, "little"))))
        if cameras:
            for name in CAMERAS:
                arm.frame(name)
        clock.sleep_until(start_us * 1e-6 + tick / RATE_HZ)
    lived_s = (arm.now_us - start_us) * 1e-6
    return lived_s / (time.perf_counter() - start_s), lived_s / (time.process_time() - start_cpu_s)


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core
    arm = MockArm(MockConfig(width=96, height=96, realtime_factor=0))
    renderer = arm.frame("front").renderer
    for cameras, seconds in ((False, 10.0), (True, 4.0)):
        drive(arm, 1.0, cameras)  # warm
        factors, cpu_factors = zip(*(drive(arm, seconds, cameras) for _ in range(RUNS)), strict=True)
        what = f"two 96x96 cameras at {RATE_HZ} Hz ({renderer})" if cameras else "without cameras"
        print(
            f"lockstep {what}: {statistics.median(factors):.1f} times real time "
            f"(median of {RUNS}; {min(factors):.1f} to {max(factors):.1f}; wanted {GOALS[cameras]} or more); "
            f"{statistics.median(cpu_factors):.1f} per second of processor time"
        )
    arm.close()


if __name__ == "__main__":
    main()
