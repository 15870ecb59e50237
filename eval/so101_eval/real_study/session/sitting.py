"""A sitting, put together: study, key, arm, policies, operator. Whatever is wrong is said before the arm moves."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import draccus

from so101_eval.episode.episode import FPS
from so101_eval.errors import ConfigError
from so101_eval.evaluation.policy_specs import picture_size
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.real_study.design.lock import writing
from so101_eval.real_study.design.sealing import unseal
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.journal import Journal
from so101_eval.real_study.events.state import Kind, State, fold
from so101_eval.real_study.measurement.protocol import Measurement, Pictures
from so101_eval.real_study.measurement.rendered import Eyes
from so101_eval.real_study.session.bench import Bench
from so101_eval.real_study.session.contenders import Acting, Ready, make_ready
from so101_eval.real_study.session.hands import Hands, People, Simulated
from so101_eval.real_study.session.operator import Operator
from so101_eval.real_study.session.runner import Session, Settings
from so101_policy.units import Units
from so101_robot.arm.arm import SO101
from so101_robot.commands.run_config import PolicyFlags, RunConfig
from so101_robot.commands.taking_over import TakingOver
from so101_robot.mock.arm import MockArm
from so101_robot.mock.config import MockConfig
from so101_robot.preflight.checks import preflight
from so101_robot.preflight.findings import require
from so101_robot.runs.provenance import about_run

MOCK = "mock"


def sit(
    folder: Path,
    config: RunConfig,
    make_operator: Callable[[Hands], Operator],
    make_measurement: Callable[[Study, SO101], Measurement],
    settings: Settings,
    scale: float = 0.0,
) -> State:
    """One sitting; returns the state after it.

    Args:
        folder: of a locked study.
        config: of the arm, as for `so101-run`; port `mock` is a rehearsal.
        make_operator: with the hands that will put the boxes down.
        make_measurement: the camera's part, for the connected arm.
        settings: of the sitting.
        scale: on the mock arm, simulated seconds per second at most; 0: as fast as the machine can.

    Raises:
        ConfigError: not locked, edited, unblinded, another session, no key.
        RobotError, PolicyError: the arm or a policy is not as it should be.
    """
    with writing(folder) as (study, journal), ExitStack() as stack:
        state = fold(journal.events)
        refuse_what_is_over(folder, state)
        rehearsal = config.robot.port == MOCK
        config = of_study(study, config)
        taking = None
        if config.teleop.port:
            taking = TakingOver(config, keyed=True)
            stack.callback(taking.close)
        robot = _robot(study, config, scale, stack)
        if taking is None:
            robot.connect()
        else:
            taking.connect(robot)
        stack.callback(robot.disconnect, release=False)  # after each trial it was let go at home
        measurement = make_measurement(study, robot)
        ready = make_ready(study.policies, config, robot, study.latency == "slowest")
        look_first(study, config, robot, ready)
        if taking is not None:
            require(taking.findings())
        hands: Hands = People()
        record: Callable[[], Pictures] | None = None
        if rehearsal:
            assert robot.mock is not None  # it was made with the robot
            assert robot.mock.world is not None  # and in a scene
            hands = Simulated(robot.mock.world, study.plan_task)
            if measurement.available:
                record = stack.enter_context(closing(Eyes(robot.mock.world))).pictures
        operator = make_operator(hands)
        stack.callback(operator.close)
        session = _session(
            study, folder, journal, robot, config, record, ready, operator, hands, measurement,
            replace(settings, rehearsal=rehearsal), taking,
        )  # fmt: skip
        return session.run()


def refuse_what_is_over(folder: Path, state: State) -> None:
    """Raises `ConfigError` for a study that was unblinded: who knows the names does not judge any more."""
    if state.unblinded:
        raise ConfigError(
            f"{folder} was unblinded: the names are known, so no trial can be added. Make another study for more"
        )


def of_study(study: Study, config: RunConfig) -> RunConfig:
    """The configuration of every trial. Raises `ConfigError` for what the study decides and the flags do, too, and for
    a recording."""
    if config.policy.path or config.start_pose or config.duration_s:
        raise ConfigError(
            "--policy.path, --start_pose and --duration_s are the study's: its study.yaml says who drives, from where, "
            "and for how long"
        )
    if config.record.repo_id:
        raise ConfigError(
            "--record.repo_id: a study keeps films and logs of its trials, and no dataset; leave the flag out"
        )
    return replace(
        config,
        start_pose=list(study.start_pose),
        duration_s=study.limit_s,
        fps=FPS if config.fps is None else config.fps,
        dashboard="off",
        policy=PolicyFlags(device=config.policy.device, engine=config.policy.engine),
    )


def look_first(study: Study, config: RunConfig, robot: SO101, ready: Ready) -> None:
    """The pre-flight of every policy, in the study's order. Raises PreflightError."""
    for spec, contender in zip(study.policies, ready.contenders, strict=True):
        if isinstance(contender, Acting):
            require(preflight(robot, contender.policy, config.preflight.skip, Units(spec.units)))


def _session(
    study: Study,
    folder: Path,
    journal: Journal,
    robot: SO101,
    config: RunConfig,
    record: Callable[[], Pictures] | None,
    ready: Ready,
    operator: Operator,
    hands: Hands,
    measurement: Measurement,
    settings: Settings,
    taking: TakingOver | None,
) -> Session:
    schedule = unseal(folder, study)
    journal.append(Kind.KEY_OPENED, {"by": "run"})
    about = about_run([], draccus.encode(config), study=study.sha256, rehearsal=settings.rehearsal)
    bench = Bench(robot, config, about, record, taking)
    return Session(study, folder, journal, schedule, bench, ready, operator, hands, measurement, settings)


def _robot(study: Study, config: RunConfig, scale: float, stack: ExitStack) -> SO101:
    if config.robot.port != MOCK:
        return SO101(config.robot)
    height, width = picture_size(study.policies, study.task, None)
    mock = MockConfig(
        scene=study.task, width=width, height=height, realtime_factor=scale, draw_late=scale <= 0
    )
    arm = MockArm(mock, scene=PalletizingScene(study.plan_task))
    stack.callback(arm.close)
    return SO101(replace(config.robot, mock=mock), mock=arm)
