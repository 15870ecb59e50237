"""Safe or not, by what the arm really did: the rule of the fault table.

A repetition is unsafe if any of these is true:

- a joint whose servo was able (under torque, no error of its own) was faster than `SPEED_DEG_S`: it leapt;
- a joint was more than `BEYOND_DEG` outside its calibrated range;
- after the driver had let a joint go, a part of the arm lost more than `FALL_MM` of height, and no person had asked
  for that;
- the policy's goals went on for longer than the row allows while what the driver knew was not true;
- the policy's goals were sent while the driver took a joint to be more than `WRONG_DEG` from where it was;
- ticks are missing in the log though the disk was not full;
- the arm was to be refused and was touched.

What an arm loses in height because its servos have no supply, or let go to protect themselves, no driver can help:
it is measured (`fell_mm`) and does not count.
"""

import numpy as np
from numpy.typing import NDArray

from experiments.faults.record import Record
from experiments.faults.rows import Row
from experiments.faults.traced import Motion, Order, TracedArm
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.physics.plant import HOME_RAD

SPEED_DEG_S = 243.0
"""The guard's 180 degrees per second, and a third more for a joint that catches up (tests/robot: hostile policies)."""
BEYOND_DEG = 1.5
"""Play of the gears, and a joint that swings past its goal."""
FALL_MM = 30.0
"""An arm that is let go at home settles by less."""
WRONG_DEG = 10.0
"""The arm's fastest joint moves by 2 degrees in a tick here, so a state one tick old is not yet wrong."""
TOUCH_DEG = 5.0

WINDOW = 3
"""Samples over which a speed is taken: 30 ms."""


def largest_speed(motion: Motion) -> float:
    """Of joints whose servos were able all the time, degrees per second; the gripper is not counted, whose jaw
    weighs nothing."""
    if len(motion.time_s) <= WINDOW:
        return 0.0
    moved = np.degrees(motion.joint_rad[WINDOW:] - motion.joint_rad[:-WINDOW])
    passed_s = (motion.time_s[WINDOW:] - motion.time_s[:-WINDOW])[:, None]
    able = np.all([motion.able[k : len(motion.able) - WINDOW + k] for k in range(WINDOW + 1)], axis=0)
    speeds = np.where(able, np.abs(moved) / passed_s, 0.0)
    return float(speeds[:, :GRIPPER].max())


def beyond(motion: Motion, range_rad: NDArray[np.float64]) -> float:
    """Farthest outside the ranges (6, 2), degrees; 0 if inside."""
    outside = np.maximum(range_rad[:, 0] - motion.joint_rad, motion.joint_rad - range_rad[:, 1])
    return float(np.degrees(max(outside.max(), 0.0)))


def let_fall(motion: Motion, orders: list[Order]) -> float:
    """Millimetres that a part of the arm lost after the first order to let a joint go."""
    begin_s = min((order.time_s for order in orders if order.what == "let go"), default=np.inf)
    after = motion.time_s >= begin_s
    return _lost_mm(motion.height_m[after]) if motion.free[after].any() else 0.0


def fell(motion: Motion, orders: list[Order], from_s: float) -> float:
    """Millimetres that a part of the arm lost from `from_s` on while joints were free without an order."""
    begin_s = min((o.time_s for o in orders if o.what == "let go" and o.time_s >= from_s), default=np.inf)
    during = (motion.time_s >= from_s) & (motion.time_s < begin_s)
    limp = during & motion.free.any(1)
    return _lost_mm(motion.height_m[during & (np.cumsum(limp) > 0)]) if limp.any() else 0.0


def _lost_mm(height_m: NDArray[np.float64]) -> float:
    """How far any part went below where it had been at the beginning."""
    return float(max((height_m[0] - height_m.min(0)).max(), 0.0) * 1e3) if len(height_m) else 0.0


def final_state(motion: Motion, orders: list[Order], went_on: bool) -> str:
    """How the arm was left, in words."""
    if went_on:
        return "went on"
    free = motion.free[-1]
    told = {order.joint for order in orders if order.what == "let go"}
    if not told:
        return "left without supply" if free.all() else "held"
    if not free.all() and len(told) < len(JOINTS):
        return "partly let go"
    return "let go in the air" if let_fall(motion, orders) > FALL_MM else "let go at rest"


def judge(record: Record, row: Row, touched: bool) -> list[str]:
    """Why it was not safe."""
    why: list[str] = []
    if record.speed_deg_s > SPEED_DEG_S:
        why.append(f"a joint leapt ({record.speed_deg_s:.0f} deg/s)")
    if record.beyond_deg > BEYOND_DEG:
        why.append(f"a joint left its range by {record.beyond_deg:.1f} deg")
    if record.let_fall_mm > FALL_MM and not row.may_fall:
        why.append(f"let the arm fall by {record.let_fall_mm:.0f} mm")
    if row.stop_s is not None and record.drove_s is not None and record.drove_s > row.stop_s:
        why.append(f"drove on for {record.drove_s:.1f} s")
    if record.wrong_deg > WRONG_DEG:
        why.append(f"took a joint to be where it was not (off by {record.wrong_deg:.0f} deg)")
    if record.missing and not row.may_lose_log:
        why.append(f"lost {record.missing} ticks")
    if row.refuses and touched:
        why.append("drove an arm that was to be refused")
    return why


def true_deg(arm: TracedArm) -> NDArray[np.float64]:
    """(5,) where the joints of the arm are, as a driver should know it; without the gripper."""
    return np.degrees(arm.joint_rad - HOME_RAD)[:GRIPPER]


def touched(arm: TracedArm, start_rad: NDArray[np.float64]) -> bool:
    """Whether the arm was moved from where it lay."""
    return bool(np.degrees(np.abs(arm.joint_rad - start_rad)).max() > TOUCH_DEG)
