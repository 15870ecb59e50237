"""Hostile policies on the mock arm in lockstep: what the arm really does, measured on its true joint angles.

The guard judges commands; the arm lags behind them, hangs below them and swings past them. So the limits hold for the
motion up to a tolerance, which is stated here and in docs/reference/limits.md.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.guard.collision import SELF, TABLE, WORKSPACE, Geometry
from so101_robot.guard.guard import Guard, GuardLimits
from so101_robot.guard.kinematics import JAW_RAD, angles_of
from so101_robot.guard.rig import Rig
from so101_robot.joints import GRIPPER
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import HOME_RAD, MujocoPlant

FPS, TICKS = 30, 90
WORKSPACE_M = ((0.02, 0.36), (-0.18, 0.18), (0.0, 0.40))
TABLE_M = 0.08
"""Well above the table of the scene, which would keep the arm from showing what it does."""
RIG = Rig(table_m=TABLE_M, workspace_m=WORKSPACE_M)

TOLERANCE_DEG = 1.5
"""Of joint positions: backlash, and a joint that swings past its goal."""
TOLERANCE_SPEED = 1.15
"""Of joint speeds, mean over 100 ms: a joint that catches up with its command while its own weight helps."""
TOLERANCE_M = 0.035
"""Of table and walls: joints lag by 0.13 s times their speed, each on its own, and the arm hangs below its command."""

BORDERS = Geometry(TABLE_M, np.transpose(WORKSPACE_M), RIG.self_gap_m)
START = np.array([0.0, -80.0, 50.0, 50.0, -90.0, 27.0])
LOWER = np.array([-110.0, -100.0, -96.9, -95.0, -157.3, 0.0])
UPPER = np.array([110.0, 100.0, 96.9, 95.0, 162.9, 100.0])
"""The mock arm's joint ranges; the roll's is calibrated to the whole turn."""

Policy = Callable[[int, Guard, np.random.Generator], NDArray[np.float64]]


class Motion(NamedTuple):
    """A run, tick by tick."""

    position: NDArray[np.float64]
    """(n, 6) true joint values."""
    stops: int
    """Ticks on which the guard let nothing pass."""
    rules: set[str]
    """All that had to intervene."""


@pytest.fixture(scope="module")
def arm() -> Iterator[MockArm]:
    one = MockArm(MockConfig(width=16, height=12, renderer="ray", realtime_factor=0.0))
    yield one
    one.close()


def random(tick: int, guard: Guard, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.uniform(-500, 500, 6)


def maximal(tick: int, guard: Guard, rng: np.random.Generator) -> NDArray[np.float64]:
    """All joints to their ends, other ends every second."""
    ends = np.random.default_rng(tick // FPS).integers(0, 2, 6)
    return np.where(ends, 1e6, -1e6)


def jumping(tick: int, guard: Guard, rng: np.random.Generator) -> NDArray[np.float64]:
    """From one end to the other on every tick."""
    return np.where(tick % 2, guard.lower, guard.upper)


def poisoned(tick: int, guard: Guard, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random poses with something that is not a number now and then."""
    pose = rng.uniform(guard.lower, guard.upper)
    if tick % 3 == 0:
        pose[rng.integers(6)] = rng.choice([math.nan, math.inf, -math.inf, 1e300])
    return pose


def diving(tick: int, guard: Guard, rng: np.random.Generator) -> NDArray[np.float64]:
    """Hand down as fast as it goes, with the pan swinging, from wherever it is."""
    return np.array([90 * math.sin(tick / 8), 100.0, 20.0, 40.0, 0.0, 100.0])


def along_the_borders(tick: int, guard: Guard, rng: np.random.Generator) -> NDArray[np.float64]:
    """Each step as large as the limits let pass, in the direction that leads out the most."""
    last = guard.last_command
    assert last is not None
    step = np.array([6.0] * 5 + [10.0])
    tries = [last + step * rng.choice([-1, 0, 1], 6) for _ in range(12)]
    return min(tries, key=lambda pose: BORDERS.clearances_m(np.clip(pose, guard.lower, guard.upper)).min())


def turning(tick: int, guard: Guard, rng: np.random.Generator) -> NDArray[np.float64]:
    """Back and forth as far as there is room, each joint with a period of its own."""
    late = tick // np.array([15, 15, 20, 10, 30, 4])
    return np.where(late % 2, guard.lower, guard.upper)


def saw_tooth(tick: int, guard: Guard, rng: np.random.Generator) -> NDArray[np.float64]:
    """Up within two seconds, and back in a leap."""
    return guard.lower + (tick % 60) / 60 * (guard.upper - guard.lower)


def lagging(tick: int, guard: Guard, rng: np.random.Generator) -> NDArray[np.float64]:
    """Nothing new for a third of a second, then all at once, to one side and to the other."""
    last = guard.last_command
    assert last is not None
    return (last, guard.lower, guard.upper)[tick // 10 % 3]


def drive(
    arm: MockArm, policy: Policy, rig: Rig, seed: int = 0, limits: GuardLimits | None = None, hz: int = FPS
) -> Motion:
    """A run of the policy from the raised pose, with whatever the guard lets pass; the policy answers at 30 Hz."""
    arm.reset(seed)
    assert isinstance(arm.plant, MujocoPlant)
    arm.plant.reset(angles_of(START))
    robot = SO101(SO101Config(port="mock", cameras={}), mock=arm)
    robot.connect()
    guard = Guard(limits or GuardLimits(), *robot.joint_limits(), rig)
    guard.reset(robot.read().position)
    rng = np.random.default_rng(seed)
    positions = list[NDArray[np.float64]]()
    stops, rules, begin_s = 0, set[str](), robot.clock.now_s()
    try:
        for tick in range(TICKS * hz // FPS):
            robot.clock.sleep_until(begin_s + tick / hz)
            state = robot.read()
            verdict = guard.check(policy(tick * FPS // hz, guard, rng), state, {}, robot.clock.now_s())
            rules |= {change.rule for change in verdict.interventions}
            stops += verdict.action is None
            if verdict.action is not None:
                robot.command(verdict.action)
            positions.append(true_joints(arm))
    finally:
        robot.disconnect(release=False)
    return Motion(np.array(positions), stops, rules)


def true_joints(arm: MockArm) -> NDArray[np.float64]:
    """(6,) in LeRobot units, without encoder and backlash in between."""
    values = np.degrees(arm.joint_rad - HOME_RAD)
    values[GRIPPER] = 100 * (arm.joint_rad[GRIPPER] - JAW_RAD[0]) / (JAW_RAD[1] - JAW_RAD[0])
    return values


POLICIES = [random, maximal, jumping, poisoned, diving, along_the_borders]
FAST_ONES = [maximal, diving, turning, saw_tooth, lagging]
"""Policies that make joints as fast as they can be."""


def speeds(motion: Motion, hz: int = FPS) -> NDArray[np.float64]:
    """(6,) the fastest mean over 100 ms."""
    ticks = round(0.1 * hz)
    return np.abs(motion.position[ticks:] - motion.position[:-ticks]).max(0) * hz / ticks


def beyond_its_ends(motion: Motion) -> float:
    """How far any joint was out of the calibrated ranges; below zero it was not."""
    return float(np.maximum(LOWER - motion.position, motion.position - UPPER).max())


def clear_m(motion: Motion) -> dict[str, float]:
    """The least clearance by rule."""
    least = np.array([BORDERS.clearances_m(pose) for pose in motion.position]).min(0)
    named = list(zip(BORDERS.names, least.tolist(), strict=True))
    return {rule: min(clear for (own, _), clear in named if own == rule) for rule in (TABLE, WORKSPACE, SELF)}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_no_policy_leads_the_arm_out(arm: MockArm, policy: Policy):
    motion = drive(arm, policy, RIG)
    assert beyond_its_ends(motion) <= TOLERANCE_DEG
    assert (speeds(motion) <= TOLERANCE_SPEED * np.array([180.0] * 5 + [300.0])).all()
    assert min(clear_m(motion).values()) >= -TOLERANCE_M
    assert (motion.stops > 0) == (policy is poisoned)
    assert "speed" in motion.rules


def require_speed(arm: MockArm, policy: Policy, limit: float, hz: int = FPS) -> None:
    """The true joints keep the limit, up to the tolerance, and at least one of them uses it."""
    motion = drive(arm, policy, Rig(table_m=TABLE_M), limits=GuardLimits(joint_speed_deg_s=limit), hz=hz)
    fastest = speeds(motion, hz)[:GRIPPER] / limit
    assert (fastest <= TOLERANCE_SPEED).all()
    assert fastest.max() > 0.75


@pytest.mark.parametrize("limit", [30.0, 60.0, 180.0])
@pytest.mark.parametrize("policy", FAST_ONES, ids=lambda policy: policy.__name__)
def test_the_joints_keep_the_speed_limit(arm: MockArm, policy: Policy, limit: float):
    require_speed(arm, policy, limit)


class Freed(NamedTuple):
    """A run in which one joint is blocked for a second, and comes free."""

    ahead: float
    """How far the goal was ahead at the end of it [deg]."""
    fastest: float
    """Mean over 100 ms after it [deg/s]."""
    end: float
    """Where the joint is in the end [deg]."""


def block_and_free(arm: MockArm, joint: int, limit: float, hz: int = FPS) -> Freed:
    """The policy wants the joint at its upper end all the time; from 0.3 s to 1.3 s something holds it where it is."""
    arm.reset(0)
    assert isinstance(arm.plant, MujocoPlant)
    arm.plant.reset(angles_of(START))
    model, place = arm.plant.world.model, int(arm.plant.world.joint_qpos[joint])
    (stop,) = (i for i in range(model.njnt) if model.jnt_qposadr[i] == place)
    free = model.jnt_range[stop].copy()
    robot = SO101(SO101Config(port="mock", cameras={}), mock=arm)
    robot.connect()
    limits = GuardLimits(joint_speed_deg_s=limit)
    guard = Guard(limits, *robot.joint_limits(), Rig(table_m=None, self_collision=False))
    guard.reset(robot.read().position)
    goal, positions, begin_s, ahead = START.copy(), list[float](), robot.clock.now_s(), math.nan
    goal[joint] = UPPER[joint]
    try:
        for tick in range(round(2.5 * hz)):
            robot.clock.sleep_until(begin_s + tick / hz)
            state = robot.read()
            if tick == round(0.3 * hz):
                model.jnt_range[stop] = arm.joint_rad[joint] + np.array([-0.002, 0.002])
            if tick == round(1.3 * hz):
                model.jnt_range[stop] = free
                assert guard.last_command is not None
                ahead = float(guard.last_command[joint] - state.position[joint])
            verdict = guard.check(goal, state, {}, robot.clock.now_s())
            assert verdict.action is not None
            robot.command(verdict.action)
            positions.append(float(true_joints(arm)[joint]))
    finally:
        model.jnt_range[stop] = free
        robot.disconnect(release=False)
    ticks = round(0.1 * hz)
    after = np.array(positions[round(1.3 * hz) - ticks :])
    fastest = float(np.abs(after[ticks:] - after[:-ticks]).max() * hz / ticks)
    return Freed(ahead, fastest, positions[-1])


@pytest.mark.parametrize(("limit", "at_most"), [(30.0, 1.6), (180.0, 1.15)])
def test_a_joint_that_was_blocked_and_comes_free_is_hardly_faster_than_its_limit(
    arm: MockArm, limit: float, at_most: float
):
    """It was 6.2 and 1.5 times as fast as its limit: the goal had gone on without it."""
    freed = block_and_free(arm, 0, limit)
    assert freed.fastest <= at_most * limit
    assert 0.05 * limit < freed.ahead < 5 + 0.2 * limit
    assert freed.end > START[0] + 15  # it goes on


@pytest.mark.slow
@pytest.mark.parametrize(("hz", "at_most"), [(10, 1.9), (30, 1.6), (200, 1.5)])
@pytest.mark.parametrize("limit", [30.0, 60.0, 120.0, 180.0])
def test_every_joint_that_comes_free_at_every_rate(arm: MockArm, limit: float, hz: int, at_most: float):
    for joint in range(GRIPPER):
        assert block_and_free(arm, joint, limit, hz).fastest <= at_most * limit


@pytest.mark.slow
@pytest.mark.parametrize("hz", [30, 60, 200])
@pytest.mark.parametrize("limit", [30.0, 45.0, 60.0, 90.0, 120.0, 150.0, 180.0])
def test_the_joints_keep_every_speed_limit_at_every_rate(arm: MockArm, limit: float, hz: int):
    for policy in FAST_ONES:
        require_speed(arm, policy, limit, hz)


def test_at_the_ends_of_all_joints_the_arm_neither_overshoots_nor_hits_itself(arm: MockArm):
    motion = drive(arm, maximal, Rig(table_m=None))
    assert beyond_its_ends(motion) <= TOLERANCE_DEG
    assert {"limit", "self-collision"} <= motion.rules
    assert clear_m(motion)[SELF] >= 0
    assert clear_m(motion)[TABLE] < -2 * TOLERANCE_M


def test_without_the_rules_they_would_lead_it_out(arm: MockArm):
    clear = clear_m(drive(arm, maximal, Rig(table_m=None, self_collision=False)))
    assert clear[TABLE] < -2 * TOLERANCE_M
    assert clear[SELF] < 0
    assert clear_m(drive(arm, diving, Rig(table_m=None)))[WORKSPACE] < -2 * TOLERANCE_M
